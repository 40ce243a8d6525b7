//! What `explain` warns of beside a right account, each on the real control plane.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::cluster::eventually_or;
use super::super::world::Server;
use super::{World, create, explain, queue};

/// Two looks of a controller that comes every 20 s, and what they take to be counted.
const ASKED_TWICE: Duration = Duration::from_secs(90);
/// Which no other HPA of this test asks for.
const METRIC: &str = "oci_queue_visible";

pub(super) fn each(world: &World, server: &Server) {
    let cpu = json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50},
    }});
    let per_pod = json!({"type": "AverageValue", "averageValue": "2"});
    let named = |at| json!({"matchLabels": {"queue": queue(at)}});
    let hpas = [
        ("well", vec![metric(&named(0), &per_pod)], 1),
        ("sum", vec![metric(&json!({"matchExpressions": [{"key": "queue", "operator": "Exists"}]}), &per_pod)], 1),
        ("total", vec![metric(&named(1), &json!({"type": "Value", "value": "2"}))], 1),
        ("cpu", vec![metric(&named(2), &per_pod), cpu], 0),
    ];
    let items: Vec<Value> = hpas.iter().flat_map(|(name, metrics, min)| objects(name, metrics, *min)).collect();
    create(world, &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    // Nobody else asks meanwhile: each question counts.
    let asked = || intervals(&serde_json::from_str(&server.page("/status")).unwrap());
    eventually_or(|| format!("{:?}", asked()), ASKED_TWICE, || (asked().len() == hpas.len()).then_some(()));
    let names = hpas.map(|(name, ..)| format!("shop/{name}"));
    let warnings = |account: &String| -> Vec<String> {
        account.lines().filter_map(|line| Some(line.strip_prefix("warn  ")?.to_owned())).collect()
    };
    let found: Vec<Vec<String>> = explain(world, &names).iter().map(warnings).collect();
    // The controller of this cluster is slower than by default, and every HPA here is told so.
    let slow = " was asked up to 20 s apart of late, and the HPA controller looks every 15 s by default";
    assert!(found.iter().all(|of| of.iter().any(|text| text.contains(slow))), "{found:#?}");
    let but_slow = |at: usize| found[at].iter().filter(|text| !text.contains(slow)).collect::<Vec<_>>();
    assert!(but_slow(0).is_empty(), "{found:#?}");
    for (at, text) in [
        (1, "shop/sum oci_queue_visible{queue} names no queue: it is the sum over every queue that fits"),
        (2, "shop/total oci_queue_visible{queue=trial-1} has a target of type Value, which multiplies"),
        (3, "shop/cpu has minReplicas 0 and never gets there, because it also scales on Resource cpu"),
    ] {
        assert!(but_slow(at).iter().any(|found| found.starts_with(text)), "{text}: {found:#?}");
    }
}

/// How long the pauses between asks for this metric are, by selector; of those that were asked twice.
fn intervals(status: &Value) -> BTreeMap<String, f64> {
    let sources = status["sources"].as_array().unwrap().iter();
    let askers = sources.flat_map(|source| source["askers"].as_array().unwrap());
    let counted = askers.filter(|asker| asker["metric"] == METRIC && asker["interval_seconds"].is_number());
    counted.map(|it| (it["selector"].to_string(), it["interval_seconds"].as_f64().unwrap())).collect()
}

fn metric(selector: &Value, target: &Value) -> Value {
    json!({"type": "External", "external": {
        "metric": {"name": METRIC, "selector": selector}, "target": target,
    }})
}

/// An HPA and its workload.
fn objects(name: &str, metrics: &[Value], min: u32) -> [Value; 2] {
    let labels = json!({"app": name});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
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
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": min, "maxReplicas": 9, "metrics": metrics,
        },
    });
    [deployment, hpa]
}
