//! Its errors as source errors: operation, cause and remedy.

use super::answer::Unusable;
use super::sentence::{is_about_a_store, shortened};
use crate::http::error::{Fault, StatusError};
use crate::source::service::{self, Failure};
use crate::source::{ErrorKind, Operation, SourceError};

/// The header of a response while Prometheus starts or stops.
const STOPPING: &str = "x-prometheus-stopping";

/// A failed request. The log has the query.
pub(super) fn source_error(query: &str, failure: &Failure) -> SourceError {
    let error = service::source_error(Operation::Read, format_args!("query {query}"), failure);
    let Failure::Http(failed) = failure else { return error };
    let Fault::Status(status) = &failed.met().fault else { return error };
    match (status.status, status.code.as_deref()) {
        // The sentence of a parser, which has the position in the query.
        (400, Some(_)) => {
            SourceError { kind: ErrorKind::NotFound, cause: with_sentence(status), remedy: "Correct `query`.", ..error }
        }
        // The message names a part of the service that depthgauge has no connection to, and another one each
        // time.
        (422, Some(_)) if is_about_a_store(&status.message) => SourceError {
            cause: format!("{status}: a store behind this service failed"),
            remedy: "Check the stores: the log has the message of the service.",
            ..error
        },
        (422, Some(_)) => SourceError { cause: with_sentence(status), remedy: "Correct `query`.", ..error },
        (503, Some("timeout")) => SourceError {
            remedy: "Make the query cheaper, for example by a recording rule, or raise `timeout`.",
            ..error
        },
        (503, None) if status.headers.contains_key(STOPPING) => SourceError {
            cause: "503, Prometheus is starting or stopping".to_owned(),
            remedy: "Wait until it is ready: it reads its write-ahead log at the start.",
            ..error
        },
        (401, _) => SourceError {
            remedy: "Check `auth` of the connection and its files. Mimir and Cortex require the header X-Scope-OrgID.",
            ..error
        },
        (404, _) => SourceError { remedy: "Check the path in `url`, to which /api/v1/query is appended.", ..error },
        _ => error,
    }
}

fn with_sentence(status: &StatusError) -> String {
    format!("{status}: {}", shortened(&status.message))
}

/// A web page instead of an answer.
pub(super) fn html() -> SourceError {
    let remedy = "Check `url` and `auth`: a login page or a proxy answers there.";
    SourceError::new(Operation::Decode, ErrorKind::Transient, "the answer is a web page (HTML)", remedy, "")
}

/// An answer without values.
pub(super) fn unusable(unusable: &Unusable) -> SourceError {
    let new =
        |operation, kind, cause: &str, remedy, detail: &str| SourceError::new(operation, kind, cause, remedy, detail);
    match unusable {
        Unusable::Invalid(detail) => new(
            Operation::Decode,
            ErrorKind::Transient,
            "the answer is not understood",
            "Check that `url` is a service with Prometheus' HTTP API, and no proxy answers for it.",
            detail,
        ),
        Unusable::Failed(word) => new(
            Operation::Read,
            ErrorKind::Transient,
            &format!("the answer is an error with status 200: {word}"),
            "Check the service and what is between: an error has another status.",
            "",
        ),
        Unusable::Partial(detail) => new(
            Operation::Read,
            ErrorKind::Transient,
            "the answer has warnings, so series may be missing",
            "The log has the first warning. Correct its cause, or set `warnings: ignore`.",
            detail,
        ),
        Unusable::Type(what) => new(
            Operation::Decode,
            ErrorKind::NotFound,
            &format!("the query returns {what}"),
            "Write an expression that returns an instant vector or a scalar, as rate() does.",
            "",
        ),
    }
}
