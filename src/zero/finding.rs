//! What is wrong with an HPA, each with the command or the change that helps. Pure.
//!
//! The text stays the same while the problem lasts. It becomes an Event on the HPA, a gauge, a line
//! in `/readyz?verbose`, and data for the status page.

use std::sync::Arc;

use super::autoscaler::{Autoscaler, LABEL, RECOVER_STUCK, ZERO_BY};
use super::metrics::Metric;

/// Something that keeps a workload from going to zero, or from coming back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What it is.
    pub problem: Problem,
    /// What is wrong and what helps, for users.
    pub text: Arc<str>,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Problem {
    /// 0 replicas, messages are waiting, and the HPA is not going to act.
    StuckAtZero,
    /// 0 replicas, and a metric is unavailable, so messages may be waiting.
    MetricUnavailableAtZero,
    /// Labelled, and depthgauge serves none of its metrics.
    NoMetric,
    /// Labelled, and the HPA controller refuses the selector of a metric.
    InvalidSelector,
    /// Labelled, and another metric never allows 0 replicas.
    OtherMetrics,
    /// Labelled, and an Object metric is unavailable.
    MetricUnavailable,
    /// Labelled, and an annotation is not what it should be.
    Annotation,
    /// Its workload cannot be read or scaled. It does not exist, has no scale subresource, or a
    /// right is missing, or kube-apiserver or a webhook has refused for a minute.
    Scale,
}

// === impl Problem ===

impl Problem {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::StuckAtZero,
        Self::MetricUnavailableAtZero,
        Self::NoMetric,
        Self::InvalidSelector,
        Self::OtherMetrics,
        Self::MetricUnavailable,
        Self::Annotation,
        Self::Scale,
    ];

    /// As the reason of an Event.
    pub fn reason(self) -> &'static str {
        match self {
            Self::StuckAtZero => "StuckAtZero",
            Self::MetricUnavailableAtZero => "MetricUnavailableAtZero",
            Self::NoMetric => "NoDepthgaugeMetric",
            Self::InvalidSelector => "InvalidSelector",
            Self::OtherMetrics => "ScaleToZeroBlocked",
            Self::MetricUnavailable => "MetricUnavailable",
            Self::Annotation => "BadAnnotation",
            Self::Scale => "CannotScale",
        }
    }

    /// What it means and what helps, for the reference in the documentation. `text` of a [`Finding`] has
    /// the details of one HPA.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::StuckAtZero => {
                "The workload has no replicas, a metric exceeds 0, and the HPA does not scale it up. The message has the command that starts one replica."
            }
            Self::MetricUnavailableAtZero => {
                "The workload has no replicas, and a metric is unavailable, so it can't be scaled up. The message has the cause, and the command that starts one replica."
            }
            Self::NoMetric => "The HPA has the label, and none of its metrics is depthgauge's. Remove the label.",
            Self::InvalidSelector => {
                "The HPA has the label, and the HPA controller refuses the selector of a metric. Correct the selector."
            }
            Self::OtherMetrics => {
                "The HPA has the label, and another metric keeps the workload above zero. The message names the metric, and what you can change."
            }
            Self::MetricUnavailable => {
                "The HPA has the label, and a metric of another server is unavailable. The workload is not scaled to zero until it is available. The message has the cause."
            }
            Self::Annotation => "An annotation of the HPA has an invalid value. The message names it.",
            Self::Scale => {
                "The workload can't be read or scaled. The message has the cause: no such object, no scale subresource, a missing right, or a refusal of kube-apiserver or a webhook for a minute."
            }
        }
    }

    /// As a label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StuckAtZero => "stuck_at_zero",
            Self::MetricUnavailableAtZero => "metric_unavailable_at_zero",
            Self::NoMetric => "no_metric",
            Self::InvalidSelector => "invalid_selector",
            Self::OtherMetrics => "other_metrics",
            Self::MetricUnavailable => "metric_unavailable",
            Self::Annotation => "annotation",
            Self::Scale => "scale",
        }
    }
}

// === impl Finding ===

/// What may be wrong with a metric that has no value while there are no replicas.
pub const OWN_PODS: &str =
    "If this metric comes from the workload's own pods, it can't scale them up from zero: use another metric";

impl Finding {
    fn new(problem: Problem, text: String) -> Self {
        Self { problem, text: text.into() }
    }

    pub(super) fn stuck_at_zero(hpa: &Autoscaler, waiting: &str, why: &str) -> Self {
        let (start, name) = (hpa.start_command(), &hpa.name);
        let label = if hpa.labelled { "" } else { " and label depthgauge.dev/scale-to-zero=true" };
        Self::new(
            Problem::StuckAtZero,
            format!(
                "{waiting} is above 0, but the workload has no replicas, and {why}. To start one replica: {start}. To let depthgauge recover it each time, set annotation {RECOVER_STUCK}=true{label} on HPA {name}"
            ),
        )
    }

    /// `why` is last, because it may end with YAML that is to be copied.
    pub(super) fn metric_unavailable_at_zero(hpa: &Autoscaler, why: &str, a_fallback_helps: bool) -> Self {
        let start = hpa.start_command();
        let fallback = if a_fallback_helps { " With a fallback, it scales up by itself." } else { "" };
        Self::new(
            Problem::MetricUnavailableAtZero,
            format!(
                "scaled to zero, and its metric is unavailable, so it can't scale up. To start one replica: {start}.{fallback} Cause: {why}"
            ),
        )
    }

    /// A metric that existed until the workload was scaled to zero.
    pub(super) fn no_items(hpa: &Autoscaler, metric: &str, why: &str) -> Self {
        let start = hpa.start_command();
        Self::new(
            Problem::MetricUnavailableAtZero,
            format!(
                "{metric} has no value while there are no replicas. {OWN_PODS}. To start one replica: {start}. Cause: {why}"
            ),
        )
    }

    /// It has replicas, and keeps them while an Object metric is unavailable.
    pub(super) fn unavailable_above_zero(why: &str) -> Self {
        Self::new(Problem::MetricUnavailable, format!("is not scaled to zero while a metric is unavailable: {why}"))
    }

    /// What keeps an HPA that carries the label from going to zero, whatever its metrics read;
    /// `None` too for one that does not carry it.
    pub fn of_label(hpa: &Autoscaler) -> Option<Self> {
        let obstacle = if hpa.labelled { Self::obstacle(hpa) } else { None };
        obstacle.or_else(|| Some(Self::annotation(hpa.cooldown.as_ref().err().filter(|_| hpa.is_kept())?)))
    }

    /// What does so to a labelled one, its annotations aside.
    pub(super) fn obstacle(hpa: &Autoscaler) -> Option<Self> {
        let Autoscaler { metrics, others, external_only, .. } = hpa;
        if metrics.is_empty() {
            return Some(Self::new(
                Problem::NoMetric,
                format!("label {LABEL} has no effect: this HPA uses no metric of depthgauge"),
            ));
        }
        if let Some((metric, why)) = metrics.iter().find_map(Metric::invalid) {
            return Some(Self::new(
                Problem::InvalidSelector,
                format!(
                    "is not scaled to zero: the HPA controller refuses the selector of {metric}, so this metric has no value: {why}. Correct the selector, or remove label {LABEL}"
                ),
            ));
        }
        if let Some(metric) = metrics.iter().find(|metric| metric.is_of_pods) {
            return Some(Self::read_from_pods(&metric.title(), hpa.is_native()));
        }
        if hpa.is_native() {
            let of_pods = others.iter().find(|words| !words.starts_with("External") && !words.starts_with("Object"));
            return of_pods.map(|words| {
                Self::new(
                    Problem::OtherMetrics,
                    format!(
                        "never reaches zero: this HPA also scales on {words}, which idle pods still use. Remove that metric, or set minReplicas to 1 and annotation {ZERO_BY}=external"
                    ),
                )
            });
        }
        let external_only = match external_only {
            Ok(external_only) => *external_only,
            Err(why) => return Some(Self::annotation(why)),
        };
        let (foreign, of_pods): (Vec<&str>, Vec<&str>) =
            others.iter().map(String::as_str).partition(|words| words.starts_with("External"));
        let text = if !foreign.is_empty() {
            format!(
                "{} has no value, because depthgauge serves the external metrics of this cluster and has no such metric. Remove it from this HPA, or remove label {LABEL}",
                foreign.join(", ")
            )
        } else if !of_pods.is_empty() && !external_only {
            format!(
                "{} is a metric of running pods: idle pods still use it, and at zero there are none. Set annotation {ZERO_BY}=external to ignore it at zero, remove it from this HPA, or remove label {LABEL}",
                of_pods.join(", ")
            )
        } else {
            return None;
        };
        Some(Self::new(Problem::OtherMetrics, format!("is never scaled to zero: {text}")))
    }

    /// `title` is a metric that has no value without pods.
    fn read_from_pods(title: &str, is_native: bool) -> Self {
        let (effect, remedy) = match is_native {
            true => ("can't scale up from zero", "set minReplicas to 1".to_owned()),
            false => ("is never scaled to zero", format!("remove label {LABEL}")),
        };
        let text = format!(
            "{effect}: {title} is read from pods, and at zero there are none. Remove it from this HPA, or {remedy}"
        );
        Self::new(Problem::OtherMetrics, text)
    }

    pub(super) fn annotation(why: &str) -> Self {
        Self::new(Problem::Annotation, format!("is not scaled to zero: {why}"))
    }

    /// `None` for an HPA that depthgauge is not to scale.
    pub(super) fn scale(hpa: &Autoscaler, why: &str) -> Option<Self> {
        hpa.is_ours().then(|| Self::new(Problem::Scale, format!("depthgauge cannot scale its workload: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::autoscaler::tests::hpa;
    use super::*;

    #[test]
    fn a_metric_that_is_read_from_pods_keeps_a_workload_from_zero() {
        for (min, said) in [
            (
                1,
                "is never scaled to zero: oci_queue_length{queue=orders} is read from pods, and at zero there are none. Remove it from this HPA, or remove label depthgauge.dev/scale-to-zero",
            ),
            (
                0,
                "can't scale up from zero: oci_queue_length{queue=orders} is read from pods, and at zero there are none. Remove it from this HPA, or set minReplicas to 1",
            ),
        ] {
            let mut hpa = hpa(&json!({"spec": {"minReplicas": min}}));
            assert_eq!(Finding::of_label(&hpa), None);
            hpa.metrics[0].is_of_pods = true;
            let found = Finding::of_label(&hpa).unwrap();
            assert_eq!((found.problem, &*found.text), (Problem::OtherMetrics, said));
        }
    }
}
