//! Azure Service Bus: a queue, a subscription, the lists of both, and the token of workload identity.

use serde_json::{Value, json};

use super::{Expected, Kind, Operation, Outcome, Place, Query, Received, Shape};
use crate::support::service_bus::{entry, escaped, feed, is_signed_by};

pub(super) struct ServiceBus;

/// What depthgauge requests.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Op {
    Queue,
    Subscription,
    Queues,
    Subscriptions,
    Token,
}

const ACTIVE: &str = "azure_servicebus_active_messages";
/// How many messages there are by default.
const GOOD: &str = "3";
const NAMESPACE: &str = "shop.servicebus.windows.net";
const KEY: &str = "old-throwaway-key-of-a-test=";
const NEW_KEY: &str = "new-throwaway-key-of-a-test=";
const ASSERTION: &str = "throwaway-token-of-a-service-account";
const TOKEN: &str = "throwaway-token-of-an-identity";

impl Kind for ServiceBus {
    fn name(&self) -> &'static str {
        "azure-servicebus"
    }

    fn operations(&self) -> &'static [&'static dyn Operation] {
        &[&Op::Queue, &Op::Subscription, &Op::Queues, &Op::Subscriptions, &Op::Token]
    }

    fn error(&self, status: u16, echo: &str) -> String {
        format!("<Error><Code>{status}</Code><Detail>{}</Detail></Error>", escaped(echo))
    }

    fn internal(&self) -> &'static [&'static str] {
        &["api-version"]
    }

    fn secrets(&self, _: &Place) -> Vec<String> {
        [KEY, NEW_KEY, ASSERTION, TOKEN].map(str::to_owned).to_vec()
    }

    fn in_flight(&self) -> usize {
        // Half of `maxInFlight`: one namespace.
        4
    }

    fn sources(&self, place: &Place, count: usize, rate: u32) -> Value {
        let sources: Vec<Value> = (0..count).map(|number| queue(&format!("queue-{number}"))).collect();
        let mut config = config(place, &sas(place), &sources);
        // At most as much as the service allows.
        config["connections"]["bus"]["maxRequestsPerSecond"] = json!(rate.min(100));
        config
    }

    fn query_of(&self, number: usize) -> Query {
        (ACTIVE, format!("queue=queue-{number}"))
    }

    fn items(&self, _: &Place) -> Option<(Value, [Query; 3])> {
        // Each source is one item.
        None
    }

    fn renewable(&self, place: &Place) -> Option<(Value, Query)> {
        Some((Op::Queue.config(place), Op::Queue.query()))
    }

    fn renew(&self, place: &Place) {
        place.files.write("key", NEW_KEY);
    }

    fn is_renewed(&self, request: &Received) -> bool {
        is_signed_by(request.header("authorization"), NEW_KEY)
    }
}

impl Operation for Op {
    fn name(&self) -> &'static str {
        match self {
            Self::Queue => "GET /{queue}",
            Self::Subscription => "GET /{topic}/subscriptions/{subscription}",
            Self::Queues => "GET /$Resources/queues",
            Self::Subscriptions => "GET /{topic}/subscriptions",
            Self::Token => "POST /{tenant}/oauth2/v2.0/token",
        }
    }

    fn config(&self, place: &Place) -> Value {
        let subscription =
            json!({"type": "azure-servicebus", "topic": "orders", "subscription": "worker", "namespaces": ["shop"]});
        match self {
            Self::Queue => config(place, &sas(place), &[queue("orders")]),
            Self::Subscription => config(place, &sas(place), &[subscription]),
            Self::Queues => {
                let queues = json!({"type": "azure-servicebus", "match": "*", "namespaces": ["shop"]});
                config(place, &sas(place), &[queues])
            }
            Self::Subscriptions => {
                let subscriptions =
                    json!({"type": "azure-servicebus", "topic": "orders", "match": "*", "namespaces": ["shop"]});
                config(place, &sas(place), &[subscriptions])
            }
            Self::Token => {
                let file = place.files.write("assertion", ASSERTION);
                let auth = json!({
                    "type": "azureWorkloadIdentity", "clientId": "client", "tenantId": "tenant", "tokenFile": file,
                    "authorityHost": place.base,
                });
                config(place, &auth, &[queue("orders")])
            }
        }
    }

    fn query(&self) -> Query {
        let selector = match self {
            Self::Subscription | Self::Subscriptions => "topic=orders,subscription=worker",
            Self::Queue | Self::Queues | Self::Token => "queue=orders",
        };
        (ACTIVE, selector.to_owned())
    }

    fn is(&self, request: &Received) -> bool {
        request.target.starts_with("/tenant/") == (*self == Self::Token)
    }

    fn answer_beside(&self, _: &Received, _: &Place) -> String {
        entry("Queue", "orders", "Active", GOOD)
    }

    fn answer(&self, shape: Shape, _: &Place, echo: &str) -> (&'static str, String) {
        match self {
            Self::Queue => described("Queue", shape, echo),
            Self::Subscription => described("Subscription", shape, echo),
            Self::Queues => list("Queue", "orders", shape, echo),
            Self::Subscriptions => list("Subscription", "worker", shape, echo),
            Self::Token => token(shape, echo),
        }
    }

    fn expected(&self, outcome: Outcome) -> Expected {
        match outcome {
            Outcome::Shape(shape) => self.expected_of(shape),
            Outcome::Wire(wire) => wire.over_http(GOOD),
        }
    }

    fn is_requested_by_every_read(&self) -> bool {
        // After a failure, a token is requested again after 2 s.
        *self != Self::Token
    }
}

// === impl Op ===

impl Op {
    fn expected_of(self, shape: Shape) -> Expected {
        match shape {
            Shape::Value => Expected::Value(GOOD),
            Shape::Zero if matches!(self, Self::Queue | Self::Subscription) => Expected::Value("0"),
            // A list without the name that the selector has.
            Shape::Empty if self == Self::Queues => Expected::NotFound,
            // Longer than a token is used.
            Shape::Huge if self == Self::Token => Expected::Value(GOOD),
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

/// A config of these sources, which authenticates in this way.
fn config(place: &Place, auth: &Value, sources: &[Value]) -> Value {
    let mut bus = json!({"type": "azure-servicebus", "namespace": NAMESPACE, "endpoint": place.base, "auth": auth});
    if let Some(file) = &place.ca_file {
        bus["tls"] = json!({"caFile": file});
    }
    json!({"connections": {"bus": bus}, "sources": sources})
}

/// A policy whose key is in a file.
fn sas(place: &Place) -> Value {
    json!({"type": "sas", "keyName": "reader", "keyFile": place.files.write("key", KEY)})
}

fn queue(name: &str) -> Value {
    json!({"type": "azure-servicebus", "queue": name, "namespaces": ["shop"]})
}

/// A queue or subscription.
fn described(kind: &str, shape: Shape, echo: &str) -> (&'static str, String) {
    let with = |active: &str| entry(kind, "orders", "Active", active);
    const ACTIVE_COUNT: &str = "<d2p1:ActiveMessageCount>3</d2p1:ActiveMessageCount>";
    match shape {
        Shape::Value => ("3 messages", with(GOOD)),
        Shape::Zero => ("no messages", with("0")),
        Shape::Decimal => ("`ActiveMessageCount` is 1.5", with("1.5")),
        Shape::Empty => ("an empty feed", feed(&[])),
        Shape::MissingField => ("no `ActiveMessageCount`", with(GOOD).replacen(ACTIVE_COUNT, "", 1)),
        Shape::Null => ("`ActiveMessageCount` is empty", with("")),
        Shape::NotANumber => ("`ActiveMessageCount` is NaN", with("NaN")),
        Shape::Negative => ("`ActiveMessageCount` is -1", with("-1")),
        Shape::Huge => ("`ActiveMessageCount` is 10^16", with("10000000000000000")),
        Shape::Overflow => ("`ActiveMessageCount` is 10^30", with("1000000000000000000000000000000")),
        Shape::WrongType => ("`ActiveMessageCount` is a text", with(&escaped(echo))),
        Shape::NotTheFormat => ("a text", "3 messages".to_owned()),
    }
}

/// A page of the list of queues, or of the subscriptions of a topic. It has one of them.
fn list(kind: &str, name: &str, shape: Shape, echo: &str) -> (&'static str, String) {
    let one = || entry(kind, name, "Active", GOOD);
    let title = format!(r#"<title type="text">{name}</title>"#);
    match shape {
        Shape::Value => ("a list of one", feed(&[one()])),
        Shape::Zero => ("the number 0", "0".to_owned()),
        Shape::Decimal => ("the number 1.5", "1.5".to_owned()),
        Shape::Empty => ("an empty list", feed(&[])),
        Shape::MissingField => ("a list of one without a title", feed(&[one().replacen(&title, "", 1)])),
        Shape::Null => ("null", "null".to_owned()),
        Shape::NotANumber => ("NaN", "NaN".to_owned()),
        Shape::Negative => ("the number -1", "-1".to_owned()),
        Shape::Huge => ("the number 10^16", "10000000000000000".to_owned()),
        Shape::Overflow => ("the number 10^30", "1000000000000000000000000000000".to_owned()),
        Shape::WrongType => ("one of them instead of a list", entry(kind, name, &escaped(echo), GOOD)),
        Shape::NotTheFormat => ("a text", "orders".to_owned()),
    }
}

fn token(shape: Shape, echo: &str) -> (&'static str, String) {
    let with = |lives: &str| format!(r#"{{"token_type":"Bearer","expires_in":{lives},"access_token":"{TOKEN}"}}"#);
    match shape {
        Shape::Value => ("a token", with("3600")),
        Shape::Zero => ("`expires_in` is 0", with("0")),
        Shape::Decimal => ("`expires_in` is 1.5", with("1.5")),
        Shape::Empty => ("`{}`", "{}".to_owned()),
        Shape::MissingField => ("no `expires_in`", with("3600").replacen(r#""expires_in":3600,"#, "", 1)),
        Shape::Null => ("`expires_in` is null", with("null")),
        Shape::NotANumber => ("`expires_in` is NaN", with("NaN")),
        Shape::Negative => ("`expires_in` is -1", with("-1")),
        Shape::Huge => ("`expires_in` is 10^16", with("10000000000000000")),
        Shape::Overflow => ("`expires_in` is 10^30", with("1000000000000000000000000000000")),
        Shape::WrongType => ("`expires_in` is a string", with(&json!(echo).to_string())),
        Shape::NotTheFormat => ("a text", TOKEN.to_owned()),
    }
}
