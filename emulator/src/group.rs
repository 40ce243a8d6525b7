//! A consumer group: its name, and its own view of the queue's messages.
//!
//! Each message is delivered to every group, so each group has a [`Store`]. There is always a
//! primary one, for consumers that name none.

use jiff::Timestamp;

use crate::queue_id::QueueId;
use crate::store::Store;

/// What the service calls the group that every queue has.
pub const PRIMARY: &str = "Primary Consumer Group";

/// One consumer group of one queue.
pub(crate) struct Group {
    pub(crate) description: Description,
    pub(crate) store: Store,
}

/// What can be said of a group.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its OCID.
    pub id: String,
    /// Unique in its queue, whatever the case.
    pub name: String,
    /// A disabled group gets no new messages; what it has stays.
    pub enabled: bool,
    /// When it was made. It gets what is put from then on.
    pub created_at: Timestamp,
}

/// Whose messages are meant; by default all of the primary group's.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selection {
    /// OCID of the consumer group; none is the primary one.
    pub group: Option<String>,
    /// Messages of this channel only.
    pub channel: Option<String>,
}

/// The queue has no consumer group of this OCID.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no such consumer group")]
pub struct NoSuchGroup;

// === impl Group ===

impl Group {
    /// The `index`th group of this queue.
    pub(crate) fn new(queue: &QueueId, index: usize, name: &str, created_at: Timestamp) -> Self {
        // Unique, and of its queue's region: the queue's own tail is part of it.
        let rest = queue.as_str().split_once(".queue.").map_or("oc1..emulated", |(_, rest)| rest);
        let description = Description {
            id: format!("ocid1.consumergroup.{rest}-{index}"),
            name: name.to_owned(),
            enabled: true,
            created_at,
        };
        Self { description, store: Store::default() }
    }
}

// === impl Selection ===

impl Selection {
    /// All messages of a channel, as the primary group sees them.
    pub fn channel(channel: &str) -> Self {
        Self { group: None, channel: Some(channel.to_owned()) }
    }

    /// All messages of a group, by its OCID.
    pub fn group(group: &str) -> Self {
        Self { group: Some(group.to_owned()), channel: None }
    }
}
