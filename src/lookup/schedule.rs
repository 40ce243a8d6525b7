//! When to read next, from when people asked. Pure.
//!
//! An HPA asks every 15 s. Reading a second before each ask costs one read per ask and shows
//! the controller a value that is about a second old; reading on the ask would make it wait,
//! and reading at any other beat would be older or cost more.

use std::time::Duration;

use tokio::time::Instant;

use super::Timing;

/// How long before the expected ask the source is read: longer than a read takes (tens of
/// milliseconds, a fresh TLS connection included) and than the controller's own jitter.
const LEAD: Duration = Duration::from_secs(1);
/// How much longer than `refresh` the pause after a failed read may be: spreads many sources
/// that failed together, and still has a source with the default `refresh` of 5 s right again
/// within 10 s of its recovery, a read that has to time out first included.
const JITTER: f64 = 0.2;
/// A source is not kept for longer than this, however rarely it is asked for.
const PATIENCE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How many equal intervals in a row make a rhythm. With less, several HPAs with one period and
/// phases of their own look regular by chance: of three equal intervals of 5 s and more, nothing
/// is left of 15 s for an ask out of step.
const RHYTHM: usize = 3;

/// When the last questions came.
#[derive(Debug, Default)]
pub(super) struct Asks {
    last: Option<Instant>,
    /// Newest first.
    intervals: [Option<Duration>; RHYTHM],
    /// Somebody always wants to know: every `refresh`, and without end.
    standing: bool,
    /// Somebody has asked since the last read.
    since_read: bool,
}

/// What there is to do now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Read.
    Now,
    /// Look again then.
    At(Instant),
    /// Nobody has asked for long: stop.
    Idle,
}

/// What the schedule depends on, besides the asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastRead {
    /// When it began.
    pub(super) began: Instant,
    /// Of a failed read: how long to wait before the next one.
    pub(super) retry_after: Option<Duration>,
}

// === impl Asks ===

impl Asks {
    pub(super) fn record(&mut self, now: Instant) {
        self.since_read = true;
        if let Some(last) = self.last {
            let interval = now.saturating_duration_since(last);
            // Several HPAs of one controller ask at the same moment: that is one beat.
            if interval < LEAD {
                return;
            }
            self.intervals.rotate_right(1);
            self.intervals[0] = Some(interval);
        }
        self.last = Some(now);
    }

    /// Takes note of the end of a read.
    pub(super) fn served(&mut self) {
        self.since_read = false;
    }

    /// Begins or ends a standing order; says whether that is news.
    pub(super) fn stand(&mut self, standing: bool) -> bool {
        std::mem::replace(&mut self.standing, standing) != standing
    }

    /// Whether anybody wants to know, or did when the process last looked.
    pub(super) fn any(&self) -> bool {
        self.standing || self.last.is_some()
    }

    /// The interval between asks, when they are regular and so far apart that each can have a
    /// read of its own.
    fn rhythm(&self, timing: &Timing) -> Option<Duration> {
        if self.standing {
            return None;
        }
        let known = self.intervals.iter().copied().collect::<Option<Vec<_>>>()?;
        let (shortest, longest) = (known.iter().min()?, known.iter().max()?);
        (*longest - *shortest <= LEAD && *shortest >= timing.refresh).then_some(*shortest)
    }

    /// Whether one more read might be for nobody: none has asked since the last, and it is not
    /// known when the next one will.
    fn is_spare(&self, timing: &Timing) -> bool {
        !self.standing && !self.since_read && self.rhythm(timing).is_none()
    }

    /// When nobody wants to know any more.
    fn idle_at(&self, timing: &Timing) -> Option<Instant> {
        let longest = self.intervals.iter().flatten().max().copied().unwrap_or_default();
        let patience = (longest * 3).max(timing.idle_after).min(PATIENCE_MAX);
        self.last.map(|last| last + patience)
    }
}

/// Decides what to do at `now`. While the source is `busy` with others, it is not read for somebody
/// who may never ask: whoever does has it read.
pub(super) fn next(
    now: Instant,
    asks: &Asks,
    read: Option<LastRead>,
    timing: &Timing,
    busy: impl FnOnce() -> bool,
) -> Next {
    let Some(read) = read else { return Next::Now };
    if !asks.standing && asks.idle_at(timing).is_none_or(|idle_at| now >= idle_at) {
        return Next::Idle;
    }
    let due = match read.retry_after {
        Some(wait) => read.began + wait,
        None => due(asks, read.began, timing),
    };
    match now >= due {
        true if read.retry_after.is_none() && asks.is_spare(timing) && busy() => Next::At(now + timing.refresh),
        true => Next::Now,
        false => Next::At(due),
    }
}

fn due(asks: &Asks, began: Instant, timing: &Timing) -> Instant {
    let soonest = began + timing.refresh;
    let expected = asks.last.zip(asks.rhythm(timing)).map(|(last, rhythm)| last + rhythm);
    match expected.map(|expected| expected - LEAD) {
        // Not read yet for the ask that is expected.
        Some(ahead) if began < ahead => soonest.max(ahead),
        // Read for it already (if it is late, the value must not grow old), or no rhythm.
        _ => soonest,
    }
}

/// The pause after a read that failed after so long, from its beginning; never shorter than
/// `refresh`, nor than the service `said`. `chance` is in 0..1.
pub(super) fn retry_after(timing: &Timing, took: Duration, said: Option<Duration>, chance: f64) -> Duration {
    let usual = timing.refresh.mul_f64(1.0 + JITTER * chance.clamp(0.0, 1.0));
    said.map_or(usual, |said| usual.max(took + said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    /// Asked at these seconds, last read begun at that one: due when?
    fn due_after(asked: &[f64], began: f64) -> f64 {
        let start = Instant::now();
        let mut asks = Asks::default();
        for at in asked {
            asks.record(start + seconds(*at));
        }
        (due(&asks, start + seconds(began), &Timing::default()) - start).as_secs_f64()
    }

    #[test]
    fn due_times() {
        for (asked, began, expected) in [
            // Until the rhythm is known: every refresh.
            (&[0.0][..], 0.0, 5.0),
            (&[0.0, 15.0, 30.0], 29.0, 34.0),
            // Known: a second before the next ask.
            (&[0.0, 15.0, 30.0, 45.0], 44.0, 59.0),
            (&[0.0, 15.0, 30.0, 45.1], 44.0, 59.1),
            // Read for the coming ask already, and it may be late: refresh.
            (&[0.0, 15.0, 30.0, 45.0], 59.0, 64.0),
            // Irregular, or faster than refresh: every refresh.
            (&[0.0, 15.0, 30.0, 37.0], 35.0, 40.0),
            (&[0.0, 2.0, 4.0, 6.0], 5.0, 10.0),
            // Two intervals of several HPAs that are equal by chance.
            (&[0.0, 6.5, 13.0, 15.0, 21.5, 28.0], 23.0, 28.0),
            // Several HPAs at the same beat are one.
            (&[0.0, 0.1, 15.0, 15.2, 30.0, 30.3, 45.0, 45.1], 44.0, 59.0),
        ] {
            assert!((due_after(asked, began) - expected).abs() < 0.001, "{asked:?} {began} {expected}");
        }
    }

    #[test]
    fn stops_when_nobody_asks() {
        let timing = Timing::default();
        let start = Instant::now();
        let read = |at: f64| Some(LastRead { began: start + seconds(at), retry_after: None });
        let mut asks = Asks::default();
        asks.record(start);
        assert_eq!(next(start, &asks, None, &timing, || false), Next::Now);
        assert_eq!(next(start + seconds(119.0), &asks, read(100.0), &timing, || false), Next::Now);
        assert_eq!(next(start + seconds(120.0), &asks, read(100.0), &timing, || false), Next::Idle);
        // Asked every hour: kept for three of them.
        asks.record(start + seconds(3600.0));
        assert_eq!(next(start + seconds(7100.0), &asks, read(7000.0), &timing, || false), Next::Now);
    }

    #[test]
    fn a_standing_order_is_every_refresh_and_without_end() {
        let timing = Timing::default();
        let start = Instant::now();
        let read = |at: f64| Some(LastRead { began: start + seconds(at), retry_after: None });
        let mut asks = Asks::default();
        assert!(!asks.any() && asks.stand(true) && !asks.stand(true) && asks.any());
        for at in [0.0, 15.0, 30.0] {
            asks.record(start + seconds(at));
        }
        // Asked in a rhythm, or not for a day: it makes no difference.
        for at in [31.0, 86400.0] {
            let due = start + seconds(at + 5.0);
            assert_eq!(next(start + seconds(at + 1.0), &asks, read(at), &timing, || false), Next::At(due));
        }
        assert!(asks.stand(false));
        assert_eq!(next(start + seconds(86400.0), &asks, read(86399.0), &timing, || false), Next::Idle);
    }

    #[test]
    fn a_busy_source_is_not_read_for_nobody() {
        let (timing, start) = (Timing::default(), Instant::now());
        let read = Some(LastRead { began: start, retry_after: None });
        let at =
            |seconds_on: f64, asks: &Asks, read, busy| next(start + seconds(seconds_on), asks, read, &timing, || busy);
        let mut asks = Asks::default();
        asks.record(start);
        // Somebody asks more often than it is read.
        assert_eq!(at(5.0, &asks, read, true), Next::Now);
        asks.served();
        assert_eq!(at(1.0, &asks, read, true), Next::At(start + seconds(5.0)));
        assert_eq!(
            (at(5.0, &asks, read, false), at(5.0, &asks, read, true)),
            (Next::Now, Next::At(start + seconds(10.0)))
        );
        // A failure is looked after, and a standing order is one.
        let failed = Some(LastRead { began: start, retry_after: Some(seconds(6.0)) });
        assert_eq!(at(6.0, &asks, failed, true), Next::Now);
        asks.stand(true);
        assert_eq!(at(5.0, &asks, read, true), Next::Now);
        // And an ask that is expected is read ahead of.
        let mut asks = Asks::default();
        for ask in [0.0, 15.0, 30.0, 45.0] {
            asks.record(start + seconds(ask));
        }
        asks.served();
        let read = Some(LastRead { began: start + seconds(44.0), retry_after: None });
        assert_eq!(at(59.0, &asks, read, true), Next::Now);
    }

    #[test]
    fn a_failing_source_is_read_no_more_often_than_a_sound_one() {
        for (refresh, low, high) in [(1.0, 1.0, 1.2), (5.0, 5.0, 6.0), (60.0, 60.0, 72.0)] {
            let timing = Timing { refresh: seconds(refresh), ..Timing::default() };
            for chance in [0.0, 0.5, 1.0] {
                for said in [None, Some(Duration::ZERO)] {
                    let wait = retry_after(&timing, seconds(0.1), said, chance).as_secs_f64();
                    assert!((low..=high + 0.001).contains(&wait), "{refresh} {chance} {wait}");
                }
                let asked_to_wait = retry_after(&timing, seconds(2.0), Some(seconds(90.0)), chance);
                assert_eq!(asked_to_wait, seconds(92.0));
            }
        }
    }
}
