//! OCI as it must not be, seen by a source: every trouble is an error in steady words, and none is
//! a number.

use std::time::Duration;

use depthgauge::config::Config;
use depthgauge::lookup::Binding;
use depthgauge::metric::MetricName;
use depthgauge::source::{Figures, SourceError};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Failures of the service.
mod faults;
/// How much is asked of it.
mod load;
/// The way there: connections, certificates, redirects, proxies.
mod network;
/// What must be in no log and no error.
mod secrets;

const LENGTH: MetricName = MetricName::new("oci_queue_length");
/// Of a read that is to answer; nothing waits for it but a test that fails.
const LONG: Duration = Duration::from_secs(20);

/// The first source of a config.
fn open(config: &str) -> Binding {
    crate::support::crypto();
    let config = Config::parse(config).unwrap_or_else(|problems| panic!("{problems:?}"));
    config.open(Timestamp::now).unwrap().remove(0)
}

/// The same, with another messages endpoint and more in section `oci`.
fn open_at(config: &str, endpoint: &str, more: &Value) -> Binding {
    let mut config: Value = serde_json::from_str(config).unwrap();
    config["sources"][0]["endpoint"] = json!(endpoint);
    for (key, value) in more.as_object().unwrap() {
        config["oci"][key] = value.clone();
    }
    open(&config.to_string())
}

async fn read(binding: &Binding, timeout: Duration) -> Result<Figures, SourceError> {
    binding.source.read(Instant::now() + timeout).await
}

/// The length that a good read brings.
async fn length(binding: &Binding) -> String {
    read(binding, LONG).await.unwrap().value(LENGTH).unwrap().to_string()
}

/// Step and cause of a read that fails.
async fn failure(binding: &Binding, timeout: Duration) -> (&'static str, String) {
    let error = read(binding, timeout).await.unwrap_err();
    (error.step.as_str(), error.cause)
}
