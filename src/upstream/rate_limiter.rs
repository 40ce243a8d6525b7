//! How fast a service is queried: so many requests a second, one after the other.
//!
//! A read waits for its turn, and its deadline begins with the turn. With more reads than turns
//! every value is read less often, and none times out because of it. Spacing has a second use: what
//! a request costs here (an RSA signature takes 0.7 ms of one core, so that a core is full at some
//! 1,400 a second) comes one by one, so that it delays an answer by one signature at most.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// What turns may catch up on: the timer fires up to a millisecond late, on a busy machine later.
const SLIP: Duration = Duration::from_millis(10);
/// A wait that is worth a line in the log: what an answer may be older than `refresh` anyway.
const LONG: Duration = Duration::from_secs(1);
/// A wait that counts as none: below it the reads fit again.
const SHORT: Duration = Duration::from_millis(100);

/// Gives turns.
#[derive(Debug)]
pub(super) struct RateLimiter {
    interval: Duration,
    /// Names the setting in the log.
    key: String,
    /// Non-urgent waiters queue here first: at most one of them competes with urgent waiters.
    calm: Mutex<()>,
    turns: Mutex<Turns>,
    /// When the next turn is.
    next: parking_lot::Mutex<Instant>,
}

#[derive(Debug, Default)]
struct Turns {
    throttled: bool,
}

// === impl RateLimiter ===

impl RateLimiter {
    pub(super) fn new(per_second: u32, key: String) -> Self {
        let (interval, next) = (Duration::from_secs(1) / per_second.max(1), parking_lot::Mutex::new(Instant::now()));
        Self { interval, key, calm: Mutex::default(), turns: Mutex::default(), next }
    }

    /// Whether a read waits that is not urgent.
    pub(super) fn is_saturated(&self) -> bool {
        self.calm.try_lock().is_err()
    }

    /// Waits for a turn, first come, first served; `urgent` ones go first. Returns how long it took.
    pub(super) async fn admit(&self, urgent: bool) -> Duration {
        let began = Instant::now();
        let _place = if urgent { None } else { Some(self.calm.lock().await) };
        let mut turns = self.turns.lock().await;
        let now = loop {
            let (next, now) = (self.next(), Instant::now());
            if next <= now {
                break now;
            }
            // It may be charged to a request that does not wait meanwhile.
            tokio::time::sleep_until(next).await;
        };
        self.charge();
        let waited = now - began;
        if !urgent {
            turns.report(waited.saturating_sub(self.interval), &self.key);
        }
        waited
    }

    /// Takes a turn without waiting, for a further request of a read that waited for one. Later reads
    /// wait for it: the deadline of a read is no time to stand in a queue.
    pub(super) fn charge(&self) {
        let mut next = self.next.lock();
        *next = Instant::now().checked_sub(SLIP).map_or(*next, |past| (*next).max(past)) + self.interval;
    }

    fn next(&self) -> Instant {
        *self.next.lock()
    }
}

// === impl Turns ===

impl Turns {
    /// One line when reads begin to wait for longer than the time from one turn to the next, and one
    /// when they no longer do.
    fn report(&mut self, waited: Duration, key: &str) {
        if !self.throttled && waited >= LONG {
            self.throttled = true;
            tracing::warn!(?waited, "more reads than `{key}` allows: values are read less often than `refresh` says");
        } else if self.throttled && waited < SHORT {
            self.throttled = false;
            tracing::info!("reads fit into `{key}` again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_keep_the_rate() {
        let (limiter, began) = (RateLimiter::new(200, String::new()), Instant::now());
        futures_util::future::join_all((0..1001).map(|_| limiter.admit(false))).await;
        let took = began.elapsed();
        assert!((Duration::from_millis(4980)..=Duration::from_millis(5010)).contains(&took), "{took:?}");
        // Unused turns are not saved up.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let began = Instant::now();
        futures_util::future::join_all((0..201).map(|_| limiter.admit(false))).await;
        assert!(began.elapsed() >= Duration::from_millis(980), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn reads_wait_for_what_was_charged() {
        let (limiter, began) = (RateLimiter::new(10, String::new()), Instant::now());
        for _ in 0..20 {
            limiter.admit(false).await;
            limiter.charge();
            limiter.charge();
        }
        limiter.admit(true).await;
        let took = began.elapsed();
        assert!((Duration::from_millis(5970)..=Duration::from_millis(6010)).contains(&took), "{took:?}");
        // Also for what is charged while they wait.
        let waiting = tokio::spawn({
            let limiter = Arc::new(limiter);
            let charged = limiter.clone();
            async move { tokio::join!(limiter.admit(false), async move { charged.charge() }).0 }
        });
        assert!(waiting.await.unwrap() >= Duration::from_millis(180));
    }

    #[tokio::test(start_paused = true)]
    async fn urgent_reads_go_first() {
        let limiter = Arc::new(RateLimiter::new(10, String::new()));
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                tokio::spawn({
                    let limiter = limiter.clone();
                    async move { limiter.admit(false).await }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(limiter.is_saturated());
        assert!(limiter.admit(true).await <= Duration::from_millis(300));
        let mut longest = Duration::ZERO;
        for turn in waiting {
            longest = longest.max(turn.await.unwrap());
        }
        assert!(longest >= Duration::from_secs(9), "{longest:?}");
        assert!(!limiter.is_saturated());
        assert!(limiter.turns.lock().await.throttled);
        limiter.admit(false).await;
        assert!(!limiter.turns.lock().await.throttled);
    }
}
