//! `/queues/OCID`, beside the service's own paths: queues made, changed and removed while the
//! emulator runs. The service does that with work requests, which are not needed here.
//!
//! `PUT` with a JSON object makes a queue or changes the one there is; what the object does not
//! name stays. `DELETE` takes it away with its messages.

use std::time::Duration;

use http::Method;
use serde::Deserialize;

use crate::Emulator;
use crate::answer::Answer;
use crate::parameters::{lifecycle, seconds};
use crate::queue::EmulatedQueue;
use crate::queue_id::QueueId;
use crate::requests;
use crate::settings::{LONGEST_RETENTION, LONGEST_WAIT, Lifecycle, MAX_VISIBILITY, Settings};

/// What can be said, in the words of the service.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct SetupDocument {
    /// Of a new queue; one that is there keeps its name.
    display_name: Option<String>,
    compartment_id: Option<String>,
    lifecycle_state: Option<String>,
    visibility_in_seconds: Option<u64>,
    timeout_in_seconds: Option<u64>,
    retention_in_seconds: Option<u64>,
    dead_letter_queue_delivery_count: Option<u32>,
    /// Added, or changed where the name is known; the others stay.
    consumer_groups: Vec<GroupDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GroupDocument {
    display_name: String,
    #[serde(default = "enabled")]
    is_enabled: bool,
}

/// What a document changes, checked.
struct Change {
    compartment: Option<String>,
    lifecycle: Option<Lifecycle>,
    visibility: Option<Duration>,
    timeout: Option<Duration>,
    retention: Option<Duration>,
    dead_letter_after: Option<u32>,
}

/// Answers a request for `/queues/{id}`. Nothing is changed by one that is refused.
pub(crate) fn answer(emulator: &Emulator, method: &Method, id: &str, body: &[u8]) -> Result<Answer, Answer> {
    let id: QueueId = id.parse().map_err(|error| Answer::invalid(&format!("{error}")))?;
    match *method {
        Method::PUT => {
            let document: SetupDocument = requests::read(body, "set-up of a queue")?;
            put(emulator, &id, document)
        }
        Method::DELETE if emulator.remove_queue(&id) => Ok(Answer::done()),
        Method::DELETE => Err(Answer::no_such_queue()),
        _ => Err(Answer::wrong_method()),
    }
}

fn put(emulator: &Emulator, id: &QueueId, document: SetupDocument) -> Result<Answer, Answer> {
    let change = Change::of(&document)?;
    if document.consumer_groups.iter().any(|group| group.display_name.is_empty()) {
        return Err(Answer::invalid("displayName of a consumer group must not be empty"));
    }
    let queue = match (emulator.queue(id.as_str()), document.display_name) {
        (Some(queue), None) => queue,
        (Some(queue), Some(name)) if queue.name() == name => queue,
        (Some(_), Some(_)) => return Err(Answer::invalid("displayName of a queue that is there cannot change")),
        (None, Some(name)) if !name.is_empty() => emulator.add_queue(&name, id),
        (None, _) => return Err(Answer::invalid("displayName is required of a new queue")),
    };
    change.apply(&queue);
    for GroupDocument { display_name, is_enabled } in document.consumer_groups {
        queue.set_group(&display_name, is_enabled);
    }
    Ok(Answer::done())
}

// === impl Change ===

impl Change {
    fn of(document: &SetupDocument) -> Result<Self, Answer> {
        Ok(Self {
            compartment: document.compartment_id.clone(),
            lifecycle: lifecycle(document.lifecycle_state.as_deref())?,
            visibility: seconds("visibilityInSeconds", document.visibility_in_seconds, MAX_VISIBILITY)?,
            timeout: seconds("timeoutInSeconds", document.timeout_in_seconds, LONGEST_WAIT)?,
            retention: seconds("retentionInSeconds", document.retention_in_seconds, LONGEST_RETENTION)?,
            dead_letter_after: document.dead_letter_queue_delivery_count,
        })
    }

    fn apply(self, queue: &EmulatedQueue) {
        let Self { compartment, lifecycle, visibility, timeout, retention, dead_letter_after } = self;
        queue.change(|now| {
            let before = now.clone();
            *now = Settings {
                compartment: compartment.unwrap_or(before.compartment),
                lifecycle: lifecycle.unwrap_or(before.lifecycle),
                visibility: visibility.unwrap_or(before.visibility),
                timeout: timeout.unwrap_or(before.timeout),
                retention: retention.unwrap_or(before.retention),
                dead_letter_after: dead_letter_after.unwrap_or(before.dead_letter_after),
            };
        });
    }
}

fn enabled() -> bool {
    true
}
