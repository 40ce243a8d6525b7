//! What `check` prints: a line for each finding, as soon as there is one, and the count.

use std::fmt;
use std::io::Write;

/// How bad.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Level {
    Ok,
    /// Works, or cannot be told from here.
    Warn,
    /// Does not work.
    Fail,
}

/// One line: how bad, and what, with the remedy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) text: String,
}

/// Prints, and counts.
pub(super) struct Report<W> {
    out: W,
    counts: [usize; 3],
}

// === impl Level ===

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

// === impl Finding ===

impl Finding {
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self { level: Level::Ok, text: text.into() }
    }

    pub(super) fn warn(text: impl Into<String>) -> Self {
        Self { level: Level::Warn, text: text.into() }
    }

    pub(super) fn fail(text: impl Into<String>) -> Self {
        Self { level: Level::Fail, text: text.into() }
    }
}

// === impl Report ===

impl<W: Write> Report<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, counts: [0; 3] }
    }

    /// Prints one line.
    pub(super) fn add(&mut self, check: &str, finding: &Finding) {
        let Finding { level, text } = finding;
        self.counts[*level as usize] += 1;
        // One line, whatever somebody's message holds: it may come from another server.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.print(format_args!("{:<5} {check:<12} {text}", level.as_str()));
    }

    pub(super) fn all(&mut self, check: &str, findings: &[Finding]) {
        for finding in findings {
            self.add(check, finding);
        }
    }

    /// Prints the count; how many failed.
    pub(super) fn end(mut self) -> usize {
        let [ok, warnings, failures] = self.counts;
        let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        self.print(format_args!("{ok} ok, {}, {}", many(warnings, "warning"), many(failures, "failure")));
        failures
    }

    fn print(&mut self, line: fmt::Arguments<'_>) {
        // Whoever closes the pipe has read enough; the exit code says the rest.
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_in_columns_and_is_counted() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out);
        report.add("config", &Finding::ok("good"));
        report.all("apiservice", &[Finding::warn("so so"), Finding::fail("two\nlines \u{1b}[31m")]);
        assert_eq!(report.end(), 1);
        let expected = "ok    config       good\nwarn  apiservice   so so\nfail  apiservice   two lines  [31m\n1 ok, 1 warning, 1 failure\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
