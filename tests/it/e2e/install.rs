//! What else the manifests are: rights for others, and examples.

use std::time::Duration;

use super::cluster::{Cluster, eventually};

/// For rights to be aggregated, far more than it takes.
const AGGREGATED: Duration = Duration::from_secs(30);

#[test]
fn a_viewer_of_a_namespace_may_read_its_metrics_and_nothing_more() {
    let cluster = Cluster::up("viewer", &[]);
    cluster.told(&["apply", "-k", "manifests/overlays/generic"]);
    cluster.told(&["create", "namespace", "shop"]);
    cluster.told(&["create", "rolebinding", "viewer", "-n", "shop", "--clusterrole=view", "--user=viewer"]);
    let can = |verb, namespace| allowed(&cluster, verb, namespace);
    eventually("viewers get it", AGGREGATED, || can("get", "shop").then_some(()));
    assert!(!can("delete", "shop") && !can("get", "depthgauge"));
}

#[test]
fn each_example_is_applied() {
    let cluster = Cluster::up("examples", &[]);
    cluster.told(&["create", "namespace", "shop"]);
    cluster.told(&["apply", "-f", "manifests/examples"]);
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
