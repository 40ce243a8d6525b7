//! The metrics of a pod: one operation, a GET. There is one pod, and a gauge, because a rate needs two reads.

use serde_json::{Value, json};

use super::{Expected, Kind, Operation, Outcome, Place, Query, Received, Shape};

pub(super) struct Scrape;

struct Metrics;

const METRIC: &str = "jobs";
/// What a good answer has.
const GOOD: &str = "3";
/// Long enough to be a secret.
const TOKENS: [&str; 2] = ["old-token-of-the-scrape-contract", "new-token-of-the-scrape-contract"];

impl Kind for Scrape {
    fn name(&self) -> &'static str {
        "scrape"
    }

    fn operations(&self) -> &'static [&'static dyn Operation] {
        &[&Metrics]
    }

    fn error(&self, _: u16, echo: &str) -> String {
        echo.to_owned()
    }

    fn internal(&self) -> &'static [&'static str] {
        &["/metrics/0", "127.0.0.1"]
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
        // All items are in the answers of all pods.
        None
    }

    fn renewable(&self, place: &Place) -> Option<(Value, Query)> {
        Some((Metrics.config(place), Metrics.query()))
    }

    fn renew(&self, place: &Place) {
        place.files.write("token", TOKENS[1]);
    }

    fn is_renewed(&self, request: &Received) -> bool {
        request.header("authorization") == format!("Bearer {}", TOKENS[1])
    }
}

impl Operation for Metrics {
    fn name(&self) -> &'static str {
        "GET"
    }

    fn config(&self, place: &Place) -> Value {
        json!({"sources": [source(place, 0)]})
    }

    fn query(&self) -> Query {
        (METRIC, String::new())
    }

    fn is(&self, request: &Received) -> bool {
        request.target.starts_with("/metrics/") && request.method == "GET"
    }

    fn answer_beside(&self, request: &Received, _: &Place) -> String {
        panic!("no other request is made: {request:?}")
    }

    fn answer(&self, shape: Shape, _: &Place, echo: &str) -> (&'static str, String) {
        gauge(shape, echo)
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

/// An exposition with gauge `jobs_waiting`.
pub(super) fn gauge(shape: Shape, echo: &str) -> (&'static str, String) {
    let waiting = |number: &str| format!("# TYPE jobs_waiting gauge\njobs_waiting {number}\n");
    match shape {
        Shape::Value => ("a gauge", waiting("3")),
        Shape::Zero => ("the number 0", waiting("0")),
        Shape::Decimal => ("the number 1.5", waiting("1.5")),
        Shape::Empty => ("no metrics", "\n".to_owned()),
        Shape::MissingField => ("another metric", "jobs_done 3\n".to_owned()),
        Shape::Null => ("a metric without a number", "jobs_waiting\n".to_owned()),
        Shape::NotANumber => ("NaN", waiting("NaN")),
        Shape::Negative => ("the number -1", waiting("-1")),
        Shape::Huge => ("the number 10^16", waiting("1e16")),
        Shape::Overflow => ("an infinite number", waiting("+Inf")),
        Shape::WrongType => ("a text instead of a number", waiting(&format!("{echo:?}"))),
        Shape::NotTheFormat => ("JSON", json!({"jobs_waiting": 3}).to_string()),
    }
}

/// A source of the pod on loopback, with a token from a file.
fn source(place: &Place, number: usize) -> Value {
    let token = place.files.write("token", TOKENS[0]);
    let scheme = place.base.split_once("://").unwrap().0;
    let mut source = json!({
        "type": "scrape",
        "metric": METRIC,
        "service": "shop/web",
        "port": place.address.port().to_string(),
        "scheme": scheme,
        "path": format!("/metrics/{number}"),
        "series": "jobs_waiting",
        "as": "sum",
        "auth": {"type": "bearer", "tokenFile": token},
        "namespaces": ["shop"],
    });
    if let Some(file) = &place.ca_file {
        source["tls"] = json!({"caFile": file});
    }
    source
}
