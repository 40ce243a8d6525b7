//! `overlays/demo`, by one command: from nothing to pods that come and go with the queue.

use std::time::Duration;

use serde_json::Value;

use super::cluster::{Cluster, eventually, eventually_or};
use super::node::Node;

const OVERLAY: &str = "manifests/overlays/demo";
/// A pod of kwok's, twice as long as it takes.
const POD: Duration = Duration::from_secs(30);
/// For each turn: a whole wave of `--wave=20/2m`, since the first may come before the server does,
/// and what the controller takes to see it.
const TURN: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn long_one_command_leads_to_pods_that_come_and_go() {
    let cluster = tokio::task::block_in_place(|| Cluster::up("demo", &["--sync", "5s", "--aggregator-routing"]));
    let mut node = Node::new(&cluster).await;
    tokio::task::block_in_place(|| {
        cluster.told(&["apply", "-k", OVERLAY]);
        on_the_node(&cluster, "depthgauge", "depthgauge");
        on_the_node(&cluster, "depthgauge-demo", "dummy");
        // It trusts nobody, since it asks nobody but its neighbour.
        node.run(&cluster, &pod(&cluster), "");
        for pods in ["", "10", ""] {
            let said = || {
                let state = cluster.kubectl(&["get", "apiservice,hpa,deployment", "-n", "depthgauge-demo"]).stdout;
                format!("{pods:?} pods\n{state}\n{}", node.log())
            };
            eventually_or(said, TURN, || (ready(&cluster) == pods).then_some(()));
        }
    });
}

/// How many pods of the workload are ready, as kubectl has it; nothing is none.
fn ready(cluster: &Cluster) -> String {
    let of_status = "jsonpath={.status.readyReplicas}";
    cluster.told(&["get", "deployment", "dummy", "-n", "depthgauge-demo", "-o", of_status])
}

/// What a scheduler does.
fn on_the_node(cluster: &Cluster, namespace: &str, deployment: &str) {
    let on_node = r#"{"spec":{"template":{"spec":{"nodeName":"node-0"}}}}"#;
    cluster.told(&["patch", "deployment", deployment, "-n", namespace, "-p", on_node]);
    cluster.told(&["rollout", "status", &format!("deployment/{deployment}"), "-n", namespace, "--timeout=60s"]);
}

/// The server's, once it is Ready.
fn pod(cluster: &Cluster) -> Value {
    let running = ["get", "pods", "-n", "depthgauge", "--field-selector=status.phase=Running", "-o", "json"];
    eventually("depthgauge has one pod", POD, || {
        let pods: Value = serde_json::from_str(&cluster.told(&running)).unwrap();
        let [pod] = pods["items"].as_array()?.as_slice() else { return None };
        Some(pod.clone())
    })
}
