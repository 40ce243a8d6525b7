//! The rate of one counter, from the numbers that were read of it. Pure: time is an argument.
//!
//! A number below the one before means that the program restarted and counted from 0. If the counter is
//! above the one before, a restart shows only in the time at which the counter or the process began. If
//! only the process is another one, this is the first read of it. An exporter that restarts continues the counters of
//! another program, which did not begin at 0.
//!
//! Nothing is extrapolated: the rate is the increase in the window, divided by the window, or by the time
//! since the first read while that is shorter. So it needs two reads, or a counter that is known to have
//! been 0 within the window.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The most points in a window, about. Reads that are closer replace each other.
const POINTS: u32 = 32;
/// How far the start of a process may move without a restart. Programs compute it from the clock of the
/// kernel, which is corrected by up to a second.
const JITTER: f64 = 2.0;

/// What determines a rate.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The time that a rate is averaged over.
    pub length: Duration,
    /// After this time without a read, a counter is a new one: the increase in the meantime is the average
    /// of another time.
    pub gap_max: Duration,
}

/// A number that was read.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// When it was received. The clock of the program is not used, because it may be wrong.
    pub at: Instant,
    /// The number: finite, and not below 0.
    pub value: f64,
    /// When the counter or its process began, in seconds since 1970 by the clock of the program.
    pub start: Option<f64>,
    /// Whether `start` is that of the process, because the counter has none of its own.
    pub is_of_process: bool,
    /// How long ago the counter was 0, if that is known.
    pub age: Option<Duration>,
}

/// A counter of one target.
#[derive(Clone, Debug)]
pub struct Counter {
    /// In the order of their times; at least one. At most one of them is not within the window.
    points: VecDeque<Point>,
    value: f64,
    start: Option<Start>,
    is_of_new_process: bool,
}

/// How much was counted up to a time, since the first point.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: Instant,
    total: f64,
}

/// When the process began, and the first read of that process.
#[derive(Clone, Copy, Debug)]
struct Start {
    time: f64,
    seen: Instant,
}

// === impl Counter ===

impl Counter {
    /// A counter that is read for the first time. If it was 0 within the window, then nothing was counted
    /// before, and everything since.
    pub fn new(read: &Read, window: Window) -> Self {
        let Read { at, value, start, age, .. } = *read;
        let began = age.filter(|age| *age <= window.length).and_then(|age| at.checked_sub(age));
        let points = match (began, at.checked_sub(window.length)) {
            (Some(began), Some(before)) => {
                let zero = |at| Point { at, total: 0.0 };
                [zero(before), zero(began), Point { at, total: value }].into()
            }
            _ => [Point { at, total: 0.0 }].into(),
        };
        Self { points, value, start: start.map(|time| Start { time, seen: at }), is_of_new_process: false }
    }

    /// Adds a number. One that was read earlier than the last one is ignored.
    pub fn add(&mut self, read: &Read, window: Window) {
        let Some(last) = self.points.back().copied() else { return };
        if read.at <= last.at {
            return;
        }
        if read.at.duration_since(last.at) > window.gap_max {
            *self = Self::new(read, window);
            return;
        }
        let fell = read.value < self.value;
        let is_other = self.is_other_process(read.start, last.at);
        if is_other && !fell && read.is_of_process {
            *self = Self { is_of_new_process: true, ..Self::new(read, window) };
            return;
        }
        self.is_of_new_process = false;
        let restarted = fell || is_other;
        let increase = if restarted { read.value } else { read.value - self.value };
        let seen = self.start.filter(|_| !restarted).map_or(read.at, |start| start.seen);
        self.start = read.start.map(|time| Start { time, seen });
        self.value = read.value;
        self.push(Point { at: read.at, total: last.total + increase }, window);
    }

    /// Per second. `None` while it is unknown.
    pub fn rate(&self, window: Window) -> Option<f64> {
        let last = self.points.back()?;
        let first = self.at_begin(last.at.checked_sub(window.length))?;
        let elapsed = last.at.duration_since(first.at);
        (!elapsed.is_zero()).then(|| (last.total - first.total) / elapsed.as_secs_f64())
    }

    /// Whether the process is another one since the last read, so that there is no rate until the next.
    pub fn is_of_new_process(&self) -> bool {
        self.is_of_new_process
    }

    /// Whether another process than that of the last read reports this start. It began after that read,
    /// so the start has moved by at least the time that the former process was seen for. A smaller move is
    /// a corrected clock.
    fn is_other_process(&self, start: Option<f64>, last: Instant) -> bool {
        let (Some(before), Some(start)) = (self.start, start) else { return false };
        let lived = last.duration_since(before.seen).as_secs_f64();
        start - before.time > JITTER.max(lived - JITTER)
    }

    fn push(&mut self, point: Point, window: Window) {
        let is_close = |before: &Point| point.at.duration_since(before.at) < window.length / POINTS;
        if self.points.iter().rev().nth(1).is_some_and(is_close) {
            self.points.pop_back();
        }
        self.points.push_back(point);
        let begin = point.at.checked_sub(window.length);
        while self.points.get(1).is_some_and(|second| begin.is_some_and(|begin| second.at <= begin)) {
            self.points.pop_front();
        }
    }

    /// How much was counted at the begin of the window, as if evenly between two reads. The first point, if
    /// that is later.
    fn at_begin(&self, begin: Option<Instant>) -> Option<Point> {
        let first = *self.points.front()?;
        let (Some(at), Some(second)) = (begin.filter(|begin| *begin > first.at), self.points.get(1)) else {
            return Some(first);
        };
        let (passed, between) = (at.duration_since(first.at), second.at.duration_since(first.at));
        let share = passed.as_secs_f64() / between.as_secs_f64();
        Some(Point { at, total: first.total + (second.total - first.total) * share })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Window = Window { length: Duration::from_secs(60), gap_max: Duration::from_secs(120) };

    /// A counter that was 0 at this start, long before the window.
    fn read(at: Instant, value: f64, start: Option<f64>) -> Read {
        Read { at, value, start, is_of_process: false, age: start.map(|_| WINDOW.length * 10) }
    }

    /// A counter of a process with this start.
    fn read_of_process(at: Instant, value: f64, start: Option<f64>) -> Read {
        Read { is_of_process: true, age: None, ..read(at, value, start) }
    }

    /// Seconds since the first read, the number, and the start.
    type Point = (f64, f64, Option<f64>);

    /// The rate after each of these reads.
    fn rates(reads: &[Point]) -> Vec<Option<f64>> {
        rates_of(reads, read)
    }

    fn rates_of(reads: &[Point], read: fn(Instant, f64, Option<f64>) -> Read) -> Vec<Option<f64>> {
        let zero = Instant::now();
        let mut counter: Option<Counter> = None;
        let one = |(after, value, start): &Point| {
            let read = read(zero + Duration::from_secs_f64(*after), *value, *start);
            match &mut counter {
                Some(counter) => counter.add(&read, WINDOW),
                None => counter = Some(Counter::new(&read, WINDOW)),
            }
            counter.as_ref().and_then(|counter| counter.rate(WINDOW))
        };
        reads.iter().map(one).collect()
    }

    fn last(reads: &[Point]) -> Option<f64> {
        rates(reads).pop().flatten()
    }

    #[test]
    fn one_number_is_no_rate() {
        assert_eq!(rates(&[(0.0, 1e9, None), (10.0, 1e9 + 50.0, None)]), [None, Some(5.0)]);
        assert_eq!(rates(&[(0.0, 0.0, None), (10.0, 0.0, None)]), [None, Some(0.0)]);
        // The same read twice is one.
        assert_eq!(rates(&[(0.0, 1.0, None), (0.0, 2.0, None)]), [None, None]);
    }

    #[test]
    fn the_rate_is_that_of_the_window() {
        // Nothing for a minute, then 10 a second.
        let quiet = [(0.0, 100.0, None), (30.0, 100.0, None), (60.0, 100.0, None)];
        let busy = [(90.0, 400.0, None), (120.0, 700.0, None), (150.0, 1000.0, None)];
        let all = [&quiet[..], &busy].concat();
        assert_eq!(rates(&all), [None, Some(0.0), Some(0.0), Some(5.0), Some(10.0), Some(10.0)]);
        // The begin of the window is between two reads: half of the increase between them is in it.
        assert_eq!(last(&[(0.0, 0.0, None), (40.0, 40.0, None), (80.0, 40.0, None)]), Some(20.0 / 60.0));
    }

    #[test]
    fn a_restart_counts_from_0() {
        // A fall is a restart.
        assert_eq!(last(&[(0.0, 1000.0, None), (10.0, 30.0, None)]), Some(3.0));
        assert_eq!(last(&[(0.0, 1000.0, None), (10.0, 0.0, None), (20.0, 40.0, None)]), Some(2.0));
        // Without a fall, the start of the counter shows it.
        for (start, rate) in [
            (Some(5_000.0), 100.0),
            // The clock was corrected: the process is the same.
            (Some(1_000.9), 1.0),
            (Some(999.0), 1.0),
            (Some(-80_000.0), 1.0),
            (None, 1.0),
        ] {
            assert_eq!(last(&[(0.0, 990.0, Some(1_000.0)), (10.0, 1000.0, start)]), Some(rate), "{start:?}");
        }
        // A process that was seen for 50 s can't have been replaced by one that began 40 s after it.
        let seen = [(0.0, 50.0, Some(1_000.0)), (50.0, 50.0, Some(1_000.0))];
        let then = |start| last(&[&seen[..], &[(60.0, 110.0, Some(start))]].concat());
        assert_eq!((then(1_040.0), then(1_055.0)), (Some(1.0), Some(110.0 / 60.0)));
    }

    #[test]
    fn a_process_that_restarts_without_a_fall_may_be_an_exporter() {
        let rates =
            |second: Point| rates_of(&[(0.0, 990.0, Some(1_000.0)), second, (20.0, 1020.0, second.2)], read_of_process);
        // It was read once.
        assert_eq!(rates((10.0, 1000.0, Some(5_000.0))), [None, None, Some(2.0)]);
        // A fall is a restart of what counts.
        assert_eq!(rates((10.0, 10.0, Some(5_000.0))), [None, Some(1.0), Some(51.0)]);
        // The same process, after its clock was corrected, and one without a time.
        for start in [Some(1_000.9), Some(999.0), None] {
            assert_eq!(rates((10.0, 1000.0, start)), [None, Some(1.0), Some(1.5)], "{start:?}");
        }
    }

    #[test]
    fn a_corrected_clock_hides_no_later_restart() {
        let reads = [(0.0, 90.0, Some(10_000.0)), (10.0, 90.0, Some(1_000.0)), (20.0, 100.0, Some(1_015.0))];
        assert_eq!(last(&reads), Some(5.0));
    }

    #[test]
    fn a_counter_that_was_0_within_the_window_counts_at_once() {
        let zero = Instant::now();
        let counter = |age: u64| {
            let age = Some(Duration::from_secs(age));
            Counter::new(&Read { age, ..read(zero, 600.0, Some(1.0)) }, WINDOW)
        };
        for (age, rate) in [(0, Some(10.0)), (20, Some(10.0)), (60, Some(10.0)), (61, None)] {
            assert_eq!(counter(age).rate(WINDOW), rate, "{age}");
        }
        // Of 30 a second in 20 s, only what is in the window remains.
        let mut counter = counter(20);
        for (after, rate) in [(30, 10.0), (50, 5.0), (55, 2.5), (60, 0.0)] {
            let at = zero + Duration::from_secs(after);
            counter.add(&read(at, 600.0, Some(1.0)), WINDOW);
            assert_eq!(counter.rate(WINDOW), Some(rate), "{after}");
        }
    }

    #[test]
    fn a_counter_that_was_not_read_for_long_is_a_new_one() {
        assert_eq!(last(&[(0.0, 0.0, None), (120.0, 120.0, None)]), Some(1.0));
        assert_eq!(last(&[(0.0, 0.0, None), (120.1, 120.0, None)]), None);
        assert_eq!(last(&[(0.0, 0.0, None), (121.0, 500.0, None), (131.0, 510.0, None)]), Some(1.0));
    }

    #[test]
    fn a_window_has_a_bounded_number_of_points() {
        let zero = Instant::now();
        let mut counter = Counter::new(&read(zero, 0.0, None), WINDOW);
        for after in 1..20_000_u32 {
            counter.add(&read(zero + Duration::from_millis(20) * after, f64::from(after), None), WINDOW);
            assert!(counter.points.len() <= 35, "{}", counter.points.len());
            let rate = counter.rate(WINDOW).unwrap();
            assert!((rate - 50.0).abs() < 1e-6, "{after}: {rate}");
        }
    }

    /// Milliseconds until the next read, what is counted until then, and whether it restarts after that.
    fn steps() -> impl Strategy<Value = Vec<(u64, u32, bool)>> {
        proptest::collection::vec((2_500_u64..30_000, 0_u32..1000, any::<bool>()), 1..40)
    }

    proptest! {
        /// Restarts right after a read lose nothing, so the rate is exact if each of them is seen.
        #[test]
        fn the_rate_is_what_was_counted(steps in steps()) {
            let zero = Instant::now();
            let (mut now, mut value, mut start, mut total) = (0_u64, 0_u32, 0.0, 0_u32);
            let mut history = vec![(0_u64, 0_u32)];
            let mut counter = Counter::new(&read(zero, 0.0, Some(start)), WINDOW);
            for (wait, count, restart) in steps {
                if restart {
                    (value, start) = (0, Duration::from_millis(now).as_secs_f64() + 0.1 + JITTER);
                }
                now += wait;
                value += count;
                total += count;
                history.push((now, total));
                let at = zero + Duration::from_millis(now);
                counter.add(&read(at, f64::from(value), Some(start)), WINDOW);
            }
            let begin = now.saturating_sub(60_000);
            let counted_before: f64 = history.windows(2).map(|pair| {
                let [(from, before), (to, after)] = pair else { unreachable!() };
                let share = (begin.clamp(*from, *to) - from) as f64 / (to - from) as f64;
                f64::from(after - before) * share
            }).sum();
            let expected = (f64::from(total) - counted_before) / Duration::from_millis(now - begin).as_secs_f64();
            let rate = counter.rate(WINDOW).unwrap();
            prop_assert!((rate - expected).abs() < 1e-6, "{rate} is not {expected}");
        }

        /// Whatever is read, a rate is a number that is not negative, and not above all that was read.
        #[test]
        fn a_rate_is_never_negative(reads in proptest::collection::vec((0.001_f64..100.0, 0.0_f64..1e6, proptest::option::of(-1e5_f64..1e5)), 1..30)) {
            let mut after = 0.0;
            let reads: Vec<_> = reads.into_iter().map(|(wait, value, start)| { after += wait; (after, value, start) }).collect();
            let all: f64 = reads.iter().map(|(_, value, _)| value).sum();
            for (index, rate) in rates(&reads).into_iter().enumerate() {
                prop_assert!(index > 0 || rate.is_none());
                if let Some(rate) = rate {
                    prop_assert!((0.0..=all / 0.001).contains(&rate), "{rate}");
                }
            }
        }
    }
}
