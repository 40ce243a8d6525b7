//! OCI queues as a kind of source: the one place that knows both OCI's words and ours.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::facet::Facet;
use super::{Figures, Gauge, Identified, Kind, Named, Plan, Source, SourceError, Step, Turn, Verdict};
use crate::document::{Fields, Problems};
use crate::metric::MetricName;
use crate::metric::quantity::Quantity;
use crate::oci::consumer_group::{GroupId, GroupSummary};
use crate::oci::endpoint::Endpoint;
use crate::oci::queue::{Part, QueueId, QueueStats, Stats};
use crate::oci::{self, Client};

mod control_plane;
mod listing;
mod parts;
mod plan;
mod trouble;
mod variables;

use control_plane::ControlPlane;
use parts::{Aliases, CHANNEL, GROUP, KnownGroups, list_error};
use plan::QueuePlan;
use trouble::{may_have_moved, of_queue, said_of};

/// Visible + in flight: all the work there is.
const LENGTH: MetricName = MetricName::new("oci_queue_length");
/// Messages ready for delivery.
const VISIBLE: MetricName = MetricName::new("oci_queue_visible");
/// Messages delivered and not yet deleted.
const IN_FLIGHT: MetricName = MetricName::new("oci_queue_in_flight");
/// Bytes of both.
const SIZE_BYTES: MetricName = MetricName::new("oci_queue_size_bytes");
/// Visible + in flight of the dead-letter queue.
const DEAD_LETTERS: MetricName = MetricName::new("oci_queue_dead_letters");

/// The key of an entry that stands for the queues of a compartment.
const COMPARTMENT: &str = "compartmentId";

/// `type: oci-queue`.
#[derive(Debug)]
pub struct OciQueue;

struct QueueSource {
    client: Arc<Client>,
    id: QueueId,
    control_plane: ControlPlane,
    /// From the config; never asked for, never forgotten.
    fixed: Option<Endpoint>,
    found: Mutex<Found>,
    /// The service asked to be left alone until then.
    rest: Mutex<Option<Instant>>,
    aliases: Aliases,
    groups: Mutex<KnownGroups>,
    /// Locked while they are listed: one list for all parts that are read at a time.
    listing: tokio::sync::Mutex<()>,
}

/// What GetQueue said of where the messages are.
#[derive(Clone, Default)]
struct Found {
    endpoint: Option<Endpoint>,
    /// It stopped working, for which it may have moved to another cell: ask again, but go on
    /// with it while there is nothing better.
    suspect: bool,
}

// === impl OciQueue ===

impl Kind for OciQueue {
    fn name(&self) -> &'static str {
        "oci-queue"
    }

    fn label(&self) -> &'static str {
        "queue"
    }

    fn metrics(&self) -> &'static [MetricName] {
        &[DEAD_LETTERS, IN_FLIGHT, LENGTH, SIZE_BYTES, VISIBLE]
    }

    fn gauges(&self) -> &'static [Gauge] {
        // Names and label of the exporter that people have dashboards for.
        &[
            Gauge { metric: LENGTH, help: "Messages in an OCI queue, visible and in flight" },
            Gauge { metric: VISIBLE, help: "Messages in an OCI queue that are ready for delivery" },
            Gauge { metric: IN_FLIGHT, help: "Messages in an OCI queue that are delivered and not yet deleted" },
        ]
    }

    fn depths(&self) -> &'static [MetricName] {
        &[LENGTH, VISIBLE]
    }

    fn open_labels(&self) -> &'static [&'static str] {
        &[CHANNEL, GROUP]
    }

    fn section(&self) -> &'static str {
        "oci"
    }

    fn lists_by(&self) -> &'static str {
        COMPARTMENT
    }

    fn schema(&self) -> &'static str {
        include_str!("oci_queue/schema.json")
    }

    fn decode(
        &self,
        section: Option<&mut Fields<'_>>,
        entries: &mut [&mut Fields<'_>],
        problems: &mut Problems,
    ) -> Option<Box<dyn Plan>> {
        Some(Box::new(QueuePlan::decode(section, entries, problems)?))
    }

    fn variables(&self) -> &'static [&'static str] {
        variables::ALL
    }

    fn in_environment(
        &self,
        var: &dyn Fn(&str) -> Option<String>,
        own_namespace: Option<&str>,
    ) -> Option<Result<Named, Vec<String>>> {
        variables::read(var, own_namespace)
    }
}

// === impl QueueSource ===

impl QueueSource {
    /// A queue whose messages are where the config says, or else where somebody found them, or
    /// else where GetQueue will say.
    fn new(
        client: Arc<Client>,
        id: QueueId,
        control_plane: ControlPlane,
        fixed: Option<Endpoint>,
        found: Option<Endpoint>,
        aliases: Aliases,
    ) -> Self {
        let found = Mutex::new(Found { endpoint: found, suspect: false });
        let (rest, groups, listing) = Default::default();
        Self { client, id, control_plane, fixed, found, rest, aliases, groups, listing }
    }

    fn identified(self) -> Identified {
        Identified { identity: self.id.to_string(), source: Box::new(self) }
    }

    async fn stats(&self, facet: &Facet, by: Instant) -> Result<Figures, SourceError> {
        let group = match facet.value(GROUP) {
            Some(asked) => Some(self.group(asked, by).await?),
            None => None,
        };
        let channel = facet.value(CHANNEL).map(|asked| self.aliases.channel(asked));
        let endpoint = self.endpoint(by).await?;
        let part = Part { channel, group: group.as_ref() };
        match self.client.get_stats(&endpoint, &self.id, part, by).await {
            Ok(stats) => figures(&stats).map_err(|error| SourceError {
                detail: said_of(&error.detail, format_args!("{} at {endpoint}", self.id), error.request_id.as_deref()),
                ..error
            }),
            Err(error) => {
                if may_have_moved(&error) {
                    self.found().suspect = true;
                }
                if group.is_some() && matches!(&error, oci::Error::Service(error) if error.status == 404) {
                    self.groups().suspect();
                }
                Err(self.trouble(Step::Read, &endpoint, &error))
            }
        }
    }

    /// The consumer group of this alias or display name.
    async fn group(&self, asked: &str, by: Instant) -> Result<GroupId, SourceError> {
        if let Some(id) = self.aliases.group(asked) {
            return Ok(id.clone());
        }
        let listing = tokio::time::timeout_at(by, self.listing.lock()).await;
        let _listing = listing.map_err(|_| list_error(format_args!("{}", self.id), &oci::Error::TimedOut))?;
        let now = Instant::now();
        if self.groups().is_due(asked, now) {
            // Half of the time: the other half is for the read itself.
            let listed = self.list_groups(now + by.saturating_duration_since(now) / 2).await;
            let mut known = self.groups();
            if known.update(listed, now) {
                self.tell_of_list(known.failure());
            }
        }
        let known = self.groups();
        known.find(asked).ok_or_else(|| known.lacks())
    }

    fn tell_of_list(&self, failure: Option<&SourceError>) {
        let queue = self.id.as_str();
        match failure {
            Some(SourceError { cause, detail, remedy, .. }) => {
                tracing::warn!(queue, cause, detail, "cannot list the consumer groups, known ones go on: {remedy}");
            }
            None => tracing::info!(queue, "the consumer groups are listed again"),
        }
    }

    /// The OCID of a consumer group, or as much as is known of it.
    fn group_meant(&self, asked: &str) -> String {
        let listed = || self.groups().find(asked);
        let id = self.aliases.group(asked).cloned().or_else(listed);
        id.map_or_else(|| asked.to_ascii_lowercase(), |id| id.to_string())
    }

    async fn list_groups(&self, by: Instant) -> Result<Vec<GroupSummary>, SourceError> {
        let control_plane = self.control_plane.of(&self.client, by).await?;
        let groups = self.client.list_groups(&control_plane, &self.id, by).await;
        groups.map_err(|error| list_error(format_args!("{} at {control_plane}", self.id), &error))
    }

    async fn endpoint(&self, by: Instant) -> Result<Endpoint, SourceError> {
        if let Some(endpoint) = &self.fixed {
            return Ok(endpoint.clone());
        }
        let Found { endpoint: known, suspect } = self.found().clone();
        let Some(known) = known else { return self.ask_endpoint(by).await };
        if !suspect {
            return Ok(known);
        }
        // Half of the time: the other half is for the read itself.
        let now = Instant::now();
        let half = now + by.saturating_duration_since(now) / 2;
        Ok(self.ask_endpoint(half).await.unwrap_or(known))
    }

    async fn ask_endpoint(&self, by: Instant) -> Result<Endpoint, SourceError> {
        let control_plane = self.control_plane.of(&self.client, by).await?;
        let queue = self.client.get_queue(&control_plane, &self.id, by).await;
        let queue = queue.map_err(|error| self.trouble(Step::Endpoint, &control_plane, &error))?;
        let endpoint: Endpoint = queue.messages_endpoint.parse().map_err(|error| SourceError {
            step: Step::Endpoint,
            verdict: Verdict::Trouble,
            cause: "GetQueue names a messages endpoint that is not HTTPS".to_owned(),
            remedy: "Set the source's `endpoint`.",
            detail: format!("{error} ({} at {control_plane})", self.id),
            request_id: None,
        })?;
        *self.found() = Found { endpoint: Some(endpoint.clone()), suspect: false };
        Ok(endpoint)
    }

    /// The error in our words; what it says of when to come back is kept.
    fn trouble(&self, step: Step, asked: &Endpoint, error: &oci::Error) -> SourceError {
        if let oci::Error::Service(oci::ServiceError { retry_after: Some(wait), .. }) = error {
            *self.rest() = Some(Instant::now() + *wait);
        }
        of_queue(step, &self.id, asked, error)
    }

    async fn wait_for_turn(&self, urgent: bool) -> Turn {
        let rest = *self.rest();
        if let Some(until) = rest {
            tokio::time::sleep_until(until).await;
        }
        let endpoint = self.next_endpoint();
        let (waited, place) = self.client.turn(endpoint.as_ref(), &self.id, urgent).await;
        Turn { waited, place }
    }

    /// What will be asked first for the next reading, as far as that is known.
    fn next_endpoint(&self) -> Option<Endpoint> {
        let messages = self.fixed.clone().or_else(|| self.found().endpoint.clone());
        messages.or_else(|| match &self.control_plane {
            ControlPlane::At(endpoint) => Some(endpoint.clone()),
            ControlPlane::OfPrincipal(otherwise) => otherwise.clone(),
        })
    }

    fn groups(&self) -> MutexGuard<'_, KnownGroups> {
        // Nothing in it panics, and a list is listed again within a minute.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self) -> MutexGuard<'_, Option<Instant>> {
        // Whole assignments only: a panic leaves nothing half made.
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        // Whole assignments only: a panic leaves nothing half made.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for QueueSource {
    fn read<'s>(&'s self, facet: &'s Facet, by: Instant) -> BoxFuture<'s, Result<Figures, SourceError>> {
        self.stats(facet, by).boxed()
    }

    fn meant(&self, facet: &Facet) -> Facet {
        facet.iter().fold(Facet::WHOLE, |meant, (label, asked)| match label {
            GROUP => meant.with(label, &self.group_meant(asked)),
            _ => meant.with(label, self.aliases.channel(asked)),
        })
    }

    fn turn(&self, urgent: bool) -> BoxFuture<'_, Turn> {
        self.wait_for_turn(urgent).boxed()
    }

    fn is_busy(&self) -> bool {
        self.client.is_busy()
    }

    fn is_held_back(&self) -> bool {
        self.next_endpoint().is_some_and(|endpoint| self.client.is_down(&endpoint))
    }
}

fn figures(stats: &QueueStats) -> Result<Figures, SourceError> {
    let nonsense = |what: &str| SourceError {
        step: Step::Decode,
        verdict: Verdict::Trouble,
        cause: format!("GetStats answered with {what}"),
        remedy: "This is trouble of the service: see its status page.",
        detail: format!("{:?} {:?}", stats.queue, stats.dlq),
        request_id: stats.request_id.clone(),
    };
    let negative =
        |stats: &Stats| stats.visible_messages < 0 || stats.in_flight_messages < 0 || stats.size_in_bytes < 0;
    if negative(&stats.queue) || negative(&stats.dlq) {
        return Err(nonsense("a negative number"));
    }
    let sum = |stats: &Stats| stats.visible_messages.checked_add(stats.in_flight_messages);
    let (Some(length), Some(dead)) = (sum(&stats.queue), sum(&stats.dlq)) else {
        return Err(nonsense("numbers whose sum is above 2^63"));
    };
    Ok(Figures::new(vec![
        (LENGTH, Quantity::from_units(length)),
        (VISIBLE, Quantity::from_units(stats.queue.visible_messages)),
        (IN_FLIGHT, Quantity::from_units(stats.queue.in_flight_messages)),
        (SIZE_BYTES, Quantity::from_units(stats.queue.size_in_bytes)),
        (DEAD_LETTERS, Quantity::from_units(dead)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(visible: i64, in_flight: i64) -> QueueStats {
        let zero = Stats { visible_messages: 0, in_flight_messages: 0, size_in_bytes: 0 };
        let queue = Stats { visible_messages: visible, in_flight_messages: in_flight, size_in_bytes: 10 };
        QueueStats { queue, dlq: zero, request_id: None }
    }

    #[test]
    fn length_is_visible_plus_in_flight() {
        let figures = figures(&stats(12, 3)).unwrap();
        for (metric, value) in [(LENGTH, 15), (VISIBLE, 12), (IN_FLIGHT, 3), (SIZE_BYTES, 10), (DEAD_LETTERS, 0)] {
            assert_eq!(figures.value(metric), Some(Quantity::from_units(value)), "{metric}");
        }
        for metric in OciQueue.metrics() {
            assert!(figures.value(*metric).is_some(), "{metric}");
        }
    }

    #[test]
    fn impossible_figures_are_errors() {
        for (visible, in_flight) in [(-1, 0), (0, -5), (i64::MAX, 1)] {
            assert_eq!(figures(&stats(visible, in_flight)).unwrap_err().step, Step::Decode);
        }
        assert!(figures(&stats(i64::MAX, 0)).is_ok());
    }
}
