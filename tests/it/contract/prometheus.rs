//! PromQL queries: one operation, an instant query by POST.

use serde_json::{Value, json};

use super::{Expected, Kind, Operation, Outcome, Place, Query, Received, Shape};

pub(super) struct Prometheus;

struct InstantQuery;

const METRIC: &str = "requests";
/// What the query returns where nothing else is said.
const GOOD: &str = "3";
/// Long enough to be a secret.
const TOKENS: [&str; 2] = ["old-token-of-the-contract-test", "new-token-of-the-contract-test"];

impl Kind for Prometheus {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn operations(&self) -> &'static [&'static dyn Operation] {
        &[&InstantQuery]
    }

    fn error(&self, status: u16, echo: &str) -> String {
        let kind = match status {
            400 => "bad_data",
            401 | 403 => "unauthorized",
            404 => "not_found",
            503 => "unavailable",
            _ => "internal",
        };
        json!({"status": "error", "errorType": kind, "error": echo}).to_string()
    }

    fn internal(&self) -> &'static [&'static str] {
        &["queue_0"]
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
            let mut source = source(&format!("queue_{number}"));
            source["labels"] = json!({"number": format!("{number}")});
            source
        };
        let mut config = config(place, &(0..count).map(source).collect::<Vec<_>>());
        config["connections"]["store"]["maxRequestsPerSecond"] = json!(rate);
        config
    }

    fn query_of(&self, number: usize) -> Query {
        (METRIC, format!("number={number}"))
    }

    fn read_of(&self, request: &Received) -> String {
        let mut parameters = request.body.split('&');
        parameters.find(|parameter| parameter.starts_with("query=")).unwrap().to_owned()
    }

    fn items(&self, _: &Place) -> Option<(Value, [Query; 3])> {
        // One query brings all of them.
        None
    }

    fn renewable(&self, place: &Place) -> Option<(Value, Query)> {
        Some((config(place, &[source("queue_0")]), InstantQuery.query()))
    }

    fn renew(&self, place: &Place) {
        place.files.write("token", TOKENS[1]);
    }

    fn is_renewed(&self, request: &Received) -> bool {
        request.header("authorization") == format!("Bearer {}", TOKENS[1])
    }
}

impl Operation for InstantQuery {
    fn name(&self) -> &'static str {
        "query"
    }

    fn config(&self, place: &Place) -> Value {
        config(place, &[source("queue_0")])
    }

    fn query(&self) -> Query {
        (METRIC, String::new())
    }

    fn is(&self, request: &Received) -> bool {
        request.target == "/api/v1/query" && request.method == "POST"
    }

    fn answer_beside(&self, request: &Received, _: &Place) -> String {
        panic!("no other request is made: {request:?}")
    }

    fn answer(&self, shape: Shape, _: &Place, echo: &str) -> (&'static str, String) {
        let value = |value: &str| series(&format!(r#","value":[1435781451.781,"{value}"]"#));
        match shape {
            Shape::Value => ("a series of value 3", value("3")),
            Shape::Zero => ("a series of value 0", value("0")),
            Shape::Decimal => ("a series of value 1.5", value("1.5")),
            Shape::Empty => ("no series", result("")),
            Shape::MissingField => ("a series without `value`", series("")),
            Shape::Null => ("`value` is null", series(r#","value":null"#)),
            Shape::NotANumber => ("a series of value NaN", value("NaN")),
            Shape::Negative => ("a series of value -1", value("-1")),
            Shape::Huge => ("a series of value 10^16", value("10000000000000000")),
            Shape::Overflow => ("a series of value 10^30", value("1e+30")),
            Shape::WrongType => ("a series whose value is a text", series(&format!(r#","value":[1,{}]"#, json!(echo)))),
            Shape::NotTheFormat => ("a text", "3 requests".to_owned()),
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

/// A config of these sources, with a token in a file.
fn config(place: &Place, sources: &[Value]) -> Value {
    let token = place.files.write("token", TOKENS[0]);
    let mut store = json!({"type": "prometheus", "url": place.base, "auth": {"type": "bearer", "tokenFile": token}});
    if let Some(file) = &place.ca_file {
        store["tls"] = json!({"caFile": file});
    }
    json!({"connections": {"store": store}, "sources": sources})
}

fn source(query: &str) -> Value {
    json!({"type": "prometheus", "metric": METRIC, "query": query, "namespaces": ["shop"]})
}

/// An answer with one series, of which this is the rest.
fn series(rest: &str) -> String {
    result(&format!(r#"{{"metric":{{"service":"web"}}{rest}}}"#))
}

fn result(series: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#)
}
