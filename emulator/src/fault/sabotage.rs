//! What faults do to answers; pure.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, LOCATION};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::{Fault, Rule};
use crate::answer::Answer;
use crate::payload::Payload;

/// A MiB of blanks, packed: `head -c 1048576 /dev/zero | tr '\0' ' ' | gzip -9n`. A gzip file
/// may be many of them in a row.
const PACKED: &[u8] = include_bytes!("blanks.gz");
/// How many in a row are a GiB.
const PACKED_TIMES: u64 = 1024;

/// 16 KiB of blanks, and how many of those are 100 MiB.
const BLANKS: &[u8] = &[b' '; 16 * 1024];
const HUGE_TIMES: u64 = 6400;

/// The answer that a fault gives without reading the request, if it is such a fault.
pub(crate) fn instead(fault: Fault) -> Option<Answer> {
    let with = |status, name: HeaderName, value: &'static str, body: &'static [u8]| {
        let mut answer = Answer::new(status, body);
        answer.headers.insert(name, HeaderValue::from_static(value));
        answer
    };
    let sent = |payload| {
        let mut answer = Answer::new(StatusCode::OK, "");
        answer.payload = payload;
        answer
    };
    Some(match fault {
        Fault::Status(status) => Answer::fault(status),
        Fault::Redirect => with(StatusCode::MOVED_PERMANENTLY, LOCATION, "/elsewhere", b""),
        Fault::Html => {
            with(StatusCode::BAD_GATEWAY, CONTENT_TYPE, "text/html", b"<html><h1>502 Bad Gateway</h1></html>")
        }
        Fault::Empty => Answer::new(StatusCode::OK, ""),
        Fault::Garbage => {
            Answer::new(StatusCode::OK, &b"\x00\xff\xfe{\"queue\":\x80\xc3(\x1b[2J\r\n\r\nHTTP/1.1 200"[..])
        }
        Fault::GzipBomb => {
            let mut bomb = sent(Payload::Repeat(Bytes::from_static(PACKED), PACKED_TIMES, Bytes::new()));
            bomb.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            bomb
        }
        Fault::Endless => sent(Payload::Endless),
        _ => return None,
    })
}

/// What a rule makes of an answer.
pub(crate) fn distort(rule: &Rule, mut answer: Answer) -> Answer {
    if let Some(text) = &rule.body {
        answer.payload = Payload::Whole(text.clone().into());
    }
    if let Payload::Whole(body) = answer.payload {
        answer.payload = distorted(rule.fault, body);
    }
    for (name, value) in &rule.headers {
        answer.headers.insert(name, value.clone());
    }
    answer
}

fn distorted(fault: Fault, body: Bytes) -> Payload {
    match fault {
        Fault::Drip(pause) => Payload::Drip(body, pause),
        Fault::Truncated => Payload::Whole(body.slice(..body.len() / 2)),
        Fault::CutOff => Payload::CutOff(body),
        Fault::Huge => Payload::Repeat(Bytes::from_static(BLANKS), HUGE_TIMES, body),
        Fault::MissingFields => edited(&body, forget),
        Fault::WrongTypes => edited(&body, |json| each_leaf(json, &wrong_type)),
        // Zero too is below zero then.
        Fault::Negative => edited(&body, |json| each_number(json, |number| (-1 - number).into())),
        Fault::Above2Pow53 => edited(&body, |json| {
            each_number(json, |number| if number == 0 { 0.into() } else { ((1_u64 << 53) + 1).into() });
        }),
        Fault::AboveI64 => edited(&body, |json| each_number(json, |_| (1_u64 << 63).into())),
        _ => Payload::Whole(body),
    }
}

/// The same document after a change; what is no document stays as it is.
fn edited(body: &Bytes, edit: impl FnOnce(&mut Value)) -> Payload {
    let Ok(mut document) = serde_json::from_slice(body) else {
        return Payload::Whole(body.clone());
    };
    edit(&mut document);
    Payload::Whole(document.to_string().into())
}

/// Every object keeps its first scalar only, in alphabetical order.
fn forget(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            let mut scalars = 0;
            fields.retain(|_, value| {
                let scalar = !value.is_object() && !value.is_array();
                scalars += usize::from(scalar);
                !scalar || scalars == 1
            });
            fields.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}

fn wrong_type(leaf: &mut Value) {
    *leaf = if leaf.is_number() { Value::String(leaf.to_string()) } else { 1.into() };
}

fn each_number(json: &mut Value, number: impl Fn(i64) -> Value) {
    each_leaf(json, &|leaf| {
        if let Some(value) = leaf.as_i64() {
            *leaf = number(value);
        }
    });
}

/// Changes all that is neither an object nor a list.
fn each_leaf(json: &mut Value, change: &dyn Fn(&mut Value)) {
    match json {
        Value::Object(fields) => fields.values_mut().for_each(|value| each_leaf(value, change)),
        Value::Array(items) => items.iter_mut().for_each(|value| each_leaf(value, change)),
        leaf => change(leaf),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stats() -> Value {
        json!({
            "queue": {"visibleMessages": 12, "inFlightMessages": 0, "sizeInBytes": 50},
            "dlq": {"visibleMessages": 0, "inFlightMessages": 0, "sizeInBytes": 0},
            "channelId": "a",
        })
    }

    fn payload(fault: Fault) -> Payload {
        distort(&fault.into(), Answer::document(&stats())).payload
    }

    fn whole(fault: Fault) -> String {
        let Payload::Whole(body) = payload(fault) else { panic!("{fault:?}") };
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn documents_are_distorted() {
        let json = |fault| serde_json::from_str::<Value>(&whole(fault)).unwrap();
        let all = |number: Value| {
            let part = json!({"visibleMessages": number, "inFlightMessages": number, "sizeInBytes": number});
            json!({"queue": part, "dlq": part, "channelId": "a"})
        };
        let large = json(Fault::Above2Pow53);
        assert_eq!(large["queue"]["visibleMessages"], json!(9_007_199_254_740_993_u64));
        assert_eq!(large["dlq"], stats()["dlq"]);
        assert_eq!(json(Fault::AboveI64), all(9_223_372_036_854_775_808_u64.into()));
        let negative = json(Fault::Negative);
        assert_eq!((&negative["queue"]["visibleMessages"], &negative["dlq"]["sizeInBytes"]), (&json!(-13), &json!(-1)));
        let wrong = json(Fault::WrongTypes);
        assert_eq!((&wrong["queue"]["visibleMessages"], &wrong["channelId"]), (&json!("12"), &json!(1)));
        let missing = json!({"queue": {"inFlightMessages": 0}, "dlq": {"inFlightMessages": 0}, "channelId": "a"});
        assert_eq!(json(Fault::MissingFields), missing);
    }

    #[test]
    fn bodies_are_cut_and_stretched() {
        let right = stats().to_string();
        assert_eq!(whole(Fault::Truncated), right[..right.len() / 2]);
        assert!(matches!(payload(Fault::CutOff), Payload::CutOff(body) if body == right));
        assert!(matches!(payload(Fault::Drip(std::time::Duration::ZERO)), Payload::Drip(body, _) if body == right));
        let huge = payload(Fault::Huge);
        assert_eq!(huge.length(), Some(100 * 1024 * 1024 + right.len() as u64));
        assert_eq!(whole(Fault::Delay(std::time::Duration::ZERO)), right);
    }

    #[test]
    fn headers_and_body_are_as_ordered() {
        let mut rule = Rule { body: Some("<p>".to_owned()), ..Fault::Html.into() };
        rule.headers.insert("retry-after", HeaderValue::from_static("7"));
        rule.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let answer = distort(&rule, instead(rule.fault).unwrap());
        assert_eq!(
            (&answer.headers["retry-after"], &answer.headers[CONTENT_TYPE]),
            (&"7".parse().unwrap(), &"text/plain".parse().unwrap())
        );
        assert!(matches!(answer.payload, Payload::Whole(body) if body == "<p>"));
    }

    #[test]
    fn each_fault_either_replaces_the_answer_or_changes_it_or_gives_none() {
        for (name, fault) in Fault::ALL {
            let early = instead(fault).is_some();
            let changed = !matches!(payload(fault), Payload::Whole(body) if body == stats().to_string());
            let other = matches!(fault, Fault::Hang | Fault::Reset | Fault::Delay(_));
            assert_eq!(u8::from(early) + u8::from(changed) + u8::from(other), 1, "{name}");
        }
    }
}
