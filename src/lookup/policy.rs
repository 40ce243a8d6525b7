//! Policies: what may make a told value another one than the source's. Pure.
//!
//! They touch depths only. A value that a policy made carries [`LABEL`], so nobody has to guess.

use std::time::Duration;

use tokio::time::Instant;

use crate::metric::MetricName;
use crate::metric::quantity::Quantity;
use crate::source::Figures;

/// Of a sample: which policy made its value.
pub const LABEL: &str = "depthgauge.dev/value-source";
/// The selector key by which an HPA brings its own activation.
pub const ACTIVATION_KEY: &str = "depthgauge.dev/activation";
/// And its own fallback.
pub const FALLBACK_KEY: &str = "depthgauge.dev/fallback";

/// Latches of one reading. An HPA has one number, and a team that tries some out has a few; each
/// is looked at for every reading.
const LATCHES_MAX: usize = 16;
/// And so many more for numbers of the config, so that no question takes their room: one for each
/// depth of a kind, and as many from before a reload.
const LATCHES_OWN: usize = 4;
/// Unasked for so long, a latch makes room for another one. No HPA asks so rarely.
const LATCH_IDLE: Duration = Duration::from_secs(300);

/// The policies of a source or of a question.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Policies {
    /// Once the value was a true 0, 0 is told until it is above this one.
    pub activation: Option<Quantity>,
    /// Told while the source cannot be read and its last value is too old.
    pub fallback: Option<Quantity>,
}

/// What a policy did to a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Applied {
    /// 0 is told, and there is more.
    Activation,
    /// Nothing is known, and this is told instead.
    Fallback,
}

/// A latch as it stands, for those who want to look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LatchState {
    /// Of which metric.
    pub metric: MetricName,
    /// What the value must be above to open it.
    pub threshold: Quantity,
    /// Whether true values are told.
    pub open: bool,
}

/// The latches of one reading, one for each metric and threshold that somebody asks with. They
/// go on with every reading, whether or not somebody asks in between.
#[derive(Clone, Debug, Default)]
pub(super) struct Latches(Vec<Latch>);

#[derive(Clone, Debug)]
struct Latch {
    metric: MetricName,
    threshold: Quantity,
    open: bool,
    asked: Instant,
}

// === impl Policies ===

impl Policies {
    /// These, and where they say nothing, those.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self { activation: self.activation.or(others.activation), fallback: self.fallback.or(others.fallback) }
    }
}

// === impl Applied ===

impl Applied {
    /// The value of [`LABEL`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activation => "activation",
            Self::Fallback => "fallback",
        }
    }
}

// === impl Latches ===

impl Latches {
    /// Shows every latch a new reading.
    pub(super) fn pass(&mut self, figures: &Figures) {
        for latch in &mut self.0 {
            if let Some(value) = figures.value(latch.metric) {
                latch.pass(value);
            }
        }
    }

    /// Whether `value`, the newest there is, is held back; `None` when there is no room for one
    /// more latch, which there always is for the source's `own` number.
    pub(super) fn holds(
        &mut self,
        metric: MetricName,
        threshold: Quantity,
        own: bool,
        value: Quantity,
        now: Instant,
    ) -> Option<bool> {
        let known = self.0.iter().position(|latch| latch.metric == metric && latch.threshold == threshold);
        let at = match known {
            Some(at) => at,
            None => self.add(Latch::new(metric, threshold, value, now), own)?,
        };
        self.0[at].asked = now;
        Some(self.0[at].holds(value))
    }

    /// Forgets them: while nothing is read they do not go on, and would tell of another time.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// As they stand.
    pub(super) fn states(&self) -> Vec<LatchState> {
        let state = |&Latch { metric, threshold, open, .. }: &Latch| LatchState { metric, threshold, open };
        self.0.iter().map(state).collect()
    }

    /// The place of a new one: where there is none left, that of the one unasked for longest.
    fn add(&mut self, latch: Latch, own: bool) -> Option<usize> {
        if self.0.len() < LATCHES_MAX + if own { LATCHES_OWN } else { 0 } {
            self.0.push(latch);
            return Some(self.0.len() - 1);
        }
        let (at, oldest) = self.0.iter().enumerate().min_by_key(|(_, old)| old.asked)?;
        if !own && latch.asked - oldest.asked < LATCH_IDLE {
            return None;
        }
        self.0[at] = latch;
        Some(at)
    }
}

// === impl Latch ===

impl Latch {
    /// Open, unless the first that it sees is a true 0: a start must not put anybody to sleep.
    fn new(metric: MetricName, threshold: Quantity, value: Quantity, asked: Instant) -> Self {
        let mut latch = Self { metric, threshold, open: true, asked };
        latch.pass(value);
        latch
    }

    fn pass(&mut self, value: Quantity) {
        if value == Quantity::ZERO {
            self.open = false;
        } else if value > self.threshold {
            self.open = true;
        }
    }

    /// A true 0 is told, not held.
    fn holds(&self, value: Quantity) -> bool {
        !self.open && value != Quantity::ZERO
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: MetricName = MetricName::new("length");
    const VISIBLE: MetricName = MetricName::new("visible");

    fn units(units: i64) -> Quantity {
        Quantity::from_units(units)
    }

    fn figures(length: i64) -> Figures {
        Figures::new(vec![(LENGTH, units(length))])
    }

    /// The rule, word for word: 0 until the value was once above N, then true values until a
    /// true 0; open after a start.
    fn rule(history: &[i64], threshold: i64) -> i64 {
        let value = history[history.len() - 1];
        let Some(zero) = history.iter().rposition(|value| *value == 0) else { return value };
        if history[zero..].iter().any(|value| *value > threshold) { value } else { 0 }
    }

    proptest! {
        #[test]
        fn the_latch_follows_the_rule_whenever_it_is_asked(
            history in proptest::collection::vec((0i64..6, any::<bool>()), 1..60),
            threshold in 0i64..6,
        ) {
            let (mut latches, now) = (Latches::default(), Instant::now());
            // The latch begins with the first ask.
            let start = history.iter().position(|(_, asked)| *asked).unwrap_or(0);
            let mut seen = Vec::new();
            for (value, asked) in &history[start..] {
                seen.push(*value);
                latches.pass(&figures(*value));
                if *asked {
                    let held = latches.holds(LENGTH, units(threshold), false, units(*value), now).unwrap();
                    prop_assert_eq!(if held { 0 } else { *value }, rule(&seen, threshold), "{:?}", seen);
                }
            }
        }
    }

    #[test]
    fn each_metric_and_each_number_has_a_latch_of_its_own() {
        let (mut latches, now) = (Latches::default(), Instant::now());
        for (metric, threshold) in [(LENGTH, 1), (LENGTH, 5), (VISIBLE, 1)] {
            assert_eq!(latches.holds(metric, units(threshold), false, units(0), now), Some(false));
        }
        latches.pass(&figures(3));
        assert_eq!(latches.holds(LENGTH, units(1), false, units(3), now), Some(false));
        assert_eq!(latches.holds(LENGTH, units(5), false, units(3), now), Some(true));
        // Its metric was not in the figures.
        assert_eq!(latches.holds(VISIBLE, units(1), false, units(3), now), Some(true));
    }

    #[test]
    fn there_is_room_for_so_many_and_the_one_unasked_for_longest_leaves() {
        let (mut latches, now) = (Latches::default(), Instant::now());
        let mut holds = |threshold, at| latches.holds(LENGTH, units(threshold), false, units(1), at);
        for threshold in (0..).take(LATCHES_MAX) {
            assert!(holds(threshold, now).is_some());
        }
        let later = now + LATCH_IDLE;
        assert_eq!(holds(99, later - Duration::from_secs(1)), None);
        for threshold in (0..).take(LATCHES_MAX).filter(|threshold| *threshold != 7) {
            assert!(holds(threshold, later - Duration::from_secs(1)).is_some());
        }
        assert!(holds(99, later).is_some());
        assert_eq!(holds(98, later), None);
        let left = latches.states();
        assert!(left.len() == LATCHES_MAX && left.iter().all(|latch| latch.threshold != units(7)), "{left:?}");
    }

    #[test]
    fn there_is_always_room_for_the_sources_own_number_and_never_for_any_number_of_them() {
        let (mut latches, now) = (Latches::default(), Instant::now());
        for threshold in (0..).take(LATCHES_MAX) {
            latches.holds(LENGTH, units(threshold), false, units(1), now).unwrap();
        }
        for own in 100..200 {
            assert!(latches.holds(LENGTH, units(own), true, units(1), now).is_some());
            assert!(latches.states().len() <= LATCHES_MAX + LATCHES_OWN);
        }
        assert_eq!(latches.holds(LENGTH, units(99), false, units(1), now), None);
    }

    #[test]
    fn what_the_question_says_goes_before_what_the_source_says() {
        let source = Policies { activation: Some(units(1)), fallback: Some(units(2)) };
        let question = Policies { activation: Some(units(5)), fallback: None };
        assert_eq!(question.or(source), Policies { activation: Some(units(5)), fallback: Some(units(2)) });
    }
}
