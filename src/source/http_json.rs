//! Numbers in documents over HTTP as a kind of source: JSON or YAML, from which a JSONPath picks one number, and
//! metrics as programs expose them. KEDA calls it `metrics-api`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::chosen::{self, ItemRules};
use super::items::Items;
use super::keys::{self, Key, Shape, Text, Values};
use super::part::Part;
use super::service::{self, Service, Services};
use super::{
    Connection, ConnectionType, Definition, Form, Identified, Kind, MAX_AGE, NextRequest, OpenError, Opened, Place,
    Source, SourceError,
};
use crate::exposition::ACCEPT;
use crate::http::Protocol;
use crate::http::base::{BaseUrl, encoded};
use crate::metric::Clock;

mod content;
mod errors;
mod json_path;
mod number;

use content::{Content, Format};

/// `type: http-json`.
pub const HTTP_JSON: Kind = Kind {
    name: "http-json",
    label: "metric",
    metrics: &[],
    gauges: &[],
    depths: &[],
    apart: &[],
    labels: &[],
    parts: &[],
    forms: &[Form { key: VALUE.name, keys: &[URL, VALUE, FORMAT], label: None }],
    slow: false,
    connection: ConnectionType {
        name: "http-json",
        place: Place::Entry,
        doc: "A service over HTTP.",
        keys: &[service::KEYS],
        conflicts: service::conflicts,
        warn: |_| Vec::new(),
        connect: |_, context| {
            let services = Services::new(context.clone(), Protocol::default());
            Ok(Arc::new(Origins { services, clock: context.clock }))
        },
    },
    environment: None,
    without_effect: &[],
    conflicts,
    changes: |_, _| Vec::new(),
    pods_of: None,
    warn: |definition: &Definition| service::warnings(&definition.entry),
};

const URL: Key = Key {
    doc: "The URL of the document: http:// or https://, without user, query and fragment. Query parameters belong in `params`.",
    examples: &["https://jobs.example.com/stats"],
    ..service::URL
};

const VALUE: Key = Key::new(
    "value",
    Shape::Text(Text::NONEMPTY),
    "Where the number is. For json and yaml: a JSONPath (RFC 9535, without `count()` and a second `..`) that matches one value. The value is a number, or a text with a number or a Kubernetes quantity. For prometheus: a series selector as in PromQL. Each sample that it selects is an item.",
)
.required()
.examples(&["$.queues.ready", "$.queues[?@.name == 'orders'].ready"]);

const FORMAT: Key = Key::new(
    "format",
    Shape::Word(Format::WORDS),
    "The format of the document: json, yaml, or prometheus for Prometheus' text format and OpenMetrics.",
)
.default("json");

/// The right to decode a document. One at a time, because a decoded document may take much memory.
static DECODER: Semaphore = Semaphore::const_new(1);

/// The services of all entries. Entries whose origin, TLS, credentials, headers, proxy and limits are equal share
/// one.
struct Origins {
    services: Services,
    clock: Clock,
}

/// A document.
struct Document {
    service: Service,
    /// The path of the URL, as it is sent.
    path: String,
    params: Vec<(String, String)>,
    /// The query: a document of one may fail while that of another does not.
    key: String,
    content: Content,
    rules: ItemRules,
    /// How old a sample may be.
    max_age: Duration,
    /// Determines which samples are old.
    clock: Clock,
}

impl Connection for Origins {
    fn open(&self, _form: &str, entry: &Values) -> Result<Opened, OpenError> {
        let url: BaseUrl = entry.parsed(URL.name)?.ok_or_else(|| OpenError("`url` is missing".to_owned()))?;
        let content = Content::of(entry).map_err(OpenError)?;
        let max_age = entry.duration(MAX_AGE).ok_or_else(|| OpenError(format!("`{MAX_AGE}` is missing")))?;
        let service = self.services.service(&service_keys(entry, &url))?;
        // A program that has several formats must know which ones are read.
        let service = match content.format() {
            Format::Prometheus => service.accepting(ACCEPT),
            Format::Json | Format::Yaml => service,
        };
        let params: Vec<(String, String)> =
            entry.map("params").map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let rules = ItemRules::of(entry);
        let path = url.url().path().to_owned();
        let identity = rules.identity(&format!("{} {path} {params:?} {content}", service.identity()));
        let key = encoded(params.iter().map(|(name, value)| (&**name, &**value)));
        let document = Document { service, path, params, key, content, rules, max_age, clock: self.clock };
        Ok(Opened::One(Identified { identity, source: Box::new(document) }))
    }
}

/// The keys of the service of an entry: those of the entry, with the origin of the URL. `params` differ between
/// documents of one service.
fn service_keys(entry: &Values, url: &BaseUrl) -> Values {
    let names = service::KEYS.iter().map(|key| key.name).filter(|name| *name != "params");
    let keys: Values = names.filter_map(|name| Some((name, entry.get(name)?.clone()))).collect();
    keys.with(URL.name, keys::Value::Text(url.origin()))
}

/// A `value` that does not fit the format, and a key that does not fit it.
fn conflicts(entry: &Values) -> Vec<(&'static str, String)> {
    // Without a value, that is the error.
    let has_value = entry.get(VALUE.name).is_some();
    match Content::of(entry) {
        Err(error) => has_value.then_some((VALUE.name, error)).into_iter().collect(),
        // Its item has no labels.
        Ok(Content::Document(..)) => chosen::without_effect(entry, &[chosen::NAMESPACE_LABEL.name]),
        Ok(Content::Samples(_)) => Vec::new(),
    }
}

// === impl Document ===

impl Document {
    async fn items(&self, by: Instant) -> Result<Items, SourceError> {
        let params: Vec<(&str, &str)> = self.params.iter().map(|(name, value)| (&**name, &**value)).collect();
        let response = self.service.get(&self.path, &self.key, &params, by).await;
        let response = response.map_err(|failure| errors::source_error(&self.path, &failure))?;
        let oldest = (self.clock)().as_duration().as_secs_f64() - self.max_age.as_secs_f64();
        // It never fails, because the semaphore is never closed.
        let _turn = DECODER.acquire().await;
        let points = self.content.points(&response, oldest)?;
        self.rules.items(&points.found, &points.nothing)
    }
}

impl Source for Document {
    fn read<'s>(&'s self, _: &'s Part, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        self.items(by).boxed()
    }

    fn upstream(&self) -> Option<NextRequest<'_>> {
        Some(self.service.next_request(&self.path, &self.key))
    }
}
