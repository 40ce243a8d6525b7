//! A limit on the sockets of all clients of the process, for a process that may open few files. Otherwise
//! connections to hosts that hang, or idle ones to many hosts, take the descriptors that the listeners need.
//!
//! Requests wait for their sockets round-robin over hosts, and one host gets half of the sockets. So requests to a
//! host that hangs keep no other host waiting.

use std::sync::{Arc, OnceLock};

use crate::upstream::Permits;

static SOCKETS: OnceLock<Arc<Permits>> = OnceLock::new();

/// Limits the requests in flight to this number, and closes each connection after its request. Call it once, before
/// a client is made.
pub fn limit(requests: usize) {
    // A second call has no effect.
    let _ = SOCKETS.set(Arc::new(Permits::new(requests)));
}

/// Whether there is a limit.
pub(super) fn are_few() -> bool {
    SOCKETS.get().is_some()
}

/// The permits of the requests in flight, if there is a limit.
pub(super) fn permits() -> Option<Arc<Permits>> {
    SOCKETS.get().cloned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(3);

    /// As a request that its host does not answer.
    async fn hang(permits: &Arc<Permits>, by: Instant) -> Option<()> {
        let _permit = permits.acquire_in_time("hangs", by).await?;
        tokio::time::sleep_until(by).await;
        Some(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_hangs_keeps_no_other_one_waiting() {
        let permits = Arc::new(Permits::new(8));
        let hanging = async {
            loop {
                let by = Instant::now() + TIMEOUT;
                let ended = join_all((0..20).map(|_| hang(&permits, by))).await;
                assert_eq!(ended.iter().flatten().count(), 4, "half of the permits");
            }
        };
        let healthy = async {
            for _ in 0..100 {
                let began = Instant::now();
                let _permit = permits.acquire_in_time("answers", began + TIMEOUT).await.unwrap();
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
}
