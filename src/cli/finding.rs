//! A finding of a command: its severity, and what to do.

use serde::{Deserialize, Serialize};

use super::failure::without_os_error;

/// How bad.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// Works, or cannot be checked from here.
    Warn,
    /// Does not work.
    Fail,
}

/// One line: how bad, and what, with the remedy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Finding {
    /// `ok`, `warn` or `fail`.
    pub(super) level: Level,
    /// What was found, with the remedy.
    pub(super) text: String,
}

// === impl Level ===

impl Level {
    /// The first word of its line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

// === impl Finding ===

impl Finding {
    fn new(level: Level, text: impl Into<String>) -> Self {
        Self { level, text: without_os_error(&text.into()) }
    }

    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self::new(Level::Ok, text)
    }

    pub(super) fn warn(text: impl Into<String>) -> Self {
        Self::new(Level::Warn, text)
    }

    pub(super) fn fail(text: impl Into<String>) -> Self {
        Self::new(Level::Fail, text)
    }
}

/// On one line, whatever the message holds: it may come from another server.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
