//! What can't be selected in some namespaces, for the operator.
//!
//! The namespaces of a cluster are not known here. Those that the config names are checked, and for
//! each pair of patterns with `*` an example that both match. A namespace is served by its own
//! [`View`] whether or not it is in this report.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::entry::{ConfigEntry, Entry, NamedSource};
use super::view::{Meaning, Several, View};
use crate::metric::Namespace;
use crate::metric::pattern::Pattern;
use crate::source::Kind;

/// Where something can't be selected, in words: `namespaces matching "team-*"`.
type Affects = BTreeSet<String>;
/// What sources are, for the log: OCIDs.
type Identities = BTreeSet<String>;

/// Names of several sources, and sources without a name.
#[derive(Default)]
pub(super) struct Refused {
    /// Sorted by name.
    pub(super) duplicates: Vec<DuplicateName>,
    /// Sorted by name.
    pub(super) unselectable: Vec<Unselectable>,
}

/// Several sources that are listed under one name.
pub(super) struct DuplicateName {
    pub(super) name: String,
    pub(super) identities: Identities,
    /// The error message that is served.
    message: Arc<str>,
    affects: Affects,
}

/// A source that is listed and that no selector can pick.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unselectable {
    /// As it is listed.
    pub name: String,
    /// What it is, for the log: an OCID.
    pub identity: String,
    /// Why, and what to do.
    pub reason: String,
    /// Where it can't be selected: `namespaces matching "team-*"`.
    pub affects: BTreeSet<String>,
}

/// A kind, a name, and the labels that distinguish sources of that name; see [`NamedSource::place`].
type Called<'s> = (&'s str, &'s str, Vec<Option<&'s str>>);

/// A source, and the position of an entry that has it.
type Place<'s> = (u32, &'s Arc<NamedSource>);

/// What is found, with where that is so.
#[derive(Default)]
struct Found {
    /// By name and identities, with the error message.
    duplicates: BTreeMap<(String, Identities), (Arc<str>, Affects)>,
    /// By true name, identity and reason.
    hidden: BTreeMap<(String, String, String), Affects>,
}

// === impl Refused ===

impl Refused {
    /// Finds what is refused: `sources` are those of the entries, and `exported` is what is shown on
    /// `/metrics`.
    pub(super) fn find(configured: &[ConfigEntry], sources: &[Arc<NamedSource>], exported: &View) -> Self {
        let (suspects, mut found) = (names_of_several(sources), Found::default());
        if suspects.is_empty() {
            return found.into();
        }
        let mut places: HashMap<(&str, &str), Vec<Place<'_>>> = HashMap::new();
        for (position, entry) in (0..).zip(configured) {
            for source in entry.sources.iter() {
                places.entry((source.kind.name, source.identity())).or_default().push((position, source));
            }
        }
        for ((_, name, _), sources) in suspects {
            // Each entry with those of its sources that the name may mean, under all of their names.
            let mut scene: BTreeMap<u32, Vec<Arc<NamedSource>>> = BTreeMap::new();
            for (position, source) in sources.iter().flat_map(|source| &places[&(source.kind.name, source.identity())])
            {
                scene.entry(*position).or_default().push(Arc::clone(source));
            }
            let scene: Vec<(u32, ConfigEntry)> = scene
                .into_iter()
                .map(|(position, sources)| {
                    (position, ConfigEntry { sources: sources.into(), ..configured[position as usize].clone() })
                })
                .collect();
            // Once for each source that has the name there.
            let having = |(_, entry): &'_ (u32, ConfigEntry)| {
                entry.sources.iter().filter(|source| *source.name == *name).count()
            };
            let entries: Vec<&ConfigEntry> =
                scene.iter().flat_map(|place| std::iter::repeat_n(&place.1, having(place))).collect();
            let kind = entries[0].kind;
            for (affects, namespace) in examples(&entries) {
                let allowed = scene.iter().filter(|(_, entry)| entry.rules.allow(&namespace));
                found.add(kind, name, &View::of(allowed.map(|(position, entry)| (*position, entry))), &affects);
            }
            found.add(kind, name, exported, "gauges on /metrics");
        }
        found.into()
    }

    /// Listed sources that can't be selected, each counted once.
    pub(super) fn count(&self) -> usize {
        let duplicates = self.duplicates.iter().flat_map(|name| &name.identities);
        duplicates.chain(self.unselectable.iter().map(|source| &source.identity)).collect::<HashSet<_>>().len()
    }
}

impl From<Found> for Refused {
    fn from(Found { duplicates, hidden }: Found) -> Self {
        let duplicates = duplicates.into_iter().map(|((name, identities), (message, affects))| DuplicateName {
            name,
            identities,
            message,
            affects,
        });
        let unselectable = hidden.into_iter().map(|((name, identity, reason), affects)| Unselectable {
            name,
            identity,
            reason,
            affects,
        });
        Self { duplicates: duplicates.collect(), unselectable: unselectable.collect() }
    }
}

// === impl Found ===

impl Found {
    fn add(&mut self, kind: &'static Kind, name: &str, view: &View, affects: &str) {
        let Some(names) = view.names(kind) else { return };
        for meaning in names.get(name) {
            let Meaning::Several(Several { sources, message }) = meaning else { continue };
            let identities = sources.iter().map(|source| source.identity().to_owned()).collect();
            let known = self.duplicates.entry((name.to_owned(), identities));
            known.or_insert_with(|| (message.clone(), Affects::new())).1.insert(affects.to_owned());
        }
        for entry in names.hidden_as(name) {
            let (name, identity) = (entry.source.true_name().to_owned(), entry.source.identity().to_owned());
            self.hidden.entry((name, identity, hidden_reason(entry))).or_default().insert(affects.to_owned());
        }
    }
}

// === impl DuplicateName ===

impl DuplicateName {
    /// The error message, and where it is served.
    pub(super) fn error(&self) -> String {
        let affects = self.affects.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        format!("{} (affects {affects})", self.message)
    }

    /// Whether both are about the same sources.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.identities) == (&other.name, &other.identities)
    }
}

// === impl Unselectable ===

impl Unselectable {
    /// Whether both are about the same source, for the same reason.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.identity, &self.reason) == (&other.name, &other.identity, &other.reason)
    }
}

/// Why a source has no name, and what to do.
pub(super) fn hidden_reason(entry: &Entry) -> String {
    format!("a source of the config has this name: {}", entry.naming.unwrap_or_default())
}

/// Kinds, names and places that more than one source has, whichever namespaces may read these, with a
/// source of each identity.
fn names_of_several(sources: &[Arc<NamedSource>]) -> BTreeMap<Called<'_>, Vec<&Arc<NamedSource>>> {
    let mut names: BTreeMap<Called<'_>, BTreeMap<&str, &Arc<NamedSource>>> = BTreeMap::new();
    for source in sources {
        let called = (source.kind.name, &*source.name, source.place().collect());
        names.entry(called).or_default().insert(source.identity(), source);
    }
    let several = names.into_iter().filter(|(_, sources)| sources.len() > 1);
    several.map(|(name, sources)| (name, sources.into_values().collect())).collect()
}

/// Namespaces in which several of these entries may count, each with words for all that are like it.
fn examples(entries: &[&ConfigEntry]) -> Vec<(String, Namespace)> {
    let mut counts: BTreeMap<&Pattern, usize> = BTreeMap::new();
    for pattern in entries.iter().flat_map(|entry| &entry.rules.namespaces) {
        *counts.entry(pattern).or_default() += 1;
    }
    let (literal, wild): (Vec<_>, Vec<_>) = counts.into_iter().partition(|(pattern, _)| pattern.is_literal());
    let mut examples = Vec::new();
    for (pattern, count) in literal {
        if count > 1 || wild.iter().any(|(wild, _)| wild.covers(pattern)) {
            examples.push((pattern.namespaces(pattern), Namespace::new(pattern.as_str())));
        }
    }
    for (at, (one, count)) in wild.iter().enumerate() {
        let others = wild[at..].iter().filter(|(other, _)| other != one || *count > 1);
        let common = others.filter_map(|(other, _)| Some((one.namespaces(other), Namespace::new(one.common(other)?))));
        examples.extend(common);
    }
    examples
}
