//! The sources of a moment, as answers see them: what the config names, and what is listed as far as
//! it has a name of its own. Never changed, only replaced; see [`super::registry`].
//!
//! A source that the config names has that name alone. One that is only listed has the name it is
//! listed under, unless a source of the config has that name, it is no label value, or two have it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::entry::Entry;
use super::list::SourceList;
use super::polled::Need;
use super::readings::{Known, Readings};
use super::rules::AccessRules;
use super::schedule::Requester;
use crate::metric::{Namespace, is_label_value};
use crate::source::Kind;

/// All sources.
#[derive(Default)]
pub(super) struct Entries {
    /// Sorted by name.
    pub(super) sources: Vec<Entry>,
    /// In the order of the config.
    pub(super) collections: Vec<Collection>,
    /// Sorted by name.
    pub(super) duplicates: Vec<DuplicateName>,
    /// Sorted by name.
    pub(super) unselectable: Vec<Unselectable>,
    /// The same as they would be if they could be selected.
    unnamed: Vec<Entry>,
}

/// A config entry that stands for what is listed.
#[derive(Clone)]
pub(super) struct Collection {
    pub(super) kind: &'static Kind,
    pub(super) rules: AccessRules,
    pub(super) list: Arc<SourceList>,
    /// What was listed last.
    pub(super) members: Arc<Vec<Member>>,
}

/// One of a list.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) identity: String,
    pub(super) name: String,
    pub(super) readings: Arc<Readings>,
}

/// Several sources that are listed under one name.
pub(super) struct DuplicateName {
    kind: &'static Kind,
    /// Of each of them.
    rules: Vec<AccessRules>,
    pub(super) name: String,
    /// For the log.
    pub(super) identities: BTreeSet<String>,
    pub(super) message: Arc<str>,
}

/// A source that is listed and that no selector can name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Unselectable {
    /// As it is listed.
    pub name: String,
    /// What it is, for the log: an OCID.
    pub identity: String,
    /// Why, and what to do.
    pub reason: String,
}

// === impl Entries ===

impl Entries {
    /// Combines the sources that the config names with those that the collections list now.
    pub(super) fn compose<'n>(named: impl Iterator<Item = &'n Entry> + Clone, collections: Vec<Collection>) -> Self {
        let taken: HashSet<_> = named.clone().map(|entry| (entry.kind.name, &*entry.readings.identity)).collect();
        let names: HashSet<_> = named.clone().map(|entry| (entry.kind.name, &*entry.name)).collect();
        let by_name = by_name(&collections);
        let mut entries = Self { collections, ..Self::default() };
        for ((kind, name), mut listed) in by_name {
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
                    entries.unselectable.extend(listed.into_iter().map(|(identity, entry)| {
                        let reason = format!("{reason}: {}", entry.naming.unwrap_or_default());
                        entries.unnamed.push(entry);
                        Unselectable { name: name.clone(), identity, reason }
                    }));
                }
                (None, 0 | 1) => entries.sources.extend(listed.into_values()),
                (None, _) => entries.duplicates.extend(DuplicateName::of(listed)),
            }
        }
        entries.sources.extend(named.cloned());
        entries.sources.sort_by(|a, b| a.name.cmp(&b.name));
        entries.duplicates.sort_by(|a, b| a.name.cmp(&b.name));
        entries.unselectable.sort();
        entries
    }

    /// What is known of the sources.
    pub(super) fn known(&self) -> Known {
        let mut known = Known::new();
        for Entry { readings, .. } in &self.sources {
            known.entry(readings.identity.clone()).or_default().push(readings.clone());
        }
        known
    }

    /// Sources that this namespace may read.
    pub(super) fn readable(&self, kind: &'static Kind, namespace: &Namespace) -> impl Iterator<Item = &Entry> {
        self.sources.iter().filter(move |entry| is(entry.kind, kind) && entry.rules.allow(namespace))
    }

    /// A source that this namespace may read and no selector can name, and why.
    pub(super) fn unnamed(&self, kind: &'static Kind, namespace: &Namespace) -> Option<&Unselectable> {
        let is_open = |entry: &&Entry| is(entry.kind, kind) && entry.rules.allow(namespace);
        let unnamed = self.unnamed.iter().find(is_open)?;
        self.unselectable.iter().find(|unselectable| unselectable.identity == *unnamed.readings.identity)
    }

    /// Names that this namespace may read, and that mean more than one source.
    pub(super) fn duplicates(
        &self,
        kind: &'static Kind,
        namespace: &Namespace,
    ) -> impl Iterator<Item = &DuplicateName> {
        let is_open = |name: &DuplicateName| name.rules.iter().any(|rules| rules.allow(namespace));
        self.duplicates.iter().filter(move |name| is(name.kind, kind) && is_open(name))
    }

    /// Waits for the lists on which a request depends. A request that names sources depends on lists
    /// only for those that are not known: a known source is read by itself. Any other request depends
    /// on all of them.
    pub(super) async fn wait_for_lists(
        &self,
        kind: &'static Kind,
        namespace: &Namespace,
        named: Option<&BTreeSet<String>>,
        by: Requester,
    ) -> Result<(), Arc<str>> {
        let missing = named.map(|named| self.missing(kind, namespace, named));
        let needed: Vec<_> = self
            .collections
            .iter()
            .filter(|collection| is(collection.kind, kind) && collection.rules.allow(namespace))
            .map(|Collection { list, .. }| list)
            .filter(|list| named.is_none_or(|named| named.iter().any(|name| list.poll.may_list(name))))
            .map(|list| match &missing {
                None => (list, Need::Fresh),
                Some(missing) if missing.iter().any(|name| list.poll.may_list(name)) => (list, Need::Newest),
                Some(_) => (list, Need::Nothing),
            })
            .collect();
        futures_util::future::join_all(needed.iter().map(|(list, need)| list.wait(by, *need))).await;
        let mut needed = needed.into_iter().filter(|(_, need)| *need != Need::Nothing);
        needed.try_for_each(|(list, need)| list.check(need))
    }

    /// The error message of each source or list that is in use and fails, and of each name that more
    /// than one source has.
    pub(super) fn outages(&self) -> Vec<Arc<str>> {
        let readings = self.sources.iter().flat_map(|entry| entry.readings.all());
        let sources = readings.filter_map(|reading| reading.outage());
        let duplicates = self.duplicates.iter().map(|name| name.message.clone());
        sources.chain(self.list_outages()).chain(duplicates).collect()
    }

    /// The error message of each list that is in use and fails.
    pub(super) fn list_outages(&self) -> impl Iterator<Item = Arc<str>> {
        self.collections.iter().filter_map(|collection| collection.list.outage())
    }

    /// The same of lists and names, for the operator.
    pub(super) fn list_errors(&self) -> Vec<String> {
        let lists = self.collections.iter().filter_map(|collection| collection.list.error());
        lists.chain(self.duplicates.iter().map(|name| name.message.to_string())).collect()
    }

    pub(super) fn throttled(&self) -> Duration {
        self.sources.iter().map(|entry| entry.readings.throttled()).max().unwrap_or_default()
    }

    fn missing<'n>(&self, kind: &'static Kind, namespace: &Namespace, named: &'n BTreeSet<String>) -> Vec<&'n String> {
        let mut missing: BTreeSet<&String> = named.iter().collect();
        for entry in self.readable(kind, namespace) {
            missing.remove(&entry.name);
        }
        for duplicate in self.duplicates(kind, namespace) {
            missing.remove(&duplicate.name);
        }
        missing.into_iter().collect()
    }
}

// === impl DuplicateName ===

impl DuplicateName {
    fn of(listed: BTreeMap<String, Entry>) -> Option<Self> {
        let Entry { name, kind, .. } = listed.values().next()?.clone();
        let message = format!(
            "{} {}s are called {name:?}: rename all but one, or give each a source of its own in depthgauge's config",
            listed.len(),
            kind.label
        );
        let rules = listed.values().map(|entry| entry.rules.clone()).collect();
        Some(Self { kind, rules, name, identities: listed.into_keys().collect(), message: message.into() })
    }
}

/// All that is listed, by kind and name, and then by identity. A source in several lists is one: as
/// the first list has it, value rules included, for all namespaces that may read either.
fn by_name(collections: &[Collection]) -> BTreeMap<(&'static str, String), BTreeMap<String, Entry>> {
    let mut names: BTreeMap<_, BTreeMap<String, Entry>> = BTreeMap::new();
    for Collection { kind, rules, list, members } in collections {
        for member in members.iter() {
            let listed = names.entry((kind.name, member.name.clone())).or_default();
            match listed.get_mut(&member.identity) {
                Some(known) => {
                    known.rules.namespaces.extend(rules.namespaces.iter().cloned());
                    known.rules.export |= rules.export;
                }
                None => {
                    let entry = Entry::new(member.name.clone(), kind, rules.clone(), member.readings.clone());
                    let entry = Entry { naming: Some(list.poll.naming()), ..entry };
                    listed.insert(member.identity.clone(), entry);
                }
            }
        }
    }
    names
}

fn is(one: &'static Kind, other: &'static Kind) -> bool {
    one.name == other.name
}
