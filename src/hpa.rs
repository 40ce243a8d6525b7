//! HPAs as their controller has them: what is written in one, and the arithmetic for External
//! metrics. Pure.
//!
//! What `k8s.io/kubernetes/pkg/controller/podautoscaler` requests, bit by bit. What its versions do
//! differently is in [`Controller`]. The limit of this arithmetic is the controller's memory: stabilization
//! windows and scaling policies depend on recommendations and changes that only the controller remembers.
//! Numbers are the controller's own: `i32` replicas, `i64` thousandths of a unit, and ratios in `f64`, because
//! its tolerance is compared in floats.
//!
//! [`proposal`] is one metric; this file is all of them. [`reader`] reads the object.

pub mod proposal;
pub mod reader;

pub use proposal::{NoProposal, Proposal, Target};

/// Deviation of the ratio from 1 within which nothing changes, unless the HPA sets it: the default
/// of the controller's `--horizontal-pod-autoscaler-tolerance`.
pub const TOLERANCE: f64 = 0.1;

/// The controller's own limit of growth for an HPA without `behavior`: twice what there is, ...
const GROWTH: i32 = 2;
/// ... and never less than this.
const GROWTH_FROM: i32 = 4;

/// How far the ratio of usage and target may be from 1 without a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Above 1: `behavior.scaleUp.tolerance`.
    pub up: f64,
    /// Below 1: `behavior.scaleDown.tolerance`.
    pub down: f64,
}

/// The sizes of an HPA.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// `minReplicas`, 1 where it is left out.
    pub min: i32,
    /// `maxReplicas`
    pub max: i32,
    /// Its `behavior`'s; without one, the controller's.
    pub tolerance: Tolerance,
}

/// What versions of the controller do differently. What differs with the workload at 0 is in
/// [`Workload::scaled_to_zero`], and a tolerance of the HPA that a version does not obey is dropped by its
/// kube-apiserver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Controller {
    /// Whether the replicas that `AverageValue` is for are at most the largest `i32`.
    pub saturates_average: bool,
    /// Whether the replicas that `Value` is for are at most the largest `i32`, while there are pods.
    pub saturates: bool,
    /// The same at 0 replicas.
    pub saturates_at_zero: bool,
}

/// The scaled workload, as its scale subresource and its pods have it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Workload {
    /// `spec.replicas`: the desired size. `Value` counts from here.
    pub wanted: i32,
    /// `status.replicas`: the pods that exist. `AverageValue` counts from here.
    pub exist: i32,
    /// Pods that are Running and Ready; `None` if the selector finds no pod at all. Only `Value`
    /// uses it.
    pub ready: Option<i32>,
    /// Whether the HPA continues to read metrics at 0: its own condition `ScaledToZero` is True, or
    /// it is one of Kubernetes before 1.36 with `minReplicas: 0`.
    pub scaled_to_zero: bool,
}

/// What is known about a metric's value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The items, summed by [`Target::sum`].
    Sum(i64),
    /// There was none, or it had no items.
    Failed,
    /// Not requested by depthgauge (CPU, for example): the result is then a lower bound.
    NotAsked,
}

/// One entry of `spec.metrics`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metric {
    /// What it should be.
    pub target: Target,
    /// What it is.
    pub answer: Answer,
}

/// What the controller computes, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Before stabilization and policies, within `minReplicas` and `maxReplicas`. [`Workload::wanted`] if
    /// the controller's result is not known.
    pub replicas: i32,
    /// Where that comes from.
    pub why: Why,
    /// One for each metric, in their order; empty if the metrics were not read.
    pub proposals: Vec<Result<Proposal, NoProposal>>,
}

/// Which way the controller went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// At 0 replicas, and not by this HPA: it is disabled (`ScalingDisabled`) until another client
    /// scales.
    Disabled,
    /// More replicas than `maxReplicas`: metrics are not read.
    AboveMax,
    /// Fewer than `minReplicas`: metrics are not read.
    BelowMin,
    /// No metric has a value, or one lacks it and the others would scale down: it holds its size.
    Held,
    /// A metric is for more replicas than an `i32` holds, and the controller does not check that. Its
    /// result depends on its processor: on amd64 the conversion gives the smallest number, on arm64 the
    /// largest.
    Overflow {
        /// Which metric.
        by: usize,
    },
    /// The highest proposal.
    Metrics {
        /// Which metric.
        by: usize,
        /// Its proposal, before `minReplicas` and `maxReplicas`.
        proposed: i32,
        /// Whether a metric was [`Answer::NotAsked`], so that it may be more.
        lower_bound: bool,
    },
}

/// The result of an HPA's metrics; mirrors `reconcileAutoscaler` with `normalizeDesiredReplicas`
/// and `normalizeDesiredReplicasWithBehaviors`, as if there was no history and no policy limits.
pub fn desired(controller: Controller, spec: &Spec, workload: &Workload, metrics: &[Metric]) -> Desired {
    let unasked = |replicas, why| Desired { replicas, why, proposals: Vec::new() };
    if workload.wanted == 0 {
        if !workload.scaled_to_zero {
            return unasked(0, Why::Disabled);
        }
    } else if workload.wanted > spec.max {
        return unasked(spec.max, Why::AboveMax);
    } else if workload.wanted < spec.min {
        return unasked(spec.min, Why::BelowMin);
    }
    let proposal = |metric: &Metric| metric.proposal(controller, spec.tolerance, workload);
    let proposals: Vec<_> = metrics.iter().map(proposal).collect();
    if let Some(by) = proposals.iter().position(|proposal| *proposal == Err(NoProposal::Overflow)) {
        return Desired { replicas: workload.wanted, why: Why::Overflow { by }, proposals };
    }
    match highest(&proposals, workload.wanted) {
        Some((by, proposed)) => {
            let lower_bound = proposals.contains(&Err(NoProposal::NotAsked));
            // Not `clamp`, which panics on a maximum below the minimum.
            let replicas = proposed.min(spec.max).max(spec.min);
            Desired { replicas, why: Why::Metrics { by, proposed, lower_bound }, proposals }
        }
        None => Desired { replicas: workload.wanted, why: Why::Held, proposals },
    }
}

/// Mirrors `computeReplicasForMetrics`: the highest proposal counts; while a metric fails, only one
/// that does not scale down.
fn highest(proposals: &[Result<Proposal, NoProposal>], current: i32) -> Option<(usize, i32)> {
    let mut highest: Option<(usize, i32)> = None;
    for (at, proposal) in proposals.iter().enumerate() {
        if let Ok(proposal) = proposal
            && highest.is_none_or(|(_, so_far)| so_far == 0 || proposal.replicas > so_far)
        {
            highest = Some((at, proposal.replicas));
        }
    }
    let failed = proposals.iter().any(|proposal| matches!(proposal, Err(NoProposal::NoValue | NoProposal::NoPods)));
    highest.filter(|(_, replicas)| !failed || *replicas >= current)
}

/// The most that an HPA without `behavior` grows to in one step; mirrors `calculateScaleUpLimit`.
pub fn growth_limit(current: i32) -> i32 {
    current.saturating_mul(GROWTH).max(GROWTH_FROM)
}

// === impl Controller ===

impl Controller {
    /// That of the newest Kubernetes.
    pub const NEWEST: Self = Self { saturates_average: true, saturates: true, saturates_at_zero: true };
}

// === impl Desired ===

impl Desired {
    /// Whether the replicas are what the controller arrives at.
    pub fn is_known(&self) -> bool {
        !matches!(self.why, Why::Overflow { .. })
    }
}

// === impl Tolerance ===

impl Default for Tolerance {
    fn default() -> Self {
        Self { up: TOLERANCE, down: TOLERANCE }
    }
}

impl Tolerance {
    /// Mirrors `Tolerances.isWithin`. A ratio that is no number is outside.
    pub fn covers(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

// === impl Workload ===

impl Workload {
    /// One whose pods are all there and ready, and which only this HPA scales to 0.
    pub fn settled(replicas: i32) -> Self {
        Self { wanted: replicas, exist: replicas, ready: Some(replicas), scaled_to_zero: replicas == 0 }
    }
}

// === impl Metric ===

impl Metric {
    fn proposal(
        &self,
        controller: Controller,
        tolerance: Tolerance,
        workload: &Workload,
    ) -> Result<Proposal, NoProposal> {
        match self.answer {
            Answer::Sum(sum) => proposal::of(controller, self.target, sum, tolerance, workload),
            Answer::Failed => Err(NoProposal::NoValue),
            Answer::NotAsked => Err(NoProposal::NotAsked),
        }
    }
}

#[cfg(test)]
mod tests;
