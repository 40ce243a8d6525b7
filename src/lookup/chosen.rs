//! Answers about metrics whose names the config chooses: which items of them a request may have
//! together. Pure.

use std::collections::{BTreeSet, HashSet};

use super::query::Query;
use super::rules::{self, Applied};
use super::{LookupError, shortened};
use crate::metric::quantity::Quantity;
use crate::metric::{Labels, Namespace, Sample, names};

/// The most items of an answer. More are a mistake in the selector, and cost other requests time.
const ITEMS_MAX: usize = 1000;
/// How much of an item's labels an error message repeats, in bytes.
const LABELS_BYTES: usize = 120;
/// How much of an error message label keys take, in bytes, and how many of them at most.
const KEYS_BYTES: usize = 160;
const KEYS_MAX: usize = 20;

/// What a source adds to an answer.
pub(super) struct Share {
    pub(super) samples: Vec<Sample>,
    /// Whether several items may be added up.
    pub(super) sums: bool,
    /// The label keys of all its items.
    pub(super) keys: BTreeSet<String>,
}

/// The items of all sources, if a request may have them together.
pub(super) fn together(query: &Query<'_>, shares: Vec<Share>) -> Result<Vec<Sample>, LookupError> {
    let sums = shares.iter().filter(|share| !share.samples.is_empty()).all(|share| share.sums);
    let keys: BTreeSet<String> = shares.iter().flat_map(|share| share.keys.iter().cloned()).collect();
    let mut samples: Vec<Sample> = shares.into_iter().flat_map(|share| share.samples).collect();
    let metric = &query.metric;
    match samples.as_slice() {
        [] => return Err(no_match(query, &keys)),
        [_] => {}
        [first, second, ..] if !sums => {
            let [first, second] = [first, second].map(|sample| titled(query, &sample.labels));
            return Err(LookupError::BadSelector(format!(
                "the selector picks {} items of {metric}, such as {first} and {second}: pick one, or set `items: sum` in depthgauge's config",
                samples.len()
            )));
        }
        _ if samples.len() > ITEMS_MAX => {
            return Err(LookupError::BadSelector(format!(
                "the selector picks {} items of {metric}; there can be {ITEMS_MAX} in an answer",
                samples.len()
            )));
        }
        _ => {}
    }
    let mut seen = HashSet::new();
    if let Some(twice) = samples.iter().find(|sample| !seen.insert(&sample.labels)) {
        let twice = titled(query, &twice.labels);
        let message = format!("two sources of depthgauge's config have {twice}: give one of them another `metric`");
        return Err(LookupError::Unavailable(message.into()));
    }
    if let Some(threshold) = query.value_rules.activation {
        hold(&mut samples, threshold);
    }
    Ok(samples)
}

/// Serves 0 for samples whose sum is not above a threshold. A true 0 stays as it is.
pub(super) fn hold(samples: &mut [Sample], threshold: Quantity) {
    let sum = Quantity::sum(samples.iter().map(|sample| sample.value));
    if sum.is_none_or(|sum| sum > threshold || sum == Quantity::ZERO) {
        return;
    }
    for sample in samples {
        sample.value = Quantity::ZERO;
        sample.labels = sample.labels.clone().with(rules::LABEL, Applied::Activation.as_str());
    }
}

/// The error of a namespace that may read no source of the metric.
pub(super) fn not_readable(query: &Query<'_>, namespace: &Namespace) -> LookupError {
    let (metric, namespace) = (&query.metric, shortened(namespace.as_str(), 63));
    LookupError::NoMatch(format!(
        "namespace {namespace:?} may not read {metric}: see `namespaces` in depthgauge's config"
    ))
}

fn no_match(query: &Query<'_>, keys: &BTreeSet<String>) -> LookupError {
    let (metric, selector) = (&query.metric, query.selector.to_string());
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let labels = match keys.is_empty() {
        true => "its items have no labels".to_owned(),
        false => format!("the label keys are {}", names::that_fit(&keys, KEYS_BYTES, KEYS_MAX)),
    };
    LookupError::NoMatch(format!("no item of {metric} matches {:?}; {labels}", shortened(&selector, LABELS_BYTES)))
}

/// `http_requests_per_second{pod=a,service=web}`
fn titled(query: &Query<'_>, labels: &Labels) -> String {
    let pairs: Vec<String> =
        labels.iter().filter(|(key, _)| *key != rules::LABEL).map(|(key, value)| format!("{key}={value}")).collect();
    let pairs = pairs.join(",");
    names::title(query.metric.as_str(), shortened(&pairs, LABELS_BYTES))
}
