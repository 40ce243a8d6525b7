//! The message if kube-apiserver refuses depthgauge a right: the missing right, and the YAML that
//! grants it.
//!
//! On one line, for it stands in a log that may be JSON and in `/readyz?verbose`:
//! `kubectl apply -f -` takes it as it is.

use kube::core::Status;

/// What went wrong with a call that had no answer by its deadline.
pub const LATE: &str = "kube-apiserver does not answer in time";

/// Rights on one object, by name, or on all of a kind if their names may be unknown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grant<'a> {
    /// `apiregistration.k8s.io`; empty for the core group.
    pub group: &'a str,
    /// `apiservices`; `*` for all of the group.
    pub resource: &'a str,
    /// The object's name: the narrowest right, except where the owner chooses the names. Empty for
    /// all.
    pub name: &'a str,
    /// The object's namespace, if it has one.
    pub namespace: Option<&'a str>,
    /// `get`, `patch`, …: all that is needed on it, not only what was just refused.
    pub verbs: &'a [&'a str],
}

/// A role that every cluster has, to be bound to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Binding<'a> {
    /// `system:auth-delegator`
    pub role: &'a str,
    /// The namespace of a Role; `None` for a ClusterRole.
    pub namespace: Option<&'a str>,
}

// === impl Grant ===

impl Grant<'_> {
    /// The error of a call that needs this; it is the same for the same failure.
    pub fn trouble(&self, error: &kube::Error) -> String {
        trouble(error, |user| self.yaml(user))
    }

    /// The YAML that grants all of this to the user that kube-apiserver refused, after a `;`.
    pub fn remedy(&self, refused: &Status) -> String {
        remedy(&self.yaml(refused_user(refused)))
    }

    /// What `kubectl apply -f -` takes to give all of this to a user, as kube-apiserver names one.
    pub fn yaml(&self, user: &str) -> String {
        let Self { group, resource, name, namespace, verbs } = self;
        let verbs = verbs.join(", ");
        let names = if name.is_empty() { String::new() } else { format!("resourceNames: [{name}], ") };
        // In YAML a bare star is no text.
        let resources = if *resource == "*" { "'*'" } else { resource };
        let rule = format!("{{apiGroups: ['{group}'], resources: [{resources}], {names}verbs: [{verbs}]}}");
        // Not the name of the install's own role, whose other rules it would take away, nor that of
        // another grant of these. A subresource has a slash, which no Role's name may have.
        let role = format!("depthgauge:{}", resource.replace('/', "-").replace('*', "all"));
        let role = if group.contains('.') { format!("{role}.{group}") } else { role };
        let (kind, metadata) = role_kind(&role, *namespace);
        let made = format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: {kind}, metadata: {metadata}, rules: [{rule}]}}"
        );
        list(&[made, binding(&role, &role, *namespace, user)])
    }
}

// === impl Binding ===

impl Binding<'_> {
    /// The error of a call that needs this; it is the same for the same failure.
    pub fn trouble(&self, error: &kube::Error) -> String {
        trouble(error, |user| self.yaml(user))
    }

    /// What `kubectl apply -f -` takes to bind a user to it, as kube-apiserver names one.
    pub fn yaml(&self, user: &str) -> String {
        let own = self.role.trim_start_matches("system:");
        list(&[binding(&format!("depthgauge:{own}"), self.role, self.namespace, user)])
    }
}

fn trouble(error: &kube::Error, yaml: impl FnOnce(&str) -> String) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("{}; {}", status.message, remedy(&yaml(refused_user(status))))
        }
        kube::Error::Api(status) if status.code == 401 => {
            "kube-apiserver rejects the credentials of depthgauge: the token is expired, or of another cluster"
                .to_owned()
        }
        kube::Error::Api(status) => format!("kube-apiserver answers {}: {}", status.code, status.message),
        kube::Error::Service(cause) => format!("kube-apiserver does not answer: {cause}"),
        _ => "kube-apiserver does not answer".to_owned(),
    }
}

fn remedy(yaml: &str) -> String {
    format!("to grant it, give this to kubectl apply -f -: {yaml}")
}

fn list(items: &[String]) -> String {
    format!("{{apiVersion: v1, kind: List, items: [{}]}}", items.join(", "))
}

fn role_kind(name: &str, namespace: Option<&str>) -> (&'static str, String) {
    match namespace {
        Some(namespace) => ("Role", format!("{{name: '{name}', namespace: {namespace}}}")),
        None => ("ClusterRole", format!("{{name: '{name}'}}")),
    }
}

fn binding(name: &str, role: &str, namespace: Option<&str>, user: &str) -> String {
    let (kind, metadata) = role_kind(name, namespace);
    let subject = subject(user);
    format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: {kind}Binding, metadata: {metadata}, roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {kind}, name: '{role}'}}, subjects: [{subject}]}}"
    )
}

/// The user that kube-apiserver refused, by its message: `… is forbidden: User "u" cannot …`.
fn refused_user(status: &Status) -> &str {
    let user = status.message.split_once("User \"").and_then(|(_, rest)| rest.split_once('"'));
    user.map_or("the-user-that-depthgauge-runs-as", |(user, _)| user)
}

fn subject(user: &str) -> String {
    match user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
        Some((namespace, name)) => format!("{{kind: ServiceAccount, name: {name}, namespace: {namespace}}}"),
        None => format!("{{apiGroup: rbac.authorization.k8s.io, kind: User, name: '{}'}}", user.replace('\'', "''")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(user: &str) -> kube::Error {
        let message = format!("secrets \"certs\" is forbidden: User \"{user}\" cannot get resource \"secrets\"");
        kube::Error::Api(Box::new(Status::failure(&message, "Forbidden").with_code(403)))
    }

    fn items(sentence: &str) -> Value {
        let (_, yaml) = sentence.split_once("kubectl apply -f -: ").unwrap();
        let list: Value = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("List"), &json!("v1")));
        list["items"].clone()
    }

    #[test]
    fn a_missing_right_is_said_with_the_yaml_that_grants_it() {
        let verbs = &["get", "patch"];
        let grant = Grant { group: "", resource: "secrets", name: "certs", namespace: Some("dg"), verbs };
        let said = grant.trouble(&refused("system:serviceaccount:dg:depthgauge"));
        assert!(said.starts_with("secrets \"certs\" is forbidden: User "), "{said}");
        assert!(!said.contains('\n'));
        let items = items(&said);
        let rule = json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["certs"], "verbs": verbs});
        assert_eq!((&items[0]["kind"], &items[0]["rules"]), (&json!("Role"), &json!([rule])));
        assert_eq!(items[0]["metadata"], json!({"name": "depthgauge:secrets", "namespace": "dg"}));
        assert_eq!(
            (&items[1]["kind"], &items[1]["roleRef"]["name"]),
            (&json!("RoleBinding"), &json!("depthgauge:secrets"))
        );
        let subject = json!({"kind": "ServiceAccount", "name": "depthgauge", "namespace": "dg"});
        assert_eq!(items[1]["subjects"], json!([subject]));

        let all = Grant { group: "g.io", resource: "*", name: "", ..grant };
        let items = self::items(&all.trouble(&refused("u")));
        assert_eq!(items[0]["rules"][0]["resources"], json!(["*"]));
        assert_eq!(items[1]["roleRef"]["name"], "depthgauge:all.g.io");

        let grant = Grant { group: "g.io", resource: "things", namespace: None, ..grant };
        let items = self::items(&grant.trouble(&refused("o'brien")));
        assert_eq!((&items[0]["kind"], &items[1]["kind"]), (&json!("ClusterRole"), &json!("ClusterRoleBinding")));
        assert_eq!(items[1]["subjects"][0]["name"], "o'brien");
    }

    #[test]
    fn a_grant_takes_nothing_from_another() {
        let grant = |group, resource, name| Grant { group, resource, name, namespace: Some("shop"), verbs: &["get"] };
        let role = |grant: Grant<'_>| items(&grant.trouble(&refused("u")))[0].clone();
        let all = role(grant("example.com", "workers/scale", ""));
        assert_eq!(all["rules"][0].get("resourceNames"), None, "all of them, so that one grant does");
        let others = [grant("other.example.com", "workers/scale", ""), grant("apps", "deployments/scale", "")];
        for other in others.map(role) {
            assert_ne!(all["metadata"]["name"], other["metadata"]["name"]);
        }
    }

    #[test]
    fn a_role_of_the_cluster_is_only_bound() {
        let binding = Binding { role: "system:auth-delegator", namespace: None };
        let items = items(&binding.trouble(&refused("u")));
        assert_eq!(items.as_array().unwrap().len(), 1);
        assert_eq!(items[0]["metadata"]["name"], "depthgauge:auth-delegator");
        assert_eq!(items[0]["roleRef"]["name"], "system:auth-delegator");
    }

    #[test]
    fn other_trouble_is_no_missing_right() {
        let binding = Binding { role: "r", namespace: None };
        let answered = |code| kube::Error::Api(Box::new(Status::failure("no", "X").with_code(code)));
        assert_eq!(binding.trouble(&answered(500)), "kube-apiserver answers 500: no");
        assert!(binding.trouble(&answered(401)).contains("rejects the credentials of depthgauge"));
        let io = kube::Error::Service(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into());
        assert_eq!(binding.trouble(&io), "kube-apiserver does not answer: connection refused");
    }
}
