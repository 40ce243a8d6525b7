//! OCI's documents: no figure is made up. What decodes was there, as that very integer.
//!
//! Input: the body of an answer.
#![no_main]

use depthgauge::oci::compartment::QueueSummary;
use depthgauge::oci::consumer_group::GroupSummary;
use depthgauge::oci::queue::{ErrorBody, Queue, QueueStats, Stats, decode};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    // Not the same: what is skipped, serde_json does not look at closely (UTF-8, huge numbers).
    let Ok(whole) = serde_json::from_slice::<Value>(body) else { return };
    if let Ok(stats) = decode::<QueueStats>(body) {
        for (name, stats) in [("queue", &stats.queue), ("dlq", &stats.dlq)] {
            let there = member(&whole, name);
            let Stats { visible_messages, in_flight_messages, size_in_bytes } = stats;
            for (name, figure) in [
                ("visibleMessages", visible_messages),
                ("inFlightMessages", in_flight_messages),
                ("sizeInBytes", size_in_bytes),
            ] {
                assert_eq!(member(there, name).as_i64(), Some(*figure), "{name}");
            }
        }
    }
    if let Ok(queue) = decode::<Queue>(body) {
        assert_eq!(member(&whole, "messagesEndpoint"), queue.messages_endpoint.as_str());
    }
    if let Ok(queue) = decode::<QueueSummary>(body) {
        assert_eq!(member(&whole, "id"), queue.id.as_str());
        assert_eq!(member(&whole, "displayName").as_str(), queue.display_name.as_deref());
        assert_eq!(member(&whole, "lifecycleState").as_str(), Some(queue.lifecycle_state.as_str()));
    }
    if let Ok(group) = decode::<GroupSummary>(body) {
        assert_eq!(member(&whole, "id"), group.id.as_str());
        assert_eq!(member(&whole, "displayName"), group.display_name.as_str());
    }
    if let Ok(error) = decode::<ErrorBody>(body) {
        assert_eq!(member(&whole, "code"), error.code.as_str());
    }
});

fn member<'d>(document: &'d Value, name: &str) -> &'d Value {
    document.get(name).unwrap_or(&Value::Null)
}
