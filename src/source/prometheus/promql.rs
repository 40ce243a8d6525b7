//! As much of PromQL as warnings need: a tokenizer, and two mistakes that are valid queries. Pure.

use std::collections::BTreeSet;

/// Functions that make a rate or a number of events of a counter.
const RATES: &[&str] = &["rate", "irate", "increase", "resets", "changes"];
/// Keywords before a list of label names.
const BEFORE_LABELS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
/// The end of a counter's name, by the convention of Prometheus and OpenMetrics.
const COUNTER: &str = "_total";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token<'q> {
    /// A metric, a label, a function or a keyword.
    Name(&'q str),
    /// The content of a quoted text, with its escape sequences.
    Text(&'q str),
    /// A number or a duration.
    Number(&'q str),
    /// Anything else.
    Symbol(char),
}

/// What stands between a pair of brackets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scope {
    /// The arguments of one of [`RATES`].
    Rate,
    /// Names of labels.
    Labels,
    /// A selector's matchers.
    Matchers,
    Other,
}

/// The counters of a query whose values, which only grow, are used as they are.
pub(super) fn bare_counters(query: &str) -> BTreeSet<&str> {
    let tokens = tokens(query);
    let (mut found, mut scopes) = (BTreeSet::new(), Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| tokens[before]);
        let next = tokens.get(at + 1).copied();
        let scope = scopes.last().copied();
        let name = match *token {
            Token::Symbol('(') => {
                scopes.push(match before {
                    Some(Token::Name(name)) if RATES.contains(&name) => Scope::Rate,
                    Some(Token::Name(name)) if is_one_of(name, BEFORE_LABELS) => Scope::Labels,
                    _ => Scope::Other,
                });
                continue;
            }
            Token::Symbol('{') => {
                scopes.push(Scope::Matchers);
                continue;
            }
            Token::Symbol(')' | '}') => {
                scopes.pop();
                continue;
            }
            Token::Name(name) if !matches!(scope, Some(Scope::Labels | Scope::Matchers)) => name,
            // `{"name"}`
            Token::Text(text)
                if scope == Some(Scope::Matchers)
                    && matches!(before, Some(Token::Symbol('{' | ',')))
                    && matches!(next, Some(Token::Symbol('}' | ','))) =>
            {
                text
            }
            // `{__name__="name"}`
            Token::Text(text)
                if before == Some(Token::Symbol('='))
                    && at.checked_sub(2).map(|before| tokens[before]) == Some(Token::Name("__name__")) =>
            {
                text
            }
            _ => continue,
        };
        if name.ends_with(COUNTER) && !scopes.contains(&Scope::Rate) {
            found.insert(name);
        }
    }
    found
}

/// The number of `or vector(0)`, which is the value of the query while it selects nothing.
pub(super) fn constant_instead(query: &str) -> Option<&str> {
    let tokens = tokens(query);
    let starts = tokens.iter().enumerate().filter(|(_, token)| is_keyword(Some(**token), &["or"]));
    starts.map(|(at, _)| &tokens[at + 1..]).find_map(|mut rest| {
        if is_keyword(rest.first().copied(), &["on", "ignoring"]) {
            let end = rest.iter().position(|token| *token == Token::Symbol(')'))?;
            rest = &rest[end + 1..];
        }
        while let [Token::Symbol('('), after @ ..] = rest {
            rest = after;
        }
        match rest {
            [Token::Name("vector"), Token::Symbol('('), Token::Number(number), Token::Symbol(')'), ..] => Some(*number),
            _ => None,
        }
    })
}

fn is_keyword(token: Option<Token<'_>>, keywords: &[&str]) -> bool {
    matches!(token, Some(Token::Name(name)) if is_one_of(name, keywords))
}

/// Keywords have no case.
fn is_one_of(name: &str, keywords: &[&str]) -> bool {
    keywords.iter().any(|keyword| keyword.eq_ignore_ascii_case(name))
}

fn tokens(query: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut rest) = (Vec::new(), query);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' | '`' => {
                let end = end_of_text(rest, first);
                tokens.push(Token::Text(rest[1..end].trim_end_matches(first)));
                end
            }
            '0'..='9' => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
                tokens.push(Token::Number(&rest[..end]));
                end
            }
            _ if is_name(first) => {
                let end = rest.find(|c: char| !is_name(c) && !c.is_ascii_digit()).unwrap_or(rest.len());
                tokens.push(Token::Name(&rest[..end]));
                end
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(Token::Symbol(first));
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphabetic() || matches!(character, '_' | ':')
}

/// The length of a quoted text with its quotes. Backquotes have no escape sequences.
fn end_of_text(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_counter_needs_a_rate() {
        for query in [
            "sum(http_requests_total)",
            "http_requests_total",
            "sum by (service) (http_requests_total{job=\"x\"})",
            "sum(rate(errors_total[2m])) / http_requests_total",
            "rate(errors_total[2m]) + sum(http_requests_total)",
            "max_over_time(http_requests_total[5m])",
            "sum({__name__=\"http_requests_total\", job=\"x\"})",
            "sum({\"http_requests_total\", job=\"x\"})",
            "sum(http_requests_total # rate(\n)",
            "http_requests_total offset 5m",
            "rate (x_total[1m]) unless http_requests_total",
        ] {
            assert_eq!(bare_counters(query), BTreeSet::from(["http_requests_total"]), "{query}");
        }
        for query in [
            "sum(rate(http_requests_total[2m]))",
            "sum by (service) (irate(http_requests_total{code=~\"5..\"}[2m]))",
            "increase(http_requests_total[5m]) > 0",
            "resets((http_requests_total[5m])) + changes(a_total[1h])",
            "max_over_time(rate(http_requests_total[1m])[10m:])",
            "rate({__name__=\"http_requests_total\"}[2m])",
            "rate({\"http_requests_total\"}[2m])",
            "sum by (http_requests_total) (queue_length)",
            "queue_length{a_total=\"b_total\"}",
            "up{job=\"http_requests_total\"}",
            "queue_length * on (a_total) group_left (b_total) other",
            "job:http_requests_total:rate5m",
            "label_replace(up, \"a\", \"b_total\", \"c\", \"d_total\")",
            "up # http_requests_total",
            "",
        ] {
            assert_eq!(bare_counters(query), BTreeSet::new(), "{query}");
        }
    }

    #[test]
    fn a_constant_instead_of_an_empty_result() {
        for (query, expected) in [
            ("sum(x) or vector(0)", Some("0")),
            ("sum(x) OR on() vector(0)", Some("0")),
            ("(sum(x) or ignoring (a) ((vector ( 0.0 ))))", Some("0.0")),
            ("sum(x) or vector(7)", Some("7")),
            ("a or b or vector(0)", Some("0")),
            ("sum(x) or (0 * max(up{job=\"x\"} == 1))", None),
            ("vector(0)", None),
            ("sum(x{a=\"or vector(0)\"})", None),
            ("sum(x) # or vector(0)", None),
            ("sum(x) or", None),
            ("sum(x) or on(", None),
            ("x or vector(scalar(y))", None),
        ] {
            assert_eq!(constant_instead(query), expected, "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "\\PC{0,40}", other in "[a-z_\"'`\\\\(){}\\[\\],=~# 0-9]{0,40}") {
            for query in [query, other] {
                let _ = (bare_counters(&query), constant_instead(&query));
            }
        }
    }
}
