//! When a source is read, and what is served while the service throttles.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::known_faults;
use crate::support::client::{Answer, Connection, values_path};
use crate::support::eventually;
use crate::support::oci::{Oci, compartment, ocid, source};
use crate::support::server::{Server, VALUE};

/// What an answer from memory may take on a busy machine. A test that is known to fail waits no longer.
const AT_ONCE: Duration = Duration::from_secs(5);

struct Scene {
    oci: Oci,
    client: Connection,
    _server: Server,
}

impl Scene {
    async fn start(oci: Oci, defaults: &Value, sources: &[Value]) -> Self {
        let server = Server::start(&oci.config(defaults, sources)).await;
        let client = server.aggregator("hpa").connect().await.unwrap();
        Self { oci, client, _server: server }
    }

    async fn get(&self, selector: &str) -> Answer {
        self.get_in("shop", selector).await
    }

    async fn get_in(&self, namespace: &str, selector: &str) -> Answer {
        self.client.get(&values_path(namespace, "oci_queue_length", selector)).await
    }

    /// The answer, which must not take long.
    async fn at_once(&self, selector: &str) -> Answer {
        let answer = tokio::time::timeout(AT_ONCE, self.get(selector)).await;
        answer.unwrap_or_else(|_| panic!("no answer within {AT_ONCE:?}: {selector}"))
    }

    /// How many requests for GetStats of this queue there were.
    fn reads(&self, queue: &str) -> usize {
        self.oci.requests(&[&ocid(queue), "/stats"])
    }
}

fn value(answer: &Answer) -> String {
    let [(_, value)] = answer.values().try_into().unwrap();
    value
}

// 429 with Retry-After.

/// Queue `orders` with 3 messages, 2 of them in channel `eu`: both are known. A read of it, of whichever
/// part, has just been answered with 429 and this many seconds of `Retry-After`.
async fn throttled(retry_after: u32, max_age: &str) -> Scene {
    let oci = Oci::with_queues(&["orders", "bills"]).await.with_journal().await;
    oci.put_in_channel("orders", "eu", 2);
    oci.put("orders", 1);
    // The time-out is longer than AT_ONCE, so that an answer that waits for a read is seen to wait.
    let defaults = json!({"refresh": "100ms", "timeout": "20s", "maxAge": max_age});
    let scene = Scene::start(oci, &defaults, &[source("orders", &["shop"]), source("bills", &["shop"])]).await;
    assert_eq!(value(&scene.get("queue=orders").await), "3");
    assert_eq!(value(&scene.get("queue=orders,channel=eu").await), "2");
    let before = scene.reads("orders");
    scene.oci.throttle_once("orders", retry_after);
    eventually("the 429", async || {
        // Where another read has met the 429, this one may have to wait.
        let _ = tokio::time::timeout(Duration::from_millis(200), scene.get("queue=orders,channel=busy")).await;
        (scene.reads("orders") > before).then_some(())
    })
    .await;
    scene
}

#[tokio::test]
async fn the_last_values_are_served_at_once_while_the_service_throttles() {
    known_faults::run("the last values are served at once while the service throttles", async {
        let scene = throttled(30, "1h").await;
        for (selector, expected) in [("queue=orders", "3"), ("queue=orders,channel=eu", "2")] {
            // Much older than `refresh`.
            eventually("an old value", async || {
                let answer = scene.at_once(selector).await;
                assert_eq!(value(&answer), expected);
                let read: Timestamp = answer.json()["items"][0]["timestamp"].as_str().unwrap().parse().unwrap();
                (Timestamp::now().duration_since(read).as_secs() >= 3).then_some(())
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn values_that_are_too_old_are_an_error_at_once_while_the_service_throttles() {
    known_faults::run("values that are too old are an error at once while the service throttles", async {
        let scene = throttled(30, "500ms").await;
        for selector in ["queue=orders", "queue=orders,channel=eu"] {
            let message = eventually("the end of the value", async || {
                let answer = scene.at_once(selector).await;
                (answer.status == 503).then(|| answer.refusal().1)
            })
            .await;
            assert!(message.contains("429 TooManyRequests"), "{message}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_fallback_is_served_at_once_while_the_service_throttles() {
    known_faults::run("a fallback is served at once while the service throttles", async {
        let scene = throttled(30, "500ms").await;
        for part in ["", ",channel=eu", ",channel=new"] {
            let selector = format!("queue=orders{part},depthgauge.dev/fallback=12");
            eventually("the fallback", async || {
                let answer = scene.at_once(&selector).await;
                (answer.status == 200 && value(&answer) == "12").then_some(())
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_never_read_is_an_error_at_once_while_the_service_throttles() {
    known_faults::run("what was never read is an error at once while the service throttles", async {
        let scene = throttled(30, "1h").await;
        let (code, message) = scene.at_once("queue=orders,channel=new").await.refusal();
        assert_eq!((code, message.contains("429 TooManyRequests")), (503, true), "{message}");
    })
    .await;
}

#[tokio::test]
async fn a_service_that_throttles_a_queue_is_not_asked_for_it_and_for_others_it_is() {
    let scene = throttled(30, "1h").await;
    // A read that was on its way when the 429 came has arrived by now.
    value(&scene.get("queue=bills").await);
    let (orders, bills) = (scene.reads("orders"), scene.reads("bills"));
    eventually("ten reads of the other queue", async || {
        assert_eq!(value(&scene.get("queue=bills").await), "0");
        (scene.reads("bills") >= bills + 10).then_some(())
    })
    .await;
    assert_eq!(scene.reads("orders"), orders);
}

#[tokio::test]
async fn once_the_service_no_longer_throttles_values_are_fresh_again() {
    let scene = throttled(1, "1h").await;
    scene.oci.put("orders", 1);
    eventually("the new message", async || (value(&scene.get("queue=orders").await) == "4").then_some(())).await;
}

// Background reads. Queue `steady` is exported, and so read every `refresh` without a query: it is the
// clock here.

const REFRESH: Duration = Duration::from_millis(100);
/// More than the second after which a query counts as a second one.
const SECOND: usize = 13;
/// Long enough to see background reads.
const A_WHILE: usize = 15;

/// Queue `orders` with 3 messages, and a compartment with queue `listed`.
async fn clocked(idle_after: &str) -> Scene {
    let oci = Oci::with_queues(&["steady", "orders"]).await.with_journal().await;
    oci.put("orders", 3);
    oci.add_to_compartment("listed", &ocid("listed"));
    let mut steady = source("steady", &["operator"]);
    steady["export"] = json!(true);
    let defaults = json!({"refresh": format!("{REFRESH:?}"), "timeout": "20s", "idleAfter": idle_after});
    let sources = [steady, source("orders", &["shop", "office"]), compartment("*", &["lists"])];
    Scene::start(oci, &defaults, &sources).await
}

impl Scene {
    /// Waits for this many times `refresh` or somewhat longer.
    async fn ticks(&self, ticks: usize) {
        let until = self.reads("steady") + ticks;
        eventually("reads of the clock", async || (self.reads("steady") >= until).then_some(())).await;
    }

    /// How many reads of `orders` there are for no query.
    async fn background_reads(&self) -> usize {
        let before = self.reads("orders");
        self.ticks(A_WHILE).await;
        self.reads("orders") - before
    }
}

#[tokio::test]
async fn one_query_is_one_read() {
    known_faults::run("one query is one read", async {
        let scene = clocked("1h").await;
        assert_eq!(value(&scene.get("queue=orders").await), "3");
        assert_eq!(scene.background_reads().await, 0, "background reads");
        assert_eq!(scene.reads("orders"), 1);
    })
    .await;
}

#[tokio::test]
async fn one_query_for_channels_is_one_read_of_each() {
    known_faults::run("one query for channels is one read of each", async {
        let scene = clocked("1h").await;
        assert_eq!(scene.get("queue=orders,channel in (a,b,c)").await.values().len(), 3);
        assert_eq!(scene.background_reads().await, 0, "background reads");
        assert_eq!(scene.reads("orders"), 3);
    })
    .await;
}

#[tokio::test]
async fn one_query_for_a_listed_queue_is_one_list() {
    known_faults::run("one query for a listed queue is one list", async {
        let scene = clocked("1h").await;
        let lists = || scene.oci.requests(&["/queues?compartmentId="]);
        assert_eq!(value(&scene.get_in("lists", "queue=listed").await), "0");
        let before = lists();
        assert!(before > 0);
        // A list is made again after six times `refresh`.
        scene.ticks(3 * 6).await;
        assert_eq!(lists() - before, 0, "background lists");
    })
    .await;
}

#[tokio::test]
async fn queries_within_a_second_are_one() {
    known_faults::run("queries within a second are one", async {
        let scene = clocked("1h").await;
        let answers = futures_util::future::join_all((0..5).map(|_| scene.get("queue=orders"))).await;
        assert!(answers.iter().all(|answer| value(answer) == "3"));
        assert_eq!(scene.background_reads().await, 0, "background reads");
    })
    .await;
}

#[tokio::test]
async fn queries_that_differ_are_each_a_first_one() {
    known_faults::run("queries that differ are each a first one", async {
        let scene = clocked("1h").await;
        for (namespace, selector) in
            [("shop", "queue=orders"), ("office", "queue=orders"), ("shop", "queue=orders,queue!=other"), ("shop", "")]
        {
            assert_eq!(value(&scene.get_in(namespace, selector).await), "3");
            scene.ticks(SECOND).await;
        }
        let visible = VALUE.replace("oci_queue_length", "oci_queue_visible");
        assert_eq!(value(&scene.client.get(&visible).await), "3");
        assert_eq!(scene.background_reads().await, 0, "background reads");
    })
    .await;
}

#[tokio::test]
async fn a_query_after_a_long_pause_is_a_first_one_again() {
    known_faults::run("a query after a long pause is a first one again", async {
        let scene = clocked("1200ms").await;
        for _ in 0..3 {
            assert_eq!(value(&scene.get("queue=orders").await), "3");
            assert_eq!(scene.background_reads().await, 0, "background reads");
        }
    })
    .await;
}

#[tokio::test]
async fn the_second_query_begins_background_reads_and_the_last_one_ends_them() {
    let scene = clocked("5s").await;
    assert_eq!(value(&scene.get("queue=orders").await), "3");
    scene.ticks(SECOND).await;
    assert_eq!(value(&scene.get("queue=orders").await), "3");
    assert!(scene.background_reads().await >= A_WHILE / 2);
    eventually("the end of background reads", async || (scene.background_reads().await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_query_reads_where_the_value_is_older_than_refresh() {
    let scene = clocked("1h").await;
    assert_eq!(value(&scene.get("queue=orders").await), "3");
    scene.oci.put("orders", 1);
    scene.ticks(3).await;
    assert_eq!(value(&scene.get_in("office", "").await), "4");
}
