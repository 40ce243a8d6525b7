//! The messages of one queue as a state machine: ready, in flight, gone.
//!
//! Every step takes the moment at which it happens, and first lets happen whatever fell due
//! since the last one. Nothing here waits, locks, or knows of receipts and HTTP: that is
//! [`queue`](super::queue), its only caller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::oci::queue::Stats;

/// How long a message lives: a day, which the service gives a queue that asks for nothing else.
pub(crate) const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// The messages of one queue.
#[derive(Default)]
pub(crate) struct Store {
    last_id: u64,
    bytes: usize,
    /// Every message has its home here and, by its id, a place in exactly one of the two below.
    messages: BTreeMap<u64, Message>,
    ready: BTreeSet<u64>,
    in_flight: BTreeSet<(Instant, u64)>,
}

/// One message.
#[derive(Clone)]
pub(crate) struct Message {
    /// Its text.
    pub(crate) content: Arc<str>,
    /// When it was put.
    pub(crate) created_at: Timestamp,
    /// How often it was handed out.
    pub(crate) deliveries: u32,
    expires: Instant,
    /// When it becomes visible again, while in flight.
    due: Option<Instant>,
}

// === impl Store ===

impl Store {
    /// Adds a message and returns its id; ids only rise.
    pub(crate) fn put(&mut self, now: Instant, content: String, created_at: Timestamp) -> u64 {
        self.settle(now);
        self.last_id += 1;
        self.bytes += content.len();
        let message =
            Message { content: content.into(), created_at, deliveries: 0, expires: now + RETENTION, due: None };
        self.messages.insert(self.last_id, message);
        self.ready.insert(self.last_id);
        self.last_id
    }

    /// Hands out up to `limit` ready messages, oldest first, and hides them for `visibility`.
    pub(crate) fn take(&mut self, now: Instant, limit: usize, visibility: Duration) -> Vec<(u64, Message)> {
        let due = now + visibility;
        self.oldest(now, limit)
            .into_iter()
            .filter_map(|id| {
                let message = self.messages.get_mut(&id)?;
                message.deliveries = message.deliveries.saturating_add(1);
                message.due = Some(due);
                self.ready.remove(&id);
                self.in_flight.insert((due, id));
                Some((id, message.clone()))
            })
            .collect()
    }

    /// Removes a message for good, if `delivery` was its latest; says whether it was.
    pub(crate) fn delete(&mut self, now: Instant, id: u64, delivery: u32) -> bool {
        self.settle(now);
        let latest = self.messages.get(&id).is_some_and(|message| message.deliveries == delivery);
        if latest {
            self.remove(id);
        }
        latest
    }

    /// Removes up to `limit` ready messages for good, oldest first; says how many there were.
    pub(crate) fn consume(&mut self, now: Instant, limit: usize) -> usize {
        let ids = self.oldest(now, limit);
        ids.iter().for_each(|id| self.remove(*id));
        ids.len()
    }

    /// Exact, unlike the service's own.
    pub(crate) fn stats(&mut self, now: Instant) -> Stats {
        self.settle(now);
        Stats {
            visible_messages: figure(self.ready.len()),
            in_flight_messages: figure(self.in_flight.len()),
            size_in_bytes: figure(self.bytes),
        }
    }

    /// When the next message in flight becomes visible again, if nobody deletes it.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.in_flight.first().map(|(due, _)| *due)
    }

    fn oldest(&mut self, now: Instant, limit: usize) -> Vec<u64> {
        self.settle(now);
        self.ready.iter().take(limit).copied().collect()
    }

    fn settle(&mut self, now: Instant) {
        while let Some(&(due, id)) = self.in_flight.first()
            && due <= now
        {
            self.in_flight.pop_first();
            self.ready.insert(id);
            if let Some(message) = self.messages.get_mut(&id) {
                message.due = None;
            }
        }
        // Ids and expiry rise together, because every message lives equally long.
        while let Some((&id, message)) = self.messages.first_key_value()
            && message.expires <= now
        {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(message) = self.messages.remove(&id) else {
            return;
        };
        self.bytes -= message.content.len();
        match message.due {
            Some(due) => self.in_flight.remove(&(due, id)),
            None => self.ready.remove(&id),
        };
    }
}

/// Memory ends long before an i64 does.
fn figure(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_MINUTE: Duration = Duration::from_secs(30);
    const SECOND: Duration = Duration::from_secs(1);

    fn store(now: Instant, contents: &[&str]) -> Store {
        let mut store = Store::default();
        for content in contents {
            store.put(now, (*content).to_owned(), Timestamp::UNIX_EPOCH);
        }
        store
    }

    fn figures(store: &mut Store, now: Instant) -> (i64, i64, i64) {
        let stats = store.stats(now);
        (stats.visible_messages, stats.in_flight_messages, stats.size_in_bytes)
    }

    #[test]
    fn a_message_goes_from_ready_through_flight_to_gone() {
        let now = Instant::now();
        let mut store = store(now, &["eins", "zwölf"]);
        assert_eq!(figures(&mut store, now), (2, 0, 10));
        let taken = store.take(now, 1, HALF_MINUTE);
        assert_eq!((taken[0].0, &*taken[0].1.content, taken[0].1.deliveries), (1, "eins", 1));
        assert_eq!(figures(&mut store, now), (1, 1, 10));
        assert!(store.delete(now, 1, 1));
        assert_eq!(figures(&mut store, now), (1, 0, 6));
        assert!(!store.delete(now, 1, 1), "a receipt works once");
    }

    #[test]
    fn what_is_not_deleted_in_time_comes_back_and_voids_the_old_delivery() {
        let now = Instant::now();
        let mut store = store(now, &["a"]);
        store.take(now, 1, HALF_MINUTE);
        assert_eq!(store.next_due(), Some(now + HALF_MINUTE));
        let just_before = now + HALF_MINUTE - Duration::from_nanos(1);
        assert!(store.take(just_before, 1, HALF_MINUTE).is_empty());
        let again = now + HALF_MINUTE;
        assert_eq!(figures(&mut store, again), (1, 0, 1));
        assert_eq!(store.take(again, 1, HALF_MINUTE)[0].1.deliveries, 2);
        assert!(!store.delete(again, 1, 1));
        assert!(store.delete(again, 1, 2));
        assert_eq!(figures(&mut store, again), (0, 0, 0));
    }

    #[test]
    fn a_late_delete_counts_until_somebody_else_has_the_message() {
        let now = Instant::now();
        let mut store = store(now, &["a"]);
        store.take(now, 1, SECOND);
        assert!(store.delete(now + HALF_MINUTE, 1, 1));
        assert_eq!(figures(&mut store, now + HALF_MINUTE), (0, 0, 0));
    }

    #[test]
    fn a_peek_counts_as_a_delivery_and_hides_nothing() {
        let now = Instant::now();
        let mut store = store(now, &["a"]);
        store.take(now, 1, Duration::ZERO);
        assert_eq!(figures(&mut store, now), (1, 0, 1));
        assert_eq!(store.take(now, 1, Duration::ZERO)[0].1.deliveries, 2);
    }

    #[test]
    fn messages_never_handed_out_cannot_be_deleted() {
        let now = Instant::now();
        let mut store = store(now, &["a"]);
        assert!(!store.delete(now, 1, 1));
        assert!(!store.delete(now, 7, 1));
    }

    #[test]
    fn consuming_takes_the_oldest_ready_ones_only() {
        let now = Instant::now();
        let mut store = store(now, &["a", "bb", "ccc", "dddd"]);
        store.take(now, 1, HALF_MINUTE);
        assert_eq!(store.consume(now, 2), 2);
        assert_eq!(figures(&mut store, now), (1, 1, 5));
        assert_eq!(store.consume(now, 9), 1);
        assert_eq!(figures(&mut store, now), (0, 1, 1));
    }

    #[test]
    fn retention_ends_what_is_ready_and_what_is_in_flight() {
        let now = Instant::now();
        let mut store = store(now, &["a", "b"]);
        store.put(now + SECOND, "c".to_owned(), Timestamp::UNIX_EPOCH);
        store.take(now + RETENTION - SECOND, 1, HALF_MINUTE);
        assert_eq!(figures(&mut store, now + RETENTION - SECOND), (2, 1, 3));
        assert_eq!(figures(&mut store, now + RETENTION), (1, 0, 1));
        assert_eq!(store.next_due(), None);
    }
}
