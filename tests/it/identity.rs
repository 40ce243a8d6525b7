//! Who is calling: what makes a caller believed, and what does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use rustls::{HandshakeKind, SupportedProtocolVersion};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::authority::{Authority, Identity};
use crate::support::client::Client;
use crate::support::cluster::{FRONT_PROXY, identity_config};
use crate::support::oci::Oci;
use crate::support::server::{Server, VALUE, start};

static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
static TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

const HPA: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

/// What a message says after the common name of a front proxy's certificate that is not by the CA.
const OTHER_KEY: &str = "its chain (issuer \"CN=front proxies\") is signed by another key than the CA's in requestheader-client-ca-file of ConfigMap kube-system/extension-apiserver-authentication. Have kube-apiserver's --requestheader-client-ca-file sign its --proxy-client-cert-file";

/// Refused with the reason: a Status without a value, and the queue was not read.
async fn expect_unauthorized(client: &Client, oci: &Oci, shown: &str, why: &str) {
    let answer = client.get(VALUE).await;
    let (code, message) = answer.refusal();
    let reason = message.strip_prefix("Unauthorized: ").and_then(|rest| rest.strip_prefix(shown));
    let reason = reason.and_then(|rest| rest.split_once(" refused: "));
    assert!(code == 401 && reason.is_some_and(|(_, reason)| reason.starts_with(why)), "{message}");
    assert_eq!(answer.json()["reason"], "Unauthorized");
    assert_eq!(oci.queue("orders").reads(), 0);
}

async fn expect_refused_front_proxy(server: &Server, identity: &Identity, oci: &Oci, why: &str) {
    let client = server.holder(identity).with_header("X-Remote-User", HPA);
    expect_unauthorized(&client, oci, "certificate presented as front proxy", why).await;
}

async fn expect_refused_user(server: &Server, identity: &Identity, oci: &Oci, why: &str) {
    expect_unauthorized(&server.holder(identity), oci, "client certificate", why).await;
}

#[tokio::test]
async fn the_front_proxy_speaks_for_the_user_in_its_headers() {
    let (server, _oci) = start().await;
    let client = server
        .aggregator(HPA)
        .with_header("X-Remote-Group", "system:serviceaccounts")
        .with_header("X-Remote-Group", "system:authenticated")
        .with_header("X-Remote-Uid", "7f-1")
        .with_header("X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id", "JTI=1")
        .with_header("X-Remote-Extra-Scopes", "a")
        .with_header("X-Remote-Extra-Scopes", "b%2Fc");
    assert_eq!(client.get(VALUE).await.values(), [("orders".to_owned(), "3".to_owned())]);
    assert_eq!(client.with_http1().get(VALUE).await.status, 200);
    let reviewed = server.cluster.reviewed();
    assert_eq!(reviewed.len(), 1);
    let spec = serde_json::to_value(&reviewed[0]).unwrap();
    let expected = json!({
        "user": HPA,
        "uid": "7f-1",
        "groups": ["system:serviceaccounts", "system:authenticated"],
        // Keys are percent-encoded, for header names can hold no slash; values are not.
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"], "scopes": ["a", "b%2Fc"]},
        "resourceAttributes": {
            "group": "external.metrics.k8s.io", "version": "v1beta1", "resource": "oci_queue_length",
            "namespace": "shop", "verb": "list",
        },
    });
    assert_eq!(spec, expected);
}

#[tokio::test]
async fn headers_without_a_certificate_are_nobody() {
    let (server, oci) = start().await;
    server.cluster.allow(HPA);
    let client = server.anyone().with_header("X-Remote-User", HPA).with_header("X-Remote-Group", "system:masters");
    for client in [client.clone(), client.with_http1()] {
        let answer = client.get(VALUE).await;
        let (code, message) = answer.refusal();
        assert_eq!((code, message.contains(r#"User "system:anonymous""#)), (403, true), "{message}");
    }
    let reviewed = server.cluster.reviewed();
    assert_eq!(reviewed[0].user.as_deref(), Some("system:anonymous"));
    assert_eq!(reviewed[0].groups.as_deref(), Some(&["system:unauthenticated".to_owned()][..]));
    assert_eq!(oci.queue("orders").reads(), 0);
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused() {
    let (server, oci) = start().await;
    server.cluster.allow(HPA);
    // Of the same name and for the same name: only the key is another.
    let strangers = Authority::named("front proxies");
    let identity = strangers.client(FRONT_PROXY, &["system:masters"]);
    expect_refused_front_proxy(&server, &identity, &oci, OTHER_KEY).await;
    let identity = Authority::named("others").client(FRONT_PROXY, &[]);
    expect_refused_front_proxy(
        &server,
        &identity,
        &oci,
        "issuer \"CN=others\" is not a CA in requestheader-client-ca-file",
    )
    .await;
    let users = Authority::named("others");
    let identity = users.client(HPA, &["system:masters"]);
    expect_refused_user(&server, &identity, &oci, "issuer \"CN=others\" is not a CA in client-ca-file").await;
}

#[tokio::test]
async fn a_front_proxy_whose_name_is_not_allowed_is_refused() {
    let (server, oci) = start().await;
    server.cluster.allow(HPA);
    let identity = server.front_proxies.client("other-client", &["system:masters"]);
    let why = "the name is not in requestheader-allowed-names of ConfigMap kube-system/extension-apiserver-authentication. Add the name to kube-apiserver's --requestheader-allowed-names";
    expect_refused_front_proxy(&server, &identity, &oci, why).await;
}

#[tokio::test]
async fn a_front_proxy_that_go_would_accept_and_webpki_does_not_is_refused_with_the_remedy() {
    let (server, oci) = start().await;
    server.cluster.allow(HPA);
    for (identity, why) in [
        (
            server.front_proxies.client_of_version_1(FRONT_PROXY),
            "it is not of X.509 version 3. Issue kube-apiserver's --proxy-client-cert-file as X.509 version 3",
        ),
        (
            server.front_proxies.client_that_is_a_ca(FRONT_PROXY),
            "it is a CA certificate (CA:TRUE). Issue kube-apiserver's --proxy-client-cert-file without CA:TRUE",
        ),
    ] {
        expect_refused_front_proxy(&server, &identity, &oci, why).await;
        let message = server.holder(&identity).with_header("X-Remote-User", HPA).get(VALUE).await.refusal().1;
        assert!(message.contains("(common name \"front-proxy-client\")"), "{message}");
    }
}

#[tokio::test]
async fn an_empty_list_of_names_allows_every_name() {
    let (server, _oci) = start().await;
    server.cluster.allow(HPA);
    let mut data = identity_config(&server.front_proxies, &server.clients);
    let identity = server.front_proxies.client("other-client", &[]);
    for empty in ["[]", ""] {
        data.insert("requestheader-allowed-names".to_owned(), empty.to_owned());
        server.trust.apply(&data).unwrap();
        assert_eq!(server.holder(&identity).with_header("X-Remote-User", HPA).get(VALUE).await.status, 200);
    }
}

#[tokio::test]
async fn a_users_certificate_that_poses_as_the_front_proxy_is_only_that_user() {
    let (server, oci) = start().await;
    server.cluster.allow(HPA);
    let identity = server.clients.client(FRONT_PROXY, &["devs"]);
    let posing = server.holder(&identity).with_header("X-Remote-User", HPA);
    let (code, message) = posing.with_header("X-Remote-Group", "system:masters").get(VALUE).await.refusal();
    assert_eq!((code, message.contains(r#"User "front-proxy-client""#)), (403, true), "{message}");
    let reviewed = server.cluster.reviewed();
    assert_eq!(reviewed[0].user.as_deref(), Some(FRONT_PROXY));
    assert_eq!(reviewed[0].groups.as_deref(), Some(&["devs".to_owned(), "system:authenticated".to_owned()][..]));
    assert_eq!(oci.queue("orders").reads(), 0);
}

#[tokio::test]
async fn a_users_certificate_is_that_user() {
    let (server, _oci) = start().await;
    server.cluster.allow("alice");
    assert_eq!(server.holder(&server.clients.client("alice", &["devs"])).get(VALUE).await.status, 200);
    let reviewed = serde_json::to_value(&server.cluster.reviewed()[0]).unwrap();
    let credential = reviewed["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap();
    let digest = credential.strip_prefix("X509SHA256=").unwrap();
    assert!(digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit()), "{credential}");
    // A front proxy that names nobody is nobody: it is no user of the cluster.
    let unnamed = server.proxy().with_header("X-Remote-User", "");
    let why = "Unauthorized: the front proxy names no user that can be read in header X-Remote-User";
    assert_eq!(unnamed.get(VALUE).await.refusal(), (401, why.to_owned()));
}

#[tokio::test]
async fn a_certificate_out_of_its_time_or_for_another_purpose_is_refused() {
    let (server, oci) = start().await;
    server.cluster.allow(HPA);
    let expired = "it or its chain expired at 2021-01-01T00:00:00Z";
    let usage = "its extended key usage has no clientAuth";
    for (identity, why) in
        [(server.front_proxies.expired_client(FRONT_PROXY), expired), (server.front_proxies.server(FRONT_PROXY), usage)]
    {
        expect_refused_front_proxy(&server, &identity, &oci, why).await;
    }
    for (identity, why) in [(server.clients.expired_client(HPA), expired), (server.clients.server(HPA), usage)] {
        expect_refused_user(&server, &identity, &oci, why).await;
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_nobodys_and_shuts_nobody_out() {
    let (server, _oci) = start().await;
    server.cluster.allow("bob");
    server.cluster.token("good", "bob", &[]);
    for authority in [&server.front_proxies, &server.clients] {
        for versions in [TLS12, TLS13] {
            let identity = authority.client_of_version_1(FRONT_PROXY);
            let holder = server.holder(&identity).with_tls(versions);
            assert_eq!(holder.get("/apis/external.metrics.k8s.io/v1beta1").await.status, 200);
            let (code, message) = holder.clone().with_header("X-Remote-User", "bob").get(VALUE).await.refusal();
            assert_eq!((code, message.contains("it is not of X.509 version 3")), (401, true), "{message}");
            assert_eq!(holder.with_token("good").get(VALUE).await.status, 200);
        }
    }
}

#[tokio::test]
async fn a_change_of_the_ca_counts_from_the_next_request_of_the_same_connection() {
    let (server, _oci) = start().await;
    let before = server.aggregator(HPA);
    for client in [before.clone(), before.clone().with_http1()] {
        server.trust.apply(&identity_config(&server.front_proxies, &server.clients)).unwrap();
        let kept = client.connect().await.unwrap();
        assert_eq!(kept.get(VALUE).await.status, 200);

        let next = Authority::named("front proxies");
        server.trust.apply(&identity_config(&next, &server.clients)).unwrap();
        let (code, message) = kept.get(VALUE).await.refusal();
        assert_eq!((code, message.contains(OTHER_KEY)), (401, true), "{message}");
        let after = server.holder(&next.client(FRONT_PROXY, &[])).with_header("X-Remote-User", HPA);
        assert_eq!(after.get(VALUE).await.status, 200);
        assert_eq!(before.get(VALUE).await.status, 401);
        assert!(!kept.closed.is_finished());
    }
}

#[tokio::test]
async fn both_cas_of_a_rotation_are_good() {
    let (server, _oci) = start().await;
    let next = Authority::named("front proxies");
    let mut data = identity_config(&server.front_proxies, &server.clients);
    data.insert("requestheader-client-ca-file".to_owned(), format!("{}{}", next.pem, server.front_proxies.pem));
    server.trust.apply(&data).unwrap();
    assert_eq!(server.aggregator(HPA).get(VALUE).await.status, 200);
    let identity = next.client(FRONT_PROXY, &[]);
    assert_eq!(server.holder(&identity).with_header("X-Remote-User", HPA).get(VALUE).await.status, 200);
}

#[tokio::test]
async fn a_config_map_that_is_not_understood_changes_nothing() {
    let (server, _oci) = start().await;
    let good = server.aggregator(HPA);
    let mut data = identity_config(&server.front_proxies, &server.clients);
    data.insert("requestheader-client-ca-file".to_owned(), "broken".to_owned());
    assert!(server.trust.apply(&data).is_err());
    assert_eq!(good.get(VALUE).await.status, 200);
}

#[tokio::test]
async fn what_can_be_read_of_the_config_map_counts_though_the_rest_cannot() {
    let (server, _oci) = start().await;
    let (proxies, users) = (Authority::named("front proxies"), Authority::named("clients"));
    let user = server.holder(&server.clients.client(HPA, &[]));
    let next_proxy = server.holder(&proxies.client(FRONT_PROXY, &[])).with_header("X-Remote-User", HPA);
    server.cluster.allow(HPA);
    let mut data = identity_config(&proxies, &users);
    data.insert("client-ca-file".to_owned(), "broken".to_owned());
    assert!(server.trust.apply(&data).unwrap_err().to_string().contains("client-ca-file"));
    assert_eq!((next_proxy.get(VALUE).await.status, user.get(VALUE).await.status), (StatusCode::OK, StatusCode::OK));
    let mut data = identity_config(&proxies, &users);
    data.insert("requestheader-client-ca-file".to_owned(), String::new());
    assert!(server.trust.apply(&data).unwrap_err().to_string().contains("requestheader-client-ca-file"));
    let next_user = server.holder(&users.client(HPA, &[]));
    assert_eq!(
        (next_proxy.get(VALUE).await.status, next_user.get(VALUE).await.status),
        (StatusCode::OK, StatusCode::OK)
    );
    assert_eq!(user.get(VALUE).await.status, 401);
}

#[tokio::test]
async fn a_user_of_many_groups_may_ask_by_either_protocol() {
    let (server, _oci) = start().await;
    let mut client = server.aggregator(HPA);
    for n in 0..300 {
        client = client.with_header("X-Remote-Group", &format!("group-{n}"));
    }
    for client in [client.clone(), client.with_http1()] {
        assert_eq!(client.get(VALUE).await.status, 200);
    }
}

#[tokio::test]
async fn without_the_config_map_nobody_is_believed_by_certificate_and_the_answer_says_why() {
    let (server, oci) = start().await;
    server.trust.apply(&BTreeMap::new()).unwrap();
    let user = server.holder(&server.clients.client(HPA, &["system:masters"]));
    for client in [server.aggregator(HPA).with_header("X-Remote-Group", "system:masters"), user] {
        let (code, message) = client.get(VALUE).await.refusal();
        let known = message.starts_with("cannot authenticate the client: depthgauge has not read the front-proxy CA");
        assert_eq!((code, known), (503, true), "{message}");
    }
    assert_eq!(oci.queue("orders").reads(), 0);
    // Tokens need no ConfigMap.
    server.cluster.token("good", "bob", &[]);
    server.cluster.allow("bob");
    assert_eq!(server.anyone().with_token("good").get(VALUE).await.status, 200);
}

#[tokio::test]
async fn a_resumed_session_is_no_better_than_the_ca_of_now() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let (server, oci) = start().await;
        let versions: &'static [_] = Box::leak(Box::new([version]));
        let client = server.aggregator(HPA).with_tls(versions);
        let tls = TlsConnector::from(Arc::new(client.tls()));
        let connect = async || {
            let stream = TcpStream::connect(server.address).await.unwrap();
            tls.connect("localhost".try_into().unwrap(), stream).await.unwrap()
        };
        let first = connect().await;
        assert_eq!(first.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        let first = client.over(first).await.unwrap();
        assert_eq!(first.get(VALUE).await.status, 200);
        let again = connect().await;
        assert_eq!(again.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        assert_eq!(client.over(again).await.unwrap().get(VALUE).await.status, 200);
        let reads = oci.queue("orders").reads();

        let next = Authority::named("front proxies");
        server.trust.apply(&identity_config(&next, &server.clients)).unwrap();
        let resumed = connect().await;
        assert_eq!(resumed.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        let answer = client.over(resumed).await.unwrap().get(VALUE).await;
        let (code, message) = answer.refusal();
        assert_eq!((code, message.contains(OTHER_KEY)), (401, true), "{version:?}: {message}");
        assert_eq!(oci.queue("orders").reads(), reads);
    }
}
