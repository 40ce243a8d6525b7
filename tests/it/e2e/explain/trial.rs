//! An HPA drawn by lot, the workload below it, and what came of it.

use serde_json::{Value, json};

/// What is drawn.
#[derive(Debug)]
pub(super) struct Trial {
    replicas: u32,
    /// Without a node the pods stay Pending: they exist and are not ready.
    has_node: bool,
    pub(super) scaled_to_zero: bool,
    min: u32,
    max: u32,
    /// In thousandths.
    target: u64,
    per_pod: bool,
    pub(super) depth: usize,
    tolerance: [Option<&'static str>; 2],
    /// Another trial's queue, whose items are summed up with its own.
    with: Option<usize>,
    beside: Beside,
}

/// A second metric.
#[derive(Debug)]
enum Beside {
    Nothing,
    /// With a target of its own, on another trial's queue.
    Queue(usize, u64),
    /// One that does not exist.
    Gone,
}

/// What an HPA does, or is said to do.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Asks(i64),
    Holds,
    Asleep,
}

// === impl Trial ===

impl Trial {
    pub(super) fn by_lot(trials: usize) -> Self {
        let replicas = if fastrand::u8(..5) == 0 { 0 } else { fastrand::u32(1..8) };
        let per_pod = fastrand::u8(..5) < 3;
        let target = fastrand::u64(300..5000);
        let pods = if per_pod { replicas.max(1) } else { 1 };
        // Half of them near the target, where the tolerance decides.
        let near = target * u64::from(pods) * fastrand::u64(700..1300) / 1_000_000;
        let depth = if fastrand::bool() { usize::try_from(near).unwrap() } else { fastrand::usize(..40) };
        let tolerance = || *fastrand::choice(&[None, None, Some("0"), Some("50m"), Some("0.125"), Some("1")]).unwrap();
        Self {
            replicas,
            has_node: fastrand::u8(..8) > 0,
            scaled_to_zero: replicas == 0 && fastrand::u8(..4) > 0,
            min: fastrand::u32(..3),
            max: fastrand::u32(4..60),
            target,
            per_pod,
            depth: if fastrand::u8(..8) == 0 { 0 } else { depth },
            tolerance: [tolerance(), tolerance()],
            with: (fastrand::u8(..5) == 0).then(|| fastrand::usize(..trials)),
            beside: match fastrand::u8(..8) {
                0 => Beside::Queue(fastrand::usize(..trials), fastrand::u64(300..5000)),
                1 => Beside::Gone,
                _ => Beside::Nothing,
            },
        }
    }

    /// A trial that a missing metric keeps from scaling down. Random trials have one in a hundred.
    pub(super) fn that_holds(trials: usize) -> Self {
        let (beside, tolerance) = (Beside::Gone, [None, None]);
        Self { replicas: 3, depth: 0, with: None, scaled_to_zero: false, beside, tolerance, ..Self::by_lot(trials) }
    }

    pub(super) fn workload(&self, name: &str) -> Value {
        let mut pod = json!({"containers": [{"name": "c", "image": "c"}], "terminationGracePeriodSeconds": 0});
        if self.has_node {
            pod["nodeName"] = json!("node-0");
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
            },
        })
    }

    /// Whether this Deployment's status is what it stays.
    pub(super) fn is_settled(&self, status: &Value) -> bool {
        let number = |field: &str| status[field].as_u64().unwrap_or(0);
        let ready = if self.has_node { u64::from(self.replicas) } else { 0 };
        status["observedGeneration"].is_u64()
            && number("replicas") == u64::from(self.replicas)
            && number("readyReplicas") == ready
    }

    pub(super) fn hpa(&self, name: &str, queue: &str) -> Value {
        let mut queues = vec![queue.to_owned()];
        queues.extend(self.with.map(super::queue));
        let mut metrics = vec![metric(&queues, self.target, self.per_pod)];
        match self.beside {
            Beside::Nothing => {}
            Beside::Queue(at, target) => metrics.push(metric(&[super::queue(at)], target, true)),
            Beside::Gone => metrics.push(metric(&["gone".to_owned()], 1000, true)),
        }
        let [up, down] = self.tolerance;
        let rules = |tolerance: Option<&str>| {
            // As wide as they can be: what is left is the arithmetic.
            let policies = json!([
                {"type": "Pods", "value": 1000, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]);
            let mut rules = json!({"stabilizationWindowSeconds": 0, "policies": policies});
            if let Some(tolerance) = tolerance {
                rules["tolerance"] = json!(tolerance);
            }
            rules
        };
        json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": self.min,
                "maxReplicas": self.max,
                "metrics": metrics,
                "behavior": {"scaleUp": rules(up), "scaleDown": rules(down)},
            },
        })
    }

    /// What it is a case of, to be counted.
    pub(super) fn ways(&self, outcome: &Outcome) -> Vec<&'static str> {
        let way = match outcome {
            Outcome::Asks(_) if self.replicas == 0 => "woken",
            Outcome::Asks(now) if *now == i64::from(self.replicas) => "stays",
            Outcome::Asks(_) => "asks",
            Outcome::Holds => "holds",
            Outcome::Asleep => "asleep",
        };
        let mut ways = vec![way, if self.per_pod { "AverageValue" } else { "Value" }];
        ways.extend((self.depth == 0).then_some("empty"));
        ways.extend(self.with.map(|_| "sum"));
        ways.extend(self.tolerance.iter().flatten().next().map(|_| "tolerance"));
        ways
    }
}

fn metric(queues: &[String], target: u64, per_pod: bool) -> Value {
    let target = format!("{target}m");
    let target = if per_pod {
        json!({"type": "AverageValue", "averageValue": target})
    } else {
        json!({"type": "Value", "value": target})
    };
    let selector = match queues {
        [queue] => json!({"matchLabels": {"queue": queue}}),
        _ => json!({"matchExpressions": [{"key": "queue", "operator": "In", "values": queues}]}),
    };
    let metric = json!({"name": "oci_queue_length", "selector": selector});
    json!({"type": "External", "external": {"metric": metric, "target": target}})
}

/// What the controller did with it, once it has looked.
pub(super) fn outcome(hpa: &Value) -> Option<Outcome> {
    let conditions = hpa["status"]["conditions"].as_array()?;
    let condition = |name: &str| conditions.iter().find(|condition| condition["type"] == name);
    condition("AbleToScale")?;
    let active = condition("ScalingActive");
    let inactive = active.filter(|condition| condition["status"] == "False");
    Some(match inactive.and_then(|condition| condition["reason"].as_str()) {
        Some("ScalingDisabled") => Outcome::Asleep,
        Some(_) => Outcome::Holds,
        None => Outcome::Asks(hpa["status"]["desiredReplicas"].as_i64().unwrap_or(0)),
    })
}

/// What `explain` said that it will do.
pub(super) fn said(account: &str) -> Option<Outcome> {
    account.lines().find_map(|line| {
        if line.starts_with("It does not scale: ") {
            return Some(Outcome::Asleep);
        }
        if line.starts_with("It stays at ") {
            return Some(Outcome::Holds);
        }
        let number = line.strip_prefix("The desired size is ")?.split([',', ';', ':', '.']).next()?;
        number.parse().ok().map(Outcome::Asks)
    })
}
