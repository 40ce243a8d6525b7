//! Whether the ServiceAccount may do what `serve` does. The rights are those that the modules name
//! which use them, so that none is left out here; a test compares them with `apiservice/rbac.yaml`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use futures_util::future;
use serde_json::{Value, json};

use crate::apiservice::{self, ServiceRef};
use crate::auth::{DELEGATOR, IDENTITY_CONFIG_MAP, READER};
use crate::certs::SecretRef;
use crate::cli::finding::Finding;
use crate::cli::kube_api::{KubeApi, RequestError};
use crate::endpoints::{self, ServiceName};
use crate::rbac::{Binding, Grant};
use crate::zero;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// A ServiceAccount: `NAMESPACE/NAME`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ServiceAccount {
    namespace: String,
    name: String,
}

/// What is needed, and how it is granted.
struct Need<'a> {
    rights: Vec<Right<'a>>,
    remedy: Remedy<'a>,
    /// When it is needed, if not always.
    only: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Right<'a> {
    group: &'a str,
    resource: &'a str,
    /// Empty where objects have no names: reviews.
    name: &'a str,
    namespace: Option<&'a str>,
    verb: &'a str,
}

enum Remedy<'a> {
    Grant(Grant<'a>),
    Bind(Binding<'a>),
    /// Component scale-to-zero.
    Component,
    /// Component scrape, or this in one namespace.
    Pods(Grant<'a>),
}

// === impl ServiceAccount ===

impl ServiceAccount {
    /// The one that depthgauge's manifests create for this Service.
    pub(super) fn of(service: &ServiceRef) -> Self {
        Self { namespace: service.namespace.clone(), name: service.name.clone() }
    }

    fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    fn groups(&self) -> [String; 3] {
        let all = "system:serviceaccounts".to_owned();
        let of_namespace = format!("{all}:{}", self.namespace);
        [all, of_namespace, "system:authenticated".to_owned()]
    }
}

impl FromStr for ServiceAccount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("{text:?} is not of the form NAMESPACE/NAME, such as depthgauge/depthgauge")),
        }
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// By what HPAs depthgauge is wanted to scale to zero, each with the rights of those before it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Scales {
    /// By none.
    #[default]
    Nothing,
    /// By some.
    Queues,
    /// By some that have an Object metric beside one of depthgauge.
    Objects,
}

/// What is wanted of depthgauge beside its usual work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'w> {
    /// By what HPAs it is to scale to zero.
    pub(super) scales: Scales,
    /// The Services whose pods it is to read.
    pub(super) services: &'w [ServiceName],
}

/// A line for each thing that it may not do; one if it may do everything, or is not there. What is `wanted` of it
/// decides what that is. Who answers from `beside` the cluster needs none.
pub(super) async fn check(
    kube_api: &KubeApi,
    account: &ServiceAccount,
    service: &ServiceRef,
    secret: &SecretRef,
    Wanted { scales, services }: Wanted<'_>,
    beside: bool,
) -> Vec<Finding> {
    let ServiceAccount { namespace, name } = account;
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
    // A user who may not read it gets its rights nevertheless.
    if let Err(RequestError::NotFound(_)) = kube_api.get(&path).await {
        return vec![no_account(account, beside)];
    }
    let mut needs = needs(service, secret);
    let [scale, objects] = needs_to_scale(&service.namespace);
    needs.extend((scales >= Scales::Queues).then_some(scale));
    needs.extend((scales >= Scales::Objects).then_some(objects));
    needs.extend(needs_to_find_pods(services));
    let mut missing = Vec::new();
    for need in &needs {
        let asked = need.rights.iter().map(|right| is_allowed(kube_api, account, right));
        let answers: Result<Vec<bool>, RequestError> = future::try_join_all(asked).await;
        match answers {
            Ok(answers) => missing.extend(judge(account, need, &answers)),
            Err(trouble) => {
                let what = format!("the rights of ServiceAccount {account}");
                missing.push(trouble.finding(&what, || Finding::fail(format!("{REVIEWS} does not exist"))));
                return missing;
            }
        }
    }
    if missing.is_empty() {
        missing.push(Finding::ok(format!("ServiceAccount {account} has all rights that serve needs")));
    }
    missing
}

fn no_account(account: &ServiceAccount, beside: bool) -> Finding {
    let absent = format!("ServiceAccount {account} does not exist");
    let name = "name the one that serve runs as with --service-account NAMESPACE/NAME";
    match beside {
        true => Finding::warn(format!(
            "{absent}, and no pod is behind the Service, so rights are not checked. Outside the cluster: the log of serve has the rights that its user lacks. In the cluster: install depthgauge, or {name}"
        )),
        false => Finding::fail(format!("{absent}: install depthgauge, or {name}")),
    }
}

fn needs<'a>(service: &'a ServiceRef, secret: &'a SecretRef) -> Vec<Need<'a>> {
    let always = [apiservice::RIGHTS].into_iter().chain(apiservice::rights(service));
    let mut needs: Vec<Need<'a>> = always.map(|grant| Need::grant(grant, None)).collect();
    needs.push(Need::grant(secret.rights(), Some("without --tls-cert-file and --cert-dir")));
    let reviews = [("authentication.k8s.io", "tokenreviews"), ("authorization.k8s.io", "subjectaccessreviews")];
    let reviews = reviews.map(|(group, resource)| Right { group, resource, name: "", namespace: None, verb: "create" });
    needs.push(Need { rights: reviews.to_vec(), remedy: Remedy::Bind(DELEGATOR), only: None });
    let (namespace, name) = IDENTITY_CONFIG_MAP;
    let identity = ["get", "list", "watch"].map(|verb| Right {
        group: "",
        resource: "configmaps",
        name,
        namespace: Some(namespace),
        verb,
    });
    needs.push(Need { rights: identity.to_vec(), remedy: Remedy::Bind(READER), only: None });
    needs
}

/// One need each, because there is one remedy.
fn needs_to_scale(namespace: &str) -> [Need<'_>; 2] {
    let rights = zero::rights(namespace).into_iter().flat_map(Right::of).collect();
    let objects = Right::of(zero::OBJECT_RIGHTS).collect();
    let need = |rights, only| Need { rights, remedy: Remedy::Component, only: Some(only) };
    [
        need(rights, "with --scale-to-zero"),
        need(objects, "with --scale-to-zero for HPAs that have an Object metric beside one of depthgauge"),
    ]
}

/// One need for each namespace, because each may have a Role of its own.
fn needs_to_find_pods(services: &[ServiceName]) -> impl Iterator<Item = Need<'_>> {
    let by_namespace: BTreeMap<&str, &ServiceName> =
        services.iter().map(|service| (service.namespace.as_str(), service)).collect();
    by_namespace.into_values().map(|service| Need {
        rights: Right::of(endpoints::rights(service)).collect(),
        remedy: Remedy::Pods(endpoints::rights(service)),
        only: Some("to read the pods of Services there"),
    })
}

// === impl Need ===

impl<'a> Need<'a> {
    fn grant(grant: Grant<'a>, only: Option<&'static str>) -> Self {
        let rights = Right::of(grant).collect();
        Self { rights, remedy: Remedy::Grant(grant), only }
    }
}

fn judge(account: &ServiceAccount, need: &Need<'_>, allowed: &[bool]) -> Option<Finding> {
    let missing: Vec<&Right<'_>> =
        need.rights.iter().zip(allowed).filter(|(_, allowed)| !**allowed).map(|(right, _)| right).collect();
    if missing.is_empty() {
        return None;
    }
    let given = |yaml: String| format!("to grant it, give this to kubectl apply -f -: {yaml}");
    let remedy = match &need.remedy {
        Remedy::Grant(grant) => given(grant.yaml(&account.user())),
        Remedy::Bind(binding) => given(binding.yaml(&account.user())),
        Remedy::Component => {
            "component scale-to-zero of depthgauge's manifests grants it, or scaleToZero.enabled of its chart"
                .to_owned()
        }
        Remedy::Pods(grant) => format!(
            "component scrape of depthgauge's manifests grants it, or scrape.enabled of its chart; {}",
            given(grant.yaml(&account.user()))
        ),
    };
    let text = |only: &str| format!("ServiceAccount {account} may not {}{only}; {remedy}", said(&missing));
    Some(match need.only {
        None => Finding::fail(text("")),
        Some(when) => Finding::warn(text(&format!(", which serve needs {when}"))),
    })
}

/// `get, patch secrets certs in dg`: what is missing on one object is one phrase.
fn said(missing: &[&Right<'_>]) -> String {
    let phrases = missing.chunk_by(|a, b| a.object() == b.object()).map(|rights| {
        let verbs: Vec<&str> = rights.iter().map(|right| right.verb).collect();
        let object = rights.first().map(|right| right.object()).unwrap_or_default();
        format!("{} {object}", verbs.join(", "))
    });
    phrases.collect::<Vec<_>>().join(" and ")
}

async fn is_allowed(kube_api: &KubeApi, account: &ServiceAccount, right: &Right<'_>) -> Result<bool, RequestError> {
    let Right { group, resource, name, namespace, verb } = right;
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": account.user(),
            "groups": account.groups(),
            "resourceAttributes":
                {"group": group, "resource": resource, "subresource": subresource, "name": name, "namespace": namespace.unwrap_or_default(), "verb": verb},
        },
    });
    let answer = kube_api.create(REVIEWS, &review).await?;
    Ok(answer["status"]["allowed"] == Value::Bool(true))
}

// === impl Right ===

impl<'a> Right<'a> {
    fn of(grant: Grant<'a>) -> impl Iterator<Item = Self> {
        let Grant { group, resource, name, namespace, verbs } = grant;
        verbs.iter().map(move |verb| Self { group, resource, name, namespace, verb })
    }

    fn object(&self) -> String {
        let Self { resource, name, namespace, .. } = self;
        let named = match (*resource, name.is_empty()) {
            ("*", _) => format!("all metrics of {}", self.group),
            (resource, true) => resource.to_owned(),
            (resource, false) => format!("{resource} {name}"),
        };
        match namespace {
            Some(namespace) => format!("{named} in {namespace}"),
            None => named,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::finding::Level;

    fn names() -> (ServiceRef, SecretRef) {
        ("depthgauge/depthgauge:443".parse().unwrap(), "depthgauge/depthgauge-certs".parse().unwrap())
    }

    fn documents(text: &str) -> Vec<Value> {
        text.split("\n---\n").map(|text| serde_saphyr::from_str(text).unwrap()).collect()
    }

    /// Group, resource, name, namespace and verb of each right that these grant.
    fn granted(documents: &[Value]) -> BTreeSet<[String; 5]> {
        let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap_or_default() };
        let mut granted = BTreeSet::new();
        for document in documents {
            let namespace = document["metadata"]["namespace"].as_str().unwrap_or_default();
            for rule in document["rules"].as_array().into_iter().flatten() {
                let one = |key: &str| texts(&rule[key]).concat();
                for (verb, resource) in texts(&rule["verbs"]).iter().flat_map(|verb| {
                    texts(&rule["resources"]).into_iter().map(move |resource| (verb.clone(), resource))
                }) {
                    granted.insert([one("apiGroups"), resource, one("resourceNames"), namespace.into(), verb]);
                }
            }
        }
        granted
    }

    fn needed(rights: &[Right<'_>]) -> BTreeSet<[String; 5]> {
        let texts = |right: &Right<'_>| {
            let Right { group, resource, name, namespace, verb } = right;
            [group, resource, name, namespace.as_ref().unwrap_or(&""), verb].map(|text| (*text).to_owned())
        };
        rights.iter().map(texts).collect()
    }

    #[test]
    fn what_scaling_takes_is_what_its_component_grants() {
        let component = documents(include_str!("../../../manifests/components/scale-to-zero/rbac.yaml"));
        let [need, objects] = needs_to_scale("depthgauge");
        let all = needed(&need.rights).into_iter().chain(needed(&objects.rights));
        assert_eq!(all.collect::<BTreeSet<_>>(), granted(&component));
        let account: ServiceAccount = "dg/reader".parse().unwrap();
        let mut allowed = vec![true; need.rights.len()];
        allowed[2] = false;
        let found = judge(&account, &need, &allowed).unwrap();
        let text = "ServiceAccount dg/reader may not patch horizontalpodautoscalers, which serve needs with --scale-to-zero; component scale-to-zero of ";
        assert!(found.level == Level::Warn && found.text.starts_with(text), "{}", found.text);
        let found = judge(&account, &objects, &[false]).unwrap();
        let text = "ServiceAccount dg/reader may not get all metrics of custom.metrics.k8s.io, which serve needs with --scale-to-zero for HPAs that have an Object metric";
        assert!(found.level == Level::Warn && found.text.starts_with(text), "{}", found.text);
    }

    #[test]
    fn what_finding_pods_takes_is_what_its_component_grants() {
        let component = documents(include_str!("../../../manifests/components/scrape/rbac.yaml"));
        let services: Vec<ServiceName> =
            ["shop/web", "shop/api", "bills/web"].map(|service| service.parse().unwrap()).to_vec();
        let needs: Vec<Need<'_>> = needs_to_find_pods(&services).collect();
        // Everywhere, and not in one namespace only.
        let all: BTreeSet<_> = needs.iter().flat_map(|need| needed(&need.rights)).collect();
        let everywhere = |[group, resource, name, _, verb]: [String; 5]| [group, resource, name, String::new(), verb];
        assert_eq!(all.into_iter().map(everywhere).collect::<BTreeSet<_>>(), granted(&component));
        let account: ServiceAccount = "dg/reader".parse().unwrap();
        let found: Vec<Finding> = needs.iter().filter_map(|need| judge(&account, need, &[true, false])).collect();
        let text = "ServiceAccount dg/reader may not watch endpointslices in bills, which serve needs to read the pods of Services there; component scrape of ";
        assert!(found.len() == 2 && found[0].level == Level::Warn && found[0].text.starts_with(text), "{found:?}");
        assert!(found[1].text.contains("namespace: shop}"), "{}", found[1].text);
    }

    #[test]
    fn what_is_checked_is_what_rbac_yaml_grants() {
        let documents = documents(include_str!("../../../apiservice/rbac.yaml"));
        let mut bound = BTreeSet::new();
        for document in &documents {
            let namespace = document["metadata"]["namespace"].as_str().unwrap_or_default();
            if let Some(role) = document["roleRef"]["name"].as_str().filter(|role| *role != "depthgauge") {
                bound.insert((role.to_owned(), namespace.to_owned()));
            }
        }
        let (service, secret) = names();
        let (mut all, mut needed_roles) = (BTreeSet::new(), BTreeSet::new());
        for Need { rights, remedy, .. } in needs(&service, &secret) {
            match remedy {
                Remedy::Bind(Binding { role, namespace }) => {
                    needed_roles.insert((role.to_owned(), namespace.unwrap_or_default().to_owned()));
                }
                Remedy::Grant(_) | Remedy::Component | Remedy::Pods(_) => all.extend(needed(&rights)),
            }
        }
        assert_eq!((all, needed_roles), (granted(&documents), bound));
    }

    #[test]
    fn a_missing_right_is_said_with_the_yaml_that_grants_it() {
        let (service, secret) = names();
        let account: ServiceAccount = "dg/reader".parse().unwrap();
        let needs = needs(&service, &secret);
        let apiservice = &needs[0];
        assert_eq!(judge(&account, apiservice, &[true; 4]), None);
        let found = judge(&account, apiservice, &[true, true, false, true]).unwrap();
        assert_eq!(found.level, Level::Fail);
        let said = "ServiceAccount dg/reader may not patch apiservices v1beta1.external.metrics.k8s.io; to grant it";
        assert!(found.text.starts_with(said), "{}", found.text);
        assert!(found.text.contains("{kind: ServiceAccount, name: reader, namespace: dg}"), "{}", found.text);
        let secret = needs.iter().find(|need| need.only.is_some()).unwrap();
        let found = judge(&account, secret, &[false; 3]).unwrap();
        assert_eq!(found.level, Level::Warn, "own files need none");
        assert!(found.text.contains(" may not get, create, patch secrets depthgauge-certs in depthgauge, which"));
        let reviews = needs.iter().find(|need| matches!(need.remedy, Remedy::Bind(DELEGATOR))).unwrap();
        let found = judge(&account, reviews, &[false; 2]).unwrap();
        assert!(found.text.contains(" may not create tokenreviews and create subjectaccessreviews;"), "{}", found.text);
    }

    #[test]
    fn beside_a_cluster_no_service_account_is_missed() {
        let account: ServiceAccount = "a/b".parse().unwrap();
        for (beside, level) in [(false, Level::Fail), (true, Level::Warn)] {
            let found = no_account(&account, beside);
            assert_eq!(found.level, level);
            assert!(found.text.contains("a/b does not exist") && found.text.contains("install depthgauge, or"));
        }
    }

    #[test]
    fn service_accounts() {
        let parsed: ServiceAccount = "a/b".parse().unwrap();
        assert_eq!((parsed.to_string(), parsed.user()), ("a/b".into(), "system:serviceaccount:a:b".into()));
        assert_eq!(parsed.groups()[1], "system:serviceaccounts:a");
        for bad in ["", "a", "a/", "/b", "a/b/c"] {
            assert!(bad.parse::<ServiceAccount>().is_err(), "{bad}");
        }
    }
}
