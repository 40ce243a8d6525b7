//! Who reads `/metrics` of the pods: KEDA by the exporter's Service, and Prometheus by
//! ServiceMonitors.

use std::process::Command;

use serde_json::Value;

use super::super::cluster::run;
use super::prometheus::{Prometheus, endpoints};
use super::{Stage, at_zero};
use crate::support::keda;

/// Of the exporter, as docs/how-to/replace-an-exporter.md changes it.
const EXPORTERS_MONITOR: &str = "
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: oci-queue-exporter, namespace: shop}
spec:
  namespaceSelector: {matchNames: [depthgauge]}
  selector: {matchLabels: {app.kubernetes.io/name: oci-queue-exporter}}
  endpoints: [{port: metrics, interval: 15s}]
";
/// What hack/prometheus, without a cluster, leaves to this.
const NEED_A_CLUSTER: [&str; 2] = ["depthgauge_apiservice_available", "depthgauge_hpa_problem{"];

/// Behind the exporter's Service are all pods, and KEDA's trigger finds the depth in what they say.
pub fn keda_reads_the_depth_by_the_exporters_service(stage: &Stage, depth: f64) {
    let pods = stage.nodes.iter().map(|node| format!("{}:8080", node.pod_address())).collect();
    stage.eventually(|it| (endpoints(it, "oci-queue-exporter", "metrics") == pods).then_some(()));
    for pod in &pods {
        let address = format!("http://{pod}/metrics");
        // KEDA's client asks for no type.
        let said = run(Command::new("curl").args(["-sS", "--max-time", "5", "-H", "Accept:", &address]));
        for trigger in keda::before_a_move() {
            assert_eq!(trigger.reads(&said.stdout), Some(depth), "{} in {said:?}", trigger.location);
        }
    }
}

/// By our own ServiceMonitor for whoever may, by the exporter's for all; and what the dashboard
/// makes of it.
pub fn prometheus_scrapes_by_the_service_monitors(stage: &Stage, depth: &str) {
    let cluster = &stage.cluster;
    cluster.apply(EXPORTERS_MONITOR);
    // It sleeps although messages wait, and nobody wakes it.
    cluster.apply(&at_zero("lost", ""));
    cluster.told(&["create", "serviceaccount", "prometheus", "-n", "shop"]);
    let monitors = [("depthgauge", "depthgauge"), ("shop", "oci-queue-exporter")];
    let prometheus = Prometheus::of_monitors(stage, &monitors, "prometheus");
    let healthy = |job: &str, health: &str| {
        let targets = prometheus.targets();
        let of_job: Vec<&Value> = targets.iter().filter(|target| target["labels"]["job"] == job).collect();
        let done = of_job.len() == stage.nodes.len() && of_job.iter().all(|target| target["health"] == health);
        done.then(|| of_job.iter().map(|target| target["lastError"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let is_refused = |whys: &Vec<String>| whys.iter().all(|why| why.contains("403 Forbidden"));
    stage.eventually(|_| healthy("depthgauge", "down").filter(is_refused));
    let reader = ["--clusterrole=depthgauge:metrics-reader", "--serviceaccount=shop:prometheus"];
    cluster.told(&[&["create", "clusterrolebinding", "prometheus"][..], &reader].concat());
    for job in ["depthgauge", "oci-queue-exporter"] {
        stage.eventually(|_| healthy(job, "up"));
    }
    // A series a pod, and one by the query of docs/how-to/replace-an-exporter.md.
    let lengths = |query: &str| -> Vec<String> {
        prometheus.series(query).iter().map(|it| it["value"][1].as_str().unwrap().to_owned()).collect()
    };
    let of_exporter = r#"oci_queue_length{job="oci-queue-exporter", queue="orders"}"#;
    stage.eventually(|it| (lengths(of_exporter) == vec![depth; it.nodes.len()]).then_some(()));
    assert_eq!(lengths(&format!("max by (queue) ({of_exporter})")), [depth]);

    for query in dashboard() {
        let query = query.replace("$__rate_interval", "10s").replace("$job", "depthgauge");
        if NEED_A_CLUSTER.iter().any(|name| query.contains(name)) {
            let of_hpas = query.contains("hpa_problem");
            let is_told = |series: &Value| {
                !of_hpas || (series["metric"]["namespace"] == "shop" && series["metric"]["hpa"] == "lost")
            };
            stage.eventually(|_| prometheus.series(&query).iter().any(is_told).then_some(()));
        } else {
            stage.eventually(|_| prometheus.answers(&query).then_some(()));
        }
    }
}

/// Its queries.
fn dashboard() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/components/prometheus/dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    let queries: Vec<String> = targets.flatten().map(|it| it["expr"].as_str().unwrap().to_owned()).collect();
    for name in NEED_A_CLUSTER {
        assert!(queries.iter().any(|query| query.contains(name)), "no panel of {name}");
    }
    queries
}
