//! Debian's Prometheus, and what the operator would have it scrape for a ServiceMonitor.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::cluster::run;
use super::Stage;
use crate::support::prometheus;

/// Ends when it is dropped.
pub(super) struct Prometheus(RefCell<prometheus::Prometheus>);

// === impl Prometheus ===

impl Prometheus {
    /// One that scrapes what these ServiceMonitors (namespace and name) select, as this ServiceAccount
    /// of namespace shop.
    pub(super) fn of_monitors(stage: &Stage, monitors: &[(&str, &str)], account: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let token = stage.cluster.told(&["create", "token", account, "-n", "shop"]);
        std::fs::write(dir.path().join("token"), token).unwrap();
        let jobs: Vec<Value> = monitors.iter().map(|monitor| job(stage, *monitor, dir.path())).collect();
        let config = json!({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs});
        Self(RefCell::new(prometheus::Prometheus::run(dir, &config, &[])))
    }

    /// What it has scraped, or tried to.
    pub(super) fn targets(&self) -> Vec<Value> {
        let answer = self.asked("targets", "state=active");
        answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default()
    }

    /// The series that a query has now.
    pub(super) fn series(&self, query: &str) -> Vec<Value> {
        let answer = self.asked("query", &format!("query={query}"));
        assert_ne!(answer["status"], "error", "{query}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// Whether it knows the answer to a query, though it be that there is no such series.
    pub(super) fn answers(&self, query: &str) -> bool {
        let answer = self.asked("query", &format!("query={query}"));
        assert_ne!(answer["status"], "error", "{query}: {answer}");
        answer["status"] == "success"
    }

    /// Null while it starts.
    fn asked(&self, what: &str, parameter: &str) -> Value {
        let mut server = self.0.borrow_mut();
        server.check();
        let address = format!("{}/api/v1/{what}", server.base);
        let said = run(Command::new("curl").args(["-sS", "--get", &address, "--data-urlencode", parameter]));
        serde_json::from_str(&said.stdout).unwrap_or_default()
    }
}

/// A ServiceMonitor as the operator makes a scrape config of it, but that
/// pods are looked up once: Debian's Prometheus cannot look for them.
fn job(stage: &Stage, (own, monitor): (&str, &str), dir: &Path) -> Value {
    let spec = get(stage, own, &["servicemonitor", monitor])["spec"].take();
    let namespace = spec["namespaceSelector"]["matchNames"][0].as_str().unwrap_or(own);
    let labels = spec["selector"]["matchLabels"].as_object().unwrap().iter();
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={}", text(value))).collect();
    let services = get(stage, namespace, &["services", "-l", &labels.join(",")]);
    let [service] = services["items"].as_array().unwrap().as_slice() else { panic!("{services}") };
    let service = text(&service["metadata"]["name"]);
    let [endpoint] = spec["endpoints"].as_array().unwrap().as_slice() else { panic!("{spec}") };
    let mut job = json!({
        // Which is label job of all its series, as by the operator.
        "job_name": service,
        "honor_labels": endpoint["honorLabels"].as_bool().unwrap_or_default(),
        "metrics_path": endpoint["path"].as_str().unwrap_or("/metrics"),
        "scheme": endpoint["scheme"].as_str().unwrap_or("http"),
        "static_configs": [{
            "targets": endpoints(stage, service, text(&endpoint["port"])),
            "labels": {"namespace": namespace, "service": service},
        }],
    });
    let tls = &endpoint["tlsConfig"];
    if tls.is_object() {
        let (ca, key) = (dir.join(format!("{monitor}.crt")), text(&tls["ca"]["secret"]["key"]));
        let secret = get(stage, own, &["secret", text(&tls["ca"]["secret"]["name"])]);
        std::fs::write(&ca, STANDARD.decode(text(&secret["data"][key])).unwrap()).unwrap();
        job["tls_config"] = json!({"ca_file": ca, "server_name": tls["serverName"]});
    }
    if endpoint["bearerTokenFile"].is_string() {
        assert_eq!(endpoint["bearerTokenFile"], "/var/run/secrets/kubernetes.io/serviceaccount/token");
        job["authorization"] = json!({"credentials_file": dir.join("token")});
    }
    job
}

/// Where a port of a Service of namespace depthgauge leads, as the cluster has it.
pub(super) fn endpoints(stage: &Stage, service: &str, port: &str) -> BTreeSet<String> {
    let slices = get(stage, "depthgauge", &["endpointslices", "-l", &format!("kubernetes.io/service-name={service}")]);
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

fn get(stage: &Stage, namespace: &str, words: &[&str]) -> Value {
    serde_json::from_str(&stage.cluster.told(&[&["get", "-n", namespace, "-o", "json"], words].concat())).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text"))
}
