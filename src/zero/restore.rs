//! Restores workloads when depthgauge is removed: it scales up what depthgauge scaled to zero,
//! because below Kubernetes 1.37 no other controller would.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::autoscaler::{Autoscaler, ZeroState};
use super::calls::{Calls, ScaleError, answered, in_time};
use super::scale::Scales;
use super::{LEASE, Lease, Object};
use crate::metric::{Clock, MetricSet};
use crate::rbac::LATE;

/// HPAs that are read at once: their objects are large, and of most nothing is kept.
const PAGE: u32 = 500;
/// Of one such page, over the connection of a user's machine.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// Workloads that are scaled up at the same time.
const AT_ONCE: usize = 8;
/// Another client may scale a workload at the same moment: then it is read again, at most this
/// often.
const TRIES: usize = 3;

/// The result for a workload that was at zero.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Restored {
    /// It has this many replicas now.
    ScaledUp(u32),
    /// Another client has scaled it up already.
    NotAtZero,
    /// It is to be left as it is.
    Paused,
    /// There is no such workload any more.
    Gone,
    /// Its HPA scaled it to zero, and scales it up only while its metrics are served. The command
    /// that scales it up.
    Native(String),
    /// It is still at zero. Why.
    StaysAtZero(String),
}

/// Why the workloads at zero cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The user may not list HPAs.
    #[error("{0}")]
    Forbidden(String),
    /// kube-apiserver does not answer, or fails.
    #[error("cannot list the HPAs: {0}")]
    Failed(String),
}

/// Stops all running replicas from scaling, by the Lease in `namespace`, and waits until what one
/// has begun is over. Returns whether there is such a Lease, or why it cannot be written.
pub async fn retire(client: &kube::Client, namespace: &str, clock: Clock) -> Result<bool, String> {
    let lease = Lease::new(client.clone(), namespace.to_owned(), LEASE.to_owned(), "unregister", clock);
    match in_time(lease.retire()).await {
        Ok(Ok(Some(rest))) => {
            tokio::time::sleep(rest).await;
            Ok(true)
        }
        Ok(Ok(None)) => Ok(false),
        Ok(Err(error)) => Err(answered(&error)),
        Err(late) => Err(late.to_string()),
    }
}

/// Scales up all that depthgauge scaled to zero, and removes its annotations; what an HPA scaled to zero is only
/// reported. Returns for each HPA (`shop/dummy`) its workload (`deployment/web`) and the result, in the order of their
/// names. `metrics` are those of depthgauge. With `dry_run` nothing is written.
///
/// # Errors
///
/// If the HPAs cannot be listed.
pub async fn restore(
    client: &kube::Client,
    metrics: &MetricSet,
    dry_run: bool,
) -> Result<Vec<(String, String, Restored)>, RestoreError> {
    let at_zero = at_zero(&Api::all(client.clone()), metrics).await?;
    // One namespace gets half of the permits.
    let scales = Scales::new(client.clone(), Calls::with_permits(2 * AT_ONCE));
    let restored = async |hpa: Autoscaler| {
        let done =
            one(client, &scales, &hpa, dry_run).await.unwrap_or_else(|error| Restored::StaysAtZero(error.to_string()));
        (hpa.title(), hpa.workload.reference(), done)
    };
    Ok(stream::iter(at_zero).map(restored).buffered(AT_ONCE).collect().await)
}

/// The HPAs whose workloads depthgauge scaled to zero, and those at 0 whose HPAs scale them up by
/// metrics of depthgauge.
async fn at_zero(api: &Api<Object>, metrics: &MetricSet) -> Result<Vec<Autoscaler>, RestoreError> {
    let (mut at_zero, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let listed = tokio::time::timeout(LIST_TIMEOUT, api.list(&params)).await;
        let page = listed.map_err(|_| RestoreError::Failed(LATE.to_owned()))?.map_err(|error| match &error {
            kube::Error::Api(status) if status.code == 403 => RestoreError::Forbidden(status.message.clone()),
            _ => RestoreError::Failed(answered(&error)),
        })?;
        let known = page.items.iter().filter_map(|object| Autoscaler::of(object, metrics));
        at_zero.extend(known.filter(|hpa| hpa.zero_state.scaled_to_zero_since.is_some() || scales_to_zero_itself(hpa)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(at_zero),
        }
    }
}

fn scales_to_zero_itself(hpa: &Autoscaler) -> bool {
    hpa.state.scaled_to_zero && hpa.state.at_zero && !hpa.metrics.is_empty()
}

async fn one(client: &kube::Client, scales: &Scales, hpa: &Autoscaler, dry_run: bool) -> Result<Restored, ScaleError> {
    if hpa.zero_state.scaled_to_zero_since.is_none() {
        return Ok(Restored::Native(hpa.start_command()));
    }
    if hpa.paused {
        return Ok(Restored::Paused);
    }
    let mut done = Err(ScaleError::Conflict);
    for _try in 0..TRIES {
        let scale = match scales.read(hpa).await {
            Err(ScaleError::Gone(_)) => return Ok(Restored::Gone),
            read => read?,
        };
        let least = hpa.min.max(1);
        done = match scale.replicas {
            0 if dry_run => Ok(Restored::ScaledUp(least)),
            0 => scales.write(hpa, &scale, least, || true).await.map(|_| Restored::ScaledUp(least)),
            _ => Ok(Restored::NotAtZero),
        };
        if !matches!(done, Err(ScaleError::Conflict)) {
            break;
        }
    }
    let done = done?;
    if dry_run {
        return Ok(done);
    }
    let forget = Patch::Merge(json!({"metadata": {"annotations": hpa.annotations(ZeroState::default())}}));
    let api: Api<Object> = Api::namespaced(client.clone(), hpa.namespace.as_str());
    let forgotten = in_time(api.patch_metadata(&hpa.name, &PatchParams::default(), &forget)).await;
    // The annotation does no harm on one that has replicas.
    if !matches!(forgotten, Ok(Ok(_))) {
        tracing::debug!(hpa = hpa.title(), "cannot remove the annotation");
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::Value;

    use super::*;
    use crate::source::{KINDS, fixed_metrics};
    use crate::zero::autoscaler::{LABEL, SCALED_TO_ZERO_SINCE};
    use crate::zero::scale::tests::answering;

    const HPAS: &str = "/apis/autoscaling/v2/horizontalpodautoscalers";

    /// One that depthgauge scaled to zero.
    fn sleeper(name: &str, kind: &str) -> Value {
        json!({"metadata": {"namespace": "shop", "name": name, "annotations": {SCALED_TO_ZERO_SINCE: "2026-11-23T10:00:00Z"}},
            "spec": {"scaleTargetRef": {"apiVersion": "example.com/v1", "kind": kind, "name": name}, "maxReplicas": 3}})
    }

    fn page(items: &[Value], next: &str) -> Value {
        json!({"kind": "HorizontalPodAutoscalerList", "apiVersion": "autoscaling/v2", "metadata": {"continue": next}, "items": items})
    }

    /// Two pages of HPAs: a worker at 0, one that does not exist, and one of a kind that does not
    /// exist.
    fn cluster(method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let worker = |name: &str| json!({"name": name, "kind": "Worker", "namespaced": true, "singularName": "", "verbs": ["get"]});
        let scale = |replicas: &Value| {
            json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "a", "resourceVersion": "1"},
                "spec": {"replicas": replicas}})
        };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        match (method, path) {
            (_, HPAS) if query.contains("continue=second") => (200, page(&[sleeper("c", "Robot")], "")),
            (_, HPAS) if query.contains("limit=500") => {
                let awake = json!({"metadata": {"namespace": "shop", "name": "awake"}, "spec": {"scaleTargetRef": {"kind": "Worker", "name": "a"}, "maxReplicas": 3}});
                (200, page(&[sleeper("a", "Worker"), awake, sleeper("b", "Worker")], "second"))
            }
            (_, "/apis/example.com/v1") => (
                200,
                json!({"kind": "APIResourceList", "groupVersion": "example.com/v1", "resources": [worker("workers"), worker("workers/scale")]}),
            ),
            (&Method::GET, "/apis/example.com/v1/namespaces/shop/workers/a/scale") => (200, scale(&json!(0))),
            (&Method::PATCH, "/apis/example.com/v1/namespaces/shop/workers/a/scale") => {
                (200, scale(&body["spec"]["replicas"]))
            }
            _ => (404, json!("not found")),
        }
    }

    #[tokio::test]
    async fn all_pages_are_woken_and_what_is_gone_stands_in_nobodys_way() {
        let done = restore(&answering(cluster), &fixed_metrics(KINDS).into(), false).await.unwrap();
        let of = |name: &str| (format!("shop/{name}"), format!("worker.example.com/{name}"));
        let ((a, worker_a), (b, worker_b)) = (of("a"), of("b"));
        let robot = ("shop/c".to_owned(), "robot.example.com/c".to_owned(), Restored::Gone);
        assert_eq!(done, [(a, worker_a, Restored::ScaledUp(1)), (b, worker_b, Restored::Gone), robot]);
    }

    #[tokio::test]
    async fn a_dry_run_finds_the_same_and_writes_nothing() {
        let read_only = |method: &Method, path: &str, body: &Value| {
            assert_eq!(method, Method::GET, "{path}");
            cluster(method, path, body)
        };
        let planned = restore(&answering(read_only), &fixed_metrics(KINDS).into(), true).await.unwrap();
        assert_eq!(planned, restore(&answering(cluster), &fixed_metrics(KINDS).into(), false).await.unwrap());
    }

    #[tokio::test]
    async fn who_is_at_zero_by_its_hpa_is_told_of_and_left_there() {
        let native = |name: &str, metric: &str, replicas: u32| {
            json!({"metadata": {"namespace": "shop", "name": name, "labels": {LABEL: "true"}},
                "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, "minReplicas": 0, "maxReplicas": 3,
                    "metrics": [{"type": "External", "external": {"metric": {"name": metric}, "target": {"type": "AverageValue", "averageValue": "2"}}}]},
                "status": {"desiredReplicas": replicas, "currentReplicas": replicas,
                    "conditions": [{"type": "ScaledToZero", "status": "True"}]}})
        };
        let client = answering(move |method, path, _| match (method, path.starts_with(HPAS)) {
            (&Method::GET, true) => {
                let all = [("a", "oci_queue_length", 0), ("b", "oci_queue_length", 2), ("c", "another", 0)];
                (200, page(&all.map(|(name, metric, replicas)| native(name, metric, replicas)), ""))
            }
            _ => (404, json!("not found")),
        });
        let start = "kubectl scale -n shop deployment/a --replicas=1".to_owned();
        let served = ("shop/a".to_owned(), "deployment/a".to_owned(), Restored::Native(start));
        assert_eq!(restore(&client, &fixed_metrics(KINDS).into(), false).await.unwrap(), [served]);
    }

    #[tokio::test]
    async fn who_may_not_look_is_told_from_who_gets_no_answer() {
        for (code, forbidden) in [(403, true), (500, false)] {
            let error = restore(&answering(move |_, _, _| (code, json!("no"))), &fixed_metrics(KINDS).into(), false)
                .await
                .unwrap_err();
            assert_eq!(matches!(&error, RestoreError::Forbidden(why) if why == "no"), forbidden, "{error}");
            assert_eq!(matches!(error, RestoreError::Failed(_)), !forbidden);
        }
    }
}
