//! Samples as a Kubernetes list, byte for byte as the Go library writes it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::metric::{Labels, Sample};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalMetricValueList<'s> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    items: Vec<ExternalMetricValue<'s>>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalMetricValue<'s> {
    metric_name: &'s str,
    #[serde(serialize_with = "labels")]
    metric_labels: &'s Labels,
    timestamp: String,
    value: String,
}

/// `ExternalMetricValueList` in JSON.
pub(super) fn json(samples: &[Sample]) -> serde_json::Result<Vec<u8>> {
    let items = samples.iter().map(|sample| ExternalMetricValue {
        metric_name: sample.metric.as_str(),
        metric_labels: &sample.labels,
        timestamp: rfc3339(sample.timestamp),
        value: sample.value.to_string(),
    });
    serde_json::to_vec(&ExternalMetricValueList {
        kind: "ExternalMetricValueList",
        api_version: "external.metrics.k8s.io/v1beta1",
        metadata: Empty {},
        items: items.collect(),
    })
}

/// To the second, rounded down: never newer than the truth.
fn rfc3339(timestamp: Timestamp) -> String {
    timestamp.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn labels<S: Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (key, value) in labels.iter() {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::MetricName;
    use crate::metric::quantity::Quantity;

    #[test]
    fn as_the_reference_writes_it() {
        let sample = Sample {
            metric: MetricName::new("my-metric"),
            labels: [("foo", "bar")].into_iter().collect(),
            timestamp: "2026-11-22T14:02:03.999Z".parse().unwrap(),
            value: Quantity::from_units(42),
        };
        assert_eq!(
            String::from_utf8(json(&[sample]).unwrap()).unwrap(),
            r#"{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","metadata":{},"items":[{"metricName":"my-metric","metricLabels":{"foo":"bar"},"timestamp":"2026-11-22T14:02:03Z","value":"42"}]}"#
        );
    }
}
