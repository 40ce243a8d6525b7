//! The items that a request selects, and what each of them contributes to the answer.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::LookupError;
use super::chosen::{self, Answered, Share};
use super::entry::Entry;
use super::no_match::no_match;
use super::query::Query;
use super::reading::{AnswerOptions, Reading};
use super::rules::ValueRules;
use super::view::View;
use crate::metric::{Labels, Namespace};
use crate::source::part::Part;

/// One item of an answer.
pub(super) struct Item<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) entry: &'a Entry,
    pub(super) part: &'a Part,
    pub(super) reading: Arc<Reading>,
}

/// How an item is served.
pub(super) struct ShareOptions<'q> {
    pub(super) query: &'q Query<'q>,
    /// Whether it is the only item of the answer.
    pub(super) alone: bool,
    /// Whether a fallback is served only after a source has failed for long.
    pub(super) patient: bool,
    pub(super) now: Instant,
}

// === impl Item ===

impl Item<'_> {
    /// The labels of its source and part.
    pub(super) fn labels(&self) -> Labels {
        self.part.iter().fold(self.entry.labels.clone(), |labels, (key, value)| labels.with(key, value))
    }

    /// The contribution of its reading to an answer.
    pub(super) fn share(&self, options: &ShareOptions<'_>) -> Result<Share, LookupError> {
        let &Self { entry, namespace, .. } = self;
        let &ShareOptions { query, alone, patient, now } = options;
        let value_rules = match query.kind {
            Some(kind) if !kind.depths.contains(&query.metric) => ValueRules::default(),
            _ => query.value_rules.or(entry.rules.value_rules),
        };
        let namespace_label = entry.rules.items.namespace_label.as_deref();
        let options = AnswerOptions { namespace, namespace_label, query, value_rules, alone, patient };
        let answer = self.reading.answer(&options, now)?;
        let own = self.labels();
        let sample = |answered: Answered| {
            let with = |labels: Labels, (key, value): (&str, &str)| labels.with(key, value);
            // Items of a metric whose name the config chooses already have the labels of their source.
            let labels = match own.is_empty() || query.kind.is_none() && !answered.labels.is_empty() {
                true => answered.labels,
                false => answered.labels.iter().fold(own.clone(), with),
            };
            Answered { labels, ..answered }
        };
        let items = answer.items.into_iter().map(sample).collect();
        // A rule of the config applies to the items of this source, and one of the selector to the answer.
        let activation =
            value_rules.activation.filter(|_| query.kind.is_none() && query.value_rules.activation.is_none());
        Ok(Share {
            items,
            timestamp: answer.timestamp,
            activation,
            sums: entry.rules.items.sums,
            place: entry.rules.items.place.clone(),
            keys: answer.keys,
            hidden_by: answer.hidden_by,
        })
    }
}

/// The items that a query selects in this view.
pub(super) fn items<'a>(
    view: &'a View,
    namespace: &'a Namespace,
    query: &'a Query<'_>,
    now: Instant,
) -> Result<Vec<Item<'a>>, LookupError> {
    let mut items = Vec::new();
    let Some(kind) = query.kind else {
        let entries = view.chosen(&query.metric);
        for entry in entries.iter().filter(|entry| query.may_select(&entry.source.labels)) {
            let part = &query.parts[0];
            items.push(Item { namespace, entry, part, reading: entry.source.readings.reading(part, namespace, now) });
        }
        return match (items.is_empty(), entries.is_empty()) {
            (false, _) => Ok(items),
            (true, true) => Err(chosen::not_readable(query, namespace)),
            (true, false) => Err(chosen::none_has_labels(query, entries.iter().map(|entry| &entry.source.labels))),
        };
    };
    if let Some(names) = view.names(kind) {
        let selected = names.select(query)?;
        query.check_parts(selected.len())?;
        LookupError::unless_fits(&query.metric, selected.len() * query.parts.len())?;
        for entry in selected {
            for part in &*query.parts {
                let reading = entry.source.readings.reading(part, namespace, now);
                items.push(Item { namespace, entry, part, reading });
            }
        }
    }
    if items.is_empty() { Err(no_match(view, kind, namespace, query.selector)) } else { Ok(items) }
}

/// Removes sources and parts that are also selected under another name, because the HPA adds up the items
/// and would count them twice. The first entry in the order of precedence stays.
pub(super) fn each_once(mut items: Vec<Item<'_>>) -> Vec<Item<'_>> {
    let mut in_precedence: Vec<usize> = (0..items.len()).collect();
    in_precedence.sort_by_key(|at| items[*at].entry.position);
    let (mut seen, mut stays) = (HashSet::new(), vec![false; items.len()]);
    for at in in_precedence {
        let Item { entry, part, .. } = &items[at];
        stays[at] = seen.insert((entry.source.identity(), entry.source.readings.meant(part)));
    }
    let mut stays = stays.into_iter();
    items.retain(|_| stays.next().unwrap_or(true));
    items
}
