//! Keeps the values that people ask for fresh: one task a source, and only while it is asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Timing;
use super::cache::{Cell, Reading, State};
use super::outage::{self, Outage};
use super::roll::Roll;
use super::schedule::{self, LastRead, Next};
use crate::metric::Clock;
use crate::source::facet::Facet;
use crate::source::{Figures, Kind, Source, SourceError, Step, Verdict};

/// A wait for a turn that is none of a moment: what an answer may be older than `refresh` anyway.
const SCARCE: Duration = Duration::from_secs(1);
/// What a source may take to notice that its deadline has passed.
const OVERTIME: Duration = Duration::from_millis(250);

/// Runs the reads of a catalog; whoever builds the catalog runs this beside it.
pub struct Reader {
    activated: mpsc::UnboundedReceiver<Arc<Cell>>,
    called: mpsc::UnboundedReceiver<Arc<Roll>>,
}

/// A source that is in no catalog.
pub struct Single {
    /// As it reads in a sentence: `queue "orders"`.
    pub title: String,
    /// What kind of source it is.
    pub kind: &'static dyn Kind,
    pub(super) timing: Timing,
    pub(super) source: Box<dyn Source>,
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(
        activated: mpsc::UnboundedReceiver<Arc<Cell>>,
        called: mpsc::UnboundedReceiver<Arc<Roll>>,
    ) -> Self {
        Self { activated, called }
    }

    /// Reads for as long as there is a catalog to read for, or a source in use. Dropping the
    /// future stops all reads.
    pub async fn run(mut self) {
        let mut cells = JoinSet::new();
        loop {
            tokio::select! {
                activated = self.activated.recv() => match activated {
                    Some(cell) => { cells.spawn(keep_fresh(cell)); }
                    None => return,
                },
                Some(roll) = self.called.recv() => { cells.spawn(roll.keep()); }
                Some(ended) = cells.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        // A source that panics is a bug: better to end loudly than to go on
                        // with a value that nobody refreshes.
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
        }
    }
}

/// One read of a source that is in no catalog, with its own deadline. The error is the sentence
/// that an HPA would be told, and what would allow a read that was refused; the log has the rest.
pub async fn read_once(single: &Single, clock: Clock) -> Result<Figures, String> {
    let Single { title, timing, source, .. } = single;
    let timestamp = clock();
    let read = read_by(&**source, &Facet::WHOLE, Instant::now() + timing.timeout).await;
    read.map_err(|error| {
        log_failure(title, &error);
        outage::told_once(title, &error, timestamp)
    })
}

async fn keep_fresh(cell: Arc<Cell>) {
    loop {
        let now = Instant::now();
        match plan(&cell, now) {
            Next::Now => read(&cell).await,
            Next::At(then) => {
                tokio::select! {
                    () = tokio::time::sleep_until(then) => {}
                    () = cell.demand.notified() => {
                        if is_due_on_demand(&cell, Instant::now()) {
                            read(&cell).await;
                        }
                    }
                }
            }
            Next::Idle => return,
        }
    }
}

/// What to do now. Going idle is decided under the lock, so that a question that comes at that
/// moment finds the cell either still active or free to be activated.
fn plan(cell: &Cell, now: Instant) -> Next {
    let mut state = cell.state();
    // Where turns are always waited for, whoever asks would wait as well: values are kept ready.
    let busy = || state.waited < SCARCE && cell.source.is_saturated();
    let next = match is_left(cell, &state) {
        true => Next::Idle,
        false => schedule::next(now, &state.asks, state.last_read, &cell.timing, busy),
    };
    state.active = next != Next::Idle;
    if !state.active {
        state.latches.clear();
    }
    next
}

/// Nobody can ask any more, and nobody who did still waits.
fn is_left(cell: &Cell, state: &State) -> bool {
    !state.asks.any() && cell.progress.receiver_count() == 0
}

/// A demand may be left over from before the last read: never more often than `refresh`.
fn is_due_on_demand(cell: &Cell, now: Instant) -> bool {
    let state = cell.state();
    let rested = state.last_read.is_none_or(|read| now - read.began >= cell.timing.refresh);
    rested && state.outage.is_none() && state.asks.any()
}

async fn read(cell: &Cell) {
    // Held until the end of the read.
    let admission = cell.source.admit(cell.is_wanting()).await;
    {
        let mut state = cell.state();
        state.waited = admission.waited;
        if is_left(cell, &state) {
            return;
        }
    }
    let began = Instant::now();
    let timestamp = (cell.clock)();
    let result = read_by(&*cell.source, &cell.facet, began + cell.timing.timeout).await;
    cell.meters.read_took(cell.kind, result.as_ref().err(), began.elapsed());
    store(cell, began, timestamp, result);
    cell.progress.send_replace(());
}

async fn read_by(source: &dyn Source, facet: &Facet, by: Instant) -> Result<Figures, SourceError> {
    // A source keeps its deadline itself, and knows the step; this is for one that does not.
    tokio::time::timeout_at(by + OVERTIME, source.read(facet, by)).await.unwrap_or_else(|_| {
        Err(SourceError::new(
            Step::Read,
            Verdict::Trouble,
            "timed out",
            "Check the way from this pod to the source.",
            "the read went on after its deadline",
        ))
    })
}

pub(super) fn log_failure(title: &str, error: &SourceError) {
    let SourceError { step, cause, detail, .. } = error;
    // The detail names what was asked, where, and the request.
    tracing::warn!(source = title, step = step.as_str(), cause, detail, "cannot be read");
}

fn store(cell: &Cell, began: Instant, timestamp: jiff::Timestamp, result: Result<Figures, SourceError>) {
    let title = &cell.title;
    let mut state = cell.state();
    state.asks.served();
    match result {
        Ok(figures) => {
            if let Some(outage) = state.outage.take() {
                tracing::info!(source = title, since = %outage.since(), "read again after an outage");
            }
            state.last_read = Some(LastRead { began, retry_after: None });
            state.latches.pass(&figures);
            state.tally.good = state.tally.good.saturating_add(1);
            if let Some(value) = cell.kind.depths().first().and_then(|metric| figures.value(*metric)) {
                state.history.record(value, began);
            }
            state.good = Some(Reading { figures: Arc::new(figures), timestamp, began });
        }
        Err(error) => {
            state.tally.fail(&error, timestamp);
            let retry_after =
                Some(schedule::retry_after(&cell.timing, began.elapsed(), error.retry_after, fastrand::f64()));
            state.last_read = Some(LastRead { began, retry_after });
            let news = match &mut state.outage {
                Some(outage) => outage.go_on(title, &error, timestamp),
                None => {
                    state.outage = Some(Outage::begin(title, &error, timestamp));
                    true
                }
            };
            if news {
                log_failure(title, &error);
            }
        }
    }
}
