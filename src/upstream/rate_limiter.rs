//! Limits the requests per second to a service. Turns are evenly spaced and go round-robin over the owners
//! of reads.
//!
//! A read waits for its turn, and its deadline begins with the turn. With more reads than turns, every
//! value is read less often, and no read times out because of it. Spacing also spreads the CPU cost of
//! requests. An RSA signature takes 0.7 ms of one core, so a core is saturated at about 1,400 a second.
//! With spacing, an answer is delayed by at most one signature.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::line::{Line, least};

/// How much turns may catch up: the timer fires up to a millisecond late, and later on a machine
/// under load.
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
    /// One of the waiting reads holds this, and hands out the turns until it has its own.
    dispenser: Mutex<()>,
    state: parking_lot::Mutex<State>,
}

#[derive(Debug)]
struct State {
    line: Line<()>,
    /// When the next turn is.
    next: Instant,
    /// Whether reads wait for long, as reported in the log.
    throttled: bool,
}

// === impl RateLimiter ===

impl RateLimiter {
    pub(super) fn new(per_second: u32, key: String) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let state = State { line: Line::default(), next: Instant::now(), throttled: false };
        Self { interval, key, dispenser: Mutex::default(), state: state.into() }
    }

    /// Whether reads that are not urgent wait in the line where a read of these owners would wait.
    pub(super) fn is_saturated(&self, owners: &[&str]) -> bool {
        let line = &self.state.lock().line;
        line.is_saturated(least(owners, |owner| line.waiting(owner)))
    }

    /// Adds up how many reads of each owner wait.
    pub(super) fn count(&self, owners: &mut BTreeMap<String, usize>) {
        for (owner, waiting) in self.state.lock().line.owners() {
            *owners.entry(owner.to_owned()).or_default() += waiting;
        }
    }

    /// Waits for a turn, see [`Line`]. A read of several owners waits among the reads of the one that
    /// has the fewest. Returns how long it took.
    pub(super) async fn admit(&self, owners: &[&str], urgent: bool) -> Duration {
        let began = Instant::now();
        let mut turn = {
            let line = &mut self.state.lock().line;
            let owner = least(owners, |owner| line.waiting(owner));
            line.push(owner, urgent)
        };
        tokio::select! {
            biased;
            // The sender is in the line, so it sends.
            _ = &mut turn => {}
            () = self.grant() => {}
        }
        let waited = began.elapsed();
        if !urgent {
            self.report(waited.saturating_sub(self.interval));
        }
        waited
    }

    /// One line in the log when reads begin to be throttled, and one when they no longer are.
    fn report(&self, waited: Duration) {
        let (change, key) = (self.state.lock().throttles(waited), &self.key);
        match change {
            Some(true) => {
                tracing::warn!(
                    ?waited,
                    "more reads than `{key}` allows: values are read less often than `refresh` says"
                );
            }
            Some(false) => tracing::info!("reads fit into `{key}` again"),
            None => {}
        }
    }

    /// Hands out turns, when no other read does. Ends only when it is dropped, which is when the read
    /// that runs it has its own turn.
    async fn grant(&self) {
        let _dispenser = self.dispenser.lock().await;
        loop {
            let next = self.state.lock().next;
            if next > Instant::now() {
                // It may be charged to a request that does not wait meanwhile.
                tokio::time::sleep_until(next).await;
                continue;
            }
            let waiting = self.state.lock().line.next(|_| true);
            let Some((_, turn)) = waiting else {
                // The read that runs this has its turn.
                return std::future::pending().await;
            };
            // Unless it has just stopped waiting.
            if turn.send(()).is_ok() {
                self.charge();
            }
        }
    }

    /// Takes a turn without waiting, for a further request of a read that waited for one. Later reads
    /// wait for it: a read whose deadline is running must not wait in a queue.
    pub(super) fn charge(&self) {
        let next = &mut self.state.lock().next;
        *next = Instant::now().checked_sub(SLIP).map_or(*next, |past| (*next).max(past)) + self.interval;
    }
}

// === impl State ===

impl State {
    /// Whether reads are throttled, if that changes now. It begins when reads wait for longer than the
    /// time from one turn to the next, and ends when they no longer do. A short wait of one owner does
    /// not end it while others wait.
    fn throttles(&mut self, waited: Duration) -> Option<bool> {
        let throttled = match self.throttled {
            false => waited >= LONG,
            true => waited >= SHORT || !self.line.is_empty(),
        };
        let changes = std::mem::replace(&mut self.throttled, throttled) != throttled;
        changes.then_some(throttled)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_keep_the_rate() {
        let (limiter, began) = (RateLimiter::new(200, String::new()), Instant::now());
        futures_util::future::join_all((0..1001).map(|_| limiter.admit(&[], false))).await;
        let took = began.elapsed();
        assert!((Duration::from_millis(4980)..=Duration::from_millis(5010)).contains(&took), "{took:?}");
        // Unused turns are not saved up.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let began = Instant::now();
        futures_util::future::join_all((0..201).map(|_| limiter.admit(&[], false))).await;
        assert!(began.elapsed() >= Duration::from_millis(980), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn reads_wait_for_what_was_charged() {
        let (limiter, began) = (RateLimiter::new(10, String::new()), Instant::now());
        for _ in 0..20 {
            limiter.admit(&[], false).await;
            limiter.charge();
            limiter.charge();
        }
        limiter.admit(&[], true).await;
        let took = began.elapsed();
        assert!((Duration::from_millis(5970)..=Duration::from_millis(6010)).contains(&took), "{took:?}");
        // Also for what is charged while they wait.
        let waiting = tokio::spawn({
            let limiter = Arc::new(limiter);
            let charged = limiter.clone();
            async move { tokio::join!(limiter.admit(&[], false), async move { charged.charge() }).0 }
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
                    async move { limiter.admit(&[], false).await }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(limiter.is_saturated(&[]));
        assert!(limiter.admit(&[], true).await <= Duration::from_millis(300));
        let mut longest = Duration::ZERO;
        for turn in waiting {
            longest = longest.max(turn.await.unwrap());
        }
        assert!(longest >= Duration::from_secs(9), "{longest:?}");
        assert!(!limiter.is_saturated(&[]));
        assert!(limiter.state.lock().throttled);
        limiter.admit(&[], false).await;
        assert!(!limiter.state.lock().throttled);
    }

    /// Waits for a turn as a task of its own.
    fn waiting(limiter: &Arc<RateLimiter>, owners: &'static [&'static str]) -> tokio::task::JoinHandle<Duration> {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.admit(owners, false).await })
    }

    #[tokio::test(start_paused = true)]
    async fn owners_take_turns() {
        let limiter = Arc::new(RateLimiter::new(10, String::new()));
        let mut of_b: Vec<_> = (0..100).map(|_| waiting(&limiter, &["b"])).collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(limiter.is_saturated(&["b"]) && !limiter.is_saturated(&["a"]));
        // What two owners share waits among the reads of the one that has fewer.
        assert!(!limiter.is_saturated(&["b", "a"]));
        for owners in [&["a"][..], &["b", "a"]] {
            let waited = limiter.admit(owners, false).await;
            assert!(waited <= Duration::from_millis(300), "{owners:?}: {waited:?}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        limiter.admit(&["a"], false).await;
        assert!(limiter.state.lock().throttled, "other owners wait");
        // Reads that no longer wait take no turns, and one of them may have handed out the turns.
        for gone in of_b.drain(..90) {
            gone.abort();
        }
        let waited = limiter.admit(&["b"], false).await;
        assert!(waited <= Duration::from_millis(1200), "{waited:?}");
    }
}
