//! The list of the sources of one entry of the config: who asks, what is known, and how old it
//! may be. Nobody asks, and nothing is listed.
//!
//! As with values, asking takes a short lock and no I/O as long as the list is fresh; the list
//! is made again in the background. A failing list takes nothing away: each source in it has a
//! truth of its own, and only a question for something that may be missing is answered with the
//! failure.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::cells::{Cells, Known, tail};
use super::outage::{self, Outage, Tally};
use super::reader::{Single, log_failure};
use super::roster::Roster;
use super::schedule::{self, Asks, LastRead, Next};
use super::{Binding, Timing, title};
use crate::metric::Clock;
use crate::metric::pattern::Pattern;
use crate::source::{Identified, Kind, Listed, Listing, Opened, SourceError, Step, Verdict};

/// A list is made again after so many times `refresh`: by default every 30 s, two asks of an
/// HPA. It changes when people make queues, and whoever asks for a new one by name does not wait
/// for it: then it is made again after one `refresh` already.
const EVERY: u32 = 6;
/// As for values: what a fresh list may be older than that, and how much longer than the list's
/// own deadline somebody waits for it.
const GRACE: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_millis(500);

/// What is listed, and what is known of it.
pub(super) struct Roll {
    /// As it reads in a sentence: `queues of a compartment matching "orders-*"`.
    title: String,
    /// The same with the end of what it is, for the log.
    log_title: String,
    kind: &'static dyn Kind,
    /// See [`Listing::identity`].
    identity: String,
    pattern: Pattern,
    listing: Box<dyn Listing>,
    timing: Timing,
    clock: Clock,
    roster: Weak<Roster>,
    demand: Notify,
    progress: watch::Sender<()>,
    state: Mutex<State>,
    call: mpsc::UnboundedSender<Arc<Roll>>,
}

/// One of the list.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) identity: String,
    pub(super) name: String,
    pub(super) cells: Arc<Cells>,
}

#[derive(Default)]
struct State {
    asks: Asks,
    active: bool,
    last_read: Option<LastRead>,
    /// When the last good list was begun.
    good: Option<Instant>,
    outage: Option<Outage>,
    tally: Tally,
    members: Arc<Vec<Member>>,
    /// What was known before there was this list, until it is made.
    before: Arc<Known>,
}

// === impl Roll ===

impl Roll {
    pub(super) fn new(
        kind: &'static dyn Kind,
        pattern: &str,
        listing: Box<dyn Listing>,
        timing: Timing,
        clock: Clock,
        roster: Weak<Roster>,
        call: mpsc::UnboundedSender<Arc<Self>>,
    ) -> Arc<Self> {
        let (title, pattern) = (roll_title(&*listing, pattern), Pattern::new(pattern));
        let identity = listing.identity();
        let log_title = log_title(&title, &identity);
        let (demand, progress, state) = (Notify::new(), watch::Sender::new(()), Mutex::default());
        Arc::new(Self {
            title,
            log_title,
            kind,
            identity,
            pattern,
            listing,
            timing,
            clock,
            roster,
            demand,
            progress,
            state,
            call,
        })
    }

    /// Takes the place of these: what the same was listed is told of until it is listed in this one's
    /// way, and what is known of a source of whatever name is kept when that is listed.
    pub(super) fn succeed<'r>(&self, roster: &Roster, rolls: impl Iterator<Item = &'r Self>, known: &Arc<Known>) {
        let mut members = BTreeMap::new();
        let mut state = self.state();
        for roll in rolls.filter(|roll| (roll.kind.name(), &roll.identity) == (self.kind.name(), &self.identity)) {
            if roll.pattern == self.pattern {
                state.good = state.good.max(roll.state().good);
            }
            for Member { identity, name, .. } in roll.members().iter().filter(|member| self.may_list(&member.name)) {
                let Some(Identified { source, .. }) = self.listing.again(identity) else { continue };
                let cells = roster.cells(self.kind, name, identity, self.timing, source);
                cells.inherit(known);
                members.insert(identity.clone(), Member { identity: identity.clone(), name: name.clone(), cells });
            }
        }
        state.members = Arc::new(members.into_values().collect());
        state.before = known.clone();
    }

    /// Has its members know what is known of the same sources under other names, which may go.
    pub(super) fn inherit(&self, known: &Known) {
        for member in self.members().iter() {
            member.cells.inherit(known);
        }
    }

    /// Whether a source of this name would be in the list.
    pub(super) fn may_list(&self, name: &str) -> bool {
        self.pattern.matches(name)
    }

    /// See [`Listing::naming`].
    pub(super) fn naming(&self) -> &'static str {
        self.listing.naming()
    }

    /// What was listed last.
    pub(super) fn members(&self) -> Arc<Vec<Member>> {
        self.state().members.clone()
    }

    /// Somebody asks for what is in the list: it is kept.
    pub(super) fn note(self: &Arc<Self>) {
        self.record(&mut self.state(), Instant::now());
    }

    /// Sees to it that there is a list: at once when memory has it, else after the one that is
    /// being made. With `missing`, somebody asks for what is not in it.
    pub(super) async fn ask(self: &Arc<Self>, missing: bool) {
        // Before the look into memory, so that a list that ends in between is not missed.
        let mut progress = self.progress.subscribe();
        if self.must_wait(Instant::now(), missing) {
            // Elapsed or not, what is known then is the answer.
            let _ = tokio::time::timeout(self.timing.timeout + SLACK, progress.changed()).await;
        }
    }

    /// Whether the list is good enough for a question, or the sentence that says why it is not.
    /// One that should have been made again longer than `maxAge` ago is no list, as a value of
    /// that age is no value; and what is missing while it fails may well be there.
    pub(super) fn known(&self, missing: bool) -> Result<(), Arc<str>> {
        let (state, now) = (self.state(), Instant::now());
        match (state.good, &state.outage) {
            (_, Some(outage)) if missing => Err(outage.sentence()),
            (Some(good), _) if now - good <= self.every() + self.timing.max_age => Ok(()),
            (_, Some(outage)) => Err(outage.sentence()),
            (_, None) => {
                Err(format!("{}: not listed yet. If this stays, the log of depthgauge says why.", self.title).into())
            }
        }
    }

    /// What is told of it while it fails, and somebody asks.
    pub(super) fn outage(&self) -> Option<Arc<str>> {
        let state = self.state();
        state.outage.as_ref().filter(|_| state.active).map(Outage::sentence)
    }

    /// The same for those who want to look: with the end of what it is, and the request that failed last.
    pub(super) fn trouble(&self) -> Option<String> {
        let (sentence, state) = (self.outage()?, self.state());
        let failure = state.tally.last_failure.as_deref();
        let request_id = failure.and_then(|failure| failure.request_id.as_ref());
        let request_id = request_id.map(|id| format!(", request id {id}")).unwrap_or_default();
        Some(format!("{sentence} (…{}{request_id})", tail(&self.identity)))
    }

    /// Begins or ends a standing order, as [`Cells::stand`].
    pub(super) fn stand(self: &Arc<Self>, standing: bool) {
        let mut state = self.state();
        if !state.asks.stand(standing) {
            return;
        }
        if standing && !state.active {
            state.active = self.call.send(self.clone()).is_ok();
        }
        self.demand.notify_one();
    }

    /// Nobody can ask for it any more, nor for what is in it.
    pub(super) fn rest(&self) {
        self.state().asks = Asks::default();
        self.demand.notify_one();
    }

    /// Makes the list again and again, for as long as somebody asks.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            match self.plan(Instant::now()) {
                Next::Now => self.make().await,
                Next::At(then) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(then) => {}
                        () = self.demand.notified() => {
                            if self.is_due_on_demand(Instant::now()) {
                                self.make().await;
                            }
                        }
                    }
                }
                Next::Idle => return,
            }
        }
    }

    fn record(self: &Arc<Self>, state: &mut State, now: Instant) {
        state.asks.record(now);
        if !state.active {
            // A closed channel means that the process is stopping.
            state.active = self.call.send(self.clone()).is_ok();
        }
    }

    fn must_wait(self: &Arc<Self>, now: Instant, missing: bool) -> bool {
        let mut state = self.state();
        let was_active = state.active;
        self.record(&mut state, now);
        let wait = match (state.good, &state.outage) {
            (Some(good), None) => {
                let age = now - good;
                // One that is taken over was not made in this way.
                let rested = age >= self.timing.refresh || state.last_read.is_none();
                age > self.every() + GRACE || (missing && rested)
            }
            (None, None) => true,
            // Known to be failing, as of a moment ago, unless nobody has looked since.
            (_, Some(_)) => !was_active,
        };
        if wait {
            self.demand.notify_one();
        }
        wait
    }

    fn plan(&self, now: Instant) -> Next {
        let mut state = self.state();
        let timing = Timing { refresh: self.every(), ..self.timing };
        let next = schedule::next(now, &state.asks, state.last_read, &timing, || false);
        state.active = next != Next::Idle;
        next
    }

    fn is_due_on_demand(&self, now: Instant) -> bool {
        let state = self.state();
        let rested = state.last_read.is_none_or(|read| now - read.began >= self.timing.refresh);
        rested && state.outage.is_none() && state.asks.any()
    }

    async fn make(&self) {
        let (began, timestamp) = (Instant::now(), (self.clock)());
        match list_by(&*self.listing, began + self.timing.timeout).await {
            Ok(listed) => self.store(began, listed),
            Err(error) => {
                let mut state = self.state();
                // The rhythm of a source that fails, not that of a list that is well.
                let retry_after =
                    Some(schedule::retry_after(&self.timing, began.elapsed(), error.retry_after, fastrand::f64()));
                state.last_read = Some(LastRead { began, retry_after });
                state.tally.fail(&error, timestamp);
                let news = match &mut state.outage {
                    Some(outage) => outage.go_on(&self.title, &error, timestamp),
                    None => {
                        state.outage = Some(Outage::begin(&self.title, &error, timestamp));
                        true
                    }
                };
                if news {
                    log_failure(&self.log_title, &error);
                }
            }
        }
        self.progress.send_replace(());
    }

    fn store(&self, began: Instant, listed: Vec<Listed>) {
        // Without a catalog nobody asks any more.
        let Some(roster) = self.roster.upgrade() else { return };
        let (known, before) = {
            let state = self.state();
            (state.members.clone(), state.before.clone())
        };
        let members = self.enrolled(&roster, &known, &before, listed);
        let same = |(a, b): (&Member, &Member)| (&a.identity, &a.name) == (&b.identity, &b.name);
        let changed = members.len() != known.len() || !members.iter().zip(known.iter()).all(same);
        {
            let mut state = self.state();
            if let Some(outage) = state.outage.take() {
                tracing::info!(source = self.log_title, since = %outage.since(), "listed again after an outage");
            }
            state.last_read = Some(LastRead { began, retry_after: None });
            state.good = Some(began);
            state.members = Arc::new(members);
            state.before = Arc::default();
        }
        if changed || !before.is_empty() {
            roster.relisted();
        }
    }

    /// What is listed and fits, sorted by identity; those that were known keep what is known of
    /// them. A list whose pages move while it is read may name a source twice.
    fn enrolled(&self, roster: &Roster, known: &[Member], before: &Known, listed: Vec<Listed>) -> Vec<Member> {
        let known: BTreeMap<_, _> = known.iter().map(|member| ((&member.identity, &member.name), member)).collect();
        let mut members = BTreeMap::new();
        for Listed { name, source } in listed.into_iter().filter(|listed| self.may_list(&listed.name)) {
            let identity = source.identity.clone();
            let known = known.get(&(&identity, &name));
            let member = match known.filter(|_| !before.contains_key(&*identity)) {
                Some(member) => (*member).clone(),
                None => {
                    let cells = roster.cells(self.kind, &name, &identity, self.timing, source.source);
                    cells.inherit(before);
                    if let Some(member) = known {
                        cells.take_over(&member.cells);
                    }
                    Member { identity: identity.clone(), name, cells }
                }
            };
            members.insert(identity, member);
        }
        members.into_values().collect()
    }

    fn every(&self) -> Duration {
        self.timing.refresh * EVERY
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a plain assignment: a panic cannot leave it half made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sources of an entry of the config, each to be read by itself: the one that it names, or
/// those that are listed now. The error is as of [`read_once`](super::read_once).
pub async fn list_once(binding: Binding, clock: Clock) -> Result<Vec<Single>, String> {
    let Binding { name, kind, timing, source, .. } = binding;
    let single = |name: &str, Identified { source, .. }| Single { title: title(kind, name), kind, timing, source };
    let listing = match source {
        Opened::One(source) => return Ok(vec![single(&name, source)]),
        Opened::Many(listing) => listing,
    };
    let timestamp = clock();
    let listed = list_by(&*listing, Instant::now() + timing.timeout).await.map_err(|error| {
        let title = roll_title(&*listing, &name);
        log_failure(&log_title(&title, &listing.identity()), &error);
        outage::told_once(&title, &error, timestamp)
    })?;
    let pattern = Pattern::new(name);
    let fitting = listed.into_iter().filter(|listed| pattern.matches(&listed.name));
    Ok(fitting.map(|Listed { name, source }| single(&name, source)).collect())
}

async fn list_by(listing: &dyn Listing, by: Instant) -> Result<Vec<Listed>, SourceError> {
    // A listing keeps its deadline itself, and knows the step; this is for one that does not.
    tokio::time::timeout_at(by + SLACK / 2, listing.list(by)).await.unwrap_or_else(|_| {
        Err(SourceError::new(
            Step::List,
            Verdict::Trouble,
            "timed out",
            "Check the way from this pod to the source.",
            "the listing went on after its deadline",
        ))
    })
}

fn roll_title(listing: &dyn Listing, pattern: &str) -> String {
    let title = listing.title();
    if pattern == "*" { title.to_owned() } else { format!("{title} matching {pattern:?}") }
}

fn log_title(title: &str, identity: &str) -> String {
    format!("{title} (…{})", tail(identity))
}
