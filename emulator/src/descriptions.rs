//! The JSON documents of the control plane: what a queue and what a consumer group is.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::documents::time;
use crate::group::Description;
use crate::queue::EmulatedQueue;
use crate::settings::Lifecycle;

/// Every emulated queue has consumer groups, if only the primary one.
const CAPABILITY: &str = "CONSUMER_GROUPS";

/// The fields of a queue in lists.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueSummary<'a> {
    #[serde(flatten)]
    identity: QueueIdentity<'a>,
    /// Strings here, and objects in [`QueueDocument`].
    capabilities: [&'static str; 1],
}

/// Answer of GetQueue.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueDocument<'a> {
    #[serde(flatten)]
    identity: QueueIdentity<'a>,
    retention_in_seconds: u64,
    visibility_in_seconds: u64,
    timeout_in_seconds: u64,
    dead_letter_queue_delivery_count: u32,
    capabilities: [Capability; 1],
}

/// The fields that both have.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueIdentity<'a> {
    id: &'a str,
    compartment_id: String,
    display_name: &'a str,
    time_created: String,
    time_updated: String,
    lifecycle_state: &'static str,
    messages_endpoint: String,
    freeform_tags: BTreeMap<String, String>,
    defined_tags: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Capability {
    r#type: &'static str,
    is_primary_consumer_group_enabled: bool,
}

/// The fields of a consumer group in lists.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupSummary {
    id: String,
    display_name: String,
    queue_id: String,
    time_created: String,
    time_updated: String,
    lifecycle_state: &'static str,
    freeform_tags: BTreeMap<String, String>,
    defined_tags: BTreeMap<String, String>,
}

/// Answer of GetConsumerGroup.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupDocument {
    #[serde(flatten)]
    summary: GroupSummary,
    dead_letter_queue_delivery_count: u32,
}

// === impl QueueSummary ===

impl<'a> QueueSummary<'a> {
    /// `asked_at` is the authority that the request was sent to: the messages are there too.
    pub(crate) fn new(queue: &'a EmulatedQueue, asked_at: &str) -> Self {
        Self { identity: QueueIdentity::new(queue, asked_at), capabilities: [CAPABILITY] }
    }
}

// === impl QueueDocument ===

impl<'a> QueueDocument<'a> {
    /// As for a summary.
    pub(crate) fn new(queue: &'a EmulatedQueue, asked_at: &str) -> Self {
        let settings = queue.settings();
        let primary = queue.groups().first().is_some_and(|group| group.enabled);
        Self {
            identity: QueueIdentity::new(queue, asked_at),
            retention_in_seconds: settings.retention.as_secs(),
            visibility_in_seconds: settings.visibility.as_secs(),
            timeout_in_seconds: settings.timeout.as_secs(),
            dead_letter_queue_delivery_count: settings.dead_letter_after,
            capabilities: [Capability { r#type: CAPABILITY, is_primary_consumer_group_enabled: primary }],
        }
    }
}

// === impl QueueIdentity ===

impl<'a> QueueIdentity<'a> {
    fn new(queue: &'a EmulatedQueue, asked_at: &str) -> Self {
        let (settings, created) = (queue.settings(), time(queue.created_at()));
        Self {
            id: queue.id().as_str(),
            compartment_id: settings.compartment,
            display_name: queue.name(),
            time_created: created.clone(),
            time_updated: created,
            lifecycle_state: settings.lifecycle.name(),
            messages_endpoint: format!("http://{asked_at}"),
            freeform_tags: BTreeMap::new(),
            defined_tags: BTreeMap::new(),
        }
    }
}

// === impl GroupSummary ===

impl GroupSummary {
    pub(crate) fn new(queue: &EmulatedQueue, group: Description) -> Self {
        let created = time(group.created_at);
        Self {
            id: group.id,
            display_name: group.name,
            queue_id: queue.id().to_string(),
            time_created: created.clone(),
            time_updated: created,
            lifecycle_state: group_state(group.enabled).name(),
            freeform_tags: BTreeMap::new(),
            defined_tags: BTreeMap::new(),
        }
    }
}

// === impl GroupDocument ===

impl GroupDocument {
    pub(crate) fn new(queue: &EmulatedQueue, group: Description) -> Self {
        let dead_letter_queue_delivery_count = queue.settings().dead_letter_after;
        Self { summary: GroupSummary::new(queue, group), dead_letter_queue_delivery_count }
    }
}

/// How a group's being enabled is called among states.
pub(crate) fn group_state(enabled: bool) -> Lifecycle {
    if enabled { Lifecycle::Active } else { Lifecycle::Inactive }
}
