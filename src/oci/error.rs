//! Why a request has no answer, in two layers: what [`crate::http`] met, and what is specific to
//! OCI's protocol, such as signing and documents.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::credentials::Method;
use crate::http;
use crate::http::session::SignInError;

/// Why a request brought no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to sign with.
    #[error("{0}")]
    SignIn(SignInError),
    /// The request could not be signed.
    #[error("the private key cannot sign")]
    SigningFailed,
    /// No connection, one that broke, or no answer in time.
    #[error(transparent)]
    Http(http::error::Error),
    /// The service answered with an error.
    #[error("{0}")]
    Service(ServiceError),
    /// An answer of 2xx that is not what it should be, and the id of its request.
    #[error("the answer is not understood: {0}")]
    InvalidResponse(String, Option<String>),
    /// Not sent, because an earlier request met this. The service needs a pause of this length if
    /// it said so; otherwise its host is down.
    #[error("{0}")]
    NotSent(Box<Error>, Option<Duration>),
}

/// An HTTP status other than 2xx.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceError {
    /// The HTTP status.
    pub status: u16,
    /// The service's own code, when the body had one: `NotAuthorizedOrNotFound`.
    pub code: Option<String>,
    /// The service's sentence; may name OCIDs, so for the log only.
    pub message: String,
    /// For the log and for support.
    pub request_id: Option<String>,
    /// The service's clock and depthgauge's differ by more than it accepts.
    pub clock_skewed: bool,
    /// How the request was signed.
    pub method: Method,
    /// When the service allows the next request: from now, half a minute at most.
    pub retry_after: Option<Duration>,
    /// Of a refusal: the IAM statement that would grant it, for the log.
    pub policy: Option<Arc<str>>,
}

// === impl Error ===

impl Error {
    /// The deadline passed before a request could be sent.
    pub fn timed_out() -> Self {
        Self::Http(http::error::Fault::TimedOut.into())
    }

    /// Identifies the request for the operators of the service.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Service(error) => error.request_id.as_deref(),
            Self::SignIn(error) => error.request_id.as_deref(),
            Self::Http(error) => error.request_id.as_deref(),
            Self::InvalidResponse(_, id) => id.as_deref(),
            Self::NotSent(error, _) => error.request_id(),
            Self::SigningFailed => None,
        }
    }
}

// === impl ServiceError ===

impl fmt::Display for ServiceError {
    /// Status and code, and nothing that differs from one answer to the next.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if self.clock_skewed {
            f.write_str(", and the clock here is more than 5 minutes off")?;
        }
        Ok(())
    }
}
