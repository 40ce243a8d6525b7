//! The JSON documents that only a server writes or reads, in the shapes of version 20210201.
//!
//! What the client decodes too lives in [`crate::oci::queue`] and is used from there; the rest
//! is here, with every field that the service calls required.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::queue::{Delivery, EmulatedQueue, LONGEST_WAIT, Stored};
use super::store::RETENTION;

/// The most messages that one PutMessages carries, by the service's limits.
pub(crate) const MOST_PUT: usize = 20;

/// No compartments are emulated; the field is required.
const COMPARTMENT: &str = "ocid1.compartment.oc1..emulated";

/// Answer of GetQueue.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueDocument<'a> {
    id: &'a str,
    compartment_id: &'a str,
    display_name: &'a str,
    time_created: String,
    time_updated: String,
    lifecycle_state: &'a str,
    messages_endpoint: String,
    retention_in_seconds: u64,
    visibility_in_seconds: u64,
    timeout_in_seconds: u64,
    dead_letter_queue_delivery_count: u32,
    freeform_tags: BTreeMap<String, String>,
    defined_tags: BTreeMap<String, String>,
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
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredDocument {
    id: u64,
    expire_after: String,
}

#[derive(Deserialize)]
struct PutDocument {
    messages: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    content: String,
    metadata: Option<IgnoredAny>,
}

// === impl QueueDocument ===

impl<'a> QueueDocument<'a> {
    /// `asked_at` is the authority that the request was sent to: the messages are there too.
    pub(crate) fn new(queue: &'a EmulatedQueue, asked_at: &str) -> Self {
        let created = time(queue.created_at());
        Self {
            id: queue.id().as_str(),
            compartment_id: COMPARTMENT,
            display_name: queue.name(),
            time_created: created.clone(),
            time_updated: created,
            lifecycle_state: "ACTIVE",
            messages_endpoint: format!("http://{asked_at}"),
            retention_in_seconds: RETENTION.as_secs(),
            visibility_in_seconds: queue.visibility().as_secs(),
            timeout_in_seconds: LONGEST_WAIT.as_secs(),
            dead_letter_queue_delivery_count: 0,
            freeform_tags: BTreeMap::new(),
            defined_tags: BTreeMap::new(),
        }
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
        Self {
            id: delivery.id,
            content: delivery.content.as_ref().to_owned(),
            receipt: delivery.receipt,
            delivery_count: delivery.delivery_count,
            visible_after: time(delivery.visible_after),
            expire_after: time(delivery.expire_after),
            created_at: time(delivery.created_at),
        }
    }
}

impl From<Stored> for StoredDocument {
    fn from(stored: Stored) -> Self {
        Self { id: stored.id, expire_after: time(stored.expire_after) }
    }
}

/// Reads the body of PutMessages: the contents to put, or the answer that says why not.
pub(crate) fn contents_to_put(body: &[u8]) -> Result<Vec<String>, Answer> {
    let document: PutDocument = serde_json::from_slice(body).map_err(|error| {
        let message = format!("The request body is no PutMessagesDetails: {error}");
        if error.is_data() { Answer::invalid(&message) } else { Answer::unreadable(&message) }
    })?;
    let count = document.messages.len();
    if !(1..=MOST_PUT).contains(&count) {
        return Err(Answer::invalid(&format!("messages must have 1 to {MOST_PUT} entries, not {count}")));
    }
    if document.messages.iter().any(|entry| entry.metadata.is_some()) {
        return Err(Answer::invalid("metadata (channelId, customProperties) is not emulated"));
    }
    Ok(document.messages.into_iter().map(|entry| entry.content).collect())
}

/// RFC 3339 with milliseconds, as the service prints it.
fn time(time: Timestamp) -> String {
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
    fn a_put_holds_one_to_twenty_contents() {
        let body = |count: usize| format!(r#"{{"messages":[{}]}}"#, vec![r#"{"content":"a"}"#; count].join(","));
        for (count, legal) in [(0, false), (1, true), (20, true), (21, false)] {
            assert_eq!(contents_to_put(body(count).as_bytes()).is_ok(), legal, "{count}");
        }
        let unknown_fields = r#"{"messages":[{"content":"\u00e9 ☃","new":1}],"new":1}"#;
        assert_eq!(contents_to_put(unknown_fields.as_bytes()).unwrap(), ["é ☃"]);
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
            r#"{"messages":[{"content":"a","metadata":{"channelId":"c"}}]}"#,
        ] {
            let answer = contents_to_put(body.as_bytes()).unwrap_err();
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{body}");
        }
        assert!(contents_to_put(b"{\"messages\":[{\"content\":\"\xff\"}]}").is_err());
    }
}
