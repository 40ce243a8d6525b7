//! Object metrics beside a queue, and what never is 0.

use super::*;

/// A queue, and requests of an Ingress.
pub(super) fn with_object(annotations: &Value, target: &Value) -> Autoscaler {
    let metrics = json!([
        {"type": "External", "external": {
            "metric": {"name": "oci_queue_length", "selector": {"matchLabels": {"queue": "orders"}}},
            "target": {"type": "AverageValue", "averageValue": "2"}}},
        {"type": "Object", "object": {
            "metric": {"name": "requests"}, "target": target,
            "describedObject": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "web"}}},
    ]);
    hpa(&json!({"metadata": {"annotations": annotations}, "spec": {"metrics": metrics}}))
}

#[test]
fn an_object_metric_allows_the_sleep_and_wakes() {
    let two = json!({"type": "Value", "value": "2"});
    let above_zero = with_object(&zero_since(35), &two);
    let slept = decided(&above_zero, 3, &[value(0, 99), value(0, 95)]);
    assert!(matches!(slept.action, Action::ScaleToZero { since, .. } if since == at(35)) && slept.finding.is_none());
    assert_eq!(decided(&above_zero, 3, &[value(0, 99), value(0, 94)]).action, Action::Nothing, "not to its end");
    assert_eq!(decided(&above_zero, 3, &[value(0, 99), value(0, 30)]).action, Action::Nothing, "from before it began");
    let forgets = decided(&above_zero, 3, &[value(0, 99), value(1, 99)]);
    assert_eq!(forgets, Decision { action: Action::Remember(ZeroState::default()), finding: None });

    for (target, served, size) in [
        (two.clone(), [value(0, 99), value(5, 99)], 3),
        (json!({"type": "AverageValue", "averageValue": "500m"}), [value(0, 99), value(3, 99)], 6),
        (two.clone(), [value(20, 99), value(5, 99)], 10),
        (two.clone(), [unknown(), value(5, 99)], 3),
        (two.clone(), [value(0, 99), value(5, 1)], 3),
    ] {
        let scaled_to_zero = with_object(&scaled_by_us(), &target);
        assert_eq!(wakes(&decided(&scaled_to_zero, 0, &served)), Some((size, ScaleReason::Work)), "{served:?}");
    }
    let scaled_to_zero = with_object(&scaled_by_us(), &two);
    assert_eq!(
        decided(&scaled_to_zero, 0, &[value(0, 99), value(0, 99)]),
        Decision { action: Action::Nothing, finding: None }
    );
}

#[test]
fn an_object_metric_that_nobody_knows_is_not_0() {
    let served = [value(0, 99), unknown()];
    let target = json!({"type": "Value", "value": "2"});
    let above_zero = decided(&with_object(&zero_since(10), &target), 3, &served);
    assert_eq!(
        (above_zero.action.clone(), problem(&above_zero)),
        (Action::Remember(ZeroState::default()), Some(Problem::MetricUnavailable))
    );
    let text = above_zero.finding.unwrap().text;
    assert!(
        text.starts_with("is not scaled to zero while a metric is unavailable: queue \"orders\" cannot be read"),
        "{text}"
    );
    let scaled_to_zero = decided(&with_object(&scaled_by_us(), &target), 0, &served);
    assert_eq!(
        (scaled_to_zero.action.clone(), problem(&scaled_to_zero)),
        (Action::Nothing, Some(Problem::MetricUnavailableAtZero))
    );
    // That of a queue is reported elsewhere.
    let queue = decided(&with_object(&zero_since(10), &target), 3, &[unknown(), value(0, 99)]);
    assert_eq!(problem(&queue), None);
}

#[test]
fn what_stands_beside_the_queue_is_said_with_why_it_never_is_0() {
    let beside = |other: &str| {
        let mut hpa = noted(&json!({}));
        hpa.others.push(other.to_owned());
        decided(&hpa, 3, &[value(0, 99)]).finding.unwrap().text
    };
    for (other, why) in [
        (
            "Resource cpu",
            "Resource cpu is a metric of running pods: idle pods still use it, and at zero there are none. Set annotation depthgauge.dev/zero-by=external to ignore it at zero, remove it from this HPA",
        ),
        ("Pods busy", "Pods busy is a metric of running pods"),
        (
            "External kafka_lag",
            "External kafka_lag has no value, because depthgauge serves the external metrics of this cluster",
        ),
    ] {
        let text = beside(other);
        assert!(text.starts_with(&format!("is never scaled to zero: {why}")), "{text}");
        assert!(text.ends_with("emove it from this HPA, or remove label depthgauge.dev/scale-to-zero"), "{text}");
        assert!(text.len() <= 400, "{}: {text}", text.len());
    }
}

/// A queue, requests of an Ingress, and what is of pods.
fn with_pods(annotations: &Value) -> Autoscaler {
    let mut hpa = with_object(annotations, &json!({"type": "Value", "value": "2"}));
    hpa.others = vec!["Resource cpu".to_owned(), "Resource memory".to_owned(), "Pods busy".to_owned()];
    hpa
}

/// As KEDA does it.
#[test]
fn where_external_metrics_alone_decide_those_of_pods_neither_keep_it_awake_nor_wake_it() {
    let by_external = |annotations: Value| {
        let mut annotations = annotations;
        annotations["depthgauge.dev/zero-by"] = json!("external");
        with_pods(&annotations)
    };
    let (above_zero, scaled_to_zero) = (by_external(zero_since(35)), by_external(scaled_by_us()));
    let slept = decided(&above_zero, 3, &[value(0, 99), value(0, 95)]);
    assert!(matches!(slept.action, Action::ScaleToZero { .. }) && slept.finding.is_none(), "{slept:?}");
    for served in [[value(1, 99), value(0, 99)], [value(0, 99), value(1, 99)], [unknown(), value(0, 99)]] {
        assert_eq!(decided(&above_zero, 3, &served).action, Action::Remember(ZeroState::default()), "{served:?}");
    }
    assert_eq!(wakes(&decided(&scaled_to_zero, 0, &[value(0, 99), value(5, 99)])), Some((3, ScaleReason::Work)));
    assert_eq!(
        decided(&scaled_to_zero, 0, &[value(0, 99), value(0, 99)]),
        Decision { action: Action::Nothing, finding: None }
    );
    // What it has no value for is no metric of pods.
    let mut foreign = by_external(zero_since(35));
    foreign.others.push("External kafka_lag".to_owned());
    assert_eq!(problem(&decided(&foreign, 3, &[value(0, 99), value(0, 95)])), Some(Problem::OtherMetrics));
    // Without the annotation it is scaled up, because no other controller does so.
    let decision = decided(&with_pods(&scaled_by_us()), 0, &[value(0, 99), value(0, 99)]);
    assert_eq!((wakes(&decision), problem(&decision)), (Some((1, ScaleReason::Restore)), Some(Problem::OtherMetrics)));
}

#[test]
fn a_metric_that_is_gone_with_the_pods_is_named_for_what_it_is() {
    const OWN: &str = "requests of ingress.networking.k8s.io/web has no value while there are no replicas. If this metric comes from the workload's own pods";
    let target = json!({"type": "Value", "value": "2"});
    let absent = || MetricValue::Absent("custom.metrics.k8s.io answers 404.".into());
    let by_us = with_object(&scaled_by_us(), &target);
    let said = decided(&by_us, 0, &[value(0, 99), absent()]);
    assert_eq!((&said.action, problem(&said)), (&Action::Nothing, Some(Problem::MetricUnavailableAtZero)));
    let text = said.finding.unwrap().text;
    assert!(text.starts_with(OWN) && text.ends_with("Cause: custom.metrics.k8s.io answers 404."), "{text}");
    assert!(text.contains("kubectl scale -n shop deployment/dummy --replicas=1") && text.len() <= 400, "{text}");
    // What cannot be read may exist.
    let text = decided(&by_us, 0, &[value(0, 99), unknown()]).finding.unwrap().text;
    assert!(text.starts_with("scaled to zero, and its metric is unavailable"), "{text}");
    // Another client that scales to 0 does not check metrics.
    let conditions = json!({"conditions": [{"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}], "desiredReplicas": 0});
    let mut by_others = with_object(&json!({}), &target);
    by_others.state = hpa(&json!({"status": conditions})).state;
    let text = decided(&by_others, 0, &[value(0, 99), absent()]).finding.unwrap().text;
    assert!(text.starts_with("scaled to zero, and its metric is unavailable"), "{text}");
    // With replicas it is like any metric without a value.
    let above_zero = decided(&with_object(&zero_since(10), &target), 3, &[value(0, 99), absent()]);
    assert_eq!(problem(&above_zero), Some(Problem::MetricUnavailable));
}
