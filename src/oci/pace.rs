//! How fast the service is asked: so many requests a second, one after the other.
//!
//! Whoever wants to read waits for a turn, and the deadline of the read begins with the turn: with
//! more readers than turns everybody reads less often, and nobody times out for it. Spacing has a
//! second use. A signature is most of what a read costs here (0.7 ms of one core with 2048 bits,
//! so that a core is full at some 1,400 reads a second); signatures that come one by one delay
//! an answer by one of them at most, and need no threads of their own.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// What turns may catch up on: the timer wakes up to a millisecond late, a busy machine later.
const SLIP: Duration = Duration::from_millis(10);
/// A wait that is told of: what an answer may be older than `refresh` anyway.
const LONG: Duration = Duration::from_secs(1);
/// A wait that is none: below it the turns are said to do again.
const SHORT: Duration = Duration::from_millis(100);

/// Gives turns.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// Where those wait who have something to go on with, so that one at most is in the way of
    /// those who have nothing.
    calm: Mutex<()>,
    turns: Mutex<Turns>,
    /// When the next turn is.
    next: std::sync::Mutex<Instant>,
}

#[derive(Debug, Default)]
struct Turns {
    stretched: bool,
}

// === impl Pace ===

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        let (interval, next) = (Duration::from_secs(1) / per_second.max(1), std::sync::Mutex::new(Instant::now()));
        Self { interval, calm: Mutex::default(), turns: Mutex::default(), next }
    }

    /// Whether somebody waits who has something to go on with.
    pub(super) fn is_busy(&self) -> bool {
        self.calm.try_lock().is_err()
    }

    /// Waits for a turn, in the order of asking; whoever is `urgent` goes first. How long it took.
    pub(super) async fn turn(&self, urgent: bool) -> Duration {
        let asked = Instant::now();
        let _place = if urgent { None } else { Some(self.calm.lock().await) };
        let mut turns = self.turns.lock().await;
        let now = loop {
            let (next, now) = (self.next(), Instant::now());
            if next <= now {
                break now;
            }
            // Others may take it meanwhile.
            tokio::time::sleep_until(next).await;
        };
        self.take();
        let waited = now - asked;
        if !urgent {
            turns.tell(waited.saturating_sub(self.interval));
        }
        waited
    }

    /// Takes a turn without waiting, for a request more than the read that waited for one; those who
    /// wait do so for it. The deadline of a read is no time to stand in a queue.
    pub(super) fn take(&self) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Instant::now().checked_sub(SLIP).map_or(*next, |past| (*next).max(past)) + self.interval;
    }

    fn next(&self) -> Instant {
        // A whole assignment: a panic leaves nothing half made.
        *self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Turns ===

impl Turns {
    /// One line when reads begin to wait for longer than the way from one turn to the next, and one
    /// when they no longer do.
    fn tell(&mut self, waited: Duration) {
        if !self.stretched && waited >= LONG {
            self.stretched = true;
            tracing::warn!(
                ?waited,
                "more reads than `oci.maxRequestsPerSecond` allows: values are read less often than `refresh` says"
            );
        } else if self.stretched && waited < SHORT {
            self.stretched = false;
            tracing::info!("reads fit into `oci.maxRequestsPerSecond` again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_are_as_many_a_second_as_are_allowed() {
        let (pace, began) = (Pace::new(200), Instant::now());
        futures_util::future::join_all((0..1001).map(|_| pace.turn(false))).await;
        let took = began.elapsed();
        assert!((Duration::from_millis(4980)..=Duration::from_millis(5010)).contains(&took), "{took:?}");
        // Nothing is saved up while nobody asks.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let began = Instant::now();
        futures_util::future::join_all((0..201).map(|_| pace.turn(false))).await;
        assert!(began.elapsed() >= Duration::from_millis(980), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_for_no_turn_are_waited_for() {
        let (pace, began) = (Pace::new(10), Instant::now());
        for _ in 0..20 {
            pace.turn(false).await;
            pace.take();
            pace.take();
        }
        pace.turn(true).await;
        let took = began.elapsed();
        assert!((Duration::from_millis(5970)..=Duration::from_millis(6010)).contains(&took), "{took:?}");
        // Also those that come while somebody waits already.
        let waiting = tokio::spawn({
            let pace = Arc::new(pace);
            let taken = pace.clone();
            async move { tokio::join!(pace.turn(false), async move { taken.take() }).0 }
        });
        assert!(waiting.await.unwrap() >= Duration::from_millis(180));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_nothing_goes_before_those_who_wait() {
        let pace = Arc::new(Pace::new(10));
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                tokio::spawn({
                    let pace = pace.clone();
                    async move { pace.turn(false).await }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(pace.is_busy());
        assert!(pace.turn(true).await <= Duration::from_millis(300));
        let mut longest = Duration::ZERO;
        for turn in waiting {
            longest = longest.max(turn.await.unwrap());
        }
        assert!(longest >= Duration::from_secs(9), "{longest:?}");
        assert!(!pace.is_busy());
        assert!(pace.turns.lock().await.stretched);
        pace.turn(false).await;
        assert!(!pace.turns.lock().await.stretched);
    }
}
