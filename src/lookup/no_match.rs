//! The error of a selector that picks no source.

use super::view::{Meaning, View};
use super::{LookupError, refused};
use crate::metric::{Namespace, names};
use crate::selector::Selector;
use crate::source::Kind;

/// Longest message of a 404 with the names that exist, and how many of them at most.
const NAMES_BYTES: usize = 400;
const NAMES_MAX: usize = 10;

/// The error of a selector that picks no source of this kind.
pub(super) fn no_match(view: &View, kind: &'static Kind, namespace: &Namespace, selector: &Selector) -> LookupError {
    let names = view.names(kind);
    // The sources that the selector is about.
    let has = |label: &&'static str| selector.requirements().iter().any(|of| of.key() == *label);
    let label = kind.name_labels().find(has).unwrap_or(kind.label);
    let meanings = names.iter().flat_map(|names| names.meanings()).filter(|meaning| meaning.label() == label);
    let mut known: Vec<&str> = meanings.map(Meaning::name).collect();
    known.dedup();
    if known.is_empty() {
        let namespace = names::shortened(namespace.as_str(), 63);
        let of_kind = format!("there is no {label} of type {} that namespace {namespace:?} may read", kind.name);
        return LookupError::NoMatch(format!("{of_kind}: see `namespaces` in depthgauge's config"));
    }
    let mut message = no_match_message(label, namespace.as_str(), &selector.to_string(), &known);
    if let Some(hidden) = names.and_then(|names| names.hidden().iter().find(|entry| entry.source.label == label)) {
        let name = names::shortened(hidden.source.true_name(), 63);
        let reason = format!("; another {label} {name:?} can't be selected: {}", refused::hidden_reason(hidden));
        if message.len() + reason.len() <= NAMES_BYTES {
            message.push_str(&reason);
        }
    }
    LookupError::NoMatch(names::shortened(&message, NAMES_BYTES).into_owned())
}

/// Names, sorted, as many as fit, "and N more" for the rest.
fn no_match_message(label: &str, namespace: &str, selector: &str, names: &[&str]) -> String {
    let namespace = names::shortened(namespace, 63);
    let selector = if selector.is_empty() { "any selector".into() } else { names::shortened(selector, 100) };
    let mut message = format!("no {label} that namespace {namespace:?} may read matches {selector}");
    message.push_str("; it may read ");
    message.push_str(&names::that_fit(names, NAMES_BYTES.saturating_sub(message.len()), NAMES_MAX));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_404_names_what_fits() {
        let names: Vec<String> = (0..25).map(|n| format!("queue-{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let message = no_match_message("queue", "shop", "queue=x", &names);
        assert!(message.ends_with("queue-08, queue-09 and 15 more"), "{message}");
        let long: Vec<String> = (0..25).map(|n| format!("{}{n:02}", "q".repeat(61))).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        let message = no_match_message("queue", &"n".repeat(300), &"s".repeat(300), &long);
        assert!(message.len() <= NAMES_BYTES, "{}", message.len());
        assert!(message.contains(" more"));
    }
}
