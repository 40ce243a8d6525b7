//! Answers, and what is read out of them.

use http::header::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::metric::quantity::Quantity;
use crate::source::chosen::Number;
use crate::source::keys;

fn content(value: &str, format: &str) -> Content {
    let text = |text: &str| keys::Value::Text(text.to_owned());
    Content::of(&[("value", text(value)), ("format", text(format))].into_iter().collect()).unwrap()
}

/// Older samples are no values.
const OLDEST: f64 = 1.8e9;

fn response(content_type: &str, body: &str) -> Response {
    let headers = (!content_type.is_empty()).then(|| (CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap()));
    Response {
        headers: headers.into_iter().collect(),
        body: body.as_bytes().to_vec(),
        is_framed: true,
        request_id: None,
        permit: None,
    }
}

/// The number, or the cause of the error.
fn read(content: &Content, response: &Response) -> Result<Option<Number>, String> {
    let points = content.points(response, OLDEST).map_err(|error| error.cause)?;
    match points.found.as_slice() {
        [] => Err(points.nothing),
        [point] => Ok(Some(point.number)),
        _ => Ok(None),
    }
}

fn of(units: i32) -> Result<Option<Number>, String> {
    Ok(Some(Number::Value(Quantity::from_units(units))))
}

#[test]
fn json_and_yaml() {
    let (json, yaml) = (content("$.queues[0].ready", "json"), content("$.queues[0].ready", "yaml"));
    let document = r#"{"queues": [{"ready": 7}]}"#;
    assert_eq!(read(&json, &response("application/json", document)), of(7));
    assert_eq!(read(&yaml, &response("application/json", document)), of(7));
    for (value, expected) in [("7", of(7)), ("\"7\"", of(7)), ("7k", of(7000))] {
        let document = format!("# jobs\nqueues:\n  - name: orders\n    ready: {value}\n");
        assert_eq!(read(&yaml, &response("application/yaml", &document)), expected, "{value}");
    }
    assert_eq!(read(&json, &response("", "queues: [{ready: 7}]")), Err("the answer is not valid JSON".to_owned()));
    for wrong in ["a: [", "a: b: c", "a: 1\n---\na: 2\n", "a: 1\na: 2\n", "1: 1\n'1': 2\n"] {
        assert_eq!(read(&yaml, &response("", wrong)), Err("the answer is not valid YAML".to_owned()), "{wrong}");
    }
}

#[test]
fn numbers_that_only_yaml_has_are_unknown_and_in_the_way_of_no_other() {
    let read = |value: &str, document: &str| {
        read(&content(value, "yaml"), &response("application/yaml", document)).unwrap().unwrap()
    };
    for text in [".nan", ".NaN", "+.NAN", "-.nan"] {
        assert_eq!(read("$.ready", &format!("ready: {text}\n")), Number::NotANumber, "{text}");
    }
    for text in [".inf", "-.Inf", "+.INF", "1e999", "-1e999"] {
        let document = format!("load: [{text}, .nan]\n{text}: 1\nready: 7\n");
        assert!(matches!(read("$.load[0]", &document), Number::Unusable(_)), "{text}");
        assert_eq!(read("$.ready", &document), Number::Value(Quantity::from_units(7)), "{text}");
    }
}

#[test]
fn what_is_no_number_is_described_without_its_text() {
    let content = content("$.a.b", "json");
    for (document, cause) in [
        (r#"{"a": {"b": null}}"#, "$.a.b is null"),
        (r#"{"a": {"b": false}}"#, "$.a.b is a boolean"),
        (r#"{"a": {"b": "secret"}}"#, "$.a.b is a text that is not a number"),
        (r#"{"a": {"b": {"secret": 1}}}"#, "$.a.b is an object with 1 member"),
        (r#"{"a": {"b": []}}"#, "$.a.b is an array with 0 items"),
        (r#"{"a": {"c": 1}}"#, "$.a.b matches nothing: $.a is an object with 1 member"),
        (r#"{"a": 7}"#, "$.a.b matches nothing: $.a is a number"),
        ("7", "$.a.b matches nothing: $ is a number"),
        ("", "the answer is not valid JSON"),
        ("{\"a\": {\"b\": 1}} x", "the answer is not valid JSON"),
        ("{\"a\": {\"b\": NaN}}", "the answer is not valid JSON"),
        (r#"{"a": {"b": 5, "b": 0}}"#, "an object of the answer has a key twice"),
        (r#"{"a": {"b": 5}, "a": {"b": 0}}"#, "an object of the answer has a key twice"),
        (r#"{"a": {"b": 5}, "c": [{"d": 1, "d": 2}]}"#, "an object of the answer has a key twice"),
    ] {
        assert_eq!(read(&content, &response("application/json", document)), Err(cause.to_owned()));
    }
}

#[test]
fn several_values_are_an_error() {
    let content = content("$.queues[*].ready", "json");
    let of = |document| read(&content, &response("application/json", document));
    let several = "$.queues[*].ready matches 2 values, and it must match one";
    assert_eq!(of(r#"{"queues": [{"ready": 1}, {"ready": 1}]}"#), Err(several.to_owned()));
    assert_eq!(of(r#"{"queues": [{"ready": 1}]}"#), self::of(1));
}

#[test]
fn the_content_type_is_checked() {
    for (format, media_type, is_taken) in [
        ("json", "", true),
        ("json", "application/json", true),
        ("json", "Application/JSON; charset=utf-8", true),
        ("json", "application/problem+json", true),
        ("json", "text/json", true),
        ("json", "text/plain; charset=utf-8", true),
        ("json", "text/html; charset=utf-8", false),
        ("json", "application/yaml", false),
        ("json", "application/notjson", false),
        ("json", "image/json", false),
        ("json", "json", false),
        ("yaml", "application/yaml", true),
        ("yaml", "application/x-yaml", true),
        ("yaml", "text/x-yaml", true),
        ("yaml", "application/vnd.oai.openapi+yaml", true),
        ("yaml", "application/json", true),
        ("yaml", "text/html", false),
    ] {
        let found = read(&content("$", format), &response(media_type, "7"));
        assert_eq!(found.is_ok(), is_taken, "{format} {media_type}: {found:?}");
    }
    let content = content("$", "json");
    let html = "the Content-Type of the answer is \"text/html\", which is not json".to_owned();
    assert_eq!(read(&content, &response("text/html; charset=utf-8", "7")), Err(html));
    let strange = Err("the Content-Type of the answer is not json".to_owned());
    assert_eq!(read(&content, &response("a secret/b", "7")), strange);
    assert_eq!(read(&content, &response(&"x".repeat(100), "7")), strange);
}

#[test]
fn what_ends_with_the_connection_must_end_with_a_line() {
    let cut = || Err("the answer may be cut: its last line has no end, and the answer no length".to_owned());
    for (format, value, media_type, body, expected) in [
        ("json", "$", "application/json", "12", cut()),
        ("json", "$", "application/json", "12\n", of(12)),
        ("json", "$.v", "application/json", r#"{"v": 12}"#, of(12)),
        ("yaml", "$.v", "text/plain", "v: 12", cut()),
        ("yaml", "$.v", "text/plain", "v: 12\n", of(12)),
        ("prometheus", "m", "text/plain", "m 12", cut()),
        ("prometheus", "m", "", "m 12", cut()),
        ("prometheus", "m", "text/plain", "m 12\n", of(12)),
        ("prometheus", "m", "application/openmetrics-text", "m 12\n# EOF", of(12)),
        (
            "prometheus",
            "m",
            "application/openmetrics-text",
            "m 12",
            Err("the answer is not valid OpenMetrics".to_owned()),
        ),
    ] {
        let framed = response(media_type, body);
        let unframed = Response { is_framed: false, ..response(media_type, body) };
        let content = content(value, format);
        assert_eq!(read(&content, &unframed), expected, "{format} {body:?}");
        let whole = if expected == cut() { of(12) } else { expected };
        assert_eq!(read(&content, &framed), whole, "{format} {body:?}");
    }
}

#[test]
fn samples_are_items() {
    const EXPOSITION: &str = "# TYPE oci_queue_length gauge\noci_queue_length{queue=\"orders\",kind=\"visible\"} 7\noci_queue_length{queue=\"orders\",kind=\"in_flight\"} 1.5\noci_queue_length{queue=\"bills\"} NaN\nup 1\n";
    let of = |value: &str, media_type: &str| {
        let points = content(value, "prometheus").points(&response(media_type, EXPOSITION), OLDEST);
        let points = points.map_err(|error| error.cause)?;
        let point = |point: &Point| (point.labels.value("kind").unwrap_or_default().to_owned(), point.number);
        if points.found.is_empty() {
            Err(points.nothing)
        } else {
            Ok(points.found.iter().map(point).collect::<Vec<_>>())
        }
    };
    let value = |milli| Number::Value(Quantity::from_milli(milli));
    let (visible, in_flight) = (("visible".to_owned(), value(7000)), ("in_flight".to_owned(), value(1500)));
    let text = "text/plain; version=0.0.4; charset=utf-8";
    for (selector, expected) in [
        (r#"oci_queue_length{queue="orders"}"#, Ok(vec![visible.clone(), in_flight.clone()])),
        (r#"oci_queue_length{queue=~"o.*",kind!="visible"}"#, Ok(vec![in_flight])),
        (r#"oci_queue_length{queue!~"b.*",kind="visible"}"#, Ok(vec![visible])),
        (r#"oci_queue_length{queue="bills"}"#, Ok(vec![(String::new(), Number::NotANumber)])),
        ("up", Ok(vec![(String::new(), value(1000))])),
        (r#"up{job="x"}"#, Err("no sample of up matches `value`".to_owned())),
    ] {
        assert_eq!(of(selector, text), expected, "{selector}");
    }
    assert_eq!(of("up", "").map(|found| found.len()), Ok(1));
    // Without its end, OpenMetrics is incomplete.
    assert_eq!(of("up", "application/openmetrics-text"), Err("the answer is not valid OpenMetrics".to_owned()));
    let html = "the Content-Type of the answer is \"text/html\", which is not prometheus".to_owned();
    assert_eq!(of("up", "text/html"), Err(html));
}

#[test]
fn metrics_without_any_sample_are_not_metrics_without_the_selected_ones() {
    for (media_type, exposition) in
        [("text/plain", ""), ("text/plain", "# TYPE up gauge\n"), ("application/openmetrics-text", "# EOF\n")]
    {
        // An error, which `empty` does not replace.
        let points = content("up", "prometheus").points(&response(media_type, exposition), OLDEST);
        assert_eq!(points.map(|points| points.nothing).unwrap_err().cause, "the answer has no sample", "{exposition}");
    }
}

#[test]
fn an_old_sample_is_no_value() {
    for (after, is_old) in [(-3_600_000, true), (-1, true), (0, false), (60_000, false), (3_600_000, false)] {
        let millis = 1_800_000_000_000_i64 + after;
        let text = format!("jobs 7 {millis}\n");
        let metrics = format!("jobs 7 {}.{:03}\n# EOF\n", millis / 1000, millis % 1000);
        for (media_type, exposition) in [("text/plain", &text), ("application/openmetrics-text", &metrics)] {
            let found = read(&content("jobs", "prometheus"), &response(media_type, exposition));
            let expected = if is_old { Ok(Some(Number::Unusable(TOO_OLD))) } else { of(7) };
            assert_eq!(found, expected, "{exposition}");
        }
    }
}

#[test]
fn texts_of_aliases_are_bounded() {
    let with_aliases = |count: usize| {
        let aliases = vec!["*text"; count].join(", ");
        let document = format!("text: &text {}\nmany: [{aliases}]\nready: 7\n", "x".repeat(600_000));
        read(&content("$.ready", "yaml"), &response("application/yaml", &document))
    };
    assert_eq!(with_aliases(3), of(7));
    // So few that their number alone does not matter: they would have 57 MiB.
    assert_eq!(with_aliases(99), Err("the answer is not valid YAML".to_owned()));
}

#[test]
fn a_document_is_bounded() {
    let deep = format!("{}7{}", "[".repeat(100_000), "]".repeat(100_000));
    let aliases: String = (0..40).map(|n| format!("a{}: &a{} [*a{n}, *a{n}]\n", n + 1, n + 1)).collect();
    let aliases = format!("a0: &a0 7\n{aliases}");
    for (format, document) in [("JSON", &deep), ("YAML", &deep), ("YAML", &aliases)] {
        let content = content("$..b", &format.to_ascii_lowercase());
        let found = read(&content, &response("text/plain", document));
        assert_eq!(found, Err(format!("the answer is not valid {format}")));
    }
}

#[test]
fn paths_of_a_document_are_bounded() {
    // What the library would copy for each of the items.
    let long = format!(r#"{{"{}": [{}7]}}"#, "k".repeat(500_000), "0,".repeat(250_000));
    let found = read(&content("$..b", "json"), &response("application/json", &long));
    assert_eq!(found, Err("the document has too many levels, or too long names".to_owned()));
    let usual = format!("[{}7]", "0,".repeat(500_000));
    let found = read(&content("$[500000]", "json"), &response("application/json", &usual));
    assert!(found.is_ok(), "{found:?}");
}

#[test]
fn the_value_fits_the_format() {
    let text = |text: &str| keys::Value::Text(text.to_owned());
    let error = |value: &str| Content::of(&[("value", text(value))].into_iter().collect()).err();
    assert_eq!(error("$.a"), None);
    let gjson = "\"a.b.#\" is not a JSONPath (RFC 9535): write $.queues[0].ready";
    assert_eq!(error("a.b.#").as_deref(), Some(gjson));
    let selector = [("value", text("$.a")), ("format", text("prometheus"))].into_iter().collect();
    let error = Content::of(&selector).unwrap_err();
    assert!(error.starts_with("\"$.a\" is not a series selector, such as jobs{queue=\"orders\"}: "), "{error}");
    assert_eq!(Format::WORDS, Format::ALL.map(Format::as_str));
}

proptest! {
    #[test]
    fn no_body_panics(body in "\\PC{0,60}", yaml in "[a-c:\\-\\[\\]{}&*!|> \n0-9'\"]{0,60}") {
        for format in ["json", "yaml"] {
            let content = content("$..a[?@.b > 1]", format);
            for body in [&body, &yaml] {
                let _ = content.points(&response("", body), OLDEST);
            }
        }
    }
}
