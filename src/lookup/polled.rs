//! A value kept fresh while it is requested: when it is read, which requests wait for a read, and
//! what is known while reads fail.
//!
//! This module depends on no source, list, rule, metric or registry. A [`Poll`] is read at a [`Pace`].
//! The loop of each value runs as a task, which the receiver of [`Tasks`] spawns. While the value is
//! fresh, a request takes a short lock and does no I/O.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::outage::{Outage, ReadCounts, log_change, log_failure};
use super::schedule::{self, Activity, LastRead, Next, Pace, Requester};
use crate::metric::{Clock, Namespace};
use crate::source::{ErrorKind, SourceError};

mod poll;

pub(super) use poll::{Admission, Poll};

/// What a value read in the background may be older than its schedule: the lead before the request,
/// and the time that a read takes.
const GRACE: Duration = Duration::from_secs(1);
/// How much longer than the read's own deadline a request waits for it: scheduling.
const SLACK: Duration = Duration::from_millis(500);
/// The longest time that a request waits for a read, whatever the deadline of the read is. A request waits
/// for a list and then for values. Both waits, and the authorization before them, fit into the 30 s of a request over
/// HTTP/2. The next request is served what the read brought.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Longer than this is more than a short wait for admission: what an answer may be older than
/// `refresh` anyway.
const SCARCE: Duration = Duration::from_secs(1);

/// Where the loops of values in use go to be spawned.
pub(super) type Tasks = mpsc::UnboundedSender<BoxFuture<'static, ()>>;

/// How fresh a value a request needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// It needs none now, and only counts as use.
    Nothing,
    /// As fresh as it is kept.
    Fresh,
    /// As fresh as `refresh` allows.
    Newest,
}

/// A value kept fresh while it is requested.
pub(super) struct Polled<P: Poll> {
    pub(super) poll: P,
    pub(super) pace: Pace,
    pub(super) clock: Clock,
    /// The loop must decide again.
    wake: Notify,
    /// Marks the end of each read.
    progress: watch::Sender<()>,
    state: Mutex<State<P>>,
    tasks: Tasks,
}

/// What is known of a value.
pub(super) struct State<P: Poll> {
    activity: Activity,
    /// Whether the loop runs, and so whether the value is in use.
    pub(super) active: bool,
    /// It was evicted, and no request finds it any more.
    pub(super) evicted: bool,
    last_read: Option<LastRead>,
    /// How long the last read waited for admission. The value is kept so much longer than its pace
    /// says, because the next read has to wait as well.
    waited: Duration,
    pub(super) good: Option<Good<P::Value>>,
    /// Since the last good read.
    pub(super) outage: Option<Outage>,
    pub(super) counts: ReadCounts,
    pub(super) notes: P::Notes,
}

/// A good read.
#[derive(Clone)]
pub(super) struct Good<T> {
    pub(super) value: T,
    /// When the read began: the value is at least as new as this.
    pub(super) timestamp: Timestamp,
    pub(super) began: Instant,
    /// When its oldest part was read.
    pub(super) oldest: Instant,
}

/// A read that a request waits for.
pub(super) struct PendingRead {
    progress: watch::Receiver<()>,
    deadline: Instant,
}

// === impl PendingRead ===

impl PendingRead {
    /// Ends with the read, or when it should have ended: what is known then is the answer.
    pub(super) async fn wait(mut self) {
        drop(tokio::time::timeout_at(self.deadline, self.progress.changed()).await);
    }
}

// === impl Good ===

impl<T> Good<T> {
    /// Whether it is young enough to be served.
    pub(super) fn may_be_served(&self, max_age: Duration, now: Instant) -> bool {
        now - self.oldest <= max_age
    }
}

// === impl Polled ===

impl<P: Poll> Polled<P> {
    pub(super) fn new(poll: P, pace: Pace, clock: Clock, tasks: Tasks) -> Arc<Self> {
        let (wake, progress, state) = (Notify::new(), watch::Sender::new(()), Mutex::default());
        Arc::new(Self { poll, pace, clock, wake, progress, state, tasks })
    }

    /// Records a request. A read that is returned has to be waited for before the value is used.
    pub(super) fn request(
        self: &Arc<Self>,
        by: Requester,
        need: Need,
        now: Instant,
        note: impl FnOnce(&mut P::Notes),
    ) -> Option<PendingRead> {
        let progress = self.must_wait(by, need, now, note)?;
        Some(PendingRead { progress, deadline: now + self.pace.timeout.min(WAIT_MAX) + SLACK })
    }

    /// Begins or ends reads without requests.
    pub(super) fn stand(self: &Arc<Self>, standing: bool) {
        let mut state = self.state();
        if !state.activity.stand(standing) {
            return;
        }
        if standing {
            self.start(&mut state);
        }
        self.wake.notify_one();
    }

    /// It can't be requested any more: reads stop, except one that a request still waits for.
    pub(super) fn retire(&self) {
        let mut state = self.state();
        let wanted = state.activity.is_wanted();
        state.activity = Activity::default();
        if wanted {
            state.activity.want();
        }
        self.wake.notify_one();
    }

    /// Evicts it: reads stop, and a request that waits for one stops waiting.
    pub(super) fn evict(&self) {
        let mut state = self.state();
        state.evicted = true;
        state.activity = Activity::default();
        self.wake.notify_one();
        self.progress.send_replace(());
    }

    /// Takes over what is known of the same thing as it was read before: it is as true and as old as
    /// it was. Whether reads fail is found out by a read of its own. A newer value stays.
    pub(super) fn inherit(&self, before: &Self) {
        let began = |state: &State<P>| state.good.as_ref().map(|good| good.began);
        let (mut state, before) = (self.state(), before.state());
        if began(&before) < began(&state) {
            return;
        }
        state.good.clone_from(&before.good);
        state.counts.clone_from(&before.counts);
        P::inherit(&mut state.notes, &before.notes);
    }

    /// What fails now and since when, while the value is in use: for the operator, because the error
    /// message keeps its first cause. A request for something that does not exist is no outage.
    pub(super) fn outage(&self) -> Option<Arc<str>> {
        let state = self.state();
        let outage = state.outage.as_ref().filter(|_| state.active);
        outage.filter(|outage| outage.kind() != ErrorKind::NoSuchPart).map(Outage::current)
    }

    /// Whether reads fail because the service does not respond.
    pub(super) fn is_unreachable(&self) -> bool {
        let state = self.state();
        let failure = state.counts.last_failure.as_ref().filter(|_| state.outage.is_some());
        failure.is_some_and(|failure| !failure.responded)
    }

    /// How much longer than its pace says the value is kept, while it is in use.
    pub(super) fn throttled(&self) -> Duration {
        let state = self.state();
        if state.active { state.waited } else { Duration::ZERO }
    }

    /// The last good read while reads do not fail.
    pub(super) fn well(&self) -> Option<Good<P::Value>> {
        let (state, now) = (self.state(), Instant::now());
        let fresh = |good: &&Good<P::Value>| state.outage.is_none() && good.may_be_served(self.pace.max_age, now);
        state.good.as_ref().filter(fresh).cloned()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock()
    }

    /// What marks the end of the read that the request needs, if it needs one.
    fn must_wait(
        self: &Arc<Self>,
        by: Requester,
        need: Need,
        now: Instant,
        note: impl FnOnce(&mut P::Notes),
    ) -> Option<watch::Receiver<()>> {
        let mut state = self.state();
        if state.evicted {
            return None;
        }
        let was_kept = state.active && state.activity.is_continuous(now, &self.pace);
        state.activity.record(by, now, &self.pace);
        note(&mut state.notes);
        self.start(&mut state);
        if !was_kept && state.activity.is_continuous(now, &self.pace) {
            self.wake.notify_one();
        }
        let grace = match was_kept {
            true => GRACE + state.waited,
            // The read of this request would wait for as long.
            false if self.is_saturated(&state, now) => state.waited,
            false => Duration::ZERO,
        };
        if !state.lacks(need, was_kept, grace, now, &self.pace) {
            return None;
        }
        state.activity.want();
        self.wake.notify_one();
        // While the state is locked, so that a read that ends now is not missed.
        Some(self.progress.subscribe())
    }

    fn start(self: &Arc<Self>, state: &mut State<P>) {
        if !state.active {
            // A closed channel means that the process is stopping.
            state.active = self.tasks.send(self.clone().run().boxed()).is_ok();
        }
    }

    /// Reads again and again, while the value is in use.
    async fn run(self: Arc<Self>) {
        loop {
            match self.plan(Instant::now()) {
                Next::Now => self.read().await,
                Next::At(then) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(then) => {}
                        () = self.wake.notified() => {}
                    }
                }
                Next::Idle => return,
            }
        }
    }

    /// What to do now. Going idle is decided under the lock, so that a request that comes at that
    /// moment finds the loop either still running or free to be started.
    fn plan(&self, now: Instant) -> Next {
        let mut state = self.state();
        // Where every read waits for admission, a read on request would wait as well.
        let saturated = || state.waited < SCARCE && self.is_saturated(&state, now);
        let next = match self.missing_until(&state, now) {
            _ if self.is_left(&state) => Next::Idle,
            Some(then) if then <= now => Next::Idle,
            Some(then) => Next::At(then),
            None => schedule::next(now, &state.activity, state.last_read, &self.pace, saturated),
        };
        state.active = next != Next::Idle;
        if !state.active {
            state.activity = Activity::default();
            P::rest(&mut state.notes);
        }
        next
    }

    /// Whether it can't be requested any more, and no request waits.
    fn is_left(&self, state: &State<P>) -> bool {
        state.evicted || !state.activity.any() && self.progress.receiver_count() == 0
    }

    /// When a part that does not exist is read again only for a new request. Until then its error is
    /// served. A part that was there is read on while its last value may be served.
    fn missing_until(&self, state: &State<P>, now: Instant) -> Option<Instant> {
        let is_missing = state.outage.as_ref().is_some_and(|outage| outage.kind() == ErrorKind::NoSuchPart);
        let is_served = state.good.as_ref().is_some_and(|good| good.may_be_served(self.pace.max_age, now));
        let read = state.last_read.filter(|_| is_missing && !is_served && !state.activity.is_wanted())?;
        Some(read.next_allowed(&self.pace))
    }

    fn is_saturated(&self, state: &State<P>, now: Instant) -> bool {
        self.poll.is_saturated(&self.poll.owners(&state.notes, now))
    }

    async fn read(&self) {
        let Some(Admission { waited, permit: _permit }) = self.admit().await else { return };
        {
            let mut state = self.state();
            state.waited = waited;
            if self.is_left(&state) {
                return;
            }
        }
        let (now, time) = (Instant::now(), (self.clock)());
        let result = self.poll.read(now + self.pace.timeout).await;
        // What was read for another value, or by a request that had to wait, is as old as that.
        let began = result.as_ref().ok().and_then(P::began).unwrap_or(now);
        let earlier = time.checked_sub(now.saturating_duration_since(began));
        self.store(began, earlier.unwrap_or(time), result);
        self.progress.send_replace(());
    }

    /// Waits until the service may be read, or until nothing needs the read any more.
    async fn admit(&self) -> Option<Admission<P::Permit>> {
        let mut has_moved = false;
        loop {
            let owners = self.owners();
            let mut admission = pin!(self.poll.admit(&owners, self.is_urgent()));
            loop {
                tokio::select! {
                    admission = &mut admission => return Some(admission),
                    () = self.wake.notified() => {}
                }
                if self.is_left(&self.state()) {
                    return None;
                }
                if !has_moved && self.owners().iter().any(|owner| !owners.contains(owner)) {
                    // Waits again, because fewer reads may wait for the new owner; once, because each time
                    // it begins at the end of a line.
                    has_moved = true;
                    break;
                }
            }
        }
    }

    fn owners(&self) -> Vec<Namespace> {
        self.poll.owners(&self.state().notes, Instant::now())
    }

    /// Whether there is nothing to serve: neither a value that is not too old, nor an error. Readings
    /// that fail never delay those that do not.
    fn is_urgent(&self) -> bool {
        let (state, now) = (self.state(), Instant::now());
        state.outage.is_none() && state.good.as_ref().is_none_or(|good| !good.may_be_served(self.pace.max_age, now))
    }

    fn store(&self, began: Instant, timestamp: Timestamp, result: Result<P::Value, SourceError>) {
        let mut state = self.state();
        state.activity.served();
        match result {
            Ok(value) => {
                if let Some(outage) = state.outage.take() {
                    let source = self.poll.log_title();
                    tracing::info!(source, since = %outage.since(), "source is readable again");
                }
                state.last_read = Some(LastRead { began, retry_after: None });
                state.counts.succeed();
                self.poll.note(&mut state.notes, &value, began);
                let oldest = P::oldest(&value).map_or(began, |oldest| oldest.min(began));
                state.good = Some(Good { value, timestamp, began, oldest });
            }
            Err(error) => {
                let retry_after =
                    schedule::retry_after(&self.pace, began.elapsed(), error.retry_after, fastrand::f64());
                state.last_read = Some(LastRead { began, retry_after: Some(retry_after) });
                state.counts.fail(&error, timestamp);
                let title = self.poll.title();
                match &mut state.outage {
                    Some(outage) => {
                        if outage.go_on(title, &error, timestamp) {
                            log_change(self.poll.log_title(), &error);
                        }
                    }
                    None => {
                        state.outage = Some(Outage::begin(title, &error, timestamp));
                        log_failure(self.poll.log_title(), &error);
                    }
                }
            }
        }
    }
}

// === impl State ===

impl<P: Poll> State<P> {
    /// Whether a request has to wait for a read. `was_kept`: reads went on in the background before
    /// it. `grace`: what the value may be older than its pace says.
    fn lacks(&self, need: Need, was_kept: bool, grace: Duration, now: Instant, pace: &Pace) -> bool {
        if need == Need::Nothing {
            return false;
        }
        if self.outage.is_some() {
            // Background reads have tried a moment ago. Without them, this request must read.
            return !was_kept && self.last_read.is_none_or(|read| now >= read.next_allowed(pace));
        }
        let Some(good) = &self.good else { return true };
        let age = now - good.began;
        if need == Need::Newest {
            // An inherited value was not read in this way.
            return self.last_read.is_none() || age >= pace.refresh;
        }
        !good.may_be_served(pace.max_age, now) || age >= pace.max_age.min(pace.every + grace)
    }
}

impl<P: Poll> Default for State<P> {
    fn default() -> Self {
        Self {
            activity: Activity::default(),
            active: false,
            evicted: false,
            last_read: None,
            waited: Duration::ZERO,
            good: None,
            outage: None,
            counts: ReadCounts::default(),
            notes: P::Notes::default(),
        }
    }
}

#[cfg(test)]
mod tests;
