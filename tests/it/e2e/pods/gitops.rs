//! What Argo CD and Flux do: a server-side apply with a field manager of their own, and a
//! comparison of the result with what is in the cluster.

use std::fs;
use std::path::Path;

use super::super::check::APISERVICE;
use super::super::cluster::kustomize;
use super::stage::{Stage, kustomization};

/// A workload and its HPA, as a repository has them: without `spec.replicas`.
const WORKLOAD: &str = r#"---
apiVersion: apps/v1
kind: Deployment
metadata: {name: synced, namespace: shop}
spec:
  selector: {matchLabels: {app: synced}}
  template: {metadata: {labels: {app: synced}}, spec: {nodeName: node-0, containers: [{name: c, image: i}]}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: synced
  namespace: shop
  labels: {depthgauge.dev/scale-to-zero: "true"}
  annotations: {depthgauge.dev/cooldown: 5s}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: synced}
  maxReplicas: 10
  metrics:
  - type: External
    external:
      metric: {name: oci_queue_length, selector: {matchLabels: {queue: orders}}}
      target: {type: AverageValue, averageValue: "2"}
"#;

/// Argo CD's and Flux's.
pub const FIELD_MANAGERS: [&str; 2] = ["argocd-controller", "kustomize-controller"];

/// The manifests of a repository.
pub struct Repository {
    folder: tempfile::TempDir,
}

// === impl Repository ===

impl Repository {
    /// An overlay with components, and a workload in namespace `shop`.
    pub fn new(overlay: &str, components: &[&str], config: &str) -> Self {
        let folder = kustomization(overlay, components, config);
        let manifests = kustomize(folder.path()) + WORKLOAD;
        fs::write(folder.path().join("all.yaml"), manifests).unwrap();
        Self { folder }
    }

    pub fn sync(&self, stage: &Stage, manager: &str) {
        let file = self.file();
        stage.cluster.told(&["apply", "--server-side", "--force-conflicts", &field_manager(manager), "-f", &file]);
    }

    /// What a sync would change: what `kubectl diff` prints, and nothing when that is nothing.
    pub fn difference(&self, stage: &Stage, manager: &str) -> String {
        let file = self.file();
        let said = stage.cluster.kubectl(&[
            "diff",
            "--server-side",
            "--force-conflicts",
            &field_manager(manager),
            "-f",
            &file,
        ]);
        assert!(said.ok || !said.stdout.is_empty(), "kubectl diff: {}", said.stderr);
        said.stdout
    }

    /// No field manager finds a difference, and a sync of each changes nothing that depthgauge writes.
    pub fn is_in_sync(&self, stage: &Stage, when: &str) {
        let before = written(stage);
        for manager in FIELD_MANAGERS {
            assert_eq!(self.difference(stage, manager), "", "{manager}, {when}");
            self.sync(stage, manager);
            assert_eq!(self.difference(stage, manager), "", "{manager} after its sync, {when}");
        }
        assert_eq!(written(stage), before, "{when}");
    }

    /// A difference is found where there is one.
    pub fn finds_a_change(&self, stage: &Stage) {
        stage.cluster.told(&["annotate", "hpa", "synced", "-n", "shop", "--overwrite", "depthgauge.dev/cooldown=7s"]);
        for manager in FIELD_MANAGERS {
            let found = self.difference(stage, manager);
            assert!(
                found.contains("-    depthgauge.dev/cooldown: 7s") && found.contains("synced"),
                "{manager}: {found}"
            );
        }
        self.sync(stage, FIELD_MANAGERS[0]);
    }

    fn file(&self) -> String {
        let path: &Path = self.folder.path();
        path.join("all.yaml").to_str().unwrap().to_owned()
    }
}

fn field_manager(name: &str) -> String {
    format!("--field-manager={name}")
}

/// What depthgauge writes into objects that are in the repository.
fn written(stage: &Stage) -> [String; 3] {
    let apiservice = "jsonpath={.spec.caBundle} {.metadata.ownerReferences}";
    let hpa = r"jsonpath={.metadata.annotations.depthgauge\.dev/scaled-to-zero-since}";
    [
        stage.cluster.told(&["get", "apiservice", APISERVICE, "-o", apiservice]),
        stage.cluster.told(&["get", "hpa", "synced", "-n", "shop", "-o", hpa]),
        stage.cluster.told(&["get", "deployment", "synced", "-n", "shop", "-o", "jsonpath={.spec.replicas}"]),
    ]
}
