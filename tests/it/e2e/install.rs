//! What else the manifests are: rights for others, and examples.

use std::process::Command;
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
    cluster.told(&["apply", "-f", "manifests/examples"]);
}

#[test]
fn all_that_the_demo_runs_is_the_image_of_the_base() {
    let cluster = Cluster::up("images", &[]);
    let dir = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").args(["-r", "manifests", "apiservice"]).arg(dir.path()).status().unwrap();
    assert!(copied.success());
    let base = dir.path().join("manifests/base/deployment.yaml");
    let text = std::fs::read_to_string(&base).unwrap();
    std::fs::write(&base, text.replace("image: depthgauge:0.1.0", "image: registry.example.com/depthgauge:9")).unwrap();
    let demo = dir.path().join("manifests/overlays/demo");
    let objects = cluster.told(&["kustomize", demo.to_str().unwrap()]);
    let images: Vec<&str> =
        objects.lines().filter_map(|line| line.trim().split_once("image: ")).map(|(_, image)| image).collect();
    assert_eq!(images.iter().filter(|image| **image == "registry.example.com/depthgauge:9").count(), 2, "{images:?}");
    assert_eq!(images.len(), 3, "and the workload's: {images:?}");
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
