//! What is wrong with an HPA although it has a value: said the same by `check` and `explain`.

use jiff::{SignedDuration, Timestamp};

use super::{Autoscaler, Condition, Metric, Question};
use crate::cli::finding::Finding;
use crate::cli::told::Item;
use crate::cli::wire::Trouble;
use crate::hpa::Target;
use crate::lookup::rules::Applied;
use crate::metric::quantity::Quantity;
use crate::zero;
use crate::zero::autoscaler::PAUSED;

/// From one look of the HPA controller to the next, by default.
const SYNC: SignedDuration = SignedDuration::from_secs(15);
/// By how much it varies while nothing is wrong.
const JITTER: SignedDuration = SignedDuration::from_secs(3);

/// Whether there is something to do for a workload; of several metrics, the greatest counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::cli) enum Waiting {
    No,
    /// A metric has no value that says so.
    Unknown,
    Yes,
}

// === impl Waiting ===

impl Waiting {
    /// By one answer to what `hpa` asks. A fallback wakes whom depthgauge put to sleep, and who wakes
    /// by himself; it tells nothing of anybody else's messages.
    pub(in crate::cli) fn of(hpa: &Autoscaler<'_>, answer: Result<&[Item], &Trouble>) -> Self {
        let wakes = hpa.asleep_since().is_some() || hpa.scaled_to_zero();
        let tells = |item: &&Item| wakes || item.policy.as_deref() != Some(Applied::Fallback.as_str());
        match answer {
            // The server may know.
            Err(Trouble::Forbidden(_)) => Self::No,
            Err(_) | Ok([]) => Self::Unknown,
            Ok(items) if items.iter().filter(tells).any(|item| item.quantity > Some(Quantity::ZERO)) => Self::Yes,
            Ok(items) if items.iter().all(|item| tells(&item)) => Self::No,
            Ok(_) => Self::Unknown,
        }
    }
}

/// What can be seen in the HPA itself, and in the others of its namespace; `zero` tells whether this
/// cluster's HPAs may scale to zero, if that is known.
pub(in crate::cli) fn of(hpa: &Autoscaler<'_>, all: &[Autoscaler<'_>], zero: Option<bool>) -> Vec<Finding> {
    let mut found = Vec::new();
    for question in hpa.our_questions() {
        let title = format!("{} {}", hpa.title(), question.title());
        if let Some(Target::Value(_)) = question.target {
            found.push(Finding::warn(format!(
                "{title} has a target of type Value, which multiplies the ready pods with what waits at each look, up to maxReplicas or down to minReplicas: for a queue's depth use AverageValue, the messages for each pod"
            )));
        }
    }
    found.extend(hpa.metrics().iter().filter_map(|metric| of_another_type(hpa, metric)).map(|(kind, name)| {
        Finding::fail(format!(
            "{} asks for {name} with type {kind}: depthgauge's metrics are of type External",
            hpa.title()
        ))
    }));
    found.extend(hpa.conditions().filter_map(|condition| unable(hpa, condition)));
    found.extend(label(hpa));
    found.extend(never_zero(hpa));
    found.extend(refused_zero(hpa, zero));
    found.extend(rivals(hpa, all));
    found
}

/// Of a question that has an answer.
pub(in crate::cli) fn unnamed(hpa: &Autoscaler<'_>, question: &Question) -> Option<Finding> {
    let (label, namespace) = (question.unnamed_source()?, hpa.namespace());
    Some(Finding::warn(format!(
        "{} {} names no {label}: it is the sum over every {label} that fits and that namespace {namespace} may read; name one with selector: {{matchLabels: {{{label}: NAME}}}}",
        hpa.title(),
        question.title()
    )))
}

/// What keeps a workload at 0, for good or for now.
pub(in crate::cli) fn asleep(hpa: &Autoscaler<'_>, waiting: Waiting, now: Timestamp) -> Option<Finding> {
    let (title, wake) = (hpa.title(), hpa.wake_command());
    if hpa.scaled_to_zero() {
        let kept = hpa.kept().filter(|kept| kept.state.at_zero)?;
        return match (waiting, zero::decide::stuck(&kept, now)) {
            (Waiting::Yes, Some(why)) => Some(Finding::fail(format!(
                "{title} is at 0 and sleeps for good although its metrics are above 0, for {why}: wake it with {wake}"
            ))),
            (Waiting::Unknown, _) => Some(Finding::warn(format!(
                "{title} is at 0, and it is asleep and blind: nobody knows whether messages are waiting; to be sure, wake it with {wake}"
            ))),
            _ => None,
        };
    }
    if !hpa.rests() {
        return None;
    }
    let Some(since) = hpa.asleep_since() else {
        let text = |what| {
            format!("{title} rests, because its workload was set to 0 by somebody else{what}: wake it with {wake}")
        };
        return Some(match waiting {
            Waiting::Yes => Finding::fail(text(", and sleeps for good although there are messages")),
            Waiting::Unknown => Finding::warn(text(", and nobody knows whether messages are waiting")),
            Waiting::No => Finding::warn(text("")),
        });
    };
    let rests = format!("{title} rests: depthgauge scaled its workload to 0 at {since}");
    Some(match (waiting, hpa.is_paused()) {
        (Waiting::No, false) => Finding::ok(format!("{rests}, and wakes it")),
        (Waiting::No, true) => Finding::ok(format!("{rests}, and annotation {PAUSED} keeps it there")),
        (Waiting::Yes, false) => Finding::warn(format!(
            "{rests}, and is to wake it within seconds, for there are messages; if this stays, ask whether it runs with --scale-to-zero, read its log, and wake it with {wake}"
        )),
        (Waiting::Yes, true) => Finding::warn(format!(
            "{rests}, and annotation {PAUSED} keeps it there although there are messages: take the annotation away, or wake it with {wake}"
        )),
        (Waiting::Unknown, _) => Finding::warn(format!(
            "{rests}, and it is asleep and blind: nobody knows whether messages are waiting; to be sure, wake it with {wake}"
        )),
    })
}

/// Who is asked less often than the controller looks by default; by the longest of the last pauses.
pub(in crate::cli) fn slow(hpa: &Autoscaler<'_>, question: &Question, pause: SignedDuration) -> Option<Finding> {
    (pause > SYNC + JITTER).then(|| {
        Finding::warn(format!(
            "{} {} was asked up to {} s apart of late, and the HPA controller looks every {} s by default: it is behind (more than 300 external metrics?), or --horizontal-pod-autoscaler-sync-period is longer; with several replicas of depthgauge, another one may have been asked in between",
            hpa.title(),
            question.title(),
            pause.as_secs(),
            SYNC.as_secs()
        ))
    })
}

/// Whether it asks for a metric of ours where it is not.
pub(in crate::cli) fn is_misplaced(hpa: &Autoscaler<'_>) -> bool {
    hpa.metrics().iter().any(|metric| of_another_type(hpa, metric).is_some())
}

/// Type and name of a metric of ours that is asked for where it is not.
fn of_another_type<'m>(hpa: &Autoscaler<'_>, metric: &'m Metric) -> Option<(&'m str, &'m str)> {
    let Metric::Other(words) = metric else { return None };
    words.split_once(' ').filter(|(_, name)| hpa.ours.has(name))
}

/// What the controller says that it cannot do, but for metrics that are asked for here as well.
fn unable(hpa: &Autoscaler<'_>, condition: Condition<'_>) -> Option<Finding> {
    let (title, Condition { reason, message, .. }) = (hpa.title(), condition);
    match (condition.name, condition.status, reason) {
        ("AbleToScale", "False", "FailedGetScale") => Some(Finding::fail(format!(
            "{title}: the HPA controller finds nothing to scale: correct scaleTargetRef, or make its workload. It says: {message}"
        ))),
        ("ScalingActive", "False", "ScalingDisabled" | "FailedGetExternalMetric") => None,
        ("ScalingActive", "False", _) if reason.starts_with("FailedGet") => Some(Finding::warn(format!(
            "{title}: the HPA controller lacks another metric, and scales nothing down meanwhile. It says: {reason}: {message}"
        ))),
        ("AbleToScale" | "ScalingActive", "False", _) => {
            Some(Finding::fail(format!("{title}: the HPA controller cannot scale. It says: {reason}: {message}")))
        }
        _ => None,
    }
}

/// What keeps one that carries our label from going to zero.
fn label(hpa: &Autoscaler<'_>) -> Option<Finding> {
    let found = zero::finding::Finding::of_label(&hpa.kept()?)?;
    Some(Finding::warn(format!("{}: {}", hpa.title(), found.text)))
}

/// A metric of pods has no value without pods, so the controller never goes to 0 by it.
fn never_zero(hpa: &Autoscaler<'_>) -> Option<Finding> {
    let of_pods = hpa.metrics().into_iter().find_map(|metric| match metric {
        Metric::Other(words) if !words.starts_with("Object") => Some(words),
        _ => None,
    });
    let words = of_pods.filter(|_| hpa.spec().min == 0)?;
    Some(Finding::warn(format!(
        "{} has minReplicas 0 and never gets there, because it also scales on {words}, which pods at rest still use: take that metric out, or set minReplicas 1",
        hpa.title()
    )))
}

fn refused_zero(hpa: &Autoscaler<'_>, zero: Option<bool>) -> Option<Finding> {
    (hpa.spec().min == 0 && zero == Some(false)).then(|| {
        Finding::warn(format!(
            "{} has minReplicas 0, which needs feature gate HPAScaleToZero, by default off before 1.37: turn it on, or set 1",
            hpa.title()
        ))
    })
}

/// Two HPAs on one workload undo what the other did. (The controller itself stops only at those
/// whose pods it sees selected twice.)
fn rivals(hpa: &Autoscaler<'_>, all: &[Autoscaler<'_>]) -> Option<Finding> {
    let workload = hpa.workload();
    let same = |other: &&Autoscaler<'_>| {
        let theirs = other.workload();
        other.namespace() == hpa.namespace()
            && other.name() != hpa.name()
            && (theirs.kind, theirs.name) == (workload.kind, workload.name)
    };
    let mut others: Vec<&str> = all.iter().filter(same).map(Autoscaler::name).collect();
    others.sort_unstable();
    (!others.is_empty()).then(|| {
        Finding::fail(format!(
            "{} is not the only HPA on {} {}, there is also {}: neither works; put the metrics of all into one",
            hpa.title(),
            workload.kind,
            workload.name,
            others.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::finding::Level;
    use crate::cli::told;
    use crate::lookup::rules::LABEL;

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
    fn each_fault_is_said_once_with_its_remedy() {
        let unnamed = object("a", &Value::Null, &json!({"averageValue": "2"}));
        let value = object("a", &json!({"matchLabels": {"queue": "orders"}}), &json!({"value": "2"}));
        let mut zero = good("a");
        zero["spec"]["minReplicas"] = json!(0);
        let mut cpu = zero.clone();
        let metrics = cpu["spec"]["metrics"].as_array_mut().unwrap();
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu"}}));
        for (object, zero, text) in [
            (
                &unnamed,
                true,
                "names no queue: it is the sum over every queue that fits and that namespace shop may read",
            ),
            (&value, true, "use AverageValue"),
            (&zero, false, "feature gate HPAScaleToZero"),
            (&cpu, true, "it also scales on Resource cpu"),
        ] {
            let [only] = &found(object, zero)[..] else { panic!("{text}: {:?}", found(object, zero)) };
            assert!(only.starts_with("shop/a ") && only.contains(text), "{only}");
        }
        assert!(found(&zero, true).is_empty());
    }

    #[test]
    fn what_the_controller_cannot_do_is_told_where_nobody_else_tells_it() {
        for (name, status, reason, text) in [
            ("AbleToScale", "False", "FailedGetScale", Some("finds nothing to scale: correct scaleTargetRef")),
            ("AbleToScale", "False", "FailedUpdateScale", Some("cannot scale. It says: FailedUpdateScale: m")),
            ("ScalingActive", "False", "FailedGetResourceMetric", Some("scales nothing down meanwhile")),
            ("ScalingActive", "False", "AmbiguousSelector", Some("cannot scale. It says: AmbiguousSelector: m")),
            ("ScalingActive", "False", "FailedGetExternalMetric", None),
            ("ScalingActive", "False", "ScalingDisabled", None),
            ("ScalingActive", "True", "ValidMetricFound", None),
            ("ScalingLimited", "False", "DesiredWithinRange", None),
        ] {
            let mut object = good("a");
            object["status"] =
                json!({"conditions": [{"type": name, "status": status, "reason": reason, "message": "m"}]});
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
        assert_eq!(slow(&hpa, question, SignedDuration::from_secs(16)), None);
        let found = slow(&hpa, question, SignedDuration::from_secs(30)).unwrap();
        assert!(
            found.level == Level::Warn
                && found.text.starts_with("shop/a oci_queue_length{queue=orders} was asked up to 30 s apart"),
            "{}",
            found.text
        );
    }

    #[test]
    fn a_label_that_does_nothing_is_told_of() {
        let mut labelled = good("a");
        labelled["metadata"]["labels"] = json!({zero::autoscaler::LABEL: "true"});
        assert!(found(&labelled, false).is_empty());
        let mut two = labelled.clone();
        two["spec"]["minReplicas"] = json!(2);
        let mut soon = labelled.clone();
        soon["metadata"]["annotations"] = json!({zero::autoscaler::COOLDOWN: "soon"});
        for (object, text) in [(&two, "minReplicas is 2"), (&soon, "write a duration such as 60s")] {
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
        let all = [&a, &b, &elsewhere, &other].map(Autoscaler::in_test);
        let texts = |at: usize| of(&all[at], &all, None);
        assert!(texts(0)[0].text.contains("Deployment web, there is also b:"), "{:?}", texts(0));
        assert!(texts(1)[0].text.contains("there is also a:"));
        assert!(texts(2).is_empty() && texts(3).is_empty());
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
        assert_eq!(asleep(&Autoscaler::in_test(&good("a")), Waiting::Yes, NOW), None);
        let object = resting(&json!({}));
        let found = asleep(&Autoscaler::in_test(&object), Waiting::Yes, NOW).unwrap();
        assert_eq!(found.level, Level::Fail);
        assert!(found.text.ends_with("kubectl scale -n shop deployment/web --replicas=1"), "{}", found.text);
        assert_eq!(asleep(&Autoscaler::in_test(&object), Waiting::No, NOW).unwrap().level, Level::Warn);
        let blind = asleep(&Autoscaler::in_test(&object), Waiting::Unknown, NOW).unwrap();
        assert!(blind.level == Level::Warn && blind.text.contains("nobody knows"), "{}", blind.text);
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
            native(
                &json!({"condition": {"type": "ScalingActive", "status": "False", "reason": "FailedGetExternalMetric",
                "lastTransitionTime": since}}),
            )
        };
        let well = native(&Value::Null);
        let disabled = native(&json!({"behavior": {"scaleUp": {"selectPolicy": "Disabled"}}}));
        for (object, text) in [
            (&disabled, "for the HPA's own behavior.scaleUp allows no step from 0"),
            (&failing(90), "for the HPA itself cannot read its metrics"),
        ] {
            let found = asleep(&Autoscaler::in_test(object), Waiting::Yes, NOW).unwrap();
            assert!(found.level == Level::Fail && found.text.contains(text), "{found:?}");
            assert!(found.text.ends_with("kubectl scale -n shop deployment/web --replicas=1"), "{found:?}");
            assert_eq!(asleep(&Autoscaler::in_test(object), Waiting::No, NOW), None);
        }
        for (object, waiting) in [(&well, Waiting::Yes), (&well, Waiting::No), (&failing(30), Waiting::Yes)] {
            assert_eq!(asleep(&Autoscaler::in_test(object), waiting, NOW), None, "its HPA wakes it");
        }
        let blind = asleep(&Autoscaler::in_test(&well), Waiting::Unknown, NOW).unwrap();
        assert!(blind.level == Level::Warn && blind.text.contains("asleep and blind"), "{blind:?}");
        let mut awake = disabled;
        awake["status"]["desiredReplicas"] = json!(2);
        assert_eq!(asleep(&Autoscaler::in_test(&awake), Waiting::Yes, NOW), None);
    }

    #[test]
    fn what_waits_is_told_by_values_alone() {
        use zero::autoscaler::SCALED_TO_ZERO_SINCE;
        let (plain, ours) = (resting(&json!({})), resting(&json!({SCALED_TO_ZERO_SINCE: "2026-11-23T10:00:00Z"})));
        let items = |values: &[(&str, Option<&str>)]| {
            let item = |(value, policy): &(&str, Option<&str>)| {
                let labels = policy.map_or(json!({}), |policy| json!({LABEL: policy}));
                json!({"metricLabels": labels, "timestamp": "2026-11-23T10:00:00Z", "value": value})
            };
            told::items(&json!({"items": values.iter().map(item).collect::<Vec<_>>()}))
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
            (Trouble::Forbidden("no right".to_owned()), Waiting::No),
            (Trouble::Other("503".to_owned()), Waiting::Unknown),
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
            (&marked, Waiting::No, Level::Ok, "at 2026-11-23T10:00:00Z, and wakes it"),
            (&marked, Waiting::Yes, Level::Warn, "whether it runs with --scale-to-zero"),
            (&marked, Waiting::Unknown, Level::Warn, "asleep and blind"),
            (&paused, Waiting::No, Level::Ok, "annotation depthgauge.dev/paused keeps it there"),
            (&paused, Waiting::Yes, Level::Warn, "take the annotation away"),
            (&paused, Waiting::Unknown, Level::Warn, "asleep and blind"),
        ] {
            let found = asleep(&Autoscaler::in_test(object), waiting, NOW).unwrap();
            assert!(found.level == level && found.text.contains(text), "{waiting:?}: {found:?}");
            let helps = found.text.ends_with("kubectl scale -n shop deployment/web --replicas=1");
            assert_eq!(helps, level == Level::Warn, "{}", found.text);
        }
    }
}
