//! An exporter of queue depths: a workload follows it by a source of type `http-json`, and then moves to the
//! queue itself without a change of size.

use std::time::Duration;

use depthgauge_emulator::Emulator;
use serde_json::json;

use super::cluster::{eventually, eventually_or};
use super::world::{Place, World};
use crate::support::double::Double;

/// Some syncs of the controller, and the stabilization of the example.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_workload_moves_from_an_exporter_to_the_queue_in_two_steps() {
    let world = World::new("exporter", &["--sync", "2s"], "").await;
    let emulator = world.oci.emulator.clone();
    let exporter = Double::start(None, move |_| (200, exposition(&emulator))).await;
    exporter.set_header("content-type: text/plain; version=0.0.4; charset=utf-8");
    tokio::task::block_in_place(|| {
        let source = format!(
            "- {{type: http-json, metric: exported_queue_length, url: \"http://{}/metrics\", format: prometheus, value: 'oci_queue_length{{queue=\"orders\"}}', namespaces: [shop]}}\n",
            exporter.address
        );
        let config = world.write("exporter.yaml", &format!("{}{source}", world.oci.config("refresh: 1s")));
        let _server = world.serve_at(&Place { config: Some(config), ..world.place() });
        world.await_available();
        world.deploy_example();
        follow(&world, "exported_queue_length", &json!(null));
        await_replicas(&world, 0);
        world.oci.queue().put((0..8).map(|n| format!("order {n}")));
        await_replicas(&world, 4);
        follow(&world, "oci_queue_length", &json!({"matchLabels": {"queue": "orders"}}));
        eventually("the HPA reads the queue", SOON, || (world.oci.queue().reads() > 3).then_some(()));
        assert_eq!(world.replicas(), 4);
        assert_eq!(world.oci.queue().consume(8), 8);
        await_replicas(&world, 0);
    });
}

/// What the exporter has of all queues.
fn exposition(emulator: &Emulator) -> String {
    let sample = |name: &str| {
        let stats = emulator.queue(name).unwrap().stats();
        format!("oci_queue_length{{queue=\"{name}\"}} {}\n", stats.visible_messages + stats.in_flight_messages)
    };
    format!("# TYPE oci_queue_length gauge\n{}{}", sample("orders"), sample("slow"))
}

/// Replaces the metric of the example's HPA.
fn follow(world: &World, name: &str, selector: &serde_json::Value) {
    let target = json!({"type": "AverageValue", "averageValue": "2"});
    let metric =
        json!({"type": "External", "external": {"metric": {"name": name, "selector": selector}, "target": target}});
    let patch = json!({"spec": {"metrics": [metric]}}).to_string();
    world.cluster.told(&["patch", "hpa", "dummy", "-n", "shop", "--type=merge", "-p", &patch]);
}

fn await_replicas(world: &World, count: u64) {
    let what = || format!("{count} replicas; there are {}\n{}", world.replicas(), world.log());
    eventually_or(what, SOON, || (world.replicas() == count).then_some(()));
}
