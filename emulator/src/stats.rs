//! How many messages there are, in the words of GetStats.

use serde::Serialize;

/// The figures of a queue, or of one of its channels.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct QueueStats {
    /// The messages that can still be delivered.
    pub queue: Stats,
    /// The dead letters.
    pub dlq: Stats,
}

/// One triple of figures.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Messages ready for delivery.
    pub visible_messages: i64,
    /// Messages delivered, not deleted, and hidden until their visibility time-out.
    pub in_flight_messages: i64,
    /// Bytes of both.
    pub size_in_bytes: i64,
}
