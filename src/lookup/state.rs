//! A snapshot of the catalog as plain data, for `/status`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::activation::ActivationState;
use super::consumers::ConsumerState;
use super::entry::NamedSource;
use super::limits::PARTS_MAX;
use super::outage::{FailureState, Outage};
use super::polled::Good;
use super::reading::Reading;
use super::rules::{AccessRules, ValueRules};
use super::{Catalog, Timing};
use crate::metric::quantity::Quantity;
use crate::metric::{MetricName, Namespace};
use crate::source::facet::Facet;
use crate::source::{Items, Verdict};

/// One reading: a source or a part of it.
#[derive(Clone, Debug)]
pub struct ReadingState {
    /// The label that names its source: `queue`.
    pub label: &'static str,
    /// And the name.
    pub name: String,
    /// Patterns of the namespaces that may read it, with these value rules.
    pub namespaces: Vec<String>,
    /// The last six characters of its identity, such as an OCID.
    pub identity_tail: String,
    /// The labels that distinguish it from other sources of its name: `vhost`.
    pub place: Vec<(&'static str, String)>,
    /// Which part of it.
    pub facet: Facet,
    /// Whether it was requested lately, or is always read.
    pub active: bool,
    /// Whether requests to its service are stopped, because the circuit breaker is open.
    pub breaker_open: bool,
    /// What was read last.
    pub known: Option<KnownState>,
    /// Since the last good read.
    pub outage: Option<OutageState>,
    /// Good reads since the start.
    pub reads: u64,
    /// Failed reads since the start.
    pub failures: u64,
    /// The last failed read, also after its outage.
    pub last_failure: Option<FailureState>,
    /// The metrics that value rules apply to.
    pub depths: Vec<MetricName>,
    /// All of them.
    pub metrics: Vec<MetricName>,
    /// How fresh it is kept.
    pub timing: Timing,
    /// The source's own, where a request brings none.
    pub value_rules: ValueRules,
    /// The activations that are requested.
    pub activations: Vec<ActivationState>,
    /// How many of them each namespace is charged for.
    pub activation_owners: Vec<OwnerState>,
    /// The consumers, the last request first; 16 at most.
    pub consumers: Vec<ConsumerState>,
    /// Whether there are more of them.
    pub more_consumers: bool,
    /// The first of the kind's depths in the last hour, oldest first; in
    /// [`super::history::BUCKETS`] spans of [`super::history::BUCKET`]. `None` is a gap.
    pub history: Vec<Option<Quantity>>,
}

/// How much of a limit is used, and by whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LimitState {
    /// What is limited.
    pub name: &'static str,
    /// How much there can be, where that is one number.
    pub max: Option<usize>,
    /// How much there is.
    pub used: usize,
    /// The largest first. What several namespaces share is charged to each of them.
    pub owners: Vec<OwnerState>,
}

/// A namespace, and how much of a limit it is charged for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnerState {
    /// The namespace.
    pub owner: Namespace,
    /// How much.
    pub used: usize,
}

/// A successful read.
#[derive(Clone, Debug)]
pub struct KnownState {
    /// Raw, before any value rule.
    pub figures: Arc<Items>,
    /// When the source was read.
    pub timestamp: Timestamp,
    /// How long ago.
    pub age: Duration,
}

/// A time without a good read.
#[derive(Clone, Debug)]
pub struct OutageState {
    /// When the first read failed.
    pub since: Timestamp,
    /// The error message that is served.
    pub message: Arc<str>,
    /// What the failure says about the source.
    pub verdict: Verdict,
}

// === impl Catalog ===

impl Catalog {
    /// The limits that the sources share. Those of one reading are in its state.
    pub fn limits(&self) -> Vec<LimitState> {
        vec![self.parts(), self.reads()]
    }

    fn parts(&self) -> LimitState {
        let parts = self.maker.parts.lock();
        let (used, owners) = (parts.iter().count(), parts.owners(Instant::now()));
        LimitState { name: "parts", max: Some(PARTS_MAX), used, owners: OwnerState::all(owners) }
    }

    /// Reads that wait for their turns or are in flight, at all services. Turns are limited by time, and
    /// places by host.
    fn reads(&self) -> LimitState {
        let entries = self.entries();
        let services = entries.sources.iter().filter_map(|entry| entry.readings.source.service());
        let services: HashMap<_, _> = services.map(|service| (std::ptr::from_ref(service), service)).collect();
        let mut owners: BTreeMap<Namespace, usize> = BTreeMap::new();
        for (owner, reads) in services.values().flat_map(|service| service.owners()) {
            *owners.entry(Namespace::new(owner)).or_default() += reads;
        }
        let used = owners.values().sum();
        // What is read for no namespace is exported.
        owners.remove(&Namespace::new(""));
        LimitState { name: "reads", max: None, used, owners: OwnerState::all(owners) }
    }
}

// === impl OwnerState ===

impl OwnerState {
    fn all(owners: BTreeMap<Namespace, usize>) -> Vec<Self> {
        let mut owners: Vec<Self> = owners.into_iter().map(|(owner, used)| Self { owner, used }).collect();
        owners.sort_by_key(|owner| Reverse(owner.used));
        owners
    }
}

// === impl ReadingState ===

impl ReadingState {
    /// What is known of a source and of each part of it, for each of the value rules that its entries
    /// have. Its `rules` are in the order of precedence.
    pub(super) fn all(source: &NamedSource, rules: &[&AccessRules], now: Instant) -> Vec<Self> {
        let mut own: Vec<ValueRules> = Vec::new();
        for rules in rules {
            if !own.contains(&rules.value_rules) {
                own.push(rules.value_rules);
            }
        }
        let readings = source.readings.all();
        let with_rules = |reading| own.iter().map(move |own| (reading, *own));
        let of = |(reading, own): (&Arc<Reading>, _)| Self::of(source, reading, rules, own, now);
        readings.iter().flat_map(with_rules).map(of).collect()
    }

    fn of(
        source: &NamedSource,
        reading: &Reading,
        rules: &[&AccessRules],
        value_rules: ValueRules,
        now: Instant,
    ) -> Self {
        let with_these = rules.iter().filter(|rules| rules.value_rules == value_rules);
        // Those of the first entry that the namespace may read.
        let applies = |consumer: &ConsumerState| {
            let first = rules.iter().find(|rules| rules.allow(&consumer.namespace)).or(rules.first());
            first.is_some_and(|rules| rules.value_rules == value_rules)
        };
        // Locks the state of the service, and so comes before the lock of the reading.
        let breaker_open = reading.poll.is_breaker_open();
        let state = reading.state();
        Self {
            label: source.kind.label,
            name: source.name.to_string(),
            namespaces: with_these
                .flat_map(|rules| &rules.namespaces)
                .map(|pattern| pattern.as_str().to_owned())
                .collect(),
            identity_tail: source.readings.tail().to_owned(),
            place: source
                .kind
                .labels
                .iter()
                .filter_map(|label| Some((*label, source.labels.value(label)?.to_owned())))
                .collect(),
            facet: reading.poll.facet.clone(),
            active: state.active,
            breaker_open,
            known: state.good.as_ref().map(|good| KnownState::of(good, now)),
            outage: state.outage.as_ref().map(OutageState::of),
            reads: state.counts.good,
            failures: state.counts.failed,
            last_failure: state.counts.last_failure.as_deref().cloned(),
            depths: depths(source),
            metrics: metrics_of(source, &reading.poll.facet),
            timing: source.readings.timing,
            value_rules,
            activations: state.notes.activations.states(),
            activation_owners: OwnerState::all(state.notes.activations.owners(now)),
            consumers: state.notes.consumers.states(now).into_iter().filter(applies).collect(),
            more_consumers: state.notes.consumers.are_more(now),
            history: state.notes.history.hour(now),
        }
    }

    /// What this consumer is served instead of an error, when a fallback is served.
    pub fn fallback_of(&self, consumer: &ConsumerState) -> Option<Quantity> {
        let own = self.value_rules.fallback.filter(|_| self.depths.contains(&consumer.metric));
        consumer.value_rules.fallback.or(own).filter(|_| consumer.alone)
    }
}

/// The metrics of a reading.
fn metrics_of(source: &NamedSource, facet: &Facet) -> Vec<MetricName> {
    let mut metrics = metrics(source);
    metrics.retain(|metric| source.kind.apart.contains(metric) == facet.is_apart());
    metrics
}

/// The metrics of a source: those of its kind, or the one whose name the config chooses.
fn metrics(source: &NamedSource) -> Vec<MetricName> {
    match source.kind.chooses() {
        true => vec![MetricName::chosen(&source.name)],
        false => source.kind.metrics.to_vec(),
    }
}

/// Those of them that value rules apply to.
fn depths(source: &NamedSource) -> Vec<MetricName> {
    if source.kind.chooses() { metrics(source) } else { source.kind.depths.to_vec() }
}

// === impl KnownState ===

impl KnownState {
    fn of(good: &Good<Arc<Items>>, now: Instant) -> Self {
        let age = now.saturating_duration_since(good.began);
        Self { figures: good.value.clone(), timestamp: good.timestamp, age }
    }
}

// === impl OutageState ===

impl OutageState {
    fn of(outage: &Outage) -> Self {
        Self { since: outage.since(), message: outage.message(), verdict: outage.verdict() }
    }
}
