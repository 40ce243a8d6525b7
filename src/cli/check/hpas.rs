//! Every HPA that requests a metric of depthgauge, or that depthgauge is to scale to zero. The
//! check requests the values as the HPA does, and finds what prevents it from scaling although it
//! has a value.

use std::io::Write;

use futures_util::{StreamExt as _, future, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use serde_json::Value;

use super::registration;
use super::report::Report;
use super::rights::Scales;
use crate::apiservice::condition;
use crate::cli::autoscaler::warnings::{self, Waiting};
use crate::cli::autoscaler::{self, Autoscaler, Metrics, Question, has_objects, workload};
use crate::cli::clock;
use crate::cli::external_metrics;
use crate::cli::finding::Finding;
use crate::cli::kube_api::{KubeApi, RequestError};
use crate::cli::kubernetes::{Version, may_scale_to_zero};
use crate::hpa::reader::Hpa;
use crate::zero::autoscaler::{LABEL, is_labelled};
use crate::zero::finding::Problem;
use crate::zero::lease::has_holder;
use crate::zero::{LEASE, OBJECT_RIGHTS, OBJECT_VERSIONS};

/// HPAs that are checked at the same time: well below the 20 requests a second that the controller
/// itself may send.
const AT_ONCE: usize = 8;

/// How old an Event may be that still counts: the server repeats what stands after half an hour.
const STANDS: SignedDuration = SignedDuration::from_mins(35);

/// All of the cluster's.
pub(super) async fn read(kube_api: &KubeApi) -> Result<Vec<HorizontalPodAutoscaler>, RequestError> {
    autoscaler::list(kube_api, "/apis/autoscaling/v2/horizontalpodautoscalers").await
}

/// What depthgauge is wanted to scale to zero.
pub(super) fn scales(hpas: &[HorizontalPodAutoscaler]) -> Scales {
    let labelled = hpas.iter().map(Hpa::new).filter(|hpa| is_labelled(*hpa));
    labelled.map(|hpa| if has_objects(hpa) { Scales::Objects } else { Scales::Queues }).max().unwrap_or_default()
}

pub(super) async fn check(
    kube_api: &KubeApi,
    list: Result<Vec<HorizontalPodAutoscaler>, RequestError>,
    version: Option<Version>,
    namespace: &str,
    report: &mut Report<impl Write>,
) {
    let list = match list {
        Ok(list) => list,
        Err(trouble) => {
            let absent =
                || Finding::fail("this cluster has no autoscaling/v2: depthgauge needs Kubernetes 1.23 or later");
            return report.add("hpas", &trouble.finding("the HPAs", absent));
        }
    };
    let adapters = match scales(&list) {
        Scales::Objects => future::join_all(OBJECT_VERSIONS.map(|version| adapter(kube_api, version))).await,
        _ => Vec::new(),
    };
    let blind = no_adapter(&adapters);
    let metrics = Metrics::read(kube_api).await;
    let all: Vec<Autoscaler<'_>> = list.iter().map(|object| Autoscaler { object, ours: &metrics }).collect();
    let asked = all.iter().map(|hpa| (hpa, hpa.questions()));
    let ours: Vec<(&Autoscaler<'_>, Vec<Question>)> = asked.filter(|(hpa, _)| hpa.may_use_depthgauge()).collect();
    if ours.is_empty() {
        return report.add("hpas", &Finding::ok("no HPA uses a metric of depthgauge"));
    }
    let zero = match ours.iter().any(|(hpa, _)| hpa.written().sizes().min == 0) {
        true => may_scale_to_zero(kube_api, version).await,
        false => None,
    };
    if let Some(finding) = &blind {
        report.add("hpas", finding);
    }
    if list.iter().map(Hpa::new).any(is_labelled) {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}");
        if let Some(finding) = no_holder(namespace, kube_api.get(&path).await, clock()) {
            report.add("hpas", &finding);
        }
    }
    let waiting = |hpa: &Autoscaler<'_>| match blind.is_some() && hpa.is_labelled() && has_objects(hpa.written()) {
        true => Waiting::Unknown,
        false => Waiting::No,
    };
    let looks = ours.into_iter().map(|(hpa, questions)| look(kube_api, hpa, questions, waiting(hpa), &all, zero));
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    while let Some(findings) = looks.next().await {
        report.all("hpas", &findings);
    }
}

/// How far the clock here may be ahead, and how long a change of the holder may take.
const SKEW: SignedDuration = SignedDuration::from_mins(1);

/// Whether no replica scales to zero, although HPAs have the label.
fn no_holder(namespace: &str, lease: Result<Value, RequestError>, now: Timestamp) -> Option<Finding> {
    let is_held = match lease {
        Ok(lease) => serde_json::from_value(lease).is_ok_and(|lease| has_holder(&lease, now, SKEW)),
        Err(RequestError::NotFound(_)) => false,
        // A user without the right gets no finding about it.
        Err(_) => return None,
    };
    (!is_held).then(|| {
        Finding::warn(format!(
            "label {LABEL} has no effect now, because no replica of depthgauge holds Lease {namespace}/{LEASE}. Component scale-to-zero, or scaleToZero.enabled of the chart, starts depthgauge with --scale-to-zero. After `depthgauge unregister`, restart depthgauge"
        ))
    })
}

/// The server of Object metrics: an adapter serves one version of them, or all.
async fn adapter(kube_api: &KubeApi, version: &str) -> Result<APIService, RequestError> {
    registration::read(kube_api, &format!("{version}.{}", OBJECT_RIGHTS.group)).await
}

/// Why Object metrics, which decide about 0 as queues do, have no value, if no server serves them.
fn no_adapter(adapters: &[Result<APIService, RequestError>]) -> Option<Finding> {
    let mut why = (!adapters.is_empty()).then_some("no server is registered for it");
    for adapter in adapters {
        match adapter {
            Ok(found) => {
                let unwell = condition(found).filter(|condition| condition.status != "True")?;
                why = unwell.message.as_deref().or(unwell.reason.as_deref()).or(Some("no cause is given"));
            }
            Err(RequestError::NotFound(_) | RequestError::Unserved) => {}
            // A user without the right gets no finding about it.
            Err(_) => return None,
        }
    }
    Some(Finding::warn(format!(
        "custom.metrics.k8s.io is not Available: {}. Without it no HPA that has an Object metric beside a queue is scaled to zero, and at zero only its queue scales it up. Install the adapter, or see its log",
        why?
    )))
}

/// All about one of them.
async fn look(
    kube_api: &KubeApi,
    hpa: &Autoscaler<'_>,
    questions: Vec<Question>,
    mut waiting: Waiting,
    all: &[Autoscaler<'_>],
    zero: Option<bool>,
) -> Vec<Finding> {
    let mut findings = warnings::of(hpa, all, zero);
    let mut read = Vec::new();
    for question in &questions {
        let answer = question.ask(kube_api).await;
        let items = answer.as_ref().map(external_metrics::items);
        read.push((question.metric.as_str(), items.as_ref().is_ok_and(|items| !items.is_empty())));
        waiting = waiting.max(Waiting::of(hpa, items.as_deref().map_err(|trouble| *trouble)));
        findings.extend(warnings::unnamed(hpa, question).filter(|_| answer.is_ok()));
        // An invalid selector is a finding already.
        if question.selector.is_ok() {
            findings.push(served(&format!("{} {}", hpa.title(), question.title()), answer));
        }
    }
    findings.extend(warnings::contradicted(hpa, &read));
    let at_zero = hpa.written().is_disabled() || hpa.written().has_scaled_to_zero();
    // For a user who may not read it, the conditions decide.
    let replicas = if at_zero { workload::replicas(kube_api, hpa).await.ok() } else { None };
    findings.extend(warnings::at_zero(hpa, waiting, replicas, clock()));
    if hpa.is_labelled() || hpa.written().is_disabled() {
        // A user who may not read Events gets the other findings.
        let events = kube_api.get(&events_path(hpa)).await.unwrap_or_default();
        findings.extend(said(hpa, &events, &findings, replicas, clock()));
    }
    findings
}

fn events_path(hpa: &Autoscaler<'_>) -> String {
    let (namespace, name) = (hpa.namespace(), hpa.name());
    format!(
        "/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.kind%3DHorizontalPodAutoscaler%2CinvolvedObject.name%3D{name}"
    )
}

/// What only the server can find, such as a right that it lacks: its last Event that warns, if that
/// is not said already.
fn said(
    hpa: &Autoscaler<'_>,
    events: &Value,
    known: &[Finding],
    replicas: Option<i32>,
    now: Timestamp,
) -> Option<Finding> {
    let events = events["items"].as_array().into_iter().flatten();
    let warns = events.filter(|event| event["reportingComponent"] == "depthgauge" && event["type"] == "Warning");
    let is_one_of =
        |event: &Value, problems: &[Problem]| problems.iter().any(|problem| event["reason"] == problem.reason());
    // The HPA itself shows these, so that the Event of one that is corrected is only old.
    let shown = [Problem::NoMetric, Problem::InvalidSelector, Problem::OtherMetrics, Problem::Annotation];
    let other = warns.filter(|event| !is_one_of(event, &shown));
    let dated = other.filter_map(|event| Some((event["eventTime"].as_str()?.parse::<Timestamp>().ok()?, event)));
    let (at, last) = dated.max_by_key(|(at, _)| *at)?;
    let (reason, note) = (last["reason"].as_str()?, last["message"].as_str()?);
    // An old Event about zero replicas does not count for a workload that has replicas now.
    let is_at_zero = || match replicas {
        Some(replicas) => replicas == 0,
        None => hpa.kept().is_some_and(|kept| kept.state.is_disabled || kept.state.at_zero),
    };
    if is_one_of(last, &[Problem::StuckAtZero, Problem::MetricUnavailableAtZero]) && !is_at_zero() {
        return None;
    }
    let new = now.duration_since(at) < STANDS && !known.iter().any(|found| found.text.contains(note));
    new.then(|| Finding::warn(format!("{}: {reason}: {note} (depthgauge, at {at:.0})", hpa.title())))
}

fn served(title: &str, answer: Result<Value, RequestError>) -> Finding {
    let list = match answer {
        Ok(list) => list,
        Err(RequestError::Forbidden(message)) => {
            return Finding::warn(format!(
                "{title} cannot be queried: {message}; run check with a kubeconfig that may query it"
            ));
        }
        Err(trouble) => {
            let further = if trouble == RequestError::Unserved { ": see the lines `apiservice`" } else { "" };
            return Finding::fail(format!("{title}: {}{further}", trouble.message()));
        }
    };
    let values: Vec<String> = external_metrics::items(&list).into_iter().map(|item| item.shown()).collect();
    match values.as_slice() {
        [] => Finding::fail(format!("{title}: a response without a value")),
        values => Finding::ok(format!("{title}: {}", values.join(" + "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::finding::Level;

    #[test]
    fn a_label_has_no_effect_while_no_replica_holds_the_lease() {
        let now: Timestamp = "2026-11-22T14:00:10Z".parse().unwrap();
        let lease = |holder: &str, renewed: &str| {
            Ok(json!({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 10, "renewTime": renewed}}))
        };
        for (lease, warns) in [
            (lease("dg-1", "2026-11-22T14:00:00.000000Z"), false),
            (lease("dg-1", "2026-11-22T13:58:00.000000Z"), true),
            (lease("", "2026-11-22T14:00:00.000000Z"), true),
            (Err(RequestError::NotFound(String::new())), true),
            (Err(RequestError::Forbidden(String::new())), false),
        ] {
            let shown = format!("{lease:?}");
            assert_eq!(no_holder("dg", lease, now).is_some(), warns, "{shown}");
        }
    }

    #[test]
    fn no_value_is_a_failure_and_several_are_a_sum() {
        assert_eq!(served("t", Ok(json!({"items": []}))).level, Level::Fail);
        let two = served("t", Ok(json!({"items": [{"value": "15"}, {"value": "1k"}, {"value": "400m"}]})));
        assert_eq!((two.level, two.text.as_str()), (Level::Ok, "t: 15 + 1k + 0.4"));
    }

    #[test]
    fn what_check_says_itself_it_is_not_asked_for() {
        let found = served("t", Err(RequestError::Unserved));
        assert_eq!(found, Finding::fail("t: no server is registered for this API: see the lines `apiservice`"));
        assert!(RequestError::Unserved.advised().contains("`depthgauge check` finds what prevents it"));
        assert_eq!(RequestError::NotFound("gone".into()).advised(), "gone");
    }

    #[test]
    fn object_metrics_have_no_value_without_an_adapter() {
        let absent = || Err(RequestError::NotFound(String::new()));
        let adapter = |status: &str| {
            let conditions = json!([{"type": "Available", "status": status, "message": "no endpoints"}]);
            Ok(serde_json::from_value(json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {}, "status": {"conditions": conditions}})).unwrap())
        };
        for (adapters, why) in [
            (vec![], None),
            (vec![absent(), absent()], Some("no server is registered")),
            (vec![absent(), adapter("False")], Some("no endpoints")),
            (vec![adapter("False"), adapter("True")], None),
            (vec![adapter("True"), absent()], None),
            (vec![absent(), Err(RequestError::Forbidden("no".into()))], None),
        ] {
            let found = no_adapter(&adapters);
            assert_eq!(found.is_some(), why.is_some(), "{adapters:?}");
            assert!(found.is_none_or(|found| found.text.contains(why.unwrap())), "{adapters:?}");
        }
    }

    #[test]
    fn what_only_the_server_knows_is_read_off_its_events() {
        let object = json!({"metadata": {"namespace": "shop", "name": "web"}});
        let event = |kind: &str, at: &str, note: &str| json!({"type": kind, "eventTime": at, "reason": "CannotScale", "message": note, "reportingComponent": "depthgauge"});
        let events = json!({"items": [
            event("Warning", "2026-11-22T13:50:00.5Z", "no right"),
            event("Warning", "2026-11-22T13:00:00Z", "older"),
            event("Normal", "2026-11-22T13:55:00Z", "woken"),
            {"type": "Warning", "eventTime": "2026-11-22T13:59:00Z", "reason": "X", "message": "x", "reportingComponent": "other"},
        ]});
        let now = "2026-11-22T14:00:00Z".parse().unwrap();
        let said = |known: &[Finding], now| {
            said(&Autoscaler::in_test(&object), &events, known, None, now).map(|found| found.text)
        };
        assert_eq!(said(&[], now).unwrap(), "shop/web: CannotScale: no right (depthgauge, at 2026-11-22T13:50:00Z)");
        assert_eq!(said(&[Finding::warn("shop/web: no right")], now), None, "said already");
        assert_eq!(said(&[], now + SignedDuration::from_mins(30)), None, "it would have been repeated");
    }

    #[test]
    fn who_is_awake_is_not_told_to_sleep_by_an_old_event() {
        let now = "2026-11-22T14:00:00Z".parse().unwrap();
        let mut object = json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "metrics": [{"type": "External", "external": {"metric": {"name": "oci_queue_length"}, "target": {"type": "Value"}}}]},
        });
        let condition = json!({"type": "AbleToScale", "status": "True"});
        for (reason, status, replicas, told) in [
            ("StuckAtZero", 0, None, true),
            ("StuckAtZero", 2, None, false),
            ("StuckAtZero", 0, Some(3), false),
            ("StuckAtZero", 2, Some(0), true),
            ("MetricUnavailableAtZero", 0, None, true),
            ("MetricUnavailableAtZero", 2, None, false),
            ("CannotScale", 2, Some(2), true),
            // The annotation was corrected, or it is a finding already.
            ("BadAnnotation", 2, Some(2), false),
        ] {
            object["status"] = json!({"conditions": [condition], "currentReplicas": status, "desiredReplicas": status});
            let event = json!({"type": "Warning", "eventTime": "2026-11-22T13:50:00.5Z", "reason": reason, "message": "m", "reportingComponent": "depthgauge"});
            let said = said(&Autoscaler::in_test(&object), &json!({"items": [event]}), &[], replicas, now);
            assert_eq!(said.is_some(), told, "{reason} at {status}, {replicas:?}");
        }
    }

    #[test]
    fn who_may_not_ask_has_seen_no_failure() {
        assert_eq!(served("t", Err(RequestError::Forbidden("no".into()))).level, Level::Warn);
        assert_eq!(served("t", Err(RequestError::NotFound("gone".into()))), Finding::fail("t: gone"));
    }
}
