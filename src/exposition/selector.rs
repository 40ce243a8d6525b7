//! Series selectors as in PromQL: `name{label="…",other!="…",third=~"…",fourth!~"…"}`. Pure.
//!
//! A name is required. In braces it is quoted: `{"a.name",label="…"}`.
//! <https://prometheus.io/docs/prometheus/latest/querying/basics/#instant-vector-selectors>

use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};

use super::cursor::Cursor;
use super::{LABELS_MAX, Sample};

/// The most bytes of a selector. A hand-written one has 100.
const LENGTH_MAX: usize = 4096;
/// The most memory of a compiled regular expression, in bytes. It is linear in the length of the
/// expression, except for repetitions such as `(a{1000}){1000}`.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// Selects samples of one name by their labels.
#[derive(Clone, Debug)]
pub struct SeriesSelector {
    name: String,
    matchers: Vec<Matcher>,
}

/// What the value of a label must be, or must not be. A missing label has the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    label: String,
    negated: bool,
    expected: Expected,
}

#[derive(Clone, Debug)]
enum Expected {
    Text(String),
    /// The text, and the expression that matches whole values.
    Pattern(String, Regex),
}

/// Why a text is no series selector.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

// === impl SeriesSelector ===

impl SeriesSelector {
    /// The name of the metric.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its labels must be. All of it must hold.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Whether it selects this sample.
    pub fn matches(&self, sample: &Sample<'_>) -> bool {
        sample.name == self.name && self.matches_labels(|label| sample.label(label))
    }

    /// Whether it selects a sample of its name with these labels: `value` returns the value of a label, and
    /// the empty text for a missing one.
    pub fn matches_labels<'l>(&self, value: impl Fn(&str) -> &'l str) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(value(&matcher.label)))
    }
}

impl FromStr for SeriesSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.len() > LENGTH_MAX {
            return Err(error(format!("a series selector has at most {LENGTH_MAX} bytes")));
        }
        let mut cursor = Cursor::new(text.trim());
        let mut name = cursor.metric_name().map(str::to_owned);
        blanks(&mut cursor);
        let mut matchers = Vec::new();
        if cursor.eat("{") {
            braces(&mut cursor, &mut name, &mut matchers)?;
            blanks(&mut cursor);
        }
        if !cursor.rest().is_empty() {
            return Err(unexpected(&cursor, "a metric name with labels in braces, and nothing else"));
        }
        match name {
            Some(name) => Ok(Self { name, matchers }),
            None => Err(error(r#"the name of the metric is missing: write name{label="value"}"#.to_owned())),
        }
    }
}

impl fmt::Display for SeriesSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = Cursor::new(&self.name).metric_name() == Some(&*self.name);
        let mut parts: Vec<String> = self.matchers.iter().map(Matcher::to_string).collect();
        if !is_plain {
            parts.insert(0, quote(&self.name));
        }
        if is_plain {
            f.write_str(&self.name)?;
        }
        if parts.is_empty() { Ok(()) } else { write!(f, "{{{}}}", parts.join(",")) }
    }
}

// === impl Matcher ===

impl Matcher {
    /// The label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether it holds for this value. A missing label has the empty one.
    pub fn matches(&self, value: &str) -> bool {
        let fits = match &self.expected {
            Expected::Text(text) => text == value,
            Expected::Pattern(_, regex) => regex.is_match(value),
        };
        fits != self.negated
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operator, text) = match (&self.expected, self.negated) {
            (Expected::Text(text), false) => ("=", text),
            (Expected::Text(text), true) => ("!=", text),
            (Expected::Pattern(text, _), false) => ("=~", text),
            (Expected::Pattern(text, _), true) => ("!~", text),
        };
        let is_plain = Cursor::new(&self.label).label_name() == Some(&*self.label);
        let label = if is_plain { self.label.clone() } else { quote(&self.label) };
        write!(f, "{label}{operator}{}", quote(text))
    }
}

/// What is between `{` and `}`, and the latter.
fn braces(
    cursor: &mut Cursor<'_>,
    name: &mut Option<String>,
    matchers: &mut Vec<Matcher>,
) -> Result<(), SelectorError> {
    loop {
        blanks(cursor);
        if cursor.eat("}") {
            return Ok(());
        }
        let quoted = string(cursor)?;
        let is_quoted = quoted.is_some();
        let label = quoted.or_else(|| cursor.label_name().map(str::to_owned));
        let label = label.filter(|label| !label.is_empty()).ok_or_else(|| unexpected(cursor, "a label or }"))?;
        blanks(cursor);
        match operator(cursor) {
            Some((negated, is_pattern)) => {
                blanks(cursor);
                let value = string(cursor)?.ok_or_else(|| unexpected(cursor, "a value between quotation marks"))?;
                if label == "__name__" {
                    return Err(error("write the name of the metric before {, and not as __name__".to_owned()));
                }
                if matchers.len() == LABELS_MAX {
                    return Err(error(format!("a series selector has at most {LABELS_MAX} labels")));
                }
                let expected = if is_pattern { pattern(value)? } else { Expected::Text(value) };
                matchers.push(Matcher { label, negated, expected });
            }
            None if is_quoted && name.is_none() => *name = Some(label),
            None => return Err(unexpected(cursor, "=, !=, =~ or !~ after a label")),
        }
        blanks(cursor);
        if !cursor.eat(",") && !cursor.rest().starts_with('}') {
            return Err(unexpected(cursor, ", or }"));
        }
    }
}

/// Whether it is negated, and whether it takes a regular expression.
fn operator(cursor: &mut Cursor<'_>) -> Option<(bool, bool)> {
    let operators = [("=~", false, true), ("!~", true, true), ("!=", true, false), ("=", false, false)];
    operators.into_iter().find_map(|(text, negated, is_pattern)| cursor.eat(text).then_some((negated, is_pattern)))
}

/// An expression that matches whole values, as for Prometheus. `.` matches a newline too.
fn pattern(text: String) -> Result<Expected, SelectorError> {
    let compile = |expression: &str| {
        let built = RegexBuilder::new(expression).size_limit(REGEX_SIZE_MAX).dot_matches_new_line(true).build();
        built.map_err(|_| {
            error(format!(
                "{text:?} is not a regular expression of RE2's syntax, or it takes more than 1 MiB of memory"
            ))
        })
    };
    // By itself first: otherwise `a)|(b` is one that matches parts of values.
    compile(&text)?;
    let regex = compile(&format!("^(?:{text})$"))?;
    Ok(Expected::Pattern(text, regex))
}

/// A string of PromQL: between `"` or `'` with escapes, or between backticks without. `None` if there is
/// none here.
fn string(cursor: &mut Cursor<'_>) -> Result<Option<String>, SelectorError> {
    if cursor.eat("`") {
        let text = cursor.take(|c| c != '`');
        return if cursor.eat("`") { Ok(Some(text.to_owned())) } else { Err(unterminated()) };
    }
    let Some(quotation_mark) = ["\"", "'"].into_iter().find(|mark| cursor.eat(mark)) else { return Ok(None) };
    let mut text = String::new();
    loop {
        text.push_str(cursor.take(|c| !matches!(c, '"' | '\'' | '\\' | '\n')));
        if cursor.eat(quotation_mark) {
            return Ok(Some(text));
        }
        // Another kind of quotation mark is a character.
        if cursor.eat("\"") {
            text.push('"');
        } else if cursor.eat("'") {
            text.push('\'');
        } else if cursor.eat("\\") {
            let escapes = [("\\", '\\'), ("\"", '"'), ("'", '\''), ("n", '\n'), ("t", '\t'), ("r", '\r')];
            let c = escapes.into_iter().find_map(|(escape, c)| cursor.eat(escape).then_some(c));
            let c = c.ok_or_else(|| {
                error(r#"unsupported escape in a string; supported are \\, \", \', \n, \t, \r. In a regular expression, write \\. for \."#.to_owned())
            })?;
            text.push(c);
        } else {
            return Err(unterminated());
        }
    }
}

/// A selector may have several lines.
fn blanks(cursor: &mut Cursor<'_>) {
    cursor.skip(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n"))
}

fn unterminated() -> SelectorError {
    error("a string does not end".to_owned())
}

fn unexpected(cursor: &Cursor<'_>, expected: &str) -> SelectorError {
    error(match cursor.rest().chars().next() {
        Some(found) => format!("expected {expected}, got {found:?}"),
        None => format!("expected {expected}, got the end"),
    })
}

fn error(message: String) -> SelectorError {
    SelectorError(message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::exposition::{Format, parse};

    /// The values of label `l` that a selector selects, out of these.
    fn selected(selector: &str, values: &[&'static str]) -> Vec<&'static str> {
        let selector: SeriesSelector = selector.parse().unwrap();
        let fits = |value: &&'static str| selector.matches_labels(|label| if label == "l" { value } else { "" });
        values.iter().copied().filter(fits).collect()
    }

    #[test]
    fn four_operators() {
        let values = ["", "a", "ab", "b", "a\nb"];
        for (selector, expected) in [
            ("m", vec!["", "a", "ab", "b", "a\nb"]),
            ("m{}", vec!["", "a", "ab", "b", "a\nb"]),
            (r#"m{l="a"}"#, vec!["a"]),
            (r#"m{l=""}"#, vec![""]),
            (r#"m{l!=""}"#, vec!["a", "ab", "b", "a\nb"]),
            (r#"m{l!="a"}"#, vec!["", "ab", "b", "a\nb"]),
            // A regular expression matches the whole value, and `.` a newline too.
            (r#"m{l=~"a"}"#, vec!["a"]),
            (r#"m{l=~"a|b"}"#, vec!["a", "b"]),
            (r#"m{l=~"a.*"}"#, vec!["a", "ab", "a\nb"]),
            (r#"m{l=~"a?"}"#, vec!["", "a"]),
            (r#"m{l!~"a.*"}"#, vec!["", "b"]),
            (r#"m{l=~"(?i)A"}"#, vec!["a"]),
            (r#"m{l=~"^a$"}"#, vec!["a"]),
            (r#"m{l=~".+",l!="b"}"#, vec!["a", "ab", "a\nb"]),
            (r#"m{l="a",other="x"}"#, vec![]),
        ] {
            assert_eq!(selected(selector, &values), expected, "{selector}");
        }
    }

    #[test]
    fn a_sample_is_selected_by_name_and_labels() {
        let text = b"m{l=\"a\"} 1\nm 2\nmm{l=\"a\"} 3\n{\"m\",l=\"a\",k=\"b\"} 4\n";
        let selector: SeriesSelector = r#"m{l="a"}"#.parse().unwrap();
        let all = parse(text, Format::Text).unwrap().map(Result::unwrap);
        let values: Vec<f64> = all.filter(|sample| selector.matches(sample)).map(|sample| sample.value).collect();
        assert_eq!(values, [1.0, 4.0]);
    }

    #[test]
    fn written_and_printed() {
        for (text, printed) in [
            ("m", "m"),
            (" m { } ", "m"),
            ("a:b_c9", "a:b_c9"),
            ("m{a=\"1\", b != '2',\n c=~`\\d+`,}", r#"m{a="1",b!="2",c=~"\\d+"}"#),
            (r#"{"a.name","a.label"="x"}"#, r#"{"a.name","a.label"="x"}"#),
            (r#"{l="x","m"}"#, r#"m{l="x"}"#),
            (r#"{"m"}"#, "m"),
            (r#"m{l="\\ \" \n \t ' ü"}"#, "m{l=\"\\\\ \\\" \\n \t ' ü\"}"),
            (r#"m{l='"',k="'"}"#, r#"m{l="\"",k="'"}"#),
        ] {
            let selector: SeriesSelector = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selector.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector() {
        let missing = r#"the name of the metric is missing: write name{label="value"}"#;
        let nothing_else = "expected a metric name with labels in braces, and nothing else, got";
        for (text, message) in [
            ("", missing.to_owned()),
            ("{}", missing.to_owned()),
            (r#"{a="b"}"#, missing.to_owned()),
            ("rate(m[1m])", format!("{nothing_else} '('")),
            ("m[1m]", format!("{nothing_else} '['")),
            ("m{} 1", format!("{nothing_else} '1'")),
            ("a b", format!("{nothing_else} 'b'")),
            ("1", format!("{nothing_else} '1'")),
            ("m{", "expected a label or }, got the end".to_owned()),
            ("m{,}", "expected a label or }, got ','".to_owned()),
            ("m{a}", "expected =, !=, =~ or !~ after a label, got '}'".to_owned()),
            (r#"m{"a"}"#, "expected =, !=, =~ or !~ after a label, got '}'".to_owned()),
            ("m{a=b}", "expected a value between quotation marks, got 'b'".to_owned()),
            (r#"m{a="b""#, "expected , or }, got the end".to_owned()),
            (r#"m{a="b" c="d"}"#, "expected , or }, got 'c'".to_owned()),
            (r#"m{a="b}"#, "a string does not end".to_owned()),
            ("m{a=\"b\n\"}", "a string does not end".to_owned()),
            ("m{a=`b}", "a string does not end".to_owned()),
            (r#"{__name__="m"}"#, "write the name of the metric before {, and not as __name__".to_owned()),
            (r#"m{a=~"("}"#, r#""(" is not a regular expression of RE2's syntax, or it takes more than 1 MiB of memory"#.to_owned()),
            (r#"m{a=~"a)|(b"}"#, r#""a)|(b" is not a regular expression of RE2's syntax, or it takes more than 1 MiB of memory"#.to_owned()),
            (r#"m{a!~"(a{1000}){1000}"}"#, r#""(a{1000}){1000}" is not a regular expression of RE2's syntax, or it takes more than 1 MiB of memory"#.to_owned()),
            (r#"m{a=~"\d"}"#, r#"unsupported escape in a string; supported are \\, \", \', \n, \t, \r. In a regular expression, write \\. for \."#.to_owned()),
            (&format!("m{{a=\"{}\"}}", "x".repeat(LENGTH_MAX)), "a series selector has at most 4096 bytes".to_owned()),
            (&format!("m{{{}}}", "a=\"\",".repeat(LABELS_MAX + 1)), "a series selector has at most 64 labels".to_owned()),
        ] {
            assert_eq!(text.parse::<SeriesSelector>().unwrap_err().to_string(), message, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(name in ".+", terms in proptest::collection::vec((".+", "=|!=", ".*"), 0..5), labels in proptest::collection::btree_map(".+", ".*", 0..3)) {
            prop_assume!(terms.iter().all(|(label, ..)| label != "__name__"));
            let printed: Vec<String> = terms.iter().map(|(label, operator, value)| format!("{}{operator}{}", quote(label), quote(value))).collect();
            let selector: SeriesSelector = format!("{{{},{}}}", quote(&name), printed.join(",")).parse().unwrap();
            prop_assert_eq!(selector.name(), &name);
            let again: SeriesSelector = selector.to_string().parse().unwrap();
            prop_assert_eq!(again.to_string(), selector.to_string());
            let mut labels: BTreeMap<String, String> = labels;
            labels.extend(terms.first().map(|(label, _, value)| (label.clone(), value.clone())));
            let value = |label: &str| labels.get(label).map_or("", String::as_str);
            let expected = terms.iter().all(|(label, operator, wanted)| (value(label) == wanted) == (operator == "="));
            prop_assert_eq!(again.matches_labels(value), expected);
        }
    }
}
