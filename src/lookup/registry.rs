//! Which sources exist: what the config names, and what is listed. Both change at any time. Each
//! change publishes new [`Entries`], and starts and stops the reads that it has to.
//!
//! One task owns the registry, see [`super::reader`]. Answers use what it has published.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::mem;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::entries::{Collection, DuplicateName, Entries, Member};
use super::entry::Entry;
use super::list::{ListId, ListRead, Report, SourceList};
use super::readings::{Known, ReadingsMaker};
use super::rules::AccessRules;
use super::{SourceConfig, Timing};
use crate::source::{Definition, Identified, Listed, Opened};

/// The sources of a catalog.
pub(super) struct Registry {
    published: Arc<ArcSwap<Entries>>,
    /// In the order of the config.
    named: Vec<(Key, Entry)>,
    /// In the order of the config.
    lists: Vec<(Key, ListedSources)>,
    maker: ReadingsMaker,
    reports: mpsc::UnboundedSender<Report>,
    next_list: u64,
}

/// What a list has listed.
struct ListedSources {
    collection: Collection,
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

// === impl Registry ===

impl Registry {
    pub(super) fn new(
        published: Arc<ArcSwap<Entries>>,
        maker: ReadingsMaker,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Self {
        Self { published, named: Vec::new(), lists: Vec::new(), maker, reports, next_list: 0 }
    }

    /// Replaces all that the config says. Sources whose definition is the same stay.
    pub(super) fn replace(&mut self, configs: Vec<SourceConfig>) {
        let known = Arc::new(self.published.load().known());
        let mut named = by_key(mem::take(&mut self.named));
        let mut lists = by_key(mem::take(&mut self.lists));
        let collections = self.published.load().collections.clone();
        for SourceConfig { name, kind, namespaces, timing, export, value_rules, definition, source } in configs {
            let rules = AccessRules { namespaces, export, value_rules };
            let key = Key { kind: kind.name, name: name.clone(), timing, definition };
            match source {
                Opened::One(Identified { identity, source }) => {
                    let kept: Option<Entry> = named.get_mut(&key).and_then(Vec::pop);
                    let readings = kept.map(|kept| kept.readings).unwrap_or_else(|| {
                        let readings = self.maker.make(kind, &name, &identity, timing, source);
                        readings.inherit(&known);
                        readings
                    });
                    self.named.push((key, Entry::new(name, kind, rules, readings)));
                }
                Opened::Many(listing) => {
                    let kept: Option<ListedSources> = lists.get_mut(&key).and_then(Vec::pop);
                    let mut listed = match kept {
                        Some(kept) => kept.knowing(&known),
                        None => {
                            self.next_list += 1;
                            let read =
                                ListRead::new(ListId(self.next_list), kind, &name, listing, self.reports.clone());
                            let context = &self.maker.context;
                            let list = SourceList::of(read, timing, context.clock, context.tasks.clone());
                            let collection = Collection { kind, rules: rules.clone(), list, members: Arc::default() };
                            ListedSources { collection, timing, before: known.clone() }
                                .succeeding(&collections, &self.maker)
                        }
                    };
                    listed.collection.rules = rules;
                    self.lists.push((key, listed));
                }
            }
        }
        self.publish();
    }

    /// A list was read: publishes what it lists, and then lets the requests go on that waited for it.
    pub(super) fn apply(&mut self, report: Report) {
        let Report { list, listed, applied } = report;
        let Self { lists, maker, .. } = self;
        // One that is not in the config any more has nothing to change.
        let own = lists.iter_mut().map(|(_, own)| own).find(|own| own.collection.list.poll.id == list);
        if own.is_some_and(|own| own.update(listed, maker)) {
            self.publish();
        }
        // The list may have been dropped meanwhile.
        let _ = applied.send(());
    }

    fn publish(&self) {
        let collections = self.lists.iter().map(|(_, listed)| listed.collection.clone()).collect();
        let now = Arc::new(Entries::compose(self.named.iter().map(|(_, entry)| entry), collections));
        let before = self.published.swap(now.clone());
        let readings: HashSet<_> = now.sources.iter().map(|entry| Arc::as_ptr(&entry.readings)).collect();
        for gone in before.sources.iter().filter(|entry| !readings.contains(&Arc::as_ptr(&entry.readings))) {
            gone.readings.retire();
        }
        let lists: HashSet<_> = now.collections.iter().map(|collection| Arc::as_ptr(&collection.list)).collect();
        for gone in before.collections.iter().filter(|collection| !lists.contains(&Arc::as_ptr(&collection.list))) {
            gone.list.retire();
        }
        // After those that are gone: readings may be in both.
        for entry in &now.sources {
            entry.readings.stand(entry.rules.export);
        }
        for collection in &now.collections {
            collection.list.stand(collection.rules.export);
        }
        log_changes(&before, &now);
    }
}

// === impl ListedSources ===

impl ListedSources {
    /// This one, whose members also know what is known of the same sources under other names, which
    /// may be gone.
    fn knowing(self, known: &Known) -> Self {
        for member in self.collection.members.iter() {
            member.readings.inherit(known);
        }
        self
    }

    /// Replaces lists of before. Members of an old list of the same sources stay until this list is
    /// first read, and are read in the way of this one. What is known carries over by identity.
    fn succeeding(mut self, lists: &[Collection], maker: &ReadingsMaker) -> Self {
        let Self { collection: Collection { kind, list, .. }, timing, before } = &self;
        let mut members = BTreeMap::new();
        for old in lists.iter().filter(|old| old.list.poll.lists_the_same(&list.poll)) {
            if old.list.poll.matches_the_same(&list.poll) {
                list.inherit(&old.list);
            }
            for Member { identity, name, .. } in old.members.iter().filter(|member| list.poll.may_list(&member.name)) {
                let Some(Identified { source, .. }) = list.poll.again(identity) else { continue };
                let readings = maker.make(kind, name, identity, *timing, source);
                readings.inherit(before);
                members.insert(identity.clone(), Member { identity: identity.clone(), name: name.clone(), readings });
            }
        }
        self.collection.members = Arc::new(members.into_values().collect());
        self
    }

    /// Takes what was listed, sorted by identity; known members keep their readings. A list whose
    /// pages move while it is read may name a source twice. Returns whether anything has changed.
    fn update(&mut self, listed: Vec<Listed>, maker: &ReadingsMaker) -> bool {
        let Self { collection: Collection { kind, members: old, .. }, timing, before } = self;
        let known: HashMap<_, _> = old.iter().map(|member| ((&*member.identity, &*member.name), member)).collect();
        let mut members = BTreeMap::new();
        for Listed { name, source: Identified { identity, source } } in listed {
            let known = known.get(&(&*identity, &*name));
            let member = match known.filter(|_| !before.contains_key(&*identity)) {
                Some(member) => (*member).clone(),
                None => {
                    let readings = maker.make(kind, &name, &identity, *timing, source);
                    readings.inherit(before);
                    if let Some(member) = known {
                        readings.take_over(&member.readings);
                    }
                    Member { identity: identity.clone(), name, readings }
                }
            };
            members.insert(identity, member);
        }
        let members: Vec<Member> = members.into_values().collect();
        let is_same = |(a, b): (&Member, &Member)| (&a.identity, &a.name) == (&b.identity, &b.name);
        let has_changed =
            !before.is_empty() || members.len() != old.len() || !members.iter().zip(old.iter()).all(is_same);
        (*old, *before) = (Arc::new(members), Arc::default());
        has_changed
    }
}

fn by_key<T>(items: Vec<(Key, T)>) -> HashMap<Key, Vec<T>> {
    let mut found: HashMap<_, Vec<T>> = HashMap::new();
    // Taken from the end, so the first comes first.
    for (key, item) in items.into_iter().rev() {
        found.entry(key).or_default().push(item);
    }
    found
}

/// What is listed and can't be selected is logged once, with what only the log may name.
fn log_changes(before: &Entries, now: &Entries) {
    for name in &now.duplicates {
        let is_same = |known: &DuplicateName| (&known.name, &known.identities) == (&name.name, &name.identities);
        if !before.duplicates.iter().any(is_same) {
            tracing::warn!(name = name.name, identities = ?name.identities, "{}", name.message);
        }
    }
    for new in now.unselectable.iter().filter(|new| !before.unselectable.contains(new)) {
        tracing::warn!(name = new.name, identity = new.identity, "listed, but cannot be asked for: {}", new.reason);
    }
}
