//! Why a read returned no items: the operation that failed, the cause and the remedy.

use std::sync::Arc;
use std::time::Duration;

/// The operation that failed. Each has its own remedies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Getting credentials.
    Authenticate,
    /// Listing sources or parts.
    List,
    /// Resolving the endpoint of the source.
    Endpoint,
    /// Reading the source.
    Read,
    /// Decoding the response.
    Decode,
}

/// What a failure says about the source itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// Nothing. It may be transient, and a value rule may apply.
    Transient,
    /// The source has no items now, such as an empty answer or a Service without ready pods. A value rule
    /// may apply.
    NoItems,
    /// The source does not exist or access is denied: some services don't distinguish these. No value
    /// rule applies.
    NotFound,
    /// The source exists, but the requested part does not: the request is wrong.
    NoSuchPart,
}

/// Why a read returned no items.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceError {
    /// The operation that failed.
    pub operation: Operation,
    /// What it says about the source.
    pub kind: ErrorKind,
    /// Whether the service responded, or was not requested. Otherwise it can't be reached.
    pub responded: bool,
    /// The cause: `500 InternalServerError`, `connection refused`. The same failure has the same text,
    /// byte for byte. It contains no secret.
    pub cause: String,
    /// What the user can do about it.
    pub remedy: &'static str,
    /// For the log only: may contain OCIDs, endpoints and request IDs.
    pub detail: String,
    /// If access was denied, what would allow it. For the operator of the source, not for its clients.
    pub grant: Option<Arc<str>>,
    /// The request ID of the response, if there was one, for a support request to the service.
    pub request_id: Option<Box<str>>,
    /// `Retry-After` of the service, from now: at most 30 s.
    pub retry_after: Option<Duration>,
}

// === impl Operation ===

impl Operation {
    /// As it appears in an error message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::List => "list",
            Self::Endpoint => "resolve endpoint",
            Self::Read => "read",
            Self::Decode => "decode",
        }
    }

    /// As a label value.
    pub fn as_label(self) -> &'static str {
        match self {
            Self::Endpoint => "resolve_endpoint",
            other => other.as_str(),
        }
    }
}

// === impl ErrorKind ===

impl ErrorKind {
    /// Whether a fallback may be served while this lasts.
    pub fn allows_fallback(self) -> bool {
        matches!(self, Self::Transient | Self::NoItems)
    }
}

// === impl SourceError ===

impl SourceError {
    /// An error without a request ID.
    pub fn new(
        operation: Operation,
        kind: ErrorKind,
        cause: impl Into<String>,
        remedy: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let (cause, detail) = (cause.into(), detail.into());
        let responded = true;
        Self { operation, kind, responded, cause, remedy, detail, grant: None, request_id: None, retry_after: None }
    }

    /// The error of a list that is also read for its members, whose messages name another operation.
    #[must_use]
    pub fn of_list(self) -> Self {
        if self.operation == Operation::Read { Self { operation: Operation::List, ..self } } else { self }
    }

    /// The error of a request that was not sent because of this one. It has the same message, because it is
    /// the same outage.
    #[must_use]
    pub fn not_sent(self, retry_after: Option<Duration>) -> Self {
        let why = if retry_after.is_some() { "the service accepts no requests yet" } else { "its host is down" };
        let detail = format!("not sent, because {why} after this: {}", self.detail);
        // `Retry-After` counts from the earlier response.
        Self { detail, retry_after, ..self }
    }
}
