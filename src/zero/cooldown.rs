//! How long a cooldown has lasted, by the monotonic clock.
//!
//! On the HPA is the time of day at which it began, because another replica may continue it. The time of
//! day can be set while this process runs, and a step forward must not end all cooldowns at once. So it
//! counts only for what was before this process first saw the cooldown. There the Lease bounds a step:
//! a replica whose clock is ahead sees a long silence of the former holder, and begins again.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The maximum age of values that begin a cooldown, by the time of day: they are found at the next
/// reconcile. A step of the clock can add this much.
const AGE_MAX: SignedDuration = SignedDuration::from_secs(1);
/// The times on an HPA have milliseconds.
const WRITTEN: SignedDuration = SignedDuration::from_millis(1);

/// The cooldown of an HPA, as this process has seen it.
#[derive(Default)]
pub(super) struct Cooldown {
    /// The one that was last seen on the HPA.
    seen: Option<Seen>,
    /// When the scale could not be read, or the end of a cooldown not written, by the time of day.
    failed_at: Option<Timestamp>,
}

struct Seen {
    since: Timestamp,
    /// How long it had lasted when it was first seen.
    before: SignedDuration,
    at: Instant,
}

// === impl Cooldown ===

impl Cooldown {
    /// This process begins one, with values that were read at `since`; it is `now` by the time of day.
    pub(super) fn begin(&mut self, since: Timestamp, now: Timestamp) {
        let before = now.duration_since(since).clamp(SignedDuration::ZERO, AGE_MAX);
        self.seen = Some(Seen { since, before, at: Instant::now() });
    }

    /// How long the one that is on the HPA has lasted, `now` by the time of day.
    pub(super) fn lasted(&mut self, since: Timestamp, now: Timestamp) -> SignedDuration {
        let same = self.seen.take().filter(|seen| seen.since.duration_since(since).abs() <= WRITTEN);
        let seen = self.seen.insert(same.unwrap_or_else(|| {
            let before = now.duration_since(since).max(SignedDuration::ZERO);
            Seen { since, before, at: Instant::now() }
        }));
        let here = SignedDuration::try_from(seen.at.elapsed()).unwrap_or(SignedDuration::MAX);
        seen.before.saturating_add(here)
    }

    /// The scale could not be read at `now`, or the end of a cooldown not written. In a cooldown that began before, a
    /// message may have come and gone.
    pub(super) fn fail(&mut self, now: Timestamp) {
        self.failed_at = Some(now);
    }

    /// When that was last. If the time of day was set back, it was not in the future.
    pub(super) fn failed_at(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.failed_at = self.failed_at.map(|at| at.min(now));
        self.failed_at
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_of_the_time_of_day_adds_nothing() {
        let begun: Timestamp = "2026-11-23T10:00:00.0004Z".parse().unwrap();
        let (hour, seconds) = (SignedDuration::from_hours(1), SignedDuration::from_secs);
        let mut cooldown = Cooldown::default();
        cooldown.begin(begun, begun + SignedDuration::from_millis(300));
        assert_eq!(cooldown.lasted(begun, begun + hour), SignedDuration::from_millis(300));
        cooldown.begin(begun, begun - hour);
        assert_eq!(cooldown.lasted(begun, begun), SignedDuration::ZERO);
        cooldown.begin(begun, begun + hour);
        assert_eq!(cooldown.lasted(begun, begun + hour), AGE_MAX);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(cooldown.lasted(begun, begun + hour), seconds(10));
        // As it comes back by the watch.
        let written: Timestamp = format!("{begun:.3}").parse().unwrap();
        assert_eq!(cooldown.lasted(written, begun + hour * 2), seconds(10));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(cooldown.lasted(written, begun - hour), seconds(15));
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_another_replica_goes_on() {
        let begun: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let (hour, seconds) = (SignedDuration::from_hours(1), SignedDuration::from_secs);
        let mut cooldown = Cooldown::default();
        assert_eq!(cooldown.lasted(begun, begun + seconds(40)), seconds(40));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(cooldown.lasted(begun, begun + hour), seconds(50));
        let next = begun + seconds(3000);
        assert_eq!(cooldown.lasted(next, begun + hour), seconds(600), "another one");
        assert_eq!(cooldown.lasted(Timestamp::MAX, begun + hour), SignedDuration::ZERO);
    }
}
