//! Which queues there are: those of a compartment, or one that goes by its own display name.

use std::fmt::Arguments;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::QueueSource;
use super::control_plane::ControlPlane;
use super::parts::Aliases;
use super::trouble::{of_queue, source_error};
use crate::oci::compartment::CompartmentId;
use crate::oci::endpoint::Endpoint;
use crate::oci::queue::QueueId;
use crate::oci::{self, Client};
use crate::source::{Identified, Listed, Listing, SourceError, Step};

/// Queues whose names are asked for.
pub(super) struct QueueListing {
    pub(super) client: Arc<Client>,
    pub(super) control_plane: ControlPlane,
    pub(super) scope: Scope,
}

/// Which queues.
pub(super) enum Scope {
    /// All that are in use there.
    Compartment(CompartmentId),
    /// This one, with its messages endpoint if it is said.
    Queue(QueueId, Option<Endpoint>),
}

// === impl QueueListing ===

impl QueueListing {
    /// ListQueues names the messages endpoints, too, which saves a GetQueue for each queue.
    async fn of_compartment(&self, id: &CompartmentId, by: Instant) -> Result<Vec<Listed>, SourceError> {
        let control_plane = self.control_plane.of(&self.client, by).await?;
        let queues = self.client.list_queues(&control_plane, id, by).await;
        let queues = queues.map_err(|error| compartment_error(format_args!("{id} at {control_plane}"), &error))?;
        let in_use = queues.into_iter().filter(|queue| queue.is_in_use());
        in_use
            .map(|queue| {
                let about = format_args!("{id} at {control_plane}");
                let id = queue.id().map_err(|error| source_error(Step::List, about, &error))?;
                // One that is not HTTPS is an error when the queue is read, and then by its name.
                let found = queue.messages_endpoint.and_then(|endpoint| endpoint.parse().ok());
                Ok(self.listed(queue.display_name, id, None, found))
            })
            .collect()
    }

    async fn of_queue(&self, id: &QueueId, fixed: Option<&Endpoint>, by: Instant) -> Result<Vec<Listed>, SourceError> {
        let control_plane = self.control_plane.of(&self.client, by).await?;
        let queue = self.client.get_queue(&control_plane, id, by).await;
        let queue = queue.map_err(|error| of_queue(Step::List, id, &control_plane, &error))?;
        let found = queue.messages_endpoint.parse().ok();
        Ok(vec![self.listed(queue.display_name, id.clone(), fixed.cloned(), found)])
    }

    fn listed(&self, name: Option<String>, id: QueueId, fixed: Option<Endpoint>, found: Option<Endpoint>) -> Listed {
        Listed { name: name.unwrap_or_default(), source: self.source(id, fixed, found) }
    }

    fn source(&self, id: QueueId, fixed: Option<Endpoint>, found: Option<Endpoint>) -> Identified {
        let (client, control_plane) = (self.client.clone(), self.control_plane.clone());
        // Nobody can have given names to parts of a queue that nobody named.
        QueueSource::new(client, id, control_plane, fixed, found, Aliases::default()).identified()
    }
}

impl Listing for QueueListing {
    fn title(&self) -> &'static str {
        match self.scope {
            Scope::Compartment(_) => "queues of a compartment",
            Scope::Queue(..) => "the queue of OCI_QUEUE_ID",
        }
    }

    fn identity(&self) -> String {
        match &self.scope {
            Scope::Compartment(id) => format!("{} {id}", self.control_plane),
            Scope::Queue(id, _) => format!("{} {id}", self.control_plane),
        }
    }

    fn naming(&self) -> &'static str {
        match self.scope {
            Scope::Compartment(_) => "give it a source of its own under another one",
            Scope::Queue(..) => "set OCI_QUEUE_NAME to another one",
        }
    }

    fn again(&self, identity: &str) -> Option<Identified> {
        let fixed = match &self.scope {
            Scope::Compartment(_) => None,
            Scope::Queue(_, fixed) => fixed.clone(),
        };
        Some(self.source(identity.parse().ok()?, fixed, None))
    }

    fn list(&self, by: Instant) -> BoxFuture<'_, Result<Vec<Listed>, SourceError>> {
        match &self.scope {
            Scope::Compartment(id) => self.of_compartment(id, by).boxed(),
            Scope::Queue(id, fixed) => self.of_queue(id, fixed.as_ref(), by).boxed(),
        }
    }
}

/// As of a queue, but what is missing there is something else.
fn compartment_error(about: Arguments<'_>, error: &oci::Error) -> SourceError {
    let mut translated = source_error(Step::List, about, error);
    if let oci::Error::Service(error) = error
        && matches!(error.status, 403 | 404)
    {
        translated.remedy = "No such compartment or no policy: check `compartmentId` and region, and that a policy allows this principal to inspect queues there.";
    }
    translated
}
