//! The messages of one consumer group as a state machine: ready, in flight, dead, gone.
//!
//! Every step takes the moment at which it happens, and first applies whatever fell due since the
//! last one. Nothing here waits, locks, or uses receipts and HTTP: that is [`queue`](crate::queue),
//! its only caller except for [`group`](crate::group), which names it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::message::Message;
use crate::stats::QueueStats;

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

/// What becomes of messages that are not deleted.
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

    /// Hides a message for `visibility` from now on, if `delivery` was its latest; returns whether
    /// it was.
    pub(crate) fn update(&mut self, now: Instant, id: u64, delivery: u32, visibility: Duration) -> bool {
        let latest = self.is_latest(now, id, delivery);
        if latest {
            self.hide(id, now + visibility);
        }
        latest
    }

    /// Removes a message permanently, if `delivery` was its latest; returns whether it was.
    pub(crate) fn delete(&mut self, now: Instant, id: u64, delivery: u32) -> bool {
        let latest = self.is_latest(now, id, delivery);
        if latest {
            self.remove(id);
        }
        latest
    }

    /// Removes up to `limit` ready messages permanently, oldest first; returns how many there were.
    pub(crate) fn consume(&mut self, now: Instant, limit: usize) -> usize {
        let ids = self.oldest(now, None, limit);
        ids.iter().for_each(|id| self.remove(*id));
        ids.len()
    }

    /// Exact, unlike the service's own. Counted each time: it takes as long as there are
    /// messages, a millisecond for some ten thousand.
    pub(crate) fn stats(&mut self, now: Instant, channel: Option<&str>) -> QueueStats {
        self.settle(now);
        let mut stats = QueueStats::default();
        for kept in self.messages.values().filter(|kept| kept.is_in(channel)) {
            let part = if kept.place == Place::Dead { &mut stats.dlq } else { &mut stats.queue };
            // Dead letters cannot be taken here, so none is ever in flight.
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

    /// When the next message in flight becomes visible again, if it is not deleted.
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
mod tests;
