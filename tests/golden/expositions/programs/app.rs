//! Applications with the metrics of three clients for Rust: `app prometheus-client|metrics|prometheus PORT`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

const PATH: &str = "/a \"quoted\"\\path\nof two lines";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const VALUES: [f64; 4] = [0.05, 0.7, 3.0, 30.0];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (content_type, body) = match args[1].as_str() {
        "prometheus-client" => (OPEN_METRICS, prometheus_client()),
        "metrics" => (TEXT, metrics()),
        _ => (TEXT, prometheus()),
    };
    for stream in TcpListener::bind(format!("127.0.0.1:{}", args[2])).unwrap().incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
    }
}

fn prometheus_client() -> String {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::exemplar::{CounterWithExemplar, HistogramWithExemplars};
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::{Registry, Unit};
    type Labels = Vec<(String, String)>;
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Labels>();
    let mut registry = Registry::default();
    let requests = Family::<Labels, Counter<f64, std::sync::atomic::AtomicU64>>::default();
    registry.register("app_requests", "Requests of \"/\" \\ and others", requests.clone());
    requests.get_or_create(&labels(&[("method", "GET"), ("path", "/")])).inc_by(25.0);
    requests.get_or_create(&labels(&[("method", "POST"), ("path", PATH)])).inc_by(0.1 + 0.2);
    let orders = CounterWithExemplar::<Labels>::default();
    registry.register("app_orders", "Orders", orders.clone());
    orders.inc_by(3, Some(labels(&[("trace_id", "KOO5S4vxi0o")])), None);
    let temperature = Family::<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    registry.register_with_unit("app_temperature", "Über 30 °C", Unit::Celsius, temperature.clone());
    for (place, value) in
        [("Köln", -3.25), ("nan", f64::NAN), ("inf", f64::INFINITY), ("-inf", f64::NEG_INFINITY), ("tiny", 5e-324)]
    {
        temperature.get_or_create(&labels(&[("place", place)])).set(value);
    }
    let duration = HistogramWithExemplars::<Labels>::new([0.005, 0.1, 1.0, 2.5e6].into_iter());
    registry.register_with_unit("app_duration", "Time of a request", Unit::Seconds, duration.clone());
    for value in VALUES {
        duration.observe(value, Some(labels(&[("trace_id", "oHg5SJYRHA0")])), None);
    }
    registry.register("app_build", "The build", Info::new(labels(&[("version", "1.2.3"), ("empty", "")])));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

fn metrics() -> String {
    use ::metrics::{counter, describe_counter, gauge, histogram};
    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
    let builder = PrometheusBuilder::new().add_global_label("service", "shop");
    let builder = builder
        .set_buckets_for_metric(Matcher::Full("app_duration_seconds".to_owned()), &[0.005, 0.1, 1.0, 2.5e6])
        .unwrap();
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    ::metrics::with_local_recorder(&recorder, || {
        describe_counter!("app_requests_total", "Requests of \"/\" \\ and\nothers.");
        counter!("app_requests_total", "method" => "GET", "path" => "/").increment(25);
        counter!("app_requests_total", "method" => "POST", "path" => PATH).increment(9_007_199_254_740_993);
        counter!("app.jobs-done", "job.name" => "a").increment(7);
        for (place, value) in
            [("Köln", -3.25), ("nan", f64::NAN), ("inf", f64::INFINITY), ("-inf", f64::NEG_INFINITY), ("tiny", 5e-324)]
        {
            gauge!("app_temperature_celsius", "place" => place).set(value);
        }
        for value in VALUES {
            histogram!("app_duration_seconds", "path" => "/").record(value);
            histogram!("app_size_bytes").record(value * 1e300);
        }
    });
    handle.run_upkeep();
    handle.render()
}

fn prometheus() -> String {
    use ::prometheus::{CounterVec, Encoder as _, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};
    let registry = Registry::new();
    registry.register(Box::new(::prometheus::process_collector::ProcessCollector::for_self())).unwrap();
    let requests =
        CounterVec::new(Opts::new("app_requests_total", "Requests of \"/\" \\ and\nothers."), &["method", "path"])
            .unwrap();
    let temperature = GaugeVec::new(Opts::new("app_temperature_celsius", "Über 30 °C."), &["place"]).unwrap();
    let options =
        HistogramOpts::new("app_duration_seconds", "Time of a request.").buckets(vec![0.005, 0.1, 1.0, 2.5e6]);
    let duration = HistogramVec::new(options, &["path"]).unwrap();
    registry.register(Box::new(requests.clone())).unwrap();
    registry.register(Box::new(temperature.clone())).unwrap();
    registry.register(Box::new(duration.clone())).unwrap();
    requests.with_label_values(&["GET", "/"]).inc_by(25.0);
    requests.with_label_values(&["POST", PATH]).inc_by(0.1 + 0.2);
    for (place, value) in
        [("Köln", -3.25), ("nan", f64::NAN), ("inf", f64::INFINITY), ("-inf", f64::NEG_INFINITY), ("tiny", 5e-324)]
    {
        temperature.with_label_values(&[place]).set(value);
    }
    for value in VALUES {
        duration.with_label_values(&["/"]).observe(value);
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}
