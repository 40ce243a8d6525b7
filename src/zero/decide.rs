//! What to do about an HPA, from its state and the values of its metrics. Pure.
//!
//! Unknown is neither zero nor above zero: no workload is scaled to or from zero because of it. A
//! fallback may scale up from zero. The history is in [`Facts::zero_state`], which is on the HPA, so
//! another replica decides the same. Only a workload that depthgauge scaled to zero is scaled up,
//! unless its owner chose more.

use jiff::{SignedDuration, Timestamp};

use super::autoscaler::{Autoscaler, State, ZeroState};
use super::finding::Finding;
use super::metrics::{Metric, MetricValue};
use super::size;
use crate::metric::quantity::Quantity;

/// For how long the HPA itself may fail to read its metrics until it counts as stuck.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// The input of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'f> {
    /// The HPA.
    pub hpa: &'f Autoscaler,
    /// The state that was last written on it.
    pub zero_state: ZeroState,
    /// How many replicas its workload is to have.
    pub replicas: u32,
    /// What its metrics read, in their order.
    pub served: &'f [MetricValue],
    /// Since when a replica has reconciled without a break: state from before may have missed
    /// something. `None` if no break is on record.
    pub unbroken: Option<Timestamp>,
    /// For how long [`ZeroState::zero_since`] has lasted, by a clock that cannot be set.
    pub lasted: SignedDuration,
    /// The time of day.
    pub now: Timestamp,
}

/// What to do, and what to report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// What is wrong.
    pub finding: Option<Finding>,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Reconcile again.
    Nothing,
    /// Write this on the HPA.
    Remember(ZeroState),
    /// Write this on the HPA, then scale to 0.
    ScaleToZero {
        /// What is written.
        zero_state: ZeroState,
        /// All its metrics have read 0 since then.
        since: Timestamp,
    },
    /// Scale to this number, then remove the annotations from the HPA.
    ScaleUp {
        /// How many: what the HPA would compute.
        replicas: u32,
        /// Why.
        why: ScaleReason,
    },
}

/// Why a workload is scaled up from zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ScaleReason {
    /// depthgauge scaled it to zero, and a metric is above zero.
    Work,
    /// The HPA would scale it up itself, later.
    FastActivation,
    /// Another client scaled it to zero, and its HPA would leave it there.
    Recover,
    /// depthgauge scaled it to zero, and no longer manages it.
    Restore,
}

// === impl ScaleReason ===

impl ScaleReason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Work, Self::FastActivation, Self::Recover, Self::Restore];

    /// As a label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Work => "scale_from_zero",
            Self::FastActivation => "fast_activation",
            Self::Recover => "recover_stuck",
            Self::Restore => "restore",
        }
    }
}

// === impl Decision ===

impl Decision {
    fn of(action: Action, finding: Option<Finding>) -> Self {
        Self { action, finding }
    }
}

/// What to do about an HPA.
pub fn decide(facts: &Facts<'_>) -> Decision {
    let Facts { hpa, zero_state, replicas, .. } = facts;
    if hpa.paused {
        // Not even a cooldown goes on. If the workload has replicas, another client scaled it up,
        // and if it is at 0 again, depthgauge did not do that.
        let scaled_to_zero_since = zero_state.scaled_to_zero_since.filter(|_| *replicas == 0);
        return Decision::of(facts.remember(ZeroState { scaled_to_zero_since, zero_since: None }), None);
    }
    match (replicas, zero_state.scaled_to_zero_since) {
        (0, Some(_)) => scaled_to_zero_by_depthgauge(facts),
        (0, None) => scaled_to_zero_by_others(facts),
        _ => above_zero(facts),
    }
}

/// Why an HPA leaves its workload at 0 whatever its metrics read, if it does.
pub fn stuck(hpa: &Autoscaler, now: Timestamp) -> Option<&'static str> {
    let State { is_disabled, scaled_to_zero, fails_since, .. } = hpa.state;
    let fails = fails_since.is_some_and(|since| now.duration_since(since) > PATIENCE);
    match scaled_to_zero {
        true if hpa.limit.keeps_zero() => Some("the HPA's own behavior.scaleUp allows no step from 0"),
        true if fails => Some("the HPA itself cannot read its metrics (see kubectl describe hpa)"),
        false if is_disabled => Some("the HPA is disabled, because another client scaled the workload to 0"),
        _ => None,
    }
}

fn above_zero(facts: &Facts<'_>) -> Decision {
    let Facts { hpa, served, lasted, now, .. } = facts;
    if !hpa.is_kept() {
        return Decision::of(facts.remember(ZeroState::default()), Finding::of_label(hpa));
    }
    let finding = Finding::of_label(hpa).or_else(|| facts.unavailable_above_zero());
    let (None, Ok(cooldown), Some((first, last))) = (&finding, &hpa.cooldown, all_zero(served)) else {
        return Decision::of(facts.remember(ZeroState::default()), finding);
    };
    // Covered by readings to its end: without a read since then, a workload is not scaled to zero.
    let (since, covered) = match facts.zero_since() {
        Some(since) => (since, lasted.saturating_sub(now.duration_since(first).max(SignedDuration::ZERO))),
        None => (last, first.duration_since(last)),
    };
    let cooldown = SignedDuration::try_from(*cooldown).unwrap_or(SignedDuration::MAX);
    let action = if covered >= cooldown {
        // Kept until it is at zero: if writing the scale fails, the cooldown is over all the same.
        Action::ScaleToZero {
            zero_state: ZeroState { scaled_to_zero_since: Some(*now), zero_since: Some(since) },
            since,
        }
    } else {
        facts.remember(ZeroState { scaled_to_zero_since: None, zero_since: Some(since) })
    };
    Decision::of(action, None)
}

fn scaled_to_zero_by_depthgauge(facts: &Facts<'_>) -> Decision {
    let Facts { hpa, .. } = facts;
    let obstacle = if hpa.is_kept() { Finding::obstacle(hpa) } else { None };
    if !hpa.is_kept() || obstacle.is_some() {
        // No other client would scale it up, and its HPA would leave it there.
        return Decision::of(facts.scale_up(facts.wanted().max(1), ScaleReason::Restore), obstacle);
    }
    let annotation = hpa.cooldown.as_ref().err().map(|why| Finding::annotation(why));
    match facts.wanted() {
        // That cooldown is over.
        0 if facts.zero_state.zero_since.is_some() => Decision::of(facts.end_of_cooldown(), annotation),
        0 => Decision::of(Action::Nothing, facts.unavailable().or(annotation)),
        wanted => Decision::of(facts.scale_up(wanted, ScaleReason::Work), annotation),
    }
}

fn scaled_to_zero_by_others(facts: &Facts<'_>) -> Decision {
    let Facts { hpa, .. } = facts;
    let wanted = facts.wanted();
    let nothing_more = facts.remember(ZeroState::default());
    let State { scaled_to_zero, is_disabled, .. } = hpa.state;
    match (wanted, stuck(hpa, facts.now)) {
        (0, _) if scaled_to_zero || is_disabled => {
            Decision::of(nothing_more, facts.unavailable().or_else(|| Finding::of_label(hpa)))
        }
        (1.., _) if scaled_to_zero && hpa.labelled && hpa.fast_activation => {
            Decision::of(facts.scale_up(wanted, ScaleReason::FastActivation), None)
        }
        (1.., Some(_)) if hpa.labelled && hpa.recover_stuck => {
            Decision::of(facts.scale_up(wanted, ScaleReason::Recover), None)
        }
        (1.., Some(why)) => {
            let finding = match facts.known_above_zero() {
                Some(title) => Finding::stuck_at_zero(hpa, &title, why),
                None => Finding::metric_unavailable_at_zero(hpa, "a fallback is not a measured value.", false),
            };
            Decision::of(nothing_more, Some(finding))
        }
        // The HPA scales it up, or has not synced since it was set to 0.
        _ => Decision::of(nothing_more, None),
    }
}

// === impl Facts ===

impl Facts<'_> {
    /// The replicas that the HPA would compute from the metrics that have a value.
    fn wanted(&self) -> u32 {
        size::wanted(&self.hpa.metrics, self.served, self.hpa.max)
    }

    /// The end of a cooldown is written first. If the process died between scaling up and removing
    /// the annotation, the workload would be scaled to zero again at once.
    fn scale_up(&self, wanted: u32, why: ScaleReason) -> Action {
        if self.zero_state.zero_since.is_some() {
            return self.end_of_cooldown();
        }
        let Autoscaler { limit, min, .. } = self.hpa;
        let least = (*min).max(1);
        Action::ScaleUp { replicas: limit.bound(wanted).max(least), why }
    }

    fn end_of_cooldown(&self) -> Action {
        self.remember(ZeroState { zero_since: None, ..self.zero_state })
    }

    /// Nothing, where it is on the HPA already.
    fn remember(&self, zero_state: ZeroState) -> Action {
        if zero_state == self.zero_state { Action::Nothing } else { Action::Remember(zero_state) }
    }

    /// The annotation's value, if it can be trusted.
    fn zero_since(&self) -> Option<Timestamp> {
        let since = self.zero_state.zero_since?;
        let missed = self.unbroken.is_some_and(|unbroken| since < unbroken);
        (!missed && since <= self.now).then_some(since)
    }

    fn unavailable(&self) -> Option<Finding> {
        let (metric, served, why) = self.unknown().next()?;
        let scaled_to_zero = self.zero_state.scaled_to_zero_since.is_some() || self.hpa.state.scaled_to_zero;
        Some(match served {
            // It read 0 before. Otherwise the workload would not have been scaled to 0.
            MetricValue::Absent(_) if scaled_to_zero => Finding::no_items(self.hpa, &metric.title(), why),
            _ => Finding::metric_unavailable_at_zero(self.hpa, why, metric.object().is_none()),
        })
    }

    /// Object metrics only: an outage of a metric that depthgauge serves is reported elsewhere.
    fn unavailable_above_zero(&self) -> Option<Finding> {
        self.unknown()
            .find(|(metric, ..)| metric.object().is_some())
            .map(|(.., why)| Finding::unavailable_above_zero(why))
    }

    /// The metrics without a value, and why.
    fn unknown(&self) -> impl Iterator<Item = (&Metric, &MetricValue, &str)> {
        self.hpa.metrics.iter().zip(self.served).filter_map(|(metric, served)| match served {
            MetricValue::Unknown(why) | MetricValue::Absent(why) => Some((metric, served, why.as_ref())),
            _ => None,
        })
    }

    /// The first metric that was read well and is above 0.
    fn known_above_zero(&self) -> Option<String> {
        let mut pairs = self.hpa.metrics.iter().zip(self.served);
        let above = pairs.find(|(_, served)| matches!(served, MetricValue::Value { sum, .. } if *sum > Quantity::ZERO));
        above.map(|(metric, _)| metric.title())
    }
}

/// When the first and the last of all was read, if all were read and all are 0.
fn all_zero(served: &[MetricValue]) -> Option<(Timestamp, Timestamp)> {
    let mut span: Option<(Timestamp, Timestamp)> = None;
    for one in served {
        let MetricValue::Value { first, last, .. } = one else { return None };
        if !one.is_zero() {
            return None;
        }
        span = Some(span.map_or((*first, *last), |(a, b)| (a.min(*first), b.max(*last))));
    }
    span
}

#[cfg(test)]
mod tests;
