//! Each overlay's pods, run as they are: from one command to the first right answer, and through
//! the ports that their NetworkPolicies open, every one of them and no other.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use depthgauge::emulator::profile::Profile;
use depthgauge::emulator::{Emulator, Options};
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::check::APISERVICE;
use super::cluster::{Cluster, eventually_or, run};
use super::node::{DROPPED, Node};
use super::proxy::Task;
use super::world::{METRIC_PATH, QUEUE_ID};
use crate::support::authority::{Authority, Identity};
use crate::support::double::{Double, Received};
use crate::support::principals::{self, Manner, Tokens};

/// What people write over.
const PLACEHOLDER: &str = "ocid1.queue.oc1.eu-frankfurt-1.replace-with-the-ocid-of-your-queue";
const MESSAGES_ENDPOINT: &str = "cell-1.queue.messaging.eu-frankfurt-1.oci.oraclecloud.com";
const FEDERATION: &str = "auth.eu-frankfurt-1.oraclecloud.com";
/// Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a queue holds from the start.
const DEPTH: usize = 7;

/// Where pods run: a cluster without an overlay, and nodes without pods.
struct Stage {
    cluster: Cluster,
    /// One for each replica.
    nodes: Vec<Node>,
    /// Vouches for OCI.
    authority: Authority,
    /// What the rules of the policies let through before these nodes.
    packets: BTreeMap<String, u64>,
    /// Pods that have had their node.
    known: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exporter_compat_leads_to_right_answers_through_the_ports_that_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = emulator(dir.path()).await;
    let mut stage = Stage::new("pods").await;
    let mut outside = Vec::new();
    for address in stage.nodes().await {
        let tls = stage.authority.acceptor_named(&[MESSAGES_ENDPOINT]);
        outside.push(over_tls((address, 443).into(), tls, emulator).await);
    }
    tokio::task::block_in_place(|| {
        secret(&stage.cluster, dir.path());
        stage.run("exporter-compat", &config("overlays/exporter-compat"), DEPTH);
        for node in &stage.nodes {
            let metrics = format!("http://{}:8080/metrics", node.pod_address());
            let said = run(Command::new("curl").args(["-sS", "--max-time", "5", &metrics]));
            assert!(said.stdout.contains("oci_queue_length{queue=\"orders\"} 7"), "{said:?}");
        }
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

/// A queue of some messages, and its user's profile in this folder; where it listens.
async fn emulator(dir: &Path) -> SocketAddr {
    let profile = Profile::make(dir, "eu-frankfurt-1").unwrap();
    let queues = vec![("orders".to_owned(), QUEUE_ID.parse().unwrap())];
    let options = Options { queues, keys: vec![(profile.key_id, profile.key)], ..Options::default() };
    let emulator = Emulator::new(options, Timestamp::now);
    emulator.queue("orders").unwrap().put(["one"; DEPTH]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { emulator.serve(listener, CancellationToken::new().cancelled_owned()).await.unwrap() });
    address
}

/// What people type before, with the profile that is in this folder.
fn secret(cluster: &Cluster, dir: &Path) {
    cluster.told(&["apply", "-f", "manifests/base/namespace.yaml"]);
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

// === impl Stage ===

impl Stage {
    async fn new(name: &str) -> Self {
        crate::support::crypto();
        let cluster = tokio::task::block_in_place(|| {
            let cluster = Cluster::up(name, &["--aggregator-routing"]);
            cluster.told(&["create", "namespace", "shop"]);
            cluster
        });
        let authority = Authority::named("the CA of OCI");
        Self { cluster, nodes: Vec::new(), authority, packets: BTreeMap::new(), known: Vec::new() }
    }

    /// New nodes for the next pods, instead of those that there are; where OCI has to be for each.
    async fn nodes(&mut self) -> Vec<Ipv4Addr> {
        self.packets = tokio::task::block_in_place(|| self.packets());
        self.nodes.clear();
        for _replica in 0..2 {
            self.nodes.push(Node::new(&self.cluster).await);
        }
        self.nodes.iter().map(Node::outside).collect()
    }

    /// Applies an overlay with this config file, runs its pods when they are Ready, and waits
    /// until the depth is told. Prints how long it took.
    fn run(&mut self, overlay: &str, config: &str, depth: usize) {
        let folder = kustomization(overlay, config);
        let begun = Instant::now();
        self.cluster.told(&["apply", "-k", folder.path().to_str().unwrap()]);
        for (pod, node) in self.pods().iter().zip(&mut self.nodes) {
            node.run(&self.cluster, pod, &self.authority.pem);
            self.known.push(pod["metadata"]["name"].to_string());
        }
        let running = begun.elapsed();
        let available = "jsonpath={.status.conditions[?(@.type==\"Available\")].status}";
        self.eventually(|it| {
            let said = it.cluster.kubectl(&["get", "apiservice", APISERVICE, "-o", available]);
            (said.stdout == "True").then_some(())
        });
        let is_available = begun.elapsed();
        let right = format!("\"value\":\"{depth}\"");
        self.eventually(|it| it.cluster.kubectl(&["get", "--raw", METRIC_PATH]).stdout.contains(&right).then_some(()));
        println!(
            "overlays/{overlay}, since `kubectl apply -k`: its pods run after {:.1} s, the APIService is Available after {:.1} s, the first right answer comes after {:.1} s",
            running.as_secs_f64(),
            is_available.as_secs_f64(),
            begun.elapsed().as_secs_f64(),
        );
    }

    /// The overlay's, once the new ones are Ready and no others are left.
    fn pods(&self) -> Vec<Value> {
        let selected = ["get", "pods", "-n", "depthgauge", "-l", "app.kubernetes.io/name=depthgauge", "-o", "json"];
        let is_ready = |pod: &Value| {
            let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        self.eventually(|it| {
            let mut pods: Value = serde_json::from_str(&it.cluster.told(&selected)).unwrap();
            let Value::Array(pods) = pods["items"].take() else { panic!("{pods}") };
            let is_new = |pod: &Value| !it.known.contains(&pod["metadata"]["name"].to_string());
            let done = pods.len() == it.nodes.len() && pods.iter().all(|pod| is_new(pod) && is_ready(pod));
            done.then_some(pods)
        })
    }

    /// What each rule of the policies has let through, in all pods until now.
    fn packets(&self) -> BTreeMap<String, u64> {
        let mut packets = self.packets.clone();
        for port in self.nodes.iter().flat_map(Node::ports) {
            *packets.entry(port.rule).or_default() += port.packets;
        }
        packets
    }

    fn every_port_is_used_and_no_other(&self) {
        let packets = self.packets();
        let right = |(rule, packets): (&String, &u64)| (*packets == 0) == rule.ends_with(DROPPED);
        let directions = packets.keys().filter(|rule| rule.ends_with(DROPPED)).count();
        assert!(
            directions == 2 && packets.len() > 6 && packets.iter().all(right),
            "{packets:#?}\n{}",
            self.nodes[0].log()
        );
    }

    fn eventually<T>(&self, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let said = || {
            let objects = self.cluster.kubectl(&["get", "pods,apiservices,endpointslices", "-n", "depthgauge"]).stdout;
            let logs: Vec<String> = self.nodes.iter().map(Node::log).collect();
            format!("{objects}\n{:#?}\n{}", self.packets(), logs.join("\n"))
        };
        eventually_or(said, PATIENCE, || look(self))
    }
}

/// Passes on to a service without TLS.
async fn over_tls(address: SocketAddr, tls: TlsAcceptor, target: SocketAddr) -> Task {
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

/// Of one's own, as people have it: the overlay, with their config file; and the node that a
/// scheduler would choose.
fn kustomization(overlay: &str, config: &str) -> tempfile::TempDir {
    // kustomize takes no absolute paths.
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    fs::create_dir_all(&target).unwrap();
    let folder = tempfile::tempdir_in(target).unwrap();
    fs::write(folder.path().join("config.yaml"), config).unwrap();
    let kustomization = format!(
        "resources: [../../manifests/overlays/{overlay}]
configMapGenerator:
- {{name: depthgauge-config, namespace: depthgauge, behavior: replace, files: [config.yaml]}}
patches:
- target: {{kind: Deployment, name: depthgauge}}
  patch: |
    - {{op: add, path: /spec/template/spec/nodeName, value: node-0}}
"
    );
    fs::write(folder.path().join("kustomization.yaml"), kustomization).unwrap();
    folder
}
