//! Each overlay's pods, run as they are: from one command to the first right answer, and through
//! the ports that their NetworkPolicies open, every one of them and no other.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
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
use super::node::Node;
use super::proxy::Task;
use super::world::{METRIC_PATH, QUEUE_ID};
use crate::support::authority::Authority;

/// What people write over.
const PLACEHOLDER: &str = "ocid1.queue.oc1.eu-frankfurt-1.replace-with-the-ocid-of-your-queue";
const MESSAGES_ENDPOINT: &str = "cell-1.queue.messaging.eu-frankfurt-1.oci.oraclecloud.com";
/// Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a queue holds from the start.
const DEPTH: usize = 7;

/// Where pods run: a cluster without an overlay, and a node for each replica.
struct Stage {
    cluster: Cluster,
    nodes: Vec<Node>,
    /// Vouches for OCI.
    authority: Authority,
    _outside: Vec<Task>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exporter_compat_leads_to_right_answers_through_the_ports_that_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = emulator(dir.path()).await;
    let mut stage = Stage::new("pods", emulator).await;
    tokio::task::block_in_place(|| {
        // What people type before.
        stage.cluster.told(&["apply", "-f", "manifests/base/namespace.yaml"]);
        let (config, key) = (dir.path().join("config"), dir.path().join("key.pem"));
        let in_pod = fs::read_to_string(&config).unwrap().replace(dir.path().to_str().unwrap(), "/etc/oci");
        fs::write(&config, in_pod).unwrap();
        let from_file = |name: &str, path: &Path| format!("--from-file={name}={}", path.display());
        let files = [from_file("config", &config), from_file("key.pem", &key)];
        let create = ["create", "secret", "generic", "depthgauge-oci", "-n", "depthgauge", &files[0], &files[1]];
        stage.cluster.told(&create);
        stage.run("exporter-compat", "manifests/overlays/exporter-compat/config.yaml");
        for node in &stage.nodes {
            let metrics = format!("http://{}:8080/metrics", node.pod_address());
            let said = run(Command::new("curl").args(["-sS", "--max-time", "5", &metrics]));
            assert!(said.stdout.contains("oci_queue_length{queue=\"orders\"} 7"), "{said:?}");
        }
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

// === impl Stage ===

impl Stage {
    /// OCI, as pods see it, is what listens here.
    async fn new(name: &str, oci: SocketAddr) -> Self {
        crate::support::crypto();
        let cluster = tokio::task::block_in_place(|| {
            let cluster = Cluster::up(name, &["--aggregator-routing"]);
            cluster.told(&["create", "namespace", "shop"]);
            cluster
        });
        let authority = Authority::named("the CA of OCI");
        let (mut nodes, mut outside) = (Vec::new(), Vec::new());
        for _replica in 0..2 {
            let node = Node::new(&cluster).await;
            let tls = authority.acceptor_named(MESSAGES_ENDPOINT);
            outside.push(over_tls((node.outside(), 443).into(), tls, oci).await);
            nodes.push(node);
        }
        Self { cluster, nodes, authority, _outside: outside }
    }

    /// Applies an overlay with its config file completed as a user does, runs its pods when they
    /// are Ready, and waits until the depth is told. Prints how long it took.
    fn run(&mut self, overlay: &str, config: &str) {
        let folder = kustomization(overlay, config);
        let begun = Instant::now();
        self.cluster.told(&["apply", "-k", folder.path().to_str().unwrap()]);
        for (pod, node) in self.pods().iter().zip(&mut self.nodes) {
            node.run(&self.cluster, pod, &self.authority.pem);
        }
        let running = begun.elapsed();
        let available = "jsonpath={.status.conditions[?(@.type==\"Available\")].status}";
        self.eventually(|it| {
            let said = it.cluster.kubectl(&["get", "apiservice", APISERVICE, "-o", available]);
            (said.stdout == "True").then_some(())
        });
        let is_available = begun.elapsed();
        let right = format!("\"value\":\"{DEPTH}\"");
        self.eventually(|it| it.cluster.kubectl(&["get", "--raw", METRIC_PATH]).stdout.contains(&right).then_some(()));
        let seconds = |time: Duration| time.as_secs_f64();
        println!(
            "{overlay}: after `kubectl apply -k`, pods run within {:.1} s, the APIService is Available within {:.1} s, the first right answer comes within {:.1} s",
            seconds(running),
            seconds(is_available),
            seconds(begun.elapsed()),
        );
    }

    /// The overlay's, once both are Ready.
    fn pods(&self) -> Vec<Value> {
        let selected = ["get", "pods", "-n", "depthgauge", "-l", "app.kubernetes.io/name=depthgauge", "-o", "json"];
        self.eventually(|it| {
            let mut pods: Value = serde_json::from_str(&it.cluster.told(&selected)).unwrap();
            let Value::Array(pods) = pods["items"].take() else { panic!("{pods}") };
            let ready = |pod: &Value| {
                let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
                conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            };
            (pods.len() == it.nodes.len() && pods.iter().all(ready)).then_some(pods)
        })
    }

    /// By what each rule of the policies let through in either pod.
    fn every_port_is_used_and_no_other(&self) {
        let mut packets: BTreeMap<String, u64> = BTreeMap::new();
        let ports: Vec<_> = self.nodes.iter().flat_map(Node::ports).collect();
        for port in &ports {
            *packets.entry(port.rule.clone()).or_default() += port.packets;
        }
        let wrong = ports.iter().filter(|port| port.is_dropped() && packets[&port.rule] > 0).count()
            + ports.iter().filter(|port| !port.is_dropped() && packets[&port.rule] == 0).count();
        assert!(ports.len() > 4 && wrong == 0, "{packets:#?}\n{}", self.nodes[0].log());
    }

    fn eventually<T>(&self, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let said = || {
            let objects = self.cluster.kubectl(&["get", "pods,apiservices,endpointslices", "-n", "depthgauge"]).stdout;
            let nodes: Vec<String> =
                self.nodes.iter().map(|node| format!("{:#?}\n{}", node.ports(), node.log())).collect();
            format!("{objects}\n{}", nodes.join("\n"))
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

/// Of one's own, as people have it: the overlay, with their queue in its config file; and the node
/// that a scheduler would choose.
fn kustomization(overlay: &str, config: &str) -> tempfile::TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = fs::read_to_string(root.join(config)).unwrap();
    assert!(config.contains(PLACEHOLDER), "{config}");
    // The emulator knows nothing of the TLS before it, so that its GetQueue names no such endpoint.
    let own = config.replace(PLACEHOLDER, &format!("{QUEUE_ID}\n    endpoint: https://{MESSAGES_ENDPOINT}"));
    // kustomize takes no absolute paths.
    let target = root.join("target");
    fs::create_dir_all(&target).unwrap();
    let folder = tempfile::tempdir_in(target).unwrap();
    fs::write(folder.path().join("config.yaml"), own).unwrap();
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
