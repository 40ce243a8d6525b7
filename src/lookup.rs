//! From a question to samples: which sources are meant, may this namespace read them, and is
//! what is known of them still true.
//!
//! Knows the [`Source`] trait and no kind of source. The freshness rule is here and nowhere
//! else: [`cache`] answers from memory, [`reader`] fills it, [`schedule`] says when, and
//! [`outage`] words what is said while a source fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::metric::pattern::Pattern;
use crate::metric::{Clock, Labels, MetricName, Namespace, Sample};
use crate::selector::Selector;
use crate::source::{self, Kind, Source};

mod cache;
mod outage;
mod reader;
mod schedule;

pub use reader::{Reader, read_once};

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

/// A source under the name and rules that the config gives it.
pub struct Binding {
    /// The value of its kind's label: `orders` for `queue=orders`.
    pub name: String,
    /// What kind of source it is.
    pub kind: &'static dyn Kind,
    /// Who may read it.
    pub namespaces: Vec<Pattern>,
    /// How fresh it is kept.
    pub timing: Timing,
    /// The source itself.
    pub source: Box<dyn Source>,
}

/// All sources, ready to be asked.
pub struct Catalog {
    entries: Vec<Entry>,
    clock: Clock,
    /// Keeps the reader waiting even while there is nothing to read.
    _activate: mpsc::UnboundedSender<Arc<cache::Cell>>,
}

struct Entry {
    name: String,
    kind: &'static dyn Kind,
    namespaces: Vec<Pattern>,
    labels: Labels,
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
    #[error("no such selector key for {metric}: {key}; it can be selected by {label}")]
    NoSuchKey {
        /// The metric.
        metric: MetricName,
        /// The key as asked.
        key: String,
        /// The key that exists.
        label: &'static str,
    },
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
    /// A catalog of these sources, sorted by name, and what reads them.
    pub fn new(bindings: Vec<Binding>, clock: Clock) -> (Self, Reader) {
        let (activate, activated) = mpsc::unbounded_channel();
        let mut entries: Vec<Entry> = bindings
            .into_iter()
            .map(|Binding { name, kind, namespaces, timing, source }| {
                let title = title(kind, &name);
                let cell = Arc::new(cache::Cell::new(title, source, timing, clock, activate.clone()));
                let labels = [(kind.label(), name.as_str())].into_iter().collect();
                Entry { name, kind, namespaces, labels, cell }
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        (Self { entries, clock, _activate: activate }, Reader::new(activated))
    }

    /// One sample for each source that is meant, sorted by name. If one of several fails, all
    /// do: a partial sum is a lie.
    pub async fn answer(
        &self,
        namespace: &Namespace,
        asked: &str,
        selector: &Selector,
    ) -> Result<Vec<Sample>, LookupError> {
        let (kind, metric) = find_metric(asked)?;
        for requirement in selector.requirements() {
            if requirement.key() != kind.label() {
                let key = requirement.key().to_owned();
                return Err(LookupError::NoSuchKey { metric, key, label: kind.label() });
            }
        }
        let meant: Vec<&Entry> =
            self.readable(kind, namespace).filter(|entry| selector.matches(&entry.labels)).collect();
        if meant.is_empty() {
            return Err(self.no_match(kind, namespace, selector));
        }
        futures_util::future::join_all(meant.iter().map(|entry| entry.cell.ask())).await;
        let mut samples = Vec::with_capacity(meant.len());
        for entry in meant {
            // After all of them: while one source was waited for, the others' values have aged.
            let reading = entry.cell.known().map_err(LookupError::Unavailable)?;
            let Some(value) = reading.figures.value(metric) else {
                let sentence = format!("{} {:?} has no {metric}", kind.label(), entry.name);
                return Err(LookupError::Unavailable(sentence.into()));
            };
            let labels = entry.labels.clone();
            samples.push(Sample { metric, labels, timestamp: reading.timestamp, value });
        }
        Ok(samples)
    }

    /// The time of day by which samples are dated.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The sentence of each source that is asked for and cannot be read, sorted by name.
    pub fn outages(&self) -> Vec<Arc<str>> {
        self.entries.iter().filter_map(|entry| entry.cell.outage()).collect()
    }

    /// How much longer than their `refresh` values are kept now, because more is to be read than
    /// the service may be asked: the longest of all sources in use; zero while everything fits.
    pub fn stretch(&self) -> Duration {
        self.entries.iter().map(|entry| entry.cell.stretch()).max().unwrap_or_default()
    }

    fn readable(&self, kind: &'static dyn Kind, namespace: &Namespace) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| {
            entry.kind.name() == kind.name()
                && entry.namespaces.iter().any(|pattern| pattern.matches(namespace.as_str()))
        })
    }

    fn no_match(&self, kind: &'static dyn Kind, namespace: &Namespace, selector: &Selector) -> LookupError {
        let names: Vec<&str> = self.readable(kind, namespace).map(|entry| entry.name.as_str()).collect();
        LookupError::NoMatch(no_match_message(kind.label(), namespace.as_str(), &selector.to_string(), &names))
    }
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

/// Names, sorted, as many as fit, "and N more" for the rest.
fn no_match_message(label: &str, namespace: &str, selector: &str, names: &[&str]) -> String {
    let namespace = shortened(namespace, 63);
    let selector = if selector.is_empty() { "any selector" } else { shortened(selector, 100) };
    let mut message = format!("no {label} that namespace {namespace:?} may read matches {selector}");
    if names.is_empty() {
        message.push_str("; it may read none: see `namespaces` in depthgauge's config");
        return message;
    }
    message.push_str("; it may read ");
    // Room for ", and N more".
    let limit = NAMES_BYTES - 20;
    let mut told = 0;
    for name in names.iter().take(NAMES_MAX) {
        if message.len() + 2 + name.len() > limit {
            break;
        }
        if told > 0 {
            message.push_str(", ");
        }
        message.push_str(name);
        told += 1;
    }
    if told < names.len() {
        message.push_str(&format!(" and {} more", names.len() - told));
    }
    message
}

fn shortened(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests;
