//! The identity ConfigMap is followed: what it says counts from that moment.

use depthgauge::health::{Reasons, State};
use serde_json::json;
use tokio::time::timeout;

use crate::support::authority::Authority;
use crate::support::client::Client;
use crate::support::cluster::{FRONT_PROXY, identity_config};
use crate::support::config_map::IdentityConfigMap;
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
    let verbose = || server.health.verbose(Reasons::Told);
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
    let none = "requestheader-client-ca-file: no CA in it is in its time";
    eventually("it is said", async || verbose().contains(none).then_some(())).await;

    map.set(None);
    until("nobody is believed any more", &before, 503).await;
    assert!(verbose().contains("does not exist: only bearer tokens are accepted"), "{}", verbose());
}
