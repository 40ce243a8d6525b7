//! How requests travel: over which connections, trusting whom, and how much of an answer is read.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Url};

use super::REQUEST_ID;
use super::endpoint::is_loopback;
use super::error::{Error, Unreachable, with_causes};

/// Time to open a connection. A handshake across the world takes under half a second; the
/// deadline of the whole read is the caller's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer that is read: GetQueue with its tags stays under 64 KiB.
const BODY_MAX: usize = 1 << 20;

/// Where the next page of a list begins; absent on the last one.
const NEXT_PAGE: HeaderName = HeaderName::from_static("opc-next-page");

/// What the log shows of an answer: a sentence or two.
const EXCERPT_MAX: usize = 300;
/// How much of a token makes it known again.
const PIECE: usize = 24;

/// Certificates that are trusted besides the system's.
#[derive(Clone, Debug, Default)]
pub struct Roots(Vec<Certificate>);

/// Connections that are reused. Each kind is made when there is a use for it, because each holds
/// a copy of the certificates that it trusts.
#[derive(Debug)]
pub(super) struct Transport {
    roots: Roots,
    kinds: [OnceLock<reqwest::Client>; 3],
}

/// What a connection to this address needs.
#[derive(Clone, Copy)]
enum Way {
    /// The system's proxies, if it names some, and certificates.
    Out,
    /// To loopback: no proxy can reach it.
    Direct,
    /// To loopback, without TLS: no certificates either.
    Plain,
}

/// An answer of a service that signs somebody in.
pub(super) struct Exchanged {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// The service's, or else the one that was sent.
    pub(super) request_id: Option<String>,
}

// === impl Roots ===

impl Roots {
    /// Those of a PEM file; the error says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let pem = std::fs::read(path).map_err(|error| error.to_string())?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| with_causes(&error))?;
        if certificates.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(Self(certificates)) }
    }

    /// A client for one of OCI's services there.
    pub(super) fn client_for(&self, url: &Url) -> reqwest::Result<reqwest::Client> {
        self.client(Way::to(url))
    }

    fn client(&self, way: Way) -> reqwest::Result<reqwest::Client> {
        let trusting = || builder().tls_certs_merge(self.0.iter().cloned());
        match way {
            Way::Out => trusting().build(),
            Way::Direct => trusting().no_proxy().build(),
            Way::Plain => builder().tls_certs_only([]).no_proxy().build(),
        }
    }
}

// === impl Way ===

impl Way {
    fn to(url: &Url) -> Self {
        match (url.host_str().is_some_and(is_loopback), url.scheme()) {
            (false, _) => Self::Out,
            (true, "http") => Self::Plain,
            (true, _) => Self::Direct,
        }
    }
}

// === impl Transport ===

impl Transport {
    pub(super) fn new(roots: Roots) -> Self {
        Self { roots, kinds: [const { OnceLock::new() }; 3] }
    }

    /// Fails when the system's trusted certificates cannot be loaded.
    pub(super) fn client_for(&self, url: &Url) -> reqwest::Result<&reqwest::Client> {
        let way = Way::to(url);
        let kind = &self.kinds[way as usize];
        if let Some(client) = kind.get() {
            return Ok(client);
        }
        let made = self.roots.client(way)?;
        Ok(kind.get_or_init(|| made))
    }
}

/// What all clients have in common, whomever they trust.
pub(super) fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .http1_only()
        // A signed Authorization must not leave its host.
        .redirect(reqwest::redirect::Policy::none())
        // A repeated request needs a new date and signature, which only this module makes.
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("depthgauge/", env!("CARGO_PKG_VERSION")))
}

/// Reads at most [`BODY_MAX`] bytes, whatever Content-Length says.
pub(super) async fn read_body(response: &mut reqwest::Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(Error::Nonsense(format!("it is longer than {BODY_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The beginning of an answer, for the log; nothing of one that repeats the token that was sent,
/// as debugging proxies do.
pub(super) fn excerpt(text: &str, token: &str) -> String {
    // From its middle: the answer may be cut, and tokens of one issuer begin alike.
    let piece = token.get(token.len() / 2..token.len().min(token.len() / 2 + PIECE)).unwrap_or(token);
    if !token.is_empty() && text.contains(piece) {
        return "(an answer that repeats what was sent)".to_owned();
    }
    text[..text.floor_char_boundary(EXCERPT_MAX)].to_owned()
}

/// Where the next page begins, if there is one. A page that cannot be asked for is an error: a list
/// that ends there would be taken for the whole.
pub(super) fn next_page(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(page) = headers.get(NEXT_PAGE) else { return Ok(None) };
    let page = page.to_str().map_err(|_| Error::Nonsense("its next page is no text".to_owned()))?;
    Ok(Some(page.to_owned()))
}

/// What a decoder says of an answer, without the strings that it quotes of it: they may be as long
/// as the answer, and a token.
pub(super) fn without_quotes(text: &str) -> String {
    match (text.find('"'), text.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}\"…{}", &text[..first], &text[last..]),
        _ => text.to_owned(),
    }
}

/// An Authorization header that no log shows.
pub(super) fn secret(authorization: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(authorization).map_err(|_| Error::Unsigned)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What the service calls a request, errors included.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Sends what is no request to Queue: an answer, whatever its status.
pub(super) async fn exchange(request: reqwest::RequestBuilder) -> Result<Exchanged, Error> {
    let (client, request) = request.build_split();
    let request = request.map_err(unreachable)?;
    let mut id = request_id(request.headers());
    let exchanged = async {
        let mut response = client.execute(request).await.map_err(unreachable)?;
        id = request_id(response.headers()).or(id.take());
        let body = read_body(&mut response).await?;
        Ok::<_, Error>((response.status().as_u16(), std::mem::take(response.headers_mut()), body))
    };
    match exchanged.await {
        Ok((status, headers, body)) => Ok(Exchanged { status, headers, body, request_id: id }),
        Err(error) => Err(Error::of(id, error)),
    }
}

pub(super) fn unreachable(error: reqwest::Error) -> Error {
    let mut kind = match (error.is_timeout(), error.is_connect()) {
        (true, false) => return Error::TimedOut,
        (true, true) => Unreachable::Late,
        (false, _) => Unreachable::Lost,
    };
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
    Error::Unreachable(kind, Arc::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_shows_the_beginning_of_an_answer_and_never_a_token() {
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmF0dXJl";
        assert_eq!(excerpt("no such queue", token), "no such queue");
        assert_eq!(excerpt("", token), "");
        assert_eq!(excerpt("no token was sent", ""), "no token was sent");
        for echo in [format!("authorization: Bearer {token}"), format!("{{\"keyId\":\"{}", &token[..70])] {
            assert_eq!(excerpt(&echo, token), "(an answer that repeats what was sent)");
        }
        assert_eq!(excerpt(&"ü".repeat(1000), token).len(), EXCERPT_MAX);
    }

    #[test]
    fn a_page_that_cannot_be_asked_for_is_no_last_page() {
        let headers = |page: &[u8]| [(NEXT_PAGE, HeaderValue::from_bytes(page).unwrap())].into_iter().collect();
        assert_eq!(next_page(&HeaderMap::new()).unwrap(), None);
        assert_eq!(next_page(&headers(b"abc=")).unwrap().as_deref(), Some("abc="));
        assert!(next_page(&headers(b"\xc3\xa9")).is_err());
    }

    #[test]
    fn what_a_decoder_quotes_of_an_answer_is_not_shown() {
        let error = serde_json::from_str::<i64>(r#""a \"token\"""#).unwrap_err().to_string();
        assert!(error.contains("token"), "{error}");
        let shown = without_quotes(&error);
        assert!(shown.starts_with("invalid type: string \"…\", expected i64 at line 1"), "{shown}");
        assert_eq!(without_quotes("missing field `dlq`"), "missing field `dlq`");
    }
}
