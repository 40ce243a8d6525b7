//! What else the manifests are: examples, and a demo of one image.

use std::path::Path;
use std::process::Command;

use super::cluster::{Cluster, kustomize};

#[test]
fn each_example_is_applied() {
    let cluster = Cluster::up("examples", &[]);
    cluster.told(&["apply", "-f", "manifests/examples"]);
    // One is instead of the other.
    for after in ["manifests/examples/keda/below-1.37.yaml", "manifests/examples/keda/from-1.37.yaml"] {
        cluster.told(&["apply", "-f", after]);
        cluster.told(&["delete", "-f", after]);
    }
    let guide = ["migrate-from-keda", "migrate-from-prometheus-adapter", "replace-an-exporter"].map(|page| {
        let path = format!("{}/docs/how-to/{page}.md", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    });
    let guide = guide.concat();
    let blocks: Vec<&str> = guide.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next()).collect();
    let of = |head: &str| blocks.iter().filter(|block| block.starts_with(head)).copied().collect::<Vec<_>>();
    let hpas = of("apiVersion: autoscaling/v2\n");
    assert_eq!(hpas.len(), 3, "after KEDA, and before and after with the Prometheus adapter");
    hpas.iter().for_each(|hpa| cluster.apply(hpa));
    let [alias] = of("apiVersion: v1\nkind: Service\n")[..] else {
        panic!("one Service, for the exporter's old place")
    };
    the_exporters_old_name_leads_to_the_overlay(&cluster, alias);
}

fn the_exporters_old_name_leads_to_the_overlay(cluster: &Cluster, alias: &str) {
    cluster.told(&["create", "namespace", "monitoring"]);
    cluster.apply(alias);
    let path = "jsonpath={.spec.externalName}";
    let name = cluster.told(&["get", "service", "oci-queue-exporter", "-n", "monitoring", "-o", path]);
    let objects = kustomize(Path::new("manifests/overlays/exporter-compat"));
    let services = objects.split("\n---\n").filter(|object| object.contains("\nkind: Service\n"));
    let named = |object: &&str| {
        object.contains("\n  name: oci-queue-exporter\n") && object.contains("  - name: metrics\n    port: 8080\n")
    };
    assert_eq!((services.filter(named).count(), name.as_str()), (1, "oci-queue-exporter.depthgauge.svc.cluster.local"));
}

#[test]
fn a_kustomization_of_ones_own_is_built_as_documented() {
    let guide = std::fs::read_to_string("docs/how-to/install.md").unwrap();
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
        let objects = kustomize(&mine);
        let images: Vec<_> = objects.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
        assert_eq!(images, ["registry.example.com/depthgauge:0.1.0"], "{overlay}");
        assert!(objects.contains("of: mine") && !objects.contains("replace-with-the-ocid"), "{overlay}: {objects}");
        assert!(objects.contains("kind: PrometheusRule"), "{overlay}");
    }
}

#[test]
fn all_that_the_demo_runs_is_the_image_of_the_base() {
    let dir = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").args(["-r", "manifests", "apiservice"]).arg(dir.path()).status().unwrap();
    assert!(copied.success());
    let base = dir.path().join("manifests/base/deployment.yaml");
    let text = std::fs::read_to_string(&base).unwrap();
    std::fs::write(&base, text.replace("image: depthgauge:0.1.0", "image: registry.example.com/depthgauge:9")).unwrap();
    let demo = dir.path().join("manifests/overlays/demo");
    let objects = kustomize(&demo);
    let images: Vec<&str> =
        objects.lines().filter_map(|line| line.trim().split_once("image: ")).map(|(_, image)| image).collect();
    assert_eq!(images.iter().filter(|image| **image == "registry.example.com/depthgauge:9").count(), 2, "{images:?}");
    assert_eq!(images.len(), 3, "and the workload's: {images:?}");
}
