//! The Helm chart beside the overlays, and put into a real control plane and taken out by Helm.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::{Cluster, Said, eventually_or, kustomize, run, script};
use super::node::{DROPPED, Node, Port};

const CHART: &str = "manifests/chart";
/// For Helm to have made its hook's Job and the Job its pod, ten times as long as it takes.
const HOOK: Duration = Duration::from_secs(30);
/// What only Helm writes on an object.
const HELM_LABELS: [&str; 4] =
    ["app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"];

/// An overlay with components, and the values with which the chart is the same.
struct Way {
    overlay: &'static str,
    components: &'static [&'static str],
    values: &'static str,
}

const WAYS: [Way; 10] = [
    Way { overlay: "generic", components: &[], values: "{}" },
    Way { overlay: "oke", components: &[], values: "auth: {type: workloadIdentity}" },
    Way { overlay: "openshift", components: &[], values: "openshift: {enabled: true}" },
    Way { overlay: "cert-manager", components: &[], values: "certManager: {enabled: true}" },
    Way {
        overlay: "exporter-compat",
        components: &[],
        values: "exporterCompat: {enabled: true}\nconfig: {sources: [{type: oci-queue, name: orders, queueId: ocid1.queue.oc1.eu-frankfurt-1.replace-with-the-ocid-of-your-queue, namespaces: [shop], export: true}]}",
    },
    Way { overlay: "generic", components: &["apiservice"], values: "apiService: {create: true}" },
    Way {
        overlay: "cert-manager",
        components: &["apiservice-cert-manager"],
        values: "certManager: {enabled: true}\napiService: {create: true}",
    },
    Way { overlay: "generic", components: &["scale-to-zero"], values: "scaleToZero: {enabled: true}" },
    Way { overlay: "generic", components: &["scrape"], values: "scrape: {enabled: true}" },
    Way {
        overlay: "oke",
        components: &["prometheus"],
        values: "auth: {type: workloadIdentity}\nprometheus: {enabled: true}",
    },
];

/// Objects by kind, namespace and name.
type Objects = BTreeMap<(String, String, String), Value>;

#[test]
fn lint_has_no_word_against_the_chart() {
    let said = helm(&["lint", "--strict", "--namespace", "depthgauge", CHART]);
    assert!(said.ok, "{}{}", said.stdout, said.stderr);
}

#[test]
fn values_that_mean_nothing_are_refused_by_name() {
    for (values, words) in [
        ("replicas=two", "'/replicas': got string, want integer"),
        ("replicas=0", "'/replicas': minimum"),
        ("image.tga=1", "'/image': additional properties 'tga' not allowed"),
        ("auth.type=key", "'/auth/type': value must be one of 'apiKey', 'workloadIdentity', 'instancePrincipal'"),
        ("auth.secretName=null", "'/auth': missing property 'secretName'"),
        ("config.oci.auth.type=apiKey", "'/config/oci': additional properties 'auth' not allowed"),
        ("config.sources=null", "'/config': missing property 'sources'"),
        ("config.sources[0].type=1", "'/config/sources/0/type': got number, want string"),
        ("args[0]=takeover", "'/args/0': 'takeover' does not match pattern"),
        ("prometheus=true", "'/prometheus': got boolean, want object"),
        ("podLabels.app\\.kubernetes\\.io/name=x", "invalid propertyName 'app.kubernetes.io/name'"),
        ("securePort=443", "'/securePort': minimum: got 443, want 1,024"),
        ("securePort=8080", "'/securePort': 'not' failed"),
        ("hostNetwork=true,securePort=10250", "'/securePort': 'not' failed"),
        ("topologySpreadConstraints[0].maxSkew=1", "'/topologySpreadConstraints/0': missing properties"),
        ("apiService.caBundle=a_b", "'/apiService/caBundle': 'a_b' does not match pattern"),
        ("networkPolicy.kubeApiserverPorts={https}", "'/networkPolicy/kubeApiserverPorts/0': got string, want integer"),
        ("networkPolicy.egress[0].port=1", "'/networkPolicy/egress/0': additional properties 'port' not allowed"),
    ] {
        let said = helm(&["template", "depthgauge", CHART, "-n", "depthgauge", "--set", values]);
        assert!(!said.ok && said.stderr.contains(words), "{values}: {said:?}");
    }
    let said = helm(&["template", "depthgauge", CHART, "-n", "kube-system"]);
    assert!(!said.ok && said.stderr.contains("needs its own namespace"), "{said:?}");
}

#[test]
fn what_prometheus_selects_by_is_a_value() {
    let set = "prometheus.enabled=true,prometheus.labels.release=stack";
    let only = ["--show-only", "templates/prometheus.yaml", "--set", set];
    let said = helm(&[&["template", "depthgauge", CHART, "-n", "depthgauge"][..], &only].concat());
    let labelled = said.stdout.split("\n---\n").filter(|object| object.contains("\n    release: stack\n"));
    let kind = |object: &str| object.lines().find_map(|line| line.strip_prefix("kind: ").map(str::to_owned));
    assert_eq!(labelled.filter_map(kind).collect::<Vec<_>>(), ["PrometheusRule", "ServiceMonitor"], "{}", said.stderr);
}

/// On the Deployment, and where it is about any pod on the hook's Job as well.
#[test]
fn what_the_overlays_have_no_counterpart_of_lands_where_it_belongs() {
    let values = "image: {repository: registry.example.com/depthgauge, tag: v9, pullPolicy: Always}
imagePullSecrets: [{name: registry}]
nodeSelector: {kubernetes.io/arch: arm64}
tolerations: [{key: dedicated, operator: Exists}]
replicas: 3
resources: {requests: {cpu: 50m}}
args: [--takeover]
env: [{name: HTTPS_PROXY, value: 'http://proxy:3128'}]
uninstall: {restore: true}
podLabels: {team: shop, istio.io/dataplane-mode: ambient}
podAnnotations: {example.com/owner: shop}
serviceAccount: {annotations: {example.com/role: reader}}
extraVolumes: [{name: more, configMap: {name: more}}]
extraVolumeMounts: [{name: more, mountPath: /etc/more}]
topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}]
";
    let objects = rendered(values);
    let (deployment, job) = pod_owners(&objects);
    for spec in [deployment, job] {
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["containers"][0]["image"], "registry.example.com/depthgauge:v9");
        assert_eq!(pod["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
        assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/arch": "arm64"}));
        assert_eq!(pod["tolerations"], json!([{"key": "dedicated", "operator": "Exists"}]));
        let metadata = &spec["template"]["metadata"];
        assert_eq!(
            (&metadata["labels"]["team"], &metadata["annotations"]["example.com/owner"]),
            (&"shop".into(), &"shop".into())
        );
        assert_eq!(metadata["labels"]["istio.io/dataplane-mode"], "ambient");
    }
    let container = &deployment["template"]["spec"]["containers"][0];
    assert_eq!(deployment["replicas"], 3);
    assert_eq!(container["resources"]["requests"]["cpu"], "50m");
    let last = |list: &Value| list.as_array().unwrap().last().unwrap().clone();
    assert_eq!(last(&container["args"]), "--takeover");
    assert_eq!(last(&container["env"]), json!({"name": "HTTPS_PROXY", "value": "http://proxy:3128"}));
    assert_eq!(last(&job["template"]["spec"]["containers"][0]["args"]), "--restore");
    let pod = &deployment["template"]["spec"];
    assert_eq!(last(&pod["volumes"]), json!({"name": "more", "configMap": {"name": "more"}}));
    assert_eq!(last(&container["volumeMounts"]), json!({"name": "more", "mountPath": "/etc/more"}));
    let selected = &pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"];
    assert_eq!(selected, &json!({"app.kubernetes.io/name": "depthgauge"}));
    let account = named(&objects, "ServiceAccount", "depthgauge");
    assert_eq!(account["metadata"]["annotations"], json!({"example.com/role": "reader"}));
}

/// Beside the section of OCI, which the chart writes.
#[test]
fn the_config_takes_connections() {
    let values = "config: {connections: {broker: {type: rabbitmq, url: 'http://rabbitmq.shop.svc:15672'}}, sources: [{type: rabbitmq, match: '*', namespaces: [shop]}]}";
    let objects = rendered(values);
    let config = &named(&objects, "ConfigMap", "depthgauge-config")["data"]["config.yaml"];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let said = run(Command::new(env!("CARGO_BIN_EXE_depthgauge")).args(["config", "check", file.to_str().unwrap()]));
    assert!(said.ok, "{config}: {said:?}");
    assert_eq!(config["connections"]["broker"]["type"], "rabbitmq");
}

#[test]
fn ports_of_kube_apiserver_open_for_the_server_and_for_the_hook() {
    let values = "networkPolicy: {kubeApiserverPorts: [8443, 16443], connectionPorts: [9090], egress: [{ports: [{protocol: TCP, port: 3128}]}]}";
    for (values, server, hook) in [
        ("{}", json!([53, 53, 443, 6443]), json!([443, 6443])),
        (values, json!([53, 53, 443, 8443, 16443, 9090, 3128]), json!([443, 8443, 16443])),
    ] {
        let objects = rendered(values);
        for (name, expected) in [("depthgauge", server), ("depthgauge-unregister", hook)] {
            let rules = named(&objects, "NetworkPolicy", name)["spec"]["egress"].as_array().unwrap();
            let ports =
                rules.iter().flat_map(|rule| rule["ports"].as_array().unwrap()).map(|port| port["port"].clone());
            assert_eq!(ports.collect::<Value>(), expected, "{name} with {values}");
        }
    }
}

#[test]
fn the_secure_port_is_one_number_in_all_places() {
    for (values, port, argument) in [("{}", 6443, None), ("securePort: 10250", 10250, Some("--secure-port=10250"))] {
        let objects = rendered(values);
        let container = &pod_owners(&objects).0["template"]["spec"]["containers"][0];
        assert_eq!(container["ports"][0], json!({"name": "https", "containerPort": port}));
        let mut arguments = container["args"].as_array().unwrap().iter().filter_map(Value::as_str);
        assert_eq!(arguments.find(|argument| argument.starts_with("--secure-port")), argument);
        let policy = named(&objects, "NetworkPolicy", "depthgauge");
        assert_eq!(policy["spec"]["ingress"][0]["ports"], json!([{"protocol": "TCP", "port": port}]));
    }
}

/// Two pods of one node would want the same port, so a rolling update starts none beside the old one.
#[test]
fn on_the_host_network_a_pod_makes_way_for_the_next() {
    for (values, host_network, surge) in [("{}", Value::Null, 1), ("hostNetwork: true", json!(true), 0)] {
        let objects = rendered(values);
        let (deployment, job) = pod_owners(&objects);
        let pod = &deployment["template"]["spec"];
        assert_eq!(pod["hostNetwork"], host_network);
        assert_eq!(pod["dnsPolicy"] == "ClusterFirstWithHostNet", surge == 0);
        assert_eq!(deployment["strategy"]["rollingUpdate"], json!({"maxUnavailable": 1 - surge, "maxSurge": surge}));
        assert!(job["template"]["spec"]["hostNetwork"].is_null(), "it serves nothing");
    }
}

/// kube-apiserver is in no mesh, and a sidecar keeps a Job from ending.
#[test]
fn the_pods_are_outside_of_service_meshes() {
    let objects = rendered("{}");
    let (deployment, job) = pod_owners(&objects);
    for spec in [deployment, job] {
        let metadata = &spec["template"]["metadata"];
        let labels = &metadata["labels"];
        assert_eq!(
            (&labels["sidecar.istio.io/inject"], &labels["istio.io/dataplane-mode"]),
            (&"false".into(), &"none".into())
        );
        assert_eq!(metadata["annotations"], json!({"linkerd.io/inject": "disabled"}));
    }
}

/// SCC restricted-v2 refuses IDs outside of the namespace's range. The rest of what it demands stays.
#[test]
fn openshift_assigns_user_and_groups_of_each_pod() {
    let ids = ["runAsUser", "runAsGroup", "fsGroup"];
    for (values, has_ids) in [("{}", true), ("openshift: {enabled: true}", false)] {
        let objects = rendered(values);
        let (deployment, job) = pod_owners(&objects);
        for spec in [deployment, job] {
            let pod = &spec["template"]["spec"];
            assert!(ids.iter().all(|id| pod["securityContext"][id].is_u64() == has_ids), "{values}: {pod}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"], json!({"type": "RuntimeDefault"}));
            let container = &pod["containers"][0]["securityContext"];
            assert!(container["allowPrivilegeEscalation"] == false && container["runAsUser"].is_null(), "{container}");
            assert_eq!(container["capabilities"], json!({"drop": ["ALL"]}));
        }
    }
}

#[test]
fn the_chart_is_the_overlays_objects() {
    for Way { overlay, components, values } in WAYS {
        let ours = of_overlay(overlay, components);
        let charts = of_chart("depthgauge", values);
        let (our_names, charts_names): (Vec<_>, Vec<_>) = (ours.keys().collect(), charts.keys().collect());
        assert_eq!(charts_names, our_names, "{overlay} {components:?}");
        for (name, object) in &ours {
            assert_eq!(charts[name], *object, "{overlay} {components:?}: {name:?}");
        }
    }
}

#[test]
fn no_other_namespace_is_named_when_the_chart_goes_elsewhere() {
    let all = "auth: {type: workloadIdentity}\ncertManager: {enabled: true}\nexporterCompat: {enabled: true}\nscaleToZero: {enabled: true}\nscrape: {enabled: true}\nprometheus: {enabled: true}";
    let objects = of_chart("elsewhere", all);
    for ((kind, namespace, name), object) in &objects {
        assert!(["", "elsewhere", "kube-system"].contains(&namespace.as_str()), "{kind} {name} in {namespace}");
        let text = object.to_string();
        assert!(!text.contains("\"namespace\":\"depthgauge\"") && !text.contains("depthgauge.depthgauge"), "{text}");
    }
    let role = &objects[&("ClusterRole".to_owned(), String::new(), "depthgauge".to_owned())];
    let rules = role["rules"].as_array().unwrap();
    let namespaces = rules.iter().find(|rule| rule["resources"] == json!(["namespaces"])).unwrap();
    assert_eq!(namespaces["resourceNames"], json!(["elsewhere"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn helm_installs_it_and_takes_the_apiservice_away_before_the_rest() {
    let cluster = tokio::task::block_in_place(|| Cluster::up("chart", &[]));
    let mut node = Node::new(&cluster).await;
    tokio::task::block_in_place(|| install_and_uninstall(&cluster, &mut node));
}

/// The hook's pod has the node.
fn install_and_uninstall(cluster: &Cluster, node: &mut Node) {
    cluster.told(&["apply", "-f", "manifests/base/namespace.yaml"]);
    let kubeconfig = cluster.kubeconfig().display().to_string();
    let on_cluster = ["-n", "depthgauge", "--kubeconfig", &kubeconfig];
    let said = helm(&[&["install", "depthgauge", CHART], &on_cluster[..]].concat());
    assert!(said.ok, "{}", said.stderr);
    let on_node = r#"{"spec":{"template":{"spec":{"nodeName":"node-0"}}}}"#;
    cluster.told(&["patch", "deployment", "depthgauge", "-n", "depthgauge", "-p", on_node]);
    cluster.told(&["rollout", "status", "deployment/depthgauge", "-n", "depthgauge", "--timeout=60s"]);
    // As the server does, which does not run here; by nobody's ownership would it go by itself.
    cluster.told(&["apply", "-f", "apiservice/apiservice.yaml"]);

    let mut uninstall = Command::new(program());
    uninstall.args(["uninstall", "depthgauge", "--timeout=60s"]).args(on_cluster);
    let uninstall = uninstall.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pod = pod_of_hook(cluster);
    cluster.told(&["get", "deployment", "depthgauge", "-n", "depthgauge"]);
    assert_eq!(pod["spec"]["serviceAccountName"], "depthgauge");
    node.run(cluster, &pod, "");
    assert!(node.ended_well() && node.log().contains("is deleted\n"), "{}", node.log());
    for Port { rule, packets } in node.ports() {
        // kube-apiserver has one of 443 and 6443: here the latter.
        let right = if rule.ends_with(DROPPED) { packets == 0 } else { packets > 0 || rule == "egress tcp 443" };
        assert!(right, "{rule}: {packets}");
    }
    // What a kubelet says of it.
    let (name, succeeded) = (pod["metadata"]["name"].as_str().unwrap(), r#"{"status":{"phase":"Succeeded"}}"#);
    cluster.told(&["patch", "pod", name, "-n", "depthgauge", "--subresource=status", "--type=merge", "-p", succeeded]);
    let ended = uninstall.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));

    let left = cluster.kubectl(&["get", "apiservice", "v1beta1.external.metrics.k8s.io"]);
    assert!(!left.ok && left.stderr.contains("NotFound"), "{left:?}");
    let kinds = "deployments,jobs,networkpolicies,services,roles,rolebindings,poddisruptionbudgets";
    assert_eq!(cluster.told(&["get", kinds, "-n", "depthgauge", "-o", "name"]), "");
    let kinds = "clusterroles,clusterrolebindings,priorityclasses";
    let cluster_wide = cluster.told(&["get", kinds, "-l", "app.kubernetes.io/name=depthgauge", "-o", "name"]);
    assert_eq!(cluster_wide, "");
}

fn pod_of_hook(cluster: &Cluster) -> Value {
    let of_hook =
        ["get", "pods", "-n", "depthgauge", "-l", "app.kubernetes.io/name=depthgauge-unregister", "-o", "json"];
    let events = || cluster.kubectl(&["get", "jobs,events", "-n", "depthgauge"]).stdout;
    eventually_or(
        || format!("the hook has a pod\n{}", events()),
        HOOK,
        || {
            let pods: Value = serde_json::from_str(&cluster.told(&of_hook)).unwrap();
            pods["items"].get(0).cloned()
        },
    )
}

/// Without the Namespace, which is not the chart's, and without the hash in the name of the config.
fn of_overlay(overlay: &str, components: &[&str]) -> Objects {
    let dir = tempfile::tempdir().unwrap();
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let path = |kind: &str, name: &str| from_to(dir.path(), &manifests.join(kind).join(name));
    let components: Vec<_> = components.iter().map(|name| path("components", name)).collect();
    let text = built(dir.path(), &[path("overlays", overlay)], &components);
    let hash = text.split_once("name: depthgauge-config-").unwrap().1.split('\n').next().unwrap().to_owned();
    let mut objects = parse(&text.replace(&format!("depthgauge-config-{hash}"), "depthgauge-config"));
    assert!(objects.remove(&("Namespace".to_owned(), String::new(), "depthgauge".to_owned())).is_some());
    objects
}

/// What the chart makes of these values, hooks included.
fn rendered(values: &str) -> Objects {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("values.yaml");
    std::fs::write(&file, values).unwrap();
    let said = helm(&["template", "depthgauge", CHART, "-n", "depthgauge", "-f", file.to_str().unwrap()]);
    assert!(said.ok, "{}", said.stderr);
    parse(said.stdout.trim_start_matches("---\n"))
}

fn named<'a>(objects: &'a Objects, kind: &str, name: &str) -> &'a Value {
    let mut found = objects.iter().filter(|((of, _, called), _)| of == kind && called == name);
    found.next().unwrap_or_else(|| panic!("no {kind} {name}")).1
}

/// The specs of the Deployment and of the hook's Job.
fn pod_owners(objects: &Objects) -> (&Value, &Value) {
    let deployment = named(objects, "Deployment", "depthgauge");
    (&deployment["spec"], &named(objects, "Job", "depthgauge-unregister")["spec"])
}

/// Without the hook and Helm's own labels.
fn of_chart(namespace: &str, values: &str) -> Objects {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("values.yaml");
    std::fs::write(&file, values).unwrap();
    let file = file.to_str().unwrap();
    let said = helm(&["template", "depthgauge", CHART, "-n", namespace, "--no-hooks", "-f", file]);
    assert!(said.ok, "{}", said.stderr);
    std::fs::write(dir.path().join("rendered.yaml"), said.stdout).unwrap();
    // Through the same reader and writer of YAML as the overlays.
    let mut objects = parse(&built(dir.path(), &["rendered.yaml".to_owned()], &[]));
    for object in objects.values_mut() {
        let labels = object["metadata"]["labels"].as_object_mut().unwrap();
        assert!(HELM_LABELS.iter().all(|label| labels.remove(*label).is_some()), "{object}");
    }
    objects
}

/// What kubectl makes of a kustomization with these, in a folder of its own.
fn built(folder: &Path, resources: &[String], components: &[String]) -> String {
    let file = json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources, "components": components});
    std::fs::write(folder.join("kustomization.yaml"), file.to_string()).unwrap();
    kustomize(folder)
}

/// The way from one folder to another, for kustomize takes no absolute path.
fn from_to(folder: &Path, path: &Path) -> String {
    let up = "../".repeat(folder.canonicalize().unwrap().components().count() - 1);
    format!("{up}{}", path.canonicalize().unwrap().strip_prefix("/").unwrap().display())
}

fn parse(text: &str) -> Objects {
    let objects = text.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    objects
        .map(|mut object| {
            // The config is YAML in YAML, and keys have no order.
            if let Some(config) = object.pointer_mut("/data/config.yaml") {
                *config = serde_saphyr::from_str(config.as_str().unwrap()).unwrap();
            }
            let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let metadata = &object["metadata"];
            ((of(&object["kind"]), of(&metadata["namespace"]), of(&metadata["name"])), object)
        })
        .collect()
}

fn helm(args: &[&str]) -> Said {
    run(Command::new(program()).args(args).current_dir(env!("CARGO_MANIFEST_DIR")))
}

fn program() -> String {
    let built = run(script("hack/setup").arg("helm"));
    assert!(built.ok, "{}", built.stderr);
    built.stdout.trim().to_owned()
}
