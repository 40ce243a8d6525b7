//! What an HPA asks of us, and what of others. Pure.

use k8s_openapi::api::autoscaling::v2::{MetricSpec, MetricTarget};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::hpa::{Target, quantity};
use crate::lookup;
use crate::metric::MetricName;
use crate::selector::Selector;

/// An External metric of ours, and how much of it one pod takes.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Which one.
    pub name: MetricName,
    /// As the controller asks with it, or why it cannot be asked.
    pub selector: Result<Selector, String>,
    /// `None` if it says none, and then it asks for nothing.
    pub target: Option<Target>,
}

// === impl Metric ===

impl Metric {
    /// `oci_queue_length{queue=orders}`
    pub fn title(&self) -> String {
        let name = self.name;
        match &self.selector {
            Ok(selector) => match selector.to_string() {
                text if text.is_empty() => name.to_string(),
                text => format!("{name}{{{text}}}"),
            },
            Err(_) => name.to_string(),
        }
    }
}

/// Those that we serve, and the others in words.
pub(super) fn of(specs: &[MetricSpec]) -> (Vec<Metric>, Vec<String>) {
    let known = lookup::metrics();
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for spec in specs {
        let asked = spec.external.as_ref().map(|external| (&external.metric, &external.target));
        let found = asked.and_then(|(metric, target)| {
            let name = known.iter().find(|known| known.as_str() == metric.name)?;
            Some((*name, metric, target))
        });
        match found {
            Some((name, metric, target)) => ours.push(Metric {
                name,
                selector: Selector::parse(&selector(metric.selector.as_ref())).map_err(|error| error.to_string()),
                target: target_of(target),
            }),
            None => others.push(words(spec)),
        }
    }
    (ours, others)
}

fn target_of(target: &MetricTarget) -> Option<Target> {
    let milli = |written: &Quantity| quantity::milli(&written.0).filter(|milli| *milli > 0);
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
