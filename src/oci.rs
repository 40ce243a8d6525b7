//! A client of OCI's Queue service: sign, send, decode. It is independent of metrics.
//!
//! Requests are sent by [`crate::http`]. An answer is decoded strictly: a missing figure is an
//! error, never a zero. Errors carry two texts. The cause is for users who read an HPA's condition:
//! it is the same for the same failure and names no endpoint and no OCID. The details are for the
//! log.

use std::sync::Arc;

use http::StatusCode;
use http::header::{ACCEPT, DATE, HeaderValue};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

mod answer;
pub mod choice;
pub mod compartment;
pub mod config_file;
pub mod consumer_group;
pub mod credentials;
pub mod declared;
pub mod endpoint;
pub mod environment;
mod error;
mod files;
mod group_id;
mod instance_principal;
pub mod key;
pub mod metadata;
mod ocid;
mod policy;
pub mod queue;
pub mod region;
pub mod resource_principal;
mod session;
pub mod sign;
mod signing;
pub mod token;
pub mod workload_identity;

pub use error::{Error, ServiceError};

use answer::Answer;
use credentials::Credentials;
use endpoint::Endpoint;
use queue::{ErrorBody, Queue, QueueId, QueuePart, QueueStats};
use region::Home;
use signing::Signing;

use crate::http::authorize::Failure;
use crate::http::error::{ErrorText, Fault, StatusError};
use crate::http::transport::{Roots, Transport, Trust, TrustError};
use crate::http::{self as transport, Protocol, Request, RequestId};
use crate::upstream::{Limits, Upstream};

/// The service refuses dates that are further off than this.
const CLOCK_SKEW_MAX: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);
/// Chosen by the service for every answer, errors included; its support needs it.
const REQUEST_ID: &str = "opc-request-id";
/// The config key of [`Settings::reads_per_second`].
const RATE_KEY: &str = "oci.maxRequestsPerSecond";
/// Requests a second to services that authenticate, whose every request is charged and none waits:
/// far more than sessions, which last minutes, can need.
const TOKEN_REQUESTS_PER_SECOND: u32 = 1000;

/// What a user can set of a client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Trusted besides the system's certificates.
    pub roots: Roots,
    /// Requests a second at most, those of all endpoints together.
    pub reads_per_second: u32,
}

/// Signs and sends requests; connections are reused.
#[derive(Debug)]
pub struct Client {
    transport: transport::Client,
    signing: Signing,
    clock: fn() -> Timestamp,
}

// === impl Settings ===

impl Default for Settings {
    /// 200 reads a second: 1,000 queues with a `refresh` of 5 s, and a fifth of what the service
    /// is said to allow for one queue.
    fn default() -> Self {
        Self { roots: Roots::default(), reads_per_second: 200 }
    }
}

// === impl Client ===

impl Client {
    /// A client that signs with `credentials` and dates its requests by `clock`.
    pub fn new(credentials: Credentials, clock: fn() -> Timestamp) -> Self {
        Self::with(Settings::default(), credentials, clock)
    }

    /// The same, with settings of its own.
    pub fn with(settings: Settings, credentials: Credentials, clock: fn() -> Timestamp) -> Self {
        let Settings { roots, reads_per_second } = settings;
        let upstream = Arc::new(Upstream::new(Limits::new(reads_per_second, RATE_KEY)));
        let protocol = Protocol {
            request_id: Some(RequestId { header: REQUEST_ID, make: Some(request_id) }),
            read_error,
            is_transient,
            ..Protocol::default()
        };
        let transport = transport::Client::new(upstream, Transport::new(Trust::System(roots)), protocol, clock);
        Self { transport, signing: Signing::new(credentials, clock), clock }
    }

    /// Gets ready for requests to this endpoint.
    ///
    /// Fails when the system's trusted certificates cannot be loaded.
    pub fn prepare(&self, endpoint: &Endpoint) -> Result<(), TrustError> {
        self.transport.prepare(&endpoint.url(""))
    }

    /// The service, whose rate and state all requests of this client share.
    pub fn upstream(&self) -> &Arc<Upstream> {
        self.transport.upstream()
    }

    /// GetStats: the figures of one queue or of a part of it, from its messages endpoint. Its turn
    /// has been waited for.
    pub async fn get_stats(
        &self,
        messages: &Endpoint,
        id: &QueueId,
        part: QueuePart<'_>,
        by: Instant,
    ) -> Result<QueueStats, Error> {
        let request = Request::get(messages.url_with(&id.stats_path(), &part.query()));
        let answer = self.send(Request { admitted: true, ..request }, by).await?;
        if !part.is_named_by(&answer.decode()?) {
            return Err(answer.invalid("it is about another channel or consumer group".to_owned()));
        }
        let stats: QueueStats = answer.decode()?;
        Ok(QueueStats { request_id: answer.request_id().map(str::to_owned), ..stats })
    }

    /// GetQueue: what a queue is and where its messages are, from the control plane.
    pub async fn get_queue(&self, control: &Endpoint, id: &QueueId, by: Instant) -> Result<Queue, Error> {
        self.get(control, &id.queue_path(), by).await
    }

    /// The home of the principal, for a method that learns it when it authenticates.
    pub async fn home(&self, by: Instant) -> Result<Option<Home>, Error> {
        self.signing.credentials().home(by).await.map_err(Error::SignIn)
    }

    async fn get<T: DeserializeOwned>(&self, endpoint: &Endpoint, path: &str, by: Instant) -> Result<T, Error> {
        self.send(Request::get(endpoint.url(path)), by).await?.decode()
    }

    /// One page of a list. What fails with it is the list of this `scope`.
    async fn page(
        &self,
        endpoint: &Endpoint,
        path: &str,
        query: &[(&str, &str)],
        scope: &str,
        by: Instant,
    ) -> Result<Answer, Error> {
        let key = format!("{path} {scope}");
        self.send(Request { key, ..Request::get(endpoint.url_with(path, query)) }, by).await
    }

    async fn send(&self, mut request: Request, by: Instant) -> Result<Answer, Error> {
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let sent = self.transport.send(&request, &self.signing, by).await;
        sent.map(Answer::new).map_err(|failure| match failure {
            Failure::Authorize(error) => error,
            Failure::Http(error) => self.error(error),
        })
    }

    fn error(&self, error: transport::error::Error) -> Error {
        match error.fault {
            Fault::Status(status) => Error::Service(self.service_error(*status, error.request_id)),
            Fault::TooLong(max) => Error::InvalidResponse(format!("it is longer than {max} bytes"), error.request_id),
            Fault::NotSent { met, retry_after } => Error::NotSent(Box::new(self.error(*met)), retry_after),
            Fault::Unreachable(..) | Fault::Proxy(..) | Fault::TimedOut | Fault::NoSocket | Fault::NoRoom => {
                Error::Http(error)
            }
        }
    }

    fn service_error(&self, error: StatusError, request_id: Option<String>) -> ServiceError {
        let clock_skewed = is_skewed(&error, (self.clock)());
        let StatusError { status, code, message, location, retry_after, .. } = error;
        let message = match location {
            Some(location) => format!("redirects to {location}: {message}"),
            None => message,
        };
        let credentials = self.signing.credentials();
        ServiceError {
            status,
            code,
            message,
            request_id,
            clock_skewed,
            method: credentials.method(),
            retry_after,
            policy: matches!(status, 403 | 404).then(|| credentials.policy().clone()),
        }
    }
}

/// Requests of services that authenticate are repeated by the next session. `make` names them.
fn token_protocol(make: Option<fn() -> String>) -> Protocol {
    Protocol { attempts: 1, request_id: Some(RequestId { header: REQUEST_ID, make }), ..Protocol::default() }
}

/// The same of services that create a session, which may be a 201.
fn session_protocol(make: fn() -> String) -> Protocol {
    Protocol { is_answer: StatusCode::is_success, ..token_protocol(Some(make)) }
}

/// A service that authenticates: its own rate, breaker and budget.
fn token_service() -> Arc<Upstream> {
    Arc::new(Upstream::new(Limits::new(TOKEN_REQUESTS_PER_SECOND, "")))
}

fn request_id() -> String {
    format!("{:032X}", fastrand::u128(..))
}

/// A proxy in between answers HTML, or nothing.
fn read_error(body: &[u8]) -> ErrorText {
    let Ok(ErrorBody { code, message }) = queue::decode(body) else { return ErrorText::whole(body) };
    let is_word = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric());
    ErrorText { code: is_word.then_some(code), message }
}

/// The same list as in the official SDKs, except for 429: a client that sends too much repeats with
/// the next read.
fn is_transient(error: &StatusError) -> bool {
    match error.status {
        409 => matches!(error.code.as_deref(), Some("IncorrectState" | "LockConflict")),
        _ => error.is_server_failure(),
    }
}

/// Whether a 401 is because of the clock here.
fn is_skewed(error: &StatusError, now: Timestamp) -> bool {
    let date = error.headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let theirs = date.and_then(|date| Timestamp::try_from(date).ok());
    error.status == 401 && theirs.is_some_and(|theirs| now.duration_since(theirs).abs() > CLOCK_SKEW_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_is_tried_again() {
        for (status, code, again) in [
            (429, None, false),
            (500, None, true),
            (502, None, true),
            (503, None, true),
            (501, None, false),
            (409, Some("IncorrectState"), true),
            (409, Some("Conflict"), false),
            (409, None, false),
            (301, None, false),
            (400, None, false),
            (401, None, false),
            (403, None, false),
            (404, None, false),
        ] {
            let error = StatusError {
                status,
                code: code.map(str::to_owned),
                message: String::new(),
                location: None,
                retry_after: None,
                headers: http::HeaderMap::new(),
            };
            assert_eq!(is_transient(&error), again, "{status} {code:?}");
        }
    }
}
