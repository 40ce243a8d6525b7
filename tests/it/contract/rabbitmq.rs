//! RabbitMQ: the list of queues with their counts, and the one with their rates.

use serde_json::{Value, json};

use super::{Expected, Kind, Operation, Outcome, Place, Query, Received, Shape};

pub(super) struct Rabbitmq;

/// What depthgauge requests from the management API.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Op {
    Counts,
    Rates,
}

const LENGTH: &str = "rabbitmq_queue_length";
const RATE: &str = "rabbitmq_queue_publish_rate";
/// How many messages a queue has by default.
const GOOD: &str = "3";
/// More vhosts than any test has sources.
const VHOSTS: usize = 100;
const PASSWORD: &str = "old-throwaway-password-of-a-test";
const NEW_PASSWORD: &str = "new-throwaway-password-of-a-test";
/// `depthgauge` and the new password, in base 64.
const NEW_CREDENTIALS: &str = "ZGVwdGhnYXVnZTpuZXctdGhyb3dhd2F5LXBhc3N3b3JkLW9mLWEtdGVzdA==";

impl Kind for Rabbitmq {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn operations(&self) -> &'static [&'static dyn Operation] {
        &[&Op::Counts, &Op::Rates]
    }

    fn error(&self, status: u16, echo: &str) -> String {
        let error = match status {
            400 => "bad_request",
            401 => "not_authorized",
            404 => "Object Not Found",
            503 => "service_unavailable",
            _ => "error",
        };
        json!({"error": error, "reason": echo}).to_string()
    }

    fn internal(&self) -> &'static [&'static str] {
        &["/api/queues"]
    }

    fn secrets(&self, _: &Place) -> Vec<String> {
        vec![PASSWORD.to_owned(), NEW_PASSWORD.to_owned(), NEW_CREDENTIALS.to_owned()]
    }

    fn in_flight(&self) -> usize {
        // Half of `maxInFlight`: the lists have one owner.
        8
    }

    fn sources(&self, place: &Place, count: usize, rate: u32) -> Value {
        assert!(count <= VHOSTS);
        let sources: Vec<Value> =
            (0..count).map(|number| source(&format!("vhost-{number}"), &format!("queue-{number}"))).collect();
        let mut config = config(place, &sources);
        config["connections"]["broker"]["maxRequestsPerSecond"] = json!(rate);
        config
    }

    fn query_of(&self, number: usize) -> Query {
        (LENGTH, format!("queue=queue-{number}"))
    }

    fn items(&self, _: &Place) -> Option<(Value, [Query; 3])> {
        // One request brings all queues.
        None
    }

    fn renewable(&self, place: &Place) -> Option<(Value, Query)> {
        Some((Op::Counts.config(place), Op::Counts.query()))
    }

    fn renew(&self, place: &Place) {
        place.files.write("password", NEW_PASSWORD);
    }

    fn is_renewed(&self, request: &Received) -> bool {
        request.header("authorization") == format!("Basic {NEW_CREDENTIALS}")
    }
}

impl Operation for Op {
    fn name(&self) -> &'static str {
        match self {
            Self::Counts => "GET /api/queues/{vhost} (counts)",
            Self::Rates => "GET /api/queues/{vhost} (rates)",
        }
    }

    fn config(&self, place: &Place) -> Value {
        config(place, &[source("/", "orders")])
    }

    fn query(&self) -> Query {
        let metric = match self {
            Self::Counts => LENGTH,
            Self::Rates => RATE,
        };
        (metric, "queue=orders".to_owned())
    }

    fn is(&self, request: &Received) -> bool {
        let is_rates = request.target.contains("msg_rates_age=");
        is_rates == (*self == Self::Rates)
    }

    fn answer_beside(&self, _: &Received, _: &Place) -> String {
        list(&[with_counts("/", "orders", GOOD)])
    }

    fn answer(&self, shape: Shape, _: &Place, echo: &str) -> (&'static str, String) {
        match self {
            Self::Counts => counts(shape, echo),
            Self::Rates => rates(shape, echo),
        }
    }

    fn expected(&self, outcome: Outcome) -> Expected {
        match outcome {
            Outcome::Shape(shape) => self.expected_of(shape),
            Outcome::Wire(wire) => wire.over_http(GOOD),
        }
    }

    fn is_requested_by_every_read(&self) -> bool {
        true
    }
}

// === impl Op ===

impl Op {
    fn expected_of(self, shape: Shape) -> Expected {
        match shape {
            Shape::Value => Expected::Value(GOOD),
            // It counts only after ten seconds.
            Shape::Zero => Expected::Unknown,
            Shape::Decimal if self == Self::Rates => Expected::Value("1500m"),
            Shape::Decimal
            | Shape::Empty
            | Shape::MissingField
            | Shape::Null
            | Shape::NotANumber
            | Shape::Negative
            | Shape::Huge
            | Shape::Overflow
            | Shape::WrongType
            | Shape::NotTheFormat => Expected::Unavailable,
        }
    }
}

/// A config of these sources, with a user whose password is in a file.
fn config(place: &Place, sources: &[Value]) -> Value {
    let password = place.files.write("password", PASSWORD);
    let auth = json!({"type": "basic", "username": "depthgauge", "passwordFile": password});
    let mut broker = json!({"type": "rabbitmq", "url": place.base, "auth": auth});
    if let Some(file) = &place.ca_file {
        broker["tls"] = json!({"caFile": file});
    }
    json!({"connections": {"broker": broker}, "sources": sources})
}

fn source(vhost: &str, queue: &str) -> Value {
    json!({"type": "rabbitmq", "vhost": vhost, "queue": queue, "namespaces": ["shop"]})
}

/// A queue of a list with so many messages, which need not be JSON.
fn with_counts(vhost: &str, name: &str, ready: &str) -> String {
    format!(
        r#"{{"name":"{name}","vhost":"{vhost}","type":"classic","state":"running","messages":3,"messages_ready":{ready},"messages_unacknowledged":0}}"#
    )
}

/// The same with these rates.
fn with_rates(vhost: &str, name: &str, rate: &str) -> String {
    let stats = format!(r#"{{"publish_details":{{"avg_rate":{rate}}},"deliver_get_details":{{"avg_rate":{rate}}}}}"#);
    format!(r#"{{"name":"{name}","vhost":"{vhost}","message_stats":{stats}}}"#)
}

/// The only page of a list.
fn list(queues: &[String]) -> String {
    let (count, pages) = (queues.len(), usize::from(!queues.is_empty()));
    format!(
        r#"{{"items":[{}],"page":1,"page_count":{pages},"page_size":500,"item_count":{count},"filtered_count":{count},"total_count":{count}}}"#,
        queues.join(",")
    )
}

/// A list that has `orders` and a queue of each other vhost.
fn all(queue: fn(&str, &str, &str) -> String, value: &str) -> String {
    let others = (0..VHOSTS).map(|number| queue(&format!("vhost-{number}"), &format!("queue-{number}"), GOOD));
    list(&[queue("/", "orders", value)].into_iter().chain(others).collect::<Vec<_>>())
}

fn counts(shape: Shape, echo: &str) -> (&'static str, String) {
    let with = |ready: &str| all(with_counts, ready);
    match shape {
        Shape::Value => ("3 messages", with(GOOD)),
        Shape::Zero => ("no messages in a queue that is listed for the first time", with("0")),
        Shape::Decimal => ("`messages_ready` is 1.5", with("1.5")),
        Shape::Empty => ("no queues", list(&[])),
        Shape::MissingField => ("no `messages_ready`", with(GOOD).replacen(r#""messages_ready":3,"#, "", 1)),
        Shape::Null => ("`messages_ready` is null", with("null")),
        Shape::NotANumber => ("`messages_ready` is NaN", with("NaN")),
        Shape::Negative => ("`messages_ready` is -1", with("-1")),
        Shape::Huge => ("`messages_ready` is 10^16", with("10000000000000000")),
        Shape::Overflow => ("`messages_ready` is 10^30", with("1000000000000000000000000000000")),
        Shape::WrongType => ("`messages_ready` is a string", with(&json!(echo).to_string())),
        Shape::NotTheFormat => ("a text", "3 messages".to_owned()),
    }
}

fn rates(shape: Shape, echo: &str) -> (&'static str, String) {
    let with = |rate: &str| all(with_rates, rate);
    match shape {
        Shape::Value => ("3 messages a second", with(GOOD)),
        Shape::Zero => ("a rate of 0 of a queue that is listed for the first time", with("0.0")),
        Shape::Decimal => ("1.5 messages a second", with("1.5")),
        Shape::Empty => ("no queues", list(&[])),
        Shape::MissingField => ("no `message_stats`", list(&[r#"{"name":"orders","vhost":"/"}"#.to_owned()])),
        Shape::Null => ("`avg_rate` is null", with("null")),
        Shape::NotANumber => ("`avg_rate` is NaN", with("NaN")),
        Shape::Negative => ("`avg_rate` is -1", with("-1")),
        Shape::Huge => ("`avg_rate` is 10^16", with("10000000000000000")),
        Shape::Overflow => ("`avg_rate` is 10^30", with("1000000000000000000000000000000")),
        Shape::WrongType => ("`avg_rate` is a string", with(&json!(echo).to_string())),
        Shape::NotTheFormat => ("a text", "3 messages".to_owned()),
    }
}
