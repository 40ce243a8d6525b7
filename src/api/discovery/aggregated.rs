//! Aggregated discovery: groups, versions and resources in one document, asked for at `/apis`
//! by its type (`as=APIGroupDiscoveryList`).
//!
//! kube-apiserver asks for it every minute, and takes only an answer whose Content-Type names
//! the type. `v2beta1`, for API servers before 1.30, has the same fields.
//!
//! kubectl goes from a resource to its kind and from there back to a resource. So each metric has
//! a kind of its own here: with one kind for all, `kubectl get oci_queue_length` shows the values
//! of whichever metric comes last. And the kind of the items is listed, with nothing to be done
//! to it: `kubectl get -o yaml` looks up what it has got.

use std::sync::LazyLock;

use serde::Serialize;

use super::VERBS;
use crate::api::accept::{Conversion, Encoding};
use crate::api::encode::capitalised;
use crate::api::fixed::{Fixed, Made};
use crate::lookup;
use crate::metric::MetricName;
use crate::request::{GROUP, VERSION};

/// Whose type it is.
const API: &str = "apidiscovery.k8s.io";
const LIST: &str = "APIGroupDiscoveryList";

static V2: Made = LazyLock::new(|| Ok(Fixed::new(&GroupList::of("apidiscovery.k8s.io/v2"))?.tagged()));
static V2BETA1: Made = LazyLock::new(|| Ok(Fixed::new(&GroupList::of("apidiscovery.k8s.io/v2beta1"))?.tagged()));

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupList {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata,
    items: [Group; 1],
}

#[derive(Default, Serialize)]
struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
}

#[derive(Serialize)]
struct Group {
    metadata: Metadata,
    versions: [Version; 1],
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    resources: Vec<Resource>,
    freshness: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource: &'static str,
    response_kind: ResponseKind,
    scope: &'static str,
    singular_resource: &'static str,
    verbs: &'static [&'static str],
}

#[derive(Serialize)]
struct ResponseKind {
    group: &'static str,
    version: &'static str,
    kind: String,
}

/// The document that is asked for, if it is this one, and what it is called in this encoding.
pub(super) fn find(encoding: Encoding, asked: Conversion<'_>) -> Option<(&'static Made, &'static str)> {
    if asked.kind != LIST || asked.group != API {
        return None;
    }
    Some(match (asked.version, encoding) {
        ("v2", Encoding::Json) => (&V2, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
        ("v2", Encoding::Yaml) => (&V2, "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
        ("v2beta1", Encoding::Json) => {
            (&V2BETA1, "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList")
        }
        ("v2beta1", Encoding::Yaml) => {
            (&V2BETA1, "application/yaml;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList")
        }
        _ => return None,
    })
}

// === impl GroupList ===

impl GroupList {
    fn of(api_version: &'static str) -> Self {
        let metrics = lookup::metrics().into_iter().map(metric);
        let resources = metrics.chain([resource("externalmetricvalues", "ExternalMetricValue".into(), &[])]).collect();
        Self {
            kind: LIST,
            api_version,
            metadata: Metadata::default(),
            items: [Group {
                metadata: Metadata { name: Some(GROUP) },
                versions: [Version { version: VERSION, resources, freshness: "Current" }],
            }],
        }
    }
}

fn metric(metric: MetricName) -> Resource {
    resource(metric.as_str(), kind_of(metric), &VERBS)
}

fn resource(resource: &'static str, kind: String, verbs: &'static [&'static str]) -> Resource {
    Resource {
        resource,
        // Empty: those of the list, as kube-apiserver writes its own.
        response_kind: ResponseKind { group: "", version: "", kind },
        scope: "Namespaced",
        singular_resource: "",
        verbs,
    }
}

/// `oci_queue_length` as a kind: `OciQueueLength`.
fn kind_of(metric: MetricName) -> String {
    metric.as_str().split('_').map(capitalised).collect()
}
