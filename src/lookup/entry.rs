//! A source under a name, and config entries, each with its sources. The values of a source are in its
//! [`Readings`], which the same source under other names may share.

use std::sync::{Arc, LazyLock};

use super::list::SourceList;
use super::readings::Readings;
use super::rules::{AccessRules, NAME};
use crate::metric::Labels;
use crate::metric::selectable::selectable;
use crate::source::Kind;

/// A source under its name. Config entries of one definition share it.
pub(super) struct NamedSource {
    pub(super) kind: &'static Kind,
    /// The label of its name.
    pub(super) label: &'static str,
    /// A label value.
    pub(super) name: Arc<str>,
    pub(super) labels: Labels,
    pub(super) readings: Arc<Readings>,
}

/// A config entry with the sources that it has now.
#[derive(Clone)]
pub(super) struct ConfigEntry {
    pub(super) kind: &'static Kind,
    pub(super) rules: Arc<AccessRules>,
    /// Their list, unless the entry names one source.
    pub(super) list: Option<Arc<SourceList>>,
    pub(super) sources: Arc<[Arc<NamedSource>]>,
}

/// A source as one config entry has it.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) source: Arc<NamedSource>,
    /// Those of the source, and the static ones of the config entry.
    pub(super) labels: Labels,
    pub(super) rules: Arc<AccessRules>,
    /// The position of the config entry in the order of precedence.
    pub(super) position: u32,
    /// How to give it another name, if it is listed.
    pub(super) naming: Option<&'static str>,
}

// === impl ConfigEntry ===

impl ConfigEntry {
    /// The labels that the config gives to its sources. Where the config chooses the name of the metric, these
    /// are labels of the source already.
    pub(super) fn static_labels(&self) -> &Labels {
        static NONE: LazyLock<Labels> = LazyLock::new(Labels::default);
        if self.kind.chooses() { &NONE } else { &self.rules.items.labels }
    }
}

// === impl Entry ===

impl Entry {
    /// A source of this entry, which has this position in the order of precedence.
    pub(super) fn of((position, entry): (u32, &ConfigEntry), source: &Arc<NamedSource>) -> Self {
        let naming = entry.list.as_ref().map(|list| list.poll.naming());
        let own = entry.static_labels().iter();
        let labels = own.fold(source.labels.clone(), |labels, (key, value)| labels.with(key, value));
        Self { source: source.clone(), labels, rules: entry.rules.clone(), position, naming }
    }
}

// === impl NamedSource ===

impl NamedSource {
    /// A source that the config names, with its static labels.
    pub(super) fn new(
        name: &str,
        kind: &'static Kind,
        label: &'static str,
        labels: Labels,
        readings: Arc<Readings>,
    ) -> Self {
        let labels = readings.source.labels().iter().fold(labels, |all, (key, value)| all.with(key, value));
        // The name of a metric is no label.
        let labels = if kind.chooses() { labels } else { labels.with(label, name) };
        Self { kind, label, name: name.into(), labels, readings }
    }

    /// A source under any name: one that is listed, or that the config calls by what it reads.
    pub(super) fn listed(true_name: &str, kind: &'static Kind, label: &'static str, readings: Arc<Readings>) -> Self {
        let name = selectable(true_name);
        let mut source = Self::new(&name, kind, label, Labels::default(), readings);
        if name != true_name {
            source.labels = source.labels.with(NAME, true_name);
        }
        source
    }

    /// What distinguishes it from other sources of its name: the label of the name, and the values of
    /// [`Kind::labels`].
    pub(super) fn place(&self) -> impl Iterator<Item = Option<&str>> {
        std::iter::once(Some(self.label)).chain(self.kind.labels.iter().map(|label| self.labels.value(label)))
    }

    /// The name without the changes that make it a label value.
    pub(super) fn true_name(&self) -> &str {
        self.labels.value(NAME).unwrap_or(&self.name)
    }

    pub(super) fn identity(&self) -> &str {
        &self.readings.identity
    }
}
