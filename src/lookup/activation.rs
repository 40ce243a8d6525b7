//! Activation: 0 is served until the value exceeds a threshold. Then the value is served until it is 0.
//! Pure.
//!
//! Every read advances it, requested or not. After a start, and after a time without reads, an
//! activation counts as reached, because earlier values are unknown and the last message must keep its
//! worker.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::limits::ACTIVATIONS_PER_READING;
use super::shares::Shares;
use crate::metric::quantity::Quantity;
use crate::metric::{MetricName, Namespace};
use crate::source::Items;

/// An activation as `/status` shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ActivationState {
    /// Its metric.
    pub metric: MetricName,
    /// The threshold that the value must exceed.
    pub threshold: Quantity,
    /// Whether the value is served, and not 0.
    pub active: bool,
}

/// The activations of one reading, one for each metric and threshold that is requested, and whether
/// it is active. One that is evicted begins again when it is requested again.
#[derive(Clone, Debug)]
pub(super) struct Activations(Shares<(MetricName, Quantity), bool>);

// === impl Activations ===

impl Activations {
    /// Evaluates each of them for a new read.
    pub(super) fn pass(&mut self, figures: &Items) {
        for ((metric, threshold), active) in self.0.iter_mut() {
            if let Some(value) = figures.value(metric) {
                *active = passed(*active, value, *threshold);
            }
        }
    }

    /// Whether a namespace is served 0 instead of `value`, the newest there is. It is charged for the
    /// activation for as long as it does `keep` it without a request.
    pub(super) fn holds(
        &mut self,
        namespace: &Namespace,
        key: (MetricName, Quantity),
        value: Quantity,
        now: Instant,
        keep: Duration,
    ) -> bool {
        let threshold = key.1;
        let active = match self.0.charge(namespace, &key, now, keep) {
            Some(active) => *active,
            None => {
                // Active, unless the first value is a true 0: a start must not scale anything to zero.
                let active = passed(true, value, threshold);
                self.0.add(namespace, key, active, now, keep);
                active
            }
        };
        // A true 0 is served as it is.
        !active && value != Quantity::ZERO
    }

    /// Drops all of them, because they are outdated once reads stop.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The current state of all of them.
    pub(super) fn states(&self) -> Vec<ActivationState> {
        let state = |((metric, threshold), active): (&(MetricName, Quantity), &bool)| ActivationState {
            metric: metric.clone(),
            threshold: *threshold,
            active: *active,
        };
        self.0.iter().map(state).collect()
    }

    /// How many of them each namespace is charged for.
    pub(super) fn owners(&self, now: Instant) -> BTreeMap<Namespace, usize> {
        self.0.owners(now)
    }
}

impl Default for Activations {
    fn default() -> Self {
        Self(Shares::new(ACTIVATIONS_PER_READING))
    }
}

/// Whether an activation is active after this value.
fn passed(active: bool, value: Quantity, threshold: Quantity) -> bool {
    value != Quantity::ZERO && (active || value > threshold)
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

    /// How long an activation is charged for without a request.
    const KEEP: Duration = Duration::from_secs(120);

    fn holds(activations: &mut Activations, key: (MetricName, i64), value: i64, now: Instant) -> bool {
        activations.holds(&Namespace::new("shop"), (key.0, units(key.1)), units(value), now, KEEP)
    }

    fn figures(length: i64) -> Items {
        Items::one(vec![(LENGTH, units(length))])
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
                    let held = holds(&mut activations, (LENGTH, threshold), *value, now);
                    prop_assert_eq!(if held { 0 } else { *value }, rule(&seen, threshold), "{:?}", seen);
                }
            }
        }
    }

    #[test]
    fn each_metric_and_each_number_has_an_activation_of_its_own() {
        let (mut activations, now) = (Activations::default(), Instant::now());
        for key in [(LENGTH, 1), (LENGTH, 5), (VISIBLE, 1)] {
            assert!(!holds(&mut activations, key, 0, now));
        }
        activations.pass(&figures(3));
        assert!(!holds(&mut activations, (LENGTH, 1), 3, now));
        assert!(holds(&mut activations, (LENGTH, 5), 3, now));
        // Its metric was not in the figures.
        assert!(holds(&mut activations, (VISIBLE, 1), 3, now));
    }

    #[test]
    fn the_activations_of_one_namespace_take_none_from_another() {
        let (mut activations, now) = (Activations::default(), Instant::now());
        assert!(!holds(&mut activations, (LENGTH, 5), 0, now));
        for threshold in 100_i64..200 {
            let at = now + Duration::from_millis(threshold.unsigned_abs());
            activations.holds(&Namespace::new("other"), (LENGTH, units(threshold)), units(0), at, KEEP);
            assert!(activations.states().len() <= ACTIVATIONS_PER_READING);
        }
        activations.pass(&figures(3));
        let owners: Vec<_> = activations.owners(now).into_values().collect();
        assert_eq!(owners, [ACTIVATIONS_PER_READING - 1, 1]);
        assert!(holds(&mut activations, (LENGTH, 5), 3, now));
        assert!(!holds(&mut activations, (LENGTH, 6), 3, now), "a new one counts as reached");
    }
}
