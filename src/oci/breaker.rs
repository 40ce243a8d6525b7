//! What an endpoint's answers say of it: whether to ask it at all, and whether to ask again. Pure.
//!
//! One for each endpoint. It counts what the official SDKs' breakers overlook, time-outs and lost
//! connections, and stops nobody for the sake of others: a queue is not asked when nothing there
//! has answered since the queue itself failed. The first to be asked who gets an answer, whatever
//! it is, ends this for all.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::error::Error;

/// Failures in a row until an endpoint counts as down: a few reads with all their repetitions.
const OPEN_AFTER: u32 = 10;
/// While it is down, one request is let through so often, whatever became of the last. With the
/// 5 to 6 s after which a source with the default `refresh` tries again, even one that comes just
/// too early is right again within 10 s.
const TRIAL_EVERY: Duration = Duration::from_secs(2);
/// The budget of repetitions, as gRPC's retry throttling has it: a failure costs, a success gives,
/// and above half of the whole requests may be repeated. So an outage is hardly asked more often
/// than a sound service: no repetition while more than a third of all requests fail. That it is
/// asked too often, or at the wrong time, is no failure of an endpoint, and costs the same.
const BUDGET: u32 = 100;
const FAILURE_COSTS: u32 = 10;
const SUCCESS_GIVES: u32 = 5;

/// What is known of an endpoint.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Failures since the last answer.
    streak: u32,
    /// Who met them, by what was asked for.
    failed: HashSet<String>,
    /// The last of them.
    why: Option<Error>,
    trial: Option<Instant>,
    budget: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { streak: 0, failed: HashSet::new(), why: None, trial: None, budget: BUDGET }
    }
}

// === impl Breaker ===

impl Breaker {
    /// Why this is not to be asked for now, if so.
    pub(super) fn refusal(&self, asked: &str, now: Instant) -> Option<&Error> {
        let tried = self.trial.is_some_and(|trial| now < trial + TRIAL_EVERY);
        self.why.as_ref().filter(|_| self.is_open() && tried && self.failed.contains(asked))
    }

    /// Lets a request through, or says what those before it met.
    pub(super) fn admit(&mut self, asked: &str, now: Instant) -> Result<(), Error> {
        if let Some(why) = self.refusal(asked, now) {
            return Err(Error::Down(Box::new(why.clone())));
        }
        if self.is_open() {
            self.trial = Some(now);
        }
        Ok(())
    }

    /// Takes note of how a request ended. Returns whether the endpoint has gone down or come up.
    pub(super) fn record(&mut self, asked: &str, error: Option<&Error>, now: Instant) -> bool {
        let was_open = self.is_open();
        match error.filter(|error| is_failure(error)) {
            Some(error) => {
                self.streak = self.streak.saturating_add(1);
                if !was_open {
                    self.trial = Some(now);
                }
                self.failed.insert(asked.to_owned());
                self.why = Some(error.clone());
                self.budget = self.budget.saturating_sub(FAILURE_COSTS);
            }
            // Nothing was asked.
            None if matches!(error, Some(Error::SignIn(_) | Error::Unsigned | Error::Down(_))) => {}
            None => {
                let budget = match error {
                    Some(Error::Service(error)) if matches!(error.status, 409 | 429) => {
                        self.budget.saturating_sub(FAILURE_COSTS)
                    }
                    _ => (self.budget + SUCCESS_GIVES).min(BUDGET),
                };
                *self = Self { budget, ..Self::default() };
            }
        }
        was_open != self.is_open()
    }

    /// Whether nobody gets an answer there.
    pub(super) fn is_open(&self) -> bool {
        self.streak >= OPEN_AFTER
    }

    /// Whether a failed request may be repeated.
    pub(super) fn allows_another(&self) -> bool {
        self.budget > BUDGET / 2
    }
}

/// Whether an error says that the endpoint does not work; one that throttles or refuses does.
fn is_failure(error: &Error) -> bool {
    match error {
        Error::Unreachable(..) | Error::TimedOut => true,
        Error::Service(error) => error.status >= 500,
        Error::Of(_, error) => is_failure(error),
        Error::SignIn(_) | Error::Unsigned | Error::Nonsense(_) | Error::Down(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::credentials::Method;
    use crate::oci::error::ServiceError;

    fn status(status: u16) -> Error {
        Error::Service(ServiceError {
            status,
            code: None,
            message: String::new(),
            request_id: None,
            clock_skewed: false,
            method: Method::ApiKey,
            retry_after: None,
            policy: None,
        })
    }

    fn after(failures: u32, error: &Error, now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for n in 0..failures {
            assert_eq!(breaker.record("a", Some(error), now), n + 1 == OPEN_AFTER);
        }
        breaker
    }

    #[test]
    fn it_opens_when_nothing_answers_and_counts_time_outs() {
        let now = Instant::now();
        for error in [Error::TimedOut, status(500), status(503)] {
            assert!(after(OPEN_AFTER - 1, &error, now).refusal("a", now).is_none());
            let mut open = after(OPEN_AFTER, &error, now);
            let refused = open.admit("a", now).unwrap_err();
            // In the words of what was met.
            assert_eq!(refused.to_string(), error.to_string());
        }
        for error in [status(404), status(401), status(429), Error::Nonsense(String::new())] {
            let mut breaker = Breaker::default();
            for _ in 0..100 {
                assert!(!breaker.record("a", Some(&error), now) && breaker.admit("a", now).is_ok());
            }
        }
    }

    #[test]
    fn it_stops_nobody_who_has_not_failed_himself() {
        let now = Instant::now();
        let mut breaker = after(1000, &status(500), now);
        assert!(breaker.admit("a", now).is_err());
        assert!(breaker.admit("b", now).is_ok());
        assert!(breaker.record("b", None, now), "closed by an answer");
        assert!(breaker.admit("a", now).is_ok());
    }

    #[test]
    fn one_at_a_time_tries_again() {
        let now = Instant::now();
        let mut breaker = after(OPEN_AFTER, &Error::TimedOut, now);
        let later = now + TRIAL_EVERY;
        assert!(breaker.admit("a", later).is_ok());
        assert!(breaker.admit("a", later).is_err(), "the trial is under way");
        breaker.record("a", Some(&status(500)), later);
        assert!(breaker.admit("a", later).is_err(), "and failed");
        let later = later + TRIAL_EVERY;
        assert!(breaker.admit("a", later).is_ok());
        breaker.record("a", Some(&status(404)), later);
        assert!(breaker.admit("a", later).is_ok(), "any answer is one");
    }

    #[test]
    fn repetitions_end_with_the_budget_and_come_back_with_answers() {
        let now = Instant::now();
        let mut breaker = after(5, &status(500), now);
        assert!(!breaker.allows_another());
        breaker.record("a", None, now);
        assert!(breaker.allows_another());
        // Every second one fails: no repetition for long.
        let repeated = (0..1000).filter(|n| {
            breaker.record("a", (n % 2 == 0).then_some(&status(500)), now);
            breaker.allows_another()
        });
        assert!(repeated.count() < 20);
    }

    #[test]
    fn who_throttles_is_not_down_and_not_asked_twice() {
        let now = Instant::now();
        for throttled in [status(429), status(409)] {
            let mut breaker = Breaker::default();
            for _ in 0..5 {
                assert!(breaker.allows_another());
                breaker.record("a", Some(&throttled), now);
            }
            assert!(!breaker.allows_another() && !breaker.is_open());
            breaker.record("a", None, now);
            assert!(breaker.allows_another());
        }
    }

    #[test]
    fn who_cannot_sign_says_nothing_of_the_endpoint() {
        let now = Instant::now();
        let mut breaker = after(OPEN_AFTER, &Error::TimedOut, now);
        assert!(!breaker.record("a", Some(&Error::Unsigned), now));
        assert!(breaker.admit("a", now).is_err());
    }
}
