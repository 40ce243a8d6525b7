//! What is shown, as plain data: this is the JSON, and what the page is made of. Pure.
//!
//! Times are absolute where something happened and in seconds where something lasts.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::redact::redacted;
use super::{Facts, Finding};
use crate::health;
use crate::lookup::Unselectable;
use crate::lookup::activation::ActivationState;
use crate::lookup::consumers::ConsumerState;
use crate::lookup::history::BUCKET;
use crate::lookup::outage::FailureState;
use crate::lookup::rules::ValueRules;
use crate::lookup::state::{LimitState, OutageState, OwnerState, ReadingState};
use crate::metric::MetricName;
use crate::metric::quantity::{Decimal, Quantity};
use crate::source::Verdict;

/// Everything.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    pub(super) version: &'static str,
    pub(super) now: Timestamp,
    pub(super) started: Timestamp,
    pub(super) ready: bool,
    pub(super) certificate_expires: Timestamp,
    /// `None`: not known, or not ours to look at.
    pub(super) api_service_available: Option<bool>,
    /// Where the sources are from.
    pub(super) config: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scale_to_zero: Option<String>,
    pub(super) checks: Vec<Check>,
    pub(super) findings: Vec<Finding>,
    /// What cannot be listed, and names that mean more than one source.
    pub(super) lists: Vec<String>,
    pub(super) unselectable: Vec<Unnamed>,
    pub(super) limits: Vec<Limit>,
    pub(super) sources: Vec<Reading>,
}

/// A limit that all sources share.
#[derive(Debug, Serialize)]
pub(super) struct Limit {
    pub(super) name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max: Option<usize>,
    pub(super) used: usize,
    pub(super) owners: Vec<Owner>,
}

/// A namespace, and how much of a limit it is charged for.
#[derive(Debug, Serialize)]
pub(super) struct Owner {
    pub(super) owner: String,
    pub(super) used: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// Listed, and can't be selected.
#[derive(Debug, Serialize)]
pub(super) struct Unnamed {
    pub(super) name: String,
    pub(super) reason: String,
    /// Where: `namespaces matching "team-*"`.
    pub(super) affects: Vec<String>,
}

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
    /// The last six characters of what it is whatever it is called: of an OCID.
    pub(super) identity_ends_with: String,
    pub(super) condition: Condition,
    /// As read, before any policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) known: Option<Known>,
    pub(super) reads: u64,
    pub(super) failed_reads: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outage: Option<Outage>,
    /// Outlives its outage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_failure: Option<Failure>,
    /// Its service is asked every 2 s only, for nothing answers there.
    pub(super) breaker_open: bool,
    /// The source's own.
    pub(super) value_rules: ValueRulesView,
    /// The source's fallback is told instead of an error.
    pub(super) fallback_active: bool,
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

/// How a reading fares.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Condition {
    /// Read, and good.
    Ok,
    /// Cannot be read, and the last good value is young enough to be told.
    FailingFresh,
    /// Cannot be read, and there is nothing to tell but a fallback or an error.
    Failing,
    /// Somebody asks for a part that is not there.
    NoSuchPart,
    /// For the first reading.
    Waiting,
    /// Nobody asks, so nobody reads.
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

#[derive(Debug, Serialize)]
pub(super) struct Outage {
    pub(super) since: Timestamp,
    pub(super) message: String,
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

/// An activation that somebody asks with.
#[derive(Debug, Serialize)]
pub(super) struct Activation {
    pub(super) metric: String,
    pub(super) threshold: String,
    /// Whether true values are told.
    pub(super) active: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Consumer {
    pub(super) namespace: String,
    pub(super) metric: String,
    pub(super) selector: String,
    /// The question's own.
    pub(super) value_rules: ValueRulesView,
    /// The fallback, the question's or else the source's, that is told instead of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) served_instead: Option<String>,
    pub(super) last_request_seconds_ago: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interval_seconds: Option<f64>,
}

/// What a view is made of.
pub(super) struct Parts {
    pub(super) facts: Facts,
    pub(super) now: Timestamp,
    pub(super) ready: bool,
    pub(super) checks: Vec<(&'static str, health::State)>,
    pub(super) limits: Vec<LimitState>,
    pub(super) readings: Vec<ReadingState>,
    pub(super) lists: Vec<String>,
    pub(super) unselectable: Vec<Unselectable>,
}

// === impl View ===

impl View {
    pub(super) fn of(parts: Parts) -> Self {
        let Parts { facts, now, ready, checks, limits, readings, lists, unselectable } = parts;
        let Facts { version, started, certificate_expires, api_service_available, config, scale_to_zero, findings } =
            facts;
        Self {
            version,
            now,
            started,
            ready,
            certificate_expires,
            api_service_available,
            config,
            scale_to_zero,
            lists: lists.iter().map(|sentence| redacted(sentence)).collect(),
            checks: checks.into_iter().map(|(name, state)| Check::of(name, state)).collect(),
            findings: findings.into_iter().map(Finding::redacted).collect(),
            unselectable: unselectable.into_iter().map(Unnamed::of).collect(),
            limits: limits.into_iter().map(Limit::of).collect(),
            sources: readings.into_iter().map(Reading::of).collect(),
        }
    }
}

// === impl Limit ===

impl Limit {
    fn of(LimitState { name, max, used, owners }: LimitState) -> Self {
        Self { name, max, used, owners: owners.into_iter().map(Owner::of).collect() }
    }
}

// === impl Owner ===

impl Owner {
    fn of(OwnerState { owner, used }: OwnerState) -> Self {
        Self { owner: owner.as_str().to_owned(), used }
    }
}

// === impl Check ===

impl Check {
    fn of(name: &'static str, state: health::State) -> Self {
        let (state, reason) = match state {
            health::State::Ok => ("ok", None),
            health::State::Degraded(reason) => ("degraded", Some(redacted(&reason))),
            health::State::Failed(reason) => ("failed", Some(redacted(&reason))),
        };
        Self { name, state, reason }
    }
}

// === impl Finding ===

impl Finding {
    fn redacted(self) -> Self {
        Self { object: redacted(&self.object), message: redacted(&self.message) }
    }
}

// === impl Unnamed ===

impl Unnamed {
    fn of(Unselectable { name, identity: _, reason, affects }: Unselectable) -> Self {
        Self { name: redacted(&name), reason, affects: affects.into_iter().collect() }
    }
}

// === impl Reading ===

impl Reading {
    fn of(state: ReadingState) -> Self {
        let is_fresh = state.known.as_ref().is_some_and(|known| known.age <= state.timing.max_age);
        let condition = Condition::of(&state, is_fresh);
        let in_trouble = state.outage.as_ref().is_some_and(|outage| outage.verdict == Verdict::Trouble);
        let falls_back = state.active && in_trouble && !is_fresh;
        let fallback = |consumer: &ConsumerState| state.fallback_of(consumer).filter(|_| falls_back);
        let served = |consumer| Consumer::of(consumer, fallback(consumer).map(|value| value.decimal().to_string()));
        let consumers = state.consumers.iter().map(served).collect();
        let place = state.place.iter().map(|(label, value)| (*label, value.as_str()));
        let mut part: BTreeMap<_, _> =
            place.chain(state.facet.iter()).map(|(label, value)| (label, redacted(value))).collect();
        let ReadingState { depths, metrics, known, outage, .. } = state;
        if state.facet.is_apart() {
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
            condition,
            known,
            reads: state.reads,
            failed_reads: state.failures,
            outage: outage.filter(|_| state.active).map(Outage::of),
            last_failure: state.last_failure.map(Failure::of),
            breaker_open: state.breaker_open,
            value_rules: ValueRulesView::of(state.value_rules),
            fallback_active: falls_back && state.value_rules.fallback.is_some(),
            activations: state.activations.into_iter().map(Activation::of).collect(),
            activation_owners: state.activation_owners.into_iter().map(Owner::of).collect(),
            consumers,
            more_consumers: state.more_consumers,
            history: state.history,
            history_span_seconds: BUCKET.as_secs(),
        }
    }
}

// === impl Condition ===

impl Condition {
    fn of(state: &ReadingState, is_fresh: bool) -> Self {
        match (&state.outage, &state.known) {
            _ if !state.active => Self::Idle,
            (Some(outage), _) if outage.verdict == Verdict::NoSuchPart => Self::NoSuchPart,
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
            Self::FailingFresh => "failing, last value still told",
            Self::Failing => "failing",
            Self::NoSuchPart => "no such part",
            Self::Waiting => "waits for its first read",
            Self::Idle => "idle: nobody asks",
        }
    }

    /// Whether somebody has to do something.
    pub(super) fn is_trouble(self) -> bool {
        matches!(self, Self::FailingFresh | Self::Failing | Self::NoSuchPart)
    }
}

// === impl Outage ===

impl Outage {
    fn of(OutageState { since, message, verdict: _ }: OutageState) -> Self {
        Self { since, message: redacted(&message) }
    }
}

// === impl Failure ===

impl Failure {
    fn of(FailureState { at, step, cause, remedy, request_id }: FailureState) -> Self {
        Self { at, operation: step, cause: redacted(&cause), remedy, request_id }
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
    fn of(state: &ConsumerState, served_instead: Option<String>) -> Self {
        let ConsumerState { namespace, metric, selector, value_rules, alone: _, last_requested, interval } = state;
        Self {
            namespace: namespace.as_str().to_owned(),
            metric: metric.to_string(),
            selector: redacted(selector),
            value_rules: ValueRulesView::of(*value_rules),
            served_instead,
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
