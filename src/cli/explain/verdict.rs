//! In a sentence or two: what the HPA will ask for, and why it does not scale. Pure.

use std::fmt::Write as _;

use super::account::{Heard, Seen, first_failure};
use crate::hpa::{Desired, Why, Workload, growth_limit};

/// Writing to a String cannot fail.
pub(super) fn write(out: &mut String, seen: &Seen<'_>, workload: &Workload, desired: &Desired) {
    for line in lines(seen, workload, desired) {
        let _ = writeln!(out, "{line}");
    }
}

fn asleep(seen: &Seen<'_>) -> String {
    let hpa = seen.hpa;
    if let Some(since) = hpa.asleep_since() {
        return format!("It rests: depthgauge scaled the workload to 0 at {since}.");
    }
    format!(
        "It does not scale: the workload is at 0, and not by this HPA (ScaledToZero is not True), so no metric is looked at. Wake it with {}",
        hpa.wake_command()
    )
}

fn lines(seen: &Seen<'_>, workload: &Workload, desired: &Desired) -> Vec<String> {
    let spec = seen.hpa.spec();
    let (now, then) = (workload.wanted, desired.replicas);
    match desired.why {
        Why::Asleep => vec![asleep(seen)],
        Why::AboveMax => {
            vec![format!("It asks for {then}: {now} is more than maxReplicas, and no metric is looked at.")]
        }
        Why::BelowMin => {
            vec![format!("It asks for {then}: {now} is fewer than minReplicas, and no metric is looked at.")]
        }
        Why::Held => {
            let why = first_failure(seen, desired).unwrap_or_else(|| "it has no metric that can be counted".to_owned());
            vec![format!("It holds {now}: without every metric it never shrinks, and none proposes more. {why}")]
        }
        Why::Metrics { by, proposed, lower_bound } => {
            let mut lines = vec![asks(now, then, lower_bound)];
            if desired.proposals.len() > 1 {
                lines.push(format!("The highest proposal counts: {proposed}, by {}.", title(seen, by)));
            }
            if proposed > spec.max {
                lines.push(format!("{proposed} is more than maxReplicas {}.", spec.max));
            } else if proposed < spec.min {
                lines.push(format!("{proposed} is fewer than minReplicas {}.", spec.min));
            }
            if let Some(failure) = first_failure(seen, desired) {
                lines.push(format!("It would not shrink now, because one metric has no value. {failure}"));
            }
            lines.extend(not_yet(seen, now, then));
            lines
        }
    }
}

fn asks(now: i32, then: i32, lower_bound: bool) -> String {
    let at_least = if lower_bound { "at least " } else { "" };
    if now == then && !lower_bound {
        format!("It asks for {then}, which is what is wanted already: nothing to do.")
    } else {
        format!("It asks for {at_least}{then}; now it is {now}.")
    }
}

/// What may stand between the number and the size, as far as it can be told from outside.
fn not_yet(seen: &Seen<'_>, now: i32, then: i32) -> Vec<String> {
    let mut lines = Vec::new();
    if then > now && !seen.hpa.has_behavior() && then > growth_limit(now) {
        lines.push(format!(
            "Not at once: without behavior.scaleUp it grows to {} at most in this step (twice what there is, or 4).",
            growth_limit(now)
        ));
    }
    let reason = |name: &str| seen.hpa.condition(name).filter(|condition| condition.status == "True");
    let stabilized = reason("AbleToScale").filter(|condition| condition.reason.ends_with("Stabilized"));
    if let Some(condition) = stabilized.filter(|_| then != now) {
        lines.push(format!("At its last look stabilization held it back ({}).", condition.reason));
    }
    let limited = reason("ScalingLimited").filter(|condition| condition.reason.ends_with("Limit"));
    if let Some(condition) = limited.filter(|_| then != now) {
        lines.push(format!("At its last look a scaling policy held it back ({}).", condition.reason));
    }
    lines
}

fn title(seen: &Seen<'_>, at: usize) -> String {
    match seen.heard.get(at) {
        Some(Heard::Asked { question, .. }) => question.title(),
        Some(Heard::NotAsked(words)) => words.clone(),
        None => "none".to_owned(),
    }
}
