//! Limits have owners: a namespace is charged for what it requests, and at a limit the namespace with
//! the most loses what it requested least recently.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Scene, served};
use crate::known_faults;
use crate::support::oci::{Oci, source};
use crate::support::{eventually, eventually_within};

/// No test here is about the limit on requests a second.
const FAST: u32 = 10_000;
/// As many channels of one queue as can be read at a time, and activations of one value.
const CHANNELS: usize = 256;
const ACTIVATIONS: usize = 16;
/// Above what all queues together can have in channels, in queues of this many.
const QUEUES: usize = 4;
const CHANNELS_EACH: usize = 250;

/// Queue `shared` is for both teams: 2 messages in channel `eu`, 1 in none. Its time-out is long, because
/// hundreds of reads take a while on a busy machine.
async fn scene() -> Scene {
    let oci = Oci::with_queues(&["shared"]).await;
    oci.put_in_channel("shared", "eu", 2);
    oci.put("shared", 1);
    Scene::paced(oci, FAST, &json!({"timeout": "20s"}), &[source("shared", &["team-a", "team-b"])]).await
}

/// A selector for this many channels that do not exist.
fn made_up(queue: &str, channels: std::ops::Range<usize>) -> String {
    let names: Vec<String> = channels.map(|n| format!("made-up-{n}")).collect();
    format!("queue={queue},channel in ({})", names.join(","))
}

fn activation(threshold: usize) -> String {
    format!("queue=shared,depthgauge.dev/activation={threshold}")
}

// Channels.

#[tokio::test]
async fn made_up_channels_of_one_namespace_leave_room_for_anothers_channel() {
    known_faults::run("made-up channels of one namespace leave room for another's channel", async {
        let scene = scene().await;
        assert_eq!(scene.length("team-b", &made_up("shared", 0..CHANNELS)).await.unwrap().len(), CHANNELS);
        assert_eq!(scene.length("team-a", "queue=shared,channel=eu").await, served(&[("shared", "2")]));
    })
    .await;
}

#[tokio::test]
async fn a_namespace_at_its_limit_gives_up_its_least_recently_used_channel() {
    known_faults::run("a namespace at its limit gives up its least recently used channel", async {
        let scene = scene().await;
        assert_eq!(scene.length("team-b", &made_up("shared", 0..CHANNELS)).await.unwrap().len(), CHANNELS);
        assert_eq!(scene.length("team-b", "queue=shared,channel=eu").await, served(&[("shared", "2")]));
    })
    .await;
}

/// The limit of all queues together.
#[tokio::test]
async fn channels_of_one_namespaces_queues_leave_room_for_anothers_channel() {
    known_faults::run("channels of one namespace's queues leave room for another's channel", async {
        let names: Vec<String> = (0..QUEUES).map(|n| format!("b{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).chain(["orders"]).collect();
        let oci = Oci::with_queues(&names).await;
        oci.put_in_channel("orders", "eu", 2);
        let mut sources: Vec<Value> = names[..QUEUES].iter().map(|name| source(name, &["team-b"])).collect();
        sources.push(source("orders", &["team-a"]));
        let scene = Scene::paced(oci, FAST, &json!({"timeout": "20s"}), &sources).await;
        for queue in &names[..QUEUES] {
            let outcome = scene.length("team-b", &made_up(queue, 0..CHANNELS_EACH)).await;
            assert_eq!(outcome.unwrap().len(), CHANNELS_EACH);
        }
        assert_eq!(scene.length("team-a", "queue=orders,channel=eu").await, served(&[("orders", "2")]));
    })
    .await;
}

#[tokio::test]
async fn a_consumer_group_that_does_not_exist_gives_its_room_back_soon() {
    known_faults::run("a consumer group that does not exist gives its room back soon", async {
        let oci = Oci::with_queues(&["shared"]).await;
        let defaults = json!({"refresh": "100ms", "timeout": "20s", "idleAfter": "1h"});
        let scene = Scene::start(oci, &defaults, &[source("shared", &["team-a", "team-b"])]).await;
        assert_eq!(scene.length("team-b", "queue=shared,consumer-group=made-up").await.unwrap_err().0, 404);
        eventually_within(Duration::from_secs(15), "the end of the made-up group", async || {
            (!scene.status().await["sources"].to_string().contains("made-up")).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn consumer_groups_that_do_not_exist_leave_room_for_a_channel() {
    known_faults::run("consumer groups that do not exist leave room for a channel", async {
        let scene = scene().await;
        let groups = made_up("shared", 0..CHANNELS).replace("channel", "consumer-group");
        assert_eq!(scene.length("team-b", &groups).await.unwrap_err().0, 404);
        assert_eq!(scene.length("team-a", "queue=shared,channel=eu").await, served(&[("shared", "2")]));
    })
    .await;
}

// Activations.

#[tokio::test]
async fn activations_of_one_namespace_leave_room_for_anothers() {
    known_faults::run("activations of one namespace leave room for another's", async {
        let scene = scene().await;
        for threshold in 100..100 + ACTIVATIONS {
            assert_eq!(scene.length("team-b", &activation(threshold)).await, served(&[("shared", "3")]));
        }
        assert_eq!(scene.length("team-a", &activation(1)).await, served(&[("shared", "3")]));
    })
    .await;
}

#[tokio::test]
async fn a_namespace_at_its_limit_gives_up_its_least_recently_used_activation() {
    known_faults::run("a namespace at its limit gives up its least recently used activation", async {
        let scene = scene().await;
        for threshold in 100..=100 + ACTIVATIONS {
            assert_eq!(scene.length("team-b", &activation(threshold)).await, served(&[("shared", "3")]));
        }
    })
    .await;
}

/// An activation that was given up begins again as reached. Here that would show as 3, not 0.
#[tokio::test]
async fn requests_of_one_namespace_take_no_activation_from_another() {
    let oci = Oci::with_queues(&["shared"]).await;
    let defaults = json!({"refresh": "50ms", "timeout": "20s"});
    let scene = Scene::paced(oci, FAST, &defaults, &[source("shared", &["team-a", "team-b"])]).await;
    let (whole, channel) = (activation(5), format!("{},channel=eu", activation(5)));
    for selector in [&whole, &channel] {
        // team-b requests the same first, and then so many others that this is its least recent request.
        for namespace in ["team-b", "team-a"] {
            assert_eq!(scene.value(namespace, selector).await, Ok(("0".to_owned(), None)));
        }
    }
    scene.oci.put_in_channel("shared", "eu", 3);
    let held = Ok(("0".to_owned(), Some("activation".to_owned())));
    for selector in [&whole, &channel] {
        eventually("3 messages below the threshold", async || {
            (scene.value("team-a", selector).await == held).then_some(())
        })
        .await;
    }
    for round in 0..2 {
        scene.get("team-b", "oci_queue_length", &made_up("shared", round * CHANNELS..(round + 1) * CHANNELS)).await;
    }
    for threshold in 100..100 + 3 * ACTIVATIONS {
        scene.get("team-b", "oci_queue_length", &activation(threshold)).await;
        scene.get("team-b", "oci_queue_length", &format!("{},channel=eu", activation(threshold))).await;
    }
    assert_eq!(scene.value("team-a", &whole).await, held);
    assert_eq!(scene.value("team-a", &channel).await, held);
}

// What `/status` shows.

#[tokio::test]
async fn status_lists_every_namespace_that_requests_a_queue() {
    known_faults::run("status lists every namespace that requests a queue", async {
        let scene = scene().await;
        for queues in 0..40 {
            let names: Vec<String> = (0..=queues).map(|n| format!("q{n}")).collect();
            let selector = format!("queue in (shared,{})", names.join(","));
            assert_eq!(scene.length("team-b", &selector).await, served(&[("shared", "3")]));
        }
        assert_eq!(scene.length("team-a", "queue=shared").await, served(&[("shared", "3")]));
        let status = scene.status().await;
        let is_listed = |team: &str| {
            any(&status["sources"], &|object| object["namespace"] == team && object["selector"].is_string())
        };
        assert!(is_listed("team-b"), "{status:#}");
        assert!(is_listed("team-a"), "team-a is not listed: {status:#}");
    })
    .await;
}

/// Where room is taken, `/status` has an object `{"owner": "<namespace>", "used": <how much>, …}`, for
/// as long as the namespace is charged for it.
#[tokio::test]
async fn status_names_the_owner_of_room_until_it_is_idle() {
    known_faults::run("status names the owner of room until it is idle", async {
        let oci = Oci::with_queues(&["shared"]).await;
        // Longer than the reads of all channels take on a machine that does other things.
        let defaults = json!({"timeout": "20s", "idleAfter": "10s"});
        let scene = Scene::paced(oci, FAST, &defaults, &[source("shared", &["team-a", "team-b"])]).await;
        scene.length("team-b", &made_up("shared", 0..CHANNELS)).await.unwrap();
        let takes = |object: &Value| object["used"].as_u64().is_some_and(|used| used >= CHANNELS as u64);
        let owns = |status: &Value| any(status, &|object| object["owner"] == "team-b" && takes(object));
        let status = scene.status().await;
        assert!(owns(&status), "team-b is not the owner of {CHANNELS} channels");
        eventually_within(Duration::from_secs(40), "the end of the charge", async || {
            (!any(&scene.status().await, &|object| object["owner"] == "team-b")).then_some(())
        })
        .await;
    })
    .await;
}

/// Whether a JSON document has such an object anywhere.
fn any(json: &Value, is_it: &dyn Fn(&Value) -> bool) -> bool {
    match json {
        Value::Object(fields) => is_it(json) || fields.values().any(|value| any(value, is_it)),
        Value::Array(items) => items.iter().any(|item| any(item, is_it)),
        _ => false,
    }
}
