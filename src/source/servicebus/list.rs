//! A list of entities that many sources share: it is read at most once at a time, and what was read serves
//! every source for which it is new enough. So all queues of a namespace, or all subscriptions of a topic,
//! cost one request for each 99 of them.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::trouble;
use crate::azure::atom::Entity;
use crate::azure::path::{EntityName, FeedPath};
use crate::azure::{Client, PAGE_SIZE};
use crate::source::SourceError;

/// The most pages of a list: 10,000 entities, as many as a namespace can have.
const PAGES_MAX: usize = 102;

/// A list of entities.
pub(super) struct EntityList {
    client: Arc<Client>,
    feed: FeedPath,
    /// Locked while the list is read. A read that was aborted leaves none.
    last: Mutex<Option<Last>>,
}

/// What the last read brought. A failure is shared as well, because it costs as many requests.
struct Last {
    began: Instant,
    result: Result<Arc<Snapshot>, SourceError>,
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

// === impl EntityList ===

impl EntityList {
    /// A list that is not read yet.
    pub(super) fn new(client: Arc<Client>, feed: FeedPath) -> Self {
        Self { client, feed, last: Mutex::default() }
    }

    /// What was read after `since`, by this call or by another one.
    pub(super) async fn read(&self, since: Instant, by: Instant) -> Result<Arc<Snapshot>, SourceError> {
        let lock = tokio::time::timeout_at(by, self.last.lock()).await;
        let mut last = lock.map_err(|_| trouble::late(&self.feed))?;
        if let Some(last) = last.as_ref().filter(|last| last.began > since) {
            return last.result.clone();
        }
        *last = None;
        let (host, key) = self.client.next_request();
        let turn = self.client.upstream().admit(Some(&host), &key, &[], true);
        let turn = tokio::time::timeout_at(by, turn).await;
        let began = Instant::now();
        let listed = match turn {
            Ok(_admitted) => self.pages(by).await,
            Err(_) => Err(trouble::crowded(&self.feed)),
        };
        let result = listed.map(|entities| Arc::new(Snapshot { began, entities }));
        *last = Some(Last { began, result: result.clone() });
        result
    }

    /// All entities. A list that changes between two of its pages is read once more.
    async fn pages(&self, by: Instant) -> Result<HashMap<String, Entity>, SourceError> {
        for is_first in [true, false] {
            if let Some(entities) = self.unchanged(is_first, by).await? {
                return Ok(entities);
            }
        }
        Err(trouble::changed(&self.feed))
    }

    /// All entities, or `None` if the list changed while it was read. Each page begins with the last entity of
    /// the page before: when an entity is deleted, those behind it move, and one would be on no page.
    async fn unchanged(&self, is_first: bool, by: Instant) -> Result<Option<HashMap<String, Entity>>, SourceError> {
        let mut entities = HashMap::new();
        let mut last: Option<String> = None;
        for page in 0..PAGES_MAX {
            let read = self.client.page(&self.feed, page * (PAGE_SIZE - 1), is_first && page == 0, by).await;
            let read = read.map_err(|error| trouble::of_list(&self.client, &self.feed, &error))?;
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
        Err(trouble::too_long(&self.feed))
    }
}
