//! In a sentence or two: what the HPA will compute, and why it does not scale. Pure.

use std::cmp::Ordering;
use std::fmt::Write as _;

use k8s_openapi::api::autoscaling::v2::HPAScalingRules;

use super::seen::{Heard, Seen};
use crate::hpa::{Desired, Why, Workload, growth_limit};

/// Writing to a String cannot fail.
pub(super) fn write(out: &mut String, seen: &Seen<'_>, workload: &Workload, desired: &Desired) {
    for line in lines(seen, workload, desired) {
        let _ = writeln!(out, "{line}");
    }
}

/// The same in a few words, for a line of a table.
pub(super) fn short(seen: &Seen<'_>, workload: &Workload, desired: &Desired) -> String {
    let spec = seen.hpa.written().sizes();
    let (now, then) = (workload.wanted, desired.replicas);
    match desired.why {
        Why::Disabled => match (seen.hpa.scaled_to_zero_since(), seen.hpa.is_paused()) {
            (Some(_), false) => "scaled to zero".to_owned(),
            (Some(_), true) => "scaled to zero and paused".to_owned(),
            (None, _) => "at 0 because of another client, so the HPA does not scale".to_owned(),
        },
        Why::AboveMax => format!("scales to {then}: {now} is more than maxReplicas"),
        Why::BelowMin => format!("scales to {then}: {now} is fewer than minReplicas"),
        Why::Held => match (seen.first_failure(desired), seen.not_asked()) {
            (Some(failure), _) => format!("stays at {now}: {failure}"),
            (None, Some(not_asked)) => format!("unknown: {not_asked} is not queried"),
            (None, None) => format!("stays at {now}: no usable metric"),
        },
        Why::Overflow { by } => format!("unknown: {} is for more replicas than fit into 32 bits", title(seen, by)),
        Why::Metrics { proposed, lower_bound, .. } => {
            let limit = if proposed > spec.max {
                format!(": maxReplicas limits {proposed}")
            } else if proposed < spec.min {
                format!(": minReplicas limits {proposed}")
            } else {
                String::new()
            };
            let or_more = if lower_bound { " or more" } else { "" };
            match (then.cmp(&now), disabled(seen, now, then)) {
                (_, Some(direction)) => {
                    format!("stays at {now}: {direction} is Disabled, and the desired size is {then}{or_more}")
                }
                (Ordering::Equal, None) => format!("stays at {now}{or_more}{limit}"),
                (Ordering::Greater, None) => format!("scales up to {then}{or_more}{limit}"),
                (Ordering::Less, None) => format!("scales down to {then}{or_more}{limit}"),
            }
        }
    }
}

fn disabled_at_zero(seen: &Seen<'_>) -> String {
    let hpa = seen.hpa;
    if hpa.written().is_disabled() {
        // A finding names the client that did it, and the command that scales up.
        return "It does not scale: the workload is at 0, so the HPA controller reads no metrics.".to_owned();
    }
    match hpa.scaled_to_zero_since() {
        Some(since) => {
            let then = if hpa.is_paused() {
                "; it is paused, and stays at 0"
            } else {
                ", and scales it up when a metric is above 0"
            };
            format!("It does not scale: depthgauge scaled the workload to 0 at {since}{then}.")
        }
        None => format!(
            "It does not scale: something other than this HPA set the workload to 0, so the HPA controller reads no metrics. To start one replica: {}",
            hpa.start_command()
        ),
    }
}

fn lines(seen: &Seen<'_>, workload: &Workload, desired: &Desired) -> Vec<String> {
    let spec = seen.hpa.written().sizes();
    let (now, then) = (workload.wanted, desired.replicas);
    match desired.why {
        Why::Disabled => vec![disabled_at_zero(seen)],
        Why::AboveMax => {
            vec![format!("The desired size is {then}: {now} is more than maxReplicas, whatever the metrics are.")]
        }
        Why::BelowMin => {
            vec![format!("The desired size is {then}: {now} is fewer than minReplicas, whatever the metrics are.")]
        }
        Why::Held => vec![held(seen, now, desired)],
        Why::Overflow { by } => vec![format!(
            "The desired size is unknown: {} is for more replicas than fit into 32 bits, and the HPA controller of this version of Kubernetes does not check that. On amd64 it then goes by the other metrics or to minReplicas, on arm64 to maxReplicas. Use a larger target.",
            title(seen, by)
        )],
        Why::Metrics { by, proposed, lower_bound } => {
            let mut lines = Vec::new();
            if desired.proposals.len() > 1 {
                lines.push(format!("The highest proposal counts: {proposed}, by {}.", title(seen, by)));
            }
            if proposed > spec.max {
                lines.push(format!("{proposed} is more than maxReplicas {}.", spec.max));
            } else if proposed < spec.min {
                lines.push(format!("{proposed} is fewer than minReplicas {}.", spec.min));
            }
            lines.push(asks(now, then, lower_bound));
            if let Some(not_asked) = seen.not_asked() {
                lines.push(format!("It may be more: {not_asked} is not queried here."));
            }
            if let Some(failure) = seen.first_failure(desired) {
                lines.push(format!("It does not shrink now, because {failure}."));
            }
            lines.extend(not_yet(seen, now, then));
            lines
        }
    }
}

/// It keeps its size, as far as the metrics that were read decide.
fn held(seen: &Seen<'_>, now: i32, desired: &Desired) -> String {
    match (seen.first_failure(desired), seen.not_asked()) {
        (Some(failure), Some(_)) if is_disabled(seen.hpa.written().scale_up()) => {
            format!(
                "It stays at {now}: behavior.scaleUp.selectPolicy is Disabled, and it does not shrink, because {failure}."
            )
        }
        (Some(failure), Some(not_asked)) => format!(
            "It does not shrink below {now}: {failure}. It grows if another metric proposes more, and {not_asked} is not queried here."
        ),
        (Some(failure), None) if desired.proposals.len() > 1 => {
            format!("It stays at {now}: {failure}, so it does not shrink, and no other metric proposes more.")
        }
        (Some(failure), None) => format!("It stays at {now}: {failure}."),
        (None, Some(not_asked)) => format!("The desired size is unknown: {not_asked} is not queried here."),
        (None, None) => format!("It stays at {now}: it has no usable metric."),
    }
}

fn asks(now: i32, then: i32, lower_bound: bool) -> String {
    let at_least = if lower_bound { "at least " } else { "" };
    if now == then && !lower_bound {
        format!("The desired size is {then}, as now: nothing to do.")
    } else {
        format!("The desired size is {at_least}{then}; the current size is {now}.")
    }
}

/// The direction from one size to another, if the HPA disables it.
fn disabled(seen: &Seen<'_>, now: i32, then: i32) -> Option<&'static str> {
    let written = seen.hpa.written();
    let (direction, rules) = match then.cmp(&now) {
        Ordering::Greater => ("scaleUp", written.scale_up()),
        Ordering::Less => ("scaleDown", written.scale_down()),
        Ordering::Equal => return None,
    };
    is_disabled(rules).then_some(direction)
}

fn is_disabled(rules: Option<&HPAScalingRules>) -> bool {
    rules.is_some_and(|rules| rules.select_policy.as_deref() == Some("Disabled"))
}

/// What stands between the number and the size, as far as it is visible from outside; the
/// controller reports its history in its conditions.
fn not_yet(seen: &Seen<'_>, now: i32, then: i32) -> Option<String> {
    if let Some(direction) = disabled(seen, now, then) {
        let change = if then > now { "grow" } else { "shrink" };
        return Some(format!(
            "It stays at {now}: behavior.{direction}.selectPolicy is Disabled, so it does not {change}."
        ));
    }
    (then > now && !seen.hpa.written().has_behavior() && then > growth_limit(now)).then(|| {
        format!(
            "The HPA has no `behavior`, so one step at most doubles the size, or goes to 4 if that is more: to {} in the next sync.",
            growth_limit(now)
        )
    })
}

fn title(seen: &Seen<'_>, at: usize) -> String {
    match seen.heard.get(at) {
        Some(Heard::Asked { question, .. }) => question.title(),
        Some(Heard::NotAsked(words)) => words.clone(),
        None => "none".to_owned(),
    }
}
