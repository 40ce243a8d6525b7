//! The one reader of HPAs: an object of `autoscaling/v2`, read as the HPA controller reads it. Pure.
//!
//! Scaling to zero, `check` and `explain` use it, so that all of them request what the controller
//! requests.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus, MetricIdentifier, MetricSpec, MetricTarget,
};
use k8s_openapi::apimachinery::pkg::api::resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Spec, Target, Tolerance};
use crate::metric::quantity::{Quantity, float};
use crate::selector::ParseError;
use crate::selector::label_selector::MetricSelector;

/// An HPA as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Hpa<'o>(&'o HorizontalPodAutoscaler);

/// One entry of `spec.metrics`.
#[derive(Clone, Debug)]
pub struct Entry<'o> {
    /// `External`, `Resource`, …
    pub kind: &'o str,
    /// The metric's name. That of an External metric is in lower case, as client-go requests it.
    pub name: String,
    /// What is read.
    pub source: Source<'o>,
}

/// What an entry of `spec.metrics` reads.
#[derive(Clone, Debug)]
pub enum Source<'o> {
    /// A metric of `external.metrics.k8s.io`.
    External(Requested<'o>),
    /// A metric of one object, of `custom.metrics.k8s.io`.
    Object(Requested<'o>, &'o CrossVersionObjectReference),
    /// Metrics of the workload's pods.
    Pods,
}

/// What a metrics API is requested for.
#[derive(Clone, Debug)]
pub struct Requested<'o> {
    selector: Option<&'o LabelSelector>,
    /// By the field that is set, `averageValue` before `value`; `None` without a positive number.
    pub target: Option<Target>,
    /// `target.type`. The controller ignores it for External metrics.
    pub target_type: &'o str,
}

/// One of the HPA's conditions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Condition<'o> {
    /// `ScalingActive`
    pub name: &'o str,
    /// `True`, `False` or `Unknown`.
    pub status: &'o str,
    /// `FailedGetExternalMetric`
    pub reason: &'o str,
    /// The controller's own words.
    pub message: &'o str,
    /// When the status changed last.
    pub since: Option<Timestamp>,
}

// === impl Hpa ===

impl<'o> Hpa<'o> {
    /// Reads this object.
    pub fn new(object: &'o HorizontalPodAutoscaler) -> Self {
        Self(object)
    }

    /// The namespace of the HPA and of its workload.
    pub fn namespace(self) -> &'o str {
        self.0.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The name of the HPA.
    pub fn name(self) -> &'o str {
        self.0.metadata.name.as_deref().unwrap_or_default()
    }

    /// A label of the HPA.
    pub fn label(self, key: &str) -> Option<&'o str> {
        self.0.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// All labels and values.
    pub fn labels(self) -> impl Iterator<Item = (&'o str, &'o str)> {
        self.0.metadata.labels.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// All annotations and values.
    pub fn annotations(self) -> impl Iterator<Item = (&'o str, &'o str)> {
        self.0.metadata.annotations.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// An annotation of the HPA.
    pub fn annotation(self, key: &str) -> Option<&'o str> {
        self.0.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The object that it scales.
    pub fn target(self) -> Option<&'o CrossVersionObjectReference> {
        Some(&self.spec()?.scale_target_ref)
    }

    /// Sizes and tolerance. kube-apiserver drops a `tolerance` if it does not have that field, so a
    /// `tolerance` in the object is obeyed.
    pub fn sizes(self) -> Spec {
        let usual = Tolerance::default();
        let tolerance = |rules: Option<&HPAScalingRules>, usual| {
            rules.and_then(|rules| float(&rules.tolerance.as_ref()?.0)).unwrap_or(usual)
        };
        let (up, down) = (tolerance(self.scale_up(), usual.up), tolerance(self.scale_down(), usual.down));
        let spec = self.spec();
        Spec {
            min: spec.and_then(|spec| spec.min_replicas).unwrap_or(1),
            max: spec.map_or(1, |spec| spec.max_replicas),
            tolerance: Tolerance { up, down },
        }
    }

    /// Whether `behavior` is set.
    pub fn has_behavior(self) -> bool {
        self.behavior().is_some()
    }

    /// `behavior.scaleUp`
    pub fn scale_up(self) -> Option<&'o HPAScalingRules> {
        self.behavior()?.scale_up.as_ref()
    }

    /// `behavior.scaleDown`
    pub fn scale_down(self) -> Option<&'o HPAScalingRules> {
        self.behavior()?.scale_down.as_ref()
    }

    /// `spec.metrics`
    pub fn metrics(self) -> Vec<Entry<'o>> {
        let specs = self.spec().and_then(|spec| spec.metrics.as_deref());
        specs.unwrap_or_default().iter().map(Entry::of).collect()
    }

    /// All its conditions.
    pub fn conditions(self) -> impl Iterator<Item = Condition<'o>> {
        let conditions = self.status().and_then(|status| status.conditions.as_deref());
        conditions.unwrap_or_default().iter().map(|condition| Condition {
            name: &condition.type_,
            status: &condition.status,
            reason: condition.reason.as_deref().unwrap_or_default(),
            message: condition.message.as_deref().unwrap_or_default(),
            since: condition.last_transition_time.as_ref().map(|time| time.0),
        })
    }

    /// The condition of this name.
    pub fn condition(self, name: &str) -> Option<Condition<'o>> {
        self.conditions().find(|condition| condition.name == name)
    }

    /// Whether the controller reads no metric, because the workload is at 0 and this HPA did not
    /// scale it there.
    pub fn is_disabled(self) -> bool {
        let active = self.condition("ScalingActive");
        active.is_some_and(|condition| condition.status == "False" && condition.reason == "ScalingDisabled")
    }

    /// Whether the HPA has scaled the workload to 0 itself.
    pub fn has_scaled_to_zero(self) -> bool {
        self.condition("ScaledToZero").is_some_and(|condition| condition.status == "True")
    }

    /// Whether its status is of an earlier change of the HPA. Known from Kubernetes 1.37 on, where
    /// kube-apiserver counts the changes and the controller writes which one it has seen.
    pub fn is_status_stale(self) -> bool {
        let observed = self.status().and_then(|status| status.observed_generation);
        observed.zip(self.0.metadata.generation).is_some_and(|(observed, generation)| observed < generation)
    }

    /// `status`
    pub fn status(self) -> Option<&'o HorizontalPodAutoscalerStatus> {
        self.0.status.as_ref()
    }

    fn spec(self) -> Option<&'o HorizontalPodAutoscalerSpec> {
        self.0.spec.as_ref()
    }

    fn behavior(self) -> Option<&'o HorizontalPodAutoscalerBehavior> {
        self.spec()?.behavior.as_ref()
    }
}

// === impl Entry ===

impl<'o> Entry<'o> {
    fn of(spec: &'o MetricSpec) -> Self {
        let kind = spec.type_.as_str();
        match (kind, &spec.external, &spec.object) {
            ("External", Some(external), _) => Self {
                kind,
                name: external.metric.name.to_lowercase(),
                source: Source::External(Requested::of(&external.metric, &external.target)),
            },
            ("Object", _, Some(object)) => Self {
                kind,
                name: object.metric.name.clone(),
                source: Source::Object(Requested::of(&object.metric, &object.target), &object.described_object),
            },
            _ => Self { kind, name: name_of(spec).unwrap_or_default().to_owned(), source: Source::Pods },
        }
    }

    /// `Resource cpu`
    pub fn words(&self) -> String {
        let kind = if self.kind.is_empty() { "a metric of no type" } else { self.kind };
        format!("{kind} {}", self.name).trim_end().to_owned()
    }
}

fn name_of(spec: &MetricSpec) -> Option<&str> {
    let resource = spec.resource.as_ref().map(|resource| &resource.name);
    let resource = resource.or(spec.container_resource.as_ref().map(|resource| &resource.name));
    Some(resource.or(spec.pods.as_ref().map(|pods| &pods.metric.name))?.as_str())
}

// === impl Requested ===

impl<'o> Requested<'o> {
    fn of(metric: &'o MetricIdentifier, target: &'o MetricTarget) -> Self {
        let positive =
            |written: &resource::Quantity| Quantity::parse(&written.0).map(Quantity::milli).filter(|milli| *milli > 0);
        let number = match (&target.average_value, &target.value) {
            (Some(written), _) => positive(written).map(Target::AverageValue),
            (None, Some(written)) => positive(written).map(Target::Value),
            (None, None) => None,
        };
        Self { selector: metric.selector.as_ref(), target: number, target_type: &target.type_ }
    }

    /// The selector, or why the controller refuses it: the metric has no value then.
    pub fn selector(&self) -> Result<MetricSelector, ParseError> {
        MetricSelector::of(self.selector)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(spec: &Value) -> HorizontalPodAutoscaler {
        serde_json::from_value(json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": spec})).unwrap()
    }

    fn external(metric: &Value, target: &Value) -> Value {
        json!({"type": "External", "external": {"metric": metric, "target": target}})
    }

    #[test]
    fn an_external_metric_is_requested_in_lower_case_and_others_as_they_are_written() {
        let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "web"});
        let object = object(&json!({"metrics": [
            external(&json!({"name": "OCI_Queue_LENGTH"}), &json!({"type": "AverageValue", "averageValue": "2"})),
            {"type": "Object", "object": {"metric": {"name": "Hits"}, "describedObject": ingress}},
            {"type": "Pods", "pods": {"metric": {"name": "Busy"}}},
            {"type": "Resource", "resource": {"name": "cpu"}},
            {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c"}},
            {},
        ]}));
        let words: Vec<String> = Hpa::new(&object).metrics().iter().map(Entry::words).collect();
        assert_eq!(
            words,
            [
                "External oci_queue_length",
                "Object Hits",
                "Pods Busy",
                "Resource cpu",
                "ContainerResource memory",
                "a metric of no type",
            ]
        );
    }

    #[test]
    fn a_target_is_read_by_the_field_that_is_set() {
        for (written, target) in [
            (json!({"type": "AverageValue", "averageValue": "1500m"}), Some(Target::AverageValue(1500))),
            (json!({"type": "Value", "value": "1k"}), Some(Target::Value(1_000_000))),
            (json!({"type": "AverageValue", "value": "5"}), Some(Target::Value(5000))),
            (json!({"type": "Value", "averageValue": "5"}), Some(Target::AverageValue(5000))),
            (json!({"type": "AverageValue", "averageValue": "0"}), None),
            (json!({"type": "AverageValue"}), None),
        ] {
            let object = object(&json!({"metrics": [external(&json!({"name": "m"}), &written)]}));
            let entries = Hpa::new(&object).metrics();
            let Source::External(requested) = &entries[0].source else { panic!("{entries:?}") };
            assert_eq!((requested.target, requested.target_type), (target, written["type"].as_str().unwrap()));
        }
    }

    #[test]
    fn what_an_hpa_leaves_out_is_as_kubernetes_has_it() {
        let plain = object(&json!({"maxReplicas": 5}));
        assert_eq!(Hpa::new(&plain).sizes(), Spec { min: 1, max: 5, tolerance: Tolerance::default() });
        let behavior = json!({"scaleUp": {"tolerance": "50m"}});
        let own = object(&json!({"minReplicas": 0, "maxReplicas": 5, "behavior": behavior}));
        assert_eq!(Hpa::new(&own).sizes(), Spec { min: 0, max: 5, tolerance: Tolerance { up: 0.05, down: 0.1 } });
        assert!(Hpa::new(&own).has_behavior() && !Hpa::new(&plain).has_behavior());
    }

    #[test]
    fn a_status_is_stale_when_the_hpa_changed_after_the_sync() {
        for (generation, observed, stale) in [
            (Some(3), Some(2), true),
            (Some(3), Some(3), false),
            // Before 1.37.
            (Some(3), None, false),
            (None, Some(1), false),
            (None, None, false),
        ] {
            let mut object = object(&json!({}));
            object.metadata.generation = generation;
            object.status = Some(HorizontalPodAutoscalerStatus { observed_generation: observed, ..Default::default() });
            assert_eq!(Hpa::new(&object).is_status_stale(), stale, "{generation:?} {observed:?}");
        }
    }

    #[test]
    fn at_zero_the_conditions_say_by_whom() {
        let mut object = object(&json!({}));
        let mut read = |name: &str, status: &str, reason: &str| {
            let conditions = json!([{"type": name, "status": status, "reason": reason}]);
            object.status =
                Some(serde_json::from_value(json!({"conditions": conditions, "desiredReplicas": 0})).unwrap());
            (Hpa::new(&object).is_disabled(), Hpa::new(&object).has_scaled_to_zero())
        };
        assert_eq!(read("ScalingActive", "False", "ScalingDisabled"), (true, false));
        assert_eq!(read("ScalingActive", "False", "FailedGetExternalMetric"), (false, false));
        assert_eq!(read("ScaledToZero", "True", "ScaledToZero"), (false, true));
        assert_eq!(read("ScaledToZero", "False", "NotScaledToZero"), (false, false));
    }
}
