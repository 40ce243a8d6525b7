//! A catalog of fake sources in simulated time: which sources a request selects.

use std::cell::Cell as StdCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;

use super::limits::{PARTS_MAX, PARTS_PER_SELECTOR};
use super::*;
use crate::metric::quantity::Quantity;
use crate::source::keys::Value;
use crate::source::part::Part;
use crate::source::{ErrorKind, Identified, Items, KINDS, NextRequest, Operation, Source, SourceError};
use crate::upstream::{Limits, Upstream};

mod freshness;
mod gauges;
mod lists;
mod meters;
mod parts;
mod rates;
mod replacing;
mod turns;
mod value_rules;
mod views;

thread_local! {
    static START: StdCell<Option<Instant>> = const { StdCell::new(None) };
}

/// The time of day, moved by tokio's paused clock.
fn clock() -> Timestamp {
    let start = START.get().unwrap_or_else(|| {
        START.set(Some(Instant::now()));
        Instant::now()
    });
    let base: Timestamp = "2026-11-22T14:00:00Z".parse().unwrap();
    base + (Instant::now() - start)
}

/// What the fake source does when it is read.
#[derive(Clone, Copy)]
enum Mood {
    /// With the seconds since the test began.
    Answers,
    /// With this value.
    Has(i64),
    /// Only as a whole.
    LacksParts,
    Fails(&'static str),
    /// Does not respond.
    Lost,
    /// Says that it is not there.
    Refuses,
    Hangs,
}

/// The failure of a service that does not respond.
const LOST: &str = "connection lost";

/// A source with a mood.
struct Fake {
    mood: Mutex<Mood>,
    reads: AtomicU64,
    ended: AtomicU64,
    takes: Duration,
    /// Gives turns while `queued` is set.
    service: Upstream,
    /// How long each read has to wait for its turn, if it is due 5 s after the one before began.
    queued: Mutex<Duration>,
    /// How long each read waits for the turn of a request that sources share.
    shared: Mutex<Duration>,
    /// The pause that a read which fails requires.
    retry_after: Mutex<Option<Duration>>,
}

impl Fake {
    fn new() -> Arc<Self> {
        clock();
        Arc::new(Self {
            mood: Mutex::new(Mood::Answers),
            reads: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            takes: Duration::from_millis(50),
            service: Upstream::new(Limits::new(2, "")),
            queued: Mutex::default(),
            shared: Mutex::default(),
            retry_after: Mutex::default(),
        })
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Those of them that are not going on.
    fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    fn figures(&self, length: i64) -> Items {
        let names = ["oci_queue_length", "oci_queue_visible", "oci_queue_size_bytes"];
        Items::one(names.map(|name| (MetricName::new(name), Quantity::from_milli(length * 1000))).to_vec())
    }
}

impl Source for Arc<Fake> {
    fn takes_turns(&self) -> bool {
        !self.shared.lock().unwrap().is_zero()
    }

    fn wait_turn<'s>(&'s self, _: &'s Part, _: Instant, _: Duration) -> BoxFuture<'s, ()> {
        let shared = *self.shared.lock().unwrap();
        tokio::time::sleep(shared).boxed()
    }

    fn upstream(&self) -> Option<NextRequest<'_>> {
        let waits = !self.queued.lock().unwrap().is_zero();
        waits.then(|| NextRequest { upstream: &self.service, host: None, key: String::new() })
    }

    fn read<'s>(&'s self, part: &'s Part, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        async move {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.owe();
            let judged = |cause: &str, kind| SourceError {
                operation: Operation::Read,
                kind,
                responded: true,
                cause: cause.into(),
                remedy: "Wait.",
                detail: String::new(),
                grant: None,
                request_id: None,
                retry_after: *self.retry_after.lock().unwrap(),
            };
            let error = |cause: &str| judged(cause, ErrorKind::Transient);
            let mood = *self.mood.lock().unwrap();
            tokio::time::sleep(self.takes).await;
            self.ended.fetch_add(1, Ordering::Relaxed);
            match mood {
                Mood::Answers => {
                    let seconds =
                        clock().as_second() - "2026-11-22T14:00:00Z".parse::<Timestamp>().unwrap().as_second();
                    Ok(self.figures(seconds))
                }
                Mood::Has(units) => Ok(self.figures(units)),
                Mood::LacksParts if !part.is_whole() => Err(judged("no such group", ErrorKind::NoSuchPart)),
                Mood::LacksParts => Ok(self.figures(1)),
                Mood::Fails(cause) => Err(error(cause)),
                Mood::Lost => Err(SourceError { responded: false, ..error(LOST) }),
                Mood::Refuses => Err(judged("404 NotAuthorizedOrNotFound", ErrorKind::NotFound)),
                Mood::Hangs => {
                    tokio::time::sleep_until(by).await;
                    Err(error("timed out"))
                }
            }
        }
        .boxed()
    }
}

struct Scene {
    catalog: Catalog,
    _reader: tokio::task::JoinHandle<()>,
}

/// A source of the config, which all namespaces read.
fn config_of(name: &str, fake: &Arc<Fake>) -> SourceConfig {
    SourceConfig {
        name: name.to_owned(),
        kind: KINDS[0],
        namespaces: vec![Pattern::new("*")],
        timing: Timing::default(),
        export: false,
        value_rules: ValueRules::default(),
        items: ItemAccess { sums: true, ..ItemAccess::default() },
        definition: Definition::default(),
        source: Opened::One(Identified { identity: name.to_owned(), source: Box::new(fake.clone()) }),
    }
}

/// The definition of an entry with this key.
fn defined(key: &str) -> Definition {
    Definition { entry: [("key", Value::Text(key.to_owned()))].into_iter().collect(), ..Definition::default() }
}

fn catalog_of(configs: Vec<SourceConfig>) -> Scene {
    let (catalog, reader) = Catalog::new(configs, KINDS, clock);
    Scene { catalog, _reader: tokio::spawn(reader.run()) }
}

fn scene(sources: &[(&str, &str, Arc<Fake>)]) -> Scene {
    scene_with(ValueRules::default(), sources)
}

/// All sources have these policies.
fn scene_with(value_rules: ValueRules, sources: &[(&str, &str, Arc<Fake>)]) -> Scene {
    let configs = sources.iter().map(|(name, namespace, fake)| SourceConfig {
        namespaces: vec![Pattern::new(*namespace)],
        value_rules,
        ..config_of(name, fake)
    });
    catalog_of(configs.collect())
}

impl Scene {
    async fn ask(&self, namespace: &str, selector: &str) -> Result<Vec<Sample>, LookupError> {
        let selector = Selector::parse(selector).unwrap();
        self.catalog.answer(&Namespace::new(namespace), "oci_queue_length", &selector).await
    }

    /// The age in seconds of the one answer.
    async fn age(&self) -> f64 {
        let samples = self.ask("shop", "queue=orders").await.unwrap();
        clock().duration_since(samples[0].timestamp).as_secs_f64()
    }

    /// The value and the rule of an answer of one item. `/status` shows the same.
    async fn told(&self, selector: &str) -> (i64, Option<String>) {
        let sample = self.ask("shop", selector).await.unwrap().remove(0);
        let value = sample.value.milli() / 1000;
        let told = (value, sample.labels.value(rules::LABEL).map(str::to_owned));
        for shown in self.shown(selector) {
            let shown = shown.map(|shown| (shown.value, shown.applied.map(|rule| rule.as_str().to_owned())));
            assert_eq!(shown, Some((Some(sample.value), told.1.clone())), "{selector}");
        }
        told
    }

    /// What `/status` shows for the consumer with this selector, for each of its readings.
    fn shown(&self, selector: &str) -> Vec<Option<state::Served>> {
        let selector = Selector::parse(selector).unwrap().to_string();
        let states = self.catalog.readings();
        let with_consumers = states.iter().flat_map(|state| state.consumers.iter().map(move |of| (state, of)));
        let this = with_consumers.filter(|(_, consumer)| consumer.selector == selector);
        this.map(|(state, consumer)| state.served_to(consumer)).collect()
    }

    /// Requests twice, so that values are read in the background, and takes two seconds.
    async fn kept(&self) {
        for _ in 0..2 {
            self.age().await;
            seconds(1.1).await;
        }
    }

    async fn sentence(&self) -> String {
        let error = self.ask("shop", "queue=orders").await.unwrap_err();
        let shown = self.shown("queue=orders");
        assert!(shown.iter().flatten().all(|served| served.value.is_none()), "{error} and {shown:?}");
        error.to_string()
    }
}

async fn seconds(n: f64) {
    tokio::time::sleep(Duration::from_secs_f64(n)).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_of_two_names_counts_once() {
    let fake = Fake::new();
    let again = Opened::One(Identified { identity: "orders".to_owned(), source: Box::new(fake.clone()) });
    let scene =
        catalog_of(vec![config_of("orders", &fake), SourceConfig { source: again, ..config_of("urgent", &fake) }]);
    for (selector, names) in [("", ["orders"]), ("queue in (urgent,orders)", ["orders"]), ("queue=urgent", ["urgent"])]
    {
        let samples = scene.ask("shop", selector).await.unwrap();
        let told: Vec<_> = samples.iter().filter_map(|sample| sample.labels.value("queue")).collect();
        assert_eq!(told, names, "{selector}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_without_sources_waits_as_long_as_there_is_a_catalog() {
    let (catalog, reader) = Catalog::new(Vec::new(), KINDS, clock);
    let reader = tokio::spawn(reader.run());
    seconds(3600.0).await;
    assert!(!reader.is_finished());
    drop(catalog);
    reader.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn namespaces_see_their_own_sources_and_no_others() {
    let scene = scene(&[("orders", "shop", Fake::new()), ("bills", "team-*", Fake::new())]);
    assert_eq!(scene.ask("shop", "").await.unwrap().len(), 1);
    assert_eq!(scene.ask("team-a", "").await.unwrap()[0].labels.value("queue"), Some("bills"));
    for (namespace, selector, message) in [
        ("shop", "queue=bills", "no queue that namespace \"shop\" may read matches queue=bills; it may read orders"),
        (
            "other",
            "queue=orders",
            "there is no queue of type oci-queue that namespace \"other\" may read: see `namespaces` in depthgauge's config",
        ),
        (
            "shop",
            "que=orders",
            "no such selector key for oci_queue_length: que; it can be selected by queue, channel, consumer-group, depthgauge.dev/activation, depthgauge.dev/fallback",
        ),
    ] {
        assert_eq!(scene.ask(namespace, selector).await.unwrap_err().to_string(), message);
    }
    let misspelt = scene.catalog.answer(&Namespace::new("shop"), "oci_queue_lenght", &Selector::default()).await;
    let (misspelt, meant) = (misspelt.unwrap_err().to_string(), "did you mean `oci_queue_length`? there are azure_");
    assert!(misspelt.starts_with(&format!("there is no metric \"oci_queue_lenght\"; {meant}")), "{misspelt}");
    assert!(misspelt.len() <= 400, "{misspelt}");
    let none = scene.catalog.answer(&Namespace::new("shop"), "oci_queue_len", &Selector::default()).await;
    assert_eq!(
        none.unwrap_err().to_string(),
        "there is no metric \"oci_queue_len\"; there are azure_servicebus_active_messages, azure_servicebus_dead_letter_messages, azure_servicebus_scheduled_messages, oci_queue_dead_letters, oci_queue_in_flight, oci_queue_length, oci_queue_size_bytes, oci_queue_visible, rabbitmq_queue_deliver_rate, rabbitmq_queue_length and 3 more"
    );
}
