//! The queries of HPAs for metrics of depthgauge, as plain data for the status page. The watch that scaling to
//! zero needs brings them, so it takes no right of its own. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use parking_lot::Mutex;

use super::autoscaler::{Autoscaler, Key};
use super::metrics::Question;
use crate::hpa::reader::Hpa;
use crate::metric::{MetricName, Namespace};

/// Which HPA sends which query; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Queries(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    hpas: HashMap<Key, Known>,
    /// Those of a list that is being read.
    listed: Option<HashSet<Key>>,
}

#[derive(Debug)]
struct Known {
    requests: Box<[(MetricName, Box<str>)]>,
    current: Option<u32>,
    desired: u32,
}

/// What one metric of an HPA requests, and the HPA's replicas as its status has them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HpaQuery {
    /// Of the HPA.
    pub namespace: Namespace,
    /// Of the HPA.
    pub name: String,
    /// The metric that it requests.
    pub metric: MetricName,
    /// The selector that it requests it with, as a query has it.
    pub selector: String,
    /// `status.currentReplicas`
    pub current: Option<u32>,
    /// `status.desiredReplicas`
    pub desired: u32,
}

// === impl Queries ===

impl Queries {
    /// All of them, sorted by namespace and name.
    pub fn all(&self) -> Vec<HpaQuery> {
        let state = self.0.lock();
        let mut all: Vec<HpaQuery> = state
            .hpas
            .iter()
            .flat_map(|((namespace, name), known)| {
                known.requests.iter().map(|(metric, selector)| HpaQuery {
                    namespace: namespace.clone(),
                    name: name.to_string(),
                    metric: metric.clone(),
                    selector: selector.to_string(),
                    current: known.current,
                    desired: known.desired,
                })
            })
            .collect();
        all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        all
    }

    /// A list of all HPAs begins.
    pub(super) fn begin_list(&self) {
        self.0.lock().listed = Some(HashSet::new());
    }

    /// HPAs that the list did not have were deleted.
    pub(super) fn end_list(&self) {
        let mut state = self.0.lock();
        if let Some(listed) = state.listed.take() {
            state.hpas.retain(|key, _| listed.contains(key));
        }
    }

    /// Applies an HPA as it is now. One without a metric of depthgauge is not kept.
    pub(super) fn apply(&self, key: &Key, object: &HorizontalPodAutoscaler, hpa: Option<&Autoscaler>) {
        let mut state = self.0.lock();
        let requests: Box<[_]> = hpa.iter().flat_map(|hpa| &hpa.metrics).filter_map(request).collect();
        if requests.is_empty() {
            state.hpas.remove(key);
            return;
        }
        if let Some(listed) = &mut state.listed {
            listed.insert(key.clone());
        }
        let status = Hpa::new(object).status();
        let count = |replicas: i32| u32::try_from(replicas).unwrap_or_default();
        let current = status.and_then(|status| status.current_replicas).map(count);
        let desired = status.map_or(0, |status| count(status.desired_replicas));
        state.hpas.insert(key.clone(), Known { requests, current, desired });
    }

    /// An HPA that was deleted.
    pub(super) fn remove(&self, key: &Key) {
        self.0.lock().hpas.remove(key);
    }
}

fn request(metric: &super::metrics::Metric) -> Option<(MetricName, Box<str>)> {
    match &metric.question {
        Question::Ours { name, selector } => Some((name.clone(), selector.selector.to_string().into())),
        Question::Object(_) | Question::Invalid { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn hpa(name: &str, queues: &[&str], desired: u32) -> HorizontalPodAutoscaler {
        let metrics: Vec<_> = queues
            .iter()
            .map(|queue| {
                json!({"type": "External", "external": {
                    "metric": {"name": "oci_queue_length", "selector": {"matchLabels": {"queue": queue}}},
                    "target": {"type": "AverageValue", "averageValue": "2"},
                }})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": name, "uid": name},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, "maxReplicas": 9, "metrics": metrics},
            "status": {"currentReplicas": 1, "desiredReplicas": desired, "conditions": []},
        }))
        .unwrap()
    }

    fn key(name: &str) -> Key {
        (Namespace::new("shop"), name.into())
    }

    fn apply(queries: &Queries, object: &HorizontalPodAutoscaler) {
        let known = BTreeSet::from([MetricName::new("oci_queue_length")]).into();
        queries.apply(&key(Hpa::new(object).name()), object, Autoscaler::of(object, &known).as_ref());
    }

    fn titles(queries: &Queries) -> Vec<String> {
        let title = |it: HpaQuery| {
            let current = it.current.unwrap();
            format!("{}/{} {}{{{}}} {current}→{}", it.namespace, it.name, it.metric, it.selector, it.desired)
        };
        queries.all().into_iter().map(title).collect()
    }

    #[test]
    fn each_metric_of_an_hpa_is_a_query() {
        let queries = Queries::default();
        apply(&queries, &hpa("worker", &["orders", "bills"], 3));
        apply(&queries, &hpa("mailer", &["mail"], 2));
        let expected = [
            "shop/mailer oci_queue_length{queue=mail} 1→2",
            "shop/worker oci_queue_length{queue=orders} 1→3",
            "shop/worker oci_queue_length{queue=bills} 1→3",
        ];
        assert_eq!(titles(&queries), expected);
    }

    #[test]
    fn an_hpa_is_as_it_was_seen_last_until_it_is_gone() {
        let queries = Queries::default();
        for (worker, mailer) in [(3, 2), (4, 2)] {
            apply(&queries, &hpa("worker", &["orders"], worker));
            apply(&queries, &hpa("mailer", &["mail"], mailer));
        }
        assert_eq!(titles(&queries)[1], "shop/worker oci_queue_length{queue=orders} 1→4");
        apply(&queries, &hpa("worker", &[], 4));
        assert_eq!(titles(&queries), ["shop/mailer oci_queue_length{queue=mail} 1→2"]);
        queries.remove(&key("mailer"));
        assert!(titles(&queries).is_empty());
    }

    #[test]
    fn a_list_says_which_hpas_are_gone() {
        let queries = Queries::default();
        apply(&queries, &hpa("worker", &["orders"], 3));
        apply(&queries, &hpa("mailer", &["mail"], 2));
        queries.begin_list();
        apply(&queries, &hpa("mailer", &["mail"], 5));
        assert_eq!(titles(&queries).len(), 2, "while the list is read, nothing is gone");
        queries.end_list();
        assert_eq!(titles(&queries), ["shop/mailer oci_queue_length{queue=mail} 1→5"]);
    }
}
