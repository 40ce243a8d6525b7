//! Its errors as source errors: operation, cause and remedy.

use crate::http::error::Fault;
use crate::source::service::{self, Failure};
use crate::source::{ErrorKind, Operation, SourceError};

/// How much of a media type an error message repeats, in bytes.
const MEDIA_TYPE_BYTES: usize = 60;

/// A failed request.
pub(super) fn source_error(path: &str, failure: &Failure) -> SourceError {
    let error = service::source_error(Operation::Read, format_args!("GET {path}"), failure);
    let Failure::Http(failed) = failure else { return error };
    match &failed.met().fault {
        Fault::Status(status) if status.status == 401 => {
            SourceError { remedy: "Check `auth` of the source and the files that it names.", ..error }
        }
        Fault::Status(status) if status.status == 407 => {
            SourceError { remedy: "Check `proxy` of the source.", ..error }
        }
        Fault::TooLong(_) => SourceError { remedy: "Read a shorter document: the response is too long.", ..error },
        _ => error,
    }
}

/// A document of another type.
pub(super) fn media_type(media_type: &str, format: &str) -> SourceError {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/+-._".contains(&byte);
    let cause = match media_type.len() <= MEDIA_TYPE_BYTES && media_type.bytes().all(is_plain) {
        true => format!("the Content-Type of the answer is {media_type:?}, which is not {format}"),
        false => format!("the Content-Type of the answer is not {format}"),
    };
    let remedy = "Check `url`, `auth` and `format`: perhaps a login page or a proxy answers there.";
    SourceError::new(Operation::Decode, ErrorKind::Transient, cause, remedy, "")
}

/// A document that can't be decoded. `at` is where, for the log.
pub(super) fn invalid(format: &str, at: &str) -> SourceError {
    let remedy = "Check `url` and `format`, and that no proxy answers for the service.";
    SourceError::new(Operation::Decode, ErrorKind::Transient, format!("the answer is not valid {format}"), remedy, at)
}

/// JSON with two values of one key. `at` is where, for the log.
pub(super) fn key_twice(at: &str) -> SourceError {
    let cause = "an object of the answer has a key twice";
    SourceError::new(Operation::Decode, ErrorKind::Transient, cause, "Correct the service: a key has one value.", at)
}

/// A document that would take too much memory.
pub(super) fn too_large() -> SourceError {
    let cause = "the document has too many values: decoded, it takes more than 24 MiB";
    SourceError::new(Operation::Decode, ErrorKind::Transient, cause, "Read a smaller document.", "")
}

/// Metrics of a program that has none.
pub(super) fn no_sample() -> SourceError {
    let remedy = "Check `url`, and that no proxy answers for the program.";
    SourceError::new(Operation::Decode, ErrorKind::Transient, "the answer has no sample", remedy, "")
}
