//! Lists queues or the subscriptions of a topic, of which an entry takes those that match.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::bus::Bus;
use super::list::EntityList;
use crate::azure::path::{EntityName, FeedPath};
use crate::metric::Labels;
use crate::source::{Identified, List, Listed, Listing, SourceError};

/// The entities of a list.
pub(super) struct EntityListing {
    pub(super) bus: Arc<Bus>,
    pub(super) feed: FeedPath,
    pub(super) list: Arc<EntityList>,
    pub(super) refuses_disabled: bool,
}

// === impl EntityListing ===

impl EntityListing {
    fn source(&self, name: EntityName) -> Identified {
        self.bus.source(self.feed.entity(name), Some(self.list.clone()), self.refuses_disabled)
    }

    async fn entities(&self, since: Instant, by: Instant) -> Result<List, SourceError> {
        let snapshot = self.list.get(since, by).await.map_err(SourceError::of_list)?;
        // A name that the service itself would not allow can't be requested.
        let listed = |name: &str| Some(Listed { name: name.to_owned(), source: self.source(name.parse().ok()?) });
        Ok(List { members: snapshot.names().filter_map(listed).collect(), began: snapshot.began })
    }
}

impl Listing for EntityListing {
    fn title(&self) -> &'static str {
        match self.feed {
            FeedPath::Queues => "queues of a namespace",
            FeedPath::Subscriptions(_) => "subscriptions of a topic",
        }
    }

    fn identity(&self) -> String {
        // Members of the list have this rule, so an entry without it may not share them.
        let rule = if self.refuses_disabled { "disabled: error " } else { "" };
        format!("{rule}{}{}", self.bus.identity, self.feed.folded())
    }

    fn labels(&self) -> Labels {
        match &self.feed {
            FeedPath::Queues => self.bus.labels(None),
            FeedPath::Subscriptions(topic) => self.bus.labels(Some(topic.as_str())),
        }
    }

    fn naming(&self) -> &'static str {
        match self.feed {
            FeedPath::Queues => "give it an entry of its own with `queue` and `name`",
            FeedPath::Subscriptions(_) => "give it an entry of its own with `topic`, `subscription` and `name`",
        }
    }

    fn again(&self, identity: &str) -> Option<Identified> {
        let path = identity.strip_prefix(&self.bus.identity)?;
        let name = match &self.feed {
            FeedPath::Queues => path,
            FeedPath::Subscriptions(_) => path.strip_prefix(&self.feed.folded().to_string())?,
        };
        Some(self.source(name.strip_prefix('/')?.parse().ok()?))
    }

    fn wait_turn(&self, since: Instant, patience: Duration) -> BoxFuture<'_, ()> {
        self.list.wait_turn(since, patience).boxed()
    }

    fn list(&self, since: Instant, by: Instant) -> BoxFuture<'_, Result<List, SourceError>> {
        self.entities(since, by).boxed()
    }
}
