//! Debian's RabbitMQ on loopback, and what its owner does there by the management API.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{crypto, eventually_within};

/// The program itself: the one in `/usr/sbin` becomes another user first.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// It starts in ten seconds on a machine that does nothing else.
const START: Duration = Duration::from_secs(120);
const OWNER: &str = "owner";

/// A broker, which ends when it is dropped.
pub(super) struct Broker {
    /// Of the management API.
    pub(super) url: String,
    http: reqwest::Client,
    server: Child,
    epmd: Child,
    dir: TempDir,
}

// === impl Broker ===

impl Broker {
    /// A broker with these settings besides, and this prefix of the management API's paths.
    pub(super) async fn start(settings: &str, prefix: &str) -> Self {
        let setup = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/hack/setup")).arg("rabbitmq").output().unwrap();
        let output = String::from_utf8_lossy(&setup.stderr);
        assert!(setup.status.success(), "no RabbitMQ; hack/setup rabbitmq failed:\n{output}");
        crypto();
        let dir = tempfile::tempdir().unwrap();
        let [management, amqp, distribution, names] = free_ports();
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\ndefault_user = {OWNER}\ndefault_pass = {OWNER}\ndisk_free_limit.absolute = 1MB\n{settings}"
        );
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("rabbitmq.conf", &config);
        write("plugins", "[rabbitmq_management].");
        // By itself the server would start one that stays.
        let names = names.to_string();
        let mut epmd = Command::new("epmd");
        epmd.args(["-port", &*names, "-address", "127.0.0.1"]).stdout(Stdio::null()).stderr(Stdio::null());
        let epmd = epmd.spawn().unwrap();
        let path = |name: &str| dir.path().join(name);
        let log = fs::File::create(path("output")).unwrap();
        let server = Command::new(PROGRAM)
            .env("HOME", dir.path())
            .env("ERL_EPMD_PORT", &names)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("depthgauge-{names}@localhost"))
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}")
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
            .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", path("generated"))
            .env("RABBITMQ_PID_FILE", path("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // To end all of its processes together.
            .process_group(0)
            .spawn()
            .unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://127.0.0.1:{management}{prefix}");
        let mut broker = Self { url, http, server, epmd, dir };
        eventually_within(START, "RabbitMQ", async || {
            if let Some(status) = broker.server.try_wait().unwrap() {
                panic!("{status}: {}", fs::read_to_string(broker.dir.path().join("output")).unwrap());
            }
            let overview = broker.http.get(format!("{}/api/overview", broker.url)).basic_auth(OWNER, Some(OWNER));
            overview.send().await.ok().filter(|answer| answer.status() == 200).map(drop)
        })
        .await;
        broker
    }

    /// A directory for the files of a config.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes a vhost.
    pub(super) async fn make_vhost(&self, vhost: &str) {
        self.put(&format!("vhosts/{}", escaped(vhost)), &json!({})).await;
    }

    /// Declares a queue of this type.
    pub(super) async fn declare(&self, vhost: &str, queue: &str, kind: &str) {
        let arguments = json!({"x-queue-type": kind});
        let path = format!("queues/{}/{}", escaped(vhost), escaped(queue));
        self.put(&path, &json!({"durable": true, "arguments": arguments})).await;
    }

    /// Publishes so many messages.
    pub(super) async fn publish(&self, vhost: &str, queue: &str, count: usize) {
        let message = json!({"properties": {}, "routing_key": queue, "payload": "x", "payload_encoding": "string"});
        for _ in 0..count {
            let path = format!("exchanges/{}/amq.default/publish", escaped(vhost));
            let routed = self.post(&path, &message).await;
            assert_eq!(routed["routed"], true, "{queue}");
        }
    }

    /// A user with this tag and a permission on each of these vhosts, which allows nothing in them.
    pub(super) async fn make_user(&self, user: &str, password: &str, tag: &str, vhosts: &[&str]) {
        self.put(&format!("users/{user}"), &json!({"password": password, "tags": tag})).await;
        for vhost in vhosts {
            let nothing = json!({"configure": "^$", "write": "^$", "read": "^$"});
            self.put(&format!("permissions/{}/{user}", escaped(vhost)), &nothing).await;
        }
    }

    /// Declares so many queues at once.
    pub(super) async fn declare_many(&self, vhost: &str, count: usize) {
        let queue = |number| json!({"vhost": vhost, "name": format!("bulk-{number}"), "durable": true, "auto_delete": false, "arguments": {}});
        self.post("definitions", &json!({"queues": (0..count).map(queue).collect::<Vec<_>>()})).await;
    }

    async fn put(&self, path: &str, body: &Value) {
        self.send(self.http.put(format!("{}/api/{path}", self.url)), body).await;
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let text = self.send(self.http.post(format!("{}/api/{path}", self.url)), body).await;
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn send(&self, request: reqwest::RequestBuilder, body: &Value) -> String {
        let request = request.basic_auth(OWNER, Some(OWNER)).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{status}: {text}");
        text
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let group = format!("-{}", self.server.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.epmd.kill();
        for child in [&mut self.server, &mut self.epmd] {
            let _ = child.wait();
        }
    }
}

fn escaped(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Ports that nothing listens on.
fn free_ports<const N: usize>() -> [u16; N] {
    // All at once, so that they differ.
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
