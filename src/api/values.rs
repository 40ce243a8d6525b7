//! The value path: selector in, list or refusal out.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use prometheus_client::registry::Registry;

use super::accept::{Accepted, Conversion, Encoding};
use super::encode::table::{Content, Include, Table};
use super::encode::{self, EncodeError, ValueList};
use super::meters::Meters;
use super::{read_only, reply};
use crate::api_error::ApiError;
use crate::lookup::{Catalog, LookupError, Rows};
use crate::metric::{Namespace, Sample};
use crate::request::{Admitted, Values, query_value};
use crate::selector::Selector;

/// What can be had, as a 406 lists it.
const AVAILABLE: &[Encoding] = &[Encoding::Json, Encoding::Yaml, Encoding::Protobuf];

/// Longest answer, in bytes before it is compressed: 2 KiB for each of 1,000 items, which is more than
/// a Table has with indentation. kube-apiserver takes 4 MiB of an answer without waiting for its client.
const ANSWER_MAX: usize = 2 << 20;

/// The `apiVersion` of the Table that kubectl requests.
const TABLE_V1: &str = "meta.k8s.io/v1";

/// The form in which the values are served.
#[derive(Clone, Copy)]
enum Form {
    /// `ExternalMetricValueList`
    List(Encoding),
    /// A Table of this `apiVersion`, never in protobuf.
    Table(Encoding, &'static str),
}

/// `GET …/namespaces/{namespace}/{metric}?labelSelector=…`
pub struct Metrics {
    catalog: Arc<Catalog>,
    meters: Meters,
}

// === impl Metrics ===

impl Metrics {
    /// Serves this catalog, and counts in a registry whose metrics begin with `depthgauge_`.
    pub fn new(catalog: Arc<Catalog>, registry: &mut Registry) -> Self {
        Self { catalog, meters: Meters::new(registry) }
    }

    async fn list(&self, question: Admitted, request: &Parts) -> Result<Response, ApiError> {
        let Admitted { namespace, metric, verb } = question;
        if request.method != Method::GET && request.method != Method::HEAD {
            return Err(read_only(&request.method));
        }
        if verb == "watch" {
            return Err(ApiError::method_not_allowed(format!(
                "{metric} cannot be watched: request it repeatedly, as the HPA controller does (kubectl get without -w)"
            )));
        }
        let Accepted { offer: form, pretty } = reply::negotiate(request, AVAILABLE, form)?;
        let query = request.uri.query();
        let include = include(query)?;
        let selector = selector(query)?;
        let namespace = Namespace::new(namespace);
        let answer = match form {
            Form::List(_) => {
                let samples = self.catalog.answer(&namespace, &metric, &selector).await;
                samples.map(|samples| Rows { samples, unknown: Vec::new() })
            }
            Form::Table(..) => self.catalog.rows(&namespace, &metric, &selector).await,
        };
        let rows = answer.map_err(|error| refusal(&error))?;
        let samples = &rows.samples;
        // Before the answer is made, because it would be in memory first.
        let labels = encode::least_bytes(samples);
        let cells = if let Form::Table(..) = form { encode::table::least_bytes(samples) } else { 0 };
        fits(labels + cells)?;
        let body = match form {
            Form::List(encoding) => list(samples, encoding, pretty),
            Form::Table(encoding, api_version) => {
                let content = content(&self.catalog, &namespace, &metric, &selector, &rows);
                let table = Table::of(&content, api_version, include);
                written(&table, encoding, pretty, table.capacity())
            }
        };
        let body = body.map_err(|error| ApiError::internal(error.to_string()))?;
        fits(body.len())?;
        self.meters.served(samples, self.catalog.now());
        let mut response = reply::ok(request, form.encoding().media_type(), body);
        reply::warn(&mut response, rows.unknown.iter().map(|item| &*item.message));
        Ok(response)
    }
}

impl Values for Metrics {
    async fn tell(&self, question: Admitted, request: &Parts) -> Response {
        self.list(question, request).await.into_response()
    }
}

/// Rows as a Table in JSON, as kubectl gets it.
///
/// # Errors
///
/// If it can't be serialized.
pub fn table(
    catalog: &Catalog,
    namespace: &Namespace,
    metric: &str,
    selector: &Selector,
    rows: &Rows,
) -> serde_json::Result<serde_json::Value> {
    let content = content(catalog, namespace, metric, selector, rows);
    serde_json::to_value(Table::of(&content, TABLE_V1, Include::None))
}

fn content<'s>(
    catalog: &Catalog,
    namespace: &'s Namespace,
    metric: &str,
    selector: &Selector,
    rows: &'s Rows,
) -> Content<'s> {
    Content {
        namespace: namespace.as_str(),
        label: rows.samples.first().and_then(|sample| catalog.label_of(sample)),
        samples: &rows.samples,
        unknown: &rows.unknown,
        now: catalog.now(),
        asked_every: catalog.longest_pause(namespace, metric, selector),
        next_change: catalog.next_change(namespace, metric, selector).map(|change| change.to_string()),
    }
}

/// `kubectl get METRIC -A`
pub(super) async fn all_namespaces() -> ApiError {
    ApiError::not_found("a request needs one namespace, as in `kubectl get oci_queue_length -n shop`")
}

/// `kubectl get METRIC NAME`
pub(super) async fn by_name() -> ApiError {
    ApiError::not_found(
        "values are picked by label, not by name: write `-l queue=NAME`, as in `kubectl get oci_queue_length -n shop -l queue=orders`",
    )
}

// === impl Form ===

impl Form {
    fn encoding(self) -> Encoding {
        match self {
            Self::List(encoding) | Self::Table(encoding, _) => encoding,
        }
    }
}

/// Lists in everything; tables in all but protobuf, as the Go library has it.
fn form(encoding: Encoding, conversion: Option<Conversion<'_>>) -> Option<Form> {
    let Some(Conversion { kind, group, version }) = conversion else { return Some(Form::List(encoding)) };
    if kind != "Table" || group != "meta.k8s.io" || encoding == Encoding::Protobuf {
        return None;
    }
    match version {
        "v1" => Some(Form::Table(encoding, TABLE_V1)),
        "v1beta1" => Some(Form::Table(encoding, "meta.k8s.io/v1beta1")),
        _ => None,
    }
}

fn list(samples: &[Sample], encoding: Encoding, pretty: bool) -> Result<Bytes, EncodeError> {
    match encoding {
        Encoding::Protobuf => Ok(encode::protobuf::list(samples)),
        Encoding::Json if !pretty => encode::list_line(samples),
        _ => {
            let list = ValueList::of(samples);
            written(&list, encoding, pretty, list.capacity())
        }
    }
}

fn written(
    value: &impl serde::Serialize,
    encoding: Encoding,
    pretty: bool,
    capacity: usize,
) -> Result<Bytes, EncodeError> {
    if encoding == Encoding::Yaml { encode::yaml(value) } else { encode::json(value, pretty, capacity) }
}

/// Which values are meant. The rest of a list's parameters (`limit`, `continue`,
/// `resourceVersion`, `timeoutSeconds`) has no bearing on an answer from memory in one page. But
/// what is no number is a mistake, as for Go's library.
fn selector(query: Option<&str>) -> Result<Selector, ApiError> {
    for key in ["limit", "timeoutSeconds"] {
        if let Some(text) = query_value(query, key).filter(|text| !text.is_empty() && text.parse::<i64>().is_err()) {
            return Err(ApiError::bad_request(format!("{key} is {text:?}: write a whole number")));
        }
    }
    if query_value(query, "fieldSelector").is_some_and(|fields| !fields.is_empty()) {
        return Err(ApiError::bad_request(
            "values have no fields to select by: pick them by label, with labelSelector (`kubectl get -l queue=NAME`)",
        ));
    }
    let selector = query_value(query, "labelSelector").unwrap_or_default();
    Selector::parse(&selector).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// A 400 for an answer of more bytes than there may be.
fn fits(bytes: usize) -> Result<(), ApiError> {
    if bytes <= ANSWER_MAX {
        return Ok(());
    }
    let max = ANSWER_MAX >> 20;
    Err(ApiError::bad_request(format!(
        "the answer is longer than {max} MiB: select fewer items with labelSelector, or items with shorter labels"
    )))
}

fn include(query: Option<&str>) -> Result<Include, ApiError> {
    let include = query_value(query, "includeObject").unwrap_or_default();
    let unknown = || ApiError::bad_request(format!("unrecognized includeObject value: {include:?}"));
    Include::parse(&include).ok_or_else(unknown)
}

fn refusal(error: &LookupError) -> ApiError {
    let message = error.to_string();
    match error {
        LookupError::NoSuchMetric { .. } | LookupError::NoMatch(_) => ApiError::not_found(message),
        LookupError::NoSuchKey { .. } | LookupError::BadSelector(_) => ApiError::bad_request(message),
        LookupError::NoItems(_) | LookupError::Unavailable(_) => ApiError::unavailable(message),
    }
}
