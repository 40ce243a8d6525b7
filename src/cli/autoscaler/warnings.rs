//! What is wrong with an HPA although it has a value: said the same by `check` and `explain`.

use jiff::{SignedDuration, Timestamp};

use super::{Autoscaler, Metric, Question};
use crate::cli::external_metrics::Item;
use crate::cli::finding::Finding;
use crate::cli::kube_api::RequestError;
use crate::hpa::Target;
use crate::hpa::reader::{Condition, Hpa};
use crate::lookup::rules::Applied;
use crate::metric::quantity::Quantity;
use crate::zero;
use crate::zero::autoscaler::{
    COOLDOWN, FAST_ACTIVATION, LABEL, PAUSED, PREFIX, RECOVER_STUCK, SCALED_TO_ZERO_SINCE, ZERO_BY, ZERO_OF,
    ZERO_SINCE, is_labelled,
};

/// From one sync of the HPA controller to the next, by default.
const SYNC: SignedDuration = SignedDuration::from_secs(15);
/// By how much it varies while nothing is wrong.
const JITTER: SignedDuration = SignedDuration::from_secs(3);
/// How many intervals a Table of depthgauge is about.
const INTERVALS: i32 = 3;

/// Whether there is something to do for a workload; of several metrics, the greatest counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::cli) enum Waiting {
    No,
    /// The metric has no value that shows it.
    Unknown,
    Yes,
}

// === impl Waiting ===

impl Waiting {
    /// By one answer to a request of `hpa`. A fallback counts if depthgauge scaled the workload to
    /// zero, or the HPA scales up itself. It is no evidence of messages otherwise.
    pub(in crate::cli) fn of(hpa: &Autoscaler<'_>, answer: Result<&[Item], &RequestError>) -> Self {
        let scales_up = hpa.scaled_to_zero_since().is_some() || hpa.written().has_scaled_to_zero();
        let counts = |item: &&Item| scales_up || item.policy.as_deref() != Some(Applied::Fallback.as_str());
        match answer {
            // The server may know.
            Err(RequestError::Forbidden(_)) => Self::No,
            Err(_) | Ok([]) => Self::Unknown,
            Ok(items) if items.iter().filter(counts).any(|item| item.quantity > Some(Quantity::ZERO)) => Self::Yes,
            Ok(items) if items.iter().all(|item| counts(&item)) => Self::No,
            Ok(_) => Self::Unknown,
        }
    }
}

/// Problems that the HPA itself shows, or the others of its namespace. `zero` is whether this
/// cluster's HPAs may scale to zero, if that is known.
pub(in crate::cli) fn of(hpa: &Autoscaler<'_>, all: &[Autoscaler<'_>], zero: Option<bool>) -> Vec<Finding> {
    let mut found = Vec::new();
    for question in hpa.questions() {
        found.extend(invalid(hpa, &question));
        found.extend(target(hpa, &question).filter(|_| question.is_ours()));
    }
    found.extend(hpa.metrics().iter().filter_map(|metric| of_another_type(hpa, metric)).map(|(kind, name)| {
        Finding::fail(format!(
            "{} uses {name} with type {kind}: depthgauge's metrics are of type External",
            hpa.title()
        ))
    }));
    found.extend(hpa.written().conditions().filter_map(|condition| unable(hpa, condition)));
    found.extend(label(hpa));
    found.extend(without_effect(hpa.written()).map(|text| Finding::warn(format!("{}: {text}", hpa.title()))));
    found.extend(never_zero(hpa));
    found.extend(refused_zero(hpa, zero));
    found.extend(from_zero(hpa));
    found.extend(rivals(hpa, all));
    found
}

/// A selector that the HPA controller refuses.
fn invalid(hpa: &Autoscaler<'_>, question: &Question) -> Option<Finding> {
    let why = question.selector.as_ref().err()?;
    Some(Finding::fail(format!(
        "{} {}: the HPA controller refuses its selector at each sync, although kube-apiserver accepts it, so this metric never has a value: correct the selector: {why}",
        hpa.title(),
        question.title()
    )))
}

/// The depth of a queue that is not divided among the pods, or a target of another type than the field that it
/// sets.
fn target(hpa: &Autoscaler<'_>, question: &Question) -> Option<Finding> {
    let (target, written) = (question.target?, question.target_type.as_str());
    let (kind, field) = match target {
        Target::Value(_) => ("Value", "value"),
        Target::AverageValue(_) => ("AverageValue", "averageValue"),
    };
    let title = format!("{} {}", hpa.title(), question.title());
    let is_other = !written.is_empty() && written != kind;
    let by_field = || {
        format!(
            "{title} has a target of type {written} that sets {field}. The HPA controller uses the field, so the target counts as type {kind}"
        )
    };
    let multiplies = "At each sync it multiplies the ready pods by the backlog divided by the target, up to maxReplicas or down to minReplicas";
    let text = match (kind == "Value" && question.is_depth(), is_other) {
        (true, false) => format!(
            "{title} has a target of type Value. {multiplies}. For a queue's depth use AverageValue, the messages for each pod"
        ),
        (true, true) => {
            format!("{}. {multiplies}. For a queue's depth, write averageValue instead of value", by_field())
        }
        (false, true) => format!("{}. Write type: {kind}", by_field()),
        (false, false) => return None,
    };
    Some(Finding::warn(text))
}

/// The controller's own status against what is read here: the names of its External metrics, and whether each has a
/// value. The controller names the one that it could not read, as `external metric shop/oci_queue_length/&Label…`.
pub(in crate::cli) fn contradicted(hpa: &Autoscaler<'_>, read: &[(&str, bool)]) -> Option<Finding> {
    let active = hpa.written().condition("ScalingActive").filter(|active| active.status == "False")?;
    if active.reason != "FailedGetExternalMetric" {
        return None;
    }
    let is_named = |(metric, _): &&(&str, bool)| active.message.contains(&format!("/{metric}/"));
    let named: Vec<_> = read.iter().filter(is_named).collect();
    let all_have_values = read.iter().all(|(_, has_value)| *has_value);
    let which = match named.first() {
        _ if all_have_values && !read.is_empty() => "its external metrics have values".to_owned(),
        Some((metric, _)) if named.iter().all(|(_, has_value)| *has_value) => format!("{metric} has a value"),
        _ => return None,
    };
    Some(Finding::warn(format!(
        "{}: its status says {}, although {which} here: if that lasts longer than a sync ({} s by default), the HPA controller gets another answer. Its message: {}",
        hpa.title(),
        active.reason,
        SYNC.as_secs(),
        active.message
    )))
}

/// For a request that has an answer.
pub(in crate::cli) fn unnamed(hpa: &Autoscaler<'_>, question: &Question) -> Option<Finding> {
    let (label, namespace) = (question.unnamed_source()?, hpa.namespace());
    Some(Finding::warn(format!(
        "{} {} names no {label}: it is the sum over every {label} that fits and that namespace {namespace} may read; name one with selector: {{matchLabels: {{{label}: NAME}}}}",
        hpa.title(),
        question.title()
    )))
}

/// What keeps a workload at 0, permanently or for now. `replicas` are those that the workload should have, if that
/// is known: the conditions of the HPA are up to one sync older.
pub(in crate::cli) fn at_zero(
    hpa: &Autoscaler<'_>,
    waiting: Waiting,
    replicas: Option<i32>,
    now: Timestamp,
) -> Option<Finding> {
    if replicas.is_some_and(|replicas| replicas > 0) {
        return None;
    }
    let (title, start) = (hpa.title(), hpa.start_command());
    let own_pods = if hpa.may_read_its_pods() { format!(". {}", zero::finding::OWN_PODS) } else { String::new() };
    if hpa.written().has_scaled_to_zero() {
        let kept = hpa.kept().filter(|kept| kept.state.at_zero)?;
        return match (waiting, zero::decide::stuck(&kept, now)) {
            (Waiting::Yes, Some(why)) => Some(Finding::fail(format!(
                "{title} is stuck at zero: its metrics are above 0, but {why}. To start one replica: {start}"
            ))),
            (Waiting::Unknown, _) => Some(Finding::warn(format!(
                "{title}: scaled to zero and its metric is unavailable, so it can't scale up{own_pods}. To start one replica: {start}"
            ))),
            _ => None,
        };
    }
    if !hpa.written().is_disabled() {
        return None;
    }
    let Some(since) = hpa.scaled_to_zero_since() else {
        let text = |what| {
            format!(
                "{title} is disabled, because another client set its workload to 0{what}. To start one replica: {start}"
            )
        };
        return Some(match waiting {
            Waiting::Yes => Finding::fail(text(", and it is stuck at zero although its metrics are above 0")),
            Waiting::Unknown => Finding::warn(text(", and its metric is unavailable")),
            Waiting::No => Finding::warn(text("")),
        });
    };
    let at_zero = format!("{title}: depthgauge scaled its workload to zero at {since}");
    Some(match (waiting, hpa.is_paused()) {
        (Waiting::No, false) => Finding::ok(format!("{at_zero}, and scales it up when a metric is above 0")),
        (Waiting::No, true) => Finding::ok(format!("{at_zero}, and annotation {PAUSED} keeps it there")),
        (Waiting::Yes, false) => Finding::warn(format!(
            "{at_zero}. Its metrics are above 0, so it should scale up within seconds. If it does not, check that depthgauge runs with --scale-to-zero, and read its log. To start one replica: {start}"
        )),
        (Waiting::Yes, true) => Finding::warn(format!(
            "{at_zero}, and annotation {PAUSED} keeps it there although its metrics are above 0. Remove the annotation, or start one replica: {start}"
        )),
        (Waiting::Unknown, _) => Finding::warn(format!(
            "{at_zero}, and its metric is unavailable, so it can't scale up{own_pods}. To start one replica: {start}"
        )),
    })
}

/// An HPA whose metric is requested less often than the controller syncs by default, by the longest
/// of the latest intervals. At 0 the HPA requests nothing, so an interval that began there says
/// nothing about the controller.
pub(in crate::cli) fn slow(
    hpa: &Autoscaler<'_>,
    question: &Question,
    interval: SignedDuration,
    now: Timestamp,
) -> Option<Finding> {
    let active = hpa.written().condition("ScalingActive").filter(|active| active.status == "True");
    let at_zero = hpa.written().is_disabled() || hpa.kept().is_some_and(|kept| kept.state.at_zero);
    // The interval in which it became active is among the latest for so long.
    let recent = active
        .and_then(|active| active.since)
        .is_some_and(|since| now.duration_since(since) < interval.saturating_mul(INTERVALS));
    (interval > SYNC + JITTER && !at_zero && !recent).then(|| {
        Finding::warn(format!(
            "{} {} was requested at intervals of up to {} s lately, and the HPA controller syncs every {} s by default. Either the HPA controller is behind, as with more than 300 external metrics, or --horizontal-pod-autoscaler-sync-period is longer. With several replicas of depthgauge, another one may have served the requests in between",
            hpa.title(),
            question.title(),
            interval.as_secs(),
            SYNC.as_secs()
        ))
    })
}

/// Whether it requests a metric of depthgauge by a metric type that depthgauge does not serve.
pub(in crate::cli) fn is_misplaced(hpa: &Autoscaler<'_>) -> bool {
    hpa.metrics().iter().any(|metric| of_another_type(hpa, metric).is_some())
}

/// Type and name of a metric of depthgauge in a metric type that depthgauge does not serve.
fn of_another_type<'m>(hpa: &Autoscaler<'_>, metric: &'m Metric) -> Option<(&'m str, &'m str)> {
    let Metric::Other(words) = metric else { return None };
    words.split_once(' ').filter(|(_, name)| hpa.ours.has(&name.to_lowercase()))
}

/// What the controller reports that it cannot do, except for metrics that are requested here as
/// well.
fn unable(hpa: &Autoscaler<'_>, condition: Condition<'_>) -> Option<Finding> {
    let (title, Condition { reason, message, .. }) = (hpa.title(), condition);
    match (condition.name, condition.status, reason) {
        ("AbleToScale", "False", "FailedGetScale") => Some(Finding::fail(format!(
            "{title}: the HPA controller finds nothing to scale: correct scaleTargetRef, or create its workload. Its message: {message}"
        ))),
        ("ScalingActive", "False", "ScalingDisabled" | "FailedGetExternalMetric") => None,
        ("ScalingActive", "False", _) if reason.starts_with("FailedGet") => Some(Finding::warn(format!(
            "{title}: the HPA controller cannot read another metric, and does not scale down meanwhile. Its message: {reason}: {message}"
        ))),
        ("AbleToScale" | "ScalingActive", "False", _) => {
            Some(Finding::fail(format!("{title}: the HPA controller cannot scale. Its message: {reason}: {message}")))
        }
        _ => None,
    }
}

/// What prevents an HPA with depthgauge's label from scaling to zero.
fn label(hpa: &Autoscaler<'_>) -> Option<Finding> {
    let found = zero::finding::Finding::of_label(&hpa.kept()?)?;
    Some(Finding::warn(format!("{}: {}", hpa.title(), found.text)))
}

/// Labels and annotations of depthgauge that change nothing, as they are written.
fn without_effect(hpa: Hpa<'_>) -> impl Iterator<Item = String> {
    const ANNOTATIONS: [&str; 5] = [COOLDOWN, FAST_ACTIVATION, PAUSED, RECOVER_STUCK, ZERO_BY];
    const WRITTEN: [&str; 3] = [SCALED_TO_ZERO_SINCE, ZERO_SINCE, ZERO_OF];
    let (labelled, native) = (is_labelled(hpa), hpa.sizes().min == 0);
    let labels = hpa.labels().filter_map(|(key, value)| match key {
        LABEL if matches!(value, "true" | "false") => None,
        LABEL => Some(format!("label {key} is {value:?} and has no effect: write \"true\"")),
        _ if ANNOTATIONS.contains(&key) => Some(format!("label {key} has no effect: set it as an annotation")),
        _ => key
            .starts_with(PREFIX)
            .then(|| format!("label {key} is unknown and has no effect: the only label is {LABEL}")),
    });
    let annotations = hpa.annotations().filter_map(move |(key, value)| match key {
        LABEL => Some(format!("annotation {key} has no effect: set it as a label")),
        FAST_ACTIVATION | RECOVER_STUCK if !matches!(value, "true" | "false") => {
            Some(format!("annotation {key} is {value:?} and has no effect: write \"true\""))
        }
        COOLDOWN | FAST_ACTIVATION | RECOVER_STUCK | ZERO_BY if !labelled => {
            Some(format!("annotation {key} has no effect without label {LABEL}=true"))
        }
        _ if ANNOTATIONS.contains(&key) || WRITTEN.contains(&key) => None,
        _ => key.starts_with(PREFIX).then(|| {
            format!("annotation {key} is unknown and has no effect: known annotations are {}", ANNOTATIONS.join(", "))
        }),
    });
    let acts = [FAST_ACTIVATION, RECOVER_STUCK].iter().any(|key| hpa.annotation(key) == Some("true"));
    let label = (labelled && native && !acts).then(|| {
        format!("label {LABEL} has no effect with minReplicas 0, because the HPA scales to zero itself. With annotation {FAST_ACTIVATION}=true, depthgauge scales it up from zero")
    });
    labels.chain(annotations).chain(label)
}

/// A metric of pods has no value without pods, so the controller never goes to 0 by it.
fn never_zero(hpa: &Autoscaler<'_>) -> Option<Finding> {
    let of_pods = hpa.metrics().into_iter().find_map(|metric| match metric {
        Metric::Other(words) if !words.starts_with("Object") => Some(words),
        _ => None,
    });
    let words = of_pods.filter(|_| hpa.written().sizes().min == 0)?;
    Some(Finding::warn(format!(
        "{} has minReplicas 0 and never gets there, because it also scales on {words}, which idle pods still use: remove that metric, or set minReplicas 1. With --scale-to-zero, minReplicas 1, label {}=true and annotation {}=external, that metric does not count at zero",
        hpa.title(),
        LABEL,
        ZERO_BY
    )))
}

fn refused_zero(hpa: &Autoscaler<'_>, zero: Option<bool>) -> Option<Finding> {
    (hpa.written().sizes().min == 0 && zero == Some(false)).then(|| {
        Finding::warn(format!(
            "{} has minReplicas 0, which needs feature gate HPAScaleToZero, by default off before 1.37: enable it, or set minReplicas 1",
            hpa.title()
        ))
    })
}

/// A metric that is read from pods. The label of depthgauge is reported by itself.
fn from_zero(hpa: &Autoscaler<'_>) -> Option<Finding> {
    let of_pods = hpa.questions().into_iter().find(|question| question.is_of_pods);
    let question = of_pods.filter(|_| hpa.written().sizes().min == 0 && !hpa.is_labelled())?;
    Some(Finding::warn(format!(
        "{} has minReplicas 0, and {} can't scale up from zero: it is read from pods, and at zero there are none. Set minReplicas 1, or use a metric that exists without them",
        hpa.title(),
        question.title()
    )))
}

/// Two HPAs on one workload undo what the other did. The controller refuses both (AmbiguousSelector)
/// only at a sync that reads metrics, and only once both have come that far. An HPA that finds a size
/// beyond its own bounds sets it back without metrics, so it never comes that far.
fn rivals(hpa: &Autoscaler<'_>, all: &[Autoscaler<'_>]) -> Option<Finding> {
    let workload = hpa.workload();
    // The controller takes a kind in lower case, too, and each version of its group.
    let reference = workload.reference();
    let same = |other: &&Autoscaler<'_>| {
        other.namespace() == hpa.namespace() && other.name() != hpa.name() && other.workload().reference() == reference
    };
    let mut others: Vec<&str> = all.iter().filter(same).map(Autoscaler::name).collect();
    others.sort_unstable();
    (!others.is_empty()).then(|| {
        Finding::fail(format!(
            "{} is not the only HPA on {} {}, there is also {}: they conflict. Each sets its own size at its own sync and undoes the other's, or the controller stops both with AmbiguousSelector. Put the metrics of all into one HPA and delete the others",
            hpa.title(),
            workload.kind,
            workload.name,
            others.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests;
