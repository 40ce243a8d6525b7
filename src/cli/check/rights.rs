//! Whether the ServiceAccount may do what `serve` does. The rights are those that the modules
//! name which use them, so that none is forgotten here; a test holds them together with
//! `apiservice/rbac.yaml`.

use std::fmt;
use std::str::FromStr;

use futures_util::future;
use serde_json::{Value, json};

use crate::apiservice::{self, ServiceRef};
use crate::auth::{DELEGATOR, IDENTITY_CONFIG_MAP, READER};
use crate::certs::SecretRef;
use crate::cli::finding::Finding;
use crate::cli::wire::{Trouble, Wire};
use crate::rbac::{Binding, Grant};

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
}

// === impl ServiceAccount ===

impl ServiceAccount {
    /// The one that our manifests make for this Service.
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

/// A line for each thing that it may not do; one if it may do everything, or is not there.
pub(super) async fn check(
    wire: &Wire,
    account: &ServiceAccount,
    service: &ServiceRef,
    secret: &SecretRef,
) -> Vec<Finding> {
    let ServiceAccount { namespace, name } = account;
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
    // Whoever may not see it is told of its rights nevertheless.
    if let Err(Trouble::Absent(_)) = wire.get(&path).await {
        return vec![Finding::fail(format!(
            "ServiceAccount {account} does not exist: install depthgauge, or name the one that serve runs as with --service-account NAMESPACE/NAME"
        ))];
    }
    let needs = needs(service, secret);
    let mut missing = Vec::new();
    for need in &needs {
        let asked = need.rights.iter().map(|right| is_allowed(wire, account, right));
        let answers: Result<Vec<bool>, Trouble> = future::try_join_all(asked).await;
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
        missing.push(Finding::ok(format!("ServiceAccount {account} may do all that serve does")));
    }
    missing
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

// === impl Need ===

impl<'a> Need<'a> {
    fn grant(grant: Grant<'a>, only: Option<&'static str>) -> Self {
        let Grant { group, resource, name, namespace, verbs } = grant;
        let rights = verbs.iter().map(|verb| Right { group, resource, name, namespace, verb }).collect();
        Self { rights, remedy: Remedy::Grant(grant), only }
    }
}

fn judge(account: &ServiceAccount, need: &Need<'_>, allowed: &[bool]) -> Option<Finding> {
    let missing: Vec<&Right<'_>> =
        need.rights.iter().zip(allowed).filter(|(_, allowed)| !**allowed).map(|(right, _)| right).collect();
    if missing.is_empty() {
        return None;
    }
    let yaml = match &need.remedy {
        Remedy::Grant(grant) => grant.yaml(&account.user()),
        Remedy::Bind(binding) => binding.yaml(&account.user()),
    };
    let text = |only: &str| {
        format!(
            "ServiceAccount {account} may not {}{only}; to grant it, give this to kubectl apply -f -: {yaml}",
            said(&missing)
        )
    };
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

async fn is_allowed(wire: &Wire, account: &ServiceAccount, right: &Right<'_>) -> Result<bool, Trouble> {
    let Right { group, resource, name, namespace, verb } = right;
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": account.user(),
            "groups": account.groups(),
            "resourceAttributes":
                {"group": group, "resource": resource, "name": name, "namespace": namespace.unwrap_or_default(), "verb": verb},
        },
    });
    let answer = wire.create(REVIEWS, &review).await?;
    Ok(answer["status"]["allowed"] == Value::Bool(true))
}

// === impl Right ===

impl Right<'_> {
    fn object(&self) -> String {
        let Self { resource, name, namespace, .. } = self;
        let named = if name.is_empty() { (*resource).to_owned() } else { format!("{resource} {name}") };
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

    #[test]
    fn what_is_checked_is_what_rbac_yaml_grants() {
        let documents = include_str!("../../../apiservice/rbac.yaml").split("\n---\n");
        let documents: Vec<Value> = documents.map(|text| serde_saphyr::from_str(text).unwrap()).collect();
        let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
        let mut granted = BTreeSet::new();
        let mut bound = BTreeSet::new();
        for document in &documents {
            let namespace = document["metadata"]["namespace"].as_str().unwrap_or_default();
            for rule in document["rules"].as_array().into_iter().flatten() {
                for verb in texts(&rule["verbs"]) {
                    let one = |key: &str| texts(&rule[key]).concat();
                    granted.insert([one("apiGroups"), one("resources"), one("resourceNames"), namespace.into(), verb]);
                }
            }
            if let Some(role) = document["roleRef"]["name"].as_str().filter(|role| *role != "depthgauge") {
                bound.insert((role.to_owned(), namespace.to_owned()));
            }
        }
        let (service, secret) = names();
        let (mut needed, mut needed_roles) = (BTreeSet::new(), BTreeSet::new());
        for Need { rights, remedy, .. } in needs(&service, &secret) {
            match remedy {
                Remedy::Bind(Binding { role, namespace }) => {
                    needed_roles.insert((role.to_owned(), namespace.unwrap_or_default().to_owned()));
                }
                Remedy::Grant(_) => {
                    needed.extend(rights.iter().map(|Right { group, resource, name, namespace, verb }| {
                        [group, resource, name, namespace.as_ref().unwrap_or(&""), verb].map(|text| (*text).to_owned())
                    }));
                }
            }
        }
        assert_eq!((needed, needed_roles), (granted, bound));
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
    fn service_accounts() {
        let parsed: ServiceAccount = "a/b".parse().unwrap();
        assert_eq!((parsed.to_string(), parsed.user()), ("a/b".into(), "system:serviceaccount:a:b".into()));
        assert_eq!(parsed.groups()[1], "system:serviceaccounts:a");
        for bad in ["", "a", "a/", "/b", "a/b/c"] {
            assert!(bad.parse::<ServiceAccount>().is_err(), "{bad}");
        }
    }
}
