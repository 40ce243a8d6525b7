//! Instance principal: the certificate that a compute instance has from its
//! [metadata service](super::metadata), changed for a session at the federation service of its
//! region.
//!
//! The request is the one recorded from the official Python SDK 2.189.0, but with a SHA-256
//! fingerprint, as the Go SDK sends it. Certificate and key are read anew for every session, for
//! the platform rotates them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use jiff::Timestamp;
use reqwest::Url;

use super::endpoint::{is_loopback, target};
use super::error::with_causes;
use super::metadata::{self, Identity, Metadata};
use super::region::Home;
use super::retry::retry_after;
use super::session::{Issuer, Session, SignInError, new_key};
use super::sign::{Content, Signable, Signer, content_hash};
use super::token::{self, Claims};
use super::transport::{Exchanged, excerpt, exchange, secret};
use super::{Error, REQUEST_ID};

/// Of one attempt, the making of the key included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How errors name the service.
const NAME: &str = "federation service";

pub(super) struct InstancePrincipal {
    metadata: Metadata,
    clock: fn() -> Timestamp,
    known: Mutex<Known>,
    /// Which of the two services is asked just now.
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
        Self { metadata, clock, known: Mutex::default(), federating: AtomicBool::new(false) }
    }

    async fn session(&self) -> Result<Session, SignInError> {
        self.federating.store(false, Ordering::Relaxed);
        let identity = self.metadata.identity().await?;
        let home = self.home().await?;
        self.same_tenancy(&identity.tenancy)?;
        let made = tokio::task::spawn_blocking(new_key).await;
        let (key, public) = made.map_err(|error| unusable(&error.to_string()))??;
        self.federating.store(true, Ordering::Relaxed);
        let token = self.federate(&identity, &STANDARD.encode(public), &home).await?;
        let claims = Claims::of(&token).ok_or_else(|| unusable("its token is none that ends"))?;
        let lifetime = claims.left((self.clock)()).ok_or_else(|| token::expired(NAME, claims))?;
        Ok(Session { signer: Signer::new(token::key_id(&token), key), lifetime, home: Some(home) })
    }

    /// Asked once: an instance does not move.
    async fn home(&self) -> Result<Home, SignInError> {
        if let Some(home) = self.known().home.clone() {
            return Ok(home);
        }
        let home = self.metadata.home().await?;
        self.known().home = Some(home.clone());
        Ok(home)
    }

    /// A certificate of another tenancy would read other people's queues.
    fn same_tenancy(&self, tenancy: &str) -> Result<(), SignInError> {
        if self.known().tenancy.get_or_insert_with(|| tenancy.to_owned()) == tenancy {
            return Ok(());
        }
        Err(SignInError::new(
            "the instance's certificate is of another tenancy than before",
            "Restart this pod if the instance has changed hands.",
            "",
        ))
    }

    async fn federate(&self, identity: &Identity, public: &str, home: &Home) -> Result<String, SignInError> {
        let url = self.url(home)?;
        let http = self.metadata.roots.client_for(&url).map_err(|error| unusable(&with_causes(&error)))?;
        let request = self.request(&http, url, identity, public)?;
        let sent = identity.signer.key_id();
        let Exchanged { status, headers, body, request_id } = exchange(request).await.map_err(|error| lost(&error))?;
        if (200..300).contains(&status) {
            let none = || SignInError { request_id, ..unusable("its answer holds no token") };
            return token::from_json(&body).ok_or_else(none);
        }
        let remedy = match status {
            401 | 403 => "Set the clock of this node (NTP); if it is right, the instance needs a new certificate.",
            _ => "This is trouble of the service; it is asked again.",
        };
        let detail = match token::from_json(&body) {
            Some(_) => "an answer that holds a token all the same".to_owned(),
            None => excerpt(&String::from_utf8_lossy(&body), sent),
        };
        let retry_after = retry_after(status, &headers, (self.clock)());
        Err(SignInError { cause: format!("{NAME}: {status}"), remedy, detail, request_id, retry_after })
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

    fn request(
        &self,
        http: &reqwest::Client,
        url: Url,
        identity: &Identity,
        public: &str,
    ) -> Result<reqwest::RequestBuilder, SignInError> {
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
        let authorization = signer.authorization(&signable).map_err(|_| unusable("the instance's key cannot sign"))?;
        Ok(http
            .post(url)
            .header(DATE, date)
            .header(CONTENT_TYPE, "application/json")
            .header("x-content-sha256", content_hash(body.as_bytes()))
            .header(AUTHORIZATION, secret(&authorization).map_err(|error| lost(&error))?)
            .header(REQUEST_ID, format!("{:032X}", fastrand::u128(..)))
            .body(body))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whole assignments only: a panic leaves nothing half made.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issuer for InstancePrincipal {
    fn issue(&self) -> BoxFuture<'_, Result<Session, SignInError>> {
        async move {
            let session = tokio::time::timeout(TIMEOUT, self.session()).await;
            session.unwrap_or_else(|_| Err(self.too_slow()))
        }
        .boxed()
    }

    fn too_slow(&self) -> SignInError {
        if self.federating.load(Ordering::Relaxed) { lost(&Error::TimedOut) } else { metadata::too_slow() }
    }
}

fn lost(error: &Error) -> SignInError {
    let remedy = "Check the way from this pod to the region's auth endpoint: DNS, NetworkPolicy, service gateway.";
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
