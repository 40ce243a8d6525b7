//! OCI queues as a kind of source: the one place that knows both OCI's words and ours.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Figures, Kind, OpenError, Plan, Source, SourceError, Step};
use crate::document::{Fields, Problems};
use crate::metric::quantity::Quantity;
use crate::metric::{Clock, MetricName};
use crate::oci::credentials::Credentials;
use crate::oci::queue::{QueueId, QueueStats, Stats};
use crate::oci::region::Region;
use crate::oci::{self, Client, Endpoint, Unreachable, config_file};

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

/// `type: oci-queue`.
#[derive(Debug)]
pub struct OciQueue;

#[derive(Debug)]
struct QueuePlan {
    config_file: PathBuf,
    profile: String,
    region: Option<Region>,
    control_plane: Option<Endpoint>,
    queues: Vec<QueueEntry>,
}

#[derive(Debug)]
struct QueueEntry {
    id: QueueId,
    endpoint: Option<Endpoint>,
}

struct QueueSource {
    client: Arc<Client>,
    id: QueueId,
    control_plane: Endpoint,
    /// From the config; never asked for, never forgotten.
    fixed: Option<Endpoint>,
    found: Mutex<Found>,
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

    fn section(&self) -> &'static str {
        "oci"
    }

    fn decode(
        &self,
        section: Option<&mut Fields<'_>>,
        entries: &mut [&mut Fields<'_>],
        problems: &mut Problems,
    ) -> Option<Box<dyn Plan>> {
        let shared = match section {
            Some(section) => decode_section(section, problems),
            None => Some(QueuePlan::with_defaults()),
        };
        let queues: Vec<_> = entries.iter_mut().map(|entry| decode_entry(entry, problems)).collect();
        let queues = queues.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Box::new(QueuePlan { queues, ..shared? }))
    }
}

fn decode_section(section: &mut Fields<'_>, problems: &mut Problems) -> Option<QueuePlan> {
    let mut plan = QueuePlan::with_defaults();
    let mut sound = true;
    if let Some(node) = section.take("region") {
        let text = node.text(problems);
        plan.region = text.and_then(Region::find);
        if let (Some(text), None) = (text, plan.region) {
            problems.add(node.at(), format!("{text:?} is no known region; write its name, such as eu-frankfurt-1"));
        }
        sound &= plan.region.is_some();
    }
    if let Some(node) = section.take("endpoint") {
        plan.control_plane = node.parsed(problems);
        sound &= plan.control_plane.is_some();
    }
    if let Some(node) = section.take("auth") {
        let mut auth = node.fields(problems)?;
        match auth.require("type", problems).and_then(|node| Some((node, node.text(problems)?))) {
            Some((_, "apiKey")) => {}
            Some((node, other)) => {
                problems.add(node.at(), format!("auth type {other:?} is not supported; use apiKey"));
                sound = false;
            }
            None => sound = false,
        }
        if let Some(node) = auth.take("configFile") {
            plan.config_file = config_file::expand_home(node.text(problems)?);
        }
        if let Some(node) = auth.take("profile") {
            plan.profile = node.text(problems)?.to_owned();
        }
        auth.finish(problems);
    }
    sound.then_some(plan)
}

fn decode_entry(entry: &mut Fields<'_>, problems: &mut Problems) -> Option<QueueEntry> {
    let id = entry.require("queueId", problems).and_then(|node| node.parsed(problems));
    let (endpoint, sound) = match entry.take("endpoint").map(|node| node.parsed(problems)) {
        Some(endpoint) => (endpoint.clone(), endpoint.is_some()),
        None => (None, true),
    };
    Some(QueueEntry { id: id?, endpoint }).filter(|_| sound)
}

// === impl QueuePlan ===

impl QueuePlan {
    fn with_defaults() -> Self {
        Self {
            config_file: config_file::default_path(),
            profile: config_file::DEFAULT_PROFILE.to_owned(),
            region: None,
            control_plane: None,
            queues: Vec::new(),
        }
    }

    /// Where GetQueue of this queue is asked: the override, else by the region that is set, or
    /// the one in the OCID.
    fn control_plane(&self, id: &QueueId, region: Option<Region>) -> Result<Endpoint, OpenError> {
        if let Some(endpoint) = &self.control_plane {
            return Ok(endpoint.clone());
        }
        let Some(region) = region.or_else(|| Region::find(id.region())) else {
            return Err(OpenError(format!(
                "no known region for queue …{}: set `oci.region`, or `oci.endpoint` for a region that is not in the table",
                id.suffix()
            )));
        };
        region.queue_control_plane().parse().map_err(|error| OpenError(format!("{error}")))
    }
}

impl Plan for QueuePlan {
    fn open(self: Box<Self>, clock: Clock) -> Result<Vec<Box<dyn Source>>, OpenError> {
        let failed = |error: &dyn std::fmt::Display| OpenError(error.to_string());
        let credentials = Credentials::api_key(&self.config_file, &self.profile).map_err(|error| failed(&error))?;
        let named = credentials.region().map(str::to_owned).or_else(|| std::env::var("OCI_REGION").ok());
        let region = match (self.region, named) {
            (Some(region), _) => Some(region),
            (None, Some(named)) => Some(Region::find(&named).ok_or_else(|| {
                OpenError(format!("region {named:?} of the OCI profile or OCI_REGION is not known: set `oci.region`"))
            })?),
            (None, None) => None,
        };
        let client = Arc::new(Client::new(credentials, clock).map_err(|error| failed(&error))?);
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for QueueEntry { id, endpoint } in &self.queues {
            sources.push(Box::new(QueueSource {
                client: client.clone(),
                id: id.clone(),
                control_plane: self.control_plane(id, region)?,
                fixed: endpoint.clone(),
                found: Mutex::default(),
            }));
        }
        Ok(sources)
    }
}

// === impl QueueSource ===

impl QueueSource {
    async fn stats(&self, by: Instant) -> Result<Figures, SourceError> {
        let endpoint = self.endpoint(by).await?;
        match self.client.get_stats(&endpoint, &self.id, by).await {
            Ok(stats) => figures(&stats),
            Err(error) => {
                if may_have_moved(&error) {
                    self.found().suspect = true;
                }
                Err(source_error(Step::Read, &error))
            }
        }
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
        let queue = self.client.get_queue(&self.control_plane, &self.id, by).await;
        let queue = queue.map_err(|error| source_error(Step::Endpoint, &error))?;
        let endpoint: Endpoint = queue.messages_endpoint.parse().map_err(|error| SourceError {
            step: Step::Endpoint,
            cause: "GetQueue names a messages endpoint that is not HTTPS".to_owned(),
            remedy: "Set the source's `endpoint`.",
            detail: format!("{error}"),
        })?;
        *self.found() = Found { endpoint: Some(endpoint.clone()), suspect: false };
        Ok(endpoint)
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        // Whole assignments only: a panic leaves nothing half made.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for QueueSource {
    fn read(&self, by: Instant) -> BoxFuture<'_, Result<Figures, SourceError>> {
        self.stats(by).boxed()
    }
}

fn figures(stats: &QueueStats) -> Result<Figures, SourceError> {
    let nonsense = |what: &str| SourceError {
        step: Step::Decode,
        cause: format!("GetStats answered with {what}"),
        remedy: "This is trouble of the service: see its status page.",
        detail: format!("{stats:?}"),
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

fn may_have_moved(error: &oci::Error) -> bool {
    match error {
        oci::Error::Unreachable(..) | oci::Error::TimedOut => true,
        oci::Error::Service(error) => error.status == 404,
        oci::Error::Unsigned | oci::Error::Nonsense(_) => false,
    }
}

fn source_error(step: Step, error: &oci::Error) -> SourceError {
    let (step, remedy) = match error {
        oci::Error::Unsigned => (Step::SignIn, "Use an RSA key of 2048 bits or more."),
        oci::Error::Nonsense(_) => (Step::Decode, "Check that the endpoint is OCI Queue and no proxy answers for it."),
        oci::Error::TimedOut => (step, "Check the way from this pod to the endpoint, and the service's status."),
        oci::Error::Unreachable(Unreachable::Tls, _) => {
            (step, "Check that the endpoint's certificate is trusted here.")
        }
        oci::Error::Unreachable(..) => {
            (step, "Check the way from this pod to the endpoint: DNS, NetworkPolicy, service gateway.")
        }
        oci::Error::Service(error) => (step, service_remedy(error)),
    };
    let cause = match error {
        // What exactly is wrong with an answer may differ from one to the next.
        oci::Error::Nonsense(_) => "the answer is not understood".to_owned(),
        _ => error.to_string(),
    };
    SourceError { step, cause, remedy, detail: detail(error) }
}

fn service_remedy(error: &oci::ServiceError) -> &'static str {
    match error.status {
        401 if error.clock_skewed => "Set the clock of this node (NTP).",
        401 => "Check tenancy, user, fingerprint and key of the OCI profile.",
        403 | 404 => {
            "No such queue or no policy: check `queueId` and region, and that a policy allows this principal to use it."
        }
        429 => "Raise `refresh`, or ask for a higher service limit.",
        300..=399 => "Set `endpoint` to the address of the service itself; redirects are not followed.",
        500.. => "This is trouble of the service: see its status page.",
        _ => "The log has the service's message.",
    }
}

/// Everything, for the log: the message of the service and every inner error.
fn detail(error: &oci::Error) -> String {
    let mut text = match error {
        oci::Error::Service(service) => {
            let request_id = service.request_id.as_deref().unwrap_or("none");
            format!("{error}: {} (opc-request-id {request_id})", service.message)
        }
        _ => error.to_string(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(visible: i64, in_flight: i64) -> QueueStats {
        let zero = Stats { visible_messages: 0, in_flight_messages: 0, size_in_bytes: 0 };
        let queue = Stats { visible_messages: visible, in_flight_messages: in_flight, size_in_bytes: 10 };
        QueueStats { queue, dlq: zero }
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
