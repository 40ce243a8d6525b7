//! Every kind of answer about OCI queues, byte for byte, in `tests/golden/answers.txt`: what clients are
//! served does not change when the code behind it does.
//!
//! Forms and documents that other golden files hold (YAML, discovery, OpenAPI) are not here again.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::golden;
use crate::support::client::{Answer, Client, values_path};
use crate::support::eventually;
use crate::support::oci::{Oci, answered, compartment, ocid, refused, source, stats};
use crate::support::server::Server;

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
        let body = match answer.header("content-type") {
            Some(PROTOBUF) => golden::undated_protobuf(&answer.bytes),
            _ => ageless(&golden::undated(&answer.body)),
        };
        let form = if accept == TABLE { "application/json;as=Table" } else { accept };
        let (code, content_type) = (answer.status.as_u16(), answer.header("content-type").unwrap_or_default());
        let path = percent_encoding::percent_decode_str(path).decode_utf8().unwrap().into_owned();
        writeln!(
            self.transcript,
            "# {title}\nGET {path}\nAccept: {form}\n{code} {content_type}\n{}\n",
            body.trim_end()
        )
        .unwrap();
    }

    /// Waits for an answer that has this text in it.
    async fn until(&self, namespace: &str, selector: &str, text: &str) {
        let path = path(namespace, "oci_queue_length", selector);
        eventually(text, async || self.request(JSON, &path).await.body.contains(text).then_some(())).await;
    }
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
