//! The values of an HPA's metrics, as the HPA itself would get them: the same catalog, the same
//! namespace, the same selector. These queries keep the values fresh, every `refresh`.
//! [`super::objects`] reads what other servers serve.

use futures_util::future::join_all;

use super::autoscaler::Autoscaler;
use super::metrics::{Metric, Question, Served};
use super::objects::Readings;
use crate::lookup::{Catalog, LookupError, rules};
use crate::metric::quantity::Quantity;
use crate::metric::{Namespace, Sample};

/// One for each of its metrics, in their order.
pub(super) async fn ask(catalog: &Catalog, readings: &Readings, hpa: &Autoscaler) -> Vec<Served> {
    join_all(hpa.metrics.iter().map(|metric| one(catalog, readings, &hpa.namespace, metric))).await
}

async fn one(catalog: &Catalog, readings: &Readings, namespace: &Namespace, metric: &Metric) -> Served {
    let (name, selector) = match &metric.question {
        Question::Ours { name, selector } => (name, &selector.selector),
        Question::Invalid { name, why } => return Served::Unknown(format!("{name}: {why}.").into()),
        Question::Object(metric) => return readings.served(metric),
    };
    match catalog.observe(namespace, name.as_str(), selector).await {
        Ok(samples) => served(&samples),
        // Items of a metric whose name the config chooses come and go. Those of a fixed metric are named by
        // the config or by the service.
        Err(LookupError::NoMatch(why)) if catalog.label(name).is_none() => Served::Absent(why.into()),
        Err(LookupError::NoItems(why)) => Served::Absent(why),
        Err(error) => Served::Unknown(error.to_string().into()),
    }
}

fn served(samples: &[Sample]) -> Served {
    let read = || samples.iter().map(|sample| sample.timestamp);
    let sum = Quantity::sum(samples.iter().map(|sample| sample.value));
    let (Some(first), Some(last), Some(sum)) = (read().min(), read().max(), sum) else {
        return Served::Unknown("a response without a value.".into());
    };
    let fallback = |sample: &Sample| sample.labels.value(rules::LABEL) == Some(rules::Applied::Fallback.as_str());
    if samples.iter().any(fallback) { Served::Fallback(sum) } else { Served::Value { sum, first, last } }
}
