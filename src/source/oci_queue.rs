//! Queues of Oracle Cloud Infrastructure (OCI) as a kind of source: the only module that uses both the
//! OCI Queue API and depthgauge's metrics.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, join, select};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::items::Items;
use super::keys::{self, Key, Shape, Text};
use super::part::Part;
use super::{
    Environment, ErrorKind, Form, Gauge, Identified, Kind, NextRequest, Operation, Source, SourceError, Variable,
};
use crate::metric::MetricName;
use crate::metric::quantity::Quantity;
use crate::oci::compartment::CompartmentId;
use crate::oci::consumer_group::{GroupId, GroupSummary};
use crate::oci::endpoint::Endpoint;
use crate::oci::queue::{QueueId, QueuePart, QueueStats, Stats};
use crate::oci::{self, Client};

mod connection;
mod control_plane;
mod errors;
mod listing;
mod parts;

use control_plane::ControlPlane;
use errors::{may_have_moved, of_queue, said_of};
use parts::{Aliases, CHANNEL, GROUP, KnownGroups, list_error};

/// Visible + in flight: all pending work.
const LENGTH: MetricName = MetricName::new("oci_queue_length");
/// Messages ready for delivery.
const VISIBLE: MetricName = MetricName::new("oci_queue_visible");
/// Messages delivered and not yet deleted.
const IN_FLIGHT: MetricName = MetricName::new("oci_queue_in_flight");
/// Bytes of both.
const SIZE_BYTES: MetricName = MetricName::new("oci_queue_size_bytes");
/// Visible + in flight of the dead-letter queue.
const DEAD_LETTERS: MetricName = MetricName::new("oci_queue_dead_letters");

/// Minimum interval between GetQueue requests for a queue that may have moved. The same as for lists in
/// [`parts`], for the same reasons.
const ASK_REST: Duration = Duration::from_secs(10);

/// The key of an entry that names a queue.
const QUEUE: &str = "queueId";
/// The key of an entry that lists the queues of a compartment.
const COMPARTMENT: &str = "compartmentId";

/// `type: oci-queue`.
pub const OCI_QUEUE: Kind = Kind {
    name: "oci-queue",
    label: "queue",
    metrics: &[DEAD_LETTERS, IN_FLIGHT, LENGTH, SIZE_BYTES, VISIBLE],
    // The names and the label of the exporter that existing dashboards use.
    gauges: &[
        Gauge { metric: LENGTH, help: "Messages in an OCI queue, visible and in flight" },
        Gauge { metric: VISIBLE, help: "Messages in an OCI queue that are ready for delivery" },
        Gauge { metric: IN_FLIGHT, help: "Messages in an OCI queue that are delivered and not yet deleted" },
    ],
    depths: &[LENGTH, VISIBLE],
    apart: &[],
    labels: &[],
    parts: &[CHANNEL, GROUP],
    forms: &[
        Form { key: COMPARTMENT, keys: OF_COMPARTMENT, label: None },
        Form { key: QUEUE, keys: OF_QUEUE, label: None },
    ],
    slow: false,
    connection: connection::OCI,
    // The variables of the same exporter: the `env` of its Deployment works without changes.
    environment: Some(Environment {
        variables: &[
            Variable { name: "OCI_QUEUE_ID", key: QUEUE, of_connection: false },
            Variable { name: "OCI_QUEUE_ENDPOINT", key: "endpoint", of_connection: false },
            Variable { name: "OCI_REGION", key: "region", of_connection: true },
            // Without it, the name of the source is the display name of the queue.
            Variable { name: "OCI_QUEUE_NAME", key: "name", of_connection: false },
        ],
        namespaces: "OCI_QUEUE_NAMESPACES",
    }),
    without_effect: &[],
    conflicts: |_| Vec::new(),
    changes: |_, _| Vec::new(),
    pods_of: None,
    warn: |_| Vec::new(),
};

const OF_COMPARTMENT: &[Key] = &[
    Key::new(
        COMPARTMENT,
        Shape::Text(Text { max_length: Some(255), ..Text::parsed::<CompartmentId>().pattern(COMPARTMENT_OCID) }),
        "The OCID of a compartment, or of a tenancy: every queue of it that is in use, by its display name.",
    )
    .required()
    .examples(&["ocid1.compartment.oc1..aaaaaaaaexample"]),
    keys::MATCH,
];

const OF_QUEUE: &[Key] = &[
    keys::NAME.required(),
    Key::new(
        QUEUE,
        Shape::Text(Text { max_length: Some(255), ..Text::parsed::<QueueId>().pattern(QUEUE_OCID) }),
        "The OCID of the queue.",
    )
    .required()
    .examples(&["ocid1.queue.oc1.eu-frankfurt-1.amaaaaexample"]),
    Key::new(
        "endpoint",
        Shape::Text(connection::ENDPOINT),
        "The queue's messages endpoint: https://HOST without path or user; http:// is for loopback addresses only. Default: the one that GetQueue returns.",
    )
    .examples(&["https://cell-1.queue.messaging.eu-frankfurt-1.oci.oraclecloud.com"]),
    parts::CHANNELS,
    parts::CONSUMER_GROUPS,
];

const QUEUE_OCID: &str = r"^ocid1\.queue\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)+\.[A-Za-z0-9_-]+$";
const COMPARTMENT_OCID: &str = r"^ocid1\.(compartment|tenancy)\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)+\.[A-Za-z0-9_-]+$";

struct QueueSource {
    client: Arc<Client>,
    id: QueueId,
    control_plane: ControlPlane,
    /// From the config. Never resolved, never replaced.
    fixed: Option<Endpoint>,
    found: Mutex<Found>,
    aliases: Aliases,
    groups: Mutex<KnownGroups>,
    /// Locked while groups are listed: all parts that are read at the same time share one list request.
    listing: tokio::sync::Mutex<()>,
}

/// The messages endpoint that GetQueue returned.
#[derive(Clone, Default)]
struct Found {
    endpoint: Option<Endpoint>,
    /// Reads there fail, and the queue may have moved to another cell. It is resolved again, and used
    /// until then.
    suspect: bool,
    /// When it may be resolved again.
    again: Option<Instant>,
}

// === impl QueueSource ===

impl QueueSource {
    /// A queue with the messages endpoint of the config, otherwise the one that was found, otherwise the
    /// one that GetQueue will return.
    fn new(
        client: Arc<Client>,
        id: QueueId,
        control_plane: ControlPlane,
        fixed: Option<Endpoint>,
        found: Option<Endpoint>,
        aliases: Aliases,
    ) -> Self {
        let found = Mutex::new(Found { endpoint: found, ..Found::default() });
        let (groups, listing) = Default::default();
        Self { client, id, control_plane, fixed, found, aliases, groups, listing }
    }

    fn identified(self) -> Identified {
        Identified { identity: self.id.to_string(), source: Box::new(self) }
    }

    async fn stats(&self, part: &Part, by: Instant) -> Result<Items, SourceError> {
        let channel = part.value(CHANNEL).map(|asked| self.aliases.channel(asked));
        let of = |group| self.of_part(QueuePart { channel, group }, by);
        let Some(asked) = part.value(GROUP) else { return of(None).await };
        let Some(known) = self.group(asked) else {
            // The list may use up the deadline. The next read then begins with its result.
            self.list_if_due(asked, by).await?;
            let found = self.group(asked).ok_or_else(|| self.groups().lacks(Instant::now()))?;
            return of(Some(&found)).await;
        };
        // Concurrently with the read: a list that is slow or fails does not affect it.
        let (figures, _) = join(of(Some(&known)), self.list_if_due(asked, by)).await;
        match self.group(asked) {
            Some(found) if found != known => of(Some(&found)).await,
            Some(_) => figures,
            None => Err(self.groups().lacks(Instant::now())),
        }
    }

    /// The values of a part, from the messages endpoint.
    async fn of_part(&self, part: QueuePart<'_>, by: Instant) -> Result<Items, SourceError> {
        let known = self.fixed.clone().or_else(|| self.found().endpoint.clone());
        let Some(known) = known else {
            let endpoint = self.ask_endpoint(by).await?;
            return self.stats_at(&endpoint, part, by).await;
        };
        if !self.asks_again(Instant::now()) {
            return self.stats_at(&known, part, by).await;
        }
        // Also concurrently. A read that succeeds does not wait for GetQueue.
        let (read, ask) = (pin!(self.stats_at(&known, part, by)), pin!(self.ask_endpoint(by)));
        let (failed, found) = match select(read, ask).await {
            Either::Left((Ok(figures), _)) => return Ok(figures),
            Either::Left((failed, ask)) => (failed, ask.await),
            Either::Right((found, read)) => (read.await, found),
        };
        match found {
            Ok(moved) if failed.is_err() && moved != known => self.stats_at(&moved, part, by).await,
            _ => failed,
        }
    }

    async fn stats_at(&self, endpoint: &Endpoint, part: QueuePart<'_>, by: Instant) -> Result<Items, SourceError> {
        let answer = self.client.get_stats(endpoint, &self.id, part, by).await;
        self.learn(endpoint, answer.as_ref().err());
        let error = match answer {
            Ok(stats) => {
                return items(&stats).map_err(|error| {
                    let about = format_args!("{} at {endpoint}", self.id);
                    SourceError { detail: said_of(&error.detail, about, error.request_id.as_deref()), ..error }
                });
            }
            Err(error) => error,
        };
        if part.group.is_some() && matches!(&error, oci::Error::Service(error) if error.status == 404) {
            self.groups().suspect();
        }
        Err(of_queue(Operation::Read, &self.id, endpoint, &error))
    }

    /// The consumer group of this alias or display name, as far as is known.
    fn group(&self, asked: &str) -> Option<GroupId> {
        self.aliases.group(asked).cloned().or_else(|| self.groups().find(asked))
    }

    /// Lists the consumer groups, if this name needs a newer list.
    async fn list_if_due(&self, asked: &str, by: Instant) -> Result<(), SourceError> {
        if self.aliases.group(asked).is_some() {
            return Ok(());
        }
        let listing = tokio::time::timeout_at(by, self.listing.lock()).await;
        let _listing = listing.map_err(|_| list_error(format_args!("{}", self.id), &oci::Error::timed_out()))?;
        if self.groups().is_due(asked, Instant::now()) {
            let listed = self.list_groups(by).await;
            let mut known = self.groups();
            if known.update(listed, Instant::now()) {
                self.tell_of_list(known.failure());
            }
        }
        Ok(())
    }

    fn tell_of_list(&self, failure: Option<&SourceError>) {
        let queue = self.id.as_str();
        match failure {
            Some(SourceError { cause, detail, remedy, .. }) => {
                tracing::warn!(
                    queue,
                    cause,
                    detail,
                    "cannot list the consumer groups; those that are known stay in use: {remedy}"
                );
            }
            None => tracing::info!(queue, "the consumer groups are listed again"),
        }
    }

    /// The OCID of a consumer group, or its name if the OCID is not known.
    fn group_meant(&self, asked: &str) -> String {
        self.group(asked).map_or_else(|| asked.to_ascii_lowercase(), |id| id.to_string())
    }

    async fn list_groups(&self, by: Instant) -> Result<Vec<GroupSummary>, SourceError> {
        let control_plane = self.control_plane.of(&self.client, by).await?;
        let groups = self.client.list_groups(&control_plane, &self.id, by).await;
        groups.map_err(|error| list_error(format_args!("{} at {control_plane}", self.id), &error))
    }

    /// Whether to resolve the endpoint again. Only the first of several concurrent reads gets `true`.
    fn asks_again(&self, now: Instant) -> bool {
        let mut found = self.found();
        let asks = self.fixed.is_none() && found.suspect && found.again.is_none_or(|again| now >= again);
        if asks {
            found.again = Some(now + ASK_REST);
        }
        asks
    }

    async fn ask_endpoint(&self, by: Instant) -> Result<Endpoint, SourceError> {
        let asked = self.get_queue(by).await;
        let now = Instant::now();
        let mut found = self.found();
        match &asked {
            Ok(endpoint) => {
                *found = Found { endpoint: Some(endpoint.clone()), suspect: false, again: Some(now + ASK_REST) };
            }
            Err(error) => found.again = Some(now + error.retry_after.map_or(ASK_REST, |said| said.max(ASK_REST))),
        }
        asked
    }

    async fn get_queue(&self, by: Instant) -> Result<Endpoint, SourceError> {
        let control_plane = self.control_plane.of(&self.client, by).await?;
        let queue = self.client.get_queue(&control_plane, &self.id, by).await;
        let queue = queue.map_err(|error| of_queue(Operation::Endpoint, &self.id, &control_plane, &error))?;
        // The value is not logged: a service may return a request, including its credentials.
        queue.messages_endpoint.parse().map_err(|_| {
            SourceError::new(
                Operation::Endpoint,
                ErrorKind::Transient,
                "GetQueue names a messages endpoint that is not HTTPS",
                "Set the source's `endpoint`.",
                format!("{} at {control_plane}", self.id),
            )
        })
    }

    /// Records how a read at this endpoint ended.
    fn learn(&self, endpoint: &Endpoint, error: Option<&oci::Error>) {
        let suspect = match error {
            None => false,
            Some(error) if may_have_moved(error, self.client.upstream().breaker_open(&endpoint.authority())) => true,
            // The error says nothing about the endpoint.
            Some(_) => return,
        };
        let mut found = self.found();
        // The endpoint may have been replaced meanwhile.
        if found.endpoint.as_ref() == Some(endpoint) {
            found.suspect = suspect;
        }
    }

    fn groups(&self) -> MutexGuard<'_, KnownGroups> {
        self.groups.lock()
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock()
    }
}

impl Source for QueueSource {
    fn identifier(&self) -> Option<&str> {
        Some(self.id.as_str())
    }

    fn read<'s>(&'s self, part: &'s Part, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        self.stats(part, by).boxed()
    }

    fn meant(&self, part: &Part) -> Part {
        part.iter().fold(Part::WHOLE, |meant, (label, asked)| match label {
            GROUP => meant.with(label, &self.group_meant(asked)),
            _ => meant.with(label, self.aliases.channel(asked)),
        })
    }

    fn upstream(&self) -> Option<NextRequest<'_>> {
        let messages = self.fixed.clone().or_else(|| self.found().endpoint.clone());
        let (endpoint, key) = match (messages, &self.control_plane) {
            (Some(messages), _) => (Some(messages), self.id.stats_path()),
            (None, ControlPlane::At(control)) => (Some(control.clone()), self.id.queue_path()),
            (None, ControlPlane::OfPrincipal(otherwise)) => (otherwise.clone(), self.id.queue_path()),
        };
        let host = endpoint.map(|endpoint| endpoint.authority());
        Some(NextRequest { upstream: self.client.upstream(), host, key })
    }
}

fn items(stats: &QueueStats) -> Result<Items, SourceError> {
    let nonsense = |what: &str| SourceError {
        operation: Operation::Decode,
        kind: ErrorKind::Transient,
        responded: true,
        cause: format!("GetStats answered with {what}"),
        remedy: "This is a failure on the OCI side: see its status page.",
        detail: format!("{:?} {:?}", stats.queue, stats.dlq),
        grant: None,
        request_id: stats.request_id.as_deref().map(Box::from),
        retry_after: None,
    };
    let negative =
        |stats: &Stats| stats.visible_messages < 0 || stats.in_flight_messages < 0 || stats.size_in_bytes < 0;
    if negative(&stats.queue) || negative(&stats.dlq) {
        return Err(nonsense("a negative number"));
    }
    let sum = |stats: &Stats| stats.visible_messages.checked_add(stats.in_flight_messages).and_then(Quantity::value);
    let [visible, in_flight] = [stats.queue.visible_messages, stats.queue.in_flight_messages].map(Quantity::value);
    let counts = (sum(&stats.queue), visible, in_flight, sum(&stats.dlq));
    let (Some(length), Some(visible), Some(in_flight), Some(dead)) = counts else {
        return Err(nonsense("numbers whose sum is above 9.2e15"));
    };
    let Some(size) = Quantity::value(stats.queue.size_in_bytes) else {
        return Err(nonsense("a size above 9.2e15 bytes"));
    };
    Ok(Items::one(vec![
        (LENGTH, length),
        (VISIBLE, visible),
        (IN_FLIGHT, in_flight),
        (SIZE_BYTES, size),
        (DEAD_LETTERS, dead),
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
        let read = items(&stats(12, 3)).unwrap();
        for (metric, value) in [(LENGTH, 15), (VISIBLE, 12), (IN_FLIGHT, 3), (SIZE_BYTES, 10), (DEAD_LETTERS, 0)] {
            assert_eq!(read.value(&metric), Some(Quantity::from_units(value)), "{metric}");
        }
        for metric in OCI_QUEUE.metrics {
            assert!(read.value(metric).is_some(), "{metric}");
        }
    }

    #[test]
    fn impossible_figures_are_errors() {
        const MAX: i64 = Quantity::UNITS_MAX;
        for (visible, in_flight) in [(-1, 0), (0, -5), (i64::MAX, 1), (MAX, 1), (MAX + 1, 0), (0, MAX + 1)] {
            assert_eq!(items(&stats(visible, in_flight)).unwrap_err().operation, Operation::Decode);
        }
        assert!(items(&stats(MAX - 1, 1)).is_ok());
        let sized = |queue: i64, dlq: i64| {
            let mut stats = stats(1, 0);
            (stats.queue.size_in_bytes, stats.dlq.size_in_bytes) = (queue, dlq);
            items(&stats).is_ok()
        };
        assert!(sized(MAX, MAX + 1), "the size of the dead-letter queue is not served");
        assert!(!sized(MAX + 1, 0) && !sized(-1, 0) && !sized(0, -1));
    }
}
