//! An HPA as kube-apiserver has it, read for what `check` and `explain` say of it. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::told;
use super::wire::Wire;
use crate::hpa::{Spec, Target, Tolerance};
use crate::metric::quantity::{Quantity, float};
use crate::metric::{CATEGORY, MetricName};
use crate::request::PREFIX;
use crate::source::{KINDS, fixed_metrics, kind_of};
use crate::zero;

pub(super) mod warnings;

/// An `autoscaling/v2` HorizontalPodAutoscaler.
#[derive(Clone, Copy)]
pub(super) struct Autoscaler<'o> {
    pub(super) object: &'o Value,
    /// The metrics of depthgauge.
    pub(super) ours: &'o Metrics,
}

/// The metrics that depthgauge has, as discovery lists them.
pub(super) struct Metrics(BTreeSet<MetricName>);

/// What it scales.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Workload<'o> {
    pub(super) api_version: &'o str,
    pub(super) kind: &'o str,
    pub(super) name: &'o str,
}

/// One entry of its `metrics`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Metric {
    External(Question),
    /// One that other servers answer, in words.
    Other(String),
}

/// What it asks of `external.metrics.k8s.io`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub(super) metric: String,
    /// As the controller writes it into the query.
    pub(super) selector: String,
    pub(super) path: String,
    /// `None` for a target that is no number of the controller's.
    pub(super) target: Option<Target>,
    /// Keys whose values it names, so that there is no more than it knows of.
    named: Vec<String>,
    is_ours: bool,
}

/// One of its conditions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Condition<'o> {
    pub(super) name: &'o str,
    pub(super) status: &'o str,
    pub(super) reason: &'o str,
    pub(super) message: &'o str,
}

// === impl Metrics ===

impl Metrics {
    /// Those that each depthgauge has, and those that the server of the cluster has now.
    pub(super) async fn read(wire: &Wire) -> Self {
        // The registration is checked by itself.
        let list = wire.get(PREFIX).await.unwrap_or_default();
        Self::of(&list)
    }

    /// Those that each depthgauge has, and those of an `APIResourceList` that are in our category.
    fn of(list: &Value) -> Self {
        let is_ours = |resource: &&Value| {
            resource["categories"].as_array().into_iter().flatten().any(|category| category == CATEGORY)
        };
        let resources = list["resources"].as_array().into_iter().flatten().filter(is_ours);
        let listed = resources.filter_map(|resource| resource["name"].as_str());
        Self(listed.map(MetricName::chosen).chain(fixed_metrics(KINDS)).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

// === impl Autoscaler ===

impl<'o> Autoscaler<'o> {
    pub(super) fn namespace(&self) -> &'o str {
        self.object["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &'o str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `shop/dummy`
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    pub(super) fn workload(&self) -> Workload<'o> {
        let part = |field: &str| self.object["spec"]["scaleTargetRef"][field].as_str().unwrap_or_default();
        Workload { api_version: part("apiVersion"), kind: part("kind"), name: part("name") }
    }

    /// What wakes its workload when it does not.
    pub(super) fn wake_command(&self) -> String {
        let Workload { api_version, kind, name } = self.workload();
        let [api_version, kind, name] = [api_version, kind, name].map(str::to_owned);
        let least = u32::try_from(self.spec().min).unwrap_or_default();
        zero::workload::Workload { api_version, kind, name }.wake_command(self.namespace(), least)
    }

    /// Sizes and tolerance. What kube-apiserver does not know of `tolerance` it drops, so what is
    /// there is obeyed.
    pub(super) fn spec(&self) -> Spec {
        let spec = &self.object["spec"];
        let number = |field: &str, default| {
            let number = spec[field].as_i64().unwrap_or(default);
            i32::try_from(number).unwrap_or(i32::MAX)
        };
        let usual = Tolerance::default();
        let tolerance =
            |direction: &str, usual| spec["behavior"][direction]["tolerance"].as_str().and_then(float).unwrap_or(usual);
        let (up, down) = (tolerance("scaleUp", usual.up), tolerance("scaleDown", usual.down));
        Spec { min: number("minReplicas", 1), max: number("maxReplicas", 1), tolerance: Tolerance { up, down } }
    }

    /// Whether it says how fast it may grow.
    pub(super) fn has_behavior(&self) -> bool {
        self.object["spec"]["behavior"].is_object()
    }

    pub(super) fn metrics(&self) -> Vec<Metric> {
        let metrics = self.object["spec"]["metrics"].as_array().into_iter().flatten();
        metrics.map(|metric| Metric::of(self.namespace(), metric, self.ours)).collect()
    }

    /// All that it asks of `external.metrics.k8s.io`, where depthgauge is whoever answers.
    pub(super) fn questions(&self) -> Vec<Question> {
        let external = |metric| match metric {
            Metric::External(question) => Some(question),
            Metric::Other(_) => None,
        };
        self.metrics().into_iter().filter_map(external).collect()
    }

    /// Those that depthgauge has a value for.
    pub(super) fn our_questions(&self) -> Vec<Question> {
        self.questions().into_iter().filter(Question::is_ours).collect()
    }

    pub(super) fn conditions(&self) -> impl Iterator<Item = Condition<'o>> {
        self.object["status"]["conditions"].as_array().into_iter().flatten().map(|condition| {
            let part = |field: &str| condition[field].as_str().unwrap_or_default();
            Condition { name: part("type"), status: part("status"), reason: part("reason"), message: part("message") }
        })
    }

    pub(super) fn condition(&self, name: &str) -> Option<Condition<'o>> {
        self.conditions().find(|condition| condition.name == name)
    }

    /// Whether depthgauge shall scale its workload to zero and back.
    pub(super) fn is_labelled(&self) -> bool {
        is_labelled(self.object)
    }

    /// Whether its workload is at 0, so that it looks at no metric.
    pub(super) fn rests(&self) -> bool {
        self.condition("ScalingActive").is_some_and(|condition| condition.reason == "ScalingDisabled")
    }

    /// Since when depthgauge has it at 0.
    pub(super) fn asleep_since(&self) -> Option<&'o str> {
        self.annotation(zero::autoscaler::SCALED_TO_ZERO_SINCE)
    }

    /// Whether it is to be left as it is.
    pub(super) fn is_paused(&self) -> bool {
        self.annotation(zero::autoscaler::PAUSED).is_some_and(|value| value != "false")
    }

    /// As the server sees it; `None` if it is none of its business.
    pub(super) fn kept(&self) -> Option<zero::autoscaler::Autoscaler> {
        zero::autoscaler::Autoscaler::of(&serde_json::from_value(self.object.clone()).ok()?, &self.ours.0)
    }

    fn annotation(&self, key: &str) -> Option<&'o str> {
        self.object["metadata"]["annotations"][key].as_str()
    }

    /// Whether it knows that it brought the workload to 0 itself.
    pub(super) fn scaled_to_zero(&self) -> bool {
        self.condition("ScaledToZero").is_some_and(|condition| condition.status == "True")
    }
}

// === impl Metric ===

impl Metric {
    fn of(namespace: &str, written: &Value, ours: &Metrics) -> Self {
        let source = &written["external"]["metric"];
        let (Some("External"), Some(metric)) = (written["type"].as_str(), source["name"].as_str()) else {
            return Self::Other(other(written));
        };
        let (named, selector) = selector(&source["selector"]);
        let target = &written["external"]["target"];
        let number = |field: &str| target[field].as_str().and_then(Quantity::parse).map(Quantity::milli);
        let average = number("averageValue").map(Target::AverageValue);
        Self::External(Question {
            path: told::path(namespace, metric, &selector),
            target: average.or_else(|| number("value").map(Target::Value)),
            named,
            is_ours: ours.has(metric),
            metric: metric.to_owned(),
            selector,
        })
    }
}

// === impl Question ===

impl Question {
    /// `oci_queue_length{queue=orders}`
    pub(super) fn title(&self) -> String {
        told::title(&self.metric, &self.selector)
    }

    /// Whether depthgauge has such a metric.
    pub(super) fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// The label that picks sources, if this question leaves open which. Metrics whose names a config
    /// chooses have none.
    fn unnamed_source(&self) -> Option<&'static str> {
        Some(kind_of(KINDS, &self.metric)?.label)
            .filter(|_| self.is_ours)
            .filter(|label| !self.named.iter().any(|key| key == label))
    }
}

/// Whether depthgauge shall scale the workload of this HPA to zero and back.
pub(super) fn is_labelled(hpa: &Value) -> bool {
    hpa["metadata"]["labels"][zero::autoscaler::LABEL] == "true"
}

/// A metric that is not external, in words: `Resource cpu`.
fn other(written: &Value) -> String {
    let kind = written["type"].as_str().unwrap_or("a metric of no type");
    let mut field = kind.to_owned();
    field.get_mut(..1).map(str::make_ascii_lowercase).unwrap_or_default();
    let source = &written[&field];
    let name = source["name"].as_str().or_else(|| source["metric"]["name"].as_str()).unwrap_or_default();
    format!("{kind} {name}").trim_end().to_owned()
}

/// A LabelSelector as the controller writes it into the query, sorted by key; and the keys whose
/// values it names.
fn selector(written: &Value) -> (Vec<String>, String) {
    let (mut requirements, mut named) = (Vec::new(), Vec::new());
    for (key, value) in written["matchLabels"].as_object().into_iter().flatten() {
        named.push(key.clone());
        requirements.push((key.as_str(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in written["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        requirements.push((
            key,
            match expression["operator"].as_str() {
                Some("NotIn") => format!("{key} notin ({values})"),
                Some("Exists") => key.to_owned(),
                Some("DoesNotExist") => format!("!{key}"),
                _ => {
                    named.push(key.to_owned());
                    format!("{key} in ({values})")
                }
            },
        ));
    }
    requirements.sort_by(|a, b| a.0.cmp(b.0));
    (named, requirements.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
impl<'o> Autoscaler<'o> {
    /// In front of a depthgauge whose config chooses no names of metrics.
    pub(super) fn in_test(object: &'o Value) -> Self {
        static METRICS: std::sync::LazyLock<Metrics> = std::sync::LazyLock::new(|| Metrics::of(&Value::Null));
        Self { object, ours: &METRICS }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_metrics_of_depthgauge_are_those_of_its_category() {
        let list = json!({"resources": [
            {"name": "http_requests", "categories": ["depthgauge"]},
            {"name": "s0-rabbitmq", "categories": ["all"]},
            {"name": "other"},
        ]});
        let metrics = Metrics::of(&list);
        assert_eq!(["http_requests", "s0-rabbitmq", "other"].map(|name| metrics.has(name)), [true, false, false]);
        assert!(Metrics::of(&json!({"kind": "Status"})).has("oci_queue_length"), "whatever the config is");
    }

    use serde_json::json;

    use super::*;

    fn hpa(metrics: &Value) -> Value {
        json!({"metadata": {"namespace": "shop", "name": "dummy"}, "spec": {"maxReplicas": 5, "metrics": metrics}})
    }

    fn external(metric: &Value, target: &Value) -> Value {
        json!({"type": "External", "external": {"metric": metric, "target": target}})
    }

    #[test]
    fn an_hpa_is_asked_for_as_the_controller_asks() {
        let orders = json!({"name": "oci_queue_length", "selector": {"matchLabels": {"queue": "orders"}}});
        let object = hpa(&json!([
            {"type": "Resource", "resource": {"name": "cpu"}},
            external(&orders, &json!({"type": "AverageValue", "averageValue": "1500m"})),
            external(&json!({"name": "sqs_length"}), &json!({"type": "Value", "value": "1k"})),
            {"type": "Object", "object": {"metric": {"name": "hits"}}},
            {"type": "ContainerResource", "containerResource": {"name": "cpu"}},
            {},
        ]));
        let found = Autoscaler::in_test(&object);
        let metrics = found.metrics();
        let [cpu, Metric::External(ours), Metric::External(theirs), hits, container, none] = &metrics[..] else {
            panic!("{metrics:?}")
        };
        let path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/oci_queue_length";
        assert_eq!(ours.path, format!("{path}?labelSelector=queue%3Dorders"));
        assert_eq!(
            (ours.title().as_str(), ours.target),
            ("oci_queue_length{queue=orders}", Some(Target::AverageValue(1500)))
        );
        assert_eq!((theirs.title().as_str(), theirs.target), ("sqs_length", Some(Target::Value(1_000_000))));
        for (metric, words) in [
            (cpu, "Resource cpu"),
            (hits, "Object hits"),
            (container, "ContainerResource cpu"),
            (none, "a metric of no type"),
        ] {
            assert_eq!(*metric, Metric::Other(words.to_owned()));
        }
        assert_eq!(found.our_questions(), std::slice::from_ref(ours), "somebody else's are not ours");
    }

    #[test]
    fn selectors_are_written_sorted_by_key() {
        let written = json!({
            "matchLabels": {"z": "1", "b": "2"},
            "matchExpressions": [
                {"key": "queue", "operator": "In", "values": ["b", "a"]},
                {"key": "c", "operator": "NotIn", "values": ["x"]},
                {"key": "a", "operator": "Exists"},
                {"key": "y", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(selector(&written).1, "a,b=2,c notin (x),queue in (a,b),!y,z=1");
        assert_eq!(selector(&Value::Null), (Vec::new(), String::new()));
    }

    #[test]
    fn what_wakes_a_workload_names_its_group_and_no_fewer_than_its_hpa_wants() {
        let mut object = hpa(&json!([]));
        for (api_version, kind, min, command) in [
            ("apps/v1", "StatefulSet", 0, "statefulset/web --replicas=1"),
            ("example.com/v1", "Worker", 3, "worker.example.com/web --replicas=3"),
        ] {
            object["spec"]["scaleTargetRef"] = json!({"apiVersion": api_version, "kind": kind, "name": "web"});
            object["spec"]["minReplicas"] = json!(min);
            assert_eq!(Autoscaler::in_test(&object).wake_command(), format!("kubectl scale -n shop {command}"));
        }
    }

    #[test]
    fn what_an_hpa_leaves_out_is_as_kubernetes_has_it() {
        let mut object = hpa(&json!([]));
        let spec = Autoscaler::in_test(&object).spec();
        assert_eq!((spec.min, spec.max, spec.tolerance), (1, 5, Tolerance::default()));
        object["spec"]["minReplicas"] = json!(0);
        object["spec"]["behavior"] = json!({"scaleUp": {"tolerance": "50m"}});
        let spec = Autoscaler::in_test(&object).spec();
        assert_eq!((spec.min, spec.tolerance), (0, Tolerance { up: 0.05, down: 0.1 }));
        object["status"] = json!({"conditions": [{"type": "ScaledToZero", "status": "True"}]});
        assert!(Autoscaler::in_test(&object).scaled_to_zero());
    }
}
