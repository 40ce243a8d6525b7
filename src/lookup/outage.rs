//! The error message that is served while reads fail.
//!
//! The HPA controller writes the message into a condition and an Event, and writes both again
//! whenever it changes. So the message has an absolute start and no request ids. It keeps its first
//! cause for the whole outage, because a failing service resets, refuses and times out by turns.
//! The log has every change at level debug, and the operator is shown the current cause.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::LookupError;
use crate::metric::names;
use crate::source::{ErrorKind, SourceError};

/// Longest message, in bytes; an HPA's condition is read in a terminal.
const MESSAGE_MAX: usize = 400;
/// Of a request id, in bytes; OCI's are three of 32 characters.
const REQUEST_ID_MAX: usize = 128;

/// A time without a good read.
#[derive(Debug)]
pub(super) struct Outage {
    since: Timestamp,
    /// Of the last failed read, for the log.
    cause: String,
    kind: ErrorKind,
    message: Arc<str>,
    /// The last failed read, for the operator.
    current: Arc<str>,
}

/// How many reads there were, and the last failure, which outlives its outage.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadCounts {
    pub(super) good: u64,
    pub(super) failed: u64,
    pub(super) last_failure: Option<Box<FailureState>>,
}

/// One read that failed, as `/status` shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FailureState {
    /// When it began.
    pub at: Timestamp,
    /// The operation that failed: `read`.
    pub operation: &'static str,
    /// Whether the service responded.
    pub responded: bool,
    /// The cause, without secrets.
    pub cause: String,
    /// What the user can do about it.
    pub remedy: &'static str,
    /// The request ID for a support request to the service, cut after 128 bytes.
    pub request_id: Option<String>,
}

// === impl ReadCounts ===

impl ReadCounts {
    /// Records a successful read.
    pub(super) fn succeed(&mut self) {
        self.good = self.good.saturating_add(1);
    }

    /// Records a failed read.
    pub(super) fn fail(&mut self, error: &SourceError, at: Timestamp) {
        self.failed = self.failed.saturating_add(1);
        let request_id = error.request_id.as_ref().map(|id| id[..id.floor_char_boundary(REQUEST_ID_MAX)].to_owned());
        let SourceError { operation, responded, cause, remedy, .. } = error;
        let (operation, responded, cause) = (operation.as_str(), *responded, cause.clone());
        let failure = FailureState { at, operation, responded, cause, remedy, request_id };
        self.last_failure = Some(Box::new(failure));
    }
}

// === impl Outage ===

impl Outage {
    /// Begins with the first failed read.
    pub(super) fn begin(title: &str, error: &SourceError, since: Timestamp) -> Self {
        let (message, current) = (message(title, error, since), current(title, error, since));
        Self { since, cause: error.cause.clone(), kind: error.kind, message, current }
    }

    /// Another failed read. Returns whether its cause is a new one.
    pub(super) fn go_on(&mut self, title: &str, error: &SourceError, now: Timestamp) -> bool {
        let is_new = error.cause != self.cause;
        // A part that does not exist is an error of the request, and any other failure is one of the source.
        if (error.kind == ErrorKind::NoSuchPart) != (self.kind == ErrorKind::NoSuchPart) {
            *self = Self::begin(title, error, now);
        }
        if (error.kind == ErrorKind::NoItems) != (self.kind == ErrorKind::NoItems) {
            (self.kind, self.message) = (error.kind, message(title, error, self.since));
        }
        if is_new {
            self.cause.clone_from(&error.cause);
            self.current = current(title, error, self.since);
        }
        // A later failure of another sort does not replace the service's answer that it does not
        // exist.
        if error.kind != ErrorKind::Transient {
            self.kind = error.kind;
        }
        is_new
    }

    /// The error that is served during the outage.
    pub(super) fn error(&self) -> LookupError {
        match self.kind {
            ErrorKind::NoSuchPart => LookupError::NoMatch(self.message.to_string()),
            ErrorKind::NoItems => LookupError::NoItems(self.message()),
            ErrorKind::Transient | ErrorKind::NotFound => LookupError::Unavailable(self.message()),
        }
    }

    /// What the failure says about the source.
    pub(super) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message that an HPA shows, at most 400 bytes.
    pub(super) fn message(&self) -> Arc<str> {
        self.message.clone()
    }

    /// The current cause first, and the start of the outage last.
    pub(super) fn current(&self) -> Arc<str> {
        self.current.clone()
    }

    /// When the first read failed.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }
}

/// A failed read as the operator sees it: the message, and what would allow a read that was refused.
pub(super) fn message_with_grant(title: &str, error: &SourceError, since: Timestamp) -> String {
    let message = message(title, error, since);
    match &error.grant {
        Some(grant) => format!("{message} If no policy allows it yet, this one does: {grant}"),
        None => message.to_string(),
    }
}

/// Logs a failed read. Unlike the message, the detail names the request and where it went.
pub(super) fn log_failure(title: &str, error: &SourceError) {
    let SourceError { operation, cause, detail, .. } = error;
    tracing::warn!(source = title, operation = operation.as_str(), cause, detail, "source cannot be read");
}

/// Logs another cause of the same outage, of which a dying service has many.
pub(super) fn log_change(title: &str, error: &SourceError) {
    let SourceError { operation, cause, detail, .. } = error;
    tracing::debug!(
        source = title,
        operation = operation.as_str(),
        cause,
        detail,
        "source cannot be read for another cause"
    );
}

fn current(title: &str, error: &SourceError, since: Timestamp) -> Arc<str> {
    let (operation, cause, remedy, since) = (error.operation.as_str(), &error.cause, error.remedy, seconds(since));
    format!("{title} cannot be read: {cause} (operation: {operation}). {remedy} Failing since {since}.").into()
}

fn seconds(since: Timestamp) -> String {
    since.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn message(title: &str, error: &SourceError, since: Timestamp) -> Arc<str> {
    let (operation, cause, remedy) = (error.operation.as_str(), &error.cause, error.remedy);
    let text = match error.kind {
        ErrorKind::NoSuchPart => format!("{title}: {cause}. {remedy}"),
        ErrorKind::Transient | ErrorKind::NoItems | ErrorKind::NotFound => {
            format!("{title} cannot be read since {}: {cause} (operation: {operation}). {remedy}", seconds(since))
        }
    };
    names::shortened(&text, MESSAGE_MAX).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Operation;

    fn error(cause: &str) -> SourceError {
        judged(cause, ErrorKind::Transient)
    }

    fn judged(cause: &str, kind: ErrorKind) -> SourceError {
        SourceError::new(Operation::Read, kind, cause, "Wait.", "")
    }

    #[test]
    fn the_message_is_the_same_for_the_whole_outage() {
        let since: Timestamp = "2026-11-22T14:02:03.9Z".parse().unwrap();
        let mut outage = Outage::begin("queue \"orders\"", &error("connection refused"), since);
        for (cause, is_new) in [("timed out", true), ("timed out", false), ("500", true), ("connection refused", true)]
        {
            assert_eq!(outage.go_on("queue", &error(cause), Timestamp::UNIX_EPOCH), is_new, "{cause}");
            assert_eq!(
                *outage.current(),
                *format!("queue cannot be read: {cause} (operation: read). Wait. Failing since 2026-11-22T14:02:03Z."),
                "the operator sees the current cause"
            );
            assert_eq!(
                &*outage.message(),
                "queue \"orders\" cannot be read since 2026-11-22T14:02:03Z: connection refused (operation: read). Wait."
            );
        }
    }

    #[test]
    fn a_source_that_said_it_is_not_there_stays_so_whatever_else_goes_wrong() {
        let mut outage = Outage::begin("queue", &error("500"), Timestamp::UNIX_EPOCH);
        let message = outage.message();
        for (kind, expected) in [
            (ErrorKind::Transient, ErrorKind::Transient),
            (ErrorKind::NotFound, ErrorKind::NotFound),
            (ErrorKind::Transient, ErrorKind::NotFound),
        ] {
            outage.go_on("queue", &judged("x", kind), Timestamp::UNIX_EPOCH);
            assert_eq!((outage.kind(), outage.message()), (expected, message.clone()));
        }
    }

    #[test]
    fn an_outage_without_items_is_known_as_such_until_it_has_another_cause() {
        let mut outage = Outage::begin("query", &judged("no series", ErrorKind::NoItems), Timestamp::UNIX_EPOCH);
        assert!(matches!(outage.error(), LookupError::NoItems(message) if message.contains("no series")));
        outage.go_on("query", &error("500"), Timestamp::UNIX_EPOCH);
        assert!(matches!(outage.error(), LookupError::Unavailable(message) if message.contains("500")));
        outage.go_on("query", &judged("no series", ErrorKind::NoItems), Timestamp::UNIX_EPOCH);
        assert!(matches!(outage.error(), LookupError::NoItems(_)));
    }

    #[test]
    fn a_part_that_is_not_there_is_another_matter_than_trouble() {
        let mut outage = Outage::begin("queue", &error("500"), Timestamp::UNIX_EPOCH);
        outage.go_on("queue", &judged("no such group", ErrorKind::NoSuchPart), Timestamp::UNIX_EPOCH);
        assert_eq!(outage.error(), LookupError::NoMatch("queue: no such group. Wait.".to_owned()));
        outage.go_on("queue", &error("500"), Timestamp::UNIX_EPOCH);
        let message = "queue cannot be read since 1970-01-01T00:00:00Z: 500 (operation: read). Wait.";
        assert_eq!(outage.error(), LookupError::Unavailable(message.into()));
    }

    #[test]
    fn the_message_is_bounded() {
        let outage = Outage::begin("queue", &error(&"ü".repeat(400)), Timestamp::UNIX_EPOCH);
        assert!(outage.message().len() <= MESSAGE_MAX && outage.message().ends_with("ü…"));
    }
}
