//! kube-apiserver itself: its version, and its clock beside the local one.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::cli::finding::Finding;
use crate::cli::kubernetes::Version;

/// A node that keeps time by NTP is off by milliseconds. Half a minute is no failure yet: it will
/// be one.
const SKEW_WARN: SignedDuration = SignedDuration::from_secs(30);
/// OCI refuses signatures whose date is off by more.
const SKEW_FAIL: SignedDuration = SignedDuration::from_mins(5);

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The version that it reports.
pub(super) fn version(server: &str, answer: Option<&Value>) -> Finding {
    let Some(answer) = answer else {
        return Finding::warn(format!(
            "{server} does not report its version; before 1.37, `minReplicas: 0` needs feature gate HPAScaleToZero"
        ));
    };
    let written = answer["gitVersion"].as_str().unwrap_or("an unknown version");
    match Version::of(answer) {
        Some(version) if !version.scales_to_zero() => Finding::ok(format!(
            "Kubernetes {written} on {server}; before 1.37, `minReplicas: 0` needs feature gate HPAScaleToZero, and `serve --scale-to-zero` does without"
        )),
        _ => Finding::ok(format!("Kubernetes {written} on {server}")),
    }
}

/// Its clock beside the local one.
pub(super) fn clock(theirs: Option<Timestamp>, ours: Timestamp) -> Finding {
    let Some(theirs) = theirs else { return Finding::warn("kube-apiserver does not report its time") };
    let ahead = ours.duration_since(theirs);
    let (skew, direction) = (ahead.abs(), if ahead.is_negative() { "behind" } else { "ahead of" });
    let seconds = skew.as_secs();
    let said = format!("the local clock is {seconds} s {direction} kube-apiserver's");
    if skew > SKEW_FAIL {
        Finding::fail(format!("{said}, and OCI rejects signatures that are more than 5 min off: set the clock (NTP)"))
    } else if skew > SKEW_WARN {
        Finding::warn(format!(
            "{said}: set the clock (NTP) before it is 5 min off, because OCI rejects such signatures"
        ))
    } else if skew <= SECOND {
        // It reports its time in whole seconds.
        Finding::ok("the local clock agrees with kube-apiserver's")
    } else {
        Finding::ok(said)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::finding::Level;

    #[test]
    fn before_1_37_the_feature_gate_is_named() {
        for (major, minor, zero) in
            [("1", "36", false), ("1", "37", true), ("1", "37+", true), ("1", "100", true), ("2", "0", true)]
        {
            let answer = json!({"major": major, "minor": minor, "gitVersion": "v"});
            let finding = version("s", Some(&answer));
            assert_eq!(finding.level, Level::Ok);
            assert_eq!(finding.text.contains("HPAScaleToZero"), !zero, "{}", finding.text);
        }
        assert_eq!(version("s", None).level, Level::Warn);
    }

    #[test]
    fn a_clock_that_is_off_is_told_before_it_hurts() {
        let theirs: Timestamp = "2026-11-22T14:00:00Z".parse().unwrap();
        for (seconds, level) in [
            (2, Level::Ok),
            (30, Level::Ok),
            (31, Level::Warn),
            (-31, Level::Warn),
            (300, Level::Warn),
            (301, Level::Fail),
            (-301, Level::Fail),
        ] {
            let found = clock(Some(theirs), theirs + SignedDuration::from_secs(seconds));
            assert_eq!(found.level, level, "{seconds}");
            let direction = if seconds < 0 { "behind" } else { "ahead of" };
            assert!(found.text.contains(&format!("{} s {direction}", seconds.abs())), "{}", found.text);
        }
        assert!(clock(Some(theirs), theirs + SECOND).text.contains("agrees"));
        assert_eq!(clock(None, theirs).level, Level::Warn);
    }
}
