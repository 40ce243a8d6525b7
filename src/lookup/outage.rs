//! What is told of a source while it fails.
//!
//! The HPA controller writes the sentence into a condition and an event, and writes both anew
//! whenever it changes. So it has an absolute start, no ids, and keeps its first cause for the
//! whole outage: a dying service resets, refuses and times out in turn. The log has every change.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::source::SourceError;

/// Longest sentence, in bytes; an HPA's condition is read in a terminal.
const SENTENCE_MAX: usize = 400;

/// A time without a good reading.
#[derive(Debug)]
pub(super) struct Outage {
    since: Timestamp,
    /// Of the last failed read, for the log.
    cause: String,
    sentence: Arc<str>,
}

// === impl Outage ===

impl Outage {
    /// Begins with the first failed read.
    pub(super) fn begin(title: &str, error: &SourceError, since: Timestamp) -> Self {
        Self { since, cause: error.cause.clone(), sentence: sentence(title, error, since) }
    }

    /// Another failed read. Returns whether its cause is news.
    pub(super) fn go_on(&mut self, error: &SourceError) -> bool {
        let news = error.cause != self.cause;
        self.cause.clone_from(&error.cause);
        news
    }

    /// What the reader of an HPA is told, at most 400 bytes.
    pub(super) fn sentence(&self) -> Arc<str> {
        self.sentence.clone()
    }

    /// When the first read failed.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }
}

fn sentence(title: &str, error: &SourceError, since: Timestamp) -> Arc<str> {
    let since = since.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ");
    let (step, cause, remedy) = (error.step.as_str(), &error.cause, error.remedy);
    let mut text = format!("{title} cannot be read since {since}: {cause} (step: {step}). {remedy}");
    if text.len() > SENTENCE_MAX {
        text.truncate(text.floor_char_boundary(SENTENCE_MAX));
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Step;

    fn error(cause: &str) -> SourceError {
        SourceError { step: Step::Read, cause: cause.into(), remedy: "Wait.", detail: String::new() }
    }

    #[test]
    fn the_sentence_is_the_same_for_the_whole_outage() {
        let since: Timestamp = "2026-11-22T14:02:03.9Z".parse().unwrap();
        let mut outage = Outage::begin("queue \"orders\"", &error("connection refused"), since);
        for (cause, news) in [("timed out", true), ("timed out", false), ("500", true), ("connection refused", true)] {
            assert_eq!(outage.go_on(&error(cause)), news, "{cause}");
            assert_eq!(
                &*outage.sentence(),
                "queue \"orders\" cannot be read since 2026-11-22T14:02:03Z: connection refused (step: read). Wait."
            );
        }
    }

    #[test]
    fn the_sentence_is_bounded() {
        let outage = Outage::begin("queue", &error(&"ü".repeat(400)), Timestamp::UNIX_EPOCH);
        assert!(outage.sentence().len() <= SENTENCE_MAX);
    }
}
