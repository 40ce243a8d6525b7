//! Translates a failure of a request to a source error: operation, cause and remedy.

use std::fmt::Arguments;

use super::Failure;
use crate::http::error::{Error, FEWER_LONG_ANSWERS, Fault, OPEN_FILES, Unreachable, with_causes};
use crate::source::{ErrorKind, Operation, SourceError};

/// Translates a failure, for a kind whose service has no peculiarities. `about` is what was requested and
/// where, for the log.
pub fn source_error(operation: Operation, about: Arguments<'_>, failure: &Failure) -> SourceError {
    match failure {
        Failure::Http(error) => http_error(operation, about, error),
        Failure::Authorize(error) => SourceError {
            request_id: error.request_id.as_deref().map(Box::from),
            retry_after: error.retry_after,
            ..SourceError::new(
                Operation::Authenticate,
                ErrorKind::Transient,
                error.cause.clone(),
                error.remedy,
                format!("{error} ({}) ({about})", error.detail),
            )
        },
    }
}

fn http_error(operation: Operation, about: Arguments<'_>, error: &Error) -> SourceError {
    if let Fault::NotSent { met, retry_after } = &error.fault {
        return http_error(operation, about, met).not_sent(*retry_after);
    }
    let (operation, cause) = match &error.fault {
        Fault::TooLong(_) => (Operation::Decode, error.to_string()),
        Fault::Status(status) => match &status.location {
            Some(location) => (operation, format!("{error}, a redirect to {location}")),
            None => (operation, error.to_string()),
        },
        _ => (operation, error.to_string()),
    };
    let (kind, retry_after, message) = match &error.fault {
        Fault::Status(status) => (kind(status.status), status.retry_after, format!(": {}", status.message)),
        _ => (ErrorKind::Transient, None, String::new()),
    };
    let request_id = error.request_id.as_deref();
    let id = request_id.map(|id| format!(", request ID {id}")).unwrap_or_default();
    SourceError {
        responded: !error.fault.is_without_response(),
        request_id: request_id.map(Box::from),
        retry_after,
        ..SourceError::new(
            operation,
            kind,
            cause,
            remedy(&error.fault),
            format!("{}{message} ({about}{id})", with_causes(error)),
        )
    }
}

/// A client without access and a wrong path are wrong configs: no value rule applies.
fn kind(status: u16) -> ErrorKind {
    match status {
        403 | 404 => ErrorKind::NotFound,
        _ => ErrorKind::Transient,
    }
}

/// An answer of which the end may be missing, see [`crate::http::Response::may_be_cut`].
pub fn cut(operation: Operation) -> SourceError {
    SourceError::new(
        operation,
        ErrorKind::Transient,
        "the answer may be cut: its last line has no end, and the answer no length",
        "Let the service send Content-Length, or end the last line.",
        "",
    )
}

fn remedy(fault: &Fault) -> &'static str {
    match fault {
        Fault::Unreachable(Unreachable::Tls, _) => {
            "Check that the service's certificate is trusted here: `tls.caFile`, `tls.serverName`."
        }
        Fault::Proxy(failure, _) => failure.remedy(),
        Fault::Unreachable(Unreachable::LostNearby, _) => {
            "Let depthgauge in: a NetworkPolicy there, or STRICT mTLS of a service mesh, may refuse it. Check the service."
        }
        Fault::Unreachable(..) => "Check the network path from depthgauge to the service: DNS, NetworkPolicy, `url`.",
        Fault::TimedOut => "Check the network path from depthgauge to the service, and the service's status.",
        Fault::TooLong(_) => "Request less: the response is too long.",
        Fault::Status(status) => status_remedy(status.status),
        Fault::NoSocket => OPEN_FILES,
        Fault::NoRoom => FEWER_LONG_ANSWERS,
        Fault::NotSent { met, .. } => remedy(&met.fault),
    }
}

fn status_remedy(status: u16) -> &'static str {
    match status {
        200..=299 => "Check the address, and that no proxy answers for the service.",
        401 => "Check `auth` of the connection and the files that it names.",
        403 => "Check that the service lets this user read it.",
        404 => "Check `url`, and that what is read exists and this user may read it.",
        407 => "Check `proxy` of the connection.",
        429 => "Raise `refresh`, or the limit of the service.",
        300..=399 => "Set `url` to the address of the service itself; redirects are not followed.",
        500.. => "This is a failure of the service: see its status and its log.",
        _ => "The log has the service's message.",
    }
}
