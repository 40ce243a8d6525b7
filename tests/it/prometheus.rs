//! The kind `prometheus`: in front of Debian's Prometheus, what PromQL brings and what goes wrong; in
//! front of a stand-in, what is requested, and answers that Thanos, Mimir and VictoriaMetrics give.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use crate::support::client::{Served, values_path};
use crate::support::double::{Double, Received};
use crate::support::program::Home;
use crate::support::prometheus::Prometheus;
use crate::support::server::Server;
use crate::support::{PATIENCE, eventually};

/// Two series of one label set, and of another one, for a query that Prometheus refuses.
const TWO: &str =
    r#"(label_replace(vector(1), "team", "ledger", "", "") or label_replace(vector(1), "team", "web", "", ""))"#;

/// A server with these entries, read through these connections.
async fn serve(connections: Value, entries: &[Value], refresh: &str, max_age: &str) -> Server {
    let complete = |entry: &Value| {
        let mut entry = entry.clone();
        entry["type"] = json!("prometheus");
        if entry["namespaces"].is_null() {
            entry["namespaces"] = json!(["shop"]);
        }
        entry
    };
    let config = json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        "connections": connections,
        "defaults": {"refresh": refresh, "timeout": "20s", "maxAge": max_age},
        "sources": entries.iter().map(complete).collect::<Vec<_>>(),
    });
    Server::start(&config.to_string()).await
}

fn store(base: &str) -> Value {
    json!({"store": {"type": "prometheus", "url": base}})
}

async fn get(server: &Server, namespace: &str, metric: &str, selector: &str) -> Served {
    server.aggregator("hpa").get(&values_path(namespace, metric, selector)).await.served()
}

/// Waits until a real Prometheus answers.
async fn ready(server: &Server, prometheus: &mut Prometheus) {
    eventually("Prometheus", async || {
        prometheus.check();
        get(server, "shop", "ready", "").await.ok()
    })
    .await;
}

#[tokio::test]
async fn numbers_of_a_real_prometheus() {
    let mut prometheus = Prometheus::start(&[], &[]);
    let long = format!("vector(3) # {}", "x".repeat(47_000));
    let good = [
        ("ready", "vector(3)", "3"),
        ("scalar", "7", "7"),
        ("decimal", "vector(0.1 + 0.2)", "300m"),
        ("small", "vector(1e-7)", "1m"),
        ("noise", "vector(-1e-12)", "0"),
        ("zero", "-vector(0)", "0"),
        ("large", "vector(9e15)", "9P"),
        ("long", &long, "3"),
    ];
    let unknown = [
        ("nan", "vector(0) / 0", "it is NaN"),
        ("infinite", "vector(1) / 0", "it is infinite"),
        ("minus_infinite", "vector(-1) / 0", "it is infinite"),
        ("huge", "vector(1e21)", "it is above 9.2e15"),
        ("many_digits", "vector(12345678901234567000)", "it is above 9.2e15"),
        ("negative", "vector(-1)", "it is negative"),
    ];
    let all = good.iter().chain(&unknown);
    let entries: Vec<Value> = all.map(|(metric, query, _)| json!({"metric": metric, "query": query})).collect();
    let server = serve(store(&prometheus.base), &entries, "50ms", "20s").await;
    ready(&server, &mut prometheus).await;
    for (metric, _, value) in good {
        assert_eq!(get(&server, "shop", metric, "").await, Ok(vec![value.to_owned()]), "{metric}");
    }
    for (metric, _, cause) in unknown {
        let (code, message) = get(&server, "shop", metric, "").await.unwrap_err();
        assert!(code == 503 && message.contains(&format!("is unknown: {cause}")), "{metric}: {message}");
    }
}

#[tokio::test]
async fn what_a_real_prometheus_refuses() {
    let mut prometheus = Prometheus::start(&[], &["--query.timeout=300ms"]);
    let many = format!("{TWO} * on () {TWO}");
    let rows = [
        ("string", r#""hello""#, "the query returns a string (operation: decode). "),
        ("matrix", "up[10s]", "the query returns a range vector (matrix) (operation: decode). "),
        ("no_series", "nosuch", "the query returns no series (operation: read). "),
        (
            "wrong",
            "sum(",
            "400 bad_data: invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis (operation: read). Correct `query`.",
        ),
        (
            "many_to_many",
            &many,
            "422 execution: found duplicate series for the match group {…} on the right hand-side of the operation: [{…}, {…}];many-to-many matching not allowed: matching labels must be unique on one side (operation: read). Correct `query`.",
        ),
        (
            "slow",
            "count_over_time(vector(1)[10h:10ms]) + vector(1)",
            "503 timeout (operation: read). Make the query cheaper",
        ),
    ];
    let mut entries: Vec<Value> = rows
        .iter()
        .map(|(metric, query, _)| json!({"metric": metric, "query": query, "connection": "store"}))
        .collect();
    entries.push(json!({"metric": "ready", "query": "vector(1)", "connection": "store"}));
    entries.push(json!({"metric": "lost", "query": "vector(1)", "connection": "wrong-path"}));
    let mut connections = store(&prometheus.base);
    connections["wrong-path"] = json!({"type": "prometheus", "url": format!("{}/prefix", prometheus.base)});
    let server = serve(connections, &entries, "50ms", "20s").await;
    ready(&server, &mut prometheus).await;
    for (metric, _, cause) in rows {
        let (code, message) = eventually("a read that failed", async || {
            let error = get(&server, "shop", metric, "").await.unwrap_err();
            (!error.1.contains("not read yet")).then_some(error)
        })
        .await;
        assert!(code == 503 && message.contains(&format!("Z: {cause}")), "{metric}: {message}");
        assert!(message.len() <= 400 && message.ends_with('.') && !message.contains("ledger"), "{metric}: {message}");
    }
    let (_, message) = get(&server, "shop", "lost", "").await.unwrap_err();
    assert!(message.contains("Z: 404 (operation: read). Check the path in `url`"), "{message}");
}

/// What a read of depthgauge never meets or does not distinguish, as Prometheus says it.
#[tokio::test]
async fn a_real_prometheus_reads_forms_only_and_has_a_queue_of_queries() {
    let mut prometheus = Prometheus::start(&[], &["--query.max-concurrency=1"]);
    let server =
        serve(store(&prometheus.base), &[json!({"metric": "ready", "query": "vector(1)"})], "60s", "60s").await;
    ready(&server, &mut prometheus).await;
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let post = async |media: &str, body: String| {
        let request = client.post(format!("{}/api/v1/query", prometheus.base)).header("content-type", media);
        let answer = request.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = post("application/json", json!({"query": "vector(1)"}).to_string()).await;
    assert!(status == 400 && text.contains("no expression found in input"), "{status} {text}");
    let slow = |timeout: &str| {
        let query = "count_over_time(vector(1)[10h:10ms])%2Bvector(1)";
        post("application/x-www-form-urlencoded", format!("query={query}&timeout={timeout}"))
    };
    eventually("a query that waited for another one", async || {
        let (_, (status, text)) = join(slow("1500ms"), slow("300ms")).await;
        assert!(status == 503 && text.contains(r#""errorType":"timeout""#), "{status} {text}");
        text.contains("query timed out in query queue").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_query_of_too_many_samples_of_a_real_prometheus() {
    let mut prometheus = Prometheus::start(&[], &["--query.max-samples=1000"]);
    let many = "count_over_time(vector(1)[10m:100ms])";
    let entries = [json!({"metric": "ready", "query": "vector(1)"}), json!({"metric": "many", "query": many})];
    let server = serve(store(&prometheus.base), &entries, "50ms", "20s").await;
    ready(&server, &mut prometheus).await;
    let (code, message) = get(&server, "shop", "many", "").await.unwrap_err();
    let cause = "422 execution: query processing would load too many samples into memory in query execution";
    assert!(code == 503 && message.contains(&format!("Z: {cause} (operation: read). Correct `query`.")), "{message}");
}

#[tokio::test]
async fn an_exporter_that_is_down_is_not_zero() {
    let series = [("shop", "orders", 5), ("shop", "bills", 7), ("bank", "ledger", 11)];
    let lines = series
        .map(|(namespace, queue, value)| format!("depth{{namespace=\"{namespace}\",queue=\"{queue}\"}} {value}\n"));
    let (lines, is_up) = (lines.concat(), Arc::new(AtomicBool::new(true)));
    let up = is_up.clone();
    let exporter =
        Double::start(None, move |_| if up.load(Relaxed) { (200, lines.clone()) } else { (500, String::new()) }).await;
    let mut prometheus = Prometheus::start(&[("exporter", exporter.address)], &[]);
    let safe = |queue: &str| format!("sum(depth{{queue=\"{queue}\"}}) or (0 * max(up{{job=\"exporter\"}} == 1))");
    let entries = [
        json!({"metric": "ready", "query": "vector(1)"}),
        json!({"metric": "depth", "query": "depth", "items": "sum", "namespaceLabel": "namespace", "namespaces": ["*"]}),
        json!({"metric": "safe", "query": safe("orders")}),
        json!({"metric": "safe_zero", "query": safe("none")}),
        json!({"metric": "unsafe", "query": "sum(depth)", "empty": 0}),
    ];
    let server = serve(store(&prometheus.base), &entries, "50ms", "2s").await;
    ready(&server, &mut prometheus).await;
    let values = |values: &[&str]| Ok(values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
    eventually("a scrape", async || get(&server, "shop", "depth", "").await.ok()).await;
    assert_eq!(get(&server, "shop", "depth", "").await.map(|values| values.len()), Ok(2));
    assert_eq!(get(&server, "shop", "depth", "queue=bills").await, values(&["7"]));
    assert_eq!(get(&server, "bank", "depth", "").await, values(&["11"]));
    assert_eq!(get(&server, "shop", "depth", "queue=ledger").await.unwrap_err().0, 404);
    assert_eq!(get(&server, "empty", "depth", "").await.unwrap_err().0, 404);
    assert_eq!(get(&server, "shop", "safe", "").await, values(&["5"]));
    assert_eq!(get(&server, "shop", "safe_zero", "").await, values(&["0"]));
    assert_eq!(get(&server, "shop", "unsafe", "").await, values(&["23"]));
    is_up.store(false, Relaxed);
    for metric in ["depth", "safe", "safe_zero"] {
        let (code, message) = eventually("no series", async || get(&server, "shop", metric, "").await.err()).await;
        assert!(code == 503 && message.contains("the query returns no series"), "{metric}: {message}");
    }
    // As the config says.
    let zero = async || (get(&server, "shop", "unsafe", "").await == values(&["0"])).then_some(());
    eventually("a zero of the config", zero).await;
}

/// An answer with these series.
fn vector(series: &[(Value, &str)]) -> Value {
    let series = series.iter().map(|(labels, value)| json!({"metric": labels, "value": [1_435_781_451.781, value]}));
    json!({"status": "success", "data": {"resultType": "vector", "result": series.collect::<Vec<_>>()}})
}

#[tokio::test]
async fn one_query_serves_every_request() {
    let answer = vector(&[(json!({"service": "web"}), "3"), (json!({"service": "mail"}), "4")]).to_string();
    let double = Double::start(None, move |_| (200, answer.clone())).await;
    let mut connection = store(&format!("http://{}/prefix/", double.address));
    connection["store"]["params"] = json!({"dedup": "true"});
    connection["store"]["headers"] = json!({"X-Scope-OrgID": "a|b"});
    let entry = json!({"metric": "requests", "query": "sum by (service) (a{b=\"c\"}) + 1", "items": "sum"});
    let server = serve(connection, &[entry], "60s", "60s").await;
    let selectors = ["", "service=web", "service=mail", "service in (web,mail)", "service!=mail"];
    let requests = selectors.iter().cycle().take(20).map(|selector| get(&server, "shop", "requests", selector));
    let served: Vec<Vec<String>> = join_all(requests).await.into_iter().map(Result::unwrap).collect();
    let expected = [&["3", "4"][..], &["3"], &["4"], &["3", "4"], &["3"]];
    for (values, expected) in served.iter().zip(expected.iter().cycle()) {
        assert_eq!(values, expected);
    }
    let received = double.received();
    assert_eq!(received.len(), 1);
    assert_eq!((&*received[0].method, &*received[0].target), ("POST", "/prefix/api/v1/query?dedup=true"));
    assert_eq!(received[0].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(received[0].header("x-scope-orgid"), "a|b");
    let query = "query=sum%20by%20%28service%29%20%28a%7Bb%3D%22c%22%7D%29%20%2B%201&partial_response=false";
    assert!(received[0].body.starts_with(&format!("{query}&timeout=")), "{}", received[0].body);
    let timeout = timeout_of(&received[0]);
    assert!((10_000..=18_000).contains(&timeout), "{timeout}");
}

/// The milliseconds that a query may take.
fn timeout_of(request: &Received) -> u64 {
    let (_, timeout) = request.body.rsplit_once("&timeout=").unwrap();
    timeout.strip_suffix("ms").unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_url_and_a_retry_have_the_time_that_is_left() {
    const SLOW: Duration = Duration::from_secs(1);
    let good = vector(&[(json!({}), "3")]).to_string();
    for is_retry in [false, true] {
        let (answer, gate) = std::sync::mpsc::channel::<()>();
        let (gate, requests, value) = (std::sync::Mutex::new(gate), AtomicUsize::new(0), good.clone());
        // The first request is refused when the test says so.
        let first = Double::start(None, move |_| match requests.fetch_add(1, Relaxed) {
            0 => {
                gate.lock().unwrap().recv().unwrap();
                (503, "busy".to_owned())
            }
            _ => (200, value.clone()),
        })
        .await;
        let value = good.clone();
        let second = Double::start(None, move |_| (200, value.clone())).await;
        let urls = [&first, &second].map(|double| format!("http://{}", double.address));
        let connection = match is_retry {
            true => store(&urls[0]),
            false => json!({"store": {"type": "prometheus", "urls": urls}}),
        };
        let server = serve(connection, &[json!({"metric": "requests", "query": "a"})], "60s", "60s").await;
        let release = async {
            eventually("a request", async || (first.count() == 1).then_some(())).await;
            let began = Instant::now();
            eventually("a slow answer", async || (began.elapsed() > SLOW).then_some(())).await;
            answer.send(()).unwrap();
        };
        let (served, ()) = tokio::join!(get(&server, "shop", "requests", ""), release);
        assert_eq!(served, Ok(vec!["3".to_owned()]));
        let before = first.received().remove(0);
        let after = if is_retry { first.last() } else { second.last() };
        // Nine tenths of a second less.
        let (before, after) = (timeout_of(&before), timeout_of(&after));
        assert!(after + 700 < before, "{is_retry}: {before} and then {after}");
    }
}

#[tokio::test]
async fn a_store_that_starts_says_so_and_is_read_when_it_is_ready() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let ready = is_ready.clone();
    let good = vector(&[(json!({}), "3")]).to_string();
    let double = Double::start(None, move |_| match ready.load(Relaxed) {
        true => (200, good.clone()),
        false => (503, "Service Unavailable".to_owned()),
    })
    .await;
    double.set_header("X-Prometheus-Stopping: false");
    let entry = json!({"metric": "requests", "query": "a"});
    let server = serve(store(&format!("http://{}", double.address)), &[entry], "50ms", "20s").await;
    let (_, message) = get(&server, "shop", "requests", "").await.unwrap_err();
    assert!(message.contains("Z: 503, Prometheus is starting or stopping (operation: read). Wait"), "{message}");
    is_ready.store(true, Relaxed);
    let value = eventually("a value", async || get(&server, "shop", "requests", "").await.ok()).await;
    assert_eq!(value, ["3"]);
}

#[tokio::test]
async fn a_query_that_takes_too_long_stops_no_other_query() {
    let good = vector(&[(json!({}), "3")]).to_string();
    let late = json!({"status": "error", "errorType": "timeout", "error": "query timed out in expression evaluation"});
    let double = Double::start(None, move |request| match request.body.starts_with("query=fast&") {
        true => (200, good.clone()),
        false => (503, late.to_string()),
    })
    .await;
    let entries = [json!({"metric": "slow", "query": "slow"}), json!({"metric": "fast", "query": "fast"})];
    let server = serve(store(&format!("http://{}", double.address)), &entries, "50ms", "20s").await;
    eventually("more failures than a host may have in a row", async || {
        let (_, message) = get(&server, "shop", "slow", "").await.unwrap_err();
        assert!(message.contains("Z: 503 timeout (operation: read). Make the query cheaper"), "{message}");
        (double.count() > 12).then_some(())
    })
    .await;
    assert_eq!(get(&server, "shop", "fast", "").await, Ok(vec!["3".to_owned()]));
}

#[tokio::test]
async fn a_query_that_fails_stops_no_other_query() {
    let good = vector(&[(json!({}), "3")]).to_string();
    let double = Double::start(None, move |request| match request.body.starts_with("query=good&") {
        true => (200, good.clone()),
        false => (500, "boom".to_owned()),
    })
    .await;
    let entries = [json!({"metric": "bad", "query": "bad"}), json!({"metric": "good", "query": "good"})];
    let server = serve(store(&format!("http://{}", double.address)), &entries, "20ms", "20s").await;
    eventually("more failures than a host may have in a row", async || {
        get(&server, "shop", "bad", "").await.unwrap_err();
        (double.count() > 12).then_some(())
    })
    .await;
    assert_eq!(get(&server, "shop", "good", "").await, Ok(vec!["3".to_owned()]));
}

#[tokio::test]
async fn a_store_behind_the_service_is_not_named() {
    let sentence = "expanding series: proxy Series(): rpc error: code = Aborted desc = receive series from Addr: 10.1.2.3:10901 LabelSets: {cluster=\"bank\"}: rpc error: code = Unavailable";
    let answer = json!({"status": "error", "errorType": "execution", "error": sentence}).to_string();
    let double = Double::start(None, move |_| (422, answer.clone())).await;
    for namespace_label in [json!(null), json!("namespace")] {
        let mut entry = json!({"metric": "requests", "query": "a", "namespaceLabel": namespace_label});
        if namespace_label.is_null() {
            entry.as_object_mut().unwrap().remove("namespaceLabel");
        }
        let server = serve(store(&format!("http://{}", double.address)), &[entry], "50ms", "20s").await;
        let (code, message) = get(&server, "shop", "requests", "").await.unwrap_err();
        let expected = "Z: 422 execution: a store behind this service failed (operation: read). Check the stores";
        assert!(code == 503 && message.contains(expected), "{message}");
        assert!(!message.contains("10.1.2.3") && !message.contains("bank"), "{message}");
    }
}

#[tokio::test]
async fn a_namespace_with_too_many_items_gets_the_error_alone() {
    let many = (0..10_001).map(|n| (json!({"namespace": "large", "n": n.to_string()}), "1"));
    let series: Vec<(Value, &str)> = many.chain([(json!({"namespace": "shop"}), "3")]).collect();
    let answer = vector(&series).to_string();
    let double = Double::start(None, move |_| (200, answer.clone())).await;
    let entry =
        json!({"metric": "requests", "query": "a", "items": "sum", "namespaceLabel": "namespace", "namespaces": ["*"]});
    let server = serve(store(&format!("http://{}", double.address)), &[entry], "60s", "60s").await;
    assert_eq!(get(&server, "shop", "requests", "").await, Ok(vec!["3".to_owned()]));
    let (code, message) = get(&server, "large", "requests", "n=7").await.unwrap_err();
    let expected =
        "metric \"requests\" has 10001 items in this namespace, and the maximum is 1000: aggregate in the query";
    assert_eq!((code, message.as_str()), (503, expected));
}

#[tokio::test]
async fn an_answer_that_may_lack_series_is_an_error() {
    let with = |key: &str, value: Value| {
        let mut answer = vector(&[(json!({}), "3")]);
        answer[key] = value;
        answer
    };
    let answers = [
        with("warnings", json!(["receive series from thanos-store-0.internal:10901: unavailable"])),
        with("isPartial", json!(true)),
    ];
    for answer in answers {
        let answer = answer.to_string();
        let double = Double::start(None, move |_| (200, answer.clone())).await;
        let entries = [
            json!({"metric": "strict", "query": "a"}),
            json!({"metric": "lenient", "query": "a", "warnings": "ignore"}),
        ];
        let server = serve(store(&format!("http://{}", double.address)), &entries, "50ms", "20s").await;
        let (code, message) = get(&server, "shop", "strict", "").await.unwrap_err();
        assert!(code == 503 && message.contains("Z: the answer has warnings"), "{message}");
        assert!(!message.contains("internal"), "{message}");
        assert_eq!(get(&server, "shop", "lenient", "").await, Ok(vec!["3".to_owned()]));
    }
}

#[tokio::test]
async fn series_of_another_cluster_are_an_error() {
    for (labels, is_good) in
        [(json!({"cluster": "prod-eu"}), true), (json!({"cluster": "prod-us"}), false), (json!({}), false)]
    {
        let answer = vector(&[(json!({"cluster": "prod-eu", "a": "b"}), "3"), (labels.clone(), "4")]).to_string();
        let double = Double::start(None, move |_| (200, answer.clone())).await;
        let mut connection = store(&format!("http://{}", double.address));
        connection["store"]["only"] = json!({"cluster": "prod-eu"});
        let entry = json!({"metric": "requests", "query": "a", "items": "sum"});
        let server = serve(connection, &[entry], "50ms", "20s").await;
        match get(&server, "shop", "requests", "").await {
            Ok(values) => assert!(is_good && values == ["3", "4"], "{labels}: {values:?}"),
            Err((code, message)) => {
                assert!(!is_good && code == 503 && message.contains("without the value of label cluster"), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn a_query_that_may_surprise_is_a_warning_of_the_config() {
    let home = Home::new();
    let config = |connection: &str, entry: &str| {
        format!(
            "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nconnections:\n  store: {{type: prometheus, {connection}}}\nsources:\n  - {{type: prometheus, metric: m, namespaces: [shop], {entry}}}\n"
        )
    };
    let inside = "url: \"http://prometheus.monitoring.svc:9090\"";
    let with = |keys: &str| format!("{inside}, {keys}");
    let tenant = home.write("tenant", "shop");
    let (namespaced, shared) = ("query: x, namespaceLabel: namespace", Some("`namespaceLabel` without `only`"));
    for (connection, entry, warning) in [
        (inside, "query: sum(http_requests_total)", Some("http_requests_total is a counter")),
        (inside, "query: sum(x) or vector(0)", Some("`or vector(0)` serves 0 also while the exporter is down")),
        (inside, "query: sum(x), empty: 0", Some("`empty: 0` serves 0 also while the exporter is down")),
        (inside, namespaced, None),
        (&with("params: {timezone: UTC}"), namespaced, None),
        ("url: \"https://mimir.example.com\"", namespaced, shared),
        ("url: \"http://10.1.2.3:9090\"", namespaced, shared),
        ("urls: [\"http://127.0.0.1:9090\", \"http://10.1.2.3:9090\"]", namespaced, shared),
        (&with("headers: {X-Scope-OrgID: shop}"), namespaced, shared),
        (&with(&format!("headerFiles: {{x-scope-orgid: {tenant}}}")), namespaced, shared),
        (&with("params: {dedup: \"true\"}"), namespaced, shared),
        (&with("params: {\"replicaLabels[]\": replica}"), namespaced, shared),
        (&with("params: {\"storeMatch[]\": \"{a=\\\"b\\\"}\"}"), namespaced, shared),
        (&with("params: {dedup: \"true\"}, only: {cluster: prod-eu}"), namespaced, None),
        (&with("headers: {X-Scope-OrgID: shop}"), "query: x", None),
        (inside, "query: \"sum(rate(http_requests_total[2m]))\", empty: 7", None),
    ] {
        let file = home.write("config.yaml", &config(connection, entry));
        let ended = home.run(&["config", "check", &file]).await;
        assert_eq!(ended.status.code(), Some(0), "{connection}, {entry}: {}", ended.stderr);
        match warning {
            Some(warning) => {
                let line = ended.stderr.lines().find(|line| line.contains(warning));
                let line = line.unwrap_or_else(|| panic!("{connection}, {entry}: {}", ended.stderr));
                assert!(line.starts_with(&format!("{file}:6:5: warning: ")), "{line}");
            }
            None => assert_eq!(ended.stderr, "", "{connection}, {entry}"),
        }
    }
}
