//! What goes back: a status, a document, and the headers that every answer has.
//!
//! The one place in the emulator where a refusal gets its status and its code. Codes and
//! sentences follow the service's documentation, so that what a user reads here is what a
//! search finds.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use crate::date::http_date;
use crate::payload::{Body, Payload};
use crate::signature::Refused;

/// Names a request in the logs of both sides.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("opc-request-id");

/// Where the next page of a list begins; absent on the last one.
const NEXT_PAGE: HeaderName = HeaderName::from_static("opc-next-page");

/// Status, body, and the headers in which this answer differs from others.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Boxed, because an answer travels as the error of a `Result`.
    pub(crate) headers: Box<HeaderMap>,
    pub(crate) payload: Payload,
}

/// The body of every error.
#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
}

// === impl Answer ===

impl Answer {
    /// What is said of a void receipt, alone or in a batch.
    pub(crate) const NO_SUCH_MESSAGE: &str =
        "No message has this receipt: it is unknown, used, or of an earlier delivery.";

    /// 200 with a document.
    pub(crate) fn document(document: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, document)
    }

    /// 200 with one page of a list, and where the next one begins.
    pub(crate) fn page(document: &impl Serialize, next: Option<&str>) -> Self {
        let mut answer = Self::document(document);
        if let Some(next) = next.and_then(|next| HeaderValue::from_str(next).ok()) {
            answer.headers.insert(NEXT_PAGE, next);
        }
        answer
    }

    /// 204, for an answer without a body.
    pub(crate) fn done() -> Self {
        Self::new(StatusCode::NO_CONTENT, Vec::new())
    }

    /// The headers that an answer has unless it is given others, and these bytes.
    pub(crate) fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Self { status, headers: Box::new(headers), payload: Payload::Whole(body.into()) }
    }

    /// A failure that was ordered.
    pub(crate) fn fault(status: StatusCode) -> Self {
        let code = match status.as_u16() {
            400 => "InvalidParameter",
            401 => "NotAuthenticated",
            403 => "NotAuthorized",
            404 => "NotAuthorizedOrNotFound",
            409 => "IncorrectState",
            429 => "TooManyRequests",
            500 => "InternalServerError",
            503 => "ServiceUnavailable",
            _ => "EmulatedFault",
        };
        Self::error(status, code, "The emulator fails as configured")
    }

    /// The request does not prove its identity.
    pub(crate) fn not_authenticated(why: &Refused) -> Self {
        Self::error(StatusCode::UNAUTHORIZED, "NotAuthenticated", &why.to_string())
    }

    /// The service does not distinguish a missing queue from a missing policy.
    pub(crate) fn no_such_queue() -> Self {
        let message = "Authorization failed or requested resource not found.";
        Self::error(StatusCode::NOT_FOUND, "NotAuthorizedOrNotFound", message)
    }

    pub(crate) fn no_such_message() -> Self {
        Self::error(StatusCode::NOT_FOUND, "NotFound", Self::NO_SUCH_MESSAGE)
    }

    /// The same as for a queue, for the same reason.
    pub(crate) fn no_such_group() -> Self {
        Self::no_such_queue()
    }

    pub(crate) fn no_such_path() -> Self {
        Self::error(StatusCode::NOT_FOUND, "NotFound", "The requested path is not found or not emulated.")
    }

    pub(crate) fn wrong_method() -> Self {
        let message = "The method is not allowed on this path or not emulated.";
        Self::error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// The request is understood and requests something that cannot be.
    pub(crate) fn invalid(message: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, "InvalidParameter", message)
    }

    /// The request is not understood.
    pub(crate) fn unreadable(message: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, "CannotParseRequest", message)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("The request body is larger than {limit} bytes.");
        Self::error(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", &message)
    }

    /// The answer as it goes over the wire. `now` becomes its date: the emulator's clock rules,
    /// also where it is simulated. Headers that the answer brings win.
    pub(crate) fn into_response(self, request_id: HeaderValue, now: Timestamp) -> Response<Body> {
        let length = self.payload.length();
        let mut response = Response::new(self.payload.into_body());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, request_id);
        if let Ok(date) = HeaderValue::try_from(http_date(now)) {
            headers.insert(DATE, date);
        }
        if let Some(length) = length.filter(|_| self.status != StatusCode::NO_CONTENT) {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        headers.extend(*self.headers);
        response
    }

    fn error(status: StatusCode, code: &str, message: &str) -> Self {
        Self::json(status, &ErrorBody { code, message })
    }

    fn json(status: StatusCode, document: &impl Serialize) -> Self {
        match serde_json::to_vec(document) {
            Ok(body) => Self::new(status, body),
            // No document here has a key that is not a string, the one thing that can fail.
            Err(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
        }
    }
}

/// The ID of an answer: the emulator's own, after the first part of the client's if that has the
/// form that the service allows. That is parts of at most 32 characters, separated by slashes.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let own = format!("{:032X}", fastrand::u128(..));
    let theirs = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = theirs.split('/').next().unwrap_or_default();
    let legal = (1..=32).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let id = if legal { format!("{first}/{own}") } else { own };
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util;

    fn id_for(theirs: &str) -> String {
        let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(theirs).unwrap())]);
        request_id(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_request_id_echoes_what_it_can() {
        let is_own =
            |id: &str| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
        assert!(is_own(request_id(&HeaderMap::new()).to_str().unwrap()));
        assert!(id_for("abc/def").strip_prefix("abc/").is_some_and(is_own));
        for illegal in ["", "/abc", "a b", &"x".repeat(33)] {
            assert!(is_own(&id_for(illegal)), "{illegal}");
        }
    }

    #[test]
    fn every_answer_has_the_common_headers() {
        for answer in [Answer::done(), Answer::no_such_queue(), Answer::document(&1)] {
            let response = answer.into_response(HeaderValue::from_static("id"), test_util::clock());
            assert_eq!(response.headers()["date"], "Tue, 10 Mar 2026 12:00:00 GMT");
            assert_eq!(response.headers()["opc-request-id"], "id");
            assert_eq!(response.headers()["content-type"], "application/json");
        }
    }
}
