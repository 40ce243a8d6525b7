//! Whether a failed request may be repeated, and when. Pure.

use std::time::Duration;

use super::Outcome;

/// The budget of retries, as gRPC's retry throttling has it: a failure costs, a success gives, and
/// requests may be repeated while more than half is left. So an outage brings hardly more requests
/// than normal operation: no retry while more than a third of all requests fail. Throttling is no
/// failure of a host, and costs the same.
const BUDGET: u32 = 100;
const FAILURE_COSTS: u32 = 10;
const SUCCESS_GIVES: u32 = 5;

/// Requests that are worth repeating are sent this often in all: a failure that persists after
/// three, 300 ms apart, lasts longer than a read's deadline.
pub const ATTEMPTS: u32 = 3;
/// The pause before the second attempt; doubled before the third.
const PAUSE: Duration = Duration::from_millis(100);
/// A pause is between its half and its one and a half, so that requests that failed together part.
const JITTER: f64 = 0.5;

/// What is left of a host's retries.
#[derive(Debug)]
pub(super) struct RetryBudget(u32);

// === impl RetryBudget ===

impl Default for RetryBudget {
    fn default() -> Self {
        Self(BUDGET)
    }
}

impl RetryBudget {
    /// Records how a request ended.
    pub(super) fn record(&mut self, outcome: &Outcome) {
        self.0 = match outcome {
            Outcome::Answered => (self.0 + SUCCESS_GIVES).min(BUDGET),
            Outcome::Throttled | Outcome::Failed(_) => self.0.saturating_sub(FAILURE_COSTS),
            Outcome::NotSent => self.0,
        };
    }

    /// Whether a failed request may be repeated.
    pub(super) fn allows_retry(&self) -> bool {
        self.0 > BUDGET / 2
    }
}

/// How long to wait after attempt number `done`, the first being 1. `chance` is in 0..1.
pub fn backoff(done: u32, chance: f64) -> Duration {
    PAUSE.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0)) * 2_u32.pow(done.clamp(1, 8) - 1)
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::sync::Arc;

    use super::*;

    fn failed() -> Outcome {
        Outcome::Failed(Arc::from(Box::<dyn Error + Send + Sync>::from("500")))
    }

    #[test]
    fn retries_end_with_the_budget_and_come_back_with_answers() {
        let mut budget = RetryBudget::default();
        for _ in 0..5 {
            assert!(budget.allows_retry());
            budget.record(&failed());
        }
        budget.record(&Outcome::NotSent);
        assert!(!budget.allows_retry());
        budget.record(&Outcome::Answered);
        assert!(budget.allows_retry());
        // Every second request fails: no retry for long.
        let repeated = (0..1000).filter(|n| {
            budget.record(&if n % 2 == 0 { failed() } else { Outcome::Answered });
            budget.allows_retry()
        });
        assert!(repeated.count() < 20);
    }

    #[test]
    fn throttling_costs_what_a_failure_costs() {
        let mut budget = RetryBudget::default();
        for _ in 0..5 {
            assert!(budget.allows_retry());
            budget.record(&Outcome::Throttled);
        }
        assert!(!budget.allows_retry());
    }

    #[test]
    fn three_attempts_take_less_than_half_a_second() {
        let all = |chance| (1..ATTEMPTS).map(|done| backoff(done, chance)).collect::<Vec<_>>();
        assert_eq!(all(0.0), [50, 100].map(Duration::from_millis));
        assert_eq!(all(1.0), [150, 300].map(Duration::from_millis));
    }
}
