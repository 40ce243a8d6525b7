//! What real programs expose, read by Debian's Prometheus and by depthgauge from the same bytes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use depthgauge::exposition::{Format, Sample, parse};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::support::double::read_request;
use crate::support::prometheus::Prometheus;
use crate::support::{crypto, eventually};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The name of the job, the content type, and what is exposed: by Prometheus itself, whose client is that
/// for Go, and by the client for Python 0.26 with exemplars, odd numbers and a label of two lines.
const EXPOSITIONS: &[(&str, &str, &str)] = &[
    ("go-text", TEXT, include_str!("../golden/expositions/go.txt")),
    ("python-text", TEXT, include_str!("../golden/expositions/python.txt")),
    ("python-openmetrics", OPEN_METRICS, include_str!("../golden/expositions/python.om")),
    ("by-hand", TEXT, BY_HAND),
];

/// What is valid, and no client library writes.
const BY_HAND: &str = concat!(
    "#comment\n# \tTYPE a counter\n\n  \t\na 1\nb  { x = \"1\" , y=\"\", } \t+2.5e-3\n",
    "c{p=\"C:\\\\DIR\\\\n\",q=\"\\\"x\\\"\\n\",r=\"\\d\",s=\"two\nlines\"} 7e-1\n",
);

/// Labels with the name, and the number as a text that is the same for equal ones.
type Numbers = BTreeMap<BTreeMap<String, String>, String>;

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
    let mut jobs = Vec::new();
    for (name, content_type, text) in EXPOSITIONS {
        jobs.push((*name, expose(content_type, text).await));
    }
    let mut prometheus = Prometheus::start(&jobs, &[]);
    for ((name, content_type, text), (_, address)) in EXPOSITIONS.iter().zip(&jobs) {
        let read = eventually(name, async || {
            prometheus.check();
            scraped(&prometheus.base, name, *address).await
        })
        .await;
        let expected = own(content_type, text);
        assert_eq!(read, expected, "{name}");
    }
}

/// Serves this to every client.
async fn expose(content_type: &'static str, text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let length = text.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            if read_request(&mut stream).await.is_some() {
                // A client that hangs up comes again.
                let _ = stream.write_all(format!("{head}{text}").as_bytes()).await;
            }
        }
    });
    address
}

/// What depthgauge reads.
fn own(content_type: &str, text: &str) -> Numbers {
    let format = Format::of(content_type).unwrap();
    let samples = parse(text.as_bytes(), format).unwrap().map(Result::unwrap);
    let number = |sample: Sample<'_>| {
        let labels = sample.labels.into_iter().filter(|(_, value)| !value.is_empty());
        let labels = labels.map(|(label, value)| (label.into_owned(), value.into_owned()));
        (labels.chain([("__name__".to_owned(), sample.name.into_owned())]).collect(), format!("{:?}", sample.value))
    };
    samples.map(number).collect()
}

/// What Prometheus has of a job, once it has scraped it.
async fn scraped(base: &str, job: &str, address: SocketAddr) -> Option<Numbers> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{base}/api/v1/query?query=%7Bjob%3D%22{job}%22%7D");
    let answer: Value = serde_json::from_str(&client.get(url).send().await.ok()?.text().await.ok()?).ok()?;
    let series = answer["data"]["result"].as_array()?.iter().map(|series| {
        let labels = series["metric"].as_object().unwrap().iter();
        // What Prometheus adds to each series.
        let labels = labels.filter(|(label, value)| match label.as_str() {
            "job" => *value != job,
            "instance" => *value != address.to_string().as_str(),
            _ => true,
        });
        let labels = labels.map(|(label, value)| (label.clone(), value.as_str().unwrap().to_owned()));
        let number: f64 = series["value"][1].as_str().unwrap().parse().unwrap();
        (labels.collect::<BTreeMap<_, _>>(), format!("{number:?}"))
    });
    let numbers: Numbers = series.filter(|(labels, _)| !OF_SCRAPES.contains(&labels["__name__"].as_str())).collect();
    (!numbers.is_empty()).then_some(numbers)
}
