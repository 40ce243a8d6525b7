//! Debian's RabbitMQ on loopback, and what its owner does there by the management API.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, crypto, eventually_within, lasting_port};

/// The program itself: the one in `/usr/sbin` becomes another user first.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// It starts in ten seconds on a machine that does nothing else.
const START: Duration = Duration::from_secs(120);
const OWNER: &str = "owner";

/// A broker of one node or of several, which ends when it is dropped. Requests go to the first node.
pub(crate) struct Broker {
    nodes: Vec<Node>,
    epmd: Child,
    dir: TempDir,
}

/// A node of a broker, and its owner's requests there.
pub(crate) struct Node {
    /// Of the management API.
    pub(crate) url: String,
    /// Of AMQP, with the owner's credentials.
    pub(crate) amqp: String,
    /// Of its exporter for Prometheus, which requires no authentication.
    pub(crate) exporter: String,
    http: reqwest::Client,
    server: Child,
    log: PathBuf,
}

/// What nodes of a broker have in common.
struct Place<'p> {
    dir: &'p Path,
    /// The port of the name server, which is in the names of nodes, too.
    names: &'p str,
    settings: &'p str,
    prefix: &'p str,
}

// === impl Broker ===

impl Broker {
    /// A broker of one node with these settings besides, and this prefix of the management API's paths.
    pub(crate) async fn start(settings: &str, prefix: &str) -> Self {
        Self::start_cluster(1, settings, prefix).await
    }

    /// A cluster of so many nodes.
    pub(crate) async fn start_cluster(count: usize, settings: &str, prefix: &str) -> Self {
        let setup = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/hack/setup")).arg("rabbitmq").output().unwrap();
        let output = String::from_utf8_lossy(&setup.stderr);
        assert!(setup.status.success(), "no RabbitMQ; hack/setup rabbitmq failed:\n{output}");
        crypto();
        let dir = tempfile::tempdir().unwrap();
        // Nodes trust each other by this secret.
        let cookie = dir.path().join(".erlang.cookie");
        fs::write(&cookie, "depthgauge").unwrap();
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400)).unwrap();
        // By itself the server would start one that stays.
        let names = lasting_port().to_string();
        let mut epmd = Command::new("epmd");
        epmd.args(["-port", &*names, "-address", "127.0.0.1"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut broker = Self { nodes: Vec::new(), epmd: epmd.spawn().unwrap(), dir };
        let members = (0..count).map(|number| {
            format!("cluster_formation.classic_config.nodes.{} = {}\n", number + 1, node_name(&names, number))
        });
        let members = match count {
            1 => String::new(),
            _ => format!("cluster_formation.peer_discovery_backend = classic_config\n{}", members.collect::<String>()),
        };
        let settings = format!("{members}{settings}");
        for number in 0..count {
            let place = Place { dir: broker.dir.path(), names: &names, settings: &settings, prefix };
            let mut node = Node::start(&place, number);
            // The first one is there when the others look for it.
            node.ready(number + 1).await;
            broker.nodes.push(node);
        }
        broker
    }

    /// One of its nodes.
    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// Ends a node at once.
    pub(crate) fn kill(&mut self, number: usize) {
        self.nodes[number].kill();
    }

    /// A directory for the files of a config.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Deref for Broker {
    type Target = Node;

    fn deref(&self) -> &Node {
        self.node(0)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
        }
        // It may have ended.
        let _ = self.epmd.kill();
        let _ = self.epmd.wait();
    }
}

// === impl Node ===

impl Node {
    fn start(place: &Place<'_>, number: usize) -> Self {
        let dir = place.dir.join(format!("node-{number}"));
        fs::create_dir(&dir).unwrap();
        let [management, amqp, distribution, exporter] = lasting_ports();
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\nprometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {exporter}\ndefault_user = {OWNER}\ndefault_pass = {OWNER}\ndisk_free_limit.absolute = 1MB\n{}",
            place.settings
        );
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        write("rabbitmq.conf", &config);
        let more = if place.settings.contains("auth_oauth2.") { ",rabbitmq_auth_backend_oauth2" } else { "" };
        write("plugins", &format!("[rabbitmq_management,rabbitmq_prometheus{more}]."));
        let log = dir.join("output");
        let output = fs::File::create(&log).unwrap();
        let server = Command::new(PROGRAM)
            .env("HOME", place.dir)
            .env("ERL_EPMD_PORT", place.names)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", node_name(place.names, number))
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}")
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("plugins"))
            .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", dir.join("log"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", dir.join("generated"))
            .env("RABBITMQ_PID_FILE", dir.join("pid"))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            // To end all of its processes together.
            .process_group(0)
            .spawn()
            .unwrap();
        // A connection that RabbitMQ closes as it is used again fails a request that is not repeated.
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(0).build().unwrap();
        let url = format!("http://127.0.0.1:{management}{}", place.prefix);
        let exporter = format!("http://127.0.0.1:{exporter}");
        Self { url, amqp: format!("amqp://{OWNER}:{OWNER}@127.0.0.1:{amqp}/"), exporter, http, server, log }
    }

    /// Waits until it answers, in a cluster of so many nodes.
    async fn ready(&mut self, nodes: usize) {
        eventually_within(START, "RabbitMQ", async || {
            if let Some(status) = self.server.try_wait().unwrap() {
                panic!("{status}: {}", fs::read_to_string(&self.log).unwrap());
            }
            let running = self.http.get(format!("{}/api/nodes", self.url)).basic_auth(OWNER, Some(OWNER));
            let answer = running.send().await.ok().filter(|answer| answer.status() == 200)?;
            let known: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
            let running = known.as_array()?.iter().filter(|node| node["running"] == true);
            (running.count() == nodes).then_some(())
        })
        .await;
    }

    fn kill(&mut self) {
        let group = format!("-{}", self.server.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.server.wait();
    }

    /// Status and body of a path of the management API, by a user.
    pub(crate) async fn get(&self, path: &str, user: Option<&str>) -> (u16, String) {
        let request = self.http.get(format!("{}/api/{path}", self.url));
        let request = match user {
            Some(user) => request.basic_auth(user, Some(user)),
            None => request,
        };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Makes a vhost.
    pub(crate) async fn make_vhost(&self, vhost: &str) {
        self.put(&format!("vhosts/{}", escaped(vhost)), &json!({})).await;
    }

    /// Declares a queue of this type.
    pub(crate) async fn declare(&self, vhost: &str, queue: &str, kind: &str) {
        let arguments = json!({"x-queue-type": kind});
        let path = format!("queues/{}/{}", escaped(vhost), escaped(queue));
        self.put(&path, &json!({"durable": true, "arguments": arguments})).await;
    }

    /// Publishes so many messages.
    pub(crate) async fn publish(&self, vhost: &str, queue: &str, count: usize) {
        for _ in 0..count {
            let answer = self.publish_one(vhost, queue).await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert!(status.is_success() && text.contains(r#""routed":true"#), "{queue}: {status} {text}");
        }
    }

    /// Publishes a message, which may fail.
    pub(crate) async fn publish_one(&self, vhost: &str, queue: &str) -> reqwest::Result<reqwest::Response> {
        let message = json!({"properties": {}, "routing_key": queue, "payload": "x", "payload_encoding": "string"});
        let path = format!("exchanges/{}/amq.default/publish", escaped(vhost));
        self.request(self.http.post(format!("{}/api/{path}", self.url)), &message).send().await
    }

    /// A user with this tag and a permission on each of these vhosts, which allows nothing in them.
    pub(crate) async fn make_user(&self, user: &str, password: &str, tag: &str, vhosts: &[&str]) {
        self.put(&format!("users/{user}"), &json!({"password": password, "tags": tag})).await;
        for vhost in vhosts {
            let nothing = json!({"configure": "^$", "write": "^$", "read": "^$"});
            self.put(&format!("permissions/{}/{user}", escaped(vhost)), &nothing).await;
        }
    }

    /// Declares so many queues at once.
    pub(crate) async fn declare_many(&self, vhost: &str, count: usize) {
        let queue = |number| json!({"vhost": vhost, "name": format!("bulk-{number}"), "durable": true, "auto_delete": false, "arguments": {}});
        self.post("definitions", &json!({"queues": (0..count).map(queue).collect::<Vec<_>>()})).await;
    }

    async fn put(&self, path: &str, body: &Value) {
        self.send(self.http.put(format!("{}/api/{path}", self.url)), body).await;
    }

    async fn post(&self, path: &str, body: &Value) {
        self.send(self.http.post(format!("{}/api/{path}", self.url)), body).await;
    }

    fn request(&self, request: reqwest::RequestBuilder, body: &Value) -> reqwest::RequestBuilder {
        let request = request.basic_auth(OWNER, Some(OWNER)).header("content-type", "application/json");
        request.body(body.to_string())
    }

    async fn send(&self, request: reqwest::RequestBuilder, body: &Value) {
        let answer = self.request(request, body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{status}: {text}");
    }
}

fn escaped(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn node_name(names: &str, number: usize) -> String {
    format!("depthgauge-{names}-{number}@localhost")
}

/// Ports for the lifetime of a node.
fn lasting_ports<const N: usize>() -> [u16; N] {
    let mut ports = BTreeSet::new();
    while ports.len() < N {
        ports.insert(lasting_port());
    }
    let mut ports = ports.into_iter();
    [(); N].map(|()| ports.next().unwrap())
}
