//! May they: what the cluster is asked, how often, and what is said while it cannot be.

use std::sync::Arc;
use std::time::Duration;

use depthgauge::auth::{TokenReviews, Tokens as _, Unauthenticated};
use depthgauge::health::{Health, Reasons, State};
use depthgauge::request::Peer;
use futures_util::future::join_all;
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::support::client::Connection;
use crate::support::cluster::{Cluster, Mood};
use crate::support::eventually;
use crate::support::server::{VALUE, start};

#[tokio::test]
async fn who_may_not_reads_the_sentence_of_kubernetes() {
    let (server, oci) = start().await;
    let answer = server.proxy().with_header("X-Remote-User", "u").get(VALUE).await;
    let sentence = r#"oci_queue_length.external.metrics.k8s.io is forbidden: User "u" cannot list resource "oci_queue_length" in API group "external.metrics.k8s.io" in the namespace "shop""#;
    assert_eq!(answer.refusal(), (403, sentence.to_owned()));
    let status = answer.json();
    assert_eq!(status["reason"], "Forbidden");
    assert_eq!(status["details"], json!({"group": "external.metrics.k8s.io", "kind": "oci_queue_length"}));
    assert_eq!(oci.queue("orders").reads(), 0);
}

#[tokio::test]
async fn the_cluster_is_asked_about_what_is_done() {
    let (server, oci) = start().await;
    let nobody = server.proxy().with_header("X-Remote-User", "u");
    for (method, path, verb) in [
        ("HEAD", VALUE, "list"),
        ("GET", &format!("{VALUE}?watch=true"), "watch"),
        ("DELETE", VALUE, "deletecollection"),
        ("POST", VALUE, "create"),
        ("PUT", VALUE, "update"),
        ("PATCH", VALUE, "patch"),
    ] {
        assert_eq!(nobody.call(method, path).await.status, 403, "{method} {path}");
        let spec = server.cluster.reviewed().pop().unwrap();
        assert_eq!(spec.resource_attributes.unwrap().verb.as_deref(), Some(verb), "{method} {path}");
    }
    assert_eq!(oci.queue("orders").reads(), 0);
}

#[tokio::test]
async fn a_question_that_is_too_long_to_keep_is_asked_each_time() {
    let (server, _oci) = start().await;
    let long = server.aggregator("hpa").with_header("X-Remote-Group", &"g".repeat(5000));
    let (short, long) = (server.aggregator("hpa").connect().await.unwrap(), long.connect().await.unwrap());
    for (connection, reviews) in [(&short, 1), (&short, 1), (&long, 2), (&long, 3)] {
        assert_eq!(connection.get(VALUE).await.status, 200);
        assert_eq!(server.cluster.reviewed().len(), reviews);
    }
}

#[tokio::test]
async fn strangers_are_refused_while_a_few_of_their_questions_wait_and_callers_are_not() {
    let (server, _oci) = start().await;
    let hpa = server.aggregator("hpa").connect().await.unwrap();
    server.cluster.hold();
    let stranger = server.anyone().connect().await.unwrap();
    let path = |n| VALUE.replace("/shop/", &format!("/shop-{n}/"));
    let waiting: Vec<_> = (0..8).map(|n| tokio::spawn(stranger.begin("GET", &path(n)))).collect();
    eventually("their reviews", async || (server.cluster.reviewed().len() == 8).then_some(())).await;
    let (code, message) = stranger.get(&path(8)).await.refusal();
    assert_eq!((code, message.ends_with("too many reviews at once or within 2 s")), (503, true), "{message}");
    let asked = tokio::spawn(hpa.begin("GET", VALUE));
    eventually("the caller's review", async || (server.cluster.reviewed().len() == 9).then_some(())).await;
    server.cluster.release();
    assert_eq!(asked.await.unwrap().unwrap().status, 200);
    for answer in join_all(waiting).await {
        assert_eq!(answer.unwrap().unwrap().status, 403);
    }
}

#[tokio::test]
async fn service_accounts_of_a_namespace_have_places_for_one_caller() {
    let (server, _oci) = start().await;
    let hpa = server.aggregator("hpa").connect().await.unwrap();
    server.cluster.hold();
    let (mut accounts, mut asked) = (Vec::new(), Vec::new());
    for n in 0..8 {
        let account = server.proxy().with_header("X-Remote-User", &format!("system:serviceaccount:lab:a{n}"));
        let account = account.connect().await.unwrap();
        let path = |n| VALUE.replace("/shop/", &format!("/shop-{n}/"));
        asked.extend((0..10).map(|n| tokio::spawn(account.begin("GET", &path(n)))));
        accounts.push(account);
    }
    // One caller has half of the 64 places.
    eventually("the rest is refused", async || {
        (asked.iter().filter(|asked| asked.is_finished()).count() == 80 - 32).then_some(())
    })
    .await;
    let other = tokio::spawn(hpa.begin("GET", VALUE));
    eventually("another caller's review", async || (server.cluster.reviewed().len() == 33).then_some(())).await;
    server.cluster.release();
    assert_eq!(other.await.unwrap().unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_bad_tokens_does_not_shut_out_who_has_shown_a_good_one() {
    let cluster = Cluster::new();
    cluster.token("good", "bob", &[]);
    cluster.token("renewed", "bob", &[]);
    let reporter = Health::default().reporter("tokens", State::Ok);
    let tokens = Arc::new(TokenReviews::new(cluster.client(), TaskTracker::new(), reporter));
    let peer = Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), Vec::new()));
    let known = Arc::new(Peer::new(([127, 0, 0, 1], 2).into(), Vec::new()));
    known.vouch();
    let show_over = |peer: &Arc<Peer>, token: String| {
        let (tokens, peer) = (tokens.clone(), peer.clone());
        tokio::spawn(async move { tokens.authenticate(&token, &peer).await.map(|caller| caller.user.clone()) })
    };
    let show = |token: String| show_over(&peer, token);
    assert_eq!(show("good".to_owned()).await.unwrap(), Ok("bob".to_owned()));
    // Prometheus scrapes once in 30 s: what was decided is long forgotten.
    tokio::time::advance(Duration::from_secs(30)).await;
    cluster.hold();
    let waiting: Vec<_> = (0..8).map(|n| show(format!("bad-{n}"))).collect();
    eventually("their reviews", async || (cluster.token_reviews() == 9).then_some(())).await;
    let one_more = show("bad-8".to_owned()).await.unwrap();
    assert!(matches!(one_more, Err(Unauthenticated::Undecided(_))), "{one_more:?}");
    let again = show("good".to_owned());
    eventually("its review", async || (cluster.token_reviews() == 10).then_some(())).await;
    // A new token, over a connection on which he was allowed something with the one before.
    let renewed = show_over(&known, "renewed".to_owned());
    eventually("its review, too", async || (cluster.token_reviews() == 11).then_some(())).await;
    cluster.release();
    assert_eq!(again.await.unwrap(), Ok("bob".to_owned()));
    assert_eq!(renewed.await.unwrap(), Ok("bob".to_owned()));
    for refused in join_all(waiting).await {
        assert_eq!(refused.unwrap(), Err(Unauthenticated::Rejected));
    }
}

#[tokio::test]
async fn superusers_are_allowed_without_a_review() {
    let (server, _oci) = start().await;
    server.cluster.set_mood(Mood::Down);
    let by_header = server.proxy().with_header("X-Remote-User", "system:kube-aggregator");
    assert_eq!(by_header.with_header("X-Remote-Group", "system:masters").get(VALUE).await.status, 200);
    let identity = server.clients.client("admin", &["system:masters"]);
    assert_eq!(server.holder(&identity).get(VALUE).await.status, 200);
    assert_eq!(server.cluster.reviewed().len(), 0);
}

#[tokio::test]
async fn a_bearer_token_is_whose_the_cluster_says_it_is() {
    let (server, oci) = start().await;
    server.cluster.token("good", "bob", &["devs"]);
    server.cluster.token("nameless", "", &["system:masters"]);
    server.cluster.allow("bob");
    for bad in ["bad", "nameless"] {
        let answer = server.anyone().with_token(bad).get(VALUE).await;
        assert_eq!(answer.refusal(), (401, "Unauthorized".to_owned()), "{bad}");
    }
    assert_eq!((oci.queue("orders").reads(), server.cluster.reviewed().len()), (0, 0));
    let bob = server.anyone().with_token("good");
    assert_eq!(bob.get(VALUE).await.status, 200);
    assert_eq!(bob.get(VALUE).await.status, 200);
    let spec = server.cluster.reviewed().pop().unwrap();
    assert_eq!(spec.user.as_deref(), Some("bob"));
    assert_eq!(spec.groups.as_deref(), Some(&["devs".to_owned(), "system:authenticated".to_owned()][..]));
    // One for each token: a second ask is answered from memory.
    assert_eq!((server.cluster.token_reviews(), server.cluster.reviewed().len()), (3, 1));
}

#[tokio::test]
async fn while_the_cluster_cannot_be_asked_the_answer_says_so() {
    let (server, oci) = start().await;
    let asks_who_may =
        r#"cannot authorize user "u" to list "oci_queue_length" in "shop": the SubjectAccessReview failed: "#;
    let asks_whose = "cannot authenticate the bearer token: the TokenReview failed: ";
    for (mood, why) in [
        (Mood::Down, "kube-apiserver does not answer"),
        (Mood::Refusing(500), "kube-apiserver returned an error"),
        (Mood::Refusing(401), "depthgauge's own credentials are refused"),
        (Mood::Refusing(403), "forbidden; bind depthgauge's ServiceAccount to ClusterRole system:auth-delegator"),
    ] {
        server.cluster.set_mood(mood);
        let answer = server.proxy().with_header("X-Remote-User", "u").get(VALUE).await;
        assert_eq!(answer.refusal(), (503, format!("{asks_who_may}{why}")));
        assert_eq!(answer.header("retry-after"), None);
        let answer = server.anyone().with_token("t").get(VALUE).await;
        assert_eq!(answer.refusal(), (503, format!("{asks_whose}{why}")));
        assert_eq!(answer.json()["reason"], "ServiceUnavailable");
        let withheld = server.anyone().get("/readyz?verbose").await;
        assert_eq!(withheld.status, 200);
        assert!(withheld.body.contains("[!]authorization degraded: reason withheld\n"), "{}", withheld.body);
        let lines = server.health.verbose(Reasons::Shown);
        let said = match mood {
            // With the YAML that grants it.
            Mood::Refusing(403) => "no; to grant it, give this to kubectl apply -f -: {",
            _ => why,
        };
        for line in [
            format!("[!]authorization degraded: cannot create SubjectAccessReviews: {said}"),
            format!("[!]tokens degraded: cannot create TokenReviews: {said}"),
        ] {
            assert!(lines.contains(&line), "{line}: {lines}");
        }
    }
    assert_eq!(oci.queue("orders").reads(), 0);
}

#[tokio::test]
async fn who_was_allowed_goes_on_while_the_cluster_is_away() {
    let (server, oci) = start().await;
    let hpa = server.aggregator("hpa");
    assert_eq!(hpa.get(VALUE).await.status, 200);
    server.cluster.set_mood(Mood::Down);
    oci.put("orders", 1);
    for _ in 0..20 {
        assert_eq!(hpa.get(VALUE).await.status, 200);
    }
    // Somebody new has no decision to live on.
    assert_eq!(server.aggregator("new").get(VALUE).await.status, 503);
    server.cluster.set_mood(Mood::Well);
    assert_eq!(server.aggregator("new").get(VALUE).await.status, 200);
}

#[tokio::test]
async fn a_hundred_requests_at_once_cost_one_review_and_one_read() {
    let (server, oci) = start().await;
    let hpa = server.aggregator("hpa");
    let connections = [hpa.connect().await.unwrap(), hpa.connect().await.unwrap()];
    server.cluster.hold();
    let ask = |connection: &Connection| tokio::spawn(connection.begin("GET", VALUE));
    // With the one below they are all that a connection may have.
    let asks: Vec<_> = connections.iter().flat_map(|connection| (0..49).map(move |_| ask(connection))).collect();
    eventually("the review", async || (!server.cluster.reviewed().is_empty()).then_some(())).await;
    // Streams are taken in their order: once this one is answered, all before it have arrived.
    for connection in &connections {
        assert_eq!(connection.get("/version").await.status, 200);
    }
    server.cluster.release();
    for answer in join_all(asks).await {
        assert_eq!(answer.unwrap().unwrap().values(), [("orders".to_owned(), "3".to_owned())]);
    }
    assert_eq!((server.cluster.reviewed().len(), oci.queue("orders").reads()), (1, 1));
}

#[tokio::test]
async fn no_spelling_of_the_path_leads_past_the_review() {
    let (server, oci) = start().await;
    let group = "/apis/external.metrics.k8s.io/v1beta1";
    for path in [
        format!("{VALUE}/"),
        format!("{VALUE}//"),
        format!("{VALUE}%2F"),
        format!("{VALUE}/."),
        format!("{VALUE}?namespace=shop"),
        format!("{group}/namespaces/shop/%6Fci_queue_length"),
        format!("{group}/namespaces/%73hop/oci_queue_length"),
        format!("{group}/namespaces/x%2F..%2Fshop/oci_queue_length"),
        format!("{group}/namespaces/x/../shop/oci_queue_length"),
        format!("{group}/namespaces//shop/oci_queue_length"),
        format!("{group}//namespaces/shop/oci_queue_length"),
        format!("/{group}/namespaces/shop/oci_queue_length"),
        "/apis/external.metrics.k8s.io%2Fv1beta1/namespaces/shop/oci_queue_length".to_owned(),
        format!("{group}/namespaces/%ff/oci_queue_length"),
        format!("{group}/Namespaces/shop/oci_queue_length"),
        format!("{group}/namespaces/*/oci_queue_length"),
    ] {
        for client in [server.anyone(), server.anyone().with_http1()] {
            let (code, message) = client.get(&path).await.refusal();
            assert!(matches!(code, 403 | 404), "{path}: {code} {message}");
        }
    }
    assert_eq!(oci.queue("orders").reads(), 0);
}

#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    let (server, oci) = start().await;
    server.cluster.token("theirs", "bob", &[]);
    server.cluster.allow("bob");
    server.cluster.audience("theirs", "vault");
    let answer = server.anyone().with_token("theirs").get(VALUE).await;
    assert_eq!(answer.refusal(), (401, "Unauthorized".to_owned()));
    assert_eq!((oci.queue("orders").reads(), server.cluster.reviewed().len()), (0, 0));
}

#[tokio::test]
async fn metrics_on_the_secure_port_are_for_callers_who_may_get_the_path() {
    let (server, _oci) = start().await;
    let stranger = server.proxy().with_header("X-Remote-User", "eve");
    let answer = stranger.get("/metrics").await;
    assert_eq!(answer.refusal(), (403, r#"forbidden: User "eve" cannot get path "/metrics""#.to_owned()));
    let spec = server.cluster.reviewed().pop().unwrap();
    let asked = spec.non_resource_attributes.unwrap();
    assert_eq!((asked.path.as_deref(), asked.verb.as_deref()), (Some("/metrics"), Some("get")));
    assert!(spec.resource_attributes.is_none());
    assert_eq!(server.anyone().get("/metrics").await.refusal().0, 403);

    let hpa = server.aggregator("hpa");
    assert_eq!(hpa.get(VALUE).await.status, 200);
    assert_eq!(stranger.get(VALUE).await.status, 403);
    let prometheus = server.aggregator("prometheus");
    let text = prometheus.get("/metrics").await;
    assert_eq!(
        (text.status.as_u16(), text.header("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    assert!(text.body.contains("# TYPE depthgauge_requests_total counter\n"), "{}", text.body);
    let answer = prometheus.with_header("Accept", "application/openmetrics-text;version=1.0.0").get("/metrics").await;
    assert_eq!(answer.status, 200);
    for line in [
        r#"depthgauge_requests_total{code="200"} 1"#,
        r#"depthgauge_requests_total{code="403"} 1"#,
        r#"depthgauge_check_state{check="authorization"} 0"#,
        "# EOF",
    ] {
        assert!(answer.body.lines().any(|seen| seen == line), "{line}: {}", answer.body);
    }
}
