//! The bodies of requests, read and checked: what to put, to update, to delete.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::answer::Answer;
use crate::documents::Metadata;
use crate::message::Message;
use crate::parameters::seconds;
use crate::settings::MAX_VISIBILITY;

/// The most messages that one PutMessages, and the most receipts that one batch carries, by the
/// service's limits.
pub(crate) const MOST_AT_ONCE: usize = 20;

#[derive(Deserialize)]
struct PutDocument {
    messages: Vec<PutEntry>,
}

#[derive(Deserialize)]
struct PutEntry {
    content: String,
    metadata: Option<Metadata>,
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
        let message = format!("The request body is not valid {what}: {error}");
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::StatusCode;

    use super::*;

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
}
