//! Volumes, filled as a kubelet fills them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::cluster::Cluster;
use super::text;

/// Where a container sees a volume.
pub struct Mount {
    pub volume: String,
    pub path: String,
    pub read_only: bool,
}

/// Of a container.
pub fn mounts(container: &Value, pod: &Value) -> Vec<Mount> {
    let known: Vec<String> = volumes(pod).map(|volume| text(&volume["name"])).collect();
    let mounts = container["volumeMounts"].as_array().into_iter().flatten().map(|mount| Mount {
        volume: text(&mount["name"]),
        path: text(&mount["mountPath"]),
        read_only: mount["readOnly"] == true,
    });
    mounts.inspect(|mount| assert!(known.contains(&mount.volume), "no volume {}", mount.volume)).collect()
}

/// Makes a folder for each of the pod's.
pub fn fill(cluster: &Cluster, pod: &Value, folder: &Path) {
    // Whoever may read a file of it is for the pod's groups to say.
    let group = pod["spec"]["securityContext"]["fsGroup"].as_u64().map(|group| u32::try_from(group).unwrap());
    for volume in volumes(pod) {
        let folder = folder.join(text(&volume["name"]));
        fs::create_dir_all(&folder).unwrap();
        // Decimal in JSON; a kubelet's own default.
        let mode = ["configMap", "secret", "projected"].iter().find_map(|kind| volume[*kind]["defaultMode"].as_u64());
        let mode = u32::try_from(mode.unwrap_or(0o644)).unwrap();
        if volume["emptyDir"].is_object() {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o2777)).unwrap();
        }
        let projected = volume["projected"]["sources"].as_array().map(Vec::as_slice);
        for source in projected.unwrap_or(std::slice::from_ref(volume)) {
            for (name, content) in files(cluster, pod, source) {
                let path = folder.join(name);
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                chown(&path, None, group).unwrap();
            }
        }
    }
}

/// A field of the pod, as `fieldRef` names it.
pub fn field(pod: &Value, reference: &Value) -> String {
    let path = text(&reference["fieldPath"]);
    text(pod.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or_else(|| panic!("no field {path}")))
}

fn volumes(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["spec"]["volumes"].as_array().unwrap().iter()
}

fn files(cluster: &Cluster, pod: &Value, source: &Value) -> Vec<(String, Vec<u8>)> {
    let namespace = text(&pod["metadata"]["namespace"]);
    let get = |kind: &str, name: &Value| -> Value {
        let object = cluster.told(&["get", kind, &text(name), "-n", &namespace, "-o", "json"]);
        serde_json::from_str(&object).unwrap()
    };
    let all = |data: &Value| -> Vec<(String, String)> {
        data.as_object().into_iter().flatten().map(|(name, content)| (name.clone(), text(content))).collect()
    };
    let (config_map, secret) = (&source["configMap"], &source["secret"]);
    if let Some(fields) = source["downwardAPI"]["items"].as_array() {
        return fields.iter().map(|item| (text(&item["path"]), field(pod, &item["fieldRef"]).into_bytes())).collect();
    }
    if source["serviceAccountToken"].is_object() {
        let path = text(&source["serviceAccountToken"]["path"]);
        return vec![(path, token(cluster, pod, &namespace).into_bytes())];
    }
    if config_map.is_object() {
        let data = all(&get("configmap", &config_map["name"])["data"]);
        return data.into_iter().map(|(name, content)| (name, content.into_bytes())).collect();
    }
    if secret.is_object() {
        if secret["optional"] == true {
            let name = text(&secret["secretName"]);
            let found = cluster.told(&["get", "secret", &name, "-n", &namespace, "--ignore-not-found", "-o", "name"]);
            if found.is_empty() {
                return Vec::new();
            }
        }
        let data = all(&get("secret", &secret["secretName"])["data"]);
        return data.into_iter().map(|(name, content)| (name, STANDARD.decode(content).unwrap())).collect();
    }
    assert!(source["emptyDir"].is_object(), "a volume of another kind: {source}");
    Vec::new()
}

/// Bound to the pod: gone with it.
fn token(cluster: &Cluster, pod: &Value, namespace: &str) -> String {
    let metadata = &pod["metadata"];
    let (name, uid) = (text(&metadata["name"]), text(&metadata["uid"]));
    cluster.told(&[
        "create",
        "token",
        &text(&pod["spec"]["serviceAccountName"]),
        "-n",
        namespace,
        "--bound-object-kind=Pod",
        &format!("--bound-object-name={name}"),
        &format!("--bound-object-uid={uid}"),
    ])
}
