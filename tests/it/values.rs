//! Values: what a question brings, and what is wrong with a question.

use serde_json::json;

use crate::golden;
use crate::support::client::{Answer, Client};
use crate::support::oci::{Oci, source};
use crate::support::server::Server;

const GROUP: &str = "/apis/external.metrics.k8s.io/v1beta1";

/// Queues `a` to `c` with 1, 2 and 2000 messages; namespace `shop` may read `a` and `b`, `bank`
/// only `c`.
struct Scene {
    server: Server,
    hpa: Client,
    oci: Oci,
}

impl Scene {
    async fn start() -> Self {
        let oci = Oci::with_queues(&["a", "b", "c"]).await;
        for (queue, messages) in [("a", 1), ("b", 2), ("c", 2000)] {
            oci.put(queue, messages);
        }
        let sources = [source("b", &["shop"]), source("c", &["bank"]), source("a", &["sh*"])];
        let server = Server::start(&oci.config(&json!({}), &sources)).await;
        let hpa = server.aggregator("hpa");
        Self { server, hpa, oci }
    }

    /// The answer to a metric of a namespace, with the selector percent-encoded as it stands.
    async fn ask(&self, namespace: &str, metric: &str, selector: &str) -> Answer {
        self.hpa.get(&format!("{GROUP}/namespaces/{namespace}/{metric}?labelSelector={selector}")).await
    }

    async fn length(&self, selector: &str) -> Answer {
        self.ask("shop", "oci_queue_length", selector).await
    }
}

fn items(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(queue, value)| ((*queue).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn the_list_is_as_recorded() {
    let scene = Scene::start().await;
    let answer = scene.length("").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/json")));
    golden::check("values.json", &answer.body);
    let one = scene.ask("bank", "oci_queue_length", "queue%3Dc").await;
    golden::check("values-canonical.json", &one.body);
}

#[tokio::test]
async fn every_listed_metric_has_a_value() {
    let scene = Scene::start().await;
    scene.oci.queue("b").take(1, std::time::Duration::from_secs(600));
    let list = scene.server.anyone().get(GROUP).await.json();
    let mut values = Vec::new();
    for resource in list["resources"].as_array().unwrap() {
        let metric = resource["name"].as_str().unwrap();
        // Those of the sources that there are.
        if !metric.starts_with("oci_") {
            continue;
        }
        let answer = scene.ask("shop", metric, "queue%3Db").await;
        values.push((metric.to_owned(), answer.values()[0].1.clone()));
    }
    let expected = [
        ("oci_queue_dead_letters", "0"),
        ("oci_queue_in_flight", "1"),
        ("oci_queue_length", "2"),
        ("oci_queue_size_bytes", "2"),
        ("oci_queue_visible", "1"),
    ];
    assert_eq!(values, items(&expected));
}

#[tokio::test]
async fn selectors_pick_queues() {
    let scene = Scene::start().await;
    let (a, b, both) = (&[("a", "1")][..], &[("b", "2")][..], &[("a", "1"), ("b", "2")][..]);
    for (selector, expected) in [
        ("", both),
        ("queue%3Da", a),
        ("queue%3D%3Da", a),
        ("queue+in+%28b%2Ca%29", both),
        ("queue%20in%20%28b%2Cno%29", b),
        ("queue+notin+%28b%29", a),
        ("queue!%3Da", b),
        ("queue", both),
        ("queue%2Cqueue%21%3Db", a),
    ] {
        assert_eq!(scene.length(selector).await.values(), items(expected), "{selector}");
    }
}

#[tokio::test]
async fn a_selector_may_name_a_hundred_queues() {
    let scene = Scene::start().await;
    let names: Vec<String> = (0..100).map(|n| format!("{n:063}")).collect();
    let path =
        format!("{GROUP}/namespaces/shop/oci_queue_length?labelSelector=queue+in+%28a%2C{}%29", names.join("%2C"));
    for client in [scene.hpa.clone(), scene.hpa.clone().with_http1()] {
        assert_eq!(client.get(&path).await.values(), items(&[("a", "1")]));
    }
}

#[tokio::test]
async fn a_namespace_reads_its_own_queues_and_learns_no_other_name() {
    let scene = Scene::start().await;
    for (namespace, selector, expected) in [
        ("shop", "queue%3Dzzz", r#"no queue that namespace "shop" may read matches queue=zzz; it may read a, b"#),
        ("shop", "queue%3Dc", r#"no queue that namespace "shop" may read matches queue=c; it may read a, b"#),
        ("shop", "%21queue", r#"no queue that namespace "shop" may read matches !queue; it may read a, b"#),
        ("bank", "queue%3Da", r#"no queue that namespace "bank" may read matches queue=a; it may read c"#),
        (
            "other",
            "",
            r#"there is no queue of type oci-queue that namespace "other" may read: see `namespaces` in depthgauge's config"#,
        ),
    ] {
        let answer = scene.ask(namespace, "oci_queue_length", selector).await;
        assert_eq!(answer.refusal(), (404, expected.to_owned()));
        assert_eq!(answer.json()["reason"], "NotFound");
    }
    for queue in ["a", "b", "c"] {
        assert_eq!(scene.oci.queue(queue).reads(), 0);
    }
}

#[tokio::test]
async fn a_selector_that_does_not_parse_is_400_in_the_words_of_kubernetes() {
    let scene = Scene::start().await;
    for (selector, sentence) in [
        ("queue+in+a", "unable to parse requirement: found 'a' expected: '('"),
        ("queue+is+a", "unable to parse requirement: found 'is', expected: in, notin, =, ==, !=, gt, lt"),
        ("queue%3Da%2C", "found '', expected: identifier after ','"),
        ("%3Da", "found '=', expected: !, identifier, or 'end of string'"),
    ] {
        let answer = scene.length(selector).await;
        assert_eq!(answer.refusal(), (400, sentence.to_owned()), "{selector}");
        assert_eq!(answer.json()["reason"], "BadRequest");
    }
}

#[tokio::test]
async fn no_message_is_longer_than_400_bytes() {
    let scene = Scene::start().await;
    let long = "x".repeat(5000);
    for (selector, code) in [
        (format!("queue%3D{long}"), 400),
        (format!("{long}%3Da"), 400),
        (format!("queue%3Da+{long}"), 400),
        (format!("queue+in+%28{}%29", vec!["n".repeat(63); 100].join("%2C")), 404),
    ] {
        let (answered, message) = scene.length(&selector).await.refusal();
        assert_eq!((answered, message.len() <= 400), (code, true), "{message}");
    }
    let (code, message) = scene.ask("shop", &"m".repeat(63), "").await.refusal();
    assert_eq!((code, message.len() <= 400), (404, true), "{message}");
}

#[tokio::test]
async fn a_key_that_says_nothing_of_a_queue_is_400_and_names_those_that_do() {
    let scene = Scene::start().await;
    for selector in ["app%3Dshop", "queue%3Da%2Capp", "%21app", "app+notin+%28x%29"] {
        let sentence = "no such selector key for oci_queue_length: app; it can be selected by queue, channel, consumer-group, depthgauge.dev/activation, depthgauge.dev/fallback";
        assert_eq!(scene.length(selector).await.refusal(), (400, sentence.to_owned()), "{selector}");
    }
}

#[tokio::test]
async fn an_unknown_metric_is_404_and_names_those_that_exist() {
    let scene = Scene::start().await;
    let sentence = r#"there is no metric "oci_queue_depth"; there are azure_servicebus_active_messages, azure_servicebus_dead_letter_messages, azure_servicebus_scheduled_messages, oci_queue_dead_letters, oci_queue_in_flight, oci_queue_length, oci_queue_size_bytes, oci_queue_visible, rabbitmq_queue_deliver_rate, rabbitmq_queue_length and 3 more"#;
    assert_eq!(scene.ask("shop", "oci_queue_depth", "").await.refusal(), (404, sentence.to_owned()));
}

#[tokio::test]
async fn what_kubectl_may_type_is_answered_with_what_to_type() {
    let scene = Scene::start().await;
    let value = format!("{GROUP}/namespaces/shop/oci_queue_length");
    for (path, code, hint) in [
        (format!("{GROUP}/oci_queue_length?limit=500"), 404, "-n shop"),
        (format!("{GROUP}/oci_queue_length/"), 404, "-n shop"),
        (format!("{value}/orders"), 404, "-l queue=NAME"),
        (format!("{value}/orders/"), 404, "-l queue=NAME"),
        (format!("{value}?watch=true&resourceVersion=0"), 405, "without -w"),
    ] {
        let (answered, message) = scene.hpa.get(&path).await.refusal();
        assert_eq!((answered, message.contains(hint)), (code, true), "{path}: {message}");
    }
    assert_eq!(scene.hpa.get(&format!("{value}?limit=500&watch=false")).await.status, 200);
}

#[tokio::test]
async fn values_can_only_be_read_and_only_whoever_may_learns_that() {
    let scene = Scene::start().await;
    let value = format!("{GROUP}/namespaces/shop/oci_queue_length");
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let (code, message) = scene.hpa.call(method, &value).await.refusal();
        assert_eq!((code, message.contains(method)), (405, true), "{method}: {message}");
        assert_eq!(scene.server.anyone().call(method, &value).await.refusal().0, 403, "{method}");
    }
    let watch = format!("{value}?watch=true");
    assert_eq!(scene.server.anyone().get(&watch).await.refusal().0, 403);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let scene = Scene::start().await;
    let path = format!("{GROUP}/namespaces/shop/oci_queue_length");
    let get = scene.hpa.get(&path).await;
    let head = scene.hpa.call("HEAD", &path).await;
    assert_eq!((head.status, head.body.as_str()), (get.status, ""));
    assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()));
}
