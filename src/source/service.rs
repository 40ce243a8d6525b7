//! A service that is reached over HTTP, as the config defines it: URLs in order of preference, TLS,
//! credentials, proxy, and limits.
//!
//! A connection type adds [`URL`] or [`URLS`] and [`KEYS`] to its key tables, returns [`conflicts`] as its
//! errors and [`warnings`] as its warnings, and opens a [`Service`] with its values.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{ACCEPT, HeaderValue};
use parking_lot::Mutex;
use tokio::time::Instant;

mod errors;
mod failover;
mod instances;
mod keys;
mod open;
mod shared;

pub use errors::{cut, source_error};
pub use instances::{Instance, Instances};
pub use keys::{BASE, FILE, KEYS, PROXY, TLS, URL, URLS};
pub use open::{Way, conflicts, urls, warnings};
pub use shared::Services;

use failover::Failover;

use super::keys::Values;
use super::{Context, NextRequest, OpenError};
use crate::http::base::{BaseUrl, encoded};
use crate::http::credentials::Credentials;
use crate::http::error::{Error, Fault};
use crate::http::session::SignInError;
use crate::http::url::Url;
use crate::http::{self as client, Client, Protocol, Request, Response};
use crate::upstream::Upstream;

/// Why a request brought no response: an error of the service or of the way there, or no credentials.
pub type Failure = client::authorize::Failure<SignInError>;

/// A service. Clones share their connections, credentials and limits.
#[derive(Clone, Debug)]
pub struct Service {
    inner: Arc<Inner>,
    /// What requests accept, unless the config has this header.
    accept: Option<&'static str>,
}

#[derive(Debug)]
struct Inner {
    upstream: Arc<Upstream>,
    /// In the order of the config; at least one.
    targets: Vec<Target>,
    failover: Mutex<Failover>,
    credentials: Credentials,
    headers: HeaderMap,
    params: Vec<(String, String)>,
    identity: String,
    /// Whether the config has whole URLs, and not prefixes of them.
    has_whole_urls: bool,
}

/// One of the URLs.
#[derive(Debug)]
struct Target {
    base: BaseUrl,
    client: Client,
}

/// What is posted.
#[derive(Clone, Copy)]
pub struct FormBody<'c> {
    /// Its parameters.
    pub parameters: &'c [(&'c str, &'c str)],
    /// See [`Request::time_limit`].
    pub time_limit: Option<&'static str>,
}

/// A request to any of the URLs.
#[derive(Clone, Copy)]
struct Call<'c> {
    path: &'c str,
    key: &'c str,
    query: &'c [(&'c str, &'c str)],
    form: Option<FormBody<'c>>,
    accept: Option<&'static str>,
    /// [`Request::admitted`]
    admitted: bool,
}

// === impl Service ===

impl Service {
    /// Opens the service of a connection or entry with these keys: reads the files that they name, and sends
    /// nothing.
    pub fn open(values: &Values, context: &Context, protocol: Protocol) -> Result<Self, OpenError> {
        open::open(values, context, protocol).map(|inner| Self::of(Arc::new(inner)))
    }

    fn of(inner: Arc<Inner>) -> Self {
        Self { inner, accept: None }
    }

    /// The same service, whose requests have this header `Accept`, unless the config has another one.
    #[must_use]
    pub fn accepting(self, accept: &'static str) -> Self {
        Self { accept: Some(accept), ..self }
    }

    /// The first GET of a read: it is the request of [`Self::next_request`], which waited for its turn.
    ///
    /// `path` is appended to the path of the URL. Its percent-encoded characters stay as they are. The
    /// empty path is the URL itself. `key` distinguishes requests of one path of which some may fail while
    /// others do not; see [`Request::key`].
    pub async fn get(&self, path: &str, key: &str, query: &[(&str, &str)], by: Instant) -> Result<Response, Failure> {
        self.send(Call { path, key, query, form: None, accept: self.accept, admitted: true }, by).await
    }

    /// A further GET of the same read, such as the next page, or a request of no read.
    pub async fn get_more(
        &self,
        path: &str,
        key: &str,
        query: &[(&str, &str)],
        by: Instant,
    ) -> Result<Response, Failure> {
        self.send(Call { path, key, query, form: None, accept: self.accept, admitted: false }, by).await
    }

    /// The same as [`Self::get`] as a POST of `application/x-www-form-urlencoded`. The service must take it
    /// as a read, because it may be sent more than once.
    pub async fn post_form(&self, path: &str, key: &str, form: FormBody<'_>, by: Instant) -> Result<Response, Failure> {
        self.send(Call { path, key, query: &[], form: Some(form), accept: self.accept, admitted: true }, by).await
    }

    /// The next [`Self::get`] or [`Self::post_form`] of this path and key.
    pub fn next_request(&self, path: &str, key: &str) -> NextRequest<'_> {
        let current = self.inner.failover.lock().current();
        let base = &self.inner.targets[current].base;
        let key = key_of(&base.at(path, []), key);
        NextRequest { upstream: &self.inner.upstream, host: Some(base.authority()), key }
    }

    /// What distinguishes it from other services: URLs, parameters, headers and who reads, without
    /// secrets. For the identity of a source.
    pub fn identity(&self) -> &str {
        &self.inner.identity
    }

    /// Sends a request to the current URL, and while none answers to the others in order.
    async fn send(&self, call: Call<'_>, by: Instant) -> Result<Response, Failure> {
        let inner = &self.inner;
        let order = inner.failover.lock().order();
        let mut first: Option<(usize, Failure)> = None;
        let mut call = call;
        let (tried_first, mut fails_alone) = (order[0], false);
        for index in order {
            let began = Instant::now();
            let result = inner.send_to(index, call, by).await;
            let Some(answers) = inner.answers(index, &result) else { return result };
            let now = Instant::now();
            {
                let mut failover = inner.failover.lock();
                fails_alone |= !answers && failover.has_answered(index, began);
                // Whatever other URLs make of this request, other requests stay where they are.
                if !fails_alone {
                    failover.record(index, tried_first, answers, now);
                }
            }
            match result {
                Err(failure) if !answers => {
                    // The same message while all are down, wherever a read begins.
                    if first.as_ref().is_none_or(|(before, _)| index < *before) {
                        first = Some((index, failure));
                    }
                }
                result => {
                    self.probe(call, by, now);
                    return result;
                }
            }
            if now + client::ATTEMPT_MIN >= by {
                break;
            }
            call.admitted = false;
        }
        let (_, failure) = first.unwrap_or_else(|| (0, Fault::TimedOut.into()));
        Err(failure)
    }

    /// Sends the same request to the URLs before the current one if that is due. The responses are not
    /// used: they determine when requests return to such a URL.
    fn probe(&self, call: Call<'_>, by: Instant, now: Instant) {
        let due = self.inner.failover.lock().probes(now);
        for index in due {
            let (inner, request) = (self.inner.clone(), self.inner.request(index, Call { admitted: false, ..call }));
            let by = by.max(now + client::ATTEMPT_MIN);
            tokio::spawn(async move {
                let result = inner.targets[index].client.send(&request, &inner.credentials, by).await;
                if let Some(answers) = inner.answers(index, &result) {
                    inner.failover.lock().record_probe(index, answers, Instant::now());
                }
            });
        }
    }
}

// === impl Inner ===

impl Inner {
    async fn send_to(&self, index: usize, call: Call<'_>, by: Instant) -> Result<Response, Failure> {
        let mut result = self.targets[index].client.send(&self.request(index, call), &self.credentials, by).await;
        if let Err(Failure::Http(Error { fault: Fault::Status(status), .. })) = &mut result
            && !self.has_whole_urls
            && let Some(base) = status.location.as_deref().and_then(|location| location.strip_suffix(call.path))
        {
            // What to write into the config instead of the URL.
            status.location = Some(base.to_owned());
        }
        result
    }

    fn request(&self, index: usize, call: Call<'_>) -> Request {
        let params = self.params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let url = self.targets[index].base.at(call.path, params.chain(call.query.iter().copied()));
        let mut request = match call.form {
            None => Request::get(url),
            Some(FormBody { parameters, time_limit }) => {
                Request { time_limit, ..Request::post_form(url, encoded(parameters.iter().copied())) }
            }
        };
        self.add_headers(&mut request, call.accept);
        let key = key_of(&request.url, call.key);
        Request { key, admitted: call.admitted, ..request }
    }

    /// Adds the headers of the config, and `accept` unless that is one of them.
    fn add_headers(&self, request: &mut Request, accept: Option<&'static str>) {
        request.headers.extend(accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept))));
        request.headers.extend(self.headers.clone());
    }

    /// Whether a URL answers. `None` if nothing was sent to it.
    fn answers(&self, index: usize, result: &Result<Response, Failure>) -> Option<bool> {
        match result {
            Ok(_) => Some(true),
            Err(Failure::Authorize(_)) => None,
            Err(Failure::Http(error)) if error.fault.is_own() => None,
            Err(Failure::Http(error)) => Some(!self.targets[index].client.is_failure_of_host(&error.met().fault)),
        }
    }
}

/// The key by which failures of a request to this URL are kept.
fn key_of(url: &Url, key: &str) -> String {
    if key.is_empty() { url.path().to_owned() } else { format!("{} {key}", url.path()) }
}
