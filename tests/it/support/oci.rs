//! OCI: the emulator on a port of its own, somebody who may sign there, and the config that
//! makes its queues sources.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use depthgauge::metric::Clock;
use depthgauge_emulator::fault::{Fault, Rule};
use depthgauge_emulator::profile::Profile;
use depthgauge_emulator::queue::EmulatedQueue;
use depthgauge_emulator::{Emulator, Options};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// What every OCID here ends in, so that one that leaks is found.
pub(crate) const OCID_TAIL: &str = "amaaaaaasecretocid";
const REGION: &str = "eu-frankfurt-1";
/// Of [`compartment`].
pub(crate) const COMPARTMENT: &str = "ocid1.compartment.oc1..shopamaaaaaasecretocid";

/// A running emulator and its user.
pub(crate) struct Oci {
    pub(crate) address: SocketAddr,
    pub(crate) profile: Profile,
    emulator: Emulator,
    _dir: TempDir,
}

/// How an emulator differs from one that works.
pub(crate) struct Trouble {
    /// Judges the dates of requests.
    pub(crate) clock: Clock,
    /// Knows the user by another one's key.
    pub(crate) wrong_key: bool,
}

// === impl Oci ===

impl Oci {
    /// An emulator with these queues.
    pub(crate) async fn with_queues(names: &[&str]) -> Self {
        Self::in_trouble(names, Trouble { clock: Timestamp::now, wrong_key: false }).await
    }

    pub(crate) async fn in_trouble(names: &[&str], trouble: Trouble) -> Self {
        super::crypto();
        let Trouble { clock, wrong_key } = trouble;
        let dir = tempfile::tempdir().unwrap();
        let profile = Profile::make(dir.path(), REGION).unwrap();
        let key = if wrong_key {
            let elsewhere = tempfile::tempdir().unwrap();
            Profile::make(elsewhere.path(), REGION).unwrap().key
        } else {
            profile.key.clone()
        };
        let options = Options {
            queues: names.iter().map(|name| ((*name).to_owned(), ocid(name).parse().unwrap())).collect(),
            keys: vec![(profile.key_id.clone(), key)],
            ..Options::default()
        };
        let emulator = Emulator::new(options, clock);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = emulator.clone();
        tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
        Self { address, profile, emulator, _dir: dir }
    }

    pub(crate) fn queue(&self, name: &str) -> Arc<EmulatedQueue> {
        self.emulator.queue(name).unwrap()
    }

    /// A queue of this display name and OCID, in the compartment of [`compartment`].
    pub(crate) fn add_to_compartment(&self, name: &str, id: &str) -> Arc<EmulatedQueue> {
        let queue = self.emulator.add_queue(name, &id.parse().unwrap());
        queue.change(|settings| settings.compartment = COMPARTMENT.to_owned());
        queue
    }

    pub(crate) fn remove_queue(&self, name: &str) {
        let id = self.queue(name).id().clone();
        assert!(self.emulator.remove_queue(&id));
    }

    pub(crate) fn put(&self, queue: &str, messages: usize) {
        self.queue(queue).put((0..messages).map(|n| n.to_string()));
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.emulator.set_fault(fault);
    }

    pub(crate) fn set_faults(&self, rules: Vec<Rule>) {
        self.emulator.set_faults(rules);
    }

    /// Where the private half of the user's key is.
    pub(crate) fn key_file(&self) -> String {
        self.profile.config_file.with_file_name("key.pem").display().to_string()
    }

    /// A config with these sources and timing, see [`source`].
    pub(crate) fn config(&self, defaults: &Value, sources: &[Value]) -> String {
        let auth = json!({"type": "apiKey", "configFile": self.profile.config_file});
        json!({
            "apiVersion": "depthgauge.dev/v1alpha1",
            "kind": "Config",
            "oci": {"endpoint": format!("http://{}", self.address), "auth": auth},
            "defaults": defaults,
            "sources": sources,
        })
        .to_string()
    }
}

/// A queue of the emulator as a source.
pub(crate) fn source(queue: &str, namespaces: &[&str]) -> Value {
    json!({"type": "oci-queue", "name": queue, "queueId": ocid(queue), "namespaces": namespaces})
}

/// The queues of a compartment whose names fit, as sources.
pub(crate) fn compartment(pattern: &str, namespaces: &[&str]) -> Value {
    json!({"type": "oci-queue", "compartmentId": COMPARTMENT, "match": pattern, "namespaces": namespaces})
}

/// The OCID of the queue of this name, which need not exist.
pub(crate) fn ocid(queue: &str) -> String {
    format!("ocid1.queue.oc1.{REGION}.{queue}{OCID_TAIL}")
}
