//! The routes of `external.metrics.k8s.io/v1beta1`.
//!
//! Discovery is static and the same for every caller at all times; only values depend on
//! anything. What is wrong with a request is said as a [`Refusal`].

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::lookup::Catalog;
use crate::refusal::Refusal;
use crate::request::PREFIX;

mod discovery;
mod encode;
mod values;

/// All routes; [`crate::auth`] stands in front of them.
pub fn router(catalog: Arc<Catalog>) -> Router {
    Router::new()
        .route("/apis", get(discovery::groups))
        .route("/apis/", get(discovery::groups))
        .route("/apis/external.metrics.k8s.io", get(discovery::group))
        .route("/apis/external.metrics.k8s.io/", get(discovery::group))
        .route(PREFIX, get(discovery::resources))
        .route(&format!("{PREFIX}/"), get(discovery::resources))
        .route("/version", get(discovery::version))
        .route(&format!("{PREFIX}/namespaces/{{namespace}}/{{metric}}"), get(values::values))
        .route(&format!("{PREFIX}/namespaces/{{namespace}}/{{metric}}/{{name}}"), get(values::by_name))
        .route(&format!("{PREFIX}/{{metric}}"), get(values::all_namespaces))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(catalog)
}

async fn method_not_allowed(method: Method) -> Refusal {
    Refusal::method_not_allowed(format!("the server does not allow {method} here: metrics can only be read (GET)"))
}

async fn not_found() -> Refusal {
    Refusal::not_found("the server could not find the requested resource")
}

/// A document that is made once and never changes.
fn json(body: impl Into<axum::body::Body>) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, content_type)], body.into()).into_response()
}
