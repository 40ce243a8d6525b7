//! `check --pre`: whether depthgauge can be installed. It creates nothing: access reviews say whether the
//! user may create the objects of the manifests.

use std::io::Write;

use futures_util::{StreamExt as _, stream};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use serde_json::{Value, json};

use super::report::Report;
use super::{cluster, identity, registration};
use crate::apiservice::{NAME, is_labelled_ours, owner};
use crate::cli::clock;
use crate::cli::finding::Finding;
use crate::cli::kube_api::{Hello, KubeApi, RequestError};

/// Where the manifests install depthgauge.
const NAMESPACE: &str = "depthgauge";
/// What the manifests consist of: API group, resource, and namespace.
const OBJECTS: [(&str, &str, &str); 13] = [
    ("", "namespaces", ""),
    ("", "serviceaccounts", NAMESPACE),
    ("", "configmaps", NAMESPACE),
    ("", "services", NAMESPACE),
    ("apps", "deployments", NAMESPACE),
    ("networking.k8s.io", "networkpolicies", NAMESPACE),
    ("policy", "poddisruptionbudgets", NAMESPACE),
    ("scheduling.k8s.io", "priorityclasses", ""),
    ("rbac.authorization.k8s.io", "clusterroles", ""),
    ("rbac.authorization.k8s.io", "clusterrolebindings", ""),
    ("rbac.authorization.k8s.io", "roles", NAMESPACE),
    ("rbac.authorization.k8s.io", "rolebindings", NAMESPACE),
    ("rbac.authorization.k8s.io", "rolebindings", "kube-system"),
];
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
/// Reviews at the same time.
const AT_ONCE: usize = 8;

/// All of it, behind a kube-apiserver that responds.
pub(super) async fn check(kube_api: &KubeApi, server: &str, hello: &Hello, report: &mut Report<impl Write>) {
    report.add("kubernetes", &cluster::version(server, hello.version.as_ref()));
    report.add("kubernetes", &cluster::clock(hello.date, clock()));
    report.add("kubernetes", &autoscaling(kube_api.get("/apis/autoscaling/v2").await));
    report.add("aggregation", &identity::check(kube_api, clock).await);
    report.add("external-metrics-api", &registered(registration::read(kube_api, NAME).await));
    let reviews = OBJECTS.map(|object| async move { right(object, review(kube_api, object).await) });
    let mut reviews = stream::iter(reviews).buffered(AT_ONCE);
    while let Some(finding) = reviews.next().await {
        report.add("rights", &finding);
    }
}

fn autoscaling(served: Result<Value, RequestError>) -> Finding {
    match served {
        Ok(_) => Finding::ok("autoscaling/v2 is served"),
        Err(trouble) => trouble.finding("autoscaling/v2", || {
            Finding::fail("this cluster has no autoscaling/v2: depthgauge needs Kubernetes 1.23 or later")
        }),
    }
}

/// Whose the external metrics API is.
fn registered(found: Result<APIService, RequestError>) -> Finding {
    match found {
        Ok(found) if is_labelled_ours(&found) => Finding::ok(format!("APIService {NAME} is depthgauge's already")),
        Ok(found) => Finding::warn(format!(
            "APIService {NAME} belongs to {}: depthgauge does not change it unless it runs with --takeover, see docs/how-to/migrate-from-keda.md",
            owner(&found)
        )),
        Err(trouble) => trouble.finding(&format!("APIService {NAME}"), || {
            Finding::ok(format!("there is no APIService {NAME}: depthgauge can register itself"))
        }),
    }
}

async fn review(kube_api: &KubeApi, (group, resource, namespace): (&str, &str, &str)) -> Result<Value, RequestError> {
    let attributes = json!({"verb": "create", "group": group, "resource": resource, "namespace": namespace});
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    });
    kube_api.create(REVIEWS, &review).await
}

fn right((group, resource, namespace): (&str, &str, &str), answer: Result<Value, RequestError>) -> Finding {
    let of = if group.is_empty() { String::new() } else { format!(".{group}") };
    let place = if namespace.is_empty() { String::new() } else { format!(" in namespace {namespace}") };
    let what = format!("{resource}{of}{place}");
    match answer {
        Ok(review) if review["status"]["allowed"] == true => Finding::ok(format!("you may create {what}")),
        Ok(_) => Finding::fail(format!(
            "you may not create {what}: install with a user that may, or have an administrator apply the manifests"
        )),
        Err(trouble) => Finding::warn(format!("whether you may create {what} is unknown: {}", trouble.message())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::finding::Level;

    #[test]
    fn each_kind_of_the_manifests_is_one_that_the_user_must_be_allowed_to_create() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
        let mut kinds = BTreeSet::new();
        for folder in ["manifests/base", "apiservice"] {
            for file in std::fs::read_dir(format!("{root}{folder}")).unwrap() {
                let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
                kinds.extend(text.lines().filter_map(|line| line.strip_prefix("kind: ")).map(str::to_owned));
            }
        }
        // What kustomize reads, what depthgauge creates, and what the user creates from config.yaml.
        for other in ["Kustomization", "Component", "APIService", "Config"] {
            kinds.remove(other);
        }
        kinds.insert("ConfigMap".to_owned());
        let plural = |kind: &String| match kind.to_lowercase() {
            kind if kind.ends_with('y') => format!("{}ies", kind.trim_end_matches('y')),
            kind if kind.ends_with('s') => format!("{kind}es"),
            kind => format!("{kind}s"),
        };
        let checked: BTreeSet<String> = OBJECTS.iter().map(|(_, resource, _)| (*resource).to_owned()).collect();
        assert_eq!(kinds.iter().map(plural).collect::<BTreeSet<_>>(), checked);
    }

    #[test]
    fn a_missing_right_is_a_failure_and_another_owner_a_warning() {
        let object = ("apps", "deployments", "depthgauge");
        let allowed = |allowed: bool| right(object, Ok(json!({"status": {"allowed": allowed}})));
        assert_eq!(allowed(true), Finding::ok("you may create deployments.apps in namespace depthgauge"));
        assert_eq!(allowed(false).level, Level::Fail);
        assert_eq!(right(object, Err(RequestError::Other("x".to_owned()))).level, Level::Warn);
        assert_eq!(registered(Err(RequestError::NotFound(String::new()))).level, Level::Ok);
        let theirs = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": NAME},
            "spec": {"service": {"namespace": "keda", "name": "keda-operator-metrics-apiserver"}, "groupPriorityMinimum": 1, "versionPriority": 1}});
        let found = registered(Ok(serde_json::from_value(theirs).unwrap()));
        assert!(found.level == Level::Warn && found.text.contains("keda/keda-operator-metrics-apiserver"), "{found:?}");
    }
}
