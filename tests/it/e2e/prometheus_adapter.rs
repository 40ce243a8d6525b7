//! The values of prometheus-adapter beside those of depthgauge: both on one cluster and one Prometheus, the one
//! with sources and the other with the rules that they replace. The table that the test makes is
//! `tests/golden/prometheus-adapter.md`; its rows are in [`rules`].

mod rules;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use depthgauge::metric::quantity::Quantity;
use rules::{Request, Rule, rules};
use serde_json::{Value, json};

use super::cluster::{eventually_or, run, script};
use super::world::{Place, World};
use crate::golden;
use crate::support::double::Double;
use crate::support::lasting_port;
use crate::support::prometheus::Prometheus;

const HEAD: &str = "\
| rule | query of prometheus-adapter | query of depthgauge | request | depthgauge | prometheus-adapter | verdict |
| --- | --- | --- | --- | --- | --- | --- |
";

/// prometheus-adapter lists series every second, and a rate needs two scrapes. The rest is a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// prometheus-adapter, killed when the test ends.
struct Adapter(Child);

/// What a server answers to a request.
struct Answer {
    /// `200`, or status and reason of an error.
    status: String,
    /// As the server writes them, the largest first.
    values: Vec<String>,
}

/// One row of the table.
struct Row {
    ours: Answer,
    theirs: Answer,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn long_values_are_those_of_prometheus_adapter_or_differ_for_a_reason() {
    let world = World::new("prometheus-adapter", &[], "").await;
    let begin = Instant::now();
    let exporter = Double::start(None, move |_| (200, rules::exposition(begin.elapsed()))).await;
    let mut prometheus = Prometheus::start(&[("programs", exporter.address)], &[]);
    let rules = rules();
    let config = world.write("adapter.json", &config(&rules, &prometheus.base).to_string());
    tokio::task::block_in_place(|| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, lasting_port()));
        let _adapter = Adapter::start(&world, &rules, &prometheus.base, address);
        let _server = world.serve_at(&Place { config: Some(config), ..world.place() });
        world.await_available();
        prometheus.check();
        // depthgauge owns the APIService, so kube-apiserver forwards to it. prometheus-adapter is requested directly.
        let read = |request: &Request| Row {
            ours: Answer::of(&world, world.cluster.address(), request),
            theirs: Answer::of(&world, address, request),
        };
        let all = || rules.iter().flat_map(|rule| rule.requests.iter().map(move |request| (rule, request)));
        // Each rule has a row that is the same, and it is so when both know the series.
        let not_the_same = || {
            let rows = all().filter(|(_, request)| request.reason.is_none());
            rows.map(|(_, request)| wrong(request, &read(request))).collect::<String>()
        };
        eventually_or(not_the_same, PATIENCE, || not_the_same().is_empty().then_some(()));
        let (mut table, mut complaints) = (HEAD.to_owned(), String::new());
        for (rule, request) in all() {
            let row = read(request);
            complaints += &wrong(request, &row);
            let verdict = request.reason.map_or_else(|| "the same".to_owned(), |reason| format!("differs: {reason}"));
            let cells = [
                rule.title.to_owned(),
                code(rule.rule["metricsQuery"].as_str().unwrap()),
                code(rule.source_of(request)["query"].as_str().unwrap_or_default()),
                code(&request.to_string()),
                row.ours.cell(),
                row.theirs.cell(),
                verdict,
            ];
            writeln!(table, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")).unwrap();
        }
        assert!(complaints.is_empty(), "{complaints}");
        golden::check_text("prometheus-adapter.md", &table);
    });
}

fn code(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { format!("`{text}`") }
}

/// What is wrong with a row, empty if nothing is.
fn wrong(request: &Request, row: &Row) -> String {
    let answers = format!("{} by depthgauge, {} by prometheus-adapter", row.ours.cell(), row.theirs.cell());
    match (row.ours.is_for_an_hpa_as(&row.theirs), request.reason) {
        (false, None) => format!("\n{request}: {answers}; if that is right, its row wants .differs(\"…\")"),
        (true, Some(reason)) => format!("\n{request}: {answers}; take .differs({reason:?}) out of its row"),
        _ => String::new(),
    }
}

/// The config of depthgauge.
fn config(rules: &[Rule], prometheus: &str) -> Value {
    let sources = rules.iter().flat_map(|rule| &rule.sources).map(|keys| {
        let mut source = json!({"type": "prometheus", "namespaces": ["*"]});
        source.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        source
    });
    json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        "connections": {"monitoring": {"type": "prometheus", "url": prometheus}},
        "sources": sources.collect::<Vec<_>>(),
    })
}

// === impl Adapter ===

impl Adapter {
    /// Starts it at this address. It may not be ready yet.
    fn start(world: &World, rules: &[Rule], prometheus: &str, address: SocketAddr) -> Self {
        let built = run(script("hack/setup").arg("adapter"));
        assert!(built.ok, "{}", built.stderr);
        let rules: Vec<&Value> = rules.iter().map(|rule| &rule.rule).collect();
        // JSON is YAML.
        let rules = world.write("rules.yaml", &json!({"externalRules": rules}).to_string());
        let mut command = Command::new(built.stdout.trim());
        for whose in ["authentication", "authorization", "lister"] {
            command.arg(format!("--{whose}-kubeconfig={}", world.cluster.kubeconfig().display()));
        }
        let child = command
            .arg(format!("--config={}", rules.display()))
            .arg(format!("--prometheus-url={prometheus}"))
            .args(["--metrics-relist-interval=1s", "--metrics-max-age=5m"])
            .args([format!("--bind-address={}", address.ip()), format!("--secure-port={}", address.port())])
            .arg(format!("--tls-cert-file={}", world.cluster.file("apiserver.crt").display()))
            .arg(format!("--tls-private-key-file={}", world.cluster.file("apiserver.key").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// === impl Answer ===

impl Answer {
    /// Of the server at this address, to the administrator.
    fn of(world: &World, address: SocketAddr, request: &Request) -> Self {
        let said = run(Command::new("curl")
            .args(["-sSk", "--max-time", "10", "--get"])
            .args(["--data-urlencode", &format!("labelSelector={}", request.selector)])
            .arg("--cert")
            .arg(world.cluster.file("admin.crt"))
            .arg("--key")
            .arg(world.cluster.file("admin.key"))
            .arg(format!("https://{address}{}", request.path())));
        let body: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| json!({"reason": said.stderr}));
        match body["items"].as_array() {
            Some(items) => {
                let mut values: Vec<_> =
                    items.iter().map(|item| item["value"].as_str().unwrap_or_default().to_owned()).collect();
                values.sort_by_key(|value| std::cmp::Reverse(Quantity::parse(value)));
                Self { status: "200".to_owned(), values }
            }
            None => Self {
                status: format!("{} {}", body["code"], body["reason"].as_str().unwrap_or_default()),
                values: Vec::new(),
            },
        }
    }

    /// What the HPA controller makes of it: it adds the items up, and no items are an error.
    fn sum(&self) -> Option<Quantity> {
        if self.values.is_empty() {
            return None;
        }
        Quantity::sum(self.values.iter().map(|value| Quantity::parse(value)).collect::<Option<Vec<_>>>()?)
    }

    /// Whether an HPA gets the same number, or the same error.
    fn is_for_an_hpa_as(&self, other: &Self) -> bool {
        self.status == other.status && self.sum() == other.sum() && (self.status != "200" || self.sum().is_some())
    }

    /// As a cell of the table.
    fn cell(&self) -> String {
        match self.values.len() {
            0 if self.status == "200" => "no items".to_owned(),
            0 => self.status.clone(),
            _ => self.values.join(" + "),
        }
    }
}
