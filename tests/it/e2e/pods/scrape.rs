//! Who reads `/metrics` of the pods: KEDA by the exporter's Service, and Prometheus by the
//! ServiceMonitor.

use std::collections::BTreeSet;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::cluster::run;
use super::Stage;
use crate::support::keda;

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

/// As Prometheus Operator makes it of the object: with the CA of the Secret that it names, and the
/// token of a ServiceAccount that may.
pub fn prometheus_scrapes_by_the_service_monitor(stage: &Stage) {
    let cluster = &stage.cluster;
    let get = |words: &[&str]| -> Value {
        serde_json::from_str(&cluster.told(&[&["get", "-n", "depthgauge", "-o", "json"], words].concat())).unwrap()
    };
    let monitor = get(&["servicemonitor", "depthgauge"]);
    let labels = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap().iter();
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={}", text(value))).collect();
    let services = get(&["services", "-l", &labels.join(",")]);
    let names: Vec<&str> =
        services["items"].as_array().unwrap().iter().map(|service| text(&service["metadata"]["name"])).collect();
    assert_eq!(names, ["depthgauge"]);

    let [endpoint] = monitor["spec"]["endpoints"].as_array().unwrap().as_slice() else { panic!("{monitor}") };
    let (tls, host) = (&endpoint["tlsConfig"], text(&endpoint["tlsConfig"]["serverName"]));
    let secret = get(&["secret", text(&tls["ca"]["secret"]["name"])]);
    let dir = tempfile::tempdir().unwrap();
    let (ca, key) = (dir.path().join("ca.crt"), text(&tls["ca"]["secret"]["key"]));
    std::fs::write(&ca, STANDARD.decode(text(&secret["data"][key])).unwrap()).unwrap();
    assert_eq!(endpoint["bearerTokenFile"], "/var/run/secrets/kubernetes.io/serviceaccount/token");
    cluster.told(&["create", "serviceaccount", "prometheus", "-n", "shop"]);
    let token = cluster.told(&["create", "token", "prometheus", "-n", "shop"]);

    let address = format!("{}://{host}{}", text(&endpoint["scheme"]), text(&endpoint["path"]));
    let scrape = |pod: &str| {
        run(Command::new("curl")
            .args(["-sS", "--max-time", "5", "-w", "%{http_code}", "--cacert"])
            .arg(&ca)
            .args(["--connect-to", &format!("{host}:443:{pod}")])
            .args(["-H", &format!("Authorization: Bearer {token}"), &address]))
    };
    let pods = endpoints(stage, "depthgauge", text(&endpoint["port"]));
    assert_eq!(pods.len(), stage.nodes.len());
    for pod in &pods {
        let said = scrape(pod);
        assert!(said.ok && said.stdout.ends_with("403"), "{said:?}");
    }
    let reader = ["--clusterrole=depthgauge:metrics-reader", "--serviceaccount=shop:prometheus"];
    cluster.told(&[&["create", "clusterrolebinding", "prometheus"][..], &reader].concat());
    for pod in &pods {
        let scraped = |said: &str| said.ends_with("200") && said.contains("\ndepthgauge_build_info{");
        stage.eventually(|_| scraped(&scrape(pod).stdout).then_some(()));
    }
}

/// Where a port of a Service leads, as the cluster has it.
fn endpoints(stage: &Stage, service: &str, port: &str) -> BTreeSet<String> {
    let of_service = format!("kubernetes.io/service-name={service}");
    let slices = ["get", "endpointslices", "-n", "depthgauge", "-l", &of_service, "-o", "json"];
    let slices: Value = serde_json::from_str(&stage.cluster.told(&slices)).unwrap();
    let mut found = BTreeSet::new();
    for slice in slices["items"].as_array().unwrap() {
        let number = slice["ports"].as_array().into_iter().flatten().find(|it| it["name"] == port);
        let Some(number) = number.map(|it| &it["port"]) else { continue };
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        found.extend(ready.map(|endpoint| format!("{}:{number}", text(&endpoint["addresses"][0]))));
    }
    found
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
