//! A list of queues, which many sources share: all queues of a vhost cost one read.

use tokio::time::Instant;

use super::page::{Incomplete, PAGE_SIZE, Page, Pages, Queue};
use super::snapshot::Snapshot;
use super::trouble;
use crate::source::service::Service;
use crate::source::shared_read::{Shared, SharedRead, Turn};
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

/// A list of queues, and what is known of it.
pub(super) type QueueList = Shared<ListRead>;

/// How a list of queues is read.
pub(super) struct ListRead {
    pub(super) service: Service,
    pub(super) path: String,
    pub(super) query: Query,
}

// === impl ListRead ===

impl SharedRead for ListRead {
    type Value = Snapshot;

    fn next_request(&self) -> NextRequest<'_> {
        self.service.next_request(&self.path, self.query.key)
    }

    async fn read(&self, turn: Turn<Snapshot>) -> Result<Snapshot, SourceError> {
        let queues = self.list(turn.by).await?;
        Ok(Snapshot::new(queues, turn.began, turn.before.as_deref(), turn.is_next, turn.refresh))
    }

    async fn late(&self) -> SourceError {
        trouble::late(&self.path)
    }
}

impl ListRead {
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
