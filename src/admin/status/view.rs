//! What is shown, as plain data: this is the JSON, and what the page is made of. Pure.
//!
//! Times are absolute where something happened and in seconds where something lasts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::filter::Filter;
use super::reading::{HpaView, HpasOf, Owner, Reading};
use super::redact::redacted;
use super::{Facts, Finding, Hpa};
use crate::health;
use crate::lookup::Unselectable;
use crate::lookup::state::{LimitState, ReadingState};

/// Everything.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    pub(super) version: &'static str,
    /// This replica, and the node that it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<String>,
    pub(super) now: Timestamp,
    pub(super) started: Timestamp,
    pub(super) ready: bool,
    /// Why HPAs get no values, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verdict: Option<String>,
    pub(super) certificate_expires: Timestamp,
    /// `None`: not known.
    pub(super) api_service_available: Option<bool>,
    /// Where the sources are from.
    pub(super) config: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) docs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scale_to_zero: Option<String>,
    pub(super) checks: Vec<Check>,
    pub(super) findings: Vec<Finding>,
    /// What cannot be listed, and names that mean more than one source.
    pub(super) lists: Vec<String>,
    pub(super) unselectable: Vec<Unnamed>,
    pub(super) limits: Vec<Limit>,
    /// How many sources are in which state: `failing`.
    pub(super) states: BTreeMap<&'static str, usize>,
    /// Of the consumers.
    pub(super) namespaces: BTreeSet<String>,
    /// Whether consumers are shown with their HPAs.
    pub(super) knows_hpas: bool,
    #[serde(skip_serializing_if = "Filter::is_empty")]
    pub(super) filter: Filter,
    /// Those that the filter selects.
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

/// What a view is made of.
pub(super) struct Parts {
    pub(super) facts: Facts,
    pub(super) now: Timestamp,
    pub(super) ready: bool,
    pub(super) verdict: Option<String>,
    pub(super) checks: Vec<(&'static str, health::State)>,
    pub(super) limits: Vec<LimitState>,
    pub(super) readings: Vec<ReadingState>,
    pub(super) lists: Vec<String>,
    pub(super) unselectable: Vec<Unselectable>,
    pub(super) filter: Filter,
}

// === impl View ===

impl View {
    pub(super) fn of(parts: Parts) -> Self {
        let Parts { facts, now, ready, verdict, checks, limits, readings, lists, unselectable, filter } = parts;
        let Facts { version, pod, node, started, certificate_expires, api_service_available, config, .. } = facts;
        let Facts { docs, scale_to_zero, findings, hpas, .. } = facts;
        let (knows_hpas, hpas) = (hpas.is_some(), hpas_of(hpas.unwrap_or_default()));
        let mut sources: Vec<Reading> = readings.into_iter().map(|state| Reading::of(state, &hpas)).collect();
        let mut states = BTreeMap::new();
        for reading in &sources {
            *states.entry(reading.condition.word()).or_default() += 1;
        }
        let consumers = sources.iter().flat_map(|reading| &reading.consumers);
        let namespaces = consumers.map(|consumer| consumer.namespace.clone()).collect();
        sources.retain(|reading| filter.selects(reading));
        Self {
            version,
            pod,
            node,
            now,
            started,
            ready,
            verdict: verdict.map(|verdict| redacted(&verdict)),
            certificate_expires,
            api_service_available,
            config,
            docs,
            scale_to_zero,
            lists: lists.iter().map(|sentence| redacted(sentence)).collect(),
            checks: checks.into_iter().map(|(name, state)| Check::of(name, state)).collect(),
            findings: findings.into_iter().map(Finding::redacted).collect(),
            unselectable: unselectable.into_iter().map(Unnamed::of).collect(),
            limits: limits.into_iter().map(Limit::of).collect(),
            states,
            namespaces,
            knows_hpas,
            filter,
            sources,
        }
    }
}

fn hpas_of(known: Vec<Hpa>) -> HpasOf {
    let mut all = HpasOf::new();
    for Hpa { namespace, name, metric, selector, current, desired } in known {
        let view = HpaView { name, current_replicas: current, desired_replicas: desired };
        all.entry((namespace, metric, selector)).or_default().push(view);
    }
    all
}

// === impl Limit ===

impl Limit {
    fn of(LimitState { name, max, used, owners }: LimitState) -> Self {
        Self { name, max, used, owners: owners.into_iter().map(Owner::of).collect() }
    }
}

// === impl Check ===

impl Check {
    fn of(name: &'static str, state: health::State) -> Self {
        let (state, reason) = match state {
            health::State::Ok => ("ok", None),
            health::State::Degraded(reason) | health::State::Blocking(reason) => ("degraded", Some(redacted(&reason))),
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
