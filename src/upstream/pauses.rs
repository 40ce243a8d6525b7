//! Pauses that a service requested by `Retry-After`. Pure.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Cause;

/// By key: the end of the pause, and the response of the service.
#[derive(Debug, Default)]
pub(super) struct Pauses(HashMap<String, (Instant, Cause)>);

// === impl Pauses ===

impl Pauses {
    /// Begins a pause, or makes one that lasts longer.
    pub(super) fn begin(&mut self, key: &str, wait: Duration, cause: Cause, now: Instant) {
        // Removes ended pauses, so there are never more than keys in use.
        self.0.retain(|_, (until, _)| *until > now);
        let until = now + wait;
        if self.0.get(key).is_none_or(|(before, _)| *before < until) {
            self.0.insert(key.to_owned(), (until, cause));
        }
    }

    /// The remaining pause of this key, and its cause.
    pub(super) fn left(&self, key: &str, now: Instant) -> Option<(Duration, &Cause)> {
        let (until, cause) = self.0.get(key)?;
        let left = until.checked_duration_since(now).filter(|left| !left.is_zero())?;
        Some((left, cause))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::sync::Arc;

    use super::*;

    fn cause(text: &str) -> Cause {
        Arc::from(Box::<dyn Error + Send + Sync>::from(text))
    }

    #[test]
    fn the_longer_of_two_pauses_counts_and_none_is_kept_when_it_is_over() {
        let (mut pauses, now, second) = (Pauses::default(), Instant::now(), Duration::from_secs(1));
        pauses.begin("a", second * 10, cause("429"), now);
        pauses.begin("a", second, cause("503"), now);
        let (left, why) = pauses.left("a", now + second).unwrap();
        assert_eq!((left, why.to_string()), (second * 9, "429".to_owned()));
        assert!(pauses.left("a", now + second * 10).is_none() && pauses.left("b", now).is_none());
        pauses.begin("b", second, cause("429"), now + second * 10);
        assert_eq!(pauses.0.len(), 1);
    }
}
