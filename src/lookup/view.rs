//! A snapshot of the sources for all namespaces that may read the same config entries. It is immutable and
//! is replaced as a whole.
//!
//! The first entry of a source defines it. Entries that name their source precede those that list
//! sources; otherwise the order is that of the config. A listed source has the name that it is listed
//! under, unless an entry names another source so, or two listed ones have it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::entry::{ConfigEntry, Entry, NamedSource};
use super::list::SourceList;
use super::polled::Need;
use super::query::Query;
use super::schedule::Requester;
use super::shortened;
use crate::metric::{MetricName, names};
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
    lists: Vec<Arc<SourceList>>,
    /// Sorted by name.
    meanings: Vec<Meaning>,
    by_name: HashMap<Arc<str>, usize>,
    /// Listed sources whose name an entry gives to another source, sorted by name.
    hidden: Vec<Entry>,
}

/// What a name means.
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
        let (mut identities, mut known, mut lists) = (HashSet::new(), HashSet::new(), Vec::new());
        let mut entries = Vec::new();
        for (position, configured) in configured {
            let ConfigEntry { list, sources, .. } = configured;
            if let Some(list) = list
                && known.insert(Arc::as_ptr(list))
            {
                lists.push(list.clone());
            }
            for source in sources.iter() {
                // Each entry that names a source gives it one more name.
                if identities.insert(source.identity()) || list.is_none() {
                    entries.push(Entry::of((*position, configured), source));
                }
            }
        }
        // Stable: entries of one name stay in their order.
        entries.sort_by(|a, b| a.source.name.cmp(&b.source.name));
        let mut names = Self { kind, lists, meanings: Vec::new(), by_name: HashMap::new(), hidden: Vec::new() };
        for entries in entries.chunk_by(|a, b| a.source.name == b.source.name) {
            let (listed, named): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| entry.naming.is_some());
            let meant = if named.is_empty() {
                listed
            } else {
                names.hidden.extend(listed.into_iter().cloned());
                named
            };
            names.by_name.insert(meant[0].source.name.clone(), names.meanings.len());
            names.meanings.push(Meaning::of(kind, &meant));
        }
        names
    }

    /// What a name means, if it means anything.
    pub(super) fn get(&self, name: &str) -> Option<&Meaning> {
        Some(&self.meanings[*self.by_name.get(name)?])
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

    /// What a query selects, sorted by name; or the error message of a name that it selects.
    pub(super) fn select(&self, query: &Query<'_>) -> Result<Vec<&Entry>, Arc<str>> {
        let chosen = |meaning: &&Meaning| query.selects(meaning.name());
        match query.named() {
            Some(named) => named.iter().filter_map(|name| self.get(name)).filter(chosen).map(Meaning::entry).collect(),
            None => self.meanings().filter(chosen).map(Meaning::entry).collect(),
        }
    }

    /// Waits for the lists on which a query depends, and returns whether it had to. A query that names
    /// sources depends on lists only for those that are not known: a known source is read by itself.
    /// Any other query depends on all of them.
    pub(super) async fn wait_for_lists(&self, query: &Query<'_>, by: Requester) -> Result<bool, Arc<str>> {
        let named = query.named();
        let missing = named.map(|named| named.iter().filter(|name| self.get(name).is_none()).collect::<BTreeSet<_>>());
        let needed: Vec<_> = self
            .lists
            .iter()
            .filter(|list| named.is_none_or(|named| named.iter().any(|name| list.poll.may_list(name))))
            .map(|list| match &missing {
                None => (list, Need::Fresh),
                Some(missing) if missing.iter().any(|name| list.poll.may_list(name)) => (list, Need::Newest),
                Some(_) => (list, Need::Nothing),
            })
            .collect();
        futures_util::future::join_all(needed.iter().map(|(list, need)| list.wait(by, *need))).await;
        let mut has_waited = false;
        for (list, need) in needed.into_iter().filter(|(_, need)| *need != Need::Nothing) {
            list.check(need)?;
            has_waited = true;
        }
        Ok(has_waited)
    }
}

// === impl Meaning ===

impl Meaning {
    /// These entries of one name, of which there is at least one.
    fn of(kind: &Kind, entries: &[&Entry]) -> Self {
        match entries {
            [entry] => Self::One((*entry).clone()),
            _ => Self::Several(Several::of(kind, entries.iter().map(|entry| entry.source.clone()).collect())),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::One(entry) => &entry.source.name,
            Self::Several(several) => &several.sources[0].name,
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
    fn of(kind: &Kind, sources: Vec<Arc<NamedSource>>) -> Self {
        let (count, label, name) = (sources.len(), kind.label, &sources[0].name);
        let true_names: BTreeSet<&str> = sources.iter().map(|source| source.true_name()).collect();
        let true_names: Vec<String> =
            true_names.into_iter().map(|name| format!("{:?}", shortened(name, TRUE_NAME_BYTES))).collect();
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
