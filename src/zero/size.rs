//! How many replicas an HPA would need at 0, and how many of them at once. Pure.

use k8s_openapi::api::autoscaling::v2::HPAScalingRules;

use super::metrics::{Metric, MetricValue};
use crate::hpa::{self, Answer, Controller, Spec, Tolerance, Workload};

/// What `behavior.scaleUp` allows in one step from 0; `None` is no limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit(Option<u32>);

/// The replicas that the HPA would compute at 0 if it were active: at most `max`, by the metrics
/// that have a value; 0 if there is none.
pub fn wanted(metrics: &[Metric], served: &[MetricValue], max: u32) -> u32 {
    // At 0 no tolerance counts.
    let max = i32::try_from(max).unwrap_or(i32::MAX);
    let spec = Spec { min: 0, max, tolerance: Tolerance::default() };
    let asked = metrics.iter().zip(served).filter_map(|(metric, served)| {
        let answer = match served.said() {
            Some(sum) => Answer::Sum(sum.milli()),
            None => Answer::NotAsked,
        };
        Some(hpa::Metric { target: metric.target?, answer })
    });
    let desired = hpa::desired(Controller::NEWEST, &spec, &Workload::settled(0), &asked.collect::<Vec<_>>());
    u32::try_from(desired.replicas).unwrap_or(0)
}

// === impl Limit ===

impl Limit {
    /// The limit of `behavior.scaleUp`, as the controller would compute it from 0 with no scaling
    /// in the period before. kube-apiserver writes the default rule (4 pods or 100 %, the larger
    /// one) into every HPA that has any `behavior`. No user chose that rule, and it would make a
    /// burst wait for the controller's next syncs, so it is ignored. A rule that a user chose is
    /// obeyed.
    pub fn of(rules: Option<&HPAScalingRules>) -> Self {
        let Some(rules) = rules else { return Self(None) };
        let select = rules.select_policy.as_deref().unwrap_or("Max");
        let policies = rules.policies.as_deref().unwrap_or_default();
        let is_default = |kind: &str, value: i32| {
            policies.iter().any(|policy| policy.type_ == kind && policy.value == value && policy.period_seconds == 15)
        };
        let default = policies.len() == 2 && is_default("Pods", 4) && is_default("Percent", 100);
        if select == "Max" && (policies.is_empty() || default) {
            return Self(None);
        }
        // A percentage of nothing is nothing.
        let steps = policies.iter().map(|policy| match policy.type_.as_str() {
            "Pods" => u32::try_from(policy.value).unwrap_or_default(),
            _ => 0,
        });
        Self(match select {
            "Disabled" => Some(0),
            "Min" => steps.min(),
            _ => steps.max(),
        })
    }

    /// Whether the controller itself never scales up from 0 with it.
    pub fn keeps_zero(self) -> bool {
        self.0 == Some(0)
    }

    /// This number, or as many as are allowed. At least one, because otherwise no workload would
    /// scale up.
    pub fn bound(self, replicas: u32) -> u32 {
        self.0.map_or(replicas, |limit| replicas.min(limit)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_what_somebody_has_chosen_bounds_a_wake() {
        let bound = |rules: Value, wanted: u32| {
            let rules: Option<HPAScalingRules> = serde_json::from_value(rules).unwrap();
            Limit::of(rules.as_ref()).bound(wanted)
        };
        let pods = |value: i32| json!({"type": "Pods", "value": value, "periodSeconds": 15});
        let percent = |value: i32| json!({"type": "Percent", "value": value, "periodSeconds": 15});
        let rules = |policies: &[Value], select: &str| json!({"policies": policies, "selectPolicy": select});
        assert_eq!(bound(Value::Null, 10), 10);
        assert_eq!(bound(rules(&[pods(4), percent(100)], "Max"), 10), 10, "the default");
        assert_eq!(bound(rules(&[pods(3)], "Max"), 10), 3);
        assert_eq!(bound(rules(&[pods(3), pods(5)], "Min"), 10), 3);
        assert_eq!(bound(rules(&[pods(3), pods(5)], "Max"), 10), 5);
        assert_eq!(bound(rules(&[pods(20)], "Max"), 10), 10);
        assert_eq!(bound(rules(&[percent(100)], "Max"), 10), 1, "the controller itself would never wake it");
        assert_eq!(bound(rules(&[pods(4), percent(100)], "Disabled"), 10), 1);
    }
}
