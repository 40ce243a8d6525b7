//! Why a request brought no answer: told apart where the remedies differ.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::credentials::Method;
use super::session::SignInError;

/// Why a request brought no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to sign with.
    #[error("{0}")]
    SignIn(SignInError),
    /// The request could not be signed.
    #[error("the private key cannot sign")]
    Unsigned,
    /// No connection, or one that broke.
    #[error("{0}")]
    Unreachable(Unreachable, #[source] Arc<reqwest::Error>),
    /// The deadline passed.
    #[error("timed out")]
    TimedOut,
    /// The service answered with an error.
    #[error("{0}")]
    Service(ServiceError),
    /// An answer of 2xx that is not what it should be.
    #[error("the answer is not understood: {0}")]
    Nonsense(String),
    /// One of the others, and the id of the request that met it: the service's, or else ours.
    #[error("{1}")]
    Of(String, Box<Error>),
    /// Not asked, for nobody gets an answer there now: this is what the last one got.
    #[error("{0}")]
    Down(Box<Error>),
}

/// Kinds of connection trouble, told apart because the remedies differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreachable {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// The name has no address.
    #[error("host name not found")]
    NoSuchHost,
    /// The certificate is not trusted, or the handshake failed.
    #[error("TLS handshake failed")]
    Tls,
    /// No connection in time; one that is there and brings no answer is [`Error::TimedOut`].
    #[error("timed out")]
    Late,
    /// Closed before or within the answer.
    #[error("connection lost")]
    Lost,
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
    /// The service's clock and ours differ by more than it accepts.
    pub clock_skewed: bool,
    /// How the request was signed.
    pub method: Method,
    /// When the service wants to be asked again: from now, half a minute at most.
    pub retry_after: Option<Duration>,
    /// Of a refusal: the IAM statement that would grant it, for the log.
    pub policy: Option<Arc<str>>,
}

// === impl Error ===

impl Error {
    /// What a request met, and its id: where there is none, nothing was asked.
    pub(super) fn of(request_id: Option<String>, error: Self) -> Self {
        match (request_id, error) {
            (Some(id), error @ (Self::Unreachable(..) | Self::TimedOut | Self::Nonsense(_))) => {
                Self::Of(id, Box::new(error))
            }
            // The others have one of their own.
            (_, error) => error,
        }
    }

    /// The error, whichever request met it.
    pub fn met(&self) -> &Self {
        match self {
            Self::Of(_, error) => error.met(),
            _ => self,
        }
    }

    /// By which the service's own people find the request.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Of(id, _) => Some(id),
            Self::Service(error) => error.request_id.as_deref(),
            Self::SignIn(error) => error.request_id.as_deref(),
            Self::Down(error) => error.request_id(),
            Self::Unsigned | Self::Unreachable(..) | Self::TimedOut | Self::Nonsense(_) => None,
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

/// An error, and why, as far as the errors below it tell; for the log.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
