//! A list of entities, which many sources share: all queues of a namespace, or all subscriptions of a topic,
//! cost one request for each 99 of them.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::errors;
use crate::azure::atom::Entity;
use crate::azure::path::{EntityName, FeedPath};
use crate::azure::{Client, PAGE_SIZE};
use crate::source::shared_read::{Shared, SharedRead, Turn};
use crate::source::{NextRequest, SourceError};

/// The most pages of a list: 10,000 entities, as many as a namespace can have.
const PAGES_MAX: usize = 102;

/// A list of entities, and what is known of it.
pub(super) type EntityList = Shared<ListRead>;

/// How a list of entities is read.
pub(super) struct ListRead {
    pub(super) client: Arc<Client>,
    pub(super) feed: FeedPath,
}

/// The entities of one read.
pub(super) struct Snapshot {
    /// When the read began.
    pub(super) began: Instant,
    /// By name in small letters.
    entities: HashMap<String, Entity>,
}

// === impl Snapshot ===

impl Snapshot {
    /// An entity, if it is listed.
    pub(super) fn entity(&self, name: &EntityName) -> Option<&Entity> {
        self.entities.get(name.folded().as_str())
    }

    /// The names of all entities.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entities.values().map(|entity| entity.name.as_str())
    }
}

// === impl ListRead ===

impl SharedRead for ListRead {
    type Value = Snapshot;

    fn next_request(&self) -> NextRequest<'_> {
        next_request(&self.client)
    }

    async fn read(&self, turn: Turn<Snapshot>) -> Result<Snapshot, SourceError> {
        Ok(Snapshot { began: turn.began, entities: self.pages(turn.by).await? })
    }

    fn late(&self) -> SourceError {
        errors::late(&self.feed)
    }
}

impl ListRead {
    /// All entities. A list that changes between two of its pages is read once more.
    async fn pages(&self, by: Instant) -> Result<HashMap<String, Entity>, SourceError> {
        for is_first in [true, false] {
            if let Some(entities) = self.unchanged(is_first, by).await? {
                return Ok(entities);
            }
        }
        Err(errors::changed(&self.feed))
    }

    /// All entities, or `None` if the list changed while it was read. Each page begins with the last entity of
    /// the page before: when an entity is deleted, those behind it move, and one would be on no page.
    async fn unchanged(&self, is_first: bool, by: Instant) -> Result<Option<HashMap<String, Entity>>, SourceError> {
        let mut entities = HashMap::new();
        let mut last: Option<String> = None;
        for page in 0..PAGES_MAX {
            let read = self.client.page(&self.feed, page * (PAGE_SIZE - 1), is_first && page == 0, by).await;
            let read = read.map_err(|error| errors::of_list(&self.client, &self.feed, &error))?;
            if last.is_some() && read.first().map(|entity| &entity.name) != last.as_ref() {
                return Ok(None);
            }
            last = read.last().map(|entity| entity.name.clone());
            let is_last = read.len() < PAGE_SIZE;
            entities.extend(read.into_iter().map(|entity| (entity.name.to_ascii_lowercase(), entity)));
            if is_last {
                return Ok(Some(entities));
            }
        }
        Err(errors::too_long(&self.feed))
    }
}

/// The next request to a namespace.
pub(super) fn next_request(client: &Client) -> NextRequest<'_> {
    let (host, key) = client.next_request();
    NextRequest { upstream: client.upstream(), host: Some(host), key }
}
