//! A list of sources, kept fresh while it is requested.
//!
//! A list only records when it was last complete. The listed sources go to the registry, which owns them.
//! A read of a list ends when the registry has published them, so a request that waited for the list sees
//! its sources. A failing list removes no source. Each source in it is read by itself, and only a request
//! for a source that may be missing gets the list's error.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Timing;
use super::limits::MEMBERS_MAX;
use super::polled::{Admission, Need, Poll, Polled, Tasks};
use super::reading::before;
use super::readings::tail;
use super::schedule::{Pace, Requester};
use crate::metric::pattern::Pattern;
use crate::metric::selectable::may_become;
use crate::metric::{Clock, Labels, Namespace};
use crate::source::{ErrorKind, Identified, Kind, List, Listed, Listing, Operation, SourceError};

/// A list is read again after so many times `refresh`: by default every 30 s, two requests of an
/// HPA. It changes when people create queues. A request that names a new one does not wait for it:
/// then the list is read again after one `refresh` already.
const EVERY: u32 = 6;
/// What a listing may take to notice that its deadline has passed.
const OVERTIME: Duration = Duration::from_millis(250);

/// When the sources of a config entry were last listed.
pub(super) type SourceList = Polled<ListRead>;

/// Which list a report is of.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct ListId(pub(super) u64);

/// What a list has read, for the registry.
pub(super) struct Report {
    pub(super) list: ListId,
    /// Those that match the pattern.
    pub(super) listed: Vec<Listed>,
    /// To be sent, or dropped, when requests see what was listed.
    pub(super) applied: oneshot::Sender<()>,
}

/// How sources are listed.
pub(super) struct ListRead {
    pub(super) id: ListId,
    /// As it appears in an error message: `queues of a compartment matching "orders-*"`.
    title: String,
    /// The same with the end of the identity.
    log_title: String,
    kind: &'static Kind,
    /// The label of the names of its sources.
    pub(super) label: &'static str,
    /// See [`Listing::identity`].
    identity: String,
    /// See [`Listing::labels`].
    pub(super) labels: Labels,
    /// A list or source that was read `refresh` ago is not read again for this list.
    timing: Timing,
    pattern: Pattern,
    listing: Box<dyn Listing>,
    reports: mpsc::UnboundedSender<Report>,
}

// === impl ListRead ===

impl ListRead {
    pub(super) fn new(
        id: ListId,
        kind: &'static Kind,
        label: &'static str,
        pattern: &str,
        listing: Box<dyn Listing>,
        timing: Timing,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Self {
        let (title, log_title) = titles(&*listing, pattern);
        let (identity, labels, pattern) = (listing.identity(), listing.labels(), Pattern::new(pattern));
        Self { id, title, log_title, kind, label, identity, labels, timing, pattern, listing, reports }
    }

    /// Whether a source that a selector picks by this label value can be in the list.
    pub(super) fn may_list(&self, value: &str) -> bool {
        may_become(&self.pattern, value)
    }

    /// Whether a source of this true name is in the list.
    pub(super) fn lists(&self, true_name: &str) -> bool {
        self.pattern.matches(true_name)
    }

    /// See [`Listing::naming`].
    pub(super) fn naming(&self) -> &'static str {
        self.listing.naming()
    }

    /// See [`Listing::again`].
    pub(super) fn again(&self, identity: &str) -> Option<Identified> {
        self.listing.again(identity)
    }

    /// Whether both list the same, perhaps by different patterns.
    pub(super) fn lists_the_same(&self, other: &Self) -> bool {
        (self.kind.name, &self.identity) == (other.kind.name, &other.identity)
    }

    /// Whether both have the same pattern.
    pub(super) fn matches_the_same(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl Poll for ListRead {
    /// When it was listed.
    type Value = Instant;
    type Notes = ();
    type Permit = ();

    fn title(&self) -> &str {
        &self.title
    }

    fn log_title(&self) -> &str {
        &self.log_title
    }

    /// None, because its interval depends on the config and not on the requests of a namespace.
    fn owners(&self, (): &(), _: Instant) -> Vec<Namespace> {
        Vec::new()
    }

    async fn admit(&self, _: &[Namespace], _: bool) -> Admission<()> {
        // A listing itself waits for the turns of other requests.
        let began = Instant::now();
        self.listing.wait_turn(before(self.timing.refresh), self.timing.timeout).await;
        Admission { waited: began.elapsed(), permit: () }
    }

    fn is_saturated(&self, _: &[Namespace]) -> bool {
        false
    }

    async fn read(&self, by: Instant) -> Result<Instant, SourceError> {
        let List { members: listed, began } =
            list_sources(&*self.listing, &self.pattern, self.timing.refresh, by).await?;
        let (applied, published) = oneshot::channel();
        // Without a registry there is no request that could see the sources.
        if self.reports.send(Report { list: self.id, listed, applied }).is_ok() {
            drop(published.await);
        }
        Ok(began)
    }

    fn began(began: &Instant) -> Option<Instant> {
        Some(*began)
    }
}

// === impl SourceList ===

impl SourceList {
    pub(super) fn of(read: ListRead, timing: Timing, clock: Clock, tasks: Tasks) -> Arc<Self> {
        let Timing { refresh, timeout, max_age, idle_after } = timing;
        let every = refresh * EVERY;
        // A list that should have been read again longer than `maxAge` ago is no list, as a value of
        // that age is no value.
        Self::new(read, Pace { refresh, every, timeout, max_age: every + max_age, idle_after }, clock, tasks)
    }

    /// Waits until the list has been read, as far as a request needs it.
    pub(super) async fn wait(self: &Arc<Self>, by: Requester, need: Need) {
        if let Some(read) = self.request(by, need, Instant::now(), |()| {}) {
            read.wait().await;
        }
    }

    /// Whether the list is good enough for a request, or the error message that says why it is not.
    /// `Newest` is for a source that is not in the list: while the list fails, it may well exist.
    pub(super) fn check(&self, need: Need) -> Result<(), Arc<str>> {
        let (state, now) = (self.state(), Instant::now());
        match (&state.good, &state.outage) {
            (_, Some(outage)) if need == Need::Newest => Err(outage.message()),
            (Some(good), _) if good.may_be_served(self.pace.max_age, now) => Ok(()),
            (_, Some(outage)) => Err(outage.message()),
            (good, None) => {
                let what = match good {
                    None => "not listed yet",
                    Some(_) => "the last list is too old, and the next one is not read yet",
                };
                Err(format!("{}: {what}. If this stays, the log of depthgauge says why.", self.poll.title).into())
            }
        }
    }

    /// [`Self::outage`], with the end of the list's identity and the request that failed last.
    pub(super) fn error(&self) -> Option<String> {
        let (message, state) = (self.outage()?, self.state());
        let failure = state.counts.last_failure.as_deref();
        let request_id = failure.and_then(|failure| failure.request_id.as_ref());
        let request_id = request_id.map(|id| format!(", request id {id}")).unwrap_or_default();
        Some(format!("{message} (…{}{request_id})", tail(&self.poll.identity)))
    }
}

/// The sources of a list that match a pattern. It ends soon after the deadline at the latest.
pub(super) async fn list_sources(
    listing: &dyn Listing,
    pattern: &Pattern,
    refresh: Duration,
    by: Instant,
) -> Result<List, SourceError> {
    let trouble =
        |cause: String, remedy, detail| SourceError::new(Operation::List, ErrorKind::Transient, cause, remedy, detail);
    let listed = listing.list(before(refresh), by);
    // A listing keeps its deadline itself, and names the operation; this is for one that does not.
    let List { mut members, began } = tokio::time::timeout_at(by + OVERTIME, listed).await.map_err(|_| {
        let remedy = "Check the network path from depthgauge to the source.";
        trouble("timed out".to_owned(), remedy, "the listing went on after its deadline")
    })??;
    members.retain(|listed| pattern.matches(&listed.name));
    if members.len() > MEMBERS_MAX {
        let cause = format!("{} match, and the maximum is {MEMBERS_MAX}", members.len());
        return Err(trouble(cause, "Use a narrower `match`, or write an entry for each source that HPAs use.", ""));
    }
    Ok(List { members, began })
}

/// As the list appears in an error message, and as it appears in the log.
pub(super) fn titles(listing: &dyn Listing, pattern: &str) -> (String, String) {
    let title = listing.title();
    let title = if pattern == "*" { title.to_owned() } else { format!("{title} matching {pattern:?}") };
    let log_title = format!("{title} (…{})", tail(&listing.identity()));
    (title, log_title)
}
