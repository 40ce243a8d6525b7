//! The account of one HPA in text: each metric with its steps, the result, and what only the
//! controller has. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::seen::{Heard, Seen};
use super::verdict;
use crate::cli::external_metrics::Item;
use crate::cli::finding::{Finding, one_line};
use crate::hpa::{NoProposal, Proposal, Spec, Target, Workload};
use crate::lookup::rules::Applied;
use crate::metric::quantity::{Decimal, Quantity};
use crate::source::Substitute;

/// Conditions that report what the controller did because of its history.
const REMEMBERED: [&str; 4] = ["AbleToScale", "ScalingActive", "ScalingLimited", "ScaledToZero"];

/// Writing to a String cannot fail, so results are dropped throughout.
pub(super) fn write(seen: &Seen<'_>, findings: &[Finding]) -> String {
    let spec = seen.hpa.written().sizes();
    let mut out = String::new();
    let target = seen.hpa.workload();
    let _ = writeln!(
        out,
        "HPA {} scales {} {} between {} and {} replicas",
        seen.hpa.title(),
        target.kind,
        target.name,
        spec.min,
        spec.max
    );
    let desired = seen.desired();
    let _ = match &seen.workload {
        Ok(Workload { wanted, exist, ready, .. }) => {
            let ready = ready.map_or_else(String::new, |ready| format!(", {ready} ready"));
            writeln!(out, "now         {wanted} desired, {exist} current{ready}")
        }
        Err(why) => writeln!(out, "now         unknown: {}", one_line(why)),
    };
    for (at, heard) in seen.heard.iter().enumerate() {
        let proposal = desired.as_ref().ok().and_then(|desired| desired.proposals.get(at));
        write_metric(&mut out, heard, proposal, &spec, seen);
    }
    let _ = writeln!(out);
    match (&seen.workload, &desired) {
        (Ok(workload), Ok(desired)) => verdict::write(&mut out, seen, workload, desired),
        _ => {
            let _ = writeln!(out, "The desired size is unknown, because the workload cannot be read.");
        }
    }
    write_remembered(&mut out, seen);
    write_findings(&mut out, findings);
    out
}

fn write_metric(
    out: &mut String,
    heard: &Heard,
    proposal: Option<&Result<Proposal, NoProposal>>,
    spec: &Spec,
    seen: &Seen<'_>,
) {
    let (question, answer) = match heard {
        Heard::Asked { question, answer } => (question, answer),
        Heard::NotAsked(words) => {
            let _ = writeln!(
                out,
                "\n{words}\n  answer    not queried: it is not a metric of depthgauge; it may propose more replicas"
            );
            return;
        }
    };
    let _ = writeln!(out, "\n{}{}", question.title(), wanted(question.target));
    match answer {
        Ok(items) if items.is_empty() => {
            let _ = writeln!(out, "  answer    none: a list without items, which the controller treats as an error");
        }
        Ok(items) => items.iter().for_each(|item| write_item(out, item, seen.now)),
        Err(trouble) => {
            let _ = writeln!(out, "  answer    none: {}", one_line(&trouble.advised()));
        }
    }
    if let Some(change) = seen.next_changes.get(&question.title()) {
        let _ = writeln!(out, "  next      {}", one_line(change));
    }
    if let (Some(Ok(proposal)), Some(target), Ok(workload)) = (proposal, question.target, &seen.workload) {
        write_steps(out, proposal, target, spec, workload);
    } else if proposal == Some(&Err(NoProposal::NoPods)) {
        let _ = writeln!(out, "  proposes  nothing: the workload's selector matches no pod");
    } else if proposal == Some(&Err(NoProposal::Overflow)) {
        let _ = writeln!(out, "  proposes  more replicas than fit into 32 bits");
    }
}

fn decimal(milli: i64) -> Decimal {
    Quantity::from_milli(milli).decimal()
}

fn wanted(target: Option<Target>) -> String {
    match target {
        Some(Target::AverageValue(milli)) => format!(", averageValue {}", decimal(milli)),
        Some(Target::Value(milli)) => format!(", value {}", decimal(milli)),
        None => ", a target that the controller cannot use".to_owned(),
    }
}

fn write_item(out: &mut String, item: &Item, now: Timestamp) {
    let age = match (item.age(now), item.timestamp) {
        (Some(age), Some(read)) => format!("read {age} s ago, at {read}"),
        _ => "of unknown age".to_owned(),
    };
    let labels = item.labels.join(", ");
    let _ = writeln!(out, "  answer    {}  {}  {age}", item.shown(), one_line(&labels));
    let Some(label) = item.policy.as_deref() else { return };
    let rule = match Applied::ALL.into_iter().find(|rule| rule.as_str() == label) {
        Some(Applied::Activation) => "activation: 0 is served until the value exceeds the threshold",
        Some(Applied::Fallback) => "fallback: the source cannot be read, and this value is served instead",
        Some(Applied::Substitute(Substitute::Empty)) => "empty: the source has no item, and the config sets this value",
        Some(Applied::Substitute(Substitute::NotANumber)) => "nan: NaN was read, and the config sets this value",
        Some(Applied::Substitute(Substitute::Negative)) => "clamp: a negative number was read, and the config sets 0",
        None => "unknown to this version",
    };
    let _ = writeln!(out, "  rule      {rule}");
}

fn write_steps(out: &mut String, proposal: &Proposal, target: Target, spec: &Spec, workload: &Workload) {
    let Proposal { sum, ratio, within_tolerance, ready, replicas } = proposal;
    let (sum, each) = (decimal(*sum), decimal(target.milli()));
    let (low, high) = (1.0 - spec.tolerance.down, 1.0 + spec.tolerance.up);
    let tolerated = |inside: bool| {
        let word = if inside { "within" } else { "outside" };
        format!("{word} the tolerance of {low} to {high}")
    };
    let exist = workload.exist;
    let _ = match target {
        Target::AverageValue(_) if exist == 0 => {
            writeln!(out, "  ratio     none: there are 0 pods, and the tolerance does not apply")
        }
        Target::AverageValue(_) => {
            let tolerated = tolerated(*within_tolerance);
            writeln!(out, "  ratio     {sum} / ({each} × {exist} pods) = {ratio:.4}, {tolerated}")
        }
        Target::Value(_) if workload.wanted == 0 => {
            writeln!(out, "  ratio     {sum} / {each} = {ratio:.4}; at 0 replicas the tolerance does not apply")
        }
        Target::Value(_) => writeln!(out, "  ratio     {sum} / {each} = {ratio:.4}, {}", tolerated(*within_tolerance)),
    };
    let _ = match (target, ready) {
        _ if *within_tolerance => writeln!(out, "  proposes  {replicas}, as now"),
        (Target::AverageValue(_), _) => writeln!(out, "  proposes  ⌈{sum} / {each}⌉ = {replicas}"),
        (Target::Value(_), Some(ready)) => {
            writeln!(out, "  proposes  ⌈{ratio:.4} × {ready} ready pods⌉ = {replicas}")
        }
        (Target::Value(_), None) => writeln!(out, "  proposes  ⌈{ratio:.4}⌉ = {replicas}"),
    };
}

fn write_remembered(out: &mut String, seen: &Seen<'_>) {
    let stale =
        if seen.hpa.written().is_status_stale() { ", which was before the latest change of the HPA" } else { "" };
    let _ = writeln!(
        out,
        "\nStabilization and scaling policies depend on the history of the controller. Its conditions at the last sync{stale}:"
    );
    let mut any = false;
    for condition in seen.hpa.written().conditions().filter(|condition| REMEMBERED.contains(&condition.name)) {
        any = true;
        let _ = writeln!(
            out,
            "  {:<15} {:<6} {}: {}",
            condition.name,
            condition.status,
            condition.reason,
            one_line(&seen.untold(condition.message))
        );
    }
    if !any {
        let _ = writeln!(out, "  none yet: the controller has not synced this HPA");
    }
}

/// Below the account, as `check` prints them.
fn write_findings(out: &mut String, found: &[Finding]) {
    if !found.is_empty() {
        out.push('\n');
    }
    for Finding { level, text } in found {
        let _ = writeln!(out, "{:<5} {}", level.as_str(), one_line(text));
    }
}

#[cfg(test)]
mod tests;
