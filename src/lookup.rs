//! From a question to samples: which sources are meant, may this namespace read them, and is
//! what is known of them still true.
//!
//! Knows the [`source::Source`] trait and no kind of source. A [`question`] means items of
//! [`entry`]s. The freshness rule is here and nowhere else: [`cache`] answers from memory,
//! [`reader`] fills it, [`schedule`] says when, and [`outage`] words what is said while a source
//! fails; a [`policy`] may have another value told, and says so. Which sources there are may
//! change at any time: [`roster`] keeps what the config binds and what [`roll`]s list, and
//! [`entries`] are what is made of both for the answers of a moment; the [`cells`] of a source
//! stay. [`history`] and [`askers`] are for those who want to look, by way of [`state`].

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::metric::pattern::Pattern;
use crate::metric::quantity::Quantity;
use crate::metric::{Clock, MetricName, Namespace, Sample, names};
use crate::selector::Selector;
use crate::source::facet::Facet;
use crate::source::{self, Kind, Opened};

pub mod askers;
mod cache;
mod cells;
mod entries;
mod entry;
mod export;
pub mod history;
mod meters;
pub mod outage;
pub mod policy;
mod question;
mod reader;
mod roll;
mod roster;
mod schedule;
pub mod state;

pub use entries::Unreachable;
pub use export::Gauges;
pub use meters::Vitals;
pub use reader::{Reader, Single, read_once};
pub use roll::list_once;

use askers::Who;
use entries::Entries;
use entry::Entry;
use policy::Policies;
use question::Question;
use roster::Roster;
use state::ReadingState;

/// Longest message of a 404 with the names that exist, and how many of them at most.
const NAMES_BYTES: usize = 400;
const NAMES_MAX: usize = 10;

/// How fresh a source's values are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timing {
    /// Never read more often; no answer is older than this and a second while the source is well.
    pub refresh: Duration,
    /// Deadline of one read.
    pub timeout: Duration,
    /// How old a value may be told at all while reads fail.
    pub max_age: Duration,
    /// Reads stop when nobody has asked for so long.
    pub idle_after: Duration,
}

/// A source, or all that are listed, under the name and rules that the config gives.
pub struct Binding {
    /// The value of its kind's label: `orders` for `queue=orders`. Of sources that are listed,
    /// the pattern of their names: `orders-*`.
    pub name: String,
    /// What kind of source it is.
    pub kind: &'static dyn Kind,
    /// Who may read it.
    pub namespaces: Vec<Pattern>,
    /// How fresh it is kept.
    pub timing: Timing,
    /// Whether it is a gauge, too, and so read without being asked for.
    pub export: bool,
    /// What is told instead of some values, unless a question says otherwise.
    pub policies: Policies,
    /// What makes the source what it is: while this, the name and the timing stay the same, so
    /// does the source, and what is known of it. See [`source::Plan::definitions`].
    pub definition: String,
    /// The source itself, or what lists them.
    pub source: Opened,
}

/// All sources, ready to be asked.
pub struct Catalog {
    roster: Arc<Roster>,
    clock: Clock,
}

/// One item of an answer.
struct Item<'a> {
    entry: &'a Entry,
    facet: &'a Facet,
    cell: Arc<cache::Cell>,
}

/// Why a question has no answer. The text is for whoever wrote the HPA.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LookupError {
    /// No kind of source has such a metric.
    #[error("there is no metric {asked:?}; there are {}", exist.join(", "))]
    NoSuchMetric {
        /// As asked.
        asked: String,
        /// All that exist, sorted.
        exist: Vec<&'static str>,
    },
    /// The selector has a key that says nothing about this metric.
    #[error("no such selector key for {metric}: {key}; it can be selected by {}", keys.join(", "))]
    NoSuchKey {
        /// The metric.
        metric: MetricName,
        /// The key as asked.
        key: String,
        /// The keys that exist.
        keys: Vec<&'static str>,
    },
    /// The selector has a key that exists, and asks of it what cannot be.
    #[error("{0}")]
    BadSelector(String),
    /// Nothing fits that this namespace may read.
    #[error("{0}")]
    NoMatch(String),
    /// It exists, and its value is not known now.
    #[error("{0}")]
    Unavailable(Arc<str>),
}

// === impl Timing ===

impl Default for Timing {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
            max_age: Duration::from_secs(60),
            idle_after: Duration::from_secs(120),
        }
    }
}

// === impl Catalog ===

impl Catalog {
    /// A catalog of these sources, and what reads them.
    pub fn new(bindings: Vec<Binding>, clock: Clock) -> (Self, Reader) {
        let (activate, activated) = mpsc::unbounded_channel();
        let (call, called) = mpsc::unbounded_channel();
        let roster = Roster::new(clock, activate, call);
        roster.replace(bindings);
        (Self { roster, clock }, Reader::new(activated, called))
    }

    /// Has what is measured of asking and reading counted in a registry whose metrics begin with
    /// our name.
    pub fn register(&self, registry: &mut Registry) {
        self.roster.common.meters.register(registry);
    }

    /// Puts these sources in the place of those of before. What is known of one that stays is
    /// kept; one that goes is read no more, and questions under way are answered to their end.
    pub fn replace(&self, bindings: Vec<Binding>) {
        self.roster.replace(bindings);
    }

    /// One sample for each source that is meant, or for each part of it that is named, sorted by
    /// name. If one of several fails, all do: a partial sum is a lie.
    pub async fn answer(
        &self,
        namespace: &Namespace,
        asked: &str,
        selector: &Selector,
    ) -> Result<Vec<Sample>, LookupError> {
        let question = Question::parse(asked, selector)?;
        self.samples(namespace, &question, Some(&Who::new(namespace, &question))).await
    }

    /// The same for ourselves, who look on behalf of an HPA: values are kept as fresh, and nobody
    /// takes us for the HPA, whose own pauses people want to see. A fallback is told only of a source
    /// that fails for longer than `maxAge`: a process that has just begun to look knows no last value.
    pub async fn look(
        &self,
        namespace: &Namespace,
        asked: &str,
        selector: &Selector,
    ) -> Result<Vec<Sample>, LookupError> {
        self.samples(namespace, &Question::parse(asked, selector)?, None).await
    }

    async fn samples(
        &self,
        namespace: &Namespace,
        question: &Question<'_>,
        who: Option<&Who<'_>>,
    ) -> Result<Vec<Sample>, LookupError> {
        let entries = self.entries(question, namespace).await?;
        let items = items(&entries, namespace, question)?;
        let (who, mut now) = (who.map(|who| who.among(items.len())), Instant::now());
        // All are asked before one is waited for.
        let waits: Vec<_> = items.iter().filter_map(|item| item.cell.ask(who.as_ref(), now)).collect();
        for wait in waits {
            wait.await;
            // While one source was waited for, the others' values have aged.
            now = Instant::now();
        }
        let items = if items.len() > 1 { each_once(items) } else { items };
        let mut samples = Vec::with_capacity(items.len());
        for item in &items {
            samples.push(item.sample(question, items.len() == 1, who.is_none(), now)?);
        }
        in_range(question.metric, samples)
    }

    /// How far apart the last questions like this one were at most; `None` before there were a few
    /// of them here. Another replica may have been asked in between.
    pub fn longest_pause(&self, namespace: &Namespace, asked: &str, selector: &Selector) -> Option<Duration> {
        let question = Question::parse(asked, selector).ok()?;
        let entries = self.roster.now();
        let items = items(&entries, namespace, &question).ok()?;
        let who = Who::new(namespace, &question);
        items.iter().filter_map(|item| item.cell.longest_pause(&who)).max()
    }

    /// The time of day by which samples are dated.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The sentence of each reading that is asked for and cannot be made, sorted by name; then
    /// those of lists, and of names that mean more than one source.
    pub fn outages(&self) -> Vec<Arc<str>> {
        self.roster.now().outages()
    }

    /// Lists that fail, each with the end of what it lists and the request that failed, and names that
    /// mean more than one source.
    pub fn list_troubles(&self) -> Vec<String> {
        self.roster.now().troubles()
    }

    /// How much longer than their `refresh` values are kept now, because more is to be read than
    /// the service may be asked: the longest of all sources in use; zero while everything fits.
    pub fn stretch(&self) -> Duration {
        self.roster.now().stretch()
    }

    /// All readings, sorted by name: every source, and the parts that somebody asks for.
    pub fn readings(&self) -> Vec<ReadingState> {
        let (entries, now) = (self.roster.now(), Instant::now());
        let of = |entry| move |cell: Arc<cache::Cell>| ReadingState::of(entry, &cell, now);
        entries.sources.iter().flat_map(|entry| entry.cells.all().into_iter().map(of(entry))).collect()
    }

    /// Sources that are listed and that no question can name, sorted by name.
    pub fn unreachable(&self) -> Vec<Unreachable> {
        self.roster.now().unreachable.clone()
    }

    /// What there is for this question: as known, or as listed now where the question depends on
    /// a list that is not known well enough.
    async fn entries(&self, question: &Question<'_>, namespace: &Namespace) -> Result<Arc<Entries>, LookupError> {
        let (entries, Question { kind, selector, .. }) = (self.roster.now(), question);
        if entries.collections.is_empty() {
            return Ok(entries);
        }
        entries.call(*kind, namespace, selector.named(kind.label())).await.map_err(LookupError::Unavailable)?;
        let entries = self.roster.now();
        let twins = entries.twins(*kind, namespace).find(|twins| question.means(&twins.name));
        match twins.map(|twins| twins.sentence.clone()) {
            Some(sentence) => Err(LookupError::Unavailable(sentence)),
            None => Ok(entries),
        }
    }
}

// === impl Item ===

impl Item<'_> {
    fn sample(&self, question: &Question<'_>, alone: bool, patient: bool, now: Instant) -> Result<Sample, LookupError> {
        let (metric, entry) = (question.metric, self.entry);
        let policies = match question.kind.depths().contains(&metric) {
            true => question.policies.or(entry.rules.policies),
            false => Policies::default(),
        };
        let own = policies.activation == entry.rules.policies.activation;
        let told = self.cell.tell(&cache::Wish { metric, policies, own, alone, patient }, now)?;
        let mut labels = self.facet.iter().fold(entry.labels.clone(), |labels, (key, value)| labels.with(key, value));
        if let Some(policy) = told.policy {
            labels = labels.with(policy::LABEL, policy.as_str());
        }
        Ok(Sample { metric, labels, timestamp: told.timestamp, value: told.value })
    }
}

/// The samples, unless they are none that the HPA controller can add up.
fn in_range(metric: MetricName, samples: Vec<Sample>) -> Result<Vec<Sample>, LookupError> {
    let sum: i128 = samples.iter().map(|sample| sample.value.milli()).sum();
    if sum <= Quantity::MAX.milli() && samples.iter().all(|sample| sample.value >= Quantity::ZERO) {
        return Ok(samples);
    }
    let what = format!(
        "{metric}: the values of this answer are not between 0 and 9.2e15 together, so the HPA controller can't add them up. Select fewer items."
    );
    Err(LookupError::Unavailable(what.into()))
}

/// All metrics of all kinds, sorted. The same whatever is configured and whatever is up.
pub fn metrics() -> BTreeSet<MetricName> {
    source::KINDS.iter().flat_map(|kind| kind.metrics()).copied().collect()
}

/// The label that names a source of this metric: `queue`.
pub fn label(metric: MetricName) -> Option<&'static str> {
    let kind = source::KINDS.iter().find(|kind| kind.metrics().contains(&metric))?;
    Some(kind.label())
}

/// A source as it reads in a sentence: `queue "orders"`.
pub fn title(kind: &dyn Kind, name: &str) -> String {
    format!("{} {name:?}", kind.label())
}

fn find_metric(asked: &str) -> Result<(&'static dyn Kind, MetricName), LookupError> {
    let found = source::KINDS.iter().find_map(|kind| {
        let metric = kind.metrics().iter().find(|metric| metric.as_str() == asked)?;
        Some((*kind, *metric))
    });
    found.ok_or_else(|| LookupError::NoSuchMetric {
        asked: shortened(asked, 63).to_owned(),
        exist: metrics().into_iter().map(MetricName::as_str).collect(),
    })
}

fn items<'a>(
    entries: &'a Entries,
    namespace: &Namespace,
    question: &'a Question<'_>,
) -> Result<Vec<Item<'a>>, LookupError> {
    let mut items = Vec::new();
    for entry in entries.readable(question.kind, namespace).filter(|entry| question.means(&entry.name)) {
        for facet in &*question.facets {
            items.push(Item { entry, facet, cell: entry.cells.cell(facet)? });
        }
    }
    if items.is_empty() { Err(no_match(entries, question.kind, namespace, question.selector)) } else { Ok(items) }
}

/// Without the sources and the parts that are there under another name as well: whoever adds up
/// the items would count them twice.
fn each_once(mut items: Vec<Item<'_>>) -> Vec<Item<'_>> {
    let mut seen = HashSet::new();
    items.retain(|item| {
        let Entry { kind, cells, .. } = item.entry;
        seen.insert((kind.name(), &*cells.identity, item.cell.source.meant(item.facet)))
    });
    items
}

fn no_match(entries: &Entries, kind: &'static dyn Kind, namespace: &Namespace, selector: &Selector) -> LookupError {
    let names: Vec<&str> = entries.readable(kind, namespace).map(|entry| entry.name.as_str()).collect();
    let unnamed = entries.unnamed(kind, namespace);
    if names.is_empty() && unnamed.is_none() {
        let (namespace, label) = (shortened(namespace.as_str(), 63), kind.label());
        let message = format!("namespace {namespace:?} may read no {label}: see `namespaces` in depthgauge's config");
        return LookupError::NoMatch(message);
    }
    let mut message = no_match_message(kind.label(), namespace.as_str(), &selector.to_string(), &names);
    if let Some(Unreachable { name, reason, .. }) = unnamed {
        let told = format!("; {:?} cannot be asked for: {reason}", shortened(name, 63));
        if names.is_empty() || message.len() + told.len() <= NAMES_BYTES {
            message.push_str(&told);
        }
    }
    LookupError::NoMatch(shortened(&message, NAMES_BYTES).to_owned())
}

/// Names, sorted, as many as fit, "and N more" for the rest.
fn no_match_message(label: &str, namespace: &str, selector: &str, names: &[&str]) -> String {
    let namespace = shortened(namespace, 63);
    let selector = if selector.is_empty() { "any selector" } else { shortened(selector, 100) };
    let mut message = format!("no {label} that namespace {namespace:?} may read matches {selector}");
    if names.is_empty() {
        return message;
    }
    message.push_str("; it may read ");
    message.push_str(&names::that_fit(names, NAMES_BYTES.saturating_sub(message.len()), NAMES_MAX));
    message
}

fn shortened(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests;
