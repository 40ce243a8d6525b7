//! What authenticates a request.

use std::convert::Infallible;

use ::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::Request;
use super::error::{Error, Fault, StatusError};

/// A way to authenticate.
pub trait Authorize: Sync {
    /// What requests are authenticated with at a time: a key, a token.
    type Credential: Send + Sync;
    /// Why there is none, or why it can't be used.
    type Error: Send;

    /// The current credential; waits for it until the deadline.
    fn credential(&self, by: Instant) -> impl Future<Output = Result<Self::Credential, Self::Error>> + Send;

    /// What to add to this attempt. It may depend on method, URL, body and date.
    fn authorize(
        &self,
        credential: &Self::Credential,
        request: &Request,
    ) -> impl Future<Output = Result<Authorization, Self::Error>> + Send;

    /// After a 401: another credential than the one that was refused, if there is one. The client
    /// does this once a request, and a 401 does not count as a failure of the host.
    fn renew(
        &self,
        refused: &Self::Credential,
        error: &StatusError,
        by: Instant,
    ) -> impl Future<Output = Option<Self::Credential>> + Send;
}

/// What authenticates one attempt.
#[derive(Clone, Default)]
pub struct Authorization {
    /// Headers, in the order in which they are sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// A query parameter. It is added to the URL that is sent, and to no other.
    pub query: Option<(String, String)>,
    /// What identifies the credential: an error that repeats any of these is not shown.
    pub secrets: Vec<String>,
}

/// A request that brought no answer.
#[derive(Clone, Debug)]
pub enum Failure<E> {
    /// It could not be authenticated, so it was not sent.
    Authorize(E),
    /// Everything else.
    Http(Error),
}

// === impl Authorization ===

impl Authorization {
    /// One `Authorization` header. `None` when the text can't be one.
    pub fn header(value: &str, secret: &str) -> Option<Self> {
        let headers = vec![(AUTHORIZATION, sensitive(value)?)];
        Some(Self { headers, query: None, secrets: vec![secret.to_owned()] })
    }
}

/// Authenticates each attempt in the same way.
impl Authorize for Authorization {
    type Credential = ();
    type Error = Infallible;

    async fn credential(&self, _: Instant) -> Result<(), Infallible> {
        Ok(())
    }

    async fn authorize(&self, (): &(), _: &Request) -> Result<Self, Infallible> {
        Ok(self.clone())
    }

    async fn renew(&self, (): &(), _: &StatusError, _: Instant) -> Option<()> {
        None
    }
}

/// A header value that no log shows.
pub fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

// === impl Failure ===

impl Failure<Infallible> {
    /// The one kind of failure that there is.
    pub fn into_error(self) -> Error {
        match self {
            Self::Authorize(never) => match never {},
            Self::Http(error) => error,
        }
    }
}

impl<E> From<Error> for Failure<E> {
    fn from(error: Error) -> Self {
        Self::Http(error)
    }
}

impl<E> From<Fault> for Failure<E> {
    fn from(fault: Fault) -> Self {
        Self::Http(fault.into())
    }
}
