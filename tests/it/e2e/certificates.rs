//! CA and certificate on a real control plane: one for all replicas, handed over without a failed
//! read, left to somebody else without ever being empty.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use depthgauge::certs::{Ca, Certificates, CertsError, Lifetimes};
use futures_util::future::join_all;
use jiff::Timestamp;

use super::cluster::{eventually, throughout};
use super::poller::{Poller, hpa_controller};
use super::world::{APISERVICE_PATH, Place, World};
use crate::support::client::Client;
use crate::support::server::roots;

const APISERVICE: &str = "v1beta1.external.metrics.k8s.io";
/// The shortest that `serve` takes: a rotation begins after 2 of the 4 minutes, and the next CA
/// is known a minute later.
const LIFETIMES: [&str; 2] = ["--ca-lifetime=4m", "--cert-lifetime=3m"];
const ROTATION: Duration = Duration::from_secs(4 * 60);
/// Whoever has read the caBundle this long ago must still be able to verify what is served.
const STALE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_share_one_certificate_and_leave_other_peoples_alone() {
    let world = World::new("certificates", &[], "").await;
    let client = admin(&world).await;
    let kept = |secret: &str| {
        let names = vec!["depthgauge.depthgauge.svc".to_owned()];
        let secret = format!("depthgauge/{secret}").parse().unwrap();
        Certificates::in_secret(client.clone(), secret, names, Lifetimes::default(), Timestamp::now)
    };
    // All at once, as replicas start.
    for round in 0..20 {
        let replicas: Vec<Certificates> = (0..8).map(|_| kept(&format!("round-{round}"))).collect();
        let all = join_all(replicas.iter().map(|replica| async { replica.current().await.unwrap() })).await;
        for replica in &all {
            assert_eq!((&replica.certified.cert, &replica.ca), (&all[0].certified.cert, &all[0].ca));
        }
    }

    tokio::task::block_in_place(|| {
        world.cluster.told(&["create", "secret", "generic", "theirs", "-n", "depthgauge", "--from-literal=tls.crt=x"]);
    });
    let error = kept("theirs").current().await.err().unwrap();
    assert!(matches!(&error, CertsError::ForeignSecret(_)), "{error}");
    let data = ["get", "secret", "theirs", "-n", "depthgauge", "-o=jsonpath={.data}"];
    tokio::task::block_in_place(|| {
        assert_eq!(world.cluster.told(&data), r#"{"tls.crt":"eA=="}"#);
        somebody_elses_ca_takes_over_without_a_gap(&world);
    });
}

/// As cert-manager does it: its injector writes the caBundle, and we serve its files.
fn somebody_elses_ca_takes_over_without_a_gap(world: &World) {
    let server = world.serve();
    world.await_available();
    let files = tempfile::tempdir().unwrap();
    let theirs = other_certificate(files.path());
    server.kill();
    let own_files = [("cert", "tls.crt"), ("private-key", "tls.key")]
        .map(|(flag, name)| format!("--tls-{flag}-file={}", files.path().join(name).display()));
    let server = world.serve_at(&Place { flags: own_files.to_vec(), ..world.place() });
    let ours = bundle(world);
    assert!(!ours.is_empty());
    // Several looks of the registration: what is there is held.
    eventually("it has looked", Duration::from_secs(30), || {
        let checks = server.readyz();
        let line = checks.lines().find(|line| line.contains("apiservice"))?;
        (!line.contains("has not answered yet")).then_some(())
    });
    throughout("the bundle is held", Duration::from_secs(12), || bundle(world) == ours);
    let injected = format!(r#"{{"spec":{{"caBundle":"{}"}}}}"#, STANDARD.encode(&theirs));
    let inject = ["patch", "apiservice", APISERVICE, "--type=merge", "--field-manager=cainjector", "-p", &injected];
    world.cluster.told(&inject);
    world.await_available();
    eventually("it is in step", Duration::from_secs(30), || server.readyz().contains("[+]apiservice ok").then_some(()));
    throughout("it is left to whoever has written it", Duration::from_secs(12), || bundle(world) == theirs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn long_no_read_fails_while_two_cas_hand_over() {
    let world = World::new("rotation", &[], "").await;
    let mut place = world.place();
    place.flags.extend(LIFETIMES.map(str::to_owned));
    let _server = tokio::task::block_in_place(|| {
        let server = world.serve_at(&place);
        world.await_available();
        world.oci.queue().put(["one"; 7]);
        eventually("7 messages are seen", Duration::from_secs(10), || (world.value()? == "7").then_some(()));
        server
    });
    let poller = Poller::start(hpa_controller(&world.cluster), "7");
    tokio::task::block_in_place(|| poller.await_good(1));
    let mut bundles: Vec<(Instant, String)> = vec![(Instant::now(), tokio::task::block_in_place(|| bundle(&world)))];
    let failed: Arc<Mutex<Vec<String>>> = Arc::default();
    let (begin, mut fresh, mut cas) = (Instant::now(), 0, vec![]);
    while begin.elapsed() < 2 * ROTATION {
        let now = tokio::task::block_in_place(|| bundle(&world));
        bundles.push((Instant::now(), now));
        let known = bundles.iter().rev().find(|(at, _)| at.elapsed() >= STALE).unwrap_or(&bundles[0]);
        // By somebody who verifies anew, and knows what was published a while ago.
        let address = ([127, 0, 0, 1], world.port).into();
        match Client::new(address, roots(&known.1)).connect().await {
            Ok(_) => fresh += 1,
            Err(error) => failed.lock().unwrap().push(format!("{:?}: {error}", begin.elapsed())),
        }
        if cas.last() != Some(&known.1) {
            cas.push(known.1.clone());
        }
    }
    let failed = failed.lock().unwrap().clone();
    println!("{} bundles, {fresh} fresh connections; {}", cas.len(), poller.summary());
    assert!(failed.is_empty(), "{failed:#?}");
    poller.nothing_failed();
    let first = |bundle: &str| bundle.split_inclusive("-----END CERTIFICATE-----").next().unwrap().to_owned();
    let mut signing: Vec<String> = cas.iter().map(|bundle| first(bundle)).collect();
    signing.dedup();
    assert!(signing.len() >= 3, "two hand-overs were seen: {}", signing.len());
}

async fn admin(world: &World) -> kube::Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(world.cluster.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

/// The caBundle, in PEM.
fn bundle(world: &World) -> String {
    let apiservice = world.cluster.read(APISERVICE_PATH).unwrap();
    String::from_utf8(STANDARD.decode(apiservice["spec"]["caBundle"].as_str().unwrap()).unwrap()).unwrap()
}

/// `tls.crt` and `tls.key` of another CA for our Service's name; the CA.
fn other_certificate(dir: &Path) -> String {
    let names = vec!["depthgauge.depthgauge.svc".to_owned()];
    let made = Certificates::in_dir(dir, names, Lifetimes::default(), Timestamp::now).unwrap();
    let serving = futures_util::FutureExt::now_or_never(made.current()).unwrap().unwrap();
    match serving.ca {
        Ca::Bundle(pem) => pem,
        other => panic!("{other:?}"),
    }
}
