//! How often the service is asked, and over how many connections.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use depthgauge::lookup::rules::{ItemAccess, ValueRules};
use depthgauge::lookup::{Catalog, SourceConfig, Timing};
use depthgauge::metric::pattern::Pattern;
use depthgauge::metric::quantity::Quantity;
use depthgauge::oci::credentials::Credentials;
use depthgauge::oci::{Client, Settings};
use depthgauge::source::part::Part;
use depthgauge::source::{Definition, ErrorKind, Identified, Items, KINDS, NextRequest, Opened, Source, SourceError};
use depthgauge_emulator::fault::{Fault, Rule};
use depthgauge_emulator::operation::Operation;
use depthgauge_emulator::profile::Profile;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{LONG, failure, length, open, open_at, read};
use crate::support::double::Double;
use crate::support::oci::{Oci, source};
use crate::support::relay::Relay;

fn stats(visible: u32) -> String {
    let of = |visible| json!({"visibleMessages": visible, "inFlightMessages": 0, "sizeInBytes": 0});
    json!({"queue": of(visible), "dlq": of(0)}).to_string()
}

async fn oci() -> (Oci, String) {
    let oci = Oci::with_queues(&["orders"]).await;
    oci.put("orders", 3);
    let config = oci.config(&json!({}), &[source("orders", &["shop"])]);
    (oci, config)
}

#[tokio::test]
async fn many_reads_share_one_connection() {
    let (oci, config) = oci().await;
    let relay = Relay::to(oci.address).await;
    let source = open_at(&config, &format!("http://{}", relay.address), &json!({}));
    for _ in 0..20 {
        assert_eq!(length(&*source).await, "3");
    }
    assert_eq!(relay.asked().len(), 1);
}

#[tokio::test]
async fn a_failure_that_passes_is_repeated_within_the_read_and_signed_anew() {
    let (_oci, config) = oci().await;
    for (status, code) in [(500, ""), (503, ""), (409, "IncorrectState")] {
        let asked = std::sync::atomic::AtomicU32::new(0);
        let double = Double::start(None, move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 | 1 => (status, json!({"code": code, "message": "later"}).to_string()),
            _ => (200, stats(7)),
        })
        .await;
        let source = open_at(&config, &format!("http://{}", double.address), &json!({}));
        assert_eq!(length(&*source).await, "7", "{status}");
        assert_eq!(double.count(), 3);
        let ids: Vec<String> =
            double.received().iter().map(|request| request.header("opc-request-id").to_owned()).collect();
        assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
    }
}

#[tokio::test]
async fn a_failure_that_stays_is_not_repeated() {
    let (_oci, config) = oci().await;
    for (status, code) in [
        (400, "InvalidParameter"),
        (403, "NotAuthorized"),
        (404, "NotFound"),
        (409, "Conflict"),
        (429, "TooManyRequests"),
        (501, ""),
    ] {
        let double = Double::start(None, move |_| (status, json!({"code": code, "message": "no"}).to_string())).await;
        let source = open_at(&config, &format!("http://{}", double.address), &json!({}));
        read(&*source, LONG).await.unwrap_err();
        assert_eq!(double.count(), 1, "{status}");
    }
}

#[tokio::test]
async fn an_outage_is_not_asked_more_often_than_a_sound_service() {
    let (_oci, config) = oci().await;
    let double = Double::start(None, |_| (500, String::new())).await;
    let source = open_at(&config, &format!("http://{}", double.address), &json!({}));
    for _ in 0..5 {
        assert_eq!(failure(&*source, LONG).await, ("read", "500".to_owned()));
    }
    let met = double.count();
    assert!(met <= 9, "{met} requests for 5 reads");
    // Down: the same words, and hardly a request.
    for _ in 0..200 {
        assert_eq!(failure(&*source, LONG).await, ("read", "500".to_owned()));
    }
    assert!(double.count() <= 14, "{} requests for 205 reads", double.count());
}

#[tokio::test]
async fn a_queue_that_fails_alone_stops_no_other_at_its_endpoint() {
    let oci = Oci::with_queues(&["orders", "broken"]).await;
    oci.put("orders", 3);
    let config = oci.config(&json!({}), &[source("orders", &["shop"]), source("broken", &["shop"])]);
    let sources = super::open_all(&config);
    let rule = Rule { queue: Some("broken".to_owned()), ..Rule::from(Fault::Status(StatusCode::BAD_GATEWAY)) };
    oci.set_faults(vec![rule]);
    for _ in 0..20 {
        for _ in 0..20 {
            read(&*sources[1], LONG).await.unwrap_err();
        }
        assert_eq!(length(&*sources[0]).await, "3");
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_by_the_next_read_and_no_read_waits_for_it() {
    let (oci, config) = oci().await;
    let source = open(&config);
    assert_eq!(length(&*source).await, "3");
    let in_two_seconds = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    for said in ["1".to_owned(), httpdate::fmt_http_date(in_two_seconds.into())] {
        let headers: HeaderMap = [(RETRY_AFTER, HeaderValue::from_str(&said).unwrap())].into_iter().collect();
        let throttled = Fault::Status(StatusCode::TOO_MANY_REQUESTS);
        oci.set_faults(vec![Rule { headers, operation: Some(Operation::GetStats), ..Rule::from(throttled) }]);
        let before = oci.queue("orders").reads();
        let began = Instant::now();
        assert_eq!(failure(&*source, LONG).await, ("read", "429 TooManyRequests".to_owned()));
        assert!(began.elapsed() < Duration::from_secs(1), "a read does not wait for it");
        oci.set_fault(None);
        // The queue as a whole and each of its parts.
        for part in [Part::WHOLE, Part::WHOLE.with("channel", "eu")] {
            drop(source.admit(&[], false).await);
            let error = source.read(&part, tokio::time::Instant::now() + LONG).await.unwrap_err();
            assert_eq!(
                (error.operation, error.cause.as_str()),
                (depthgauge::source::Operation::Read, "429 TooManyRequests")
            );
            assert!(error.retry_after.is_some_and(|left| left <= Duration::from_secs(2)), "{error:?}");
        }
        assert!(began.elapsed() < Duration::from_millis(900), "{said}: {:?}", began.elapsed());
        assert_eq!(oci.queue("orders").reads(), before);
        let value = loop {
            match read(&*source, LONG).await {
                Ok(figures) => break figures.value(&super::LENGTH).unwrap().to_string(),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
            assert!(began.elapsed() < LONG);
        };
        // A date has whole seconds, so it may be almost one second less.
        assert!(began.elapsed() >= Duration::from_millis(900), "{said}: {:?}", began.elapsed());
        assert_eq!((value.as_str(), oci.queue("orders").reads()), ("3", before + 1));
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_by_whatever_is_asked_for_a_read() {
    let (oci, config) = oci().await;
    oci.queue("orders").set_group("billing", true);
    let group = Part::WHOLE.with("consumer-group", "billing");
    let said = Duration::from_secs(2);
    for (operation, step) in [
        (Operation::GetQueue, depthgauge::source::Operation::Endpoint),
        (Operation::ListConsumerGroups, depthgauge::source::Operation::List),
    ] {
        let source = open(&config);
        let headers: HeaderMap = [(RETRY_AFTER, HeaderValue::from_static("2"))].into_iter().collect();
        let throttled = Fault::Status(StatusCode::TOO_MANY_REQUESTS);
        oci.set_faults(vec![Rule { headers, operation: Some(operation), ..Rule::from(throttled) }]);
        let by = tokio::time::Instant::now() + LONG;
        let error = source.read(&group, by).await.unwrap_err();
        assert!(error.operation == step && error.retry_after.is_some_and(|wait| wait <= said), "{error:?}");
        assert!(error.retry_after > Some(said / 2), "{error:?}");
        oci.set_fault(None);
    }
}

#[tokio::test]
async fn each_request_counts_and_not_each_read() {
    let (_oci, config) = oci().await;
    let double =
        Double::start(None, |_| (409, json!({"code": "IncorrectState", "message": "later"}).to_string())).await;
    let source = open_at(&config, &format!("http://{}", double.address), &json!({"maxRequestsPerSecond": 10}));
    let began = Instant::now();
    for _ in 0..5 {
        drop(source.admit(&[], false).await);
        read(&*source, LONG).await.unwrap_err();
    }
    drop(source.admit(&[], false).await);
    let met = u32::try_from(double.count()).unwrap();
    // Three for the first reads, and one for the last: see the budget of repetitions.
    assert!((8..=10).contains(&met), "{met} requests for 5 reads");
    let least = Duration::from_millis(100) * met - Duration::from_millis(50);
    assert!(began.elapsed() >= least, "{met} in {:?}", began.elapsed());
}

#[tokio::test]
async fn pages_and_getqueue_count_as_well() {
    let oci = Oci::with_queues(&["orders"]).await;
    let mut config: Value = serde_json::from_str(&oci.config(&json!({}), &[source("orders", &["shop"])])).unwrap();
    config["oci"]["maxRequestsPerSecond"] = json!(5);
    let source = open(&config.to_string());
    drop(source.admit(&[], false).await);
    // GetQueue, the list and the figures.
    oci.queue("orders").set_group("billing", true);
    let group = Part::WHOLE.with("consumer-group", "billing");
    let began = Instant::now();
    source.read(&group, tokio::time::Instant::now() + LONG).await.unwrap();
    drop(source.admit(&[], false).await);
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
}

/// A source without sockets that takes the turns of a real client.
#[derive(Clone)]
struct Paced {
    client: Arc<Client>,
    fails: bool,
    reads: Arc<Mutex<Vec<tokio::time::Instant>>>,
}

impl Source for Paced {
    fn upstream(&self) -> Option<NextRequest<'_>> {
        Some(NextRequest { upstream: self.client.upstream(), host: None, key: String::new() })
    }

    fn read<'s>(&'s self, _: &'s Part, _: tokio::time::Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        self.reads.lock().unwrap().push(tokio::time::Instant::now());
        let error = || SourceError {
            operation: depthgauge::source::Operation::Read,
            kind: ErrorKind::Transient,
            responded: true,
            cause: "500".to_owned(),
            remedy: "Wait.",
            detail: String::new(),
            grant: None,
            request_id: None,
            retry_after: None,
        };
        let figures = || Items::one(vec![(super::LENGTH, Quantity::from_units(1))]);
        std::future::ready(if self.fails { Err(error()) } else { Ok(figures()) }).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn queues_that_fail_are_not_in_the_way_of_those_that_are_well() {
    crate::support::crypto();
    let dir = tempfile::tempdir().unwrap();
    let profile = Profile::make(dir.path(), "eu-frankfurt-1").unwrap();
    let credentials = Credentials::api_key(&profile.config_file, "DEFAULT").unwrap();
    let settings = Settings { reads_per_second: 10, ..Settings::default() };
    let client = Arc::new(Client::with(settings, credentials, jiff::Timestamp::now));
    let paced: Vec<Paced> =
        (0..105).map(|n| Paced { client: client.clone(), fails: n >= 5, reads: Arc::default() }).collect();
    let bindings = paced.iter().enumerate().map(|(n, source)| SourceConfig {
        name: format!("queue-{n}"),
        kind: KINDS[0],
        namespaces: vec![Pattern::new("*")],
        timing: Timing::default(),
        export: true,
        value_rules: ValueRules::default(),
        items: ItemAccess { sums: true, ..ItemAccess::default() },
        definition: Definition::default(),
        source: Opened::One(Identified { identity: n.to_string(), source: Box::new(source.clone()) }),
    });
    let (catalog, reader) = Catalog::new(bindings.collect(), KINDS, jiff::Timestamp::now);
    let reader = tokio::spawn(reader.run());
    tokio::time::sleep(Duration::from_secs(300)).await;
    reader.abort();
    drop(catalog);
    let longest = |source: &Paced| {
        let reads = source.reads.lock().unwrap();
        assert!(reads.len() > 10, "{} reads", reads.len());
        reads.windows(2).map(|two| two[1] - two[0]).max().unwrap()
    };
    for (n, well) in paced.iter().take(5).enumerate() {
        // All of them in turn: 105 at 10 a second.
        assert!(longest(well) <= Duration::from_secs(15), "queue-{n}: {:?}", longest(well));
    }
}

#[tokio::test]
async fn reads_take_turns_and_places() {
    let (_oci, config) = oci().await;
    let source = open_at(&config, "http://127.0.0.1:1", &json!({"maxRequestsPerSecond": 1000}));
    let began = Instant::now();
    let mut turns = Vec::new();
    for _ in 0..64 {
        turns.push(source.admit(&[], false).await);
    }
    assert!(began.elapsed() >= Duration::from_millis(50), "{:?}", began.elapsed());
    let another = tokio::time::timeout(Duration::from_millis(200), source.admit(&[], true)).await;
    assert!(another.is_err(), "64 are under way");
    turns.pop();
    drop(source.admit(&[], true).await);
}
