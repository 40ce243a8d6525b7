//! Reads that many sources share, such as the list of all queues. One read is sent for all of them, and its
//! result serves every source for which it is new enough.
//!
//! A read belongs to no source, and goes on when the source that began it gives up. Its deadline begins with
//! its turn at the service, so no read fails because it had to wait. It has the time of the source that
//! waits longest, of those that requested it or the read before. A read that fails may have had too little
//! time for other sources, so its failure serves only sources that wait no longer.
//!
//! A source waits for a read that hangs no longer than its own time. Its next request then begins another
//! read, which has that time. So there are at most as many reads in flight as there are different times.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{NextRequest, SourceError};

/// How something that many sources share is read.
pub(super) trait SharedRead: Send + Sync + 'static {
    /// What a read brings.
    type Value: Send + Sync;

    /// The first request of a read.
    fn next_request(&self) -> NextRequest<'_>;

    /// Reads, and gives up at the deadline. The first request has had its turn.
    fn read(&self, turn: Turn<Self::Value>) -> impl Future<Output = Result<Self::Value, SourceError>> + Send;

    /// The failure of a source that waited for a read until its own deadline.
    fn late(&self) -> SourceError;
}

/// The turn of a read.
pub(super) struct Turn<V> {
    /// When a source began it. It has waited for its turn since then.
    pub(super) wanted: Instant,
    pub(super) began: Instant,
    /// The deadline.
    pub(super) by: Instant,
    /// What the last good read brought.
    pub(super) before: Option<Arc<V>>,
    /// Whether no read has failed or hangs since then.
    pub(super) is_next: bool,
    /// What was read longer ago was too old for the source that began this read.
    pub(super) refresh: Duration,
}

/// Something that many sources share, and what is known of it.
pub(super) struct Shared<R: SharedRead> {
    read: R,
    /// Marks each turn and each end of a read.
    progress: watch::Sender<()>,
    /// Each read that is under way holds it as well.
    held: Arc<()>,
    state: Mutex<State<R::Value>>,
}

struct State<V> {
    /// The last good read.
    good: Option<(Instant, Arc<V>)>,
    /// The last failure. It is shared as well, because it costs as many requests.
    failed: Option<Failed>,
    /// The read that was begun last, until it ends.
    under_way: Option<Stage>,
    /// The longest time that a source waits, of those since the last read was begun.
    patience: Duration,
}

struct Failed {
    began: Instant,
    /// How long the read was allowed to take.
    patience: Duration,
    error: SourceError,
}

/// How far a read is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Stage {
    /// It waits for its turn.
    Waiting,
    /// It had its turn then.
    Begun(Instant),
}

/// What there is for a source.
enum Known<V> {
    Read(Result<Arc<V>, SourceError>),
    /// A read is at this stage.
    UnderWay(Stage, watch::Receiver<()>),
}

// === impl Shared ===

impl<R: SharedRead> Shared<R> {
    /// Nothing is read yet.
    pub(super) fn new(read: R) -> Self {
        let state = State { good: None, failed: None, under_way: None, patience: Duration::ZERO };
        Self { read, progress: watch::Sender::new(()), held: Arc::default(), state: state.into() }
    }

    /// What reads it.
    pub(super) fn read(&self) -> &R {
        &self.read
    }

    /// See [`SharedRead::next_request`].
    pub(super) fn next_request(&self) -> NextRequest<'_> {
        self.read.next_request()
    }

    /// Waits until [`Self::get`] has to wait for no turn. `patience`: how long that call will wait.
    pub(super) async fn wait_turn(self: &Arc<Self>, since: Instant, patience: Duration) {
        while let Known::UnderWay(Stage::Waiting, mut progress) = self.known(since, patience) {
            // It is never closed.
            drop(progress.changed().await);
        }
    }

    /// What was read after `since`, for this source or for another one.
    pub(super) async fn get(self: &Arc<Self>, since: Instant, by: Instant) -> Result<Arc<R::Value>, SourceError> {
        let patience = by - Instant::now();
        loop {
            let mut progress = match self.known(since, patience) {
                Known::Read(result) => return result,
                Known::UnderWay(_, progress) => progress,
            };
            if tokio::time::timeout_at(by, progress.changed()).await.is_err() {
                return Err(self.read.late());
            }
        }
    }

    /// The result for a source with this deadline. Begins a read if there is none to wait for.
    fn known(self: &Arc<Self>, since: Instant, patience: Duration) -> Known<R::Value> {
        let (now, patience) = (Instant::now(), in_seconds(patience));
        let mut state = self.state.lock();
        state.patience = state.patience.max(patience);
        if let Some(result) = state.serves(since, patience) {
            return Known::Read(result);
        }
        let awaited = state.under_way.filter(|stage| match stage {
            Stage::Waiting => true,
            Stage::Begun(began) => now < *began + patience,
        });
        let stage = awaited.unwrap_or_else(|| {
            let is_only = Arc::strong_count(&self.held) == 1;
            tokio::spawn(self.clone().run(patience, now - since, is_only, self.held.clone()));
            Stage::Waiting
        });
        state.under_way = Some(stage);
        Known::UnderWay(stage, self.progress.subscribe())
    }

    /// A read, begun by a source with this deadline. `is_only`: no other one hangs.
    async fn run(self: Arc<Self>, own: Duration, refresh: Duration, is_only: bool, _held: Arc<()>) {
        let wanted = Instant::now();
        let urgent = self.state.lock().good.is_none();
        let next = self.next_request();
        let _admission = next.upstream.admit(next.host.as_deref(), &next.key, &[], urgent).await;
        let (began, turn, patience) = {
            let (mut state, began) = (self.state.lock(), Instant::now());
            state.under_way = Some(Stage::Begun(began));
            let patience = if is_only { std::mem::replace(&mut state.patience, own) } else { own };
            (began, state.turn(wanted, began, patience, refresh, is_only), patience)
        };
        self.progress.send_replace(());
        let result = self.read.read(turn).await;
        self.state.lock().end(began, patience, result);
        self.progress.send_replace(());
    }
}

// === impl State ===

impl<V> State<V> {
    /// The result that is new enough for a source with this deadline. A read that had less time may have
    /// failed because of that.
    fn serves(&self, since: Instant, patience: Duration) -> Option<Result<Arc<V>, SourceError>> {
        let good = self.good.as_ref().filter(|(began, _)| *began >= since).map(|(_, value)| Ok(value.clone()));
        let failed = self.failed.as_ref().filter(|failed| failed.began >= since && patience <= failed.patience);
        good.or_else(|| Some(Err(failed?.error.clone())))
    }

    fn turn(&self, wanted: Instant, began: Instant, patience: Duration, refresh: Duration, is_only: bool) -> Turn<V> {
        let before = self.good.as_ref();
        let has_failed = self.failed.as_ref().is_some_and(|failed| before.is_none_or(|(good, _)| *good < failed.began));
        let before = before.map(|(_, value)| value.clone());
        Turn { wanted, began, by: began + patience, before, is_next: is_only && !has_failed, refresh }
    }

    fn end(&mut self, began: Instant, patience: Duration, result: Result<V, SourceError>) {
        self.under_way = self.under_way.filter(|stage| *stage != Stage::Begun(began));
        match result {
            // A read that hung may end after a later one.
            Ok(_) if self.good.as_ref().is_some_and(|(good, _)| *good > began) => {}
            Ok(value) => self.good = Some((began, Arc::new(value))),
            Err(error) => self.failed = Some(Failed { began, patience, error }),
        }
    }
}

/// Whole seconds, rounded up: sources with the same `timeout` wait for the same time.
fn in_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests;
