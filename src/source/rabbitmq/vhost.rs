//! What the sources of a vhost share.

use std::sync::Arc;

use super::QueueSource;
use super::list::QueueList;
use crate::metric::Labels;
use crate::metric::names::escaped;
use crate::source::Identified;
use crate::source::part::Part;

/// A vhost of a broker.
pub(super) struct Vhost {
    pub(super) name: String,
    /// Those that all of its sources have.
    pub(super) labels: Labels,
    /// What the identities of its sources begin with: connection and vhost.
    pub(super) identity: String,
    pub(super) lists: Arc<Lists>,
}

/// The lists that have the queues of a vhost.
pub(super) struct Lists {
    pub(super) counts: Arc<QueueList>,
    pub(super) rates: Arc<QueueList>,
}

// === impl Lists ===

impl Lists {
    /// That which has this part of a queue's values.
    pub(super) fn of(&self, part: &Part) -> &Arc<QueueList> {
        if part.is_apart() { &self.rates } else { &self.counts }
    }
}

// === impl Vhost ===

impl Vhost {
    /// A queue of this vhost.
    pub(super) fn source(self: &Arc<Self>, queue: &str) -> Identified {
        let source = QueueSource { vhost: self.clone(), name: queue.to_owned() };
        Identified { identity: format!("{}{}", self.identity, escaped(queue)), source: Box::new(source) }
    }
}
