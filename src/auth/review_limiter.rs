//! How many reviews may be in flight at once, and how many there were lately. Both are bounded for
//! each kind of client, so that none takes the permits of another, and among clients of one kind.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What is counted as lately. The Go library gives each of its clients a burst of two seconds' worth.
const LATELY: Duration = Duration::from_secs(2);

/// How much of it there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Reviews in flight at once.
    pub(super) at_once: usize,
    /// Reviews begun within [`LATELY`].
    pub(super) lately: usize,
    /// No client takes more than it leaves to others: one alone has half, two have a third each.
    pub(super) shared: bool,
}

/// The reviews of one kind of client.
pub(super) struct ReviewLimiter {
    limits: Limits,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    inside: Vec<u64>,
    lately: VecDeque<(u64, Instant)>,
}

/// The right to one review in flight. It is returned when this is dropped.
pub(super) struct ReviewPermit {
    limiter: Arc<ReviewLimiter>,
    who: u64,
}

// === impl ReviewLimiter ===

impl ReviewLimiter {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    /// A permit for this client, if there is one.
    pub(super) fn enter(self: &Arc<Self>, who: u64) -> Option<ReviewPermit> {
        let mut taken = self.taken.lock();
        while taken.lately.front().is_some_and(|(_, at)| at.elapsed() >= LATELY) {
            taken.lately.pop_front();
        }
        let mine = |other: &u64| *other == who;
        let inside = (taken.inside.len(), taken.inside.iter().filter(|other| mine(other)).count());
        let lately = (taken.lately.len(), taken.lately.iter().filter(|(other, _)| mine(other)).count());
        if !self.allows(self.limits.at_once, inside) || !self.allows(self.limits.lately, lately) {
            return None;
        }
        taken.inside.push(who);
        taken.lately.push_back((who, Instant::now()));
        Some(ReviewPermit { limiter: self.clone(), who })
    }

    fn allows(&self, limit: usize, (all, mine): (usize, usize)) -> bool {
        let free = limit.saturating_sub(all);
        free > if self.limits.shared { mine } else { 0 }
    }
}

// === impl ReviewPermit ===

impl Drop for ReviewPermit {
    fn drop(&mut self) {
        let mut taken = self.limiter.taken.lock();
        if let Some(found) = taken.inside.iter().position(|other| *other == self.who) {
            taken.inside.swap_remove(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(limiter: &Arc<ReviewLimiter>, who: u64, times: usize) -> Vec<ReviewPermit> {
        (0..times).filter_map(|_| limiter.enter(who)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_takes_more_than_he_leaves() {
        let limiter = ReviewLimiter::new(Limits { at_once: 64, lately: 1000, shared: true });
        let first = enter(&limiter, 1, 100);
        let second = enter(&limiter, 2, 100);
        assert_eq!((first.len(), second.len()), (32, 16));
        drop(first);
        assert_eq!(enter(&limiter, 3, 100).len(), 24, "permits are given back");
        let unshared = ReviewLimiter::new(Limits { at_once: 8, lately: 1000, shared: false });
        assert_eq!(enter(&unshared, 1, 100).len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_so_many_in_a_time_however_short_each_is() {
        let limiter = ReviewLimiter::new(Limits { at_once: 64, lately: 400, shared: true });
        let one_after_the_other = |who, times| (0..times).filter(|_| limiter.enter(who).is_some()).count();
        assert_eq!((one_after_the_other(1, 1000), one_after_the_other(2, 1000)), (200, 100));
        tokio::time::advance(LATELY / 2).await;
        assert_eq!(one_after_the_other(1, 1000), 0);
        tokio::time::advance(LATELY / 2).await;
        assert_eq!(one_after_the_other(1, 1000), 200);
    }
}
