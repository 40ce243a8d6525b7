//! The manifests as files, without a cluster: what no API server asks of them. The chart is held
//! against the overlays in `e2e::chart`.

use std::path::{Path, PathBuf};

use http::StatusCode;
use serde_json::Value;

use crate::support::keda;
use crate::support::server;

/// Until cert-manager has one expire that says nothing else.
const LEAF_HOURS: u64 = 90 * 24;

pub(crate) fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Objects of a file.
pub(crate) fn documents(path: &Path) -> Vec<Value> {
    let text = read(path);
    let parse = |text: &str| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split("\n---\n").map(parse).collect()
}

/// Objects of a kustomization that changes none of its resources.
pub(crate) fn objects(folder: &Path) -> Vec<Value> {
    let kustomization = documents(&folder.join("kustomization.yaml")).remove(0);
    let known = ["apiVersion", "kind", "resources", "configMapGenerator"];
    assert!(kustomization.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{kustomization}");
    let resources = kustomization["resources"].as_array().unwrap().iter();
    let paths = resources.map(|path| folder.join(path.as_str().unwrap()));
    paths.flat_map(|path| if path.is_dir() { objects(&path) } else { documents(&path) }).collect()
}

/// The one of this kind and name.
fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// What most people apply, and its pods.
fn generic() -> (Vec<Value>, Value) {
    let objects = objects(&root("manifests/overlays/generic"));
    let template = one(&objects, "Deployment", "depthgauge")["spec"]["template"].clone();
    (objects, template)
}

fn selects(selector: &Value, template: &Value) -> bool {
    assert!(selector["matchExpressions"].is_null(), "{selector}");
    let mut wanted = selector["matchLabels"].as_object().unwrap().iter();
    wanted.len() > 0 && wanted.all(|(key, value)| template["metadata"]["labels"][key] == *value)
}

#[test]
fn a_node_that_is_drained_leaves_a_replica() {
    let (objects, template) = generic();
    let deployment = &one(&objects, "Deployment", "depthgauge")["spec"];
    let budget = &one(&objects, "PodDisruptionBudget", "depthgauge")["spec"];
    assert!(selects(&budget["selector"], &template) && selects(&deployment["selector"], &template));
    assert!(budget["maxUnavailable"].as_u64().unwrap() < deployment["replicas"].as_u64().unwrap());
    assert_eq!(deployment["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let affinity = &template["spec"]["affinity"]["podAntiAffinity"];
    let terms = affinity["preferredDuringSchedulingIgnoredDuringExecution"].as_array().unwrap();
    let [term] = terms.as_slice() else { panic!("{terms:?}") };
    assert_eq!(term["podAffinityTerm"]["topologyKey"], "kubernetes.io/hostname");
    assert!(selects(&term["podAffinityTerm"]["labelSelector"], &template));
}

#[test]
fn pods_go_before_ordinary_ones_and_say_what_they_need() {
    let (objects, template) = generic();
    let spec = &template["spec"];
    let class = one(&objects, "PriorityClass", spec["priorityClassName"].as_str().unwrap());
    assert!(class["value"].as_i64().unwrap() > 0 && class["globalDefault"].is_null(), "{class}");
    let containers = spec["containers"].as_array().unwrap();
    for container in containers {
        for amount in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
            assert!(container["resources"].pointer(amount).is_some_and(Value::is_string), "{amount} of {container}");
        }
    }
    assert_eq!(containers.len(), 1);
}

#[tokio::test]
async fn probes_ask_for_what_the_server_answers_on_the_port_that_it_has() {
    let (server, _oci) = server::start().await;
    let (objects, template) = generic();
    let container = &template["spec"]["containers"][0];
    let ports = container["ports"].as_array().unwrap();
    let named = |name: &Value| ports.iter().find(|port| port["name"] == *name).map(|port| &port["containerPort"]);
    for probe in ["readinessProbe", "livenessProbe"] {
        let asks = &container[probe]["httpGet"];
        // The default of --secure-port, which no argument changes.
        assert_eq!((named(&asks["port"]), &asks["scheme"]), (Some(&6443.into()), &"HTTPS".into()), "{asks}");
        let path = asks["path"].as_str().unwrap();
        assert_eq!(server.anyone().get(path).await.status, StatusCode::OK, "{path}");
    }
    let service = &one(&objects, "Service", "depthgauge")["spec"]["ports"][0];
    assert_eq!(named(&service["targetPort"]), Some(&6443.into()));
}

/// A mounted Secret that is not optional keeps pods in `ContainerCreating` until it exists.
#[test]
fn pods_start_without_any_secret_of_credentials() {
    let (_, template) = generic();
    let volumes = template["spec"]["volumes"].as_array().unwrap();
    let secrets: Vec<&Value> = volumes.iter().map(|volume| &volume["secret"]).filter(|it| it.is_object()).collect();
    let names: Vec<&Value> = secrets.iter().map(|secret| &secret["secretName"]).collect();
    assert_eq!(names, ["depthgauge-oci", "depthgauge-credentials"]);
    assert!(secrets.iter().all(|secret| secret["optional"] == true), "{secrets:?}");
    let guide = read(&root("docs/install.md"));
    let container = &template["spec"]["containers"][0];
    for (volume, name) in [("oci", "depthgauge-oci"), ("credentials", "depthgauge-credentials")] {
        let mut mounts = container["volumeMounts"].as_array().unwrap().iter();
        let path = &mounts.find(|mount| mount["name"] == volume).unwrap()["mountPath"];
        assert!(guide.contains(&format!("| `{name}` | `{}` |", path.as_str().unwrap())), "{name} at {path}");
    }
}

#[test]
fn the_pods_are_outside_of_service_meshes() {
    let (_, template) = generic();
    let metadata = &template["metadata"];
    for (key, value) in [("sidecar.istio.io/inject", "false"), ("istio.io/dataplane-mode", "none")] {
        assert_eq!(metadata["labels"][key], value);
    }
    assert_eq!(metadata["annotations"]["linkerd.io/inject"], "disabled");
}

#[test]
fn instance_principals_reach_the_metadata_service_by_ipv4_and_by_ipv6() {
    // The addresses that `oci::metadata` requests.
    let source = read(&root("src/oci/metadata.rs"));
    let policy = documents(&root("manifests/overlays/oke/networkpolicy.yaml")).remove(0);
    let rules = policy["spec"]["egress"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["ports"][0]["port"] == 80).unwrap();
    let blocks: Vec<&str> =
        rule["to"].as_array().unwrap().iter().map(|peer| peer["ipBlock"]["cidr"].as_str().unwrap()).collect();
    assert_eq!(blocks, ["169.254.169.254/32", "fd00:c1::a9fe:a9fe/128"]);
    for host in ["http://169.254.169.254/", "http://[fd00:c1::a9fe:a9fe]/"] {
        assert!(source.contains(host), "{host}");
    }
    let chart = read(&root("manifests/chart/templates/oci-principals.yaml"));
    assert!(blocks.iter().all(|block| chart.contains(block)), "{chart}");
}

#[test]
fn cert_managers_ca_outlives_many_leaves_and_keeps_its_key() {
    let objects = documents(&root("manifests/overlays/cert-manager/certificate.yaml"));
    let (ca, leaf) = (one(&objects, "Certificate", "depthgauge-ca"), one(&objects, "Certificate", "depthgauge"));
    assert_eq!(ca["spec"]["privateKey"]["rotationPolicy"], "Never");
    assert!(leaf["spec"]["duration"].is_null(), "not the default: {leaf}");
    let hours: u64 = ca["spec"]["duration"].as_str().unwrap().strip_suffix('h').unwrap().parse().unwrap();
    // It is renewed when a third is left.
    assert!(hours / 3 > 10 * LEAF_HOURS, "{hours} h");
    // Whoever changes the name or the key makes another CA of it.
    assert_eq!((&ca["spec"]["commonName"], &ca["spec"]["isCA"]), (&"depthgauge-ca".into(), &true.into()));
}

#[test]
fn before_a_move_keda_asks_where_exporter_compat_answers() {
    let overlay = root("manifests/overlays/exporter-compat");
    let service = documents(&overlay.join("service.yaml")).remove(0);
    let (name, port) = (service["metadata"]["name"].as_str().unwrap(), &service["spec"]["ports"][0]["port"]);
    let config = documents(&overlay.join("config.yaml")).remove(0);
    let exported = config["sources"].as_array().unwrap().iter().filter(|source| source["export"] == true);
    let exported: Vec<String> = exported.map(|it| format!("oci_queue_length{{queue={}}}", it["name"])).collect();
    let guide = read(&root("docs/moving.md"));
    // What leads from the namespace of the exporter to ours.
    assert!(guide.contains(&format!("metadata: {{name: {name}, namespace: monitoring}}")));
    for trigger in keda::before_a_move() {
        assert_eq!(trigger.url, format!("http://{name}.monitoring:{port}/metrics"));
        assert!(exported.contains(&trigger.location), "{} of {exported:?}", trigger.location);
        assert!(guide.contains(&trigger.url) && guide.contains(&trigger.location), "docs/moving.md has another one");
    }
}
