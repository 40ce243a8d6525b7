//! What real programs expose, read by Debian's Prometheus and by depthgauge from the same bytes.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::support::double::read_request;
use crate::support::prometheus::Prometheus;
use crate::support::{crypto, eventually};

mod by_hand;
mod document;
mod pods;

use document::{Document, Numbers, by_hand, recording, recordings};

/// Prometheus' own series about a scrape.
const OF_SCRAPES: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

#[tokio::test]
async fn a_real_prometheus_reads_the_same() {
    crypto();
    let documents: Arc<Vec<Document>> = Arc::new(recordings().into_iter().chain(by_hand()).collect());
    let address = expose(documents.clone()).await;
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let mut prometheus = Prometheus::run(tempfile::tempdir().unwrap(), &config(&documents, address), &[]);
    let targets = eventually("all are scraped", async || {
        prometheus.check();
        scraped(&prometheus.base, documents.len()).await
    })
    .await;
    let mut different = Vec::new();
    for document in documents.iter() {
        let Document { name, readers, .. } = document;
        let target = targets.iter().find(|target| target["labels"]["exposition"] == **name).unwrap();
        let failure = target["lastError"].as_str().unwrap();
        let read = match target["health"] == "up" {
            true => Some(stored(&prometheus.base, name, address, began).await),
            false => None,
        };
        let own = document.numbers();
        if (read.is_some(), own.is_some()) != (readers.with_prometheus(), readers.with_depthgauge()) {
            different.push(format!("{name}: {failure:?}, {:?}", document.body.escape_ascii().to_string()));
        }
        if let (Some(read), Some(own)) = (read, own) {
            let series: BTreeSet<_> = read.keys().chain(own.keys()).collect();
            let series = series.into_iter().filter(|series| read.get(*series) != own.get(*series));
            different.extend(series.map(|of| format!("{name}: {of:?}: {:?} is not {:?}", read.get(of), own.get(of))));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Each document is a target, whose series have its name as label `exposition`.
fn config(documents: &[Document], address: SocketAddr) -> Value {
    let job = |Document { name, .. }: &Document| {
        let target = json!({"targets": [address.to_string()], "labels": {"exposition": name}});
        json!({"job_name": name, "metrics_path": format!("/{name}"), "honor_labels": true, "static_configs": [target]})
    };
    let jobs: Vec<Value> = documents.iter().map(job).collect();
    // Timestamps of years ago are stored as well.
    let storage = json!({"tsdb": {"out_of_order_time_window": "100y"}});
    json!({"global": {"scrape_interval": "2s"}, "storage": storage, "scrape_configs": jobs})
}

/// Serves each document at its name.
async fn expose(documents: Arc<Vec<Document>>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let documents = documents.clone();
            tokio::spawn(async move {
                let request = read_request(&mut stream).await?;
                let document = documents.iter().find(|document| request.target == format!("/{}", document.name))?;
                let (content_type, length) = (&document.content_type, document.body.len());
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                // A client that hangs up comes again.
                stream.write_all(&[head.as_bytes(), &document.body].concat()).await.ok()
            });
        }
    });
    address
}

/// The data of an answer of Prometheus' API.
async fn get(base: &str, path: &str, query: &[(&str, &str)]) -> Option<Value> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = reqwest::Url::parse_with_params(&format!("{base}/api/v1/{path}"), query).unwrap();
    let mut answer: Value = serde_json::from_str(&client.get(url).send().await.ok()?.text().await.ok()?).ok()?;
    Some(answer["data"].take())
}

/// The targets, once each of them is read, or refused after its response.
async fn scraped(base: &str, count: usize) -> Option<Vec<Value>> {
    let mut data = get(base, "targets", &[]).await?;
    let targets = data["activeTargets"].as_array_mut()?;
    let up = get(base, "query", &[("query", "count(up == 1)")]).await?;
    let up: usize = up["result"][0]["value"][1].as_str()?.parse().ok()?;
    let health = |wanted: &str| targets.iter().filter(|target| target["health"] == wanted).count();
    let unreachable =
        targets.iter().any(|target| target["lastError"].as_str().is_some_and(|why| why.starts_with("Get ")));
    // What is up is stored as well.
    let all = health("up") + health("down") == count && health("up") == up && !unreachable;
    all.then(|| std::mem::take(targets))
}

/// What Prometheus has of a document. A time before `began` is a timestamp of the document.
async fn stored(base: &str, name: &str, address: SocketAddr, began: f64) -> Numbers {
    let query = format!("{{exposition=\"{name}\"}}[100y]");
    let data = get(base, "query", &[("query", &query)]).await.unwrap();
    let series = data["result"].as_array().unwrap().iter().map(|series| {
        let labels = series["metric"].as_object().unwrap().iter();
        let labels = labels.map(|(label, value)| (label.clone(), value.as_str().unwrap().to_owned()));
        // Without what Prometheus adds to each series.
        let labels = labels.filter(|(label, value)| match label.as_str() {
            "exposition" => false,
            "job" => value != name,
            "instance" => *value != address.to_string(),
            _ => true,
        });
        let last = series["values"].as_array().unwrap().last().unwrap();
        let (time, number) = (last[0].as_f64().unwrap(), last[1].as_str().unwrap().parse::<f64>().unwrap());
        (labels.collect(), (format!("{number:?}"), (time < began).then(|| format!("{time:.3}"))))
    });
    let series = series.collect::<Numbers>().into_iter();
    series.filter(|(labels, _)| !OF_SCRAPES.contains(&labels["__name__"].as_str())).collect()
}

/// What one process exposes with names in quotation marks, and to a client that does not know them with each
/// other character as an underscore.
#[test]
fn names_in_quotation_marks_are_those_that_clients_escape() {
    let escape = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':', "_");
    let of_application = |name: &str| {
        let numbers = recording(name).numbers().unwrap().into_iter();
        let numbers = numbers.filter(|(labels, _)| {
            let name = &labels["__name__"];
            !["process_", "jvm_"].iter().any(|prefix| name.starts_with(prefix))
        });
        numbers.collect::<Numbers>()
    };
    for (quoted, escaped) in ["go", "java", "python"].into_iter().flat_map(|client| {
        ["txt", "om"].map(|format| (format!("{client}-utf8.{format}"), format!("{client}.{format}")))
    }) {
        let (numbers, expected) = (of_application(&quoted), of_application(&escaped));
        assert_ne!(numbers, expected, "{quoted}");
        let escaped = numbers.into_iter().map(|(labels, number)| {
            let label = |(label, value): (String, String)| match label.as_str() {
                "__name__" => (escape(&label), escape(&value)),
                _ => (escape(&label), value),
            };
            (labels.into_iter().map(label).collect(), number)
        });
        assert_eq!(escaped.collect::<Numbers>(), expected, "{quoted}");
    }
}
