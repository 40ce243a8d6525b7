//! A client of OCI's Queue service: sign, send, decode. Knows nothing of metrics.
//!
//! One attempt is one signed request with a deadline. An answer is decoded strictly: a missing
//! figure is an error, never a zero. Errors carry two texts: a cause that is the same for the
//! same trouble and names no endpoint and no OCID, for the people who read an HPA's condition;
//! and details for the log.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{AUTHORIZATION, DATE, HeaderMap, HeaderName};
use jiff::Timestamp;
use reqwest::Url;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

mod breaker;
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
mod instance_principal;
pub mod key;
pub mod metadata;
mod pace;
mod policy;
pub mod queue;
pub mod region;
pub mod resource_principal;
mod retry;
pub mod session;
pub mod sign;
pub mod token;
pub mod transport;
pub mod workload_identity;

pub use error::{Error, ServiceError, Unreachable};

use breaker::Breaker;
use credentials::Credentials;
use endpoint::{Endpoint, host, target};
use pace::Pace;
use queue::{ErrorBody, Part, Queue, QueueId, QueueStats};
use region::Home;
use sign::{Signable, Signer};
use transport::{Roots, Transport, excerpt, next_page, read_body, secret, unreachable, without_quotes};

/// The service refuses dates that are further off than this.
const CLOCK_SKEW_MAX: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);
/// Chosen by the service for every answer, errors included; support asks for it.
const REQUEST_ID: HeaderName = HeaderName::from_static("opc-request-id");
/// Reads under way at one endpoint at most. With 50 ms a read that is more than a thousand a
/// second, five times the default of [`Settings::reads_per_second`], and each has a connection of
/// some 40 KiB. Of one endpoint, so that one that hangs takes no place of another's.
const IN_FLIGHT_MAX: usize = 64;
/// What an attempt needs to be worth beginning: a fresh connection across the world.
const ATTEMPT_MIN: Duration = Duration::from_millis(250);

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
    transport: Transport,
    credentials: Credentials,
    pace: Pace,
    /// By host: as many as the service has cells, and its control plane.
    services: Mutex<HashMap<String, Arc<Service>>>,
    /// As many signatures at a time as there are cores: more would only take turns.
    signing: Semaphore,
    clock: fn() -> Timestamp,
}

/// One endpoint.
#[derive(Debug)]
struct Service {
    breaker: Mutex<Breaker>,
    places: Arc<Semaphore>,
}

/// An answer of 2xx, as it came.
struct Answer {
    body: Vec<u8>,
    next_page: Option<String>,
    request_id: String,
}

/// What a request met, and its id, if one was sent.
type Failed = (Error, Option<String>);

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
        let (transport, pace) = (Transport::new(roots), Pace::new(reads_per_second));
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { transport, credentials, pace, services: Mutex::default(), signing: Semaphore::new(cores), clock }
    }

    /// Gets ready for requests to this endpoint.
    ///
    /// Fails when the system's trusted certificates cannot be loaded.
    pub fn prepare(&self, endpoint: &Endpoint) -> Result<(), reqwest::Error> {
        self.transport.client_for(&endpoint.url("")).map(drop)
    }

    /// GetStats: the figures of one queue or of a part of it, from its messages endpoint.
    pub async fn get_stats(
        &self,
        messages: &Endpoint,
        id: &QueueId,
        part: Part<'_>,
        by: Instant,
    ) -> Result<QueueStats, Error> {
        // Whoever reads has waited for this one's turn.
        let answer = self.ask_in_turn(&messages.url_with(&id.stats_path(), &part.query()), true, by).await?;
        if !part.is_named_by(&answer.decode()?) {
            return Err(answer.nonsense("it is about another channel or consumer group".to_owned()));
        }
        let stats: QueueStats = answer.decode()?;
        Ok(QueueStats { request_id: Some(answer.request_id), ..stats })
    }

    /// GetQueue: what a queue is and where its messages are, from the control plane.
    pub async fn get_queue(&self, control: &Endpoint, id: &QueueId, by: Instant) -> Result<Queue, Error> {
        self.get(control.url(&id.queue_path()), by).await
    }

    /// Where the principal is at home, for one that learns it when it signs in.
    pub async fn home(&self, by: Instant) -> Result<Option<Home>, Error> {
        self.credentials.home(by).await.map_err(Error::SignIn)
    }

    /// Whether somebody waits for a turn who is not urgent.
    pub fn is_busy(&self) -> bool {
        self.pace.is_busy()
    }

    /// Waits until a queue may be read: for its turn, and for a place among those that are read at
    /// its endpoint, where that is known. How long the turn took, and the place, to be held for as
    /// long as the read lasts. A queue whose endpoint is down needs neither: nothing is sent.
    pub async fn turn(
        &self,
        messages: Option<&Endpoint>,
        id: &QueueId,
        urgent: bool,
    ) -> (Duration, Option<OwnedSemaphorePermit>) {
        let url = messages.map(|messages| messages.url(&id.stats_path()));
        let service = url.as_ref().map(|url| self.service(url));
        if let (Some(url), Some(service)) = (&url, &service)
            && service.breaker().refusal(url.path(), Instant::now()).is_some()
        {
            return (Duration::ZERO, None);
        }
        let waited = self.pace.turn(urgent).await;
        // Never closed.
        let place = match service {
            Some(service) => service.places.clone().acquire_owned().await.ok(),
            None => None,
        };
        (waited, place)
    }

    /// Whether the breaker of this endpoint is open: nobody gets an answer there.
    pub fn is_down(&self, endpoint: &Endpoint) -> bool {
        self.service(&endpoint.url("")).breaker().is_open()
    }

    async fn get<T: DeserializeOwned>(&self, url: Url, by: Instant) -> Result<T, Error> {
        self.ask(&url, by).await?.decode()
    }

    async fn ask(&self, url: &Url, by: Instant) -> Result<Answer, Error> {
        self.ask_in_turn(url, false, by).await
    }

    /// Up to three attempts within the deadline, each signed anew, while the endpoint and its
    /// budget of repetitions allow. Each takes a turn, but for the first of one that had its turn.
    async fn ask_in_turn(&self, url: &Url, had_turn: bool, by: Instant) -> Result<Answer, Error> {
        let service = self.service(url);
        let mut done = 0;
        loop {
            service.breaker().admit(url.path(), Instant::now())?;
            if done > 0 || !had_turn {
                self.pace.take();
            }
            let result = self.ask_once(url, by).await;
            done += 1;
            let again = service.record(url, result.as_ref().err().map(|(error, _)| error));
            let (error, request_id) = match result {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            match retry::pause(done, &error, fastrand::f64()) {
                Some(pause) if again && Instant::now() + pause + ATTEMPT_MIN < by => {
                    tracing::debug!(%error, done, "asking OCI again");
                    tokio::time::sleep(pause).await;
                }
                _ => return Err(Error::of(request_id, error)),
            }
        }
    }

    /// One request, or two: a 401 may only mean that the signer has been replaced.
    async fn ask_once(&self, url: &Url, by: Instant) -> Result<Answer, Failed> {
        let signer = self.credentials.signer(by).await.map_err(|error| (Error::SignIn(error), None))?;
        let refused = match self.attempt(url, &signer, by).await {
            Err((Error::Service(error), _)) if error.status == 401 && !error.clock_skewed => error,
            done => return done,
        };
        match self.credentials.other_than(&signer, by).await {
            Some(other) => {
                self.pace.take();
                self.attempt(url, &other, by).await
            }
            None => Err((Error::Service(refused), None)),
        }
    }

    async fn attempt(&self, url: &Url, signer: &Arc<Signer>, by: Instant) -> Result<Answer, Failed> {
        let mut request_id = format!("{:032X}", fastrand::u128(..));
        let sent = tokio::time::timeout_at(by, self.send(url, signer, &mut request_id)).await;
        match sent.unwrap_or(Err(Error::TimedOut)) {
            Ok((body, next_page)) => Ok(Answer { body, next_page, request_id }),
            Err(error) => Err((error, Some(request_id))),
        }
    }

    /// Body and next page of an answer of 2xx. The id is the service's own once it has answered.
    async fn send(
        &self,
        url: &Url,
        signer: &Arc<Signer>,
        request_id: &mut String,
    ) -> Result<(Vec<u8>, Option<String>), Error> {
        let date = httpdate::fmt_http_date((self.clock)().into());
        let authorization = self.sign(url, &date, signer).await?;
        let request = self
            .transport
            .client_for(url)
            .map_err(unreachable)?
            .get(url.clone())
            .header(DATE, date)
            .header(AUTHORIZATION, secret(&authorization)?)
            .header(REQUEST_ID, &*request_id)
            .header("accept", "application/json");
        let mut response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if let Some(theirs) = transport::request_id(&headers) {
            *request_id = theirs;
        }
        let body = read_body(&mut response).await?;
        if !status.is_success() {
            let error = self.service_error(status.as_u16(), &headers, &body, signer);
            return Err(Error::Service(ServiceError { request_id: Some(request_id.clone()), ..error }));
        }
        Ok((body, next_page(&headers)?))
    }

    /// The value of the Authorization header: half a millisecond of RSA, which keeps no thread from
    /// answering.
    async fn sign(&self, url: &Url, date: &str, signer: &Arc<Signer>) -> Result<String, Error> {
        let _turn = self.signing.acquire().await;
        let (signer, target, host, date) = (signer.clone(), target(url), host(url), date.to_owned());
        let signed = tokio::task::spawn_blocking(move || {
            signer.authorization(&Signable {
                method: "GET",
                target: &target,
                host: Some(&host),
                date: &date,
                content: None,
            })
        });
        // A thread that ends without an answer has panicked, and the log says so.
        signed.await.ok().and_then(Result::ok).ok_or(Error::Unsigned)
    }

    fn service(&self, url: &Url) -> Arc<Service> {
        // Whole entries only: a panic leaves nothing half made.
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.entry(host(url)).or_default().clone()
    }

    fn service_error(&self, status: u16, headers: &HeaderMap, body: &[u8], signer: &Signer) -> ServiceError {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let their_time = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let their_time = their_time.and_then(|time| Timestamp::try_from(time).ok());
        let skew = their_time.map(|time| (self.clock)().duration_since(time).abs());
        // A proxy in between answers HTML, or nothing.
        let (code, message) = match queue::decode::<ErrorBody>(body) {
            Ok(body) => (Some(body.code), body.message),
            Err(_) => (None, String::from_utf8_lossy(body).into_owned()),
        };
        ServiceError {
            status,
            code: code.filter(|code| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric())),
            message: excerpt(&message, signer.key_id()),
            request_id: None,
            clock_skewed: status == 401 && skew.is_some_and(|skew| skew > CLOCK_SKEW_MAX),
            method: self.credentials.method(),
            retry_after: retry::retry_after(status, headers, (self.clock)()),
            policy: matches!(status, 403 | 404).then(|| self.credentials.policy().clone()),
        }
    }
}

// === impl Answer ===

impl Answer {
    fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        queue::decode(&self.body).map_err(|error| self.nonsense(without_quotes(&error.to_string())))
    }

    fn nonsense(&self, what: String) -> Error {
        Error::of(Some(self.request_id.clone()), Error::Nonsense(what))
    }
}

// === impl Service ===

impl Service {
    /// Takes note of how a request ended. Returns whether it may be repeated.
    fn record(&self, url: &Url, error: Option<&Error>) -> bool {
        let mut breaker = self.breaker();
        if breaker.record(url.path(), error, Instant::now()) {
            let host = host(url);
            match error.filter(|_| breaker.is_open()) {
                Some(error) => tracing::warn!(host, %error, "no answer from OCI there any more: asked every 2 s only"),
                None => tracing::info!(host, "OCI answers there again"),
            }
        }
        breaker.allows_another()
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // Counters, and a set that lacks an entry at worst.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Service {
    fn default() -> Self {
        Self { breaker: Mutex::default(), places: Arc::new(Semaphore::new(IN_FLIGHT_MAX)) }
    }
}
