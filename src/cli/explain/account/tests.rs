//! What is printed of an HPA, state by state.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;
use crate::cli::autoscaler::{Autoscaler, Metric};
use crate::cli::explain::summary::Summary;
use crate::cli::external_metrics;
use crate::cli::kube_api::RequestError;
use crate::hpa::Controller;

fn object(target: &Value) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": "dummy"},
        "spec": {
            "minReplicas": 0, "maxReplicas": 10,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "oci_queue_length", "selector": {"matchLabels": {"queue": "orders"}}},
                "target": target,
            }}],
        },
        "status": {"conditions": [
            {"type": "AbleToScale", "status": "True", "reason": "ScaleDownStabilized", "message": "recent\nrecommendations"},
        ]},
    })
}

fn average() -> Value {
    object(&json!({"averageValue": "2"}))
}

fn account(object: &Value, replicas: i32, answers: &[Result<Value, String>]) -> String {
    account_with(Controller::NEWEST, object, replicas, answers, &[])
}

fn account_with(
    controller: Controller,
    object: &Value,
    replicas: i32,
    answers: &[Result<Value, String>],
    changes: &[(&str, &str)],
) -> String {
    with_seen(controller, object, replicas, answers, changes, |seen| write(seen, &[]))
}

/// The same in a few words.
fn short(object: &Value, replicas: i32, answers: &[Result<Value, String>]) -> String {
    let verdict = |seen: &Seen<'_>| Summary::of(seen, Vec::new()).verdict;
    with_seen(Controller::NEWEST, object, replicas, answers, &[], verdict)
}

fn with_seen(
    controller: Controller,
    object: &Value,
    replicas: i32,
    answers: &[Result<Value, String>],
    changes: &[(&str, &str)],
    of: impl FnOnce(&Seen<'_>) -> String,
) -> String {
    let hpa = Autoscaler::in_test(object);
    let workload = Workload { scaled_to_zero: hpa.written().has_scaled_to_zero(), ..Workload::settled(replicas) };
    let mut answers = answers.iter();
    let heard = hpa.metrics().into_iter().map(|metric| match metric {
        Metric::External(question) => Heard::Asked {
            question,
            answer: answers
                .next()
                .unwrap()
                .clone()
                .map(|list| external_metrics::items(&list))
                .map_err(RequestError::Other),
        },
        Metric::Other(words) => Heard::NotAsked(words),
    });
    let heard = heard.collect();
    let now = "2026-11-22T14:00:05Z".parse().unwrap();
    let next_changes = changes.iter().map(|(title, change)| ((*title).to_owned(), (*change).to_owned())).collect();
    of(&Seen { hpa: &hpa, controller, workload: Ok(workload), heard, next_changes, now })
}

fn value(value: &str) -> Result<Value, String> {
    Ok(json!({"items": [
        {"metricLabels": {"queue": "orders"}, "timestamp": "2026-11-22T14:00:04Z", "value": value},
    ]}))
}

#[test]
fn the_whole_account_of_a_plain_hpa() {
    let expected = "\
HPA shop/dummy scales Deployment web between 0 and 10 replicas
now         3 desired, 3 current, 3 ready

oci_queue_length{queue=orders}, averageValue 2
  answer    17  queue=orders  read 1 s ago, at 2026-11-22T14:00:04Z
  ratio     17 / (2 × 3 pods) = 2.8333, outside the tolerance of 0.9 to 1.1
  proposes  ⌈17 / 2⌉ = 9

The desired size is 9; the current size is 3.
The HPA has no `behavior`, so one step at most doubles the size, or goes to 4 if that is more: to 6 in the next sync.

Stabilization and scaling policies depend on the history of the controller. Its conditions at the last sync:
  AbleToScale     True   ScaleDownStabilized: recent recommendations
";
    assert_eq!(account(&average(), 3, &[value("17")]), expected);
}

#[test]
fn the_steps_of_each_way_to_count() {
    let all = object(&json!({"value": "10"}));
    let mut to_zero = average();
    to_zero["status"] = json!({"conditions": [{"type": "ScaledToZero", "status": "True"}]});
    for (object, replicas, answer, lines) in [
        (
            &average(),
            3,
            "6",
            vec![
                "= 1.0000, within the tolerance",
                "proposes  3, as now",
                "The desired size is 3, as now: nothing to do.",
            ],
        ),
        (
            &average(),
            3,
            "500",
            vec![
                "⌈500 / 2⌉ = 250",
                "250 is more than maxReplicas 10.",
                "The desired size is 10; the current size is 3.",
            ],
        ),
        (&to_zero, 0, "3", vec!["there are 0 pods", "⌈3 / 2⌉ = 2", "The desired size is 2; the current size is 0."]),
        (&all, 3, "25", vec!["25 / 10 = 2.5000, outside", "⌈2.5000 × 3 ready pods⌉ = 8"]),
        (&average(), 11, "3", vec!["The desired size is 10: 11 is more than maxReplicas"]),
        (&average(), 0, "3", vec!["It does not scale", "kubectl scale -n shop deployment/web --replicas=1"]),
    ] {
        let text = account(object, replicas, &[value(answer)]);
        lines.iter().for_each(|line| assert!(text.contains(line), "{line}:\n{text}"));
    }
}

#[test]
fn a_bound_stands_before_the_size_that_follows_from_it() {
    let mut object = average();
    object["spec"]["minReplicas"] = json!(1);
    let text = account(&object, 1, &[value("0")]);
    let lines = "\n0 is fewer than minReplicas 1.\nThe desired size is 1, as now: nothing to do.\n";
    assert!(text.contains(lines), "{text}");
}

#[test]
fn without_a_value_the_servers_own_sentence_is_shown_once() {
    const SENTENCE: &str = "queue \"orders\" cannot be read since 14:00";
    let mut object = average();
    object["status"] = json!({"conditions": [{
        "type": "ScalingActive", "status": "False", "reason": "FailedGetExternalMetric",
        "message": format!("the HPA was unable to compute the replica count: unable to fetch metrics: {SENTENCE}"),
    }]});
    let text = account(&object, 3, &[Err(SENTENCE.to_owned())]);
    assert!(text.contains(&format!("  answer    none: {SENTENCE}\n")), "{text}");
    assert_eq!(text.matches(SENTENCE).count(), 1, "{text}");
    assert!(text.contains("unable to fetch metrics: (the answer above)\n"), "{text}");
    assert!(text.contains("\nIt stays at 3: oci_queue_length{queue=orders} has no value.\n"), "{text}");
    let text = account(&average(), 3, &[Ok(json!({"items": []}))]);
    assert!(text.contains("a list without items"), "{text}");
}

#[test]
fn one_metric_without_a_value_is_named_where_it_keeps_the_others_from_shrinking() {
    let mut object = average();
    let metrics = object["spec"]["metrics"].as_array_mut().unwrap();
    metrics.push(metrics[0].clone());
    let text = account(&object, 3, &[value("2"), Err("dark".to_owned())]);
    let held = "\nIt stays at 3: oci_queue_length{queue=orders} has no value, so it does not shrink, and no other metric proposes more.\n";
    assert!(text.contains(held), "{text}");
    let text = account(&object, 3, &[value("17"), Err("dark".to_owned())]);
    assert!(
        text.contains("\nIt does not shrink now, because oci_queue_length{queue=orders} has no value.\n"),
        "{text}"
    );
}

#[test]
fn who_rests_is_told_how_to_wake_by_the_finding_alone() {
    let mut object = average();
    object["status"] =
        json!({"conditions": [{"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}]});
    let text = account(&object, 0, &[value("3")]);
    assert!(text.contains("\nIt does not scale: the workload is at 0") && !text.contains("kubectl scale"), "{text}");
}

#[test]
fn the_policy_behind_a_number_is_named() {
    for (policy, words) in [
        ("activation", "activation: 0 is served"),
        ("fallback", "fallback: the source cannot be read"),
        ("empty", "empty: the source has no item"),
        ("nan", "nan: NaN was read"),
        ("clamp", "clamp: a negative number was read"),
        ("other", "unknown to this version"),
    ] {
        let list = json!({"items": [{"metricLabels": {"depthgauge.dev/value-source": policy}, "value": "0"}]});
        let text = account(&average(), 3, &[Ok(list)]);
        assert!(text.contains("  rule      ") && text.contains(words), "{text}");
    }
}

#[test]
fn beside_another_apis_metric_the_number_is_a_lower_bound() {
    let mut object = average();
    let metrics = object["spec"]["metrics"].as_array_mut().unwrap();
    metrics.push(json!({"type": "Resource", "resource": {"name": "cpu"}}));
    let text = account(&object, 3, &[value("17")]);
    assert!(text.contains("\nResource cpu\n  answer    not queried"), "{text}");
    assert!(text.contains("The desired size is at least 9"), "{text}");
    assert!(text.contains("The highest proposal counts: 9, by oci_queue_length{queue=orders}."), "{text}");
}

#[test]
fn more_replicas_than_fit_are_a_size_or_unknown_by_the_version() {
    let object = object(&json!({"value": "1m"}));
    let overflow = Controller { saturates: false, ..Controller::NEWEST };
    let text = account_with(overflow, &object, 3, &[value("5M")], &[]);
    assert!(text.contains("\n  proposes  more replicas than fit into 32 bits\n"), "{text}");
    assert!(
        text.contains("\nThe desired size is unknown: oci_queue_length{queue=orders} is for more replicas"),
        "{text}"
    );
    let text = account(&object, 3, &[value("5M")]);
    assert!(text.contains("\nThe desired size is 10; the current size is 3.\n"), "{text}");
}

#[test]
fn conditions_of_an_earlier_change_are_said_to_be_so() {
    let mut object = average();
    object["metadata"]["generation"] = json!(2);
    for (observed, stale) in [(1, true), (2, false)] {
        object["status"]["observedGeneration"] = json!(observed);
        let text = account(&object, 3, &[value("17")]);
        assert_eq!(
            text.contains("at the last sync, which was before the latest change of the HPA:\n"),
            stale,
            "{text}"
        );
    }
}

#[test]
fn a_change_that_is_known_in_advance_follows_the_answer() {
    let change = "0 at 2026-11-22T17:00:00Z (Sun 2026-11-22 18:00 Europe/Berlin)";
    let changes = [("oci_queue_length{queue=orders}", change)];
    let text = account_with(Controller::NEWEST, &average(), 3, &[value("17")], &changes);
    assert!(text.contains(&format!("T14:00:04Z\n  next      {change}\n  ratio ")), "{text}");
}

#[test]
fn a_workload_that_cannot_be_read_leaves_the_answers() {
    let object = average();
    let hpa = Autoscaler::in_test(&object);
    let (next_changes, now) = (HashMap::new(), Timestamp::UNIX_EPOCH);
    let workload = Err("forbidden".into());
    let seen = Seen { hpa: &hpa, controller: Controller::NEWEST, workload, heard: Vec::new(), next_changes, now };
    let text = write(&seen, &[]);
    assert!(text.contains("now         unknown: forbidden") && text.contains("The desired size is unknown"), "{text}");
}

#[test]
fn a_metric_that_is_not_queried_may_ask_for_more() {
    let mut object = average();
    let metrics = object["spec"]["metrics"].as_array_mut().unwrap();
    metrics.push(json!({"type": "Resource", "resource": {"name": "cpu"}}));
    let text = account(&object, 3, &[Err("dark".to_owned())]);
    let held = "\nIt does not shrink below 3: oci_queue_length{queue=orders} has no value. It grows if another metric proposes more, and Resource cpu is not queried here.\n";
    assert!(text.contains(held) && !text.contains("no other metric proposes more"), "{text}");
    let mut no_growth = object.clone();
    no_growth["spec"]["behavior"] = json!({"scaleUp": {"selectPolicy": "Disabled"}});
    let text = account(&no_growth, 3, &[Err("dark".to_owned())]);
    let held = "\nIt stays at 3: behavior.scaleUp.selectPolicy is Disabled, and it does not shrink, because oci_queue_length{queue=orders} has no value.\n";
    assert!(text.contains(held) && !text.contains("It grows"), "{text}");
    let text = account(&object, 3, &[value("17")]);
    assert!(text.contains("\nIt may be more: Resource cpu is not queried here.\n"), "{text}");
    no_growth["spec"]["behavior"]["scaleUp"] = json!({"selectPolicy": "Max"});
    let text = account(&no_growth, 3, &[value("17")]);
    assert!(!text.contains("one step"), "{text}");
    object["spec"]["metrics"].as_array_mut().unwrap().remove(0);
    let text = account(&object, 3, &[]);
    assert!(text.contains("\nThe desired size is unknown: Resource cpu is not queried here.\n"), "{text}");
}

#[test]
fn a_direction_that_is_disabled_is_named() {
    let up = "It stays at 3: behavior.scaleUp.selectPolicy is Disabled";
    let down = "It stays at 3: behavior.scaleDown.selectPolicy is Disabled";
    for (direction, waiting, line, verdict) in [
        ("scaleUp", "17", Some(up), "stays at 3: scaleUp is Disabled, and the desired size is 9"),
        ("scaleDown", "1", Some(down), "stays at 3: scaleDown is Disabled, and the desired size is 1"),
        ("scaleUp", "1", None, "scales down to 1"),
        ("scaleDown", "17", None, "scales up to 9"),
        ("scaleUp", "6", None, "stays at 3"),
    ] {
        let mut object = average();
        object["spec"]["behavior"] = json!({direction: {"selectPolicy": "Disabled"}});
        let text = account(&object, 3, &[value(waiting)]);
        assert_eq!(text.contains("is Disabled"), line.is_some(), "{text}");
        assert!(line.is_none_or(|line| text.contains(line)), "{text}");
        assert_eq!(short(&object, 3, &[value(waiting)]), verdict);
    }
}

#[test]
fn a_selector_that_the_controller_refuses_has_no_answer() {
    let mut object = average();
    object["spec"]["metrics"][0]["external"]["metric"]["selector"]["matchLabels"]["queue"] = json!("orders ");
    let hpa = Autoscaler::in_test(&object);
    let [question] = &hpa.our_questions()[..] else { panic!("one question") };
    let heard = vec![Heard::Asked { answer: Err(question.path().unwrap_err()), question: question.clone() }];
    let workload = Ok(Workload::settled(3));
    let (controller, next_changes, now) = (Controller::NEWEST, HashMap::new(), Timestamp::UNIX_EPOCH);
    let text = write(&Seen { hpa: &hpa, controller, workload, heard, next_changes, now }, &[]);
    assert!(
        text.contains("  answer    none: the HPA controller refuses its selector and requests nothing: "),
        "{text}"
    );
    assert!(text.contains("invalid label value \"orders \" of key \"queue\""), "{text}");
    assert!(text.contains("\nIt stays at 3: oci_queue_length has no value.\n"), "{text}");
}
