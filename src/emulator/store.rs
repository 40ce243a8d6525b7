//! The messages of one consumer group as a state machine: ready, in flight, dead, gone.
//!
//! Every step takes the moment at which it happens, and first lets happen whatever fell due
//! since the last one. Nothing here waits, locks, or knows of receipts and HTTP: that is
//! [`queue`](super::queue), its only caller but for [`group`](super::group), which names it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::message::Message;
use crate::oci::queue::{QueueStats, Stats};

/// The messages of one consumer group.
#[derive(Default)]
pub(crate) struct Store {
    policy: Policy,
    /// Every message has its home here and, by its id, a place in at most one of the two below:
    /// a dead letter has none.
    messages: BTreeMap<u64, Kept>,
    ready: BTreeSet<u64>,
    in_flight: BTreeSet<(Instant, u64)>,
}

/// What becomes of messages that nobody deletes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    /// How long one is kept.
    pub(crate) retention: Duration,
    /// How often one may come back, plus one; 0 is without end.
    pub(crate) dead_letter_after: u32,
}

/// One message.
#[derive(Clone)]
pub(crate) struct Kept {
    /// What was put.
    pub(crate) message: Arc<Message>,
    /// When it was put, by the calendar.
    pub(crate) created_at: Timestamp,
    /// How often it was handed out.
    pub(crate) deliveries: u32,
    put: Instant,
    place: Place,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Ready,
    /// Hidden until then.
    InFlight(Instant),
    Dead,
}

// === impl Store ===

impl Store {
    /// Holds from now on, for the messages that are there too.
    pub(crate) fn set_policy(&mut self, now: Instant, policy: Policy) {
        self.settle(now);
        self.policy = policy;
    }

    /// Adds a message; its id must be higher than any before.
    pub(crate) fn put(&mut self, now: Instant, id: u64, message: Arc<Message>, created_at: Timestamp) {
        self.settle(now);
        self.messages.insert(id, Kept { message, created_at, deliveries: 0, put: now, place: Place::Ready });
        self.ready.insert(id);
    }

    /// Hands out up to `limit` ready messages, oldest first, and hides them for `visibility`.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        channel: Option<&str>,
        limit: usize,
        visibility: Duration,
    ) -> Vec<(u64, Kept)> {
        let ids = self.oldest(now, channel, limit);
        ids.into_iter()
            .filter_map(|id| {
                let kept = self.messages.get_mut(&id)?;
                kept.deliveries = kept.deliveries.saturating_add(1);
                self.hide(id, now + visibility);
                Some((id, self.messages.get(&id)?.clone()))
            })
            .collect()
    }

    /// Hides a message for `visibility` from now on, if `delivery` was its latest; says whether
    /// it was.
    pub(crate) fn update(&mut self, now: Instant, id: u64, delivery: u32, visibility: Duration) -> bool {
        let latest = self.is_latest(now, id, delivery);
        if latest {
            self.hide(id, now + visibility);
        }
        latest
    }

    /// Removes a message for good, if `delivery` was its latest; says whether it was.
    pub(crate) fn delete(&mut self, now: Instant, id: u64, delivery: u32) -> bool {
        let latest = self.is_latest(now, id, delivery);
        if latest {
            self.remove(id);
        }
        latest
    }

    /// Removes up to `limit` ready messages for good, oldest first; says how many there were.
    pub(crate) fn consume(&mut self, now: Instant, limit: usize) -> usize {
        let ids = self.oldest(now, None, limit);
        ids.iter().for_each(|id| self.remove(*id));
        ids.len()
    }

    /// Exact, unlike the service's own. Counted each time: it takes as long as there are
    /// messages, a millisecond for some ten thousand.
    pub(crate) fn stats(&mut self, now: Instant, channel: Option<&str>) -> QueueStats {
        self.settle(now);
        let zero = Stats { visible_messages: 0, in_flight_messages: 0, size_in_bytes: 0 };
        let mut stats = QueueStats { queue: zero.clone(), dlq: zero };
        for kept in self.messages.values().filter(|kept| kept.is_in(channel)) {
            let part = if kept.place == Place::Dead { &mut stats.dlq } else { &mut stats.queue };
            // Nobody takes dead letters here, so none is ever in flight.
            match kept.place {
                Place::InFlight(_) => part.in_flight_messages += 1,
                Place::Ready | Place::Dead => part.visible_messages += 1,
            }
            // Memory ends long before an i64 does.
            part.size_in_bytes += i64::try_from(kept.message.content.len()).unwrap_or(i64::MAX);
        }
        stats
    }

    /// The channels that have messages, ready or in flight, in alphabetical order.
    pub(crate) fn channels(&mut self, now: Instant) -> BTreeSet<String> {
        self.settle(now);
        let alive = self.messages.values().filter(|kept| kept.place != Place::Dead);
        alive.filter_map(|kept| kept.message.channel.clone()).collect()
    }

    /// When the next message in flight becomes visible again, if nobody deletes it.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.in_flight.first().map(|(due, _)| *due)
    }

    fn oldest(&mut self, now: Instant, channel: Option<&str>, limit: usize) -> Vec<u64> {
        self.settle(now);
        let wanted = |id: &&u64| self.messages.get(id).is_some_and(|kept| kept.is_in(channel));
        self.ready.iter().filter(wanted).take(limit).copied().collect()
    }

    fn is_latest(&mut self, now: Instant, id: u64, delivery: u32) -> bool {
        self.settle(now);
        let alive = self.messages.get(&id).filter(|kept| kept.place != Place::Dead);
        delivery > 0 && alive.is_some_and(|kept| kept.deliveries == delivery)
    }

    fn settle(&mut self, now: Instant) {
        while let Some(&(due, id)) = self.in_flight.first()
            && due <= now
        {
            let dead_letter_after = self.policy.dead_letter_after;
            let deliveries = self.messages.get(&id).map_or(0, |kept| kept.deliveries);
            let dead = dead_letter_after > 0 && deliveries >= dead_letter_after;
            self.place(id, if dead { Place::Dead } else { Place::Ready });
        }
        // Ids and ages go together, because all are kept equally long.
        while let Some((&id, kept)) = self.messages.first_key_value()
            && kept.put + self.policy.retention <= now
        {
            self.remove(id);
        }
    }

    fn hide(&mut self, id: u64, due: Instant) {
        self.place(id, Place::InFlight(due));
    }

    /// Moves a message from where it is.
    fn place(&mut self, id: u64, place: Place) {
        let Some(kept) = self.messages.get_mut(&id) else {
            return;
        };
        match std::mem::replace(&mut kept.place, place) {
            Place::Ready => self.ready.remove(&id),
            Place::InFlight(due) => self.in_flight.remove(&(due, id)),
            Place::Dead => false,
        };
        match place {
            Place::Ready => self.ready.insert(id),
            Place::InFlight(due) => self.in_flight.insert((due, id)),
            Place::Dead => false,
        };
    }

    fn remove(&mut self, id: u64) {
        self.place(id, Place::Dead);
        self.messages.remove(&id);
    }
}

// === impl Kept ===

impl Kept {
    fn is_in(&self, channel: Option<&str>) -> bool {
        channel.is_none_or(|channel| self.message.channel.as_deref() == Some(channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_MINUTE: Duration = Duration::from_secs(30);
    const SECOND: Duration = Duration::from_secs(1);
    const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

    fn store(now: Instant, contents: &[&str]) -> Store {
        let mut store = Store::default();
        store.set_policy(now, Policy { retention: RETENTION, dead_letter_after: 0 });
        for (id, content) in (1..).zip(contents) {
            put(&mut store, now, id, content, None);
        }
        store
    }

    fn put(store: &mut Store, now: Instant, id: u64, content: &str, channel: Option<&str>) {
        let message = Message { channel: channel.map(str::to_owned), ..content.into() };
        store.put(now, id, message.into(), Timestamp::UNIX_EPOCH);
    }

    fn take(store: &mut Store, now: Instant, visibility: Duration) -> Vec<(u64, u32)> {
        store.take(now, None, 1, visibility).into_iter().map(|(id, kept)| (id, kept.deliveries)).collect()
    }

    fn figures(stats: &Stats) -> (i64, i64, i64) {
        (stats.visible_messages, stats.in_flight_messages, stats.size_in_bytes)
    }

    fn alive(store: &mut Store, now: Instant) -> (i64, i64, i64) {
        figures(&store.stats(now, None).queue)
    }

    fn dead(store: &mut Store, now: Instant) -> (i64, i64, i64) {
        figures(&store.stats(now, None).dlq)
    }

    #[test]
    fn a_message_goes_from_ready_through_flight_to_gone() {
        let now = Instant::now();
        let mut store = store(now, &["eins", "zwölf"]);
        assert_eq!(alive(&mut store, now), (2, 0, 10));
        let taken = store.take(now, None, 1, HALF_MINUTE);
        assert_eq!((taken[0].0, &*taken[0].1.message.content, taken[0].1.deliveries), (1, "eins", 1));
        assert_eq!(alive(&mut store, now), (1, 1, 10));
        assert!(store.delete(now, 1, 1));
        assert_eq!(alive(&mut store, now), (1, 0, 6));
        assert!(!store.delete(now, 1, 1), "a receipt works once");
    }

    #[test]
    fn what_is_not_deleted_in_time_comes_back_and_voids_the_old_delivery() {
        let now = Instant::now();
        let mut store = store(now, &["a"]);
        take(&mut store, now, HALF_MINUTE);
        assert_eq!(store.next_due(), Some(now + HALF_MINUTE));
        let just_before = now + HALF_MINUTE - Duration::from_nanos(1);
        assert!(take(&mut store, just_before, HALF_MINUTE).is_empty());
        let again = now + HALF_MINUTE;
        assert_eq!(alive(&mut store, again), (1, 0, 1));
        assert_eq!(take(&mut store, again, HALF_MINUTE), [(1, 2)]);
        assert!(!store.delete(again, 1, 1));
        assert!(!store.update(again, 1, 1, SECOND));
        assert!(store.delete(again, 1, 2));
        assert_eq!(alive(&mut store, again), (0, 0, 0));
    }

    #[test]
    fn a_late_delete_counts_until_somebody_else_has_the_message() {
        let now = Instant::now();
        let mut store = store(now, &["a"]);
        take(&mut store, now, SECOND);
        assert!(store.delete(now + HALF_MINUTE, 1, 1));
        assert_eq!(alive(&mut store, now + HALF_MINUTE), (0, 0, 0));
    }

    #[test]
    fn an_update_hides_from_now_on_for_longer_or_shorter() {
        let now = Instant::now();
        let mut store = store(now, &["a"]);
        take(&mut store, now, HALF_MINUTE);
        assert!(store.update(now + SECOND, 1, 1, HALF_MINUTE));
        assert_eq!(store.next_due(), Some(now + SECOND + HALF_MINUTE));
        assert_eq!(alive(&mut store, now + HALF_MINUTE), (0, 1, 1));
        assert!(store.update(now + HALF_MINUTE, 1, 1, Duration::ZERO));
        assert_eq!(alive(&mut store, now + HALF_MINUTE), (1, 0, 1));
    }

    #[test]
    fn a_peek_counts_as_a_delivery_and_hides_nothing() {
        let now = Instant::now();
        let mut store = store(now, &["a"]);
        take(&mut store, now, Duration::ZERO);
        assert_eq!(alive(&mut store, now), (1, 0, 1));
        assert_eq!(take(&mut store, now, Duration::ZERO), [(1, 2)]);
    }

    #[test]
    fn messages_never_handed_out_cannot_be_deleted() {
        let now = Instant::now();
        let mut store = store(now, &["a"]);
        for (id, delivery) in [(1, 0), (1, 1), (7, 1)] {
            assert!(!store.delete(now, id, delivery), "{id} {delivery}");
            assert!(!store.update(now, id, delivery, SECOND), "{id} {delivery}");
        }
    }

    #[test]
    fn consuming_takes_the_oldest_ready_ones_only() {
        let now = Instant::now();
        let mut store = store(now, &["a", "bb", "ccc", "dddd"]);
        take(&mut store, now, HALF_MINUTE);
        assert_eq!(store.consume(now, 2), 2);
        assert_eq!(alive(&mut store, now), (1, 1, 5));
        assert_eq!(store.consume(now, 9), 1);
        assert_eq!(alive(&mut store, now), (0, 1, 1));
    }

    #[test]
    fn retention_ends_what_is_ready_in_flight_and_dead() {
        let now = Instant::now();
        let mut store = store(now, &["dead", "b", "c"]);
        store.set_policy(now, Policy { retention: RETENTION, dead_letter_after: 1 });
        put(&mut store, now + SECOND, 4, "d", None);
        take(&mut store, now, Duration::ZERO);
        take(&mut store, now + RETENTION - SECOND, HALF_MINUTE);
        let before = now + RETENTION - SECOND;
        assert_eq!((alive(&mut store, before), dead(&mut store, before)), ((2, 1, 3), (1, 0, 4)));
        let after = now + RETENTION;
        assert_eq!((alive(&mut store, after), dead(&mut store, after)), ((1, 0, 1), (0, 0, 0)));
        assert_eq!(store.next_due(), None);
    }

    #[test]
    fn a_shorter_retention_ends_old_messages_at_once() {
        let now = Instant::now();
        let mut store = store(now, &["a"]);
        let later = now + HALF_MINUTE;
        put(&mut store, later, 2, "b", None);
        store.set_policy(later, Policy { retention: SECOND, dead_letter_after: 0 });
        assert_eq!(alive(&mut store, later), (1, 0, 1));
        assert_eq!(alive(&mut store, later + SECOND), (0, 0, 0));
    }

    #[test]
    fn the_last_delivery_that_is_not_deleted_makes_a_dead_letter() {
        let now = Instant::now();
        let mut store = store(now, &["a"]);
        store.set_policy(now, Policy { retention: RETENTION, dead_letter_after: 2 });
        take(&mut store, now, SECOND);
        assert_eq!(take(&mut store, now + SECOND, SECOND), [(1, 2)]);
        assert_eq!((alive(&mut store, now + SECOND), dead(&mut store, now + SECOND)), ((0, 1, 1), (0, 0, 0)));
        let end = now + 2 * SECOND;
        assert_eq!((alive(&mut store, end), dead(&mut store, end)), ((0, 0, 0), (1, 0, 1)));
        assert!(take(&mut store, end, SECOND).is_empty());
        assert!(!store.delete(end, 1, 2) && !store.update(end, 1, 2, SECOND), "its receipt is void");
    }

    #[test]
    fn channels_are_taken_and_counted_apart() {
        let now = Instant::now();
        let mut store = store(now, &["none"]);
        store.set_policy(now, Policy { retention: RETENTION, dead_letter_after: 1 });
        put(&mut store, now, 2, "bb", Some("b"));
        put(&mut store, now, 3, "a", Some("a"));
        put(&mut store, now, 4, "b", Some("b"));
        assert_eq!(store.channels(now).into_iter().collect::<Vec<_>>(), ["a", "b"]);
        let taken = store.take(now, Some("b"), 1, SECOND);
        assert_eq!((taken.len(), taken[0].0), (1, 2));
        assert_eq!(figures(&store.stats(now, Some("b")).queue), (1, 1, 3));
        let later = now + SECOND;
        let stats = store.stats(later, Some("b"));
        assert_eq!((figures(&stats.queue), figures(&stats.dlq)), ((1, 0, 1), (1, 0, 2)));
        assert_eq!(figures(&store.stats(later, Some("a")).queue), (1, 0, 1));
        assert_eq!(figures(&store.stats(later, Some("c")).queue), (0, 0, 0));
        assert_eq!(alive(&mut store, later), (3, 0, 6));
        store.take(later, Some("b"), 9, Duration::ZERO);
        assert_eq!(store.channels(later).into_iter().collect::<Vec<_>>(), ["a"], "a dead letter fills no channel");
    }
}
