//! A snapshot of all sources, which requests are answered from: config entries, each with the sources
//! that it names or lists. A snapshot is immutable and is replaced as a whole, see [`super::registry`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::entry::{ConfigEntry, NamedSource};
use super::list::SourceList;
use super::metrics::Metrics;
use super::reading::Condition;
use super::readings::Known;
use super::refused::Refused;
use super::rules::AccessRules;
use super::view::{Meaning, View};
use crate::metric::Namespace;
use crate::metric::pattern::Pattern;

/// Namespaces whose views are kept. More than 10,000 are no usual cluster.
const NAMESPACES_MAX: usize = 10_000;
/// Names in all views that are kept, about 100 bytes each: 20 views of 10,000 sources, or 200 for each
/// of 1,000 namespaces. With more, views are built again from time to time.
const VIEWED_MAX: usize = 200_000;

/// All sources.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) metrics: Metrics,
    /// In the order of precedence: entries that name their source, then those that list sources, each
    /// in the order of the config.
    pub(super) configured: Vec<ConfigEntry>,
    /// Each source once under each of its names, sorted by name. Without those listed ones that all
    /// their namespaces have by an earlier entry.
    pub(super) sources: Vec<Arc<NamedSource>>,
    /// The sources that are shown on `/metrics`.
    pub(super) exported: View,
    pub(super) refused: Refused,
    /// Entries with equal `namespaces`.
    audiences: Vec<Audience>,
    views: Mutex<Views>,
}

struct Audience {
    rules: Arc<AccessRules>,
    /// Positions in `configured`.
    entries: Vec<u32>,
}

/// The views that were requested.
#[derive(Default)]
struct Views {
    by_namespace: HashMap<Namespace, Arc<View>>,
    /// By the audiences that a namespace is in.
    by_audiences: HashMap<Box<[usize]>, Arc<View>>,
    /// Names in them.
    size: usize,
}

// === impl Views ===

impl Views {
    fn add(&mut self, namespace: Namespace, audiences: Box<[usize]>, view: &Arc<View>) {
        let added = if self.by_audiences.contains_key(&audiences) { 0 } else { view.size };
        if self.by_namespace.len() >= NAMESPACES_MAX || self.size + added > VIEWED_MAX {
            *self = Self::default();
        }
        if self.by_audiences.insert(audiences, view.clone()).is_none() {
            self.size += view.size;
        }
        self.by_namespace.insert(namespace, view.clone());
    }
}

// === impl Entries ===

impl Entries {
    /// Config entries in the order of precedence.
    pub(super) fn compose(configured: Vec<ConfigEntry>, metrics: Metrics) -> Self {
        let exported = View::of(numbered(&configured).filter(|(_, entry)| entry.rules.export));
        let (sources, audiences) = (effective(&configured), audiences(&configured));
        let refused = Refused::find(&configured, &sources, &exported);
        Self { metrics, configured, sources, exported, refused, audiences, views: Mutex::default() }
    }

    /// The view of a namespace.
    pub(super) fn view(&self, namespace: &Namespace) -> Arc<View> {
        if let Some(view) = self.views.lock().by_namespace.get(namespace) {
            return view.clone();
        }
        let audiences = self.audiences.iter().enumerate().filter(|(_, audience)| audience.rules.allow(namespace));
        let audiences: Box<[usize]> = audiences.map(|(at, _)| at).collect();
        let known = self.views.lock().by_audiences.get(&audiences).cloned();
        // Without the lock, because it takes its time. Two requests may build the same.
        let view = known.unwrap_or_else(|| Arc::new(self.build(&audiences)));
        self.views.lock().add(namespace.clone(), audiences, &view);
        view
    }

    /// What is known of the sources.
    pub(super) fn known(&self) -> Known {
        let mut known = Known::new();
        for NamedSource { readings, .. } in self.sources.iter().map(|source| &**source) {
            known.entry(readings.identity.clone()).or_default().push(readings.clone());
        }
        known
    }

    /// Sources that are shown on `/metrics`, and so read without requests.
    pub(super) fn exported(&self) -> impl Iterator<Item = &Arc<NamedSource>> {
        self.exported.meanings().filter_map(|meaning| match meaning {
            Meaning::One(entry) => Some(&entry.source),
            Meaning::Several(_) => None,
        })
    }

    /// Each list once, with whether it lists sources that are shown on `/metrics`.
    pub(super) fn lists(&self) -> Vec<(&Arc<SourceList>, bool)> {
        let (mut lists, mut known): (Vec<(&Arc<SourceList>, bool)>, HashMap<_, usize>) = Default::default();
        for (list, rules) in self.configured.iter().filter_map(|entry| Some((entry.list.as_ref()?, &entry.rules))) {
            let at = *known.entry(Arc::as_ptr(list)).or_insert_with(|| {
                lists.push((list, false));
                lists.len() - 1
            });
            lists[at].1 |= rules.export;
        }
        lists
    }

    /// Whether each source that is read from the start was read twice, or its reads fail.
    pub(super) fn have_rates(&self) -> bool {
        let mut from_start = self.sources.iter().filter(|source| source.readings.source.reads_from_start());
        from_start.all(|source| source.readings.has_rates())
    }

    /// What fails of each source or list in use, and each name that more than one source has.
    pub(super) fn outages(&self) -> Vec<Arc<str>> {
        let readings = self.sources.iter().flat_map(|source| source.readings.all());
        let sources = readings.filter_map(|reading| reading.outage());
        let duplicates = self.refused.duplicates.iter().map(|name| name.error().into());
        sources.chain(self.list_outages()).chain(duplicates).collect()
    }

    /// What fails of each list in use.
    pub(super) fn list_outages(&self) -> impl Iterator<Item = Arc<str>> {
        self.lists().into_iter().filter_map(|(list, _)| list.outage())
    }

    /// The same of lists and names, for the operator.
    pub(super) fn list_errors(&self) -> Vec<String> {
        let lists = self.lists().into_iter().filter_map(|(list, _)| list.error());
        lists.chain(self.refused.duplicates.iter().map(|name| name.error())).collect()
    }

    /// Whether sources are in use and no request gets a value of any of them.
    pub(super) fn serves_nothing(&self) -> bool {
        let (rules, mut in_use) = (self.rules(), false);
        for source in &self.sources {
            let falls_back = rules[&Arc::as_ptr(source)].iter().any(|rules| rules.value_rules.fallback.is_some());
            for reading in source.readings.all() {
                if reading.condition() == Condition::Idle {
                    continue;
                }
                if falls_back || !reading.serves_nothing() {
                    return false;
                }
                in_use = true;
            }
        }
        in_use
    }

    pub(super) fn throttled(&self) -> Duration {
        self.sources.iter().map(|source| source.readings.throttled()).max().unwrap_or_default()
    }

    /// The rules of the entries that have each of the sources, in the order of precedence.
    pub(super) fn rules(&self) -> HashMap<*const NamedSource, Vec<&AccessRules>> {
        let mut rules: HashMap<_, Vec<&AccessRules>> = HashMap::new();
        for entry in &self.configured {
            for source in entry.sources.iter() {
                rules.entry(Arc::as_ptr(source)).or_default().push(&entry.rules);
            }
        }
        rules
    }

    /// Namespaces whose views are kept, and the names in these views.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        let views = self.views.lock();
        (views.by_namespace.len(), views.by_audiences.values().map(|view| view.size).sum())
    }

    fn build(&self, audiences: &[usize]) -> View {
        let mut positions: Vec<u32> = audiences.iter().flat_map(|at| &self.audiences[*at].entries).copied().collect();
        positions.sort_unstable();
        View::of(positions.into_iter().map(|position| (position, &self.configured[position as usize])))
    }
}

fn numbered(configured: &[ConfigEntry]) -> impl Iterator<Item = (u32, &ConfigEntry)> {
    (0..).zip(configured)
}

fn audiences(configured: &[ConfigEntry]) -> Vec<Audience> {
    let (mut audiences, mut known): (Vec<Audience>, HashMap<&[Pattern], usize>) = Default::default();
    for (position, ConfigEntry { rules, .. }) in numbered(configured) {
        let at = *known.entry(&rules.namespaces).or_insert_with(|| {
            audiences.push(Audience { rules: rules.clone(), entries: Vec::new() });
            audiences.len() - 1
        });
        audiences[at].entries.push(position);
    }
    audiences
}

/// Each source once under each of its names, sorted by name, without those that no namespace can have.
fn effective(configured: &[ConfigEntry]) -> Vec<Arc<NamedSource>> {
    let (mut sources, mut known) = (Vec::new(), HashSet::new());
    let mut earlier: HashMap<(&str, &str), Vec<&Pattern>> = HashMap::new();
    for entry in configured {
        for source in entry.sources.iter() {
            let patterns = earlier.entry((source.kind.name, source.identity())).or_default();
            let is_new = !known.contains(&Arc::as_ptr(source));
            let has_earlier = |pattern: &Pattern| patterns.iter().any(|earlier| earlier.covers(pattern));
            let is_had = entry.list.is_some() && entry.rules.namespaces.iter().all(has_earlier);
            if is_new && (!is_had || entry.rules.export) {
                known.insert(Arc::as_ptr(source));
                sources.push(source.clone());
            }
            patterns.extend(&entry.rules.namespaces);
        }
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}
