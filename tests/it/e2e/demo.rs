//! `overlays/demo`, by one command: from nothing to pods that come and go with the queue. The
//! cluster has no containers, so what the pod's containers would run runs beside it: the same
//! arguments and variables, and the files of its ConfigMap, in folders of their own.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::cluster::{Cluster, eventually, eventually_or};
use super::world::lasting_port;

const OVERLAY: &str = "manifests/overlays/demo";
/// A pod of kwok's, twice as long as it takes.
const POD: Duration = Duration::from_secs(30);
/// For each turn: a whole wave of `--wave=20/2m`, since the first may come before the server does,
/// and what the controller takes to see it.
const TURN: Duration = Duration::from_secs(150);

/// Folders here, by the paths that they have in the pod.
type Places = BTreeMap<String, PathBuf>;

/// A process in a container's stead, killed when the test ends.
struct Container(Child);

#[test]
fn long_one_command_leads_to_pods_that_come_and_go() {
    let cluster = Cluster::up("demo", &["--sync", "5s"]);
    cluster.told(&["apply", "-k", OVERLAY]);
    on_the_node(&cluster, "depthgauge", "depthgauge");
    on_the_node(&cluster, "depthgauge-demo", "dummy");
    let pod = pod(&cluster);
    let port = lasting_port();
    lead_the_service_here(&cluster, port);

    let dir = tempfile::tempdir().unwrap();
    let places = mount(&cluster, &pod, &dir);
    let _emulator = start(&pod["spec"]["initContainers"][0], &places, &[], &dir);
    let emulated = || places["/etc/oci"].join("config").exists().then_some(());
    eventually("the emulator has written its profile", POD, emulated);
    let flags = [
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--service=depthgauge/depthgauge:{port}"),
        "--admin-address=127.0.0.1:0".to_owned(),
        format!("--kubeconfig={}", cluster.own_kubeconfig().display()),
    ];
    let _server = start(&pod["spec"]["containers"][0], &places, &flags, &dir);

    for pods in ["", "10", ""] {
        let said = || {
            let state = cluster.kubectl(&["get", "apiservice,hpa,deployment", "-n", "depthgauge-demo"]).stdout;
            format!("{pods:?} pods\n{state}\n{}", fs::read_to_string(dir.path().join("log")).unwrap())
        };
        eventually_or(said, TURN, || (ready(&cluster) == pods).then_some(()));
    }
}

/// How many pods of the workload are ready, as kubectl has it; nothing is none.
fn ready(cluster: &Cluster) -> String {
    let of_status = "jsonpath={.status.readyReplicas}";
    cluster.told(&["get", "deployment", "dummy", "-n", "depthgauge-demo", "-o", of_status])
}

/// What a scheduler does.
fn on_the_node(cluster: &Cluster, namespace: &str, deployment: &str) {
    let on_node = r#"{"spec":{"template":{"spec":{"nodeName":"node-0"}}}}"#;
    cluster.told(&["patch", "deployment", deployment, "-n", namespace, "-p", on_node]);
    cluster.told(&["rollout", "status", &format!("deployment/{deployment}"), "-n", namespace, "--timeout=60s"]);
}

/// The server's, once it is Ready.
fn pod(cluster: &Cluster) -> Value {
    let running = ["get", "pods", "-n", "depthgauge", "--field-selector=status.phase=Running", "-o", "json"];
    eventually("depthgauge has one pod", POD, || {
        let pods: Value = serde_json::from_str(&cluster.told(&running)).unwrap();
        let [pod] = pods["items"].as_array()?.as_slice() else { return None };
        Some(pod.clone())
    })
}

/// The cluster has no network of pods either.
fn lead_the_service_here(cluster: &Cluster, port: u16) {
    cluster.told(&["delete", "service", "depthgauge", "-n", "depthgauge"]);
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: depthgauge, namespace: depthgauge}}\nspec: {{type: ExternalName, externalName: localhost, ports: [{{port: {port}}}]}}\n"
    ));
}

/// Makes a folder for each volume, filled as a kubelet does.
fn mount(cluster: &Cluster, pod: &Value, dir: &TempDir) -> Places {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap().iter();
    // The token is a kubeconfig here.
    let mounts = mounts.filter(|mount| !text(&mount["mountPath"]).starts_with("/var/run/secrets/"));
    let places: Places =
        mounts.map(|mount| (text(&mount["mountPath"]), dir.path().join(text(&mount["name"])))).collect();
    for folder in places.values() {
        fs::create_dir(folder).unwrap();
    }
    for volume in pod["spec"]["volumes"].as_array().unwrap() {
        let Some(name) = volume["configMap"]["name"].as_str() else { continue };
        let map = cluster.told(&["get", "configmap", name, "-n", "depthgauge", "-o", "json"]);
        let map: Value = serde_json::from_str(&map).unwrap();
        for (file, content) in map["data"].as_object().unwrap() {
            let path = dir.path().join(text(&volume["name"])).join(file);
            fs::write(path, placed(&text(content), &places)).unwrap();
        }
    }
    places
}

/// Runs what this container would.
fn start(container: &Value, places: &Places, flags: &[String], dir: &TempDir) -> Container {
    let log = fs::File::options().create(true).append(true).open(dir.path().join("log")).unwrap();
    let args = container["args"].as_array().unwrap().iter().map(|arg| placed(arg.as_str().unwrap(), places));
    let mut command = Command::new(env!("CARGO_BIN_EXE_depthgauge"));
    command.args(args).args(flags).env_clear().stdout(log.try_clone().unwrap()).stderr(log).current_dir(dir);
    for variable in container["env"].as_array().into_iter().flatten() {
        assert_eq!(variable["valueFrom"]["fieldRef"]["fieldPath"], "metadata.namespace", "{variable}");
        command.env(variable["name"].as_str().unwrap(), "depthgauge");
    }
    Container(command.spawn().unwrap())
}

/// A text of the pod, with its folders where they are here.
fn placed(text: &str, places: &Places) -> String {
    let place = |text: String, (from, to): (&String, &PathBuf)| text.replace(from, &to.display().to_string());
    places.iter().fold(text.to_owned(), place)
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
