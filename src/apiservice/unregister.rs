//! Gives the APIService up: deleted, or restored to the adapter that it was taken from.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use super::object::{
    FORMER_ANNOTATIONS, FORMER_SPEC, NAME_LABEL, RESTORED, Whose, former_annotations, former_spec, has_our_label,
    is_labelled_ours, is_our_role, look, owner,
};
use super::{FIELD_MANAGER, NAME, RIGHTS, ServiceRef};
use crate::rbac::LATE;

/// For one call to kube-apiserver, which answers within milliseconds unless it fails; a user waits.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unregistered {
    /// There was none.
    Absent,
    /// It is gone.
    Deleted,
    /// It is gone: there was no former adapter to restore it to.
    NothingToRestore,
    /// It is what it was before the take-over; the owner, as text.
    Restored(String),
}

/// What was done, and where.
#[derive(Debug)]
pub struct GivenUp {
    /// Where the Service was that it pointed at, if that was depthgauge's.
    pub namespace: Option<String>,
    /// What became of it.
    pub became: Result<Unregistered, UnregisterError>,
}

/// Why it was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum UnregisterError {
    /// It is another adapter's.
    #[error("APIService {NAME} belongs to {0}, not to depthgauge: nothing was changed")]
    Foreign(String),
    /// See the text.
    #[error(
        "annotation {FORMER_SPEC} or {FORMER_ANNOTATIONS} of APIService {NAME} cannot be read: {0}; the APIService was not changed"
    )]
    BadMemory(serde_json::Error),
    /// kube-apiserver refused or failed; the text has the remedy.
    #[error("cannot change APIService {NAME}: {0}")]
    Cluster(String),
}

/// Deletes the APIService if it is depthgauge's, or gives it back. Without a Service any
/// depthgauge's is meant. Gives up when kube-apiserver takes too long. With `dry_run` kube-apiserver checks
/// the request and changes nothing.
pub async fn unregister(client: kube::Client, service: Option<&ServiceRef>, restore: bool, dry_run: bool) -> GivenUp {
    let api = Api::<APIService>::all(client);
    let found = match tokio::time::timeout(TIMEOUT, api.get_opt(NAME)).await {
        Ok(Ok(Some(found))) => found,
        Ok(Ok(None)) => return GivenUp { namespace: None, became: Ok(Unregistered::Absent) },
        Ok(Err(error)) => return GivenUp { namespace: None, became: Err(cluster(&error)) },
        Err(_) => return GivenUp { namespace: None, became: Err(UnregisterError::Cluster(LATE.to_owned())) },
    };
    let ours = match service {
        Some(service) => look(Some(&found), service) == Whose::Ours,
        None => is_labelled_ours(&found),
    };
    if !ours {
        return GivenUp { namespace: None, became: Err(UnregisterError::Foreign(owner(&found))) };
    }
    let place = found.spec.as_ref().and_then(|spec| spec.service.as_ref());
    let namespace = place.and_then(|place| place.namespace.clone());
    let done = tokio::time::timeout(TIMEOUT, give_up(&api, &found, restore, dry_run)).await;
    GivenUp { namespace, became: done.unwrap_or_else(|_| Err(UnregisterError::Cluster(LATE.to_owned()))) }
}

fn cluster(error: &kube::Error) -> UnregisterError {
    UnregisterError::Cluster(RIGHTS.trouble(error))
}

async fn give_up(
    api: &Api<APIService>,
    found: &APIService,
    restore: bool,
    dry_run: bool,
) -> Result<Unregistered, UnregisterError> {
    let former = match former_spec(found) {
        Some(former) if restore => former,
        _ => {
            delete(api, found, dry_run).await.map_err(|error| cluster(&error))?;
            return Ok(if restore { Unregistered::NothingToRestore } else { Unregistered::Deleted });
        }
    };
    let former = former.map_err(UnregisterError::BadMemory)?;
    let patch = restoring(found, &former).map_err(UnregisterError::BadMemory)?;
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run, ..PatchParams::default() };
    let restored = api.patch(NAME, &params, &Patch::Merge(&patch)).await.map_err(|error| cluster(&error))?;
    Ok(Unregistered::Restored(owner(&restored)))
}

/// Deletes this very object, as it was read. If another client was faster, that is as good.
pub(super) async fn delete(api: &Api<APIService>, found: &APIService, dry_run: bool) -> kube::Result<()> {
    let preconditions =
        Preconditions { uid: found.metadata.uid.clone(), resource_version: found.metadata.resource_version.clone() };
    let params = DeleteParams { preconditions: Some(preconditions), dry_run, ..DeleteParams::default() };
    match api.delete(NAME, &params).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        deleted => deleted.map(drop),
    }
}

/// A merge patch: what depthgauge added is removed, by null, if the former spec does not have it.
fn restoring(found: &APIService, former: &APIServiceSpec) -> serde_json::Result<Value> {
    let mut spec = json!({"caBundle": null, "insecureSkipTLSVerify": null, "service": null});
    if let (Value::Object(spec), Value::Object(former)) = (&mut spec, serde_json::to_value(former)?) {
        spec.extend(former);
    }
    let place = found.spec.as_ref().and_then(|spec| spec.service.as_ref());
    let install = place.and_then(|place| place.name.as_deref());
    let is_ours = |owner: &&OwnerReference| install.is_some_and(|install| is_our_role(owner, install));
    let mut annotations = serde_json::to_value(former_annotations(found)?)?;
    for memory in [FORMER_SPEC, FORMER_ANNOTATIONS] {
        annotations[memory] = Value::Null;
    }
    // A server whose --takeover is still set would take it over again at its next start.
    annotations[RESTORED] = "true".into();
    let owners = found.metadata.owner_references.iter().flatten();
    let others: Vec<_> = owners.filter(|owner| !is_ours(owner)).collect();
    // A take-over adds it only where there was none.
    let labels = if has_our_label(found) { json!({NAME_LABEL: null}) } else { json!({}) };
    Ok(json!({
        "metadata": {
            // As it was read, or not at all.
            "resourceVersion": found.metadata.resource_version,
            "labels": labels,
            "annotations": annotations,
            // A list is replaced whole: what others added to it stays.
            "ownerReferences": others,
        },
        "spec": spec,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_its_owners_only_ours_is_taken_away() {
        let owner = |kind: &str, name: &str| OwnerReference {
            kind: kind.into(),
            name: name.into(),
            ..OwnerReference::default()
        };
        let service = json!({"namespace": "dg", "name": "depthgauge"});
        let spec =
            json!({"group": "g", "groupPriorityMinimum": 1, "version": "v1", "versionPriority": 1, "service": service});
        let mut found = APIService { spec: Some(serde_json::from_value(spec).unwrap()), ..APIService::default() };
        let theirs = [owner("ClusterRole", "keda"), owner("Deployment", "depthgauge")];
        found.metadata.owner_references = Some([&theirs[..], &[owner("ClusterRole", "depthgauge")]].concat());
        let patch = restoring(&found, found.spec.as_ref().unwrap()).unwrap();
        assert_eq!(patch["metadata"]["ownerReferences"], json!(theirs));
    }

    #[test]
    fn what_we_added_goes_and_what_was_comes_back() {
        let mut found = APIService::default();
        found.metadata.resource_version = Some("7".into());
        let injected = r#"{"cert-manager.io/inject-ca-from":"keda/ca"}"#;
        found.metadata.annotations = Some([(FORMER_ANNOTATIONS.to_owned(), injected.to_owned())].into());
        let former = json!({
            "group": "external.metrics.k8s.io", "groupPriorityMinimum": 100, "insecureSkipTLSVerify": true,
            "service": {"namespace": "keda", "name": "keda-metrics", "port": 443}, "version": "v1beta1", "versionPriority": 100,
        });
        found.metadata.labels = Some([(NAME_LABEL.to_owned(), "depthgauge".to_owned())].into());
        assert!(is_labelled_ours(&found));
        let patch = restoring(&found, &serde_json::from_value(former.clone()).unwrap()).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({NAME_LABEL: null}));
        assert_eq!(patch["spec"]["caBundle"], Value::Null);
        assert_eq!(patch["spec"]["insecureSkipTLSVerify"], true);
        assert_eq!(patch["spec"]["service"], former["service"]);
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let annotations = json!({FORMER_SPEC: null, FORMER_ANNOTATIONS: null, RESTORED: "true", "cert-manager.io/inject-ca-from": "keda/ca"});
        assert_eq!(patch["metadata"]["annotations"], annotations);
        // As it was left by a program that did not take the label away.
        found.metadata.annotations = Some([(RESTORED.to_owned(), "true".to_owned())].into());
        assert!(!is_labelled_ours(&found));
        found.metadata.labels = Some([(NAME_LABEL.to_owned(), "keda".to_owned())].into());
        let patch = restoring(&found, &serde_json::from_value(former).unwrap()).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({}));
    }
}
