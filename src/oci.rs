//! A client of OCI's Queue service: sign, send, decode. Knows nothing of metrics.
//!
//! One attempt is one signed request with a deadline. An answer is decoded strictly: a missing
//! figure is an error, never a zero. Errors carry two texts: a cause that is the same for the
//! same trouble and names no endpoint and no OCID, for the people who read an HPA's condition;
//! and details for the log.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use http::header::{AUTHORIZATION, DATE, HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use reqwest::Url;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

pub mod choice;
pub mod config_file;
pub mod credentials;
pub mod declared;
pub mod endpoint;
pub mod environment;
mod files;
mod instance_principal;
pub mod key;
pub mod metadata;
pub mod queue;
pub mod region;
pub mod resource_principal;
pub mod session;
pub mod sign;
pub mod token;
pub mod workload_identity;

use credentials::{Credentials, Method};
use endpoint::{Endpoint, host, is_loopback, target};
use queue::{ErrorBody, Queue, QueueId, QueueStats};
use region::Home;
use session::SignInError;
use sign::{Signable, Signer};

/// Time to open a connection. A handshake across the world takes under half a second; the
/// deadline of the whole read is the caller's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer that is read: GetQueue with its tags stays under 64 KiB.
const BODY_MAX: usize = 1 << 20;
/// The service refuses dates that are further off than this.
const CLOCK_SKEW_MAX: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);
/// Chosen by the service for every answer, errors included; support asks for it.
const REQUEST_ID: HeaderName = HeaderName::from_static("opc-request-id");

/// Signs and sends requests; connections are reused.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    /// For loopback endpoints, which no proxy can reach. Made when there is one: each client
    /// holds its own copy of the system's trusted certificates.
    direct: OnceLock<reqwest::Client>,
    credentials: Credentials,
    clock: fn() -> Timestamp,
}

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to sign with.
    #[error("{0}")]
    SignIn(SignInError),
    /// The request could not be signed.
    #[error("the private key cannot sign")]
    Unsigned,
    /// No connection, or one that broke.
    #[error("{0}")]
    Unreachable(Unreachable, #[source] reqwest::Error),
    /// The deadline passed.
    #[error("timed out")]
    TimedOut,
    /// The service answered with an error.
    #[error("{0}")]
    Service(ServiceError),
    /// An answer of 2xx that is not what it should be.
    #[error("the answer is not understood: {0}")]
    Nonsense(String),
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
}

// === impl Client ===

impl Client {
    /// A client that signs with `credentials` and dates its requests by `clock`.
    ///
    /// Fails when the system's trusted certificates cannot be loaded.
    pub fn new(credentials: Credentials, clock: fn() -> Timestamp) -> Result<Self, reqwest::Error> {
        Ok(Self { http: Self::http().build()?, direct: OnceLock::new(), credentials, clock })
    }

    fn http() -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .http1_only()
            // A signed Authorization must not leave its host.
            .redirect(reqwest::redirect::Policy::none())
            // A repeated request needs a new date and signature, which only this module makes.
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("depthgauge/", env!("CARGO_PKG_VERSION")))
    }

    /// GetStats: the figures of one queue, from its messages endpoint.
    pub async fn get_stats(&self, messages: &Endpoint, id: &QueueId, by: Instant) -> Result<QueueStats, Error> {
        self.get(messages.url(&id.stats_path()), by).await
    }

    /// GetQueue: what a queue is and where its messages are, from the control plane.
    pub async fn get_queue(&self, control: &Endpoint, id: &QueueId, by: Instant) -> Result<Queue, Error> {
        self.get(control.url(&id.queue_path()), by).await
    }

    /// Where the principal is at home, for one that learns it when it signs in.
    pub async fn home(&self, by: Instant) -> Result<Option<Home>, Error> {
        self.credentials.home(by).await.map_err(Error::SignIn)
    }

    async fn get<T: DeserializeOwned>(&self, url: Url, by: Instant) -> Result<T, Error> {
        let body = self.get_bytes(&url, by).await?;
        serde_json::from_slice(&body).map_err(|error| Error::Nonsense(error.to_string()))
    }

    /// One attempt, or two: a 401 may only mean that the signer has been replaced.
    async fn get_bytes(&self, url: &Url, by: Instant) -> Result<Vec<u8>, Error> {
        let signer = self.credentials.signer(by).await.map_err(Error::SignIn)?;
        let refused = match self.attempt(url, &signer, by).await {
            Err(Error::Service(error)) if error.status == 401 && !error.clock_skewed => error,
            done => return done,
        };
        match self.credentials.other_than(&signer, by).await {
            Some(other) => self.attempt(url, &other, by).await,
            None => Err(Error::Service(refused)),
        }
    }

    async fn attempt(&self, url: &Url, signer: &Signer, by: Instant) -> Result<Vec<u8>, Error> {
        tokio::time::timeout_at(by, self.send(url, signer)).await.map_err(|_| Error::TimedOut)?
    }

    async fn send(&self, url: &Url, signer: &Signer) -> Result<Vec<u8>, Error> {
        let date = httpdate::fmt_http_date((self.clock)().into());
        let (target, host) = (target(url), host(url));
        let signable = Signable { method: "GET", target: &target, host: Some(&host), date: &date, content: None };
        let authorization = signer.authorization(&signable).map_err(|_| Error::Unsigned)?;
        let request = self
            .client_for(url)
            .map_err(unreachable)?
            .get(url.clone())
            .header(DATE, date)
            .header(AUTHORIZATION, secret(&authorization)?)
            .header(REQUEST_ID, format!("{:032X}", fastrand::u128(..)))
            .header("accept", "application/json");
        let mut response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_body(&mut response).await?;
        if status.is_success() { Ok(body) } else { Err(self.service_error(status.as_u16(), &headers, &body)) }
    }

    fn client_for(&self, url: &Url) -> reqwest::Result<&reqwest::Client> {
        if !url.host_str().is_some_and(is_loopback) {
            return Ok(&self.http);
        }
        if let Some(direct) = self.direct.get() {
            return Ok(direct);
        }
        let made = Self::http().no_proxy().build()?;
        Ok(self.direct.get_or_init(|| made))
    }

    fn service_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let their_time = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let their_time = their_time.and_then(|time| Timestamp::try_from(time).ok());
        let skew = their_time.map(|time| (self.clock)().duration_since(time).abs());
        // A proxy in between answers HTML, or nothing.
        let (code, message) = match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => (Some(body.code), body.message),
            Err(_) => (None, String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned()),
        };
        Error::Service(ServiceError {
            status,
            code: code.filter(|code| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric())),
            message,
            request_id: text(REQUEST_ID).map(str::to_owned),
            clock_skewed: status == 401 && skew.is_some_and(|skew| skew > CLOCK_SKEW_MAX),
            method: self.credentials.method(),
        })
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

/// Reads at most [`BODY_MAX`] bytes, whatever Content-Length says.
async fn read_body(response: &mut reqwest::Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(Error::Nonsense(format!("it is longer than {BODY_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An Authorization header that no log shows.
fn secret(authorization: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(authorization).map_err(|_| Error::Unsigned)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Sends what is no request to Queue: status and body, whatever the status.
async fn exchange(request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), Error> {
    let mut response = request.send().await.map_err(unreachable)?;
    let body = read_body(&mut response).await?;
    Ok((response.status().as_u16(), body))
}

/// An error, and why, as far as the errors below it tell; for the log.
fn with_causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn unreachable(error: reqwest::Error) -> Error {
    if error.is_timeout() {
        return Error::TimedOut;
    }
    let mut kind = Unreachable::Lost;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        // rustls reports through an io::Error that wraps its own, and the connector wraps that.
        let mut inner = current;
        while let Some(io) = inner.downcast_ref::<std::io::Error>() {
            if io.kind() == std::io::ErrorKind::ConnectionRefused {
                kind = Unreachable::Refused;
            }
            let Some(wrapped) = io.get_ref() else { break };
            inner = wrapped;
        }
        if inner.is::<rustls::Error>() {
            kind = Unreachable::Tls;
        }
        // hyper-util keeps its resolver error private; this is how it prints.
        if error.is_connect() && current.to_string() == "dns error" {
            kind = Unreachable::NoSuchHost;
        }
        cause = current.source();
    }
    Error::Unreachable(kind, error)
}
