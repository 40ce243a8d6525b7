//! The HTTP client that every source sends its requests with.
//!
//! One [`Client::send`] is up to [`Protocol::attempts`] attempts within a deadline, each
//! authenticated again, while the host and its budget of retries allow. There is no way to send
//! without an [`Upstream`], so that no source can step around its rate limit and circuit breaker:
//! `reqwest` is private to this module. Inside it, `::http` is the crate of HTTP's types.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use ::http::{Method, StatusCode, Version};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

pub mod authorize;
pub mod base;
mod body;
pub mod credentials;
pub mod error;
pub mod oauth2;
pub mod proxy;
mod retry_after;
pub mod secret;
pub mod session;
pub mod sockets;
pub mod transport;
pub mod url;

use authorize::{Authorization, Authorize, Failure};
use body::BodyReader;
use error::{CREDENTIALS_WANTED, Error, ErrorText, Fault, StatusError, lost, lost_by, shown, without_secret};
use proxy::ProxyFailure;
use transport::{Transport, TrustError};
use url::{Url, host};

use crate::upstream::{Cause, Host, Outcome, Permit, Permits, Upstream, retry};

/// Longest answer that is read unless the protocol says otherwise: a page of a list, or a document
/// of a few fields.
pub const BODY_MAX: usize = 1 << 20;
/// What an attempt needs to be worth beginning: a fresh connection across the world.
pub const ATTEMPT_MIN: Duration = Duration::from_millis(250);

/// Sends requests to one service; connections are reused.
#[derive(Debug)]
pub struct Client {
    upstream: Arc<Upstream>,
    transport: Transport,
    protocol: Protocol,
    clock: fn() -> Timestamp,
    /// Of the requests of all clients, see [`sockets`].
    sockets: Option<Arc<Permits>>,
    /// The same of long answers.
    long_answers: Arc<Permits>,
}

/// What a protocol adds to requests and reads out of errors.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// Attempts in all for a request whose failure may pass.
    pub attempts: u32,
    /// Longest answer that is read, in bytes.
    pub body_max: usize,
    /// Identifies a request for the operators of the service.
    pub request_id: Option<RequestId>,
    /// Whether an answer of this status is read. Any other one is an error: a proxy that changes an answer
    /// says so by a 203, and a 206 is a part.
    pub is_answer: fn(&StatusCode) -> bool,
    /// Reads the body of an error.
    pub read_error: fn(&[u8]) -> ErrorText,
    /// Whether an error status may pass within a moment. One of 5xx that may not is about this request, and
    /// no failure of its host.
    pub is_transient: fn(&StatusError) -> bool,
    /// How long a service needs a pause at least after this status, whatever its `Retry-After`
    /// says.
    pub least_pause: fn(&StatusError) -> Option<Duration>,
}

/// A header that identifies a request. An answer's own value replaces the one that was sent.
#[derive(Clone, Copy, Debug)]
pub struct RequestId {
    /// Its name, of the request and of the answer.
    pub header: &'static str,
    /// Makes a new value for each attempt; without it none is sent.
    pub make: Option<fn() -> String>,
}

/// What is sent. [`Authorize`] adds what authenticates it.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// The key by which failures are kept, see [`Host::admit`]: the path unless set.
    pub key: String,
    /// Headers besides those that authenticate it.
    pub headers: HeaderMap,
    /// Of a POST.
    pub body: Bytes,
    /// The parameter of the form that limits how long the service may take, such as `timeout=900ms`. Each
    /// attempt adds it.
    pub time_limit: Option<&'static str>,
    /// Its turn was waited for, see [`Upstream::admit`]; another one is charged.
    pub admitted: bool,
    /// The owner that sockets and long answers are counted for, where they are limited. Without one it is the host.
    pub owner: Option<String>,
}

/// An answer of 200, or of another status that the protocol takes.
#[derive(Debug)]
pub struct Response {
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the service said where the body ends. Otherwise it ends with the connection, so it may be cut.
    pub is_framed: bool,
    /// The service's own name of the request; without one, the name that was sent.
    pub request_id: Option<String>,
    /// Of a long answer: its permit among those of all clients.
    pub permit: Option<Permit>,
}

// === impl Protocol ===

impl Default for Protocol {
    /// HTTP with nothing added.
    fn default() -> Self {
        Self {
            attempts: retry::ATTEMPTS,
            body_max: BODY_MAX,
            request_id: None,
            is_answer: |status| *status == StatusCode::OK,
            read_error: ErrorText::whole,
            is_transient: StatusError::is_server_failure,
            least_pause: |_| None,
        }
    }
}

// === impl Request ===

impl Request {
    /// A GET.
    pub fn get(url: Url) -> Self {
        let key = url.path().to_owned();
        let (method, headers, body) = (Method::GET, HeaderMap::new(), Bytes::new());
        Self { method, url, key, headers, body, time_limit: None, admitted: false, owner: None }
    }

    /// A POST of a JSON document.
    pub fn post_json(url: Url, body: String) -> Self {
        Self::post(url, "application/json", body)
    }

    /// A POST of an encoded form, see [`base::encoded`].
    pub fn post_form(url: Url, body: String) -> Self {
        Self::post(url, "application/x-www-form-urlencoded", body)
    }

    fn post(url: Url, content_type: &'static str, body: String) -> Self {
        let headers = [(CONTENT_TYPE, HeaderValue::from_static(content_type))].into_iter().collect();
        Self { method: Method::POST, headers, body: body.into(), ..Self::get(url) }
    }

    fn owner(&self) -> Cow<'_, str> {
        self.owner.as_deref().map_or_else(|| host(&self.url).into(), Cow::Borrowed)
    }

    /// As an attempt with this deadline sends it. The service gives up shortly before depthgauge does, so that
    /// its answer says that it takes too long: the service is healthy.
    fn limited(&self, by: Instant) -> Cow<'_, Self> {
        let Some(parameter) = self.time_limit else { return Cow::Borrowed(self) };
        let left = by.saturating_duration_since(Instant::now()) * 9 / 10;
        let limit = format!("&{parameter}={}ms", left.as_millis().max(1));
        let body = [&*self.body, limit.as_bytes()].concat().into();
        Cow::Owned(Self { body, ..self.clone() })
    }
}

// === impl Response ===

impl Response {
    /// Whether a body of lines may have been cut within a line. One that was cut between two lines looks as a whole
    /// one.
    pub fn may_be_cut(&self) -> bool {
        !self.is_framed && self.body.last().is_some_and(|last| *last != b'\n')
    }
}

// === impl Client ===

impl Client {
    /// A client of `upstream`. `clock` reads dates in `Retry-After`.
    pub fn new(upstream: Arc<Upstream>, transport: Transport, protocol: Protocol, clock: fn() -> Timestamp) -> Self {
        let long_answers = body::permits(protocol.body_max);
        Self { upstream, transport, protocol, clock, sockets: sockets::permits(), long_answers }
    }

    /// Whether requests to this URL go through a proxy.
    pub fn is_proxied(&self, url: &Url) -> bool {
        self.transport.proxy_for(url).is_some()
    }

    /// What its requests are counted by.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Whether a request failed because of its host: no connection, no answer in time, or a 5xx that may
    /// pass.
    pub fn is_failure_of_host(&self, fault: &Fault) -> bool {
        match fault {
            Fault::Status(status) => status.status >= 500 && (self.protocol.is_transient)(status),
            _ => fault.is_without_response(),
        }
    }

    /// Gets ready for requests to this URL.
    ///
    /// Fails when the trusted certificates can't be loaded.
    pub fn prepare(&self, url: &Url) -> Result<(), TrustError> {
        self.transport.prepare(url).map_err(TrustError)
    }

    /// Sends a request, and again while that may help and the deadline allows.
    pub async fn send<A: Authorize>(
        &self,
        request: &Request,
        auth: &A,
        by: Instant,
    ) -> Result<Response, Failure<A::Error>> {
        let host = self.upstream.host(&host(&request.url));
        let mut done = 0;
        loop {
            host.admit(&request.key, Instant::now()).map_err(Error::not_sent)?;
            if done > 0 || !request.admitted {
                self.upstream.charge();
            }
            let result = self.send_once(request, auth, by).await;
            done += 1;
            let retries = self.record(&host, &request.key, &result);
            let error = match result {
                Err(Failure::Http(error)) => error,
                ended => return ended,
            };
            let pause = retry::backoff(done, fastrand::f64());
            let repeat = retries && done < self.protocol.attempts && self.may_pass(&error);
            if !repeat || Instant::now() + pause + ATTEMPT_MIN >= by {
                return Err(Failure::Http(error));
            }
            tracing::debug!(%error, done, "sending the request again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One request, or two: after a 401 the credential is renewed once.
    async fn send_once<A: Authorize>(
        &self,
        request: &Request,
        auth: &A,
        by: Instant,
    ) -> Result<Response, Failure<A::Error>> {
        let credential = auth.credential(by).await.map_err(Failure::Authorize)?;
        let result = self.attempt(request, auth, &credential, by).await;
        let Err(Failure::Http(Error { fault: Fault::Status(refused), .. })) = &result else { return result };
        if refused.status != 401 {
            return result;
        }
        match auth.renew(&credential, refused, by).await {
            Some(renewed) => {
                self.upstream.charge();
                self.attempt(request, auth, &renewed, by).await
            }
            None => result,
        }
    }

    async fn attempt<A: Authorize>(
        &self,
        request: &Request,
        auth: &A,
        credential: &A::Credential,
        by: Instant,
    ) -> Result<Response, Failure<A::Error>> {
        let _socket = match &self.sockets {
            Some(permits) => {
                let permit = permits.acquire_in_time(&request.owner(), by).await;
                Some(permit.ok_or_else(|| Failure::Http(Fault::NoSocket.into()))?)
            }
            None => None,
        };
        let mut id = self.protocol.request_id.and_then(|id| id.make).map(|make| make());
        // After the wait, so that the service gets the time that is left.
        let request = request.limited(by);
        let sent = tokio::time::timeout_at(by, self.exchange(&request, auth, credential, &mut id, by)).await;
        let result = sent.unwrap_or_else(|_| Err(Fault::TimedOut.into()));
        result.map_err(|failure| match failure {
            Failure::Http(Error { fault, .. }) => Failure::Http(Error { fault, request_id: id }),
            unsent => unsent,
        })
    }

    /// `id` becomes the service's own once it has answered.
    async fn exchange<A: Authorize>(
        &self,
        request: &Request,
        auth: &A,
        credential: &A::Credential,
        id: &mut Option<String>,
        by: Instant,
    ) -> Result<Response, Failure<A::Error>> {
        let Authorization { headers: proof, query, secrets } =
            auth.authorize(credential, request).await.map_err(Failure::Authorize)?;
        let lost = |error: reqwest::Error| lost(without_secret(error, &request.url));
        let client = self.transport.client(&request.url).await.map_err(lost)?;
        let mut url = self.transport.address(&request.url);
        if let Some((name, value)) = &query {
            let pair = base::encoded([(name.as_str(), value.as_str())]);
            let with_others = url.query().map(|query| format!("{query}&{pair}"));
            url.set_query(Some(with_others.as_ref().unwrap_or(&pair)));
        }
        let mut builder = client.request(request.method.clone(), url);
        if self.transport.has_server_name() {
            builder = builder.header(HOST, host(&request.url));
        }
        let named = self.protocol.request_id.map(|id| id.header).zip(id.as_deref());
        for (name, value) in proof.iter().map(|(name, value)| (name, value)).chain(&request.headers) {
            builder = builder.header(name, value);
        }
        if let Some((name, value)) = named {
            builder = builder.header(name, value);
        }
        if !request.body.is_empty() {
            builder = builder.body(request.body.clone());
        }
        let proxy = || self.transport.proxy_for(&request.url);
        let sent = builder.send().await.map_err(|error| without_secret(error, &request.url));
        let mut response = sent.map_err(|error| lost_by(proxy, error))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let is_framed = is_framed(response.version(), &headers);
        let theirs = self.protocol.request_id.and_then(|id| headers.get(id.header)?.to_str().ok());
        if let Some(theirs) = theirs {
            *id = Some(theirs.to_owned());
        }
        let Protocol { body_max: max, is_answer, .. } = self.protocol;
        let reader = BodyReader { max, is_answer: is_answer(&status), permits: &self.long_answers };
        let (body, permit) = reader.read(&mut response, &request.url, &request.owner(), by).await?;
        if is_answer(&status) {
            return Ok(Response { headers, body, is_framed, request_id: id.clone(), permit });
        }
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && let Some(proxy) = proxy()
        {
            let cause: Cause = Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(status.to_string()));
            return Err(Fault::Proxy(ProxyFailure { proxy, what: CREDENTIALS_WANTED }.into(), cause).into());
        }
        // What is no error may have secrets, which the log must not repeat.
        let ErrorText { code, message } =
            if status.is_success() { ErrorText::default() } else { (self.protocol.read_error)(&body) };
        let retry_after = retry_after::retry_after(status.as_u16(), &headers, (self.clock)());
        let location = StatusError::location(status, &headers, &request.url, &secrets);
        let message = shown(&message, &secrets);
        let mut error = StatusError { status: status.as_u16(), code, message, location, retry_after, headers };
        error.retry_after = error.retry_after.max((self.protocol.least_pause)(&error));
        Err(Fault::from(error).into())
    }

    /// Records how a request ended. Returns whether the host's budget allows a retry.
    fn record<E>(&self, host: &Host, key: &str, result: &Result<Response, Failure<E>>) -> bool {
        let now = Instant::now();
        let Err(Failure::Http(error)) = result else {
            let outcome = if result.is_ok() { Outcome::Answered } else { Outcome::NotSent };
            return host.record(key, &outcome, now);
        };
        let cause: Cause = Arc::new(error.clone());
        if let Some(wait) = error.retry_after() {
            host.pause(key, wait, cause.clone(), now);
        }
        let outcome = match &error.fault {
            fault if self.is_failure_of_host(fault) => Outcome::Failed(cause),
            Fault::NoSocket | Fault::NoRoom | Fault::NotSent { .. } => Outcome::NotSent,
            // After a conflict, too, fewer requests must be sent.
            Fault::Status(status) if matches!(status.status, 409 | 429) => Outcome::Throttled,
            _ => Outcome::Answered,
        };
        host.record(key, &outcome, now)
    }

    /// Whether an error may pass within a moment. A service with a `Retry-After` gets no request
    /// before that, so none within this read.
    fn may_pass(&self, error: &Error) -> bool {
        match &error.fault {
            Fault::TimedOut => true,
            // A connection has most of a read's time to come.
            Fault::Unreachable(kind, _) => kind.may_pass(),
            Fault::Status(status) => status.retry_after.is_none() && (self.protocol.is_transient)(status),
            // It takes a change of the proxy, or of what the environment says of it.
            Fault::Proxy(..) | Fault::TooLong(_) | Fault::NoSocket | Fault::NoRoom | Fault::NotSent { .. } => false,
        }
    }
}

/// Whether an answer with these headers has an end besides that of the connection.
/// <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>
fn is_framed(version: Version, headers: &HeaderMap) -> bool {
    if version == Version::HTTP_2 {
        return true;
    }
    match headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        Some(codings) => {
            let last = codings.to_str().ok().and_then(|codings| codings.rsplit(',').next());
            last.is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"))
        }
        None => headers.contains_key(CONTENT_LENGTH),
    }
}

#[cfg(test)]
mod tests;
