//! From the items of each source to the samples of an answer; and for metrics whose names the config
//! chooses, which items a request may have together. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::LookupError;
use super::query::Query;
use super::rules::{self, Applied};
use crate::metric::quantity::Quantity;
use crate::metric::{Labels, Namespace, Sample, names};

/// How much of an item's labels an error message repeats, in bytes: two of them, and twice a metric of 63
/// bytes, leave room for the remedy.
const LABELS_BYTES: usize = 50;
/// How much of an error message label keys take, in bytes, and how many of them at most.
const KEYS_BYTES: usize = 160;
const KEYS_MAX: usize = 20;
/// How much of it the place of an entry takes, in bytes.
const PLACE_BYTES: usize = 60;

/// The contribution of a source to an answer.
pub(super) struct Share {
    pub(super) items: Vec<Answered>,
    pub(super) timestamp: Timestamp,
    /// The threshold that the sum of these items must exceed, otherwise 0 is served.
    pub(super) activation: Option<Quantity>,
    /// Whether several items may be added up.
    pub(super) sums: bool,
    /// Where its entry is written.
    pub(super) place: Option<Arc<str>>,
    /// The label keys of all items that the namespace may read, if none is selected.
    pub(super) keys: BTreeSet<String>,
    /// The label by which the namespace may read no item.
    pub(super) hidden_by: Option<Box<str>>,
}

/// An item that is served.
pub(super) struct Answered {
    /// Without the label that says which rule made the value.
    pub(super) labels: Labels,
    /// Or the error message of one that is unknown.
    pub(super) value: Result<Quantity, Arc<str>>,
    /// The rule that made the value.
    pub(super) applied: Option<Applied>,
}

/// The samples of an answer, if all of its values are known. An activation threshold applies to a sum, so only if
/// these are all items.
pub(super) fn samples(query: &Query<'_>, shares: Vec<Share>, are_all: bool) -> Result<Vec<Sample>, LookupError> {
    let (mut samples, mut falls_back) = (Vec::new(), false);
    for Share { items, timestamp, activation, .. } in shares {
        let share_falls_back = items.iter().any(|item| item.applied == Some(Applied::Fallback));
        falls_back |= share_falls_back;
        let first = samples.len();
        for Answered { mut labels, value, applied } in items {
            let value = value.map_err(LookupError::Unavailable)?;
            if let Some(applied) = applied {
                labels = labels.with(rules::LABEL, applied.as_str());
            }
            samples.push(Sample { metric: query.metric.clone(), labels, timestamp, value });
        }
        // A fallback is not a read value.
        if let Some(threshold) = activation.filter(|_| are_all && !share_falls_back) {
            hold(&mut samples[first..], threshold);
        }
    }
    if let (None, Some(threshold), false, true) = (query.kind, query.value_rules.activation, falls_back, are_all) {
        hold(&mut samples, threshold);
    }
    Ok(samples)
}

/// Whether a request may have these items of a metric whose name the config chooses.
pub(super) fn check(query: &Query<'_>, shares: &[Share]) -> Result<(), LookupError> {
    let metric = &query.metric;
    let items = shares.iter().flat_map(|share| share.items.iter().map(move |item| (item, share)));
    let items: Vec<(&Answered, &Share)> = items.collect();
    let mut seen: HashMap<&Labels, &Share> = HashMap::new();
    for &(item, share) in &items {
        if let Some(first) = seen.insert(&item.labels, share) {
            return Err(twice(query, &item.labels, [first, share]));
        }
    }
    let sums = shares.iter().filter(|share| !share.items.is_empty()).all(|share| share.sums);
    match items.as_slice() {
        [] => Err(no_match(query, shares)),
        [(first, _), (second, _), ..] if !sums => {
            let [first, second] = [first, second].map(|item| titled(query, &item.labels));
            Err(LookupError::BadSelector(format!(
                "the selector picks {} items of {metric}, such as {first} and {second}: pick one, or set `items: sum` in each entry of {metric} in depthgauge's config",
                items.len()
            )))
        }
        _ => LookupError::unless_fits(metric, items.len()),
    }
}

/// The error of two entries that have an item of the same labels.
fn twice(query: &Query<'_>, labels: &Labels, shares: [&Share; 2]) -> LookupError {
    let places =
        shares.map(|share| share.place.as_deref().map_or("?".into(), |place| names::shortened(place, PLACE_BYTES)));
    let [first, second] = places;
    let message = format!(
        "two entries of depthgauge's config have {}: {first} and {second}. Set `labels` in one of them, or another `metric`.",
        titled(query, labels)
    );
    LookupError::Unavailable(message.into())
}

/// The error message of an item whose value is unknown.
pub(super) fn unknown(query: &Query<'_>, labels: &Labels, cause: &str) -> Arc<str> {
    format!("the value of {} is unknown: {cause}", titled(query, labels)).into()
}

/// The error of a namespace that may read no source of the metric.
pub(super) fn not_readable(query: &Query<'_>, namespace: &Namespace) -> LookupError {
    let (metric, namespace) = (&query.metric, names::shortened(namespace.as_str(), 63));
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
    let keys: BTreeSet<&str> = shares.iter().flat_map(|share| &share.keys).map(String::as_str).collect();
    match shares.iter().find_map(|share| share.hidden_by.as_deref()) {
        Some(label) if keys.is_empty() => LookupError::NoMatch(format!(
            "no item of {} belongs to this namespace: the label `{}` of an item names the namespace that may read it",
            query.metric,
            names::shortened(label, LABELS_BYTES)
        )),
        _ => no_match_of(query, &keys),
    }
}

/// The error of a selector that no item can match, because of the static labels of each source.
pub(super) fn none_has_labels<'l>(query: &Query<'_>, labels: impl Iterator<Item = &'l Labels>) -> LookupError {
    no_match_of(query, &labels.flat_map(Labels::iter).map(|(key, _)| key).collect())
}

fn no_match_of(query: &Query<'_>, keys: &BTreeSet<&str>) -> LookupError {
    let (metric, selector) = (&query.metric, query.selector.to_string());
    let keys: Vec<&str> = keys.iter().copied().collect();
    let labels = match keys.is_empty() {
        true => "its items have no labels".to_owned(),
        false => format!("its items have the labels {}", names::that_fit(&keys, KEYS_BYTES, KEYS_MAX)),
    };
    LookupError::NoMatch(format!(
        "no item of {metric} matches {:?}; {labels}",
        names::shortened(&selector, LABELS_BYTES)
    ))
}

/// `http_requests_per_second{pod=a,service=web}`
fn titled(query: &Query<'_>, labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pairs = pairs.join(",");
    names::title(query.metric.as_str(), &names::shortened(&pairs, LABELS_BYTES))
}
