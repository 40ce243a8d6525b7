//! Tables, and random histories.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::zero::autoscaler::tests::hpa;
use crate::zero::finding::Problem;

mod objects;

use objects::with_object;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn value(sum: i64, read: i64) -> Told {
    Told::Value { sum: Quantity::from_units(sum), first: at(read), last: at(read) }
}

fn fallback(sum: i64) -> Told {
    Told::Fallback(Quantity::from_units(sum))
}

fn unknown() -> Told {
    Told::Unknown("queue \"orders\" cannot be read since 10:00.".into())
}

/// At second 100, nothing broken.
fn decided(hpa: &Autoscaler, replicas: u32, told: &[Told]) -> Decision {
    decide(&Facts { hpa, memory: hpa.memory, replicas, told, unbroken: Some(at(0)), now: at(100) })
}

fn noted(annotations: &Value) -> Autoscaler {
    hpa(&json!({"metadata": {"annotations": annotations}}))
}

fn asleep_by_us() -> Value {
    json!({"depthgauge.dev/asleep-since": at(50).to_string()})
}

fn zero_since(second: i64) -> Value {
    json!({"depthgauge.dev/zero-since": at(second).to_string()})
}

fn resting(annotations: &Value) -> Autoscaler {
    let rests = json!([{"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}]);
    hpa(&json!({"metadata": {"annotations": annotations}, "status": {"conditions": rests, "desiredReplicas": 0}}))
}

/// From 1.37: it has scaled to 0 itself.
fn native(annotations: &Value) -> Autoscaler {
    let scaled = json!([{"type": "ScaledToZero", "status": "True", "reason": "ScaledToZero"}]);
    hpa(&json!({"metadata": {"annotations": annotations}, "spec": {"minReplicas": 0},
        "status": {"conditions": scaled, "desiredReplicas": 0}}))
}

fn problem(decision: &Decision) -> Option<Problem> {
    decision.finding.as_ref().map(|finding| finding.problem)
}

fn wakes(decision: &Decision) -> Option<(u32, Why)> {
    match decision.action {
        Action::Wake { replicas, why } => Some((replicas, why)),
        _ => None,
    }
}

#[test]
fn awake_it_goes_to_sleep_when_the_cooldown_is_covered_by_readings() {
    let begin = Memory { asleep_since: None, zero_since: Some(at(95)) };
    assert_eq!(decided(&noted(&json!({})), 3, &[value(0, 95)]).action, Action::Remember(begin));
    // 60 s, by the annotation.
    let hpa = noted(&zero_since(35));
    assert_eq!(decided(&hpa, 3, &[value(0, 94)]).action, Action::Nothing);
    let asleep = Memory { asleep_since: Some(at(100)), zero_since: Some(at(35)) };
    let sleep = Action::Sleep { memory: asleep, since: at(35) };
    assert_eq!(decided(&hpa, 3, &[value(0, 95)]).action, sleep);
    // The mark was made, and the workload not scaled: somebody changed it at that moment.
    let facts = Facts { hpa: &hpa, memory: asleep, replicas: 3, told: &[value(0, 99)], unbroken: None, now: at(101) };
    assert!(matches!(decide(&facts).action, Action::Sleep { since, .. } if since == at(35)));
    for told in [value(1, 95), fallback(0), unknown()] {
        let decision = decided(&hpa, 3, std::slice::from_ref(&told));
        assert_eq!(decision, Decision { action: Action::Remember(Memory::default()), finding: None }, "{told:?}");
    }
}

#[test]
fn a_cooldown_that_began_before_a_break_begins_again() {
    let hpa = noted(&zero_since(35));
    let facts = Facts {
        hpa: &hpa,
        memory: hpa.memory,
        replicas: 3,
        told: &[value(0, 95)],
        unbroken: Some(at(36)),
        now: at(100),
    };
    let again = Memory { asleep_since: None, zero_since: Some(at(95)) };
    assert_eq!(decide(&facts).action, Action::Remember(again));
    assert!(matches!(decide(&Facts { unbroken: Some(at(35)), ..facts }).action, Action::Sleep { .. }));
}

#[test]
fn all_metrics_must_be_zero_and_any_wakes() {
    let two = |annotations: &Value| {
        let metric = |queue: &str, target: &str| {
            json!({"type": "External", "external": {
                "metric": {"name": "oci_queue_length", "selector": {"matchLabels": {"queue": queue}}},
                "target": {"type": "AverageValue", "averageValue": target}}})
        };
        let metrics = [metric("a", "2"), metric("b", "500m")];
        hpa(&json!({"metadata": {"annotations": annotations}, "spec": {"metrics": metrics}}))
    };
    let awake = two(&zero_since(35));
    assert!(matches!(decided(&awake, 1, &[value(0, 95), value(0, 96)]).action, Action::Sleep { .. }));
    assert_eq!(decided(&awake, 1, &[value(0, 94), value(0, 96)]).action, Action::Nothing, "the older one counts");
    assert_eq!(decided(&awake, 1, &[value(0, 95), value(1, 96)]).action, Action::Remember(Memory::default()));
    for other in [unknown(), fallback(0)] {
        for told in [[value(0, 95), other.clone()], [other.clone(), value(0, 95)]] {
            assert_eq!(decided(&awake, 1, &told).action, Action::Remember(Memory::default()), "{told:?}");
        }
    }
    let asleep = two(&asleep_by_us());
    assert_eq!(wakes(&decided(&asleep, 0, &[value(6, 99), value(3, 99)])), Some((6, Why::Work)), "the larger one");
    assert_eq!(wakes(&decided(&asleep, 0, &[unknown(), value(1, 99)])), Some((2, Why::Work)));
    assert_eq!(problem(&decided(&asleep, 0, &[unknown(), value(0, 99)])), Some(Problem::AsleepBlind));
}

#[test]
fn what_we_put_to_sleep_is_woken_to_the_size_that_the_hpa_asks_for() {
    let hpa = noted(&asleep_by_us());
    for (told, expected) in [
        (value(20, 99), Some((10, Why::Work))),
        (value(5, 99), Some((3, Why::Work))),
        (value(1000, 99), Some((10, Why::Work))),
        (value(0, 99), None),
        (fallback(12), Some((6, Why::Work))),
        (fallback(0), None),
        (unknown(), None),
    ] {
        let decision = decided(&hpa, 0, std::slice::from_ref(&told));
        assert_eq!(wakes(&decision), expected, "{told:?}");
        assert_eq!(problem(&decision), matches!(told, Told::Unknown(_)).then_some(Problem::AsleepBlind));
    }
    // Somebody has scaled it up.
    assert_eq!(decided(&hpa, 2, &[value(5, 99)]).action, Action::Remember(Memory::default()));
}

#[test]
fn what_others_put_to_sleep_is_only_told_of() {
    let manual = noted(&json!({}));
    assert_eq!(decided(&manual, 0, &[value(5, 99)]), Decision { action: Action::Nothing, finding: None });
    // The HPA has seen it, and rests.
    let rests = decided(&resting(&json!({})), 0, &[value(5, 99)]);
    assert_eq!((rests.action.clone(), problem(&rests)), (Action::Nothing, Some(Problem::AsleepForGood)));
    let text = rests.finding.unwrap().text;
    assert!(text.contains("Wake it: kubectl scale -n shop deployment/dummy --replicas=1."), "{text}");
    assert!(text.starts_with("oci_queue_length{queue=orders} is above 0"), "{text}");
    let rescue = resting(&json!({"depthgauge.dev/rescue": "true"}));
    assert_eq!(wakes(&decided(&rescue, 0, &[value(5, 99)])), Some((3, Why::Rescue)));
    assert_eq!(wakes(&decided(&rescue, 0, &[fallback(12)])), Some((6, Why::Rescue)));
    for told in [value(0, 99), unknown()] {
        assert_eq!(wakes(&decided(&rescue, 0, &[told])), None);
    }
    // Without the label the annotation is nothing.
    let mut unlabelled = rescue;
    unlabelled.labelled = false;
    let decision = decided(&unlabelled, 0, &[value(5, 99)]);
    assert_eq!((wakes(&decision), problem(&decision)), (None, Some(Problem::AsleepForGood)));
}

#[test]
fn where_the_hpa_scales_to_zero_itself_it_is_left_alone() {
    let plain = native(&json!({}));
    assert_eq!(decided(&plain, 3, &[value(0, 99)]), Decision { action: Action::Nothing, finding: None });
    assert_eq!(decided(&plain, 0, &[value(5, 99)]), Decision { action: Action::Nothing, finding: None });
    assert_eq!(problem(&decided(&plain, 0, &[unknown()])), Some(Problem::AsleepBlind));
    let fast = native(&json!({"depthgauge.dev/fast-wake": "true"}));
    assert_eq!(wakes(&decided(&fast, 0, &[value(5, 99)])), Some((3, Why::Fast)));
    assert_eq!(wakes(&decided(&fast, 0, &[unknown()])), None);
    assert_eq!(wakes(&decided(&fast, 3, &[value(5, 99)])), None);
    // It was changed to be native while it slept by us: its HPA would leave it there.
    let mut changed = noted(&asleep_by_us());
    changed.min = 0;
    assert_eq!(wakes(&decided(&changed, 0, &[value(0, 99)])), Some((1, Why::HandBack)));
}

#[test]
fn paused_is_paused() {
    for paused in ["true", "yes", ""] {
        let mut hpa = noted(&asleep_by_us());
        let annotation = json!({"depthgauge.dev/paused": paused, "depthgauge.dev/zero-since": at(10).to_string()});
        hpa.paused = noted(&annotation).paused;
        assert_eq!(decided(&hpa, 0, &[value(20, 99)]), Decision { action: Action::Nothing, finding: None });
        // The mark stays, a cooldown does not.
        let forget = Action::Remember(Memory::default());
        assert_eq!(decided(&noted(&annotation), 3, &[value(0, 99)]).action, forget);
    }
    assert!(!noted(&json!({"depthgauge.dev/paused": "false"})).paused);
}

#[test]
fn what_cannot_be_is_said_and_nothing_is_scaled() {
    let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]);
    let none = hpa(&json!({"spec": {"metrics": cpu}}));
    let mut beside = noted(&zero_since(10));
    beside.others.push("Resource cpu".to_owned());
    let mut two = noted(&zero_since(10));
    two.min = 2;
    let mut soon = noted(&zero_since(10));
    soon.cooldown = Err("annotation depthgauge.dev/cooldown is \"soon\"".to_owned());
    for (hpa, told, expected) in [
        (&none, vec![], Problem::NoMetric),
        (&beside, vec![value(0, 99)], Problem::OtherMetrics),
        (&two, vec![value(0, 99)], Problem::MinReplicas),
        (&soon, vec![value(0, 99)], Problem::Annotation),
    ] {
        let decision = decided(hpa, 3, &told);
        assert_eq!(problem(&decision), Some(expected));
        assert!(matches!(decision.action, Action::Nothing | Action::Remember(_)), "{decision:?}");
        let text = decision.finding.unwrap().text;
        assert!(text.len() <= 400, "{}: {text}", text.len());
    }
}

#[test]
fn whom_we_may_no_longer_look_after_is_handed_back() {
    let mut unlabelled = noted(&asleep_by_us());
    unlabelled.labelled = false;
    assert_eq!(wakes(&decided(&unlabelled, 0, &[value(0, 99)])), Some((1, Why::HandBack)));
    assert_eq!(wakes(&decided(&unlabelled, 0, &[value(20, 99)])), Some((10, Why::HandBack)));
    let mut two = noted(&asleep_by_us());
    two.min = 2;
    let decision = decided(&two, 0, &[unknown()]);
    assert_eq!((wakes(&decision), problem(&decision)), (Some((2, Why::HandBack)), Some(Problem::MinReplicas)));
    // A bad cooldown keeps nobody from waking.
    let mut soon = noted(&asleep_by_us());
    soon.cooldown = Err("soon".to_owned());
    assert_eq!(wakes(&decided(&soon, 0, &[value(5, 99)])), Some((3, Why::Work)));
}

/// What one metric reads in a second of a history.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Value(i64),
    Fallback(i64),
    Unknown,
    /// The value of the last good reading goes on being told: nobody has read since.
    Stale,
}

/// What else happens in that second, before somebody decides.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    /// Another leader after so long a silence.
    Leader {
        silent: i64,
    },
    /// The leader dies after the first of its writes.
    Crash,
    /// Somebody scales by hand.
    Scaled(u32),
    Paused(bool),
    Labelled(bool),
    /// The HPA scales to 0 itself, if it can and may.
    HpaSleeps,
}

/// What an HPA is, for all of its history.
#[derive(Clone, Copy, Debug)]
struct Nature {
    cooldown: i64,
    native: bool,
    fast_wake: bool,
    rescue: bool,
    /// Where we put it to sleep.
    object: bool,
}

fn reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        16 => Just(Reading::Value(0)),
        2 => (1i64..30).prop_map(Reading::Value),
        1 => (0i64..4).prop_map(Reading::Fallback),
        1 => Just(Reading::Unknown),
        1 => Just(Reading::Stale),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => Just(Event::Nothing),
        1 => (1i64..20).prop_map(|silent| Event::Leader { silent }),
        2 => Just(Event::Crash),
        1 => (0u32..4).prop_map(Event::Scaled),
        1 => any::<bool>().prop_map(Event::Paused),
        1 => prop::bool::weighted(0.7).prop_map(Event::Labelled),
        2 => Just(Event::HpaSleeps),
    ]
}

fn nature() -> impl Strategy<Value = Nature> {
    (0i64..12, prop::bool::weighted(0.3), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(cooldown, native, fast_wake, rescue, object)| Nature {
            cooldown,
            native,
            fast_wake,
            rescue,
            object: object && !native,
        },
    )
}

/// A value is told until it is too old; after that there is none to be told again.
fn tell(reading: Reading, before: &Told, second: i64) -> Told {
    match reading {
        Reading::Value(sum) => value(sum, second),
        Reading::Fallback(sum) => fallback(sum),
        Reading::Unknown => unknown(),
        Reading::Stale if matches!(before, Told::Value { .. }) => before.clone(),
        Reading::Stale => unknown(),
    }
}

/// Two queues, or a queue and an Object metric.
fn two_metrics(object: bool) -> Autoscaler {
    let target = json!({"type": "AverageValue", "averageValue": "2"});
    if object {
        return with_object(&json!({}), &target);
    }
    let metric = json!({"type": "External", "external": {
        "metric": {"name": "oci_queue_length", "selector": {"matchLabels": {"queue": "orders"}}}, "target": target}});
    hpa(&json!({"spec": {"metrics": [metric, metric]}}))
}

#[test]
fn a_native_hpa_that_will_never_act_is_said_or_rescued() {
    let percent = json!({"scaleUp": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}});
    let stuck = |over: &Value, rescue: bool| {
        let mut hpa = native(&json!({"depthgauge.dev/rescue": rescue.to_string()}));
        match over.as_i64() {
            Some(second) => hpa.state.fails_since = Some(at(second)),
            None => hpa.limit = size::Limit::of(serde_json::from_value(over["scaleUp"].clone()).ok().as_ref()),
        }
        decided(&hpa, 0, &[value(20, 95)])
    };
    for (over, text) in [(&percent, "allows no step from 0"), (&json!(39), "cannot read its metrics")] {
        let said = stuck(over, false);
        assert_eq!((problem(&said), &said.action), (Some(Problem::AsleepForGood), &Action::Nothing));
        assert!(said.finding.unwrap().text.contains(text));
        assert!(matches!(wakes(&stuck(over, true)), Some((_, Why::Rescue))));
    }
    assert_eq!(problem(&stuck(&json!(41), false)), None, "a minute of patience");
}

#[test]
fn a_label_that_does_nothing_is_said_of_a_native_hpa_too() {
    let beside = |kind: &str, other: Value| {
        let queue = json!({"type": "External", "external": {
            "metric": {"name": "oci_queue_length"}, "target": {"type": "AverageValue", "averageValue": "2"}}});
        let mut other = json!({"type": kind, kind.to_lowercase(): other});
        other["type"] = json!(kind);
        hpa(&json!({"spec": {"minReplicas": 0, "metrics": [queue, other]}}))
    };
    let cpu = beside("Resource", json!({"name": "cpu", "target": {"type": "Utilization"}}));
    for replicas in [0, 3] {
        let decision = decided(&cpu, replicas, &[value(0, 95)]);
        assert_eq!(problem(&decision), (replicas > 0).then_some(Problem::OtherMetrics), "{replicas}");
    }
    let foreign = json!({"metric": {"name": "kafka_lag"}, "target": {"type": "AverageValue", "averageValue": "1"}});
    assert_eq!(problem(&decided(&beside("External", foreign.clone()), 3, &[value(0, 95)])), None, "it may be 0, too");
    let only = hpa(&json!({"spec": {"minReplicas": 0, "metrics": [{"type": "External", "external": foreign}]}}));
    assert_eq!(problem(&decided(&only, 3, &[])), Some(Problem::NoMetric));
}

#[test]
fn who_was_woken_while_paused_is_no_longer_ours() {
    let mut hpa = noted(&asleep_by_us());
    hpa.paused = true;
    assert_eq!(decided(&hpa, 0, &[value(5, 95)]).action, Action::Nothing);
    assert_eq!(decided(&hpa, 3, &[value(5, 95)]).action, Action::Remember(Memory::default()));
}

proptest! {
    /// Never asleep but after a cooldown of zeros that were read, of all metrics; never asleep by
    /// us with messages waiting and a source that is read; never moved by what nobody knows, by
    /// what others did, or while paused.
    #[test]
    fn histories(nature in nature(), seconds in prop::collection::vec((reading(), reading(), event()), 1..120)) {
        let Nature { cooldown, native, fast_wake, rescue, object } = nature;
        let mut hpa = two_metrics(object);
        hpa.cooldown = Ok(Duration::from_secs(cooldown.unsigned_abs()));
        (hpa.min, hpa.fast_wake, hpa.rescue) = (u32::from(!native), fast_wake, rescue);
        let (mut memory, mut replicas, mut unbroken) = (Memory::default(), 3, at(0));
        let mut told = [value(0, 0), value(0, 0)];
        // Since when all have read 0 while it was awake, and somebody looked.
        let mut zero: Option<i64> = None;
        // Whether it was we who brought it to 0, as far as one who looks can tell.
        let mut by_us = false;
        let mut second = 0;
        for (one, other, event) in seconds {
            second += 1;
            match event {
                Event::Leader { silent } => {
                    second += silent;
                    if silent > cooldown {
                        unbroken = at(second);
                        zero = None;
                    }
                }
                Event::Scaled(to) => {
                    replicas = to;
                    hpa.state.scaled_to_zero = false;
                }
                Event::Paused(paused) => hpa.paused = paused,
                Event::Labelled(labelled) => hpa.labelled = labelled,
                Event::HpaSleeps if native && replicas > 0 => {
                    replicas = 0;
                    hpa.state.scaled_to_zero = true;
                }
                Event::Nothing | Event::Crash | Event::HpaSleeps => {}
            }
            hpa.state.at_zero = replicas == 0;
            hpa.state.rests = replicas == 0 && !hpa.state.scaled_to_zero;
            told = [tell(one, &told[0], second), tell(other, &told[1], second)];
            // When they were read last, if all read 0.
            let read = all_zero(&told).map(|(_, last)| last.as_second() - at(0).as_second());
            let counts = replicas > 0 && hpa.is_kept() && !hpa.paused;
            zero = read.filter(|_| counts).map(|read| zero.unwrap_or(read));
            let known_above = told.iter().any(|told| matches!(told, Told::Value { sum, .. } if sum.milli() > 0));
            let above = known_above || told.iter().any(|told| told.said().is_some_and(|sum| sum.milli() > 0));

            let facts = Facts { hpa: &hpa, memory, replicas, told: &told, unbroken: Some(unbroken), now: at(second) };
            let Decision { action, finding } = decide(&facts);
            // A second write is the next decision's, if the leader dies before it.
            let crash = matches!(event, Event::Crash);
            by_us &= replicas == 0;
            match action {
                Action::Sleep { memory: mark, .. } => {
                    prop_assert!(read.is_some() && replicas > 0 && hpa.is_kept() && !hpa.paused);
                    let since = zero.expect("all read 0");
                    prop_assert!(second - since >= cooldown, "{second} {since}");
                    memory = mark;
                    by_us = true;
                    if !crash { replicas = 0; }
                }
                Action::Wake { replicas: size, why } => {
                    prop_assert!(replicas == 0 && !hpa.paused && (1..=10).contains(&size));
                    prop_assert!(match why {
                        Why::Work => by_us && above && hpa.is_kept(),
                        Why::HandBack => by_us && !hpa.is_kept(),
                        Why::Fast => !by_us && above && fast_wake && hpa.labelled && hpa.state.scaled_to_zero,
                        Why::Rescue => !by_us && above && rescue && hpa.labelled && hpa.state.rests,
                    }, "{why:?}");
                    replicas = size;
                    hpa.state.scaled_to_zero = false;
                    if !crash {
                        memory = Memory::default();
                        by_us = false;
                    }
                }
                Action::Remember(next) => memory = next,
                Action::Nothing => {}
            }
            let sleeps = replicas == 0 && !hpa.paused && known_above;
            // One look may be spent on the end of putting it to sleep; the next comes at once.
            let ours = memory.asleep_since.is_some() && !matches!(action, Action::Remember(_));
            prop_assert!(!(sleeps && ours), "asleep with messages waiting");
            if sleeps && memory.asleep_since.is_none() && hpa.state.rests {
                prop_assert_eq!(finding.map(|finding| finding.problem), Some(Problem::AsleepForGood));
            }
        }
    }
}
