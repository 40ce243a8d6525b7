//! The scaled workload, read as the controller reads it: its scale subresource, and its pods
//! where a target of type `Value` counts them.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::cli::autoscaler::{Autoscaler, Metric};
use crate::cli::kube_api::KubeApi;
use crate::cli::kubernetes::Version;
use crate::hpa::{Target, Workload};
use crate::zero::workload::{Workload as Reference, is_kind};

/// As it is, or why that is not known.
pub(in crate::cli) async fn read(
    kube_api: &KubeApi,
    hpa: &Autoscaler<'_>,
    version: Option<Version>,
) -> Result<Workload, String> {
    let scale = scale(kube_api, hpa).await?;
    let counts_pods = hpa.metrics().iter().any(
        |metric| matches!(metric, Metric::External(question) if matches!(question.target, Some(Target::Value(_)))),
    );
    let ready = match scale["status"]["selector"].as_str().filter(|_| counts_pods) {
        Some(selector) => ready(kube_api, hpa.namespace(), selector).await?,
        None => None,
    };
    let (wanted, exist) = (number(&scale, "spec"), number(&scale, "status"));
    Ok(Workload { wanted, exist, ready, scaled_to_zero: looks_at_zero(hpa, version) })
}

/// The replicas that it should have, or why that is not known.
pub(in crate::cli) async fn replicas(kube_api: &KubeApi, hpa: &Autoscaler<'_>) -> Result<i32, String> {
    Ok(number(&scale(kube_api, hpa).await?, "spec"))
}

/// Its scale subresource.
async fn scale(kube_api: &KubeApi, hpa: &Autoscaler<'_>) -> Result<Value, String> {
    let workload = hpa.workload();
    let what = format!("{} {}/{}", workload.kind, hpa.namespace(), workload.name);
    let scale = format!("{}/scale", path(kube_api, hpa.namespace(), &workload).await?);
    kube_api.get(&scale).await.map_err(|trouble| format!("{what}: {}", trouble.message()))
}

/// A number that is left out is 0, as in any object of Kubernetes.
fn number(scale: &Value, part: &str) -> i32 {
    i32::try_from(scale[part]["replicas"].as_i64().unwrap_or_default()).unwrap_or(i32::MAX)
}

/// Whether its controller reads metrics while the workload is at 0: by a condition, and before 1.36, which has
/// none, with `minReplicas: 0` (`reconcileAutoscaler` of Kubernetes 1.35).
fn looks_at_zero(hpa: &Autoscaler<'_>, version: Option<Version>) -> bool {
    let written = hpa.written();
    if version.is_some_and(|version| !version.tells_scaled_to_zero()) {
        return written.sizes().min == 0;
    }
    written.has_scaled_to_zero()
}

/// The path of objects of its kind, which only discovery has.
async fn path(kube_api: &KubeApi, namespace: &str, workload: &Reference) -> Result<String, String> {
    let Reference { api_version, kind, name } = workload;
    let root = if api_version.contains('/') { "/apis" } else { "/api" };
    let list = kube_api.get(&format!("{root}/{api_version}")).await;
    let list = list.map_err(|trouble| format!("what {api_version} has: {}", trouble.message()))?;
    let resources = list["resources"].as_array().into_iter().flatten();
    let of_kind = resources
        .filter(|resource| resource["kind"].as_str().is_some_and(|served| is_kind(served, kind)))
        .filter_map(|resource| resource["name"].as_str());
    match of_kind.filter(|resource| !resource.contains('/')).collect::<Vec<_>>()[..] {
        [resource, ..] => Ok(format!("{root}/{api_version}/namespaces/{namespace}/{resource}/{name}")),
        [] => Err(format!("{api_version} has no kind {kind}: correct scaleTargetRef")),
    }
}

/// Mirrors the controller's `getReadyPodsCount`: Running and Ready; `None` if there is no pod.
async fn ready(kube_api: &KubeApi, namespace: &str, selector: &str) -> Result<Option<i32>, String> {
    let selector = utf8_percent_encode(selector, NON_ALPHANUMERIC);
    let pods = kube_api.get(&format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")).await;
    Ok(count(&pods.map_err(|trouble| format!("its pods: {}", trouble.message()))?))
}

fn count(pods: &Value) -> Option<i32> {
    let pods = pods["items"].as_array().filter(|pods| !pods.is_empty())?;
    let is_ready = |pod: &&Value| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        pod["status"]["phase"] == "Running"
            && conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    i32::try_from(pods.iter().filter(is_ready).count()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn at_zero_an_hpa_goes_by_its_condition_or_before_there_was_one_by_min_replicas() {
        let version = |minor: &str| Version::of(&json!({"major": "1", "minor": minor}));
        for (min, condition, minor, looks) in [
            (0, Some("True"), "37", true),
            (0, Some("False"), "37", false),
            (0, None, "37", false),
            (0, None, "36", false),
            (0, None, "35", true),
            (0, Some("False"), "35", true),
            (1, None, "35", false),
            (1, Some("True"), "35", false),
            (0, None, "", false),
        ] {
            let conditions: Vec<_> =
                condition.iter().map(|status| json!({"type": "ScaledToZero", "status": status})).collect();
            let hpa = json!({"spec": {"minReplicas": min}, "status": {"conditions": conditions}});
            assert_eq!(looks_at_zero(&Autoscaler::in_test(&hpa), version(minor)), looks, "{min} {condition:?} {minor}");
        }
    }

    #[test]
    fn only_pods_that_run_and_are_ready_count() {
        let pod = |phase: &str, ready: &str| json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        let pods = [pod("Running", "True"), pod("Running", "False"), pod("Pending", "True"), json!({})];
        assert_eq!(count(&json!({"items": pods})), Some(1));
        assert_eq!(count(&json!({"items": []})), None);
    }
}
