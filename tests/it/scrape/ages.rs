//! How old numbers of pods become while one of the pods hangs, in simulated time and without a network.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use depthgauge::exposition::MetricType;
use depthgauge::lookup::rules::{ItemAccess, ValueRules};
use depthgauge::lookup::{Catalog, LookupError, SourceConfig, Timing};
use depthgauge::metric::Namespace;
use depthgauge::metric::pattern::Pattern;
use depthgauge::selector::Selector;
use depthgauge::source::chosen::ItemRules;
use depthgauge::source::keys::{Value, Values};
use depthgauge::source::part::Part;
use depthgauge::source::scrape::SCRAPE;
use depthgauge::source::scrape::fleet::{Aggregation, Fleet, Rules, TargetRead};
use depthgauge::source::scrape::reading::Series;
use depthgauge::source::{
    Definition, ErrorKind, Identified, Items, KINDS, NextRequest, Opened, Operation, Source, SourceError,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// What a read of a pod that answers takes.
const TAKES: Duration = Duration::from_millis(50);

/// Pods with one job each, of which the first one may hang.
struct Pods {
    count: usize,
    hangs: Arc<AtomicBool>,
    fleet: Mutex<Fleet>,
    rules: ItemRules,
}

struct Scene {
    catalog: Catalog,
    hangs: Arc<AtomicBool>,
    _reader: tokio::task::JoinHandle<()>,
}

// === impl Pods ===

impl Pods {
    async fn items(&self, by: Instant) -> Result<Items, SourceError> {
        let hangs = self.hangs.load(Relaxed);
        tokio::time::sleep(TAKES).await;
        let at = Instant::now();
        if hangs {
            tokio::time::sleep_until(by).await;
        }
        let read = |pod: usize| {
            let job = Series {
                labels: Default::default(),
                value: 1.0,
                created: None,
                process: None,
                metric_type: MetricType::Gauge,
            };
            let timed_out = || SourceError::new(Operation::Read, ErrorKind::Transient, "timed out", "Start it.", "");
            let result = if hangs && pod == 0 { Err(timed_out()) } else { Ok(vec![job]) };
            TargetRead { uid: pod.to_string(), at, time: 0.0, result }
        };
        let now = Instant::now();
        let mut fleet = self.fleet.lock();
        let uids: Vec<String> = (0..self.count).map(|pod| pod.to_string()).collect();
        fleet.begin(&uids.iter().map(String::as_str).collect());
        (0..self.count).map(read).for_each(|read| fleet.add(read));
        Ok(self.rules.items(&fleet.points(now)?, "nothing")?.with_oldest(fleet.oldest(now)))
    }
}

impl Source for Pods {
    fn read<'s>(&'s self, _: &'s Part, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        self.items(by).boxed()
    }

    fn upstream(&self) -> Option<NextRequest<'_>> {
        None
    }
}

// === impl Scene ===

impl Scene {
    fn new(count: usize, refresh: Duration, max_age: Duration) -> Self {
        let hangs = Arc::new(AtomicBool::new(false));
        let rules = Rules { aggregation: Aggregation::Sum, by: Vec::new(), window: SECOND, refresh, max_age };
        let metric: Values = [("metric", Value::Text("jobs".to_owned()))].into_iter().collect();
        let (fleet, rules) = (Mutex::new(Fleet::new(rules)), ItemRules::of(&metric));
        let pods = Pods { count, hangs: hangs.clone(), fleet, rules };
        let config = SourceConfig {
            name: "jobs".to_owned(),
            kind: &SCRAPE,
            namespaces: vec![Pattern::new("*")],
            timing: Timing { refresh, max_age, ..Timing::default() },
            export: false,
            value_rules: ValueRules::default(),
            items: ItemAccess::default(),
            definition: Definition::default(),
            source: Opened::One(Identified { identity: "jobs".to_owned(), source: Box::new(pods) }),
        };
        let (catalog, reader) = Catalog::new(vec![config], KINDS, || Timestamp::UNIX_EPOCH);
        Self { catalog, hangs, _reader: tokio::spawn(reader.run()) }
    }

    async fn ask(&self) -> Result<i64, LookupError> {
        let samples = self.catalog.answer(&Namespace::new("shop"), "jobs", &Selector::default()).await?;
        Ok(samples[0].value.milli() / 1000)
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_twelve_pods_that_hangs_is_never_an_error() {
    for (refresh, max_age) in [(15, 60), (15, 50), (25, 60), (5, 60), (5, 8), (40, 60), (60, 60)] {
        let scene = Scene::new(12, refresh * SECOND, max_age * SECOND);
        let began = Instant::now();
        assert_eq!(scene.ask().await, Ok(12));
        scene.hangs.store(true, Relaxed);
        let mut last = 12;
        while began.elapsed() < 120 * SECOND {
            tokio::time::sleep(SECOND).await;
            let jobs = scene.ask().await;
            let after = began.elapsed();
            // From when on its number does not count, because it is too old.
            assert!(jobs == Ok(last) || jobs == Ok(11), "{refresh} {max_age} {after:?}: {jobs:?}");
            last = jobs.unwrap();
        }
        assert_eq!(last, 11, "{refresh} {max_age}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_hangs_has_one_message_for_the_whole_outage() {
    for (refresh, max_age) in [(5, 8), (5, 60), (15, 60), (8, 8)] {
        let scene = Scene::new(1, refresh * SECOND, max_age * SECOND);
        let began = Instant::now();
        assert_eq!(scene.ask().await, Ok(1));
        scene.hangs.store(true, Relaxed);
        let mut messages = BTreeSet::new();
        while began.elapsed() < 180 * SECOND {
            tokio::time::sleep(SECOND / 2).await;
            match scene.ask().await {
                Ok(jobs) => assert!(jobs == 1 && messages.is_empty(), "{jobs} {messages:?}"),
                Err(error) => _ = messages.insert(error.to_string()),
            }
        }
        assert_eq!(messages.len(), 1, "{refresh} {max_age}: {messages:?}");
        let message = messages.pop_first().unwrap();
        assert!(message.contains("1 of 1 pods can't be read: timed out"), "{message}");
    }
}
