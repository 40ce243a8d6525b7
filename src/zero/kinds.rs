//! What kube-apiserver calls the kinds that HPAs name, and whether it can scale them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use parking_lot::Mutex;

use super::calls::{Calls, ScaleError, answered};
use super::workload::{Workload, is_kind};
use crate::metric::Namespace;

/// The kinds that were discovered.
pub(super) struct Kinds {
    client: kube::Client,
    calls: Calls,
    /// By version and name.
    known: Mutex<BTreeMap<(String, String), Kind>>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) resource: ApiResource,
    pub(super) has_scale: bool,
}

// === impl Kinds ===

impl Kinds {
    pub(super) fn new(client: kube::Client, calls: Calls) -> Self {
        Self { client, calls, known: Mutex::default() }
    }

    /// Of this object, which is in this namespace.
    pub(super) async fn of(&self, namespace: &Namespace, object: &Workload) -> Result<Kind, ScaleError> {
        let Workload { api_version, kind, .. } = object;
        let key = (api_version.clone(), kind.clone());
        let known = self.known.lock().get(&key).cloned();
        match known {
            Some(known) => Ok(known),
            None => {
                let found = self.discover(namespace, api_version, kind).await?;
                self.known.lock().insert(key, found.clone());
                Ok(found)
            }
        }
    }

    /// Removes it, so that it is discovered again: it may get what it lacks.
    pub(super) fn forget(&self, object: &Workload) {
        self.known.lock().remove(&(object.api_version.clone(), object.kind.clone()));
    }

    async fn discover(&self, namespace: &Namespace, api_version: &str, kind: &str) -> Result<Kind, ScaleError> {
        // Left out, it is the core group, as for the controller.
        let api_version = if api_version.is_empty() { "v1" } else { api_version };
        let listed = match api_version.contains('/') {
            true => self.calls.make(namespace, self.client.list_api_group_resources(api_version)).await?,
            false => self.calls.make(namespace, self.client.list_core_api_resources(api_version)).await?,
        };
        let absent = || {
            ScaleError::Gone(format!(
                "this cluster has no kind {kind} in {api_version}; if another version has it, write that one"
            ))
        };
        let list = listed.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 404 => absent(),
            error => ScaleError::Transient(format!("cannot read what {api_version} has: {}", answered(&error))),
        })?;
        let named = |resource: &&APIResource| is_kind(&resource.kind, kind) && !resource.name.contains('/');
        let plural = &list.resources.iter().find(named).ok_or_else(absent)?.name;
        let scale = format!("{plural}/scale");
        let has_scale = list.resources.iter().any(|resource| resource.name == scale);
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        Ok(Kind { resource, has_scale })
    }
}
