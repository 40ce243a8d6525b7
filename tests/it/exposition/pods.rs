//! What a source of type scrape makes of the recordings, as if a pod exposed them.

use std::collections::BTreeSet;
use std::time::Duration;

use depthgauge::source::chosen::{Number, Point};
use depthgauge::source::scrape::fleet::{Aggregation, Fleet, Rules, TargetRead};
use depthgauge::source::scrape::reading::{self, Series};
use tokio::time::Instant;

use super::document::{recording, recordings};

const SECOND: Duration = Duration::from_secs(1);
/// After the recordings.
const NOW: f64 = 1_796_000_000.0;
/// Longer than they are old.
const MAX_AGE: Duration = Duration::from_hours(24);
const GET: &str = r#"app_requests_total{method="GET"}"#;

fn select(name: &str, selector: &str) -> Vec<Series> {
    let document = recording(name);
    let series = reading::select(&document.body, document.format(), &selector.parse().unwrap(), NOW, MAX_AGE);
    let series = series.unwrap();
    assert!(!series.is_empty(), "{name}: {selector}");
    series
}

/// The times of a series and of its process, by which a restart is known, in seconds since 1970.
#[test]
fn when_a_counter_and_its_process_began_is_found_in_what_each_client_exposes() {
    let (of_go, of_python, of_java) = (Some(1_795_982_600.35), Some(1_795_982_623.52), Some(1_795_982_880.304));
    let expected = [
        ("prometheus.txt", "process_cpu_seconds_total", None, Some(1_795_958_636.75)),
        // The process is another one for each target.
        ("federate.txt", "process_cpu_seconds_total", None, Some(1_795_981_449.25)),
        ("node_exporter.txt", "node_context_switches_total", None, Some(1_795_981_449.25)),
        ("pushgateway.txt", "pushgateway_http_requests_total", None, Some(1_795_981_449.26)),
        ("haproxy.txt", "haproxy_process_requests_total", None, Some(1_795_982_231.0)),
        ("etcd.txt", "etcd_server_proposals_committed_total", None, Some(1_795_982_263.01)),
        ("rabbitmq.txt", "rabbitmq_global_messages_received_total", None, Some(1_795_982_509.0)),
        ("depthgauge.txt", "depthgauge_requests_total", None, None),
        ("depthgauge.om", "depthgauge_requests_total", None, None),
        ("go.txt", GET, None, of_go),
        ("go.om", GET, Some(1_795_982_600.630_443_6), of_go),
        ("go.om", "app_duration_seconds_bucket", Some(1_795_982_600.630_458_4), of_go),
        ("go.om", "app_size_bytes_sum", Some(1_795_982_600.630_326_5), of_go),
        ("go-utf8.txt", r#"{"app.jobs.done_total"}"#, None, of_go),
        ("go-utf8.om", r#"{"app.jobs.done_total"}"#, Some(1_795_982_600.630_492_4), of_go),
        ("python.txt", GET, Some(1_795_982_623.943_943_5), of_python),
        ("python.om", GET, Some(1_795_982_623.943_943_5), of_python),
        ("python-utf8.txt", r#"{"app.jobs.done_total"}"#, Some(1_795_982_623.943_900_8), of_python),
        ("python-utf8.om", r#"{"app.jobs.done_total"}"#, Some(1_795_982_623.943_900_8), of_python),
        // There are several processes.
        ("python-multiprocess.txt", GET, None, None),
        ("java.txt", GET, None, of_java),
        ("java.om", GET, None, of_java),
        ("java-utf8.txt", r#"{"app.jobs.done_total"}"#, None, of_java),
        ("java-utf8.om", r#"{"app.jobs.done_total"}"#, None, of_java),
        ("micrometer.txt", GET, None, Some(1_795_982_885.874)),
        ("micrometer.om", GET, None, Some(1_795_982_885.874)),
        ("node.txt", GET, None, Some(1_795_981_319.0)),
        ("node.om", GET, None, Some(1_795_981_319.0)),
        ("rust-prometheus-client.om", GET, None, None),
        ("rust-metrics.txt", GET, None, None),
        ("rust-prometheus.txt", GET, None, Some(1_795_982_414.0)),
    ];
    for (name, selector, created, process) in expected {
        for series in select(name, selector) {
            assert_eq!((series.created, series.process), (created, process), "{name}: {:?}", series.labels);
        }
    }
    let names: BTreeSet<String> = expected.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(names, recordings().into_iter().map(|recording| recording.name).collect());
}

/// The number of a pod that exposes this twice, 10 s apart, soon after it began.
fn number(name: &str, selector: &str, aggregation: Aggregation) -> Number {
    let minute = 60 * SECOND;
    let rules = Rules { aggregation, by: Vec::new(), window: minute, refresh: 5 * SECOND, max_age: minute };
    let (mut fleet, now, series) = (Fleet::new(rules), Instant::now(), select(name, selector));
    let began = series.iter().find_map(|series| series.created).unwrap_or_default();
    let [_, second] = [1, 11].map(|after| {
        let (at, time) = (now + SECOND * after, began + f64::from(after));
        fleet.add(TargetRead { uid: "a".to_owned(), at, time, result: Ok(series.clone()) });
        let points = fleet.points(at).unwrap();
        let [Point { number, .. }] = points[..] else { panic!("{points:?}") };
        number
    });
    second
}

#[test]
fn the_numbers_of_each_client_are_added_up() {
    use Aggregation::{Average, Max, Rate, Sum};
    let value = |text: &str| Number::parse(text).unwrap();
    for (name, rate) in [
        ("go.txt", "0"),
        // Where a counter has the time at which it was 0, all of it was counted in the window.
        ("go.om", "0.422"),
        ("go-utf8.om", "0.422"),
        ("python.txt", "0.422"),
        ("python.om", "0.422"),
        ("java.txt", "0"),
        ("java.om", "0"),
        ("micrometer.txt", "0"),
        ("micrometer.om", "0"),
        ("node.txt", "0"),
        ("node.om", "0"),
        ("rust-prometheus-client.om", "0"),
        ("rust-prometheus.txt", "0"),
    ] {
        let numbers = [Rate, Sum, Average, Max].map(|aggregation| number(name, "app_requests_total", aggregation));
        assert_eq!(numbers, [rate, "25.3", "12.65", "25"].map(value), "{name}");
        // One of the places is NaN.
        let numbers = [Sum, Average, Max].map(|aggregation| number(name, "app_temperature_celsius", aggregation));
        assert_eq!(numbers, [Number::NotANumber; 3], "{name}");
        let buckets = number(name, r#"app_duration_seconds_bucket{le="+Inf"}"#, Sum);
        assert_eq!(buckets, value("4"), "{name}");
    }
}
