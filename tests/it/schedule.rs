//! Schedules as they are served, checked and explained. Which windows there are is tested beside the code.

use serde_json::json;

use crate::support::program::Home;
use crate::support::server::Server;

/// A window that is always open, except in the last minute of a leap day.
const OPEN: &str = r#"start: "0 0 * * *", end: "59 23 29 2 *""#;
/// A window that is always closed, except in the last minute of a leap day.
const CLOSED: &str = r#"start: "59 23 29 2 *", end: "0 0 * * *""#;

fn config(entries: &[&str]) -> String {
    let entry = |entry: &&str| {
        format!(
            "  - {{type: schedule, metric: hours, timezone: Europe/Berlin, value: 2.5, namespaces: [shop], {entry}}}\n"
        )
    };
    let entries: String = entries.iter().map(entry).collect();
    format!("apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources:\n{entries}")
}

async fn values(server: &Server, selector: &str) -> Result<Vec<String>, (u16, String)> {
    let path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/hours";
    server.aggregator("hpa").get(&format!("{path}?labelSelector={selector}")).await.served()
}

#[tokio::test]
async fn the_value_is_served_inside_a_window_and_0_outside() {
    for (windows, value) in [(OPEN, "2500m"), (CLOSED, "0")] {
        let server = Server::start(&config(&[windows])).await;
        assert_eq!(values(&server, "").await, Ok(vec![value.to_owned()]));
    }
}

#[tokio::test]
async fn schedules_of_one_metric_are_items() {
    let (open, closed) = (format!("{OPEN}, items: sum, labels: {{team: a}}"), format!("{CLOSED}, items: sum"));
    let server = Server::start(&config(&[&open, &closed])).await;
    assert_eq!(values(&server, "").await, Ok(vec!["2500m".to_owned(), "0".to_owned()]));
    assert_eq!(values(&server, "team%3Da").await, Ok(vec!["2500m".to_owned()]));
}

#[tokio::test]
async fn a_table_has_the_next_change() {
    let path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/hours";
    let server = Server::start(&config(&[&format!("{CLOSED}, activation: 2.5")])).await;
    let kubectl = server.aggregator("hpa").with_header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let row = kubectl.get(path).await.json()["rows"][0].to_string();
    assert!(row.contains("\"0 at 20") && !row.contains("2.5 at"), "with its activation: {row}");

    let server = Server::start(&config(&[OPEN])).await;
    let kubectl = server.aggregator("hpa").with_header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = kubectl.get(path).await.json();
    let columns = table["columnDefinitions"].as_array().unwrap();
    let at = columns.iter().position(|column| column["name"] == json!("Next Change")).unwrap();
    let change = table["rows"][0]["cells"][at].as_str().unwrap();
    assert!(change.starts_with("0 at 20") && change.ends_with("-02-29 23:59 Europe/Berlin)"), "{change}");
}

#[tokio::test]
async fn config_check_prints_three_changes() {
    let home = Home::new();
    home.write("config.yaml", &config(&[CLOSED]));
    let checked = home.run(&["config", "check", "config.yaml"]).await;
    assert!(checked.status.success(), "{}", checked.stderr);
    let lines: Vec<&str> = checked.stdout.lines().collect();
    let [first, second, third, summary] = lines[..] else { panic!("{lines:?}") };
    for (line, value, time) in
        [(first, "2.5", "02-29 23:59"), (second, "0", "03-01 00:00"), (third, "2.5", "02-29 23:59")]
    {
        let is_right = line.starts_with(&format!("config.yaml:4:5: hours becomes {value} at 20"));
        assert!(is_right && line.ends_with(&format!("-{time} Europe/Berlin)")), "{line}");
    }
    assert_eq!(summary, "config.yaml: 1 source, no errors");

    for (activation, value) in [("2.4", Some("2.5")), ("2.5", None)] {
        let active = config(&[CLOSED]).replacen("value: 2.5", &format!("value: 2.5, activation: {activation}"), 1);
        home.write("config.yaml", &active);
        let checked = home.run(&["config", "check", "config.yaml", "-o", "json"]).await;
        let document: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
        let first = document["changes"][0]["text"].as_str();
        let becomes = value.map(|value| format!("hours becomes {value} at "));
        assert!(first.map(|text| text.split_inclusive(" at ").next().unwrap()) == becomes.as_deref(), "{document}");
        let always = (value.is_none()).then_some("hours is always 0: its values are not above `activation`");
        assert_eq!(document["warnings"][0]["text"].as_str(), always);
    }
}

#[tokio::test]
async fn config_check_refuses_what_is_no_schedule() {
    let home = Home::new();
    let good = config(&[r#"start: "0 8 * * *", end: "0 18 * * *""#]);
    for (part, instead, message) in [
        ("0 18 * * *", "0 8 * * 1", "`start` and `end` have times in common, such as 2024-01-01 08:00"),
        ("0 18 * * *", "0 0 30 2 *", "\"0 0 30 2 *\" has no time"),
        ("0 8 * * *", "0 8 * *", "\"0 8 * *\" has 4 fields"),
        ("0 8 * * *", "0 24 * * *", "\"0 24 * * *\" is not a cron expression"),
        ("timezone: Europe/Berlin, ", "", "`timezone` is missing here"),
        ("Europe/Berlin", "CET-1CEST", "\"CET-1CEST\" is not a known time zone"),
        ("value: 2.5", "value: -1", "expected a number from 0 to 9200000000000000"),
        ("value: 2.5", "connection: x, value: 2.5", "unknown key `connection`"),
        ("value: 2.5", "namespaceLabel: ns, value: 2.5", "`namespaceLabel` has no effect here: remove it"),
        ("value: 2.5", "empty: 0, value: 2.5", "`empty` has no effect here: remove it"),
        ("value: 2.5", "fallback: 3, value: 2.5", "`fallback` has no effect here: remove it"),
        (
            "value: 2.5",
            "zzz: 3, value: 2.5",
            "unknown key `zzz`; known here: activation, end, idleAfter, items, labels, maxAge, metric, namespaces, refresh, start, timeout, timezone, type, value",
        ),
    ] {
        assert!(good.contains(part), "{part}");
        home.write("config.yaml", &good.replacen(part, instead, 1));
        let checked = home.run(&["config", "check", "config.yaml"]).await;
        let lines: Vec<&str> = checked.stderr.lines().collect();
        assert!(!checked.status.success() && lines.len() == 2 && lines[0].contains(message), "{instead}: {lines:?}");
    }
}
