//! A source, or a part of it, as it is shown: what is served, what was read, and how reads go. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::redact::redacted;
use crate::lookup::activation::ActivationState;
use crate::lookup::consumers::ConsumerState;
use crate::lookup::history::BUCKET;
use crate::lookup::outage::FailureState;
use crate::lookup::rules::{Applied, ValueRules};
use crate::lookup::state::{OutageState, OwnerState, ReadingState, Served};
use crate::metric::MetricName;
use crate::metric::quantity::{Decimal, Quantity};
use crate::source::{ErrorKind, MarkedDown};

/// A source or a part of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reading {
    /// What it is called: `queue`.
    pub(super) label: &'static str,
    pub(super) name: String,
    /// Patterns of those that may read it, with these value rules. There may be others of the name.
    pub(super) namespaces: Vec<String>,
    /// `channel: eu-west`, of a part; `vhost: default`, of one of several sources of one name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) part: BTreeMap<&'static str, String>,
    /// Distinguishes it from others of its name on the page.
    #[serde(skip)]
    pub(super) identity_ends_with: String,
    /// What the service itself calls it: an OCID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) identifier: Option<String>,
    pub(super) condition: Condition,
    /// What HPAs are served now, each different answer once; without an HPA, what a request would be
    /// served. Empty while reads have not begun.
    pub(super) served: Vec<ServedView>,
    /// As read, before any value rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) known: Option<Known>,
    pub(super) reads: u64,
    pub(super) failed_reads: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outage: Option<Outage>,
    /// Outlives its outage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_failure: Option<Failure>,
    /// Its endpoint is marked down, so that only probes are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) marked_down: Option<MarkedDownView>,
    /// The source's own.
    pub(super) value_rules: ValueRulesView,
    pub(super) activations: Vec<Activation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) activation_owners: Vec<Owner>,
    pub(super) consumers: Vec<Consumer>,
    /// There are more than are listed.
    pub(super) more_consumers: bool,
    /// The values of the last hour, oldest first; `null` is a gap. What was before the first is no gap.
    #[serde(serialize_with = "from_the_first")]
    pub(super) history: Vec<Option<Quantity>>,
    pub(super) history_span_seconds: u64,
}

/// A namespace, and how much of a limit it is charged for.
#[derive(Debug, Serialize)]
pub(super) struct Owner {
    pub(super) owner: String,
    pub(super) used: usize,
}

/// The state of a reading in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Condition {
    /// Read, and good.
    Ok,
    /// Cannot be read, and the last good value is served, because it is not older than `maxAge`.
    FailingFresh,
    /// Cannot be read, and a fallback or an error is served.
    Failing,
    /// A part is requested that does not exist.
    NoSuchPart,
    /// Not read yet.
    Waiting,
    /// Not requested, and so not read.
    Idle,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Known {
    /// Of the metric that the history is of.
    pub(super) depth: Option<Decimal>,
    pub(super) values: BTreeMap<String, Option<Decimal>>,
    pub(super) read_at: Timestamp,
    pub(super) age_seconds: f64,
}

/// What a request is served.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServedView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Decimal>,
    /// The rule that made the value, as in label `depthgauge.dev/value-source`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value_source: Option<&'static str>,
    /// An error is served, and no value.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) error: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Outage {
    pub(super) since: Timestamp,
    /// The error message that HPAs get. It has the first cause, because it must not change.
    pub(super) message: String,
}

/// An endpoint that gets only probes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MarkedDownView {
    pub(super) consecutive_failures: u32,
    pub(super) last_cause: String,
    pub(super) probe_every_seconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failure {
    pub(super) at: Timestamp,
    pub(super) operation: &'static str,
    pub(super) cause: String,
    pub(super) remedy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<String>,
}

/// As decimals.
#[derive(Debug, Default, Serialize)]
pub(super) struct ValueRulesView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) activation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fallback: Option<String>,
}

/// An activation that is requested.
#[derive(Debug, Serialize)]
pub(super) struct Activation {
    pub(super) metric: String,
    pub(super) threshold: String,
    /// Whether values are served as they were read.
    pub(super) active: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Consumer {
    pub(super) namespace: String,
    pub(super) metric: String,
    pub(super) selector: String,
    /// The request's own.
    pub(super) value_rules: ValueRulesView,
    /// What it is served now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) served: Option<ServedView>,
    pub(super) last_request_seconds_ago: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interval_seconds: Option<f64>,
    /// The HPAs with this query, as far as they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hpas: Vec<HpaView>,
}

/// An HPA, and the replicas in its status.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HpaView {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) current_replicas: Option<u32>,
    pub(super) desired_replicas: u32,
}

/// The HPAs of each query.
pub(super) type HpasOf = HashMap<(String, String, String), Vec<HpaView>>;

// === impl Reading ===

impl Reading {
    pub(super) fn of(state: ReadingState, hpas: &HpasOf) -> Self {
        let is_fresh = state.known.as_ref().is_some_and(|known| known.age <= state.timing.max_age);
        let condition = Condition::of(&state, is_fresh);
        let served = ServedView::all(&state);
        let consumers = state.consumers.iter().map(|consumer| Consumer::of(consumer, state.served_to(consumer), hpas));
        let consumers = consumers.collect();
        let place = state.place.iter().map(|(label, value)| (*label, value.as_str()));
        let mut part: BTreeMap<_, _> =
            place.chain(state.part.iter()).map(|(label, value)| (label, redacted(value))).collect();
        let ReadingState { depths, metrics, known, outage, .. } = state;
        if state.part.is_apart() {
            part.insert("metrics", metrics.iter().map(MetricName::as_str).collect::<Vec<_>>().join(" "));
        }
        let known = known.map(|known| {
            let value = |metric: &MetricName| known.figures.value(metric).map(Quantity::decimal);
            Known {
                depth: depths.first().and_then(value),
                values: metrics.iter().map(|metric| (metric.to_string(), value(metric))).collect(),
                read_at: known.timestamp,
                age_seconds: seconds(known.age),
            }
        });
        Self {
            label: state.label,
            name: state.name,
            namespaces: state.namespaces,
            part,
            identity_ends_with: state.identity_tail,
            identifier: state.identifier,
            condition,
            served,
            known,
            reads: state.reads,
            failed_reads: state.failures,
            outage: outage.filter(|_| state.active).map(Outage::of),
            last_failure: state.last_failure.map(Failure::of),
            marked_down: state.marked_down.map(MarkedDownView::of),
            value_rules: ValueRulesView::of(state.value_rules),
            activations: state.activations.into_iter().map(Activation::of).collect(),
            activation_owners: state.activation_owners.into_iter().map(Owner::of).collect(),
            consumers,
            more_consumers: state.more_consumers,
            history: state.history,
            history_span_seconds: BUCKET.as_secs(),
        }
    }
}

// === impl Owner ===

impl Owner {
    pub(super) fn of(OwnerState { owner, used }: OwnerState) -> Self {
        Self { owner: owner.as_str().to_owned(), used }
    }
}

// === impl Condition ===

impl Condition {
    /// The name of every failing state.
    pub(super) const FAILING: &str = "failing";

    fn of(state: &ReadingState, is_fresh: bool) -> Self {
        match (&state.outage, &state.known) {
            _ if !state.active => Self::Idle,
            (Some(outage), _) if outage.kind == ErrorKind::NoSuchPart => Self::NoSuchPart,
            (Some(_), _) if is_fresh => Self::FailingFresh,
            (Some(_), _) => Self::Failing,
            (None, None) => Self::Waiting,
            (None, Some(_)) => Self::Ok,
        }
    }

    /// In words.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::FailingFresh => "failing, last value still served",
            Self::Failing => "failing",
            Self::NoSuchPart => "no such part",
            Self::Waiting => "waiting for the first read",
            Self::Idle => "idle: no requests",
        }
    }

    /// In one word, by which the page counts and filters.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::FailingFresh | Self::Failing | Self::NoSuchPart => Self::FAILING,
            Self::Waiting => "waiting",
            Self::Idle => "idle",
        }
    }

    /// Whether the operator has to do something.
    pub(super) fn is_trouble(self) -> bool {
        matches!(self, Self::FailingFresh | Self::Failing | Self::NoSuchPart)
    }
}

// === impl ServedView ===

impl ServedView {
    fn of(Served { value, applied }: Served) -> Self {
        let (value_source, error) = (applied.map(Applied::as_str), value.is_none());
        Self { value: value.map(Quantity::decimal), value_source, error }
    }

    /// Each answer once: what consumers of the main metric are served. Without them, what consumers
    /// of any metric are served, or what a request would be served.
    fn all(state: &ReadingState) -> Vec<Self> {
        let main = state.depths.first();
        let mut of_main: Vec<&ConsumerState> = state.consumers.iter().collect();
        if state.consumers.iter().any(|consumer| Some(&consumer.metric) == main) {
            of_main.retain(|consumer| Some(&consumer.metric) == main);
        }
        let mut all: Vec<Self> = Vec::new();
        let served = of_main.into_iter().map(|consumer| state.served_to(consumer));
        let default = state.consumers.is_empty().then(|| state.served_by_default());
        for served in served.chain(default).flatten().map(Self::of) {
            if !all.contains(&served) {
                all.push(served);
            }
        }
        all
    }
}

// === impl Outage ===

impl Outage {
    fn of(OutageState { since, message, kind: _ }: OutageState) -> Self {
        Self { since, message: redacted(&message) }
    }
}

// === impl MarkedDownView ===

impl MarkedDownView {
    fn of(MarkedDown { failures, cause, probe_every }: MarkedDown) -> Self {
        Self { consecutive_failures: failures, last_cause: redacted(&cause), probe_every_seconds: seconds(probe_every) }
    }
}

// === impl Failure ===

impl Failure {
    fn of(FailureState { at, operation, cause, remedy, request_id, .. }: FailureState) -> Self {
        Self { at, operation, cause: redacted(&cause), remedy, request_id }
    }
}

// === impl ValueRulesView ===

impl ValueRulesView {
    fn of(ValueRules { activation, fallback }: ValueRules) -> Self {
        Self {
            activation: activation.map(|value| value.decimal().to_string()),
            fallback: fallback.map(|value| value.decimal().to_string()),
        }
    }
}

// === impl Activation ===

impl Activation {
    fn of(ActivationState { metric, threshold, active }: ActivationState) -> Self {
        Self { metric: metric.to_string(), threshold: threshold.decimal().to_string(), active }
    }
}

// === impl Consumer ===

impl Consumer {
    fn of(state: &ConsumerState, served: Option<Served>, hpas: &HpasOf) -> Self {
        let ConsumerState { namespace, metric, selector, value_rules, alone: _, last_requested, interval } = state;
        let query = (namespace.as_str().to_owned(), metric.to_string(), selector.clone());
        Self {
            hpas: hpas.get(&query).cloned().unwrap_or_default(),
            namespace: namespace.as_str().to_owned(),
            metric: metric.to_string(),
            selector: redacted(selector),
            value_rules: ValueRulesView::of(*value_rules),
            served: served.map(ServedView::of),
            last_request_seconds_ago: seconds(*last_requested),
            interval_seconds: interval.map(seconds),
        }
    }
}

fn from_the_first<S: Serializer>(history: &[Option<Quantity>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(history.iter().skip_while(|value| value.is_none()).map(|value| value.map(Quantity::decimal)))
}

/// To a tenth.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}
