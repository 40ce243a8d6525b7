//! A JSONPath, RFC 9535. Pure.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jsonpath_rust::parser::model::{JpQuery, Segment};
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;

use super::number::described;
use crate::metric::names;

mod unsupported;

/// How much of a path an error message repeats, in bytes: the path, and the part of it that has a match.
const PATH_BYTES: usize = 80;

/// A JSONPath, and its beginnings.
#[derive(Clone, Debug)]
pub(super) struct JsonPath {
    /// From `$`, which is the whole document, to the path itself: each with one segment more.
    prefixes: Vec<Prefix>,
}

#[derive(Clone, Debug)]
struct Prefix {
    /// As written.
    text: String,
    query: JpQuery,
}

// === impl JsonPath ===

impl JsonPath {
    /// As written.
    pub(super) fn text(&self) -> &str {
        self.prefixes.last().map_or("$", |prefix| &prefix.text)
    }

    /// The values that it matches.
    pub(super) fn matches<'v>(&self, document: &'v Value) -> Vec<&'v Value> {
        self.prefixes.last().map(|prefix| prefix.matches(document)).unwrap_or_default()
    }

    /// How far it leads, if it matches nothing: `$.a.b matches nothing: $.a is an object with 3 members`. The
    /// names in it are those of the path.
    pub(super) fn reach(&self, document: &Value) -> String {
        let reached = self.prefixes.iter().rev().map(|prefix| (prefix, prefix.matches(document)));
        let reached = reached.into_iter().find(|(_, found)| !found.is_empty());
        let reached = reached.map(|(prefix, found)| match found.as_slice() {
            [value] => format!(": {} is {}", shortened(&prefix.text), described(value)),
            several => format!(": {} matches {} values", shortened(&prefix.text), several.len()),
        });
        format!("{self} matches nothing{}", reached.unwrap_or_default())
    }
}

impl FromStr for JsonPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a JSONPath (RFC 9535): write $.queues[0].ready");
        let whole = parse_json_path(text).map_err(|_| wrong())?;
        let unquoted = unquoted(text);
        // The parser takes several words as one name, also operators of other languages: `@.a or @.b`.
        if has_words_side_by_side(&unquoted) {
            return Err(wrong());
        }
        let has_descent = whole.segments.iter().any(|segment| matches!(segment, Segment::Descendant(_)));
        if unquoted.matches("..").count() > usize::from(has_descent) {
            return Err(format!("{text:?} has `..` more than once, or in a filter, which may match too much"));
        }
        if let Some(what) = unsupported::in_query(&whole) {
            return Err(format!("{text:?} has {what}"));
        }
        let mut prefixes = Vec::new();
        for (end, character) in text.char_indices() {
            let begun = &text[..end + character.len_utf8()];
            let Ok(query) = parse_json_path(begun) else { continue };
            let count = query.segments.len();
            // `$.a`, and not `$.re` of `$.ready`.
            if whole.segments.get(..count) == Some(&query.segments) {
                // The longer text of equal segments, with its closing brackets.
                prefixes.truncate(count);
                prefixes.push(Prefix { text: begun.to_owned(), query });
            }
        }
        Ok(Self { prefixes })
    }
}

impl fmt::Display for JsonPath {
    /// As written, shortened.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shortened(self.text()))
    }
}

// === impl Prefix ===

impl Prefix {
    fn matches<'v>(&self, document: &'v Value) -> Vec<&'v Value> {
        // An error is a query that returns no nodes of the document.
        let found = js_path_process(&self.query, document).unwrap_or_default();
        found.into_iter().map(|found| found.val).collect()
    }
}

/// A path with its quotation marks, and without what is between them.
fn unquoted(text: &str) -> String {
    let (mut quote, mut rest, mut characters) = (None, String::new(), text.chars());
    while let Some(character) = characters.next() {
        match quote {
            Some(_) if character == '\\' => _ = characters.next(),
            Some(open) if open != character => {}
            _ => {
                quote = if quote.is_none() && matches!(character, '\'' | '"') { Some(character) } else { None };
                rest.push(character);
            }
        }
    }
    rest
}

/// Whether only blanks separate two words, which no path has outside of quotes.
fn has_words_side_by_side(unquoted: &str) -> bool {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
    let parts: Vec<&str> = unquoted.split_whitespace().collect();
    parts.windows(2).any(|pair| pair[0].ends_with(is_of_word) && pair[1].starts_with(is_of_word))
}

/// The beginning of a long path.
fn shortened(text: &str) -> Cow<'_, str> {
    names::shortened(text, PATH_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> JsonPath {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_path_matches_as_the_rfc_has_it() {
        let document = json!({"queues": [
            {"name": "orders", "ready": 7}, {"name": "bills", "ready": 3, "a b": {"c.d": 1}},
        ]});
        for (text, expected) in [
            ("$.queues[0].ready", vec![json!(7)]),
            ("$['queues'][-1]['ready']", vec![json!(3)]),
            ("$.queues[?@.name == 'orders'].ready", vec![json!(7)]),
            ("$.queues[*].ready", vec![json!(7), json!(3)]),
            ("$.queues[1]['a b']['c.d']", vec![json!(1)]),
            ("$..ready", vec![json!(7), json!(3)]),
            ("$.queues[?@.ready > 5].name", vec![json!("orders")]),
            ("$.queues[2].ready", vec![]),
            ("$", vec![document.clone()]),
        ] {
            let found: Vec<Value> = path(text).matches(&document).into_iter().cloned().collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_path_that_matches_nothing_says_how_far_it_leads() {
        let document = json!({"queues": {"orders": {"ready": 7, "secret": "x"}, "list": [1, 2]}});
        for (text, expected) in [
            ("$.queue.orders", "$.queue.orders matches nothing: $ is an object with 1 member"),
            (
                "$.queues.orders.read",
                "$.queues.orders.read matches nothing: $.queues.orders is an object with 2 members",
            ),
            ("$.queues.list[2]", "$.queues.list[2] matches nothing: $.queues.list is an array with 2 items"),
            (
                "$['queues']['list'][2]",
                "$['queues']['list'][2] matches nothing: $['queues']['list'] is an array with 2 items",
            ),
            ("$.queues.*.size", "$.queues.*.size matches nothing: $.queues.* matches 2 values"),
            (
                "$.queues.orders.secret.x",
                "$.queues.orders.secret.x matches nothing: $.queues.orders.secret is a text that is not a number",
            ),
            ("$.queues.orders.ready.x", "$.queues.orders.ready.x matches nothing: $.queues.orders.ready is a number"),
        ] {
            assert_eq!(path(text).reach(&document), expected);
        }
        let long = format!("$.{}", "x".repeat(300));
        let said = path(&long).reach(&document);
        assert!(said.len() < 150 && said.contains("xx… matches nothing"), "{said}");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "queues",
            "$.",
            "$[",
            "$.a b",
            "$.a\tb",
            "$..a b",
            "data.0.x",
            "$.a..",
            "a.#(x==1)#.b",
            "$.a[?]",
            "@.a",
            // The operators of other languages, which the library takes as a part of a name.
            "$.a[?!@.dead or true].v",
            "$.a[?!@.dead is false].v",
            "$.a[?@.x in [1]].v",
            "$.a[?@.x in[1]].v",
            "$.a[?@.b and true].v",
            "$.a[?@.b and @.c].v",
            "$.a[?@.x not 1].v",
            "$.a[?@.x not == 1].v",
            "$.a[?@['it''s'] == 1 && @.b or @.c].v",
            "$.a[?@.x == 1 0].v",
            "$.a[1 0]",
            "$.a[?length(@.b c) > 1]",
        ] {
            let error = text.parse::<JsonPath>().err().unwrap_or_else(|| panic!("{text} is taken"));
            assert!(error.contains("is not a JSONPath"), "{error}");
        }
        for text in ["$..a..b", "$..*..*", "$.a[?@..b]", "$..a[?$..b]"] {
            let error = text.parse::<JsonPath>().err().unwrap_or_else(|| panic!("{text} is taken"));
            assert!(error.contains("more than once"), "{error}");
        }
        for (text, what) in [
            ("$.a[?count(@.b) == 0].c", "count(), which is not supported: use length, value, match or search"),
            ("$.a[?nin(@.b, $.c)].d", "nin(), which is not a function of JSONPath (RFC 9535)"),
            ("$.a[?@[?@.x > 1]].y", "a filter right after `@`, which is not supported"),
        ] {
            let error = text.parse::<JsonPath>().err().unwrap_or_else(|| panic!("{text} is taken"));
            assert!(error.starts_with(&format!("{text:?} has {what}")), "{error}");
        }
        for text in [
            "$..a",
            "$['a..b']..c",
            r#"$["a\"..b"]"#,
            "$['count(@)'].in[?@.count == 'nin(1, 2)']",
            "$['a b'].c[?@['d e'] == 'f or g']",
            r#"$['it\'s a b'].c["say \"a b\""]"#,
            "$.a[ ?( @.b && ! @.c || @.or == 1 ) && length( @.d ) > 2 ].e",
            "$.a[ 0 , 1 : 2 , 'x' ]",
            "$.a[? @.and <= -1 ].in.not",
        ] {
            assert_eq!(path(text).text(), text);
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(text in "\\PC{0,20}", more in "\\$[.\\[\\]'a-c0-9*?@=,: -]{0,12}") {
            let document = json!({"a": [1, {"b": null}], "c": {"a": "x"}});
            for path in [text, more].iter().filter_map(|text| text.parse::<JsonPath>().ok()) {
                let _ = (path.matches(&document), path.reach(&document));
                prop_assert_eq!(path.prefixes.len(), path.prefixes.last().unwrap().query.segments.len() + 1);
            }
        }
    }
}
