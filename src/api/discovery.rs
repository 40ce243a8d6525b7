//! Discovery: the documents with the names of the metrics, for kubectl and the API server.
//!
//! They depend only on the config, even if no source can be read, and are never empty. An empty resource
//! list makes kubectl and helm warn at every call. A list that appears and disappears breaks garbage
//! collection. Every metric is in category [`CATEGORY`], which distinguishes it from metrics of other
//! servers.
//!
//! Fields have the order of Go's structs, and [`aggregated`] has everything in one document.

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwapOption;
use axum::extract::{Request, State};
use axum::response::Response;
use prost::Message;
use serde::Serialize;

use super::accept::Encoding;
use super::encode::EncodeError;
use super::fixed::{self, Fixed, Made};
use super::reply;
use crate::api_error::ApiError;
use crate::lookup::Catalog;
use crate::metric::{CATEGORY, MetricName, MetricSet, PODS_CATEGORY};
use crate::request::{GROUP, VERSION};

mod aggregated;

use aggregated::Aggregated;

/// The kind of every metric: a list of values.
const KIND: &str = "ExternalMetricValueList";
/// The verbs of a metric, as in the reference implementation: its GET is called `get` here and is
/// authorized as `list`.
const VERBS: [&str; 1] = ["get"];
const ALL: &[Encoding] = &[Encoding::Json, Encoding::Yaml, Encoding::Protobuf];

static GROUPS: Made = LazyLock::new(|| Fixed::object("APIGroupList", &GroupList { groups: vec![group_document()] }));
static ONE_GROUP: Made = LazyLock::new(|| Fixed::object("APIGroup", &group_document()));
static SOFTWARE: Made = LazyLock::new(|| Fixed::new(&Software::of_this()));

/// The documents that name metrics. They are made again when the metrics change.
#[derive(Clone)]
pub(super) struct Discovery {
    catalog: Arc<Catalog>,
    made: Arc<ArcSwapOption<Documents>>,
}

/// The documents of these metrics.
struct Documents {
    metrics: Arc<MetricSet>,
    resources: Fixed,
    aggregated: Aggregated,
}

#[derive(Message, Serialize)]
struct GroupList {
    #[prost(message, repeated, tag = "1")]
    groups: Vec<Group>,
}

#[derive(Message, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[prost(string, required, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    versions: Vec<GroupVersion>,
    #[prost(message, required, tag = "3")]
    preferred_version: GroupVersion,
}

#[derive(Clone, Message, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupVersion {
    #[prost(string, required, tag = "1")]
    group_version: String,
    #[prost(string, required, tag = "2")]
    version: String,
}

#[derive(Message, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceList {
    #[prost(string, required, tag = "1")]
    group_version: String,
    #[prost(message, repeated, tag = "2")]
    resources: Vec<Resource>,
}

#[derive(Message, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    #[prost(string, required, tag = "1")]
    name: String,
    #[prost(string, required, tag = "6")]
    singular_name: String,
    #[prost(bool, required, tag = "2")]
    namespaced: bool,
    /// Empty: the list's own.
    #[prost(string, required, tag = "8")]
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    /// Empty: the list's own.
    #[prost(string, required, tag = "9")]
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[prost(string, required, tag = "3")]
    kind: String,
    #[prost(message, required, tag = "4")]
    verbs: Verbs,
    #[prost(string, repeated, tag = "7")]
    categories: Vec<String>,
    /// Empty, because nothing is stored.
    #[prost(string, required, tag = "10")]
    #[serde(skip_serializing_if = "String::is_empty")]
    storage_version_hash: String,
}

#[derive(Message, Serialize)]
#[serde(transparent)]
struct Verbs {
    #[prost(string, repeated, tag = "1")]
    items: Vec<String>,
}

/// `version.Info`, without the fields that don't apply to depthgauge.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Software {
    major: &'static str,
    minor: &'static str,
    git_version: &'static str,
}

/// `GET /apis`: the groups, or the aggregated document.
pub(super) async fn groups(State(discovery): State<Discovery>, request: Request) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    let (groups, documents) = (fixed::get(&GROUPS)?, discovery.documents()?);
    let accepted = reply::negotiate(&request, ALL, |encoding, conversion| match conversion {
        None => Some((groups, encoding, encoding.media_type())),
        Some(conversion) => {
            let (document, content_type) = documents.aggregated.find(encoding, conversion)?;
            Some((document, encoding, content_type))
        }
    })?;
    let (document, encoding, content_type) = accepted.offer;
    Ok(document.reply_as(&request, encoding, accepted.pretty, content_type))
}

/// `GET /apis/external.metrics.k8s.io`
pub(super) async fn group(request: Request) -> Result<Response, ApiError> {
    fixed::get(&ONE_GROUP)?.reply(&request.into_parts().0, ALL)
}

/// `GET /apis/external.metrics.k8s.io/v1beta1`
pub(super) async fn resources(State(discovery): State<Discovery>, request: Request) -> Result<Response, ApiError> {
    discovery.documents()?.resources.reply(&request.into_parts().0, ALL)
}

/// `GET /version`: the version of depthgauge, in the format of Kubernetes.
pub(super) async fn version(request: Request) -> Result<Response, ApiError> {
    fixed::get(&SOFTWARE)?.reply(&request.into_parts().0, &[Encoding::Json])
}

// === impl Discovery ===

impl Discovery {
    pub(super) fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog, made: Arc::default() }
    }

    fn documents(&self) -> Result<Arc<Documents>, ApiError> {
        let metrics = self.catalog.metrics();
        if let Some(made) = self.made.load_full().filter(|made| Arc::ptr_eq(&made.metrics, &metrics)) {
            return Ok(made);
        }
        let made = Documents::of(metrics).map_err(|error| ApiError::internal(error.to_string()))?;
        let made = Arc::new(made);
        self.made.store(Some(made.clone()));
        Ok(made)
    }
}

// === impl Documents ===

impl Documents {
    fn of(metrics: Arc<MetricSet>) -> Result<Self, EncodeError> {
        let resources = Fixed::object("APIResourceList", &resource_list(&metrics))?;
        let aggregated = Aggregated::of(&metrics)?;
        Ok(Self { metrics, resources, aggregated })
    }
}

// === impl Software ===

impl Software {
    fn of_this() -> Self {
        Self {
            major: env!("CARGO_PKG_VERSION_MAJOR"),
            minor: env!("CARGO_PKG_VERSION_MINOR"),
            git_version: concat!("v", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// The categories of a metric.
fn categories(is_of_pods: bool) -> &'static [&'static str] {
    if is_of_pods { &[CATEGORY, PODS_CATEGORY] } else { &[CATEGORY] }
}

fn group_document() -> Group {
    let version = GroupVersion { group_version: format!("{GROUP}/{VERSION}"), version: VERSION.into() };
    Group { name: GROUP.into(), versions: vec![version.clone()], preferred_version: version }
}

fn resource_list(metrics: &MetricSet) -> ResourceList {
    let resources = metrics.all.iter().map(|metric| resource(metric, metrics.of_pods.contains(metric))).collect();
    ResourceList { group_version: format!("{GROUP}/{VERSION}"), resources }
}

fn resource(metric: &MetricName, is_of_pods: bool) -> Resource {
    Resource {
        name: metric.as_str().into(),
        namespaced: true,
        kind: KIND.into(),
        verbs: Verbs { items: VERBS.map(str::to_owned).into() },
        categories: categories(is_of_pods).iter().map(|category| (*category).to_owned()).collect(),
        ..Resource::default()
    }
}
