//! What all sources of a connection share.

use std::sync::Arc;

use parking_lot::Mutex;

use super::list::{EntityList, ListRead};
use super::{CONNECTION, EntitySource, TOPIC};
use crate::azure::Client;
use crate::azure::path::{EntityPath, FeedPath};
use crate::metric::Labels;
use crate::metric::selectable::selectable;
use crate::source::Identified;
use crate::source::in_use::InUse;

/// A namespace as one connection reads it.
pub(super) struct Bus {
    /// The name of the connection.
    pub(super) name: String,
    pub(super) client: Arc<Client>,
    /// What distinguishes it from other connections, without secrets.
    pub(super) identity: String,
    /// The lists in use.
    pub(super) lists: InUse<FeedPath, EntityList>,
}

// === impl Bus ===

impl Bus {
    /// An entity, which is read by itself or by a list.
    pub(super) fn source(
        self: &Arc<Self>,
        path: EntityPath,
        list: Option<Arc<EntityList>>,
        refuses_disabled: bool,
    ) -> Identified {
        let topic = match &path {
            EntityPath::Queue(_) => None,
            EntityPath::Subscription(topic, _) => Some(topic),
        };
        let labels = self.labels(topic.map(|topic| topic.as_str()));
        let identity = format!("{}{}", self.identity, path.folded());
        let (bus, held) = (self.clone(), Mutex::default());
        Identified { identity, source: Box::new(EntitySource { bus, path, labels, list, refuses_disabled, held }) }
    }

    /// The labels of queues, or of the subscriptions of a topic.
    pub(super) fn labels(&self, topic: Option<&str>) -> Labels {
        let labels: Labels = [(CONNECTION, &*self.name)].into_iter().collect();
        match topic {
            Some(topic) => labels.with(TOPIC, &selectable(topic)),
            None => labels,
        }
    }

    /// A list: that which other entries use, if there is one.
    pub(super) fn list(&self, feed: &FeedPath) -> Arc<EntityList> {
        let feed = feed.folded();
        self.lists.get(feed.clone(), || EntityList::new(ListRead { client: self.client.clone(), feed }))
    }
}
