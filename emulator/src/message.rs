//! A message, as producers give it and as consumers get it.
//!
//! One message is one allocation, however many consumer groups it is delivered to.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

/// What is put.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    /// Its text.
    pub content: String,
    /// The channel it is put to. A message without one counts for the queue only; the service's
    /// documents do not state how it counts among channels.
    pub channel: Option<String>,
    /// Properties that the producer set; they are delivered with it, and not read.
    pub properties: BTreeMap<String, String>,
}

/// A message that was put.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its id, the same in every consumer group.
    pub id: u64,
    /// When it is dropped if it is not deleted.
    pub expire_after: Timestamp,
}

/// A message as one consumer gets it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message's id, the same at every delivery.
    pub id: u64,
    /// What was put.
    pub message: Arc<Message>,
    /// The receipt that deletes or updates it; void once the message has been delivered again or is
    /// dead.
    pub receipt: String,
    /// How often it was delivered, this time included.
    pub delivery_count: u32,
    /// When it becomes visible again.
    pub visible_after: Timestamp,
    /// When it is dropped if it is not deleted.
    pub expire_after: Timestamp,
    /// When it was put.
    pub created_at: Timestamp,
}

/// What an update did.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The message's id.
    pub id: u64,
    /// When it becomes visible again.
    pub visible_after: Timestamp,
}

// === impl Message ===

impl From<String> for Message {
    fn from(content: String) -> Self {
        Self { content, ..Self::default() }
    }
}

impl From<&str> for Message {
    fn from(content: &str) -> Self {
        content.to_owned().into()
    }
}
