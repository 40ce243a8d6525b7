//! What Prometheus says about a query that it can't answer. Pure.

use serde::Deserialize;

use crate::http::error::{ErrorText, StatusError};

/// How much of it an error message repeats, in bytes: the position in the query is at its beginning, and
/// without label sets the reason fits.
const SENTENCE_BYTES: usize = 190;

/// Longest type of errors, in bytes.
const WORD_BYTES: usize = 40;

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
}

/// Reads the body of an error: its type, and its sentence without the labels of series, which may belong
/// to other namespaces.
pub(super) fn read_error(body: &[u8]) -> ErrorText {
    match serde_json::from_slice(body) {
        Ok(Document { error_type, error: Some(error) }) => {
            ErrorText { code: error_type.filter(|text| is_word(text)), message: without_label_sets(&error) }
        }
        _ => ErrorText::whole(body),
    }
}

/// Whether this can be a type of errors: anything else may repeat a secret.
pub(super) fn is_word(text: &str) -> bool {
    text.len() <= WORD_BYTES && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Whether an error may pass within a moment. A query that takes too long takes as long again, and other
/// queries may be fast.
pub(super) fn is_transient(error: &StatusError) -> bool {
    error.is_server_failure() && error.code.as_deref() != Some("timeout")
}

/// A sentence as a part of an error message: one line, not too long.
pub(super) fn shortened(sentence: &str) -> String {
    let mut line = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > SENTENCE_BYTES {
        line.truncate(line.floor_char_boundary(SENTENCE_BYTES));
        line.push('…');
    }
    line
}

/// Whether an error message is about a service behind this one, such as a store of Thanos or a remote read.
/// Such a message names an address, or the protocol of that request.
pub(super) fn is_about_a_store(sentence: &str) -> bool {
    let is_edge = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '[' | ']');
    let is_address = |word: &str| {
        let host_and_port = word.trim_matches(is_edge).rsplit_once(':');
        let is_host = |host: &str| host.contains('.') || host.starts_with('[');
        let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        word.contains("://") || host_and_port.is_some_and(|(host, port)| is_host(host) && is_port(port))
    };
    ["rpc error", "dial tcp"].iter().any(|words| sentence.contains(words))
        || sentence.split_ascii_whitespace().any(is_address)
}

/// The same text with `{…}` instead of each label set. A quoted value may contain braces.
pub(super) fn without_label_sets(text: &str) -> String {
    let (mut result, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find('{') {
        result.push_str(&rest[..start]);
        result.push_str("{…}");
        rest = after_label_set(&rest[start + 1..]);
    }
    result.push_str(rest);
    result
}

/// What follows the end of a label set. It is nothing if the label set has no end.
fn after_label_set(text: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn label_sets_are_left_out() {
        for (text, expected) in [
            ("1:5: parse error: unexpected end of input", "1:5: parse error: unexpected end of input"),
            ("x{a=\"b\"}, {c=\"}\"};", "x{…}, {…};"),
            ("{a=\"\\\"}\", b=\"c\"} y", "{…} y"),
            ("x {a=\"b", "x {…}"),
            ("found {} of [{job=\"a\"}, {job=\"b\"}];many", "found {…} of [{…}, {…}];many"),
        ] {
            assert_eq!(without_label_sets(text), expected);
        }
    }

    #[test]
    fn the_reason_fits() {
        let error = r#"found duplicate series for the match group {namespace="bank"} on the right hand-side of the operation: [{__name__="a", namespace="bank", pod="ledger-0"}, {__name__="a", namespace="bank", pod="ledger-1"}];many-to-many matching not allowed: matching labels must be unique on one side"#;
        let body = serde_json::json!({"status": "error", "errorType": "execution", "error": error}).to_string();
        let ErrorText { code, message } = read_error(body.as_bytes());
        assert_eq!(code.as_deref(), Some("execution"));
        let shown = shortened(&message);
        assert!(shown.ends_with("matching labels must be unique on one side"), "{shown}");
        assert!(!shown.contains("bank") && !shown.contains("ledger"), "{shown}");
        assert!(shortened(&"ü\n".repeat(400)).len() <= SENTENCE_BYTES + '…'.len_utf8());
    }

    #[test]
    fn a_store_is_named_by_its_address() {
        for sentence in [
            "expanding series: proxy Series(): rpc error: code = Aborted desc = receive series from Addr: 10.1.2.3:10901",
            "receive series from thanos-store-0.thanos.monitoring.svc:10901: context deadline exceeded",
            "fetch from [fd00::1]:10901, failed",
            "remote_read: remote server http://store/api/v1/read returned 500",
            "lookup store on the DNS: dial tcp: i/o timeout",
        ] {
            assert!(is_about_a_store(sentence), "{sentence}");
        }
        for sentence in [
            "1:5: parse error: unexpected end of input",
            "invalid parameter \"query\": 1:25: parse error: unexpected \"}\"",
            "found duplicate series for the match group {…} on the right hand-side of the operation: [{…}, {…}];many-to-many matching not allowed",
            "query processing would load too many samples into memory in query execution",
            "1:1: unknown function with name \"a:b.c\"",
            "invalid range: 5m:30s, 0.5:",
        ] {
            assert!(!is_about_a_store(sentence), "{sentence}");
        }
    }

    #[test]
    fn a_text_is_no_document() {
        let echo = r#"{"status":"error","errorType":"Bearer x","error":"no"}"#;
        assert_eq!(read_error(echo.as_bytes()).code, None);
        for body in ["404 page not found", "Service Unavailable", "{}", "<html>"] {
            let ErrorText { code, message } = read_error(body.as_bytes());
            assert_eq!((code, message.as_str()), (None, body));
        }
    }

    proptest! {
        #[test]
        fn no_quoted_label_value_is_left(value in "[a-z{}\",= ]{0,12}", before in "[a-z ]{0,5}") {
            let quoted = serde_json::to_string(&value).unwrap();
            let text = format!("{before}{{label={quoted}}} after");
            prop_assert_eq!(without_label_sets(&text), format!("{before}{{…}} after"));
        }
    }
}
