//! A control plane of `hack/cluster`, taken down when the test ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How often a condition is looked at; kubectl itself takes 50 ms.
const POLL: Duration = Duration::from_millis(200);

/// Far more than kube-apiserver takes to serve a new kind.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running control plane.
pub struct Cluster {
    name: String,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Cluster {
    /// Starts one of its own; the name tells tests apart, the flags are those of `hack/cluster up`.
    pub fn up(name: &str, flags: &[&str]) -> Self {
        let cluster = Self { name: format!("e2e-{name}") };
        let output = script("hack/cluster").arg("up").arg(&cluster.name).args(flags).output().unwrap();
        assert!(output.status.success(), "hack/cluster up: {}", String::from_utf8_lossy(&output.stderr));
        cluster
    }

    /// Where the administrator's kubeconfig is.
    pub fn kubeconfig(&self) -> PathBuf {
        let env = run(script("hack/cluster").args(["env", &self.name]));
        let path = env.stdout.split_whitespace().find_map(|word| word.strip_prefix("KUBECONFIG="));
        PathBuf::from(path.expect("hack/cluster env prints KUBECONFIG"))
    }

    /// Its name for `hack/cluster`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where kube-apiserver listens, for as long as the cluster is up.
    pub fn address(&self) -> SocketAddr {
        let kubeconfig = std::fs::read_to_string(self.kubeconfig()).unwrap();
        let (_, rest) = kubeconfig.split_once("https://").unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
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

    /// kubectl, whatever it says.
    pub fn kubectl(&self, args: &[&str]) -> Said {
        kubectl(&self.name, args)
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
        let _ = script("hack/cluster").args(["down", &self.name]).stderr(Stdio::null()).status();
    }
}

/// kubectl on a cluster of this name, for those who do not own it.
pub fn kubectl(cluster: &str, args: &[&str]) -> Said {
    run(script("hack/cluster").args(["kubectl", cluster, "--"]).args(args))
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
