//! The identity ConfigMap is followed: what it says counts from that moment, and so does what
//! becomes of the front proxies that come.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use depthgauge::auth::{Audit, Auth, Authorizer, Gate, Question, Trust, Undecided, Verdict};
use depthgauge::health::{Health, Reasons, State};
use depthgauge::request::{Admitted, Answer as _, Peer, Values};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::time::timeout;

use crate::support::authority::{Authority, Identity};
use crate::support::client::Client;
use crate::support::cluster::{FRONT_PROXY, identity_config};
use crate::support::config_map::IdentityConfigMap;
use crate::support::log::captured;
use crate::support::oci::{Oci, source};
use crate::support::server::{Server, VALUE};
use crate::support::{PATIENCE, eventually};

const USER: &str = "u";

async fn until(what: &str, client: &Client, code: u16) {
    eventually(what, async || (client.get(VALUE).await.status == code).then_some(())).await;
}

#[tokio::test]
async fn the_config_map_is_followed_through_rotation_deletion_and_a_broken_watch() {
    let oci = Oci::with_queues(&["orders"]).await;
    let server = Server::start_knowing_nobody(&oci.config(&json!({}), &[source("orders", &["shop"])])).await;
    let map = IdentityConfigMap::holding(identity_config(&server.front_proxies, &server.clients));
    let identity = server.health.reporter("identity", State::Ok);
    let (trust, client) = (server.trust.clone(), map.client());
    tokio::spawn(async move { trust.watch(client, identity).await });

    timeout(PATIENCE, server.trust.learnt()).await.expect("the watch learns what is there");
    let before = server.aggregator(USER);
    assert_eq!(before.get(VALUE).await.status, 200);

    let next = Authority::named("next front proxies");
    let after = server.holder(&next.client(FRONT_PROXY, &[])).with_header("X-Remote-User", USER);
    assert_eq!(after.get(VALUE).await.status, 401);
    map.set(Some(identity_config(&next, &server.clients)));
    until("the next CA is believed", &after, 200).await;
    assert_eq!(before.get(VALUE).await.status, 401);

    // What was known holds while nothing can be read.
    map.forbid(true);
    let degraded = "[!]identity degraded: cannot watch ConfigMap kube-system/extension-apiserver-authentication: no; to grant it, give this to kubectl apply -f -: {";
    let binding = "kind: RoleBinding, metadata: {name: 'depthgauge:extension-apiserver-authentication-reader', namespace: kube-system}";
    let verbose = || server.health.verbose(Reasons::Shown);
    let said = || verbose().lines().any(|line| line.starts_with(degraded) && line.contains(binding));
    eventually("the broken watch is reported", async || said().then_some(())).await;
    assert_eq!(after.get(VALUE).await.status, 200);

    // And a change in the meantime is seen when it can.
    map.set(Some(identity_config(&server.front_proxies, &server.clients)));
    map.forbid(false);
    until("the first CA is believed again", &before, 200).await;
    assert!(verbose().contains("[+]identity ok\n"), "{}", verbose());
    assert_eq!(after.get(VALUE).await.status, 401);

    // A map without a front proxy's CA is no identity, however well it reads.
    let mut without = identity_config(&server.front_proxies, &server.clients);
    without.remove("requestheader-client-ca-file");
    map.set(Some(without));
    let none = "[!]identity degraded: ConfigMap kube-system/extension-apiserver-authentication: requestheader-client-ca-file: there is none";
    eventually("it is said", async || verbose().contains(none).then_some(())).await;
    let mut expired = identity_config(&server.front_proxies, &server.clients);
    expired.insert("requestheader-client-ca-file".to_owned(), Authority::expired("front proxies").pem);
    map.set(Some(expired));
    let none = "requestheader-client-ca-file: each CA in it is expired or not valid yet";
    eventually("it is said", async || verbose().contains(none).then_some(())).await;

    map.set(None);
    until("nobody is believed any more", &before, 503).await;
    assert!(verbose().contains("does not exist: only bearer tokens are accepted"), "{}", verbose());
}

/// Allows everything, and serves nothing.
struct Nothing;

impl Authorizer for Nothing {
    fn authorize<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Verdict, Undecided>> {
        async { Ok(Verdict::Allowed) }.boxed()
    }
}

impl Values for Nothing {
    async fn tell(&self, _: Admitted, _: &Parts) -> Response<Body> {
        Response::new(Body::empty())
    }
}

/// A request of kube-apiserver's own check, which is no request for a value, and a second.
async fn knock(gate: &Gate<Nothing>, identity: &Identity) {
    let peer = Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), identity.chain.clone()));
    let request =
        Request::get("/healthz").header("X-Remote-User", "system:kube-aggregator").body(Body::empty()).unwrap();
    gate.answer(&peer, request).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[test]
fn a_front_proxy_that_is_refused_blocks_identity_until_one_is_accepted() {
    const WHY: &str = "certificate presented as front proxy (common name \"front-proxy-client\") refused: it is a CA certificate (CA:TRUE). Issue kube-apiserver's --proxy-client-cert-file without CA:TRUE";
    captured(async |log| {
        tokio::time::pause();
        let (proxies, users, health) =
            (Authority::named("front proxies"), Authority::named("clients"), Health::default());
        let map = IdentityConfigMap::holding(identity_config(&proxies, &users));
        let (trust, reporter) = (Arc::new(Trust::new(jiff::Timestamp::now)), health.reporter("identity", State::Ok));
        let (watched, client) = (trust.clone(), map.client());
        tokio::spawn(async move { watched.watch(client, reporter).await });
        trust.learnt().await;
        let auth = Auth::new(trust, None, Box::new(Nothing), Audit::new(&mut Registry::default()));
        let gate = Gate::new(Arc::new(auth), Nothing, Router::new());
        let (bad, good) = (proxies.client_that_is_a_ca(FRONT_PROXY), proxies.client(FRONT_PROXY, &[]));
        let identity = || health.states().remove(0).1;

        knock(&gate, &good).await;
        for _check in 0..10 {
            tokio::time::sleep(Duration::from_secs(15)).await;
            knock(&gate, &bad).await;
            knock(&gate, &good).await;
        }
        assert_eq!(identity(), State::Ok, "a stranger beside a front proxy");
        assert_eq!(log.text().matches(WHY).count(), 1, "{}", log.text());
        let is_blocking =
            || matches!(identity(), State::Blocking(why) if why.ends_with(&format!("within the last minute: {WHY}")));
        eventually("the front proxy is refused", async || {
            knock(&gate, &bad).await;
            is_blocking().then_some(())
        })
        .await;
        eventually("one is accepted", async || {
            knock(&gate, &bad).await;
            knock(&gate, &good).await;
            (identity() == State::Ok).then_some(())
        })
        .await;
        // A stranger who goes leaves nothing behind.
        eventually("the front proxy is refused again", async || {
            knock(&gate, &bad).await;
            is_blocking().then_some(())
        })
        .await;
        eventually("it is gone", async || (identity() == State::Ok).then_some(())).await;
    });
}
