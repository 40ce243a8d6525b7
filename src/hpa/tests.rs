//! Against the controller's sources, and against its observed behavior.

use proptest::prelude::*;

use super::*;

const SPEC: Spec = Spec { min: 0, max: 10, tolerance: Tolerance { up: TOLERANCE, down: TOLERANCE } };

fn average(target: i64, sum: i64) -> Metric {
    Metric { target: Target::AverageValue(target), answer: Answer::Sum(sum) }
}

fn value(target: i64, sum: i64) -> Metric {
    Metric { target: Target::Value(target), answer: Answer::Sum(sum) }
}

fn failed() -> Metric {
    Metric { target: Target::AverageValue(1000), answer: Answer::Failed }
}

fn replicas(current: i32, metrics: &[Metric]) -> i32 {
    desired(Controller::NEWEST, &SPEC, &Workload::settled(current), metrics).replicas
}

#[test]
fn as_seen_on_a_real_controller() {
    for (current, sum, expected) in [
        (1, 0, 0),
        (0, 0, 0),
        (0, 1, 1),
        (0, 20, 10),
        (10, 5, 3),
        (3, 0, 0),
        (1, 100, 10),
        // Within 10 %: stays.
        (10, 19, 10),
        (10, 18, 10),
        (10, 17, 9),
        (5, 11, 5),
        (5, 12, 6),
    ] {
        assert_eq!(replicas(current, &[average(2000, sum * 1000)]), expected, "{current} {sum}");
    }
}

#[test]
fn value_counts_ready_pods_and_only_away_from_zero() {
    let result = |wanted, ready, sum: i64| {
        let workload = Workload { wanted, exist: 9, ready, scaled_to_zero: true };
        desired(Controller::NEWEST, &SPEC, &workload, &[value(10_000, sum * 1000)])
    };
    assert_eq!(result(4, Some(4), 20).replicas, 8);
    assert_eq!(result(4, Some(3), 20).replicas, 6);
    assert_eq!(result(4, Some(0), 20).replicas, 0, "with pods but none ready");
    assert_eq!(result(4, Some(2), 11).replicas, 4, "within the tolerance it is what is wanted, not what is ready");
    assert_eq!(result(0, None, 11).replicas, 2, "at 0 neither pods nor tolerance count");
    assert_eq!(result(0, None, 10).replicas, 1);
    let none_ready = result(4, None, 20);
    assert_eq!((none_ready.replicas, none_ready.why), (4, Why::Held));
    assert_eq!(none_ready.proposals, [Err(NoProposal::NoPods)]);
}

#[test]
fn an_average_counts_pods_that_exist_not_those_that_are_wanted() {
    let workload = Workload { wanted: 8, exist: 4, ready: Some(1), scaled_to_zero: false };
    assert_eq!(desired(Controller::NEWEST, &SPEC, &workload, &[average(1000, 4000)]).replicas, 4);
    // Far from 4 it makes no difference what there is.
    assert_eq!(desired(Controller::NEWEST, &SPEC, &workload, &[average(1000, 8000)]).replicas, 8);
    let at_start = Workload { wanted: 5, exist: 0, ready: None, scaled_to_zero: false };
    assert_eq!(
        desired(Controller::NEWEST, &SPEC, &at_start, &[average(1000, 3000)]).replicas,
        3,
        "no pod yet: no tolerance"
    );
    assert_eq!(desired(Controller::NEWEST, &SPEC, &at_start, &[average(1000, 0)]).replicas, 0);
}

#[test]
fn each_direction_has_its_tolerance() {
    let spec = Spec { tolerance: Tolerance { up: 0.0, down: 0.5 }, ..SPEC };
    let result = |sum| desired(Controller::NEWEST, &spec, &Workload::settled(4), &[average(1000, sum)]).replicas;
    assert_eq!((result(1999), result(2000), result(4000), result(4001)), (2, 4, 4, 5));
    assert!(Tolerance::default().covers(1.1) && Tolerance::default().covers(0.9));
    assert!(!Tolerance::default().covers(f64::NAN) && !Tolerance::default().covers(f64::INFINITY));
}

#[test]
fn the_highest_counts_and_while_one_fails_only_growth() {
    assert_eq!(replicas(4, &[average(1000, 2000), average(1000, 7000), value(1000, 500)]), 7);
    let result = desired(Controller::NEWEST, &SPEC, &Workload::settled(4), &[average(1000, 6000), failed()]);
    assert_eq!((result.replicas, result.why), (6, Why::Metrics { by: 0, proposed: 6, lower_bound: false }));
    assert_eq!(replicas(4, &[failed(), average(1000, 4000)]), 4);
    let held = desired(Controller::NEWEST, &SPEC, &Workload::settled(4), &[failed(), average(1000, 2000)]);
    assert_eq!((held.replicas, held.why, held.proposals.len()), (4, Why::Held, 2));
    assert_eq!(desired(Controller::NEWEST, &SPEC, &Workload::settled(4), &[failed()]).why, Why::Held);
    let cpu = Metric { target: Target::Value(1), answer: Answer::NotAsked };
    let bound = desired(Controller::NEWEST, &SPEC, &Workload::settled(4), &[cpu, average(1000, 2000)]);
    assert_eq!((bound.replicas, bound.why), (2, Why::Metrics { by: 1, proposed: 2, lower_bound: true }));
}

#[test]
fn bounds_come_before_metrics_and_after_them() {
    let spec = Spec { min: 2, ..SPEC };
    let result = |current, sum| desired(Controller::NEWEST, &spec, &Workload::settled(current), &[average(1000, sum)]);
    assert_eq!((result(1, 9000).replicas, result(1, 9000).why), (2, Why::BelowMin));
    assert_eq!((result(11, 1000).replicas, result(11, 1000).why), (10, Why::AboveMax));
    assert_eq!(result(4, 0).replicas, 2);
    assert_eq!(result(4, i64::MAX).replicas, 10);
    assert_eq!(result(4, i64::MAX).why, Why::Metrics { by: 0, proposed: i32::MAX, lower_bound: false });
    // minReplicas was raised while the workload was at 0.
    assert_eq!(result(0, 0).replicas, 2);
}

#[test]
fn a_workload_that_another_client_set_to_zero_stays_there() {
    let at_zero = Workload { scaled_to_zero: false, ..Workload::settled(0) };
    for min in [0, 1] {
        let result = desired(Controller::NEWEST, &Spec { min, ..SPEC }, &at_zero, &[average(1000, 5000)]);
        assert_eq!((result.replicas, result.why, result.proposals.len()), (0, Why::Disabled, 0));
    }
}

#[test]
fn items_are_added_up_as_the_controller_does() {
    let (average, value) = (Target::AverageValue(1), Target::Value(1));
    assert_eq!((average.sum(&[]), value.sum(&[])), (None, None));
    assert_eq!((average.sum(&[1, 2]), value.sum(&[1, 2])), (Some(3), Some(3)));
    assert_eq!((average.sum(&[i64::MAX, 1]), value.sum(&[i64::MAX, 1])), (Some(i64::MAX), Some(i64::MAX)));
    assert_eq!((average.sum(&[-1, 5]), value.sum(&[-1, 5])), (Some(i64::MAX), Some(4)));
}

#[test]
fn replicas_beyond_32_bits_are_the_largest_number_or_not_known() {
    let newest = Controller::NEWEST;
    let (since_1_35, before) = (
        Controller { saturates_at_zero: false, ..newest },
        Controller { saturates: false, saturates_at_zero: false, ..newest },
    );
    let oldest = Controller { saturates_average: false, ..before };
    let overflow = Why::Overflow { by: 1 };
    let largest = Why::Metrics { by: 1, proposed: i32::MAX, lower_bound: false };
    // 2³¹ and one less.
    let (more, fits) = (value(1, 1 << 31), value(1, (1 << 31) - 1));
    for (controller, wanted, metric, replicas, why) in [
        (newest, 1, more, 10, largest),
        (newest, 0, more, 10, largest),
        (since_1_35, 1, more, 10, largest),
        (since_1_35, 0, more, 0, overflow),
        (before, 1, more, 1, overflow),
        (before, 0, more, 0, overflow),
        (before, 1, fits, 10, largest),
        (before, 0, fits, 10, largest),
        (oldest, 1, average(1, 1 << 31), 1, overflow),
        (oldest, 1, average(1, (1 << 31) - 1), 10, largest),
        (before, 1, average(1, 1 << 31), 10, largest),
        (before, 0, average(1, i64::MAX), 10, largest),
    ] {
        let result = desired(controller, &SPEC, &Workload::settled(wanted), &[average(1000, 1000), metric]);
        assert_eq!((result.replicas, result.why), (replicas, why), "{controller:?} {wanted} {metric:?}");
    }
}

#[test]
fn without_behavior_it_grows_to_twice_or_four() {
    assert_eq!([0, 1, 2, 3, i32::MAX].map(growth_limit), [4, 4, 4, 6, i32::MAX]);
}

proptest! {
    #[test]
    fn away_from_the_tolerance_it_is_a_division_rounded_up(target in 1..1_000_000_i64, sum in 0..1_i64 << 52) {
        let metric = Metric { target: Target::AverageValue(target), answer: Answer::Sum(sum) };
        let spec = Spec { min: 0, max: i32::MAX, ..SPEC };
        let result = desired(Controller::NEWEST, &spec, &Workload::settled(0), &[metric]);
        let exact = i128::from(sum).div_euclid(target.into()) + i128::from(sum % target != 0);
        prop_assert_eq!(i128::from(result.replicas), exact.min(i32::MAX.into()));
    }

    #[test]
    fn nothing_panics_or_leaves_the_bounds(
        min: i32, max: i32, up: f64, down: f64, wanted: i32, exist: i32, ready: Option<i32>, scaled_to_zero: bool,
        target: i64, sum: i64, per_pod: bool, checks: (bool, bool),
    ) {
        let spec = Spec { min, max, tolerance: Tolerance { up, down } };
        let workload = Workload { wanted, exist, ready, scaled_to_zero };
        let target = if per_pod { Target::AverageValue(target) } else { Target::Value(target) };
        let controller = Controller { saturates: checks.0, saturates_at_zero: checks.1, ..Controller::NEWEST };
        let result = desired(controller, &spec, &workload, &[Metric { target, answer: Answer::Sum(sum) }]);
        if matches!(result.why, Why::Metrics { .. }) && min <= max {
            prop_assert!((min..=max).contains(&result.replicas));
        }
    }
}
