//! Reads of several namespaces take turns: what one of them waits for does not depend on how much
//! another one wants.

use serde_json::json;

use tokio::task::JoinHandle;

use super::{Scene, served, with};
use crate::known_faults;
use crate::support::client::values_path;
use crate::support::eventually;
use crate::support::oci::{Oci, source};

/// Reads a second: team-b's channels alone take ten seconds.
const PER_SECOND: u32 = 20;
const CHANNELS: usize = 200;

/// Queue `orders` with 3 messages for team-a, queue `busy` for team-b.
async fn scene(refresh: &str) -> Scene {
    let oci = Oci::with_queues(&["orders", "busy"]).await;
    oci.put("orders", 3);
    let defaults = json!({"refresh": refresh, "timeout": "2s", "maxAge": "1h"});
    Scene::paced(oci, PER_SECOND, &defaults, &[source("orders", &["team-a"]), source("busy", &["team-b"])]).await
}

/// Requests all channels of `busy` again and again, until it is aborted.
fn request_channels(scene: &Scene) -> JoinHandle<()> {
    let names: Vec<String> = (0..CHANNELS).map(|n| format!("c{n}")).collect();
    let selector = format!("queue=busy,channel in ({})", names.join(","));
    let path = values_path("team-b", "oci_queue_length", &selector);
    let client = scene.hpa.clone();
    tokio::spawn(async move {
        let connection = client.connect().await.unwrap();
        loop {
            connection.get(&path).await;
        }
    })
}

/// How often a queue was read.
fn reads(scene: &Scene, queue: &str) -> u64 {
    scene.oci.queue(queue).reads()
}

#[tokio::test]
async fn a_first_read_does_not_wait_for_all_that_another_namespace_wants() {
    known_faults::run("a first read does not wait for all that another namespace wants", async {
        let scene = scene("1h").await;
        let of_b = request_channels(&scene);
        eventually("reads for team-b", async || (reads(&scene, "busy") > 2).then_some(())).await;
        let before = reads(&scene, "busy");
        assert_eq!(scene.length("team-a", "queue=orders").await, served(&[("orders", "3")]));
        let meanwhile = reads(&scene, "busy") - before;
        assert!(meanwhile <= 10, "{meanwhile} reads for team-b went first");
        of_b.abort();
    })
    .await;
}

#[tokio::test]
async fn a_value_is_kept_fresh_while_another_namespace_wants_more_than_there_are_turns() {
    known_faults::run("a value is kept fresh while another namespace wants more than there are turns", async {
        let scene = scene("500ms").await;
        // In use, as an HPA has it in use: read in the background.
        let reads_before = eventually("background reads for team-a", async || {
            assert_eq!(scene.length("team-a", "queue=orders").await, served(&[("orders", "3")]));
            Some(reads(&scene, "orders")).filter(|reads| *reads > 3)
        })
        .await;
        let of_b = request_channels(&scene);
        eventually("reads for team-b", async || (reads(&scene, "busy") > 2).then_some(())).await;
        let (of_a, until) = (reads(&scene, "orders"), reads(&scene, "busy") + 60);
        assert!(of_a >= reads_before);
        eventually("60 reads for team-b", async || {
            scene.length("team-a", "queue=orders").await.unwrap();
            (reads(&scene, "busy") >= until).then_some(())
        })
        .await;
        // 60 reads take three seconds: six times `refresh`.
        let meanwhile = reads(&scene, "orders") - of_a;
        assert!(meanwhile >= 3, "{meanwhile} reads for team-a in three seconds");
        of_b.abort();
    })
    .await;
}

/// There is a limit on reads that are under way at one endpoint.
#[tokio::test]
async fn reads_that_hang_for_one_namespace_are_not_in_the_way_of_anothers() {
    known_faults::run("reads that hang for one namespace are not in the way of another's", async {
        let oci = Oci::with_queues(&["orders", "busy"]).await;
        oci.put("orders", 3);
        let sources = [
            with(source("orders", &["team-a"]), &json!({"timeout": "3s"})),
            with(source("busy", &["team-b"]), &json!({"timeout": "30s"})),
        ];
        let scene = Scene::paced(oci, 10_000, &json!({}), &sources).await;
        assert_eq!(scene.length("team-b", "queue=busy").await, served(&[("busy", "0")]));
        scene.oci.hang_reads("busy");
        let of_b = request_channels(&scene);
        let (mut held, mut unchanged) = (0, 0);
        eventually("as many reads as there can be", async || {
            let now = scene.oci.held();
            unchanged = if now == held { unchanged + 1 } else { 0 };
            held = now;
            (held > 10 && unchanged > 40).then_some(())
        })
        .await;
        assert_eq!(scene.length("team-a", "queue=orders").await, served(&[("orders", "3")]));
        of_b.abort();
    })
    .await;
}
