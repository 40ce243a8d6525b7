//! The endpoint of a queue's control plane: known from the start, or resolved when the principal
//! authenticates.

use std::fmt;

use tokio::time::Instant;

use super::errors::source_error;
use crate::oci::Client;
use crate::oci::endpoint::Endpoint;
use crate::source::{ErrorKind, Operation, SourceError};

/// The endpoint for GetQueue, ListQueues and ListConsumerGroups.
#[derive(Clone)]
pub(super) enum ControlPlane {
    /// Known from the start.
    At(Endpoint),
    /// The home region of the principal, which is known after authentication. This endpoint if there is
    /// none.
    OfPrincipal(Option<Endpoint>),
}

impl fmt::Display for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(endpoint) => endpoint.fmt(f),
            Self::OfPrincipal(_) => f.write_str("the principal's home region"),
        }
    }
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Resolves the endpoint, which may need authentication.
    pub(super) async fn of(&self, client: &Client, by: Instant) -> Result<Endpoint, SourceError> {
        let otherwise = match self {
            Self::At(endpoint) => return Ok(endpoint.clone()),
            Self::OfPrincipal(otherwise) => otherwise,
        };
        let home = client
            .home(by)
            .await
            .map_err(|error| source_error(Operation::Endpoint, format_args!("for {self}"), &error))?;
        let endpoint = home.and_then(|home| home.queue_control_plane()?.parse().ok()).or_else(|| otherwise.clone());
        endpoint.ok_or_else(|| {
            SourceError::new(Operation::Endpoint, ErrorKind::Transient, "no region is known", "Set `oci.region`.", "")
        })
    }
}
