//! Queues of RabbitMQ: which requests are sent for them, what is served, and the same with Debian's
//! RabbitMQ.

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::server::Server;

mod broker;
mod real;
mod shared;

/// A config of these sources at this URL.
fn config(url: &str, connection: &Value, timing: &Value, sources: &[Value]) -> String {
    let mut broker = json!({"type": "rabbitmq", "url": url});
    broker.as_object_mut().unwrap().extend(connection.as_object().unwrap().clone());
    json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        "defaults": timing,
        "connections": {"broker": broker},
        "sources": sources,
    })
    .to_string()
}

/// A source that namespace `shop` may read.
fn source(keys: &Value) -> Value {
    let mut source = json!({"type": "rabbitmq", "namespaces": ["shop"]});
    source.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    source
}

async fn get(server: &Server, metric: &str, selector: &str) -> Answer {
    let selector: String = selector.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/{metric}?labelSelector={selector}");
    server.aggregator("hpa").get(&path).await
}

/// The values of an answer, or its code and message.
async fn values(server: &Server, metric: &str, selector: &str) -> Result<Vec<String>, (u16, String)> {
    let answer = get(server, metric, selector).await;
    if answer.status != 200 {
        return Err(answer.refusal());
    }
    let items = answer.json()["items"].take();
    Ok(items.as_array().unwrap().iter().map(|item| item["value"].as_str().unwrap().to_owned()).collect())
}

async fn length(server: &Server, selector: &str) -> Result<Vec<String>, (u16, String)> {
    values(server, "rabbitmq_queue_length", selector).await
}
