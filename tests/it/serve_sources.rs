//! Where `serve` has its sources from: a config file that is followed, or variables; and what it
//! shows of them to whoever scrapes it.

use serde_json::json;

use crate::serve::{admin, good_home, serve_in};
use crate::support::double::Double;
use crate::support::oci::{Oci, ocid, source};
use crate::support::program::{Home, Program};
use crate::support::slices::Slices;
use crate::support::{eventually, keda};

/// What OCI's user is known by to a process whose home this is.
fn sign_in(home: &Home, oci: &Oci) {
    std::fs::create_dir(home.path(".oci")).unwrap();
    std::fs::copy(&oci.profile.config_file, home.path(".oci/config")).unwrap();
}

pub(crate) async fn sample(operator: &str, line: &str) {
    eventually(line, async || {
        let (_, metrics) = admin(operator, "/metrics").await;
        metrics.lines().any(|shown| shown == line).then_some(())
    })
    .await;
}

fn start(home: &Home, variables: &[(&str, &str)], more: &[&str]) -> Program {
    serve_in(home, variables, &[&["--kubeconfig=kubeconfig", "--register=false", "--secure-port=0"][..], more].concat())
}

#[tokio::test]
async fn gauges_follow_the_config_and_the_queue() {
    let (home, oci) = (good_home(), Oci::with_queues(&["orders", "bills"]).await);
    oci.put("orders", 3);
    let exported = |name: &str| {
        let mut source = source(name, &["shop"]);
        source["export"] = json!(true);
        source
    };
    let defaults = json!({"refresh": "100ms"});
    home.write("config.yaml", &oci.config(&defaults, &[exported("orders"), source("bills", &["shop"])]));
    let mut program = start(&home, &[("OCI_QUEUE_ID", "x")], &["--config=config.yaml"]);
    let operator = program.said("admin on ").await;
    sample(&operator, "oci_queue_length{queue=\"orders\"} 3.0").await;
    let (_, metrics) = admin(&operator, "/metrics").await;
    for line in [
        "# TYPE oci_queue_length gauge",
        "# HELP oci_queue_visible Messages in an OCI queue that are ready for delivery",
        "oci_queue_visible{queue=\"orders\"} 3.0",
        "oci_queue_in_flight{queue=\"orders\"} 0.0",
        "depthgauge_check_state{check=\"config\"} 0",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("bills"), "{metrics}");
    for trigger in keda::before_a_move() {
        assert_eq!(trigger.reads(&metrics), Some(3.0), "{metrics}");
    }
    home.write("config.yaml", &oci.config(&defaults, &[exported("bills")]));
    sample(&operator, "oci_queue_length{queue=\"bills\"} 0.0").await;
    let (_, metrics) = admin(&operator, "/metrics").await;
    assert!(!metrics.contains("orders"), "{metrics}");
    program.terminate();
    let ended = program.ended().await;
    let ignored = "variables are ignored, because a config file is set: OCI_QUEUE_ID";
    assert!(
        ended.stderr.contains(ignored) && ended.stderr.contains("the changed config is active"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn variables_are_enough_to_serve_a_queue() {
    let (home, oci) = (good_home(), Oci::with_queues(&["orders"]).await);
    sign_in(&home, &oci);
    let (id, endpoint) = (ocid("orders"), format!("http://{}", oci.address));
    let variables = [("OCI_QUEUE_ID", id.as_str()), ("OCI_QUEUE_ENDPOINT", &endpoint), ("POD_NAMESPACE", "shop")];
    let mut program = start(&home, &variables, &[]);
    let operator = program.said("admin on ").await;
    eventually("ready", async || (admin(&operator, "/readyz").await == (200, "ok".to_owned())).then_some(())).await;
    program.terminate();
    let ended = program.ended().await;
    assert!(ended.stderr.contains("OCI_QUEUE_ID, OCI_QUEUE_ENDPOINT"), "{}", ended.stderr);
}

/// While it replaces another replica, which has rates, that one takes the requests.
#[tokio::test]
async fn a_replica_is_ready_when_it_has_rates() {
    let home = good_home();
    let pod = Double::start(None, |_| (200, "# TYPE ops_total counter\nops_total 1\n".to_owned())).await;
    let slices = Slices::of(&[("a", pod.address)]).list().to_string();
    let api = Double::start(None, move |request| match request.target.split_once("/endpointslices") {
        Some((_, query)) if !query.contains("watch=true") => (200, slices.clone()),
        // A watch without changes.
        Some(_) => (0, String::new()),
        None => (404, "{}".to_owned()),
    })
    .await;
    let kubeconfig = std::fs::read_to_string(home.path("kubeconfig")).unwrap();
    home.write("kubeconfig", &kubeconfig.replace("https://127.0.0.1:1", &format!("http://{}", api.address)));
    let config = json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        // Longer than the time that a start waits in any case.
        "defaults": {"refresh": "11s"},
        "sources": [{
            "type": "scrape", "metric": "ops", "service": "shop/web", "port": "metrics", "series": "ops_total",
            "as": "rate", "namespaces": ["shop"],
        }],
    });
    home.write("config.yaml", &config.to_string());
    let mut program = start(&home, &[], &["--config=config.yaml"]);
    let operator = program.said("admin on ").await;
    let reads = eventually("ready", async || {
        let (code, _) = admin(&operator, "/readyz").await;
        (code == 200).then(|| pod.count())
    })
    .await;
    assert!(reads >= 2, "{reads}");
    program.terminate();
    assert!(program.ended().await.status.success());
}

#[tokio::test]
async fn without_a_file_and_without_variables_both_ways_are_named() {
    let home = good_home();
    let ended = start(&home, &[], &[]).ended().await;
    let error = "error: no sources\nhint: name a config file with --config, or one source with OCI_QUEUE_ID";
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(2), error));
    let variables = [("OCI_QUEUE_ID", "orders"), ("OCI_REGION", "atlantis-1")];
    let ended = start(&home, &variables, &[]).ended().await;
    for variable in ["OCI_QUEUE_ID: \"orders\" is not the OCID of a queue", "OCI_REGION: ", "OCI_QUEUE_NAMESPACES: "] {
        assert!(ended.stderr.contains(variable), "{variable} in {}", ended.stderr);
    }
    assert_eq!(ended.status.code(), Some(1));
}

#[tokio::test]
async fn warnings_about_the_active_config_are_in_the_log_and_on_the_status_page() {
    let home = good_home();
    let config = |query: &str| {
        let config = json!({
            "apiVersion": "depthgauge.dev/v1alpha1",
            "kind": "Config",
            "connections": {"store": {"type": "prometheus", "url": "http://127.0.0.1:1"}},
            "sources": [{"type": "prometheus", "metric": "m", "query": query, "namespaces": ["shop"]}],
        });
        config.to_string()
    };
    home.write("config.yaml", &config("sum(x) or vector(0)"));
    let mut program = start(&home, &[], &["--config=config.yaml"]);
    let operator = program.said("admin on ").await;
    let findings = async || {
        let (_, status) = admin(&operator, "/status").await;
        serde_json::from_str::<serde_json::Value>(&status).unwrap()["findings"].clone()
    };
    let first = findings().await;
    let message = first[0]["message"].as_str().unwrap();
    assert!(message.starts_with("`query`: `or vector(0)` serves 0 also while the exporter is down."), "{first}");
    assert!(first[0]["object"].as_str().unwrap().starts_with("config.yaml:1:"), "{first}");
    home.write("config.yaml", &config("sum(http_requests_total)"));
    eventually("the other warning", async || findings().await.to_string().contains("is a counter").then_some(())).await;
    assert_eq!(findings().await.as_array().unwrap().len(), 1);
    home.write("config.yaml", &config("sum(rate(http_requests_total[2m]))"));
    eventually("no warning", async || findings().await.as_array().unwrap().is_empty().then_some(())).await;
    program.terminate();
    let log = program.ended().await.stderr;
    for warning in ["`or vector(0)` serves 0", "http_requests_total is a counter"] {
        assert_eq!(log.matches(warning).count(), 1, "{log}");
    }
}
