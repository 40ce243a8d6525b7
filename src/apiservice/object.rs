//! The APIService as an object: its desired content, the owner of the existing one, and the fields
//! that other clients write. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec, ServiceReference};
use serde_json::{Map, Value, json};

use super::{FIELD_MANAGER, NAME, ServiceRef};
use crate::certs::Ca;
use crate::document::{Node, Problems};

/// The text that is also `apiservice/apiservice.yaml` for kubectl.
const MANIFEST: &str = include_str!("../../apiservice/apiservice.yaml");
/// The kind of object that owns the APIService.
pub(super) const CLUSTER_ROLE: &str = "ClusterRole";
/// What the APIService was before a take-over: its spec, as JSON.
pub(super) const FORMER_SPEC: &str = "depthgauge.dev/former-spec";
/// And the annotations that were taken from it, as JSON.
pub(super) const FORMER_ANNOTATIONS: &str = "depthgauge.dev/former-annotations";
/// On one that `unregister --restore` has restored: `--takeover` leaves it alone.
pub(super) const RESTORED: &str = "depthgauge.dev/restored";
/// The label by which an APIService is known as depthgauge's.
pub(super) const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Makes cert-manager write another CA into it.
const INJECTED: &str = "cert-manager.io/inject-";

/// The embedded manifest does not parse: a bug.
#[derive(Debug, thiserror::Error)]
#[error("apiservice/apiservice.yaml: {0}")]
pub struct BadManifest(String);

/// Whose the APIService is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Whose {
    Absent,
    /// Points at depthgauge's Service.
    Ours,
    /// Points elsewhere; the owner, as text.
    Foreign(String),
}

/// The embedded manifest with this Service.
pub(super) fn manifest(service: &ServiceRef) -> Result<APIService, BadManifest> {
    let mut problems = Problems::default();
    let Some(node) = Node::parse(MANIFEST, &mut problems) else {
        return Err(BadManifest(problems.lines().collect()));
    };
    let mut object: APIService =
        serde_json::from_value(node.to_json()).map_err(|error| BadManifest(error.to_string()))?;
    if let Some(spec) = &mut object.spec {
        spec.service = Some(ServiceReference {
            namespace: Some(service.namespace.clone()),
            name: Some(service.name.clone()),
            port: Some(i32::from(service.port)),
        });
    }
    Ok(object)
}

/// What to apply over what was found: `None` where nothing may be published yet.
pub(super) fn wanted(
    manifest: &APIService,
    found: Option<&APIService>,
    ca: &Ca,
    owner: Option<&OwnerReference>,
) -> Option<APIService> {
    let mut object = manifest.clone();
    let found_spec = found.and_then(|found| found.spec.as_ref());
    if let Some(spec) = &mut object.spec {
        spec.ca_bundle = match ca {
            Ca::Bundle(pem) => Some(ByteString(pem.as_bytes().to_vec())),
            Ca::Nobody => return None,
            // Another controller owns caBundle. Until it sets it, the current value is sent back:
            // server-side apply removes a field that depthgauge owns and omits.
            Ca::Foreign if found.is_some_and(others_own_ca_bundle) => None,
            Ca::Foreign => found_spec.and_then(|spec| spec.ca_bundle.clone()),
        };
        // Another adapter has set it, and depthgauge takes it over: beside a caBundle it is not
        // allowed.
        if found_spec.is_some_and(|spec| spec.insecure_skip_tls_verify == Some(true)) {
            spec.insecure_skip_tls_verify = Some(false);
        }
    }
    // One that was taken over goes on being called what it was called.
    let theirs = found.and_then(|found| found.metadata.labels.as_ref());
    if let (Some(theirs), Some(labels)) = (theirs, &mut object.metadata.labels) {
        labels.retain(|key, value| theirs.get(key).is_none_or(|held| held == value));
    }
    object.metadata.owner_references = owner.map(|owner| vec![owner.clone()]);
    for memory in [FORMER_SPEC, FORMER_ANNOTATIONS] {
        if let Some(former) = found.and_then(|found| annotation(found, memory)) {
            annotate(&mut object, memory, former.to_owned());
        }
    }
    Some(object)
}

/// Records the spec of before, another adapter's, for `unregister --restore`. A record from before
/// that is replaced.
pub(super) fn remember(object: &mut APIService, found: &APIService) -> serde_json::Result<()> {
    annotate(object, FORMER_SPEC, serde_json::to_string(&found.spec)?);
    let injected: Annotations = injected(found).collect();
    if !injected.is_empty() {
        annotate(object, FORMER_ANNOTATIONS, serde_json::to_string(&injected)?);
    } else if let Some(annotations) = &mut object.metadata.annotations {
        annotations.remove(FORMER_ANNOTATIONS);
    }
    Ok(())
}

type Annotations = BTreeMap<String, String>;

fn injected(found: &APIService) -> impl Iterator<Item = (String, String)> {
    let annotations = found.metadata.annotations.iter().flatten();
    annotations.filter(|(key, _)| key.starts_with(INJECTED)).map(|(key, value)| (key.clone(), value.clone()))
}

/// A merge patch that removes the annotations which have another CA put into it: `None` if there
/// are none. Server-side apply removes nothing that another client owns.
pub(super) fn without_injection(found: &APIService) -> Option<Value> {
    let gone: Map<String, Value> = injected(found).map(|(key, _)| (key, Value::Null)).collect();
    // Whatever its version: the injector writes at the same moment.
    (!gone.is_empty()).then(|| json!({"metadata": {"annotations": gone}}))
}

/// What it was before a take-over, if an annotation has it.
pub(super) fn former_spec(found: &APIService) -> Option<serde_json::Result<APIServiceSpec>> {
    annotation(found, FORMER_SPEC).map(serde_json::from_str)
}

/// The annotations that a take-over took from it.
pub(super) fn former_annotations(found: &APIService) -> serde_json::Result<Annotations> {
    annotation(found, FORMER_ANNOTATIONS).map_or_else(|| Ok(Annotations::new()), serde_json::from_str)
}

/// The error message if `unregister --restore` restored its previous owner, so that a `--takeover` that
/// is still set has no effect.
pub fn restored(found: &APIService) -> Option<String> {
    annotation(found, RESTORED)?;
    Some(format!(
        "`depthgauge unregister --restore` restored APIService {NAME} to {}, and --takeover does not undo that: remove the flag, or, to take it over again, run kubectl annotate apiservice {NAME} {RESTORED}- and restart depthgauge",
        owner(found)
    ))
}

/// The client that wrote it last, if that was not depthgauge.
pub(super) fn intruder(found: &APIService) -> Option<&str> {
    let entries = found.metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let is_other = |entry: &&ManagedFieldsEntry| entry.manager.as_deref() != Some(FIELD_MANAGER);
    // To the second: of two in the same, it was not us.
    let last = entries.max_by_key(|entry| (entry.time.as_ref().map(|time| time.0), is_other(entry)));
    last.filter(is_other).and_then(|entry| entry.manager.as_deref())
}

/// Whether what was found is as wanted, as far as depthgauge owns it.
pub(super) fn in_step(found: &APIService, wanted: &APIService) -> bool {
    let comparable = |object: &APIService| {
        let mut spec = object.spec.clone().unwrap_or_default();
        // False and absent are the same.
        spec.insecure_skip_tls_verify = spec.insecure_skip_tls_verify.filter(|skip| *skip);
        spec
    };
    let (mut found_spec, wanted_spec) = (comparable(found), comparable(wanted));
    if wanted_spec.ca_bundle.is_none() {
        found_spec.ca_bundle = None;
    }
    let owned =
        |owner: &OwnerReference| found.metadata.owner_references.iter().flatten().any(|held| held.uid == owner.uid);
    found_spec == wanted_spec && wanted.metadata.owner_references.iter().flatten().all(owned)
}

/// Whether this owner is the ClusterRole of the install around this Service, whichever its UID is.
pub(super) fn is_our_role(owner: &OwnerReference, install: &str) -> bool {
    owner.kind == CLUSTER_ROLE && owner.name == install
}

/// The UID of the ClusterRole that owns it, if that is the install's.
pub(super) fn owned_by(found: &APIService, service: &ServiceRef) -> Option<String> {
    let mut owners = found.metadata.owner_references.iter().flatten();
    owners.rfind(|owner| is_our_role(owner, &service.name)).map(|owner| owner.uid.clone())
}

/// Whose it is.
pub(super) fn look(found: Option<&APIService>, service: &ServiceRef) -> Whose {
    match found {
        None => Whose::Absent,
        Some(found) if leads_to(found, service) => Whose::Ours,
        Some(found) => Whose::Foreign(owner(found)),
    }
}

/// Whether it leads to this Service, on whatever port.
pub fn leads_to(found: &APIService, service: &ServiceRef) -> bool {
    let place = found.spec.as_ref().and_then(|spec| spec.service.as_ref());
    let named = place.map(|place| (place.namespace.as_deref(), place.name.as_deref()));
    named == Some((Some(&service.namespace), Some(&service.name)))
}

/// Whether it has the marks of depthgauge: its label, or the record of a take-over. One that was restored to another
/// adapter is not depthgauge's.
pub fn is_labelled_ours(found: &APIService) -> bool {
    let has_mark = has_our_label(found) || annotation(found, FORMER_SPEC).is_some();
    has_mark && annotation(found, RESTORED).is_none()
}

pub(super) fn has_our_label(found: &APIService) -> bool {
    let label = found.metadata.labels.as_ref().and_then(|labels| labels.get(NAME_LABEL));
    label.is_some_and(|label| label == "depthgauge")
}

/// Its owner, as text.
pub fn owner(found: &APIService) -> String {
    let by = last_manager(found).map(|manager| format!(" (applied by {manager})")).unwrap_or_default();
    match found.spec.as_ref().and_then(|spec| spec.service.as_ref()) {
        Some(ServiceReference { namespace, name, .. }) => {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            format!("Service {}/{}{by}", part(namespace), part(name))
        }
        None => format!("kube-apiserver itself{by}"),
    }
}

/// The client that wrote it last, as far as field managers show; kube-apiserver itself only sets
/// the status.
fn last_manager(found: &APIService) -> Option<&str> {
    let managers = found.metadata.managed_fields.iter().flatten();
    let mut managers =
        managers.filter(|entry| entry.subresource.is_none()).filter_map(|entry| entry.manager.as_deref());
    // One that depthgauge has restored is not its own.
    managers.rfind(|manager| *manager != FIELD_MANAGER)
}

/// Whether another client has written the CA, so that it stays when depthgauge leaves it out.
fn others_own_ca_bundle(found: &APIService) -> bool {
    found.metadata.managed_fields.iter().flatten().any(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0["f:spec"]["f:caBundle"]);
        entry.manager.as_deref() != Some(FIELD_MANAGER) && fields.is_some_and(|field| !field.is_null())
    })
}

fn annotation<'o>(object: &'o APIService, key: &str) -> Option<&'o str> {
    object.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn annotate(object: &mut APIService, key: &str, value: String) {
    object.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
    use serde_json::json;

    use super::*;

    fn service(text: &str) -> ServiceRef {
        text.parse().unwrap()
    }

    fn object(text: &str, ca: &str) -> APIService {
        wanted(&manifest(&service(text)).unwrap(), None, &Ca::Bundle(ca.to_owned()), None).unwrap()
    }

    fn ca_of(object: &APIService) -> Option<&[u8]> {
        object.spec.as_ref().unwrap().ca_bundle.as_ref().map(|bytes| bytes.0.as_slice())
    }

    #[test]
    fn whose_it_is() {
        let us = service("a/b:443");
        assert_eq!(look(None, &us), Whose::Absent);
        for ours in [object("a/b:443", "ca"), object("a/b:444", "old ca")] {
            assert_eq!(look(Some(&ours), &us), Whose::Ours);
        }
        let foreign = object("keda/keda-metrics:443", "");
        assert_eq!(look(Some(&foreign), &us), Whose::Foreign("Service keda/keda-metrics".into()));
        let mut local = object("a/b:443", "ca");
        local.spec.as_mut().unwrap().service = None;
        assert_eq!(look(Some(&local), &us), Whose::Foreign("kube-apiserver itself".into()));
    }

    #[test]
    fn what_is_out_of_step() {
        let ours = object("a/b:443", "ca");
        assert!(in_step(&ours, &ours));
        for drifted in [object("a/b:444", "ca"), object("a/b:443", "old ca")] {
            assert!(!in_step(&drifted, &ours));
        }
        let owner = OwnerReference { uid: "1".into(), ..OwnerReference::default() };
        let owned = wanted(&ours, None, &Ca::Bundle("ca".into()), Some(&owner)).unwrap();
        assert!(!in_step(&ours, &owned) && in_step(&owned, &owned) && in_step(&owned, &ours));
    }

    #[test]
    fn a_ca_is_never_taken_away_before_somebody_else_has_put_theirs() {
        let manifest = manifest(&service("a/b:443")).unwrap();
        let mut found = object("a/b:443", "ca");
        let managed = |manager: &str, fields| ManagedFieldsEntry {
            manager: Some(manager.into()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        };
        let of_ca = json!({"f:spec": {"f:caBundle": {}}});
        found.metadata.managed_fields = Some(vec![
            managed(FIELD_MANAGER, of_ca.clone()),
            managed("kubectl", json!({"f:metadata": {"f:labels": {}}})),
        ]);
        let held = wanted(&manifest, Some(&found), &Ca::Foreign, None).unwrap();
        assert_eq!(ca_of(&held), Some(b"ca".as_slice()), "ours alone: held");
        assert!(in_step(&found, &held));

        found.metadata.managed_fields.as_mut().unwrap().push(managed("cert-manager-cainjector", of_ca));
        let left = wanted(&manifest, Some(&found), &Ca::Foreign, None).unwrap();
        assert_eq!(ca_of(&left), None, "theirs, too: left to them");
        assert!(in_step(&found, &left), "whatever it is");

        assert_eq!(wanted(&manifest, Some(&found), &Ca::Nobody, None), None);
    }

    #[test]
    fn a_take_over_remembers_the_spec_of_before_and_only_that() {
        let mut before = object("keda/keda-metrics:443", "");
        before.spec.as_mut().unwrap().ca_bundle = None;
        before.spec.as_mut().unwrap().insecure_skip_tls_verify = Some(true);
        before.metadata.labels.as_mut().unwrap().insert("app.kubernetes.io/name".into(), "keda".into());
        let manifest = manifest(&service("a/b:443")).unwrap();
        let mut taken = wanted(&manifest, Some(&before), &Ca::Bundle("ca".into()), None).unwrap();
        remember(&mut taken, &before).unwrap();
        assert_eq!(taken.spec.as_ref().unwrap().insecure_skip_tls_verify, Some(false));
        assert_eq!(former_spec(&taken).unwrap().unwrap(), before.spec.clone().unwrap());
        assert_eq!(taken.metadata.labels.as_ref().unwrap().len(), 0, "its labels are left");

        let again = wanted(&manifest, Some(&taken), &Ca::Bundle("next".into()), None).unwrap();
        assert_eq!(former_spec(&again).unwrap().unwrap(), before.spec.clone().unwrap(), "every apply carries it on");
        // Another adapter had it meanwhile: its spec is the one that is restored.
        let mut between = again;
        between.spec = object("prometheus/adapter:443", "theirs").spec;
        between.metadata.annotations.get_or_insert_default().insert(format!("{INJECTED}ca-from"), "a/b".into());
        let mut twice = wanted(&manifest, Some(&between), &Ca::Bundle("ca".into()), None).unwrap();
        remember(&mut twice, &between).unwrap();
        assert_eq!(former_spec(&twice).unwrap().unwrap(), between.spec.clone().unwrap());
        assert_eq!(former_annotations(&twice).unwrap()["cert-manager.io/inject-ca-from"], "a/b");
        let patch = without_injection(&between).unwrap();
        assert_eq!(patch["metadata"]["annotations"], json!({"cert-manager.io/inject-ca-from": null}));
        assert_eq!(without_injection(&twice), None);
        assert!(former_spec(&before).is_none());
    }

    #[test]
    fn the_manifest_names_no_ca() {
        let manifest: APIService = serde_saphyr::from_str(MANIFEST).unwrap();
        let spec = manifest.spec.unwrap();
        assert_eq!((spec.ca_bundle, spec.insecure_skip_tls_verify), (None, None));
        assert_eq!(manifest.metadata.name.as_deref(), Some(NAME));
    }
}
