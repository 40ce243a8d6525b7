//! Instance principal: the certificate that a compute instance has from its
//! [metadata service](super::metadata), changed for a session at the federation service of its
//! region.
//!
//! The request is the one recorded from the official Python SDK 2.189.0, but with a SHA-256
//! fingerprint, as the Go SDK sends it. Certificate and key are read again for every session,
//! because the platform rotates them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, DATE, HeaderName};
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::metadata::{self, Identity, Metadata};
use super::region::Home;
use super::session::{Granted, new_key};
use super::sign::{Content, Signable, Signer, content_hash};
use super::token::{self, Claims};
use super::{request_id, session_protocol, token_service};
use crate::http::authorize::{Authorization, sensitive};
use crate::http::error::{Error, ErrorText, Fault, with_causes};
use crate::http::proxy::PROXY_REMEDY;
use crate::http::session::{Issuer, Session, SignInError};
use crate::http::transport::{Transport, Trust};
use crate::http::url::{Url, is_loopback, target};
use crate::http::{Client, Protocol, Request};
use crate::upstream::Upstream;

/// Of one attempt, the making of the key included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How errors name the service.
const NAME: &str = "federation service";
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-content-sha256");

pub(super) struct InstancePrincipal {
    metadata: Metadata,
    /// The metadata service, and the federation service.
    upstreams: [Arc<Upstream>; 2],
    clock: fn() -> Timestamp,
    known: Mutex<Known>,
    /// Whether the current request goes to the second of the two services.
    federating: AtomicBool,
}

/// What stays as it was at first.
#[derive(Default)]
struct Known {
    home: Option<Home>,
    tenancy: Option<String>,
}

// === impl InstancePrincipal ===

impl InstancePrincipal {
    pub(super) fn new(metadata: Metadata, clock: fn() -> Timestamp) -> Self {
        let upstreams = [token_service(), token_service()];
        Self { metadata, upstreams, clock, known: Mutex::default(), federating: AtomicBool::new(false) }
    }

    async fn session(&self) -> Result<Session<Granted>, SignInError> {
        let by = Instant::now() + TIMEOUT;
        self.federating.store(false, Ordering::Relaxed);
        let http = metadata::client(self.upstreams[0].clone(), self.clock);
        let identity = self.metadata.identity(&http, by).await?;
        let home = self.home(&http, by).await?;
        self.same_tenancy(&identity.tenancy)?;
        let made = tokio::task::spawn_blocking(new_key).await;
        let (key, public) = made.map_err(|error| unusable(&error.to_string()))??;
        self.federating.store(true, Ordering::Relaxed);
        let token = self.federate(&identity, &STANDARD.encode(public), &home, by).await?;
        let claims = Claims::of(&token).ok_or_else(|| unusable("its token has no expiry"))?;
        let lifetime = claims.left((self.clock)()).ok_or_else(|| token::expired(NAME, claims))?;
        let signer = Arc::new(Signer::new(token::key_id(&token), key));
        Ok(Session { granted: Granted { signer, home: Some(home) }, lifetime })
    }

    /// Requested once: an instance does not move.
    async fn home(&self, http: &Client, by: Instant) -> Result<Home, SignInError> {
        if let Some(home) = self.known().home.clone() {
            return Ok(home);
        }
        let home = self.metadata.home(http, by).await?;
        self.known().home = Some(home.clone());
        Ok(home)
    }

    /// With a certificate of another tenancy it would read that tenancy's queues.
    fn same_tenancy(&self, tenancy: &str) -> Result<(), SignInError> {
        if self.known().tenancy.get_or_insert_with(|| tenancy.to_owned()) == tenancy {
            return Ok(());
        }
        Err(SignInError::new(
            "the instance's certificate is of another tenancy than before",
            "Restart this pod if the instance was moved to another tenancy.",
            "",
        ))
    }

    async fn federate(
        &self,
        identity: &Identity,
        public: &str,
        home: &Home,
        by: Instant,
    ) -> Result<String, SignInError> {
        let url = self.url(home)?;
        let transport = Transport::new(Trust::System(self.metadata.roots.clone()));
        let protocol = Protocol { read_error, ..session_protocol(request_id) };
        let http = Client::new(self.upstreams[1].clone(), transport, protocol, self.clock);
        http.prepare(&url).map_err(|error| unusable(&with_causes(&error)))?;
        let (request, auth) = self.request(url, identity, public)?;
        let answer = http.send(&request, &auth, by).await.map_err(|failure| failed(&failure.into_error()))?;
        let none = || SignInError { request_id: answer.request_id.clone(), ..unusable("its answer holds no token") };
        token::from_json(&answer.body).ok_or_else(none)
    }

    fn url(&self, home: &Home) -> Result<Url, SignInError> {
        let given = self.metadata.federation.as_ref().map(|base| base.trim_end_matches('/').to_owned());
        let base = given.or_else(|| home.federation()).ok_or_else(|| unusable("the region has no domain"))?;
        let url: Url = format!("{base}/v1/x509").parse().map_err(|_| unusable("its address is none"))?;
        if url.scheme() != "https" && !url.host_str().is_some_and(is_loopback) {
            return Err(unusable("its address is not HTTPS"));
        }
        Ok(url)
    }

    fn request(&self, url: Url, identity: &Identity, public: &str) -> Result<(Request, Authorization), SignInError> {
        let Identity { leaf, intermediate, signer, .. } = identity;
        // Base64 needs no escapes.
        let body = format!(
            r#"{{"certificate": "{leaf}", "publicKey": "{public}", "intermediateCertificates": ["{intermediate}"], "fingerprintAlgorithm": "SHA256"}}"#
        );
        let date = httpdate::fmt_http_date((self.clock)().into());
        let content = Content { content_type: "application/json", body: body.as_bytes() };
        let target = target(&url);
        // The one request that does not sign its host.
        let signable = Signable { method: "POST", target: &target, host: None, date: &date, content: Some(content) };
        let signed = signer.authorization(&signable).map_err(|_| unusable("the instance's key cannot sign"))?;
        let hash = content_hash(body.as_bytes());
        let headers = [(DATE, date), (CONTENT_SHA256, hash), (AUTHORIZATION, signed)];
        let headers = headers.into_iter().map(|(name, value)| Some((name, sensitive(&value)?)));
        let headers =
            headers.collect::<Option<_>>().ok_or_else(|| unusable("the instance's key id is not a header"))?;
        let auth = Authorization { headers, query: None, secrets: vec![signer.key_id().to_owned()] };
        Ok((Request::post_json(url, body), auth))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }
}

impl Issuer for InstancePrincipal {
    type Granted = Granted;

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn issue(&self) -> BoxFuture<'_, Result<Session<Granted>, SignInError>> {
        self.session().boxed()
    }

    fn too_slow(&self) -> SignInError {
        if self.federating.load(Ordering::Relaxed) { lost(&Fault::TimedOut.into()) } else { metadata::too_slow() }
    }
}

/// An error that holds a token all the same is not shown.
fn read_error(body: &[u8]) -> ErrorText {
    match token::from_json(body) {
        Some(_) => ErrorText { message: "an answer that holds a token all the same".to_owned(), code: None },
        None => ErrorText::whole(body),
    }
}

fn failed(error: &Error) -> SignInError {
    let Error { fault: Fault::Status(refused), request_id } = error.met() else { return lost(error) };
    let remedy = match refused.status {
        401 | 403 => "Set the clock of this node (NTP); if it is right, the instance needs a new certificate.",
        _ => "This is a failure on the OCI side; the request is repeated.",
    };
    SignInError {
        cause: format!("{NAME}: {}", refused.status),
        remedy,
        detail: refused.message.clone(),
        request_id: request_id.clone(),
        retry_after: refused.retry_after,
    }
}

fn lost(error: &Error) -> SignInError {
    let remedy = match &error.met().fault {
        Fault::Proxy(..) => PROXY_REMEDY,
        _ => {
            "Check the network path from depthgauge to the region's auth endpoint: DNS, NetworkPolicy, service gateway."
        }
    };
    SignInError::lost(NAME, remedy, error)
}

fn unusable(what: &str) -> SignInError {
    SignInError::unusable(NAME, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_federation_service_is_the_regions_and_https() {
        let url = |federation: Option<&str>, region: &str, domain: Option<&str>| {
            let metadata = Metadata { federation: federation.map(str::to_owned), ..Metadata::default() };
            let home = Home { region: region.to_owned(), domain: domain.map(str::to_owned) };
            InstancePrincipal::new(metadata, || Timestamp::MIN).url(&home).map(|url| url.to_string()).ok()
        };
        assert_eq!(url(None, "fra", None).unwrap(), "https://auth.eu-frankfurt-1.oraclecloud.com/v1/x509");
        assert_eq!(
            url(None, "atlantis-1", Some("example.com")).unwrap(),
            "https://auth.atlantis-1.example.com/v1/x509"
        );
        assert_eq!(url(None, "atlantis-1", None), None);
        assert_eq!(url(Some("http://127.0.0.1:1/"), "fra", None).unwrap(), "http://127.0.0.1:1/v1/x509");
        assert_eq!(url(Some("http://example.com"), "fra", None), None);
    }
}
