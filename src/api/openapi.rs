//! OpenAPI, versions 2 and 3: what kube-apiserver merges into its own documents, and
//! `kubectl explain oci_queue_length` reads.
//!
//! Small on purpose. kube-apiserver renames a definition that differs from its own of the same
//! name, and logs it: so the types of `meta/v1` are written out where they are used, and only
//! `k8s.io/metrics`' own are named.

use std::sync::LazyLock;

use axum::extract::Request;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::accept::Encoding;
use super::fixed::{self, Fixed, Made};
use crate::lookup;
use crate::metric::MetricName;
use crate::refusal::Refusal;
use crate::request::{GROUP, PREFIX, VERSION};

const LIST: &str = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1.ExternalMetricValueList";
const ITEM: &str = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1.ExternalMetricValue";
/// Where definitions are, by version.
const V2_ROOT: &str = "#/definitions/";
const V3_ROOT: &str = "#/components/schemas/";
const JSON: &[Encoding] = &[Encoding::Json];
/// What a value list is had in.
const MEDIA_TYPES: [&str; 3] =
    [Encoding::Json.media_type(), Encoding::Yaml.media_type(), Encoding::Protobuf.media_type()];

static V2: Made = LazyLock::new(|| Ok(Fixed::new(&v2())?.tagged()));
static V3: Made = LazyLock::new(|| Ok(Fixed::new(&v3())?.tagged()));
static V3_INDEX: Made = LazyLock::new(|| {
    let group = format!("apis/{GROUP}/{VERSION}");
    // The hash lets callers keep the document for as long as it is the same.
    let url = format!("/openapi/v3/{group}?hash={}", Fixed::new(&v3())?.hash());
    Ok(Fixed::new(&json!({"paths": {group: {"serverRelativeURL": url}}}))?.tagged())
});

/// `GET /openapi/v2`
pub(super) async fn version_2(request: Request) -> Result<Response, Refusal> {
    fixed::get(&V2)?.reply(&request.into_parts().0, JSON)
}

/// `GET /openapi/v3`: where the documents are.
pub(super) async fn index(request: Request) -> Result<Response, Refusal> {
    fixed::get(&V3_INDEX)?.reply(&request.into_parts().0, JSON)
}

/// `GET /openapi/v3/apis/external.metrics.k8s.io/v1beta1`
pub(super) async fn version_3(request: Request) -> Result<Response, Refusal> {
    fixed::get(&V3)?.reply(&request.into_parts().0, JSON)
}

fn v2() -> Value {
    let operation = |metric| {
        let mut operation = operation(metric);
        operation["produces"] = json!(MEDIA_TYPES);
        operation["schemes"] = json!(["https"]);
        operation["parameters"] = json!([
            parameter(&json!({"in": "path", "name": "namespace", "required": true}), |p| p["type"] = "string".into()),
            parameter(&json!({"in": "query", "name": "labelSelector"}), |p| p["type"] = "string".into()),
        ]);
        operation["responses"]["200"]["schema"] = json!({"$ref": format!("{V2_ROOT}{LIST}")});
        operation
    };
    json!({"swagger": "2.0", "info": info(), "paths": paths(operation), "definitions": schemas(V2_ROOT)})
}

fn v3() -> Value {
    let operation = |metric| {
        let mut operation = operation(metric);
        operation["parameters"] = json!([
            parameter(&json!({"in": "path", "name": "namespace", "required": true}), |p| p["schema"] = string()),
            parameter(&json!({"in": "query", "name": "labelSelector"}), |p| p["schema"] = string()),
        ]);
        let schema = json!({"schema": {"$ref": format!("{V3_ROOT}{LIST}")}});
        let content = MEDIA_TYPES.map(|media_type| (media_type.to_owned(), schema.clone()));
        operation["responses"]["200"]["content"] = Map::from_iter(content).into();
        operation
    };
    json!({"openapi": "3.0.0", "info": info(), "paths": paths(operation), "components": {"schemas": schemas(V3_ROOT)}})
}

fn info() -> Value {
    json!({"title": "depthgauge", "version": concat!("v", env!("CARGO_PKG_VERSION"))})
}

/// One for each metric.
fn paths(operation: impl Fn(MetricName) -> Value) -> Value {
    let path = |metric| format!("{PREFIX}/namespaces/{{namespace}}/{metric}");
    let paths = lookup::metrics().into_iter().map(|metric| (path(metric), json!({"get": operation(metric)})));
    Map::from_iter(paths).into()
}

/// What both versions say of a GET.
fn operation(metric: MetricName) -> Value {
    json!({
        "description": format!("values of {metric}, one for each that the selector picks"),
        // Unique among all that the API server has.
        "operationId": format!("listExternalMetricsV1beta1Namespaced_{metric}"),
        "responses": {"200": {"description": "OK"}},
        "tags": ["externalMetrics_v1beta1"],
        "x-kubernetes-action": "list",
        "x-kubernetes-group-version-kind": kind_of("ExternalMetricValueList"),
    })
}

fn parameter(common: &Value, typed: impl FnOnce(&mut Value)) -> Value {
    let mut parameter = common.clone();
    parameter["description"] = match common["in"].as_str() {
        Some("path") => "whose metrics are asked for",
        _ => "which of them, as in `queue in (a,b)`; all that the namespace may read if it is empty",
    }
    .into();
    typed(&mut parameter);
    parameter
}

/// The two types, with references to each other below `root`.
fn schemas(root: &str) -> Value {
    let described = |schema: Value, description: &str| {
        let mut schema = schema;
        schema["description"] = description.into();
        schema
    };
    let api_version =
        described(string(), "APIVersion defines the versioned schema of this representation of an object.");
    let kind = described(string(), "Kind is a string value representing the REST resource this object represents.");
    let time =
        json!({"type": "string", "format": "date-time", "description": "when the source was read, to the second"});
    let labels = json!({
        "type": "object",
        "additionalProperties": string(),
        "description": "a set of labels that identify a single time series for the metric",
    });
    json!({
        LIST: {
            "description": "ExternalMetricValueList is a list of values for a given metric for some set labels",
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": api_version,
                "kind": kind,
                "metadata": {"type": "object", "description": "always empty: there is one page, and it has no version"},
                "items": {
                    "description": "value of the metric matching a given set of labels",
                    "type": "array",
                    "items": {"$ref": format!("{root}{ITEM}")},
                },
            },
            "x-kubernetes-group-version-kind": [kind_of("ExternalMetricValueList")],
        },
        ITEM: {
            "description": "ExternalMetricValue is a metric value for external metric",
            "type": "object",
            "required": ["metricName", "metricLabels", "timestamp", "value"],
            "properties": {
                "metricName": described(string(), "the name of the metric"),
                "metricLabels": labels,
                "timestamp": time,
                "value": described(string(), "the value of the metric, a Quantity: `1500m` is one and a half"),
            },
        },
    })
}

fn string() -> Value {
    json!({"type": "string"})
}

fn kind_of(kind: &str) -> Value {
    json!({"group": GROUP, "version": VERSION, "kind": kind})
}
