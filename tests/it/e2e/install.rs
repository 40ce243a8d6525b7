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
    a_kustomization_of_ones_own_is_built_as_documented(&cluster);
}

fn a_kustomization_of_ones_own_is_built_as_documented(cluster: &Cluster) {
    let guide = std::fs::read_to_string("docs/install.md").unwrap();
    let (_, section) = guide.split_once("## A kustomization of your own").unwrap();
    let text = section.split("```").nth(1).and_then(|block| block.strip_prefix("yaml\n")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (clone, mine) = (dir.path().join("depthgauge"), dir.path().join("mine"));
    std::fs::create_dir_all(&clone).unwrap();
    std::fs::create_dir_all(&mine).unwrap();
    assert!(Command::new("cp").args(["-r", "manifests", "apiservice"]).arg(&clone).status().unwrap().success());
    std::fs::write(mine.join("config.yaml"), "of: mine\n").unwrap();
    for overlay in ["oke", "generic"] {
        let kustomization = text.replace("overlays/oke", &format!("overlays/{overlay}"));
        std::fs::write(mine.join("kustomization.yaml"), kustomization).unwrap();
        let objects = cluster.told(&["kustomize", mine.to_str().unwrap()]);
        let images: Vec<_> = objects.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
        assert_eq!(images, ["registry.example.com/depthgauge:0.1.0"], "{overlay}");
        assert!(objects.contains("of: mine") && !objects.contains("replace-with-the-ocid"), "{overlay}: {objects}");
        assert!(objects.contains("kind: PrometheusRule"), "{overlay}");
    }
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
