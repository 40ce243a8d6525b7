//! A client of Azure Service Bus's management API: authenticates, sends and decodes. It is independent
//! of metrics.
//!
//! Requests are sent by [`crate::http`]. An answer is decoded strictly: a missing count is an error, and
//! never a zero. An answer also has the keys of the entity's access policies. So no message and no log line contains
//! any of it, except the name of an element.
//!
//! Protocol facts are those of the official clients azure-servicebus 7.15.0 (Python) and azservicebus
//! 1.11.0 (Go), and of Microsoft's REST reference.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

pub mod atom;
pub mod auth;
pub mod connection_string;
mod error;
pub mod managed_identity;
pub mod namespace;
pub mod path;
mod reach;
pub mod sas;
mod token;
pub mod workload_identity;

pub use error::Error;
pub use reach::Reach;

use atom::{Document, Entity};
use auth::Auth;
use namespace::Namespace;
use path::{EntityPath, FeedPath};

use crate::http::authorize::Failure;
use crate::http::base::BaseUrl;
use crate::http::error::{Fault, StatusError, Unreachable};
use crate::http::transport::Transport;
use crate::http::url::Url;
use crate::http::{self as transport, Protocol, Request};
use crate::upstream::Upstream;

/// The version of the API that all clients and clouds accept.
const API_VERSION: &str = "2021-05";
/// A page of 100 entities with 12 access policies each has less than 2 MiB.
const BODY_MAX: usize = 4 << 20;
/// The largest page of a list.
pub const PAGE_SIZE: usize = 100;
/// The shortest pause after the service has limited its clients. Error 50009 says the same.
pub const THROTTLED_PAUSE: Duration = Duration::from_secs(2);
/// The key by which failures of all requests to a namespace are kept: limits are those of the
/// namespace.
const KEY: &str = "management";
/// A clock that differs more is the likely cause of a 401.
const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::from_mins(5);

/// Sends requests to one namespace; connections are reused.
#[derive(Debug)]
pub struct Client {
    http: transport::Client,
    endpoint: BaseUrl,
    namespace: Namespace,
    auth: Auth,
    clock: fn() -> Timestamp,
}

// === impl Client ===

impl Client {
    /// A client of this namespace, whose requests go to `endpoint`. `clock` determines when signatures
    /// expire.
    pub fn new(
        namespace: Namespace,
        endpoint: BaseUrl,
        auth: Auth,
        upstream: Arc<Upstream>,
        transport: Transport,
        clock: fn() -> Timestamp,
    ) -> Self {
        let protocol = Protocol {
            body_max: BODY_MAX,
            read_error: error::read_error,
            least_pause: |status| error::is_throttled(status).then_some(THROTTLED_PAUSE),
            ..Protocol::default()
        };
        let http = transport::Client::new(upstream, transport, protocol, clock);
        Self { http, endpoint, namespace, auth, clock }
    }

    /// The service, whose rate and state all requests of this client share.
    pub fn upstream(&self) -> &Arc<Upstream> {
        self.http.upstream()
    }

    /// The host that requests go to, by name and port, and the key by which their failures are
    /// kept.
    pub fn next_request(&self) -> (String, String) {
        (self.endpoint.authority(), KEY.to_owned())
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The identity that reads, for messages: `key "reader"`.
    pub fn principal(&self) -> String {
        self.auth.principal()
    }

    /// A queue or subscription. Its turn was waited for.
    pub async fn entity(&self, path: &EntityPath, by: Instant) -> Result<Entity, Error> {
        match self.get(&path.to_string(), String::new(), true, by).await? {
            Document::Entry(entity) => Ok(*entity),
            Document::Feed(entities) if entities.is_empty() => Err(Error::NoSuchEntity),
            Document::Feed(_) => Err(Error::InvalidResponse("a list instead of an entry".to_owned())),
        }
    }

    /// At most [`PAGE_SIZE`] entities of a list after the first `skip`. The last page has fewer.
    /// `admitted`: its turn was waited for.
    pub async fn page(&self, feed: &FeedPath, skip: usize, admitted: bool, by: Instant) -> Result<Vec<Entity>, Error> {
        let page = format!("$skip={skip}&$top={PAGE_SIZE}&");
        match self.get(&feed.to_string(), page, admitted, by).await? {
            // A topic that does not exist has the same list as one without subscriptions.
            Document::Feed(entities) if entities.is_empty() && skip == 0 && feed.is_of_topic() => {
                Err(Error::NoSuchEntity)
            }
            Document::Feed(entities) => Ok(entities),
            Document::Entry(_) => Err(Error::InvalidResponse("an entry instead of a list".to_owned())),
        }
    }

    async fn get(&self, path: &str, query: String, admitted: bool, by: Instant) -> Result<Document, Error> {
        let mut url = self.endpoint.at(path, []);
        // As it is, because the clients send `$` so.
        url.set_query(Some(&format!("{query}api-version={API_VERSION}")));
        let request = Request { key: KEY.to_owned(), admitted, ..Request::get(url) };
        let response = match self.http.send(&request, &self.auth, by).await {
            Ok(response) => response,
            Err(failure) => return Err(self.failed(failure, &request.url, !query.is_empty(), by).await),
        };
        let text = String::from_utf8(response.body).map_err(|_| Error::InvalidResponse("no UTF-8".to_owned()))?;
        Document::parse(&text).map_err(|error| Error::InvalidResponse(error.to_string()))
    }

    async fn failed(
        &self,
        failure: Failure<crate::http::session::SignInError>,
        url: &Url,
        is_list: bool,
        by: Instant,
    ) -> Error {
        let error = match failure {
            Failure::Authorize(error) => return Error::Authenticate(error),
            Failure::Http(error) => error,
        };
        let reach = match &error.met().fault {
            Fault::Unreachable(Unreachable::NoSuchHost, _) => None,
            // A proxy resolves the host itself.
            _ if self.http.is_proxied(url) => None,
            Fault::Unreachable(..) => Reach::of(url, by).await,
            // Sources that wait for a list have the same deadline, and would not wait for this.
            Fault::TimedOut if !is_list => Reach::of(url, by).await,
            _ => None,
        };
        let is_skewed = match &error.met().fault {
            Fault::Status(status) => status.status == 401 && self.is_skewed(status),
            _ => false,
        };
        Error::Http { error, reach, is_skewed }
    }

    /// Whether the service's clock differs from this one.
    fn is_skewed(&self, status: &StatusError) -> bool {
        let date = status.headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok()).map(Timestamp::try_from);
        date.is_some_and(|date| date.is_ok_and(|date| (self.clock)().duration_since(date).abs() > CLOCK_SKEW_MAX))
    }
}
