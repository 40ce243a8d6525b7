//! Activation: 0 is served until the value was above a threshold, and then the value until a true
//! 0. Pure.
//!
//! Every read advances it, requested or not. After a start, and after a time without reads, an
//! activation counts as reached: what happened meanwhile is not known, and the last message must
//! keep its worker.

use std::time::Duration;

use tokio::time::Instant;

use crate::metric::MetricName;
use crate::metric::quantity::Quantity;
use crate::source::Figures;

/// Activations of one reading. An HPA has one threshold, and a team that tries some out has a few;
/// each is evaluated at every read.
const ACTIVATIONS_MAX: usize = 16;
/// Additional ones for thresholds of the config, so that no request takes their place: one for each
/// backlog metric of a kind, and as many from before a reload.
const ACTIVATIONS_OWN: usize = 4;
/// Without a request for this long, an activation can be replaced by another one. No HPA is that slow.
const UNUSED: Duration = Duration::from_secs(300);

/// An activation as `/status` shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ActivationState {
    /// Of which metric.
    pub metric: MetricName,
    /// What the value must be above.
    pub threshold: Quantity,
    /// Whether the value is served, and not 0.
    pub active: bool,
}

/// The activations of one reading, one for each metric and threshold that is requested.
#[derive(Clone, Debug, Default)]
pub(super) struct Activations(Vec<Activation>);

#[derive(Clone, Debug)]
struct Activation {
    metric: MetricName,
    threshold: Quantity,
    active: bool,
    requested: Instant,
}

// === impl Activations ===

impl Activations {
    /// Evaluates each of them for a new read.
    pub(super) fn pass(&mut self, figures: &Figures) {
        for activation in &mut self.0 {
            if let Some(value) = figures.value(activation.metric) {
                activation.pass(value);
            }
        }
    }

    /// Whether 0 is served instead of `value`, the newest there is. `None` when there is no capacity
    /// for one more activation; there always is for the source's `own` threshold.
    pub(super) fn holds(
        &mut self,
        metric: MetricName,
        threshold: Quantity,
        own: bool,
        value: Quantity,
        now: Instant,
    ) -> Option<bool> {
        let known =
            self.0.iter().position(|activation| activation.metric == metric && activation.threshold == threshold);
        let at = match known {
            Some(at) => at,
            None => self.add(Activation::new(metric, threshold, value, now), own)?,
        };
        self.0[at].requested = now;
        Some(self.0[at].holds(value))
    }

    /// Drops all of them: nothing is read, so they would be those of another time.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// As they stand.
    pub(super) fn states(&self) -> Vec<ActivationState> {
        let state =
            |&Activation { metric, threshold, active, .. }: &Activation| ActivationState { metric, threshold, active };
        self.0.iter().map(state).collect()
    }

    /// The index of a new one. When all are taken, it replaces the one without a request for longest.
    fn add(&mut self, activation: Activation, own: bool) -> Option<usize> {
        if self.0.len() < ACTIVATIONS_MAX + if own { ACTIVATIONS_OWN } else { 0 } {
            self.0.push(activation);
            return Some(self.0.len() - 1);
        }
        let (at, oldest) = self.0.iter().enumerate().min_by_key(|(_, old)| old.requested)?;
        if !own && activation.requested - oldest.requested < UNUSED {
            return None;
        }
        self.0[at] = activation;
        Some(at)
    }
}

// === impl Activation ===

impl Activation {
    /// Active, unless the first value is a true 0: a start must not scale anything to zero.
    fn new(metric: MetricName, threshold: Quantity, value: Quantity, requested: Instant) -> Self {
        let mut activation = Self { metric, threshold, active: true, requested };
        activation.pass(value);
        activation
    }

    fn pass(&mut self, value: Quantity) {
        if value == Quantity::ZERO {
            self.active = false;
        } else if value > self.threshold {
            self.active = true;
        }
    }

    /// A true 0 is served as it is.
    fn holds(&self, value: Quantity) -> bool {
        !self.active && value != Quantity::ZERO
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: MetricName = MetricName::new("length");
    const VISIBLE: MetricName = MetricName::new("visible");

    fn units(units: i64) -> Quantity {
        Quantity::from_milli(units * 1000)
    }

    fn figures(length: i64) -> Figures {
        Figures::new(vec![(LENGTH, units(length))])
    }

    /// The rule, word for word: 0 until the value was once above N, then true values until a
    /// true 0; active after a start.
    fn rule(history: &[i64], threshold: i64) -> i64 {
        let value = history[history.len() - 1];
        let Some(zero) = history.iter().rposition(|value| *value == 0) else { return value };
        if history[zero..].iter().any(|value| *value > threshold) { value } else { 0 }
    }

    proptest! {
        #[test]
        fn an_activation_follows_the_rule_whenever_it_is_requested(
            history in proptest::collection::vec((0i64..6, any::<bool>()), 1..60),
            threshold in 0i64..6,
        ) {
            let (mut activations, now) = (Activations::default(), Instant::now());
            // The activation begins with the first request.
            let start = history.iter().position(|(_, requested)| *requested).unwrap_or(0);
            let mut seen = Vec::new();
            for (value, requested) in &history[start..] {
                seen.push(*value);
                activations.pass(&figures(*value));
                if *requested {
                    let held = activations.holds(LENGTH, units(threshold), false, units(*value), now).unwrap();
                    prop_assert_eq!(if held { 0 } else { *value }, rule(&seen, threshold), "{:?}", seen);
                }
            }
        }
    }

    #[test]
    fn each_metric_and_each_number_has_a_activation_of_its_own() {
        let (mut activations, now) = (Activations::default(), Instant::now());
        for (metric, threshold) in [(LENGTH, 1), (LENGTH, 5), (VISIBLE, 1)] {
            assert_eq!(activations.holds(metric, units(threshold), false, units(0), now), Some(false));
        }
        activations.pass(&figures(3));
        assert_eq!(activations.holds(LENGTH, units(1), false, units(3), now), Some(false));
        assert_eq!(activations.holds(LENGTH, units(5), false, units(3), now), Some(true));
        // Its metric was not in the figures.
        assert_eq!(activations.holds(VISIBLE, units(1), false, units(3), now), Some(true));
    }

    #[test]
    fn there_is_room_for_so_many_and_the_one_without_a_request_for_longest_is_replaced() {
        let (mut activations, now) = (Activations::default(), Instant::now());
        let mut holds = |threshold, at| activations.holds(LENGTH, units(threshold), false, units(1), at);
        for threshold in (0..).take(ACTIVATIONS_MAX) {
            assert!(holds(threshold, now).is_some());
        }
        let later = now + UNUSED;
        assert_eq!(holds(99, later - Duration::from_secs(1)), None);
        for threshold in (0..).take(ACTIVATIONS_MAX).filter(|threshold| *threshold != 7) {
            assert!(holds(threshold, later - Duration::from_secs(1)).is_some());
        }
        assert!(holds(99, later).is_some());
        assert_eq!(holds(98, later), None);
        let left = activations.states();
        assert!(
            left.len() == ACTIVATIONS_MAX && left.iter().all(|activation| activation.threshold != units(7)),
            "{left:?}"
        );
    }

    #[test]
    fn there_is_always_room_for_the_sources_own_number_and_never_for_any_number_of_them() {
        let (mut activations, now) = (Activations::default(), Instant::now());
        for threshold in (0..).take(ACTIVATIONS_MAX) {
            activations.holds(LENGTH, units(threshold), false, units(1), now).unwrap();
        }
        for own in 100..200 {
            assert!(activations.holds(LENGTH, units(own), true, units(1), now).is_some());
            assert!(activations.states().len() <= ACTIVATIONS_MAX + ACTIVATIONS_OWN);
        }
        assert_eq!(activations.holds(LENGTH, units(99), false, units(1), now), None);
    }
}
