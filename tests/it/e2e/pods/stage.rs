//! Where an overlay's pods run, from one command to the first right answer.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::check::APISERVICE;
use super::super::cluster::{Cluster, eventually_or, run, script};
use super::super::node::{DROPPED, Node};
use super::super::world::METRIC_PATH;
use crate::support::authority::Authority;

/// Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where pods run: a cluster without an overlay, and nodes without pods.
pub struct Stage {
    pub cluster: Cluster,
    /// One for each replica.
    pub nodes: Vec<Node>,
    /// Vouches for OCI.
    pub authority: Authority,
    /// What the rules of the policies let through before these nodes.
    packets: BTreeMap<String, u64>,
    /// Pods that have had their node.
    known: Vec<String>,
}

// === impl Stage ===

impl Stage {
    pub async fn new(name: &str) -> Self {
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
    pub async fn nodes(&mut self) -> Vec<Ipv4Addr> {
        self.packets = tokio::task::block_in_place(|| self.packets());
        self.nodes.clear();
        for _replica in 0..2 {
            self.nodes.push(Node::new(&self.cluster).await);
        }
        self.nodes.iter().map(Node::outside).collect()
    }

    /// Makes these kinds, of whose files `hack/setup` says where they are.
    pub fn kinds(&self, from: &str, group: &str, kinds: &[&str]) {
        let folder = run(script("hack/setup").arg(from)).stdout;
        for kind in kinds {
            self.cluster.told(&["create", "-f", &format!("{}/{group}_{kind}.yaml", folder.trim())]);
            self.cluster.await_kind(&format!("{kind}.{group}"));
        }
    }

    /// Applies an overlay with this config file, runs its pods, and waits until the depth is told.
    pub fn run(&mut self, overlay: &str, config: &str, depth: usize) {
        let begun = self.apply(overlay, &[], config);
        self.start();
        self.await_answers(overlay, begun, depth);
    }

    /// The one command, and when it was given.
    pub fn apply(&self, overlay: &str, components: &[&str], config: &str) -> Instant {
        let folder = kustomization(overlay, components, config);
        let begun = Instant::now();
        self.cluster.told(&["apply", "-k", folder.path().to_str().unwrap()]);
        begun
    }

    /// Runs the pods when they are Ready.
    pub fn start(&mut self) {
        for (pod, node) in self.pods().iter().zip(&mut self.nodes) {
            node.run(&self.cluster, pod, &self.authority.pem);
            self.known.push(pod["metadata"]["name"].to_string());
        }
    }

    /// Waits until a workload in namespace `shop` shall have so many replicas.
    pub fn await_replicas(&self, deployment: &str, replicas: &str) {
        let asked = ["get", "deployment", deployment, "-n", "shop", "-o", "jsonpath={.spec.replicas}"];
        self.eventually(|it| (it.cluster.told(&asked) == replicas).then_some(()));
    }

    /// Waits until kube-apiserver knows the depth; prints how long all of it took.
    pub fn await_answers(&self, overlay: &str, begun: Instant, depth: usize) {
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

    pub fn every_port_is_used_and_no_other(&self) {
        let packets = self.packets();
        // The nodes have IPv4 only.
        let is_ipv6 = |rule: &str| rule.split_once(" to ").is_some_and(|(_, block)| block.contains(':'));
        let is_unused = |rule: &str| rule.ends_with(DROPPED) || is_ipv6(rule);
        let right = |(rule, packets): (&String, &u64)| (*packets == 0) == is_unused(rule);
        let directions = packets.keys().filter(|rule| rule.ends_with(DROPPED)).count();
        assert!(
            directions == 2 && packets.len() > 6 && packets.iter().all(right),
            "{packets:#?}\n{}",
            self.nodes[0].log()
        );
    }

    pub fn eventually<T>(&self, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let said = || {
            let objects = self.cluster.kubectl(&["get", "pods,apiservices,endpointslices", "-n", "depthgauge"]).stdout;
            let logs: Vec<String> = self.nodes.iter().map(Node::log).collect();
            format!("{objects}\n{:#?}\n{}", self.packets(), logs.join("\n"))
        };
        eventually_or(said, PATIENCE, || look(self))
    }
}

/// Of one's own, as people have it: the overlay, with their config file; and the node that a
/// scheduler would choose.
pub fn kustomization(overlay: &str, components: &[&str], config: &str) -> tempfile::TempDir {
    // kustomize takes no absolute paths.
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    fs::create_dir_all(&target).unwrap();
    let folder = tempfile::tempdir_in(target).unwrap();
    fs::write(folder.path().join("config.yaml"), config).unwrap();
    let components: Vec<_> = components.iter().map(|name| format!("../../manifests/components/{name}")).collect();
    let components = components.join(", ");
    let kustomization = format!(
        "resources: [../../manifests/overlays/{overlay}]
components: [{components}]
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
