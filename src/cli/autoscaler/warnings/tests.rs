//! Warnings about HPAs, case by case.

use serde_json::{Value, json};

use super::*;
use crate::cli::external_metrics;
use crate::cli::finding::Level;
use crate::lookup::rules;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn object(name: &str, selector: &Value, target: &Value) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": name},
        "spec": {
            "maxReplicas": 9,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "oci_queue_length", "selector": selector}, "target": target,
            }}],
        },
    })
}

fn good(name: &str) -> Value {
    object(name, &json!({"matchLabels": {"queue": "orders"}}), &json!({"averageValue": "2"}))
}

fn found(object: &Value, zero: bool) -> Vec<String> {
    let hpa = Autoscaler::in_test(object);
    let unnamed = hpa.our_questions().into_iter().filter_map(|question| unnamed(&hpa, &question));
    of(&hpa, &[Autoscaler::in_test(object)], Some(zero))
        .into_iter()
        .chain(unnamed)
        .map(|finding| finding.text)
        .collect()
}

#[test]
fn nothing_is_said_of_an_hpa_that_is_well() {
    assert!(found(&good("a"), false).is_empty());
}

#[test]
fn a_metric_that_is_read_from_pods_can_not_scale_from_zero() {
    let resource = |name: &str, categories: &[&str]| json!({"name": name, "categories": categories});
    let resources = [resource("rps", &["depthgauge", "depthgauge-pods"]), resource("jobs", &["depthgauge"])];
    let ours = super::super::Metrics::of(&json!({ "resources": resources }));
    for (name, min, label, warns) in
        [("rps", 0, false, true), ("rps", 1, false, false), ("jobs", 0, false, false), ("rps", 1, true, true)]
    {
        let mut object = good("a");
        object["spec"]["metrics"][0]["external"]["metric"] = json!({"name": name});
        object["spec"]["minReplicas"] = json!(min);
        object["metadata"]["labels"] = json!({"depthgauge.dev/scale-to-zero": label.to_string()});
        let object = serde_json::from_value(object).unwrap();
        let hpa = Autoscaler { object: &object, ours: &ours };
        let found = of(&hpa, &[hpa], Some(true));
        let said = found.iter().filter(|found| found.text.contains("read from pods, and at zero there are none"));
        assert_eq!(said.count(), usize::from(warns), "{name} {min} {label}: {found:?}");
    }
}

#[test]
fn each_fault_is_said_once_with_its_remedy() {
    let unnamed = object("a", &Value::Null, &json!({"averageValue": "2"}));
    let of_target = |target: &Value| object("a", &json!({"matchLabels": {"queue": "orders"}}), target);
    let value = of_target(&json!({"type": "Value", "value": "2"}));
    let other_field = of_target(&json!({"type": "AverageValue", "value": "5"}));
    let other_type = of_target(&json!({"type": "Value", "averageValue": "5"}));
    let invalid = object("a", &json!({"matchLabels": {"queue": "orders/eu west"}}), &json!({"averageValue": "2"}));
    let mut zero = good("a");
    zero["spec"]["minReplicas"] = json!(0);
    let mut cpu = zero.clone();
    let metrics = cpu["spec"]["metrics"].as_array_mut().unwrap();
    metrics.push(json!({"type": "Resource", "resource": {"name": "cpu"}}));
    for (object, zero, text) in [
        (&unnamed, true, "names no queue: it is the sum over every queue that fits and that namespace shop may read"),
        (&value, true, "has a target of type Value. At each sync it multiplies"),
        (
            &other_field,
            true,
            "has a target of type AverageValue that sets value. The HPA controller uses the field, so the target counts as type Value",
        ),
        (
            &other_type,
            true,
            "has a target of type Value that sets averageValue. The HPA controller uses the field, so the target counts as type AverageValue",
        ),
        (
            &invalid,
            true,
            "so this metric never has a value: correct the selector: invalid label value \"orders/eu west\"",
        ),
        (&zero, false, "feature gate HPAScaleToZero"),
        (&cpu, true, "it also scales on Resource cpu"),
    ] {
        let [only] = &found(object, zero)[..] else { panic!("{text}: {:?}", found(object, zero)) };
        assert!(only.starts_with("shop/a ") && only.contains(text), "{only}");
    }
    assert!(found(&zero, true).is_empty());
    assert!(!found(&other_field, true)[0].contains("use AverageValue"), "it says so already");
}

#[test]
fn a_target_of_type_value_is_a_warning_for_the_depth_of_a_queue_only() {
    let resources = ["rps", "oci_queue_length"].map(|name| json!({"name": name, "categories": ["depthgauge"]}));
    let ours = super::super::Metrics::of(&json!({ "resources": resources }));
    let (multiplies, counts_as) = ("it multiplies the ready pods", "The HPA controller uses the field");
    for (metric, target, words) in [
        ("oci_queue_length", json!({"type": "Value", "value": "2"}), &[multiplies][..]),
        ("rabbitmq_queue_ready", json!({"value": "2"}), &[multiplies]),
        ("oci_queue_length", json!({"type": "AverageValue", "value": "2"}), &[counts_as, multiplies]),
        ("oci_queue_length", json!({"type": "Value", "averageValue": "2"}), &[counts_as, ". Write type: AverageValue"]),
        ("oci_queue_size_bytes", json!({"type": "Value", "value": "2"}), &[]),
        ("rps", json!({"type": "Value", "value": "2"}), &[]),
        ("rps", json!({"value": "2"}), &[]),
        (
            "rps",
            json!({"type": "AverageValue", "value": "2"}),
            &[counts_as, "the target counts as type Value. Write type: Value"],
        ),
        ("rps", json!({"type": "Value", "averageValue": "2"}), &[counts_as, ". Write type: AverageValue"]),
    ] {
        let mut object = good("a");
        let external = &mut object["spec"]["metrics"][0]["external"];
        external["metric"]["name"] = json!(metric);
        external["target"] = target.clone();
        let object = serde_json::from_value(object).unwrap();
        let hpa = Autoscaler { object: &object, ours: &ours };
        let found = of(&hpa, &[hpa], Some(true));
        assert_eq!(found.len(), usize::from(!words.is_empty()), "{metric} {target}: {found:?}");
        let missing = words.iter().find(|words| !found[0].text.contains(**words));
        assert_eq!(missing, None, "{metric} {target}: {found:?}");
        assert!(words.contains(&multiplies) || !found.iter().any(|found| found.text.contains(multiplies)), "{found:?}");
    }
}

#[test]
fn a_metric_that_can_be_of_depthgauge_is_not_called_foreign() {
    let mut object = good("a");
    object["metadata"]["labels"] = json!({LABEL: "true"});
    object["spec"]["metrics"][0]["external"]["metric"] = json!({"name": "jobs"});
    let object = serde_json::from_value(object).unwrap();
    let list = |name: &str| json!({"resources": [{"name": name, "categories": ["depthgauge"]}]});
    for (list, text) in [
        (Value::Null, None),
        (json!({"resources": [{"name": "s0-rabbitmq", "categories": ["all"]}]}), None),
        (list("jobs"), None),
        (list("other"), Some("has no effect: this HPA uses no metric of depthgauge")),
    ] {
        let ours = super::super::Metrics::of(&list);
        let hpa = Autoscaler { object: &object, ours: &ours };
        let found = of(&hpa, &[hpa], Some(true));
        assert!(hpa.may_use_depthgauge());
        assert_eq!(found.len(), usize::from(text.is_some()), "{list}: {found:?}");
        assert!(found.iter().all(|found| found.text.contains(text.unwrap())), "{list}: {found:?}");
    }
}

#[test]
fn an_invalid_selector_is_said_of_every_external_metric_and_blocks_scaling_to_zero() {
    let mut theirs = object("a", &json!({"matchLabels": {"queue": "orders "}}), &json!({"averageValue": "2"}));
    theirs["spec"]["metrics"][0]["external"]["metric"]["name"] = json!("kafka_lag");
    assert!(found(&theirs, true)[0].starts_with("shop/a kafka_lag: the HPA controller refuses its selector"));
    let mut labelled = object("a", &json!({"matchLabels": {"queue": "orders "}}), &json!({"averageValue": "2"}));
    labelled["metadata"]["labels"] = json!({LABEL: "true"});
    let [fault, label] = &found(&labelled, true)[..] else { panic!("{:?}", found(&labelled, true)) };
    assert!(fault.contains("correct the selector: invalid label value \"orders \""), "{fault}");
    assert!(label.starts_with("shop/a: is not scaled to zero: the HPA controller refuses the selector"), "{label}");
}

#[test]
fn a_status_that_the_answers_contradict_is_a_warning() {
    let mut object = good("a");
    let mut contradicts = |reason: &str, status: &str, message: &str, read: &[(&str, bool)]| {
        let condition = json!({"type": "ScalingActive", "status": status, "reason": reason, "message": message});
        object["status"] = json!({ "conditions": [condition] });
        contradicted(&Autoscaler::in_test(&object), read)
    };
    let failed = "FailedGetExternalMetric";
    let found = contradicts(failed, "False", "m", &[("a", true)]).unwrap();
    assert!(found.level == Level::Warn && found.text.contains("its external metrics have values here"), "{found:?}");
    assert_eq!(contradicts(failed, "False", "m", &[("a", false)]), None, "the answer says why");
    assert_eq!(contradicts(failed, "False", "m", &[]), None);
    assert_eq!(contradicts("FailedGetResourceMetric", "False", "m", &[("a", true)]), None, "of another API");
    assert_eq!(contradicts("ValidMetricFound", "True", "m", &[("a", true)]), None);
    // Another metric fails here.
    let message = "unable to get external metric shop/a/&LabelSelector{}: no metrics returned";
    let found = contradicts(failed, "False", message, &[("a", true), ("b", false)]).unwrap();
    assert!(found.text.contains("although a has a value here"), "{found:?}");
    for read in [&[("a", false), ("b", true)], &[("a", true), ("a", false)], &[("c", true), ("b", false)]] {
        assert_eq!(contradicts(failed, "False", message, read), None, "{read:?}");
    }
}

#[test]
fn what_the_controller_cannot_do_is_told_where_nobody_else_tells_it() {
    for (name, status, reason, text) in [
        ("AbleToScale", "False", "FailedGetScale", Some("finds nothing to scale: correct scaleTargetRef")),
        ("AbleToScale", "False", "FailedUpdateScale", Some("cannot scale. Its message: FailedUpdateScale: m")),
        ("ScalingActive", "False", "FailedGetResourceMetric", Some("does not scale down meanwhile")),
        ("ScalingActive", "False", "AmbiguousSelector", Some("cannot scale. Its message: AmbiguousSelector: m")),
        ("ScalingActive", "False", "FailedGetExternalMetric", None),
        ("ScalingActive", "False", "ScalingDisabled", None),
        ("ScalingActive", "True", "ValidMetricFound", None),
        ("ScalingLimited", "False", "DesiredWithinRange", None),
    ] {
        let mut object = good("a");
        object["status"] = json!({"conditions": [{"type": name, "status": status, "reason": reason, "message": "m"}]});
        let found = found(&object, true);
        assert_eq!(found.len(), usize::from(text.is_some()), "{reason}: {found:?}");
        assert!(found.iter().all(|found| found.contains(text.unwrap_or_default())), "{found:?}");
    }
}

#[test]
fn a_metric_of_ours_is_of_type_external() {
    let mut object = good("a");
    let pods =
        |name: &str| json!({"type": "Pods", "pods": {"metric": {"name": name}, "target": {"averageValue": "2"}}});
    for (name, wrong) in [("oci_queue_length", true), ("requests", false)] {
        object["spec"]["metrics"] = json!([pods(name)]);
        let found = found(&object, true);
        assert_eq!(found.iter().any(|text| text.contains("with type Pods")), wrong, "{found:?}");
    }
}

#[test]
fn only_values_name_a_queue() {
    let by = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "queue", "operator": operator, "values": values}]});
    let mut both = by("NotIn", &["bills"]);
    both["matchLabels"] = json!({"queue": "orders"});
    for (selector, warned) in [
        (json!({"matchLabels": {"queue": "orders"}}), false),
        (by("In", &["orders", "bills"]), false),
        (both, false),
        (by("NotIn", &["bills"]), true),
        (by("Exists", &[]), true),
        (by("DoesNotExist", &[]), true),
        (json!({"matchLabels": {"channel": "eu"}}), true),
    ] {
        let found = found(&object("a", &selector, &json!({"averageValue": "2"})), true);
        assert_eq!(found.iter().any(|text| text.contains("names no queue")), warned, "{selector}: {found:?}");
    }
}

#[test]
fn who_is_asked_slower_than_by_default_is_told_of() {
    let object = good("a");
    let hpa = Autoscaler::in_test(&object);
    let [question] = &hpa.our_questions()[..] else { panic!("one question") };
    let secs = SignedDuration::from_secs;
    assert_eq!(slow(&hpa, question, secs(16), NOW), None);
    let found = slow(&hpa, question, secs(30), NOW).unwrap();
    assert!(
        found.level == Level::Warn
            && found
                .text
                .starts_with("shop/a oci_queue_length{queue=orders} was requested at intervals of up to 30 s lately"),
        "{}",
        found.text
    );
}

#[test]
fn an_interval_at_zero_says_nothing_about_the_controller() {
    let secs = SignedDuration::from_secs;
    let slow_at = |object: &Value| {
        let hpa = Autoscaler::in_test(object);
        slow(&hpa, &hpa.our_questions()[0], secs(30), NOW).is_some()
    };
    let active_for = |seconds: i64| {
        let mut object = good("a");
        let condition = json!({"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound",
            "lastTransitionTime": (NOW - secs(seconds)).to_string()});
        object["status"] = json!({"conditions": [condition], "currentReplicas": 2, "desiredReplicas": 2});
        object
    };
    // Three intervals later, all of them began after it was scaled up.
    assert_eq!([10, 89, 90, 300].map(|seconds| slow_at(&active_for(seconds))), [false, false, true, true]);
    let mut at_zero = active_for(300);
    at_zero["status"]["currentReplicas"] = json!(0);
    assert!(!slow_at(&at_zero) && !slow_at(&resting(&json!({}))));
}

#[test]
fn a_label_that_does_nothing_is_told_of() {
    let mut labelled = good("a");
    labelled["metadata"]["labels"] = json!({LABEL: "true"});
    assert!(found(&labelled, false).is_empty());
    let mut two = labelled.clone();
    two["spec"]["minReplicas"] = json!(2);
    assert!(found(&two, false).is_empty());
    let mut by_cpu = labelled.clone();
    by_cpu["metadata"]["annotations"] = json!({ZERO_BY: "cpu"});
    let mut soon = labelled.clone();
    soon["metadata"]["annotations"] = json!({COOLDOWN: "soon"});
    for (object, text) in [(&by_cpu, r#"write "external""#), (&soon, "write a duration such as 60s")] {
        let [only] = &found(object, false)[..] else { panic!("{:?}", found(object, false)) };
        assert!(only.starts_with("shop/a: ") && only.contains(text), "{only}");
    }
}

#[test]
fn two_hpas_on_one_workload_are_told_of_each_other() {
    let (a, b) = (good("a"), good("b"));
    let mut elsewhere = good("c");
    elsewhere["metadata"]["namespace"] = json!("lab");
    let mut other = good("d");
    other["spec"]["scaleTargetRef"]["name"] = json!("api");
    // In lower case and by another version it is the same workload, and in another group it is not.
    let (mut lower, mut group) = (good("e"), good("f"));
    lower["spec"]["scaleTargetRef"] = json!({"apiVersion": "apps/v1beta2", "kind": "deployment", "name": "web"});
    group["spec"]["scaleTargetRef"]["apiVersion"] = json!("example.com/v1");
    let all = [&a, &b, &elsewhere, &other, &lower, &group].map(Autoscaler::in_test);
    let texts = |at: usize| of(&all[at], &all, None);
    assert!(texts(0)[0].text.contains("Deployment web, there is also b, e: they conflict."), "{:?}", texts(0));
    assert!(texts(1)[0].text.contains("there is also a, e:") && texts(4)[0].text.contains("there is also a, b:"));
    assert!([2, 3, 5].iter().all(|at| texts(*at).is_empty()));
}

#[test]
fn a_label_or_an_annotation_without_effect_is_named() {
    let said = |labels: Value, annotations: Value, min: i32| {
        let mut object = good("a");
        object["metadata"]["labels"] = labels;
        object["metadata"]["annotations"] = annotations;
        object["spec"]["minReplicas"] = json!(min);
        without_effect(Autoscaler::in_test(&object).written()).collect::<Vec<_>>()
    };
    let on = json!({LABEL: "true", "app": "web"});
    for (labels, annotations, min, texts) in [
        (
            on.clone(),
            json!({COOLDOWN: "60s", ZERO_BY: "external", PAUSED: "x", ZERO_SINCE: "2026-11-23T10:00:00Z"}),
            1,
            &[][..],
        ),
        (on.clone(), json!({FAST_ACTIVATION: "true"}), 0, &[]),
        (json!({LABEL: "false"}), json!({PAUSED: "true", "example.com/x": "y"}), 1, &[]),
        (
            json!({LABEL: "True"}),
            json!({}),
            1,
            &["label depthgauge.dev/scale-to-zero is \"True\" and has no effect: write \"true\""],
        ),
        (
            json!({COOLDOWN: "60s"}),
            json!({LABEL: "true"}),
            1,
            &[
                "label depthgauge.dev/cooldown has no effect: set it as an annotation",
                "annotation depthgauge.dev/scale-to-zero has no effect: set it as a label",
            ],
        ),
        (
            json!({}),
            json!({FAST_ACTIVATION: "true"}),
            0,
            &[
                "annotation depthgauge.dev/fast-activation has no effect without label depthgauge.dev/scale-to-zero=true",
            ],
        ),
        (
            on.clone(),
            json!({RECOVER_STUCK: "yes", "depthgauge.dev/cool-down": "1m"}),
            1,
            &[
                "annotation depthgauge.dev/cool-down is unknown and has no effect: known annotations are depthgauge.dev/cooldown",
                "annotation depthgauge.dev/recover-stuck is \"yes\" and has no effect: write \"true\"",
            ],
        ),
        (on, json!({}), 0, &["label depthgauge.dev/scale-to-zero has no effect with minReplicas 0"]),
    ] {
        let said = said(labels, annotations, min);
        assert!(
            said.len() == texts.len() && said.iter().zip(texts).all(|(said, text)| said.starts_with(text)),
            "{said:?}"
        );
    }
}

fn resting(annotations: &Value) -> Value {
    let mut object = good("a");
    object["metadata"]["annotations"] = annotations.clone();
    object["status"] =
        json!({"conditions": [{"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}]});
    object
}

#[test]
fn who_sleeps_for_good_is_told_how_to_wake() {
    for (replicas, found) in [(None, true), (Some(0), true), (Some(3), false)] {
        let finding = at_zero(&Autoscaler::in_test(&resting(&json!({}))), Waiting::Yes, replicas, NOW);
        assert_eq!(finding.is_some(), found, "{replicas:?}: the condition is older than the replicas");
    }
    assert_eq!(at_zero(&Autoscaler::in_test(&good("a")), Waiting::Yes, None, NOW), None);
    let object = resting(&json!({}));
    let found = at_zero(&Autoscaler::in_test(&object), Waiting::Yes, None, NOW).unwrap();
    assert_eq!(found.level, Level::Fail);
    assert!(found.text.ends_with("kubectl scale -n shop deployment/web --replicas=1"), "{}", found.text);
    assert_eq!(at_zero(&Autoscaler::in_test(&object), Waiting::No, None, NOW).unwrap().level, Level::Warn);
    let blind = at_zero(&Autoscaler::in_test(&object), Waiting::Unknown, None, NOW).unwrap();
    assert!(blind.level == Level::Warn && blind.text.contains("its metric is unavailable"), "{}", blind.text);
}

/// It has gone to 0 itself.
fn native(over: &Value) -> Value {
    let mut object = good("a");
    object["spec"]["minReplicas"] = json!(0);
    object["spec"]["behavior"] = over["behavior"].clone();
    let mut conditions = vec![json!({"type": "ScaledToZero", "status": "True", "reason": "ScaledToZero"})];
    conditions.extend(over["condition"].is_object().then(|| over["condition"].clone()));
    object["status"] = json!({"conditions": conditions, "desiredReplicas": 0});
    object
}

#[test]
fn who_goes_to_zero_by_himself_is_told_of_where_he_does_not_come_back() {
    let failing = |seconds: i64| {
        let since = (NOW - SignedDuration::from_secs(seconds)).to_string();
        native(&json!({"condition": {"type": "ScalingActive", "status": "False", "reason": "FailedGetExternalMetric",
            "lastTransitionTime": since}}))
    };
    let well = native(&Value::Null);
    let disabled = native(&json!({"behavior": {"scaleUp": {"selectPolicy": "Disabled"}}}));
    for (object, text) in [
        (&disabled, "but the HPA's own behavior.scaleUp allows no step from 0"),
        (&failing(90), "but the HPA itself cannot read its metrics"),
    ] {
        let found = at_zero(&Autoscaler::in_test(object), Waiting::Yes, None, NOW).unwrap();
        assert!(found.level == Level::Fail && found.text.contains(text), "{found:?}");
        assert!(found.text.ends_with("kubectl scale -n shop deployment/web --replicas=1"), "{found:?}");
        assert_eq!(at_zero(&Autoscaler::in_test(object), Waiting::No, None, NOW), None);
    }
    for (object, waiting) in [(&well, Waiting::Yes), (&well, Waiting::No), (&failing(30), Waiting::Yes)] {
        assert_eq!(at_zero(&Autoscaler::in_test(object), waiting, None, NOW), None, "its HPA wakes it");
    }
    let blind = at_zero(&Autoscaler::in_test(&well), Waiting::Unknown, None, NOW).unwrap();
    assert!(blind.level == Level::Warn && blind.text.contains("its metric is unavailable"), "{blind:?}");
    let mut awake = disabled;
    awake["status"]["desiredReplicas"] = json!(2);
    assert_eq!(at_zero(&Autoscaler::in_test(&awake), Waiting::Yes, None, NOW), None);
}

#[test]
fn what_waits_is_told_by_values_alone() {
    use zero::autoscaler::SCALED_TO_ZERO_SINCE;
    let (plain, ours) = (resting(&json!({})), resting(&json!({SCALED_TO_ZERO_SINCE: "2026-11-23T10:00:00Z"})));
    let items = |values: &[(&str, Option<&str>)]| {
        let item = |(value, policy): &(&str, Option<&str>)| {
            let labels = policy.map_or(json!({}), |policy| json!({rules::LABEL: policy}));
            json!({"metricLabels": labels, "timestamp": "2026-11-23T10:00:00Z", "value": value})
        };
        external_metrics::items(&json!({"items": values.iter().map(item).collect::<Vec<_>>()}))
    };
    for (object, values, waiting) in [
        (&plain, items(&[]), Waiting::Unknown),
        (&plain, items(&[("0", None), ("0", Some("activation"))]), Waiting::No),
        (&plain, items(&[("0", None), ("3", None)]), Waiting::Yes),
        (&plain, items(&[("12", Some("fallback"))]), Waiting::Unknown),
        (&plain, items(&[("12", Some("fallback")), ("1", None)]), Waiting::Yes),
        (&ours, items(&[("12", Some("fallback"))]), Waiting::Yes),
        (&native(&Value::Null), items(&[("12", Some("fallback"))]), Waiting::Yes),
    ] {
        assert_eq!(Waiting::of(&Autoscaler::in_test(object), Ok(&values)), waiting, "{values:?}");
    }
    for (trouble, waiting) in [
        (RequestError::Forbidden("no right".to_owned()), Waiting::No),
        (RequestError::Other("503".to_owned()), Waiting::Unknown),
    ] {
        assert_eq!(Waiting::of(&Autoscaler::in_test(&plain), Err(&trouble)), waiting);
    }
}

#[test]
fn what_depthgauge_put_to_sleep_is_well_only_while_nothing_waits() {
    use zero::autoscaler::SCALED_TO_ZERO_SINCE;
    let marked = resting(&json!({SCALED_TO_ZERO_SINCE: "2026-11-23T10:00:00Z"}));
    let paused = resting(&json!({SCALED_TO_ZERO_SINCE: "2026-11-23T10:00:00Z", PAUSED: "true"}));
    for (object, waiting, level, text) in [
        (&marked, Waiting::No, Level::Ok, "at 2026-11-23T10:00:00Z, and scales it up when a metric is above 0"),
        (&marked, Waiting::Yes, Level::Warn, "check that depthgauge runs with --scale-to-zero"),
        (&marked, Waiting::Unknown, Level::Warn, "its metric is unavailable"),
        (&paused, Waiting::No, Level::Ok, "annotation depthgauge.dev/paused keeps it there"),
        (&paused, Waiting::Yes, Level::Warn, "Remove the annotation"),
        (&paused, Waiting::Unknown, Level::Warn, "its metric is unavailable"),
    ] {
        let found = at_zero(&Autoscaler::in_test(object), waiting, None, NOW).unwrap();
        assert!(found.level == level && found.text.contains(text), "{waiting:?}: {found:?}");
        let helps = found.text.ends_with("kubectl scale -n shop deployment/web --replicas=1");
        assert_eq!(helps, level == Level::Warn, "{}", found.text);
    }
}
