//! Every form in which a value can be had, and what decides which.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::golden;
use crate::support::client::{Answer, Client};
use crate::support::eventually;
use crate::support::oci::{Oci, source};
use crate::support::server::{Server, VALUE};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// As kubectl asks.
const TABLE: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// Queues `a` and `b` with 1 and 2000 messages, and somebody who may read them.
struct Scene {
    _server: Server,
    hpa: Client,
    _oci: Oci,
}

impl Scene {
    async fn start() -> Self {
        let oci = Oci::with_queues(&["a", "b"]).await;
        oci.put("a", 1);
        oci.put("b", 2000);
        let server = Server::start(&oci.config(&json!({}), &[source("a", &["shop"]), source("b", &["shop"])])).await;
        let hpa = server.aggregator("hpa");
        Self { _server: server, hpa, _oci: oci }
    }

    async fn get(&self, query: &str, headers: &[(&str, &str)]) -> Answer {
        let client = headers.iter().fold(self.hpa.clone(), |client, (name, value)| client.with_header(name, value));
        client.get(&format!("{VALUE}{query}")).await
    }

    async fn accepting(&self, accept: &str) -> Answer {
        self.get("", &[("Accept", accept)]).await
    }
}

#[tokio::test]
async fn json_is_byte_for_byte_as_the_go_library_writes_it() {
    let scene = Scene::start().await;
    for accept in ["", "*/*", "application/json", "application/json, */*", "application/*;q=0.5, text/html"] {
        let answer = scene.accepting(accept).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (200, Some("application/json")),
            "{accept}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-cache, private"));
        golden::check_text("values.wire.json", &golden::undated(&answer.body));
    }
}

#[tokio::test]
async fn yaml_is_as_the_go_library_writes_it() {
    let scene = Scene::start().await;
    let answer = scene.accepting("application/yaml").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/yaml")));
    golden::check_text("values.yaml", &golden::undated(&answer.body));
}

#[tokio::test]
async fn protobuf_is_what_the_hpa_controller_gets() {
    let scene = Scene::start().await;
    for accept in [PROTOBUF, "application/vnd.kubernetes.protobuf, */*"] {
        let answer = scene.accepting(accept).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some(PROTOBUF)), "{accept}");
        let hex = golden::undated_protobuf(&answer.bytes);
        assert_eq!(hex.matches("1a080887ec8bd806").count(), 2, "two items: {hex}");
        golden::check_text("values.protobuf.hex", &format!("{hex}\n"));
    }
}

#[tokio::test]
async fn kubectl_gets_a_table_in_the_version_that_it_asks_for() {
    let scene = Scene::start().await;
    let ageless = |answer: &Answer| {
        let mut table = answer.json();
        for row in table["rows"].as_array_mut().unwrap() {
            let age = row["cells"][2].as_str().unwrap().to_owned();
            assert!(age.ends_with('s'), "{age}");
            row["cells"][2] = "1s".into();
        }
        table
    };
    let table = scene.accepting(TABLE).await;
    assert_eq!(table.header("content-type"), Some("application/json"));
    golden::check("table.json", &ageless(&table).to_string());
    let beta = scene.accepting("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json").await;
    let renamed = ageless(&table).to_string().replace("meta.k8s.io/v1", "meta.k8s.io/v1beta1");
    assert_eq!(ageless(&beta).to_string(), renamed);
    let yaml = scene.accepting("application/yaml;as=Table;v=v1;g=meta.k8s.io").await;
    assert!(yaml.body.starts_with("apiVersion: meta.k8s.io/v1\ncolumnDefinitions:\n- "), "{}", yaml.body);
}

#[tokio::test]
async fn a_row_carries_what_is_asked_for() {
    let scene = Scene::start().await;
    let accept = [("Accept", TABLE)];
    for (query, kind) in [
        ("?includeObject=Metadata", json!("PartialObjectMetadata")),
        ("?includeObject=Object", json!("ExternalMetricValue")),
        ("?includeObject=None", json!(null)),
    ] {
        let table = scene.get(query, &accept).await.json();
        assert_eq!(table["rows"][1]["object"]["kind"], kind, "{query}");
    }
    let table = scene.get("?includeObject=Object", &accept).await.json();
    assert_eq!(table["rows"][1]["object"]["value"], "2k");
    let refusal = scene.get("?includeObject=All", &accept).await.refusal();
    assert_eq!(refusal, (400, r#"unrecognized includeObject value: "All""#.to_owned()));
}

#[tokio::test]
async fn what_cannot_be_had_is_passed_over_or_406() {
    let scene = Scene::start().await;
    for accept in [
        "application/json;as=Table;v=v7;g=meta.k8s.io,application/json",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
    ] {
        assert_eq!(scene.accepting(accept).await.json()["kind"], "ExternalMetricValueList", "{accept}");
    }
    for accept in
        ["text/html", "application/json;q=0", "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io"]
    {
        let answer = scene.accepting(accept).await;
        let sentence = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        assert_eq!(answer.refusal(), (406, sentence.to_owned()), "{accept}");
        assert_eq!(answer.json()["reason"], "NotAcceptable");
    }
    let both = [("Accept", "text/html"), ("Accept", "application/yaml")];
    assert_eq!(scene.get("", &both).await.header("content-type"), Some("application/yaml"));
}

#[tokio::test]
async fn an_error_is_json_whatever_is_accepted() {
    let scene = Scene::start().await;
    for accept in ["application/yaml", PROTOBUF, TABLE] {
        let (code, _) = scene.get("?labelSelector=a+is+b", &[("Accept", accept)]).await.refusal();
        assert_eq!(code, 400, "{accept}");
    }
}

#[tokio::test]
async fn pretty_is_indented() {
    let scene = Scene::start().await;
    let plain = scene.get("", &[]).await;
    for (query, headers) in [
        ("?pretty=true", &[][..]),
        ("?pretty=1", &[]),
        ("", &[("User-Agent", "curl/8.5.0")]),
        ("", &[("Accept", "application/json;pretty=1")]),
    ] {
        let pretty = scene.get(query, headers).await;
        assert!(
            pretty.body.starts_with("{\n  \"kind\": \"ExternalMetricValueList\",\n  \"apiVersion\""),
            "{}",
            pretty.body
        );
        assert_eq!(pretty.json(), plain.json());
    }
    let asked_not_to = scene.get("?pretty=false", &[("User-Agent", "curl/8.5.0")]).await;
    assert_eq!(asked_not_to.body, plain.body);
}

#[tokio::test]
async fn small_answers_are_not_compressed() {
    let scene = Scene::start().await;
    let answer = scene.get("", &[("Accept-Encoding", "gzip")]).await;
    assert_eq!((answer.header("content-encoding"), answer.header("vary")), (None, None));
    assert_eq!(answer.values().len(), 2);
}

/// As kube-apiserver does with its own.
#[tokio::test]
async fn an_answer_above_128_kib_is_compressed_for_whoever_takes_that() {
    // As many as an answer may have, with long names, and one more.
    let names: Vec<String> = (0..=1_000).map(|number| format!("queue-{number:055}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let oci = Oci::with_queues(&names).await;
    let (last, others) = names.split_last().unwrap();
    let mut sources: Vec<_> = others.iter().map(|name| source(name, &["shop", "bank"])).collect();
    sources.push(source(last, &["bank"]));
    let mut config: Value = serde_json::from_str(&oci.config(&json!({"refresh": "1m"}), &sources)).unwrap();
    config["oci"]["maxRequestsPerSecond"] = json!(10_000);
    let server = Server::start(&config.to_string()).await;
    let hpa = server.aggregator("hpa");
    let plain = eventually("all are read", async || Some(hpa.get(VALUE).await).filter(|it| it.status == 200)).await;
    assert!(plain.bytes.len() > 128 << 10, "{}", plain.bytes.len());
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, None));
    let small = hpa.with_header("Accept-Encoding", "gzip").get(VALUE).await;
    assert_eq!(small.header("content-encoding"), Some("gzip"));
    assert!(small.bytes.len() * 4 < plain.bytes.len(), "{}", small.bytes.len());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*small.bytes).read_to_string(&mut text).unwrap();
    assert_eq!(golden::undated(&text), golden::undated(&plain.body));
    let refused = server.aggregator("hpa").get(&VALUE.replace("/shop/", "/bank/")).await.refusal();
    let too_many = "the selector picks 1001 items of oci_queue_length; the maximum is 1000 in an answer";
    assert_eq!(refused, (400, too_many.to_owned()));
}

#[tokio::test]
async fn a_lists_usual_parameters_change_nothing() {
    let scene = Scene::start().await;
    let plain = scene.get("", &[]).await.json();
    for query in ["?limit=1", "?limit=500&continue=abc", "?resourceVersion=0&timeoutSeconds=5", "?fieldSelector=", "/"]
    {
        assert_eq!(scene.get(query, &[]).await.json(), plain, "{query}");
    }
    for wrong in ["limit=many", "timeoutSeconds=5s"] {
        assert_eq!(scene.get(&format!("?{wrong}"), &[]).await.refusal().0, 400, "{wrong}");
    }
    let (code, message) = scene.get("?fieldSelector=metadata.name%3Da", &[]).await.refusal();
    assert_eq!((code, message.contains("labelSelector")), (400, true), "{message}");
}

#[tokio::test]
async fn whoever_tries_to_write_is_told_what_is_allowed() {
    let scene = Scene::start().await;
    for (method, content_type) in [("POST", "text/plain"), ("PUT", "application/json"), ("PATCH", "x"), ("DELETE", "x")]
    {
        let client = scene.hpa.clone().with_header("Content-Type", content_type);
        let answer = client.call(method, VALUE).await;
        assert_eq!((answer.refusal().0, answer.header("allow")), (405, Some("GET,HEAD")), "{method}");
    }
}
