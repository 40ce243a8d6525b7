//! A value is between 0 and 9.2e15, wherever it comes from: the source, the config, a selector.
//!
//! Kubernetes reads a value as a 64-bit number of thousandths, and the HPA controller takes what does
//! not fit for 0.

use serde_json::{Value, json};

use crate::known_faults;
use crate::support::client::{Connection, Served, values_path};
use crate::support::oci::{OCID_TAIL, Oci, source, stats};
use crate::support::program::{Ended, Home};
use crate::support::server::{Server, VALUE};

const LARGEST: i64 = 9_200_000_000_000_000;
/// In Kubernetes' own words.
const LARGEST_TEXT: &str = "9200T";
const TOO_LARGE: [i64; 4] = [LARGEST + 1, 10_000_000_000_000_000, i64::MAX - 1, i64::MAX];

/// A server in front of these queues. Each is read once here, so that no answer is one of before.
struct Scene {
    client: Connection,
    _oci: Oci,
    _server: Server,
}

impl Scene {
    async fn start(queues: &[&str], prepare: impl FnOnce(&Oci)) -> Self {
        let oci = Oci::with_queues(queues).await;
        prepare(&oci);
        let sources: Vec<Value> = queues.iter().map(|queue| source(queue, &["shop"])).collect();
        let server = Server::start(&oci.config(&json!({"timeout": "20s"}), &sources)).await;
        let client = server.aggregator("hpa").connect().await.unwrap();
        Self { client, _oci: oci, _server: server }
    }

    /// Queues with these answers of GetStats.
    async fn with_stats(bodies: Vec<Value>) -> (Self, Vec<String>) {
        let names: Vec<String> = (0..bodies.len()).map(|n| format!("q{n}")).collect();
        let queues: Vec<&str> = names.iter().map(String::as_str).collect();
        let bodies: Vec<(&str, Value)> = queues.iter().copied().zip(bodies).collect();
        (Self::start(&queues, |oci| oci.set_stats(&bodies)).await, names)
    }

    /// The values of an answer, or the code and the message of an error.
    async fn request(&self, metric: &str, selector: &str) -> Served {
        let answer = self.client.get(&values_path("shop", metric, selector)).await;
        match answer.status.as_u16() {
            200 => Ok(answer.values().into_iter().map(|(_, value)| value).collect()),
            _ => Err(answer.refusal()),
        }
    }
}

/// This number in each field of what the service answers, and the metrics that are made of the field.
fn fields(number: i64) -> [(Value, &'static [&'static str]); 4] {
    [
        (stats(number, 0, 0, 0), &["oci_queue_length", "oci_queue_visible"]),
        (stats(0, number, 0, 0), &["oci_queue_length", "oci_queue_in_flight"]),
        (stats(0, 0, number, 0), &["oci_queue_size_bytes"]),
        (stats(0, 0, 0, number), &["oci_queue_dead_letters"]),
    ]
}

/// What is served for each of these numbers in each field: number, metric, answer.
async fn served(numbers: &[i64]) -> Vec<(i64, &'static str, Served)> {
    let cells: Vec<_> = numbers.iter().flat_map(|number| fields(*number).map(|field| (*number, field))).collect();
    let (scene, names) = Scene::with_stats(cells.iter().map(|(_, (body, _))| body.clone()).collect()).await;
    let mut served = Vec::new();
    for ((number, (_, metrics)), name) in cells.into_iter().zip(&names) {
        for metric in metrics {
            served.push((number, *metric, scene.request(metric, &format!("queue={name}")).await));
        }
    }
    served
}

#[tokio::test]
async fn a_source_may_have_no_more_than_the_largest_value() {
    known_faults::run("a source may have no more than the largest value", async {
        for (number, metric, outcome) in served(&TOO_LARGE).await {
            let Err((code, message)) = outcome else { panic!("{metric} of {number} is served: {outcome:?}") };
            assert_eq!(code, 503, "{message}");
            assert!(message.starts_with("queue \"q") && !message.contains(OCID_TAIL), "{message}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_largest_value_is_served() {
    for (_, metric, outcome) in served(&[LARGEST]).await {
        assert_eq!(outcome, Ok(vec![LARGEST_TEXT.to_owned()]), "{metric}");
    }
}

#[tokio::test]
async fn a_source_may_have_no_less_than_nothing() {
    for (number, metric, outcome) in served(&[-1, -LARGEST, i64::MIN]).await {
        let Err((code, message)) = outcome else { panic!("{metric} of {number} is served: {outcome:?}") };
        assert_eq!((code, message.contains("negative")), (503, true), "{message}");
    }
}

/// Each of the two is in range.
#[tokio::test]
async fn visible_and_in_flight_are_no_more_than_the_largest_value_together() {
    known_faults::run("visible and in flight are no more than the largest value together", async {
        let (scene, _) = Scene::with_stats(vec![stats(LARGEST, 1, 0, 0), stats(LARGEST - 1, 1, 0, 0)]).await;
        let outcome = scene.request("oci_queue_length", "queue=q0").await;
        let Err((code, message)) = outcome else { panic!("the sum is served: {outcome:?}") };
        assert_eq!(code, 503, "{message}");
        assert_eq!(scene.request("oci_queue_length", "queue=q1").await, Ok(vec![LARGEST_TEXT.to_owned()]));
    })
    .await;
}

/// The HPA controller adds up the items of an answer.
#[tokio::test]
async fn the_items_of_an_answer_are_no_more_than_the_largest_value_together() {
    known_faults::run("the items of an answer are no more than the largest value together", async {
        let bodies = [LARGEST - 5, 5, 6].map(|number| stats(number, 0, 0, 0));
        let (scene, _) = Scene::with_stats(bodies.to_vec()).await;
        for selector in ["queue in (q0,q1)", "queue=q0", "queue=q1", "queue=q2"] {
            assert!(scene.request("oci_queue_length", selector).await.is_ok(), "{selector}");
        }
        let outcome = scene.request("oci_queue_length", "queue in (q0,q2)").await;
        let Err((code, message)) = outcome else { panic!("the sum is served: {outcome:?}") };
        assert_eq!(code, 503, "{message}");
    })
    .await;
}

#[tokio::test]
async fn no_gauge_shows_more_than_the_largest_value() {
    known_faults::run("no gauge shows more than the largest value", async {
        let oci = Oci::with_queues(&["large", "largest"]).await;
        oci.set_stats(&[("large", stats(TOO_LARGE[1], 0, 0, 0)), ("largest", stats(LARGEST, 0, 0, 0))]);
        let exported = ["large", "largest"].map(|name| {
            let mut entry = source(name, &["shop"]);
            entry["export"] = json!(true);
            entry
        });
        let server = Server::start(&oci.config(&json!({"timeout": "20s"}), &exported)).await;
        // Both have been read by then.
        server.aggregator("hpa").get(VALUE).await;
        let metrics = server.aggregator("operator").get("/metrics").await.body;
        let shown: Vec<&str> = metrics.lines().filter(|line| line.starts_with("oci_queue_length{")).collect();
        let [one] = shown[..] else { panic!("shown: {shown:?}") };
        assert!(one.contains("\"largest\""), "{one}");
    })
    .await;
}

#[tokio::test]
async fn get_prints_no_more_than_the_largest_value() {
    known_faults::run("get prints no more than the largest value", async {
        let oci = Oci::with_queues(&["orders"]).await;
        let home = Home::new();
        home.write("config.yaml", &oci.config(&json!({}), &[source("orders", &["shop"])]));
        let get = async |number: i64| {
            oci.set_stats(&[("orders", stats(number, 0, 0, 0))]);
            home.run(&["get", "--config=config.yaml", "oci_queue_length", "-n", "shop"]).await
        };
        let largest = get(LARGEST).await;
        assert!(largest.status.success() && largest.stdout.contains(LARGEST_TEXT), "{largest:?}");
        let ended = get(TOO_LARGE[1]).await;
        assert!(!ended.status.success() && ended.stdout.is_empty(), "printed: {}", ended.stdout);
    })
    .await;
}

// The config. The entry is on line 6, and `{key}: {number}` begins at column 5.

async fn check(key: &str, number: &str) -> Ended {
    let text = format!(
        "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\noci: {{region: eu-frankfurt-1}}\nsources:\n  - {{type: oci-queue, name: orders, namespaces: [shop], queueId: ocid1.queue.oc1.fra.aaaa,\n    {key}: {number}}}\n"
    );
    let home = Home::new();
    home.write("config.yaml", &text);
    home.run(&["config", "check", "config.yaml"]).await
}

#[tokio::test]
async fn a_number_of_the_config_is_no_more_than_the_largest_value() {
    known_faults::run("a number of the config is no more than the largest value", async {
        for key in ["fallback", "activation"] {
            for number in TOO_LARGE {
                refuses(key, &number.to_string()).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_number_of_the_config_is_no_less_than_nothing() {
    for key in ["fallback", "activation"] {
        for number in ["-1", "-9200000000000000", "9223372036854775808", "1e16", "10P", ".nan", ".inf"] {
            refuses(key, number).await;
        }
        for number in ["0", "9200000000000000"] {
            let ended = check(key, number).await;
            assert_eq!(ended.status.code(), Some(0), "{key}: {number}: {}", ended.stderr);
        }
    }
}

async fn refuses(key: &str, number: &str) {
    let ended = check(key, number).await;
    let column = 5 + key.len() + 2;
    let is_told = ended.stderr.lines().any(|line| line.starts_with(&format!("config.yaml:6:{column}: ")));
    assert!(ended.status.code() == Some(1) && is_told, "{key}: {number} is accepted: {ended:?}");
}

// The selector.

#[tokio::test]
async fn a_number_of_a_selector_is_no_more_than_the_largest_value() {
    known_faults::run("a number of a selector is no more than the largest value", async {
        let scene = Scene::start(&["orders"], |_| ()).await;
        for key in ["depthgauge.dev/fallback", "depthgauge.dev/activation"] {
            for number in TOO_LARGE {
                let outcome = scene.request("oci_queue_length", &format!("queue=orders,{key}={number}")).await;
                let Err((code, message)) = outcome else { panic!("{key}={number} is accepted: {outcome:?}") };
                assert_eq!((code, message.contains(key)), (400, true), "{message}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_number_of_a_selector_is_between_nothing_and_the_largest_value() {
    let scene = Scene::start(&["orders", "broken"], |oci| {
        oci.put("orders", 3);
        oci.break_reads(Some("broken"));
    })
    .await;
    for key in ["depthgauge.dev/fallback", "depthgauge.dev/activation"] {
        for number in ["9223372036854775808", "1e16", "10P", "nan", "inf", "x"] {
            let (code, message) = scene.request("oci_queue_length", &format!("{key}={number}")).await.unwrap_err();
            assert_eq!((code, message.contains(key)), (400, true), "{message}");
        }
        for number in [0, LARGEST] {
            let outcome = scene.request("oci_queue_length", &format!("queue=orders,{key}={number}")).await;
            assert_eq!(outcome, Ok(vec!["3".to_owned()]), "{key}={number}");
        }
    }
    let fallback = format!("queue=broken,depthgauge.dev/fallback={LARGEST}");
    assert_eq!(scene.request("oci_queue_length", &fallback).await, Ok(vec![LARGEST_TEXT.to_owned()]));
}
