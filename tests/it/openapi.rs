//! Aggregated discovery and OpenAPI: what kube-apiserver fetches and merges.

use serde_json::{Value, json};

use crate::golden;
use crate::support::client::{Answer, Client};
use crate::support::server::Server;

const NO_SOURCES: &str = r#"{"apiVersion": "depthgauge.dev/v1alpha1", "kind": "Config", "sources": []}"#;
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_BETA: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
const GROUP: &str = "apis/external.metrics.k8s.io/v1beta1";

async fn accepting(server: &Server, path: &str, accept: &str) -> Answer {
    server.anyone().with_header("Accept", accept).get(path).await
}

#[tokio::test]
async fn aggregated_discovery_has_our_group_with_every_metric() {
    let server = Server::start(NO_SOURCES).await;
    let answer = accepting(&server, "/apis", AGGREGATED).await;
    // The aggregator takes nothing that is called otherwise.
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some(AGGREGATED)));
    assert_eq!(answer.header("vary"), Some("Accept"));
    golden::check("discovery-aggregated.json", &answer.body);

    let beta = accepting(&server, "/apis", AGGREGATED_BETA).await;
    assert_eq!((beta.status.as_u16(), beta.header("content-type")), (200, Some(AGGREGATED_BETA)));
    assert_eq!(beta.body, answer.body.replace("apidiscovery.k8s.io/v2", "apidiscovery.k8s.io/v2beta1"));

    let yaml = accepting(&server, "/apis", &AGGREGATED.replace("json", "yaml")).await;
    assert_eq!(yaml.header("content-type"), Some(AGGREGATED.replace("json", "yaml").as_str()));
}

#[tokio::test]
async fn no_two_metrics_share_a_kind_or_kubectl_takes_one_for_the_other() {
    let server = Server::start(NO_SOURCES).await;
    let list = accepting(&server, "/apis", AGGREGATED).await.json();
    let resources = list["items"][0]["versions"][0]["resources"].as_array().unwrap().clone();
    let mut kinds: Vec<&str> = resources.iter().map(|r| r["responseKind"]["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), resources.len());
    let readable = resources.iter().filter(|resource| resource["verbs"] == json!(["get"]));
    let named = server.anyone().get(&format!("/{GROUP}")).await.json()["resources"].clone();
    let names = |list: Vec<&Value>, key: &str| list.into_iter().map(|r| r[key].clone()).collect::<Vec<_>>();
    assert_eq!(names(readable.collect(), "resource"), names(named.as_array().unwrap().iter().collect(), "name"));
}

#[tokio::test]
async fn who_does_not_ask_for_aggregated_discovery_or_in_another_version_gets_the_groups() {
    let server = Server::start(NO_SOURCES).await;
    for accept in [
        "application/json",
        "application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList,application/json",
        "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;q=0.9",
    ] {
        assert_eq!(accepting(&server, "/apis", accept).await.json()["kind"], "APIGroupList", "{accept}");
    }
}

#[tokio::test]
async fn documents_that_are_known_are_not_sent_again() {
    let server = Server::start(NO_SOURCES).await;
    for (path, accept) in [
        ("/apis", AGGREGATED),
        ("/apis", AGGREGATED_BETA),
        ("/openapi/v2", "application/json"),
        ("/openapi/v3", "*/*"),
        (&*format!("/openapi/v3/{GROUP}"), "application/json"),
    ] {
        let client = server.anyone().with_header("Accept", accept);
        let tag = client.get(path).await.header("etag").unwrap().to_owned();
        assert!(tag.len() == 130 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        let again = |known: &str| known_answer(client.clone(), path.to_owned(), known.to_owned());
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let answer = again(&known).await;
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (304, ""), "{path} {known}");
            assert_eq!(answer.header("etag"), Some(tag.as_str()));
        }
        assert_eq!(again("\"another\"").await.status, 200, "{path}");
    }
}

async fn known_answer(client: Client, path: String, tag: String) -> Answer {
    client.with_header("If-None-Match", &tag).get(&path).await
}

#[tokio::test]
async fn openapi_is_as_recorded() {
    let server = Server::start(NO_SOURCES).await;
    for (path, name) in
        [("/openapi/v2".to_owned(), "openapi-v2.json"), (format!("/openapi/v3/{GROUP}"), "openapi-v3.json")]
    {
        let answer = server.anyone().get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/json")), "{path}");
        golden::check(name, &answer.body);
    }
}

#[tokio::test]
async fn the_index_leads_to_the_document_by_its_hash() {
    let server = Server::start(NO_SOURCES).await;
    let index = server.anyone().get("/openapi/v3").await.json();
    let url = index["paths"][GROUP]["serverRelativeURL"].as_str().unwrap();
    let document = server.anyone().get(url).await;
    let hash = document.header("etag").unwrap().trim_matches('"').to_owned();
    assert_eq!(
        (document.json()["openapi"].clone(), url),
        (json!("3.0.0"), &*format!("/openapi/v3/{GROUP}?hash={hash}"))
    );
    assert_eq!(server.anyone().get("/openapi/v3/apis/other").await.refusal().0, 404);
}

#[tokio::test]
async fn openapi_describes_every_metric_and_refers_to_nothing_that_is_not_there() {
    let server = Server::start(NO_SOURCES).await;
    let metrics = server.anyone().get(&format!("/{GROUP}")).await.json();
    for (path, root) in
        [("/openapi/v2".to_owned(), "/definitions/"), (format!("/openapi/v3/{GROUP}"), "/components/schemas/")]
    {
        let document = server.anyone().get(&path).await.json();
        for metric in metrics["resources"].as_array().unwrap() {
            let path = format!("/{GROUP}/namespaces/{{namespace}}/{}", metric["name"].as_str().unwrap());
            assert_eq!(document["paths"][&path]["get"]["x-kubernetes-action"], "list", "{path}");
        }
        let mut references = Vec::new();
        collect_references(&document, &mut references);
        assert!(!references.is_empty());
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(pointer.starts_with(root) && document.pointer(pointer).is_some(), "{reference}");
        }
    }
}

fn collect_references(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect_references(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, references)),
        _ => {}
    }
}

#[tokio::test]
async fn openapi_is_to_be_had_in_json_only() {
    let server = Server::start(NO_SOURCES).await;
    let sentence = "only the following media types are accepted: application/json";
    for path in ["/openapi/v2", "/openapi/v3", "/version"] {
        assert_eq!(accepting(&server, path, "application/yaml").await.refusal(), (406, sentence.to_owned()), "{path}");
        let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        assert_eq!(accepting(&server, path, protobuf).await.refusal().0, 406, "{path}");
        assert_eq!(accepting(&server, path, &format!("{protobuf},*/*")).await.status, 200, "{path}");
    }
}
