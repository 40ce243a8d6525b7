//! The text of an OCI config file: sections, keys, and values with their lines. Pure.
//!
//! Read as the official SDK reads it, which is Python's configparser without interpolation. The
//! delimiter is `=` or `:`, keys are in lower case, values are stripped, and a duplicate key or
//! section is an error. Comments are only on lines of their own: what follows a value on its line
//! is part of it. A line continues the value above it if it is indented more than the line of that
//! value's key. So a file whose lines are all indented alike is read like one without indentation.

use std::collections::BTreeMap;

use super::{ConfigFileError, DEFAULT_PROFILE};
use crate::oci::key::has_comment;

/// What separates a key from its value.
const DELIMITERS: [char; 2] = ['=', ':'];

/// Sections by name.
pub(super) type Sections = BTreeMap<String, BTreeMap<String, Value>>;

/// A value, and where it is.
#[derive(Clone)]
pub(super) struct Value {
    /// All of its lines.
    pub(super) text: String,
    /// The line of its key, counted from 1.
    pub(super) line: usize,
    /// The lines that continue it.
    continued: Vec<Continued>,
}

/// A line that continues a value because it is indented.
#[derive(Clone)]
struct Continued {
    line: usize,
    text: String,
}

/// Parses the text of a file.
pub(super) fn parse(text: &str) -> Result<Sections, ConfigFileError> {
    let syntax = |line: usize, problem: String| ConfigFileError::Syntax { line, problem };
    if text.starts_with('\u{feff}') {
        let problem = "the file begins with a byte order mark (BOM), which the OCI SDKs refuse, too: save it as UTF-8 without BOM";
        return Err(syntax(1, problem.to_owned()));
    }
    let mut sections = Sections::new();
    let mut section: Option<String> = None;
    let mut last_key: Option<String> = None;
    let mut indent = 0;
    for (at, raw) in text.lines().enumerate() {
        let (at, line) = (at + 1, raw.trim());
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let entries = section.as_ref().and_then(|name| sections.get_mut(name));
        let blanks = raw.chars().take_while(|c| c.is_whitespace()).count();
        let open = entries.zip(last_key.as_ref()).and_then(|(entries, key)| entries.get_mut(key));
        if let Some(value) = open.filter(|_| blanks > indent) {
            value.text.push('\n');
            value.text.push_str(line);
            value.continued.push(Continued { line: at, text: line.to_owned() });
            continue;
        }
        indent = blanks;
        if let Some(name) = header(line) {
            // The one section that may be there twice, as in Python.
            if sections.contains_key(name) && name != DEFAULT_PROFILE {
                return Err(syntax(at, format!("profile [{name}] occurs twice")));
            }
            sections.entry(name.to_owned()).or_default();
            section = Some(name.to_owned());
            last_key = None;
            continue;
        }
        let Some(name) = &section else {
            return Err(syntax(at, "a key before the first [profile]".to_owned()));
        };
        let Some((key, text)) = line.split_once(DELIMITERS) else {
            return Err(syntax(at, "expected `key = value`, [profile] or a comment".to_owned()));
        };
        let key = key.trim().to_lowercase();
        if key.is_empty() {
            return Err(syntax(at, "a value without a key".to_owned()));
        }
        let value = Value { text: text.trim().to_owned(), line: at, continued: Vec::new() };
        if sections.entry(name.clone()).or_default().insert(key.clone(), value).is_some() {
            return Err(syntax(at, format!("`{key}` occurs twice in [{name}]")));
        }
        last_key = Some(key);
    }
    Ok(sections)
}

/// The name in a line `[name]`.
fn header(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix('[')?.rsplit_once(']')?;
    (!name.is_empty()).then_some(name)
}

/// Why a key or a profile is absent, if a value has swallowed its line: `is_it` recognizes the line.
pub(super) fn swallowed(sections: &Sections, is_it: impl Fn(&str) -> bool) -> String {
    for (key, value) in sections.values().flatten() {
        if let Some(continued) = value.continued.iter().find(|continued| is_it(&continued.text)) {
            return format!("; line {} has it, but {}", continued.line, why_continued(key, value.line));
        }
    }
    String::new()
}

/// Whether a line sets a key.
pub(super) fn sets(line: &str, key: &str) -> bool {
    line.split_once(DELIMITERS).is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case(key))
}

/// Whether a line begins a profile.
pub(super) fn begins(line: &str, profile: &str) -> bool {
    header(line) == Some(profile)
}

fn why_continued(key: &str, line: usize) -> String {
    format!("is indented, so it continues the value of `{key}` in line {line}: remove the blanks at its start")
}

// === impl Value ===

impl Value {
    /// What is wrong with a value that must be one line, if something is: `is_well_formed` checks a
    /// single line, and `expected` describes a correct one.
    pub(super) fn fault(&self, key: &str, is_well_formed: fn(&str) -> bool, expected: &str) -> Option<String> {
        if let Some(continued) = self.continued.first() {
            return Some(format!("line {} {}", continued.line, why_continued(key, self.line)));
        }
        if is_well_formed(&self.text) {
            return None;
        }
        let comment = if has_comment(&self.text) {
            ": a comment after a value is part of it, so move it to a line of its own"
        } else {
            ""
        };
        Some(format!("`{key}` in line {} is not {expected}{comment}", self.line))
    }

    /// Where it is: `line 4`.
    pub(super) fn place(&self) -> String {
        let comment = if has_comment(&self.text) { ", where the comment is part of the value" } else { "" };
        format!("line {}{comment}", self.line)
    }
}
