//! What there is: the documents from which kubectl and the API server learn the metrics' names.
//!
//! Static: the same whatever is configured and whatever is up. A resource list that is empty
//! makes kubectl and helm warn at every call; one that comes and goes breaks garbage collection.
//!
//! Fields stand in the order of Go's structs, and [`aggregated`] has all of it in one document.

use std::sync::LazyLock;

use axum::extract::Request;
use axum::response::Response;
use prost::Message;
use serde::Serialize;

use super::accept::Encoding;
use super::fixed::{self, Fixed, Made};
use super::reply;
use crate::lookup;
use crate::metric::MetricName;
use crate::refusal::Refusal;
use crate::request::{GROUP, VERSION};

mod aggregated;

/// Of every metric: what is listed is a list of values.
const KIND: &str = "ExternalMetricValueList";
/// What can be done with a metric, in the words of the reference: its GET is called `get` here
/// and authorized as `list`.
const VERBS: [&str; 1] = ["get"];
const ALL: &[Encoding] = &[Encoding::Json, Encoding::Yaml, Encoding::Protobuf];

static GROUPS: Made = LazyLock::new(|| Fixed::object("APIGroupList", &GroupList { groups: vec![group_document()] }));
static ONE_GROUP: Made = LazyLock::new(|| Fixed::object("APIGroup", &group_document()));
static RESOURCES: Made = LazyLock::new(|| Fixed::object("APIResourceList", &resource_list()));
static SOFTWARE: Made = LazyLock::new(|| Fixed::new(&Software::of_this()));

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
    /// Empty: nothing is stored.
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

/// `version.Info`, as far as it is true of this program.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Software {
    major: &'static str,
    minor: &'static str,
    git_version: &'static str,
}

/// `GET /apis`: the groups, or everything at once.
pub(super) async fn groups(request: Request) -> Result<Response, Refusal> {
    let (request, _) = request.into_parts();
    let accepted = reply::negotiate(&request, ALL, |encoding, conversion| match conversion {
        None => Some((&GROUPS, encoding, encoding.media_type())),
        Some(conversion) => {
            let (document, content_type) = aggregated::find(encoding, conversion)?;
            Some((document, encoding, content_type))
        }
    })?;
    let (document, encoding, content_type) = accepted.offer;
    Ok(fixed::get(document)?.reply_as(&request, encoding, accepted.pretty, content_type))
}

/// `GET /apis/external.metrics.k8s.io`
pub(super) async fn group(request: Request) -> Result<Response, Refusal> {
    fixed::get(&ONE_GROUP)?.reply(&request.into_parts().0, ALL)
}

/// `GET /apis/external.metrics.k8s.io/v1beta1`
pub(super) async fn resources(request: Request) -> Result<Response, Refusal> {
    fixed::get(&RESOURCES)?.reply(&request.into_parts().0, ALL)
}

/// `GET /version`: of this program, in the form of Kubernetes' own.
pub(super) async fn version(request: Request) -> Result<Response, Refusal> {
    fixed::get(&SOFTWARE)?.reply(&request.into_parts().0, &[Encoding::Json])
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

fn group_document() -> Group {
    let version = GroupVersion { group_version: format!("{GROUP}/{VERSION}"), version: VERSION.into() };
    Group { name: GROUP.into(), versions: vec![version.clone()], preferred_version: version }
}

fn resource_list() -> ResourceList {
    let resources = lookup::metrics().into_iter().map(resource).collect();
    ResourceList { group_version: format!("{GROUP}/{VERSION}"), resources }
}

fn resource(metric: MetricName) -> Resource {
    Resource {
        name: metric.as_str().into(),
        namespaced: true,
        kind: KIND.into(),
        verbs: Verbs { items: VERBS.map(str::to_owned).into() },
        ..Resource::default()
    }
}
