//! X-Remote headers: nobody is who they say without the aggregator's certificate, and behind it
//! exactly what the headers say.
//!
//! Input: one byte that picks the certificate, then lines `Name: value`.
#![no_main]

use std::sync::LazyLock;

use depthgauge::request::Caller;
use depthgauge_fuzz::{Gate, Other};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

static GATE: LazyLock<Gate> = LazyLock::new(Gate::new);

fuzz_target!(|input: &[u8]| {
    let Some((first, lines)) = input.split_first() else { return };
    let other = match first {
        b'n' => Other::Nobody,
        b'w' => Other::WrongName,
        b'a' => Other::WrongAuthority,
        _ => Other::Proxy,
    };
    let headers = headers(lines);
    let caller = GATE.ask(other, &headers).map(|question| Caller::clone(&question.caller));
    match (other, caller) {
        (Other::WrongName | Other::WrongAuthority, caller) => assert_eq!(caller, None, "{headers:?}"),
        (Other::Nobody, caller) => assert!(caller.is_none_or(|caller| caller == Caller::anonymous()), "{headers:?}"),
        (Other::Proxy, caller) => assert_eq!(caller, named(&headers), "{headers:?}"),
    }
});

fn headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// What the headers say, read in the plainest way.
fn named(headers: &HeaderMap) -> Option<Caller> {
    const EXTRA: &str = "x-remote-extra-";
    let read: Vec<(&str, Result<&str, _>)> =
        headers.iter().map(|(name, value)| (name.as_str(), std::str::from_utf8(value.as_bytes()))).collect();
    let all = |wanted| read.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| value);
    let mut caller = Caller::default();
    caller.user.push_str((*all("x-remote-user").next()?).ok()?);
    if let Some(uid) = all("x-remote-uid").next() {
        caller.uid.push_str((*uid).ok()?);
    }
    for group in all("x-remote-group") {
        caller.groups.push((*group).ok()?.to_owned());
    }
    caller.groups.retain(|group| !group.is_empty());
    for (name, value) in &read {
        let Some(key) = name.strip_prefix(EXTRA) else { continue };
        caller.extra.entry(unescaped(key)).or_default().push((*value).ok()?.to_owned());
    }
    (!caller.user.is_empty()).then(|| caller.authenticated())
}

/// Go's `url.PathUnescape`, and as there the text itself when it is no such encoding.
fn unescaped(key: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = key.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = tail else { return key.to_owned() };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return key.to_owned() };
        bytes.push(high << 4 | low);
        rest = tail;
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}
