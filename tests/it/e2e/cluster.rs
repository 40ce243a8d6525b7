//! A control plane of `hack/cluster`, taken down when the test ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::api::Api;

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(100);

/// Far more than kube-apiserver takes to serve a new kind.
const PATIENCE: Duration = Duration::from_secs(60);

/// The variable with the version of Kubernetes that clusters have, such as `1.34`. Without it, they have the
/// newest that `hack/cluster` has.
const VERSION: &str = "KUBERNETES_VERSION";

/// kubectl, of which there is one version for all clusters.
static KUBECTL: LazyLock<PathBuf> = LazyLock::new(|| {
    let built = run(script("hack/cluster").arg("build"));
    assert!(built.ok, "hack/cluster build: {}", built.stderr);
    Path::new(built.stdout.trim()).join("kubectl")
});

/// A running control plane.
pub struct Cluster {
    name: String,
    kubeconfig: PathBuf,
    api: Api,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Whether clusters have this minor version of Kubernetes 1, or a newer one.
pub fn is_at_least(minor: u32) -> bool {
    let Ok(version) = std::env::var(VERSION) else { return true };
    let has = version.strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
    has.unwrap_or_else(|| panic!("{VERSION}={version}")) >= minor
}

impl Cluster {
    /// Starts one of its own; the name tells tests apart, the flags are those of `hack/cluster up`.
    pub fn up(name: &str, flags: &[&str]) -> Self {
        let name = format!("e2e-{name}");
        let version = std::env::var(VERSION).map(|version| ["--version".to_owned(), version]);
        let up = run(script("hack/cluster").arg("up").arg(&name).args(flags).args(version.iter().flatten()));
        if !up.ok {
            down(&name);
            panic!("hack/cluster up: {}", up.stderr);
        }
        let env = run(script("hack/cluster").args(["env", &name]));
        let path = env.stdout.split_whitespace().find_map(|word| word.strip_prefix("KUBECONFIG="));
        let kubeconfig = PathBuf::from(path.expect("hack/cluster env prints KUBECONFIG"));
        let api = Api::new(address(&kubeconfig), kubeconfig.parent().unwrap());
        Self { name, kubeconfig, api }
    }

    /// Where the administrator's kubeconfig is.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    /// Its name for `hack/cluster`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where kube-apiserver listens, for as long as the cluster is up.
    pub fn address(&self) -> SocketAddr {
        address(&self.kubeconfig)
    }

    /// A file of its certificates: `ca.crt`, `front-proxy-client.key`, …
    pub fn file(&self, name: &str) -> PathBuf {
        self.kubeconfig().with_file_name(name)
    }

    /// A kubeconfig with a token of the manifests' ServiceAccount, so that their RBAC is all it has.
    pub fn own_kubeconfig(&self) -> PathBuf {
        let token = self.told(&["create", "token", "depthgauge", "-n", "depthgauge", "--duration=2h"]);
        let admin = std::fs::read_to_string(self.kubeconfig()).unwrap();
        let clusters = admin.lines().find(|line| line.starts_with("clusters:")).unwrap();
        let path = self.file("own.kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\n{clusters}\nusers: [{{name: own, user: {{token: {token}}}}}]\ncontexts: [{{name: own, context: {{cluster: cluster, user: own}}}}]\ncurrent-context: own\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Stops a process of the control plane and starts it again where it was; returns when
    /// kube-apiserver is ready.
    pub fn restart(&self, process: &str) {
        let said = run(script("hack/cluster").args(["restart", &self.name, process]));
        assert!(said.ok, "hack/cluster restart: {}", said.stderr);
    }

    /// The object or list at this path, such as `/api/v1/namespaces/shop/pods`, if there is one.
    pub fn read(&self, path: &str) -> Option<Value> {
        self.api.read(path)
    }

    /// kubectl, whatever it says.
    pub fn kubectl(&self, args: &[&str]) -> Said {
        kubectl(&self.kubeconfig, args)
    }

    /// What kubectl prints; it must succeed.
    pub fn told(&self, args: &[&str]) -> String {
        let said = self.kubectl(args);
        assert!(said.ok, "kubectl {args:?}: {}", said.stderr);
        said.stdout
    }

    /// Applies a text.
    pub fn apply(&self, yaml: &str) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("object.yaml");
        std::fs::write(&file, yaml).unwrap();
        self.told(&["apply", "-f", file.to_str().unwrap()]);
    }

    /// Waits until a CustomResourceDefinition serves its kind. kubectl's own `wait` gives up at once
    /// on one that is so new that its conditions are null.
    pub fn await_kind(&self, definition: &str) {
        let asked = ["wait", "--for=condition=Established", &format!("crd/{definition}"), "--timeout=30s"];
        eventually(&format!("{definition} is established"), PATIENCE, || self.kubectl(&asked).ok.then_some(()));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        down(&self.name);
    }
}

fn down(name: &str) {
    let _ = script("hack/cluster").args(["down", name]).stderr(Stdio::null()).status();
}

/// kubectl on the cluster of this kubeconfig.
pub fn kubectl(kubeconfig: &Path, args: &[&str]) -> Said {
    let cache = kubeconfig.with_file_name("cache");
    let kubectl = KUBECTL.to_str().unwrap();
    run(script(kubectl).arg("--kubeconfig").arg(kubeconfig).arg("--cache-dir").arg(cache).args(args))
}

/// What `kubectl kustomize` makes of a folder, for which it needs no cluster.
pub fn kustomize(folder: &Path) -> String {
    let said = run(script(KUBECTL.to_str().unwrap()).arg("kustomize").arg(folder));
    assert!(said.ok, "kubectl kustomize {}: {}", folder.display(), said.stderr);
    said.stdout
}

/// Where kube-apiserver listens, by a kubeconfig.
fn address(kubeconfig: &Path) -> SocketAddr {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let (_, rest) = text.split_once("https://").unwrap();
    rest.split('"').next().unwrap().parse().unwrap()
}

/// A script of this repository, run at its root.
pub fn script(path: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join(path));
    command.current_dir(root);
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { ok: status.success(), stdout: text(stdout), stderr: text(stderr) }
}

/// The same for one that prints something else than text; whatever it says otherwise.
pub fn run_raw(command: &mut Command) -> Vec<u8> {
    command.output().unwrap().stdout
}

/// Looks again and again until there is something; fails when there is nothing in time.
pub fn eventually<T>(what: &str, within: Duration, look: impl FnMut() -> Option<T>) -> T {
    eventually_or(|| what.to_owned(), within, look)
}

/// The same; what there was instead is only asked when it has failed.
pub fn eventually_or<T>(what: impl Fn() -> String, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {}", what());
        pause(POLL);
    }
}

/// Looks again and again for a time; fails as soon as it is not so.
pub fn throughout(what: &str, time: Duration, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        assert!(look(), "no longer so: {what}");
        pause(POLL);
    }
}

/// Lets time pass between two looks, or until a moment that the test draws by lot; never to wait
/// for something.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
