//! A snapshot of the sources for all namespaces that may read the same config entries. It is immutable and
//! is replaced as a whole.
//!
//! The first entry of a source defines it. Entries that name their source precede those that list
//! sources; otherwise the order is that of the config. A listed source has the name that it is listed
//! under, unless an entry names another source so, or two listed ones have it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::LookupError;
use super::entry::{ConfigEntry, Entry, NamedSource};
use super::list::SourceList;
use super::polled::Need;
use super::query::Query;
use super::schedule::Requester;
use crate::metric::{Labels, MetricName, names};
use crate::source::Kind;

/// Bytes of an error message for true names that became one label value, and of each of them.
const TRUE_NAMES_BYTES: usize = 220;
const TRUE_NAME_BYTES: usize = 95;

/// The sources that some namespaces may read.
#[derive(Default)]
pub(super) struct View {
    kinds: Vec<Names>,
    /// Entries of kinds whose metrics have chosen names, by that name and in the order of precedence.
    chosen: HashMap<Arc<str>, Vec<Entry>>,
    /// How many names there are.
    pub(super) size: usize,
}

/// The names of the sources of one kind.
pub(super) struct Names {
    kind: &'static Kind,
    /// Each with the static labels of the entries that it is of.
    lists: Vec<(Arc<SourceList>, Vec<Labels>)>,
    /// The keys of all static labels.
    static_keys: BTreeSet<String>,
    /// Sorted by name, and those of one name by place.
    meanings: Vec<Meaning>,
    by_name: HashMap<Arc<str>, Range<usize>>,
    /// Listed sources whose name an entry gives to another source, sorted by name.
    hidden: Vec<Entry>,
}

/// What a name means at one place, see [`NamedSource::place`].
pub(super) enum Meaning {
    One(Entry),
    /// Several listed sources, so that the name can't be used.
    Several(Several),
}

/// Several sources of one name.
pub(super) struct Several {
    /// At least two.
    pub(super) sources: Vec<Arc<NamedSource>>,
    pub(super) message: Arc<str>,
}

// === impl View ===

impl View {
    /// These entries, in the order of precedence, each with its position in that order.
    pub(super) fn of<'e>(entries: impl Iterator<Item = (u32, &'e ConfigEntry)>) -> Self {
        let mut kinds: Vec<Vec<(u32, &ConfigEntry)>> = Vec::new();
        let mut chosen: HashMap<Arc<str>, Vec<Entry>> = HashMap::new();
        for entry in entries {
            if entry.1.kind.chooses() {
                for source in entry.1.sources.iter() {
                    chosen.entry(source.name.clone()).or_default().push(Entry::of(entry, source));
                }
                continue;
            }
            match kinds.iter_mut().find(|known| is(known[0].1.kind, entry.1.kind)) {
                Some(known) => known.push(entry),
                None => kinds.push(vec![entry]),
            }
        }
        let kinds: Vec<Names> = kinds.iter().map(|entries| Names::of(entries[0].1.kind, entries)).collect();
        let named: usize = kinds.iter().map(|names| names.meanings.len() + names.hidden.len()).sum();
        let size = named + chosen.values().map(Vec::len).sum::<usize>();
        Self { kinds, chosen, size }
    }

    /// What all names of all kinds mean.
    pub(super) fn meanings(&self) -> impl Iterator<Item = &Meaning> {
        self.kinds.iter().flat_map(|names| names.meanings())
    }

    /// The entries of a metric whose name the config chooses.
    pub(super) fn chosen(&self, metric: &MetricName) -> &[Entry] {
        self.chosen.get(metric.as_str()).map_or(&[], Vec::as_slice)
    }

    /// The names of a kind, if there may be any.
    pub(super) fn names(&self, kind: &Kind) -> Option<&Names> {
        self.kinds.iter().find(|names| is(names.kind, kind))
    }
}

// === impl Names ===

impl Names {
    fn of(kind: &'static Kind, configured: &[(u32, &ConfigEntry)]) -> Self {
        let (mut identities, mut known) = (HashSet::new(), HashMap::new());
        let mut lists: Vec<(Arc<SourceList>, Vec<Labels>)> = Vec::new();
        let (mut entries, mut static_keys) = (Vec::new(), BTreeSet::new());
        for (position, configured) in configured {
            let ConfigEntry { list, sources, .. } = configured;
            static_keys.extend(configured.static_labels().iter().map(|(key, _)| key.to_owned()));
            if let Some(list) = list {
                let at = *known.entry(Arc::as_ptr(list)).or_insert(lists.len());
                if at == lists.len() {
                    lists.push((list.clone(), Vec::new()));
                }
                lists[at].1.push(configured.static_labels().clone());
            }
            for source in sources.iter() {
                // Each entry that names a source gives it one more name.
                if identities.insert(source.identity()) || list.is_none() {
                    entries.push(Entry::of((*position, configured), source));
                }
            }
        }
        // Stable: entries of one name stay in their order.
        entries.sort_by(|a, b| a.source.name.cmp(&b.source.name).then_with(|| a.source.place().cmp(b.source.place())));
        let (meanings, by_name, hidden) = Default::default();
        let mut names = Self { kind, lists, static_keys, meanings, by_name, hidden };
        let is_same = |a: &Entry, b: &Entry| a.source.name == b.source.name && a.source.place().eq(b.source.place());
        for entries in entries.chunk_by(is_same) {
            let (listed, named): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| entry.naming.is_some());
            let meant = if named.is_empty() {
                listed
            } else {
                names.hidden.extend(listed.into_iter().cloned());
                named
            };
            let at = names.meanings.len();
            names.by_name.entry(meant[0].source.name.clone()).or_insert(at..at).end = at + 1;
            names.meanings.push(Meaning::of(&meant));
        }
        names
    }

    /// What a name means, at each place where it means anything.
    pub(super) fn get(&self, name: &str) -> &[Meaning] {
        self.by_name.get(name).map_or(&[], |range| &self.meanings[range.clone()])
    }

    /// What all names mean, sorted by name.
    pub(super) fn meanings(&self) -> impl Iterator<Item = &Meaning> {
        self.meanings.iter()
    }

    /// The sources that have no name because an entry gives it to another one.
    pub(super) fn hidden(&self) -> &[Entry] {
        &self.hidden
    }

    /// Those of them that are listed under this name.
    pub(super) fn hidden_as(&self, name: &str) -> &[Entry] {
        let start = self.hidden.partition_point(|entry| &*entry.source.name < name);
        let end = self.hidden.partition_point(|entry| &*entry.source.name <= name);
        &self.hidden[start..end]
    }

    /// What a query selects, sorted by name; or the error of a name that it selects.
    pub(super) fn select(&self, query: &Query<'_>) -> Result<Vec<&Entry>, LookupError> {
        let chosen = |meaning: &&Meaning| match meaning {
            Meaning::One(entry) => query.selects(&entry.labels),
            // No static label says which one is meant: each has those of its entry.
            Meaning::Several(_) => query.may_select(meaning.labels()),
        };
        let meanings: Vec<&Meaning> = match query.named() {
            Some(named) => named.iter().flat_map(|name| self.get(name)).filter(chosen).collect(),
            None => self.meanings().filter(chosen).collect(),
        };
        for pair in meanings.windows(2) {
            let is_same = (pair[0].label(), pair[0].name()) == (pair[1].label(), pair[1].name());
            if is_same && !query.distinguishes(pair[0].labels(), pair[1].labels()) {
                return Err(self.ambiguous(pair[0], pair[1]));
            }
        }
        meanings.into_iter().map(|meaning| meaning.entry().map_err(LookupError::Unavailable)).collect()
    }

    /// The error of a selector that picks two sources of one name.
    fn ambiguous(&self, first: &Meaning, second: &Meaning) -> LookupError {
        let (label, labels) = (first.label(), self.kind.labels);
        let place = |meaning: &Meaning| {
            let values = labels.iter().filter_map(|label| Some(format!("{label}={}", meaning.labels().value(label)?)));
            values.collect::<Vec<_>>().join(",")
        };
        LookupError::BadSelector(format!(
            "the selector picks several {label}s {:?}, such as {} and {}: name one of them by {} in the selector",
            first.name(),
            place(first),
            place(second),
            labels.join(" and ")
        ))
    }

    /// Fails if the query has a key that no source has.
    pub(super) fn check_keys(&self, query: &Query<'_>) -> Result<(), LookupError> {
        query.check_keys(&self.static_keys)
    }

    /// Waits for the lists on which a query depends, and returns whether it had to. A query that names
    /// sources depends on lists only for those that are not known, or not at the place of the list. A known source is
    /// read by itself. Any other query depends on all of them.
    pub(super) async fn wait_for_lists(&self, query: &Query<'_>, by: Requester) -> Result<bool, Arc<str>> {
        let needed = self.needed(query);
        futures_util::future::join_all(needed.iter().map(|(list, need)| list.wait(by, *need))).await;
        let mut has_waited = false;
        for (list, need) in needed.into_iter().filter(|(_, need)| *need != Need::Nothing) {
            list.check(need)?;
            has_waited = true;
        }
        Ok(has_waited)
    }

    /// Whether a list on which a query depends can't be read because its service does not respond.
    pub(super) fn lists_are_unreachable(&self, query: &Query<'_>) -> bool {
        self.needed(query).into_iter().any(|(list, need)| need != Need::Nothing && list.is_unreachable())
    }

    /// The lists that a query concerns, and what it needs of each.
    fn needed(&self, query: &Query<'_>) -> Vec<(&Arc<SourceList>, Need)> {
        let named = query.named();
        let is_selected = |meaning: &Meaning| query.may_be_at(meaning.labels(), meaning.label());
        let need = |list: &SourceList| {
            let Some(named) = named else { return Some(Need::Fresh) };
            let mut listed = named.iter().filter(|name| list.poll.may_list(name)).peekable();
            listed.peek()?;
            let known: Vec<&[Meaning]> = listed.map(|name| self.get(name)).collect();
            let at_list = |meaning: &Meaning| {
                self.kind.labels.iter().all(|label| meaning.labels().value(label) == list.poll.labels.value(label))
            };
            Some(if !known.iter().all(|meanings| meanings.iter().any(is_selected)) {
                Need::Newest
            } else if !known.iter().all(|meanings| meanings.iter().any(at_list)) {
                // There may be another source of that name, which the answer must not leave out.
                Need::Fresh
            } else {
                Need::Nothing
            })
        };
        self.lists
            .iter()
            .filter(|(list, _)| query.may_be_at(&list.poll.labels, list.poll.label))
            .filter(|(_, statics)| statics.iter().any(|labels| query.may_have(labels)))
            .filter_map(|(list, _)| Some((list, need(list)?)))
            .collect()
    }
}

// === impl Meaning ===

impl Meaning {
    /// These entries of one name, of which there is at least one.
    fn of(entries: &[&Entry]) -> Self {
        match entries {
            [entry] => Self::One((*entry).clone()),
            _ => Self::Several(Several::of(entries.iter().map(|entry| entry.source.clone()).collect())),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::One(entry) => &entry.source.name,
            Self::Several(several) => &several.sources[0].name,
        }
    }

    /// The label of the name.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::One(entry) => entry.source.label,
            Self::Several(several) => several.sources[0].label,
        }
    }

    /// The labels that all of its sources have.
    fn labels(&self) -> &Labels {
        match self {
            Self::One(entry) => &entry.labels,
            Self::Several(several) => &several.sources[0].labels,
        }
    }

    fn entry(&self) -> Result<&Entry, Arc<str>> {
        match self {
            Self::One(entry) => Ok(entry),
            Self::Several(several) => Err(several.message.clone()),
        }
    }
}

// === impl Several ===

impl Several {
    fn of(sources: Vec<Arc<NamedSource>>) -> Self {
        let (count, label, name) = (sources.len(), sources[0].label, &sources[0].name);
        let true_names: BTreeSet<&str> = sources.iter().map(|source| source.true_name()).collect();
        let true_names: Vec<String> =
            true_names.into_iter().map(|name| format!("{:?}", names::shortened(name, TRUE_NAME_BYTES))).collect();
        let message = if true_names.len() == 1 {
            format!(
                "{count} {label}s are called {name:?}: rename all but one, or give each a source of its own in depthgauge's config"
            )
        } else {
            let true_names: Vec<&str> = true_names.iter().map(String::as_str).collect();
            let true_names = names::that_fit(&true_names, TRUE_NAMES_BYTES, true_names.len());
            format!(
                "{count} {label}s become {name:?}: {true_names}. Give each of them an entry with `name` in depthgauge's config."
            )
        };
        Self { sources, message: message.into() }
    }
}

fn is(one: &Kind, other: &Kind) -> bool {
    one.name == other.name
}
