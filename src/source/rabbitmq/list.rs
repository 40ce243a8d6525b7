//! A list of queues that many sources share: it is read at most once at a time, and what was read serves
//! every source for which it is new enough. So all queues of a vhost cost one read.
//!
//! A read belongs to no source: it goes on when the source that began it gives up, and its deadline is the
//! longest of all sources.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::page::{Incomplete, PAGE_SIZE, Page, Pages, Queue};
use super::snapshot::Snapshot;
use super::trouble;
use crate::source::service::Service;
use crate::source::{NextRequest, SourceError};

/// Counts, which each queue's own node is requested for. Those of classic queues are live.
pub(super) const COUNTS: Query =
    Query { parameters: &[("disable_stats", "true"), ("enable_queue_totals", "true")], key: "counts" };

/// Averages over a minute of samples that are 5 s apart. The rate between two samples is at times far off.
pub(super) const RATES: Query = Query {
    parameters: &[
        (
            "columns",
            "name,vhost,state,message_stats.publish_details.avg_rate,message_stats.deliver_get_details.avg_rate",
        ),
        ("msg_rates_age", "60"),
        ("msg_rates_incr", "5"),
    ],
    key: "rates",
};

/// Which list it is.
#[derive(Clone, Copy)]
pub(super) struct Query {
    /// Besides the page.
    parameters: &'static [(&'static str, &'static str)],
    /// Requests of one list may fail while those of the other do not.
    key: &'static str,
}

/// A list of queues.
pub(super) struct QueueList {
    service: Service,
    path: String,
    query: Query,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Option<Last>,
    good: Option<Arc<Snapshot>>,
    /// The longest time that a source waits for a read.
    patience: Duration,
    /// Closed at the end of the read that is under way.
    under_way: Option<watch::Receiver<()>>,
}

/// What the last read brought. A failure is shared as well, because it costs as many requests.
struct Last {
    began: Instant,
    /// How long it was allowed to take.
    patience: Duration,
    result: Result<Arc<Snapshot>, SourceError>,
}

// === impl QueueList ===

impl QueueList {
    /// A list that is not read yet.
    pub(super) fn new(service: Service, path: String, query: Query) -> Self {
        Self { service, path, query, state: Mutex::default() }
    }

    /// The first request of a read.
    pub(super) fn next_request(&self) -> NextRequest<'_> {
        self.service.next_request(&self.path, self.query.key)
    }

    /// What was read after `since`, for this source or for another one.
    pub(super) async fn read(self: &Arc<Self>, since: Instant, by: Instant) -> Result<Arc<Snapshot>, SourceError> {
        let now = Instant::now();
        let (patience, refresh) = (in_seconds(by - now), now - since);
        loop {
            let mut end = {
                let mut state = self.state.lock();
                state.patience = state.patience.max(patience);
                if let Some(last) = state.last.as_ref().filter(|last| last.serves(since, patience)) {
                    return last.result.clone();
                }
                let under_way = state.under_way.take().filter(|read| read.has_changed().is_ok());
                let under_way = under_way.unwrap_or_else(|| self.begin(refresh, state.patience));
                state.under_way.insert(under_way).clone()
            };
            // It is closed without a change.
            let ended = tokio::time::timeout_at(by, end.changed()).await;
            drop(ended.map_err(|_| trouble::late(&self.path))?);
        }
    }

    /// Begins a read. Returns what is closed at its end.
    fn begin(self: &Arc<Self>, refresh: Duration, patience: Duration) -> watch::Receiver<()> {
        let (end, under_way) = watch::channel(());
        let list = self.clone();
        tokio::spawn(async move {
            list.read_now(refresh, patience).await;
            drop(end);
        });
        under_way
    }

    async fn read_now(&self, refresh: Duration, patience: Duration) {
        let by = Instant::now() + patience;
        let next = self.next_request();
        let turn = next.upstream.admit(next.host.as_deref(), &next.key, &[], true);
        let turn = tokio::time::timeout_at(by, turn).await;
        let began = Instant::now();
        let listed = match turn {
            Ok(_admitted) => self.list(by).await,
            Err(_) => Err(trouble::crowded(&self.path)),
        };
        // Nothing else changes these two.
        let (before, is_next) = {
            let state = self.state.lock();
            (state.good.clone(), state.last.as_ref().is_some_and(|last| last.result.is_ok()))
        };
        let result = listed.map(|queues| Arc::new(Snapshot::new(queues, began, before.as_deref(), is_next, refresh)));
        let mut state = self.state.lock();
        if let Ok(snapshot) = &result {
            state.good = Some(snapshot.clone());
        }
        state.last = Some(Last { began, patience, result });
    }

    /// Reads the list, and once more if it changes meanwhile.
    async fn list(&self, by: Instant) -> Result<Vec<Queue>, SourceError> {
        let mut listed = self.pages(true, by).await?;
        if listed.as_ref().err() == Some(&Incomplete::Changed) {
            listed = self.pages(false, by).await?;
        }
        listed.map_err(|incomplete| trouble::incomplete(&self.path, incomplete))
    }

    /// Reads all pages. `admitted`: the first one has waited for its turn.
    async fn pages(&self, admitted: bool, by: Instant) -> Result<Result<Vec<Queue>, Incomplete>, SourceError> {
        let mut pages = Pages::default();
        loop {
            let number = match pages.next() {
                Ok(Some(number)) => number,
                Ok(None) => return Ok(pages.finish()),
                Err(incomplete) => return Ok(Err(incomplete)),
            };
            match self.page(number, admitted && number == 1, by).await? {
                Some(page) => pages.add(page),
                None => return Ok(Err(Incomplete::Changed)),
            }
        }
    }

    /// Reads a page. `None` if there is none of that number, although there was one when the first page was
    /// read.
    async fn page(&self, number: u32, admitted: bool, by: Instant) -> Result<Option<Page>, SourceError> {
        let is_first = number == 1;
        let (number, size) = (number.to_string(), PAGE_SIZE.to_string());
        let page = [("page", &*number), ("page_size", &*size)];
        let query: Vec<(&str, &str)> = page.into_iter().chain(self.query.parameters.iter().copied()).collect();
        let response = match admitted {
            true => self.service.get(&self.path, self.query.key, &query, by).await,
            false => self.service.get_more(&self.path, self.query.key, &query, by).await,
        };
        let response = match response {
            Err(failure) if !is_first && trouble::is_out_of_range(&failure) => return Ok(None),
            response => response.map_err(|failure| trouble::of_request(&self.path, &failure))?,
        };
        serde_json::from_slice(&response.body).map(Some).map_err(|error| trouble::no_page(&self.path, &error))
    }
}

// === impl Last ===

impl Last {
    /// Whether it serves a source that wants a read after `since` and waits so long for it. A read that had
    /// less time may have failed because of that.
    fn serves(&self, since: Instant, patience: Duration) -> bool {
        self.began >= since && (self.result.is_ok() || patience <= self.patience)
    }
}

/// Whole seconds, rounded up: sources with the same `timeout` wait for the same time.
fn in_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}
