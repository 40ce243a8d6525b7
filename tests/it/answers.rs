//! Every kind of answer about OCI queues, byte for byte, in `tests/golden/answers.txt`: what clients are
//! served does not change when the code behind it does. `tests/golden/answers-chosen.txt` has the errors of metrics
//! whose names the config chooses, and of clients that may not request values.
//!
//! Forms and documents that other golden files hold (YAML, discovery, OpenAPI) are not here again.

use serde_json::{Value, json};

use crate::golden;
use crate::support::authority::Authority;
use crate::support::client::{Answer, Client, values_path};
use crate::support::cluster::{FRONT_PROXY, Mood};
use crate::support::double::Double;
use crate::support::eventually;
use crate::support::oci::{Oci, answered, compartment, ocid, refused, source, stats};
use crate::support::server::{Server, VALUE};

const GROUP: &str = "/apis/external.metrics.k8s.io/v1beta1";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// As kubectl requests it.
const TABLE: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// What the service answers to a read, where that is no value.
const REFUSALS: [u16; 8] = [400, 401, 403, 404, 409, 429, 500, 503];

/// Queues of namespace `shop`: `orders`, which has parts; `bills` with an activation; and some that
/// cannot be read, of which `fallen` has a fallback. Namespace `office` has a compartment with queue
/// `listed`, and two queues of one name. Both may read `empty`, and namespace `bank` may read only that.
struct Scene {
    oci: Oci,
    hpa: Client,
    _server: Server,
    transcript: String,
}

impl Scene {
    async fn start() -> Self {
        let broken: Vec<String> = REFUSALS.iter().map(|status| format!("answers-{status}")).collect();
        let broken: Vec<&str> = broken.iter().map(String::as_str).chain(["fallen", "negative", "nonsense"]).collect();
        let oci = Oci::with_queues(&[&["orders", "bills", "empty"], &broken[..]].concat()).await;
        let orders = oci.queue("orders");
        oci.put_in_channel("orders", "eu", 3);
        oci.put_in_channel("orders", "orders/eu west", 2);
        orders.take(1, std::time::Duration::from_secs(600));
        orders.set_group("Billing", true);
        oci.put("orders", 1995);
        oci.add_to_compartment("listed", &ocid("listed"));
        oci.put("listed", 4);
        for id in ["twin-1", "twin-2"] {
            oci.add_to_compartment("twin", &ocid(id));
        }
        let mut faults: Vec<_> = REFUSALS.iter().map(|status| refused(&format!("answers-{status}"), *status)).collect();
        faults.push(refused("fallen", 500));
        faults.push(answered("negative", &stats(-1, 0, 0, 0)));
        faults.push(answered("nonsense", &json!({"queue": {"visibleMessages": 1}, "dlq": {}})));
        oci.set_faults(faults);
        let with = |mut entry: Value, key: &str, value: Value| {
            entry[key] = value;
            entry
        };
        let mut sources = vec![
            with(source("orders", &["shop"]), "channels", json!({"west": "orders/eu west"})),
            with(source("bills", &["shop"]), "activation", json!(5)),
            source("empty", &["shop", "bank", "office"]),
            compartment("*", &["office"]),
        ];
        sources.extend(broken.iter().map(|queue| match *queue {
            "fallen" => with(source(queue, &["shop"]), "fallback", json!(1500)),
            queue => source(queue, &["shop"]),
        }));
        let server = Server::start(&oci.config(&json!({"refresh": "20ms", "timeout": "20s"}), &sources)).await;
        let hpa = server.aggregator("hpa");
        Self { oci, hpa, _server: server, transcript: String::new() }
    }

    async fn request(&self, accept: &str, path: &str) -> Answer {
        self.hpa.clone().with_header("Accept", accept).get(path).await
    }

    /// Writes down the answers in each form.
    async fn values(&mut self, title: &str, namespace: &str, metric: &str, selector: &str) {
        for accept in [JSON, PROTOBUF, TABLE] {
            self.write(title, accept, &path(namespace, metric, selector)).await;
        }
    }

    /// Writes down the answer as JSON, which is the only form of errors.
    async fn json(&mut self, title: &str, namespace: &str, metric: &str, selector: &str) {
        self.write(title, JSON, &path(namespace, metric, selector)).await;
    }

    async fn write(&mut self, title: &str, accept: &str, path: &str) {
        let answer = self.request(accept, path).await;
        self.transcript.push_str(&written(title, accept, path, &answer));
    }

    /// Waits for an answer that has this text in it.
    async fn until(&self, namespace: &str, selector: &str, text: &str) {
        let path = path(namespace, "oci_queue_length", selector);
        eventually(text, async || self.request(JSON, &path).await.body.contains(text).then_some(())).await;
    }
}

fn written(title: &str, accept: &str, path: &str, answer: &Answer) -> String {
    let body = match answer.header("content-type") {
        Some(PROTOBUF) => golden::undated_protobuf(&answer.bytes),
        _ => ageless(&golden::undated(&answer.body)),
    };
    let form = if accept == TABLE { "application/json;as=Table" } else { accept };
    let (code, content_type) = (answer.status.as_u16(), answer.header("content-type").unwrap_or_default());
    let path = percent_encoding::percent_decode_str(path).decode_utf8().unwrap();
    format!("# {title}\nGET {path}\nAccept: {form}\n{code} {content_type}\n{}\n\n", body.trim_end())
}

fn path(namespace: &str, metric: &str, selector: &str) -> String {
    if selector.is_empty() {
        return format!("{GROUP}/namespaces/{namespace}/{metric}");
    }
    values_path(namespace, metric, selector)
}

/// The text with each string that is an age in seconds made the same.
fn ageless(text: &str) -> String {
    let is_age = |part: &str| {
        part.strip_suffix('s').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    let parts: Vec<&str> = text.split('"').map(|part| if is_age(part) { "1s" } else { part }).collect();
    parts.join("\"")
}

#[tokio::test]
async fn every_answer_is_as_recorded() {
    let mut scene = Scene::start().await;
    let length = "oci_queue_length";
    for metric in ["oci_queue_dead_letters", "oci_queue_in_flight", "oci_queue_size_bytes", "oci_queue_visible"] {
        scene.json("another metric", "shop", metric, "queue=orders").await;
    }
    scene.values("a queue", "shop", length, "queue=orders").await;
    scene.values("an empty queue", "bank", length, "").await;
    scene.values("several queues", "shop", length, "queue in (orders,empty)").await;
    scene.values("a channel", "shop", length, "queue=orders,channel=eu").await;
    scene.values("a channel by its alias", "shop", length, "queue=orders,channel=west").await;
    scene.values("several channels", "shop", length, "queue=orders,channel in (west,none,eu)").await;
    scene.values("a consumer group", "shop", length, "queue=orders,consumer-group=Billing").await;
    scene
        .values("a channel of a consumer group", "shop", length, "queue=orders,channel=eu,consumer-group=Billing")
        .await;
    scene.values("a listed queue", "office", length, "queue=listed").await;
    scene.value_rules().await;
    scene.wrong_queries().await;
    scene.outages().await;
    golden::check_text("answers.txt", &scene.transcript);
}

impl Scene {
    async fn value_rules(&mut self) {
        let length = "oci_queue_length";
        self.until("shop", "queue=bills", "\"value\":\"0\"").await;
        self.oci.put("bills", 3);
        self.until("shop", "queue=bills", "activation").await;
        self.values("below the activation of the config", "shop", length, "queue=bills").await;
        self.values("at 0 for the activation of a selector", "shop", length, "queue=empty,depthgauge.dev/activation=2")
            .await;
        self.oci.put("empty", 2);
        self.until("shop", "queue=empty,depthgauge.dev/activation=2", "activation").await;
        let of_selector = "queue=empty,depthgauge.dev/activation=2";
        self.values("below the activation of a selector", "shop", length, of_selector).await;
        self.oci.put("empty", 1);
        self.until("shop", of_selector, "\"value\":\"3\"").await;
        self.values("above the activation of a selector", "shop", length, of_selector).await;
        self.values("a fallback of the config", "shop", length, "queue=fallen").await;
        let of_selector = "queue=fallen,channel=eu,depthgauge.dev/fallback=1500000";
        self.values("a fallback of a selector", "shop", length, of_selector).await;
    }

    async fn wrong_queries(&mut self) {
        let length = "oci_queue_length";
        for (title, namespace, metric, selector) in [
            ("no such metric", "shop", "oci_queue_depth", ""),
            ("no such queue", "shop", length, "queue=order"),
            ("no such queue, and a channel", "shop", length, "queue=order,channel=eu"),
            ("nothing to read", "nobody", length, ""),
            ("nothing of that name to read", "nobody", length, "queue=orders"),
            ("a queue of another namespace", "bank", length, "queue=orders"),
            ("nothing that fits", "shop", length, "!queue"),
            ("no such listed queue", "office", length, "queue=order"),
            ("no such consumer group", "shop", length, "queue=orders,consumer-group=biling"),
            ("not a selector", "shop", length, "queue is orders"),
            ("not a label value", "shop", length, "queue=orders/eu"),
            ("no such key", "shop", length, "name=orders"),
            ("no such key of this metric", "shop", "oci_queue_size_bytes", "depthgauge.dev/fallback=1"),
            ("channels that are not named", "shop", length, "channel!=eu"),
            ("consumer groups that are not named", "shop", length, "consumer-group"),
            ("a fallback that is not a number", "shop", length, "depthgauge.dev/fallback=1.5.5"),
            ("two fallbacks", "shop", length, "depthgauge.dev/fallback=1,depthgauge.dev/fallback=2"),
            ("an activation that is not a number", "shop", length, "depthgauge.dev/activation in (1,2)"),
            ("two queues of one name", "office", length, "queue=twin"),
            ("two queues of one name among others", "office", length, ""),
        ] {
            self.json(title, namespace, metric, selector).await;
        }
        let many = |label: &str, n: usize| {
            let names: Vec<String> = (0..n).map(|n| n.to_string()).collect();
            format!("{label} in ({})", names.join(","))
        };
        let combinations = format!("queue=orders,{},{}", many("channel", 17), many("consumer-group", 16));
        self.json("too many combinations", "shop", length, &combinations).await;
        for query in ["?limit=many", "?fieldSelector=metadata.name%3Da", "?includeObject=All", "?watch=true"] {
            self.write("a parameter that is not supported", JSON, &format!("{}{query}", path("shop", length, "")))
                .await;
        }
        self.write("no such form", "text/html", &path("shop", length, "")).await;
        self.write("no namespace", JSON, &format!("{GROUP}/oci_queue_length")).await;
        self.write("a value by name", JSON, &format!("{}/orders", path("shop", length, ""))).await;
    }

    /// Each of a queue of its own, because the first cause of an outage is the one that is served.
    async fn outages(&mut self) {
        let length = "oci_queue_length";
        for status in REFUSALS {
            let selector = format!("queue=answers-{status}");
            self.json(&format!("the service answers {status}"), "shop", length, &selector).await;
        }
        self.json("the service answers with a negative number", "shop", length, "queue=negative").await;
        self.json("the service answers without numbers", "shop", length, "queue=nonsense").await;
        self.json("a part that cannot be read", "shop", length, "queue=answers-500,channel=eu").await;
        self.json("one of several that cannot be read", "shop", length, "queue in (empty,answers-500)").await;
        self.json("one of several with a fallback", "shop", length, "queue in (empty,fallen)").await;
        // The error is that of the first one by name.
        self.json("all queues of the namespace", "shop", length, "").await;
    }
}

/// What was never listed.
#[tokio::test]
async fn every_answer_without_a_list_is_as_recorded() {
    let oci = Oci::with_queues(&[]).await;
    oci.refuse_lists(404);
    let sources: [Value; 1] = [compartment("orders-*", &["office"])];
    let server = Server::start(&oci.config(&json!({"timeout": "20s"}), &sources)).await;
    let hpa = server.aggregator("hpa");
    let mut scene = Scene { oci, hpa, _server: server, transcript: String::new() };
    for selector in ["", "queue=orders-eu", "queue=bills"] {
        scene.json("a list that fails", "office", "oci_queue_length", selector).await;
    }
    golden::check_text("answers-without-list.txt", &scene.transcript);
}

/// What PromQL returns to the query of this name: the labels and the value of each series. `None` is no answer.
fn series(query: &str) -> Option<Vec<(Value, String)>> {
    let web = || json!({"service": "web", "namespace": "shop"});
    let named = |n: usize| json!({"service": format!("s{n}")});
    let labelled = |n: usize| {
        let labels = (0..40).map(|label| (format!("label_{label}"), Value::from("x".repeat(60))));
        Value::Object(labels.chain([("service".to_owned(), Value::from(format!("s{n}")))]).collect())
    };
    Some(match query {
        "latency" => vec![(web(), "3".to_owned()), (json!({"service": "mail", "namespace": "shop"}), "4".to_owned())],
        "whole" => vec![(json!({}), "5".to_owned())],
        "unknown" => vec![(web(), "NaN".to_owned())],
        "large" => (0..2).map(|n| (named(n), "9e15".to_owned())).collect(),
        "many" => (0..1001).map(|n| (named(n), "1".to_owned())).collect(),
        "long" => (0..900).map(|n| (labelled(n), "1".to_owned())).collect(),
        _ => return None,
    })
}

/// A server with metrics of these names, of which `twice` has two entries, and with queues `orders` of two vhosts.
async fn chosen(store: &Double) -> Server {
    let entry = |metric: &str, query: &str| json!({"type": "prometheus", "metric": metric, "query": query, "namespaces": ["shop"]});
    let with = |mut entry: Value, key: &str, value: Value| {
        entry[key] = value;
        entry
    };
    let sum = |name: &str| with(entry(name, name), "items", json!("sum"));
    let queue = |vhost: &str| json!({"type": "rabbitmq", "vhost": vhost, "queue": "orders", "namespaces": ["shop"]});
    let of_namespace = with(entry("hidden", "latency"), "namespaceLabel", json!("namespace"));
    let config = json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        "connections": {
            "store": {"type": "prometheus", "url": format!("http://{}", store.address)},
            "broker": {"type": "rabbitmq", "url": "http://127.0.0.1:1", "auth": {"type": "none"}},
        },
        "defaults": {"refresh": "60s", "timeout": "20s", "maxAge": "60s"},
        "sources": [
            entry("latency", "latency"), entry("whole", "whole"), entry("unknown", "unknown"), entry("slow", "slow"),
            entry("twice", "whole"), entry("twice", "whole"), sum("large"), sum("many"), sum("long"),
            with(of_namespace, "namespaces", json!(["*"])), queue("/"), queue("b"),
        ],
    });
    Server::start_as("config.yaml", &format!("{config:#}")).await
}

#[tokio::test]
async fn every_error_of_chosen_metrics_and_every_refusal_is_as_recorded() {
    let store = Double::start(None, |request| {
        let query = request.body.split(['=', '&']).nth(1).unwrap_or_default();
        let Some(series) = series(query) else { return (0, String::new()) };
        let result: Vec<Value> =
            series.iter().map(|(labels, value)| json!({"metric": labels, "value": [1_700_000_000, value]})).collect();
        (200, json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string())
    })
    .await;
    let server = chosen(&store).await;
    let hpa = server.aggregator("hpa");
    let mut transcript = String::new();
    for (title, namespace, metric, selector) in [
        ("several items of a metric that is not added up", "shop", "latency", ""),
        ("no item matches", "shop", "latency", "service=none"),
        ("no item has a label", "shop", "whole", "service=web"),
        ("two entries with an item of the same labels", "shop", "twice", ""),
        ("an item whose value is unknown", "shop", "unknown", ""),
        ("a metric of other namespaces", "bank", "latency", ""),
        ("no item is of this namespace", "bank", "hidden", ""),
        ("more items than an answer may have", "shop", "many", ""),
        ("a sum that is too large", "shop", "large", ""),
        ("an answer that is too long", "shop", "long", ""),
        ("a source that has never answered", "shop", "slow", ""),
        ("two queues of one name in two vhosts", "shop", "rabbitmq_queue_length", "queue=orders"),
    ] {
        let path = path(namespace, metric, selector);
        transcript.push_str(&written(title, JSON, &path, &hpa.get(&path).await));
    }
    let (proxy, other) = (server.proxy(), Authority::named("another"));
    let metrics = "/metrics";
    for (title, client, path) in [
        ("a user who may not read it", proxy.clone().with_header("X-Remote-User", "eve"), VALUE),
        ("a user who may not read a path", proxy.with_header("X-Remote-User", "eve"), metrics),
        ("no user", server.anyone(), VALUE),
        ("a token that is not accepted", server.anyone().with_token("bad"), VALUE),
        (
            "a front proxy of another CA",
            server.holder(&other.client(FRONT_PROXY, &[])).with_header("X-Remote-User", "hpa"),
            VALUE,
        ),
        ("a client certificate of another CA", server.holder(&other.client("eve", &[])), VALUE),
    ] {
        transcript.push_str(&written(title, JSON, path, &client.get(path).await));
    }
    server.cluster.set_mood(Mood::Refusing(500));
    let undecided = server.proxy().with_header("X-Remote-User", "mallory");
    transcript.push_str(&written("a review of rights that fails", JSON, VALUE, &undecided.get(VALUE).await));
    let undecided = server.anyone().with_token("other");
    transcript.push_str(&written("a review of a token that fails", JSON, VALUE, &undecided.get(VALUE).await));
    let early = Server::start_knowing_nobody(&Oci::with_queues(&[]).await.config(&json!({}), &[])).await;
    let answer = early.aggregator("hpa").get(VALUE).await;
    transcript.push_str(&written("before the front-proxy CA is read", JSON, VALUE, &answer));
    golden::check_text("answers-chosen.txt", &transcript);
}
