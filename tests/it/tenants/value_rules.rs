//! A queue that several entries have is, for a namespace, as the first entry has it that this namespace
//! may read.

use std::time::Duration;

use serde_json::json;

use super::{Scene, add, listed, named, served, two_compartments, with};
use crate::known_faults;
use crate::support::eventually_within;
use crate::support::oci::{compartment_of, ocid};
use crate::tenants::compartment_id;

#[tokio::test]
async fn a_fallback_is_that_of_the_namespaces_own_entry() {
    known_faults::run("a fallback is that of the namespace's own entry", async {
        let sources = [
            with(listed("team-b", &["team-a"]), &json!({"fallback": 5})),
            with(listed("team-b", &["team-b"]), &json!({"fallback": 12})),
        ];
        let scene = Scene::start(two_compartments().await, &json!({}), &sources).await;
        scene.oci.break_reads(None);
        for (namespace, fallback) in [("team-a", "5"), ("team-b", "12")] {
            let (value, rule) = scene.value(namespace, "queue=orders").await.unwrap();
            assert_eq!(rule.as_deref(), Some("fallback"));
            assert_eq!(value, fallback, "{namespace} is served {value}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_entry_without_a_fallback_has_none_of_anothers() {
    known_faults::run("an entry without a fallback has none of another's", async {
        let sources = [with(listed("team-b", &["team-a"]), &json!({"fallback": 5})), listed("team-b", &["team-b"])];
        let scene = Scene::start(two_compartments().await, &json!({}), &sources).await;
        scene.oci.break_reads(None);
        assert_eq!(scene.value("team-a", "queue=orders").await.unwrap().0, "5");
        let (code, message) = scene.value("team-b", "queue=orders").await.unwrap_err();
        assert_eq!(code, 503, "{message}");
    })
    .await;
}

#[tokio::test]
async fn an_activation_is_that_of_the_namespaces_own_entry() {
    known_faults::run("an activation is that of the namespace's own entry", async {
        let sources = [with(listed("team-b", &["team-a"]), &json!({"activation": 5})), listed("team-b", &["team-b"])];
        let scene = Scene::start(two_compartments().await, &json!({"refresh": "50ms"}), &sources).await;
        let queue = scene.oci.queue(&ocid("b1"));
        queue.consume(usize::MAX);
        let until = async |namespace: &str, value: &str, rule: Option<&str>| {
            let expected = Ok((value.to_owned(), rule.map(str::to_owned)));
            eventually_within(Duration::from_secs(5), &format!("{namespace} is served {value}"), async || {
                (scene.value(namespace, "queue=orders").await == expected).then_some(())
            })
            .await;
        };
        until("team-a", "0", None).await;
        until("team-b", "0", None).await;
        queue.put((0..3).map(|n| n.to_string()));
        until("team-a", "0", Some("activation")).await;
        until("team-b", "3", None).await;
    })
    .await;
}

#[tokio::test]
async fn how_old_a_value_may_be_is_decided_by_the_namespaces_own_entry() {
    known_faults::run("how old a value may be is decided by the namespace's own entry", async {
        let defaults = json!({"refresh": "50ms"});
        let sources = [
            with(listed("team-b", &["team-a"]), &json!({"maxAge": "1h"})),
            with(listed("team-b", &["team-b"]), &json!({"maxAge": "300ms"})),
        ];
        let scene = Scene::start(two_compartments().await, &defaults, &sources).await;
        for namespace in ["team-a", "team-b"] {
            assert_eq!(scene.length(namespace, "queue=orders").await, served(&[("orders", "7")]));
        }
        scene.oci.break_reads(None);
        eventually_within(Duration::from_secs(5), "the end of team-b's value", async || {
            scene.length("team-b", "queue=orders").await.err().filter(|(code, _)| *code == 503)
        })
        .await;
        assert_eq!(scene.length("team-a", "queue=orders").await, served(&[("orders", "7")]));
    })
    .await;
}

/// For the other team it is listed.
#[tokio::test]
async fn an_explicit_entrys_rules_are_not_for_those_who_may_not_read_it() {
    known_faults::run("an explicit entry's rules are not for those who may not read it", async {
        let sources = [
            with(named("orders", "b1", &["team-a"]), &json!({"fallback": 5})),
            with(listed("team-b", &["team-b"]), &json!({"fallback": 12})),
        ];
        let scene = Scene::start(two_compartments().await, &json!({}), &sources).await;
        scene.oci.break_reads(None);
        for (namespace, fallback) in [("team-a", "5"), ("team-b", "12")] {
            let (value, _) = scene.value(namespace, "queue=orders").await.unwrap();
            assert_eq!(value, fallback, "{namespace} is served {value}");
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_entries_that_a_namespace_may_read_the_first_counts() {
    let oci = two_compartments().await;
    add(&oci, "team-b", "bills", "b2", 1);
    let sources = [
        with(compartment_of(&compartment_id("team-b"), "order*", &["team-a", "team-b"]), &json!({"fallback": 5})),
        with(listed("team-b", &["team-b"]), &json!({"fallback": 12})),
    ];
    let scene = Scene::start(oci, &json!({}), &sources).await;
    scene.oci.break_reads(None);
    let expected = [("team-a", "orders", "5"), ("team-b", "orders", "5"), ("team-b", "bills", "12")];
    // The second time both lists are known.
    for (namespace, queue, fallback) in expected.into_iter().chain(expected) {
        let (value, _) = scene.value(namespace, &format!("queue={queue}")).await.unwrap();
        assert_eq!(value, fallback, "{namespace} is served {value} of {queue}");
    }
}
