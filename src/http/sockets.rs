//! A limit on the sockets of all clients of the process, for a process that may open few files. Otherwise
//! connections to hosts that hang, or idle ones to many hosts, take the descriptors that the listeners need.

use std::sync::OnceLock;

use tokio::sync::{Semaphore, SemaphorePermit};

static SOCKETS: OnceLock<Semaphore> = OnceLock::new();

/// Limits the requests in flight to this number, and closes each connection after its request. Call it once, before
/// a client is made.
pub fn limit(requests: usize) {
    // A second call has no effect.
    let _ = SOCKETS.set(Semaphore::new(requests));
}

/// Whether there is a limit.
pub(super) fn are_few() -> bool {
    SOCKETS.get().is_some()
}

/// Waits for the right to have a request in flight, if there is a limit.
pub(super) async fn take() -> Option<SemaphorePermit<'static>> {
    SOCKETS.get()?.acquire().await.ok()
}
