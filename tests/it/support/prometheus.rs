//! Debian's Prometheus on loopback.

use std::net::SocketAddr;
use std::process::{Child, Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::lasting_port;

/// Ends when it is dropped.
pub(crate) struct Prometheus {
    /// `http://127.0.0.1:1234`
    pub(crate) base: String,
    child: Child,
    dir: TempDir,
}

// === impl Prometheus ===

impl Prometheus {
    /// One that scrapes these addresses every second, each with the name of its job. It may not be ready
    /// yet.
    pub(crate) fn start(jobs: &[(&str, SocketAddr)], flags: &[&str]) -> Self {
        let job = |(name, address): &(&str, SocketAddr)| json!({"job_name": name, "honor_labels": true, "static_configs": [{"targets": [address.to_string()]}]});
        let jobs: Vec<Value> = jobs.iter().map(job).collect();
        Self::run(
            tempfile::tempdir().unwrap(),
            &json!({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}),
            flags,
        )
    }

    /// One with this config, which reads and writes files in this directory. It may not be ready yet.
    pub(crate) fn run(dir: TempDir, config: &Value, flags: &[&str]) -> Self {
        let setup =
            Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/hack/setup")).arg("prometheus").output().unwrap();
        assert!(setup.status.success(), "hack/setup prometheus: {}", String::from_utf8_lossy(&setup.stderr));
        // JSON is YAML.
        std::fs::write(dir.path().join("prometheus.yaml"), config.to_string()).unwrap();
        // Prometheus does not print the port that it takes.
        let address = format!("127.0.0.1:{}", lasting_port());
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.path().join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(flags)
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .expect("Prometheus, by hack/setup prometheus");
        Self { base: format!("http://{address}"), child, dir }
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{status}: {}", std::fs::read_to_string(self.dir.path().join("log")).unwrap());
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
