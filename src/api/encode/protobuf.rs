//! `application/vnd.kubernetes.protobuf`, which the HPA controller requests.
//!
//! The messages of `k8s.io/metrics` and `k8s.io/apimachinery`, as far as they are used. Go writes
//! empty fields, too, so here they are `required`: only then prost writes them.

use bytes::Bytes;
use prost::Message;

use crate::metric::Sample;

/// Precedes every object, so that it cannot be confused with other data.
const MAGIC: [u8; 4] = *b"k8s\0";

/// `runtime.Unknown`: the envelope, with the type of its content.
#[derive(Message)]
struct Unknown {
    #[prost(message, required, tag = "1")]
    type_meta: TypeMeta,
    #[prost(bytes = "vec", required, tag = "2")]
    raw: Vec<u8>,
    #[prost(string, required, tag = "3")]
    content_encoding: String,
    #[prost(string, required, tag = "4")]
    content_type: String,
}

#[derive(Message)]
struct TypeMeta {
    #[prost(string, required, tag = "1")]
    api_version: String,
    #[prost(string, required, tag = "2")]
    kind: String,
}

#[derive(Message)]
struct ValueList {
    #[prost(message, required, tag = "1")]
    metadata: ListMeta,
    #[prost(message, repeated, tag = "2")]
    items: Vec<Value>,
}

#[derive(Message)]
struct ListMeta {
    #[prost(string, required, tag = "1")]
    self_link: String,
    #[prost(string, required, tag = "2")]
    resource_version: String,
    #[prost(string, required, tag = "3")]
    continue_token: String,
}

/// Without `window`, which is only for rates.
#[derive(Message)]
struct Value {
    #[prost(string, required, tag = "1")]
    metric_name: String,
    #[prost(message, repeated, tag = "2")]
    metric_labels: Vec<Label>,
    #[prost(message, required, tag = "3")]
    timestamp: Time,
    #[prost(message, required, tag = "5")]
    value: Quantity,
}

/// An entry of a map; Go sorts them by key.
#[derive(Message)]
struct Label {
    #[prost(string, required, tag = "1")]
    key: String,
    #[prost(string, required, tag = "2")]
    value: String,
}

#[derive(Message)]
struct Time {
    #[prost(int64, required, tag = "1")]
    seconds: i64,
    /// Always 0: Kubernetes' times have whole seconds.
    #[prost(int32, required, tag = "2")]
    nanos: i32,
}

#[derive(Message)]
struct Quantity {
    #[prost(string, required, tag = "1")]
    string: String,
}

/// `ExternalMetricValueList` of these.
pub(in crate::api) fn list(samples: &[Sample]) -> Bytes {
    let items = samples.iter().map(|sample| Value {
        metric_name: sample.metric.as_str().into(),
        metric_labels: sample
            .labels
            .iter()
            .map(|(key, value)| Label { key: key.into(), value: value.into() })
            .collect(),
        timestamp: Time { seconds: sample.timestamp.as_second(), nanos: 0 },
        value: Quantity { string: sample.value.to_string() },
    });
    let list = ValueList { metadata: ListMeta::default(), items: items.collect() };
    object("external.metrics.k8s.io/v1beta1", "ExternalMetricValueList", &list)
}

/// Any object in its envelope.
pub(in crate::api) fn object(api_version: &str, kind: &str, message: &impl Message) -> Bytes {
    let type_meta = TypeMeta { api_version: api_version.into(), kind: kind.into() };
    let unknown = Unknown { type_meta, raw: message.encode_to_vec(), ..Unknown::default() };
    let mut bytes = Vec::with_capacity(MAGIC.len() + unknown.encoded_len());
    bytes.extend(MAGIC);
    // Fails only where there is no room, and a vector makes room.
    unknown.encode_raw(&mut bytes);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::MetricName;
    use crate::metric::quantity::Quantity as Number;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn sample(metric: &'static str, labels: &[(&str, &str)], milli: i64) -> Sample {
        Sample {
            metric: MetricName::new(metric),
            labels: labels.iter().copied().collect(),
            timestamp: jiff::Timestamp::new(1_795_356_167, 999).unwrap(),
            value: Number::from_milli(milli),
        }
    }

    #[test]
    fn as_the_reference_wrote_it() {
        assert_eq!(
            hex(&list(&[sample("other-external-metric", &[], 44_000)])),
            "6b3873000a3a0a1f65787465726e616c2e6d6574726963732e6b38732e696f2f76316265746131121745787465726e616c4d657472696356616c75654c69737412310a060a0012001a0012270a156f746865722d65787465726e616c2d6d65747269631a080887ec8bd80610002a040a0234341a002200"
        );
    }

    /// Bytes by `k8s.io/metrics` 0.37.2.
    #[test]
    fn labels_are_sorted_and_empty_ones_are_written() {
        let labels = [("queue", "orders"), ("depthgauge.dev/value-source", "activation"), ("channel", "eu")];
        let samples = [
            sample("oci_queue_length", &labels, 1500),
            sample("oci_queue_length", &[("queue", "b"), ("consumer-group", "")], 20_000_000),
        ];
        assert_eq!(
            hex(&list(&samples)),
            "6b3873000a3a0a1f65787465726e616c2e6d6574726963732e6b38732e696f2f76316265746131121745787465726e616c4d657472696356616c75654c69737412bf010a060a0012001a0012700a106f63695f71756575655f6c656e677468120d0a076368616e6e656c1202657512290a1b646570746867617567652e6465762f76616c75652d736f75726365120a61637469766174696f6e120f0a05717565756512066f72646572731a080887ec8bd80610002a070a05313530306d12430a106f63695f71756575655f6c656e67746812120a0e636f6e73756d65722d67726f75701200120a0a0571756575651201621a080887ec8bd80610002a050a0332306b1a002200"
        );
    }
}
