//! One CA and certificate for all replicas, in a Secret and an APIService that they all write.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use depthgauge::apiservice::{self, Availability, Install, Registration, Unregistered};
use depthgauge::certs::{Certificates, CertsError, Lifetimes, Serving};
use depthgauge::health::{Health, State};
use jiff::{SignedDuration, Timestamp};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::objects::Objects;
use crate::support::{crypto, eventually, server};

const NAME: &str = "depthgauge.depthgauge.svc";
const SECRET: &str = "/api/v1/namespaces/depthgauge/secrets/certs";
const CLUSTER_ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/depthgauge";
const APISERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io";
const MINUTE: Duration = Duration::from_secs(60);
/// Of a CA.
const SHORTEST: Duration = Duration::from_secs(4 * 60);

/// Wall-clock time that passes as the runtime's does.
fn clock() -> Timestamp {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let begin: Timestamp = "2026-11-22T14:00:00Z".parse().unwrap();
    begin + SignedDuration::try_from(Instant::now() - *BEGIN).unwrap()
}

fn certificates(objects: &Objects, lifetimes: Lifetimes, clock: fn() -> Timestamp) -> Certificates {
    crypto();
    let secret = "depthgauge/certs".parse().unwrap();
    Certificates::in_secret(objects.client(), secret, vec![NAME.to_owned()], lifetimes, clock)
}

#[tokio::test]
async fn a_secret_that_somebody_makes_while_we_make_ours_stays_theirs() {
    let objects = Objects::default();
    let theirs = json!({
        "metadata": {"name": "certs", "namespace": "depthgauge", "resourceVersion": "7"},
        "data": {"tls.crt": "eA=="},
    });
    objects.appears(SECRET, theirs.clone());
    let ours = certificates(&objects, Lifetimes::default(), Timestamp::now);
    for _ in 0..2 {
        let error = ours.current().await.err().unwrap();
        assert!(matches!(error, CertsError::ForeignSecret(_)), "{error}");
    }
    let kept = objects.get(SECRET).unwrap();
    assert_eq!((&kept["data"], &kept["metadata"]["labels"]), (&theirs["data"], &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_look_is_as_old_as_its_beginning() {
    let objects = Objects::default();
    let ours = certificates(&objects, Lifetimes::default(), Timestamp::now);
    ours.current().await.unwrap();
    objects.take(Duration::from_secs(3));
    let began = Instant::now();
    assert_eq!(ours.current().await.unwrap().looked_at, began);
    assert!(began.elapsed() >= Duration::from_secs(3));
}

/// One of several, as `serve` puts it together.
async fn replica(objects: &Objects) -> watch::Receiver<Serving> {
    let (replica, keep, _) = registered(objects).await;
    tokio::spawn(keep);
    replica
}

/// One that has read the Secret once; the future is what reads it again.
/// Nothing of the registration has run yet.
async fn registered(objects: &Objects) -> (watch::Receiver<Serving>, impl Future<Output = ()> + use<>, Health) {
    registering(objects, false).await
}

async fn registering(
    objects: &Objects,
    takeover: bool,
) -> (watch::Receiver<Serving>, impl Future<Output = ()> + use<>, Health) {
    let health = Health::default();
    let reporter = |name| health.reporter(name, State::Ok);
    let certificates = certificates(objects, Lifetimes::new(3 * MINUTE, SHORTEST).unwrap(), clock);
    let (publish, serving) = watch::channel(certificates.current().await.unwrap());
    let publication = certificates.publication();
    let keep = certificates.keep(publish, reporter("certificate"));
    let install = Arc::new(Install::new(objects.client(), "depthgauge/depthgauge:443".parse().unwrap()));
    let certificate = apiservice::Certificate { serving: serving.clone(), publication };
    let registration =
        Registration::new(install, takeover, certificate, reporter("apiservice"), Availability::default()).unwrap();
    tokio::spawn(registration.keep());
    (serving, keep, health)
}

/// Somebody else's, as another adapter has it.
fn foreign() -> Value {
    json!({
        "metadata": {"name": "v1beta1.external.metrics.k8s.io", "resourceVersion": "77"},
        "spec": {"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"namespace": "keda", "name": "adapter", "port": 443}},
    })
}

fn said(health: &Health) -> String {
    let states = health.states();
    states.into_iter().find(|(name, _)| *name == "apiservice").map(|(_, state)| format!("{state:?}")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_apiservice_that_somebody_makes_while_we_register_stays_theirs() {
    let objects = Objects::default();
    let (_serving, _keep, health) = registered(&objects).await;
    objects.appears(APISERVICE, foreign());
    let conflict = "was changed by another client at the same moment";
    eventually("a conflict", async || said(&health).contains(conflict).then_some(())).await;
    eventually("an owner", async || said(&health).contains("belongs to Service keda/adapter").then_some(())).await;
    assert_eq!(objects.get(APISERVICE).unwrap(), foreign());
}

#[tokio::test(start_paused = true)]
async fn an_apiservice_that_somebody_takes_while_we_put_it_right_stays_theirs() {
    let objects = Objects::default();
    let (_serving, keep, health) = registered(&objects).await;
    tokio::spawn(keep);
    let mut drifted = eventually("ours", async || objects.get(APISERVICE)).await;
    drifted["spec"]["groupPriorityMinimum"] = json!(1);
    objects.put(APISERVICE, drifted.clone());
    objects.appears(APISERVICE, foreign());
    eventually("the other's", async || said(&health).contains("was given to Service keda/adapter").then_some(())).await;
    assert_eq!(objects.get(APISERVICE).unwrap(), foreign());
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_changing_the_apiservice_is_named_until_he_stops() {
    let objects = Objects::default();
    let (_serving, keep, health) = registered(&objects).await;
    tokio::spawn(keep);
    let ours = eventually("ours", async || objects.get(APISERVICE)).await;
    let mut drifted = ours.clone();
    drifted["spec"]["caBundle"] = json!("eA==");
    drifted["metadata"]["managedFields"] = json!([
        {"manager": "keda-operator", "operation": "Update", "time": "2026-11-22T14:00:01Z"},
        {"manager": "depthgauge", "operation": "Apply", "time": "2026-11-22T14:00:00Z"},
        {"manager": "kube-apiserver", "operation": "Update", "time": "2026-11-22T14:00:02Z", "subresource": "status"},
    ]);
    for _ in 0..3 {
        assert!(!said(&health).contains("keeps changing"), "{}", said(&health));
        objects.put(APISERVICE, drifted.clone());
        let spec = &ours["spec"];
        eventually("put right", async || (objects.get(APISERVICE)?["spec"] == *spec).then_some(())).await;
    }
    let named = "keda-operator keeps changing APIService";
    eventually("named", async || said(&health).contains(named).then_some(())).await;
    let since = Instant::now();
    eventually("forgiven", async || (!said(&health).contains(named)).then_some(())).await;
    assert!(since.elapsed() > MINUTE / 2, "{:?}", since.elapsed());
}

fn cluster_role(objects: &Objects, uid: &str) {
    objects.put(CLUSTER_ROLE, json!({"metadata": {"name": "depthgauge", "uid": uid}}));
}

async fn owned_by(objects: &Objects, uid: &str) {
    let owner = || objects.get(APISERVICE).map(|found| found["metadata"]["ownerReferences"][0]["uid"].clone());
    eventually("its owner", async || (owner()? == uid).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn what_garbage_collection_deletes_with_a_former_cluster_role_is_registered_again() {
    let objects = Objects::default();
    cluster_role(&objects, "1");
    let (_serving, keep, health) = registered(&objects).await;
    tokio::spawn(keep);
    owned_by(&objects, "1").await;
    // Replaced and collected before anything was seen of it.
    cluster_role(&objects, "2");
    objects.delete(APISERVICE);
    owned_by(&objects, "2").await;
    // Replaced and seen before garbage collection comes.
    cluster_role(&objects, "3");
    owned_by(&objects, "3").await;
    // Uninstalled, and installed again while the process runs.
    objects.delete(CLUSTER_ROLE);
    objects.delete(APISERVICE);
    let gone = "depthgauge registers again when the ClusterRole exists";
    eventually("it waits", async || said(&health).contains(gone).then_some(())).await;
    assert_eq!(objects.get(APISERVICE), None);
    cluster_role(&objects, "4");
    owned_by(&objects, "4").await;
    eventually("all is well", async || (said(&health) == "Ok").then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn what_somebody_deletes_stays_deleted_whatever_becomes_of_the_cluster_role() {
    let objects = Objects::default();
    cluster_role(&objects, "1");
    let (_serving, keep, health) = registered(&objects).await;
    tokio::spawn(keep);
    owned_by(&objects, "1").await;
    objects.delete(APISERVICE);
    let deleted = "was deleted, and depthgauge does not create it again";
    eventually("it is said", async || said(&health).contains(deleted).then_some(())).await;
    cluster_role(&objects, "2");
    tokio::time::sleep(MINUTE).await;
    assert!(objects.get(APISERVICE).is_none() && said(&health).contains(deleted), "{}", said(&health));
}

#[tokio::test(start_paused = true)]
async fn a_take_over_ends_the_injection_of_another_ca_and_remembers_it() {
    let objects = Objects::default();
    let mut theirs = foreign();
    theirs["metadata"]["annotations"] = json!({"cert-manager.io/inject-ca-from": "keda/ca", "else": "stays"});
    objects.put(APISERVICE, theirs);
    let (_serving, _keep, _health) = registering(&objects, true).await;
    let annotations = || objects.get(APISERVICE).unwrap()["metadata"]["annotations"].clone();
    eventually("taken", async || annotations().get("depthgauge.dev/former-spec").map(drop)).await;
    eventually("gone", async || annotations().get("cert-manager.io/inject-ca-from").is_none().then_some(())).await;
    let former = annotations()["depthgauge.dev/former-annotations"].clone();
    assert_eq!(
        (former, &annotations()["else"]),
        (json!(r#"{"cert-manager.io/inject-ca-from":"keda/ca"}"#), &json!("stays"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_take_over_that_was_undone_is_not_repeated_at_the_next_start() {
    let objects = Objects::default();
    objects.put(APISERVICE, foreign());
    let (_serving, _keep, health) = registering(&objects, true).await;
    let service = || objects.get(APISERVICE).unwrap()["spec"]["service"]["name"].clone();
    eventually("taken", async || (service() == "depthgauge").then_some(())).await;
    let given_up = apiservice::unregister(objects.client(), None, true, false).await;
    assert_eq!(given_up.became.unwrap(), Unregistered::Restored("Service keda/adapter".to_owned()));
    eventually("it is seen", async || said(&health).contains("was given to Service keda/adapter").then_some(())).await;

    let (_serving, _keep, health) = registering(&objects, true).await;
    let left = "restored APIService v1beta1.external.metrics.k8s.io to Service keda/adapter, and --takeover does not undo that";
    eventually("it is left", async || said(&health).contains(left).then_some(())).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(service(), "adapter");
    // The person who wants it again says so.
    let mut found = objects.get(APISERVICE).unwrap();
    found["metadata"]["annotations"].as_object_mut().unwrap().remove("depthgauge.dev/restored").unwrap();
    objects.put(APISERVICE, found);
    eventually("taken again", async || (service() == "depthgauge").then_some(())).await;
}

fn bundle(objects: &Objects) -> Option<String> {
    let bytes = STANDARD.decode(objects.get(APISERVICE)?["spec"]["caBundle"].as_str()?).unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

/// As kube-apiserver does it.
fn verify(bundle: &str, serving: &Serving) -> Result<(), rustls::Error> {
    let verifier = WebPkiServerVerifier::builder(server::roots(bundle)).build().unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(clock().as_second()).unwrap()));
    let (leaf, chain) = serving.certified.cert.split_first().unwrap();
    verifier.verify_server_cert(leaf, chain, &NAME.try_into().unwrap(), &[], now).map(drop)
}

#[tokio::test(start_paused = true)]
async fn two_replicas_hand_one_ca_over_to_the_next_and_are_verified_all_the_time() {
    let objects = Objects::default();
    let first = replica(&objects).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let replicas = [first, replica(&objects).await];
    let (mut present, mut gone) = (BTreeSet::new(), BTreeSet::new());
    let begin = Instant::now();
    while begin.elapsed() < 14 * MINUTE {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let Some(bundle) = bundle(&objects) else { continue };
        let cas = bundle.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned).collect();
        gone.extend(&present - &cas);
        assert!(gone.is_disjoint(&cas), "{:?}: a CA that had gone is back", begin.elapsed());
        present = cas;
        for (number, replica) in replicas.iter().enumerate() {
            verify(&bundle, &replica.borrow())
                .unwrap_or_else(|error| panic!("{:?}: replica {number}: {error}", begin.elapsed()));
        }
    }
    assert!(gone.len() >= 2, "hand-overs that were seen to their end: {}", gone.len());
}

#[tokio::test(start_paused = true)]
async fn who_has_not_read_the_secret_lately_does_not_put_the_bundle_right() {
    let objects = Objects::default();
    let (_late, _never_reads, _) = registered(&objects).await;
    let _replica = replica(&objects).await;
    let cas = || bundle(&objects).map_or(0, |bundle| bundle.matches("BEGIN").count());
    eventually("the next CA is announced", async || (cas() == 2).then_some(())).await;
    // Several looks of the late one, in each of which it sees what it does not know.
    let announced = Instant::now();
    while announced.elapsed() < MINUTE {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(cas(), 2, "{:?} later", announced.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_lost_is_put_back_as_it_was_and_nobody_stops_verifying() {
    let objects = Objects::default();
    let replicas = [replica(&objects).await, replica(&objects).await];
    let before = eventually("a bundle", async || bundle(&objects)).await;
    let kept = objects.get(SECRET).unwrap()["data"].clone();
    let deleted = || objects.delete(SECRET);
    let wiped = || {
        let mut secret = objects.get(SECRET).unwrap();
        let data = secret["data"].as_object_mut().unwrap();
        data.retain(|name, _| !name.starts_with("ca."));
        objects.put(SECRET, secret);
    };
    for lose in [&deleted as &dyn Fn(), &wiped] {
        lose();
        let lost = Instant::now();
        while lost.elapsed() < Duration::from_secs(25) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(bundle(&objects).unwrap(), before, "{:?} later", lost.elapsed());
            for replica in &replicas {
                verify(&before, &replica.borrow()).unwrap();
            }
        }
        assert_eq!(objects.get(SECRET).unwrap()["data"], kept);
    }
}
