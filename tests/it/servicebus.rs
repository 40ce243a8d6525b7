//! Queues and subscriptions of Azure Service Bus: what is requested and served, with a stub that verifies
//! every signature and token, and keeps true counts. The official administration clients for Python and Go
//! drive the same stub, so that client and stub can't be wrong together.

use serde_json::{Value, json};

use crate::support::client::{Answer, Served, values_path};
use crate::support::files::Files;
use crate::support::server::Server;

mod identity;
mod official;
mod reads;
pub(crate) mod stub;
mod trouble;

use stub::Stub;

const ACTIVE: &str = "azure_servicebus_active_messages";
const DEAD_LETTER: &str = "azure_servicebus_dead_letter_messages";
const SCHEDULED: &str = "azure_servicebus_scheduled_messages";
/// A policy of the namespace with the right Manage, and its key.
const POLICY: (&str, &str) = ("manager", "throwaway-key-of-the-manager=");

/// A stub, and the files of a config.
struct Scene {
    bus: Stub,
    files: Files,
}

// === impl Scene ===

impl Scene {
    async fn new() -> Self {
        let bus = Stub::start().await;
        bus.add_policy(POLICY.0, POLICY.1, "", true);
        Self { bus, files: Files::new() }
    }

    /// `auth` with this policy and key.
    fn sas(&self, (policy, key): (&str, &str)) -> Value {
        json!({"type": "sas", "keyName": policy, "keyFile": self.files.write(policy, key)})
    }

    /// A config of these sources, which namespace `shop` may read.
    fn config(&self, auth: &Value, timing: &Value, sources: &[Value]) -> Value {
        let source = |keys: &Value| {
            let mut source = json!({"type": "azure-servicebus", "namespaces": ["shop"]});
            source.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            source
        };
        let ca_file = self.files.write("ca.pem", &self.bus.ca);
        json!({
            "apiVersion": "depthgauge.dev/v1alpha1",
            "kind": "Config",
            "defaults": timing,
            "connections": {"bus": {
                "type": "azure-servicebus", "namespace": self.bus.host(), "auth": auth, "tls": {"caFile": ca_file},
                "maxRequestsPerSecond": 100,
            }},
            "sources": sources.iter().map(source).collect::<Vec<_>>(),
        })
    }

    /// A server that reads these sources by the policy of the namespace.
    async fn serve(&self, timing: &Value, sources: &[Value]) -> Server {
        self.serve_as(&self.sas(POLICY), timing, sources).await
    }

    async fn serve_as(&self, auth: &Value, timing: &Value, sources: &[Value]) -> Server {
        Server::start(&self.config(auth, timing, sources).to_string()).await
    }
}

/// Every request reads.
fn often() -> Value {
    json!({"refresh": "20ms", "timeout": "20s", "maxAge": "20s"})
}

/// Nothing is read twice.
fn once() -> Value {
    json!({"refresh": "60s", "timeout": "20s", "maxAge": "60s"})
}

async fn get(server: &Server, metric: &str, selector: &str) -> Answer {
    server.aggregator("hpa").get(&values_path("shop", metric, selector)).await
}

async fn values(server: &Server, metric: &str, selector: &str) -> Served {
    get(server, metric, selector).await.served()
}

async fn active(server: &Server, selector: &str) -> Served {
    values(server, ACTIVE, selector).await
}

/// The message of an answer that is an error with this code.
async fn message(server: &Server, code: u16, selector: &str) -> String {
    match active(server, selector).await {
        Err((found, message)) if found == code => message,
        other => panic!("{selector}: {other:?}"),
    }
}

fn one(value: &str) -> Served {
    Ok(vec![value.to_owned()])
}
