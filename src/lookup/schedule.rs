//! When to read next, from when requests came. Pure.
//!
//! Background reads start at the second request of the same consumer. An HPA requests its metric
//! every 15 s. A read one second before each request costs one read per request and shows the HPA
//! controller a value that is about a second old. A read on request would make the controller wait,
//! and any other time would be older or cost more.

use std::time::Duration;

use tokio::time::Instant;

/// How long before the expected request the read begins. It is longer than a read takes (tens of
/// milliseconds, a new TLS connection included) and than the controller's own jitter.
const LEAD: Duration = Duration::from_secs(1);
/// How much longer than `refresh` the pause after a failed read may be. It spreads many readings
/// that failed together. A source with the default `refresh` of 5 s still recovers within 10 s,
/// including one read that has to time out first.
const JITTER: f64 = 0.2;
/// No value is kept for longer than this without a request.
const PATIENCE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How many equal intervals in a row make a rhythm. With fewer, several HPAs with one period and
/// different phases look regular by chance. Three equal intervals of 5 s and more leave nothing of
/// 15 s for a request out of step.
const RHYTHM: usize = 3;
/// Consumers that are distinguished before their second request. With more of them within `idleAfter`
/// the value is popular, and every further one counts as continuing.
const CONSUMERS_MAX: usize = 16;

/// How often something is read, and how long it is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Never read more often.
    pub(super) refresh: Duration,
    /// How old a value gets before it is read again in the background.
    pub(super) every: Duration,
    /// Deadline of one read.
    pub(super) timeout: Duration,
    /// How old a value may be and still be served.
    pub(super) max_age: Duration,
    /// Reads stop without a request for this long.
    pub(super) idle_after: Duration,
}

/// A consumer, as far as requests of the same one have to be recognized.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct ConsumerId(pub(super) u64);

/// Who sends a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Requester {
    /// A client, which may never come back.
    Consumer(ConsumerId),
    /// A part of this process that requests again and again.
    Continuing,
}

/// When the last requests came, and from how many.
#[derive(Debug, Default)]
pub(super) struct Activity {
    last: Option<Instant>,
    /// Newest first.
    intervals: [Option<Duration>; RHYTHM],
    /// When a consumer last requested for another time.
    continued: Option<Instant>,
    /// Consumers and their last requests.
    consumers: Vec<(ConsumerId, Instant)>,
    /// Read every `refresh` without end, requested or not.
    standing: bool,
    /// There was a request since the last read.
    since_read: bool,
    /// A request waits for a read.
    wanted: bool,
}

/// What to do now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Read.
    Now,
    /// Decide again then.
    At(Instant),
    /// There was no request for long: stop.
    Idle,
}

/// The last read, as far as the schedule depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastRead {
    /// When it began.
    pub(super) began: Instant,
    /// How long to wait before the next one, after a failed read.
    pub(super) retry_after: Option<Duration>,
}

// === impl Activity ===

impl Activity {
    /// Records a request.
    pub(super) fn record(&mut self, by: Requester, now: Instant, pace: &Pace) {
        self.since_read = true;
        if self.continues(by, now, pace) {
            self.continued = Some(now);
        }
        if let Some(last) = self.last {
            let interval = now.saturating_duration_since(last);
            // Several HPAs of one controller send their requests at the same moment: that is one beat.
            if interval < LEAD {
                return;
            }
            self.intervals.rotate_right(1);
            self.intervals[0] = Some(interval);
        }
        self.last = Some(now);
    }

    /// A request waits for the next read.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether a request waits for the next read.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Records the end of a read.
    pub(super) fn served(&mut self) {
        (self.since_read, self.wanted) = (false, false);
    }

    /// Begins or ends reads without requests. Returns whether that is a change.
    pub(super) fn stand(&mut self, standing: bool) -> bool {
        std::mem::replace(&mut self.standing, standing) != standing
    }

    /// Whether the value is in use, or was when that was last decided.
    pub(super) fn any(&self) -> bool {
        self.standing || self.last.is_some()
    }

    /// Whether the value is read in the background, and not only on request.
    pub(super) fn is_continuous(&self, now: Instant, pace: &Pace) -> bool {
        self.standing || self.continued.is_some_and(|at| now < at + self.patience(pace))
    }

    /// Whether this is another request of a consumer, and not only the same beat.
    fn continues(&mut self, by: Requester, now: Instant, pace: &Pace) -> bool {
        let Requester::Consumer(id) = by else { return true };
        if let Some((_, last)) = self.consumers.iter_mut().find(|(known, _)| *known == id) {
            let interval = now.saturating_duration_since(*last);
            if interval <= LEAD {
                return false;
            }
            *last = now;
            return interval < pace.idle_after;
        }
        if self.consumers.len() >= CONSUMERS_MAX {
            self.consumers.retain(|(_, last)| now.saturating_duration_since(*last) < pace.idle_after);
        }
        if self.consumers.len() >= CONSUMERS_MAX {
            return true;
        }
        self.consumers.push((id, now));
        false
    }

    /// The interval between requests, when they are regular and so far apart that each can have a
    /// read of its own.
    fn rhythm(&self, pace: &Pace) -> Option<Duration> {
        if self.standing {
            return None;
        }
        let known = self.intervals.iter().copied().collect::<Option<Vec<_>>>()?;
        let (shortest, longest) = (known.iter().min()?, known.iter().max()?);
        (*longest - *shortest <= LEAD && *shortest >= pace.every).then_some(*shortest)
    }

    /// Whether one more read may be useless: there was no request since the last one, and it is
    /// not known when the next one comes.
    fn is_spare(&self, pace: &Pace) -> bool {
        !self.standing && !self.since_read && self.rhythm(pace).is_none()
    }

    /// When the value is not in use any more.
    fn idle_at(&self, pace: &Pace) -> Option<Instant> {
        self.last.map(|last| last + self.patience(pace))
    }

    /// For how long a value is in use after a request.
    fn patience(&self, pace: &Pace) -> Duration {
        let longest = self.intervals.iter().flatten().max().copied().unwrap_or_default();
        (longest * 3).max(pace.idle_after).min(PATIENCE_MAX)
    }
}

// === impl LastRead ===

impl LastRead {
    /// When the next one may begin.
    pub(super) fn next_allowed(&self, pace: &Pace) -> Instant {
        self.began + self.retry_after.unwrap_or(pace.refresh)
    }
}

/// Decides what to do at `now`. While the service is `saturated`, a read that may be useless waits
/// for a request.
pub(super) fn next(
    now: Instant,
    activity: &Activity,
    read: Option<LastRead>,
    pace: &Pace,
    saturated: impl FnOnce() -> bool,
) -> Next {
    let Some(read) = read else { return Next::Now };
    let allowed = read.next_allowed(pace);
    if activity.wanted {
        return if now >= allowed { Next::Now } else { Next::At(allowed) };
    }
    let idle_at = activity.idle_at(pace);
    if !activity.standing && idle_at.is_none_or(|idle_at| now >= idle_at) {
        return Next::Idle;
    }
    let due = match read.retry_after {
        _ if !activity.is_continuous(now, pace) => return Next::At(idle_at.unwrap_or(allowed)),
        Some(_) => allowed,
        None => due(activity, read.began, pace),
    };
    match now >= due {
        true if read.retry_after.is_none() && activity.is_spare(pace) && saturated() => Next::At(now + pace.every),
        true => Next::Now,
        false => Next::At(due),
    }
}

fn due(activity: &Activity, began: Instant, pace: &Pace) -> Instant {
    let soonest = began + pace.every;
    let expected = activity.last.zip(activity.rhythm(pace)).map(|(last, rhythm)| last + rhythm);
    match expected.map(|expected| expected - LEAD) {
        // Not read yet for the request that is expected.
        Some(ahead) if began < ahead => soonest.max(ahead),
        // Read for it already (if it is late, the value must not grow old), or no rhythm.
        _ => soonest,
    }
}

/// The pause after a read that failed after `took`, from its beginning. It is never shorter than
/// `refresh`, nor than what the service `said`. `chance` is in 0..1.
pub(super) fn retry_after(pace: &Pace, took: Duration, said: Option<Duration>, chance: f64) -> Duration {
    let usual = pace.refresh.mul_f64(1.0 + JITTER * chance.clamp(0.0, 1.0));
    said.map_or(usual, |said| usual.max(took + said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    fn pace() -> Pace {
        let refresh = seconds(5.0);
        let (timeout, max_age, idle_after) = (seconds(3.0), seconds(60.0), seconds(120.0));
        Pace { refresh, every: refresh, timeout, max_age, idle_after }
    }

    /// Requested at these seconds, last read begun at that one: due when?
    fn due_after(requested: &[f64], began: f64) -> f64 {
        let start = Instant::now();
        let mut activity = Activity::default();
        for at in requested {
            activity.record(Requester::Continuing, start + seconds(*at), &pace());
        }
        (due(&activity, start + seconds(began), &pace()) - start).as_secs_f64()
    }

    #[test]
    fn due_times() {
        for (requested, began, expected) in [
            // Until the rhythm is known: every refresh.
            (&[0.0][..], 0.0, 5.0),
            (&[0.0, 15.0, 30.0], 29.0, 34.0),
            // Known: a second before the next request.
            (&[0.0, 15.0, 30.0, 45.0], 44.0, 59.0),
            (&[0.0, 15.0, 30.0, 45.1], 44.0, 59.1),
            // Read for the coming request already, and it may be late: refresh.
            (&[0.0, 15.0, 30.0, 45.0], 59.0, 64.0),
            // Irregular, or faster than refresh: every refresh.
            (&[0.0, 15.0, 30.0, 37.0], 35.0, 40.0),
            (&[0.0, 2.0, 4.0, 6.0], 5.0, 10.0),
            // Two intervals of several HPAs that are equal by chance.
            (&[0.0, 6.5, 13.0, 15.0, 21.5, 28.0], 23.0, 28.0),
            // Several HPAs at the same beat are one.
            (&[0.0, 0.1, 15.0, 15.2, 30.0, 30.3, 45.0, 45.1], 44.0, 59.0),
        ] {
            assert!((due_after(requested, began) - expected).abs() < 0.001, "{requested:?} {began} {expected}");
        }
    }

    #[test]
    fn stops_without_requests() {
        let usual = pace();
        let start = Instant::now();
        let read = |at: f64| Some(LastRead { began: start + seconds(at), retry_after: None });
        let mut activity = Activity::default();
        activity.record(Requester::Continuing, start, &pace());
        assert_eq!(next(start, &activity, None, &usual, || false), Next::Now);
        assert_eq!(next(start + seconds(119.0), &activity, read(100.0), &usual, || false), Next::Now);
        assert_eq!(next(start + seconds(120.0), &activity, read(100.0), &usual, || false), Next::Idle);
        // Requested every hour: in use for three of them.
        activity.record(Requester::Continuing, start + seconds(3600.0), &pace());
        assert_eq!(next(start + seconds(7100.0), &activity, read(7000.0), &usual, || false), Next::Now);
    }

    #[test]
    fn a_standing_value_is_read_every_refresh_and_without_end() {
        let usual = pace();
        let start = Instant::now();
        let read = |at: f64| Some(LastRead { began: start + seconds(at), retry_after: None });
        let mut activity = Activity::default();
        assert!(!activity.any() && activity.stand(true) && !activity.stand(true) && activity.any());
        for at in [0.0, 15.0, 30.0] {
            activity.record(Requester::Continuing, start + seconds(at), &pace());
        }
        // Requested in a rhythm, or not for a day: it makes no difference.
        for at in [31.0, 86400.0] {
            let due = start + seconds(at + 5.0);
            assert_eq!(next(start + seconds(at + 1.0), &activity, read(at), &usual, || false), Next::At(due));
        }
        assert!(activity.stand(false));
        assert_eq!(next(start + seconds(86400.0), &activity, read(86399.0), &usual, || false), Next::Idle);
    }

    #[test]
    fn a_saturated_service_is_not_sent_useless_reads() {
        let (usual, start) = (pace(), Instant::now());
        let read = Some(LastRead { began: start, retry_after: None });
        let at = |seconds_on: f64, activity: &Activity, read, busy| {
            next(start + seconds(seconds_on), activity, read, &usual, || busy)
        };
        let mut activity = Activity::default();
        activity.record(Requester::Continuing, start, &pace());
        // Requests come more often than reads.
        assert_eq!(at(5.0, &activity, read, true), Next::Now);
        activity.served();
        assert_eq!(at(1.0, &activity, read, true), Next::At(start + seconds(5.0)));
        assert_eq!(
            (at(5.0, &activity, read, false), at(5.0, &activity, read, true)),
            (Next::Now, Next::At(start + seconds(10.0)))
        );
        // A failed read is repeated, and a standing value is always read.
        let failed = Some(LastRead { began: start, retry_after: Some(seconds(6.0)) });
        assert_eq!(at(6.0, &activity, failed, true), Next::Now);
        activity.stand(true);
        assert_eq!(at(5.0, &activity, read, true), Next::Now);
        // A request that is expected is read ahead of.
        let mut activity = Activity::default();
        for ask in [0.0, 15.0, 30.0, 45.0] {
            activity.record(Requester::Continuing, start + seconds(ask), &pace());
        }
        activity.served();
        let read = Some(LastRead { began: start + seconds(44.0), retry_after: None });
        assert_eq!(at(59.0, &activity, read, true), Next::Now);
    }

    #[test]
    fn a_failing_value_is_read_no_more_often_than_a_good_one() {
        for (refresh, low, high) in [(1.0, 1.0, 1.2), (5.0, 5.0, 6.0), (60.0, 60.0, 72.0)] {
            let usual = Pace { refresh: seconds(refresh), ..pace() };
            for chance in [0.0, 0.5, 1.0] {
                for said in [None, Some(Duration::ZERO)] {
                    let wait = retry_after(&usual, seconds(0.1), said, chance).as_secs_f64();
                    assert!((low..=high + 0.001).contains(&wait), "{refresh} {chance} {wait}");
                }
                let after_retry_after = retry_after(&usual, seconds(2.0), Some(seconds(90.0)), chance);
                assert_eq!(after_retry_after, seconds(92.0));
            }
        }
    }

    #[test]
    fn only_a_continuing_consumer_is_read_for_in_the_background() {
        let (usual, start) = (pace(), Instant::now());
        // Requests, each with its consumer; whether the value is continuous after them.
        let cases: [(&[(f64, u64)], bool); 7] = [
            (&[(0.0, 1)], false),
            (&[(0.0, 1), (1.0, 1)], false),
            (&[(0.0, 1), (0.6, 1), (1.2, 1)], true),
            (&[(0.0, 1), (15.0, 1)], true),
            (&[(0.0, 1), (15.0, 2), (30.0, 3)], false),
            (&[(0.0, 1), (60.0, 2), (119.9, 1)], true),
            (&[(0.0, 1), (60.0, 2), (120.0, 1)], false),
        ];
        for (requests, expected) in cases {
            let mut activity = Activity::default();
            let mut last = start;
            for (at, id) in requests {
                last = start + seconds(*at);
                activity.record(Requester::Consumer(ConsumerId(*id)), last, &usual);
            }
            assert_eq!(activity.is_continuous(last, &usual), expected, "{requests:?}");
            let read = Some(LastRead { began: last, retry_after: None });
            let expected = if expected { last + seconds(5.0) } else { activity.idle_at(&usual).unwrap() };
            assert_eq!(next(last, &activity, read, &usual, || false), Next::At(expected), "{requests:?}");
        }
    }

    #[test]
    fn requests_of_others_do_not_keep_background_reads_going() {
        let (usual, start) = (pace(), Instant::now());
        let mut activity = Activity::default();
        for (at, id) in [(0.0, 1), (15.0, 1), (100.0, 2), (130.0, 3)] {
            activity.record(Requester::Consumer(ConsumerId(id)), start + seconds(at), &usual);
        }
        let patience = activity.patience(&usual);
        assert!(activity.is_continuous(start + seconds(14.9) + patience, &usual));
        assert!(!activity.is_continuous(start + seconds(15.0) + patience, &usual));
    }
}
