//! Answers that are as large as they may be, read by a process with the memory of the manifest's limit. Without a bound
//! they end it: a megabyte of JSON can take a hundred when it is decoded.

use std::iter::repeat_n;
use std::net::{Ipv4Addr, SocketAddr};

use http::Response;
use http_body_util::Full;
use serde_json::json;

use crate::descriptors::slices;
use crate::kube_connection::{ApiServer, forbidden};
use crate::serve::serve_limited;
use crate::support::double::{Double, Received};
use crate::support::eventually;
use crate::support::program::Home;

const MIB: usize = 1 << 20;
/// In the words of `ulimit`: 128 MiB for data, and for all that is not of a file.
const LIMIT: &str = "-d 131072";
const QUEUES: usize = 50_000;
const PAGE: usize = 500;

/// So many bytes of a list of the same items.
fn list(item: &str, bytes: usize) -> String {
    let count = bytes / (item.len() + 1) - 1;
    format!("[{}]", repeat_n(item, count).collect::<Vec<_>>().join(","))
}

/// An answer with the series that are made by their number, as long as one may be.
fn vector(series: impl Fn(usize) -> String) -> String {
    let (mut all, mut count) = (String::new(), 0);
    while all.len() < 16 * MIB - 4000 {
        let comma = if count == 0 { "" } else { "," };
        all += &format!("{comma}{{\"metric\":{{{}}},\"value\":[1,\"2\"]}}", series(count));
        count += 1;
    }
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{all}]}}}}"#)
}

/// The value of a parameter of a query or form; empty if there is none.
fn parameter<'t>(text: &'t str, name: &str) -> &'t str {
    let pairs = text.split(['?', '&']).filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap_or_default()
}

/// A page of queues.
fn queues(request: &Received) -> String {
    let page: usize = parameter(&request.target, "page").parse().unwrap();
    let queue = |n| {
        json!({
            "name": format!("queue-{n}"), "vhost": "/", "type": "quorum", "state": "running",
            "node": "rabbit@rabbit-0.rabbit", "leader": "rabbit@rabbit-0.rabbit",
            "members": ["rabbit@rabbit-0.rabbit"], "messages_ready": 7, "messages_unacknowledged": 0,
        })
    };
    let items: Vec<_> = ((page - 1) * PAGE..page * PAGE).map(queue).collect();
    json!({"items": items, "page_count": QUEUES / PAGE, "filtered_count": QUEUES}).to_string()
}

fn answer(request: &Received) -> (u16, String) {
    let many_labels: Vec<String> = (0..140).map(|n| format!(r#""k{n}":"b""#)).collect();
    let path = request.target.split('?').next().unwrap();
    let body = match (path, parameter(&request.body, "query")) {
        ("/objects", _) => list(r#"{"":1}"#, MIB),
        ("/arrays", _) => list("7", MIB),
        ("/yaml", _) => list("{a: 1}", MIB),
        (_, "series") => vector(|n| format!(r#""n":"{n}""#)),
        (_, "labels") => vector(|n| format!(r#""n":"{n}",{}"#, many_labels.join(","))),
        (_, "namespaces") => vector(|n| format!(r#""namespace":"{n}""#)),
        (_, "crowd") => vector(|n| format!(r#""namespace":"{}","n":"{n}""#, if n == 0 { "shop" } else { "bank" })),
        (_, "warnings") => {
            let warnings = list("7", 16 * MIB - 200);
            format!(r#"{{"status":"success","warnings":{warnings},"data":{{"resultType":"vector","result":[]}}}}"#)
        }
        ("/api/queues/%2F", _) => queues(request),
        other => panic!("{other:?}"),
    };
    (200, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_any_shape_fit_into_the_memory() {
    let (home, service) = (Home::new(), Double::start(None, answer).await);
    let address = service.address;
    home.write("user", "depthgauge");
    let document = |path: &str, format: &str| {
        format!(
            "- {{type: http-json, metric: {path}, url: 'http://{address}/{path}', format: {format}, value: '$[0].x', timeout: 20s, namespaces: [shop]}}\n"
        )
    };
    let query = |query: &str, more: &str| {
        format!(
            "- {{type: prometheus, metric: {query}, connection: p, query: {query}, timeout: 20s, namespaces: [shop]{more}}}\n"
        )
    };
    let by_namespace = ", namespaceLabel: namespace";
    let config = [
        "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nconnections:\n".to_owned(),
        format!("  p: {{type: prometheus, url: 'http://{address}'}}\n"),
        format!(
            "  r: {{type: rabbitmq, url: 'http://{address}', auth: {{type: basic, usernameFile: user, passwordFile: user}}}}\n"
        ),
        "sources:\n".to_owned(),
        [document("objects", "json"), document("arrays", "json"), document("yaml", "yaml")].concat(),
        [query("series", ""), query("labels", ""), query("warnings", "")].concat(),
        [query("namespaces", by_namespace), query("crowd", by_namespace)].concat(),
        "- {type: rabbitmq, connection: r, queue: queue-7, timeout: 20s, namespaces: [shop]}\n".to_owned(),
        "- {type: rabbitmq, connection: r, match: '*', timeout: 20s, namespaces: [bank]}\n".to_owned(),
    ];
    home.write("config.yaml", &config.concat());
    let too_large = "the document has too many values: decoded, it takes more than 24 MiB";
    for (metric, namespace, expected) in [
        ("objects", "shop", too_large),
        ("yaml", "shop", too_large),
        ("arrays", "shop", "$[0].x matches nothing: $[0] is a number"),
        ("series", "shop", "items, and the maximum is 10000"),
        ("labels", "shop", "because of long labels, and the maximum is 10000"),
        ("warnings", "shop", "the answer has warnings"),
        ("namespaces", "shop", "items of more than 10000 namespaces"),
        ("crowd", "shop", "crowd"),
        ("rabbitmq_queue_length", "shop", "queue-7"),
        ("rabbitmq_queue_length", "bank", "50000 match, and the maximum is 10000"),
    ] {
        let arguments = ["get", metric, "--config=config.yaml", "--namespace", namespace];
        let ended = home.start_limited(LIMIT, &arguments).ended().await;
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains(expected), "{metric} {namespace}: {said}");
        assert!(ended.status.code().is_some_and(|code| code <= 1), "{metric} {namespace}: {said}");
    }
}

/// What a pod of one Service exposes is long, and that of the other one is too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_with_many_series_fit_into_the_memory() {
    const PODS: u8 = 12;
    let lines = |name: &str, count: usize| -> String {
        (0..count).map(|n| format!("{name}{{n=\"{n}\",path=\"/a/long/path/of/an/application\"}} 1\n")).collect()
    };
    let (long, too_many) = (lines("other_total", 12_000) + "ops_total 1\n", lines("ops_total", 60_000));
    assert!(long.len() > MIB / 2 && too_many.len() < 4 * MIB);
    // Pods of a Service are at its port.
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let good = Double::on(at, None, move |_| (200, long.clone())).await;
    let bad = Double::on(at, None, move |_| (200, too_many.clone())).await;
    let ports = [good.address.port(), bad.address.port()];
    let (server, home) = ApiServer::start().await;
    let source = |n| {
        format!(
            "- {{type: scrape, metric: rps_{n}, service: shop/web-{n}, port: metrics, namespaces: [shop], series: ops_total, as: rate, timeout: 20s, maxRequestsPerSecond: 1000}}\n"
        )
    };
    let head = "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources:\n";
    home.write("config.yaml", &[head.to_owned(), source(0), source(1)].concat());
    let (serving, _) = server.serve(move |request| async move {
        let query = request.uri().query().unwrap_or_default();
        match (request.uri().path().ends_with("/endpointslices"), query.contains("watch=true")) {
            (true, true) => std::future::pending().await,
            (true, false) => {
                let service = usize::from(query.contains("web-1"));
                Response::new(Full::from(slices(query, ports[service], PODS).to_string()))
            }
            (false, _) => forbidden(),
        }
    });
    let mut program = serve_limited(&home, LIMIT);
    program.said("admin on ").await;
    eventually("both Services are read three times", async || {
        [&good, &bad].iter().all(|pods| pods.count() >= 3 * usize::from(PODS)).then_some(())
    })
    .await;
    program.terminate();
    let ended = program.ended().await;
    let failures: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("cannot be read")).collect();
    let is_expected = |line: &&str| line.contains("rps_1") && line.contains("more than 10000 selected series");
    assert!(!failures.is_empty() && failures.iter().all(is_expected), "{}", ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    serving.abort();
}
