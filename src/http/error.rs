//! Why a request brought no answer: kinds that have different remedies.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use ::http::header::{HeaderMap, LOCATION};

use super::proxy::{Proxy, ProxyFailure};
use super::url::{Url, is_near};
use crate::upstream::{Cause, Refusal};

/// What the log shows of an answer: a sentence or two.
const EXCERPT_MAX: usize = 300;
/// The answer of a proxy that needs credentials.
pub(super) const CREDENTIALS_WANTED: &str = "407 Proxy Authentication Required";
/// What to do about [`Fault::NoSocket`].
pub const OPEN_FILES: &str = "Raise the hard limit on open files of depthgauge to 16384 or more: `ulimit -Hn`, or `LimitNOFILE` of what starts it.";
/// What to do about [`Fault::NoRoom`].
pub const FEWER_LONG_ANSWERS: &str =
    "Read less from services with long answers, or raise `refresh` and `timeout` of their sources.";
/// How much of a secret makes it recognizable.
const PIECE: usize = 24;

/// A request that brought no answer.
#[derive(Clone, Debug)]
pub struct Error {
    /// Why.
    pub fault: Fault,
    /// The service's own name of the request; without one, the name that was sent.
    pub request_id: Option<String>,
}

/// Why a request brought no answer. Texts are the same for the same fault. They name neither
/// request nor host, except that of a proxy.
#[derive(Clone, Debug)]
pub enum Fault {
    /// No connection, or one that broke.
    Unreachable(Unreachable, Cause),
    /// The proxy in between made no connection.
    Proxy(Arc<ProxyFailure>, Cause),
    /// The deadline passed.
    TimedOut,
    /// The answer has more bytes than this.
    TooLong(usize),
    /// An error of the service.
    Status(Box<StatusError>),
    /// Not sent, because the process may open too few files for one more connection.
    NoSocket,
    /// A long answer that was not read, because too many others take memory until they are decoded.
    NoRoom,
    /// Not sent, because an earlier request met this.
    NotSent {
        /// What that one met.
        met: Box<Error>,
        /// How long the service still needs a pause, if it said so. Otherwise its host is down.
        retry_after: Option<Duration>,
    },
}

/// Kinds of connection failures, distinguished because the remedies differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreachable {
    /// No process listens there.
    #[error("connection refused")]
    Refused,
    /// The name has no address.
    #[error("host name not found")]
    NoSuchHost,
    /// The certificate is not trusted, or the handshake failed.
    #[error("TLS handshake failed")]
    Tls,
    /// No connection in time. An open connection without an answer is [`Fault::TimedOut`].
    #[error("timed out")]
    Late,
    /// Closed before or within the answer.
    #[error("connection lost")]
    Lost,
    /// The same by a host that no proxy leads to, such as a Service of this cluster.
    #[error("connection lost")]
    LostNearby,
}

/// An HTTP status that has no answer.
#[derive(Clone, Debug)]
pub struct StatusError {
    /// The HTTP status.
    pub status: u16,
    /// The service's own code, when the body had one.
    pub code: Option<String>,
    /// The beginning of the service's message, without secrets. It may name identifiers, so it is
    /// for the log only.
    pub message: String,
    /// Of a redirect: where to, to be written into the config. Redirects are never followed, because
    /// credentials must not leave their host.
    pub location: Option<String>,
    /// When the service allows the next request: from now, half a minute at most.
    pub retry_after: Option<Duration>,
    /// The headers of the answer.
    pub headers: HeaderMap,
}

/// What a protocol reads out of the body of an error.
#[derive(Clone, Debug, Default)]
pub struct ErrorText {
    /// The service's own code: a word.
    pub code: Option<String>,
    /// The service's message.
    pub message: String,
}

// === impl Error ===

impl Error {
    /// An earlier request met this, so this one was not sent.
    pub(super) fn not_sent(refusal: Refusal) -> Self {
        let Refusal { cause, retry_after } = refusal;
        let met = match (*cause).downcast_ref::<Self>() {
            Some(met) => met.clone(),
            // Recorded by another client than this module's.
            None => Fault::Unreachable(Unreachable::Lost, cause).into(),
        };
        Fault::NotSent { met: Box::new(met), retry_after }.into()
    }

    /// What was met, by this request or by an earlier one.
    pub fn met(&self) -> &Self {
        match &self.fault {
            Fault::NotSent { met, .. } => met.met(),
            _ => self,
        }
    }

    /// How long the service needs a pause, if this answer says so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match &self.fault {
            Fault::Status(status) => status.retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.fault.source()
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self { fault, request_id: None }
    }
}

// === impl Fault ===

impl Fault {
    /// Whether it says nothing of the service: depthgauge has reached a limit of its own.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::NoSocket | Self::NoRoom)
    }

    /// Whether the service itself did not respond.
    pub fn is_without_response(&self) -> bool {
        match self {
            Self::Unreachable(..) | Self::Proxy(..) | Self::TimedOut => true,
            Self::Status(_) | Self::TooLong(_) | Self::NoSocket | Self::NoRoom | Self::NotSent { .. } => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(kind, _) => kind.fmt(f),
            Self::Proxy(failure, _) => failure.fmt(f),
            Self::TimedOut => f.write_str("timed out"),
            Self::TooLong(max) => write!(f, "the answer is not understood: it is longer than {max} bytes"),
            Self::Status(status) => status.fmt(f),
            Self::NoSocket => f.write_str("not sent, because the limit on open files allows no further connection"),
            Self::NoRoom => f.write_str("the answer is long, and too many other long answers are being read"),
            Self::NotSent { met, .. } => met.fmt(f),
        }
    }
}

impl Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(_, cause) | Self::Proxy(_, cause) => Some(&**cause),
            Self::NotSent { met, .. } => met.fault.source(),
            Self::TimedOut | Self::TooLong(_) | Self::Status(_) | Self::NoSocket | Self::NoRoom => None,
        }
    }
}

impl From<StatusError> for Fault {
    fn from(error: StatusError) -> Self {
        Self::Status(Box::new(error))
    }
}

// === impl Unreachable ===

impl Unreachable {
    /// The kind that an error or a cause below it shows: that the connection was refused, that the host has no address,
    /// or a failure of TLS. `is_connect` is whether it is an error of opening a connection.
    pub fn of(error: &(dyn std::error::Error + 'static), is_connect: bool) -> Option<Self> {
        let mut kind = None;
        let mut cause = Some(error);
        while let Some(current) = cause {
            // rustls reports through an io::Error that wraps its own, and the connector wraps that.
            let mut inner = current;
            while let Some(io) = inner.downcast_ref::<std::io::Error>() {
                if io.kind() == std::io::ErrorKind::ConnectionRefused {
                    kind = Some(Self::Refused);
                }
                let Some(wrapped) = io.get_ref() else { break };
                inner = wrapped;
            }
            if inner.is::<rustls::Error>() {
                kind = Some(Self::Tls);
            }
            // hyper-util keeps its resolver error private; this is how it prints.
            if is_connect && current.to_string() == "dns error" {
                kind = Some(Self::NoSuchHost);
            }
            cause = current.source();
        }
        kind
    }

    /// Whether the next attempt may succeed. One that took too long to connect may as well take too
    /// long again, and trust does not change within a read.
    pub(super) fn may_pass(self) -> bool {
        !matches!(self, Self::Tls | Self::Late)
    }
}

// === impl StatusError ===

impl StatusError {
    /// 5xx, unless the service does not have what was requested.
    pub fn is_server_failure(&self) -> bool {
        self.status >= 500 && self.status != 501
    }

    /// Where a redirect leads, seen from the URL that was requested.
    ///
    /// Without query and user, because a service may repeat what it was sent.
    pub(super) fn location(status: StatusCode, headers: &HeaderMap, url: &Url, secrets: &[String]) -> Option<String> {
        let location = headers.get(LOCATION).filter(|_| status.is_redirection())?.to_str().ok()?;
        let mut location = url.join(location).ok()?;
        location.set_query(None);
        location.set_fragment(None);
        // A URL without a host has neither.
        let _ = (location.set_username(""), location.set_password(None));
        let location = Some(location.to_string()).filter(|location| !repeats(location, secrets))?;
        Some(location[..location.floor_char_boundary(EXCERPT_MAX)].to_owned())
    }
}

impl fmt::Display for StatusError {
    /// Status and code, and nothing that differs from one answer to the next.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} {code}", self.status),
            None if (200..300).contains(&self.status) => write!(f, "{}, but only status 200 is read", self.status),
            None => self.status.fmt(f),
        }
    }
}

// === impl ErrorText ===

impl ErrorText {
    /// The body of a service that has no format of its own, or of a proxy in between.
    pub fn whole(body: &[u8]) -> Self {
        Self { code: None, message: String::from_utf8_lossy(body).into_owned() }
    }
}

/// The beginning of an answer, for the log; nothing of one that repeats the secret that was sent,
/// as debugging proxies do.
pub(super) fn shown(text: &str, secrets: &[String]) -> String {
    if repeats(text, secrets) {
        return "(an answer that repeats what was sent)".to_owned();
    }
    text[..text.floor_char_boundary(EXCERPT_MAX)].to_owned()
}

/// Whether a text contains a piece of a secret that makes it recognizable.
fn repeats(text: &str, secrets: &[String]) -> bool {
    // From its middle: the answer may be cut, and tokens of one issuer begin alike.
    let is_there = |secret: &String| {
        let middle = secret.len() / 2;
        let piece = secret.get(middle..secret.len().min(middle + PIECE)).filter(|_| secret.len() > PIECE);
        text.contains(piece.unwrap_or(secret))
    };
    secrets.iter().filter(|secret| !secret.is_empty()).any(is_there)
}

/// How hyper-util describes the phase of a request. The cause is below it.
const PHASE: &str = "client error (";

/// An error and the causes below it, for the log.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    and_causes(error.to_string(), error.source())
}

/// A text and these causes, for the log.
pub fn and_causes(text: String, cause: Option<&(dyn std::error::Error + 'static)>) -> String {
    let causes = std::iter::successors(cause, |cause| cause.source()).map(ToString::to_string);
    causes.filter(|cause| !cause.starts_with(PHASE)).fold(text, |text, cause| format!("{text}: {cause}"))
}

/// The error with the URL of the request, instead of the one that was sent: that may contain a secret.
pub(super) fn without_secret(error: reqwest::Error, url: &Url) -> reqwest::Error {
    error.with_url(url.clone())
}

/// What went wrong with a connection that `proxy` may be in the way of.
pub(super) fn lost_by(proxy: impl FnOnce() -> Option<Proxy>, error: reqwest::Error) -> Fault {
    let causes = std::iter::successors(std::error::Error::source(&error), |error| error.source());
    let tunnel = causes.filter(|_| error.is_connect()).find_map(|cause| tunnel_failure(&cause.to_string()));
    let has_no_tls = error.url().is_some_and(|url| url.scheme() == "http");
    let fault = lost(error);
    let Fault::Unreachable(kind, cause) = fault else { return fault };
    let what = match (tunnel, kind) {
        (Some(what), Unreachable::Lost | Unreachable::LostNearby) => what,
        // Only the proxy is connected to by name and address.
        (_, Unreachable::Refused) => "connection refused",
        (_, Unreachable::NoSuchHost) => "host name not found",
        (_, Unreachable::Late) => "timed out",
        // Only the connection to the proxy has TLS.
        (_, Unreachable::Tls) if has_no_tls => "TLS handshake failed",
        (_, Unreachable::Tls | Unreachable::Lost | Unreachable::LostNearby) => return Fault::Unreachable(kind, cause),
    };
    match proxy() {
        Some(proxy) => Fault::Proxy(ProxyFailure { proxy, what }.into(), cause),
        None => Fault::Unreachable(kind, cause),
    }
}

/// What a proxy answered to the request for a tunnel, from the text of hyper-util's error, which is
/// private.
pub fn tunnel_failure(text: &str) -> Option<&'static str> {
    match text.strip_prefix("tunnel error: ")? {
        "proxy authorization required" => Some(CREDENTIALS_WANTED),
        "unsuccessful" => Some("it refuses to connect to the endpoint"),
        _ => Some("it closes the connection before it is connected to the endpoint"),
    }
}

/// What went wrong with a connection.
pub(super) fn lost(error: reqwest::Error) -> Fault {
    let is_nearby = error.url().and_then(Url::host_str).is_some_and(is_near);
    let usual = match (error.is_timeout(), error.is_connect()) {
        (true, false) => return Fault::TimedOut,
        (true, true) => Unreachable::Late,
        (false, _) if is_nearby => Unreachable::LostNearby,
        (false, _) => Unreachable::Lost,
    };
    let kind = Unreachable::of(&error, error.is_connect()).unwrap_or(usual);
    Fault::Unreachable(kind, Arc::new(error))
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;

    use super::*;

    #[test]
    fn the_log_shows_the_beginning_of_an_answer_and_never_a_secret() {
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmF0dXJl";
        let shown = |text: &str, secret: &str| shown(text, &["another-secret".to_owned(), secret.to_owned()]);
        assert_eq!(shown("no such queue", token), "no such queue");
        assert_eq!(shown("", token), "");
        assert_eq!(shown("no secret was sent", ""), "no secret was sent");
        for echo in [format!("authorization: Bearer {token}"), format!("{{\"keyId\":\"{}", &token[..70])] {
            assert_eq!(shown(&echo, token), "(an answer that repeats what was sent)");
        }
        assert_eq!(shown(&"ü".repeat(1000), token).len(), EXCERPT_MAX);
    }

    #[test]
    fn a_redirect_names_the_url_to_write() {
        let url: Url = "https://old.example.com/a/b?c".parse().unwrap();
        let location = |status: u16, to: &str| {
            let headers = [(LOCATION, HeaderValue::from_str(to).unwrap())].into_iter().collect();
            StatusError::location(StatusCode::from_u16(status).unwrap(), &headers, &url, &["hidden".to_owned()])
        };
        assert_eq!(location(301, "/x").as_deref(), Some("https://old.example.com/x"));
        assert_eq!(location(308, "https://new.example.com").as_deref(), Some("https://new.example.com/"));
        assert_eq!((location(201, "/x"), location(302, "https://")), (None, None));
        assert_eq!(location(302, "https://user:pw@new/login?key=hidden#x").as_deref(), Some("https://new/login"));
        assert_eq!(location(302, "https://new/hidden/"), None);
    }

    #[test]
    fn a_cause_of_another_client_is_a_lost_connection() {
        let cause: Cause = Arc::from(Box::<dyn std::error::Error + Send + Sync>::from("gone"));
        let error = Error::not_sent(Refusal { cause, retry_after: None });
        assert_eq!(
            (error.to_string().as_str(), with_causes(&error)),
            ("connection lost", "connection lost: gone".to_owned())
        );
    }
}
