//! Tokens by client credentials, RFC 6749 §4.4.
//!
//! The client authenticates by the header, which every token service must support (§2.3.1), and in the
//! form once the service has refused that.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::StatusCode;
use ::http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::authorize::{Authorization, sensitive};
use super::base::{encoded, encoded_text};
use super::error::{Error, ErrorText, Fault};
use super::secret::read;
use super::session::{Issuer, Session, Sessions, SignInError};
use super::transport::Transport;
use super::url::{Url, host};
use super::{Client, Protocol, Request};
use crate::upstream::{Limits, Upstream};
use crate::watched::{OnUse, Reading};

/// The time for a token: it must fit into the deadline of a read, which waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest token response: some services put a few KiB of claims into a token.
const BODY_MAX: usize = 64 << 10;
/// The lifetime of a token whose service does not return one.
const LIFETIME: Duration = Duration::from_secs(300);
/// The longest lifetime that is used, whatever the service returns.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// The shortest interval between two tokens that are requested because of a 401.
const FORCED_EVERY: Duration = Duration::from_secs(60);
/// Requests a second. Sessions request a token once in minutes.
const REQUESTS_PER_SECOND: u32 = 10;
const NAME: &str = "token service";

/// A client of a token service.
pub struct ClientCredentials {
    /// The token service.
    pub url: Url,
    /// The connection to the service.
    pub transport: Transport,
    /// The client.
    pub client_id: String,
    /// The file with its secret.
    pub secret_file: PathBuf,
    /// What the token is for; may be empty.
    pub scopes: Vec<String>,
    /// More parameters of the request.
    pub params: Vec<(String, String)>,
    /// Reads dates in `Retry-After`.
    pub clock: fn() -> Timestamp,
}

/// A token of the service.
pub(super) struct Token {
    /// `Bearer …`
    pub(super) header: HeaderValue,
    pub(super) secret: String,
}

struct TokenService {
    http: Client,
    url: Url,
    client_id: String,
    secret: OnUse<String, String>,
    scopes: Vec<String>,
    params: Vec<(String, String)>,
    /// Whether the service refused the header.
    by_form: AtomicBool,
}

/// RFC 6749 §5.1.
#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
}

/// RFC 6749 §5.2.
#[derive(Deserialize)]
struct ErrorBody {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// The tokens of a client. Reads its secret, and sends nothing.
pub(super) fn tokens(client: ClientCredentials) -> Result<Sessions<Token>, String> {
    let ClientCredentials { url, transport, client_id, secret_file, scopes, params, clock } = client;
    let title = format!("{NAME} {}", host(&url));
    let make = move |reading: &mut Reading| read(reading, &secret_file);
    let secret = OnUse::open("the file with the client secret", Box::new(make))?;
    let upstream = Arc::new(Upstream::new(Limits::new(REQUESTS_PER_SECOND, "")));
    // A session repeats its request by itself.
    // By RFC 6749 it is 200, and some services answer with 201.
    let is_answer = StatusCode::is_success;
    let protocol = Protocol { attempts: 1, body_max: BODY_MAX, is_answer, read_error, ..Protocol::default() };
    let http = Client::new(upstream, transport, protocol, clock);
    let service = TokenService { http, url, client_id, secret, scopes, params, by_form: AtomicBool::new(false) };
    Ok(Sessions::new(service, title, FORCED_EVERY))
}

// === impl TokenService ===

impl TokenService {
    async fn session(&self) -> Result<Session<Token>, SignInError> {
        let by = Instant::now() + TIMEOUT;
        let secret = self.secret.current().await;
        let by_form = self.by_form.load(Ordering::Relaxed);
        let response = match self.request(&secret, by_form, by).await {
            Err(error) if !by_form && refuses_client(&error) => {
                let response = self.request(&secret, true, by).await;
                self.by_form.store(response.is_ok(), Ordering::Relaxed);
                // The first error is that of the way that every service supports.
                response.map_err(|_| error)
            }
            response => response,
        };
        let body = response.map_err(|error| failed(&error))?;
        let unusable = |what: &str| SignInError::unusable(NAME, what);
        // Not serde's error: it may contain the token.
        let token: TokenResponse =
            serde_json::from_slice(&body).map_err(|_| unusable("a response without access_token and token_type"))?;
        if !token.token_type.eq_ignore_ascii_case("bearer") {
            return Err(unusable("its token_type is not Bearer"));
        }
        let secret = token.access_token;
        let header =
            sensitive(&format!("Bearer {secret}")).ok_or_else(|| unusable("its token is not a valid header"))?;
        // Not used to the end: a request takes its time, and clocks differ.
        let lifetime = token.expires_in.map_or(LIFETIME, Duration::from_secs).min(LIFETIME_MAX) * 9 / 10;
        if lifetime.is_zero() {
            return Err(unusable("its token has expired"));
        }
        Ok(Session { granted: Token { header, secret }, lifetime })
    }

    async fn request(&self, secret: &str, by_form: bool, by: Instant) -> Result<Vec<u8>, Error> {
        let scopes = self.scopes.join(" ");
        let mut form = vec![("grant_type", "client_credentials")];
        if !scopes.is_empty() {
            form.push(("scope", &scopes));
        }
        form.extend(self.params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let secrets = vec![secret.to_owned(), encoded_text(secret)];
        let mut auth = Authorization { secrets, ..Authorization::default() };
        if by_form {
            form.extend([("client_id", self.client_id.as_str()), ("client_secret", secret)]);
        } else {
            // Encoded twice: RFC 6749 §2.3.1.
            let proof = STANDARD.encode(format!("{}:{}", encoded_text(&self.client_id), encoded_text(secret)));
            // Base64 is always a value of a header.
            auth.headers.extend(sensitive(&format!("Basic {proof}")).map(|header| (AUTHORIZATION, header)));
            auth.secrets.push(proof);
        }
        let mut request = Request::post_form(self.url.clone(), encoded(form));
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let sent = self.http.send(&request, &auth, by).await;
        sent.map(|response| response.body).map_err(super::authorize::Failure::into_error)
    }
}

impl Issuer for TokenService {
    type Granted = Token;

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn issue(&self) -> BoxFuture<'_, Result<Session<Token>, SignInError>> {
        self.session().boxed()
    }

    fn too_slow(&self) -> SignInError {
        failed(&Fault::TimedOut.into())
    }
}

/// Whether the service refuses how the client authenticates: `invalid_client` with 401, or 400 of services
/// that know only the form.
fn refuses_client(error: &Error) -> bool {
    match &error.fault {
        Fault::Status(status) => {
            status.status == 401 || (status.status == 400 && status.code.as_deref() != Some("invalid_scope"))
        }
        _ => false,
    }
}

/// A response with another format may contain anything.
fn read_error(body: &[u8]) -> ErrorText {
    let Ok(ErrorBody { error, error_description }) = serde_json::from_slice(body) else {
        return ErrorText::whole(body);
    };
    let is_word = error.len() <= 64 && error.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    ErrorText { code: is_word.then_some(error), message: error_description }
}

fn failed(error: &Error) -> SignInError {
    let remedy = match &error.met().fault {
        Fault::Status(status) => status_remedy(status.status),
        Fault::Proxy(failure, _) => failure.remedy(),
        _ => "Check the network path from depthgauge to `auth.tokenUrl`: DNS, NetworkPolicy, certificate, proxy.",
    };
    SignInError::refused(NAME, remedy, error)
}

fn status_remedy(status: u16) -> &'static str {
    match status {
        400 | 401 | 403 => "Check `auth.clientId`, `auth.scopes` and the file that `auth.clientSecretFile` names.",
        300..=399 => "Set `auth.tokenUrl` to the address of the token service itself; redirects are not followed.",
        404 => "Check `auth.tokenUrl`.",
        _ => "This is a failure of the token service; the request is repeated.",
    }
}
