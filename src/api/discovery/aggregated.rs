//! Aggregated discovery: groups, versions and resources in one document, requested at `/apis` by
//! its type (`as=APIGroupDiscoveryList`).
//!
//! kube-apiserver requests it every minute, and accepts only an answer whose Content-Type names the
//! type. `v2beta1`, for API servers before 1.30, has the same fields.
//!
//! kubectl goes from a resource to its kind and from there back to a resource. So each metric has
//! a kind of its own here: with one kind for all, `kubectl get oci_queue_length` shows the values
//! of whichever metric comes last. And the kind of the items is listed, with nothing to be done
//! to it: `kubectl get -o yaml` looks up what it has got.

use serde::Serialize;

use super::{VERBS, categories};
use crate::api::accept::{Conversion, Encoding};
use crate::api::encode::EncodeError;
use crate::api::encode::capitalised;
use crate::api::fixed::Fixed;
use crate::metric::{MetricName, MetricSet};
use crate::request::{GROUP, VERSION};

/// Whose type it is.
const API: &str = "apidiscovery.k8s.io";
const LIST: &str = "APIGroupDiscoveryList";

/// The document of some metrics, in both versions.
pub(super) struct Aggregated {
    v2: Fixed,
    v2beta1: Fixed,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupList<'m> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata,
    items: [Group<'m>; 1],
}

#[derive(Default, Serialize)]
struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
}

#[derive(Serialize)]
struct Group<'m> {
    metadata: Metadata,
    versions: [Version<'m>; 1],
}

#[derive(Serialize)]
struct Version<'m> {
    version: &'static str,
    resources: Vec<Resource<'m>>,
    freshness: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource<'m> {
    resource: &'m str,
    response_kind: ResponseKind,
    scope: &'static str,
    singular_resource: &'static str,
    verbs: &'static [&'static str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'static [&'static str],
}

#[derive(Serialize)]
struct ResponseKind {
    group: &'static str,
    version: &'static str,
    kind: String,
}

// === impl Aggregated ===

impl Aggregated {
    pub(super) fn of(metrics: &MetricSet) -> Result<Self, EncodeError> {
        let document = |api_version| Ok::<_, EncodeError>(Fixed::new(&GroupList::of(api_version, metrics))?.tagged());
        Ok(Self { v2: document("apidiscovery.k8s.io/v2")?, v2beta1: document("apidiscovery.k8s.io/v2beta1")? })
    }

    /// The document that is requested, if it is this one, and what it is called in this encoding.
    pub(super) fn find(&self, encoding: Encoding, requested: Conversion<'_>) -> Option<(&Fixed, &'static str)> {
        if requested.kind != LIST || requested.group != API {
            return None;
        }
        Some(match (requested.version, encoding) {
            ("v2", Encoding::Json) => {
                (&self.v2, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
            }
            ("v2", Encoding::Yaml) => {
                (&self.v2, "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
            }
            ("v2beta1", Encoding::Json) => {
                (&self.v2beta1, "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList")
            }
            ("v2beta1", Encoding::Yaml) => {
                (&self.v2beta1, "application/yaml;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList")
            }
            _ => return None,
        })
    }
}

// === impl GroupList ===

impl<'m> GroupList<'m> {
    fn of(api_version: &'static str, metrics: &'m MetricSet) -> Self {
        let of_items = resource("externalmetricvalues", "ExternalMetricValue".into(), &[], &[]);
        let metric = |name| metric(name, metrics.of_pods.contains(name));
        let resources = metrics.all.iter().map(metric).chain([of_items]).collect();
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

fn metric(metric: &MetricName, is_of_pods: bool) -> Resource<'_> {
    resource(metric.as_str(), kind_of(metric), &VERBS, categories(is_of_pods))
}

fn resource<'m>(
    resource: &'m str,
    kind: String,
    verbs: &'static [&'static str],
    categories: &'static [&'static str],
) -> Resource<'m> {
    Resource {
        resource,
        // Empty: those of the list, as kube-apiserver writes its own.
        response_kind: ResponseKind { group: "", version: "", kind },
        scope: "Namespaced",
        singular_resource: "",
        verbs,
        categories,
    }
}

/// `oci_queue_length` as a kind: `OciQueueLength`.
fn kind_of(metric: &MetricName) -> String {
    metric.as_str().split(|c: char| !c.is_ascii_alphanumeric()).map(capitalised).collect()
}
