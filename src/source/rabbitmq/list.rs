//! A list of queues that many sources share: it is read at most once at a time, and what was read serves
//! every source for which it is new enough. So all queues of a vhost cost one read.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::page::{Incomplete, PAGE_SIZE, Page, Pages, Queue};
use super::snapshot::Snapshot;
use super::trouble;
use crate::source::service::Service;
use crate::source::{NextRequest, SourceError};

/// Counts, which each queue's own node is requested for. Those of classic queues are live.
pub(super) const COUNTS: Query = &[("disable_stats", "true"), ("enable_queue_totals", "true")];

/// Averages over a minute of samples that are 5 s apart. The rate between two samples is at times far off.
pub(super) const RATES: Query = &[
    ("columns", "name,vhost,state,message_stats.publish_details.avg_rate,message_stats.deliver_get_details.avg_rate"),
    ("msg_rates_age", "60"),
    ("msg_rates_incr", "5"),
];

/// The parameters of a list, besides the page.
pub(super) type Query = &'static [(&'static str, &'static str)];

/// A list of queues.
pub(super) struct QueueList {
    service: Service,
    path: String,
    query: Query,
    /// Locked while the list is read.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// A read that was aborted leaves none.
    last: Option<Last>,
    good: Option<Arc<Snapshot>>,
}

/// What the last read brought. A failure is shared as well, because it costs as many requests.
struct Last {
    began: Instant,
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
        self.service.next_request(&self.path)
    }

    /// What was read after `since`, by this call or by another one.
    pub(super) async fn read(&self, since: Instant, by: Instant) -> Result<Arc<Snapshot>, SourceError> {
        let lock = tokio::time::timeout_at(by, self.state.lock()).await;
        let mut state = lock.map_err(|_| trouble::late(&self.path))?;
        if let Some(last) = state.last.as_ref().filter(|last| last.began > since) {
            return last.result.clone();
        }
        let is_next = state.last.take().is_some_and(|last| last.result.is_ok());
        let next = self.next_request();
        let turn = next.upstream.admit(next.host.as_deref(), &next.key, &[], true);
        let turn = tokio::time::timeout_at(by, turn).await;
        let began = Instant::now();
        let listed = match turn {
            Ok(_admitted) => self.list(by).await,
            Err(_) => Err(trouble::crowded(&self.path)),
        };
        let result = listed.map(|queues| Arc::new(Snapshot::new(queues, began, state.good.as_deref(), is_next)));
        if let Ok(snapshot) = &result {
            state.good = Some(snapshot.clone());
        }
        state.last = Some(Last { began, result: result.clone() });
        result
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
            match pages.next() {
                Ok(Some(number)) => pages.add(self.page(number, admitted && number == 1, by).await?),
                Ok(None) => return Ok(pages.finish()),
                Err(incomplete) => return Ok(Err(incomplete)),
            }
        }
    }

    async fn page(&self, number: u32, admitted: bool, by: Instant) -> Result<Page, SourceError> {
        let (number, size) = (number.to_string(), PAGE_SIZE.to_string());
        let page = [("page", &*number), ("page_size", &*size)];
        let query: Vec<(&str, &str)> = page.into_iter().chain(self.query.iter().copied()).collect();
        let response = match admitted {
            true => self.service.get(&self.path, &query, by).await,
            false => self.service.get_more(&self.path, &query, by).await,
        };
        let response = response.map_err(|failure| trouble::of_request(&self.path, &failure))?;
        serde_json::from_slice(&response.body).map_err(|error| trouble::no_page(&self.path, &error))
    }
}
