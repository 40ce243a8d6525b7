//! A node for one pod, as far as the pod can tell: a network namespace with the pod's address,
//! the policies that the cluster has for it, names and the outside world by a cable; and what a
//! kubelet does, with volumes, a token of the ServiceAccount, and containers that see no file
//! but theirs. The cluster's own nodes have no containers.

/// Names, as the cluster's DNS answers.
mod dns;
/// Which ports NetworkPolicies open, in the kernel.
mod policy;
/// What a pod finds in its folders.
mod volumes;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::cluster::{Cluster, eventually_or, run};
use super::netns::Netns;
use super::proxy::{Proxy, Task};

pub use self::policy::{DROPPED, Port};

/// The name that kube-apiserver's certificate has; a pod is told an address that leads to it.
const KUBE_APISERVER: &str = "kubernetes.default.svc";
/// Far more than a container takes.
const START: Duration = Duration::from_secs(30);

/// Everything ends with it.
pub struct Node {
    dir: TempDir,
    netns: Netns,
    containers: Vec<Container>,
    _dns: Task,
    _kube_apiserver: Proxy,
}

/// A process in a container's stead.
struct Container(Child);

// === impl Node ===

impl Node {
    /// Without a pod. Needs root.
    pub async fn new(cluster: &Cluster) -> Self {
        let netns = tokio::task::block_in_place(Netns::make);
        let dns = dns::serve(netns.host()).await;
        let kube_apiserver = Proxy::to((netns.host(), 6443).into(), cluster.address()).await;
        Self {
            dir: tempfile::tempdir().unwrap(),
            netns,
            containers: Vec::new(),
            _dns: dns,
            _kube_apiserver: kube_apiserver,
        }
    }

    /// Where every name leads, for services of the outside world to listen at.
    pub fn outside(&self) -> Ipv4Addr {
        self.netns.host()
    }

    /// The pod's address.
    pub fn pod_address(&self) -> Ipv4Addr {
        self.netns.pod(0)
    }

    /// Runs a pod of the cluster as it is. It trusts this CA and no other where the image brings
    /// its CAs.
    pub fn run(&mut self, cluster: &Cluster, pod: &Value, ca: &str) {
        policy::enforce(&self.netns, cluster, pod);
        let name = text(&pod["metadata"]["name"]);
        let address = self.pod_address().to_string();
        let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}}).to_string();
        let namespace = text(&pod["metadata"]["namespace"]);
        cluster.told(&["patch", "pod", &name, "-n", &namespace, "--subresource=status", "--type=merge", "-p", &status]);
        volumes::fill(cluster, pod, &self.volumes());
        let containers = [&pod["spec"]["initContainers"], &pod["spec"]["containers"]];
        for container in containers.into_iter().filter_map(Value::as_array).flatten() {
            let root = self.root(container, pod, ca);
            let log = fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
            let enter = self.netns.enter();
            let child = Command::new(&enter[0])
                .args(&enter[1..])
                .args(["sh", "-ec", &self.script(container, pod, &root), "sh"])
                .args(container["args"].as_array().into_iter().flatten().map(text))
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            self.containers.push(Container(child));
            self.await_start(container);
        }
    }

    /// What each rule of the policies let through, and whether something was held back.
    pub fn ports(&self) -> Vec<Port> {
        policy::ports(&self.netns)
    }

    /// Waits until the last of its containers ends by itself; whether it ended well.
    pub fn ended_well(&mut self) -> bool {
        let mut last = self.containers.pop().unwrap();
        let ended = eventually_or(|| format!("it ends\n{}", self.log()), START, || last.0.try_wait().unwrap());
        ended.success()
    }

    /// What its containers have said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn volumes(&self) -> PathBuf {
        self.dir.path().join("volumes")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The root of a container's files: the program, what it is linked with, CAs, who answers for
    /// names, and a folder for each volume.
    fn root(&self, container: &Value, pod: &Value, ca: &str) -> PathBuf {
        let root = self.dir.path().join(text(&container["name"]));
        for folder in ["usr", "etc/ssl/certs"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for link in ["lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{link}"), root.join(link)).unwrap();
        }
        fs::write(root.join("depthgauge"), "").unwrap();
        fs::write(root.join("etc/ssl/certs/ca-certificates.crt"), ca).unwrap();
        // A kubelet tells the address of kube-apiserver's Service; here that is a name, for the
        // certificate's sake, which is known without DNS just as well.
        fs::write(root.join("etc/hosts"), format!("{} {KUBE_APISERVER}\n", self.outside())).unwrap();
        fs::write(root.join("etc/nsswitch.conf"), "hosts: files dns\n").unwrap();
        fs::write(root.join("etc/resolv.conf"), format!("nameserver {}\n", self.outside())).unwrap();
        for mount in volumes::mounts(container, pod) {
            fs::create_dir_all(root.join(mount.path.trim_start_matches('/'))).unwrap();
        }
        root
    }

    /// Makes the mounts, which nobody else sees, and becomes the container's process.
    fn script(&self, container: &Value, pod: &Value, root: &Path) -> String {
        let place = root.display();
        let mut script = String::new();
        let mut bind = |from: &str, to: &str, read_only: bool| {
            script += &format!("mount --bind {from} {place}{to}\n");
            if read_only {
                script += &format!("mount -o remount,bind,ro {place}{to}\n");
            }
        };
        let read_only_root = &container["securityContext"]["readOnlyRootFilesystem"];
        bind(&place.to_string(), "", read_only_root == true);
        bind("/usr", "/usr", true);
        bind(env!("CARGO_BIN_EXE_depthgauge"), "/depthgauge", true);
        for mount in volumes::mounts(container, pod) {
            bind(&self.volumes().join(&mount.volume).display().to_string(), &mount.path, mount.read_only);
        }
        let context = &pod["spec"]["securityContext"];
        let (user, group) = (&context["runAsUser"], &context["runAsGroup"]);
        assert!(user.is_u64() && group.is_u64(), "{context}");
        let environment: String = environment(container, pod).iter().map(|pair| format!(" {pair}")).collect();
        script += &format!(
            "exec chroot --userspec={user}:{group} --groups={group} {place} /usr/bin/env -i{environment} /depthgauge \"$@\"\n"
        );
        script
    }

    /// As its probe would, which no policy holds back: the next container comes after it.
    fn await_start(&self, container: &Value) {
        let Some(port) = container["startupProbe"]["tcpSocket"]["port"].as_u64() else { return };
        let connect = format!("exec 3<>/dev/tcp/{}/{port}", self.pod_address());
        let enter = self.netns.enter();
        let started = || run(Command::new(&enter[0]).args(&enter[1..]).args(["bash", "-c", &connect])).ok.then_some(());
        eventually_or(|| format!("port {port} listens\n{}", self.log()), START, started);
    }
}

/// `NAME=value` for each variable.
fn environment(container: &Value, pod: &Value) -> Vec<String> {
    let own = container["env"].as_array().into_iter().flatten().map(|variable| {
        let value = match variable["value"].as_str() {
            Some(value) => value.to_owned(),
            None => volumes::field(pod, &variable["valueFrom"]["fieldRef"]),
        };
        format!("{}={value}", text(&variable["name"]))
    });
    let service = [("HOST", KUBE_APISERVER), ("PORT", "6443")];
    let kubelets = service.map(|(name, value)| format!("KUBERNETES_SERVICE_{name}={value}"));
    own.chain(kubelets).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text")).to_owned()
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
