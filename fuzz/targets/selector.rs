//! Label selectors: what is printed says what was parsed, and matches what it says.
//!
//! Input: a selector, and on further lines the labels to match, `key=value`.
#![no_main]

use depthgauge::metric::Labels;
use depthgauge::selector::Selector;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (text, labels) = input.split_once('\n').unwrap_or((input, ""));
    let Ok(selector) = Selector::parse(text) else { return };
    let printed = selector.to_string();
    let again = Selector::parse(&printed);
    assert_eq!(again.as_ref(), Ok(&selector), "{text:?} prints as {printed:?}");

    let labels: Labels = labels.lines().filter_map(|line| line.split_once('=')).collect();
    let terms = terms(&printed);
    assert_eq!(terms.len(), selector.requirements().len(), "{printed:?}");
    let expected = terms.iter().all(|term| holds(term, &labels));
    assert_eq!(selector.matches(&labels), expected, "{printed:?} of {labels:?}");
});

/// Split at the commas outside of parentheses.
fn terms(printed: &str) -> Vec<&str> {
    let mut depth = 0;
    let outside = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    };
    if printed.is_empty() { Vec::new() } else { printed.split(outside).collect() }
}

/// The canonical form is simple enough to be read without a parser.
fn holds(term: &str, labels: &Labels) -> bool {
    let among = |list: &str, value: &str| list.trim_end_matches(')').split(',').any(|item| item == value);
    let number = |text: &str| text.parse::<i64>().ok();
    if let Some(key) = term.strip_prefix('!') {
        return labels.value(key).is_none();
    }
    if let Some((key, list)) = term.split_once(" in (") {
        return labels.value(key).is_some_and(|value| among(list, value));
    }
    if let Some((key, list)) = term.split_once(" notin (") {
        return labels.value(key).is_none_or(|value| !among(list, value));
    }
    if let Some((key, unwanted)) = term.split_once("!=") {
        return labels.value(key) != Some(unwanted);
    }
    if let Some((key, wanted)) = term.split_once('=') {
        return labels.value(key) == Some(wanted);
    }
    if let Some((key, bound)) = term.split_once('>') {
        return labels.value(key).and_then(number) > Some(number(bound).expect("a number is printed"));
    }
    if let Some((key, bound)) = term.split_once('<') {
        let bound = number(bound).expect("a number is printed");
        return labels.value(key).and_then(number).is_some_and(|value| value < bound);
    }
    labels.value(term).is_some()
}
