//! PromQL queries as a kind of source: Prometheus, Thanos, Mimir, Cortex, VictoriaMetrics, and every other
//! service with Prometheus' HTTP API. One query brings the items of every request that selects from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use serde_json::json;
use tokio::time::Instant;

use super::chosen::{ItemRules, NAMESPACE_LABEL, Point};
use super::items::Items;
use super::keys::{Key, Shape, Text, Values};
use super::part::Part;
use super::service::{self, Service};
use super::{
    Connection, ConnectionType, Context, Definition, ErrorKind, Form, Identified, Kind, NextRequest, OpenError, Opened,
    Operation, Place, Source, SourceError,
};
use crate::http::base::BaseUrl;
use crate::http::{Protocol, Response};
use crate::metric::quantity::Quantity;

mod answer;
mod errors;
mod promql;
mod sentence;

use answer::Answer;

/// The path of instant queries.
const PATH: &str = "/api/v1/query";
/// Longest answer, in bytes: 10,000 series of 1,600 bytes each.
const BODY_MAX: usize = 16 << 20;
/// What the form of a request sets. Prometheus ignores the last one; Thanos then answers with an error
/// instead of a part of the series.
const OWN_PARAMETERS: [&str; 4] = ["query", "time", "timeout", "partial_response"];

/// `type: prometheus`.
pub const PROMETHEUS: Kind = Kind {
    name: "prometheus",
    label: "metric",
    metrics: &[],
    gauges: &[],
    depths: &[],
    apart: &[],
    labels: &[],
    parts: &[],
    forms: &[Form { key: QUERY.name, keys: &[QUERY, WARNINGS], label: None }],
    slow: false,
    connection: ConnectionType {
        name: "prometheus",
        place: Place::Named,
        doc: "A service with Prometheus' HTTP API.",
        keys: &[service::URLS, service::KEYS, &[ONLY]],
        conflicts: of_connection,
        warn: service::warnings,
        connect,
    },
    environment: None,
    without_effect: &[],
    conflicts: |_| Vec::new(),
    changes: |_, _| Vec::new(),
    pods_of: None,
    warn: warnings,
};

const QUERY: Key = Key::new(
    "query",
    Shape::Text(Text {
        check: |text| match text.trim() {
            "" => Err("write a PromQL expression, such as sum by (service) (rate(http_requests_total[2m]))".to_owned()),
            _ => Ok(()),
        },
        pattern: Some(r"\S"),
        ..Text::ANY
    }),
    "The PromQL expression, which returns an instant vector or a scalar. Each series is an item with the labels of the series.",
)
.required()
.examples(&["sum by (namespace, service) (rate(http_requests_total[2m]))"]);

const WARNINGS: Key = Key::new(
    "warnings",
    Shape::Word(&["error", "ignore"]),
    "What an answer with warnings is, or a partial one of VictoriaMetrics. error: a failed read, because series may be missing. ignore: an answer as any other.",
)
.default("error");

const ONLY: Key = Key::new(
    "only",
    Shape::Map(Text::NONEMPTY, Text::NONEMPTY),
    "Labels and values that every series must have, such as the cluster where several write to one store. An answer with another series is an error. The query selects by these labels and keeps them.",
)
.examples(&[r#"{"cluster": "prod-eu"}"#]);

/// A service with Prometheus' HTTP API.
#[derive(Clone)]
struct Store {
    service: Service,
    only: Arc<BTreeMap<String, String>>,
}

/// The items of one query.
struct Query {
    store: Store,
    query: String,
    /// See [`Identified::identity`]. Its failures say nothing about other queries.
    identity: String,
    rules: ItemRules,
    /// An answer that may lack series is one as any other.
    partial: bool,
}

fn of_connection(values: &Values) -> Vec<(&'static str, String)> {
    let own = values.map("params").map(|(name, _)| name).filter(|name| OWN_PARAMETERS.contains(name));
    let own = own.map(|name| ("params", format!("{name:?} can't be set: depthgauge sets it")));
    service::conflicts(values).into_iter().chain(own).collect()
}

fn connect(values: &Values, context: &Context) -> Result<Arc<dyn Connection>, OpenError> {
    let protocol = Protocol {
        body_max: BODY_MAX,
        read_error: sentence::read_error,
        is_transient: sentence::is_transient,
        ..Protocol::default()
    };
    let only: BTreeMap<_, _> =
        values.map(ONLY.name).map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
    Ok(Arc::new(Store { service: Service::open(values, context, protocol)?, only: Arc::new(only) }))
}

impl Connection for Store {
    fn open(&self, _form: &str, entry: &Values) -> Result<Opened, OpenError> {
        let query = entry.text(QUERY.name).unwrap_or_default().to_owned();
        let partial = entry.text(WARNINGS.name) == Some("ignore");
        let rules = ItemRules::of(entry);
        let identity = rules.identity(&json!([self.service.identity(), *self.only, partial, query]).to_string());
        let source = Query { store: self.clone(), query, identity: identity.clone(), rules, partial };
        Ok(Opened::One(Identified { identity, source: Box::new(source) }))
    }
}

// === impl Query ===

impl Query {
    async fn items(&self, by: Instant) -> Result<Items, SourceError> {
        // Without `time`, because the clock of the service applies.
        let parameters = [("query", &*self.query), ("partial_response", "false")];
        let form = service::FormBody { parameters: &parameters, time_limit: Some("timeout") };
        let response = self.store.service.post_form(PATH, &self.identity, form, by).await;
        let response = response.map_err(|failure| errors::source_error(&self.query, &failure))?;
        if is_html(&response) {
            return Err(errors::html());
        }
        let answer = answer::decode(&response.body, self.partial).map_err(|unusable| errors::unusable(&unusable))?;
        self.rules.items_of("the query returns no series", |each| self.points(&answer, each))
    }

    /// Hands over the points of an answer, unless `only` is violated by one.
    fn points(&self, answer: &Answer<'_>, each: &mut dyn FnMut(&Point)) -> Result<(), SourceError> {
        let mut violated = None;
        let checked = &mut |point: &Point| {
            let lacks = |(label, value): &(&String, &String)| point.labels.value(label) != Some(&**value);
            violated = violated.or_else(|| self.store.only.iter().find(lacks).map(|(label, _)| label));
            each(point);
        };
        answer.points(checked).map_err(|unusable| errors::unusable(&unusable))?;
        match violated {
            Some(label) => Err(SourceError::new(
                Operation::Read,
                ErrorKind::NotFound,
                format!("a series without the value of label {label} that `only` has"),
                "Select by this label in the query and keep it, as in sum by (cluster) (…).",
                "",
            )),
            None => Ok(()),
        }
    }
}

impl Source for Query {
    fn read<'s>(&'s self, _: &'s Part, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        self.items(by).boxed()
    }

    fn upstream(&self) -> Option<NextRequest<'_>> {
        Some(self.store.service.next_request(PATH, &self.identity))
    }
}

/// Whether it is a web page, such as that of a proxy that needs a login.
fn is_html(response: &Response) -> bool {
    let content_type = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.trim_start().to_ascii_lowercase().starts_with("text/html")
        || response.body.trim_ascii_start().starts_with(b"<")
}

/// Queries that are valid, and whose values may surprise.
fn warnings(definition: &Definition) -> Vec<String> {
    let (entry, connection) = (&definition.entry, &definition.connection);
    let query = entry.text(QUERY.name).unwrap_or_default();
    let counters = promql::bare_counters(query).into_iter().map(|counter| {
        format!("`query`: {counter} is a counter, which only grows: use its rate, as in rate({counter}[2m])")
    });
    let mut warnings: Vec<String> = counters.collect();
    if let Some(number) = promql::constant_instead(query) {
        warnings.push(format!(
            "`query`: `or vector({number})` serves {number} also while the exporter is down. {SAFE_ZERO}"
        ));
    }
    if entry.amount("empty") == Some(Quantity::ZERO) {
        warnings.push(format!("`empty: 0` serves 0 also while the exporter is down. {SAFE_ZERO}"));
    }
    let has_only = connection.map(ONLY.name).next().is_some();
    if entry.text(NAMESPACE_LABEL.name).is_some() && !has_only && may_be_shared(connection) {
        warnings.push(
            "`namespaceLabel` without `only` in the connection: if several clusters write to this store, a namespace also gets the items of its namesakes there. Set `only`, as in only: {cluster: prod-eu}."
                .to_owned(),
        );
    }
    warnings
}

const SAFE_ZERO: &str = "Write … or (0 * max(up{job=\"x\"} == 1)), which is 0 only while the target is up.";

/// Parameters of a querier of Thanos, which reads several stores.
const OF_THANOS: [&str; 3] = ["dedup", "replicaLabels[]", "storeMatch[]"];

/// Whether several clusters may write to this store: it is outside of the cluster, or it has tenants or
/// replicas.
fn may_be_shared(connection: &Values) -> bool {
    let mut urls = service::urls(connection);
    let mut headers = connection.map("headers").chain(connection.map("headerFiles"));
    let is_inside = |url: &str| url.parse().is_ok_and(|url: BaseUrl| url.is_inside());
    urls.any(|url| !is_inside(url))
        || headers.any(|(name, _)| name.eq_ignore_ascii_case("X-Scope-OrgID"))
        || connection.map("params").any(|(name, _)| OF_THANOS.contains(&name))
}
