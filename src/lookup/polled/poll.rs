//! What can be polled, and the right to read it.

use std::time::Duration;

use tokio::time::Instant;

use crate::metric::Namespace;
use crate::source::SourceError;

/// Something that can be read again and again.
pub(in crate::lookup) trait Poll: Send + Sync + Sized + 'static {
    /// What a good read brings.
    type Value: Clone + Send;
    /// What is kept beside the value, under the same lock.
    type Notes: Default + Send;
    /// The right to read, held until the read has ended.
    type Permit: Send;

    /// As it appears in an error message: `queue "orders"`.
    fn title(&self) -> &str;

    /// As it appears in the log, which may name more.
    fn log_title(&self) -> &str {
        self.title()
    }

    /// The namespaces for which it is read. Turns go round-robin over them.
    fn owners(&self, notes: &Self::Notes, now: Instant) -> Vec<Namespace>;

    /// Waits until the service may be read; the deadline of the read begins afterwards. `urgent`:
    /// there is nothing to serve.
    fn admit(&self, owners: &[Namespace], urgent: bool) -> impl Future<Output = Admission<Self::Permit>> + Send;

    /// Whether reads of these owners already wait for admission.
    fn is_saturated(&self, owners: &[Namespace]) -> bool;

    /// Reads, and gives up at the deadline.
    fn read(&self, by: Instant) -> impl Future<Output = Result<Self::Value, SourceError>> + Send;

    /// When what is in this value was read, if that was not now.
    fn began(_value: &Self::Value) -> Option<Instant> {
        None
    }

    /// When the oldest part of this value was read, if it may be of an earlier read.
    fn oldest(_value: &Self::Value) -> Option<Instant> {
        None
    }

    /// Takes note of a good read.
    fn note(&self, _notes: &mut Self::Notes, _value: &Self::Value, _began: Instant) {}

    /// Drops what becomes untrue while nothing is read.
    fn rest(_notes: &mut Self::Notes) {}

    /// Takes over what the same thing, read in another way, has noted.
    fn inherit(_notes: &mut Self::Notes, _before: &Self::Notes) {}
}

/// The right to read now.
pub(in crate::lookup) struct Admission<P> {
    /// How much later than wanted, because more reads are due than the service may be sent.
    pub(in crate::lookup) waited: Duration,
    /// Held until the read has ended.
    pub(in crate::lookup) permit: P,
}
