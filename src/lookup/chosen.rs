//! From the items of each source to the samples of an answer; and for metrics whose names the config
//! chooses, which items a request may have together. Pure.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::query::Query;
use super::rules::{self, Applied};
use super::{LookupError, shortened};
use crate::metric::quantity::Quantity;
use crate::metric::{Labels, Namespace, Sample, names};

/// How much of an item's labels an error message repeats, in bytes: two of them, and twice a metric of 63
/// bytes, leave room for the remedy.
const LABELS_BYTES: usize = 50;
/// How much of an error message label keys take, in bytes, and how many of them at most.
const KEYS_BYTES: usize = 160;
const KEYS_MAX: usize = 20;

/// The contribution of a source to an answer.
pub(super) struct Share {
    /// Each with its value, or the error message of one that is unknown.
    pub(super) items: Vec<(Labels, Result<Quantity, Arc<str>>)>,
    pub(super) timestamp: Timestamp,
    /// The threshold that the sum of these items must exceed, otherwise 0 is served.
    pub(super) activation: Option<Quantity>,
    /// Whether the source can't be read, and its fallback is served.
    pub(super) falls_back: bool,
    /// Whether several items may be added up.
    pub(super) sums: bool,
    /// The label keys of all items of the source, if none is selected.
    pub(super) keys: BTreeSet<String>,
}

/// The samples of an answer, if all of its values are known.
pub(super) fn samples(query: &Query<'_>, shares: Vec<Share>) -> Result<Vec<Sample>, LookupError> {
    let (mut samples, mut falls_back) = (Vec::new(), false);
    for Share { items, timestamp, activation, falls_back: share_falls_back, .. } in shares {
        falls_back |= share_falls_back;
        let first = samples.len();
        for (labels, value) in items {
            let value = value.map_err(LookupError::Unavailable)?;
            samples.push(Sample { metric: query.metric.clone(), labels, timestamp, value });
        }
        // A fallback is not a read value.
        if let Some(threshold) = activation.filter(|_| !share_falls_back) {
            hold(&mut samples[first..], threshold);
        }
    }
    if let (None, Some(threshold), false) = (query.kind, query.value_rules.activation, falls_back) {
        hold(&mut samples, threshold);
    }
    Ok(samples)
}

/// Whether a request may have these items of a metric whose name the config chooses.
pub(super) fn check(query: &Query<'_>, shares: &[Share]) -> Result<(), LookupError> {
    let metric = &query.metric;
    let labels: Vec<&Labels> = shares.iter().flat_map(|share| &share.items).map(|(labels, _)| labels).collect();
    let mut seen = HashSet::new();
    if let Some(twice) = labels.iter().find(|labels| !seen.insert(**labels)) {
        let twice = titled(query, twice);
        let message = format!("two sources of depthgauge's config have {twice}: give one of them another `metric`");
        return Err(LookupError::Unavailable(message.into()));
    }
    let sums = shares.iter().filter(|share| !share.items.is_empty()).all(|share| share.sums);
    match labels.as_slice() {
        [] => Err(no_match(query, shares)),
        [first, second, ..] if !sums => {
            let [first, second] = [first, second].map(|labels| titled(query, labels));
            Err(LookupError::BadSelector(format!(
                "the selector picks {} items of {metric}, such as {first} and {second}: pick one, or set `items: sum` in each entry of {metric} in depthgauge's config",
                labels.len()
            )))
        }
        _ => LookupError::unless_fits(metric, labels.len()),
    }
}

/// The error message of an item whose value is unknown.
pub(super) fn unknown(query: &Query<'_>, labels: &Labels, cause: &str) -> Arc<str> {
    format!("the value of {} is unknown: {cause}", titled(query, labels)).into()
}

/// The error of a namespace that may read no source of the metric.
pub(super) fn not_readable(query: &Query<'_>, namespace: &Namespace) -> LookupError {
    let (metric, namespace) = (&query.metric, shortened(namespace.as_str(), 63));
    LookupError::NoMatch(format!(
        "namespace {namespace:?} may not read {metric}: see `namespaces` in depthgauge's config"
    ))
}

/// Serves 0 for samples whose sum is not above a threshold. A true 0 stays as it is.
fn hold(samples: &mut [Sample], threshold: Quantity) {
    let sum = Quantity::sum(samples.iter().map(|sample| sample.value));
    if sum.is_none_or(|sum| sum > threshold || sum == Quantity::ZERO) {
        return;
    }
    for sample in samples {
        sample.value = Quantity::ZERO;
        sample.labels = sample.labels.clone().with(rules::LABEL, Applied::Activation.as_str());
    }
}

fn no_match(query: &Query<'_>, shares: &[Share]) -> LookupError {
    let (metric, selector) = (&query.metric, query.selector.to_string());
    let keys: BTreeSet<&str> = shares.iter().flat_map(|share| &share.keys).map(String::as_str).collect();
    let keys: Vec<&str> = keys.into_iter().collect();
    let labels = match keys.is_empty() {
        true => "its items have no labels".to_owned(),
        false => format!("its items have the labels {}", names::that_fit(&keys, KEYS_BYTES, KEYS_MAX)),
    };
    LookupError::NoMatch(format!("no item of {metric} matches {:?}; {labels}", shortened(&selector, LABELS_BYTES)))
}

/// `http_requests_per_second{pod=a,service=web}`
fn titled(query: &Query<'_>, labels: &Labels) -> String {
    let pairs = labels.iter().filter(|(key, _)| *key != rules::LABEL).map(|(key, value)| format!("{key}={value}"));
    let pairs = pairs.collect::<Vec<_>>().join(",");
    names::title(query.metric.as_str(), shortened(&pairs, LABELS_BYTES))
}
