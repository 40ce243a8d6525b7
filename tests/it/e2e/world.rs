//! The world of a test: a cluster with our manifests in it, a queue that speaks OCI, the real
//! binary beside the cluster with a token of its ServiceAccount, and a workload with a plain
//! HPA.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use depthgauge_emulator::profile::Profile;
use depthgauge_emulator::queue::EmulatedQueue;
use depthgauge_emulator::{Emulator, Options};
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, eventually, run, script};
use crate::support::lasting_port;

pub const METRIC_PATH: &str =
    "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/oci_queue_length?labelSelector=queue%3Dorders";
pub const APISERVICE_PATH: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io";
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/examples/queue-depth.yaml");
/// The Deployments of namespace shop.
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
/// Its HPAs.
pub const HPAS: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers";
pub const QUEUE_ID: &str = "ocid1.queue.oc1.eu-frankfurt-1.e2e";
/// The Secret that every replica keeps CA and certificate in, as in a pod.
const SHARED_CERTIFICATE: &str = "--cert-secret=depthgauge/depthgauge-certs";
const SLOW_QUEUE_ID: &str = "ocid1.queue.oc1.eu-frankfurt-1.slow";

pub struct World {
    pub cluster: Cluster,
    pub oci: Oci,
    /// The Service's port, which is also where the server listens.
    pub port: u16,
    dir: TempDir,
    config: PathBuf,
}

/// An OCI Queue service that can go dark and come back with its messages.
pub struct Oci {
    pub emulator: Emulator,
    /// Of the user that it knows.
    pub config_file: PathBuf,
    /// Where it listens, when it does.
    pub address: SocketAddr,
    open: Option<(CancellationToken, JoinHandle<()>)>,
}

/// Where and how one server runs.
#[derive(Clone)]
pub struct Place {
    /// A command that runs the one that follows it, somewhere else.
    pub enter: Vec<String>,
    pub bind: SocketAddr,
    pub admin: SocketAddr,
    /// What the APIService shall name.
    pub service_port: u16,
    /// `None` for one that is told all by variables.
    pub config: Option<PathBuf>,
    pub kubeconfig: PathBuf,
    pub shutdown_delay: &'static str,
    pub env: Vec<(&'static str, String)>,
    /// Where the certificate comes from is said here; each place has its own say.
    pub flags: Vec<String>,
}

/// The real binary, killed when the test ends.
pub struct Server {
    child: Child,
    pub admin: String,
}

// === impl World ===

impl World {
    /// A cluster with everything in `manifests/base` applied as it is, and then the Service
    /// alone replaced by one that leads to this machine.
    pub async fn new(name: &str, cluster_flags: &[&str], defaults: &str) -> Self {
        crate::support::crypto();
        let cluster = Cluster::up(name, cluster_flags);
        let dir = tempfile::tempdir().unwrap();
        let oci = Oci::open(dir.path(), Timestamp::now).await;
        let port = lasting_port();
        let config = dir.path().join("config.yaml");
        fs::write(&config, oci.config(defaults)).unwrap();
        let world = Self { cluster, oci, port, dir, config };
        world.cluster.told(&["apply", "-k", "manifests/base"]);
        world.cluster.told(&["delete", "service", "depthgauge", "-n", "depthgauge"]);
        world.cluster.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: depthgauge, namespace: depthgauge}}\nspec: {{type: ExternalName, externalName: localhost, ports: [{{port: {port}}}]}}\n"
        ));
        world
    }

    /// Starts the server and waits until it listens.
    pub fn serve(&self) -> Server {
        self.serve_at(&self.place())
    }

    /// Beside the cluster, where the Service leads.
    pub fn place(&self) -> Place {
        Place {
            enter: Vec::new(),
            bind: (Ipv4Addr::LOCALHOST, self.port).into(),
            admin: (Ipv4Addr::LOCALHOST, 0).into(),
            service_port: self.port,
            config: Some(self.config.clone()),
            kubeconfig: self.cluster.own_kubeconfig(),
            shutdown_delay: "0s",
            env: Vec::new(),
            flags: vec![SHARED_CERTIFICATE.to_owned()],
        }
    }

    /// Starts one of several servers, all of which show the same certificate.
    pub fn serve_at(&self, place: &Place) -> Server {
        let log = fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut words = place.enter.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_depthgauge")]);
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .arg("serve")
            .arg(format!("--bind-address={}", place.bind.ip()))
            .arg(format!("--secure-port={}", place.bind.port()))
            .arg(format!("--admin-address={}", place.admin))
            .arg(format!("--service=depthgauge/depthgauge:{}", place.service_port))
            .args(place.config.iter().map(|file| format!("--config={}", file.display())))
            .arg(format!("--kubeconfig={}", place.kubeconfig.display()))
            .arg(format!("--shutdown-delay={}", place.shutdown_delay))
            .args(&place.flags)
            .envs(place.env.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let admin = lines.find_map(|line| line.strip_prefix("admin on ").map(str::to_owned));
        let admin = admin.unwrap_or_else(|| panic!("the server did not start:\n{}", self.log()));
        Server { child, admin }
    }

    /// A file beside the server's own; its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Waits until kube-apiserver forwards questions to the server.
    pub fn await_available(&self) {
        eventually("the APIService is Available", Duration::from_secs(40), || {
            let apiservice = self.cluster.read(APISERVICE_PATH)?;
            (condition(&apiservice, "Available", "status") == "True").then_some(())
        });
    }

    /// The example of `manifests/examples`, as it is, on the one node there is.
    pub fn deploy_example(&self) {
        self.deploy_example_as("dummy", "orders");
    }

    /// The same under another name, for another queue.
    pub fn deploy_example_as(&self, name: &str, queue: &str) {
        let example = fs::read_to_string(EXAMPLE).unwrap();
        let (of_example, of_this) = ("matchLabels: {queue: orders}", format!("matchLabels: {{queue: {queue}}}"));
        assert!(example.contains(of_example), "{example}");
        self.cluster.apply(&example.replace("dummy", name).replace(of_example, &of_this));
        let on_node = r#"{"spec":{"template":{"spec":{"nodeName":"node-0"}}}}"#;
        self.cluster.told(&["patch", "deployment", name, "-n", "shop", "-p", on_node]);
    }

    /// What the HPA controller wants for the example.
    pub fn replicas(&self) -> u64 {
        self.replicas_of("dummy")
    }

    /// The same for another Deployment.
    pub fn replicas_of(&self, name: &str) -> u64 {
        let deployment = self.cluster.read(&format!("{DEPLOYMENTS}/{name}")).expect("the Deployment");
        deployment["spec"]["replicas"].as_u64().unwrap()
    }

    /// A field of one of the conditions of the example's HPA.
    pub fn condition(&self, kind: &str, field: &str) -> String {
        condition(&self.hpa("dummy"), kind, field)
    }

    /// An HPA in namespace `shop`.
    pub fn hpa(&self, name: &str) -> Value {
        self.cluster.read(&format!("{HPAS}/{name}")).expect("the HPA")
    }

    /// The value that the aggregator answers with, if it is one.
    pub fn value(&self) -> Option<String> {
        let list = self.cluster.read(METRIC_PATH)?;
        Some(list["items"][0]["value"].as_str()?.to_owned())
    }

    /// All that the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }
}

/// A field of the condition of this type, empty without one.
pub fn condition(object: &Value, kind: &str, field: &str) -> String {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition[field].as_str()).unwrap_or_default().to_owned()
}

// === impl Oci ===

impl Oci {
    /// A user's profile in this folder, and the service that knows him; `clock` is the service's.
    pub async fn open(dir: &Path, clock: fn() -> Timestamp) -> Self {
        let profile = Profile::make(dir, "eu-frankfurt-1").unwrap();
        let queues = [("orders", QUEUE_ID), ("slow", SLOW_QUEUE_ID)];
        let queues = queues.map(|(name, id)| (name.to_owned(), id.parse().unwrap())).to_vec();
        let options = Options { queues, keys: vec![(profile.key_id, profile.key)], ..Options::default() };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, lasting_port()));
        let emulator = Emulator::new(options, clock);
        let mut oci = Self { emulator, config_file: profile.config_file, address, open: None };
        oci.come_back().await;
        oci
    }

    pub fn queue(&self) -> Arc<EmulatedQueue> {
        self.emulator.queue("orders").unwrap()
    }

    /// Visible and in flight.
    pub fn depth(&self) -> i64 {
        let stats = self.queue().stats();
        stats.visible_messages + stats.in_flight_messages
    }

    /// Connections are refused from now on; messages stay.
    pub async fn go_dark(&mut self) {
        if let Some((stop, task)) = self.open.take() {
            stop.cancel();
            task.await.unwrap();
        }
    }

    /// Listens where it listened before.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (stop, emulator) = (CancellationToken::new(), self.emulator.clone());
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move { emulator.serve(listener, stopped).await.unwrap() });
        self.open = Some((stop, task));
    }

    /// Puts messages with the official CLI.
    pub fn put_by_cli(&self, count: usize) {
        self.put_by_cli_into(QUEUE_ID, count);
    }

    /// The same into another queue.
    pub fn put_by_cli_into(&self, queue_id: &str, count: usize) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("message.json");
        for begin in (0..count).step_by(20) {
            // A put takes 20 messages at most.
            let batch = begin..count.min(begin + 20);
            let messages: Vec<_> = batch.map(|n| serde_json::json!({"content": format!("order {n}")})).collect();
            fs::write(&file, serde_json::to_vec(&messages).unwrap()).unwrap();
            let said = run(script("hack/oci")
                .args(["queue", "messages", "put-messages", "--queue-id", queue_id])
                .args(["--messages", &format!("file://{}", file.display())])
                .args(["--endpoint", &format!("http://{}", self.address)])
                .args(["--config-file", self.config_file.to_str().unwrap()]));
            assert!(said.ok, "{}", said.stderr);
        }
    }

    /// A config file with its queues.
    pub fn config(&self, defaults: &str) -> String {
        format!(
            "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\noci: {{endpoint: \"http://{}\", auth: {{type: apiKey, configFile: {}}}}}\ndefaults: {{{defaults}}}\nsources:\n- {{type: oci-queue, name: orders, queueId: {QUEUE_ID}, namespaces: [shop]}}\n- {{type: oci-queue, name: slow, queueId: {SLOW_QUEUE_ID}, namespaces: [shop]}}\n",
            self.address,
            self.config_file.display()
        )
    }
}

// === impl Server ===

impl Server {
    /// As a node that loses power does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As a kubelet does.
    pub fn terminate(&self) {
        let done = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }

    /// Waits for it to end by itself; whether it ended well.
    pub fn ended_well(&mut self, within: Duration) -> bool {
        eventually("the server ends", within, || self.child.try_wait().unwrap()).success()
    }

    /// `/readyz?verbose`
    pub fn readyz(&self) -> String {
        self.page("/readyz?verbose")
    }

    /// What the admin port has there, as JSON where it has that.
    pub fn page(&self, path: &str) -> String {
        run(Command::new("curl").args(["-sS", "-H", "Accept: application/json", &format!("{}{path}", self.admin)]))
            .stdout
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
