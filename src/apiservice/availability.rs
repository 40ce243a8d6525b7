//! Whether kube-apiserver reaches us, as the APIService's condition says: for metrics and status.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceCondition};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// What was seen last; cheap to clone. As a gauge it has no sample while nothing is known.
#[derive(Clone, Debug, Default)]
pub struct Availability(Arc<Mutex<Option<bool>>>);

// === impl Availability ===

impl Availability {
    /// Whether it is available; `None` while that is not known.
    pub fn now(&self) -> Option<bool> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unknown(&self) {
        self.set(None);
    }

    /// It was read; one that is not there is not available.
    pub(super) fn seen(&self, found: Option<&APIService>) {
        self.set(Some(found.and_then(condition).is_some_and(|condition| condition.status == "True")));
    }

    fn set(&self, available: Option<bool>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = available;
    }
}

impl Collector for Availability {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help =
            "Whether the APIService is Available (kube-apiserver reaches it), 0 or 1; nothing while that is unknown";
        let gauge = encoder.encode_descriptor("apiservice_available", help, None, MetricType::Gauge)?;
        match self.now() {
            Some(available) => ConstGauge::new(i64::from(available)).encode(gauge),
            None => Ok(()),
        }
    }
}

/// Its condition `Available`, if it has one.
pub(super) fn condition(found: &APIService) -> Option<&APIServiceCondition> {
    let conditions = found.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Available")
}
