//! Two teams share a server, and neither changes what the other one is served.
//!
//! The tests use config text, HTTP and the emulator only. They stay as they are when the code behind
//! these is rebuilt. Those that fail today are listed in [`crate::known_faults`].

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, Connection, values_path};
use crate::support::oci::{OCID_TAIL, Oci, compartment_of, ocid};
use crate::support::server::Server;

/// Which entries the config may have.
mod config;
/// What a name means.
mod names;
/// Names that no label value can hold.
mod odd_names;
/// Limits have owners.
mod room;
/// Reads of several namespaces take turns.
mod turns;
/// Which entry's rules hold for whom.
mod value_rules;

/// Names and values, or the code and the message of an error.
type Outcome = Result<Vec<(String, String)>, (u16, String)>;

/// A server in front of the emulator, and a client that may read in every namespace.
struct Scene {
    oci: Oci,
    hpa: Client,
    client: Connection,
    _server: Server,
}

impl Scene {
    async fn start(oci: Oci, defaults: &Value, sources: &[Value]) -> Self {
        let config = oci.config(defaults, sources);
        Self::serve(oci, &config).await
    }

    /// Starts with at most this many requests a second to the service.
    async fn paced(oci: Oci, per_second: u32, defaults: &Value, sources: &[Value]) -> Self {
        let config = oci.paced_config(per_second, defaults, sources);
        Self::serve(oci, &config).await
    }

    async fn serve(oci: Oci, config: &str) -> Self {
        let server = Server::start(config).await;
        let hpa = server.aggregator("hpa");
        let client = hpa.connect().await.unwrap();
        Self { oci, hpa, client, _server: server }
    }

    async fn get(&self, namespace: &str, metric: &str, selector: &str) -> Answer {
        self.client.get(&values_path(namespace, metric, selector)).await
    }

    async fn length(&self, namespace: &str, selector: &str) -> Outcome {
        let answer = self.get(namespace, "oci_queue_length", selector).await;
        if answer.status == 200 {
            return Ok(answer.values());
        }
        let (code, message) = answer.refusal();
        assert!(message.len() <= 400 && !message.contains(OCID_TAIL), "{message}");
        Err((code, message))
    }

    /// The value of the only item, and which value rule made it.
    async fn value(&self, namespace: &str, selector: &str) -> Result<(String, Option<String>), (u16, String)> {
        let answer = self.get(namespace, "oci_queue_length", selector).await;
        if answer.status != 200 {
            return Err(answer.refusal());
        }
        let list = answer.json();
        let [item] = list["items"].as_array().unwrap().as_slice() else { panic!("{list}") };
        let rule = item["metricLabels"][VALUE_RULE].as_str().map(str::to_owned);
        Ok((item["value"].as_str().unwrap().to_owned(), rule))
    }

    async fn status(&self) -> Value {
        let answer = self.client.get("/status").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }
}

/// The label that names the value rule behind a value.
const VALUE_RULE: &str = "depthgauge.dev/value-source";

fn served(items: &[(&str, &str)]) -> Outcome {
    Ok(items.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

/// An entry with more keys.
fn with(mut entry: Value, keys: &Value) -> Value {
    entry.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    entry
}

/// The OCID of a team's compartment.
fn compartment_id(team: &str) -> String {
    format!("ocid1.compartment.oc1..{team}{OCID_TAIL}")
}

/// An entry for a team's compartment.
fn listed(team: &str, namespaces: &[&str]) -> Value {
    compartment_of(&compartment_id(team), "*", namespaces)
}

/// An entry for one queue, by the word in its OCID and under a name of its own.
fn named(name: &str, queue: &str, namespaces: &[&str]) -> Value {
    json!({"type": "oci-queue", "name": name, "queueId": ocid(queue), "namespaces": namespaces})
}

/// Adds a queue with so many messages to a team's compartment; `queue` is the word in its OCID.
fn add(oci: &Oci, team: &str, name: &str, queue: &str, messages: usize) {
    oci.add_to(&compartment_id(team), name, &ocid(queue));
    oci.put(&ocid(queue), messages);
}

/// Two teams, each with a queue `orders` in a compartment of its own: 3 messages of team-a, 7 of team-b.
async fn two_compartments() -> Oci {
    let oci = Oci::with_queues(&[]).await;
    add(&oci, "team-a", "orders", "a1", 3);
    add(&oci, "team-b", "orders", "b1", 7);
    oci
}
