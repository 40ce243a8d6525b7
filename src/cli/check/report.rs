//! What `check` prints: a line for each finding, as soon as there is one, and the count; or a document at the end.

use std::fmt;
use std::io::Write;

use anyhow::Result;
use clap::builder::styling::{AnsiColor, Style};
use serde::{Deserialize, Serialize};

use crate::cli::finding::{Finding, Level, one_line};
use crate::cli::output::Format;
use crate::metric::names::counted;

/// Prints, and counts.
pub(super) struct Report<W> {
    out: W,
    counts: [usize; 3],
    /// The checks that were left out.
    not_checked: Vec<String>,
    form: Form,
}

/// How findings are printed.
enum Form {
    /// A line for each.
    Lines,
    /// The same below a heading for each check. Which one was the last.
    Sections(String),
    /// All at the end.
    Document(Format, Vec<Checked>),
}

/// All that was checked.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    /// Number of findings of level `ok`.
    ok: usize,
    /// Number of findings of level `warn`.
    warnings: usize,
    /// Number of findings of level `fail`.
    failures: usize,
    /// In the order of the checks.
    findings: Vec<Checked>,
    /// The checks that were left out. The findings have the cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    not_checked: Vec<String>,
}

/// One finding.
#[derive(Debug, Deserialize, Serialize)]
struct Checked {
    /// What was checked, such as `apiservice`.
    check: String,
    #[serde(flatten)]
    finding: Finding,
}

// === impl Report ===

impl<W: Write> Report<W> {
    /// In colour: what `out` is decides whether they are shown.
    pub(super) fn new(out: W, format: Option<Format>) -> Self {
        let form = format.map_or(Form::Lines, |format| Form::Document(format, Vec::new()));
        Self { out, counts: [0; 3], not_checked: Vec::new(), form }
    }

    /// The same with headings in the place of lines.
    pub(super) fn in_sections(self) -> Self {
        let form = match self.form {
            Form::Lines => Form::Sections(String::new()),
            other => other,
        };
        Self { form, ..self }
    }

    /// Prints one line.
    pub(super) fn add(&mut self, check: &str, finding: &Finding) {
        let Finding { level, text } = finding;
        self.counts[*level as usize] += 1;
        let (style, text) = (style(*level), one_line(text));
        match &mut self.form {
            Form::Lines => {
                self.print(format_args!("{style}{:<5}{style:#} {check:<12} {text}", level.as_str()));
            }
            Form::Sections(last) => {
                if last != check {
                    let gap = if last.is_empty() { "" } else { "\n" };
                    check.clone_into(last);
                    self.print(format_args!("{gap}{check}\n{}", "-".repeat(check.len())));
                }
                self.print(format_args!("{style}{}{style:#} {text}", symbol(*level)));
            }
            Form::Document(_, findings) => {
                findings.push(Checked { check: check.to_owned(), finding: finding.clone() });
            }
        }
    }

    pub(super) fn all(&mut self, check: &str, findings: &[Finding]) {
        for finding in findings {
            self.add(check, finding);
        }
    }

    /// What was found in another place.
    pub(super) fn merge(&mut self, place: &str, document: Document) {
        for Checked { check, finding: Finding { level, text } } in document.findings {
            self.add(&one_line(&check), &Finding { level, text: format!("in {place}: {text}") });
        }
        self.not_checked.extend(document.not_checked);
    }

    /// These checks are left out.
    pub(super) fn leave_out(&mut self, checks: &[&str]) {
        self.not_checked.extend(checks.iter().map(|&check| check.to_owned()));
    }

    /// Prints the count, or the document. Returns how many failed.
    pub(super) fn end(mut self) -> Result<usize> {
        let [ok, warnings, failures] = self.counts;
        let gap = if matches!(self.form, Form::Sections(_)) { "\n" } else { "" };
        if let Form::Document(format, findings) = self.form {
            let text = format.text(&Document { ok, warnings, failures, findings, not_checked: self.not_checked })?;
            // The reader of a closed pipe has read enough.
            let _ = self.out.write_all(text.as_bytes());
            return Ok(failures);
        }
        let not_checked = match self.not_checked.as_slice() {
            [] => String::new(),
            checks => format!(", not checked: {}", one_line(&checks.join(", "))),
        };
        let counts = format!("{ok} ok, {}, {}", counted(warnings, "warning"), counted(failures, "failure"));
        self.print(format_args!("{gap}{counts}{not_checked}"));
        Ok(failures)
    }

    fn print(&mut self, line: fmt::Arguments<'_>) {
        // A reader that closes the pipe has read enough; the exit code has the result.
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }
}

/// As `linkerd check` has it.
fn symbol(level: Level) -> char {
    match level {
        Level::Ok => '√',
        Level::Warn => '‼',
        Level::Fail => '×',
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
        let mut report = Report::new(anstream::StripStream::new(&mut out), None);
        report.add("config", &Finding::ok("good"));
        report.all("apiservice", &[Finding::warn("so so"), Finding::fail("two\nlines \u{1b}[31m")]);
        assert_eq!(report.end().unwrap(), 1);
        let expected = "ok    config       good\nwarn  apiservice   so so\nfail  apiservice   two lines  [31m\n1 ok, 1 warning, 1 failure\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn sections_have_a_heading_each() {
        let mut out = Vec::new();
        let mut report = Report::new(anstream::StripStream::new(&mut out), None).in_sections();
        report.add("kubernetes", &Finding::ok("good"));
        report.add("rights", &Finding::warn("so so"));
        report.add("rights", &Finding::fail("bad"));
        assert_eq!(report.end().unwrap(), 1);
        let expected =
            "kubernetes\n----------\n√ good\n\nrights\n------\n‼ so so\n× bad\n\n1 ok, 1 warning, 1 failure\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_document_has_the_same_findings_and_counts() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, Some(Format::Json));
        report.add("config", &Finding::ok("good"));
        report.add("apiservice", &Finding::fail("bad"));
        assert_eq!(report.end().unwrap(), 1);
        let expected = serde_json::json!({"ok": 1, "warnings": 0, "failures": 1, "findings": [
            {"check": "config", "level": "ok", "text": "good"},
            {"check": "apiservice", "level": "fail", "text": "bad"},
        ]});
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), expected);
    }

    #[test]
    fn what_is_left_out_is_at_the_end() {
        let reports = [None, Some(Format::Json)].map(|format| {
            let mut out = Vec::new();
            let mut report = Report::new(&mut out, format);
            report.leave_out(&["config", "sources"]);
            assert_eq!(report.end().unwrap(), 0);
            String::from_utf8(out).unwrap()
        });
        assert_eq!(reports[0], "0 ok, 0 warnings, 0 failures, not checked: config, sources\n");
        let document: Document = serde_json::from_str(&reports[1]).unwrap();
        assert_eq!(document.not_checked, ["config", "sources"]);
    }

    #[test]
    fn what_is_found_in_another_place_has_it_and_is_counted() {
        let mut out = Vec::new();
        let mut report = Report::new(anstream::StripStream::new(&mut out), None);
        report.add("cluster", &Finding::ok("good"));
        let there = r#"{"ok": 0, "warnings": 0, "failures": 1, "findings": [{"check": "sources", "level": "fail", "text": "bad"}], "notChecked": ["a\nb"]}"#;
        report.merge("pod a/b", serde_json::from_str(there).unwrap());
        assert_eq!(report.end().unwrap(), 1);
        let expected = "ok    cluster      good\nfail  sources      in pod a/b: bad\n1 ok, 0 warnings, 1 failure, not checked: a b\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn how_bad_it_is_has_a_colour() {
        let mut out = Vec::new();
        Report::new(&mut out, None).add("hpas", &Finding::fail("broken"));
        assert_eq!(String::from_utf8(out).unwrap(), "\u{1b}[1m\u{1b}[31mfail \u{1b}[0m hpas         broken\n");
    }
}
