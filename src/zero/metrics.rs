//! What decides whether an HPA may be at 0: its metrics that depthgauge serves, and its Object
//! metrics beside them. Also those that are never 0, and what a metric reads. Pure.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::workload::Workload;
use crate::hpa::Target;
use crate::hpa::reader::{Entry, Requested, Source};
use crate::metric::quantity::Quantity;
use crate::metric::{MetricName, MetricSet, names};
use crate::selector::ParseError;
use crate::selector::label_selector::MetricSelector;

/// A metric that may read 0, and how much of it one pod takes.
#[derive(Clone, Debug)]
pub struct Metric {
    /// What is read.
    pub question: Question,
    /// `None` if the spec has none. Such a metric needs no replicas.
    pub target: Option<Target>,
    /// Whether it is read from pods, see [`MetricSet::of_pods`].
    pub is_of_pods: bool,
}

/// What an HPA reads for a metric.
#[derive(Clone, Debug)]
pub enum Question {
    /// An External metric of depthgauge.
    Ours {
        /// Which one.
        name: MetricName,
        /// As the controller requests it.
        selector: MetricSelector,
    },
    /// An Object metric, which another server serves.
    Object(ObjectMetric),
    /// One of these whose selector the HPA controller rejects: it is never read.
    Invalid {
        /// `oci_queue_length`
        name: String,
        /// What is wrong with the selector.
        why: ParseError,
    },
}

/// A number about one object, of `custom.metrics.k8s.io`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ObjectMetric {
    /// `requests-per-second`
    pub name: String,
    /// As the controller sends it; empty for none.
    pub selector: String,
    /// The described object: in the HPA's namespace, or that namespace itself.
    pub object: Workload,
}

/// What a metric reads: what the HPA would be served, activation and fallback applied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MetricValue {
    /// All its sources were read.
    Value {
        /// The sum of its items.
        sum: Quantity,
        /// When the first item was read.
        first: Timestamp,
        /// When the last item was read.
        last: Timestamp,
    },
    /// The value is unknown; the configured fallback is served.
    Fallback(Quantity),
    /// The value is unknown: the error message.
    Unknown(Arc<str>),
    /// The value is unknown, because the metric does not exist, has no items now, or none that is selected.
    Absent(Arc<str>),
}

// === impl Metric ===

impl Metric {
    fn of(entry: &Entry<'_>, requested: &Requested<'_>, question: impl FnOnce(MetricSelector) -> Question) -> Self {
        let question = match requested.selector() {
            Ok(selector) => question(selector),
            Err(why) => Question::Invalid { name: entry.name.clone(), why },
        };
        Self { question, target: requested.target, is_of_pods: false }
    }

    /// `oci_queue_length{queue=orders}`, `requests of ingress.networking.k8s.io/web`
    pub fn title(&self) -> String {
        match &self.question {
            Question::Ours { name, selector } => names::title(name.as_str(), &selector.text),
            Question::Object(metric) => metric.title(),
            Question::Invalid { name, .. } => name.clone(),
        }
    }

    /// The metric, if another server serves it.
    pub fn object(&self) -> Option<&ObjectMetric> {
        match &self.question {
            Question::Ours { .. } | Question::Invalid { .. } => None,
            Question::Object(metric) => Some(metric),
        }
    }

    /// Name and fault of a metric that the HPA controller can't read, because its selector is invalid.
    pub fn invalid(&self) -> Option<(&str, &ParseError)> {
        match &self.question {
            Question::Invalid { name, why } => Some((name, why)),
            Question::Ours { .. } | Question::Object(_) => None,
        }
    }
}

// === impl ObjectMetric ===

impl ObjectMetric {
    /// `requests{path=cart} of ingress.networking.k8s.io/web`
    pub fn title(&self) -> String {
        format!("{} of {}", names::title(&self.name, &self.selector), self.object.reference())
    }
}

// === impl MetricValue ===

impl MetricValue {
    /// Whether the value is known and is 0.
    pub fn is_zero(&self) -> bool {
        matches!(self, Self::Value { sum, .. } if *sum == Quantity::ZERO)
    }

    /// The value that is served: measured, or the fallback.
    pub fn said(&self) -> Option<Quantity> {
        match self {
            Self::Value { sum, .. } | Self::Fallback(sum) => Some(*sum),
            Self::Unknown(_) | Self::Absent(_) => None,
        }
    }
}

impl fmt::Display for MetricValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { sum, .. } => write!(f, "{}", sum.decimal()),
            Self::Fallback(sum) => write!(f, "unknown, its fallback is {}", sum.decimal()),
            Self::Unknown(_) | Self::Absent(_) => f.write_str("unknown"),
        }
    }
}

/// The metrics that depthgauge serves, with Object metrics beside them where these count, and the
/// titles of the others.
pub(super) fn of(entries: &[Entry<'_>], objects_count: bool, known: &MetricSet) -> (Vec<Metric>, Vec<String>) {
    let is_ours =
        |entry: &Entry<'_>| matches!(entry.source, Source::External(_)) && known.all.contains(entry.name.as_str());
    let any_of_ours = entries.iter().any(is_ours);
    let (mut metrics, mut others) = (Vec::new(), Vec::new());
    for entry in entries {
        let object = || object(entry).filter(|_| objects_count && any_of_ours);
        match ours(known, entry).or_else(object) {
            Some(metric) => metrics.push(metric),
            None => others.push(entry.words()),
        }
    }
    (metrics, others)
}

fn ours(known: &MetricSet, entry: &Entry<'_>) -> Option<Metric> {
    let Source::External(requested) = &entry.source else { return None };
    let name = known.all.get(entry.name.as_str())?.clone();
    let is_of_pods = known.of_pods.contains(&name);
    let metric = Metric::of(entry, requested, |selector| Question::Ours { name, selector });
    Some(Metric { is_of_pods, ..metric })
}

fn object(entry: &Entry<'_>) -> Option<Metric> {
    let Source::Object(requested, described) = &entry.source else { return None };
    Some(Metric::of(entry, requested, |selector| {
        let (name, object) = (entry.name.clone(), Workload::from(*described));
        Question::Object(ObjectMetric { name, selector: selector.text, object })
    }))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
    use serde_json::{Value, json};

    use super::*;
    use crate::hpa::reader::Hpa;
    use crate::source::{KINDS, fixed_metrics};

    fn queue() -> Value {
        json!({"type": "External", "external": {
            "metric": {"name": "oci_queue_length"}, "target": {"type": "AverageValue", "averageValue": "2"}}})
    }

    fn requests() -> Value {
        json!({"type": "Object", "object": {
            "metric": {"name": "requests", "selector": {"matchLabels": {"path": "cart"}}},
            "describedObject": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "web"},
            "target": {"type": "Value", "value": "1500m"}}})
    }

    fn metrics(specs: &[Value], objects_count: bool) -> (Vec<Metric>, Vec<String>) {
        let object: HorizontalPodAutoscaler = serde_json::from_value(json!({"spec": {"metrics": specs}})).unwrap();
        of(&Hpa::new(&object).metrics(), objects_count, &fixed_metrics(KINDS).into())
    }

    fn read(specs: &[Value], objects_count: bool) -> (Vec<String>, Vec<String>) {
        let (metrics, others) = metrics(specs, objects_count);
        (metrics.iter().map(Metric::title).collect(), others)
    }

    #[test]
    fn an_object_metric_counts_beside_ours_and_where_we_put_to_sleep() {
        let ours = "oci_queue_length".to_owned();
        let object = "requests{path=cart} of ingress.networking.k8s.io/web".to_owned();
        let other = vec!["Object requests".to_owned()];
        assert_eq!(read(&[requests(), queue()], true), (vec![object, ours.clone()], vec![]));
        assert_eq!(read(&[requests(), queue()], false), (vec![ours], other.clone()));
        assert_eq!(read(&[requests()], true), (vec![], other));
    }

    #[test]
    fn what_never_is_0_never_counts() {
        let pods = json!({"type": "Pods", "pods": {"metric": {"name": "busy"}, "target": {"type": "AverageValue"}}});
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}});
        let mut lag = queue();
        lag["external"]["metric"]["name"] = json!("kafka_lag");
        let others = ["Pods busy", "Resource cpu", "External kafka_lag"].map(str::to_owned).to_vec();
        assert_eq!(read(&[pods, cpu, lag, queue()], true), (vec!["oci_queue_length".to_owned()], others));
    }

    #[test]
    fn a_metric_that_is_read_from_pods_is_marked() {
        let mut set = MetricSet::from(fixed_metrics(KINDS));
        set.of_pods.insert(MetricName::new("oci_queue_length"));
        let mut other = queue();
        other["external"]["metric"]["name"] = json!("oci_queue_visible");
        let object: HorizontalPodAutoscaler =
            serde_json::from_value(json!({"spec": {"metrics": [queue(), other]}})).unwrap();
        let (metrics, _) = of(&Hpa::new(&object).metrics(), true, &set);
        assert_eq!(metrics.iter().map(|metric| metric.is_of_pods).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn what_an_object_metric_asks_for() {
        let (metrics, _) = metrics(&[queue(), requests()], true);
        let object =
            Workload { api_version: "networking.k8s.io/v1".into(), kind: "Ingress".into(), name: "web".into() };
        let expected = ObjectMetric { name: "requests".into(), selector: "path=cart".into(), object };
        assert_eq!((metrics[1].object(), metrics[1].target), (Some(&expected), Some(Target::Value(1500))));
        assert_eq!((metrics[0].object(), metrics[0].target), (None, Some(Target::AverageValue(2000))));
    }

    #[test]
    fn a_metric_whose_selector_the_controller_refuses_is_not_read() {
        let (mut spaced, mut by_path) = (queue(), requests());
        spaced["external"]["metric"]["selector"] = json!({"matchLabels": {"queue": "orders,queue"}});
        by_path["object"]["metric"]["selector"] = json!({"matchLabels": {"path": "/"}});
        let (metrics, others) = metrics(&[spaced, by_path, queue()], true);
        let invalid: Vec<Option<&str>> = metrics.iter().map(|metric| metric.invalid().map(|(name, _)| name)).collect();
        assert_eq!((invalid, others), (vec![Some("oci_queue_length"), Some("requests"), None], vec![]));
    }

    #[test]
    fn a_name_in_capitals_is_the_metric_that_the_controller_requests() {
        let mut capitals = queue();
        capitals["external"]["metric"]["name"] = json!("OCI_QUEUE_LENGTH");
        assert_eq!(read(&[capitals], true), (vec!["oci_queue_length".to_owned()], vec![]));
    }
}
