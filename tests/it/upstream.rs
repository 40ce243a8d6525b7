//! OCI as it must not be, seen by a source: every trouble is an error in steady words, and none is
//! a number.

use std::time::Duration;

use depthgauge::config::Config;
use depthgauge::endpoints::Endpoints;
use depthgauge::metric::MetricName;
use depthgauge::source::part::Part;
use depthgauge::source::{Items, KINDS, Opened, Source, SourceError};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Failures of the service.
mod faults;
/// How much is asked of it.
mod load;
/// The way there: connections, certificates, redirects, proxies.
mod network;
/// Lists that come in pages.
mod pages;
/// What must be in no log and no error.
mod secrets;
/// Who answers late but in time, and queues that are elsewhere.
mod slow;

const LENGTH: MetricName = MetricName::new("oci_queue_length");
/// Of a read that is to answer; nothing waits for it but a test that fails.
const LONG: Duration = Duration::from_secs(20);

/// The sources of a config.
fn open_all(config: &str) -> Vec<Box<dyn Source>> {
    crate::support::crypto();
    let config = Config::parse(config, KINDS).unwrap_or_else(|problems| panic!("{problems:?}"));
    let bindings = config.open(Timestamp::now, Endpoints::none()).unwrap().into_iter();
    let sources = bindings.map(|binding| match binding.source {
        Opened::One(identified) => identified.source,
        Opened::Many(_) => panic!("a list"),
    });
    sources.collect()
}

/// The first source of a config.
fn open(config: &str) -> Box<dyn Source> {
    open_all(config).remove(0)
}

/// The same, with another messages endpoint and more in section `oci`.
fn open_at(config: &str, endpoint: &str, more: &Value) -> Box<dyn Source> {
    let mut config: Value = serde_json::from_str(config).unwrap();
    config["sources"][0]["endpoint"] = json!(endpoint);
    for (key, value) in more.as_object().unwrap() {
        config["oci"][key] = value.clone();
    }
    open(&config.to_string())
}

async fn read(source: &dyn Source, timeout: Duration) -> Result<Items, SourceError> {
    source.read(&Part::WHOLE, Instant::now() + timeout).await
}

/// The length that a good read brings.
async fn length(source: &dyn Source) -> String {
    read(source, LONG).await.unwrap().value(&LENGTH).unwrap().to_string()
}

/// Operation and cause of a read that fails.
async fn failure(source: &dyn Source, timeout: Duration) -> (&'static str, String) {
    let error = read(source, timeout).await.unwrap_err();
    (error.operation.as_str(), error.cause)
}
