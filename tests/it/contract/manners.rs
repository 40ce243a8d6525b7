//! How depthgauge treats a service: what its owner can rely on. Requests are counted, and nothing
//! waits for time to pass except where the limit is a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{
    Expected, KINDS, Kind, Outcome, Place, Protocol, Received, Reply, Scene, Service, Shape, authorization, line_with,
    parts, values_path,
};
use crate::known_faults;
use crate::support::eventually;
use crate::support::log::{Log, captured};

/// Timing of sources that are read often, with a time-out that ends only a test that fails.
fn often() -> serde_json::Value {
    json!({"refresh": "50ms", "timeout": "20s", "maxAge": "20s"})
}

/// A rate that limits nothing here.
const FAST: u32 = 10_000;
/// Sources above the limit of requests under way.
const MORE: usize = 16;
/// Failures in a row after which a host is probed only.
const FAILURES: usize = 10;
/// Less than the time from one probe to the next, and far more than from one read to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// What a request may make up for because the one before it came late.
const LATE: Duration = Duration::from_millis(100);
/// What an answer from memory takes at most.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A service of this kind, whose good answers go through `change`.
async fn service(
    kind: &'static dyn Kind,
    change: impl Fn(&Received, &Place, Reply) -> Reply + Send + Sync + 'static,
) -> Service {
    let operation = kind.operations()[0];
    Service::start(Protocol::Http, move |request, place| {
        let body = match operation.is(request) {
            true => operation.answer(Shape::Value, place, "").1,
            false => operation.answer_beside(request, place),
        };
        change(request, place, Reply::json(body))
    })
    .await
}

/// What a good answer brings.
fn value(kind: &dyn Kind) -> String {
    match kind.operations()[0].expected(Outcome::Shape(Shape::Value)) {
        Expected::Value(value) => value.to_owned(),
        other @ (Expected::NotFound | Expected::Unavailable | Expected::Unknown) => {
            panic!("{}: {other:?}", kind.name())
        }
    }
}

#[tokio::test]
async fn a_host_gets_no_more_requests_at_a_time_than_the_limit() {
    for kind in KINDS {
        let (limit, gate) = (kind.in_flight(), Arc::new(Semaphore::new(0)));
        let closed = gate.clone();
        let service = service(*kind, move |_, _, good| Reply::Gated(closed.clone(), Box::new(good))).await;
        let sources = limit + MORE;
        // One read of each.
        let timing = json!({"refresh": "60s", "timeout": "20s"});
        let scene = Scene::start(kind.sources(&service.place, sources, FAST), timing).await;
        // More than one connection may carry.
        let hpa = scene.server.aggregator("hpa");
        let answers = (0..sources).map(|number| {
            let (metric, selector) = kind.query_of(number);
            (hpa.clone(), values_path("shop", metric, &selector))
        });
        let answers = answers.map(|(hpa, path)| async move { hpa.get(&path).await });
        let answers = tokio::spawn(join_all(answers));
        eventually("the limit", async || (service.in_flight() >= limit).then_some(())).await;
        // Another one would come while these are answered.
        let operator = scene.server.aggregator("operator").connect().await.unwrap();
        for _ in 0..MORE {
            assert_eq!(operator.get("/status").await.status, 200);
        }
        assert_eq!(service.in_flight(), limit, "{}", kind.name());
        gate.add_permits(sources);
        for answer in answers.await.unwrap() {
            assert_eq!(answer.served(), Ok(vec![value(*kind)]));
        }
        assert_eq!((service.most_in_flight(), service.count()), (limit, sources), "{}", kind.name());
    }
}

#[tokio::test]
async fn a_connection_makes_no_more_requests_a_second_than_the_config_says() {
    for kind in KINDS {
        let service = service(*kind, |_, _, good| good).await;
        let scene = Scene::start(kind.sources(&service.place, 5, 1), json!({"refresh": "60s", "timeout": "20s"})).await;
        let began = Instant::now();
        let _answers = tokio::spawn(join_all((0..5).map(|number| scene.get(&kind.query_of(number)))));
        let requests = eventually("three requests", async || Some(service.count()).filter(|count| *count >= 3)).await;
        let seconds = (began.elapsed() + LATE).as_secs();
        assert!(requests as u64 <= 1 + seconds, "{}: {requests} requests in {seconds} s", kind.name());
    }
}

#[tokio::test]
async fn a_host_that_fails_ten_times_in_a_row_is_only_probed_until_it_answers() {
    for kind in KINDS {
        let down = Arc::new(AtomicBool::new(true));
        let (is_down, name) = (down.clone(), kind.name());
        let service = service(*kind, move |_, _, good| match is_down.load(Relaxed) {
            true => Reply::status(503, kind.error(503, "down")),
            false => good,
        })
        .await;
        let scene = Scene::start(kind.sources(&service.place, 1, FAST), often()).await;
        let query = kind.query_of(0);
        let message = scene.get(&query).await.served();
        assert!(matches!(message, Err((503, _))), "{name}: {message:?}");
        eventually("a probe", async || {
            assert_eq!(scene.get(&query).await.served(), message, "{name}");
            (service.count() > FAILURES).then_some(())
        })
        .await;
        let times: Vec<Instant> = service.requests().iter().map(|(time, _)| *time).collect();
        let pause = times[FAILURES] - times[FAILURES - 1];
        assert!(pause >= PAUSE, "{name}: {pause:?} from failure {FAILURES} to the next request");
        down.store(false, Relaxed);
        eventually("a value", async || (scene.get(&query).await.served() == Ok(vec![value(*kind)])).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn a_host_that_refuses_the_credentials_is_not_one_that_fails() {
    for kind in KINDS {
        let service = service(*kind, |_, _, _| Reply::status(401, kind.error(401, "no"))).await;
        let scene = Scene::start(kind.sources(&service.place, 1, FAST), often()).await;
        let query = kind.query_of(0);
        eventually("requests after ten refusals", async || {
            let _answer = scene.get(&query).await;
            (service.count() >= FAILURES + 3).then_some(())
        })
        .await;
        let times: Vec<Instant> = service.requests().iter().map(|(time, _)| *time).collect();
        let time = times[FAILURES + 2] - times[FAILURES - 1];
        // Three probes take longer.
        assert!(time < 3 * PAUSE, "{}: {time:?} for three requests", kind.name());
    }
}

#[test]
fn a_401_renews_the_credentials_once_and_they_are_not_shown() {
    captured(renewals);
}

async fn renewals(log: Log) {
    for kind in KINDS {
        for accepted in [true, false] {
            // The credentials change while the request with the old ones is under way.
            let service = service(*kind, move |request, place, good| {
                if !kind.is_renewed(request) {
                    kind.renew(place);
                } else if accepted {
                    return good;
                }
                Reply::status(401, kind.error(401, &authorization(request)))
            })
            .await;
            let Some((config, query)) = kind.renewable(&service.place) else { continue };
            let mut secrets = kind.secrets(&service.place);
            // One read.
            let scene = Scene::start(config, json!({"refresh": "60s", "timeout": "20s"})).await;
            let answer = scene.get(&query).await;
            match (accepted, answer.served()) {
                (true, Ok(values)) if values == [value(*kind)] => {}
                (false, Err((503, _))) => {}
                (_, other) => panic!("{}, accepted {accepted}: {other:?}", kind.name()),
            }
            let requests = service.requests();
            let renewed: Vec<bool> = requests.iter().map(|(_, request)| kind.is_renewed(request)).collect();
            assert_eq!(renewed, [false, true], "{}", kind.name());
            secrets.extend(kind.secrets(&service.place));
            secrets.extend(requests.iter().flat_map(|(_, request)| parts(&authorization(request))));
            let status = scene.server.aggregator("operator").get("/status").await.body;
            let shown = [log.text(), status, format!("{:?} {}", answer.headers, answer.body)];
            for text in shown {
                let line = line_with(&text, &secrets);
                assert!(line.is_none(), "{}: a secret is in {line:?}", kind.name());
            }
        }
    }
    assert!(log.text().contains("depthgauge"), "nothing is logged");
}

#[tokio::test]
async fn an_item_beside_a_throttled_one_is_answered_at_once() {
    let mut cells = Vec::new();
    for kind in KINDS {
        let throttles = Arc::new(AtomicBool::new(false));
        let (is_throttled, refused) = (throttles.clone(), Arc::new(AtomicUsize::new(0)));
        let refusals = refused.clone();
        let service = service(*kind, move |_, _, good| {
            if !is_throttled.load(Relaxed) {
                return good;
            }
            refusals.fetch_add(1, Relaxed);
            Reply::status(429, kind.error(429, "slowly")).with_header("retry-after: 30")
        })
        .await;
        let Some((config, [throttled, known, unknown])) = kind.items(&service.place) else { continue };
        let result = known_faults::outcome(async {
            let scene = Scene::start(config, often()).await;
            for query in [&throttled, &known] {
                assert_eq!(scene.get(query).await.served(), Ok(vec![value(*kind)]));
            }
            throttles.store(true, Relaxed);
            eventually("a 429", async || {
                let _answer = scene.get(&throttled).await;
                (refused.load(Relaxed) > 0).then_some(())
            })
            .await;
            let at_once = async |query| {
                let answer = tokio::time::timeout(AT_ONCE, scene.get(query)).await;
                answer.unwrap_or_else(|_| panic!("no answer within {AT_ONCE:?}")).served()
            };
            let answer = at_once(&unknown).await;
            assert!(matches!(answer, Err((503, _))), "{answer:?}");
            // Until the value would have been read again: it is as old as `refresh` and a second.
            let refused = Instant::now();
            while refused.elapsed() < Duration::from_secs(3) {
                // The last good value, which is younger than `maxAge`.
                assert_eq!(at_once(&known).await, Ok(vec![value(*kind)]));
            }
        })
        .await;
        cells.push((format!("contract beside a throttled item: {}", kind.name()), result));
    }
    known_faults::check_all("contract beside a throttled item: ", cells);
}

#[tokio::test]
async fn one_request_costs_one_read() {
    let mut cells = Vec::new();
    for kind in KINDS {
        let service = service(*kind, |_, _, good| good).await;
        let result = known_faults::outcome(async {
            let scene = Scene::start(kind.sources(&service.place, 2, FAST), often()).await;
            let (curious, regular) = (kind.query_of(0), kind.query_of(1));
            assert_eq!(scene.get(&curious).await.served(), Ok(vec![value(*kind)]));
            let first = kind.read_of(&service.requests()[0].1);
            let reads = || {
                let requests = service.requests();
                let curious = requests.iter().filter(|(_, request)| kind.read_of(request) == first).count();
                (curious, requests.len() - curious)
            };
            // The reads of another source are the clock.
            eventually("ten reads of the other source", async || {
                let _answer = scene.get(&regular).await;
                (reads().1 >= 10).then_some(())
            })
            .await;
            assert_eq!(reads().0, 1, "reads for one request");
        })
        .await;
        cells.push((format!("contract one request, one read: {}", kind.name()), result));
    }
    known_faults::check_all("contract one request, one read: ", cells);
}
