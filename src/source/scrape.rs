//! The metrics that an application exposes itself, read from all ready pods of a Service, as a kind of source.
//! Without Prometheus in between, a value is as old as the last read.
//!
//! Each read brings all pods: [`crate::endpoints`] finds them, each is requested once, and the [`fleet`] makes
//! numbers of what they expose. At zero replicas there is nothing to read, so such a metric can't scale up from
//! zero.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::chosen::ItemRules;
use super::in_use::InUse;
use super::items::Items;
use super::keys::Values;
use super::part::Part;
use super::service::{self, Instances};
use super::{
    Connection, ConnectionType, Context, Definition, Form, Identified, Kind, NextRequest, OpenError, Opened, Place,
    Source, SourceError,
};
use crate::endpoints::Watched;
use crate::endpoints::slices::Target;
use crate::exposition::ACCEPT;
use crate::http::Protocol;
use crate::metric::Clock;
use crate::upstream::{Limits, Upstream};

pub mod counter;
mod errors;
pub mod fleet;
mod keys;
pub mod reading;

use fleet::{Aggregation, Fleet, TargetRead};
use keys::{AS, BY, PATH, PORT, SCHEME, SERIES, SERVICE, WINDOW, Wanted};

/// The most bytes of what a pod exposes: some 40,000 lines.
const BYTES_MAX: usize = 4 << 20;
/// The most pods that one source requests at a time. A pod answers within 100 ms, so 200 pods take less than 2 s.
const IN_FLIGHT: usize = 16;
/// The most pods that all sources request at a time. One source gets half of them, so that pods that hang are in
/// the way of their own source only. They bound the memory of what pods expose.
const ALL_IN_FLIGHT: usize = 64;
/// The most requests of all sources in a second: more than one core can send.
const ALL_PER_SECOND: u32 = 10_000;
/// The requests of a read are sent at random moments, within this time for each of them.
const SPREAD: Duration = Duration::from_millis(5);
/// The greatest share of the time of a read in which its requests are sent: a fourth.
const SPREAD_SHARE: u32 = 4;

/// `type: scrape`.
pub const SCRAPE: Kind = Kind {
    name: "scrape",
    label: "metric",
    metrics: &[],
    gauges: &[],
    depths: &[],
    apart: &[],
    labels: &[],
    parts: &[],
    forms: &[Form { key: SERVICE.name, keys: &[SERVICE, PORT, PATH, SCHEME, SERIES, AS, WINDOW, BY], label: None }],
    slow: false,
    connection: ConnectionType {
        name: "scrape",
        place: Place::Entry,
        doc: "The pods of a Service.",
        keys: &[service::KEYS],
        conflicts: service::conflicts,
        warn: |_| Vec::new(),
        connect: |_, context| Ok(Arc::new(Scrapes::new(context.clone()))),
    },
    environment: None,
    without_effect: &[],
    conflicts: keys::conflicts,
    changes: |_, _| Vec::new(),
    pods_of: Some(|entry| entry.parsed(SERVICE.name).ok().flatten()),
    warn: |definition: &Definition| keys::warnings(&definition.entry),
};

/// What opens the entries.
struct Scrapes {
    context: Context,
    pods: InUse<Values, Pods>,
    /// Bounds the requests of all sources together.
    all: Arc<Upstream>,
}

/// The pods of a Service. Entries with equal ones share them.
struct Pods {
    watched: Watched,
    instances: Instances,
}

/// Numbers of the pods of a Service.
struct Scraped {
    pods: Arc<Pods>,
    all: Arc<Upstream>,
    wanted: Wanted,
    identity: String,
    clock: Clock,
    fleet: Mutex<Fleet>,
    rules: ItemRules,
}

// === impl Scrapes ===

impl Scrapes {
    fn new(context: Context) -> Self {
        let limits = Limits { in_flight: ALL_IN_FLIGHT, ..Limits::new(ALL_PER_SECOND, "all sources of type scrape") };
        Self { context, pods: InUse::default(), all: Arc::new(Upstream::new(limits)) }
    }
}

impl Connection for Scrapes {
    fn open(&self, _form: &str, entry: &Values) -> Result<Opened, OpenError> {
        let wanted = Wanted::of(entry)?;
        let keys = keys::service_keys(entry, &wanted);
        let pods = self.pods.get_or_open(keys.clone(), || {
            // A failed request is repeated by the next read.
            let protocol = Protocol { attempts: 1, body_max: BYTES_MAX, ..Protocol::default() };
            let instances = Instances::open(&keys, &self.context, protocol, ACCEPT)?;
            Ok(Pods { instances, watched: self.context.endpoints.watch(wanted.service.clone()) })
        })?;
        let rules = ItemRules::of(entry);
        let Wanted { port, path, series, rules: numbers, .. } = &wanted;
        let identity =
            rules.identity(&format!("{} {port} {path} {series} {}", pods.instances.identity(), numbers.identity()));
        let source = Scraped {
            pods,
            all: self.all.clone(),
            identity: identity.clone(),
            clock: self.context.clock,
            fleet: Mutex::new(Fleet::new(wanted.rules.clone())),
            rules,
            wanted,
        };
        Ok(Opened::One(Identified { identity, source: Box::new(source) }))
    }
}

// === impl Scraped ===

impl Scraped {
    async fn items(&self, by: Instant) -> Result<Items, SourceError> {
        let targets = self.pods.watched.targets(&self.wanted.port, by).await;
        let targets = targets.map_err(|error| errors::unavailable(&error))?;
        let addresses: HashSet<SocketAddr> = targets.iter().map(|target| target.address).collect();
        self.pods.instances.retain(&addresses);
        self.fleet.lock().begin(&targets.iter().map(|target| &*target.uid).collect());
        let moments = moments(targets.len(), Instant::now(), by);
        let reads = targets.into_iter().zip(moments).enumerate();
        let reads = reads.map(|(at, (target, moment))| self.read_target(target, at == 0, moment, by));
        let mut reads = pin!(stream::iter(reads).buffer_unordered(IN_FLIGHT));
        // One by one, because the series of all pods may be many.
        while let Some(read) = reads.next().await {
            self.fleet.lock().add(read);
        }
        let now = Instant::now();
        let (points, oldest) = {
            let mut fleet = self.fleet.lock();
            (fleet.points(now)?, fleet.oldest(now))
        };
        let items = self.rules.items(&points, "no pod exposes a series that `series` selects")?;
        Ok(items.with_oldest(oldest))
    }

    /// `admitted`: the read waited for the turn of this request.
    async fn read_target(&self, target: Target, admitted: bool, moment: Instant, by: Instant) -> TargetRead {
        tokio::time::sleep_until(moment).await;
        let Target { uid, address } = target;
        // One owner of permits for each source.
        let owners = [self.identity.as_str()];
        let place = self.all.admit(Some("pods"), "", &owners, true);
        let (at, time, result) = match tokio::time::timeout_at(by, place).await {
            Ok(_place) => self.series_of(address, admitted, by).await,
            Err(_) => (Instant::now(), self.time(), Err(errors::crowded())),
        };
        TargetRead { uid, at, time, result }
    }

    /// When the response arrived, and what it has.
    async fn series_of(
        &self,
        address: SocketAddr,
        admitted: bool,
        by: Instant,
    ) -> (Instant, f64, Result<Vec<reading::Series>, SourceError>) {
        let response = match self.pods.instances.at(address) {
            Ok(pod) => self.pods.instances.get(&pod, &self.wanted.path, admitted, by).await,
            Err(error) => return (Instant::now(), self.time(), Err(errors::no_instance(address, &error))),
        };
        let (at, time) = (Instant::now(), self.time());
        let series = response.map_err(|failure| errors::source_error(address, &failure)).and_then(|response| {
            let format = errors::format(&response)?;
            let Wanted { series, rules, .. } = &self.wanted;
            let selected = reading::select(&response.body, format, series, time, rules.max_age);
            selected.map_err(|invalid| errors::invalid(address, &invalid))
        });
        (at, time, series)
    }

    /// In seconds since 1970.
    fn time(&self) -> f64 {
        (self.clock)().as_duration().as_secs_f64()
    }
}

impl Source for Scraped {
    fn read<'s>(&'s self, _: &'s Part, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        self.items(by).boxed()
    }

    /// The first request of a read waits for the rate. Each pod has its own breaker.
    fn upstream(&self) -> Option<NextRequest<'_>> {
        Some(self.pods.instances.next_request())
    }

    /// A rate needs two reads, so that the first request finds one.
    fn reads_from_start(&self) -> bool {
        self.wanted.rules.aggregation == Aggregation::Rate
    }
}

/// Random moments for this many requests, in order, so that the load on pods and depthgauge is
/// spread.
fn moments(count: usize, now: Instant, by: Instant) -> Vec<Instant> {
    let most = by.saturating_duration_since(now) / SPREAD_SHARE;
    let time = SPREAD.saturating_mul(u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX)).min(most);
    let mut moments: Vec<Instant> = (0..count).map(|_| now + time.mul_f64(fastrand::f64())).collect();
    moments.sort_unstable();
    moments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spread() {
        let now = Instant::now();
        let span = |count, seconds| {
            let moments = moments(count, now, now + Duration::from_secs(seconds));
            assert!(moments.len() == count && moments.is_sorted());
            moments.last().map(|last| *last - now)
        };
        assert_eq!((span(0, 3), span(1, 3)), (None, Some(Duration::ZERO)));
        // The last of 1,000 is near the end: with 3 s in the first 750 ms.
        let last = span(1000, 3).unwrap();
        assert!(last > Duration::from_millis(600) && last <= Duration::from_millis(750), "{last:?}");
        let last = span(101, 3).unwrap();
        assert!(last > Duration::from_millis(300) && last <= Duration::from_millis(500), "{last:?}");
    }
}
