//! A list of queues, which many sources share: all queues of a vhost cost one read.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::errors;
use super::page::{Incomplete, PAGE_SIZE, Page, Pages, Queue};
use super::snapshot::{LOST_MAX, Snapshot};
use crate::source::service::Service;
use crate::source::shared_read::{Shared, SharedRead, Turn};
use crate::source::{NextRequest, SourceError};

/// Counts, which each queue's own node is requested for. Those of classic queues are live. A queue without a
/// leader is missing: no running node has it as its own.
pub(super) const COUNTS: Query =
    Query { parameters: &[("disable_stats", "true"), ("enable_queue_totals", "true")], key: "counts", is_whole: false };

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
    is_whole: true,
};

/// The names of all queues.
const NAMES: Query =
    Query { parameters: &[("disable_stats", "true"), ("columns", "name,vhost")], key: "names", is_whole: true };

/// How long the list of names may take. Sources of queues that are listed wait for it, too.
const NAMES_TIMEOUT: Duration = Duration::from_secs(2);

/// Which list it is.
#[derive(Clone, Copy)]
pub(super) struct Query {
    /// Besides the page.
    parameters: &'static [(&'static str, &'static str)],
    /// Requests of one list may fail while those of the others do not.
    key: &'static str,
    /// Whether a queue that is missing is gone.
    is_whole: bool,
}

/// A list of queues, and what is known of it.
pub(super) type QueueList = Shared<ListRead>;

/// How a list of queues is read.
pub(super) struct ListRead {
    service: Service,
    path: String,
    query: Query,
    /// When a source requested each queue last. A queue that nothing requests may come and go.
    requested: Mutex<HashMap<(String, String), Instant>>,
}

// === impl ListRead ===

impl SharedRead for ListRead {
    type Value = Snapshot;

    fn next_request(&self) -> NextRequest<'_> {
        self.service.next_request(&self.path, self.query.key)
    }

    async fn read(&self, turn: Turn<Snapshot>) -> Result<Snapshot, SourceError> {
        let Turn { wanted, began, by, before, is_next, refresh } = turn;
        let before = before.as_deref();
        let queues = self.list(self.query, true, by).await?;
        let unbroken = before.filter(|before| is_next && before.is_continued(wanted, refresh));
        let mut snapshot = Snapshot::new(queues, began, Instant::now(), unbroken);
        let missing = match self.query.is_whole {
            true => Vec::new(),
            false => snapshot.missing(before, self.requested.lock().keys()),
        };
        if !missing.is_empty() {
            let now = Instant::now();
            let half = by.saturating_duration_since(now) / 2;
            let names = self.list(NAMES, false, now + half.min(NAMES_TIMEOUT)).await;
            snapshot.keep(missing, names.ok().as_deref());
        }
        Ok(snapshot)
    }

    fn late(&self) -> SourceError {
        errors::late(&self.path)
    }
}

impl ListRead {
    pub(super) fn new(service: Service, path: String, query: Query) -> Self {
        Self { service, path, query, requested: Mutex::default() }
    }

    /// Notes that a source requests a queue.
    pub(super) fn request(&self, vhost: &str, name: &str) {
        let (now, mut requested) = (Instant::now(), self.requested.lock());
        requested.retain(|_, last| now - *last <= LOST_MAX);
        requested.insert((vhost.to_owned(), name.to_owned()), now);
    }

    /// Reads a list, and once more if it changes meanwhile. `admitted`: its first page has waited for its turn.
    async fn list(&self, query: Query, admitted: bool, by: Instant) -> Result<Vec<Queue>, SourceError> {
        let mut listed = self.pages(query, admitted, by).await?;
        if listed.as_ref().err() == Some(&Incomplete::Changed) {
            listed = self.pages(query, false, by).await?;
        }
        listed.map_err(|incomplete| errors::incomplete(&self.path, incomplete))
    }

    /// Reads all pages.
    async fn pages(
        &self,
        query: Query,
        admitted: bool,
        by: Instant,
    ) -> Result<Result<Vec<Queue>, Incomplete>, SourceError> {
        let mut pages = Pages::default();
        loop {
            let number = match pages.next() {
                Ok(Some(number)) => number,
                Ok(None) => return Ok(pages.finish()),
                Err(incomplete) => return Ok(Err(incomplete)),
            };
            match self.page(query, number, admitted && number == 1, by).await? {
                Some(page) => pages.add(page),
                None => return Ok(Err(Incomplete::Changed)),
            }
        }
    }

    /// Reads a page. `None` if there is none of that number, although there was one when the first page was
    /// read.
    async fn page(
        &self,
        Query { parameters, key, .. }: Query,
        number: u32,
        admitted: bool,
        by: Instant,
    ) -> Result<Option<Page>, SourceError> {
        let is_first = number == 1;
        let (number, size) = (number.to_string(), PAGE_SIZE.to_string());
        let page = [("page", &*number), ("page_size", &*size)];
        let query: Vec<(&str, &str)> = page.into_iter().chain(parameters.iter().copied()).collect();
        let response = match admitted {
            true => self.service.get(&self.path, key, &query, by).await,
            false => self.service.get_more(&self.path, key, &query, by).await,
        };
        let response = match response {
            Err(failure) if !is_first && errors::is_out_of_range(&failure) => return Ok(None),
            response => response.map_err(|failure| errors::of_request(&self.path, &failure))?,
        };
        serde_json::from_slice(&response.body).map(Some).map_err(|error| errors::no_page(&self.path, &error))
    }
}
