//! When the certificate that is served expires, as a metric.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::sync::watch;

use super::Serving;

/// Of the current certificate.
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

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    use super::*;
    use crate::certs::Ca;
    use crate::certs::issue::Pair;
    use crate::certs::serving::serving;

    #[test]
    fn it_is_the_end_of_the_leaf_that_is_served_now() {
        let made: Timestamp = "2026-11-22T14:00:00Z".parse().unwrap();
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        let ca = Pair::ca(days(100), made).unwrap();
        let of_days = |lifetime: i64| {
            let Pair { certificate, key } = ca.sign(&["a.b.svc".to_owned()], days(lifetime), made).unwrap();
            // With its CA, which ends later.
            let chain = Pair { certificate: format!("{certificate}{}", ca.certificate), key };
            serving(&chain, Ca::Nobody).unwrap()
        };
        let (sender, receiver) = watch::channel(of_days(30));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Expiry::of(receiver)));
        for lifetime in [30, 60] {
            sender.send_replace(of_days(lifetime));
            let chain = sender.borrow().certified.cert.clone();
            let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
            let end = leaf.validity().not_after.timestamp();
            assert_eq!((chain.len(), end), (2, (made + days(lifetime)).as_second()));
            let mut scraped = String::new();
            text::encode(&mut scraped, &registry).unwrap();
            let line = format!("certificate_expiry_timestamp_seconds {end}");
            assert!(scraped.lines().any(|shown| shown == line), "{line} in {scraped}");
        }
    }
}
