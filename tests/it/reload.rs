//! The config changed while it is served, in the ways in which files change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use depthgauge::health::Reasons;
use depthgauge_emulator::fault::Fault;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::client::Connection;
use crate::support::eventually;
use crate::support::oci::{Oci, compartment, ocid, source};
use crate::support::server::{Server, VALUE};

/// A change takes effect within a second; the rest is for a machine that does something else.
const SOON: Duration = Duration::from_secs(5);

struct Scene {
    oci: Oci,
    dir: tempfile::TempDir,
    connection: Connection,
    server: Server,
}

impl Scene {
    /// Serves "orders", with three messages, from a file in a folder of its own. What has been
    /// read once is not read again for an hour.
    async fn start() -> Self {
        let oci = Oci::with_queues(&["orders", "bills"]).await;
        oci.put("orders", 3);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.yaml"), config(&oci, &[source("orders", &["shop"])])).unwrap();
        Self::serve(oci, dir, "config.yaml").await
    }

    async fn serve(oci: Oci, dir: tempfile::TempDir, file: &str) -> Self {
        let server = Server::follow(&dir.path().join(file)).await;
        let connection = server.aggregator("hpa").connect().await.unwrap();
        let scene = Self { oci, dir, connection, server };
        assert_eq!(scene.names().await, "orders");
        scene
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    fn write(&self, sources: &[Value]) {
        fs::write(self.file(), config(&self.oci, sources)).unwrap();
    }

    /// Names of the sources that the namespace may read, with commas, or the refusal.
    async fn names(&self) -> String {
        let answer = self.connection.get(VALUE).await;
        match answer.status.as_u16() {
            200 => answer.values().into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(","),
            _ => answer.refusal().1,
        }
    }

    /// How long it took.
    async fn until_it_is(&self, names: &str) -> Duration {
        let began = Instant::now();
        eventually(names, async || (self.names().await == names).then_some(())).await;
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        began.elapsed()
    }

    /// The line of `/readyz?verbose` about the config.
    fn health(&self) -> String {
        self.server
            .health
            .verbose(Reasons::Shown)
            .lines()
            .find(|line| line[3..].starts_with("config "))
            .unwrap()
            .to_owned()
    }

    async fn metric(&self, name: &str) -> String {
        let metrics = self.connection.get("/metrics").await.body;
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} in {metrics}")).rsplit(' ').next().unwrap().to_owned()
    }

    fn reads(&self) -> u64 {
        self.oci.queue("orders").reads()
    }
}

fn config(oci: &Oci, sources: &[Value]) -> String {
    oci.config(&json!({"refresh": "1h", "maxAge": "2h"}), sources)
}

#[tokio::test]
async fn a_change_takes_effect_within_a_second() {
    let scene = Scene::start().await;
    let mut took = Vec::new();
    for name in ["bills", "orders", "bills", "orders", "bills"] {
        scene.write(&[source(name, &["shop"])]);
        took.push(scene.until_it_is(name).await);
    }
    took.sort();
    assert!(took[2] <= Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn sources_come_change_and_go_and_what_stays_is_not_read_again() {
    let scene = Scene::start().await;
    scene.write(&[source("orders", &["shop"]), source("bills", &["shop"])]);
    scene.until_it_is("bills,orders").await;
    scene.write(&[source("orders", &["shop"]), source("bills", &["bank"])]);
    scene.until_it_is("orders").await;
    assert_eq!(scene.reads(), 1);
    // Another queue of that name is another value.
    let mut moved = source("bills", &["shop"]);
    moved["name"] = json!("orders");
    scene.write(&[moved]);
    eventually("the other queue", async || (scene.connection.get(VALUE).await.values()[0].1 == "0").then_some(()))
        .await;
    scene.write(&[]);
    scene.until_it_is("there is no queue of type oci-queue that namespace \"shop\" may read: see `namespaces` in depthgauge's config").await;
    assert_eq!(scene.health(), "[+]config ok");
    assert_eq!((scene.reads(), scene.oci.queue("bills").reads()), (1, 2));
}

#[tokio::test]
async fn a_queue_that_is_read_in_another_way_goes_on_with_its_value() {
    goes_on(Scene::start().await).await;
}

#[tokio::test]
async fn a_queue_of_a_compartment_that_is_read_in_another_way_goes_on_with_its_value() {
    let (oci, dir) = (Oci::with_queues(&[]).await, tempfile::tempdir().unwrap());
    oci.add_to_compartment("orders", &ocid("orders"));
    oci.put("orders", 3);
    fs::write(dir.path().join("config.yaml"), config(&oci, &[compartment("*", &["shop"])])).unwrap();
    goes_on(Scene::serve(oci, dir, "config.yaml").await).await;
}

/// OCI fails, and is to be read in another way.
async fn goes_on(scene: Scene) {
    let mut config: Value = serde_json::from_str(&fs::read_to_string(scene.file()).unwrap()).unwrap();
    config["oci"]["maxRequestsPerSecond"] = json!(100);
    config["defaults"]["refresh"] = json!("30m");
    scene.oci.set_fault(Some(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    fs::write(scene.file(), config.to_string()).unwrap();
    eventually("the new reads", async || {
        assert_eq!(scene.names().await, "orders", "told as long as it is not too old");
        let status = scene.connection.get("/status").await.json();
        (status["sources"][0]["failedReads"] == 1).then_some(())
    })
    .await;
    assert_eq!(scene.connection.get(VALUE).await.values(), [("orders".to_owned(), "3".to_owned())]);
}

#[tokio::test]
async fn a_config_map_volume_swaps_a_link() {
    let oci = Oci::with_queues(&["orders", "bills"]).await;
    let dir = tempfile::tempdir().unwrap();
    let version = |name: &str, sources: &[Value]| {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("config.yaml"), config(&oci, sources)).unwrap();
    };
    version("..1", &[source("orders", &["shop"])]);
    version("..2", &[source("bills", &["shop"])]);
    symlink("..1", dir.path().join("..data")).unwrap();
    symlink("..data/config.yaml", dir.path().join("config.yaml")).unwrap();
    let scene = Scene::serve(oci, dir, "config.yaml").await;
    // As kubelet does it.
    let path = |name: &str| scene.dir.path().join(name);
    symlink("..2", path("..data_tmp")).unwrap();
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    fs::remove_dir_all(path("..1")).unwrap();
    scene.until_it_is("bills").await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_told_of_until_it_is_good() {
    let scene = Scene::start().await;
    let succeeded = scene.metric("depthgauge_config_last_reload_success_timestamp_seconds").await;
    assert_eq!(scene.metric("depthgauge_config_last_reload_successful").await, "1");
    let text = fs::read_to_string(scene.file()).unwrap();
    fs::write(scene.file(), "kind: Config\nextra: 1\n").unwrap();
    let line =
        eventually("a degraded config", async || Some(scene.health()).filter(|line| line != "[+]config ok")).await;
    assert_eq!(
        line,
        format!(
            "[!]config degraded: the changed config is not applied, and the previous one stays active: {}:1:1: `apiVersion` is missing here (and 2 more, see the log)",
            scene.file().display()
        )
    );
    assert!(scene.server.health.is_ready());
    let status = scene.connection.get("/status").await.json();
    let checks = status["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "config").unwrap();
    assert_eq!(
        (check["state"].as_str().unwrap(), line.contains(check["reason"].as_str().unwrap())),
        ("degraded", true)
    );
    assert_eq!(scene.metric("depthgauge_config_last_reload_successful").await, "0");
    assert_eq!(scene.metric("depthgauge_config_last_reload_success_timestamp_seconds").await, succeeded);
    assert_eq!(scene.names().await, "orders");
    // A key that is not there is no reason to stop, either.
    let keyless = text.replace("\"configFile\":\"", "\"configFile\":\"/absent");
    assert_ne!(keyless, text);
    fs::write(scene.file(), keyless).unwrap();
    eventually("another reason", async || scene.health().contains("/absent").then_some(())).await;
    fs::remove_file(scene.file()).unwrap();
    eventually("a missing file", async || scene.health().contains("No such file").then_some(())).await;
    assert_eq!(scene.names().await, "orders");
    fs::write(scene.file(), text).unwrap();
    eventually("a good config", async || (scene.health() == "[+]config ok").then_some(())).await;
    assert_eq!(scene.metric("depthgauge_config_last_reload_successful").await, "1");
    assert_eq!((scene.names().await.as_str(), scene.reads()), ("orders", 1));
}
