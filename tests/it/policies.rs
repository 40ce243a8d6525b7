//! Activation and fallback as the HPA controller and kubectl see them.

use depthgauge_emulator::fault::Fault;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::oci::{Oci, source};
use crate::support::server::{Server, VALUE};

const ACTIVATION: &str = "queue%3Dorders%2Cdepthgauge.dev%2Factivation%3D5";
const FALLBACK: &str = "queue%3Dorders%2Cdepthgauge.dev%2Ffallback%3D12";

struct Scene {
    oci: Oci,
    hpa: Client,
    _server: Server,
}

impl Scene {
    /// One queue, read often and believed for a short time, with these keys in its config.
    async fn start(policies: &Value) -> Self {
        let oci = Oci::with_queues(&["orders"]).await;
        let mut orders = source("orders", &["shop"]);
        orders.as_object_mut().unwrap().extend(policies.as_object().unwrap().clone());
        let defaults = json!({"refresh": "50ms", "timeout": "2s", "maxAge": "400ms"});
        let server = Server::start(&oci.config(&defaults, &[orders])).await;
        Self { oci, hpa: server.aggregator("hpa"), _server: server }
    }

    /// Makes the queue this long.
    fn set(&self, messages: usize) {
        self.oci.queue("orders").consume(usize::MAX);
        self.oci.put("orders", messages);
    }

    /// Value and policy of the one item; what is said when there is none.
    async fn told(&self, selector: &str) -> Result<(String, Option<String>), String> {
        let answer = self.hpa.get(&format!("{VALUE}?labelSelector={selector}")).await;
        if answer.status != 200 {
            return Err(answer.refusal().1);
        }
        let item = &answer.json()["items"][0];
        let policy = item["metricLabels"]["depthgauge.dev/value-source"].as_str().map(str::to_owned);
        Ok((item["value"].as_str().unwrap().to_owned(), policy))
    }

    async fn until_told(&self, selector: &str, value: &str, policy: Option<&str>) {
        let expected = (value.to_owned(), policy.map(str::to_owned));
        eventually(value, async || (self.told(selector).await.as_ref() == Ok(&expected)).then_some(())).await;
    }
}

#[tokio::test]
async fn a_held_0_says_so_and_a_true_one_does_not() {
    let scene = Scene::start(&json!({})).await;
    scene.set(0);
    scene.until_told(ACTIVATION, "0", None).await;
    scene.set(5);
    scene.until_told(ACTIVATION, "0", Some("activation")).await;
    // Whoever asks without it sees what there is.
    scene.until_told("", "5", None).await;
    scene.set(6);
    scene.until_told(ACTIVATION, "6", None).await;
    scene.set(1);
    scene.until_told(ACTIVATION, "1", None).await;
}

#[tokio::test]
async fn the_config_sets_what_holds_for_everybody() {
    let scene = Scene::start(&json!({"activation": 5, "fallback": 12})).await;
    scene.set(0);
    scene.until_told("", "0", None).await;
    scene.set(3);
    scene.until_told("", "0", Some("activation")).await;
    scene.oci.set_fault(Some(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    scene.until_told("", "12", Some("fallback")).await;
}

#[tokio::test]
async fn a_fallback_stands_in_for_trouble_and_not_for_a_queue_that_is_not_there() {
    let scene = Scene::start(&json!({})).await;
    scene.set(3);
    scene.until_told(FALLBACK, "3", None).await;
    scene.oci.set_fault(Some(Fault::Status(StatusCode::SERVICE_UNAVAILABLE)));
    let before = Timestamp::now().as_second();
    scene.until_told(FALLBACK, "12", Some("fallback")).await;
    let answer = scene.hpa.get(&format!("{VALUE}?labelSelector={FALLBACK}")).await;
    let dated: Timestamp = answer.json()["items"][0]["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(dated.as_second() >= before, "{dated}");
    assert!(scene.told("").await.unwrap_err().contains("503 ServiceUnavailable"));
    scene.oci.set_fault(None);
    scene.until_told(FALLBACK, "3", None).await;
    scene.oci.set_fault(Some(Fault::Status(StatusCode::NOT_FOUND)));
    let sentence = eventually("a sentence", async || scene.told(FALLBACK).await.err()).await;
    assert!(sentence.contains("404 NotAuthorizedOrNotFound"), "{sentence}");
}

#[tokio::test]
async fn kubectl_has_a_column_for_it() {
    let scene = Scene::start(&json!({"fallback": 12})).await;
    scene.oci.set_fault(Some(Fault::Reset));
    let kubectl = scene.hpa.clone().with_header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let cells = kubectl.get(VALUE).await.json()["rows"][0]["cells"].clone();
    assert_eq!((&cells[0], &cells[1], &cells[3]), (&json!("orders"), &json!("12"), &json!("fallback")));
}

#[tokio::test]
async fn a_number_that_is_none_is_400_and_says_what_to_write() {
    let scene = Scene::start(&json!({})).await;
    for bad in ["%3Dx", "%3D1.5.5", "%3D", "", "%21%3D1"] {
        let answer = scene.hpa.get(&format!("{VALUE}?labelSelector=depthgauge.dev%2Factivation{bad}")).await;
        let (code, message) = answer.refusal();
        let remedy = "depthgauge.dev/activation takes one number from 0 to 9200000000000000, as in depthgauge.dev/activation=12 or depthgauge.dev/activation=0.5";
        assert!(code == 400 && message.ends_with(remedy), "{bad}: {message}");
    }
}
