//! The value of one source in memory: who asks, what is known, and how old it may be.
//!
//! Asking takes a short lock and no I/O as long as a fresh value is there. Reading is the
//! business of [`super::reader`]; the two meet in the [`State`] of a [`Cell`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::Timing;
use super::outage::Outage;
use super::schedule::{Asks, LastRead};
use crate::metric::Clock;
use crate::source::{Figures, Source};

/// What an answer may be older than `refresh`: the read ahead of the ask, and its time.
const GRACE: Duration = Duration::from_secs(1);
/// How much longer than the read's own deadline somebody waits for it: scheduling.
const SLACK: Duration = Duration::from_millis(500);

/// One source, and what is known of it.
pub(super) struct Cell {
    /// As it reads in a sentence: `queue "orders"`.
    pub(super) title: String,
    pub(super) source: Box<dyn Source>,
    pub(super) timing: Timing,
    pub(super) clock: Clock,
    /// Somebody waits for a read.
    pub(super) demand: Notify,
    /// Tells of each finished read.
    pub(super) progress: watch::Sender<()>,
    state: Mutex<State>,
    activate: mpsc::UnboundedSender<Arc<Cell>>,
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
}

/// A successful read.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) figures: Arc<Figures>,
    /// When the read began: the values are at least as new as this.
    pub(super) timestamp: Timestamp,
    pub(super) began: Instant,
}

// === impl Cell ===

impl Cell {
    pub(super) fn new(
        title: String,
        source: Box<dyn Source>,
        timing: Timing,
        clock: Clock,
        activate: mpsc::UnboundedSender<Arc<Cell>>,
    ) -> Self {
        let (demand, progress, state) = (Notify::new(), watch::Sender::new(()), Mutex::default());
        Self { title, source, timing, clock, demand, progress, state, activate }
    }

    /// Sees to it that there is something to say: at once when memory has it, else after the
    /// read that is under way.
    pub(super) async fn ask(self: &Arc<Self>) {
        if let Some(mut progress) = self.must_wait(Instant::now()) {
            // Elapsed or not, what is known then is the answer.
            let _ = tokio::time::timeout(self.timing.timeout + SLACK, progress.changed()).await;
        }
    }

    /// The value of now, or the sentence that says why there is none.
    pub(super) fn known(&self) -> Result<Reading, Arc<str>> {
        let (state, now) = (self.state(), Instant::now());
        match (&state.good, &state.outage) {
            (Some(good), _) if now - good.began <= self.timing.max_age => Ok(good.clone()),
            (_, Some(outage)) => Err(outage.sentence()),
            (_, None) => Err(self.overdue()),
        }
    }

    /// Whether there is nothing to tell that is not too old.
    pub(super) fn is_wanting(&self) -> bool {
        let (state, now) = (self.state(), Instant::now());
        state.good.as_ref().is_none_or(|good| now - good.began > self.timing.max_age)
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

    /// Nobody can ask for it any more: reads stop, but for one that somebody still waits for.
    pub(super) fn rest(&self) {
        self.state().asks = Asks::default();
        self.demand.notify_one();
    }

    /// What is told of it while it fails; nothing is known of one that nobody asks for.
    pub(super) fn outage(&self) -> Option<Arc<str>> {
        let state = self.state();
        state.outage.as_ref().filter(|_| state.active).map(Outage::sentence)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a plain assignment: a panic cannot leave it half made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a question, and has the source read if what is known will not do: then this
    /// tells of the read's end.
    fn must_wait(self: &Arc<Self>, now: Instant) -> Option<watch::Receiver<()>> {
        let mut state = self.state();
        state.asks.record(now);
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

    fn overdue(&self) -> Arc<str> {
        format!("{} is not read yet. If this stays, the log of depthgauge says why.", self.title).into()
    }
}
