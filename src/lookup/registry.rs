//! Which sources exist: what the config names, and what is listed. Both change at any time. Each
//! change publishes new [`Entries`], and starts and stops the reads that it has to.
//!
//! One task owns the registry, see [`super::reader`]. Answers use what it has published.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::mem;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::entries::Entries;
use super::entry::{ConfigEntry, NamedSource};
use super::list::{ListId, ListRead, Report, SourceList};
use super::metrics::Metrics;
use super::readings::{Known, ReadingsMaker};
use super::refused::{DuplicateName, Unselectable};
use super::rules::AccessRules;
use super::{SourceConfig, Timing};
use crate::metric::selectable::selectable;
use crate::source::{Definition, Identified, Kind, Listed, Listing, Opened};

/// The sources of a catalog.
pub(super) struct Registry {
    published: Arc<ArcSwap<Entries>>,
    /// Of the config.
    metrics: Metrics,
    /// Entries that name their source, in the order of the config. Equal definitions share it.
    named: Vec<(Arc<AccessRules>, Arc<NamedSource>)>,
    /// Entries that list sources, in the order of the config. Equal definitions share the list.
    listing: Vec<(Arc<AccessRules>, ListId)>,
    sources: HashMap<Key, Arc<NamedSource>>,
    lists: BTreeMap<ListId, ListedSources>,
    maker: ReadingsMaker,
    reports: mpsc::UnboundedSender<Report>,
    next_list: u64,
}

/// What a list has listed.
#[derive(Clone)]
struct ListedSources {
    key: Arc<Key>,
    kind: &'static Kind,
    list: Arc<SourceList>,
    /// What was listed last, sorted by identity.
    members: Arc<[Arc<NamedSource>]>,
    timing: Timing,
    /// What was known when the list was made, until it is first read.
    before: Arc<Known>,
}

/// While this stays the same, so do a source and what is known of it.
#[derive(Eq, Hash, PartialEq)]
struct Key {
    kind: &'static str,
    name: String,
    timing: Timing,
    definition: Definition,
}

/// Sources of other lists of the same, by identity and true name.
type Elsewhere<'l> = HashMap<(&'l str, &'l str), &'l Arc<NamedSource>>;

// === impl Registry ===

impl Registry {
    pub(super) fn new(
        published: Arc<ArcSwap<Entries>>,
        maker: ReadingsMaker,
        reports: mpsc::UnboundedSender<Report>,
        metrics: Metrics,
    ) -> Self {
        let (named, listing, sources, lists) = Default::default();
        Self { published, metrics, named, listing, sources, lists, maker, reports, next_list: 0 }
    }

    /// Replaces all that the config says. Sources whose key is the same stay.
    pub(super) fn replace(&mut self, configs: Vec<SourceConfig>) {
        let known = Arc::new(self.published.load().known());
        let (sources, lists) = (mem::take(&mut self.sources), mem::take(&mut self.lists));
        (self.named, self.listing) = Default::default();
        let chosen = configs.iter().filter(|config| config.kind.chooses());
        self.metrics = self.metrics.with(chosen.map(|config| (&*config.name, config.kind.pods_of.is_some())));
        let kept: HashMap<&Key, &ListedSources> = lists.values().map(|list| (&*list.key, list)).collect();
        let mut ids: HashMap<Arc<Key>, ListId> = HashMap::new();
        for SourceConfig { name, kind, namespaces, timing, export, value_rules, items, definition, source } in configs {
            let labels = items.labels.clone();
            let rules = Arc::new(AccessRules { namespaces, export, items, value_rules });
            let key = Key { kind: kind.name, name, timing, definition };
            match source {
                Opened::One(Identified { identity, source }) => {
                    let label = kind.label_of(key.definition.form);
                    let kept = self.sources.get(&key).or_else(|| sources.get(&key)).cloned();
                    let source = kept.unwrap_or_else(|| {
                        // The name of a metric is no label value.
                        let name = if kind.chooses() { Cow::Borrowed(&*key.name) } else { selectable(&key.name) };
                        let readings = self.maker.make(kind, label, &name, &identity, timing, source);
                        readings.inherit(&known);
                        Arc::new(match kind.chooses() {
                            true => NamedSource::new(&key.name, kind, label, labels, readings),
                            false => NamedSource::listed(&key.name, kind, label, readings),
                        })
                    });
                    self.sources.insert(key, source.clone());
                    self.named.push((rules, source));
                }
                Opened::Many(listing) => {
                    let key = Arc::new(key);
                    let id = *ids.entry(key.clone()).or_insert_with(|| {
                        let listed = match kept.get(&*key) {
                            Some(kept) => (*kept).clone().knowing(&known),
                            None => self.list(key, kind, listing, &known).succeeding(lists.values(), &self.maker),
                        };
                        let id = listed.list.poll.id;
                        self.lists.insert(id, listed);
                        id
                    });
                    self.listing.push((rules, id));
                }
            }
        }
        self.publish();
    }

    /// A list was read: publishes what it lists, and then lets the requests go on that waited for it.
    pub(super) fn apply(&mut self, report: Report) {
        let Report { list, listed, applied } = report;
        // One that is not in the config any more has nothing to change.
        if let Some(mut own) = self.lists.remove(&list) {
            let has_changed = own.update(listed, &self.elsewhere(&own), &self.maker);
            self.lists.insert(list, own);
            if has_changed {
                self.publish();
            }
        }
        // The list may have been dropped meanwhile.
        let _ = applied.send(());
    }

    /// A list that is not read yet.
    fn list(
        &mut self,
        key: Arc<Key>,
        kind: &'static Kind,
        listing: Box<dyn Listing>,
        known: &Arc<Known>,
    ) -> ListedSources {
        self.next_list += 1;
        let (label, timing, context) = (kind.label_of(key.definition.form), key.timing, &self.maker.context);
        let (id, reports) = (ListId(self.next_list), self.reports.clone());
        let read = ListRead::new(id, kind, label, &key.name, listing, timing, reports);
        let list = SourceList::of(read, timing, context.clock, context.tasks.clone());
        ListedSources { key, kind, list, members: Arc::default(), timing, before: known.clone() }
    }

    /// The sources of lists that read the same in the same rhythm, and so can share their readings.
    fn elsewhere<'l>(&'l self, own: &ListedSources) -> Elsewhere<'l> {
        let reads_the_same =
            |other: &&ListedSources| other.timing == own.timing && own.list.poll.lists_the_same(&other.list.poll);
        let members = self.lists.values().filter(reads_the_same).flat_map(|other| other.members.iter());
        members.map(|member| ((member.identity(), member.true_name()), member)).collect()
    }

    fn publish(&self) {
        let named = self.named.iter().map(|(rules, source)| ConfigEntry {
            kind: source.kind,
            rules: rules.clone(),
            list: None,
            sources: Arc::from([source.clone()]),
        });
        let listing = self.listing.iter().filter_map(|(rules, id)| {
            let ListedSources { kind, list, members, .. } = self.lists.get(id)?;
            Some(ConfigEntry { kind, rules: rules.clone(), list: Some(list.clone()), sources: members.clone() })
        });
        let now = Arc::new(Entries::compose(named.chain(listing).collect(), self.metrics.clone()));
        let before = self.published.swap(now.clone());
        let readings: HashSet<_> = now.sources.iter().map(|source| Arc::as_ptr(&source.readings)).collect();
        for gone in before.sources.iter().filter(|source| !readings.contains(&Arc::as_ptr(&source.readings))) {
            gone.readings.retire();
        }
        let lists = now.lists();
        let kept: HashSet<_> = lists.iter().map(|(list, _)| Arc::as_ptr(list)).collect();
        for (gone, _) in before.lists().into_iter().filter(|(list, _)| !kept.contains(&Arc::as_ptr(list))) {
            gone.retire();
        }
        // After those that are gone: readings may be in both.
        let exported: HashSet<_> = now.exported().map(|source| Arc::as_ptr(&source.readings)).collect();
        for source in &now.sources {
            let stands = source.readings.source.reads_from_start();
            source.readings.stand(stands || exported.contains(&Arc::as_ptr(&source.readings)));
        }
        for (list, export) in lists {
            list.stand(export);
        }
        log_changes(&before, &now);
    }
}

// === impl ListedSources ===

impl ListedSources {
    /// This one. Its members inherit readings of the same sources under other names, which may be
    /// gone.
    fn knowing(self, known: &Known) -> Self {
        for member in self.members.iter() {
            member.readings.inherit(known);
        }
        self
    }

    /// Replaces lists of before. Members of an old list of the same sources stay until this list is
    /// first read, and are read in the way of this one. What is known carries over by identity.
    fn succeeding<'l>(mut self, lists: impl Iterator<Item = &'l Self>, maker: &ReadingsMaker) -> Self {
        let Self { kind, list, timing, before, .. } = &self;
        let mut members = BTreeMap::new();
        for old in lists.filter(|old| old.list.poll.lists_the_same(&list.poll)) {
            if old.list.poll.matches_the_same(&list.poll) {
                list.inherit(&old.list);
            }
            for member in old.members.iter().filter(|member| list.poll.lists(member.true_name())) {
                let (identity, true_name) = (member.identity(), member.true_name());
                let Some(Identified { source, .. }) = list.poll.again(identity) else { continue };
                let readings = maker.make(kind, member.label, &member.name, identity, *timing, source);
                readings.inherit(before);
                let source = NamedSource::listed(true_name, kind, member.label, readings);
                members.insert(identity.to_owned(), Arc::new(source));
            }
        }
        self.members = members.into_values().collect();
        self
    }

    /// Takes what was listed, sorted by identity; known members keep their readings. A list whose
    /// pages move while it is read may name a source twice. Returns whether anything has changed.
    fn update(&mut self, listed: Vec<Listed>, elsewhere: &Elsewhere<'_>, maker: &ReadingsMaker) -> bool {
        let Self { kind, list, members: old, timing, before, .. } = self;
        let label = list.poll.label;
        let known: HashMap<_, _> = old.iter().map(|member| ((member.identity(), member.true_name()), member)).collect();
        let mut members = BTreeMap::new();
        for Listed { name, source: Identified { identity, source } } in listed {
            let known = known.get(&(&*identity, &*name)).copied();
            let member = match known.filter(|_| !before.contains_key(&*identity)) {
                Some(member) => member.clone(),
                None => {
                    let member = elsewhere.get(&(&*identity, &*name)).copied().cloned().unwrap_or_else(|| {
                        let readings = maker.make(kind, label, &selectable(&name), &identity, *timing, source);
                        Arc::new(NamedSource::listed(&name, kind, label, readings))
                    });
                    member.readings.inherit(before);
                    if let Some(known) = known {
                        member.readings.take_over(&known.readings);
                    }
                    member
                }
            };
            members.insert(identity, member);
        }
        let members: Arc<[Arc<NamedSource>]> = members.into_values().collect();
        let is_same = |(a, b): (&Arc<NamedSource>, &Arc<NamedSource>)| {
            (a.identity(), a.true_name()) == (b.identity(), b.true_name())
        };
        let has_changed =
            !before.is_empty() || members.len() != old.len() || !members.iter().zip(old.iter()).all(is_same);
        (*old, *before) = (members, Arc::default());
        has_changed
    }
}

/// What is listed and can't be selected is logged once, with what only the log may name.
fn log_changes(before: &Entries, now: &Entries) {
    let (before, now) = (&before.refused, &now.refused);
    let is_new = |name: &&DuplicateName| !before.duplicates.iter().any(|known| known.is_same(name));
    for name in now.duplicates.iter().filter(is_new) {
        tracing::warn!(name = name.name, identities = ?name.identities, "{}", name.error());
    }
    let is_new = |source: &&Unselectable| !before.unselectable.iter().any(|known| known.is_same(source));
    for source in now.unselectable.iter().filter(is_new) {
        let (identity, affects) = (&source.identity, &source.affects);
        tracing::warn!(name = source.name, identity, ?affects, "a listed source can't be selected: {}", source.reason);
    }
}
