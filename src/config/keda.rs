//! Objects of KEDA where a config is expected. Users who migrate have both in one folder. Pure.

use crate::document::Position;

/// How the `apiVersion` of its objects begins.
const API_VERSION: &str = "apiVersion: keda.sh/";
const JOB: &str = "ScaledJob";
const KINDS: [&str; 4] = ["ScaledObject", JOB, "TriggerAuthentication", "ClusterTriggerAuthentication"];
/// Which triggers and objects have a counterpart.
const PAGE: &str = "docs/how-to/migrate-from-keda.md";

/// Where a file has an object of KEDA, and the error message. It reads lines, because such files have several
/// documents or are lists of kubectl.
pub(super) fn find(text: &str) -> Option<(Position, String)> {
    let lines: Vec<String> = text.lines().map(bare).collect();
    let at = lines.iter().position(|line| line.starts_with(API_VERSION))?;
    let is_there = |kind: &&str| lines.iter().any(|line| line.strip_prefix("kind: ") == Some(kind));
    let kinds: Vec<&str> = KINDS.into_iter().filter(is_there).collect();
    let what = if kinds.is_empty() { "an object".to_owned() } else { format!("a {}", kinds.join(" and ")) };
    let advice = match kinds[..] {
        [JOB] => format!("it has no counterpart, and KEDA can stay for it: see {PAGE}"),
        _ => format!("see {PAGE} for what replaces it"),
    };
    Some((Position::start_of(at + 1), format!("this is {what} of KEDA, not a Config: {advice}")))
}

/// A line of YAML or JSON without quotes, braces and what surrounds `key: value`.
fn bare(line: &str) -> String {
    let bare: String = line.chars().filter(|c| !matches!(c, '"' | '\'' | '{' | '}' | ',')).collect();
    bare.trim().trim_start_matches("- ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_keda_are_found_in_each_form_and_a_config_is_none() {
        let replaced = "see docs/how-to/migrate-from-keda.md for what replaces it";
        let stays = "it has no counterpart, and KEDA can stay for it: see docs/how-to/migrate-from-keda.md";
        for (text, line, kind, advice) in [
            (
                "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: web}\n",
                1,
                "a ScaledObject",
                replaced,
            ),
            (
                "kind: Secret\n---\nkind: TriggerAuthentication\napiVersion: 'keda.sh/v1alpha1'\n",
                4,
                "a TriggerAuthentication",
                replaced,
            ),
            (
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: keda.sh/v1alpha1\n  kind: ScaledJob\n",
                4,
                "a ScaledJob",
                stays,
            ),
            (
                "apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\n---\nkind: ScaledObject\n",
                1,
                "a ScaledObject and ScaledJob",
                replaced,
            ),
            (
                "{\n  \"apiVersion\": \"keda.sh/v1alpha1\",\n  \"kind\": \"ScaledObject\"\n}\n",
                2,
                "a ScaledObject",
                replaced,
            ),
            ("apiVersion: keda.sh/v1alpha1\n", 1, "an object", replaced),
        ] {
            let message = format!("this is {kind} of KEDA, not a Config: {advice}");
            assert_eq!(find(text), Some((Position::start_of(line), message)));
        }
        assert_eq!(find("apiVersion: depthgauge.dev/v1alpha1\n# apiVersion: keda.sh/v1alpha1\nkind: Config\n"), None);
    }
}
