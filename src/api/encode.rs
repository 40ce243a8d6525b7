//! Samples as a Kubernetes list, byte for byte as the Go library writes it: JSON and YAML here,
//! [`protobuf`] and [`table`] beside it.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use crate::metric::quantity::Quantity;
use crate::metric::{Labels, Sample};

pub(super) mod protobuf;
pub(super) mod table;

/// Whose types these are.
const API_VERSION: &str = "external.metrics.k8s.io/v1beta1";
/// Of one item in JSON, with room for two labels: a longer one costs a second allocation.
const ITEM_BYTES: usize = 200;
/// Of the list around the items.
const LIST_BYTES: usize = 128;
/// What every list begins with in JSON, written once: half of a usual answer.
const OPENING: &str =
    r#"{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","metadata":{},"items":"#;

/// Something could not be written. Not expected to be seen: text and numbers always can.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncodeError {
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot write YAML: {0}")]
    Yaml(#[from] serde_saphyr::SerializeError),
}

/// `ExternalMetricValueList`, the answer that the HPA controller reads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ValueList<'s> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    #[serde(serialize_with = "items")]
    items: &'s [Sample],
}

/// An empty `metadata`.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Empty {}

/// One item of the list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Value<'s> {
    metric_name: &'s str,
    #[serde(serialize_with = "labels")]
    metric_labels: &'s Labels,
    timestamp: Timestamp,
    #[serde(serialize_with = "quantity")]
    value: Quantity,
}

/// An answer of these samples has at least this many bytes in every form: it has each label once.
pub(super) fn least_bytes(samples: &[Sample]) -> usize {
    let labels = samples.iter().flat_map(|sample| sample.labels.iter());
    labels.map(|(key, value)| key.len() + value.len()).sum()
}

/// As Go's encoder writes: one line and its end, or indented by two blanks and without.
pub(super) fn json(value: &impl Serialize, pretty: bool, capacity: usize) -> Result<Bytes, EncodeError> {
    let mut bytes = Vec::with_capacity(capacity);
    if pretty {
        serde_json::to_writer_pretty(&mut bytes, value)?;
    } else {
        serde_json::to_writer(&mut bytes, value)?;
        bytes.push(b'\n');
    }
    Ok(finished(bytes))
}

/// The list of these as [`json`] writes it, in one line.
pub(super) fn list_line(samples: &[Sample]) -> Result<Bytes, EncodeError> {
    let mut bytes = Vec::with_capacity(ValueList::of(samples).capacity());
    bytes.extend_from_slice(OPENING.as_bytes());
    items(samples, &mut serde_json::Serializer::new(&mut bytes))?;
    bytes.extend_from_slice(b"}\n");
    Ok(finished(bytes))
}

/// An answer may wait for its client: without the room that it did not need.
pub(super) fn finished(mut bytes: Vec<u8>) -> Bytes {
    bytes.shrink_to_fit();
    bytes.into()
}

/// As `sigs.k8s.io/yaml` writes: from the JSON, so with sorted keys.
pub(super) fn yaml(value: &impl Serialize) -> Result<Bytes, EncodeError> {
    Ok(finished(serde_saphyr::to_string(&serde_json::to_value(value)?)?.into_bytes()))
}

// === impl ValueList ===

impl<'s> ValueList<'s> {
    /// The list of these.
    pub(super) fn of(samples: &'s [Sample]) -> Self {
        Self { kind: "ExternalMetricValueList", api_version: API_VERSION, metadata: Empty {}, items: samples }
    }

    /// About as many bytes as it takes in JSON.
    pub(super) fn capacity(&self) -> usize {
        LIST_BYTES + self.items.len() * ITEM_BYTES
    }
}

// === impl Value ===

impl<'s> Value<'s> {
    fn of(sample: &'s Sample) -> Self {
        let Sample { metric, labels, timestamp, value } = sample;
        Self {
            metric_name: metric.as_str(),
            metric_labels: labels,
            timestamp: whole_seconds(*timestamp),
            value: *value,
        }
    }
}

/// To the second, rounded down: never newer than the truth.
fn whole_seconds(timestamp: Timestamp) -> Timestamp {
    // Every second that a timestamp has is one that a timestamp can be.
    Timestamp::from_second(timestamp.as_second()).unwrap_or(timestamp)
}

fn items<S: Serializer>(samples: &[Sample], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(samples.iter().map(Value::of))
}

fn labels<S: Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (key, value) in labels.iter() {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

fn quantity<S: Serializer>(value: &Quantity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// With a capital for its first letter.
pub(super) fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::MetricName;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn as_the_reference_writes_it() {
        let sample = |labels: &[(&str, &str)]| Sample {
            metric: MetricName::new("my-metric"),
            labels: labels.iter().copied().collect(),
            timestamp: "2026-11-22T14:02:03.999Z".parse().unwrap(),
            value: Quantity::from_units(42),
        };
        let samples = [sample(&[("foo", "bar")])];
        let list = ValueList::of(&samples);
        assert_eq!(
            text(&json(&list, false, 0).unwrap()),
            concat!(
                r#"{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","metadata":{},"#,
                r#""items":[{"metricName":"my-metric","metricLabels":{"foo":"bar"},"timestamp":"2026-11-22T14:02:03Z","value":"42"}]}"#,
                "\n"
            )
        );
        for count in 0..3 {
            let samples = vec![samples[0].clone(); count];
            assert_eq!(list_line(&samples).unwrap(), json(&ValueList::of(&samples), false, 0).unwrap(), "{count}");
        }
        let samples = [sample(&[])];
        assert_eq!(
            text(&yaml(&ValueList::of(&samples)).unwrap()),
            "apiVersion: external.metrics.k8s.io/v1beta1\nitems:\n- metricLabels: {}\n  metricName: my-metric\n  timestamp: \"2026-11-22T14:02:03Z\"\n  value: \"42\"\nkind: ExternalMetricValueList\nmetadata: {}\n"
        );
    }

    #[test]
    fn the_capacity_is_enough_for_usual_labels() {
        let sample = Sample {
            metric: MetricName::new("oci_queue_dead_letters"),
            labels: [("queue", "a-queue-with-a-name"), ("depthgauge.dev/value-source", "activation")]
                .into_iter()
                .collect(),
            timestamp: "2026-11-22T14:02:03Z".parse().unwrap(),
            value: Quantity::from_milli(i64::MIN),
        };
        for count in [1, 100] {
            let samples = vec![sample.clone(); count];
            let list = ValueList::of(&samples);
            assert!(json(&list, false, 0).unwrap().len() <= list.capacity(), "{count}");
        }
    }
}
