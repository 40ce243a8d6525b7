//! The contract of a source: what depthgauge serves for every answer of the service behind it, and
//! how it treats that service. One test over all kinds.
//!
//! Black box: a config goes in, the answers of the API come out, and the service is played here. So
//! nothing in this directory names a type of the program. A new kind is a fixture, which is a file
//! beside this one, and a line in [`KINDS`]. [`outcome`] lists what a service can answer with, [`wire`]
//! and [`service`] play it, [`outcomes`] compares what is served with `docs/reference/failures.md`,
//! [`tls`] adds the rows of HTTPS, and [`manners`] are the limits that a service can rely on.

#![deny(clippy::wildcard_enum_match_arm, reason = "a fixture must decide every outcome")]

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use memchr::memmem;
use serde_json::{Value, json};

use crate::support::client::{Answer, Connection, Served, values_path};
use crate::support::double::Received;
use crate::support::program::Home;
use crate::support::server::Server;

mod manners;
mod message;
mod outcome;
mod outcomes;
mod service;
mod tls;
mod wire;

mod http_json;
mod oci_queue;
mod prometheus;
mod rabbitmq;
mod scrape;
mod servicebus;

use message::Message;
use outcome::{Expected, Outcome, Shape};
use service::{Place, Protocol, Reply, Service};

/// Every kind of source that the program has.
const KINDS: &[&dyn Kind] = &[
    &oci_queue::OciQueue,
    &prometheus::Prometheus,
    &rabbitmq::Rabbitmq,
    &servicebus::ServiceBus,
    &http_json::HttpJson,
    &scrape::Scrape,
];

/// A kind of source, as its service sees it.
trait Kind: Sync {
    /// The `type` in the config.
    fn name(&self) -> &'static str;

    /// What it requests from its service. The first one brings the values.
    fn operations(&self) -> &'static [&'static dyn Operation];

    /// The body of an error whose text is `echo`.
    fn error(&self, status: u16, echo: &str) -> String;

    /// Parts of identifiers that belong in the log only.
    fn internal(&self) -> &'static [&'static str];

    /// What must be in no output, besides the Authorization header.
    fn secrets(&self, place: &Place) -> Vec<String>;

    /// The most requests under way at one host.
    fn in_flight(&self) -> usize;

    /// A config of so many sources at one host, each of which is one request a read, with this limit
    /// of requests a second. The query is for one of them, by its number.
    fn sources(&self, place: &Place, count: usize, rate: u32) -> Value;

    fn query_of(&self, number: usize) -> Query;

    /// What distinguishes the request of a read from the requests of other sources.
    fn read_of(&self, request: &Received) -> String {
        request.target.clone()
    }

    /// A config of one source with three items that are requested one by one, if the kind has such.
    fn items(&self, place: &Place) -> Option<(Value, [Query; 3])>;

    /// A config of one source whose credentials are in files, if the kind has such.
    fn renewable(&self, place: &Place) -> Option<(Value, Query)>;

    /// Replaces these credentials by new ones.
    fn renew(&self, place: &Place);

    /// Whether a request has the new ones.
    fn is_renewed(&self, request: &Received) -> bool;
}

/// One operation of a service.
trait Operation: Sync {
    /// As the service calls it.
    fn name(&self) -> &'static str;

    /// A config, without timing, of a source in namespace `shop` that needs this operation.
    fn config(&self, place: &Place) -> Value;

    /// An HPA's query that needs it.
    fn query(&self) -> Query;

    /// Whether a request is this operation.
    fn is(&self, request: &Received) -> bool;

    /// The good answer to any other request.
    fn answer_beside(&self, request: &Received, place: &Place) -> String;

    /// The answer of this operation, and what is special in it in a few words. `echo` is secret, and
    /// a wrong string must repeat it.
    fn answer(&self, shape: Shape, place: &Place, echo: &str) -> (&'static str, String);

    /// The Content-Type of its answers.
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    /// What depthgauge must serve.
    fn expected(&self, outcome: Outcome) -> Expected;

    /// Whether it is requested again by every read while it fails.
    fn is_requested_by_every_read(&self) -> bool;
}

/// Metric and selector.
type Query = (&'static str, String);

/// A server that reads the service, and an HPA.
struct Scene {
    server: Server,
    hpa: Connection,
}

// === impl Scene ===

impl Scene {
    async fn start(mut config: Value, timing: Value) -> Self {
        config["apiVersion"] = json!("depthgauge.dev/v1alpha1");
        config["kind"] = json!("Config");
        config["defaults"] = timing;
        let server = Server::start(&config.to_string()).await;
        let hpa = server.aggregator("hpa").connect().await.unwrap();
        Self { server, hpa }
    }

    fn get(&self, (metric, selector): &Query) -> BoxFuture<'static, Answer> {
        self.hpa.begin("GET", &values_path("shop", metric, selector)).map(Result::unwrap).boxed()
    }
}

/// What a request carries that a service might repeat, and that must be in no output.
fn authorization(request: &Received) -> String {
    let header = request.headers.iter().find(|(name, _)| name == "authorization");
    header.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// The parts of a header that are long enough to be secret.
fn parts(authorization: &str) -> Vec<String> {
    let parts = authorization.split([' ', ',', '"']).filter(|part| part.len() >= 24);
    parts.map(str::to_owned).collect()
}

/// The first line of a text that has one of these secrets.
fn line_with<'t>(text: &'t str, secrets: &[String]) -> Option<&'t str> {
    // In all of the text at once: a log is long.
    let at = secrets.iter().find_map(|secret| memmem::find(text.as_bytes(), secret.as_bytes()))?;
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    text[start..].lines().next()
}

/// Kinds that send nothing, so there is no service to play. Each has tests of its own.
const WITHOUT_SERVICE: [&str; 1] = ["schedule"];

#[tokio::test]
async fn every_kind_has_a_fixture() {
    let printed = Home::new().run(&["config", "schema"]).await.stdout;
    let schema: Value = serde_json::from_str(&printed).unwrap();
    let types = &schema["properties"]["sources"]["items"]["properties"]["type"]["enum"];
    let types: BTreeSet<&str> = types.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let fixtures: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name()).chain(WITHOUT_SERVICE).collect();
    assert_eq!(types, fixtures, "kinds of the program, and fixtures in tests/it/contract/");
}
