//! An OCI Queue service on a loopback port: what `depthgauge emulate` and `demo` run, and what
//! stands in for OCI in tests.
//!
//! Real where it matters to a client: messages are put to channels, delivered to each consumer
//! group, hidden, updated, redelivered, deleted, become dead letters and expire. Lists come in
//! pages, requests must be signed, and failures can be ordered. Not emulated: taking dead letters,
//! filters of consumer groups, consumption limits, and the operations that change queues, which
//! [`setup`] replaces. Memory is the only storage.
//!
//! A request goes [`server`] → [`routes`] → ([`fault`], [`signature`]) → [`operation`] →
//! ([`control_plane`], [`data_plane`]) → [`queue`] → [`group`] → [`store`], and comes back as
//! [`documents`] or [`descriptions`] in an [`answer`] with a [`payload`].
//!
//! The package `depthgauge` depends on this crate and this crate never on it. Both have their own
//! types for what goes over the wire. Otherwise, a mistake in a shared type would be in the client
//! and in what it is tested against.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::net::TcpListener;

mod answer;
mod authorization;
mod control_plane;
mod data_plane;
mod date;
mod descriptions;
mod documents;
pub mod fault;
pub mod group;
pub mod keys;
pub mod message;
pub mod operation;
mod page;
mod parameters;
mod payload;
pub mod profile;
pub mod queue;
pub mod queue_id;
mod receipt;
mod requests;
mod routes;
mod server;
pub mod settings;
mod setup;
mod signature;
pub mod stats;
mod store;
#[cfg(test)]
mod test_util;

use fault::{Fault, FaultSwitch, Rule};
use keys::{KeyRing, VerifyingKey};
use queue::EmulatedQueue;
use queue_id::QueueId;
use settings::Settings;

/// What an emulator is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a message is hidden after its delivery if the consumer does not set it; 30 seconds,
    /// the service's default. At most 12 hours.
    pub visibility: Duration,
    /// How often a message is delivered before it is a dead letter; 0, the service's default, is
    /// without end.
    pub dead_letter_after: u32,
    /// Display name and OCID of each queue. Where two are equal, the first one answers.
    pub queues: Vec<(String, QueueId)>,
    /// The clients: key ID (`tenancy/user/fingerprint`, or `ST$` and a token) and public key.
    pub keys: Vec<(String, VerifyingKey)>,
}

/// The emulator: queues, keys, and the current faults. Clones share all of it.
#[derive(Clone)]
pub struct Emulator {
    shared: Arc<Shared>,
}

struct Shared {
    /// The settings of a queue that has none of its own.
    settings: Settings,
    /// A std lock, because it is held for looking up and changing only.
    queues: RwLock<Vec<Arc<EmulatedQueue>>>,
    keys: KeyRing,
    clock: fn() -> Timestamp,
    fault: FaultSwitch,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        let Settings { visibility, dead_letter_after, .. } = Settings::default();
        Self { visibility, dead_letter_after, queues: Vec::new(), keys: Vec::new() }
    }
}

// === impl Emulator ===

impl Emulator {
    /// An emulator with empty queues. `clock` dates the answers and judges the dates of
    /// requests; time-outs run on tokio's clock.
    pub fn new(options: Options, clock: fn() -> Timestamp) -> Self {
        let Options { visibility, dead_letter_after, queues, keys } = options;
        let settings = Settings { visibility, dead_letter_after, ..Settings::default() };
        let (keys, fault) = (KeyRing::new(keys), FaultSwitch::new());
        let emulator = Self { shared: Arc::new(Shared { settings, queues: RwLock::default(), keys, clock, fault }) };
        for (name, id) in queues {
            emulator.add_queue(&name, &id);
        }
        emulator
    }

    /// The queue of this display name or OCID, to put and take messages without HTTP.
    pub fn queue(&self, name_or_id: &str) -> Option<Arc<EmulatedQueue>> {
        self.find(|queue| queue.name() == name_or_id || queue.id().as_str() == name_or_id)
    }

    /// Adds an empty queue, behind those that are there.
    pub fn add_queue(&self, name: &str, id: &QueueId) -> Arc<EmulatedQueue> {
        let Shared { settings, queues, clock, .. } = &*self.shared;
        let queue = Arc::new(EmulatedQueue::new(name.to_owned(), id.clone(), settings.clone(), *clock));
        queues.write().push(queue.clone());
        queue
    }

    /// Removes a queue with its messages, as if it had never existed; returns whether it existed.
    pub fn remove_queue(&self, id: &QueueId) -> bool {
        let mut queues = self.shared.queues.write();
        let before = queues.len();
        queues.retain(|queue| queue.id() != id);
        queues.len() < before
    }

    /// How many requests [`Fault::Hang`] holds now.
    pub fn held(&self) -> usize {
        self.shared.fault.held()
    }

    /// From now on every signed request meets this fault, and no other; `None` lifts it.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.set_faults(fault.into_iter().map(Rule::from).collect());
    }

    /// From now on these faults happen, and no other; the first that fits a request is the one.
    pub fn set_faults(&self, rules: Vec<Rule>) {
        self.shared.fault.set(rules);
    }

    /// Serves plain HTTP/1.1 until `shutdown` completes, then frees the port, ends what is in
    /// flight (two seconds at most) and returns. The messages stay: a later call with a new
    /// listener goes on where this one stopped.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        server::serve(self, listener, shutdown).await
    }

    /// All queues, in the order in which they were added.
    pub fn queues(&self) -> Vec<Arc<EmulatedQueue>> {
        self.shared.queues.read().clone()
    }

    pub(crate) fn queue_with_id(&self, id: &str) -> Option<Arc<EmulatedQueue>> {
        self.find(|queue| queue.id().as_str() == id)
    }

    fn find(&self, wanted: impl Fn(&EmulatedQueue) -> bool) -> Option<Arc<EmulatedQueue>> {
        let queues = self.shared.queues.read();
        queues.iter().find(|queue| wanted(queue)).cloned()
    }
}

#[cfg(test)]
mod tests;
