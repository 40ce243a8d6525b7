//! Plain HTTP for whoever operates the process: `/livez`, `/readyz`, `/metrics` and [`status`].
//!
//! Listens on loopback unless told otherwise. The same is on the secure port: probes for all, without
//! their reasons, the rest for whoever may.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, Uri, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::health::{Health, Reasons};

mod exposition;
pub mod status;

/// After an accept error (out of file descriptors): long enough for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// `/livez`, `/healthz` and `/readyz`, in the form of Kubernetes' own. Reasons name Services, files
/// and users: where anybody may ask they are withheld.
pub fn probes(health: Health, reasons: Reasons) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .with_state((health, reasons))
}

/// `/metrics`. On the secure port whoever lays it out also guards it.
pub fn metrics(registry: Arc<Registry>) -> Router {
    Router::new().route("/metrics", get(exposed)).with_state(registry)
}

/// Serves these routes until dropped.
pub async fn serve(listener: TcpListener, routes: Router) {
    let service = TowerToHyperService::new(routes);
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        // The timer makes the default header time-out of 30 s count.
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service.clone());
        connections.spawn(connection);
    }
}

async fn exposed(State(registry): State<Arc<Registry>>, headers: HeaderMap) -> Response {
    let mut text = String::new();
    let written = prometheus_client::encoding::text::encode(&mut text, &registry);
    let takes_open_metrics = headers.get(header::ACCEPT).is_some_and(exposition::is_open_metrics);
    match written {
        Ok(()) if takes_open_metrics => ([(header::CONTENT_TYPE, exposition::OPEN_METRICS)], text).into_response(),
        Ok(()) => ([(header::CONTENT_TYPE, exposition::TEXT)], exposition::plain(&text)).into_response(),
        // Writing to a String cannot fail.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn live() -> &'static str {
    "ok"
}

async fn ready(State((health, reasons)): State<(Health, Reasons)>, uri: Uri) -> Response {
    let verbose = uri.query().is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    match (health.is_ready(), verbose) {
        (true, false) => "ok".into_response(),
        (true, true) => health.verbose(reasons).into_response(),
        // What failed is said in both forms: nobody asks for the reason in advance.
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, health.verbose(reasons)).into_response(),
    }
}
