//! One emulated queue: its settings, its consumer groups, and everything that producers and
//! consumers can do to them.
//!
//! The interface for callers without HTTP, like a load script; the operations use the same methods.
//! It adds a lock, receipts and waiting to [`store`](crate::store), which is a state machine.
//! Waiting runs on tokio's clock, the dates on messages come from the injected clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::group::{Description, Group, NoSuchGroup, PRIMARY, Selection};
use crate::message::{Delivery, Message, Stored, Updated};
use crate::queue_id::QueueId;
use crate::receipt::{Receipt, Tag};
use crate::settings::{LONGEST_WAIT, MAX_VISIBILITY, Settings};
use crate::stats::{QueueStats, Stats};
use crate::store::Policy;

/// One queue and its messages.
pub struct EmulatedQueue {
    name: String,
    id: QueueId,
    created_at: Timestamp,
    clock: fn() -> Timestamp,
    tag: Tag,
    /// A std mutex, because it is held for map operations only, never across an await.
    state: Mutex<State>,
    arrived: Notify,
    reads: AtomicU64,
}

struct State {
    settings: Settings,
    last_id: u64,
    /// The primary one first; none ever leaves, so an index stays good.
    groups: Vec<Group>,
}

// === impl EmulatedQueue ===

impl EmulatedQueue {
    pub(crate) fn new(name: String, id: QueueId, settings: Settings, clock: fn() -> Timestamp) -> Self {
        let created_at = clock();
        let primary = Group::new(&id, 0, PRIMARY, created_at);
        let mut state = State { settings: settings.limited(), last_id: 0, groups: vec![primary] };
        state.spread_policy();
        Self {
            name,
            id,
            created_at,
            clock,
            tag: Tag::new(),
            state: Mutex::new(state),
            arrived: Notify::new(),
            reads: AtomicU64::new(0),
        }
    }

    /// Its display name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its OCID.
    pub fn id(&self) -> &QueueId {
        &self.id
    }

    /// How it behaves now.
    pub fn settings(&self) -> Settings {
        self.state.lock().settings.clone()
    }

    /// Changes how it behaves from now on, for the messages that are there too; what is beyond
    /// the limits of the service is set to them. `change` may not use this queue.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        let mut state = self.state.lock();
        change(&mut state.settings);
        state.settings = state.settings.clone().limited();
        state.spread_policy();
    }

    /// Adds a consumer group, or sets whether the one with this name is enabled; [`PRIMARY`] names
    /// the one that always exists.
    pub fn set_group(&self, name: &str, enabled: bool) -> Description {
        let mut state = self.state.lock();
        let known = state.groups.iter().position(|group| group.description.name.eq_ignore_ascii_case(name));
        let index = known.unwrap_or(state.groups.len());
        if known.is_none() {
            state.groups.push(Group::new(&self.id, index, name, (self.clock)()));
            state.spread_policy();
        }
        let description = &mut state.groups[index].description;
        description.enabled = enabled;
        description.clone()
    }

    /// Its consumer groups, the primary one first.
    pub fn groups(&self) -> Vec<Description> {
        self.state.lock().groups.iter().map(|group| group.description.clone()).collect()
    }

    /// When it was made.
    pub(crate) fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Adds messages in this order, to each enabled consumer group, and notifies the consumers that
    /// wait.
    pub fn put<T: Into<Message>>(&self, messages: impl IntoIterator<Item = T>) -> Vec<Stored> {
        // Run the caller's iterator before the lock is held: it may use this queue.
        let messages: Vec<Message> = messages.into_iter().map(Into::into).collect();
        let (now, created_at) = (Instant::now(), (self.clock)());
        let mut state = self.state.lock();
        let expire_after = later(created_at, state.settings.retention);
        let stored =
            messages.into_iter().map(|message| Stored { id: state.put(now, message, created_at), expire_after });
        let stored = stored.collect();
        drop(state);
        self.arrived.notify_waiters();
        stored
    }

    /// Up to `limit` visible messages of the primary group, oldest first, hidden from now on for
    /// `visibility`.
    pub fn take(&self, limit: usize, visibility: Duration) -> Vec<Delivery> {
        // The primary group is always there.
        self.take_from(&Selection::default(), limit, Some(visibility)).unwrap_or_default()
    }

    /// Up to `limit` of these visible messages, oldest first, hidden from now on for
    /// `visibility` (none is the queue's own).
    pub fn take_from(
        &self,
        from: &Selection,
        limit: usize,
        visibility: Option<Duration>,
    ) -> Result<Vec<Delivery>, NoSuchGroup> {
        Ok(self.take_or_due(from, limit, visibility)?.0)
    }

    /// Like [`take_from`](Self::take_from), but waits up to `patience` (none is the queue's own, 30
    /// seconds is the most) for a first message. Dropped while it waits, it has taken nothing.
    pub async fn wait(
        &self,
        from: &Selection,
        limit: usize,
        visibility: Option<Duration>,
        patience: Option<Duration>,
    ) -> Result<Vec<Delivery>, NoSuchGroup> {
        let patience = patience.unwrap_or_else(|| self.settings().timeout);
        let give_up = Instant::now() + patience.min(LONGEST_WAIT);
        loop {
            // Subscribes before it reads, because otherwise it would miss a put between the two.
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            let (taken, due) = self.take_or_due(from, limit, visibility)?;
            if !taken.is_empty() || Instant::now() >= give_up {
                return Ok(taken);
            }
            tokio::select! {
                () = arrived => {}
                () = sleep_until(due.map_or(give_up, |due| due.min(give_up))) => {}
            }
        }
    }

    /// Hides the message that this receipt is for, from now on for `visibility`; `None` where
    /// [`delete`](Self::delete) returns false.
    pub fn update(
        &self,
        group: Option<&str>,
        receipt: &str,
        visibility: Duration,
    ) -> Result<Option<Updated>, NoSuchGroup> {
        let visibility = visibility.min(MAX_VISIBILITY);
        let mut state = self.state.lock();
        let index = state.index_of(group)?;
        let Some(Receipt { message, delivery, .. }) = self.open(receipt, index) else {
            return Ok(None);
        };
        let hidden = state.groups[index].store.update(Instant::now(), message, delivery, visibility);
        drop(state);
        // Sooner than they expect, perhaps.
        self.arrived.notify_waiters();
        Ok(hidden.then(|| Updated { id: message, visible_after: later((self.clock)(), visibility) }))
    }

    /// Removes the message that this receipt is for from this group. Returns false for an unknown
    /// or used receipt, for one of another group, and if the message is dead or has been delivered
    /// again since.
    pub fn delete(&self, group: Option<&str>, receipt: &str) -> Result<bool, NoSuchGroup> {
        let mut state = self.state.lock();
        let index = state.index_of(group)?;
        let receipt = self.open(receipt, index);
        let store = &mut state.groups[index].store;
        Ok(receipt.is_some_and(|receipt| store.delete(Instant::now(), receipt.message, receipt.delivery)))
    }

    /// Takes and deletes up to `limit` visible messages of the primary group in one step; returns
    /// how many there were.
    pub fn consume(&self, limit: usize) -> usize {
        self.state.lock().groups[0].store.consume(Instant::now(), limit)
    }

    /// What GetStats answers for the primary group. Exact, unlike the service's.
    pub fn stats(&self) -> Stats {
        self.state.lock().groups[0].store.stats(Instant::now(), None).queue
    }

    /// What GetStats answers.
    pub fn stats_of(&self, of: &Selection) -> Result<QueueStats, NoSuchGroup> {
        let mut state = self.state.lock();
        let index = state.index_of(of.group.as_deref())?;
        Ok(state.groups[index].store.stats(Instant::now(), of.channel.as_deref()))
    }

    /// The channels that have messages in this group, in alphabetical order.
    pub fn channels(&self, group: Option<&str>) -> Result<BTreeSet<String>, NoSuchGroup> {
        let mut state = self.state.lock();
        let index = state.index_of(group)?;
        Ok(state.groups[index].store.channels(Instant::now()))
    }

    /// How often GetStats was answered with figures over HTTP.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// What can be taken now, and when that may change without a put.
    fn take_or_due(
        &self,
        from: &Selection,
        limit: usize,
        visibility: Option<Duration>,
    ) -> Result<(Vec<Delivery>, Option<Instant>), NoSuchGroup> {
        let mut state = self.state.lock();
        let index = state.index_of(from.group.as_deref())?;
        let visibility = visibility.unwrap_or(state.settings.visibility).min(MAX_VISIBILITY);
        let retention = state.settings.retention;
        let store = &mut state.groups[index].store;
        let taken = store.take(Instant::now(), from.channel.as_deref(), limit, visibility);
        let due = store.next_due();
        drop(state);
        let visible_after = later((self.clock)(), visibility);
        let delivery = |(id, kept): (u64, crate::store::Kept)| Delivery {
            id,
            receipt: Receipt { group: index, message: id, delivery: kept.deliveries }.seal(self.tag),
            message: kept.message,
            delivery_count: kept.deliveries,
            visible_after,
            expire_after: later(kept.created_at, retention),
            created_at: kept.created_at,
        };
        Ok((taken.into_iter().map(delivery).collect(), due))
    }

    /// A receipt of this queue and group.
    fn open(&self, receipt: &str, group: usize) -> Option<Receipt> {
        Receipt::open(receipt, self.tag).filter(|receipt| receipt.group == group)
    }
}

// === impl State ===

impl State {
    fn put(&mut self, now: Instant, message: Message, created_at: Timestamp) -> u64 {
        self.last_id += 1;
        let message = Arc::new(message);
        for group in self.groups.iter_mut().filter(|group| group.description.enabled) {
            group.store.put(now, self.last_id, message.clone(), created_at);
        }
        self.last_id
    }

    fn index_of(&self, group: Option<&str>) -> Result<usize, NoSuchGroup> {
        let Some(id) = group else {
            return Ok(0);
        };
        self.groups.iter().position(|group| group.description.id == id).ok_or(NoSuchGroup)
    }

    fn spread_policy(&mut self) {
        let policy = Policy { retention: self.settings.retention, dead_letter_after: self.settings.dead_letter_after };
        let now = Instant::now();
        self.groups.iter_mut().for_each(|group| group.store.set_policy(now, policy));
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
