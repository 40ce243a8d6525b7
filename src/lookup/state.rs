//! A snapshot of the catalog as plain data, for `/status`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::activation::ActivationState;
use super::consumers::{ConsumerState, SELECTOR_MAX};
use super::entry::NamedSource;
use super::limits::PARTS_MAX;
use super::outage::{FailureState, Outage};
use super::polled::Good;
use super::query::label_requirements;
use super::reading::Reading;
use super::rules::{AccessRules, Applied, ValueRules};
use super::{Catalog, Timing};
use crate::metric::quantity::Quantity;
use crate::metric::{MetricName, Namespace};
use crate::selector::Selector;
use crate::source::part::Part;
use crate::source::{ErrorKind, Item, Items, MarkedDown};

/// One reading: a source or a part of it.
#[derive(Clone, Debug)]
pub struct ReadingState {
    /// The label that names its source: `queue`.
    pub label: &'static str,
    /// And the name.
    pub name: String,
    /// Patterns of the namespaces that may read it, with these value rules.
    pub namespaces: Vec<String>,
    /// The last six characters of its identity, which distinguish it from others of its name.
    pub identity_tail: String,
    /// What the service itself calls it, such as an OCID.
    pub identifier: Option<String>,
    /// The labels that distinguish it from other sources of its name: `vhost`.
    pub place: Vec<(&'static str, String)>,
    /// Which part of it.
    pub part: Part,
    /// Whether it was requested lately, or is always read.
    pub active: bool,
    /// Whether its endpoint is marked down after its reads failed there, so that only probes are sent.
    pub marked_down: Option<MarkedDown>,
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
    /// Whether the config chooses the name of its metric. Then an activation has no memory.
    pub chooses: bool,
    /// The label that names the namespace that may read an item.
    pub namespace_label: Option<Box<str>>,
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

/// How much of a limit is used, and by which namespaces.
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

/// What a request is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Served {
    /// The value; without one, an error is served.
    pub value: Option<Quantity>,
    /// The rule that made the value, if it is not the one that was read.
    pub applied: Option<Applied>,
}

/// A time without a good read.
#[derive(Clone, Debug)]
pub struct OutageState {
    /// When the first read failed.
    pub since: Timestamp,
    /// The error message that is served.
    pub message: Arc<str>,
    /// What the failure says about the source.
    pub kind: ErrorKind,
}

// === impl Catalog ===

impl Catalog {
    /// Whether rates of sources that are read from the start are known, or their reads fail.
    pub fn has_rates(&self) -> bool {
        self.entries().have_rates()
    }

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
        let marked_down = reading.poll.marked_down();
        let state = reading.state();
        Self {
            label: source.label,
            name: source.name.to_string(),
            namespaces: with_these
                .flat_map(|rules| &rules.namespaces)
                .map(|pattern| pattern.as_str().to_owned())
                .collect(),
            identity_tail: source.readings.tail().to_owned(),
            identifier: source.readings.identifier().map(str::to_owned),
            place: source
                .kind
                .labels
                .iter()
                .filter_map(|label| Some((*label, source.labels.value(label)?.to_owned())))
                .collect(),
            part: reading.poll.part.clone(),
            active: state.active,
            marked_down,
            known: state.good.as_ref().map(|good| KnownState::of(good, now)),
            outage: state.outage.as_ref().map(OutageState::of),
            reads: state.counts.good,
            failures: state.counts.failed,
            last_failure: state.counts.last_failure.as_deref().cloned(),
            chooses: source.kind.chooses(),
            // Part of the identity of a source, and so the same in all of its entries.
            namespace_label: rules.first().and_then(|rules| rules.items.namespace_label.clone()),
            depths: depths(source),
            metrics: metrics_of(source, &reading.poll.part),
            timing: source.readings.timing,
            value_rules,
            activations: state.notes.activations.states(),
            activation_owners: OwnerState::all(state.notes.activations.owners(now)),
            consumers: state.notes.consumers.states(now).into_iter().filter(applies).collect(),
            more_consumers: state.notes.consumers.are_more(now),
            history: state.notes.history.hour(now),
        }
    }

    /// What this consumer is served from this reading now. `None` before the first read, and where that
    /// depends on other items.
    pub fn served_to(&self, consumer: &ConsumerState) -> Option<Served> {
        let ConsumerState { metric, value_rules, alone, .. } = consumer;
        let own = if self.depths.contains(metric) { self.value_rules } else { ValueRules::default() };
        // Its activation is compared with the sum of the answer.
        let depends = self.chooses && !alone && value_rules.activation.is_some();
        if depends { None } else { self.served(metric, value_rules.or(own), *alone, Some(consumer)) }
    }

    /// What a request for the first of the depths is served now, if it brings no value rule. A reading
    /// without depths has another first metric.
    pub fn served_by_default(&self) -> Option<Served> {
        let depth = self.depths.iter().find(|depth| self.metrics.contains(depth));
        match depth {
            Some(depth) => self.served(depth, self.value_rules, true, None),
            None => self.served(self.metrics.first()?, ValueRules::default(), true, None),
        }
    }

    /// The counterpart of [`Reading::answer`] for a snapshot.
    fn served(
        &self,
        metric: &MetricName,
        rules: ValueRules,
        alone: bool,
        consumer: Option<&ConsumerState>,
    ) -> Option<Served> {
        const ERROR: Served = Served { value: None, applied: None };
        let known = self.known.as_ref().filter(|_| self.active);
        if let Some(known) = known.filter(|known| known.age <= self.timing.max_age) {
            let picked = self.pick(&known.figures, consumer)?;
            let item = match picked.as_slice() {
                [item] => *item,
                [] => return Some(ERROR),
                _ => return None,
            };
            let Ok(value) = item.value(metric)?.as_ref().copied() else { return Some(ERROR) };
            let substitute = item.substitute().map(Applied::Substitute);
            let holds = rules.activation.is_some_and(|threshold| self.holds(metric, threshold, value));
            let (value, applied) =
                if holds { (Quantity::ZERO, Some(Applied::Activation)) } else { (value, substitute) };
            return Some(Served { value: Some(value), applied });
        }
        match self.outage.as_ref().filter(|_| self.active) {
            Some(outage) => {
                let fallback = rules.fallback.filter(|_| alone && outage.kind.allows_fallback());
                Some(fallback.map_or(ERROR, |value| Served { value: Some(value), applied: Some(Applied::Fallback) }))
            }
            None => known.map(|_| ERROR),
        }
    }

    /// The items of a read that a consumer selects and may read. `None` if its selector is not known in full.
    fn pick<'i>(&self, items: &'i Items, consumer: Option<&ConsumerState>) -> Option<Vec<&'i Item>> {
        let Some(consumer) = consumer.filter(|_| self.chooses) else { return Some(items.iter().collect()) };
        let is_whole = consumer.selector.len() < SELECTOR_MAX;
        let selector = Selector::parse(&consumer.selector).ok().filter(|_| is_whole)?;
        let may_read = |item: &&Item| {
            let label = self.namespace_label.as_deref();
            label.is_none_or(|label| item.labels.value(label) == Some(consumer.namespace.as_str()))
        };
        let is_selected = |item: &&Item| {
            label_requirements(&selector).all(|requirement| requirement.matches(item.labels.value(requirement.key())))
        };
        Some(items.iter().filter(may_read).filter(is_selected).collect())
    }

    fn holds(&self, metric: &MetricName, threshold: Quantity, value: Quantity) -> bool {
        let is_held = |held: &ActivationState| held.metric == *metric && held.threshold == threshold && !held.active;
        let inactive = if self.chooses { value <= threshold } else { self.activations.iter().any(is_held) };
        inactive && value != Quantity::ZERO
    }
}

/// The metrics of a reading.
fn metrics_of(source: &NamedSource, part: &Part) -> Vec<MetricName> {
    let mut metrics = metrics(source);
    metrics.retain(|metric| source.kind.apart.contains(metric) == part.is_apart());
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
        let age = now.saturating_duration_since(good.oldest);
        Self { figures: good.value.clone(), timestamp: good.timestamp, age }
    }
}

// === impl OutageState ===

impl OutageState {
    fn of(outage: &Outage) -> Self {
        Self { since: outage.since(), message: outage.message(), kind: outage.kind() }
    }
}
