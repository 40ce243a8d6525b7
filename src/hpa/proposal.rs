//! One metric: from a sum to the replicas that it is for. Mirrors `replica_calculator.go`.

use super::{Controller, Tolerance, Workload};

/// What the metric should be, in thousandths of its unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// For each pod that exists.
    AverageValue(i64),
    /// In all, with as many ready pods as there are.
    Value(i64),
}

/// What one metric proposes, with the steps to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// The items' sum, in thousandths.
    pub sum: i64,
    /// Usage divided by target; infinite or no number where `AverageValue` has no pod to divide by.
    pub ratio: f64,
    /// Whether the ratio is near enough to 1 that nothing changes.
    pub within_tolerance: bool,
    /// What the ratio is multiplied with, if it is (`Value`, not at 0).
    pub ready: Option<i32>,
    /// Before `minReplicas` and `maxReplicas`.
    pub replicas: i32,
}

/// Why a metric proposes nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoProposal {
    /// It has no value.
    NoValue,
    /// `Value` needs a pod of the workload, and its selector finds none.
    NoPods,
    /// It is for more replicas than an `i32` holds, and the controller does not check that.
    Overflow,
    /// No request was made for it.
    NotAsked,
}

/// What a metric proposes that has the value `sum`.
pub(super) fn of(
    controller: Controller,
    target: Target,
    sum: i64,
    tolerance: Tolerance,
    workload: &Workload,
) -> Result<Proposal, NoProposal> {
    match target {
        Target::AverageValue(target) => per_pod(controller, target, sum, tolerance, workload.exist),
        Target::Value(target) => in_all(controller, target, sum, tolerance, workload),
    }
}

/// Mirrors `GetExternalPerPodMetricReplicas`. Without pods the ratio is infinite or no number, and
/// so never within the tolerance.
#[expect(clippy::cast_precision_loss, reason = "the controller loses it, too")]
fn per_pod(
    controller: Controller,
    target: i64,
    sum: i64,
    tolerance: Tolerance,
    exist: i32,
) -> Result<Proposal, NoProposal> {
    let ratio = sum as f64 / (target as f64 * f64::from(exist));
    let within_tolerance = tolerance.covers(ratio);
    let replicas =
        if within_tolerance { exist } else { checked(sum as f64 / target as f64, controller.saturates_average)? };
    Ok(Proposal { sum, ratio, within_tolerance, ready: None, replicas })
}

/// Mirrors `GetExternalMetricReplicas` and `getUsageRatioReplicaCount`: at 0 replicas neither pods
/// nor tolerance count.
#[expect(clippy::cast_precision_loss, reason = "the controller loses it, too")]
fn in_all(
    controller: Controller,
    target: i64,
    sum: i64,
    tolerance: Tolerance,
    workload: &Workload,
) -> Result<Proposal, NoProposal> {
    let ratio = sum as f64 / target as f64;
    let mut proposal = Proposal { sum, ratio, within_tolerance: false, ready: None, replicas: workload.wanted };
    if workload.wanted == 0 {
        proposal.replicas = checked(ratio, controller.saturates_at_zero)?;
    } else if tolerance.covers(ratio) {
        proposal.within_tolerance = true;
    } else {
        let ready = workload.ready.ok_or(NoProposal::NoPods)?;
        proposal.ready = Some(ready);
        proposal.replicas = checked(ratio * f64::from(ready), controller.saturates)?;
    }
    Ok(proposal)
}

/// Rounded up. Beyond an `i32` it is the largest, if the controller checks that.
fn checked(replicas: f64, is_checked: bool) -> Result<i32, NoProposal> {
    let fits = replicas.ceil() <= f64::from(i32::MAX);
    (fits || is_checked).then(|| whole(replicas)).ok_or(NoProposal::Overflow)
}

/// Rounded up, as far as an `i32` goes.
#[expect(clippy::cast_possible_truncation, reason = "saturates, which is what is wanted")]
fn whole(replicas: f64) -> i32 {
    replicas.ceil() as i32
}

// === impl Target ===

impl Target {
    /// The items of an answer, in thousandths, as the controller adds them up; `None` without
    /// items, which it takes for an error.
    ///
    /// `AverageValue` takes a sum below zero for an overflow and so for as much as there can be;
    /// `Value` lets it be negative.
    pub fn sum(self, items: &[i64]) -> Option<i64> {
        let mut sum: i64 = 0;
        for item in items {
            sum = match (self, sum.checked_add(*item)) {
                (Self::AverageValue(_), Some(sum)) if sum >= 0 => sum,
                (Self::Value(_), Some(sum)) => sum,
                (Self::Value(_), None) if *item < 0 => i64::MIN,
                _ => return Some(i64::MAX),
            };
        }
        (!items.is_empty()).then_some(sum)
    }

    /// In thousandths.
    pub fn milli(self) -> i64 {
        match self {
            Self::AverageValue(milli) | Self::Value(milli) => milli,
        }
    }
}
