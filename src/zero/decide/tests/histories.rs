//! Random histories. What must hold is derived from what happened, and never from the code that
//! decides.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};

use super::objects::with_object;
use super::*;

/// What one metric reads in a second.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// The first of its items was read this many seconds before the last.
    Value {
        sum: i32,
        span: i64,
    },
    Fallback(i32),
    Unknown,
    /// The value of the last good reading is still served: there was no read since.
    Stale,
}

/// What a metric is known to be.
#[derive(Clone, Copy, Debug)]
enum Known {
    Value { sum: i32, first: i64, last: i64 },
    Fallback(i32),
    Unknown,
}

/// What else happens in that second, before the decision.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    /// Another leader after this long a silence.
    Leader {
        silent: i64,
    },
    /// A user scales by hand.
    Scaled(u32),
    /// For this many seconds.
    Paused(i64),
    /// For this many seconds.
    Unlabelled(i64),
    /// The HPA scales to 0 itself, if it can and may.
    HpaSleeps,
}

/// What an HPA is, for all of its history.
#[derive(Clone, Copy, Debug)]
struct Nature {
    cooldown: i64,
    native: bool,
    fast_activation: bool,
    recover_stuck: bool,
    /// With an Object metric, where depthgauge scales it to zero.
    object: bool,
}

/// What has happened, and what must follow from it.
struct History {
    nature: Nature,
    hpa: Autoscaler,
    zero_state: ZeroState,
    replicas: u32,
    second: i64,
    unbroken: i64,
    paused_until: i64,
    unlabelled_until: i64,
    known: [Known; 2],
    /// Since when all have read 0 while it had replicas and was reconciled.
    zero: Option<i64>,
    /// Whether depthgauge scaled it to 0, as far as the annotations and the scale show.
    by_us: bool,
    /// How many reconciles in a row have left it at zero that should have scaled it up.
    late: u32,
}

fn reading() -> impl Strategy<Value = Reading> {
    let span = prop_oneof![3 => Just(0), 1 => 1i64..4].boxed();
    prop_oneof![
        40 => span.clone().prop_map(|span| Reading::Value { sum: 0, span }),
        2 => (1i32..30, span).prop_map(|(sum, span)| Reading::Value { sum, span }),
        1 => (0i32..4).prop_map(Reading::Fallback),
        1 => Just(Reading::Unknown),
        4 => Just(Reading::Stale),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        40 => Just(Event::Nothing),
        1 => (1i64..20).prop_map(|silent| Event::Leader { silent }),
        1 => Just(Event::Scaled(0)),
        2 => (1u32..4).prop_map(Event::Scaled),
        1 => (1i64..4).prop_map(Event::Paused),
        1 => (1i64..4).prop_map(Event::Unlabelled),
        2 => Just(Event::HpaSleeps),
    ]
}

fn nature() -> impl Strategy<Value = Nature> {
    (0i64..12, prop::bool::weighted(0.3), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(cooldown, native, fast_activation, recover_stuck, object)| Nature {
            cooldown,
            native,
            fast_activation,
            recover_stuck,
            object: object && !native,
        },
    )
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

// === impl Known ===

impl Known {
    /// A value is served until it is too old; after that there is none to serve.
    fn after(self, reading: Reading, second: i64) -> Self {
        match reading {
            Reading::Value { sum, span } => Self::Value { sum, first: second - span, last: second },
            Reading::Fallback(sum) => Self::Fallback(sum),
            Reading::Stale if matches!(self, Self::Value { .. }) => self,
            Reading::Unknown | Reading::Stale => Self::Unknown,
        }
    }

    fn served(self) -> MetricValue {
        match self {
            Self::Value { sum, first, last } => {
                MetricValue::Value { sum: Quantity::from_units(sum), first: at(first), last: at(last) }
            }
            Self::Fallback(sum) => fallback(sum),
            Self::Unknown => unknown(),
        }
    }
}

// === impl History ===

impl History {
    fn new(nature: Nature) -> Self {
        let mut hpa = two_metrics(nature.object);
        hpa.cooldown = Ok(Duration::from_secs(nature.cooldown.unsigned_abs()));
        (hpa.min, hpa.fast_activation, hpa.recover_stuck) =
            (u32::from(!nature.native), nature.fast_activation, nature.recover_stuck);
        Self {
            nature,
            hpa,
            zero_state: ZeroState::default(),
            replicas: 3,
            second: 0,
            unbroken: 0,
            paused_until: 0,
            unlabelled_until: 0,
            known: [Known::Value { sum: 0, first: 0, last: 0 }; 2],
            zero: None,
            by_us: false,
            late: 0,
        }
    }

    fn happens(&mut self, event: Event) {
        self.second += 1;
        match event {
            Event::Leader { silent } => {
                self.second += silent;
                if silent > self.nature.cooldown {
                    self.unbroken = self.second;
                }
            }
            Event::Scaled(to) => {
                self.replicas = to;
                self.hpa.state.scaled_to_zero = false;
            }
            Event::Paused(seconds) => self.paused_until = self.second + seconds,
            Event::Unlabelled(seconds) => self.unlabelled_until = self.second + seconds,
            Event::HpaSleeps if self.nature.native && self.replicas > 0 => {
                self.replicas = 0;
                self.hpa.state.scaled_to_zero = true;
            }
            Event::Nothing | Event::HpaSleeps => {}
        }
        self.by_us &= self.replicas == 0;
        self.hpa.paused = self.second < self.paused_until;
        self.hpa.labelled = self.second >= self.unlabelled_until;
        self.hpa.state.at_zero = self.replicas == 0;
        self.hpa.state.is_disabled = self.replicas == 0 && !self.hpa.state.scaled_to_zero;
    }

    fn reads(&mut self, one: Reading, other: Reading) {
        let [first, second] = self.known;
        self.known = [first.after(one, self.second), second.after(other, self.second)];
        let counts = self.replicas > 0 && self.is_kept() && !self.hpa.paused;
        let begun = self.zero.filter(|begun| *begun >= self.unbroken);
        self.zero = self.zeros().filter(|_| counts).map(|(_, last)| begun.unwrap_or(last));
    }

    fn is_kept(&self) -> bool {
        self.hpa.labelled && !self.nature.native
    }

    /// If both were read and are 0: up to when both are known to be, and when the last was read.
    fn zeros(&self) -> Option<(i64, i64)> {
        match self.known {
            [Known::Value { sum: 0, first: a, last: b }, Known::Value { sum: 0, first: c, last: d }] => {
                Some((a.min(c), b.max(d)))
            }
            _ => None,
        }
    }

    fn is_above(&self) -> bool {
        self.known.iter().any(|known| matches!(known, Known::Value { sum: 1.., .. }))
    }

    /// Since when all have read 0, once a cooldown of it is covered by readings.
    fn sleeps(&self) -> Option<i64> {
        let ((covered, _), since) = (self.zeros()?, self.zero?);
        (covered - since >= self.nature.cooldown).then_some(since)
    }

    /// Why it must be scaled up, and why it may be.
    fn wakes(&self) -> (Option<ScaleReason>, Option<ScaleReason>) {
        if self.replicas > 0 || self.hpa.paused {
            return (None, None);
        }
        let why = match self.hpa.state.scaled_to_zero {
            _ if self.by_us && !self.is_kept() => return (Some(ScaleReason::Restore), Some(ScaleReason::Restore)),
            _ if self.by_us => Some(ScaleReason::Work),
            true => Some(ScaleReason::FastActivation).filter(|_| self.nature.fast_activation && self.hpa.labelled),
            false => Some(ScaleReason::Recover).filter(|_| self.nature.recover_stuck && self.hpa.labelled),
        };
        let falls_back = self.known.iter().any(|known| matches!(known, Known::Fallback(1..)));
        (why.filter(|_| self.is_above()), why.filter(|_| self.is_above() || falls_back))
    }

    fn decision(&self) -> Decision {
        let served = self.known.map(Known::served);
        let (unbroken, now) = (Some(at(self.unbroken)), at(self.second));
        let zero_state = self.zero_state;
        let lasted = zero_state.zero_since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
        decide(&Facts { hpa: &self.hpa, zero_state, replicas: self.replicas, served: &served, unbroken, lasted, now })
    }

    fn check(&mut self, decision: &Decision) -> TestCaseResult {
        let slept = match decision.action {
            Action::ScaleToZero { since, .. } => Some(since),
            _ => None,
        };
        prop_assert_eq!(slept, self.sleeps().map(at), "asleep after a cooldown of zeros, and only then");
        let (must, may) = self.wakes();
        let woken = wakes(decision);
        if let Some((size, why)) = woken {
            prop_assert!(Some(why) == may && (1..=10).contains(&size), "{:?} {}, and may: {:?}", why, size, may);
        }
        self.late = if must.is_some() && woken.is_none() { self.late + 1 } else { 0 };
        if let Some(why) = must.filter(|_| self.late > 0) {
            // One reconcile may only write the end of a cooldown; the next comes at once.
            let ends = self.late == 1 && matches!(decision.action, Action::Remember(_));
            prop_assert!(ends, "{:?} is due, and {} looks did {:?}", why, self.late, decision.action);
        }
        let others = self.replicas == 0 && !self.hpa.paused && !self.by_us;
        if others && self.hpa.state.is_disabled && self.is_above() && must.is_none() {
            prop_assert_eq!(problem(decision), Some(Problem::StuckAtZero));
        }
        Ok(())
    }

    /// A second write is the next decision's, if the leader dies before it.
    fn done(&mut self, action: &Action, crash: bool) {
        match *action {
            Action::ScaleToZero { zero_state, .. } => {
                self.zero_state = zero_state;
                self.by_us = true;
                if !crash {
                    self.replicas = 0;
                }
            }
            Action::ScaleUp { replicas, .. } => {
                self.replicas = replicas;
                self.hpa.state.scaled_to_zero = false;
                if !crash {
                    self.zero_state = ZeroState::default();
                    self.by_us = false;
                }
            }
            Action::Remember(zero_state) => self.zero_state = zero_state,
            Action::Nothing => {}
        }
    }
}

/// A workload is scaled to zero after a cooldown of zeros of all metrics that were read to its end,
/// and only then. It is scaled up at the first or second reconcile that reads a value above zero. An
/// unknown value, a change by another client or a pause never scales it. And all of this happens.
#[test]
fn histories() {
    let happened = RefCell::new(BTreeMap::<&str, u32>::new());
    // In some, the leader dies after the first of its writes.
    let seconds = prop::collection::vec((reading(), reading(), event(), prop::bool::weighted(0.1)), 1..120);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let held = TestRunner::new(config).run(&(nature(), seconds), |(nature, seconds)| {
        let mut history = History::new(nature);
        for (one, other, event, crash) in seconds {
            history.happens(event);
            history.reads(one, other);
            let decision = history.decision();
            history.check(&decision)?;
            history.done(&decision.action, crash);
            let what = match decision.action {
                Action::ScaleToZero { .. } => "sleep",
                Action::ScaleUp { why, .. } => why.as_str(),
                Action::Remember(_) | Action::Nothing => continue,
            };
            *happened.borrow_mut().entry(what).or_default() += 1;
        }
        Ok(())
    });
    assert!(held.is_ok(), "{}", held.unwrap_err());
    let happened = happened.into_inner();
    for what in ScaleReason::ALL.map(ScaleReason::as_str).into_iter().chain(["sleep"]) {
        assert!(happened.contains_key(what), "{what} never happens: {happened:?}");
    }
}
