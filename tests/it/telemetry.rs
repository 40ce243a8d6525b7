//! What is on `/metrics`, written down: `docs/reference/prometheus-metrics.md` is made of it, and alerts and dashboard
//! may name nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use depthgauge_emulator::fault::Fault;
use http::StatusCode;
use serde_json::{Value, json};

use crate::golden;
use crate::serve::{admin, good_home, serve_in};
use crate::serve_sources::sample;
use crate::support::cluster::Mood;
use crate::support::eventually;
use crate::support::oci::{Oci, source};
use crate::support::server::{Server, VALUE};

const INTRODUCTION: &str = "\
# Prometheus metrics

`/metrics` has these on the admin port, and on the secure port for clients that RBAC allows to `get`
the path. Prometheus gets OpenMetrics, other clients the text format. The tests generate this page:
`UPDATE_GOLDEN=1 cargo test --test it -- telemetry::`.

The gauges that begin with `oci_` are those of queues of Oracle Cloud Infrastructure (OCI) with
`export: true`. They have no sample while the source fails. Times are in seconds.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
";

#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    /// The upper bounds of the buckets of a histogram, in their order.
    buckets: Vec<String>,
}

#[tokio::test]
async fn every_metric_is_documented() {
    let mut text = scraped().await;
    // Without a cluster there is no HPA.
    let with_hpa = crate::zero::scraped().await;
    text.extend(with_hpa.split_inclusive('\n').filter(|line| line.contains("depthgauge_hpa_problem")));
    let mut table = INTRODUCTION.to_owned();
    for (name, Family { kind, help, labels, buckets }) in families(&text) {
        assert!(!help.is_empty(), "{name} has no help");
        assert_eq!(kind == "histogram", !buckets.is_empty(), "{name}");
        let buckets = if buckets.is_empty() { String::new() } else { format!(". Buckets: {}", buckets.join(", ")) };
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let help = help.trim_end_matches('.');
        table.push_str(&format!("| `{name}` | {kind} | {} | {help}{buckets} |\n", labels.join(", ")));
    }
    golden::check_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/prometheus-metrics.md"), &table);
}

#[test]
fn alerts_and_dashboard_name_metrics_that_exist() {
    let documented = read("docs/reference/prometheus-metrics.md");
    let exist: BTreeSet<&str> =
        documented.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(exist.contains("depthgauge_requests_total"), "{exist:?}");
    for file in ["dashboard.json", "prometheusrule.yaml"] {
        let text = read(&format!("manifests/components/prometheus/{file}"));
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let named: BTreeSet<&str> =
            words.filter(|word| word.starts_with("depthgauge_") || word.starts_with("oci_queue_")).collect();
        assert!(named.len() > 8, "{file}: {named:?}");
        for name in named {
            let family = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
            assert!(exist.contains(name) || family.is_some_and(|family| exist.contains(family)), "{file}: {name}");
        }
    }
}

#[tokio::test]
async fn in_a_pod_each_line_of_the_log_is_json_and_elsewhere_text_unless_a_flag_says_otherwise() {
    let pod = &[("POD_NAMESPACE", "shop")][..];
    for (variables, format, is_json) in
        [(pod, "auto", true), (&[], "auto", false), (pod, "text", false), (&[], "json", true)]
    {
        let home = good_home();
        let flags = ["--config=config.yaml", "--kubeconfig=kubeconfig", "--register=false", "--secure-port=0"];
        let format = format!("--log-format={format}");
        let certificate = ["--shutdown-delay=0s", &format];
        let mut program = serve_in(&home, variables, &[&flags[..], &certificate].concat());
        let _ = program.said("admin on ").await;
        program.terminate();
        let ended = program.ended().await;
        assert!(ended.stderr.contains("serving"), "{}", ended.stderr);
        for line in ended.stderr.lines() {
            let json: Result<Value, _> = serde_json::from_str(line);
            assert_eq!(json.is_ok(), is_json, "{line}");
            let fields = ["timestamp", "level", "message", "target"];
            assert!(json.is_err() || fields.iter().all(|field| json.as_ref().unwrap()[field].is_string()), "{line}");
        }
    }
}

#[tokio::test]
async fn an_outage_is_a_line_when_it_begins_and_one_when_it_ends() {
    let (home, oci) = (good_home(), Oci::with_queues(&["orders"]).await);
    let mut orders = source("orders", &["shop"]);
    orders["export"] = json!(true);
    home.write("config.yaml", &oci.config(&json!({"refresh": "50ms"}), &[orders]));
    let flags = ["--config=config.yaml", "--kubeconfig=kubeconfig", "--register=false", "--secure-port=0"];
    let mut program = serve_in(&home, &[], &flags);
    let operator = program.said("admin on ").await;
    let reads = async |result: &str, at_least: u32| {
        let series =
            format!("depthgauge_source_read_duration_seconds_count{{kind=\"oci-queue\",result=\"{result}\"}} ");
        eventually(&format!("{at_least} reads that end with {result}"), async || {
            let (_, text) = admin(&operator, "/metrics").await;
            let count: u32 = text.lines().find_map(|line| line.strip_prefix(&series))?.parse().unwrap();
            (count >= at_least).then_some(count)
        })
        .await
    };
    let good = reads("ok", 3).await;
    oci.set_fault(Some(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    reads("read", 10).await;
    oci.set_fault(Some(Fault::Status(StatusCode::BAD_GATEWAY)));
    reads("read", 20).await;
    for line in ["depthgauge_sources{state=\"failing\"} 1", "depthgauge_breaker_open_sources 1"] {
        sample(&operator, line).await;
    }
    oci.set_fault(None);
    reads("ok", good + 10).await;
    for line in ["depthgauge_sources{state=\"failing\"} 0", "depthgauge_breaker_open_sources 0"] {
        sample(&operator, line).await;
    }
    program.terminate();
    let ended = program.ended().await;
    for words in ["source cannot be read source=", "source is readable again"] {
        let lines = ended.stderr.lines().filter(|line| line.contains(words)).count();
        assert_eq!(lines, 1, "{words}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn answers_and_decisions_are_counted() {
    let oci = Oci::with_queues(&["orders"]).await;
    let defaults = json!({"refresh": "50ms", "maxAge": "1s"});
    let server = Server::start(&oci.config(&defaults, &[source("orders", &["shop"])])).await;
    let hpa = server.aggregator("hpa");
    let fallback = format!("{VALUE}?labelSelector=queue%3Dorders%2Cdepthgauge.dev%2Ffallback%3D12");
    // Allowed, and an answer whose age is known.
    assert_eq!(hpa.get(VALUE).await.status, 200);
    // Denied; and who shows a certificate of nobody's is not who he says.
    assert_eq!(server.proxy().with_header("X-Remote-User", "eve").get(VALUE).await.status, 403);
    assert_eq!(server.anyone().with_token("bad").get(VALUE).await.status, 401);
    // Told by a policy: of an age that nobody knows.
    oci.set_fault(Some(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    let mut asked = 1;
    eventually("a fallback", async || {
        asked += 1;
        (hpa.get(&fallback).await.values() == [("orders".to_owned(), "12".to_owned())]).then_some(())
    })
    .await;
    // The cluster does not answer: nobody decides. Anonymous is a caller that it has not judged.
    server.cluster.set_mood(Mood::Down);
    assert_eq!(server.anyone().get(VALUE).await.status, 503);
    server.cluster.set_mood(Mood::Well);
    let text = server.aggregator("prometheus").get("/metrics").await.body;
    for line in [
        // Whoever scrapes was allowed, too.
        format!("depthgauge_auth_decisions_total{{decision=\"allowed\"}} {}", asked + 1),
        "depthgauge_auth_decisions_total{decision=\"denied\"} 1".to_owned(),
        "depthgauge_auth_decisions_total{decision=\"unauthenticated\"} 1".to_owned(),
        "depthgauge_auth_decisions_total{decision=\"undecided\"} 1".to_owned(),
        format!("depthgauge_requests_total{{code=\"200\"}} {asked}"),
        format!("depthgauge_request_duration_seconds_count {}", asked + 3),
        format!("depthgauge_answer_age_seconds_count {}", asked - 1),
        "depthgauge_value_rule_applied_total{value_source=\"fallback\"} 1".to_owned(),
        "depthgauge_value_rule_applied_total{value_source=\"activation\"} 0".to_owned(),
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
    }
}

/// In the text format, of a process that has a source for each series that there can be.
async fn scraped() -> String {
    let (home, oci) = (good_home(), Oci::with_queues(&["orders"]).await);
    let exported = |name: &str| {
        let mut source = source(name, &["shop"]);
        source["export"] = json!(true);
        source
    };
    // The emulator has no queue "gone".
    home.write("config.yaml", &oci.config(&json!({"refresh": "100ms"}), &[exported("orders"), exported("gone")]));
    let flags = ["--config=config.yaml", "--kubeconfig=kubeconfig", "--service=depthgauge/depthgauge:443"];
    let mut program = serve_in(&home, &[], &[&flags[..], &["--secure-port=0", "--scale-to-zero"]].concat());
    let operator = program.said("admin on ").await;
    eventually("a good source and a bad one", async || {
        let (_, text) = admin(&operator, "/metrics").await;
        let good = text.contains("oci_queue_length{queue=\"orders\"}");
        (good && text.contains("_seconds{kind=\"oci-queue\",source=\"gone\"")).then_some(text)
    })
    .await
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((name, labels)) = line.split_once('{') {
            let name = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| {
                let family = name.strip_suffix(suffix)?;
                families.contains_key(family).then_some(family)
            });
            let name = name.unwrap_or(line.split('{').next().unwrap());
            let keys = labels.split(['{', ',', '}']).filter_map(|pair| Some(pair.split_once("=\"")?.0.to_owned()));
            let family = families.get_mut(name).unwrap_or_else(|| panic!("a sample before its type: {line}"));
            family.labels.extend(keys.filter(|key| key != "le"));
            let bound = labels.split_once("le=\"").and_then(|(_, rest)| rest.split('"').next());
            if let Some(bound) = bound.filter(|bound| !family.buckets.iter().any(|known| known == bound)) {
                family.buckets.push(bound.to_owned());
            }
        }
    }
    families
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}
