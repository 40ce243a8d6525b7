//! What the catalog knows at a moment, as plain data: for whoever shows it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Timing;
use super::askers::AskerState;
use super::cache::{Cell, Reading};
use super::entry::Entry;
use super::outage::{FailureState, Outage};
use super::policy::{LatchState, Policies};
use crate::metric::MetricName;
use crate::metric::quantity::Quantity;
use crate::source::facet::Facet;
use crate::source::{Figures, Verdict};

/// One reading: a source or a part of it.
#[derive(Clone, Debug)]
pub struct ReadingState {
    /// The label that names its source: `queue`.
    pub label: &'static str,
    /// And the name.
    pub name: String,
    /// The last six characters of what it is whatever it is called: of an OCID.
    pub identity_tail: String,
    /// Which part of it.
    pub facet: Facet,
    /// Whether somebody asks, and so somebody reads.
    pub active: bool,
    /// Whether it is not asked at all, for nothing answers where it is.
    pub held_back: bool,
    /// What was read last.
    pub known: Option<KnownState>,
    /// Since the last good reading.
    pub outage: Option<OutageState>,
    /// Good reads since the start.
    pub reads: u64,
    /// And failed ones.
    pub failures: u64,
    /// The last of those, also after its outage.
    pub last_failure: Option<FailureState>,
    /// Which metrics policies may touch: depths.
    pub depths: &'static [MetricName],
    /// All of them.
    pub metrics: &'static [MetricName],
    /// How fresh it is kept.
    pub timing: Timing,
    /// The source's own, where a question brings none.
    pub policies: Policies,
    /// What became of the activations that somebody asks with.
    pub latches: Vec<LatchState>,
    /// Who asks, the last one first; 16 at most.
    pub askers: Vec<AskerState>,
    /// Whether there are more of them.
    pub other_askers: bool,
    /// The first of the kind's depths in the last hour, oldest first, in whole units; in
    /// [`super::history::BUCKETS`] spans of [`super::history::BUCKET`]. `None` is a gap.
    pub history: Vec<Option<u64>>,
}

/// A successful read.
#[derive(Clone, Debug)]
pub struct KnownState {
    /// Raw, before any policy.
    pub figures: Arc<Figures>,
    /// When the source was read.
    pub timestamp: Timestamp,
    /// How long ago.
    pub age: Duration,
}

/// A time without a good reading.
#[derive(Clone, Debug)]
pub struct OutageState {
    /// When the first read failed.
    pub since: Timestamp,
    /// What people are told.
    pub sentence: Arc<str>,
    /// What the source said of itself.
    pub verdict: Verdict,
}

// === impl ReadingState ===

impl ReadingState {
    pub(super) fn of(entry: &Entry, cell: &Cell, now: Instant) -> Self {
        // Looks at the service's own state, and so before the lock.
        let held_back = cell.source.breaker_open();
        let state = cell.state();
        Self {
            label: entry.kind.label(),
            name: entry.name.clone(),
            identity_tail: entry.cells.tail().to_owned(),
            facet: cell.facet.clone(),
            active: state.active,
            held_back,
            known: state.good.as_ref().map(|reading| KnownState::of(reading, now)),
            outage: state.outage.as_ref().map(OutageState::of),
            reads: state.tally.good,
            failures: state.tally.failed,
            last_failure: state.tally.last_failure.as_deref().cloned(),
            depths: entry.kind.depths(),
            metrics: entry.kind.metrics(),
            timing: cell.timing,
            policies: entry.rules.policies,
            latches: state.latches.states(),
            askers: state.askers.states(now),
            other_askers: state.askers.there_are_others(now),
            history: state.history.hour(now),
        }
    }

    /// What this one is told instead of an error, once that is so.
    pub fn fallback_of(&self, asker: &AskerState) -> Option<Quantity> {
        let own = self.policies.fallback.filter(|_| self.depths.contains(&asker.metric));
        asker.policies.fallback.or(own).filter(|_| asker.alone)
    }
}

// === impl KnownState ===

impl KnownState {
    fn of(reading: &Reading, now: Instant) -> Self {
        let age = now.saturating_duration_since(reading.began);
        Self { figures: reading.figures.clone(), timestamp: reading.timestamp, age }
    }
}

// === impl OutageState ===

impl OutageState {
    fn of(outage: &Outage) -> Self {
        Self { since: outage.since(), sentence: outage.sentence(), verdict: outage.verdict() }
    }
}
