//! How many parts of sources can be read at a time.

/// Parts of all sources together: what 200 requests a second (the default of
/// `maxRequestsPerSecond`) keep fresh every 5 s. A client that may read a source can make up names,
/// so there has to be a limit.
pub(super) const PARTS_MAX: usize = 1000;
/// Parts of one source: a quarter of all, so that one source can't take the capacity of the others,
/// and as many channels as a queue is documented to have at most.
pub(super) const PARTS_PER_SOURCE: usize = 256;
