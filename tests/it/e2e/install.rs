//! The manifests on a real control plane: each way to install is applied at once, in whatever
//! order kubectl takes, and its pods pass the admission that its namespace asks for.

use std::time::Duration;

use super::cluster::{Cluster, eventually_or};

/// For replicas to be replaced by those with a node, twice as long as it takes.
const ROLLOUT: Duration = Duration::from_secs(30);
/// What a Pod Security level below `restricted` lets through.
const CARELESS_POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"careless","namespace":"depthgauge"},"spec":{"containers":[{"name":"careless","image":"careless"}]}}"#;

#[test]
fn each_overlay_is_applied_at_once_and_its_replicas_are_ready() {
    let cluster = Cluster::up("install", &[]);
    // cert-manager's overlay needs its kinds.
    for overlay in ["generic", "oke", "exporter-compat"] {
        let path = format!("manifests/overlays/{overlay}");
        cluster.told(&["apply", "-k", &path]);
        rolls_out(&cluster, overlay);
        refuses_a_careless_pod(&cluster);
        cluster.told(&["delete", "-k", &path, "--timeout=60s"]);
    }
}

#[test]
fn a_viewer_of_a_namespace_may_read_its_metrics_and_nothing_more() {
    let cluster = Cluster::up("viewer", &[]);
    cluster.told(&["apply", "-k", "manifests/overlays/generic"]);
    cluster.told(&["create", "namespace", "shop"]);
    cluster.told(&["create", "rolebinding", "viewer", "-n", "shop", "--clusterrole=view", "--user=viewer"]);
    let can = |verb, namespace| allowed(&cluster, verb, namespace);
    eventually_or(|| "viewers get it".to_owned(), ROLLOUT, || can("get", "shop").then_some(()));
    assert!(!can("delete", "shop") && !can("get", "depthgauge"));
}

#[test]
fn each_example_is_applied() {
    let cluster = Cluster::up("examples", &[]);
    cluster.told(&["create", "namespace", "shop"]);
    cluster.told(&["apply", "-f", "manifests/examples"]);
}

fn rolls_out(cluster: &Cluster, overlay: &str) {
    let on_node = r#"{"spec":{"template":{"spec":{"nodeName":"node-0"}}}}"#;
    cluster.told(&["patch", "deployment", "depthgauge", "-n", "depthgauge", "-p", on_node]);
    let said = || cluster.kubectl(&["get", "pods,events", "-n", "depthgauge"]).stdout;
    let done = ["rollout", "status", "deployment/depthgauge", "-n", "depthgauge", "--watch=false"];
    eventually_or(
        || format!("{overlay} rolls out\n{}", said()),
        ROLLOUT,
        || cluster.kubectl(&done).stdout.contains("successfully rolled out").then_some(()),
    );
}

/// Not by `kubectl auth can-i`, which asks discovery for the resource, and nothing serves it here.
fn allowed(cluster: &Cluster, verb: &str, namespace: &str) -> bool {
    let attributes = serde_json::json!({"group": "external.metrics.k8s.io", "resource": "oci_queue_length", "verb": verb, "namespace": namespace});
    let review = serde_json::json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "viewer", "resourceAttributes": attributes}});
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("review.json");
    std::fs::write(&file, review.to_string()).unwrap();
    cluster.told(&["create", "-f", file.to_str().unwrap(), "-o", "jsonpath={.status.allowed}"]) == "true"
}

fn refuses_a_careless_pod(cluster: &Cluster) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pod.json");
    std::fs::write(&file, CARELESS_POD).unwrap();
    let said = cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    assert!(!said.ok && said.stderr.contains("violates PodSecurity \"restricted"), "{said:?}");
}
