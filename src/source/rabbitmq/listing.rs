//! Lists the queues of a vhost, of which an entry takes those that match.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use super::vhost::Vhost;
use crate::metric::Labels;
use crate::source::{Identified, List, Listed, Listing, SourceError};

/// The queues of a vhost.
pub(super) struct QueueListing(pub(super) Arc<Vhost>);

// === impl QueueListing ===

impl QueueListing {
    async fn queues(&self, since: Instant, by: Instant) -> Result<List, SourceError> {
        let Self(vhost) = self;
        let snapshot = vhost.lists.counts.get(since, by).await.map_err(SourceError::of_list)?;
        let listed = |name: &str| Listed { name: name.to_owned(), source: vhost.source(name) };
        Ok(List { members: snapshot.names(&vhost.name).map(listed).collect(), began: snapshot.began })
    }
}

impl Listing for QueueListing {
    fn title(&self) -> &'static str {
        "queues of a vhost"
    }

    fn identity(&self) -> String {
        self.0.identity.clone()
    }

    fn labels(&self) -> Labels {
        self.0.labels.clone()
    }

    fn naming(&self) -> &'static str {
        "give it an entry of its own with `queue` and `name`"
    }

    fn again(&self, identity: &str) -> Option<Identified> {
        let queue = percent_decode_str(identity.strip_prefix(&self.0.identity)?);
        Some(self.0.source(&queue.decode_utf8().ok()?))
    }

    fn wait_turn(&self, since: Instant, patience: Duration) -> BoxFuture<'_, ()> {
        self.0.lists.counts.wait_turn(since, patience).boxed()
    }

    fn list(&self, since: Instant, by: Instant) -> BoxFuture<'_, Result<List, SourceError>> {
        self.queues(since, by).boxed()
    }
}
