//! The JSON documents of the data plane that only a server writes or reads, in the shapes of
//! version 20210201. Those of the control plane are [`descriptions`](super::descriptions).
//!
//! What the client decodes too lives in [`crate::oci::queue`] and is used from there; the rest
//! is here, with every field that the service calls required.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::group::Selection;
use super::message::{Delivery, Message, Stored, Updated};
use super::parameters::seconds;
use super::settings::MAX_VISIBILITY;
use crate::oci::queue::QueueStats;

/// The most messages that one PutMessages, and the most receipts that one batch carries, by the
/// service's limits.
pub(crate) const MOST_AT_ONCE: usize = 20;

/// Answer of GetStats: says whose figures they are only if somebody was named.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatsDocument<'a> {
    #[serde(flatten)]
    pub(crate) stats: QueueStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_group_id: Option<&'a str>,
}

/// Answer of GetMessages and of PutMessages, which differ in what they say of a message.
#[derive(Serialize)]
pub(crate) struct MessagesDocument<T> {
    messages: Vec<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryDocument {
    id: u64,
    content: String,
    receipt: String,
    delivery_count: u32,
    visible_after: String,
    expire_after: String,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredDocument {
    id: u64,
    expire_after: String,
}

/// Answer of UpdateMessage, and of UpdateMessages for each entry that went well.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpdatedDocument {
    id: u64,
    visible_after: String,
}

/// Answer of the batch forms, in the order of what was asked.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchDocument<T> {
    server_failures: usize,
    client_failures: usize,
    entries: Vec<EntryResult<T>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum EntryResult<T> {
    Done(T),
    /// Here the code is a number, unlike in the body of an error.
    #[serde(rename_all = "camelCase")]
    Failed {
        error_code: u16,
        error_message: &'static str,
    },
}

/// What DeleteMessages says of an entry that went well: `{}`.
#[derive(Serialize)]
pub(crate) struct Gone {}

#[derive(Deserialize)]
struct PutDocument {
    messages: Vec<PutEntry>,
}

#[derive(Deserialize)]
struct PutEntry {
    content: String,
    metadata: Option<Metadata>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    /// Required by the service's own description of it.
    channel_id: String,
    #[serde(default)]
    custom_properties: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateDocument {
    visibility_in_seconds: u64,
}

#[derive(Deserialize)]
struct Batch<T> {
    entries: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateEntry {
    receipt: String,
    visibility_in_seconds: u64,
}

#[derive(Deserialize)]
struct DeleteEntry {
    receipt: String,
}

// === impl StatsDocument ===

impl<'a> StatsDocument<'a> {
    pub(crate) fn new(of: &'a Selection, stats: QueueStats) -> Self {
        Self { stats, channel_id: of.channel.as_deref(), consumer_group_id: of.group.as_deref() }
    }
}

// === impl MessagesDocument ===

impl<T> FromIterator<T> for MessagesDocument<T> {
    fn from_iter<I: IntoIterator<Item = T>>(messages: I) -> Self {
        Self { messages: messages.into_iter().collect() }
    }
}

impl From<Delivery> for DeliveryDocument {
    fn from(delivery: Delivery) -> Self {
        let Message { content, channel, properties } = &*delivery.message;
        let custom_properties = properties.clone();
        Self {
            id: delivery.id,
            content: content.clone(),
            receipt: delivery.receipt,
            delivery_count: delivery.delivery_count,
            visible_after: time(delivery.visible_after),
            expire_after: time(delivery.expire_after),
            created_at: time(delivery.created_at),
            metadata: channel.clone().map(|channel_id| Metadata { channel_id, custom_properties }),
        }
    }
}

impl From<Stored> for StoredDocument {
    fn from(stored: Stored) -> Self {
        Self { id: stored.id, expire_after: time(stored.expire_after) }
    }
}

impl From<Updated> for UpdatedDocument {
    fn from(updated: Updated) -> Self {
        Self { id: updated.id, visible_after: time(updated.visible_after) }
    }
}

// === impl BatchDocument ===

/// `None` is a receipt that is void.
impl<T> FromIterator<Option<T>> for BatchDocument<T> {
    fn from_iter<I: IntoIterator<Item = Option<T>>>(results: I) -> Self {
        let void = || EntryResult::Failed { error_code: 404, error_message: Answer::NO_SUCH_MESSAGE };
        let entries: Vec<_> = results.into_iter().map(|done| done.map_or_else(void, EntryResult::Done)).collect();
        let failed = entries.iter().filter(|entry| matches!(entry, EntryResult::Failed { .. })).count();
        Self { server_failures: 0, client_failures: failed, entries }
    }
}

// === what is asked ===

/// Reads the body of PutMessages.
pub(crate) fn to_put(body: &[u8]) -> Result<Vec<Message>, Answer> {
    let document: PutDocument = read(body, "PutMessagesDetails")?;
    let messages = at_most(document.messages, "messages")?;
    if messages.iter().any(|entry| entry.metadata.as_ref().is_some_and(|metadata| metadata.channel_id.is_empty())) {
        return Err(Answer::invalid("channelId must not be empty"));
    }
    let message = |PutEntry { content, metadata }| {
        let metadata: Option<Metadata> = metadata;
        let (channel, properties) =
            metadata.map_or_else(Default::default, |it| (Some(it.channel_id), it.custom_properties));
        Message { content, channel, properties }
    };
    Ok(messages.into_iter().map(message).collect())
}

/// Reads the body of UpdateMessage.
pub(crate) fn to_update(body: &[u8]) -> Result<Duration, Answer> {
    let document: UpdateDocument = read(body, "UpdateMessageDetails")?;
    visibility(document.visibility_in_seconds)
}

/// Reads the body of UpdateMessages.
pub(crate) fn all_to_update(body: &[u8]) -> Result<Vec<(String, Duration)>, Answer> {
    let document: Batch<UpdateEntry> = read(body, "UpdateMessagesDetails")?;
    let entries = at_most(document.entries, "entries")?;
    entries.into_iter().map(|entry| Ok((entry.receipt, visibility(entry.visibility_in_seconds)?))).collect()
}

/// Reads the body of DeleteMessages.
pub(crate) fn all_to_delete(body: &[u8]) -> Result<Vec<String>, Answer> {
    let document: Batch<DeleteEntry> = read(body, "DeleteMessagesDetails")?;
    Ok(at_most(document.entries, "entries")?.into_iter().map(|entry| entry.receipt).collect())
}

/// JSON of this shape, or why not: 400 for both, but with different codes.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, Answer> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("The request body is no {what}: {error}");
        if error.is_data() { Answer::invalid(&message) } else { Answer::unreadable(&message) }
    })
}

fn at_most<T>(entries: Vec<T>, what: &str) -> Result<Vec<T>, Answer> {
    let count = entries.len();
    if (1..=MOST_AT_ONCE).contains(&count) {
        Ok(entries)
    } else {
        Err(Answer::invalid(&format!("{what} must have 1 to {MOST_AT_ONCE} entries, not {count}")))
    }
}

fn visibility(value: u64) -> Result<Duration, Answer> {
    Ok(seconds("visibilityInSeconds", Some(value), MAX_VISIBILITY)?.unwrap_or_default())
}

/// RFC 3339 with milliseconds, as the service prints it.
pub(crate) fn time(time: Timestamp) -> String {
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::emulator::test_util;

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(time(test_util::clock()), "2026-03-10T12:00:00.000Z");
    }

    #[test]
    fn one_to_twenty_go_at_once() {
        let repeat = |entry: &str, count: usize| vec![entry; count].join(",");
        for (count, legal) in [(0, false), (1, true), (20, true), (21, false)] {
            let put = format!(r#"{{"messages":[{}]}}"#, repeat(r#"{"content":"a"}"#, count));
            assert_eq!(to_put(put.as_bytes()).is_ok(), legal, "{count}");
            let update = repeat(r#"{"receipt":"a","visibilityInSeconds":1}"#, count);
            let batch = format!(r#"{{"entries":[{update}]}}"#);
            assert_eq!(all_to_update(batch.as_bytes()).is_ok(), legal, "{count}");
            assert_eq!(all_to_delete(batch.as_bytes()).is_ok(), legal, "{count}");
        }
    }

    #[test]
    fn a_put_may_name_a_channel_and_properties() {
        let body = r#"{"messages":[{"content":"\u00e9 ☃","new":1},
            {"content":"b","metadata":{"channelId":"c","customProperties":{"k":"v"}}}],"new":1}"#;
        let named = Message {
            content: "b".to_owned(),
            channel: Some("c".to_owned()),
            properties: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        };
        assert_eq!(to_put(body.as_bytes()).unwrap(), [Message::from("é ☃"), named]);
    }

    #[test]
    fn a_put_that_cannot_be_is_a_400() {
        for body in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"messages":{}}"#,
            r#"{"messages":[{}]}"#,
            r#"{"messages":[{"content":null}]}"#,
            r#"{"messages":[{"content":7}]}"#,
            r#"{"messages":[{"content":"a","metadata":{}}]}"#,
            r#"{"messages":[{"content":"a","metadata":{"channelId":""}}]}"#,
        ] {
            assert_eq!(to_put(body.as_bytes()).unwrap_err().status, StatusCode::BAD_REQUEST, "{body}");
        }
        assert!(to_put(b"{\"messages\":[{\"content\":\"\xff\"}]}").is_err());
    }

    #[test]
    fn an_update_is_of_up_to_twelve_hours() {
        assert_eq!(to_update(br#"{"visibilityInSeconds":43200}"#).unwrap(), MAX_VISIBILITY);
        for body in ["", "{}", r#"{"visibilityInSeconds":43201}"#, r#"{"visibilityInSeconds":-1}"#] {
            assert_eq!(to_update(body.as_bytes()).unwrap_err().status, StatusCode::BAD_REQUEST, "{body}");
        }
    }

    #[test]
    fn a_batch_answers_in_order_and_counts_what_failed() {
        let deleted: BatchDocument<Gone> = [Some(Gone {}), None].into_iter().collect();
        let json = serde_json::to_value(&deleted).unwrap();
        assert_eq!((&json["serverFailures"], &json["clientFailures"]), (&0.into(), &1.into()));
        assert_eq!(json["entries"][0], serde_json::json!({}));
        assert_eq!(json["entries"][1]["errorCode"], 404);
    }
}
