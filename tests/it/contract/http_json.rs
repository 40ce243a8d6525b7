//! Documents over HTTP: one operation, a GET, in each format.

use serde_json::{Value, json};

use super::scrape::gauge;
use super::{Expected, Kind, Operation, Outcome, Place, Query, Received, Shape};

pub(super) struct HttpJson;

/// The format of the document.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Document {
    Json,
    Yaml,
    Prometheus,
}

const METRIC: &str = "jobs";
/// What a good answer has.
const GOOD: &str = "3";
/// Long enough to be a secret.
const TOKENS: [&str; 2] = ["old-key-of-the-http-json-contract", "new-key-of-the-http-json-contract"];

impl Kind for HttpJson {
    fn name(&self) -> &'static str {
        "http-json"
    }

    fn operations(&self) -> &'static [&'static dyn Operation] {
        &[&Document::Json, &Document::Yaml, &Document::Prometheus]
    }

    fn error(&self, _: u16, echo: &str) -> String {
        json!({"message": echo}).to_string()
    }

    fn internal(&self) -> &'static [&'static str] {
        &["/stats/0"]
    }

    fn secrets(&self, _: &Place) -> Vec<String> {
        TOKENS.map(str::to_owned).to_vec()
    }

    fn in_flight(&self) -> usize {
        // Half of the default, because there is one namespace.
        8
    }

    fn sources(&self, place: &Place, count: usize, rate: u32) -> Value {
        let source = |number| {
            let mut source = source(place, number);
            source["labels"] = json!({"number": format!("{number}")});
            source["maxRequestsPerSecond"] = json!(rate);
            source
        };
        json!({"sources": (0..count).map(source).collect::<Vec<_>>()})
    }

    fn query_of(&self, number: usize) -> Query {
        (METRIC, format!("number={number}"))
    }

    fn items(&self, _: &Place) -> Option<(Value, [Query; 3])> {
        // A document has one item.
        None
    }

    fn renewable(&self, place: &Place) -> Option<(Value, Query)> {
        Some((Document::Json.config(place), Document::Json.query()))
    }

    fn renew(&self, place: &Place) {
        place.files.write("key", TOKENS[1]);
    }

    fn is_renewed(&self, request: &Received) -> bool {
        request.target.ends_with(&format!("api_key={}", TOKENS[1]))
    }
}

impl Operation for Document {
    fn name(&self) -> &'static str {
        match self {
            Self::Json => "GET",
            Self::Yaml => "GET, `format: yaml`",
            Self::Prometheus => "GET, `format: prometheus`",
        }
    }

    fn config(&self, place: &Place) -> Value {
        let mut source = source(place, 0);
        match self {
            Self::Json => {}
            Self::Yaml => source["format"] = json!("yaml"),
            Self::Prometheus => {
                source["format"] = json!("prometheus");
                source["value"] = json!("jobs_waiting");
            }
        }
        json!({"sources": [source]})
    }

    fn query(&self) -> Query {
        (METRIC, String::new())
    }

    fn is(&self, request: &Received) -> bool {
        request.target.starts_with("/stats/") && request.method == "GET"
    }

    fn answer_beside(&self, request: &Received, _: &Place) -> String {
        panic!("no other request is made: {request:?}")
    }

    fn answer(&self, shape: Shape, _: &Place, echo: &str) -> (&'static str, String) {
        match self {
            Self::Json => json_document(shape, echo),
            Self::Yaml => yaml_document(shape, echo),
            Self::Prometheus => gauge(shape, echo),
        }
    }

    fn content_type(&self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Prometheus => "text/plain; version=0.0.4",
        }
    }

    fn expected(&self, outcome: Outcome) -> Expected {
        match outcome {
            Outcome::Wire(wire) => wire.over_http(GOOD),
            Outcome::Shape(Shape::Value) => Expected::Value(GOOD),
            Outcome::Shape(Shape::Zero) => Expected::Value("0"),
            Outcome::Shape(Shape::Decimal) => Expected::Value("1500m"),
            // The read is good, and this item has no value.
            Outcome::Shape(Shape::NotANumber | Shape::Negative | Shape::Huge | Shape::Overflow) => Expected::Unknown,
            Outcome::Shape(
                Shape::Empty | Shape::MissingField | Shape::Null | Shape::WrongType | Shape::NotTheFormat,
            ) => Expected::Unavailable,
        }
    }

    fn is_requested_by_every_read(&self) -> bool {
        true
    }
}

fn json_document(shape: Shape, echo: &str) -> (&'static str, String) {
    let ready = |ready: Value| json!({"queues": {"ready": ready}}).to_string();
    match shape {
        Shape::Value => ("a number", ready(json!(3))),
        Shape::Zero => ("the number 0", ready(json!(0))),
        Shape::Decimal => ("a text with 1.5", ready(json!("1.5"))),
        Shape::Empty => ("an empty document", json!({}).to_string()),
        Shape::MissingField => ("a document without the field", json!({"queues": {"size": 3}}).to_string()),
        Shape::Null => ("the field is null", ready(Value::Null)),
        Shape::NotANumber => ("a text with NaN", ready(json!("NaN"))),
        Shape::Negative => ("the number -1", ready(json!(-1))),
        Shape::Huge => ("the number 10^16", ready(json!(10_000_000_000_000_000_u64))),
        Shape::Overflow => ("the number 10^30", ready(json!(1e30))),
        Shape::WrongType => ("a text that is not a number", ready(json!(echo))),
        Shape::NotTheFormat => ("a text", "3 jobs".to_owned()),
    }
}

fn yaml_document(shape: Shape, echo: &str) -> (&'static str, String) {
    let ready = |ready: &str| format!("queues:\n  ready: {ready}\n");
    match shape {
        Shape::Value => ("a number", ready("3")),
        Shape::Zero => ("the number 0", ready("0")),
        Shape::Decimal => ("the number 1.5", ready("1.5")),
        Shape::Empty => ("an empty document", "---\n".to_owned()),
        Shape::MissingField => ("a document without the field", "queues:\n  size: 3\n".to_owned()),
        Shape::Null => ("the field is null", ready("~")),
        Shape::NotANumber => ("the number NaN", ready(".nan")),
        Shape::Negative => ("the number -1", ready("-1")),
        Shape::Huge => ("the number 10^16", ready("10000000000000000")),
        Shape::Overflow => ("an infinite number", ready(".inf")),
        Shape::WrongType => ("a text that is not a number", ready(&format!("{echo:?}"))),
        Shape::NotTheFormat => ("no YAML", "queues: [3".to_owned()),
    }
}

/// A source with a key in its query, from a file.
fn source(place: &Place, number: usize) -> Value {
    let key = place.files.write("key", TOKENS[0]);
    let mut source = json!({
        "type": "http-json",
        "metric": METRIC,
        "url": format!("{}/stats/{number}", place.base),
        "value": "$.queues.ready",
        "auth": {"type": "query", "name": "api_key", "valueFile": key},
        "namespaces": ["shop"],
    });
    if let Some(file) = &place.ca_file {
        source["tls"] = json!({"caFile": file});
    }
    source
}
