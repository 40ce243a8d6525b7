//! `-o`: documents for scripts. docs/reference/output.md describes their fields.

use std::fmt;
use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// The format of a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Format {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// Writes to standard output.
pub(super) fn print(text: &str) {
    // The reader of a closed pipe has read enough.
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Writes a line to standard error.
pub(super) fn print_error(line: impl fmt::Display) {
    // As above. `eprintln!` panics then.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

// === impl Format ===

impl Format {
    /// Prints the document.
    pub(super) fn print(self, document: &impl Serialize) -> Result<()> {
        print(&self.text(document)?);
        Ok(())
    }

    /// The document, which ends with a line feed.
    pub(super) fn text(self, document: &impl Serialize) -> Result<String> {
        match self {
            Self::Json => serde_json::to_string_pretty(document).map(|text| text + "\n").context("cannot write JSON"),
            Self::Yaml => serde_saphyr::to_string(document).context("cannot write YAML"),
        }
    }

    /// One of many documents: a line of JSON, or YAML after `---`.
    pub(super) fn next(self, document: &impl Serialize) -> Result<String> {
        match self {
            Self::Json => serde_json::to_string(document).map(|text| text + "\n").context("cannot write JSON"),
            Self::Yaml => self.text(document).map(|text| format!("---\n{text}")),
        }
    }
}
