//! The Service between the APIService and the pods: whether the ports match, and whether it has
//! ready pods.

use serde_json::Value;

use crate::apiservice::ServiceRef;
use crate::cli::finding::Finding;
use crate::cli::kube_api::{KubeApi, RequestError};
use crate::metric::names::counted;

/// As it is, or why that is not known.
pub(super) async fn read(kube_api: &KubeApi, wanted: &ServiceRef) -> Result<Value, RequestError> {
    let ServiceRef { namespace, name, .. } = wanted;
    kube_api.get(&format!("/api/v1/namespaces/{namespace}/services/{name}")).await
}

/// Whether it leads to no pods by itself: out of the cluster, or to endpoints that another client
/// sets.
pub(super) fn is_beside(service: &Value) -> bool {
    let spec = &service["spec"];
    // `kubectl create service externalname` gives it a selector, which means nothing there.
    spec["type"] == "ExternalName" || spec["selector"].as_object().is_none_or(serde_json::Map::is_empty)
}

pub(super) async fn check(kube_api: &KubeApi, wanted: &ServiceRef, found: Result<Value, RequestError>) -> Vec<Finding> {
    let ServiceRef { namespace, name, port } = wanted;
    let what = format!("Service {namespace}/{name}");
    let service = match found {
        Ok(service) => service,
        Err(trouble) => {
            return vec![trouble.finding(&what, || {
                Finding::fail(format!(
                    "{what} does not exist: create it, or name the right one with --service NAMESPACE/NAME:PORT"
                ))
            })];
        }
    };
    let service_port = port_of(&service, *port);
    let lists_ports = service["spec"]["ports"].as_array().is_some_and(|ports| !ports.is_empty());
    if let Some(host) = service["spec"]["externalName"].as_str().filter(|host| !host.is_empty())
        && (service_port.is_ok() || !lists_ports)
    {
        return vec![Finding::warn(format!(
            "{what}, port {port}, leads out of the cluster to {host}: pods and endpoints are not checked"
        ))];
    }
    let service_port = match service_port {
        Ok(service_port) => service_port,
        Err(there) => {
            return vec![Finding::fail(format!(
                "{what} has port {there}, but the APIService uses port {port}: make them equal; serve --service sets the port of the APIService"
            ))];
        }
    };
    let mut findings = vec![target(kube_api, wanted, &service, service_port).await];
    let slices = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{name}"
    );
    findings.push(endpoints(&what, kube_api.get(&slices).await, &service));
    findings
}

/// The Service's port of this number, or which ones there are instead.
fn port_of(service: &Value, wanted: u16) -> Result<&Value, String> {
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    ports.iter().find(|port| port["port"] == wanted).ok_or_else(|| {
        let numbers: Vec<String> = ports.iter().map(|port| port["port"].to_string()).collect();
        if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
    })
}

async fn target(kube_api: &KubeApi, wanted: &ServiceRef, service: &Value, port: &Value) -> Finding {
    let what = format!("Service {wanted}");
    let Some(selector) = service["spec"]["selector"].as_object().filter(|selector| !selector.is_empty()) else {
        return Finding::warn(format!("{what} has no selector, so its endpoints and their port are managed elsewhere"));
    };
    let deployments = format!("/apis/apps/v1/namespaces/{}/deployments", wanted.namespace);
    let list = match kube_api.get(&deployments).await {
        Ok(list) => list,
        Err(trouble) => {
            let what = format!("the Deployment behind {what}");
            return trouble.finding(&what, || Finding::warn(format!("{deployments} does not exist")));
        }
    };
    let selected = |deployment: &&Value| {
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let selected: Vec<&Value> = list["items"].as_array().into_iter().flatten().filter(selected).collect();
    let mut reached = Vec::new();
    for deployment in &selected {
        let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
        match resolve(port, &deployment["spec"]["template"]["spec"]) {
            Target::Port(number) => reached.push(format!("Deployment {name} on port {number}")),
            Target::Undeclared(number) => {
                return Finding::warn(format!(
                    "{what} leads to port {number} of Deployment {name}, whose containers declare no port: check that serve listens on it (--secure-port)"
                ));
            }
            Target::Nowhere(there) => {
                return Finding::fail(format!(
                    "{what} leads to targetPort {}, and the containers of Deployment {name} have {there}: set targetPort to one of them",
                    shown(target_port(port))
                ));
            }
        }
    }
    if reached.is_empty() {
        return Finding::fail(format!(
            "{what} selects the pods of no Deployment in {}: compare its selector with the pods' labels",
            wanted.namespace
        ));
    }
    Finding::ok(format!("{what} leads to {}", reached.join(", ")))
}

/// Where a Service's port leads in a pod.
#[derive(Debug, Eq, PartialEq)]
enum Target {
    Port(u64),
    /// A number works without being declared; whether it is the right one is not to be seen.
    Undeclared(u64),
    /// And which ports there are instead.
    Nowhere(String),
}

fn resolve(service_port: &Value, pod: &Value) -> Target {
    let containers = pod["containers"].as_array().into_iter().flatten();
    let ports: Vec<&Value> =
        containers.flat_map(|container| container["ports"].as_array().into_iter().flatten()).collect();
    let wanted = target_port(service_port);
    let is_it = |port: &&&Value| match wanted {
        Value::String(name) => port["name"] == name.as_str(),
        number => port["containerPort"] == *number,
    };
    let found = ports.iter().find(is_it).and_then(|port| port["containerPort"].as_u64());
    match (found, wanted.as_u64()) {
        (Some(number), _) => Target::Port(number),
        (None, Some(number)) if ports.is_empty() => Target::Undeclared(number),
        _ => {
            let there = ports.iter().map(|port| match port["name"].as_str() {
                Some(name) => format!("{} ({name})", port["containerPort"]),
                None => port["containerPort"].to_string(),
            });
            let there: Vec<String> = there.collect();
            Target::Nowhere(if there.is_empty() { "none".to_owned() } else { there.join(", ") })
        }
    }
}

/// What is not said is the Service's own port.
fn target_port(service_port: &Value) -> &Value {
    match &service_port["targetPort"] {
        Value::Null => &service_port["port"],
        target => target,
    }
}

fn shown(port: &Value) -> String {
    port.as_str().map_or_else(|| port.to_string(), str::to_owned)
}

fn endpoints(what: &str, slices: Result<Value, RequestError>, service: &Value) -> Finding {
    let slices = match slices {
        Ok(slices) => slices,
        Err(trouble) => {
            return trouble
                .finding(&format!("the endpoints of {what}"), || Finding::warn("there are no EndpointSlices"));
        }
    };
    let (ready, all) = count_ready(&slices);
    match (ready, all) {
        (0, 0) => {
            let selector = service["spec"]["selector"].as_object().into_iter().flatten();
            let selector: Vec<String> = selector.map(|(key, value)| format!("{key}={}", shown(value))).collect();
            let namespace = service["metadata"]["namespace"].as_str().unwrap_or_default();
            Finding::fail(format!(
                "{what} has no endpoints: see kubectl get pods -n {namespace} -l {}",
                selector.join(",")
            ))
        }
        (0, all) => Finding::fail(format!(
            "{what} has no ready endpoint, and {all} that are not: see the readiness probe, and /readyz?verbose of the pods"
        )),
        (ready, all) => Finding::ok(format!("{what} has {ready} ready of {}", counted(all, "endpoint"))),
    }
}

/// How many are ready, and how many there are.
fn count_ready(slices: &Value) -> (usize, usize) {
    let slices = slices["items"].as_array().into_iter().flatten();
    let endpoints: Vec<&Value> = slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten()).collect();
    // Absent means ready, as the API says.
    let ready = endpoints.iter().filter(|endpoint| endpoint["conditions"]["ready"] != Value::Bool(false)).count();
    (ready, endpoints.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::finding::Level;

    #[test]
    fn where_a_service_leads_in_a_pod() {
        let ours = json!({"containers": [
            {"name": "sidecar"},
            {"name": "depthgauge", "ports": [{"name": "https", "containerPort": 6443}, {"containerPort": 8080}]},
        ]});
        let silent = json!({"containers": [{"name": "depthgauge"}]});
        let nowhere = |there: &str| Target::Nowhere(there.to_owned());
        for (port, pod, target) in [
            (json!({"port": 443, "targetPort": "https"}), &ours, Target::Port(6443)),
            (json!({"port": 443, "targetPort": 6443}), &ours, Target::Port(6443)),
            (json!({"port": 8080}), &ours, Target::Port(8080)),
            (json!({"port": 443}), &ours, nowhere("6443 (https), 8080")),
            (json!({"port": 443, "targetPort": "http"}), &ours, nowhere("6443 (https), 8080")),
            (json!({"port": 443, "targetPort": 6444}), &ours, nowhere("6443 (https), 8080")),
            (json!({"port": 443, "targetPort": 6443}), &silent, Target::Undeclared(6443)),
            (json!({"port": 443, "targetPort": "https"}), &silent, nowhere("none")),
        ] {
            assert_eq!(resolve(&port, pod), target, "{port} {pod}");
        }
    }

    #[test]
    fn what_leads_to_no_pods() {
        let selector = json!({"app": "depthgauge"});
        for (spec, beside) in [
            (json!({"type": "ClusterIP", "selector": selector}), false),
            (json!({"type": "ClusterIP", "selector": {}}), true),
            (json!({"type": "ClusterIP"}), true),
            (json!({"type": "ExternalName", "externalName": "host", "selector": selector}), true),
        ] {
            assert_eq!(is_beside(&json!({"spec": spec})), beside, "{spec}");
        }
    }

    #[test]
    fn a_port_that_the_service_does_not_have() {
        let service = json!({"spec": {"ports": [{"port": 443, "targetPort": "https"}, {"port": 80}]}});
        assert_eq!(port_of(&service, 443).unwrap()["targetPort"], "https");
        assert_eq!(port_of(&service, 444).unwrap_err(), "443, 80");
        assert_eq!(port_of(&json!({"spec": {}}), 444).unwrap_err(), "none");
    }

    #[test]
    fn somebody_ready_is_behind_it() {
        let service = json!({"metadata": {"namespace": "a"}, "spec": {"selector": {"app": "dg"}}});
        for (conditions, level, text) in [
            (vec![], Level::Fail, "kubectl get pods -n a -l app=dg"),
            (vec![json!({"ready": false})], Level::Fail, "no ready endpoint, and 1"),
            (vec![json!({"ready": false}), json!({"ready": true})], Level::Ok, "1 ready of 2"),
            (vec![json!({})], Level::Ok, "1 ready of 1"),
        ] {
            let endpoints: Vec<Value> = conditions.iter().map(|ready| json!({"conditions": ready})).collect();
            let slices = json!({"items": [{"endpoints": null}, {"endpoints": endpoints}]});
            let found = super::endpoints("Service a/b", Ok(slices), &service);
            assert!(found.level == level && found.text.contains(text), "{}", found.text);
        }
    }
}
