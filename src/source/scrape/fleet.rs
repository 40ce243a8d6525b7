//! What is known of all targets of a service, and the numbers that follow from it. Pure: time is an
//! argument.
//!
//! A target is known by its UID, and not by its address, because addresses are used again. A target that
//! has left counts no longer, because its traffic goes to others. A target that could not be read keeps
//! its last numbers while they will not be older than `maxAge` before the next read. If more than a tenth
//! of the targets have none, no sum is right: it would be smaller than it is, and the HPA would scale down.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::counter::{Counter, Read, Window};
use super::reading::{Invalid, SERIES_MAX, Series};
use crate::metric::Labels;
use crate::source::chosen::{Number, Point, counts_as};
use crate::source::{ErrorKind, Operation, SourceError};

/// Of so many targets one may be missing. The tolerance of the HPA controller is a tenth as well, so that
/// it does not scale because of the missing ones alone.
const TARGETS_PER_MISSING: usize = 10;
/// How much later than `refresh` after a read the next one may begin.
const LATE: Duration = Duration::from_secs(1);

/// What becomes of the series of all targets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Aggregation {
    /// The sum of what counters grow by a second.
    Rate,
    /// The sum.
    Sum,
    /// The average over all series.
    Average,
    /// The largest one.
    Max,
}

/// How the series of all targets become numbers.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What becomes of them.
    pub aggregation: Aggregation,
    /// The labels that distinguish the numbers. Without one there is a single number.
    pub by: Vec<String>,
    /// The time that rates are averaged over.
    pub window: Duration,
    /// The interval between reads.
    pub refresh: Duration,
    /// How old a number may be and still be served.
    pub max_age: Duration,
}

/// What one read of a target brought.
#[derive(Debug)]
pub struct TargetRead {
    /// The UID of the target.
    pub uid: String,
    /// When it was received.
    pub at: Instant,
    /// The same time, in seconds since 1970.
    pub time: f64,
    /// The selected series, or why there are none.
    pub result: Result<Vec<Series>, SourceError>,
}

/// All targets of a service.
#[derive(Debug)]
pub struct Fleet {
    rules: Rules,
    /// Sorted, because the sum of floats depends on their order.
    targets: BTreeMap<String, Target>,
    /// How many more series this read may bring.
    left: usize,
    /// Whether there were numbers of them before.
    had_numbers: bool,
}

#[derive(Debug, Default)]
struct Target {
    /// When it was last read.
    read_at: Option<Instant>,
    series: BTreeMap<Labels, Known>,
    /// Why the last read failed.
    failure: Option<SourceError>,
}

#[derive(Debug)]
enum Known {
    Counter(Counter),
    Value(f64),
}

/// The numbers of one group of series.
#[derive(Clone, Copy, Debug)]
struct Group {
    count: f64,
    sum: f64,
    max: f64,
}

// === impl Fleet ===

impl Fleet {
    /// A fleet of which nothing is known.
    pub fn new(rules: Rules) -> Self {
        Self { rules, targets: BTreeMap::new(), left: SERIES_MAX, had_numbers: false }
    }

    /// Begins a read of these targets. All others have left.
    pub fn begin(&mut self, uids: &HashSet<&str>) {
        self.targets.retain(|uid, _| uids.contains(&**uid));
        self.left = SERIES_MAX;
    }

    /// Adds what the read of a target brought.
    pub fn add(&mut self, TargetRead { uid, at, time, result }: TargetRead) {
        let result = result.and_then(|series| self.usable(series));
        let target = self.targets.entry(uid).or_default();
        target.add(at, time, result, &self.rules);
        // Also of a target that could not be read: it keeps those that it had.
        let counted = target.series.keys().map(|labels| counts_as(labels, usize::MAX)).sum();
        self.left = self.left.saturating_sub(counted);
    }

    /// The series of a target, unless there are too many, or counters that are none.
    fn usable(&self, series: Vec<Series>) -> Result<Vec<Series>, SourceError> {
        let is_rate = self.rules.aggregation == Aggregation::Rate;
        let counted: usize = series.iter().map(|series| counts_as(&series.labels, usize::MAX)).sum();
        if counted > self.left {
            return Err(too_many(""));
        }
        if is_rate && series.iter().any(|series| !series.value.is_finite() || series.value < 0.0) {
            let cause = "a selected counter is negative, infinite or NaN".to_owned();
            let remedy = "Select a counter in `series`, or write `as: sum` for a gauge.";
            return Err(SourceError::new(Operation::Decode, ErrorKind::Transient, cause, remedy, ""));
        }
        Ok(series)
    }

    /// The numbers of all targets, one for each combination of the values of `by`. After the first read of all
    /// targets, no rate is known, which is no failure.
    pub fn points(&mut self, now: Instant) -> Result<Vec<Point>, SourceError> {
        let window = self.rules.window();
        let is_fresh = |target: &&Target| target.is_fresh(now, &self.rules);
        let (fresh, stale): (Vec<&Target>, Vec<&Target>) = self.targets.values().partition(is_fresh);
        let young = fresh.iter().filter(|target| target.is_young(window)).count();
        let has_none = fresh.iter().all(|target| target.series.is_empty() || target.is_young(window));
        if self.had_numbers || !(young > 0 && has_none && stale.is_empty()) {
            self.check(&stale, young)?;
            self.had_numbers = true;
        }
        let fresh = self.targets.values().filter(is_fresh);
        let mut groups: BTreeMap<Labels, Option<Group>> = BTreeMap::new();
        for (labels, known) in fresh.flat_map(|target| &target.series) {
            let labels = labels.iter().filter(|(label, _)| self.rules.by.iter().any(|by| by == label)).collect();
            let group = groups.entry(labels).or_default();
            if let Some(number) = known.number(window) {
                *group = Some(group.map_or(Group::of(number), |group| group.with(number)));
            }
        }
        let number = |group: Option<Group>| match group {
            Some(group) => group.number(self.rules.aggregation),
            None => Number::Unusable("it was read once, and a rate needs two reads. Wait for the next one."),
        };
        Ok(groups.into_iter().map(|(labels, group)| Point { labels, number: number(group) }).collect())
    }

    /// When the oldest of the numbers was read that still count.
    pub fn oldest(&self, now: Instant) -> Option<Instant> {
        let fresh = self.targets.values().filter(|target| target.is_fresh(now, &self.rules));
        fresh.filter_map(|target| target.read_at).min()
    }

    /// Fails if there are too few targets with numbers. `young`: how many were read once.
    fn check(&self, stale: &[&Target], young: usize) -> Result<(), SourceError> {
        let all = self.targets.len();
        let missing = stale.len() + young;
        if all > 0 && missing * TARGETS_PER_MISSING <= all {
            return Ok(());
        }
        if all == 0 {
            let cause = "no pod of the service is ready, so there is nothing to read";
            let remedy = "Start a pod. This metric can't scale from zero.";
            return Err(SourceError::new(Operation::Read, ErrorKind::NoItems, cause, remedy, ""));
        }
        let error = |cause: String, remedy| SourceError::new(Operation::Read, ErrorKind::Transient, cause, remedy, "");
        if stale.len() <= young {
            return Err(error(
                format!("{young} of {all} pods were read once, and a rate needs two reads"),
                "Wait for the next read.",
            ));
        }
        // The most frequent cause, so that the message is the same at every read.
        let mut causes: BTreeMap<&str, (usize, &SourceError)> = BTreeMap::new();
        for failure in stale.iter().filter_map(|target| target.failure.as_ref()) {
            causes.entry(&failure.cause).or_insert((0, failure)).0 += 1;
        }
        let number = stale.len();
        match causes.into_values().reduce(|most, other| if other.0 > most.0 { other } else { most }) {
            Some((_, failure)) => {
                let cause = format!("{number} of {all} pods can't be read: {}", failure.cause);
                Err(SourceError { cause, ..failure.clone() })
            }
            None => Err(error(format!("{number} of {all} pods were not read yet"), "Wait for the next read.")),
        }
    }
}

/// The targets have too many series. `detail` is for the log.
pub(super) fn too_many(detail: impl Into<String>) -> SourceError {
    let remedy = "Select fewer in `series`, by labels.";
    SourceError::new(Operation::Read, ErrorKind::Transient, Invalid::Many.to_string(), remedy, detail)
}

// === impl Rules ===

impl Rules {
    /// What the numbers are. Equal for rules that differ only in how fresh they are.
    pub fn identity(&self) -> String {
        format!("{:?} {:?} {:?}", self.aggregation, self.by, self.window)
    }

    fn window(&self) -> Window {
        Window { length: self.window, gap_max: self.max_age.saturating_add(self.window) }
    }

    /// How old the numbers of a target may be at a read that does not bring new ones. All numbers of the read are
    /// served until the next one, and an answer is as old as its oldest number. With older ones, it would be too
    /// old before the next read may begin. They are kept for half of `maxAge` at least.
    fn kept(&self) -> Duration {
        self.max_age - self.refresh.saturating_add(LATE).min(self.max_age / 2)
    }
}

// === impl Target ===

impl Target {
    fn add(&mut self, at: Instant, time: f64, result: Result<Vec<Series>, SourceError>, rules: &Rules) {
        let series = match result {
            Ok(series) => series,
            Err(failure) => {
                self.failure = Some(failure);
                return;
            }
        };
        let mut before = std::mem::take(&mut self.series);
        let known = |series: Series| {
            let known = match before.remove(&series.labels) {
                Some(Known::Counter(mut counter)) => {
                    counter.add(&series.read(at, time), rules.window());
                    Known::Counter(counter)
                }
                _ if rules.aggregation == Aggregation::Rate => {
                    Known::Counter(Counter::new(&series.read(at, time), rules.window()))
                }
                _ => Known::Value(series.value),
            };
            (series.labels, known)
        };
        self.series = series.into_iter().map(known).collect();
        (self.read_at, self.failure) = (Some(at), None);
    }

    fn is_fresh(&self, now: Instant, rules: &Rules) -> bool {
        self.read_at.is_some_and(|at| now.saturating_duration_since(at) <= rules.kept())
    }

    /// Whether it has series, and no number of any of them is known yet. Those of a new process become known
    /// together.
    fn is_young(&self, window: Window) -> bool {
        let is_of_new_process = |known: &Known| match known {
            Known::Counter(counter) => counter.is_of_new_process(),
            Known::Value(_) => false,
        };
        let mut series = self.series.values();
        !self.series.is_empty()
            && (self.series.values().any(is_of_new_process) || series.all(|known| known.number(window).is_none()))
    }
}

// === impl Known ===

impl Known {
    fn number(&self, window: Window) -> Option<f64> {
        match self {
            Self::Counter(counter) => counter.rate(window),
            Self::Value(value) => Some(*value),
        }
    }
}

// === impl Group ===

impl Group {
    fn of(number: f64) -> Self {
        Self { count: 1.0, sum: number, max: number }
    }

    /// With one more number. NaN makes all of them NaN.
    fn with(self, number: f64) -> Self {
        let max = if number > self.max || number.is_nan() { number } else { self.max };
        Self { count: self.count + 1.0, sum: self.sum + number, max }
    }

    fn number(self, aggregation: Aggregation) -> Number {
        let number = match aggregation {
            Aggregation::Rate | Aggregation::Sum => self.sum,
            Aggregation::Average => self.sum / self.count,
            Aggregation::Max => self.max,
        };
        // Every float is a number as a text.
        Number::parse(&number.to_string()).unwrap_or(Number::NotANumber)
    }
}

// === impl Series ===

impl Series {
    /// As a read of a counter, at this time in seconds since 1970.
    fn read(&self, at: Instant, time: f64) -> Read {
        let age = self.created.and_then(|created| Duration::try_from_secs_f64(time - created).ok());
        Read { at, value: self.value, start: self.created.or(self.process), is_of_process: self.created.is_none(), age }
    }
}

#[cfg(test)]
mod tests;
