//! Queues of RabbitMQ: which requests are sent for them, what is served, and the same with Debian's
//! RabbitMQ.

use serde_json::{Value, json};

use crate::support::client::{Answer, Served, values_path};
use crate::support::server::Server;

mod leaderless;
mod oauth2;
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
    server.aggregator("hpa").get(&values_path("shop", metric, selector)).await
}

async fn values(server: &Server, metric: &str, selector: &str) -> Served {
    get(server, metric, selector).await.served()
}

async fn length(server: &Server, selector: &str) -> Served {
    values(server, "rabbitmq_queue_length", selector).await
}

fn one(value: &str) -> Served {
    Ok(vec![value.to_owned()])
}
