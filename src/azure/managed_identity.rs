//! Managed identity: a token of the virtual machine's own identity, from its metadata service.
//!
//! Plain HTTP, because the service has nothing else: its address is the machine's own link, and no
//! proxy reaches it. Header `Metadata` keeps out requests that a browser or server was tricked into.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{HeaderName, HeaderValue};
use jiff::Timestamp;
use tokio::time::Instant;

use super::token::{self, FORCED_EVERY, REQUESTS_PER_SECOND, RESOURCE, TIMEOUT, Token};
use crate::http::authorize::{Authorization, Failure};
use crate::http::base::encoded;
use crate::http::error::{Error, Fault};
use crate::http::session::{Issuer, Session, Sessions, SignInError};
use crate::http::transport::{Roots, Transport, Trust};
use crate::http::url::Url;
use crate::http::{Client, Request};
use crate::upstream::{Limits, Upstream};

/// Where the service is on every machine.
const HOST: &str = "http://169.254.169.254";
const PATH: &str = "/metadata/identity/oauth2/token";
/// The variable of the official clients that names another place.
const VARIABLE: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
/// How errors name the service.
const NAME: &str = "instance metadata service";
const METADATA: HeaderName = HeaderName::from_static("metadata");
const NOT_HERE: &str = "Where this is not an Azure machine, or pods may not reach its metadata service, use `auth: {type: azureWorkloadIdentity}`.";

struct MetadataService {
    http: Client,
    url: Url,
    clock: fn() -> Timestamp,
}

/// The tokens of the machine's identity, or of that with this client ID. Sends nothing.
pub fn tokens(
    client_id: Option<&str>,
    var: &dyn Fn(&str) -> Option<String>,
    clock: fn() -> Timestamp,
) -> Result<Sessions<Token>, String> {
    let host = var(VARIABLE).filter(|host| !host.is_empty()).unwrap_or(HOST.to_owned());
    let url = url(&host, client_id)
        .ok_or_else(|| format!("{VARIABLE} is not a URL: set it to http://HOST:PORT, or unset it"))?;
    let upstream = Arc::new(Upstream::new(Limits::new(REQUESTS_PER_SECOND, "")));
    let http = Client::new(upstream, Transport::direct(Trust::Only(Roots::default())), token::protocol(), clock);
    Ok(Sessions::new(MetadataService { http, url, clock }, NAME, FORCED_EVERY))
}

fn url(host: &str, client_id: Option<&str>) -> Option<Url> {
    let mut url: Url = format!("{}{PATH}", host.trim_end_matches('/')).parse().ok()?;
    let client = client_id.map(|client_id| ("client_id", client_id));
    let query = [("api-version", "2018-02-01"), ("resource", RESOURCE)].into_iter().chain(client);
    url.set_query(Some(&encoded(query)));
    (url.scheme() == "http" && url.has_host()).then_some(url)
}

// === impl MetadataService ===

impl MetadataService {
    async fn session(&self) -> Result<Session<Token>, SignInError> {
        let by = Instant::now() + TIMEOUT;
        let mut request = Request::get(self.url.clone());
        request.headers.insert(METADATA, HeaderValue::from_static("true"));
        let sent = self.http.send(&request, &Authorization::default(), by).await.map_err(Failure::into_error);
        let response = sent.map_err(|error| failed(&error))?;
        token::session(NAME, &response.body, (self.clock)())
    }
}

impl Issuer for MetadataService {
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
        Fault::Status(status) => match status.status {
            400 => "The machine has no such identity: assign one to the nodes, or correct `auth.clientId`.",
            404 | 410 | 429 | 500.. => "This is a failure of the metadata service; the request is repeated.",
            _ => NOT_HERE,
        },
        _ => NOT_HERE,
    };
    SignInError::refused(NAME, remedy, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::url::target;

    #[test]
    fn the_request_names_the_resource_and_the_identity() {
        let resource = "api-version=2018-02-01&resource=https%3A%2F%2Fservicebus.azure.net%2F";
        let of = |client| url(HOST, client).map(|url| (url.host_str().unwrap().to_owned(), target(&url))).unwrap();
        assert_eq!(of(None), ("169.254.169.254".to_owned(), format!("{PATH}?{resource}")));
        assert_eq!(of(Some("a-b")).1, format!("{PATH}?{resource}&client_id=a-b"));
        assert!(url("https://127.0.0.1:1", None).is_none() && url("127.0.0.1:1", None).is_none());
        assert_eq!(url("http://127.0.0.1:1/", None).unwrap().path(), PATH);
    }
}
