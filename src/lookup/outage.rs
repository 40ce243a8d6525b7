//! What is told of a source while it fails.
//!
//! The HPA controller writes the sentence into a condition and an event, and writes both anew
//! whenever it changes. So it has an absolute start, no ids, and keeps its first cause for the
//! whole outage: a dying service resets, refuses and times out in turn. The log has every change.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::LookupError;
use crate::source::{SourceError, Verdict};

/// Longest sentence, in bytes; an HPA's condition is read in a terminal.
const SENTENCE_MAX: usize = 400;
/// Of a request id, in bytes; OCI's are three of 32 characters.
const REQUEST_ID_MAX: usize = 128;

/// A time without a good reading.
#[derive(Debug)]
pub(super) struct Outage {
    since: Timestamp,
    /// Of the last failed read, for the log.
    cause: String,
    verdict: Verdict,
    sentence: Arc<str>,
}

/// How often a reading was tried, and the last failure, which outlives its outage.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) good: u64,
    pub(super) failed: u64,
    pub(super) last_failure: Option<Box<FailureState>>,
}

/// One read that failed, for those who want to look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FailureState {
    /// When it began.
    pub at: Timestamp,
    /// How far it came: `read`.
    pub step: &'static str,
    /// What happened; nothing secret.
    pub cause: String,
    /// What the reader can do about it.
    pub remedy: &'static str,
    /// By which the service's own people find it, cut after 128 bytes.
    pub request_id: Option<String>,
}

// === impl Tally ===

impl Tally {
    /// Takes note of a failed read.
    pub(super) fn fail(&mut self, error: &SourceError, at: Timestamp) {
        self.failed = self.failed.saturating_add(1);
        let request_id = error.request_id.as_ref().map(|id| id[..id.floor_char_boundary(REQUEST_ID_MAX)].to_owned());
        let SourceError { step, cause, remedy, .. } = error;
        let failure = FailureState { at, step: step.as_str(), cause: cause.clone(), remedy, request_id };
        self.last_failure = Some(Box::new(failure));
    }
}

// === impl Outage ===

impl Outage {
    /// Begins with the first failed read.
    pub(super) fn begin(title: &str, error: &SourceError, since: Timestamp) -> Self {
        Self { since, cause: error.cause.clone(), verdict: error.verdict, sentence: sentence(title, error, since) }
    }

    /// Another failed read. Returns whether its cause is news.
    pub(super) fn go_on(&mut self, title: &str, error: &SourceError, now: Timestamp) -> bool {
        let news = error.cause != self.cause;
        // That the question is wrong is no trouble, and trouble is no answer to the question.
        if (error.verdict == Verdict::NoSuchPart) != (self.verdict == Verdict::NoSuchPart) {
            *self = Self::begin(title, error, now);
        }
        self.cause.clone_from(&error.cause);
        // Once the source has said that it is not there, what else goes wrong does not undo it.
        if error.verdict != Verdict::Trouble {
            self.verdict = error.verdict;
        }
        news
    }

    /// What is told while it lasts.
    pub(super) fn error(&self) -> LookupError {
        match self.verdict {
            Verdict::NoSuchPart => LookupError::NoMatch(self.sentence.to_string()),
            Verdict::Trouble | Verdict::Absent => LookupError::Unavailable(self.sentence()),
        }
    }

    /// What the source said of itself.
    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
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

/// What is told of a failed read to whoever looks after the source: the sentence, and what would
/// allow a read that was refused.
pub(super) fn told_once(title: &str, error: &SourceError, since: Timestamp) -> String {
    let sentence = sentence(title, error, since);
    match &error.grant {
        Some(grant) => format!("{sentence} If no policy allows it yet, this one does: {grant}"),
        None => sentence.to_string(),
    }
}

fn sentence(title: &str, error: &SourceError, since: Timestamp) -> Arc<str> {
    let (step, cause, remedy) = (error.step.as_str(), &error.cause, error.remedy);
    let mut text = match error.verdict {
        Verdict::NoSuchPart => format!("{title}: {cause}. {remedy}"),
        Verdict::Trouble | Verdict::Absent => {
            let since = since.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ");
            format!("{title} cannot be read since {since}: {cause} (operation: {step}). {remedy}")
        }
    };
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
        judged(cause, Verdict::Trouble)
    }

    fn judged(cause: &str, verdict: Verdict) -> SourceError {
        SourceError::new(Step::Read, verdict, cause, "Wait.", "")
    }

    #[test]
    fn the_sentence_is_the_same_for_the_whole_outage() {
        let since: Timestamp = "2026-11-22T14:02:03.9Z".parse().unwrap();
        let mut outage = Outage::begin("queue \"orders\"", &error("connection refused"), since);
        for (cause, news) in [("timed out", true), ("timed out", false), ("500", true), ("connection refused", true)] {
            assert_eq!(outage.go_on("other", &error(cause), Timestamp::UNIX_EPOCH), news, "{cause}");
            assert_eq!(
                &*outage.sentence(),
                "queue \"orders\" cannot be read since 2026-11-22T14:02:03Z: connection refused (operation: read). Wait."
            );
        }
    }

    #[test]
    fn a_source_that_said_it_is_not_there_stays_so_whatever_else_goes_wrong() {
        let mut outage = Outage::begin("queue", &error("500"), Timestamp::UNIX_EPOCH);
        let sentence = outage.sentence();
        for (verdict, expected) in [
            (Verdict::Trouble, Verdict::Trouble),
            (Verdict::Absent, Verdict::Absent),
            (Verdict::Trouble, Verdict::Absent),
        ] {
            outage.go_on("queue", &judged("x", verdict), Timestamp::UNIX_EPOCH);
            assert_eq!((outage.verdict(), outage.sentence()), (expected, sentence.clone()));
        }
    }

    #[test]
    fn a_part_that_is_not_there_is_another_matter_than_trouble() {
        let mut outage = Outage::begin("queue", &error("500"), Timestamp::UNIX_EPOCH);
        outage.go_on("queue", &judged("no such group", Verdict::NoSuchPart), Timestamp::UNIX_EPOCH);
        assert_eq!(outage.error(), LookupError::NoMatch("queue: no such group. Wait.".to_owned()));
        outage.go_on("queue", &error("500"), Timestamp::UNIX_EPOCH);
        let sentence = "queue cannot be read since 1970-01-01T00:00:00Z: 500 (operation: read). Wait.";
        assert_eq!(outage.error(), LookupError::Unavailable(sentence.into()));
    }

    #[test]
    fn the_sentence_is_bounded() {
        let outage = Outage::begin("queue", &error(&"ü".repeat(400)), Timestamp::UNIX_EPOCH);
        assert!(outage.sentence().len() <= SENTENCE_MAX);
    }
}
