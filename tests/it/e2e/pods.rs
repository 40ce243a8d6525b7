//! Each overlay's pods, run as they are: from one command to the first right answer, and through
//! the ports that their NetworkPolicies open, every one of them and no other.

/// Tools that apply manifests from Git.
mod gitops;
/// Prometheus, as its operator would run it.
mod prometheus;
/// Who reads their metrics.
mod scrape;
/// Where they run.
mod stage;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use depthgauge_emulator::profile::Profile;
use depthgauge_emulator::queue::EmulatedQueue;
use depthgauge_emulator::{Emulator, Options};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::gitops::Repository;
use self::stage::Stage;
use super::check::APISERVICE;
use super::cluster::Cluster;
use super::proxy::Task;
use super::world::QUEUE_ID;
use crate::support::authority::{Authority, Identity};
use crate::support::double::{Double, Received};
use crate::support::principals::{self, Manner, Tokens};

/// What people write over.
const PLACEHOLDER: &str = "ocid1.queue.oc1.eu-frankfurt-1.replace-with-the-ocid-of-your-queue";
const MESSAGES_ENDPOINT: &str = "cell-1.queue.messaging.eu-frankfurt-1.oci.oraclecloud.com";
const FEDERATION: &str = "auth.eu-frankfurt-1.oraclecloud.com";
/// What a Pod Security level below `restricted` lets through.
const CARELESS_POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"careless","namespace":"depthgauge"},"spec":{"containers":[{"name":"careless","image":"careless"}]}}"#;
/// Of an HPA whose workload a former depthgauge has put to sleep.
const ASLEEP: &str = r#", labels: {depthgauge.dev/scale-to-zero: "true"}, annotations: {depthgauge.dev/scaled-to-zero-since: "2026-11-23T10:00:00Z"}"#;
/// What a queue holds from the start.
const DEPTH: usize = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn generic_leads_to_right_answers_through_the_ports_that_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, _) = emulator(dir.path()).await;
    let mut stage = Stage::new("generic").await;
    let _outside = outside(&mut stage, emulator).await;
    tokio::task::block_in_place(|| {
        let begun = stage.apply("generic", &[], &config("base"));
        secret(&stage.cluster, dir.path());
        stage.start();
        stage.await_answers("generic", begun, DEPTH);
        stage.every_port_is_used_and_no_other();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exporter_compat_with_components_leads_to_right_answers_through_the_ports_that_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, _) = emulator(dir.path()).await;
    let mut stage = Stage::new("pods").await;
    let _outside = outside(&mut stage, emulator).await;
    tokio::task::block_in_place(|| {
        stage.kinds("prometheus-operator", "monitoring.coreos.com", &["servicemonitors", "prometheusrules"]);
        let components = ["prometheus", "scale-to-zero"];
        let begun = stage.apply("exporter-compat", &components, &config("overlays/exporter-compat"));
        secret(&stage.cluster, dir.path());
        stage.start();
        stage.await_answers("exporter-compat", begun, DEPTH);
        for kind in ["servicemonitor", "prometheusrule"] {
            stage.cluster.told(&["get", kind, "depthgauge", "-n", "depthgauge"]);
        }
        wakes_what_it_finds_asleep(&stage);
        refuses_a_careless_pod(&stage.cluster);
        scrape::keda_reads_the_depth_by_the_exporters_service(&stage, 7.0);
        scrape::prometheus_scrapes_by_the_service_monitors(&stage, "7");
        stage.every_port_is_used_and_no_other();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn oke_signs_in_by_either_principal_through_the_ports_that_are_open() {
    let mut stage = Stage::new("oke").await;
    let (tokens, mut doubles) = (Tokens::default(), Vec::new());
    let config = config("overlays/oke");
    // The token service is a part of the cluster, and shows its certificate.
    let (certificate, key) = (stage.cluster.file("apiserver.crt"), stage.cluster.file("apiserver.key"));
    for address in stage.nodes().await {
        let oci = stage.authority.acceptor_named(&[MESSAGES_ENDPOINT]);
        let (issuing, believing) = (tokens.clone(), tokens.clone());
        let tls = Identity::read(&certificate, &key).acceptor();
        let issue = move |request: &_| principals::oke_answer(request, &issuing, &Manner::default());
        doubles.push(Double::on((address, 12250).into(), Some(tls), issue).await);
        let queue = move |request: &_| principals::queue_answer(request, &believing);
        doubles.push(Double::on((address, 443).into(), Some(oci), queue).await);
    }
    tokio::task::block_in_place(|| stage.run("oke", &config, 1));

    for address in stage.nodes().await {
        let oci = stage.authority.acceptor_named(&[MESSAGES_ENDPOINT, FEDERATION]);
        let tokens = tokens.clone();
        let instance = Arc::new(principals::Identity::of_an_instance());
        let answer = move |request: &Received| {
            if request.header("host") == MESSAGES_ENDPOINT {
                return principals::queue_answer(request, &tokens);
            }
            principals::instance_answer(request, &tokens, &Manner::default(), &instance)
        };
        doubles.push(Double::on((address, 80).into(), None, answer.clone()).await);
        doubles.push(Double::on((address, 443).into(), Some(oci), answer).await);
    }
    tokio::task::block_in_place(|| {
        stage.run("oke", &config.replace("workloadIdentity", "instancePrincipal"), 1);
        stage.every_port_is_used_and_no_other();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cert_managers_certificate_is_shown_and_its_ca_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, _) = emulator(dir.path()).await;
    let mut stage = Stage::new("cert-manager").await;
    let _outside = outside(&mut stage, emulator).await;
    tokio::task::block_in_place(|| {
        stage.kinds("cert-manager", "cert-manager.io", &["certificates", "issuers"]);
        let begun = stage.apply("cert-manager", &[], &config("base"));
        secret(&stage.cluster, dir.path());
        let ca = Authority::named("depthgauge-ca");
        issue(&stage.cluster, &ca, dir.path());
        stage.start();
        inject(&stage, &ca);
        stage.await_answers("cert-manager", begun, DEPTH);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sync_of_argo_cd_or_flux_finds_nothing_to_change() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, queue) = emulator(dir.path()).await;
    let mut stage = Stage::new("gitops").await;
    let _outside = outside(&mut stage, emulator).await;
    tokio::task::block_in_place(|| {
        let repository = Repository::new("generic", &["apiservice", "scale-to-zero"], &config("base"));
        let begun = Instant::now();
        repository.sync(&stage, gitops::FIELD_MANAGERS[0]);
        secret(&stage.cluster, dir.path());
        stage.start();
        stage.await_answers("generic", begun, DEPTH);
        stage.await_replicas("synced", "4");
        repository.is_in_sync(&stage, "with 4 replicas");
        queue.consume(DEPTH);
        stage.await_replicas("synced", "0");
        repository.is_in_sync(&stage, "at zero");
        repository.finds_a_change(&stage);
    });
}

/// A workload at 0 and its HPA, which has more metadata than its name.
fn at_zero(name: &str, metadata: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: {name}}}}}
  template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{nodeName: node-0, containers: [{{name: c, image: i}}]}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {name}, namespace: shop{metadata}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
  maxReplicas: 10
  metrics:
  - type: External
    external:
      metric: {{name: oci_queue_length, selector: {{matchLabels: {{queue: orders}}}}}}
      target: {{type: AverageValue, averageValue: "2"}}
"#
    )
}

/// By the rights of component scale-to-zero.
fn wakes_what_it_finds_asleep(stage: &Stage) {
    stage.cluster.apply(&at_zero("asleep", ASLEEP));
    stage.await_replicas("asleep", "4");
    let mark = r"jsonpath={.metadata.annotations.depthgauge\.dev/scaled-to-zero-since}";
    let mark = ["get", "hpa", "asleep", "-n", "shop", "-o", mark];
    stage.eventually(|it| it.cluster.told(&mark).is_empty().then_some(()));
    let events =
        ["get", "events", "-n", "shop", "--field-selector=reason=ScaledFromZero", "-o", "jsonpath={.items[*].message}"];
    let said = stage.eventually(|it| Some(it.cluster.told(&events)).filter(|said| !said.is_empty()));
    assert!(said.contains("scaled deployment/asleep from 0 to 4"), "{said}");
}

/// What cert-manager's controller makes of the Certificate. A kubelet waits for it.
fn issue(cluster: &Cluster, ca: &Authority, dir: &Path) {
    let wanted = ["get", "certificate", "depthgauge", "-n", "depthgauge", "-o", "json"];
    let wanted: Value = serde_json::from_str(&cluster.told(&wanted)).unwrap();
    let field = |field: &Value| field.as_str().unwrap().to_owned();
    let (certificate, key) = ca.server_pem(&field(&wanted["spec"]["dnsNames"][0]));
    let write = |name: &str, pem: &str| {
        fs::write(dir.join(name), pem).unwrap();
        dir.join(name).display().to_string()
    };
    let files = [format!("--cert={}", write("tls.crt", &certificate)), format!("--key={}", write("tls.key", &key))];
    let name = field(&wanted["spec"]["secretName"]);
    cluster.told(&["create", "secret", "tls", &name, "-n", "depthgauge", &files[0], &files[1]]);
}

/// What people type after, and what its injector makes of that.
fn inject(stage: &Stage, ca: &Authority) {
    stage.eventually(|it| it.cluster.kubectl(&["get", "apiservice", APISERVICE]).ok.then_some(()));
    stage.cluster.told(&["annotate", "apiservice", APISERVICE, "cert-manager.io/inject-ca-from=depthgauge/depthgauge"]);
    let bundle = json!({"spec": {"caBundle": STANDARD.encode(&ca.pem)}}).to_string();
    stage.cluster.told(&["patch", "apiservice", APISERVICE, "--type=merge", "-p", &bundle]);
}

/// A queue of some messages, and its user's profile in this folder; where it listens.
async fn emulator(dir: &Path) -> (SocketAddr, Arc<EmulatedQueue>) {
    let profile = Profile::make(dir, "eu-frankfurt-1").unwrap();
    let queues = vec![("orders".to_owned(), QUEUE_ID.parse().unwrap())];
    let options = Options { queues, keys: vec![(profile.key_id, profile.key)], ..Options::default() };
    let emulator = Emulator::new(options, Timestamp::now);
    let queue = emulator.queue("orders").unwrap();
    queue.put(["one"; DEPTH]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { emulator.serve(listener, CancellationToken::new().cancelled_owned()).await.unwrap() });
    (address, queue)
}

/// New nodes, and outside of each the emulator where OCI is.
async fn outside(stage: &mut Stage, emulator: SocketAddr) -> Vec<Task> {
    let mut outside = Vec::new();
    for address in stage.nodes().await {
        let tls = stage.authority.acceptor_named(&[MESSAGES_ENDPOINT]);
        outside.push(over_tls((address, 443).into(), tls, emulator).await);
    }
    outside
}

/// What people type after the overlay, for a kubelet waits for it; with the profile that is in this
/// folder.
fn secret(cluster: &Cluster, dir: &Path) {
    let (profile, key) = (dir.join("config"), dir.join("key.pem"));
    let in_pod = fs::read_to_string(&profile).unwrap().replace(dir.to_str().unwrap(), "/etc/oci");
    fs::write(&profile, in_pod).unwrap();
    let from_file = |name: &str, path: &Path| format!("--from-file={name}={}", path.display());
    let files = [from_file("config", &profile), from_file("key.pem", &key)];
    cluster.told(&["create", "secret", "generic", "depthgauge-oci", "-n", "depthgauge", &files[0], &files[1]]);
}

/// A config file of ours with the OCID that a user puts there.
fn config(part: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(part).join("config.yaml");
    let config = fs::read_to_string(path).unwrap();
    assert!(config.contains(PLACEHOLDER), "{config}");
    // No GetQueue: the emulator knows nothing of the TLS before it, and names no such endpoint.
    config.replace(PLACEHOLDER, &format!("{QUEUE_ID}\n    endpoint: https://{MESSAGES_ENDPOINT}"))
}

/// Passes on to a service without TLS.
pub(super) async fn over_tls(address: SocketAddr, tls: TlsAcceptor, target: SocketAddr) -> Task {
    let listener = TcpListener::bind(address).await.unwrap();
    Task::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let mut stream = tls.accept(stream).await?;
                let mut service = TcpStream::connect(target).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut service).await
            });
        }
    })
}

/// The namespace asks for `restricted`, and so its own pods are that.
fn refuses_a_careless_pod(cluster: &Cluster) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pod.json");
    fs::write(&file, CARELESS_POD).unwrap();
    let said = cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    assert!(!said.ok && said.stderr.contains("violates PodSecurity \"restricted"), "{said:?}");
}
