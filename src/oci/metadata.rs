//! The metadata service of a compute instance: its identity and its region.
//!
//! Requests as recorded from the official Python SDK 2.189.0. Plain HTTP, because the service has
//! nothing else: its address is the instance's own link, and no proxy is used.

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::declared;
use super::environment::Environment;
use super::key::private_key;
use super::region::{Home, Region};
use super::sign::Signer;
use super::token_protocol;
use crate::http::authorize::Authorization;
use crate::http::error::{Error, Fault};
use crate::http::session::SignInError;
use crate::http::transport::{Roots, Transport, Trust};
use crate::http::{Client, Request};
use crate::upstream::Upstream;

/// Where it is, and where on networks without IPv4.
const BASES: [&str; 2] = ["http://169.254.169.254/opc/v2", "http://[fd00:c1::a9fe:a9fe]/opc/v2"];
/// Marks of the tenancy in a certificate's subject.
const TENANCY_MARKS: [&str; 2] = ["opc-tenant:", "opc-identity:"];
/// How errors name the service.
const NAME: &str = "instance metadata service";
const NO_INSTANCE: &str =
    "Where this is not an OCI instance, or pods can't reach its metadata service, set `oci.auth`.";

/// The addresses of the services by which an instance authenticates.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Instead of the usual ones: `http://127.0.0.1:1234/opc/v2`.
    pub base: Option<String>,
    /// Instead of the region's own, without a path: `https://auth.eu-frankfurt-1.oraclecloud.com`.
    pub federation: Option<String>,
    /// Trusted besides the system's certificates, for the federation service.
    pub roots: Roots,
}

/// The instance's identity, from the metadata service.
pub(super) struct Identity {
    /// The certificate, base64 of its DER.
    pub(super) leaf: String,
    /// The certificate above it, likewise.
    pub(super) intermediate: String,
    /// Signs as the certificate: `tenancy/fed-x509-sha256/fingerprint`.
    pub(super) signer: Signer,
    /// OCID of the tenancy.
    pub(super) tenancy: String,
}

// === impl Metadata ===

impl Metadata {
    /// With the overrides of the environment, whose names are the SDKs'.
    pub fn from_env(env: &Environment<'_>) -> Self {
        Self {
            base: env.var("OCI_METADATA_BASE_URL"),
            federation: env.var("OCI_SDK_AUTH_CLIENT_REGION_URL"),
            roots: Roots::default(),
        }
    }

    /// Where requests go first.
    pub fn address(&self) -> &str {
        self.base.as_deref().unwrap_or(BASES[0])
    }

    /// The instance's current certificate and key.
    pub(super) async fn identity(&self, http: &Client, by: Instant) -> Result<Identity, SignInError> {
        // Rotated between two of the reads: the next three belong together.
        match self.try_identity(http, by).await? {
            Some(identity) => Ok(identity),
            None => {
                let again = self.try_identity(http, by).await?;
                again.ok_or_else(|| unusable("certificate and key do not belong together"))
            }
        }
    }

    async fn try_identity(&self, http: &Client, by: Instant) -> Result<Option<Identity>, SignInError> {
        let pem = |text: String| pem::parse(text).map_err(|_| unusable("a PEM that is none"));
        let leaf = pem(self.get(http, "identity/cert.pem", by).await?)?.into_contents();
        let key = self.get(http, "identity/key.pem", by).await?;
        let intermediate = pem(self.get(http, "identity/intermediate.pem", by).await?)?.into_contents();
        let key = private_key(key.as_bytes(), None).map_err(|error| unusable(&error.to_string()))?;
        let (_, certificate) = X509Certificate::from_der(&leaf).map_err(|_| unusable("a certificate that is none"))?;
        let public: Result<PublicKeyX509Der<'_>, _> = key.public_key().as_der();
        if !public.is_ok_and(|public| public.as_ref() == certificate.public_key().raw) {
            return Ok(None);
        }
        let tenancy = tenancy(&certificate).ok_or_else(|| unusable("a certificate without a tenancy"))?;
        let signer = Signer::new(format!("{tenancy}/fed-x509-sha256/{}", fingerprint(&leaf)), key);
        Ok(Some(Identity {
            leaf: STANDARD.encode(&leaf),
            intermediate: STANDARD.encode(intermediate),
            signer,
            tenancy,
        }))
    }

    /// Where the instance is: region, and its realm's domain for a region that the table does not
    /// have. Requested from the service unless the environment describes the region.
    pub(super) async fn home(&self, http: &Client, by: Instant) -> Result<Home, SignInError> {
        let region = self.get(http, "instance/region", by).await?.trim().to_ascii_lowercase();
        if Region::find(&region).is_some() {
            return Ok(Home { region, domain: None });
        }
        let described = declared::described(&Environment::of_process(), &region);
        if let Some(home) = described.map_err(|error| unusable(&error.to_string()))? {
            return Ok(home);
        }
        let info = self.get(http, "instance/regionInfo", by).await?;
        let info: serde_json::Value = serde_json::from_str(&info).unwrap_or_default();
        let domain = info["realmDomainComponent"].as_str().map(str::to_ascii_lowercase);
        let told = Some(Home { region: region.clone(), domain }).filter(|home| home.queue_control_plane().is_some());
        told.or_else(|| declared::guessed(&Environment::of_process(), &region))
            .ok_or_else(|| unusable("a region without a domain"))
    }

    async fn get(&self, http: &Client, path: &str, by: Instant) -> Result<String, SignInError> {
        let bases = self.base.as_deref().map_or(BASES.to_vec(), |base| vec![base.trim_end_matches('/')]);
        // No secret: it is the same for all instances.
        let auth = Authorization::header("Bearer Oracle", "").ok_or_else(|| unusable("its credential is none"))?;
        let mut last = Error::from(Fault::TimedOut);
        for base in bases {
            let url = format!("{base}/{path}");
            let error = |status: u16, request_id| {
                let (cause, detail) = (format!("{NAME}: {status}"), url.clone());
                SignInError { cause, remedy: NO_INSTANCE, detail, request_id, retry_after: None }
            };
            let request = Request::get(url.parse().map_err(|_| unusable("its address is none"))?);
            match http.send(&request, &auth, by).await {
                Ok(answer) => return Ok(String::from_utf8_lossy(&answer.body).into_owned()),
                Err(failure) => last = failure.into_error(),
            }
            let Error { fault, request_id } = last.met();
            match fault {
                // Perhaps it is at the other address.
                Fault::Unreachable(..) => {}
                Fault::Status(refused) => return Err(error(refused.status, request_id.clone())),
                _ => break,
            }
        }
        Err(lost(&last))
    }
}

/// A client for the metadata service: no proxy reaches it, and nothing there is HTTPS.
pub(super) fn client(upstream: Arc<Upstream>, clock: fn() -> Timestamp) -> Client {
    Client::new(upstream, Transport::direct(Trust::Only(Roots::default())), token_protocol(None), clock)
}

/// The error of a service that does not answer in time.
pub(super) fn too_slow() -> SignInError {
    lost(&Fault::TimedOut.into())
}

fn lost(error: &Error) -> SignInError {
    SignInError::lost(NAME, NO_INSTANCE, error)
}

fn unusable(what: &str) -> SignInError {
    SignInError::unusable(NAME, what)
}

/// The tenancy that a leaf certificate names in its subject.
fn tenancy(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut values = certificate.subject().iter_attributes().filter_map(|attribute| attribute.as_str().ok());
    values.find_map(|value| TENANCY_MARKS.iter().find_map(|mark| value.strip_prefix(mark))).map(str::to_owned)
}

/// SHA-256 in lower-case hex with colons, as the Go SDK writes it.
fn fingerprint(der: &[u8]) -> String {
    digest(&SHA256, der).as_ref().iter().enumerate().fold(String::new(), |mut text, (at, byte)| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{byte:02x}", if at == 0 { "" } else { ":" });
        text
    })
}
