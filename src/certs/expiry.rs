//! When the certificate that is served is of no use any more, for whoever scrapes us.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::sync::watch;

use super::Serving;

/// Of the certificate of now.
pub struct Expiry(watch::Receiver<Serving>);

// === impl Expiry ===

impl Expiry {
    /// Of what is served.
    pub fn of(serving: watch::Receiver<Serving>) -> Self {
        Self(serving)
    }
}

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Expiry")
    }
}

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "When the serving certificate expires, in seconds since 1970";
        let name = "certificate_expiry_timestamp";
        let gauge = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        let expires = self.0.borrow().expires.as_second();
        ConstGauge::new(expires).encode(gauge)
    }
}
