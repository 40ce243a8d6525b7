//! Failures in the words of an error message: cause and remedy.

use super::page::Incomplete;
use super::queue::Unknown;
use crate::document::json_fault;
use crate::http::error::{ErrorText, Fault};
use crate::source::service::{Failure, source_error};
use crate::source::{ErrorKind, Operation, SourceError};

/// RabbitMQ 3 answers 401 also to a user who may not read, with a sentence that only the log shows.
const UNAUTHORIZED: &str = "Check `auth` of the connection, and that the user has the tag `management` and a permission on the vhost: RabbitMQ 3 answers so without them.";
/// All of them have the same answer.
const NOT_FOUND: &str = "There is no such vhost or queue, or the user has no permission on the vhost (RabbitMQ 4). Another cause is a proxy in front of RabbitMQ that decodes %2F in paths.";
const NOT_LISTED: &str =
    "Check `queue` and `vhost`: RabbitMQ lists no such queue, or the user has no permission on the vhost.";
const LATE: &str =
    "Check the network path from depthgauge to RabbitMQ, and its nodes: a list waits for a node that is down.";
const CHANGED: &str = "Wait. If this stays, clients declare and delete queues all the time: use another vhost.";
const NO_LIST: &str = "Check that `url` is the management API of RabbitMQ 3.10 or newer. The log has more.";
const NO_COUNTS: &str = "A queue has counts some seconds after it was declared. If this stays, check that the management plugin runs on its node.";
const NO_RATES: &str = "A queue has rates after its first messages. If this stays, check that `management.rates_mode` is not none and that statistics are collected.";
const NOT_RUNNING: &str = "Check the nodes of the RabbitMQ cluster.";
const NO_NUMBER: &str = "This is a failure of RabbitMQ, or of a proxy in front of it.";
const STREAM: &str = "Use a metric of its consumers: RabbitMQ does not count what they have left.";

/// The log of a sentence of RabbitMQ has it as it is. A code is a word, as in `not_authorized`.
pub(super) fn read_error(body: &[u8]) -> ErrorText {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| answer.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let is_word = |text: &&str| {
        (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
    };
    match text("reason") {
        "" => ErrorText { code: None, ..ErrorText::whole(body) },
        reason => {
            ErrorText { code: Some(text("error")).filter(is_word).map(str::to_owned), message: reason.to_owned() }
        }
    }
}

/// A request that brought no page.
pub(super) fn of_request(path: &str, failure: &Failure) -> SourceError {
    let error = source_error(Operation::Read, format_args!("{path}"), failure);
    let Failure::Http(failure) = failure else { return error };
    let remedy = match &failure.met().fault {
        Fault::Status(status) if status.status == 401 => UNAUTHORIZED,
        Fault::Status(status) if status.status == 404 => NOT_FOUND,
        Fault::TimedOut => LATE,
        _ => error.remedy,
    };
    SourceError { remedy, ..error }
}

/// Whether there is no page of the requested number.
pub(super) fn is_out_of_range(failure: &Failure) -> bool {
    let Failure::Http(failure) = failure else { return false };
    matches!(&failure.fault, Fault::Status(status) if status.code.as_deref() == Some("page_out_of_range"))
}

/// A read that waited for another one until its own deadline.
pub(super) fn late(path: &str) -> SourceError {
    trouble(Operation::Read, "timed out", LATE, path)
}

/// Pages that are not the whole list.
pub(super) fn incomplete(path: &str, incomplete: Incomplete) -> SourceError {
    trouble(Operation::Read, incomplete.to_string(), CHANGED, path)
}

/// An answer that is no page. What is wrong with it may repeat a part of it, so it is not in the message.
pub(super) fn no_page(path: &str, error: &serde_json::Error) -> SourceError {
    trouble(Operation::Decode, "the answer is not a list of queues", NO_LIST, &format!("{path}: {}", json_fault(error)))
}

/// A queue that is not listed.
pub(super) fn not_listed(path: &str) -> SourceError {
    SourceError::new(Operation::Read, ErrorKind::NotFound, "no such queue", NOT_LISTED, path)
}

/// A queue that is only in the list of names, and may have no leader.
pub(super) fn lost(path: &str) -> SourceError {
    trouble(
        Operation::Read,
        "RabbitMQ lists no counts of it: its leader may be on a node that is down",
        NOT_RUNNING,
        path,
    )
}

/// A queue whose counts are unknown.
pub(super) fn no_counts(unknown: &Unknown, path: &str) -> SourceError {
    of_queue(unknown, NO_COUNTS, path)
}

/// A queue whose rates are unknown.
pub(super) fn no_rates(unknown: &Unknown, path: &str) -> SourceError {
    of_queue(unknown, NO_RATES, path)
}

fn of_queue(unknown: &Unknown, missing: &'static str, path: &str) -> SourceError {
    let cause = unknown.to_string();
    match unknown {
        Unknown::Stream => SourceError::new(Operation::Read, ErrorKind::NotFound, cause, STREAM, path),
        Unknown::NotRunning(_) => trouble(Operation::Read, cause, NOT_RUNNING, path),
        Unknown::Missing(_) => trouble(Operation::Read, cause, missing, path),
        Unknown::Malformed(_) => trouble(Operation::Decode, cause, NO_NUMBER, path),
    }
}

fn trouble(operation: Operation, cause: impl Into<String>, remedy: &'static str, detail: &str) -> SourceError {
    SourceError::new(operation, ErrorKind::Transient, cause, remedy, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_rabbitmq_has_a_code_and_a_sentence() {
        for (body, code, message) in [
            (r#"{"error":"not_authorized","reason":"Login failed"}"#, Some("not_authorized"), "Login failed"),
            (r#"{"error":"Object Not Found","reason":"Not Found"}"#, None, "Not Found"),
            (r#"{"error":"Basic dXNlcjpwYXNzd29yZA","reason":"x"}"#, None, "x"),
            ("<html>", None, "<html>"),
            ("{}", None, "{}"),
        ] {
            let ErrorText { code: read, message: text } = read_error(body.as_bytes());
            assert_eq!((read.as_deref(), text.as_str()), (code, message));
        }
    }
}
