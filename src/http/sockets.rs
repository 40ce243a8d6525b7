//! A limit on the sockets of all clients of the process, for a process that may open few files. Otherwise
//! connections to hosts that hang, or idle ones to many hosts, take the descriptors that the listeners need.
//!
//! Requests wait for their sockets round-robin over hosts, and one host gets half of the sockets. So requests to a
//! host that hangs keep no other host waiting.

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

use super::error::Fault;
use crate::upstream::{Place, Places};

static SOCKETS: OnceLock<Arc<Places>> = OnceLock::new();

/// Limits the requests in flight to this number, and closes each connection after its request. Call it once, before
/// a client is made.
pub fn limit(requests: usize) {
    // A second call has no effect.
    let _ = SOCKETS.set(Arc::new(Places::new(requests)));
}

/// Whether there is a limit.
pub(super) fn are_few() -> bool {
    SOCKETS.get().is_some()
}

/// The places of the requests in flight, if there is a limit.
pub(super) fn places() -> Option<Arc<Places>> {
    SOCKETS.get().cloned()
}

/// Waits for the right to have a request in flight. The wait takes at most half of the time until the deadline.
/// Otherwise the request would time out after it, and a host that answers would count as one that does not.
pub(super) async fn take(places: &Arc<Places>, owner: &str, by: Instant) -> Result<Place, Fault> {
    let now = Instant::now();
    let latest = now + by.saturating_duration_since(now) / 2;
    let taken = tokio::time::timeout_at(latest, places.take(&[owner], false)).await;
    taken.ok().flatten().ok_or(Fault::NoSocket)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(3);

    /// As a request that its host does not answer.
    async fn hang(places: &Arc<Places>, by: Instant) -> Result<(), Fault> {
        let _place = take(places, "hangs", by).await?;
        tokio::time::sleep_until(by).await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_hangs_keeps_no_other_one_waiting() {
        let places = Arc::new(Places::new(8));
        let hanging = async {
            loop {
                let by = Instant::now() + TIMEOUT;
                let ended = join_all((0..20).map(|_| hang(&places, by))).await;
                let (sent, unsent) = ended.iter().partition::<Vec<_>, _>(|ended| ended.is_ok());
                assert_eq!((sent.len(), unsent.len()), (4, 16), "half of the places");
                assert!(unsent.iter().all(|ended| matches!(ended, Err(Fault::NoSocket))));
            }
        };
        let healthy = async {
            for _ in 0..100 {
                let began = Instant::now();
                let _place = take(&places, "answers", began + TIMEOUT).await.unwrap();
                assert_eq!(began.elapsed(), Duration::ZERO);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            biased;
            () = hanging => {}
            () = healthy => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_half_of_its_time_for_the_response() {
        let places = Arc::new(Places::new(1));
        let held = take(&places, "a", Instant::now() + TIMEOUT).await.unwrap();
        let began = Instant::now();
        assert!(matches!(take(&places, "b", began + TIMEOUT).await, Err(Fault::NoSocket)));
        assert_eq!(began.elapsed(), TIMEOUT / 2);
        drop(held);
        assert!(take(&places, "b", Instant::now()).await.is_ok(), "a free place needs no time");
    }
}
