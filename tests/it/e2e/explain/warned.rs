//! What `explain` warns of beside a right account, each on the real control plane.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::cluster::eventually;
use super::{TRIALS, World, create, explain, queue};

/// Where no trial is.
const NAMESPACE: &str = "lab";
const HPAS: [&str; 4] = ["well", "sum", "total", "cpu"];
/// Queues that no trial fills: an HPA whose state changes gets no warning of its interval for a while.
pub(super) const QUEUES: usize = 3;
/// Three pauses between the looks of a controller that comes every 20 s are counted. To ask meanwhile
/// would make them shorter.
const THREE_PAUSES: Duration = Duration::from_secs(70);

/// Makes them, early; when.
pub(super) fn made(world: &World) -> Instant {
    world.cluster.told(&["create", "namespace", NAMESPACE]);
    let cpu = json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50},
    }});
    let per_pod = json!({"type": "AverageValue", "averageValue": "2"});
    let total = json!({"type": "Value", "value": "2"});
    // Each another question, or their looks would be counted together.
    let named = |at| json!({"matchLabels": {"queue": queue(TRIALS + at)}});
    let any = json!({"matchExpressions": [{"key": "queue", "operator": "Exists"}]});
    let metrics = [
        vec![metric(&named(0), &per_pod)],
        vec![metric(&any, &per_pod)],
        vec![metric(&named(1), &total)],
        vec![metric(&named(2), &per_pod), cpu],
    ];
    let hpas = HPAS.iter().zip(&metrics);
    let items: Vec<Value> =
        hpas.flat_map(|(name, metrics)| objects(name, metrics, u32::from(*name != "cpu"))).collect();
    create(world, &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    Instant::now()
}

pub(super) fn each(world: &World, made: Instant) {
    eventually("they were looked at often enough", THREE_PAUSES, || (made.elapsed() > THREE_PAUSES).then_some(()));
    let names = HPAS.map(|name| format!("{NAMESPACE}/{name}"));
    let warnings = |account: &String| -> Vec<String> {
        account.lines().filter_map(|line| Some(line.strip_prefix("warn  ")?.to_owned())).collect()
    };
    let found: Vec<Vec<String>> = explain(world, &names).iter().map(warnings).collect();
    // The controller of this cluster is slower than by default, and every HPA here is told so.
    let slow = " s lately, and the HPA controller syncs every 15 s by default";
    let pause = |of: &Vec<String>| -> Option<u32> {
        let (before, _) = of.iter().find_map(|text| text.split_once(slow))?;
        before.rsplit_once(" was requested at intervals of up to ")?.1.parse().ok()
    };
    assert!(found.iter().all(|of| pause(of).is_some_and(|seconds| (19..60).contains(&seconds))), "{found:#?}");
    let but_slow = |at: usize| found[at].iter().filter(|text| !text.contains(slow)).collect::<Vec<_>>();
    assert!(but_slow(0).is_empty(), "{found:#?}");
    let total = queue(TRIALS + 1);
    for (at, text) in [
        (1, "lab/sum oci_queue_length{queue} names no queue: it is the sum over every queue that fits"),
        (
            2,
            &format!(
                "lab/total oci_queue_length{{queue={total}}} has a target of type Value. At each sync it multiplies"
            ),
        ),
        (3, "lab/cpu has minReplicas 0 and never gets there, because it also scales on Resource cpu"),
    ] {
        assert!(but_slow(at).iter().any(|found| found.starts_with(text)), "{text}: {found:#?}");
    }
}

fn metric(selector: &Value, target: &Value) -> Value {
    json!({"type": "External", "external": {
        "metric": {"name": "oci_queue_length", "selector": selector}, "target": target,
    }})
}

/// An HPA and its workload.
fn objects(name: &str, metrics: &[Value], min: u32) -> [Value; 2] {
    let labels = json!({"app": name});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "nodeName": "node-0", "containers": [{"name": "c", "image": "c"}],
            }},
        },
    });
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": min, "maxReplicas": 9, "metrics": metrics,
        },
    });
    [deployment, hpa]
}
