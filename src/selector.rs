//! The `labelSelector` grammar: parse, match, print. Pure.
//!
//! The grammar of `k8s.io/apimachinery/pkg/labels`, with its sentences for what does not parse.
//! One difference, on purpose: `!key=value` is refused here. The Go parser reads it as
//! `key=value`, the opposite of what was written.

use std::collections::BTreeSet;
use std::fmt;

use crate::metric::{LABEL_VALUE_MAX, Labels, is_label_key, is_label_value};

pub mod label_selector;

/// Most requirements and values together. A hand-written selector has ten, and one that a
/// controller makes of its queues a hundred; ten thousand would cost as much as a thousand answers.
const TERMS_MAX: usize = 1000;

/// All requirements must hold; none at all matches everything.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Selector(Vec<Requirement>);

/// One term: a key and what must be true of its value.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Requirement {
    key: String,
    condition: Condition,
}

/// What must be true. `=`, `==` are [`Condition::In`] of one value, `!=` is
/// [`Condition::NotIn`] of one; the sets are never empty.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Condition {
    /// Present, with one of these values.
    In(BTreeSet<String>),
    /// Absent, or with a value other than these.
    NotIn(BTreeSet<String>),
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
    /// Present, an integer, and above this one.
    GreaterThan(i64),
    /// Present, an integer, and below this one.
    LessThan(i64),
}

/// Why a text is no selector, in the Go library's words where it has any.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

fn too_long() -> ParseError {
    ParseError(format!("a selector has at most {TERMS_MAX} requirements and values"))
}

// === impl Selector ===

impl Selector {
    /// Parses `queue in (a,b),channel=c`, as a client sends it. The empty text selects everything.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.bytes().filter(|byte| *byte == b',').count() >= TERMS_MAX {
            return Err(too_long());
        }
        Self::parse_any(text)
    }

    /// The same for a text of any length.
    fn parse_any(text: &str) -> Result<Self, ParseError> {
        let mut parser = Parser { rest: text };
        let mut requirements = Vec::new();
        if parser.peek() == Token::End {
            return Ok(Self(requirements));
        }
        loop {
            match parser.peek() {
                Token::Word(_) | Token::Symbol("!") => {}
                token if requirements.is_empty() => {
                    return Err(ParseError(format!("found '{token}', expected: !, identifier, or 'end of string'")));
                }
                token => return Err(ParseError(format!("found '{token}', expected: identifier after ','"))),
            }
            let requirement = parser
                .requirement()
                .map_err(|ParseError(why)| ParseError(format!("unable to parse requirement: {why}")))?;
            requirements.push(requirement);
            match parser.next() {
                Token::End => return Ok(Self(requirements)),
                Token::Symbol(",") => {}
                token => return Err(ParseError(format!("found '{token}', expected: ',' or 'end of string'"))),
            }
        }
    }

    /// Whether every requirement holds for these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels.value(&requirement.key)))
    }

    /// The only values that this key can have, where `=`, `==` or `in` names them.
    pub fn named(&self, key: &str) -> Option<&BTreeSet<String>> {
        self.0.iter().find_map(|requirement| match &requirement.condition {
            Condition::In(values) if requirement.key == key => Some(values),
            _ => None,
        })
    }

    /// Fails if depthgauge refuses to answer requests with this selector.
    pub fn check_length(&self) -> Result<(), ParseError> {
        let terms = self.0.iter().map(|requirement| match &requirement.condition {
            Condition::In(values) | Condition::NotIn(values) => values.len(),
            _ => 1,
        });
        if terms.sum::<usize>() > TERMS_MAX { Err(too_long()) } else { Ok(()) }
    }

    /// The requirements, in the order they were written.
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

// === impl Requirement ===

impl Requirement {
    /// The label that this is about.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What must be true of that label.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Whether it holds for a label of this value, or for one that is not there.
    pub fn matches(&self, value: Option<&str>) -> bool {
        match (&self.condition, value) {
            (Condition::In(values), Some(value)) => values.contains(value),
            (Condition::NotIn(values), Some(value)) => !values.contains(value),
            (Condition::NotIn(_) | Condition::DoesNotExist, None) => true,
            (Condition::Exists, value) => value.is_some(),
            (Condition::GreaterThan(bound), Some(value)) => value.parse::<i64>().is_ok_and(|value| value > *bound),
            (Condition::LessThan(bound), Some(value)) => value.parse::<i64>().is_ok_and(|value| value < *bound),
            _ => false,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let list = |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match &self.condition {
            Condition::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
            Condition::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list(values)),
            Condition::In(values) => write!(f, "{key} in ({})", list(values)),
            Condition::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
            Condition::Exists => f.write_str(key),
            Condition::DoesNotExist => write!(f, "!{key}"),
            Condition::GreaterThan(bound) => write!(f, "{key}>{bound}"),
            Condition::LessThan(bound) => write!(f, "{key}<{bound}"),
        }
    }
}

/// What the next characters are. `in` and `notin` are words: only their position decides whether
/// they are operators.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token<'t> {
    Word(&'t str),
    Symbol(&'static str),
    Unknown(&'t str),
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Word(text) | Self::Unknown(text) => text,
            Self::Symbol(text) => text,
            Self::End => "",
        })
    }
}

struct Parser<'t> {
    rest: &'t str,
}

// === impl Parser ===

impl<'t> Parser<'t> {
    fn peek(&self) -> Token<'t> {
        Parser { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'t> {
        let blanks = self.rest.bytes().take_while(|b| is_blank(*b)).count();
        self.rest = &self.rest[blanks..];
        let symbol = match self.rest.as_bytes() {
            [] => return Token::End,
            [b'=', b'=', ..] => Some("=="),
            [b'!', b'=', ..] => Some("!="),
            [b'=', ..] => Some("="),
            [b'!', ..] => Some("!"),
            [b'(', ..] => Some("("),
            [b')', ..] => Some(")"),
            [b',', ..] => Some(","),
            [b'>', ..] => Some(">"),
            [b'<', ..] => Some("<"),
            _ => None,
        };
        if let Some(symbol) = symbol {
            self.rest = &self.rest[symbol.len()..];
            return Token::Symbol(symbol);
        }
        // At an ASCII character, so never in the middle of another one.
        let end = self.rest.bytes().take_while(|b| !is_special(*b)).count();
        let (word, rest) = self.rest.split_at(end);
        if word.is_empty() {
            // A NUL, which the Go lexer takes for the end: what follows it must not go unread.
            let unread = std::mem::take(&mut self.rest);
            return Token::Unknown(unread);
        }
        self.rest = rest;
        Token::Word(word)
    }

    fn requirement(&mut self) -> Result<Requirement, ParseError> {
        let negated = self.peek() == Token::Symbol("!");
        if negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(word) => label_key(word)?,
            token => return Err(ParseError(format!("found '{token}', expected: identifier"))),
        };
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            let condition = if negated { Condition::DoesNotExist } else { Condition::Exists };
            return Ok(Requirement { key, condition });
        }
        if negated {
            let token = self.peek();
            return Err(ParseError(format!("found '{token}', expected: ',' or 'end of string' after '!{key}'")));
        }
        let condition = self.condition()?;
        Ok(Requirement { key, condition })
    }

    fn condition(&mut self) -> Result<Condition, ParseError> {
        Ok(match self.next() {
            Token::Symbol("=" | "==") => Condition::In(BTreeSet::from([self.exact_value()?])),
            Token::Symbol("!=") => Condition::NotIn(BTreeSet::from([self.exact_value()?])),
            Token::Word("in") => Condition::In(self.values()?),
            Token::Word("notin") => Condition::NotIn(self.values()?),
            Token::Symbol(">") => Condition::GreaterThan(self.bound()?),
            Token::Symbol("<") => Condition::LessThan(self.bound()?),
            token => {
                return Err(ParseError(format!("found '{token}', expected: in, notin, =, ==, !=, gt, lt")));
            }
        })
    }

    fn exact_value(&mut self) -> Result<String, ParseError> {
        match self.peek() {
            // `key=` requests the empty value.
            Token::End | Token::Symbol(",") => Ok(String::new()),
            Token::Word(word) => {
                self.next();
                label_value(word)
            }
            token => Err(ParseError(format!("found '{token}', expected: identifier"))),
        }
    }

    fn bound(&mut self) -> Result<i64, ParseError> {
        let value = self.exact_value()?;
        value.parse().map_err(|_| {
            ParseError(format!(
                "values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            ))
        })
    }

    /// `(a,b)`; between commas and parentheses may be nothing, which is the empty value.
    fn values(&mut self) -> Result<BTreeSet<String>, ParseError> {
        match self.next() {
            Token::Symbol("(") => {}
            token => return Err(ParseError(format!("found '{token}' expected: '('"))),
        }
        let mut values = BTreeSet::new();
        loop {
            match self.peek() {
                Token::Word(word) => {
                    self.next();
                    values.insert(label_value(word)?);
                }
                Token::Symbol("," | ")") => {
                    values.insert(String::new());
                }
                token => return Err(ParseError(format!("found '{token}', expected: ',', ')' or identifier"))),
            }
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values),
                token => return Err(ParseError(format!("found '{token}', expected: ',' or ')'"))),
            }
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// What no word has in it.
fn is_special(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<' | 0)
}

fn label_key(text: &str) -> Result<String, ParseError> {
    if is_label_key(text) {
        return Ok(text.to_owned());
    }
    Err(ParseError(format!(
        "<nil>: Invalid value: {text:?}: a label key is a name, with an optional DNS subdomain and '/' before it. The name has at most {LABEL_VALUE_MAX} of letters, digits, '-', '_' or '.', the first and last a letter or digit"
    )))
}

fn label_value(text: &str) -> Result<String, ParseError> {
    if text.is_empty() || is_label_value(text) {
        return Ok(text.to_owned());
    }
    Err(ParseError(format!(
        "values[0]: Invalid value: {text:?}: a label value is at most {LABEL_VALUE_MAX} of letters, digits, '-', '_' or '.', the first and last a letter or digit"
    )))
}

#[cfg(test)]
#[path = "selector/tests.rs"]
mod tests;
