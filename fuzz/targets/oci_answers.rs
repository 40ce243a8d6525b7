//! OCI's documents: no figure is made up. What decodes was there, as that very integer.
//!
//! Input: the body of an answer.
#![no_main]

use depthgauge::oci::compartment::QueueSummary;
use depthgauge::oci::consumer_group::GroupSummary;
use depthgauge::oci::queue::{ErrorBody, Queue, QueueStats, Stats};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    // Not the same: what is skipped, serde_json does not look at closely (UTF-8, huge numbers).
    let Ok(whole) = serde_json::from_slice::<Value>(body) else { return };
    if let Ok(stats) = serde_json::from_slice::<QueueStats>(body) {
        // A sequence would do for serde; the service sends objects.
        for (name, at, stats) in [("queue", 0, &stats.queue), ("dlq", 1, &stats.dlq)] {
            let there = member(&whole, name, at);
            let Stats { visible_messages, in_flight_messages, size_in_bytes } = stats;
            for (name, at, figure) in [
                ("visibleMessages", 0, visible_messages),
                ("inFlightMessages", 1, in_flight_messages),
                ("sizeInBytes", 2, size_in_bytes),
            ] {
                assert_eq!(member(there, name, at).as_i64(), Some(*figure), "{name}");
            }
        }
        let text = serde_json::to_vec(&stats).expect("figures are JSON");
        let again: QueueStats = serde_json::from_slice(&text).expect("what is written can be read");
        assert_eq!(format!("{again:?}"), format!("{stats:?}"));
    }
    if let Ok(queue) = serde_json::from_slice::<Queue>(body) {
        assert_eq!(member(&whole, "messagesEndpoint", 0), queue.messages_endpoint.as_str());
    }
    if let Ok(queue) = serde_json::from_slice::<QueueSummary>(body) {
        assert_eq!(member(&whole, "id", 0), queue.id.as_str());
        assert_eq!(member(&whole, "displayName", 1).as_str(), queue.display_name.as_deref());
        assert_eq!(member(&whole, "lifecycleState", 2).as_str(), Some(queue.lifecycle_state.as_str()));
    }
    if let Ok(group) = serde_json::from_slice::<GroupSummary>(body) {
        assert_eq!(member(&whole, "id", 0), group.id.as_str());
        assert_eq!(member(&whole, "displayName", 1), group.display_name.as_str());
    }
    if let Ok(error) = serde_json::from_slice::<ErrorBody>(body) {
        assert_eq!(member(&whole, "code", 0), error.code.as_str());
    }
});

fn member<'d>(document: &'d Value, name: &str, at: usize) -> &'d Value {
    document.get(name).or_else(|| document.get(at)).unwrap_or(&Value::Null)
}
