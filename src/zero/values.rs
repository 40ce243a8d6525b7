//! The values of an HPA's metrics, as the HPA itself would get them: the same catalog, the same
//! namespace, the same selector. These queries keep the values fresh, every `refresh`.
//! [`super::objects`] reads what other servers serve.

use futures_util::future::join_all;

use super::autoscaler::Autoscaler;
use super::metrics::{Metric, MetricValue, Question};
use super::objects::Readings;
use crate::lookup::{Catalog, LookupError, rules};
use crate::metric::quantity::Quantity;
use crate::metric::{Namespace, Sample};

/// One for each of its metrics, in their order.
pub(super) async fn ask(catalog: &Catalog, readings: &Readings, hpa: &Autoscaler) -> Vec<MetricValue> {
    join_all(hpa.metrics.iter().map(|metric| one(catalog, readings, &hpa.namespace, metric))).await
}

async fn one(catalog: &Catalog, readings: &Readings, namespace: &Namespace, metric: &Metric) -> MetricValue {
    let (name, selector) = match &metric.question {
        Question::Ours { name, selector } => (name, &selector.selector),
        Question::Invalid { name, why } => return MetricValue::Unknown(format!("{name}: {why}.").into()),
        Question::Object(metric) => return readings.served(metric),
    };
    match catalog.observe(namespace, name.as_str(), selector).await {
        Ok(samples) => served(&samples),
        // Items of a metric whose name the config chooses come and go. Those of a fixed metric are named by
        // the config or by the service.
        Err(LookupError::NoMatch(why)) if catalog.label(name).is_none() => MetricValue::Absent(why.into()),
        Err(LookupError::NoItems(why)) => MetricValue::Absent(why),
        Err(error) => MetricValue::Unknown(error.to_string().into()),
    }
}

fn served(samples: &[Sample]) -> MetricValue {
    let read = || samples.iter().map(|sample| sample.timestamp);
    let sum = Quantity::sum(samples.iter().map(|sample| sample.value));
    let (Some(first), Some(last), Some(sum)) = (read().min(), read().max(), sum) else {
        return MetricValue::Unknown("a response without a value.".into());
    };
    let fallback = |sample: &Sample| sample.labels.value(rules::LABEL) == Some(rules::Applied::Fallback.as_str());
    if samples.iter().any(fallback) { MetricValue::Fallback(sum) } else { MetricValue::Value { sum, first, last } }
}
