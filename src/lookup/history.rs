//! The values of a reading in the last hour, at a coarse resolution, for troubleshooting. Pure.
//!
//! A gap is a time without reads, which is not the same as zeros. A history has about one KiB, so a
//! thousand readings need one MiB.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

use crate::metric::quantity::Quantity;

/// How many spans of time are kept.
pub const BUCKETS: usize = 120;
/// The length of a span. All spans are one hour together. A span is two intervals of an HPA, so requests
/// every 15 s leave no gaps.
pub const BUCKET: Duration = Duration::from_secs(30);

/// The last value of each span of the last hour.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Where the first bucket began; none before the first value.
    origin: Option<Instant>,
    /// Number of the newest bucket that has a value.
    newest: u64,
    /// A ring, by number. One more than the thousandths, so that a gap takes no room of its own.
    ring: Vec<Option<NonZeroU64>>,
}

// === impl History ===

impl History {
    /// Records a value. A negative value is invalid and leaves a gap.
    pub(super) fn record(&mut self, value: Quantity, now: Instant) {
        let number = number(*self.origin.get_or_insert(now), now);
        if self.ring.is_empty() {
            self.ring = vec![None; BUCKETS];
        }
        // What is in the ring for the time between is an hour old.
        for skipped in (self.newest + 1..=number).take(BUCKETS) {
            let at = place(skipped);
            self.ring[at] = None;
        }
        self.newest = self.newest.max(number);
        self.ring[place(number)] = u64::try_from(value.milli()).ok().and_then(|milli| NonZeroU64::new(milli + 1));
    }

    /// The hour that ends now, oldest first; the last span is the one that is not over yet.
    pub(super) fn hour(&self, now: Instant) -> Vec<Option<Quantity>> {
        let Some(origin) = self.origin else { return vec![None; BUCKETS] };
        let current = number(origin, now);
        (0..BUCKETS as u64)
            .rev()
            .map(|back| {
                let number = current.checked_sub(back).filter(|number| *number <= self.newest)?;
                let more = self.ring[place(number)]?;
                i64::try_from(more.get() - 1).ok().map(Quantity::from_milli)
            })
            .collect()
    }
}

/// Which span of time it is, counted from the first.
fn number(origin: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(origin).as_secs() / BUCKET.as_secs()
}

fn place(number: u64) -> usize {
    usize::try_from(number % BUCKETS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_gap_is_not_a_zero() {
        let (mut history, start) = (History::default(), Instant::now());
        assert_eq!(history.hour(start), vec![None; BUCKETS]);
        for (at, value) in [(0, 7), (29, 8), (30, 0), (95, 3)] {
            history.record(Quantity::from_units(value), start + seconds(at));
        }
        let hour = history.hour(start + seconds(125));
        let units = |units| Some(Quantity::from_units(units));
        assert_eq!(hour[BUCKETS - 5..], [units(8), units(0), None, units(3), None]);
        assert!(hour[..BUCKETS - 5].iter().all(Option::is_none));
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let (mut history, start) = (History::default(), Instant::now());
        history.record(Quantity::from_units(1), start);
        assert_eq!(history.hour(start + seconds(3599))[0], Some(Quantity::from_units(1)));
        assert_eq!(history.hour(start + seconds(3600)), vec![None; BUCKETS]);
        history.record(Quantity::from_units(2), start + seconds(36_000));
        let hour = history.hour(start + seconds(36_000));
        assert_eq!((hour[BUCKETS - 1], hour.iter().flatten().count()), (Some(Quantity::from_units(2)), 1));
    }

    #[test]
    fn a_thousand_readings_have_theirs_in_one_mib() {
        assert!(1000 * (size_of::<History>() + BUCKETS * size_of::<Option<NonZeroU64>>()) <= 1 << 20);
    }

    #[test]
    fn no_value_is_rounded() {
        for value in [Quantity::MAX, Quantity::from_milli(i64::MAX), Quantity::from_milli(1), Quantity::ZERO] {
            let (mut history, start) = (History::default(), Instant::now());
            history.record(value, start);
            assert_eq!(history.hour(start)[BUCKETS - 1], Some(value));
        }
    }

    proptest! {
        #[test]
        fn every_bucket_has_its_last_value(pauses in proptest::collection::vec((0u64..5000, 0i64..9000), 1..80)) {
            let (mut history, start) = (History::default(), Instant::now());
            let (mut now, mut recorded) = (0, Vec::new());
            for (pause, value) in pauses {
                // Mostly short ones.
                now += if pause < 4500 { pause % 40 } else { pause };
                // The first value is where the count begins.
                let origin = recorded.first().map_or(now, |(at, _)| *at);
                recorded.push((now, Quantity::from_milli(value)));
                history.record(Quantity::from_milli(value), start + seconds(now));
                let current = (now - origin) / 30;
                for (index, kept) in history.hour(start + seconds(now)).into_iter().enumerate() {
                    let back = (BUCKETS - 1 - index) as u64;
                    let number = current.checked_sub(back);
                    let last = recorded.iter().rfind(|(at, _)| Some((at - origin) / 30) == number);
                    prop_assert_eq!(kept, last.map(|(_, value)| *value), "{} back", back);
                }
            }
        }
    }
}
