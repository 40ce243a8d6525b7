//! What there is: the documents from which kubectl and the API server learn the metrics' names.
//!
//! Static: the same whatever is configured and whatever is up. A resource list that is empty
//! makes kubectl and helm warn at every call; one that comes and goes breaks garbage collection.

use std::sync::LazyLock;

use axum::response::Response;
use serde_json::{Value, json};

use crate::lookup;
use crate::metric::MetricName;
use crate::request::{GROUP, VERSION};

static GROUPS: LazyLock<String> =
    LazyLock::new(|| json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [api_group()]}).to_string());
static ONE_GROUP: LazyLock<String> = LazyLock::new(|| {
    let mut group = api_group();
    // Only a document of its own says what it is.
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    group.to_string()
});
static RESOURCES: LazyLock<String> = LazyLock::new(|| {
    let resources: Vec<Value> = lookup::metrics().into_iter().map(resource).collect();
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": resources,
    })
    .to_string()
});
static SOFTWARE: LazyLock<String> = LazyLock::new(|| {
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    json!({"major": major, "minor": minor, "gitVersion": version}).to_string()
});

/// `GET /apis`
pub(super) async fn groups() -> Response {
    super::json(GROUPS.as_str())
}

/// `GET /apis/external.metrics.k8s.io`
pub(super) async fn group() -> Response {
    super::json(ONE_GROUP.as_str())
}

/// `GET /apis/external.metrics.k8s.io/v1beta1`
pub(super) async fn resources() -> Response {
    super::json(RESOURCES.as_str())
}

/// `GET /version`: of this program, in the form of Kubernetes' own.
pub(super) async fn version() -> Response {
    super::json(SOFTWARE.as_str())
}

fn api_group() -> Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({
        "name": GROUP,
        "versions": [version],
        "preferredVersion": version,
    })
}

fn resource(metric: MetricName) -> Value {
    json!({
        "name": metric.as_str(),
        "singularName": "",
        "namespaced": true,
        "kind": "ExternalMetricValueList",
        "verbs": ["get"],
    })
}
