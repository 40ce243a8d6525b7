//! `docs/reference/output.md` has each field that `-o json` prints, and no other; YAML is the same document.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::docs::page;
use crate::hpas::{answer, apiserver_that, hpa};
use crate::support::double::{Answer, Received};
use crate::support::program::Home;

const OPENAPI: &str = "/openapi/v3/apis/external.metrics.k8s.io/v1beta1";
const METRICS: &str = "/apis/external.metrics.k8s.io/v1beta1";

/// A cluster with a good and a failing HPA, where depthgauge is installed, and not registered.
fn cluster(request: &Received, hpas: &[Value]) -> Answer {
    match request.target.split('?').next().unwrap() {
        OPENAPI => (200, json!({"info": {"title": "depthgauge", "version": "v9.8.7"}}).to_string()),
        METRICS => {
            let resources = json!([{"name": "jobs_waiting", "categories": ["depthgauge"]}, {"name": "other"}]);
            (200, json!({ "resources": resources }).to_string())
        }
        _ => answer(request, hpas),
    }
}

/// The fields of a document: `hpas`, `hpas[].name`, ….
fn fields(document: &Value, path: &str, all: &mut BTreeSet<String>) {
    match document {
        Value::Object(object) => {
            for (key, value) in object {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                fields(value, &path, all);
                all.insert(path);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, &format!("{path}[]"), all)),
        _ => {}
    }
}

/// What can't scale from zero.
const SCRAPE: &str = "apiVersion: depthgauge.dev/v1alpha1
kind: Config
sources:
- {type: scrape, metric: requests, service: shop/web, port: metrics, series: requests_total, as: rate, namespaces: [shop]}
";

/// Those of the table below a heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let page = page::named("docs/reference/output.md");
    let section = page.prose().iter().skip_while(|line| *line != heading).skip(1);
    let rows = section.take_while(|line| !line.starts_with("## ")).filter(|row| row.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2));
    cells.map(str::to_owned).collect()
}

/// Runs commands, and compares the fields of all of their documents with the section.
async fn compare(home: &Home, heading: &str, commands: &[&[&str]]) -> Value {
    let (mut all, mut last) = (BTreeSet::new(), Value::Null);
    for command in commands {
        let json = home.run(&[command, &["-o", "json"][..]].concat()).await;
        last = serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {command:?}: {json:?}"));
        fields(&last, "", &mut all);
        let yaml = home.run(&[command, &["-o", "yaml"][..]].concat()).await;
        let yaml: Value = serde_saphyr::from_str(&yaml.stdout).unwrap();
        let (mut of_json, mut of_yaml) = (BTreeSet::new(), BTreeSet::new());
        fields(&last, "", &mut of_json);
        fields(&yaml, "", &mut of_yaml);
        assert_eq!(of_json, of_yaml, "{command:?}");
    }
    assert_eq!(all, documented(heading), "{heading}");
    last
}

#[tokio::test]
async fn the_page_has_the_fields_of_every_document() {
    let mut asleep = hpa("zero", "zero", "oci_queue_length", "orders");
    asleep["metadata"]["annotations"] = json!({"depthgauge.dev/scaled-to-zero-since": "2026-11-22T14:00:00Z"});
    let bad = hpa("bad", "bad", "oci_queue_size_bytes", "orders ");
    let hpas = [hpa("web", "web", "oci_queue_length", "orders"), bad, asleep];
    let (_double, home) = apiserver_that(move |request| cluster(request, &hpas)).await;
    let flag = "--kubeconfig=kubeconfig";
    compare(&home, "## `depthgauge check`", &[&["check", flag]]).await;
    compare(&home, "## `depthgauge explain`", &[&["explain", flag]]).await;
    let versions = compare(&home, "## `depthgauge version`", &[&["version"], &["version", flag]]).await;
    let client = env!("CARGO_PKG_VERSION");
    assert_eq!(versions, json!({"client": client, "server": "9.8.7", "kubernetes": "v1.37.2"}));
    let plan = compare(&home, "## `depthgauge unregister`", &[&["unregister", "--dry-run", flag]]).await;
    assert_eq!((&plan["dryRun"], &plan["steps"][0]["result"]), (&json!(true), &json!("absent")));
    home.write("init.yaml", &home.run(&["config", "init"]).await.stdout);
    let lists: [&[&str]; 2] = [&["get", flag], &["get", "--config=init.yaml"]];
    compare(&home, "## `depthgauge get` without a metric", &lists).await;
    home.write("wrong.yaml", "kind: Config\n");
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/base/config.yaml");
    home.write("scrape.yaml", SCRAPE);
    let checks: [&[&str]; 3] = [
        &["config", "check", "init.yaml", base],
        &["config", "check", "wrong.yaml"],
        &["config", "check", "scrape.yaml"],
    ];
    compare(&home, "## `depthgauge config check`", &checks).await;
}
