//! Workload identity of Microsoft Entra ID: the token of the pod's service account, changed for a token
//! of an application or managed identity that trusts it.
//!
//! A client assertion by RFC 7523, section 2.2, as the official clients send it. The webhook of AKS sets the
//! variables of [`Settings::of_pod`]. kubelet renews the file, so it is followed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, HeaderValue};
use jiff::Timestamp;
use tokio::time::Instant;

use super::token::{self, FORCED_EVERY, REQUESTS_PER_SECOND, RESOURCE, TIMEOUT, Token};
use crate::http::authorize::{Authorization, Failure};
use crate::http::base::{BaseUrl, encoded};
use crate::http::error::{Error, Fault, StatusError, Unreachable};
use crate::http::secret;
use crate::http::session::{Issuer, Session, Sessions, SignInError};
use crate::http::transport::Transport;
use crate::http::{Client, Request};
use crate::upstream::{Limits, Upstream};
use crate::watched::{OnUse, Reading};

/// How errors name the service.
const NAME: &str = "Microsoft Entra ID";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The identity that reads, and how it is proved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The application or managed identity.
    pub client_id: String,
    /// Its tenant.
    pub tenant_id: String,
    /// The file with the token of the service account.
    pub token_file: PathBuf,
    /// The host of the token service: `https://login.microsoftonline.com`.
    pub authority: String,
}

/// Values of the config, which replace those of the environment.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// See [`Settings::client_id`].
    pub client_id: Option<String>,
    /// See [`Settings::tenant_id`].
    pub tenant_id: Option<String>,
    /// See [`Settings::token_file`].
    pub token_file: Option<PathBuf>,
    /// See [`Settings::authority`].
    pub authority: Option<String>,
}

struct TokenService {
    http: Client,
    url: crate::http::url::Url,
    client_id: String,
    assertion: OnUse<String, String>,
    clock: fn() -> Timestamp,
}

// === impl Settings ===

impl Settings {
    /// Those of the config, and of the environment of the pod. `authority` is that of the cloud. An error
    /// names the key and the variable that are missing.
    pub fn of_pod(overrides: Overrides, authority: &str, var: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let missing = |key: &str, variable: &str| {
            format!(
                "`auth.{key}` is missing and {variable} is not set: label the pod `azure.workload.identity/use: \"true\"`, or write the key"
            )
        };
        let text = |key, of_config: Option<String>, variable| {
            of_config.or_else(|| var(variable)).ok_or_else(|| missing(key, variable))
        };
        let file = text(
            "tokenFile",
            overrides.token_file.map(|file| file.display().to_string()),
            "AZURE_FEDERATED_TOKEN_FILE",
        )?;
        let authority = overrides.authority.or_else(|| var("AZURE_AUTHORITY_HOST")).unwrap_or(authority.to_owned());
        Ok(Self {
            client_id: text("clientId", overrides.client_id, "AZURE_CLIENT_ID")?,
            tenant_id: text("tenantId", overrides.tenant_id, "AZURE_TENANT_ID")?,
            token_file: PathBuf::from(file),
            authority: authority.trim_end_matches('/').to_owned(),
        })
    }

    /// The URL of the token service.
    pub fn url(&self) -> Result<BaseUrl, String> {
        let text = format!("{}/{}/oauth2/v2.0/token", self.authority, self.tenant_id);
        text.parse().map_err(|_| "`auth.authorityHost` and `auth.tenantId` make no URL".to_owned())
    }
}

/// The tokens of an identity. Reads its file, and sends nothing.
pub fn tokens(settings: Settings, transport: Transport, clock: fn() -> Timestamp) -> Result<Sessions<Token>, String> {
    let url = settings.url()?.url().clone();
    let Settings { client_id, token_file, .. } = settings;
    let make = move |reading: &mut Reading| assertion(reading, &token_file);
    let assertion = OnUse::open("the file with the token of the service account", Box::new(make))?;
    let upstream = Arc::new(Upstream::new(Limits::new(REQUESTS_PER_SECOND, "")));
    let http = Client::new(upstream, transport, token::protocol(), clock);
    let service = TokenService { http, url, client_id, assertion, clock };
    Ok(Sessions::new(service, NAME, FORCED_EVERY))
}

fn assertion(reading: &mut Reading, file: &std::path::Path) -> Result<String, String> {
    secret::trimmed(reading, file)
}

// === impl TokenService ===

impl TokenService {
    async fn session(&self) -> Result<Session<Token>, SignInError> {
        let by = Instant::now() + TIMEOUT;
        let assertion = self.assertion.current().await;
        let scope = format!("{RESOURCE}.default");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &*self.client_id),
            ("scope", &*scope),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &**assertion),
        ];
        let mut request = Request::post_form(self.url.clone(), encoded(form));
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let auth = Authorization { secrets: vec![(*assertion).clone()], ..Authorization::default() };
        let sent = self.http.send(&request, &auth, by).await.map_err(Failure::into_error);
        let response = sent.map_err(|error| failed(&error))?;
        token::session(NAME, &response.body, (self.clock)())
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

fn failed(error: &Error) -> SignInError {
    let remedy = match &error.met().fault {
        Fault::Status(status) => remedy(status),
        Fault::Proxy(failure, _) => failure.remedy(),
        Fault::Unreachable(Unreachable::Tls, _) => "Check that the certificate of the token service is trusted here.",
        _ => "Check the network path from depthgauge to the token service: DNS, NetworkPolicy, proxy.",
    };
    SignInError::refused(NAME, remedy, error)
}

/// By the codes of Microsoft's list of Entra ID errors.
fn remedy(status: &StatusError) -> &'static str {
    match (status.status, status.code.as_deref()) {
        (_, Some("AADSTS70021" | "AADSTS700211" | "AADSTS700212" | "AADSTS700213")) => {
            "Check the federated credential of the identity: issuer of the cluster, subject system:serviceaccount:NAMESPACE:NAME, audience api://AzureADTokenExchange."
        }
        (_, Some("AADSTS700024")) => {
            "The token of the service account has expired: check the clock of this node and the projected volume."
        }
        (_, Some("AADSTS700016")) => {
            "There is no such identity in the tenant: check `auth.clientId` and `auth.tenantId`."
        }
        (_, Some("AADSTS90002" | "AADSTS900023")) => {
            "There is no such tenant: check `auth.tenantId` and `auth.authorityHost`."
        }
        (300..=399, _) => "Set `auth.authorityHost` to the token service itself; redirects are not followed.",
        (400..=404, _) => "Check `auth.clientId`, `auth.tenantId` and the federated credential of the identity.",
        _ => "This is a failure of the token service; the request is repeated.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_precedes_the_environment_of_the_pod() {
        let var = |name: &str| {
            let value = match name {
                "AZURE_CLIENT_ID" => "client-of-pod",
                "AZURE_TENANT_ID" => "tenant-of-pod",
                "AZURE_FEDERATED_TOKEN_FILE" => "/var/run/secrets/azure/tokens/azure-identity-token",
                "AZURE_AUTHORITY_HOST" => "https://login.microsoftonline.us/",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let of_pod = Settings::of_pod(Overrides::default(), "https://login.microsoftonline.com", &var).unwrap();
        assert_eq!(
            of_pod.url().unwrap().to_string(),
            "https://login.microsoftonline.us/tenant-of-pod/oauth2/v2.0/token"
        );
        assert_eq!(of_pod.client_id, "client-of-pod");
        let text = |text: &str| Some(text.to_owned());
        let overrides = Overrides {
            client_id: text("own"),
            tenant_id: text("t"),
            authority: text("https://a"),
            ..Overrides::default()
        };
        let own = Settings::of_pod(overrides, "", &var).unwrap();
        assert_eq!(
            (own.client_id.as_str(), own.url().unwrap().to_string().as_str()),
            ("own", "https://a/t/oauth2/v2.0/token")
        );
        assert_eq!(own.token_file, of_pod.token_file);
        // Outside of a pod.
        let missing = Settings::of_pod(Overrides::default(), "https://a", &|_| None).unwrap_err();
        assert!(missing.contains("`auth.tokenFile` is missing and AZURE_FEDERATED_TOKEN_FILE is not set"), "{missing}");
        let file = Overrides { token_file: Some("/t".into()), ..Overrides::default() };
        let missing = Settings::of_pod(file, "https://a", &|_| Some(String::new())).unwrap_err();
        assert!(missing.contains("AZURE_CLIENT_ID"), "{missing}");
    }
}
