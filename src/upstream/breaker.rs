//! Whether a host is down, from how requests to it ended. Pure.
//!
//! It counts what the official SDKs' breakers overlook, time-outs and lost connections. A request
//! is refused only if one of its own key failed and nothing at the host has answered since. The
//! first answer, whatever it is, closes the breaker for all keys.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{Cause, Outcome};

/// Failures in a row until a host counts as down: a few reads with all their retries.
pub(super) const OPEN_AFTER: u32 = 10;
/// While it is down, one request is let through at this interval, whatever became of the last. A
/// source with the default `refresh` tries again after 5 to 6 s. So even one that comes just too
/// early has a value again within 10 s.
pub const PROBE_EVERY: Duration = Duration::from_secs(2);

/// The state of a host.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Failures since the last answer.
    streak: u32,
    /// The keys of the requests that failed.
    failed: HashSet<String>,
    /// The cause of the last failure.
    cause: Option<Cause>,
    /// When the last request was let through while open.
    probe: Option<Instant>,
}

// === impl Breaker ===

impl Breaker {
    /// The reason why a request of this key must not be sent now, if any.
    pub(super) fn refusal(&self, key: &str, now: Instant) -> Option<&Cause> {
        let probed = self.probe.is_some_and(|probe| now < probe + PROBE_EVERY);
        self.cause.as_ref().filter(|_| self.is_open() && probed && self.failed.contains(key))
    }

    /// Records that a request is sent now. While the breaker is open it is the probe.
    pub(super) fn pass(&mut self, now: Instant) {
        if self.is_open() {
            self.probe = Some(now);
        }
    }

    /// Records how a request ended. Returns whether the breaker has opened or closed.
    pub(super) fn record(&mut self, key: &str, outcome: &Outcome, now: Instant) -> bool {
        let was_open = self.is_open();
        match outcome {
            Outcome::Failed(cause) => {
                self.streak = self.streak.saturating_add(1);
                if !was_open {
                    self.probe = Some(now);
                }
                self.failed.insert(key.to_owned());
                self.cause = Some(cause.clone());
            }
            Outcome::Answered | Outcome::Throttled => *self = Self::default(),
            Outcome::NotSent => {}
        }
        was_open != self.is_open()
    }

    /// How many requests have failed in a row, and the last cause, if requests of this key are stopped
    /// except for probes.
    pub(super) fn failures(&self, key: &str) -> Option<(u32, &Cause)> {
        let cause = self.cause.as_ref().filter(|_| self.is_open() && self.failed.contains(key))?;
        Some((self.streak, cause))
    }

    /// Whether no request gets an answer there.
    pub(super) fn is_open(&self) -> bool {
        self.streak >= OPEN_AFTER
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::sync::Arc;

    use super::*;

    fn failed(text: &str) -> Outcome {
        Outcome::Failed(Arc::from(Box::<dyn Error + Send + Sync>::from(text)))
    }

    fn after(failures: u32, now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for n in 0..failures {
            assert_eq!(breaker.record("a", &failed("500"), now), n + 1 == OPEN_AFTER);
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_after_answers() {
        let now = Instant::now();
        assert!(after(OPEN_AFTER - 1, now).refusal("a", now).is_none());
        assert_eq!(after(OPEN_AFTER, now).refusal("a", now).unwrap().to_string(), "500");
        for outcome in [Outcome::Answered, Outcome::Throttled] {
            let mut breaker = Breaker::default();
            for _ in 0..100 {
                assert!(!breaker.record("a", &outcome, now) && breaker.refusal("a", now).is_none());
            }
        }
    }

    #[test]
    fn it_refuses_no_key_that_has_not_failed() {
        let now = Instant::now();
        let mut breaker = after(1000, now);
        assert!(breaker.refusal("a", now).is_some());
        assert!(breaker.refusal("b", now).is_none());
        assert!(breaker.failures("b").is_none(), "its requests are sent");
        let (failures, cause) = breaker.failures("a").unwrap();
        assert_eq!((failures, cause.to_string()), (1000, "500".to_owned()));
        assert!(breaker.record("b", &Outcome::Answered, now), "closed by an answer");
        assert!(breaker.failures("a").is_none());
        assert!(breaker.refusal("a", now).is_none());
    }

    #[test]
    fn one_request_at_a_time_probes() {
        let now = Instant::now();
        let mut breaker = after(OPEN_AFTER, now);
        let later = now + PROBE_EVERY;
        assert!(breaker.refusal("a", later).is_none());
        breaker.pass(later);
        assert!(breaker.refusal("a", later).is_some(), "the probe is under way");
        breaker.record("a", &failed("503"), later);
        assert_eq!(breaker.refusal("a", later).unwrap().to_string(), "503", "and failed");
        let later = later + PROBE_EVERY;
        assert!(breaker.refusal("a", later).is_none());
        breaker.pass(later);
        breaker.record("a", &Outcome::Throttled, later);
        assert!(breaker.refusal("a", later).is_none(), "any answer closes it");
    }

    #[test]
    fn a_request_that_was_not_sent_says_nothing_of_the_host() {
        let now = Instant::now();
        let mut breaker = after(OPEN_AFTER, now);
        assert!(!breaker.record("a", &Outcome::NotSent, now));
        assert!(breaker.refusal("a", now).is_some());
    }
}
