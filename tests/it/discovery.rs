//! Discovery is the same for every caller at all times, over every protocol that is spoken.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::golden;
use crate::support::authority::Authority;
use crate::support::cluster::{FRONT_PROXY, Mood};
use crate::support::oci::{Oci, source};
use crate::support::server::Server;

/// Each document, the paths that it has, and its golden file.
const DOCUMENTS: [(&str, &[&str]); 4] = [
    ("discovery-groups", &["/apis", "/apis/"]),
    ("discovery-group", &["/apis/external.metrics.k8s.io", "/apis/external.metrics.k8s.io/"]),
    ("discovery-resources", &["/apis/external.metrics.k8s.io/v1beta1", "/apis/external.metrics.k8s.io/v1beta1/"]),
    ("version", &["/version", "/version/"]),
];
const RESOURCES: &str = "/apis/external.metrics.k8s.io/v1beta1";
/// A config may be empty: no source, so no credentials either.
const NO_SOURCES: &str = r#"{"apiVersion": "depthgauge.dev/v1alpha1", "kind": "Config", "sources": []}"#;

/// Every document, as this client sees it, is as its golden file says.
async fn expect_all(client: &crate::support::client::Client) {
    let connection = client.connect().await.unwrap();
    for (name, paths) in DOCUMENTS {
        for path in paths {
            let answer = connection.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
            golden::check(&format!("{name}.json"), &answer.body);
        }
    }
}

#[tokio::test]
async fn every_document_is_as_recorded_with_and_without_trailing_slash() {
    let oci = Oci::with_queues(&["orders"]).await;
    let server = Server::start(&oci.config(&json!({}), &[source("orders", &["shop"])])).await;
    expect_all(&server.anyone()).await;
    assert_eq!(oci.queue("orders").reads(), 0);
}

/// By their category, clients know the metrics that can't scale from zero.
#[tokio::test]
async fn metrics_that_are_read_from_pods_have_a_category_of_their_own() {
    let config = json!({"apiVersion": "depthgauge.dev/v1alpha1", "kind": "Config", "sources": [
        {"type": "scrape", "metric": "rps", "service": "shop/web", "port": "metrics", "series": "a_total", "as": "rate", "namespaces": ["shop"]},
        {"type": "schedule", "metric": "hours", "start": "0 8 * * *", "end": "0 18 * * *", "timezone": "UTC", "value": 1, "namespaces": ["shop"]},
    ]});
    let server = Server::start(&config.to_string()).await;
    let list: Value = serde_json::from_str(&server.anyone().get(RESOURCES).await.body).unwrap();
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = server.anyone().with_header("Accept", accept).get("/apis").await.body;
    let aggregated: Value = serde_json::from_str(&aggregated).unwrap();
    for (resources, key) in
        [(&list["resources"], "name"), (&aggregated["items"][0]["versions"][0]["resources"], "resource")]
    {
        let categories = |name: &str| {
            let mut all = resources.as_array().unwrap().iter();
            all.find(|resource| resource[key] == name).unwrap()["categories"].clone()
        };
        assert_eq!(categories("rps"), json!(["depthgauge", "depthgauge-pods"]));
        assert_eq!(
            (categories("hours"), categories("oci_queue_length")),
            (json!(["depthgauge"]), json!(["depthgauge"]))
        );
    }
}

#[tokio::test]
async fn documents_are_had_in_yaml_and_protobuf_too() {
    let server = Server::start(NO_SOURCES).await;
    for (name, paths) in &DOCUMENTS[..3] {
        let yaml = server.anyone().with_header("Accept", "application/yaml").get(paths[0]).await;
        assert_eq!(yaml.header("content-type"), Some("application/yaml"));
        golden::check_text(&format!("{name}.yaml"), &yaml.body);
        let protobuf = "application/vnd.kubernetes.protobuf";
        let answer = server.anyone().with_header("Accept", protobuf).get(paths[0]).await;
        assert_eq!(answer.header("content-type"), Some(protobuf));
        let hex: String = answer.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        golden::check_text(&format!("{name}.protobuf.hex"), &format!("{hex}\n"));
        let refused = server.anyone().with_header("Accept", "text/html").get(paths[0]).await;
        assert_eq!(refused.refusal().0, 406, "{name}");
    }
}

#[tokio::test]
async fn fields_stand_in_the_order_of_the_go_library() {
    let server = Server::start(NO_SOURCES).await;
    let metric = r#"{"name":"azure_servicebus_active_messages","singularName":"","namespaced":true,"kind":"ExternalMetricValueList","verbs":["get"],"categories":["depthgauge"]}"#;
    let versions = r#"[{"groupVersion":"external.metrics.k8s.io/v1beta1","version":"v1beta1"}]"#;
    for (path, beginning) in [
        (
            "/apis",
            format!(
                r#"{{"kind":"APIGroupList","apiVersion":"v1","groups":[{{"name":"external.metrics.k8s.io","versions":{versions},"preferredVersion":{{"#
            ),
        ),
        (
            "/apis/external.metrics.k8s.io",
            format!(r#"{{"kind":"APIGroup","apiVersion":"v1","name":"external.metrics.k8s.io","versions":{versions},"#),
        ),
        (
            RESOURCES,
            format!(
                r#"{{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"external.metrics.k8s.io/v1beta1","resources":[{metric},"#
            ),
        ),
        ("/version", r#"{"major":""#.to_owned()),
    ] {
        let body = server.anyone().get(path).await.body;
        assert!(body.starts_with(&beginning), "{body}");
    }
}

#[tokio::test]
async fn discovery_does_not_depend_on_what_is_configured() {
    let server = Server::start(NO_SOURCES).await;
    expect_all(&server.anyone()).await;
    let resources = server.anyone().get(RESOURCES).await.json();
    assert!(!resources["resources"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn discovery_is_answered_whatever_the_caller_shows() {
    let server = Server::start(NO_SOURCES).await;
    let strangers = Authority::named("strangers");
    for identity in [
        server.front_proxies.client(FRONT_PROXY, &[]),
        server.front_proxies.expired_client(FRONT_PROXY),
        server.clients.expired_client("alice"),
        strangers.client("alice", &[]),
    ] {
        expect_all(&server.holder(&identity)).await;
    }
    expect_all(&server.anyone().with_token("bad")).await;
    expect_all(&server.anyone().with_header("Authorization", "Basic YTpi")).await;
    assert_eq!((server.cluster.reviewed().len(), server.cluster.token_reviews()), (0, 0));
}

#[tokio::test]
async fn discovery_is_answered_while_the_cluster_is_away_and_was_never_seen() {
    let server = Server::start_knowing_nobody(NO_SOURCES).await;
    server.cluster.set_mood(Mood::Down);
    expect_all(&server.anyone()).await;
    expect_all(&server.proxy().with_header("X-Remote-User", "system:kube-aggregator")).await;
    expect_all(&server.anyone().with_token("any")).await;
    assert_eq!(server.anyone().get("/readyz").await.status, 200);
}

#[tokio::test]
async fn every_offered_protocol_answers() {
    const VERSIONS: [&[&rustls::SupportedProtocolVersion]; 2] =
        [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];
    let server = Server::start(NO_SOURCES).await;
    for tls in VERSIONS {
        let client = server.anyone().with_tls(tls);
        let answer = client.get(RESOURCES).await;
        assert_eq!((answer.status.as_u16(), answer.version), (200, http::Version::HTTP_2));
        let answer = client.with_http1().get(RESOURCES).await;
        assert_eq!((answer.status.as_u16(), answer.version), (200, http::Version::HTTP_11));
    }
}

#[tokio::test]
async fn what_is_older_than_tls_1_2_is_refused() {
    const HANDSHAKE: u8 = 22;
    const FATAL_ALERT_PROTOCOL_VERSION: [u8; 7] = [21, 3, 3, 0, 2, 2, 70];
    let server = Server::start(NO_SOURCES).await;
    for (minor, accepted) in [(3, true), (2, false), (1, false)] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&client_hello(minor)).await.unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[0] == HANDSHAKE, accepted, "3.{minor}: {answer:?}");
        assert_eq!(answer == FATAL_ALERT_PROTOCOL_VERSION, !accepted, "3.{minor}: {answer:?}");
    }
}

#[tokio::test]
async fn plain_http_gets_no_answer() {
    let server = Server::start(NO_SOURCES).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /apis HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A reset is as good an end as any.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/") && answer.len() < 16, "{answer:?}");
}

#[tokio::test]
async fn discovery_can_only_be_read() {
    let server = Server::start(NO_SOURCES).await;
    for (_, paths) in DOCUMENTS {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let (code, message) = server.anyone().call(method, paths[0]).await.refusal();
            assert_eq!((code, message.contains(method)), (405, true), "{method} {}: {message}", paths[0]);
        }
        let head = server.anyone().call("HEAD", paths[0]).await;
        assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_quiet_404() {
    let server = Server::start(NO_SOURCES).await;
    for path in ["/", "/openapi", "/apis/apps", "/apis/external.metrics.k8s.io/v1", "/api"] {
        let (code, message) = server.anyone().get(path).await.refusal();
        assert_eq!((code, message.as_str()), (404, "the server could not find the requested resource"), "{path}");
    }
    let document: Value = server.anyone().get("/").await.json();
    assert_eq!(document["reason"], "NotFound");
}

/// A hello of version 3.`minor`, which is TLS 1.2 for 3, and no other: it has no extension
/// `supported_versions`.
fn client_hello(minor: u8) -> Vec<u8> {
    const ECDSA_P256_SHA256: [u8; 8] = [0, 13, 0, 4, 0, 2, 4, 3];
    const X25519: [u8; 8] = [0, 10, 0, 4, 0, 2, 0, 0x1d];
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let extensions = [ECDSA_P256_SHA256, X25519].concat();
    // Random, no session, one cipher suite (ECDHE-ECDSA-AES128-GCM-SHA256), no compression.
    let mut body = [&[3, minor][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0]].concat();
    body.extend([0, length(&extensions)]);
    body.extend(extensions);
    let handshake = [&[1, 0, 0, length(&body)], body.as_slice()].concat();
    [&[22, 3, 1, 0, length(&handshake)], handshake.as_slice()].concat()
}

#[tokio::test]
async fn what_is_sent_along_must_be_of_a_known_type() {
    let server = Server::start(NO_SOURCES).await;
    for (sent, expected) in [
        ("application/json", 200),
        ("application/yaml; charset=utf-8", 200),
        ("text/html, application/vnd.kubernetes.protobuf;q=1", 200),
        ("", 200),
        ("text/plain", 415),
        ("application/xml, text/html", 415),
    ] {
        let client = server.anyone().with_header("Content-Type", sent);
        for path in DOCUMENTS[..3].iter().flat_map(|(_, paths)| *paths) {
            assert_eq!(client.get(path).await.status, expected, "{sent:?} {path}");
            assert_eq!(client.call("POST", path).await.status, 405, "{sent:?} {path}");
        }
        assert_eq!(client.get("/version").await.status, 200, "{sent:?}");
    }
    let refused = server.anyone().with_header("Content-Type", "text/plain").get(RESOURCES).await;
    assert_eq!(refused.json()["reason"], "UnsupportedMediaType");
}
