//! OCI queues: GetStats, GetQueue, ListQueues and ListConsumerGroups. Each is tried with the other
//! operations in order, so that a failure is its own.

use serde_json::{Value, json};

use super::{Expected, Kind, Operation, Outcome, Place, Query, Received, Shape};
use crate::support::oci::{OCID_TAIL, compartment, ocid, source};
use crate::support::signed::jwt;

pub(super) struct OciQueue;

/// What depthgauge requests from OCI.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Op {
    GetStats,
    GetQueue,
    ListQueues,
    ListConsumerGroups,
}

const LENGTH: &str = "oci_queue_length";
/// What is in the queue where nothing else is said.
const GOOD: &str = "3";
/// The passphrase of the key.
const PASSPHRASE: &str = "throwaway-pass";

impl Kind for OciQueue {
    fn name(&self) -> &'static str {
        "oci-queue"
    }

    fn operations(&self) -> &'static [&'static dyn Operation] {
        &[&Op::GetStats, &Op::GetQueue, &Op::ListQueues, &Op::ListConsumerGroups]
    }

    fn error(&self, status: u16, echo: &str) -> String {
        let code = match status {
            400 => "InvalidParameter",
            401 => "NotAuthenticated",
            403 => "NotAuthorized",
            404 => "NotAuthorizedOrNotFound",
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            _ => "InternalServerError",
        };
        json!({"code": code, "message": echo}).to_string()
    }

    fn internal(&self) -> &'static [&'static str] {
        &["ocid1.", OCID_TAIL]
    }

    fn secrets(&self, place: &Place) -> Vec<String> {
        let files = ["key.pem", "token"].map(|name| std::fs::read_to_string(place.files.path(name)));
        let lines = files.into_iter().flatten().flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        // The middle of a line: what is cut or wrapped elsewhere is found as well.
        let pieces = lines.filter(|line| line.len() >= 40 && !line.starts_with('-')).map(|line| line[8..40].to_owned());
        pieces.chain([PASSPHRASE.to_owned()]).collect()
    }

    fn in_flight(&self) -> usize {
        64
    }

    fn sources(&self, place: &Place, count: usize, rate: u32) -> Value {
        let sources = (0..count).map(|number| queue(place, &format!("queue-{number}")));
        let mut config = config(place, &sources.collect::<Vec<_>>());
        config["oci"]["maxRequestsPerSecond"] = json!(rate);
        config
    }

    fn query_of(&self, number: usize) -> Query {
        (LENGTH, format!("queue=queue-{number}"))
    }

    fn items(&self, place: &Place) -> Option<(Value, [Query; 3])> {
        let query = |channel: &str| (LENGTH, format!("queue=orders,channel={channel}"));
        Some((config(place, &[queue(place, "orders")]), ["eu", "us", "asia"].map(query)))
    }

    fn renewable(&self, place: &Place) -> Option<(Value, Query)> {
        let mut config = config(place, &[queue(place, "orders")]);
        let token = place.files.write("token", &token("old"));
        // With a passphrase that is used.
        let key = place.files.write("key.pem", &vector("private_key_pkcs8_encrypted_pem"));
        let profile = format!("[DEFAULT]\nsecurity_token_file={token}\nkey_file={key}\npass_phrase={PASSPHRASE}\n");
        let profile = place.files.write("config", &profile);
        config["oci"]["auth"] = json!({"type": "sessionToken", "configFile": profile});
        Some((config, Op::GetStats.query()))
    }

    fn renew(&self, place: &Place) {
        place.files.write("token", &token("new"));
    }

    fn is_renewed(&self, request: &Received) -> bool {
        request.header("authorization").contains(&format!("ST${}", token("new")))
    }
}

impl Operation for Op {
    fn name(&self) -> &'static str {
        match self {
            Self::GetStats => "GetStats",
            Self::GetQueue => "GetQueue",
            Self::ListQueues => "ListQueues",
            Self::ListConsumerGroups => "ListConsumerGroups",
        }
    }

    fn config(&self, place: &Place) -> Value {
        let entry = match self {
            Self::GetStats | Self::ListConsumerGroups => queue(place, "orders"),
            // Without the endpoint of its messages.
            Self::GetQueue => source("orders", &["shop"]),
            Self::ListQueues => compartment("*", &["shop"]),
        };
        config(place, &[entry])
    }

    fn query(&self) -> Query {
        let group = if *self == Self::ListConsumerGroups { ",consumer-group=billing" } else { "" };
        (LENGTH, format!("queue=orders{group}"))
    }

    fn is(&self, request: &Received) -> bool {
        let path = request.target.split('?').next().unwrap_or_default();
        let op = match path.strip_prefix("/20210201").unwrap_or_default() {
            "/queues" => Self::ListQueues,
            "/consumerGroups" => Self::ListConsumerGroups,
            path if path.ends_with("/stats") => Self::GetStats,
            _ => Self::GetQueue,
        };
        op == *self
    }

    fn answer_beside(&self, _: &Received, _: &Place) -> String {
        stats(&json!(3))
    }

    fn answer(&self, shape: Shape, place: &Place, echo: &str) -> (&'static str, String) {
        match self {
            Self::GetStats => get_stats(shape, echo),
            Self::GetQueue => get_queue(shape, &place.base, echo),
            Self::ListQueues => {
                let orders = json!({"id": ocid("orders"), "displayName": "orders", "lifecycleState": "ACTIVE", "messagesEndpoint": place.base});
                list(shape, &orders, "id", echo)
            }
            Self::ListConsumerGroups => {
                let billing = json!({"id": group_ocid(), "displayName": "billing", "lifecycleState": "ACTIVE"});
                list(shape, &billing, "displayName", echo)
            }
        }
    }

    fn expected(&self, outcome: Outcome) -> Expected {
        match outcome {
            Outcome::Shape(shape) => self.expected_of(shape),
            Outcome::Wire(wire) => wire.over_http(GOOD),
        }
    }

    fn is_requested_by_every_read(&self) -> bool {
        // After a failure, consumer groups are listed again after 10 s.
        *self != Self::ListConsumerGroups
    }
}

// === impl Op ===

impl Op {
    fn expected_of(self, shape: Shape) -> Expected {
        match shape {
            Shape::Value => Expected::Value(GOOD),
            Shape::Zero if self == Self::GetStats => Expected::Value("0"),
            // A list without the name that the selector has.
            Shape::Empty if matches!(self, Self::ListQueues | Self::ListConsumerGroups) => Expected::NotFound,
            // OCI's numbers are counts.
            Shape::Zero
            | Shape::Decimal
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

/// A config of these sources, with the credentials of a user.
fn config(place: &Place, sources: &[Value]) -> Value {
    let key = place.files.write("key.pem", &vector("private_key_pkcs8_pem"));
    let (user, tenancy, fingerprint) = (vector("user"), vector("tenancy"), vector("fingerprint"));
    let profile = format!(
        "[DEFAULT]\nregion=eu-frankfurt-1\nuser={user}\ntenancy={tenancy}\nfingerprint={fingerprint}\nkey_file={key}\npass_phrase={PASSPHRASE}\n"
    );
    let profile = place.files.write("config", &profile);
    let mut oci = json!({"endpoint": place.base, "auth": {"type": "apiKey", "configFile": profile}});
    if let Some(file) = &place.ca_file {
        oci["caFile"] = json!(file);
    }
    json!({"oci": oci, "sources": sources})
}

/// A queue whose messages are there.
fn queue(place: &Place, name: &str) -> Value {
    let mut entry = source(name, &["shop"]);
    entry["endpoint"] = json!(place.base);
    entry
}

/// What the official SDK signs its test vectors with.
fn vector(name: &str) -> String {
    let vectors: Value = serde_json::from_str(include_str!("../../golden/oci/vectors.json")).unwrap();
    vectors[name].as_str().unwrap().to_owned()
}

/// A session token, which ends in 2100.
fn token(name: &str) -> String {
    jwt(&json!({"jti": name, "iat": 0, "exp": 4_102_444_800_i64}))
}

fn group_ocid() -> String {
    format!("ocid1.consumergroup.oc1.eu-frankfurt-1.billing{OCID_TAIL}")
}

/// An answer of GetStats.
fn stats(visible: &Value) -> String {
    with_count(&visible.to_string())
}

/// The same, with a count that need not be JSON.
fn with_count(visible: &str) -> String {
    let empty = r#"{"visibleMessages":0,"inFlightMessages":0,"sizeInBytes":0}"#;
    format!(r#"{{"queue":{{"visibleMessages":{visible},"inFlightMessages":0,"sizeInBytes":0}},"dlq":{empty}}}"#)
}

fn get_stats(shape: Shape, echo: &str) -> (&'static str, String) {
    match shape {
        Shape::Value => ("3 messages", stats(&json!(3))),
        Shape::Zero => ("no messages", stats(&json!(0))),
        Shape::Decimal => ("`visibleMessages` is 1.5", stats(&json!(1.5))),
        Shape::Empty => ("`{}`", "{}".to_owned()),
        Shape::MissingField => ("no `visibleMessages`", stats(&json!(3)).replacen(r#""visibleMessages":3,"#, "", 1)),
        Shape::Null => ("`visibleMessages` is null", stats(&Value::Null)),
        Shape::NotANumber => ("`visibleMessages` is NaN", with_count("NaN")),
        Shape::Negative => ("`visibleMessages` is -1", stats(&json!(-1))),
        Shape::Huge => ("`visibleMessages` is 10^16", with_count("10000000000000000")),
        Shape::Overflow => ("`visibleMessages` is 10^30", with_count("1000000000000000000000000000000")),
        Shape::WrongType => ("`visibleMessages` is a string", stats(&json!(echo))),
        Shape::NotTheFormat => ("a text", "3 messages".to_owned()),
    }
}

fn get_queue(shape: Shape, endpoint: &str, echo: &str) -> (&'static str, String) {
    let with = |endpoint: &str| {
        format!(r#"{{"id":"{}","displayName":"orders","messagesEndpoint":{endpoint}}}"#, ocid("orders"))
    };
    match shape {
        Shape::Value => ("the `messagesEndpoint`", with(&json!(endpoint).to_string())),
        Shape::Zero => ("`messagesEndpoint` is 0", with("0")),
        Shape::Decimal => ("`messagesEndpoint` is 1.5", with("1.5")),
        Shape::Empty => ("`{}`", "{}".to_owned()),
        Shape::MissingField => ("no `messagesEndpoint`", r#"{"displayName":"orders"}"#.to_owned()),
        Shape::Null => ("`messagesEndpoint` is null", with("null")),
        Shape::NotANumber => ("`messagesEndpoint` is NaN", with("NaN")),
        Shape::Negative => ("`messagesEndpoint` is -1", with("-1")),
        Shape::Huge => ("`messagesEndpoint` is 10^16", with("10000000000000000")),
        Shape::Overflow => ("`messagesEndpoint` is 10^30", with("1000000000000000000000000000000")),
        Shape::WrongType => ("`messagesEndpoint` is not a URL", with(&json!(echo).to_string())),
        Shape::NotTheFormat => ("a text", endpoint.to_owned()),
    }
}

/// A list of one item, which needs `field`.
fn list(shape: Shape, item: &Value, field: &str, echo: &str) -> (&'static str, String) {
    let with = |items: &str| format!(r#"{{"items":{items}}}"#);
    let without = || {
        let mut item = item.clone();
        item.as_object_mut().unwrap().remove(field);
        json!([item]).to_string()
    };
    match shape {
        Shape::Value => ("one item", with(&json!([item]).to_string())),
        Shape::Zero => ("`items` is 0", with("0")),
        Shape::Decimal => ("`items` is 1.5", with("1.5")),
        Shape::Empty => ("no items", with("[]")),
        Shape::MissingField => ("an item without a required field", with(&without())),
        Shape::Null => ("`items` is null", with("null")),
        Shape::NotANumber => ("`items` is NaN", with("NaN")),
        Shape::Negative => ("`items` is -1", with("-1")),
        Shape::Huge => ("`items` is 10^16", with("10000000000000000")),
        Shape::Overflow => ("`items` is 10^30", with("1000000000000000000000000000000")),
        Shape::WrongType => ("`items` is a string", with(&json!(echo).to_string())),
        Shape::NotTheFormat => ("a text", "orders".to_owned()),
    }
}
