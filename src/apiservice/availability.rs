//! Whether kube-apiserver reaches depthgauge, by the condition of its APIService: for metrics and
//! status.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceCondition};
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::ServiceRef;
use super::object::{Whose, look};

/// What was seen last; cheap to clone. As a gauge it has no sample while nothing is known.
#[derive(Clone, Debug, Default)]
pub struct Availability(Arc<Mutex<Option<bool>>>);

// === impl Availability ===

impl Availability {
    /// Whether it is available; `None` while that is not known.
    pub fn now(&self) -> Option<bool> {
        *self.0.lock()
    }

    pub(super) fn unknown(&self) {
        self.set(None);
    }

    /// The APIService was read. If it does not exist, or leads to another Service, it does not lead
    /// to depthgauge.
    pub(super) fn seen(&self, found: Option<&APIService>, service: &ServiceRef) {
        let ours = found.filter(|_| look(found, service) == Whose::Ours);
        self.set(Some(ours.and_then(condition).is_some_and(|condition| condition.status == "True")));
    }

    fn set(&self, available: Option<bool>) {
        *self.0.lock() = available;
    }
}

impl Collector for Availability {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "1 if the APIService points at depthgauge and is Available, 0 if not; absent while that is unknown";
        let gauge = encoder.encode_descriptor("apiservice_available", help, None, MetricType::Gauge)?;
        match self.now() {
            Some(available) => ConstGauge::new(i64::from(available)).encode(gauge),
            None => Ok(()),
        }
    }
}

/// Its condition `Available`, if it has one.
pub fn condition(found: &APIService) -> Option<&APIServiceCondition> {
    let conditions = found.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Available")
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;
    use serde_json::json;

    use super::*;

    #[test]
    fn one_that_leads_to_somebody_else_is_not_available_for_us() {
        let service: ServiceRef = "depthgauge/depthgauge:443".parse().unwrap();
        let led_to = |namespace: &str, status: &str| -> APIService {
            let object = json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {},
                "spec": {
                    "group": "g", "version": "v", "groupPriorityMinimum": 1, "versionPriority": 1,
                    "service": {"namespace": namespace, "name": "depthgauge"},
                },
                "status": {"conditions": [{"type": "Available", "status": status}]},
            });
            serde_json::from_value(object).unwrap()
        };
        let (availability, mut registry) = (Availability::default(), Registry::default());
        registry.register_collector(Box::new(availability.clone()));
        let sample = || {
            let mut scraped = String::new();
            text::encode(&mut scraped, &registry).unwrap();
            scraped.lines().find_map(|line| line.strip_prefix("apiservice_available ").map(str::to_owned))
        };
        assert_eq!(sample(), None);
        for (found, available) in [
            (Some(led_to("depthgauge", "True")), true),
            (Some(led_to("depthgauge", "False")), false),
            (Some(led_to("keda", "True")), false),
            (None, false),
        ] {
            availability.seen(found.as_ref(), &service);
            assert_eq!(availability.now(), Some(available), "{found:?}");
            assert_eq!(sample(), Some(u8::from(available).to_string()), "{found:?}");
        }
        availability.unknown();
        assert_eq!(sample(), None);
    }
}
