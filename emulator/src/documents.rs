//! The JSON documents that the data plane writes, in the shapes of version 20210201.
//!
//! What it reads is in [`requests`](crate::requests), and what the control plane writes in
//! [`descriptions`](crate::descriptions). Every field that the service calls required is there.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::group::Selection;
use crate::message::{Delivery, Message, Stored, Updated};
use crate::stats::QueueStats;

/// Answer of GetStats. It names the channel or group of its figures only if the request named one.
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

/// Answer of GetMessages and of PutMessages, which have different fields of a message.
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

/// Answer of the batch forms, in the order of the request.
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

/// The entry of DeleteMessages for a success: `{}`.
#[derive(Serialize)]
pub(crate) struct Gone {}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    /// Required by the service's own description of it.
    pub(crate) channel_id: String,
    #[serde(default)]
    pub(crate) custom_properties: BTreeMap<String, String>,
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

/// RFC 3339 with milliseconds, as the service prints it.
pub(crate) fn time(time: Timestamp) -> String {
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util;

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(time(test_util::clock()), "2026-03-10T12:00:00.000Z");
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
