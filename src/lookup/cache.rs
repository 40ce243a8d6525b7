//! The value of one reading in memory: who asks, what is known, and how old it may be.
//!
//! Asking takes a short lock and no I/O as long as a fresh value is there. Reading is the
//! business of [`super::reader`]; the two meet in the [`State`] of a [`Cell`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;

use super::askers::{Askers, Who};
use super::cells::Common;
use super::history::History;
use super::meters::Meters;
use super::outage::{Outage, Tally};
use super::policy::{Applied, Latches, Policies};
use super::schedule::{Asks, LastRead};
use super::{LookupError, Timing};
use crate::metric::quantity::Quantity;
use crate::metric::{Clock, MetricName};
use crate::source::facet::Facet;
use crate::source::{Figures, Kind, Source, Verdict};

/// What an answer may be older than `refresh`: the read ahead of the ask, and its time.
const GRACE: Duration = Duration::from_secs(1);
/// How much longer than the read's own deadline somebody waits for it: scheduling.
const SLACK: Duration = Duration::from_millis(500);

/// What a cell is about.
pub(super) struct Subject {
    /// As it reads in a sentence: `queue "orders"`.
    pub(super) title: String,
    pub(super) kind: &'static dyn Kind,
    pub(super) source: Arc<dyn Source>,
    pub(super) facet: Facet,
    pub(super) timing: Timing,
}

/// A source or a part of it, and what is known of it.
pub(super) struct Cell {
    pub(super) title: String,
    pub(super) kind: &'static dyn Kind,
    pub(super) source: Arc<dyn Source>,
    pub(super) facet: Facet,
    pub(super) timing: Timing,
    pub(super) clock: Clock,
    /// The room that a part takes; given back with the cell.
    _room: Option<OwnedSemaphorePermit>,
    /// Somebody waits for a read.
    pub(super) demand: Notify,
    /// Tells of each finished read.
    pub(super) progress: watch::Sender<()>,
    state: Mutex<State>,
    activate: mpsc::UnboundedSender<Arc<Cell>>,
    pub(super) meters: Meters,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) asks: Asks,
    /// Whether the reader looks after this cell now.
    pub(super) active: bool,
    pub(super) last_read: Option<LastRead>,
    /// How long the last read had to wait for its turn: so much longer than `refresh` the value is
    /// kept, for the next one will have to wait as well.
    pub(super) waited: Duration,
    pub(super) good: Option<Reading>,
    /// Since the last good reading.
    pub(super) outage: Option<Outage>,
    pub(super) tally: Tally,
    pub(super) askers: Askers,
    pub(super) latches: Latches,
    pub(super) history: History,
}

/// A successful read.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) figures: Arc<Figures>,
    /// When the read began: the values are at least as new as this.
    pub(super) timestamp: Timestamp,
    pub(super) began: Instant,
}

/// How a reading fares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Condition {
    /// Nobody asks, so nobody reads.
    Idle,
    /// For the first reading.
    Waiting,
    /// Read, and good.
    Well,
    /// Since then.
    Failing(Timestamp),
}

/// What somebody wants to be told.
pub(super) struct Wish {
    pub(super) metric: MetricName,
    /// Those that are in force for him.
    pub(super) policies: Policies,
    /// Whether their activation is the source's own.
    pub(super) own: bool,
    /// Whether it is the only item of the answer.
    pub(super) alone: bool,
    /// Whether he takes a fallback only of a source that fails for longer than `maxAge`, also where
    /// nothing is known from before.
    pub(super) patient: bool,
}

/// What he is told.
pub(super) struct Told {
    pub(super) value: Quantity,
    /// When the source was read; of a fallback, now.
    pub(super) timestamp: Timestamp,
    /// What has made the value another one than the source's.
    pub(super) policy: Option<Applied>,
}

// === impl Cell ===

impl Cell {
    pub(super) fn new(subject: Subject, common: &Common, room: Option<OwnedSemaphorePermit>) -> Self {
        let Common { clock, activate, meters, .. } = common.clone();
        let Subject { title, kind, source, facet, timing } = subject;
        let (demand, progress, state) = (Notify::new(), watch::Sender::new(()), Mutex::default());
        Self { title, kind, source, facet, timing, clock, _room: room, demand, progress, state, activate, meters }
    }

    /// Takes note of a question, and has the source read if what is known will not do: then this
    /// is to be waited for, which ends with that read, or when it should have ended. Without `who`
    /// nobody is remembered who asked.
    pub(super) fn ask(
        self: &Arc<Self>,
        who: Option<&Who<'_>>,
        now: Instant,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let mut progress = self.must_wait(who, now)?;
        let deadline = now + self.timing.timeout + SLACK;
        // Elapsed or not, what is known then is the answer.
        Some(async move { drop(tokio::time::timeout_at(deadline, progress.changed()).await) })
    }

    /// The value of now, or the sentence that says why there is none.
    pub(super) fn tell(&self, wish: &Wish, now: Instant) -> Result<Told, LookupError> {
        let mut state = self.state();
        let State { good, outage, latches, .. } = &mut *state;
        match (good, outage) {
            (Some(good), _) if now - good.began <= self.timing.max_age => {
                let value = good.figures.value(wish.metric).ok_or_else(|| self.lacks(wish.metric))?;
                let held = match wish.policies.activation {
                    Some(threshold) => {
                        latches.holds(wish.metric, threshold, wish.own, value, now).ok_or_else(|| self.crowded())?
                    }
                    None => false,
                };
                let policy = held.then_some(Applied::Activation);
                Ok(Told { value: if held { Quantity::ZERO } else { value }, timestamp: good.timestamp, policy })
            }
            (_, Some(outage)) => match wish.policies.fallback {
                Some(value) if wish.alone && outage.verdict() == Verdict::Trouble && self.lasts(outage, wish) => {
                    Ok(Told { value, timestamp: (self.clock)(), policy: Some(Applied::Fallback) })
                }
                _ => Err(outage.error()),
            },
            // Not read yet is no outage: the first answer must not be a fallback.
            (_, None) => Err(self.overdue()),
        }
    }

    fn lasts(&self, outage: &Outage, wish: &Wish) -> bool {
        !wish.patient
            || (self.clock)().duration_since(outage.since()) > self.timing.max_age.try_into().unwrap_or_default()
    }

    /// Whether there is nothing to tell: no value that is not too old, and no failure. Those that
    /// fail, however many and for however long, are never in the way of those that are well.
    pub(super) fn is_wanting(&self) -> bool {
        let (state, now) = (self.state(), Instant::now());
        state.outage.is_none() && state.good.as_ref().is_none_or(|good| now - good.began > self.timing.max_age)
    }

    /// Who asks for it, whether it is read, and whether that fails.
    pub(super) fn condition(&self) -> Condition {
        let state = self.state();
        match (&state.outage, &state.good) {
            _ if !state.active => Condition::Idle,
            (Some(outage), _) if outage.verdict() != Verdict::NoSuchPart => Condition::Failing(outage.since()),
            (None, None) => Condition::Waiting,
            (Some(_), _) | (None, Some(_)) => Condition::Well,
        }
    }

    /// How much longer than `refresh` its value is kept, while it is asked for.
    pub(super) fn stretch(&self) -> Duration {
        let state = self.state();
        if state.active { state.waited } else { Duration::ZERO }
    }

    /// The value of now for somebody who would rather have none than the last one of a source
    /// that fails.
    pub(super) fn well(&self) -> Option<Reading> {
        let (state, now) = (self.state(), Instant::now());
        let fresh = |good: &&Reading| state.outage.is_none() && now - good.began <= self.timing.max_age;
        state.good.as_ref().filter(fresh).cloned()
    }

    /// Begins or ends a standing order: it is read without being asked for.
    pub(super) fn stand(self: &Arc<Self>, standing: bool) {
        let mut state = self.state();
        if !state.asks.stand(standing) {
            return;
        }
        if standing && !state.active {
            state.active = self.activate.send(self.clone()).is_ok();
        }
        self.demand.notify_one();
    }

    /// Takes over what is known of the same source as it was read before: it is as true as it was,
    /// and as old. Whether it fails is for a read of its own to find out. What is known here already
    /// and is newer stays.
    pub(super) fn inherit(&self, before: &Self) {
        let began = |state: &State| state.good.as_ref().map(|good| good.began);
        let (mut state, before) = (self.state(), before.state());
        if began(&before) < began(&state) {
            return;
        }
        state.good.clone_from(&before.good);
        state.tally.clone_from(&before.tally);
        state.latches.clone_from(&before.latches);
        state.history.clone_from(&before.history);
    }

    /// Nobody can ask for it any more: reads stop, but for one that somebody still waits for.
    pub(super) fn rest(&self) {
        self.state().asks = Asks::default();
        self.demand.notify_one();
    }

    /// What is told of it while it fails; nothing is known of one that nobody asks for, and a
    /// question for what is not there is no failure.
    pub(super) fn outage(&self) -> Option<Arc<str>> {
        let state = self.state();
        let outage = state.outage.as_ref().filter(|_| state.active);
        outage.filter(|outage| outage.verdict() != Verdict::NoSuchPart).map(Outage::sentence)
    }

    pub(super) fn longest_pause(&self, who: &Who<'_>) -> Option<Duration> {
        self.state().askers.longest_pause(who)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a plain assignment: a panic cannot leave it half made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tells of the end of the read that must be waited for, if one must be.
    fn must_wait(self: &Arc<Self>, who: Option<&Who<'_>>, now: Instant) -> Option<watch::Receiver<()>> {
        let mut state = self.state();
        state.asks.record(now);
        if let Some(interval) = who.and_then(|who| state.askers.record(who, now)) {
            self.meters.asked_after(interval);
        }
        let was_active = state.active;
        if !was_active {
            // A closed channel means that the process is stopping; the question will time out.
            state.active = self.activate.send(self.clone()).is_ok();
        }
        let freshness = self.timing.max_age.min(self.timing.refresh + GRACE + state.waited);
        let wait = match (&state.good, &state.outage) {
            (Some(good), None) => now - good.began > freshness,
            (None, None) => true,
            // Known to be failing, as of a moment ago, unless nobody has looked since.
            (_, Some(_)) => !was_active,
        };
        wait.then(|| {
            self.demand.notify_one();
            // While the state is locked, so that a read that ends now is not missed.
            self.progress.subscribe()
        })
    }

    fn overdue(&self) -> LookupError {
        self.unavailable("is not read yet. If this stays, the log of depthgauge says why.")
    }

    fn lacks(&self, metric: MetricName) -> LookupError {
        self.unavailable(&format!("has no {metric}"))
    }

    fn crowded(&self) -> LookupError {
        self.unavailable(
            "has as many activations as it can have: use a number that others use, or try again in five minutes",
        )
    }

    fn unavailable(&self, what: &str) -> LookupError {
        LookupError::Unavailable(format!("{} {what}", self.title).into())
    }
}
