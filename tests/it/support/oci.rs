//! OCI: the emulator on a port of its own, somebody who may sign there, and the config that
//! makes its queues sources.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use depthgauge::metric::Clock;
use depthgauge_emulator::fault::{Fault, Rule};
use depthgauge_emulator::message::Message;
use depthgauge_emulator::operation::Operation;
use depthgauge_emulator::profile::Profile;
use depthgauge_emulator::queue::EmulatedQueue;
use depthgauge_emulator::{Emulator, Options};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::relay::Journal;

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
    journal: Option<Journal>,
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
        Self { address, profile, emulator, journal: None, _dir: dir }
    }

    /// The same emulator behind a journal of all requests. Call it before [`Self::config`].
    pub(crate) async fn with_journal(mut self) -> Self {
        let journal = Journal::before(self.address).await;
        self.address = journal.address;
        self.journal = Some(journal);
        self
    }

    /// How many requests so far contain all of these in path and query. Needs [`Self::with_journal`].
    pub(crate) fn requests(&self, parts: &[&str]) -> usize {
        let targets = self.journal.as_ref().unwrap().targets();
        targets.iter().filter(|target| parts.iter().all(|part| target.contains(part))).count()
    }

    pub(crate) fn queue(&self, name: &str) -> Arc<EmulatedQueue> {
        self.emulator.queue(name).unwrap()
    }

    /// A queue of this display name and OCID, in the compartment of [`compartment`].
    pub(crate) fn add_to_compartment(&self, name: &str, id: &str) -> Arc<EmulatedQueue> {
        self.add_to(COMPARTMENT, name, id)
    }

    /// A queue of this display name and OCID in the compartment of this OCID.
    pub(crate) fn add_to(&self, compartment: &str, name: &str, id: &str) -> Arc<EmulatedQueue> {
        let queue = self.emulator.add_queue(name, &id.parse().unwrap());
        queue.change(|settings| settings.compartment = compartment.to_owned());
        queue
    }

    pub(crate) fn remove_queue(&self, name: &str) {
        let id = self.queue(name).id().clone();
        assert!(self.emulator.remove_queue(&id));
    }

    pub(crate) fn put(&self, queue: &str, messages: usize) {
        self.queue(queue).put((0..messages).map(|n| n.to_string()));
    }

    pub(crate) fn put_in_channel(&self, queue: &str, channel: &str, messages: usize) {
        let message = |n: usize| Message { channel: Some(channel.to_owned()), ..n.to_string().into() };
        self.queue(queue).put((0..messages).map(message));
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.emulator.set_fault(fault);
    }

    pub(crate) fn set_faults(&self, rules: Vec<Rule>) {
        self.emulator.set_faults(rules);
    }

    /// From now on GetStats fails, of all queues or of this one; lists work.
    pub(crate) fn break_reads(&self, queue: Option<&str>) {
        self.set_faults(vec![reads_meet(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR), queue)]);
    }

    /// From now on ListQueues is answered with this status.
    pub(crate) fn refuse_lists(&self, status: u16) {
        let fault = Fault::Status(StatusCode::from_u16(status).unwrap());
        self.set_faults(vec![Rule { operation: Some(Operation::ListQueues), ..fault.into() }]);
    }

    /// From now on GetStats of this queue gets no answer.
    pub(crate) fn hang_reads(&self, queue: &str) {
        self.set_faults(vec![reads_meet(Fault::Hang, Some(queue))]);
    }

    /// How many requests get no answer now.
    pub(crate) fn held(&self) -> usize {
        self.emulator.held()
    }

    /// The next read of this queue, and no other, is answered with 429 and this `Retry-After`.
    pub(crate) fn throttle_once(&self, queue: &str, retry_after: u32) {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from(retry_after));
        let rule = reads_meet(Fault::Status(StatusCode::TOO_MANY_REQUESTS), Some(queue));
        self.set_faults(vec![Rule { times: Some(1), headers, ..rule }]);
    }

    /// From now on GetStats of these queues is answered with these bodies, see [`stats`].
    pub(crate) fn set_stats(&self, bodies: &[(&str, Value)]) {
        self.set_faults(bodies.iter().map(|(queue, body)| answered(queue, body)).collect());
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

    /// The same with a limit on requests a second.
    pub(crate) fn paced_config(&self, per_second: u32, defaults: &Value, sources: &[Value]) -> String {
        let mut config: Value = serde_json::from_str(&self.config(defaults, sources)).unwrap();
        config["oci"]["maxRequestsPerSecond"] = per_second.into();
        config.to_string()
    }
}

/// A queue of the emulator as a source.
pub(crate) fn source(queue: &str, namespaces: &[&str]) -> Value {
    json!({"type": "oci-queue", "name": queue, "queueId": ocid(queue), "namespaces": namespaces})
}

/// The queues of [`COMPARTMENT`] whose names fit, as sources.
pub(crate) fn compartment(pattern: &str, namespaces: &[&str]) -> Value {
    compartment_of(COMPARTMENT, pattern, namespaces)
}

/// The queues of a compartment whose names fit, as sources.
pub(crate) fn compartment_of(compartment: &str, pattern: &str, namespaces: &[&str]) -> Value {
    json!({"type": "oci-queue", "compartmentId": compartment, "match": pattern, "namespaces": namespaces})
}

/// An answer of GetStats: visible messages and messages in flight, in bytes, and dead ones.
pub(crate) fn stats(visible: i64, in_flight: i64, bytes: i64, dead: i64) -> Value {
    json!({
        "queue": {"visibleMessages": visible, "inFlightMessages": in_flight, "sizeInBytes": bytes},
        "dlq": {"visibleMessages": dead, "inFlightMessages": 0, "sizeInBytes": 0},
    })
}

/// GetStats of this queue is answered with this body.
pub(crate) fn answered(queue: &str, body: &Value) -> Rule {
    Rule { body: Some(body.to_string()), ..reads_meet(Fault::Delay(Duration::ZERO), Some(queue)) }
}

/// GetStats of this queue is answered with this status.
pub(crate) fn refused(queue: &str, status: u16) -> Rule {
    reads_meet(Fault::Status(StatusCode::from_u16(status).unwrap()), Some(queue))
}

fn reads_meet(fault: Fault, queue: Option<&str>) -> Rule {
    Rule { operation: Some(Operation::GetStats), queue: queue.map(str::to_owned), ..fault.into() }
}

/// The OCID of the queue of this name, which need not exist.
pub(crate) fn ocid(queue: &str) -> String {
    format!("ocid1.queue.oc1.{REGION}.{queue}{OCID_TAIL}")
}
