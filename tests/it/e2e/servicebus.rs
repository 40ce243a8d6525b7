//! A receiver that scales on a subscription of Azure Service Bus: one pod a message from the second message
//! on, at most 50, and at least as many as before while the namespace can't be read.

use std::time::Duration;

use serde_json::json;

use super::cluster::{eventually, throughout};
use super::world::{HPAS, Place, World};
use crate::servicebus::stub::{Stub, Trouble};

/// The controller's default interval between two looks at an HPA, and what may come on top.
const SYNC: Duration = Duration::from_secs(15);
const SLACK: Duration = Duration::from_secs(5);
/// `scaleDown.stabilizationWindowSeconds`, then a sync to see it, and one to act.
const DOWN: Duration = Duration::from_secs(30 + 2 * 15 + 5);
/// `maxAge` of the values, and a sync.
const STALE: Duration = Duration::from_secs(10 + 15 + 5);
const SUBSCRIPTION: &str = "/orders/subscriptions/receiver";

const RECEIVER: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: receiver, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: receiver}}
  template:
    metadata: {labels: {app: receiver}}
    spec: {nodeName: node-0, containers: [{name: receiver, image: receiver}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: receiver, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: receiver}
  minReplicas: 0
  maxReplicas: 50
  behavior:
    scaleUp: {policies: [{type: Pods, value: 50, periodSeconds: 15}]}
    scaleDown: {stabilizationWindowSeconds: 30}
  metrics:
    - type: External
      external:
        metric: {name: azure_servicebus_active_messages, selector: {matchLabels: {topic: orders, subscription: receiver}}}
        target: {type: AverageValue, averageValue: "1"}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_receiver_follows_its_subscription_and_the_fallback() {
    let bus = Stub::start().await;
    bus.add_policy("manager", "throwaway-key-of-the-manager=", "", true);
    bus.add_subscription("orders", "receiver");
    let world = World::new("servicebus", &["--sync", "15s"], "").await;
    tokio::task::block_in_place(|| {
        let key = world.write("key", "throwaway-key-of-the-manager=");
        let ca = world.write("ca.pem", &bus.ca);
        let config = json!({
            "apiVersion": "depthgauge.dev/v1alpha1",
            "kind": "Config",
            "defaults": {"maxAge": "10s"},
            "connections": {"bus": {
                "type": "azure-servicebus", "namespace": bus.host(), "tls": {"caFile": ca},
                "auth": {"type": "sas", "keyName": "manager", "keyFile": key},
            }},
            "sources": [{
                "type": "azure-servicebus", "topic": "orders", "subscription": "receiver", "namespaces": ["shop"],
                "activation": 1, "fallback": 6,
            }],
        });
        let config = world.write("servicebus.yaml", &config.to_string());
        let _server = world.serve_at(&Place { config: Some(config), ..world.place() });
        world.await_available();
        world.cluster.apply(RECEIVER);
        await_replicas(&world, 0, DOWN + SYNC);
        // One message starts no receiver.
        bus.send(SUBSCRIPTION, 1);
        throughout("no receiver", SYNC + SLACK, || world.replicas_of("receiver") == 0);
        bus.send(SUBSCRIPTION, 19);
        await_replicas(&world, 20, SYNC + SLACK);
        bus.send(SUBSCRIPTION, 80);
        await_replicas(&world, 50, SYNC + SLACK);
        // The last message keeps its receiver.
        bus.change(SUBSCRIPTION, |messages| messages.active = 1);
        await_replicas(&world, 1, DOWN);
        bus.set_trouble(Some(Trouble::Throttled(503)));
        await_replicas(&world, 6, STALE);
        eventually("the fallback for each of them", SYNC + SLACK, || {
            let hpa = world.cluster.read(&format!("{HPAS}/receiver"))?;
            (hpa["status"]["currentMetrics"][0]["external"]["current"]["averageValue"] == "1").then_some(())
        });
        bus.change(SUBSCRIPTION, |messages| messages.active = 0);
        bus.set_trouble(None);
        await_replicas(&world, 0, DOWN + SYNC);
    });
}

fn await_replicas(world: &World, count: u64, within: Duration) {
    eventually(&format!("{count} receivers"), within, || (world.replicas_of("receiver") == count).then_some(()));
}
