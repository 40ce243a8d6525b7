use proptest::prelude::*;

use super::*;
use crate::exposition::MetricType;
use crate::metric::quantity::Quantity;

const SECOND: Duration = Duration::from_secs(1);
/// Why there is no rate after the first read.
const UNKNOWN: &str = "it was read once, and a rate needs two reads. Wait for the next one.";

fn rules(aggregation: Aggregation, by: &[&str]) -> Rules {
    let by = by.iter().map(|label| (*label).to_owned()).collect();
    Rules { aggregation, by, window: 60 * SECOND, refresh: 5 * SECOND, max_age: 60 * SECOND }
}

fn series(labels: &[(&str, &str)], value: f64) -> Series {
    let labels = labels.iter().copied().collect();
    Series { labels, value, created: None, process: None, metric_type: MetricType::Unknown }
}

fn down(cause: &str) -> SourceError {
    SourceError::new(Operation::Read, ErrorKind::Transient, cause, "Start it.", "10.0.0.1")
}

/// What one read of a target brought.
type Outcome = Result<Vec<Series>, SourceError>;
/// Labels, and thousandths or why there are none.
type Line = (String, Result<i64, &'static str>);

/// A fleet at times that are given in seconds.
struct Clocked {
    fleet: Fleet,
    zero: Instant,
}

impl Clocked {
    fn new(aggregation: Aggregation, by: &[&str]) -> Self {
        Self { fleet: Fleet::new(rules(aggregation, by)), zero: Instant::now() }
    }

    /// The numbers after each of these targets was read.
    fn read(&mut self, after: u32, reads: &[(&str, Outcome)]) -> Result<Vec<Line>, String> {
        let at = self.zero + SECOND * after;
        let read = |(uid, result): &(&str, Outcome)| TargetRead {
            uid: (*uid).to_owned(),
            at,
            time: 1000.0 + f64::from(after),
            result: result.clone(),
        };
        self.fleet.begin(&reads.iter().map(|(uid, _)| *uid).collect());
        reads.iter().map(read).for_each(|read| self.fleet.add(read));
        let line = |Point { labels, number }: Point| {
            let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
            let number = match number {
                Number::Value(value) => Ok(value.milli()),
                Number::Negative => Err("negative"),
                Number::NotANumber => Err("NaN"),
                Number::Unusable(why) => Err(why),
            };
            (labels.join(","), number)
        };
        let points = self.fleet.points(at).map_err(|error| error.cause)?;
        Ok(points.into_iter().map(line).collect())
    }

    /// The only number, in units.
    fn number(&mut self, after: u32, reads: &[(&str, Outcome)]) -> Result<f64, String> {
        match self.read(after, reads)?.as_slice() {
            [(labels, Ok(milli))] if labels.is_empty() => Ok(Quantity::from_milli(*milli).as_f64()),
            other => Err(format!("{other:?}")),
        }
    }
}

fn one(value: f64) -> Outcome {
    Ok(vec![series(&[], value)])
}

#[test]
fn rates_of_all_targets_are_added_up() {
    let mut fleet = Clocked::new(Aggregation::Rate, &[]);
    let young = |young, all| Err(format!("{young} of {all} pods were read once, and a rate needs two reads"));
    // The first read is no failure, and there is no number.
    let first = fleet.read(0, &[("a", one(1e6)), ("b", one(0.0))]);
    assert_eq!(first, Ok(vec![(String::new(), Err(UNKNOWN))]));
    assert_eq!(fleet.number(10, &[("a", one(1e6 + 50.0)), ("b", one(20.0))]), Ok(7.0));
    // A new pod with an inherited number makes no spike: there is no number before its second read.
    let three = |c| [("a", one(1e6 + 100.0)), ("b", one(40.0)), ("c", one(c))];
    assert_eq!(fleet.number(20, &three(1e9)), young(1, 3));
    // One that has left counts no longer, and one with its name is another one.
    assert_eq!(fleet.number(30, &[("b", one(60.0))]), Ok(2.0));
    assert_eq!(fleet.number(40, &[("a", one(1e6 + 200.0)), ("b", one(80.0))]), young(1, 2));
}

#[test]
fn a_series_that_was_0_within_the_window_counts_at_once() {
    let mut fleet = Clocked::new(Aggregation::Rate, &[]);
    let created = |value, created| Ok(vec![Series { created: Some(created), ..series(&[], value) }]);
    assert_eq!(fleet.number(0, &[("a", created(120.0, 980.0))]), Ok(2.0));
    let mut fleet = Clocked::new(Aggregation::Rate, &[]);
    for created_at in [900.0, 1000.5, f64::NAN, f64::INFINITY, -1e300] {
        assert!(fleet.number(0, &[("a", created(120.0, created_at))]).is_err(), "{created_at}");
    }
}

#[test]
fn a_restart_shows_in_the_start_of_the_counter_or_the_process() {
    let mut fleet = Clocked::new(Aggregation::Rate, &[]);
    let created = |value, created| Ok(vec![Series { created: Some(created), ..series(&[], value) }]);
    assert!(fleet.number(0, &[("a", created(100.0, 500.0))]).is_err());
    assert_eq!(fleet.number(10, &[("a", created(110.0, 1005.0))]), Ok(11.0));
    // The number of another process is that of the first read.
    let mut fleet = Clocked::new(Aggregation::Rate, &[]);
    let process = |value, process| Ok(vec![Series { process: Some(process), ..series(&[], value) }]);
    assert!(fleet.number(0, &[("a", process(100.0, 500.0))]).is_err());
    assert_eq!(fleet.number(10, &[("a", process(110.0, 500.0))]), Ok(1.0));
    let young = "1 of 1 pods were read once, and a rate needs two reads".to_owned();
    assert_eq!(fleet.number(20, &[("a", process(120.0, 1015.0))]), Err(young.clone()));
    assert_eq!(fleet.number(30, &[("a", process(140.0, 1015.0))]), Ok(2.0));
    // A sum without the one that has not fallen would be too small.
    let mut fleet = Clocked::new(Aggregation::Rate, &[]);
    let two = |a, b, process| {
        let of = |path, value| Series { process: Some(process), ..series(&[("path", path)], value) };
        Ok(vec![of("a", a), of("b", b)])
    };
    assert!(fleet.number(0, &[("a", two(100.0, 10.0, 500.0))]).is_err());
    assert_eq!(fleet.number(10, &[("a", two(110.0, 20.0, 500.0))]), Ok(2.0));
    assert_eq!(fleet.number(20, &[("a", two(5.0, 30.0, 1015.0))]), Err(young));
    assert_eq!(fleet.number(30, &[("a", two(15.0, 40.0, 1015.0))]).map(|rate| rate > 1.0), Ok(true));
}

#[test]
fn numbers_are_kept_while_they_are_not_too_old_before_the_next_read() {
    for (refresh, max_age, kept) in [(5, 60, 54), (15, 60, 44), (28, 60, 31), (40, 60, 30), (60, 60, 30), (5, 8, 4)] {
        let rules = Rules { refresh: refresh * SECOND, max_age: max_age * SECOND, ..rules(Aggregation::Sum, &[]) };
        assert_eq!(rules.kept(), kept * SECOND, "{refresh} {max_age}");
    }
}

#[test]
fn a_target_that_can_not_be_read_keeps_its_numbers() {
    let mut fleet = Clocked::new(Aggregation::Rate, &[]);
    let lost = || Err(down("connection refused"));
    assert!(fleet.number(0, &[("a", one(0.0)), ("b", one(0.0))]).is_err());
    assert_eq!(fleet.number(10, &[("a", one(10.0)), ("b", one(20.0))]), Ok(3.0));
    assert_eq!(fleet.number(20, &[("a", one(20.0)), ("b", lost())]), Ok(3.0));
    assert_eq!(fleet.number(64, &[("a", one(64.0)), ("b", lost())]), Ok(3.0));
    let error = Err("1 of 2 pods can't be read: connection refused".to_owned());
    assert_eq!(fleet.number(65, &[("a", one(65.0)), ("b", lost())]), error);
    // A pod that was never read has no number to keep.
    let mut fleet = Clocked::new(Aggregation::Sum, &[]);
    assert_eq!(fleet.number(0, &[("a", one(1.0)), ("b", lost())]), error);
    assert_eq!(fleet.number(1, &[("a", one(1.0))]), Ok(1.0));
}

#[test]
fn a_tenth_of_the_targets_may_be_missing() {
    let names: Vec<String> = (0..20).map(|at| at.to_string()).collect();
    let reads = |lost: usize| -> Vec<(&str, Outcome)> {
        let result = |at: usize| if at < lost { Err(down(if at == 0 { "a" } else { "b" })) } else { one(1.0) };
        names.iter().enumerate().map(|(at, name)| (name.as_str(), result(at))).collect()
    };
    let number = |lost| Clocked::new(Aggregation::Sum, &[]).number(0, &reads(lost));
    assert_eq!(number(0), Ok(20.0));
    assert_eq!(number(2), Ok(18.0));
    // The most frequent cause.
    assert_eq!(number(3), Err("3 of 20 pods can't be read: b".to_owned()));
    let one_of_ten = Clocked::new(Aggregation::Sum, &[]).number(0, &reads(1)[..9]);
    assert_eq!(one_of_ten, Err("1 of 9 pods can't be read: a".to_owned()));
    let error = Fleet::new(rules(Aggregation::Sum, &[])).points(Instant::now()).unwrap_err();
    assert_eq!(error.cause, "no pod of the service is ready, so there is nothing to read");
}

#[test]
fn gauges_are_added_up_averaged_or_the_largest_is_taken() {
    let reads = [
        ("a", Ok(vec![series(&[("q", "x")], 1.0), series(&[("q", "y")], 2.5)])),
        ("b", Ok(vec![series(&[("q", "x")], 4.0)])),
        // It was read, and has none.
        ("c", Ok(vec![])),
    ];
    for (aggregation, number) in [(Aggregation::Sum, 7.5), (Aggregation::Average, 2.5), (Aggregation::Max, 4.0)] {
        assert_eq!(Clocked::new(aggregation, &[]).number(0, &reads), Ok(number));
    }
    let by = Clocked::new(Aggregation::Sum, &["q"]).read(0, &reads);
    assert_eq!(by, Ok(vec![("q=x".to_owned(), Ok(5000)), ("q=y".to_owned(), Ok(2500))]));
    let by = Clocked::new(Aggregation::Sum, &["none"]).read(0, &reads);
    assert_eq!(by, Ok(vec![(String::new(), Ok(7500))]));
    // No series at all is no number.
    assert_eq!(Clocked::new(Aggregation::Sum, &[]).read(0, &[("a", Ok(vec![]))]), Ok(vec![]));
}

#[test]
fn nan_stays_nan_and_an_infinite_number_is_none() {
    for aggregation in [Aggregation::Sum, Aggregation::Average, Aggregation::Max] {
        for reads in [[("a", one(f64::NAN)), ("b", one(1.0))], [("a", one(1.0)), ("b", one(f64::NAN))]] {
            let read = Clocked::new(aggregation, &[]).read(0, &reads);
            assert_eq!(read, Ok(vec![(String::new(), Err("NaN"))]), "{aggregation:?}");
        }
        let read = Clocked::new(aggregation, &[]).read(0, &[("a", one(f64::INFINITY))]).unwrap();
        assert!(read[0].1.unwrap_err().starts_with("it is infinite"));
    }
    assert_eq!(
        Clocked::new(Aggregation::Sum, &[]).read(0, &[("a", one(-1.0))]),
        Ok(vec![(String::new(), Err("negative"))])
    );
    for value in [f64::NAN, f64::INFINITY, -1.0] {
        let error = Clocked::new(Aggregation::Rate, &[]).read(0, &[("a", one(value))]);
        assert_eq!(error, Err("1 of 1 pods can't be read: a selected counter is negative, infinite or NaN".to_owned()));
    }
}

#[test]
fn some_pods_without_a_rate_are_a_failure_from_the_start() {
    // What the counter of the first one grew by is known, and a sum of it alone would be too small.
    let mut fleet = Clocked::new(Aggregation::Rate, &[]);
    let created = Ok(vec![Series { created: Some(980.0), ..series(&[], 120.0) }]);
    let error = fleet.number(0, &[("a", created), ("b", one(1e6))]);
    assert_eq!(error, Err("1 of 2 pods were read once, and a rate needs two reads".to_owned()));
    let mut fleet = Clocked::new(Aggregation::Rate, &[]);
    let error = fleet.number(0, &[("a", one(1e6)), ("b", Err(down("connection refused")))]);
    assert_eq!(error, Err("1 of 2 pods were read once, and a rate needs two reads".to_owned()));
}

#[test]
fn numbers_are_as_old_as_the_oldest_of_them() {
    let mut fleet = Clocked::new(Aggregation::Sum, &[]);
    let lost = || Err(down("connection refused"));
    fleet.read(0, &[("a", one(1.0)), ("b", one(1.0))]).unwrap();
    fleet.read(54, &[("a", one(1.0)), ("b", lost())]).unwrap();
    let oldest = |fleet: &Clocked, after| fleet.fleet.oldest(fleet.zero + SECOND * after).map(|at| at - fleet.zero);
    assert_eq!(oldest(&fleet, 54), Some(Duration::ZERO));
    assert_eq!(oldest(&fleet, 55), Some(54 * SECOND));
    assert_eq!(oldest(&fleet, 109), None);
}

/// A label combination that appears later has no number yet; the others have theirs.
#[test]
fn a_new_series_of_a_known_target_is_unknown_until_its_second_read() {
    let mut fleet = Clocked::new(Aggregation::Rate, &["code"]);
    let ok = |value| series(&[("code", "200")], value);
    let failed = |value| series(&[("code", "500")], value);
    assert_eq!(fleet.read(0, &[("a", Ok(vec![ok(0.0)]))]), Ok(vec![("code=200".to_owned(), Err(UNKNOWN))]));
    let read = fleet.read(10, &[("a", Ok(vec![ok(10.0), failed(1e6)]))]);
    assert_eq!(read, Ok(vec![("code=200".to_owned(), Ok(1000)), ("code=500".to_owned(), Err(UNKNOWN))]));
    let read = fleet.read(20, &[("a", Ok(vec![ok(20.0), failed(1e6 + 5.0)]))]);
    assert_eq!(read, Ok(vec![("code=200".to_owned(), Ok(1000)), ("code=500".to_owned(), Ok(500))]));
    // One that is gone, and comes back, is new.
    assert_eq!(fleet.read(30, &[("a", Ok(vec![ok(30.0)]))]), Ok(vec![("code=200".to_owned(), Ok(1000))]));
    assert_eq!(fleet.read(40, &[("a", Ok(vec![ok(40.0), failed(2e6)]))]).unwrap()[1].1, Err(UNKNOWN));
}

#[test]
fn there_are_at_most_so_many_series() {
    let many = |count: usize| Ok((0..count).map(|at| series(&[("l", &at.to_string())], 1.0)).collect());
    let (half, rest) = (SERIES_MAX / 2, SERIES_MAX - SERIES_MAX / 2);
    let read = |rest| Clocked::new(Aggregation::Sum, &[]).number(0, &[("a", many(half)), ("b", many(rest))]);
    assert_eq!(read(rest), Ok(10_000.0));
    assert_eq!(
        read(rest + 1),
        Err("1 of 2 pods can't be read: all pods together have more than 10000 selected series".to_owned())
    );
    // A pod that gets more before the other one has fewer.
    let mut fleet = Clocked::new(Aggregation::Sum, &[]);
    assert_eq!(fleet.number(0, &[("a", many(6000)), ("b", many(4000))]), Ok(10_000.0));
    assert_eq!(fleet.number(5, &[("b", many(6000)), ("a", many(4000))]), Ok(10_000.0));
}

proptest! {
    /// Pods come and go, and counters never fall: a served rate is never above what was counted at all.
    #[test]
    fn a_served_rate_is_at_most_what_was_counted(rounds in proptest::collection::vec(proptest::collection::vec((0_u32..5, 0_u32..100, any::<bool>()), 1..5), 2..20)) {
        let mut fleet = Clocked::new(Aggregation::Rate, &[]);
        // Each pod begins with an inherited number.
        let mut counters = [1e12; 5];
        let mut counted = 0.0;
        for (round, pods) in (0_u32..).zip(rounds) {
            let mut reads = BTreeMap::new();
            for (pod, count, fails) in pods {
                let counter = &mut counters[pod as usize];
                *counter += f64::from(count);
                counted += f64::from(count);
                reads.insert(pod, if fails { Err(down("x")) } else { one(*counter) });
            }
            let names: Vec<(String, _)> = reads.into_iter().map(|(pod, result)| (pod.to_string(), result)).collect();
            let reads: Vec<(&str, _)> = names.iter().map(|(name, result)| (name.as_str(), result.clone())).collect();
            if let Ok(rate) = fleet.number(round * 10, &reads) {
                prop_assert!((0.0..=counted / 10.0 + 0.001).contains(&rate), "{rate}, counted {counted}");
            }
        }
    }
}
