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
    let guide = read(&root("docs/how-to/install.md"));
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
fn ports_of_connections_are_one_list() {
    let policies = documents(&root("manifests/base/networkpolicy.yaml"));
    let policy = one(&policies, "NetworkPolicy", "depthgauge");
    // What the patch of the guide appends to.
    let rule = &policy["spec"]["egress"][0];
    assert!(rule["to"].is_null() && rule["ports"].as_array().unwrap().len() == 4, "{rule}");
    let (guide, patch) = (
        read(&root("docs/how-to/your-cluster.md")),
        "path: /spec/egress/0/ports/-, value: {protocol: TCP, port: 9090}",
    );
    assert!(guide.contains(patch) && guide.contains("networkPolicy.connectionPorts: [9090, 15672]"));
    let (chart, values) = ("manifests/chart/templates/networkpolicy.yaml", "manifests/chart/values.yaml");
    assert!(read(&root(chart)).contains("range .Values.networkPolicy.connectionPorts"));
    assert!(read(&root(values)).contains("\n  connectionPorts: []\n"));
}

#[test]
fn what_is_installed_without_oci_needs_no_file() {
    let guide = read(&root("docs/how-to/install.md"));
    let (_, after) = guide.split_once("# mine/config.yaml\n").unwrap();
    let (config, _) = after.split_once("```").unwrap();
    let config = depthgauge::config::Config::parse(config, depthgauge::source::KINDS)
        .map_err(|problems| problems.lines().collect::<Vec<_>>());
    let config = config.unwrap_or_else(|lines| panic!("{lines:?}"));
    assert_eq!(config.source_count(), 2);
    assert_eq!(config.warnings().len(), 1, "the password is sent without encryption: {:?}", config.warnings());
    let (_, template) = generic();
    let volumes = template["spec"]["volumes"].as_array().unwrap();
    let secrets = volumes.iter().filter(|volume| !volume["secret"].is_null());
    assert!(secrets.clone().count() > 0 && secrets.clone().all(|volume| volume["secret"]["optional"] == true));
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
    let guide = read(&root("docs/how-to/migrate-from-keda.md"));
    // What leads from the namespace of the exporter to ours.
    let exporter = read(&root("docs/how-to/replace-an-exporter.md"));
    assert!(exporter.contains(&format!("metadata: {{name: {name}, namespace: monitoring}}")));
    for trigger in keda::before_a_move() {
        assert_eq!(trigger.url, format!("http://{name}.monitoring:{port}/metrics"));
        assert!(exported.contains(&trigger.location), "{} of {exported:?}", trigger.location);
        assert!(
            guide.contains(&trigger.url) && guide.contains(&trigger.location),
            "docs/how-to/migrate-from-keda.md has another one"
        );
    }
}

/// In both, the old replicas stay while a new one reads what it needs for rates.
#[test]
fn a_rollout_waits_for_new_replicas() {
    let (objects, _) = generic();
    assert_eq!(one(&objects, "Deployment", "depthgauge")["spec"]["minReadySeconds"], 10);
    let chart = read(&root("manifests/chart/templates/deployment.yaml"));
    assert!(chart.contains("\n  minReadySeconds: 10\n"), "{chart}");
}

/// In both, the pods of Services are found by two rights and no other.
#[test]
fn scrape_has_the_right_to_list_and_watch_endpointslices_only() {
    let rules = serde_json::json!([
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]);
    let component = documents(&root("manifests/components/scrape/rbac.yaml"));
    let kinds: Vec<&str> = component.iter().filter_map(|object| object["kind"].as_str()).collect();
    assert_eq!(kinds, ["ClusterRole", "ClusterRoleBinding"]);
    assert_eq!(one(&component, "ClusterRole", "depthgauge:scrape")["rules"], rules);
    let role = &one(&component, "ClusterRoleBinding", "depthgauge:scrape")["roleRef"];
    assert_eq!((&role["kind"], &role["name"]), (&"ClusterRole".into(), &"depthgauge:scrape".into()));
    let chart = read(&root("manifests/chart/templates/scrape.yaml"));
    let kinds: Vec<&str> = chart.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    assert_eq!(kinds, ["ClusterRole", "ClusterRoleBinding"]);
    let (_, of_role) = chart.split_once("\nrules:\n").unwrap();
    let (of_role, binding) = of_role.split_once("\n---\n").unwrap();
    assert_eq!(serde_saphyr::from_str::<Value>(of_role).unwrap(), rules);
    assert!(binding.contains("\n  kind: ClusterRole\n  name: depthgauge:scrape\n"), "{binding}");
}

/// Every object that a kustomization has as a file.
fn all_objects() -> Vec<(PathBuf, Value)> {
    let mut folders =
        vec![root("apiservice"), root("manifests/base"), root("manifests/overlays"), root("manifests/components")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "yaml")
                && path.file_name().unwrap() != "kustomization.yaml"
            {
                found.extend(documents(&path).into_iter().map(|object| (path.clone(), object)));
            }
        }
    }
    // A config is a file of a ConfigMap; a patch is only part of an object.
    let is_patch = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        read(&path.with_file_name("kustomization.yaml")).contains(&format!("- path: {name}"))
    };
    found.retain(|(path, object)| object["kind"] != "Config" && !is_patch(path));
    assert!(found.len() > 30, "{}", found.len());
    found
}

/// What a server-side apply of a value that is not the one that kube-apiserver keeps would differ in.
fn drift(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(format!("{at} is null")),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| drift(value, &format!("{at}.{key}"), found)),
        Value::Array(items) => {
            // The keys by which kube-apiserver merges lists.
            for key in ["name", "mountPath", "containerPort"] {
                let mut keys: Vec<String> =
                    items.iter().filter_map(|item| item.get(key)).map(ToString::to_string).collect();
                let all = keys.len();
                keys.sort_unstable();
                keys.dedup();
                if keys.len() < all {
                    found.push(format!("{at} has a {key} twice"));
                }
            }
            items.iter().for_each(|item| drift(item, &format!("{at}[]"), found));
        }
        Value::String(text) if at.contains(".resources.") => {
            let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
            let is_whole = digits.bytes().all(|digit| digit.is_ascii_digit());
            if !is_whole || (text.ends_with('m') && digits.ends_with("000")) {
                found.push(format!("{at} is {text}, which kube-apiserver writes in another way"));
            }
        }
        _ => {}
    }
}

#[test]
fn nothing_that_is_applied_differs_from_what_kube_apiserver_keeps() {
    for (path, object) in all_objects() {
        let mut found = Vec::new();
        drift(&object, "", &mut found);
        let kept_by_the_server = ["creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"];
        found.extend(
            kept_by_the_server
                .map(|key| &object["metadata"][key])
                .iter()
                .map(ToString::to_string)
                .filter(|it| it != "null"),
        );
        assert!(found.is_empty() && object["status"].is_null(), "{}: {found:?}", path.display());
    }
    let mut found = Vec::new();
    let broken = serde_json::json!({
        "a": null, "env": [{"name": "x"}, {"name": "x"}],
        "resources": {"requests": {"cpu": "1000m", "memory": "0.5Gi", "good": "10m"}},
    });
    drift(&broken, "", &mut found);
    assert_eq!(found.len(), 4, "{found:?}");
}

/// A second render of the chart is the first one.
#[test]
fn the_chart_has_no_value_of_chance_time_or_cluster() {
    for entry in std::fs::read_dir(root("manifests/chart/templates")).unwrap() {
        let path = entry.unwrap().path();
        let text = read(&path);
        let actions = text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap());
        for word in actions.flat_map(|action| action.split(|letter: char| !(letter.is_alphanumeric() || letter == '.')))
        {
            let varies =
                ["lookup", "now", "uuidv4", "shuffle", ".Release.Revision", ".Release.IsInstall", ".Release.IsUpgrade"];
            let varies = varies.contains(&word) || word.starts_with("rand") || word.starts_with("gen");
            assert!(!varies, "{word} in {}", path.display());
        }
    }
}

/// depthgauge writes these by itself; the APIService only where a component or value says so.
#[test]
fn what_depthgauge_writes_is_in_no_manifest() {
    for (path, object) in all_objects() {
        let kind = object["kind"].as_str().unwrap();
        assert!(!["Secret", "Lease"].contains(&kind), "{}: {kind}", path.display());
        let places = [root("apiservice/apiservice.yaml"), root("manifests/components/apiservice/apiservice.yaml")];
        assert!(kind != "APIService" || places.contains(&path), "{}", path.display());
    }
}

#[test]
fn the_apiservice_of_gitops_is_the_one_that_depthgauge_applies() {
    let own = documents(&root("apiservice/apiservice.yaml")).remove(0);
    assert_eq!(documents(&root("manifests/components/apiservice/apiservice.yaml")).remove(0), own);
    assert!(own["spec"]["caBundle"].is_null(), "it would be taken away from whoever has added it: {own}");
    // Beside the fields that Helm fills in.
    let chart = read(&root("manifests/chart/templates/apiservice.yaml"));
    for (key, value) in own["spec"].as_object().unwrap().iter().filter(|(key, _)| *key != "service") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert!(chart.contains(&format!("\n  {key}: {value}\n")), "{key}: {value}");
    }
    for (key, value) in [("name", "depthgauge"), ("port", "443"), ("namespace", "{{ .Release.Namespace }}")] {
        assert!(chart.contains(&format!("\n    {key}: {value}\n")), "{key}: {value}");
    }
}

/// What adds the caBundle instead of depthgauge, and that depthgauge then leaves the APIService alone.
#[test]
fn with_cert_manager_the_apiservice_can_be_the_users() {
    let component = documents(&root("manifests/components/apiservice-cert-manager/kustomization.yaml")).remove(0);
    assert_eq!(component["components"], serde_json::json!(["../apiservice"]));
    let [annotation, flag] = component["patches"].as_array().unwrap().as_slice() else { panic!("{component}") };
    let certificates = documents(&root("manifests/overlays/cert-manager/certificate.yaml"));
    let leaf = one(&certificates, "Certificate", "depthgauge");
    let leaf = format!("{}/depthgauge", leaf["metadata"]["namespace"].as_str().unwrap());
    let injected = format!("cert-manager.io/inject-ca-from: {leaf}");
    assert!(annotation["patch"].as_str().unwrap().contains(&injected), "{annotation}");
    assert!(flag["patch"].as_str().unwrap().contains("value: --register=false"), "{flag}");
    let patched = serde_json::json!({"kind": "Deployment", "name": "depthgauge"});
    assert_eq!((&annotation["target"]["kind"], &flag["target"]), (&"APIService".into(), &patched));
}
