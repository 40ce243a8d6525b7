//! OKE workload identity: a pod's service account, exchanged for a session at the token service of
//! its cluster. Every enhanced cluster has that service on port 12250 of the Kubernetes API's
//! address.
//!
//! Request and answer as recorded from the official Python SDK 2.189.0. The service is trusted by
//! the service account's CA and nothing else. No proxy is used, because the service is in the
//! cluster.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;

use super::credentials::material::CredentialsError;
use super::environment::Environment;
use super::session::{Granted, new_key};
use super::sign::Signer;
use super::token::{self, Claims, ServiceAccount};
use super::{session_protocol, token_service};
use crate::http::authorize::Authorization;
use crate::http::error::{Error, Fault, Unreachable, with_causes};
use crate::http::session::{Issuer, Session, SignInError};
use crate::http::transport::{Roots, Transport, Trust};
use crate::http::url::Url;
use crate::http::{Client, Request};
use crate::upstream::Upstream;

/// Fixed by OKE.
const PORT: u16 = 12250;
const PATH: &str = "/resourcePrincipalSessionTokens";
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Of one attempt, the making of the key included; the service answers within a second.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How errors name the service.
const NAME: &str = "token service of the cluster";

/// Where the token service is, and what is shown to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenService {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// 12250, but in tests.
    pub port: u16,
    /// The service account's token; the kubelet renews it, so it is read for every session.
    pub token_file: PathBuf,
    /// The CA that signs for the Kubernetes API, and for this service.
    pub ca_file: PathBuf,
}

pub(super) struct WorkloadIdentity {
    service: Arc<TokenService>,
    upstream: Arc<Upstream>,
    clock: fn() -> Timestamp,
}

/// What a request is made of, got where waiting is allowed.
struct Prepared {
    http: Client,
    url: Url,
    service_account: String,
    key: aws_lc_rs::rsa::KeyPair,
    pod_key: String,
}

// === impl TokenService ===

impl TokenService {
    /// The service as the environment of a pod names it.
    pub fn from_env(env: &Environment<'_>) -> Result<Self, CredentialsError> {
        let host = env.var("KUBERNETES_SERVICE_HOST").ok_or_else(|| {
            let text = "KUBERNETES_SERVICE_HOST is not set: workload identity is for pods";
            CredentialsError::Environment(text.to_owned())
        })?;
        let path = |variable: &str, name: &str| {
            env.var(variable).map_or_else(|| Path::new(SERVICE_ACCOUNT).join(name), PathBuf::from)
        };
        Ok(Self {
            host,
            port: PORT,
            token_file: path("OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH", "token"),
            ca_file: path("OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH", "ca.crt"),
        })
    }

    /// The service account of the token that is there now.
    pub(super) fn account(&self) -> Option<ServiceAccount> {
        ServiceAccount::of(std::fs::read_to_string(&self.token_file).ok()?.trim())
    }

    fn url(&self) -> String {
        let Self { host, port, .. } = self;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<Ipv6Addr>() {
            Ok(address) => format!("https://[{address}]:{port}{PATH}"),
            Err(_) => format!("https://{host}:{port}{PATH}"),
        }
    }

    /// Reads the files and makes a key: blocks.
    fn prepare(&self, upstream: Arc<Upstream>, clock: fn() -> Timestamp) -> Result<Prepared, SignInError> {
        let service_account = self.service_account(clock())?;
        let bad_ca = |detail: String| {
            SignInError::new(
                "the CA file of the service account cannot be used",
                "Check OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH, or that the pod mounts its service account.",
                format!("{}: {detail}", self.ca_file.display()),
            )
        };
        let roots = Roots::read(&self.ca_file).map_err(bad_ca)?;
        let transport = Transport::direct(Trust::Only(roots));
        let http = Client::new(upstream, transport, session_protocol(request_id), clock);
        let url: Url = self
            .url()
            .parse()
            .map_err(|error| unreachable(&Fault::Unreachable(Unreachable::Lost, Arc::new(error)).into()))?;
        http.prepare(&url).map_err(|error| bad_ca(with_causes(&error)))?;
        let (key, public) = new_key()?;
        Ok(Prepared { http, url, service_account, key, pod_key: STANDARD.encode(public) })
    }

    fn service_account(&self, now: Timestamp) -> Result<String, SignInError> {
        let trouble = |cause: &str, detail: String| {
            SignInError::new(
                cause,
                "Check OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH, or that the pod mounts its service account.",
                format!("{}: {detail}", self.token_file.display()),
            )
        };
        let text = std::fs::read_to_string(&self.token_file)
            .map_err(|error| trouble("the service account's token cannot be read", error.to_string()))?;
        let text = text.trim();
        let Some(claims) = token::bare(text).and_then(Claims::of) else {
            return Err(trouble("the service account's token has no expiry", String::new()));
        };
        if claims.left(now).is_none() {
            return Err(trouble("the service account's token has expired", format!("at {}", claims.ends())));
        }
        Ok(text.to_owned())
    }
}

// === impl WorkloadIdentity ===

impl WorkloadIdentity {
    /// Fails when the files are not there, which no waiting repairs.
    pub(super) fn new(service: TokenService, clock: fn() -> Timestamp) -> Result<Self, CredentialsError> {
        for (what, path, variable) in [
            ("service account token", &service.token_file, "OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH"),
            ("service account CA", &service.ca_file, "OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH"),
        ] {
            let failed =
                |source| CredentialsError::File { what, path: path.clone(), named_by: variable.to_owned(), source };
            std::fs::File::open(path).map_err(failed)?;
        }
        Ok(Self { service: Arc::new(service), upstream: token_service(), clock })
    }

    async fn session(&self) -> Result<Session<Granted>, SignInError> {
        let by = Instant::now() + TIMEOUT;
        let (service, upstream, clock) = (self.service.clone(), self.upstream.clone(), self.clock);
        let prepared = tokio::task::spawn_blocking(move || service.prepare(upstream, clock)).await;
        let Prepared { http, url, service_account, key, pod_key } = prepared.map_err(|_| self.too_slow())??;
        let auth = Authorization::header(&format!("Bearer {service_account}"), &service_account);
        let auth = auth.ok_or_else(|| unreachable(&Fault::TimedOut.into()))?;
        let request = Request::post_json(url, format!(r#"{{"podKey": "{pod_key}"}}"#));
        let answer = http.send(&request, &auth, by).await.map_err(|failure| failed(&failure.into_error()))?;
        let (body, request_id) = (answer.body, answer.request_id);
        let nonsense = || SignInError {
            cause: format!("{NAME}: the answer is not understood"),
            remedy: "Check that KUBERNETES_SERVICE_HOST is the API server of an OKE cluster.",
            // Not the answer itself: it may be a token.
            detail: format!("{} bytes that hold no token which ends", body.len()),
            request_id: request_id.clone(),
            retry_after: None,
        };
        let token = token::from_cluster(&body).ok_or_else(nonsense)?;
        let claims = Claims::of(&token).ok_or_else(nonsense)?;
        let lifetime = claims.left((self.clock)()).ok_or_else(|| token::expired(NAME, claims))?;
        let signer = Arc::new(Signer::new(token::key_id(&token), key));
        Ok(Session { granted: Granted { signer, home: None }, lifetime })
    }
}

impl Issuer for WorkloadIdentity {
    type Granted = Granted;

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn issue(&self) -> BoxFuture<'_, Result<Session<Granted>, SignInError>> {
        self.session().boxed()
    }

    fn too_slow(&self) -> SignInError {
        unreachable(&Fault::TimedOut.into())
    }
}

/// Three parts, as the SDKs send it.
fn request_id() -> String {
    let part = || format!("{:032x}", fastrand::u128(..));
    format!("{}/{}/{}", part(), part(), part())
}

fn failed(error: &Error) -> SignInError {
    let Error { fault, request_id } = error.met();
    match fault {
        Fault::Status(refused) => {
            let (request_id, retry_after) = (request_id.clone(), refused.retry_after);
            SignInError { request_id, retry_after, ..self::refused(refused.status, refused.message.clone()) }
        }
        _ => unreachable(error),
    }
}

fn unreachable(error: &Error) -> SignInError {
    let remedy = match &error.met().fault {
        Fault::Unreachable(Unreachable::Tls, _) => {
            "Check that OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH is the CA of this cluster's API server."
        }
        _ => {
            "Workload identity needs an enhanced OKE cluster, and the way from depthgauge to port 12250 of the API server."
        }
    };
    SignInError::lost(NAME, remedy, error)
}

fn refused(status: u16, detail: String) -> SignInError {
    let remedy = match status {
        403 => {
            "Workload identity needs an enhanced cluster: change the type of this OKE cluster from basic to enhanced."
        }
        401 => "Check that the pod's service account token is the one that Kubernetes projects.",
        _ => "This is a failure of the cluster's token service; the request is repeated.",
    };
    SignInError::new(format!("{NAME}: {status}"), remedy, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_finds_its_token_service() {
        let var = |name: &str| (name == "KUBERNETES_SERVICE_HOST").then(|| "10.96.0.1".to_owned());
        let service = TokenService::from_env(&Environment::new(&var, &|_| true)).unwrap();
        assert_eq!(service.url(), "https://10.96.0.1:12250/resourcePrincipalSessionTokens");
        assert_eq!(service.token_file, Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token"));
        assert_eq!(service.ca_file, Path::new("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"));
        let var = |name: &str| Some(format!("/own/{name}"));
        let service = TokenService::from_env(&Environment::new(&var, &|_| true)).unwrap();
        assert_eq!(service.token_file, Path::new("/own/OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH"));
        assert_eq!(service.ca_file, Path::new("/own/OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH"));
        assert!(TokenService::from_env(&Environment::new(&|_| None, &|_| true)).is_err());
    }

    #[test]
    fn an_ipv6_host_gets_brackets() {
        for host in ["fd00::1", "[fd00::1]"] {
            let var = |name: &str| (name == "KUBERNETES_SERVICE_HOST").then(|| host.to_owned());
            let service = TokenService::from_env(&Environment::new(&var, &|_| true)).unwrap();
            assert_eq!(service.url(), "https://[fd00::1]:12250/resourcePrincipalSessionTokens");
        }
    }

    #[test]
    fn a_request_id_has_three_parts_of_32_hex_digits() {
        let id = request_id();
        let parts: Vec<&str> = id.split('/').collect();
        assert_eq!(parts.len(), 3);
        assert!(
            parts.iter().all(|part| part.len() == 32 && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        );
    }
}
