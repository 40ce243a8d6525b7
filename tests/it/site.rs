//! The connection that kinds of sources share whose services are reached over HTTP, proved by a kind of
//! its own: a source reads a path, and its value is the body.

use std::sync::Arc;
use std::time::Duration;

use depthgauge::config::Config;
use depthgauge::endpoints::Endpoints;
use depthgauge::http::Protocol;
use depthgauge::metric::MetricName;
use depthgauge::metric::quantity::Quantity;
use depthgauge::source::keys::{Key, Shape, Text, Values};
use depthgauge::source::part::Part;
use depthgauge::source::service::{self, Service};
use depthgauge::source::{
    Connection, ConnectionType, ErrorKind, Form, Identified, Items, Kind, Kinds, NextRequest, OpenError, Opened,
    Operation, Place, Source, SourceError,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// Credentials on the wire, and after a 401.
mod auth;
/// What the config may say.
mod config;
/// Several URLs, paths, redirects and proxies.
mod reach;
/// Certificates of both ends.
mod tls;
/// Tokens of a token service.
mod token;

/// `type: page`
const PAGE: Kind = Kind {
    name: "page",
    label: "metric",
    metrics: &[],
    gauges: &[],
    depths: &[],
    apart: &[],
    labels: &[],
    parts: &[],
    forms: &[Form { key: "path", keys: &[PATH], label: None }],
    slow: false,
    connection: ConnectionType {
        name: "site",
        place: Place::Named,
        doc: "A site.",
        keys: &[service::URLS, service::KEYS],
        conflicts: service::conflicts,
        warn: service::warnings,
        connect: |values, context| Ok(Arc::new(Site(Service::open(values, context, Protocol::default())?))),
    },
    environment: None,
    without_effect: &[],
    conflicts: |_| Vec::new(),
    changes: |_, _| Vec::new(),
    pods_of: None,
    warn: |_| Vec::new(),
};

const PAGES: Kinds = &[&PAGE];

const PATH: Key = Key::new("path", Shape::Text(Text::ANY), "The path of the page.").required();

/// Of a read that is to answer; nothing waits for it but a test that fails.
const LONG: Duration = Duration::from_secs(20);

struct Site(Service);

struct Page {
    service: Service,
    path: String,
    metric: MetricName,
}

impl Connection for Site {
    fn open(&self, _form: &str, entry: &Values) -> Result<Opened, OpenError> {
        let (service, path) = (self.0.clone(), entry.text("path").unwrap_or_default().to_owned());
        let metric = MetricName::chosen(entry.text("metric").unwrap_or_default());
        let identity = format!("{} {path}", service.identity());
        Ok(Opened::One(Identified { identity, source: Box::new(Page { service, path, metric }) }))
    }
}

impl Source for Page {
    fn read<'s>(&'s self, _: &'s Part, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        async move {
            let response = self.service.get(&self.path, "", &[("q", "a b")], by).await;
            let error = |failure| service::source_error(Operation::Read, format_args!("{}", self.path), &failure);
            let response = response.map_err(error)?;
            let text = String::from_utf8_lossy(&response.body);
            let unreadable =
                || SourceError::new(Operation::Decode, ErrorKind::Transient, "no number", "", text.clone());
            let value = Quantity::parse_value(&text).ok_or_else(unreadable)?;
            Ok(Items::one(vec![(self.metric.clone(), value)]))
        }
        .boxed()
    }

    fn upstream(&self) -> Option<NextRequest<'_>> {
        Some(self.service.next_request(&self.path, ""))
    }
}

/// A config with one connection with these keys, and a source that reads `/page`.
fn config(keys: &str) -> String {
    config_of(keys, "/page")
}

fn config_of(keys: &str, path: &str) -> String {
    format!(
        "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nconnections:\n  one: {{type: site, {keys}}}\nsources:\n  - {{type: page, metric: visits, path: \"{path}\", namespaces: [shop]}}\n"
    )
}

fn open_config(text: &str) -> Result<Box<dyn Source>, OpenError> {
    crate::support::crypto();
    let config = Config::parse(text, PAGES).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut configs = config.open(jiff::Timestamp::now, Endpoints::none())?;
    match configs.remove(0).source {
        Opened::One(identified) => Ok(identified.source),
        Opened::Many(_) => panic!("a list"),
    }
}

/// The source of a connection with these keys.
fn open(keys: &str) -> Box<dyn Source> {
    open_config(&config(keys)).unwrap()
}

async fn read(source: &dyn Source) -> Result<String, SourceError> {
    let items = source.read(&Part::WHOLE, Instant::now() + LONG).await?;
    Ok(items.value(&MetricName::chosen("visits")).unwrap().to_string())
}
