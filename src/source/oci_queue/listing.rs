//! Lists queues: those of a compartment, or one that is named by its display name.

use std::fmt::Arguments;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryFutureExt as _};
use tokio::time::Instant;

use super::QueueSource;
use super::control_plane::ControlPlane;
use super::errors::{of_queue, source_error};
use super::parts::Aliases;
use crate::oci::compartment::CompartmentId;
use crate::oci::endpoint::Endpoint;
use crate::oci::queue::QueueId;
use crate::oci::{self, Client};
use crate::source::{Identified, List, Listed, Listing, Operation, SourceError};

/// Queues whose names come from the control plane.
pub(super) struct QueueListing {
    pub(super) client: Arc<Client>,
    pub(super) control_plane: ControlPlane,
    pub(super) scope: Scope,
}

/// Which queues.
pub(super) enum Scope {
    /// All queues of it that are in use.
    Compartment(CompartmentId),
    /// This queue, with its messages endpoint if the config has one.
    Queue(QueueId, Option<Endpoint>),
}

// === impl QueueListing ===

impl QueueListing {
    /// ListQueues also returns the messages endpoints, which saves one GetQueue per queue.
    async fn of_compartment(&self, id: &CompartmentId, by: Instant) -> Result<Vec<Listed>, SourceError> {
        let control_plane = self.control_plane.of(&self.client, by).await?;
        let queues = self.client.list_queues(&control_plane, id, by).await;
        let queues = queues.map_err(|error| compartment_error(format_args!("{id} at {control_plane}"), &error))?;
        let in_use = queues.into_iter().filter(|queue| queue.is_in_use());
        in_use
            .map(|queue| {
                let about = format_args!("{id} at {control_plane}");
                let id = queue.id().map_err(|error| source_error(Operation::List, about, &error))?;
                // An endpoint that is not HTTPS is reported when the queue is read, with its name.
                let found = queue.messages_endpoint.and_then(|endpoint| endpoint.parse().ok());
                Ok(self.listed(queue.display_name, id, None, found))
            })
            .collect()
    }

    async fn of_queue(&self, id: &QueueId, fixed: Option<&Endpoint>, by: Instant) -> Result<Vec<Listed>, SourceError> {
        let control_plane = self.control_plane.of(&self.client, by).await?;
        let queue = self.client.get_queue(&control_plane, id, by).await;
        let queue = queue.map_err(|error| of_queue(Operation::List, id, &control_plane, &error))?;
        let found = queue.messages_endpoint.parse().ok();
        Ok(vec![self.listed(queue.display_name, id.clone(), fixed.cloned(), found)])
    }

    fn listed(&self, name: Option<String>, id: QueueId, fixed: Option<Endpoint>, found: Option<Endpoint>) -> Listed {
        Listed { name: name.unwrap_or_default(), source: self.source(id, fixed, found) }
    }

    fn source(&self, id: QueueId, fixed: Option<Endpoint>, found: Option<Endpoint>) -> Identified {
        let (client, control_plane) = (self.client.clone(), self.control_plane.clone());
        // Only an entry that names its queue can have aliases.
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

    fn list(&self, _: Instant, by: Instant) -> BoxFuture<'_, Result<List, SourceError>> {
        let began = Instant::now();
        let listed = match &self.scope {
            Scope::Compartment(id) => self.of_compartment(id, by).boxed(),
            Scope::Queue(id, fixed) => self.of_queue(id, fixed.as_ref(), by).boxed(),
        };
        listed.map_ok(move |members| List { members, began }).boxed()
    }
}

/// The same as for a queue, with another remedy for a missing compartment or policy.
fn compartment_error(about: Arguments<'_>, error: &oci::Error) -> SourceError {
    let mut translated = source_error(Operation::List, about, error);
    if let oci::Error::Service(error) = error
        && matches!(error.status, 403 | 404)
    {
        translated.remedy = "No such compartment or no policy: check `compartmentId` and region, and that a policy allows this principal to inspect queues there.";
    }
    translated
}
