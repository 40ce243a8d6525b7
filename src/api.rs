//! The routes of `external.metrics.k8s.io/v1beta1`.
//!
//! Discovery depends on the config only and is the same for every caller. What is wrong with a request
//! is said as a [`ApiError`].

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;

use crate::api_error::ApiError;
use crate::lookup::Catalog;
use crate::request::PREFIX;

pub mod accept;
mod discovery;
mod encode;
mod fixed;
mod meters;
mod openapi;
mod reply;
mod values;

pub use values::{Metrics, table};

use discovery::Discovery;
use openapi::OpenApi;

/// All routes except that of values, which [`crate::auth`] requests from [`Metrics`] itself.
pub fn routes(catalog: Arc<Catalog>) -> Router {
    let openapi = OpenApi::of(&catalog.fixed_metrics());
    let discovery = Discovery::new(catalog);
    let openapi = Router::new()
        .route("/openapi/v2", get(openapi::version_2))
        .route("/openapi/v2/", get(openapi::version_2))
        .route("/openapi/v3", get(openapi::index))
        .route("/openapi/v3/", get(openapi::index))
        .route(&format!("/openapi/v3{PREFIX}"), get(openapi::version_3))
        .route(&format!("/openapi/v3{PREFIX}/"), get(openapi::version_3))
        .with_state(openapi);
    Router::new()
        .route("/apis", get(discovery::groups))
        .route("/apis/", get(discovery::groups))
        .route("/apis/external.metrics.k8s.io", get(discovery::group))
        .route("/apis/external.metrics.k8s.io/", get(discovery::group))
        .route(PREFIX, get(discovery::resources))
        .route(&format!("{PREFIX}/"), get(discovery::resources))
        .route_layer(from_fn(of_known_type))
        .with_state(discovery)
        .route("/version", get(discovery::version))
        .route("/version/", get(discovery::version))
        .merge(openapi)
        .route(&format!("{PREFIX}/namespaces/{{namespace}}/{{metric}}/{{name}}"), get(values::by_name))
        .route(&format!("{PREFIX}/namespaces/{{namespace}}/{{metric}}/{{name}}/"), get(values::by_name))
        .route(&format!("{PREFIX}/{{metric}}"), get(values::all_namespaces))
        .route(&format!("{PREFIX}/{{metric}}/"), get(values::all_namespaces))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
}

/// As the Go library does for discovery: the type of a request body must be a known one, although the
/// body is not read. A request without a body, as every client sends it, names no type.
async fn of_known_type(request: Request, next: Next) -> Result<Response, ApiError> {
    const KNOWN: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
    let sent = request.headers().get(header::CONTENT_TYPE).and_then(|sent| sent.to_str().ok()).unwrap_or_default();
    let mut types = sent.split(',').map(|sent| sent.split(';').next().unwrap_or_default().trim());
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if is_read && !sent.is_empty() && !types.any(|sent| KNOWN.contains(&sent)) {
        return Err(ApiError::unsupported_media_type());
    }
    Ok(next.run(request).await)
}

async fn method_not_allowed(method: Method) -> ApiError {
    read_only(&method)
}

fn read_only(method: &Method) -> ApiError {
    ApiError::method_not_allowed(format!("the server does not allow {method} here: metrics can only be read (GET)"))
}

async fn not_found() -> ApiError {
    ApiError::not_found("the server could not find the requested resource")
}
