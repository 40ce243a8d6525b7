//! What `check` prints: a line for each finding, as soon as there is one, and the count.

use std::fmt;
use std::io::Write;

use clap::builder::styling::{AnsiColor, Style};

use crate::cli::finding::{Finding, Level, one_line};

/// Prints, and counts.
pub(super) struct Report<W> {
    out: W,
    counts: [usize; 3],
}

// === impl Report ===

impl<W: Write> Report<W> {
    /// In colour: what `out` is decides whether they are shown.
    pub(super) fn new(out: W) -> Self {
        Self { out, counts: [0; 3] }
    }

    /// Prints one line.
    pub(super) fn add(&mut self, check: &str, finding: &Finding) {
        let Finding { level, text } = finding;
        self.counts[*level as usize] += 1;
        let style = style(*level);
        self.print(format_args!("{style}{:<5}{style:#} {check:<12} {}", level.as_str(), one_line(text)));
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

fn style(level: Level) -> Style {
    match level {
        Level::Ok => AnsiColor::Green.on_default(),
        Level::Warn => AnsiColor::Yellow.on_default(),
        Level::Fail => AnsiColor::Red.on_default().bold(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_in_columns_and_is_counted() {
        let mut out = Vec::new();
        let mut report = Report::new(anstream::StripStream::new(&mut out));
        report.add("config", &Finding::ok("good"));
        report.all("apiservice", &[Finding::warn("so so"), Finding::fail("two\nlines \u{1b}[31m")]);
        assert_eq!(report.end(), 1);
        let expected = "ok    config       good\nwarn  apiservice   so so\nfail  apiservice   two lines  [31m\n1 ok, 1 warning, 1 failure\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn how_bad_it_is_has_a_colour() {
        let mut out = Vec::new();
        Report::new(&mut out).add("hpas", &Finding::fail("broken"));
        assert_eq!(String::from_utf8(out).unwrap(), "\u{1b}[1m\u{1b}[31mfail \u{1b}[0m hpas         broken\n");
    }
}
