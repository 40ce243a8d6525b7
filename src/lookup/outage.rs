//! What is told of a source while it fails.
//!
//! The HPA controller writes the sentence into a condition and an event, and writes both anew
//! whenever it changes. So it has an absolute start, no ids, and keeps its first cause until
//! another one has really taken over.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::source::SourceError;

/// Longest sentence, in bytes; an HPA's condition is read in a terminal.
const SENTENCE_MAX: usize = 400;
/// How often in a row another cause must be seen before the sentence changes. A dying service
/// resets, refuses and times out in turn; a changed cause that lasts has another remedy.
const TAKES_OVER: u32 = 3;

/// A time without a good reading.
#[derive(Debug)]
pub(super) struct Outage {
    since: Timestamp,
    cause: String,
    sentence: Arc<str>,
    /// Another cause, and how often in a row it was seen.
    rival: Option<(String, u32)>,
}

// === impl Outage ===

impl Outage {
    /// Begins with the first failed read.
    pub(super) fn begin(title: &str, error: &SourceError, since: Timestamp) -> Self {
        let sentence = sentence(title, error, since);
        Self { since, cause: error.cause.clone(), sentence, rival: None }
    }

    /// Another failed read. Returns whether the sentence has changed.
    pub(super) fn go_on(&mut self, title: &str, error: &SourceError) -> bool {
        if error.cause == self.cause {
            self.rival = None;
            return false;
        }
        let seen = match self.rival.take() {
            Some((cause, seen)) if cause == error.cause => seen + 1,
            _ => 1,
        };
        if seen >= TAKES_OVER {
            *self = Self::begin(title, error, self.since);
            return true;
        }
        self.rival = Some((error.cause.clone(), seen));
        false
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
    fn the_sentence_keeps_until_another_cause_has_taken_over() {
        let since: Timestamp = "2026-11-22T14:02:03.9Z".parse().unwrap();
        let mut outage = Outage::begin("queue \"orders\"", &error("connection refused"), since);
        let first =
            "queue \"orders\" cannot be read since 2026-11-22T14:02:03Z: connection refused (step: read). Wait.";
        assert_eq!(&*outage.sentence(), first);
        for cause in ["timed out", "timed out", "connection refused", "timed out", "timed out", "500", "timed out"] {
            assert!(!outage.go_on("queue \"orders\"", &error(cause)));
            assert_eq!(&*outage.sentence(), first);
        }
        assert!(!outage.go_on("queue \"orders\"", &error("timed out")));
        assert!(outage.go_on("queue \"orders\"", &error("timed out")));
        assert_eq!(&*outage.sentence(), first.replace("connection refused", "timed out"));
    }

    #[test]
    fn the_sentence_is_bounded() {
        let outage = Outage::begin("queue", &error(&"ü".repeat(400)), Timestamp::UNIX_EPOCH);
        assert!(outage.sentence().len() <= SENTENCE_MAX);
    }
}
