//! An HPA as kube-apiserver has it, for `check` and `explain`. Pure.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::Value;

use super::external_metrics;
use super::kube_api::{KubeApi, RequestError};
use crate::hpa::Target;
use crate::hpa::reader::{Entry, Hpa, Source};
use crate::metric::{CATEGORY, MetricName, MetricSet, PODS_CATEGORY};
use crate::request::PREFIX;
use crate::selector::ParseError;
use crate::selector::label_selector::MetricSelector;
use crate::source::{KINDS, fixed_metrics, kind_of};
use crate::zero;
use crate::zero::workload::Workload;

pub(super) mod warnings;
pub(super) mod workload;

/// An `autoscaling/v2` HorizontalPodAutoscaler.
#[derive(Clone, Copy)]
pub(super) struct Autoscaler<'o> {
    pub(super) object: &'o HorizontalPodAutoscaler,
    /// The metrics of depthgauge.
    pub(super) ours: &'o Metrics,
}

/// The metrics that depthgauge has, as discovery lists them.
pub(super) struct Metrics {
    set: MetricSet,
    /// Whether depthgauge itself has listed them. Otherwise, those whose names the config chooses are missing.
    is_complete: bool,
}

/// One entry of its `metrics`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Metric {
    External(Question),
    /// A metric of another API, in words.
    Other(String),
}

/// What it requests of `external.metrics.k8s.io`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    namespace: String,
    /// In lower case, as client-go requests it.
    pub(super) metric: String,
    /// As the controller sends it, or why it refuses it.
    pub(super) selector: Result<MetricSelector, ParseError>,
    /// `None` for a target that the controller can't count.
    pub(super) target: Option<Target>,
    /// `target.type`, which may differ from the field that is set.
    pub(super) target_type: String,
    is_ours: bool,
    /// Whether it is a metric of depthgauge that is read from pods.
    pub(super) is_of_pods: bool,
}

// === impl Metrics ===

impl Metrics {
    /// Those that each depthgauge has, and those that the server of the cluster has now.
    pub(super) async fn read(kube_api: &KubeApi) -> Self {
        // The registration is checked by itself.
        let list = kube_api.get(PREFIX).await.unwrap_or_default();
        Self::of(&list)
    }

    /// Those that each depthgauge has, and those of an `APIResourceList` that are in depthgauge's
    /// category.
    fn of(list: &Value) -> Self {
        let of = |category| external_metrics::listed(list, category).map(MetricName::chosen);
        // The list of depthgauge is never empty.
        let is_complete = of(CATEGORY).next().is_some();
        let all = of(CATEGORY).chain(fixed_metrics(KINDS)).collect();
        Self { set: MetricSet { all, of_pods: of(PODS_CATEGORY).collect() }, is_complete }
    }

    fn has(&self, name: &str) -> bool {
        self.set.all.contains(name)
    }
}

/// The HPAs of a list at this path.
pub(super) async fn list(kube_api: &KubeApi, path: &str) -> Result<Vec<HorizontalPodAutoscaler>, RequestError> {
    let mut list = kube_api.get(path).await?;
    let items = serde_json::from_value::<Option<_>>(list["items"].take());
    let items = items.map_err(|error| RequestError::Other(format!("cannot decode the list of HPAs: {error}")))?;
    Ok(items.unwrap_or_default())
}

// === impl Autoscaler ===

impl<'o> Autoscaler<'o> {
    /// The object, read as the controller reads it.
    pub(super) fn written(&self) -> Hpa<'o> {
        Hpa::new(self.object)
    }

    pub(super) fn namespace(&self) -> &'o str {
        self.written().namespace()
    }

    pub(super) fn name(&self) -> &'o str {
        self.written().name()
    }

    /// `shop/dummy`
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    /// What it scales.
    pub(super) fn workload(&self) -> Workload {
        self.written().target().map(Workload::from).unwrap_or_default()
    }

    /// The command that scales its workload up by hand.
    pub(super) fn start_command(&self) -> String {
        let least = u32::try_from(self.written().sizes().min).unwrap_or_default();
        self.workload().start_command(self.namespace(), least)
    }

    pub(super) fn metrics(&self) -> Vec<Metric> {
        self.written().metrics().into_iter().map(|entry| self.metric(entry)).collect()
    }

    fn metric(&self, entry: Entry<'o>) -> Metric {
        let words = entry.words();
        let Source::External(requested) = entry.source else { return Metric::Other(words) };
        Metric::External(Question {
            namespace: self.namespace().to_owned(),
            is_ours: self.ours.has(&entry.name),
            is_of_pods: self.ours.set.of_pods.contains(entry.name.as_str()),
            metric: entry.name,
            selector: requested.selector(),
            target: requested.target,
            target_type: requested.target_type.to_owned(),
        })
    }

    /// All that it requests of `external.metrics.k8s.io`, whichever server has it.
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

    /// Whether depthgauge may have to do with it. That includes each External metric, because its name can be misspelt.
    /// Also, while another server has the API, or none, the names that the config chooses are not known.
    pub(super) fn may_use_depthgauge(&self) -> bool {
        !self.questions().is_empty() || self.is_labelled() || warnings::is_misplaced(self)
    }

    /// Whether one of its metrics may come from the pods of its own workload. The fixed metrics of a queue don't.
    pub(super) fn may_read_its_pods(&self) -> bool {
        self.our_questions().iter().any(|question| kind_of(KINDS, &question.metric).is_none())
    }

    /// Whether depthgauge is to scale its workload to zero and back.
    pub(super) fn is_labelled(&self) -> bool {
        zero::autoscaler::is_labelled(self.written())
    }

    /// Since when depthgauge has it at 0.
    pub(super) fn scaled_to_zero_since(&self) -> Option<&'o str> {
        self.written().annotation(zero::autoscaler::SCALED_TO_ZERO_SINCE)
    }

    /// Whether it is to be left as it is.
    pub(super) fn is_paused(&self) -> bool {
        zero::autoscaler::is_paused(self.written())
    }

    /// As scaling to zero reads it; `None` if that ignores it. Without the list of depthgauge, each External
    /// metric can be one of depthgauge.
    pub(super) fn kept(&self) -> Option<zero::autoscaler::Autoscaler> {
        if self.ours.is_complete {
            return zero::autoscaler::Autoscaler::of(self.object, &self.ours.set);
        }
        let mut possible = self.ours.set.clone();
        possible.all.extend(self.questions().iter().map(|question| MetricName::chosen(&question.metric)));
        zero::autoscaler::Autoscaler::of(self.object, &possible)
    }
}

// === impl Question ===

impl Question {
    /// `oci_queue_length{queue=orders}`
    pub(super) fn title(&self) -> String {
        external_metrics::title(&self.metric, self.selector.as_ref().map_or("", |selector| &selector.text))
    }

    /// Where the controller requests it, or why it doesn't.
    pub(super) fn path(&self) -> Result<String, RequestError> {
        match &self.selector {
            Ok(selector) => Ok(external_metrics::path(&self.namespace, &self.metric, &selector.text)),
            Err(why) => {
                Err(RequestError::Other(format!("the HPA controller refuses its selector and requests nothing: {why}")))
            }
        }
    }

    /// The answer to it, requested as the controller requests it.
    pub(super) async fn ask(&self, kube_api: &KubeApi) -> Result<Value, RequestError> {
        kube_api.get(&self.path()?).await
    }

    /// Whether depthgauge has such a metric.
    pub(super) fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Whether it is how much waits in a queue. Of a metric whose name a config chooses, that is not known.
    fn is_depth(&self) -> bool {
        let kind = kind_of(KINDS, &self.metric).filter(|_| self.is_ours);
        kind.is_some_and(|kind| kind.depths.iter().any(|depth| depth.as_str() == self.metric))
    }

    /// The label that picks sources, if this request has no requirement for it. Metrics whose names a
    /// config chooses have none.
    fn unnamed_source(&self) -> Option<&'static str> {
        let kind = kind_of(KINDS, &self.metric)?;
        let selector = &self.selector.as_ref().ok()?.selector;
        let is_unnamed = kind.name_labels().all(|label| selector.named(label).is_none());
        Some(kind.label).filter(|_| self.is_ours && is_unnamed)
    }
}

/// Whether it has a metric of one object.
pub(super) fn has_objects(hpa: Hpa<'_>) -> bool {
    hpa.metrics().iter().any(|entry| matches!(entry.source, Source::Object(..)))
}

#[cfg(test)]
impl<'o> Autoscaler<'o> {
    /// In front of a depthgauge whose config chooses no names of metrics.
    pub(super) fn in_test(object: &Value) -> Self {
        static METRICS: std::sync::LazyLock<Metrics> = std::sync::LazyLock::new(|| {
            let listed = serde_json::json!({"name": "oci_queue_length", "categories": [CATEGORY]});
            Metrics::of(&serde_json::json!({"resources": [listed]}))
        });
        let object = serde_json::from_value(object.clone()).unwrap();
        Self { object: Box::leak(Box::new(object)), ours: &METRICS }
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
        assert_eq!(ours.path(), Ok(format!("{path}?labelSelector=queue%3Dorders")));
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
    fn what_wakes_a_workload_names_its_group_and_no_fewer_than_its_hpa_wants() {
        let mut object = hpa(&json!([]));
        for (api_version, kind, min, command) in [
            ("apps/v1", "StatefulSet", 0, "statefulset/web --replicas=1"),
            ("example.com/v1", "Worker", 3, "worker.example.com/web --replicas=3"),
        ] {
            object["spec"]["scaleTargetRef"] = json!({"apiVersion": api_version, "kind": kind, "name": "web"});
            object["spec"]["minReplicas"] = json!(min);
            assert_eq!(Autoscaler::in_test(&object).start_command(), format!("kubectl scale -n shop {command}"));
        }
    }

    #[test]
    fn a_selector_that_the_controller_refuses_is_not_requested() {
        let spaced = json!({"name": "OCI_QUEUE_LENGTH", "selector": {"matchLabels": {"queue": "orders "}}});
        let object = hpa(&json!([external(&spaced, &json!({"type": "Value", "value": "1"}))]));
        let [question] = &Autoscaler::in_test(&object).our_questions()[..] else { panic!("one of ours") };
        let trouble = question.path().unwrap_err();
        assert!(trouble.message().contains("invalid label value \"orders \" of key \"queue\""), "{trouble:?}");
        assert_eq!(question.title(), "oci_queue_length");
    }
}
