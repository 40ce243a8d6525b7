//! OpenAPI, versions 2 and 3. kube-apiserver merges these documents into its own, and
//! `kubectl explain oci_queue_length` uses them.
//!
//! They are small on purpose. kube-apiserver renames a definition that differs from its own of the same
//! name, and logs that. So the types of `meta/v1` are inlined, and only the types of `k8s.io/metrics`
//! are named.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::accept::Encoding;
use super::encode::EncodeError;
use super::fixed::{self, Fixed};
use crate::api_error::ApiError;
use crate::metric::MetricName;
use crate::request::{GROUP, PREFIX, VERSION};

const LIST: &str = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1.ExternalMetricValueList";
const ITEM: &str = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1.ExternalMetricValue";
/// The path of definitions, by version.
const V2_ROOT: &str = "#/definitions/";
const V3_ROOT: &str = "#/components/schemas/";
const JSON: &[Encoding] = &[Encoding::Json];
/// The media types of a value list.
const MEDIA_TYPES: [&str; 3] =
    [Encoding::Json.media_type(), Encoding::Yaml.media_type(), Encoding::Protobuf.media_type()];

/// The documents. They contain only the metrics that every config has, because kube-apiserver merges
/// them again whenever they change.
#[derive(Clone)]
pub(super) struct OpenApi(Arc<Result<Documents, EncodeError>>);

struct Documents {
    v2: Fixed,
    v3: Fixed,
    v3_index: Fixed,
}

/// `GET /openapi/v2`
pub(super) async fn version_2(State(documents): State<OpenApi>, request: Request) -> Result<Response, ApiError> {
    documents.get()?.v2.reply(&request.into_parts().0, JSON)
}

/// `GET /openapi/v3`: the URLs of the documents.
pub(super) async fn index(State(documents): State<OpenApi>, request: Request) -> Result<Response, ApiError> {
    documents.get()?.v3_index.reply(&request.into_parts().0, JSON)
}

/// `GET /openapi/v3/apis/external.metrics.k8s.io/v1beta1`
pub(super) async fn version_3(State(documents): State<OpenApi>, request: Request) -> Result<Response, ApiError> {
    documents.get()?.v3.reply(&request.into_parts().0, JSON)
}

// === impl OpenApi ===

impl OpenApi {
    pub(super) fn of(metrics: &BTreeSet<MetricName>) -> Self {
        Self(Arc::new(Documents::of(metrics)))
    }

    fn get(&self) -> Result<&Documents, ApiError> {
        fixed::get(&self.0)
    }
}

// === impl Documents ===

impl Documents {
    fn of(metrics: &BTreeSet<MetricName>) -> Result<Self, EncodeError> {
        let v3 = Fixed::new(&v3(metrics))?.tagged();
        let group = format!("apis/{GROUP}/{VERSION}");
        // With the hash, clients can cache the document until it changes.
        let url = format!("/openapi/v3/{group}?hash={}", v3.hash());
        let v3_index = Fixed::new(&json!({"paths": {group: {"serverRelativeURL": url}}}))?.tagged();
        Ok(Self { v2: Fixed::new(&v2(metrics))?.tagged(), v3, v3_index })
    }
}

fn v2(metrics: &BTreeSet<MetricName>) -> Value {
    let operation = |metric: &MetricName| {
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
    json!({"swagger": "2.0", "info": info(), "paths": paths(metrics, operation), "definitions": schemas(V2_ROOT)})
}

fn v3(metrics: &BTreeSet<MetricName>) -> Value {
    let operation = |metric: &MetricName| {
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
    json!({"openapi": "3.0.0", "info": info(), "paths": paths(metrics, operation), "components": {"schemas": schemas(V3_ROOT)}})
}

fn info() -> Value {
    json!({"title": "depthgauge", "version": concat!("v", env!("CARGO_PKG_VERSION"))})
}

/// One path for each metric.
fn paths(metrics: &BTreeSet<MetricName>, operation: impl Fn(&MetricName) -> Value) -> Value {
    let path = |metric| format!("{PREFIX}/namespaces/{{namespace}}/{metric}");
    let paths = metrics.iter().map(|metric| (path(metric), json!({"get": operation(metric)})));
    Map::from_iter(paths).into()
}

/// The description of a GET, which both versions share.
fn operation(metric: &MetricName) -> Value {
    json!({
        "description": format!("values of {metric}, one for each that the selector picks"),
        // Unique in the whole API server.
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
        Some("path") => "whose metrics are requested",
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
