//! How an HPA is named on the command line: by its own name, or by what it scales. Pure.

use std::fmt;
use std::str::FromStr;

use crate::cli::autoscaler::Autoscaler;
use crate::zero::workload::Workload;

/// Kinds of `autoscaling/v2`, as kubectl accepts and prints them.
const HPA: [&str; 3] = ["hpa", "horizontalpodautoscaler", "horizontalpodautoscalers"];
/// Kinds of workloads, as kubectl accepts them, with what an HPA calls them. A kind with a group needs no entry.
const WORKLOADS: [(&[&str], &str); 4] = [
    (&["deployment", "deployments", "deploy"], "Deployment"),
    (&["statefulset", "statefulsets", "sts"], "StatefulSet"),
    (&["replicaset", "replicasets", "rs"], "ReplicaSet"),
    (&["replicationcontroller", "replicationcontrollers", "rc"], "ReplicationController"),
];

/// `web`, `shop/web`, `hpa/web`, `deployment/web` or `worker.example.com/web`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Name {
    /// As written.
    text: String,
    pub(super) namespace: Option<String>,
    what: What,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum What {
    /// The HPA of this name.
    Hpa(String),
    /// The HPAs that scale this workload. Without a group, its kind is the one that an HPA has.
    Workload { kind: String, group: Option<String>, name: String },
}

// === impl Name ===

impl Name {
    /// The same with a kind, if what stands before the slash looks like the begin of one.
    pub(super) fn meant(&self) -> Option<String> {
        let (Some(first), What::Hpa(name)) = (&self.namespace, &self.what) else { return None };
        let kinds = WORKLOADS.iter().flat_map(|(aliases, _)| aliases.iter());
        let kind = HPA.iter().chain(kinds).find(|kind| kind.starts_with(&first.to_lowercase()))?;
        Some(format!("{kind}/{name}"))
    }

    /// Whether this HPA of its namespace is meant.
    pub(super) fn fits(&self, hpa: &Autoscaler<'_>) -> bool {
        match &self.what {
            What::Hpa(name) => hpa.name() == name,
            What::Workload { kind, group, name } => {
                let scaled = hpa.workload();
                let of_group = group.as_ref().is_none_or(|group| group_of(&scaled) == group);
                scaled.name == *name && of_group && is_called(&scaled.kind, kind)
            }
        }
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, what) = match text.split('/').collect::<Vec<_>>()[..] {
            [name] if !name.is_empty() => (None, What::Hpa(name.to_owned())),
            [first, name] if !first.is_empty() && !name.is_empty() => of_two(first, name),
            _ => return Err("write NAME, NAMESPACE/NAME, or KIND/NAME such as deployment/worker".to_owned()),
        };
        Ok(Self { text: text.to_owned(), namespace, what })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What stands before the slash is a kind of kubectl, or a kind and its group, because no namespace has a
/// dot. Otherwise it is a namespace.
fn of_two(first: &str, name: &str) -> (Option<String>, What) {
    let lower = first.to_lowercase();
    let (kind, group) = lower.split_once('.').map_or((lower.as_str(), None), |(kind, group)| (kind, Some(group)));
    let name = name.to_owned();
    if HPA.contains(&kind) {
        return (None, What::Hpa(name));
    }
    let known = WORKLOADS.iter().find(|(aliases, _)| aliases.contains(&kind));
    if known.is_none() && group.is_none() {
        return (Some(first.to_owned()), What::Hpa(name));
    }
    let kind = known.map_or(kind, |(_, kind)| kind).to_owned();
    (None, What::Workload { kind, group: group.map(str::to_owned), name })
}

/// Whether this is what stands before the slash of `deployment/web`, and no namespace.
pub(in crate::cli) fn is_kind(word: &str) -> bool {
    of_two(word, "").0.is_none()
}

/// Whether a kind is written as its name, in lower case, or as its plural.
fn is_called(kind: &str, written: &str) -> bool {
    let (kind, written) = (kind.to_lowercase(), written.to_lowercase());
    kind == written || written.strip_suffix('s') == Some(kind.as_str())
}

fn group_of(workload: &Workload) -> &str {
    workload.api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_that_of_an_hpa_or_of_what_it_scales() {
        let hpa = |name: &str, api_version: &str, kind: &str, workload: &str| {
            json!({"metadata": {"namespace": "shop", "name": name}, "spec": {
                "maxReplicas": 3, "scaleTargetRef": {"apiVersion": api_version, "kind": kind, "name": workload},
            }})
        };
        let hpas = [
            hpa("web", "apps/v1", "Deployment", "worker"),
            hpa("other", "apps/v1", "StatefulSet", "worker"),
            hpa("third", "example.com/v1", "Worker", "worker"),
        ];
        for (text, namespace, fitting) in [
            ("web", None, &["web"][..]),
            ("shop/web", Some("shop"), &["web"]),
            ("hpa/web", None, &["web"]),
            ("horizontalpodautoscaler.autoscaling/web", None, &["web"]),
            ("deployment/worker", None, &["web"]),
            ("Deployments/worker", None, &["web"]),
            ("deployment.apps/worker", None, &["web"]),
            ("deployment.example.com/worker", None, &[]),
            ("sts/worker", None, &["other"]),
            ("worker.example.com/worker", None, &["third"]),
            ("workers.example.com/worker", None, &["third"]),
            ("deploy/web", None, &[]),
        ] {
            let name: Name = text.parse().unwrap();
            let fits = |object: &&serde_json::Value| name.fits(&Autoscaler::in_test(object));
            let found: Vec<&str> =
                hpas.iter().filter(fits).filter_map(|hpa| hpa["metadata"]["name"].as_str()).collect();
            assert_eq!((name.namespace.as_deref(), &found[..]), (namespace, fitting), "{text}");
        }
        for (text, meant) in
            [("dep/jobs", Some("deployment/jobs")), ("shop/jobs", None), ("sts/jobs", None), ("jobs", None)]
        {
            assert_eq!(text.parse::<Name>().unwrap().meant().as_deref(), meant, "{text}");
        }
        for wrong in ["/dummy", "shop/", "a/b/c", ""] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }
}
