//! `get --config`: the same answer as an HPA gets, without a cluster. Through a cluster it is end
//! to end.

use serde_json::{Value, json};

use crate::hpas::apiserver_that;
use crate::support::double::Double;
use crate::support::eventually;
use crate::support::oci::{Oci, source};
use crate::support::program::Home;

#[tokio::test]
async fn a_source_is_read_as_an_hpa_of_the_namespace_would_be_told() {
    let oci = Oci::with_queues(&["orders", "bills"]).await;
    oci.put("orders", 3);
    let home = Home::new();
    let sources = [source("orders", &["shop"]), source("bills", &["office"])];
    home.write("config.yaml", &oci.config(&json!({}), &sources));
    let get =
        async |more: &[&str]| home.run(&[&["get", "--config=config.yaml", "oci_queue_length"], more].concat()).await;
    let json = get(&["-n", "shop", "-l", "queue=orders", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {json:?}"));
    assert_eq!(list["kind"], "ExternalMetricValueList");
    assert_eq!(
        (&list["items"][0]["value"], &list["items"][0]["metricLabels"]["queue"]),
        (&json!("3"), &json!("orders"))
    );
    let table = get(&["-n", "shop"]).await;
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("QUEUE ") && lines[1].starts_with("orders "), "{lines:?}");
    assert!(get(&["-n", "shop", "-o", "yaml"]).await.stdout.contains("kind: ExternalMetricValueList"));
    // `namespaces` is obeyed, and the sentence is the server's.
    let foreign = get(&["-n", "office", "-l", "queue=orders"]).await;
    assert_eq!((foreign.status.code(), foreign.stdout.as_str()), (Some(1), ""));
    assert!(foreign.stderr.contains("matches queue=orders; it may read bills"), "{}", foreign.stderr);
}

#[tokio::test]
async fn a_read_that_fails_is_one_sentence() {
    let oci = Oci::with_queues(&[]).await;
    let home = Home::new();
    home.write("config.yaml", &oci.config(&json!({}), &[source("gone", &["shop"])]));
    let ended = home.run(&["get", "--config=config.yaml", "oci_queue_length", "-n", "shop"]).await;
    // The service responds with 404, so it can be reached.
    assert_eq!(ended.status.code(), Some(1));
    let [line] = ended.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", ended.stderr) };
    assert!(line.starts_with("error: queue \"gone\" cannot be read since "), "{line}");
}

#[tokio::test]
async fn a_service_that_does_not_respond_has_another_exit_code_than_one_that_refuses() {
    let refuses = Double::start(None, |_| (400, "no".to_owned())).await;
    let home = Home::new();
    for (address, code) in [(refuses.address.to_string(), 1), ("127.0.0.1:1".to_owned(), 3)] {
        let source = json!({"type": "http-json", "metric": "jobs", "url": format!("http://{address}/stats"),
            "value": "$.n", "namespaces": ["shop"]});
        let config = json!({"apiVersion": "depthgauge.dev/v1alpha1", "kind": "Config", "sources": [source]});
        home.write("config.yaml", &config.to_string());
        let ended = home.run(&["get", "--config=config.yaml", "jobs", "-n", "shop"]).await;
        assert_eq!(ended.status.code(), Some(code), "{}", ended.stderr);
    }
}

/// A source with `export` is read without a request.
#[tokio::test]
async fn a_service_that_the_metric_does_not_need_changes_no_exit_code() {
    let oci = Oci::with_queues(&["orders"]).await;
    let refuses = Double::start(None, |_| (400, "no".to_owned())).await;
    let home = Home::new();
    let mut exported = source("orders", &["shop"]);
    exported["export"] = json!(true);
    exported["endpoint"] = json!("http://127.0.0.1:1");
    let jobs = json!({"type": "http-json", "metric": "jobs", "url": format!("http://{}/stats", refuses.address),
        "value": "$.n", "timeout": "30s", "namespaces": ["shop"]});
    home.write("config.yaml", &oci.config(&json!({"refresh": "1s"}), &[exported, jobs]));
    for (metric, code) in [("jobs", 1), ("oci_queue_length", 3)] {
        let ended = home.run(&["get", "--config=config.yaml", metric, "-n", "shop"]).await;
        assert_eq!(ended.status.code(), Some(code), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn through_the_cluster_a_row_without_a_value_is_an_error_with_its_cause() {
    const CAUSE: &str = "queue \"ghost\" cannot be read since 2026-11-22T14:00:00Z";
    let (_double, home) = apiserver_that(|request| {
        if request.header("accept").contains("as=Table") {
            let columns = json!([{"name": "Queue", "priority": 0}, {"name": "Value", "priority": 0}]);
            let rows = json!([{"cells": ["ghost", "?"]}, {"cells": ["orders", "3"]}]);
            return (200, json!({"kind": "Table", "columnDefinitions": columns, "rows": rows}).to_string());
        }
        (503, json!({"kind": "Status", "status": "Failure", "code": 503, "message": CAUSE}).to_string())
    })
    .await;
    let ended = home.run(&["get", "oci_queue_length", "--kubeconfig=kubeconfig"]).await;
    assert_eq!(ended.stdout, "QUEUE    VALUE\nghost    ?\norders   3\nsum      ?");
    let error = "error: an HPA gets no value: the sum is unknown";
    assert_eq!(ended.stderr, format!("warning: {CAUSE}\n{error}"));
    assert_eq!(ended.status.code(), Some(1));
}

#[tokio::test]
async fn a_config_file_is_read_whatever_kubeconfig_the_shell_names() {
    let oci = Oci::with_queues(&["orders"]).await;
    let home = Home::new();
    home.write("config.yaml", &oci.config(&json!({}), &[source("orders", &["shop"])]));
    let arguments = ["get", "--config=config.yaml", "oci_queue_length", "-n", "shop"];
    let told = home.start_in(&[("DEPTHGAUGE_KUBECONFIG", "no-such-file")], &arguments).ended().await;
    assert!(told.status.success() && told.stdout.contains("orders"), "{told:?}");
}

#[tokio::test]
async fn credentials_of_other_sources_are_not_needed() {
    let home = Home::new();
    let hours = "{type: schedule, metric: hours, timezone: UTC, start: '0 8 * * *', end: '0 8 * * *', value: 1, namespaces: [shop]}";
    let hours = hours.replace("end: '0 8 * * *'", "end: '0 0 * * *'");
    let queue = "{type: rabbitmq, queue: a, namespaces: [shop]}";
    let connection =
        "r: {type: rabbitmq, url: 'https://r', auth: {type: basic, usernameFile: gone, passwordFile: gone}}";
    let config = "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\n";
    home.write("config.yaml", &format!("{config}connections: {{{connection}}}\nsources: [{queue}, {hours}]\n"));
    let get = async |more: &[&str]| home.run(&[&["get", "--config=config.yaml", "-n", "shop"], more].concat()).await;
    let hours = get(&["HOURS"]).await;
    assert!(hours.status.success(), "{hours:?}");
    let queue = get(&["rabbitmq_queue_length"]).await;
    assert!(queue.status.code() == Some(1) && queue.stderr.contains("gone"), "{queue:?}");
    let names = get(&["-o", "name"]).await;
    assert!(names.stdout.lines().any(|name| name == "hours"), "{names:?}");
    let both = get(&["hours", "--context=c"]).await;
    assert!(both.status.code() == Some(2) && both.stderr.contains("cannot be used with"), "{both:?}");
}

#[tokio::test]
async fn a_watch_prints_changes_and_stops_well() {
    let oci = Oci::with_queues(&["orders"]).await;
    let home = Home::new();
    home.write("config.yaml", &oci.config(&json!({"refresh": "1s"}), &[source("orders", &["shop"])]));
    let mut watch = home.start(&["get", "--config=config.yaml", "oci_queue_length", "-n", "shop", "-w", "-o", "json"]);
    let first = watch.said("").await;
    assert!(first.contains("\"value\":\"0\""), "{first}");
    watch.terminate();
    let ended = watch.ended().await;
    assert_eq!((ended.status.code(), ended.stdout.lines().count()), (Some(0), 1), "{}", ended.stderr);
}

#[tokio::test]
async fn a_watch_on_a_terminal_draws_its_last_line_anew() {
    let oci = Oci::with_queues(&["orders"]).await;
    let home = Home::new();
    home.write("config.yaml", &oci.config(&json!({"refresh": "1s"}), &[source("orders", &["shop"])]));
    let arguments = ["get", "--config=config.yaml", "oci_queue_length", "-n", "shop", "-w"];
    let mut watch = home.start_on_terminal(&[("TERM", "xterm")], &arguments);
    // Read again, so the first answer is known.
    eventually("a second read", async || (oci.queue("orders").reads() > 1).then_some(())).await;
    oci.put("orders", 3);
    // The line is over when the value is another one.
    let first = watch.said("\r\u{1b}[K").await;
    assert!(first.contains("Z         0  ▁"), "{first:?}");
    let looks = oci.queue("orders").reads();
    eventually("it is drawn anew", async || (oci.queue("orders").reads() > looks + 2).then_some(())).await;
    watch.terminate();
    let ended = watch.ended().await;
    let [_, last, ..] = ended.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{ended:?}") };
    assert!(last.contains("Z         3  ▁") && last.contains("\r\u{1b}[K"), "{last:?}");
}

#[tokio::test]
async fn without_a_metric_the_metrics_are_listed() {
    let oci = Oci::with_queues(&["orders"]).await;
    let home = Home::new();
    home.write("config.yaml", &oci.config(&json!({}), &[source("orders", &["shop"])]));
    let get = async |more: &[&str]| home.run(&[&["get", "--config=config.yaml"], more].concat()).await.stdout;
    let names = get(&["-o", "name"]).await;
    assert!(names.lines().any(|name| name == "oci_queue_length"), "{names}");
    let table = get(&[]).await;
    let row = table.lines().find(|line| line.starts_with("oci_queue_length ")).unwrap();
    assert!(table.starts_with("NAME ") && row.ends_with("oci-queue"), "{table}");
    let document: Value = serde_json::from_str(&get(&["-o", "json"]).await).unwrap();
    assert_eq!(document["metrics"].as_array().unwrap().len(), names.lines().count());
}

#[tokio::test]
async fn wide_has_more_columns_and_name_has_the_labels() {
    let oci = Oci::with_queues(&["orders", "bills"]).await;
    oci.put("orders", 3);
    let home = Home::new();
    home.write("config.yaml", &oci.config(&json!({}), &[source("orders", &["shop"]), source("bills", &["shop"])]));
    let get = async |form: &str| {
        home.run(&["get", "--config=config.yaml", "oci_queue_length", "-n", "shop", "-o", form]).await.stdout
    };
    let names = get("name").await;
    assert_eq!(names, "oci_queue_length{queue=bills}\noci_queue_length{queue=orders}");
    let (table, wide) = (get("table").await, get("wide").await);
    assert!(table.lines().next().unwrap().ends_with("VALUE SOURCE"), "{table}");
    assert!(table.lines().last().unwrap().starts_with("sum      3"), "{table}");
    assert!(wide.lines().next().unwrap().ends_with("QUERIED"), "{wide}");
}

#[tokio::test]
async fn of_several_queues_one_without_a_value_is_a_question_mark_for_people_and_an_error_for_an_hpa() {
    let oci = Oci::with_queues(&["orders"]).await;
    oci.put("orders", 3);
    let home = Home::new();
    home.write("config.yaml", &oci.config(&json!({}), &[source("gone", &["shop"]), source("orders", &["shop"])]));
    let get = async |more: &[&str]| {
        home.run(&[&["get", "--config=config.yaml", "oci_queue_length", "-n", "shop"], more].concat()).await
    };
    let table = get(&[]).await;
    let lines: Vec<&str> = table.stdout.lines().collect();
    let begins = ["QUEUE    VALUE ", "orders   3 ", "gone     ? ", "sum      ?"];
    assert!(lines.len() == 4 && lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{lines:?}");
    assert!(table.stderr.starts_with("warning: queue \"gone\" cannot be read since "), "{}", table.stderr);
    assert_eq!(table.status.code(), Some(1));
    let list = get(&["-o", "json"]).await;
    assert_eq!((list.status.code(), list.stdout.as_str()), (Some(1), ""));
    // If none has a value there is nothing to show.
    assert_eq!(get(&["-l", "queue=gone"]).await.status.code(), Some(1));
}
