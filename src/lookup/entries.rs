//! The sources of a moment, as answers see them: what the config names, and what is listed as
//! far as it has a name of its own. Never changed, only replaced; see [`super::roster`].
//!
//! A source that the config names goes by that name alone. One that is only listed goes by the
//! name it is listed under, unless a source of the config has it, no label value can hold it, or
//! two have it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::cells::Known;
use super::entry::{Entry, Rules};
use super::roll::Roll;
use crate::metric::{Namespace, is_label_value};
use crate::source::Kind;

/// What there is.
#[derive(Default)]
pub(super) struct Entries {
    /// Sorted by name.
    pub(super) sources: Vec<Entry>,
    /// In the order of the config.
    pub(super) collections: Vec<Collection>,
    /// Sorted by name.
    pub(super) twins: Vec<Twins>,
    /// Sorted by name.
    pub(super) unreachable: Vec<Unreachable>,
    /// The same as whoever may read them would have them.
    unnamed: Vec<Entry>,
}

/// An entry of the config that stands for whatever is listed.
#[derive(Clone)]
pub(super) struct Collection {
    pub(super) kind: &'static dyn Kind,
    pub(super) rules: Rules,
    pub(super) roll: Arc<Roll>,
}

/// A source that the config names, and what it is whatever it is called.
pub(super) struct Bound {
    pub(super) identity: String,
    pub(super) entry: Entry,
}

/// Several sources that are listed under one name.
pub(super) struct Twins {
    kind: &'static dyn Kind,
    /// Of each of them.
    rules: Vec<Rules>,
    pub(super) name: String,
    /// For the log.
    pub(super) identities: BTreeSet<String>,
    pub(super) sentence: Arc<str>,
}

/// A source that is listed and that no question can name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Unreachable {
    /// As it is listed.
    pub name: String,
    /// What it is, for the log: an OCID.
    pub identity: String,
    /// Why, and what to do.
    pub reason: String,
}

// === impl Entries ===

impl Entries {
    /// What comes of what the config binds and of what the collections list now.
    pub(super) fn compose(bound: &[Bound], collections: &[Collection]) -> Self {
        let taken: HashSet<_> = bound.iter().map(|bound| (bound.entry.kind.name(), bound.identity.as_str())).collect();
        let names: HashSet<_> =
            bound.iter().map(|bound| (bound.entry.kind.name(), bound.entry.name.as_str())).collect();
        let mut entries = Self { collections: collections.to_vec(), ..Self::default() };
        for ((kind, name), mut listed) in by_name(collections) {
            listed.retain(|identity, _| !taken.contains(&(kind, identity.as_str())));
            let reason = if names.contains(&(kind, name.as_str())) {
                Some("a source of the config has this name")
            } else if !is_label_value(&name) {
                Some("no label value can hold this name")
            } else {
                None
            };
            match (reason, listed.len()) {
                (Some(reason), _) => {
                    entries.unreachable.extend(listed.into_iter().map(|(identity, entry)| {
                        let reason = format!("{reason}: {}", entry.naming.unwrap_or_default());
                        entries.unnamed.push(entry);
                        Unreachable { name: name.clone(), identity, reason }
                    }));
                }
                (None, 0 | 1) => entries.sources.extend(listed.into_values()),
                (None, _) => entries.twins.extend(Twins::of(listed)),
            }
        }
        entries.sources.extend(bound.iter().map(|bound| bound.entry.clone()));
        entries.sources.sort_by(|a, b| a.name.cmp(&b.name));
        entries.twins.sort_by(|a, b| a.name.cmp(&b.name));
        entries.unreachable.sort();
        entries
    }

    /// What is known of the sources.
    pub(super) fn known(&self) -> Known {
        let mut known = Known::new();
        for Entry { cells, .. } in &self.sources {
            known.entry(cells.identity.clone()).or_default().push(cells.clone());
        }
        known
    }

    /// Those that this namespace may read.
    pub(super) fn readable(&self, kind: &'static dyn Kind, namespace: &Namespace) -> impl Iterator<Item = &Entry> {
        self.sources.iter().filter(move |entry| is(entry.kind, kind) && entry.rules.are_open_to(namespace))
    }

    /// A source that this namespace may read and no question can name, and why.
    pub(super) fn unnamed(&self, kind: &'static dyn Kind, namespace: &Namespace) -> Option<&Unreachable> {
        let is_open = |entry: &&Entry| is(entry.kind, kind) && entry.rules.are_open_to(namespace);
        let unnamed = self.unnamed.iter().find(is_open)?;
        self.unreachable.iter().find(|unreachable| unreachable.identity == *unnamed.cells.identity)
    }

    /// Names that this namespace may read, and that mean more than one source.
    pub(super) fn twins(&self, kind: &'static dyn Kind, namespace: &Namespace) -> impl Iterator<Item = &Twins> {
        let is_open = |twins: &Twins| twins.rules.iter().any(|rules| rules.are_open_to(namespace));
        self.twins.iter().filter(move |twins| is(twins.kind, kind) && is_open(twins))
    }

    /// Sees to it that the lists on which a question depends are known, and waits for them as
    /// long as it takes. A question that names sources depends on no list but for those that are
    /// not known: what is known has its own truth. Any other question depends on all of them.
    pub(super) async fn call(
        &self,
        kind: &'static dyn Kind,
        namespace: &Namespace,
        named: Option<&BTreeSet<String>>,
    ) -> Result<(), Arc<str>> {
        let missing = named.map(|named| self.missing(kind, namespace, named));
        let readable = self.collections.iter().filter(|collection| {
            is(collection.kind, kind)
                && collection.rules.are_open_to(namespace)
                && named.is_none_or(|named| named.iter().any(|name| collection.roll.may_list(name)))
        });
        let mut needed = Vec::new();
        for Collection { roll, .. } in readable {
            match &missing {
                None => needed.push((roll, false)),
                Some(missing) if missing.iter().any(|name| roll.may_list(name)) => needed.push((roll, true)),
                Some(_) => roll.note(),
            }
        }
        futures_util::future::join_all(needed.iter().map(|(roll, missing)| roll.ask(*missing))).await;
        needed.into_iter().try_for_each(|(roll, missing)| roll.known(missing))
    }

    /// The sentence of each source or list that is asked for and fails, and of each name that
    /// means more than one source.
    pub(super) fn outages(&self) -> Vec<Arc<str>> {
        let sources = self.sources.iter().flat_map(|entry| entry.cells.all()).filter_map(|cell| cell.outage());
        let lists = self.list_outages();
        let twins = self.twins.iter().map(|twins| twins.sentence.clone());
        sources.chain(lists).chain(twins).collect()
    }

    /// The sentence of each list that is asked for and fails.
    pub(super) fn list_outages(&self) -> impl Iterator<Item = Arc<str>> {
        self.collections.iter().filter_map(|collection| collection.roll.outage())
    }

    /// The same of lists and names, for those who want to look.
    pub(super) fn troubles(&self) -> Vec<String> {
        let lists = self.collections.iter().filter_map(|collection| collection.roll.trouble());
        lists.chain(self.twins.iter().map(|twins| twins.sentence.to_string())).collect()
    }

    pub(super) fn stretch(&self) -> Duration {
        self.sources.iter().map(|entry| entry.cells.stretch()).max().unwrap_or_default()
    }

    fn missing<'n>(
        &self,
        kind: &'static dyn Kind,
        namespace: &Namespace,
        named: &'n BTreeSet<String>,
    ) -> Vec<&'n String> {
        let mut missing: BTreeSet<&String> = named.iter().collect();
        for entry in self.readable(kind, namespace) {
            missing.remove(&entry.name);
        }
        for twins in self.twins(kind, namespace) {
            missing.remove(&twins.name);
        }
        missing.into_iter().collect()
    }
}

// === impl Twins ===

impl Twins {
    fn of(listed: BTreeMap<String, Entry>) -> Option<Self> {
        let Entry { name, kind, .. } = listed.values().next()?.clone();
        let sentence = format!(
            "{} {}s are called {name:?}: rename all but one, or give each a source of its own in depthgauge's config",
            listed.len(),
            kind.label()
        );
        let rules = listed.values().map(|entry| entry.rules.clone()).collect();
        Some(Self { kind, rules, name, identities: listed.into_keys().collect(), sentence: sentence.into() })
    }
}

/// All that is listed, by kind and name, and then by what it is. A source that several
/// collections list is one: as the first has it, policies included, for all who may read any.
fn by_name(collections: &[Collection]) -> BTreeMap<(&'static str, String), BTreeMap<String, Entry>> {
    let mut names: BTreeMap<_, BTreeMap<String, Entry>> = BTreeMap::new();
    for Collection { kind, rules, roll } in collections {
        for member in roll.members().iter() {
            let listed = names.entry((kind.name(), member.name.clone())).or_default();
            match listed.get_mut(&member.identity) {
                Some(known) => {
                    known.rules.namespaces.extend(rules.namespaces.iter().cloned());
                    known.rules.export |= rules.export;
                }
                None => {
                    let entry = Entry::new(member.name.clone(), *kind, rules.clone(), member.cells.clone());
                    let entry = Entry { naming: Some(roll.naming()), ..entry };
                    listed.insert(member.identity.clone(), entry);
                }
            }
        }
    }
    names
}

fn is(one: &'static dyn Kind, other: &'static dyn Kind) -> bool {
    one.name() == other.name()
}
