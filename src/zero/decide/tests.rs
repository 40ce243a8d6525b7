//! Tables, and random histories.

use serde_json::{Value, json};

use super::*;
use crate::metric::quantity::Quantity;
use crate::zero::autoscaler::tests::hpa;
use crate::zero::finding::Problem;

mod histories;
mod objects;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn value(sum: i32, read: i64) -> MetricValue {
    MetricValue::Value { sum: Quantity::from_units(sum), first: at(read), last: at(read) }
}

fn fallback(sum: i32) -> MetricValue {
    MetricValue::Fallback(Quantity::from_units(sum))
}

fn unknown() -> MetricValue {
    MetricValue::Unknown("queue \"orders\" cannot be read since 10:00.".into())
}

/// At second 100, without a break, by a clock that was not set.
fn facts<'f>(hpa: &'f Autoscaler, replicas: u32, served: &'f [MetricValue]) -> Facts<'f> {
    let (zero_state, now) = (hpa.zero_state, at(100));
    let lasted = zero_state.zero_since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
    Facts { hpa, zero_state, replicas, served, unbroken: Some(at(0)), lasted, now }
}

fn decided(hpa: &Autoscaler, replicas: u32, served: &[MetricValue]) -> Decision {
    decide(&facts(hpa, replicas, served))
}

fn noted(annotations: &Value) -> Autoscaler {
    hpa(&json!({"metadata": {"annotations": annotations}}))
}

/// One whose metric selects this queue.
fn selecting(annotations: &Value, queue: &str) -> Autoscaler {
    let metric = json!({"name": "oci_queue_length", "selector": {"matchLabels": {"queue": queue}}});
    let external = json!({"metric": metric, "target": {"type": "AverageValue", "averageValue": "2"}});
    let metrics = json!([{"type": "External", "external": external}]);
    hpa(&json!({"metadata": {"annotations": annotations}, "spec": {"metrics": metrics}}))
}

fn scaled_by_us() -> Value {
    json!({"depthgauge.dev/scaled-to-zero-since": at(50).to_string()})
}

fn zero_since(second: i64) -> Value {
    json!({"depthgauge.dev/zero-since": at(second).to_string()})
}

fn resting(annotations: &Value) -> Autoscaler {
    let conditions = json!([{"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}]);
    hpa(&json!({"metadata": {"annotations": annotations}, "status": {"conditions": conditions, "desiredReplicas": 0}}))
}

/// From 1.37: it has scaled to 0 itself.
fn native(annotations: &Value) -> Autoscaler {
    let scaled = json!([{"type": "ScaledToZero", "status": "True", "reason": "ScaledToZero"}]);
    hpa(&json!({"metadata": {"annotations": annotations}, "spec": {"minReplicas": 0},
        "status": {"conditions": scaled, "desiredReplicas": 0}}))
}

fn problem(decision: &Decision) -> Option<Problem> {
    decision.finding.as_ref().map(|finding| finding.problem)
}

fn wakes(decision: &Decision) -> Option<(u32, ScaleReason)> {
    match decision.action {
        Action::ScaleUp { replicas, why } => Some((replicas, why)),
        _ => None,
    }
}

#[test]
fn awake_it_goes_to_sleep_when_the_cooldown_is_covered_by_readings() {
    let begin = ZeroState { scaled_to_zero_since: None, zero_since: Some(at(95)) };
    assert_eq!(decided(&noted(&json!({})), 3, &[value(0, 95)]).action, Action::Remember(begin));
    // 60 s, by the annotation.
    let hpa = noted(&zero_since(35));
    assert_eq!(decided(&hpa, 3, &[value(0, 94)]).action, Action::Nothing);
    let scaled_to_zero = ZeroState { scaled_to_zero_since: Some(at(100)), zero_since: Some(at(35)) };
    let to_zero = Action::ScaleToZero { zero_state: scaled_to_zero, since: at(35) };
    assert_eq!(decided(&hpa, 3, &[value(0, 95)]).action, to_zero);
    // The annotation was written, and the workload not scaled: another client changed it at that
    // moment.
    let served = [value(0, 99)];
    let facts = Facts { zero_state: scaled_to_zero, now: at(101), ..facts(&hpa, 3, &served) };
    assert!(matches!(decide(&facts).action, Action::ScaleToZero { since, .. } if since == at(35)));
    for served in [value(1, 95), fallback(0), unknown()] {
        let decision = decided(&hpa, 3, std::slice::from_ref(&served));
        assert_eq!(decision, Decision { action: Action::Remember(ZeroState::default()), finding: None }, "{served:?}");
    }
}

#[test]
fn a_cooldown_that_began_before_a_break_begins_again() {
    let hpa = noted(&zero_since(35));
    let served = [value(0, 95)];
    let facts = Facts { unbroken: Some(at(36)), ..facts(&hpa, 3, &served) };
    let again = ZeroState { scaled_to_zero_since: None, zero_since: Some(at(95)) };
    assert_eq!(decide(&facts).action, Action::Remember(again));
    assert!(matches!(decide(&Facts { unbroken: Some(at(35)), ..facts }).action, Action::ScaleToZero { .. }));
}

#[test]
fn a_step_of_the_time_of_day_ends_no_cooldown() {
    let hpa = noted(&zero_since(35));
    let stepped = |read: i64, now: i64, lasted: i64| {
        let (served, lasted) = ([value(0, read)], SignedDuration::from_secs(lasted));
        decide(&Facts { lasted, now: at(now), ..facts(&hpa, 3, &served) }).action
    };
    // An hour forward; the reading is 5 s old.
    assert_eq!(stepped(3695, 3700, 64), Action::Nothing);
    assert!(matches!(stepped(3695, 3700, 65), Action::ScaleToZero { .. }));
    // A minute back, after the reading.
    assert_eq!(stepped(150, 90, 59), Action::Nothing);
    assert!(matches!(stepped(150, 90, 60), Action::ScaleToZero { .. }));
}

#[test]
fn all_metrics_must_be_zero_and_any_wakes() {
    let two = |annotations: &Value| {
        let metric = |queue: &str, target: &str| {
            json!({"type": "External", "external": {
                "metric": {"name": "oci_queue_length", "selector": {"matchLabels": {"queue": queue}}},
                "target": {"type": "AverageValue", "averageValue": target}}})
        };
        let metrics = [metric("a", "2"), metric("b", "500m")];
        hpa(&json!({"metadata": {"annotations": annotations}, "spec": {"metrics": metrics}}))
    };
    let above_zero = two(&zero_since(35));
    assert!(matches!(decided(&above_zero, 1, &[value(0, 95), value(0, 96)]).action, Action::ScaleToZero { .. }));
    assert_eq!(decided(&above_zero, 1, &[value(0, 94), value(0, 96)]).action, Action::Nothing, "the older one counts");
    assert_eq!(decided(&above_zero, 1, &[value(0, 95), value(1, 96)]).action, Action::Remember(ZeroState::default()));
    for other in [unknown(), fallback(0)] {
        for served in [[value(0, 95), other.clone()], [other.clone(), value(0, 95)]] {
            assert_eq!(decided(&above_zero, 1, &served).action, Action::Remember(ZeroState::default()), "{served:?}");
        }
    }
    let scaled_to_zero = two(&scaled_by_us());
    assert_eq!(
        wakes(&decided(&scaled_to_zero, 0, &[value(6, 99), value(3, 99)])),
        Some((6, ScaleReason::Work)),
        "the larger one"
    );
    assert_eq!(wakes(&decided(&scaled_to_zero, 0, &[unknown(), value(1, 99)])), Some((2, ScaleReason::Work)));
    assert_eq!(
        problem(&decided(&scaled_to_zero, 0, &[unknown(), value(0, 99)])),
        Some(Problem::MetricUnavailableAtZero)
    );
}

#[test]
fn what_we_put_to_sleep_is_woken_to_the_size_that_the_hpa_asks_for() {
    let hpa = noted(&scaled_by_us());
    for (served, expected) in [
        (value(20, 99), Some((10, ScaleReason::Work))),
        (value(5, 99), Some((3, ScaleReason::Work))),
        (value(1000, 99), Some((10, ScaleReason::Work))),
        (value(0, 99), None),
        (fallback(12), Some((6, ScaleReason::Work))),
        (fallback(0), None),
        (unknown(), None),
    ] {
        let decision = decided(&hpa, 0, std::slice::from_ref(&served));
        assert_eq!(wakes(&decision), expected, "{served:?}");
        assert_eq!(
            problem(&decision),
            matches!(served, MetricValue::Unknown(_)).then_some(Problem::MetricUnavailableAtZero)
        );
    }
    // Another client has scaled it up.
    assert_eq!(decided(&hpa, 2, &[value(5, 99)]).action, Action::Remember(ZeroState::default()));
}

/// KEDA's `idleReplicaCount: 0` beside a `minReplicaCount`.
#[test]
fn from_any_min_replicas_it_goes_to_zero_and_back_to_no_fewer() {
    let (mut above_zero, mut scaled_to_zero) = (noted(&zero_since(35)), noted(&scaled_by_us()));
    (above_zero.min, scaled_to_zero.min) = (4, 4);
    let slept = decided(&above_zero, 4, &[value(0, 95)]);
    assert!(matches!(slept.action, Action::ScaleToZero { .. }) && slept.finding.is_none(), "{slept:?}");
    for (served, size) in [(value(1, 99), 4), (value(12, 99), 6), (value(1000, 99), 10)] {
        assert_eq!(wakes(&decided(&scaled_to_zero, 0, &[served])), Some((size, ScaleReason::Work)));
    }
    assert_eq!(decided(&scaled_to_zero, 0, &[value(0, 99)]), Decision { action: Action::Nothing, finding: None });
}

#[test]
fn what_others_put_to_sleep_is_only_told_of() {
    let manual = noted(&json!({}));
    assert_eq!(decided(&manual, 0, &[value(5, 99)]), Decision { action: Action::Nothing, finding: None });
    // The HPA has synced at zero, and is disabled.
    let decision = decided(&resting(&json!({})), 0, &[value(5, 99)]);
    assert_eq!((decision.action.clone(), problem(&decision)), (Action::Nothing, Some(Problem::StuckAtZero)));
    let text = decision.finding.unwrap().text;
    assert!(text.contains("To start one replica: kubectl scale -n shop deployment/dummy --replicas=1."), "{text}");
    assert!(text.starts_with("oci_queue_length{queue=orders} is above 0"), "{text}");
    let recover_stuck = resting(&json!({"depthgauge.dev/recover-stuck": "true"}));
    assert_eq!(wakes(&decided(&recover_stuck, 0, &[value(5, 99)])), Some((3, ScaleReason::Recover)));
    assert_eq!(wakes(&decided(&recover_stuck, 0, &[fallback(12)])), Some((6, ScaleReason::Recover)));
    for served in [value(0, 99), unknown()] {
        assert_eq!(wakes(&decided(&recover_stuck, 0, &[served])), None);
    }
    // Without the label the annotation is nothing.
    let mut unlabelled = recover_stuck;
    unlabelled.labelled = false;
    let decision = decided(&unlabelled, 0, &[value(5, 99)]);
    assert_eq!((wakes(&decision), problem(&decision)), (None, Some(Problem::StuckAtZero)));
}

#[test]
fn where_the_hpa_scales_to_zero_itself_it_is_left_alone() {
    let plain = native(&json!({}));
    assert_eq!(decided(&plain, 3, &[value(0, 99)]), Decision { action: Action::Nothing, finding: None });
    assert_eq!(decided(&plain, 0, &[value(5, 99)]), Decision { action: Action::Nothing, finding: None });
    assert_eq!(problem(&decided(&plain, 0, &[unknown()])), Some(Problem::MetricUnavailableAtZero));
    let fast = native(&json!({"depthgauge.dev/fast-activation": "true"}));
    assert_eq!(wakes(&decided(&fast, 0, &[value(5, 99)])), Some((3, ScaleReason::FastActivation)));
    assert_eq!(wakes(&decided(&fast, 0, &[unknown()])), None);
    assert_eq!(wakes(&decided(&fast, 3, &[value(5, 99)])), None);
    // It became native while depthgauge had it at zero: its HPA would leave it there.
    let mut changed = noted(&scaled_by_us());
    changed.min = 0;
    assert_eq!(wakes(&decided(&changed, 0, &[value(0, 99)])), Some((1, ScaleReason::Restore)));
}

#[test]
fn paused_is_paused() {
    for paused in ["true", "yes", ""] {
        let mut hpa = noted(&scaled_by_us());
        let annotation = json!({"depthgauge.dev/paused": paused, "depthgauge.dev/zero-since": at(10).to_string()});
        hpa.paused = noted(&annotation).paused;
        assert_eq!(decided(&hpa, 0, &[value(20, 99)]), Decision { action: Action::Nothing, finding: None });
        // The mark stays, a cooldown does not.
        let forget = Action::Remember(ZeroState::default());
        assert_eq!(decided(&noted(&annotation), 3, &[value(0, 99)]).action, forget);
    }
    assert!(!noted(&json!({"depthgauge.dev/paused": "false"})).paused);
}

#[test]
fn what_cannot_be_is_said_and_nothing_is_scaled() {
    let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]);
    let none = hpa(&json!({"spec": {"metrics": cpu}}));
    let mut beside = noted(&zero_since(10));
    beside.others.push("Resource cpu".to_owned());
    let mut by_cpu = noted(&zero_since(10));
    by_cpu.external_only = Err("annotation depthgauge.dev/zero-by is \"cpu\"".to_owned());
    let mut soon = noted(&zero_since(10));
    soon.cooldown = Err("annotation depthgauge.dev/cooldown is \"soon\"".to_owned());
    let invalid = selecting(&zero_since(10), "orders,queue");
    for (hpa, served, expected) in [
        (&none, vec![], Problem::NoMetric),
        (&invalid, vec![value(0, 99)], Problem::InvalidSelector),
        (&beside, vec![value(0, 99)], Problem::OtherMetrics),
        (&by_cpu, vec![value(0, 99)], Problem::Annotation),
        (&soon, vec![value(0, 99)], Problem::Annotation),
    ] {
        let decision = decided(hpa, 3, &served);
        assert_eq!(problem(&decision), Some(expected));
        assert!(matches!(decision.action, Action::Nothing | Action::Remember(_)), "{decision:?}");
        let text = decision.finding.unwrap().text;
        assert!(text.len() <= 400, "{}: {text}", text.len());
    }
}

#[test]
fn whom_we_may_no_longer_look_after_is_handed_back() {
    let mut unlabelled = noted(&scaled_by_us());
    unlabelled.labelled = false;
    assert_eq!(wakes(&decided(&unlabelled, 0, &[value(0, 99)])), Some((1, ScaleReason::Restore)));
    assert_eq!(wakes(&decided(&unlabelled, 0, &[value(20, 99)])), Some((10, ScaleReason::Restore)));
    let mut beside = noted(&scaled_by_us());
    (beside.min, beside.others) = (2, vec!["Resource cpu".to_owned()]);
    let decision = decided(&beside, 0, &[unknown()]);
    assert_eq!((wakes(&decision), problem(&decision)), (Some((2, ScaleReason::Restore)), Some(Problem::OtherMetrics)));
    // Its HPA reads nothing, so it would stay at 0.
    let decision = decided(&selecting(&scaled_by_us(), "orders "), 0, &[unknown()]);
    assert_eq!(
        (wakes(&decision), problem(&decision)),
        (Some((1, ScaleReason::Restore)), Some(Problem::InvalidSelector))
    );
    // A bad cooldown does not prevent a scale up from zero.
    let mut soon = noted(&scaled_by_us());
    soon.cooldown = Err("soon".to_owned());
    assert_eq!(wakes(&decided(&soon, 0, &[value(5, 99)])), Some((3, ScaleReason::Work)));
}

#[test]
fn a_native_hpa_that_will_never_act_is_said_or_rescued() {
    let percent = json!({"scaleUp": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}});
    let stuck = |over: &Value, recover_stuck: bool| {
        let mut hpa = native(&json!({"depthgauge.dev/recover-stuck": recover_stuck.to_string()}));
        match over.as_i64() {
            Some(second) => hpa.state.fails_since = Some(at(second)),
            None => hpa.limit = size::Limit::of(serde_json::from_value(over["scaleUp"].clone()).ok().as_ref()),
        }
        decided(&hpa, 0, &[value(20, 95)])
    };
    for (over, text) in [(&percent, "allows no step from 0"), (&json!(39), "cannot read its metrics")] {
        let said = stuck(over, false);
        assert_eq!((problem(&said), &said.action), (Some(Problem::StuckAtZero), &Action::Nothing));
        assert!(said.finding.unwrap().text.contains(text));
        assert!(matches!(wakes(&stuck(over, true)), Some((_, ScaleReason::Recover))));
    }
    assert_eq!(problem(&stuck(&json!(41), false)), None, "a minute of patience");
}

#[test]
fn a_label_that_does_nothing_is_said_of_a_native_hpa_too() {
    let beside = |kind: &str, other: Value| {
        let queue = json!({"type": "External", "external": {
            "metric": {"name": "oci_queue_length"}, "target": {"type": "AverageValue", "averageValue": "2"}}});
        let mut other = json!({"type": kind, kind.to_lowercase(): other});
        other["type"] = json!(kind);
        hpa(&json!({"spec": {"minReplicas": 0, "metrics": [queue, other]}}))
    };
    let cpu = beside("Resource", json!({"name": "cpu", "target": {"type": "Utilization"}}));
    for replicas in [0, 3] {
        let decision = decided(&cpu, replicas, &[value(0, 95)]);
        assert_eq!(problem(&decision), (replicas > 0).then_some(Problem::OtherMetrics), "{replicas}");
    }
    let foreign = json!({"metric": {"name": "kafka_lag"}, "target": {"type": "AverageValue", "averageValue": "1"}});
    assert_eq!(problem(&decided(&beside("External", foreign.clone()), 3, &[value(0, 95)])), None, "it may be 0, too");
    let only = hpa(&json!({"spec": {"minReplicas": 0, "metrics": [{"type": "External", "external": foreign}]}}));
    assert_eq!(problem(&decided(&only, 3, &[])), Some(Problem::NoMetric));
}

#[test]
fn who_was_woken_while_paused_is_no_longer_ours() {
    let mut hpa = noted(&scaled_by_us());
    hpa.paused = true;
    assert_eq!(decided(&hpa, 0, &[value(5, 95)]).action, Action::Nothing);
    assert_eq!(decided(&hpa, 3, &[value(5, 95)]).action, Action::Remember(ZeroState::default()));
}
