//! `metav1.Status`: the one place where an API error gets its HTTP code.
//!
//! Constructors are named for the case. The HPA controller shows the message word for word to the
//! person on call. So each has a remedy, names nothing secret, and is the same for the same
//! failure. There is never a `Retry-After`, and never a 429: client-go would pause on either inside
//! a worker that other HPAs wait for.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// Of answers that hold for one caller and now: the words of the Go library.
pub const NO_CACHE: &str = "no-cache, private";
/// The answer to a client that has the document already. No refusal; here because every code is.
pub const NOT_MODIFIED: StatusCode = StatusCode::NOT_MODIFIED;
/// Longest message, in bytes: an HPA's condition is read in a terminal, and some messages repeat
/// parts of the request.
const MESSAGE_MAX: usize = 400;

/// An answer other than success. Can only be 4xx or 5xx.
#[derive(Clone, Debug)]
pub struct ApiError {
    code: StatusCode,
    body: Box<Status>,
}

/// `metav1.Status` with the fields that a failure has.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: String,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    code: u16,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Empty {}

#[derive(Clone, Debug, Serialize)]
struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    kind: String,
}

/// The message of a refusal, kept beside the answer that was made of it: for the log.
#[derive(Clone, Debug)]
pub struct Said(pub String);

// === impl ApiError ===

impl ApiError {
    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 401: the token is not accepted. It has no more details, as in Kubernetes.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 401: the client certificate is not accepted, and why. The client has all that the message
    /// says about it. An operator reads it in the condition of an HPA if the front proxy's
    /// certificate is refused.
    pub fn unauthorized_because(why: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", format!("Unauthorized: {why}"))
    }

    /// 403, in the words of Kubernetes' own authorization filter.
    pub fn forbidden(user: &str, verb: &str, group: &str, resource: &str, namespace: &str, why: &str) -> Self {
        let mut message = format!(
            "{resource}.{group} is forbidden: User {user:?} cannot {verb} resource {resource:?} in API group {group:?} in the namespace {namespace:?}"
        );
        if !why.is_empty() {
            message.push_str(": ");
            message.push_str(why);
        }
        let mut refusal = Self::new(StatusCode::FORBIDDEN, "Forbidden", message);
        refusal.body.details = Some(Details { group: group.into(), kind: resource.into() });
        refusal
    }

    /// 403 for a path that is no resource, in the words of the same filter.
    pub fn forbidden_path(user: &str, verb: &str, path: &str, why: &str) -> Self {
        let colon = if why.is_empty() { "" } else { ": " };
        let message = format!("forbidden: User {user:?} cannot {verb} path {path:?}{colon}{why}");
        let mut refusal = Self::new(StatusCode::FORBIDDEN, "Forbidden", message);
        refusal.body.details = Some(Details { group: String::new(), kind: String::new() });
        refusal
    }

    /// 404: the path names nothing here; the message has the right one.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// 405: metrics can be read, and nothing else. It names the allowed methods, as it must (RFC
    /// 9110, section 15.5.6).
    pub fn method_not_allowed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// 406: none of the representations that the caller takes is to be had.
    pub fn not_acceptable(available: &str) -> Self {
        let message = format!("only the following media types are accepted: {available}");
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// 415: the body is not read, but its type is not known here.
    pub fn unsupported_media_type() -> Self {
        let code = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(code, "UnsupportedMediaType", "415: Unsupported Media Type")
    }

    /// 503: there is such a metric, and its value is not known now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// 500: a bug. Values serialize always, so this is not expected to be seen.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        message.truncate(message.floor_char_boundary(MESSAGE_MAX));
        let body = Status {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message,
            reason,
            details: None,
            code: code.as_u16(),
        };
        Self { code, body: Box::new(body) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::CACHE_CONTROL, HeaderValue::from_static(NO_CACHE)),
        ];
        let mut response = match serde_json::to_vec(&self.body) {
            Ok(mut body) => {
                body.push(b'\n');
                (self.code, headers, body).into_response()
            }
            // Strings and numbers always serialize; the code alone is still the truth.
            Err(_) => self.code.into_response(),
        };
        if self.code == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
        }
        response.extensions_mut().insert(Said(self.body.message));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_reads_as_kubernetes_writes_it() {
        let refusal = ApiError::forbidden("u", "list", "external.metrics.k8s.io", "oci_queue_length", "shop", "");
        assert_eq!(
            serde_json::to_string(&refusal.body).unwrap(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"oci_queue_length.external.metrics.k8s.io is forbidden: User \"u\" cannot list resource \"oci_queue_length\" in API group \"external.metrics.k8s.io\" in the namespace \"shop\"","reason":"Forbidden","details":{"group":"external.metrics.k8s.io","kind":"oci_queue_length"},"code":403}"#
        );
    }
    #[test]
    fn so_does_forbidden_for_a_path() {
        let refusal = ApiError::forbidden_path("u", "get", "/metrics", "");
        assert_eq!(
            serde_json::to_string(&refusal.body).unwrap(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"forbidden: User \"u\" cannot get path \"/metrics\"","reason":"Forbidden","details":{},"code":403}"#
        );
    }
}
