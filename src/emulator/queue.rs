//! One emulated queue: its name, its messages, and everything a consumer can do to them.
//!
//! The way in for those without HTTP, like a load script; `routes` uses the same methods. Adds
//! to [`store`](super::store) what a state machine has not: a lock, receipts, and waiting.
//! Waiting runs on tokio's clock, the dates on messages come from the injected clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::store::{RETENTION, Store};
use crate::oci::queue::{QueueId, Stats};

/// The longest visibility time-out, the service's own limit: 12 hours. Also what keeps
/// "now + visibility" within what an [`Instant`] can hold.
pub(crate) const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60);

/// The longest wait for a message, and what an unstated one means: the service's 30 seconds.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// One queue and its messages.
pub struct EmulatedQueue {
    name: String,
    id: QueueId,
    created_at: Timestamp,
    visibility: Duration,
    clock: fn() -> Timestamp,
    /// Part of every receipt, so that one of another queue, or of an earlier run, opens nothing.
    tag: u64,
    /// A std mutex, because it is held for map operations only, never across an await.
    store: Mutex<Store>,
    arrived: Notify,
    reads: AtomicU64,
}

/// A message that was put.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its id.
    pub id: u64,
    /// When it is dropped if nobody deletes it.
    pub expire_after: Timestamp,
}

/// A message as one consumer gets it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message's id, the same at every delivery.
    pub id: u64,
    /// Its text.
    pub content: Arc<str>,
    /// What deletes it; void once the message has been delivered again.
    pub receipt: String,
    /// How often it was delivered, this time included.
    pub delivery_count: u32,
    /// When it becomes visible again.
    pub visible_after: Timestamp,
    /// When it is dropped if nobody deletes it.
    pub expire_after: Timestamp,
    /// When it was put.
    pub created_at: Timestamp,
}

// === impl EmulatedQueue ===

impl EmulatedQueue {
    pub(crate) fn new(name: String, id: QueueId, visibility: Duration, clock: fn() -> Timestamp) -> Self {
        Self {
            name,
            id,
            created_at: clock(),
            visibility: visibility.min(MAX_VISIBILITY),
            clock,
            tag: fastrand::u64(..),
            store: Mutex::default(),
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

    /// How long a message is hidden when the consumer does not say.
    pub fn visibility(&self) -> Duration {
        self.visibility
    }

    /// When it was made, which is when the emulator was.
    pub(crate) fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Adds messages in this order and wakes the consumers that wait.
    pub fn put<T: Into<String>>(&self, contents: impl IntoIterator<Item = T>) -> Vec<Stored> {
        // Run the caller's iterator before the lock is held: it may use this queue.
        let contents: Vec<String> = contents.into_iter().map(Into::into).collect();
        let (now, created_at) = (Instant::now(), (self.clock)());
        let expire_after = later(created_at, RETENTION);
        let mut store = self.lock();
        let stored = contents
            .into_iter()
            .map(|content| Stored { id: store.put(now, content, created_at), expire_after })
            .collect();
        drop(store);
        self.arrived.notify_waiters();
        stored
    }

    /// Up to `limit` visible messages, oldest first, hidden from now on for `visibility`.
    pub fn take(&self, limit: usize, visibility: Duration) -> Vec<Delivery> {
        self.take_or_due(limit, visibility).0
    }

    /// Like [`take`](Self::take), but waits up to `patience`, 30 seconds at most, for a first
    /// message. Dropped while it waits, it has taken nothing.
    pub async fn wait(&self, limit: usize, visibility: Duration, patience: Duration) -> Vec<Delivery> {
        let give_up = Instant::now() + patience.min(LONGEST_WAIT);
        loop {
            // Listens before it looks, or it would sleep through a put between the two.
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            let (taken, due) = self.take_or_due(limit, visibility);
            if !taken.is_empty() || Instant::now() >= give_up {
                return taken;
            }
            tokio::select! {
                () = arrived => {}
                () = sleep_until(due.map_or(give_up, |due| due.min(give_up))) => {}
            }
        }
    }

    /// Removes the message that this receipt is for; false for an unknown or used one, and
    /// when the message has been delivered again since.
    pub fn delete(&self, receipt: &str) -> bool {
        self.open(receipt).is_some_and(|(id, delivery)| self.lock().delete(Instant::now(), id, delivery))
    }

    /// Takes and deletes up to `limit` visible messages in one step; says how many there were.
    pub fn consume(&self, limit: usize) -> usize {
        self.lock().consume(Instant::now(), limit)
    }

    /// What GetStats answers for the queue itself. Exact, unlike the service's.
    pub fn stats(&self) -> Stats {
        self.lock().stats(Instant::now())
    }

    /// How often GetStats was answered with figures over HTTP.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// What can be taken now, and when that may change without a put.
    fn take_or_due(&self, limit: usize, visibility: Duration) -> (Vec<Delivery>, Option<Instant>) {
        let visibility = visibility.min(MAX_VISIBILITY);
        let visible_after = later((self.clock)(), visibility);
        let mut store = self.lock();
        let taken = store.take(Instant::now(), limit, visibility);
        let due = store.next_due();
        drop(store);
        let deliveries = taken
            .into_iter()
            .map(|(id, message)| Delivery {
                id,
                receipt: self.receipt(id, message.deliveries),
                delivery_count: message.deliveries,
                visible_after,
                expire_after: later(message.created_at, RETENTION),
                created_at: message.created_at,
                content: message.content,
            })
            .collect();
        (deliveries, due)
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // No step of the store panics half way, so what a panicking holder left is sound.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receipt(&self, id: u64, delivery: u32) -> String {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.tag.to_be_bytes());
        bytes[8..16].copy_from_slice(&id.to_be_bytes());
        bytes[16..].copy_from_slice(&delivery.to_be_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The message and the delivery that a receipt of this queue is for.
    fn open(&self, receipt: &str) -> Option<(u64, u32)> {
        let bytes: [u8; 20] = BASE64_URL_SAFE_NO_PAD.decode(receipt).ok()?.try_into().ok()?;
        let id = bytes[8..16].iter().fold(0, |id, byte| id << 8 | u64::from(*byte));
        let delivery = bytes[16..].iter().fold(0, |count, byte| count << 8 | u32::from(*byte));
        (bytes[..8] == self.tag.to_be_bytes()).then_some((id, delivery))
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::test_util;

    const SECOND: Duration = Duration::from_secs(1);
    const HALF_MINUTE: Duration = Duration::from_secs(30);

    fn queue() -> EmulatedQueue {
        EmulatedQueue::new("orders".to_owned(), test_util::queue_id(), HALF_MINUTE, test_util::clock)
    }

    #[test]
    fn a_receipt_opens_its_own_queue_only() {
        let (one, other) = (queue(), queue());
        one.put(["a"]);
        other.put(["a"]);
        let receipt = one.take(1, HALF_MINUTE)[0].receipt.clone();
        other.take(1, HALF_MINUTE);
        for wrong in ["", "AAAA", "!", &receipt[1..], &format!("{receipt}=="), &"A".repeat(27)] {
            assert!(!one.delete(wrong), "{wrong}");
        }
        assert!(!other.delete(&receipt));
        assert!(one.delete(&receipt));
        assert!(!one.delete(&receipt));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_gives_up_after_its_patience() {
        let (queue, start) = (queue(), Instant::now());
        assert!(queue.wait(1, HALF_MINUTE, 5 * SECOND).await.is_empty());
        assert_eq!(start.elapsed().as_secs(), 5);
        assert!(queue.wait(1, HALF_MINUTE, Duration::ZERO).await.is_empty());
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_put_wakes_those_who_wait_and_one_of_them_gets_it() {
        let (queue, start) = (queue(), Instant::now());
        let put_later = async {
            sleep_until(start + SECOND).await;
            queue.put(["a"]);
        };
        let wait = || queue.wait(1, HALF_MINUTE, 5 * SECOND);
        let (one, other, ()) = tokio::join!(wait(), wait(), put_later);
        assert_eq!((one.len(), other.len()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_becomes_visible_again_ends_the_wait() {
        let (queue, start) = (queue(), Instant::now());
        queue.put(["a"]);
        assert_eq!(queue.take(1, 3 * SECOND)[0].delivery_count, 1);
        let again = queue.wait(1, HALF_MINUTE, HALF_MINUTE).await;
        assert_eq!((again[0].delivery_count, start.elapsed().as_secs()), (2, 3));
    }

    #[test]
    fn dates_come_from_the_clock() {
        let queue = queue();
        let stored = queue.put(["a"]);
        let taken = queue.take(1, HALF_MINUTE).remove(0);
        assert_eq!(taken.created_at, test_util::clock());
        assert_eq!(taken.visible_after.duration_since(taken.created_at).as_secs(), 30);
        assert_eq!(taken.expire_after.duration_since(taken.created_at).as_secs(), 86_400);
        assert_eq!((stored[0].id, stored[0].expire_after), (taken.id, taken.expire_after));
    }
}
