//! `/status`: the state of the process, as a page and as JSON.
//!
//! Rendered here, without files from other servers: the page works behind `kubectl port-forward`
//! and without internet access. It shows the consumers of each source and their state, and so is
//! for those who operate the process: on loopback, or behind authentication.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::filter::Filter;
use self::view::{Parts, View};
use crate::health::Health;
use crate::lookup::Catalog;

mod filter;
mod lines;
mod page;
mod reading;
mod redact;
mod sparkline;
mod view;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// Sets for the page what it may do: its own style and script, by their hashes, and requests for
/// itself.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    let (style, script) = (hash(page::STYLE), hash(page::SCRIPT));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    // Base64 is ASCII.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// Where the page gets its data.
pub struct Status {
    catalog: Arc<Catalog>,
    health: Health,
    facts: Box<dyn Fn() -> Facts + Send + Sync>,
}

/// Facts that neither the catalog nor the checks have.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Of the program.
    pub version: &'static str,
    /// The pod's name, in a pod.
    pub pod: Option<String>,
    /// The node that the pod runs on, as far as that is known.
    pub node: Option<String>,
    /// When it began to serve.
    pub started: Timestamp,
    /// When the serving certificate is of no use any more.
    pub certificate_expires: Timestamp,
    /// Whether kube-apiserver reaches depthgauge, as far as that is known.
    pub api_service_available: Option<bool>,
    /// Where the sources are from: a file, or variables.
    pub config: String,
    /// The address of the documentation, if it is known.
    pub docs: Option<String>,
    /// Which replica scales to zero and back, if one is to.
    pub scale_to_zero: Option<String>,
    /// What a user should see and no check is about.
    pub findings: Vec<Finding>,
    /// What HPAs query, sorted; `None` without the right to read HPAs.
    pub hpas: Option<Vec<Hpa>>,
}

/// A query of an HPA, and the replicas in its status.
#[derive(Clone, Debug)]
pub struct Hpa {
    /// Of the HPA.
    pub namespace: String,
    /// Of the HPA.
    pub name: String,
    /// What it queries.
    pub metric: String,
    /// The selector of the query.
    pub selector: String,
    /// `status.currentReplicas`
    pub current: Option<u32>,
    /// `status.desiredReplicas`
    pub desired: u32,
}

/// The parameters of `/status`.
#[derive(Debug, Default, Deserialize)]
struct Parameters {
    /// See [`Filter`].
    #[serde(default)]
    filter: String,
}

/// A problem of a workload although this process is healthy: a workload stuck at zero.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The object that it concerns: `shop/worker`.
    pub object: String,
    /// What is wrong, and what to do.
    pub message: String,
}

// === impl Status ===

impl Status {
    /// Of this catalog and these checks; `facts` is called for each page.
    pub fn new(catalog: Arc<Catalog>, health: Health, facts: impl Fn() -> Facts + Send + Sync + 'static) -> Self {
        Self { catalog, health, facts: Box::new(facts) }
    }

    fn view(&self, filter: Filter) -> View {
        View::of(Parts {
            facts: (self.facts)(),
            now: self.catalog.now(),
            ready: self.health.is_ready(),
            verdict: self.health.verdict(),
            checks: self.health.states(),
            limits: self.catalog.limits(),
            readings: self.catalog.readings(),
            lists: self.catalog.list_errors(),
            unselectable: self.catalog.unselectable(),
            filter,
        })
    }
}

/// `/status`, without a guard: the caller adds one.
pub fn routes(status: Arc<Status>) -> Router {
    Router::new().route("/status", get(show)).with_state(status)
}

/// `/status` for a listener on loopback, without authentication. It refuses a web site whose name
/// resolves to this address, and which lets a browser request the page.
pub fn local_routes(status: Arc<Status>) -> Router {
    routes(status).layer(from_fn(under_a_local_name))
}

async fn show(State(status): State<Arc<Status>>, uri: Uri, headers: HeaderMap) -> Response {
    let parameters: Parameters = Query::try_from_uri(&uri).map(|query| query.0).unwrap_or_default();
    let view = status.view(Filter::of(&parameters.filter));
    let (kind, body) = if wants_html(&headers) {
        (HTML, page::render(&view).into_string())
    } else {
        match lines::to_string(&view) {
            Ok(json) => (JSON, json),
            // Texts and numbers always serialize.
            Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    };
    let mut response = ([(header::CONTENT_TYPE, kind)], body).into_response();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::VARY, HeaderValue::from_static("accept")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ] {
        response.headers_mut().insert(name, value);
    }
    response
}

async fn under_a_local_name(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_local_name(host) {
        return next.run(request).await;
    }
    let sentence = "request it as localhost or by IP address: /status is served to this machine only\n";
    (StatusCode::MISDIRECTED_REQUEST, sentence).into_response()
}

/// Names that another site cannot own: `localhost`, and addresses; with a port or without.
fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Whether a request is for the page.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    prefers_html(accept.unwrap_or_default())
}

/// A browser names HTML. A client that accepts everything is a program: `curl`, `kubectl get
/// --raw`.
fn prefers_html(accept: &str) -> bool {
    let quality = |wanted: &str| {
        let ranges = accept.split(',').map(|range| range.split(';').map(str::trim));
        ranges.filter_map(|mut range| (range.next()? == wanted).then_some(range)).find_map(|mut parameters| {
            let q = parameters.find_map(|parameter| parameter.strip_prefix("q="));
            q.map_or(Some(1.0), |q| q.parse::<f32>().ok())
        })
    };
    quality("text/html").is_some_and(|html| html > 0.0 && quality("application/json").is_none_or(|json| html >= json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_gets_the_page_and_a_program_json() {
        for browser in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            "text/html",
            "application/json;q=0.5, text/html;q=0.9",
        ] {
            assert!(prefers_html(browser), "{browser}");
        }
        for program in ["", "*/*", "application/json, */*", "application/json, text/html;q=0.5", "text/html;q=0"] {
            assert!(!prefers_html(program), "{program}");
        }
    }

    #[test]
    fn only_names_that_nobody_else_can_own_are_local() {
        for local in ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "[::1]", "10.0.0.1"]
        {
            assert!(is_local_name(local), "{local}");
        }
        for foreign in ["", "example.com", "example.com:8080", "localhost.example.com", "127.0.0.1.nip.io:80"] {
            assert!(!is_local_name(foreign), "{foreign}");
        }
    }
}
