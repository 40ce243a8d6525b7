//! The wire documents of the OCI Queue service, and where they live.
//!
//! Shapes and paths as in version 20210201 of the service, read from the official Python SDK
//! 2.189.0. Unknown fields are ignored, a missing required one is an error: the SDK turns it
//! into null, which is how a wrong number starts.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::group_id::GroupId;
use super::ocid::{is_ocid, suffix};

/// The base path of control plane and data plane alike.
pub const BASE_PATH: &str = "/20210201";

/// The OCID of a queue, checked in form: `ocid1.queue.oc1.eu-frankfurt-1.amaaaa…`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct QueueId(Arc<str>);

/// Answer of GetStats. The service calls all its numbers approximate.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStats {
    /// The queue itself (or the requested channel).
    #[serde(deserialize_with = "object")]
    pub queue: Stats,
    /// Its dead-letter queue.
    #[serde(deserialize_with = "object")]
    pub dlq: Stats,
    /// Of the request that was answered: no part of the document.
    #[serde(skip)]
    pub request_id: Option<String>,
}

/// One triple of figures.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Messages ready for delivery.
    pub visible_messages: i64,
    /// Messages delivered, not deleted, and hidden until their visibility time-out.
    pub in_flight_messages: i64,
    /// Bytes of both.
    pub size_in_bytes: i64,
}

/// Which of a queue's messages are counted; by default all that its primary consumer group has.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueuePart<'p> {
    /// Those of this channel, which need not exist: then there are none.
    pub channel: Option<&'p str>,
    /// Those of this consumer group.
    pub group: Option<&'p GroupId>,
}

/// The channel or group whose figures GetStats returns, by its own fields: only there if one was
/// requested.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    channel_id: Option<String>,
    consumer_group_id: Option<String>,
}

/// Answer of GetQueue: the fields that depthgauge reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// Where its messages and statistics are, without the base path:
    /// `https://cell-1.queue.messaging.eu-frankfurt-1.oci.oraclecloud.com`. Not derivable.
    pub messages_endpoint: String,
    /// Its name for users.
    pub display_name: Option<String>,
}

/// The body of every error, when the service itself made it (a proxy in between answers HTML).
#[derive(Clone, Debug, Deserialize)]
pub struct ErrorBody {
    /// `NotAuthorizedOrNotFound`, `TooManyRequests`, …
    pub code: String,
    /// A sentence in English.
    pub message: String,
}

/// This text is not a queue's OCID.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the OCID of a queue: write ocid1.queue.oc1.<region>.<unique id>")]
pub struct BadQueueId(String);

/// Decodes a struct from an object only.
struct Object<D>(D);

// === impl QueueId ===

impl QueueId {
    /// The OCID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last 6 characters: enough to tell two queues apart, and all that is shown of an OCID
    /// outside the log.
    pub fn suffix(&self) -> &str {
        suffix(&self.0)
    }

    /// The region field, long (`eu-frankfurt-1`) or short (`fra`); both occur.
    pub fn region(&self) -> &str {
        self.0.split('.').nth(3).unwrap_or_default()
    }

    /// Path of GetQueue, on the control plane.
    pub fn queue_path(&self) -> String {
        format!("{BASE_PATH}/queues/{self}")
    }

    /// Path of GetStats, on the queue's messages endpoint.
    pub fn stats_path(&self) -> String {
        format!("{BASE_PATH}/queues/{self}/stats")
    }
}

impl FromStr for QueueId {
    type Err = BadQueueId;

    fn from_str(text: &str) -> Result<Self, BadQueueId> {
        if is_ocid(text, |kind| kind == "queue") { Ok(Self(text.into())) } else { Err(BadQueueId(text.to_owned())) }
    }
}

// === impl QueuePart ===

impl QueuePart<'_> {
    /// The parameters of GetStats.
    pub(super) fn query(&self) -> Vec<(&'static str, &str)> {
        let channel = self.channel.map(|channel| ("channelId", channel));
        let group = self.group.map(|group| ("consumerGroupId", group.as_str()));
        channel.into_iter().chain(group).collect()
    }

    /// Whether an answer is about this part, as far as it shows: the queue's figure must not be
    /// served as a channel's.
    pub(super) fn is_named_by(&self, named: &Named) -> bool {
        let fits = |asked: Option<&str>, named: Option<&str>| named.is_none() || named == asked;
        fits(self.channel, named.channel_id.as_deref())
            && fits(self.group.map(GroupId::as_str), named.consumer_group_id.as_deref())
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Object ===

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Object<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// A document of the service: an object, and nothing after it. Every answer is read by this.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let decoded = object(&mut json)?;
    json.end().map(|()| decoded)
}

/// Several of them.
pub(super) fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(document: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent, bound = "T: Deserialize<'de>")]
    struct Item<T> {
        #[serde(deserialize_with = "object")]
        item: T,
    }
    Ok(Vec::<Item<T>>::deserialize(document)?.into_iter().map(|of| of.item).collect())
}

/// A document whose fields have names. Without this, serde would accept an array as well, with
/// numbers by their position instead of a name.
pub(super) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(document: D) -> Result<T, D::Error> {
    T::deserialize(Object(document))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn figures_are_read_as_they_were_written(figures: [i64; 6], extra in "[a-z]{9}", note: String) {
            let [a, b, c, d, e, f] = figures;
            let of = |visible: i64, in_flight: i64, size: i64| {
                serde_json::json!({"visibleMessages": visible, "inFlightMessages": in_flight, "sizeInBytes": size, &extra: note})
            };
            let text = serde_json::json!({"queue": of(a, b, c), "dlq": of(d, e, f), "channelId": note}).to_string();
            let QueueStats { queue, dlq, .. } = decode(text.as_bytes()).unwrap();
            let read = [&queue, &dlq].map(|of| [of.visible_messages, of.in_flight_messages, of.size_in_bytes]);
            prop_assert_eq!(read, [[a, b, c], [d, e, f]]);
        }

        #[test]
        fn a_figure_that_is_no_integer_is_an_error(figure in "-?[0-9]{20,40}|-?[0-9]{1,9}\\.[0-9]{1,9}|[0-9]e[0-9]|null|true|\"[0-9]\"|\\[\\]|\\{\\}|") {
            prop_assume!(figure.parse::<i64>().is_err());
            let zero = r#"{"visibleMessages":0,"inFlightMessages":0,"sizeInBytes":0}"#;
            let wrong = format!(r#"{{"visibleMessages":{figure},"inFlightMessages":0,"sizeInBytes":0}}"#);
            for (queue, dlq) in [(zero, wrong.as_str()), (&wrong, zero)] {
                let text = format!(r#"{{"queue":{queue},"dlq":{dlq}}}"#);
                prop_assert!(decode::<QueueStats>(text.as_bytes()).is_err(), "{}", text);
            }
        }

        #[test]
        fn no_answer_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<QueueStats>(&body);
            let _ = decode::<Queue>(&body);
            let _ = decode::<ErrorBody>(&body);
        }

        #[test]
        fn an_ocid_is_printed_as_it_was_written_and_nothing_hides_in_it(text in "ocid1\\.queue\\.[a-z0-9._-]{0,60}|\\PC{0,40}") {
            if let Ok(id) = text.parse::<QueueId>() {
                prop_assert_eq!(id.to_string(), text.clone());
                let path = id.stats_path();
                prop_assert!(path.is_ascii() && path.matches('/').count() == 4 && !path.contains(['?', '#', '%', ' ']));
                prop_assert!(text.ends_with(id.suffix()) && id.suffix().len() <= 6);
            }
        }
    }

    #[test]
    fn queue_ids() {
        let id: QueueId = "ocid1.queue.oc1.eu-frankfurt-1.amaaaaaafake".parse().unwrap();
        assert_eq!(id.region(), "eu-frankfurt-1");
        assert_eq!(id.stats_path(), "/20210201/queues/ocid1.queue.oc1.eu-frankfurt-1.amaaaaaafake/stats");
        for bad in [
            "",
            "orders",
            "ocid1.queue.oc1.fra.",
            "ocid1.stream.oc1.fra.aaaa",
            "ocid1.queue.oc1.fra.aa/../bb",
            "ocid1.queue.oc1.fra.aa?x",
            "ocid1.queue.oc1.fra.aä",
        ] {
            assert!(bad.parse::<QueueId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn figures_of_another_part_are_not_taken_for_those_that_were_asked_for() {
        let (group, other) = ("ocid1.consumergroup.oc1.fra.aaaa", "ocid1.consumergroup.oc1.fra.bbbb");
        let group: GroupId = group.parse().unwrap();
        let named = |channel: Option<&str>, group: Option<&str>| Named {
            channel_id: channel.map(str::to_owned),
            consumer_group_id: group.map(str::to_owned),
        };
        let part = QueuePart { channel: Some("a"), group: Some(&group) };
        for (named, fits) in [
            (named(None, None), true),
            (named(Some("a"), Some(group.as_str())), true),
            (named(Some("b"), Some(group.as_str())), false),
            (named(Some("a"), Some(other)), false),
        ] {
            assert_eq!(part.is_named_by(&named), fits, "{named:?}");
        }
        assert!(!QueuePart::default().is_named_by(&named(Some("a"), None)));
    }

    #[test]
    fn a_missing_figure_is_an_error_not_a_zero() {
        for body in [
            "{}",
            r#"{"queue":{"visibleMessages":1,"inFlightMessages":2},"dlq":{"visibleMessages":0,"inFlightMessages":0,"sizeInBytes":0}}"#,
            r#"{"queue":{"visibleMessages":null,"inFlightMessages":2,"sizeInBytes":0},"dlq":{"visibleMessages":0,"inFlightMessages":0,"sizeInBytes":0}}"#,
            r#"[{"visibleMessages":1,"inFlightMessages":2,"sizeInBytes":0},{"visibleMessages":0,"inFlightMessages":0,"sizeInBytes":0}]"#,
            r#"{"queue":{"visibleMessages":1,"inFlightMessages":2,"sizeInBytes":0},"dlq":{"visibleMessages":0,"inFlightMessages":0,"sizeInBytes":0}} 0"#,
            r#"{"queue":[1,2,0],"dlq":{"visibleMessages":0,"inFlightMessages":0,"sizeInBytes":0}}"#,
            r#"{"queue":{"visibleMessages":1.5,"inFlightMessages":2,"sizeInBytes":0},"dlq":{"visibleMessages":0,"inFlightMessages":0,"sizeInBytes":0}}"#,
        ] {
            assert!(decode::<QueueStats>(body.as_bytes()).is_err(), "{body}");
        }
    }
}
