//! Whether most calls to kube-apiserver fail. Pure.
//!
//! Consecutive failures of all namespaces together open the breaker, and a success closes it. While it is open, a
//! namespace that has failed makes a call from time to time. Other namespaces are not limited. So a namespace whose
//! calls all fail, for example because its own server hangs, delays no other.
//!
//! A namespace whose call was refused with `Retry-After` makes none until then, however many calls succeed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::metric::Namespace;

/// Failures in a row until it opens: as many as calls may be in flight. They may have ended together.
const OPEN_AFTER: u32 = 10;
/// While it is open, a namespace makes a call so often: kube-apiserver sends `Retry-After: 1` when it
/// begins to refuse.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// From one such call to the next, if many namespaces make them. Five a second are few beside those
/// that 1,000 HPAs make otherwise, and the first success closes the breaker for all.
const SPACING: Duration = Duration::from_millis(200);
/// The longest time between two calls of a namespace.
const PROBE_MAX: Duration = Duration::from_secs(60);

/// The failures of calls to kube-apiserver.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Failures since the last success.
    streak: u32,
    /// The namespaces that have failed since their last success. They may not have failed in a row.
    failed: HashMap<Namespace, Failure>,
}

#[derive(Debug)]
struct Failure {
    /// When the last call was made, or failed.
    last: Instant,
    /// When kube-apiserver allows the next call.
    until: Instant,
    why: Arc<str>,
}

// === impl Breaker ===

impl Breaker {
    /// Whether a call for this namespace may be made now; if not, why its last one failed.
    pub(super) fn admit(&mut self, namespace: &Namespace, now: Instant) -> Result<(), Arc<str>> {
        let pause = if self.streak < OPEN_AFTER { Duration::ZERO } else { self.pause() };
        let Some(failure) = self.failed.get_mut(namespace) else { return Ok(()) };
        if now < failure.until.max(failure.last + pause) {
            return Err(failure.why.clone());
        }
        failure.last = now;
        Ok(())
    }

    /// A call failed because of kube-apiserver, which allows no further one for this long.
    pub(super) fn failed(&mut self, namespace: &Namespace, why: Arc<str>, wait: Option<Duration>, now: Instant) {
        self.streak = self.streak.saturating_add(1);
        // Older ones refuse nothing, so there are never more than namespaces in use.
        self.failed.retain(|_, failure| now < failure.until.max(failure.last + PROBE_MAX));
        let before = self.paused_until(namespace).unwrap_or(now);
        let until = before.max(now + wait.unwrap_or_default());
        self.failed.insert(namespace.clone(), Failure { last: now, until, why });
    }

    /// Any other end of a call. It may have been in flight when another one was refused.
    pub(super) fn succeeded(&mut self, namespace: &Namespace, now: Instant) {
        self.streak = 0;
        if self.paused_until(namespace).is_none_or(|until| until <= now) {
            self.failed.remove(namespace);
        }
    }

    /// When kube-apiserver allows the next call of this namespace. It may be in the past.
    pub(super) fn paused_until(&self, namespace: &Namespace) -> Option<Instant> {
        self.failed.get(namespace).map(|failure| failure.until)
    }

    /// From one call of a namespace to its next.
    fn pause(&self) -> Duration {
        let failed = u32::try_from(self.failed.len()).unwrap_or(u32::MAX);
        SPACING.saturating_mul(failed).clamp(PROBE_EVERY, PROBE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    fn failing(namespaces: &[Namespace], now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for at in 0..namespaces.len().max(OPEN_AFTER as usize) {
            breaker.failed(&namespaces[at % namespaces.len()], "429".into(), None, now);
        }
        breaker
    }

    fn namespaces(count: usize) -> Vec<Namespace> {
        (0..count).map(|at| Namespace::new(format!("team-{at}"))).collect()
    }

    #[test]
    fn it_opens_after_failures_in_a_row_for_namespaces_that_have_failed() {
        let (a, b, now) = (Namespace::new("a"), Namespace::new("b"), Instant::now());
        let mut breaker = Breaker::default();
        for _ in 1..OPEN_AFTER {
            breaker.failed(&a, "503".into(), None, now);
            assert_eq!(breaker.admit(&a, now), Ok(()));
        }
        breaker.failed(&a, "429".into(), None, now);
        assert_eq!((breaker.admit(&a, now), breaker.admit(&b, now)), (Err("429".into()), Ok(())));
        breaker.succeeded(&b, now);
        assert_eq!(breaker.admit(&a, now), Ok(()), "closed by a success of any");
    }

    #[test]
    fn namespaces_that_fail_make_few_calls_in_all() {
        // All try all the time, for two minutes.
        for (count, least, most) in [(1, 115, 120), (5, 500, 600), (100, 500, 600), (1_000, 1_900, 2_000)] {
            let (namespaces, mut now, mut calls) = (namespaces(count), Instant::now(), 0);
            let mut breaker = failing(&namespaces, now);
            for _ in 0..12_000 {
                now += STEP;
                for namespace in &namespaces {
                    if breaker.admit(namespace, now).is_ok() {
                        calls += 1;
                        breaker.failed(namespace, "429".into(), None, now);
                    }
                }
            }
            assert!((least..=most).contains(&calls), "{count} namespaces: {calls}");
        }
    }

    #[test]
    fn a_namespace_has_its_turns_though_another_one_tries_all_the_time() {
        let (a, b, mut now) = (Namespace::new("a"), Namespace::new("b"), Instant::now());
        let mut breaker = failing(&[a.clone(), b.clone()], now);
        for step in 1..2_000 {
            now += STEP;
            if breaker.admit(&b, now).is_ok() {
                breaker.failed(&b, "503".into(), None, now);
            }
            if step % 400 == 0 {
                assert_eq!(breaker.admit(&a, now), Ok(()), "after {step} steps");
                breaker.failed(&a, "503".into(), None, now);
            }
        }
    }

    #[test]
    fn retry_after_counts_whatever_else_ends() {
        let (a, b, now) = (Namespace::new("a"), Namespace::new("b"), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut breaker = Breaker::default();
        breaker.failed(&a, "429".into(), Some(Duration::from_secs(10)), now);
        // Calls that were in flight.
        breaker.failed(&a, "503".into(), Some(Duration::from_secs(1)), after(1));
        breaker.succeeded(&a, after(2));
        assert_eq!((breaker.admit(&a, after(9)), breaker.admit(&b, after(9))), (Err("503".into()), Ok(())));
        assert_eq!(breaker.admit(&a, after(10)), Ok(()));
        breaker.succeeded(&a, after(11));
        assert!(breaker.failed.is_empty());
    }

    #[test]
    fn it_remembers_no_more_namespaces_than_are_in_use() {
        let now = Instant::now();
        let mut breaker = failing(&namespaces(1_000), now);
        breaker.failed(&Namespace::new("a"), "429".into(), None, now + PROBE_MAX);
        assert_eq!(breaker.failed.len(), 1);
    }
}
