//! How much may be requested at a time. Each limit is shared by the namespaces, see [`super::shares`].

/// The most items of an answer. More are a mistake in the selector, and cost other requests time.
pub(super) const ITEMS_MAX: usize = 1000;
/// Sources of one list: as many as a namespace of Service Bus can have queues. Each takes some three kilobytes.
pub(super) const MEMBERS_MAX: usize = 10_000;
/// Parts of all sources together: what 200 requests a second (the default of
/// `maxRequestsPerSecond`) keep fresh every 5 s. A client that may read a source can make up names,
/// so there has to be a limit. It is also the limit of one answer.
pub(super) const PARTS_MAX: usize = 1000;
/// Parts of one source that one selector may name: as many channels as a queue is documented to have
/// at most.
pub(super) const PARTS_PER_SELECTOR: usize = 256;
/// Activations of one reading. An HPA has one threshold, and a team that tries some out has a few.
/// Each is evaluated at every read.
pub(super) const ACTIVATIONS_PER_READING: usize = 16;
/// Consumers that are listed for one reading: more than a page shows.
pub(super) const CONSUMERS_PER_READING: usize = 16;
/// Namespaces that are kept for one reading, so that its reads take their turns. With more of them,
/// the last ones: each of them needs the same read.
pub(super) const OWNERS_PER_READING: usize = 16;
