//! The official client, `k8s.io/metrics/pkg/client/external_metrics`, with which the HPA
//! controller reads: what it makes of our answers.

use std::process::Command;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cluster::{run, script};
use super::world::World;

/// Twice what a value may be old when its queue is well: nothing here is that slow.
const RECENT: i64 = 12;

/// The queue has `depth` messages, and the server has seen them.
pub fn reads_a_value(world: &World, depth: i64) {
    let answer = read(world, "oci_queue_length", "queue=orders");
    assert_eq!(answer["contentType"], "application/vnd.kubernetes.protobuf");
    let [item] = answer["items"].as_array().unwrap().as_slice() else { panic!("one item: {answer}") };
    assert_eq!(item["metric"], "oci_queue_length");
    assert_eq!(item["labels"], json!({"queue": "orders"}));
    assert_eq!(item["value"], depth.to_string());
    assert_eq!(item["milli"], depth * 1000);
    let age = Timestamp::now().as_second() - item["timestamp"].as_i64().unwrap();
    assert!((0..=RECENT).contains(&age), "{age} s old: {answer}");
}

fn read(world: &World, metric: &str, selector: &str) -> Value {
    let built = run(script("hack/setup").arg("external-client"));
    assert!(built.ok, "{}", built.stderr);
    let said = run(Command::new(built.stdout.trim()).arg(world.cluster.kubeconfig()).args(["shop", metric, selector]));
    assert!(said.ok, "{}", said.stderr);
    serde_json::from_str(&said.stdout).unwrap()
}
