//! What decides whether an HPA may be at 0: its metrics that depthgauge serves, its Object metrics
//! beside them, those that are never 0, and what a metric reads. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{MetricSpec, MetricTarget};
use k8s_openapi::apimachinery::pkg::api::resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::workload::Workload;
use crate::hpa::Target;
use crate::metric::quantity::Quantity;
use crate::metric::{MetricName, names};
use crate::selector::Selector;

/// A metric that may read 0, and how much of it one pod takes.
#[derive(Clone, Debug)]
pub struct Metric {
    /// What is asked.
    pub question: Question,
    /// `None` if it says none, and then it asks for nothing.
    pub target: Option<Target>,
}

/// What an HPA asks by a metric.
#[derive(Clone, Debug)]
pub enum Question {
    /// An External metric of ours.
    Ours {
        /// Which one.
        name: MetricName,
        /// As the controller asks with it, or why it cannot be asked.
        selector: Result<Selector, String>,
    },
    /// An Object metric, which another server answers.
    Object(ObjectMetric),
}

/// A number about one object, of `custom.metrics.k8s.io`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ObjectMetric {
    /// `requests-per-second`
    pub name: String,
    /// As the controller asks with it; empty for none.
    pub selector: String,
    /// What it is about, in the HPA's namespace or that namespace itself.
    pub object: Workload,
}

/// What a metric reads: what the HPA would be served, activation and fallback applied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Told {
    /// All its sources were read.
    Value {
        /// The sum of its items.
        sum: Quantity,
        /// When the first item was read.
        first: Timestamp,
        /// When the last item was read.
        last: Timestamp,
    },
    /// The value is not known; the configured fallback is served.
    Fallback(Quantity),
    /// The value is not known: the error message.
    Unknown(Arc<str>),
}

// === impl Metric ===

impl Metric {
    /// `oci_queue_length{queue=orders}`, `requests of ingress.networking.k8s.io/web`
    pub fn title(&self) -> String {
        match &self.question {
            Question::Ours { name, selector: Ok(selector) } => names::title(name.as_str(), &selector.to_string()),
            Question::Ours { name, .. } => name.to_string(),
            Question::Object(metric) => metric.title(),
        }
    }

    /// What it asks of others.
    pub fn object(&self) -> Option<&ObjectMetric> {
        match &self.question {
            Question::Ours { .. } => None,
            Question::Object(metric) => Some(metric),
        }
    }
}

// === impl ObjectMetric ===

impl ObjectMetric {
    /// `requests{path=/} of ingress.networking.k8s.io/web`
    pub fn title(&self) -> String {
        format!("{} of {}", names::title(&self.name, &self.selector), self.object.reference())
    }
}

// === impl Told ===

impl Told {
    /// Whether the value is known and is 0.
    pub fn is_zero(&self) -> bool {
        matches!(self, Self::Value { sum, .. } if *sum <= Quantity::ZERO)
    }

    /// What is served, known or not.
    pub fn said(&self) -> Option<Quantity> {
        match self {
            Self::Value { sum, .. } | Self::Fallback(sum) => Some(*sum),
            Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { sum, .. } => write!(f, "{}", sum.decimal()),
            Self::Fallback(sum) => write!(f, "not known, its fallback is {}", sum.decimal()),
            Self::Unknown(_) => f.write_str("not known"),
        }
    }
}

/// Those that we serve, with Object metrics beside them where these count, and the others in words.
pub(super) fn of(
    specs: &[MetricSpec],
    objects_count: bool,
    known: &BTreeSet<MetricName>,
) -> (Vec<Metric>, Vec<String>) {
    let any_of_ours = specs.iter().any(|spec| ours(known, spec).is_some());
    let (mut metrics, mut others) = (Vec::new(), Vec::new());
    for spec in specs {
        let object = || object(spec).filter(|_| objects_count && any_of_ours);
        match ours(known, spec).or_else(object) {
            Some(metric) => metrics.push(metric),
            None => others.push(words(spec)),
        }
    }
    (metrics, others)
}

fn ours(known: &BTreeSet<MetricName>, spec: &MetricSpec) -> Option<Metric> {
    let external = spec.external.as_ref()?;
    let name = known.get(external.metric.name.as_str())?.clone();
    let selector = Selector::parse(&selector(external.metric.selector.as_ref())).map_err(|error| error.to_string());
    Some(Metric { question: Question::Ours { name, selector }, target: target_of(&external.target) })
}

fn object(spec: &MetricSpec) -> Option<Metric> {
    let source = spec.object.as_ref()?;
    let described = &source.described_object;
    let metric = ObjectMetric {
        name: source.metric.name.clone(),
        selector: selector(source.metric.selector.as_ref()),
        object: Workload {
            api_version: described.api_version.clone().unwrap_or_default(),
            kind: described.kind.clone(),
            name: described.name.clone(),
        },
    };
    Some(Metric { question: Question::Object(metric), target: target_of(&source.target) })
}

fn target_of(target: &MetricTarget) -> Option<Target> {
    let milli =
        |written: &resource::Quantity| Quantity::parse(&written.0).map(Quantity::milli).filter(|milli| *milli > 0);
    match (&target.average_value, &target.value) {
        (Some(written), _) => milli(written).map(Target::AverageValue),
        (None, written) => milli(written.as_ref()?).map(Target::Value),
    }
}

/// `Resource cpu`
fn words(spec: &MetricSpec) -> String {
    let name = spec.resource.as_ref().map(|resource| &resource.name);
    let name = name.or(spec.container_resource.as_ref().map(|resource| &resource.name));
    let name = name.or(spec.external.as_ref().map(|external| &external.metric.name));
    let name = name.or(spec.pods.as_ref().map(|pods| &pods.metric.name));
    let name = name.or(spec.object.as_ref().map(|object| &object.metric.name));
    match name {
        Some(name) => format!("{} {name}", spec.type_),
        None => spec.type_.clone(),
    }
}

/// A LabelSelector as the controller writes it into the query.
fn selector(written: Option<&LabelSelector>) -> String {
    let Some(written) = written else { return String::new() };
    let equal = written.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = written.match_expressions.iter().flatten().map(|expression| {
        let (key, values) = (&expression.key, expression.values.as_deref().unwrap_or_default().join(","));
        match expression.operator.as_str() {
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.clone(),
            "DoesNotExist" => format!("!{key}"),
            _ => format!("{key} in ({values})"),
        }
    });
    equal.chain(expressions).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use crate::source::{KINDS, fixed_metrics};
    use serde_json::{Value, json};

    use super::*;

    fn queue() -> Value {
        json!({"type": "External", "external": {
            "metric": {"name": "oci_queue_length"}, "target": {"type": "AverageValue", "averageValue": "2"}}})
    }

    fn requests() -> Value {
        json!({"type": "Object", "object": {
            "metric": {"name": "requests", "selector": {"matchLabels": {"path": "/"}}},
            "describedObject": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "web"},
            "target": {"type": "Value", "value": "1500m"}}})
    }

    fn read(specs: &[Value], objects_count: bool) -> (Vec<String>, Vec<String>) {
        let specs: Vec<MetricSpec> = serde_json::from_value(json!(specs)).unwrap();
        let (metrics, others) = of(&specs, objects_count, &fixed_metrics(KINDS));
        (metrics.iter().map(Metric::title).collect(), others)
    }

    #[test]
    fn an_object_metric_counts_beside_ours_and_where_we_put_to_sleep() {
        let ours = "oci_queue_length".to_owned();
        let object = "requests{path=/} of ingress.networking.k8s.io/web".to_owned();
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
    fn what_an_object_metric_asks_for() {
        let specs: Vec<MetricSpec> = serde_json::from_value(json!([queue(), requests()])).unwrap();
        let (metrics, _) = of(&specs, true, &fixed_metrics(KINDS));
        let object =
            Workload { api_version: "networking.k8s.io/v1".into(), kind: "Ingress".into(), name: "web".into() };
        let expected = ObjectMetric { name: "requests".into(), selector: "path=/".into(), object };
        assert_eq!((metrics[1].object(), metrics[1].target), (Some(&expected), Some(Target::Value(1500))));
        assert_eq!((metrics[0].object(), metrics[0].target), (None, Some(Target::AverageValue(2000))));
    }
}
