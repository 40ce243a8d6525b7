//! What a name means is decided among the sources that the requesting namespace may read, and nothing
//! reveals the others.

use serde_json::{Value, json};

use super::{Outcome, Scene, add, listed, named, served, two_compartments};
use crate::known_faults;
use crate::support::oci::Oci;

#[tokio::test]
async fn a_name_means_the_requesting_namespaces_own_queue() {
    known_faults::run("a name means the requesting namespace's own queue", async {
        let oci = two_compartments().await;
        add(&oci, "team-a", "bills", "a2", 1);
        let sources = [listed("team-a", &["team-a"]), listed("team-b", &["team-b"])];
        let scene = Scene::start(oci, &json!({}), &sources).await;
        for _ in 0..2 {
            assert_eq!(scene.length("team-b", "queue=orders").await, served(&[("orders", "7")]));
            assert_eq!(scene.length("team-a", "queue=orders").await, served(&[("orders", "3")]));
        }
    })
    .await;
}

#[tokio::test]
async fn a_query_without_a_selector_means_the_requesting_namespaces_own_queues() {
    known_faults::run("a query without a selector means the requesting namespace's own queues", async {
        let oci = two_compartments().await;
        add(&oci, "team-a", "bills", "a2", 1);
        let sources = [listed("team-a", &["team-a"]), listed("team-b", &["team-b"])];
        let scene = Scene::start(oci, &json!({}), &sources).await;
        for _ in 0..2 {
            assert_eq!(scene.length("team-b", "").await, served(&[("orders", "7")]));
            assert_eq!(scene.length("team-a", "").await, served(&[("bills", "1"), ("orders", "3")]));
        }
    })
    .await;
}

/// A workload at zero depends on it: no other value can scale it up.
#[tokio::test]
async fn a_fallback_applies_whatever_another_namespace_calls_its_queue() {
    known_faults::run("a fallback applies whatever another namespace calls its queue", async {
        let oci = two_compartments().await;
        let mut of_a = listed("team-a", &["team-a"]);
        of_a["fallback"] = json!(12);
        let scene = Scene::start(oci, &json!({}), &[of_a, listed("team-b", &["team-b"])]).await;
        scene.oci.break_reads(None);
        assert_eq!(scene.length("team-b", "queue=orders").await.unwrap_err().0, 503);
        let fallback = Ok(("12".to_owned(), Some("fallback".to_owned())));
        assert_eq!(scene.value("team-a", "queue=orders").await, fallback);
    })
    .await;
}

#[tokio::test]
async fn an_explicit_entry_of_one_namespace_hides_no_listed_queue_of_another() {
    known_faults::run("an explicit entry of one namespace hides no listed queue of another", async {
        let sources = [named("orders", "a1", &["team-a"]), listed("team-b", &["team-b"])];
        let scene = Scene::start(two_compartments().await, &json!({}), &sources).await;
        assert_eq!(scene.length("team-a", "queue=orders").await, served(&[("orders", "3")]));
        for selector in ["queue=orders", "", "queue in (orders,bills)"] {
            assert_eq!(scene.length("team-b", selector).await, served(&[("orders", "7")]), "{selector}");
        }
    })
    .await;
}

/// Both entries are about one queue.
#[tokio::test]
async fn a_queue_that_one_namespace_has_by_an_explicit_entry_stays_listed_for_another() {
    known_faults::run("a queue that one namespace has by an explicit entry stays listed for another", async {
        let sources = [named("from-b", "b1", &["team-a"]), listed("team-b", &["team-b"])];
        let scene = Scene::start(two_compartments().await, &json!({}), &sources).await;
        assert_eq!(scene.length("team-a", "queue=from-b").await, served(&[("from-b", "7")]));
        assert_eq!(scene.length("team-b", "queue=orders").await, served(&[("orders", "7")]));
    })
    .await;
}

#[tokio::test]
async fn an_error_calls_a_shared_queue_by_the_requesting_namespaces_name() {
    known_faults::run("an error calls a shared queue by the requesting namespace's name", async {
        let sources = [named("from-b", "b1", &["team-a"]), listed("team-b", &["team-b"])];
        let scene = Scene::start(two_compartments().await, &json!({}), &sources).await;
        scene.oci.break_reads(None);
        for (namespace, name) in [("team-a", "from-b"), ("team-b", "orders"), ("team-a", "from-b")] {
            let (code, message) = scene.length(namespace, &format!("queue={name}")).await.unwrap_err();
            assert_eq!(code, 503, "{message}");
            assert!(message.starts_with(&format!("queue \"{name}\" ")), "{message}");
        }
    })
    .await;
}

#[tokio::test]
async fn queues_of_one_name_are_counted_among_those_that_the_namespace_may_read() {
    known_faults::run("queues of one name are counted among those that the namespace may read", async {
        let oci = two_compartments().await;
        add(&oci, "team-a", "orders", "a2", 1);
        let sources = [listed("team-a", &["team-a"]), listed("team-b", &["team-b"])];
        let scene = Scene::start(oci, &json!({}), &sources).await;
        assert_eq!(scene.length("team-b", "queue=orders").await, served(&[("orders", "7")]));
        for selector in ["queue=orders", ""] {
            let (code, message) = scene.length("team-a", selector).await.unwrap_err();
            assert_eq!((code, message.starts_with("2 queues ")), (503, true), "{message}");
        }
    })
    .await;
}

#[tokio::test]
async fn queues_of_one_name_elsewhere_leave_a_namespaces_own_one_alone() {
    known_faults::run("queues of one name elsewhere leave a namespace's own one alone", async {
        let oci = two_compartments().await;
        add(&oci, "team-a", "orders", "a2", 1);
        let sources = [listed("team-a", &["team-a"]), listed("team-b", &["team-b"])];
        let scene = Scene::start(oci, &json!({}), &sources).await;
        assert_eq!(scene.length("team-a", "queue=orders").await.unwrap_err().0, 503);
        assert_eq!(scene.length("team-b", "queue=orders").await, served(&[("orders", "7")]));
    })
    .await;
}

// What team-b is served, whether or not there is a team-a. Each neighbour is a way in which team-a
// can have something whose name team-b requests.

#[tokio::test]
async fn a_neighbours_listed_queue_is_invisible() {
    known_faults::run("a neighbour's listed queue is invisible", async {
        expect_invisible(&[listed("team-a", &["team-a"])]).await;
    })
    .await;
}

#[tokio::test]
async fn a_neighbours_explicit_entry_is_invisible() {
    known_faults::run("a neighbour's explicit entry is invisible", async {
        expect_invisible(&[named("orders", "a1", &["team-a"]), named("ghost", "a2", &["team-a"])]).await;
    })
    .await;
}

#[tokio::test]
async fn a_neighbours_entry_for_the_same_queue_is_invisible() {
    known_faults::run("a neighbour's entry for the same queue is invisible", async {
        expect_invisible(&[named("ghost", "b1", &["team-a"])]).await;
    })
    .await;
}

#[tokio::test]
async fn a_neighbours_list_of_the_same_queues_is_invisible() {
    known_faults::run("a neighbour's list of the same queues is invisible", async {
        let mut same = listed("team-b", &["team-a"]);
        same["fallback"] = json!(5);
        expect_invisible(&[same]).await;
    })
    .await;
}

/// Compares what team-b is served with these entries of team-a and without them.
async fn expect_invisible(neighbour: &[Value]) {
    let of_b = listed("team-b", &["team-b"]);
    for is_broken in [false, true] {
        let alone = served_to_b(std::slice::from_ref(&of_b), is_broken).await;
        let beside = served_to_b(&[neighbour, std::slice::from_ref(&of_b)].concat(), is_broken).await;
        for ((selector, alone), (_, beside)) in alone.iter().zip(&beside) {
            assert_eq!(beside, alone, "with a neighbour, and without one, for {selector:?}, broken: {is_broken}");
        }
        assert!(alone.iter().any(|(_, outcome)| outcome.is_ok()) != is_broken, "{alone:?}");
    }
}

/// What team-b is served for many selectors; times are taken out of the messages.
async fn served_to_b(sources: &[Value], is_broken: bool) -> Vec<(&'static str, Outcome)> {
    let oci = two_compartments().await;
    add(&oci, "team-a", "ghost", "a2", 1);
    add(&oci, "team-a", "My Queue", "a3", 1);
    if is_broken {
        oci.break_reads(None);
    }
    let scene = Scene::start(oci, &json!({"timeout": "20s"}), sources).await;
    let selectors = [
        "",
        "queue=orders",
        "queue in (orders,ghost)",
        "queue!=orders",
        "queue notin (ghost)",
        "queue=ghost",
        "queue=My_Queue",
        "queue=no-such-queue",
        "!queue",
        "queue=ghost,channel=eu",
        "queue=orders,consumer-group=ghost",
        "ghost=orders",
    ];
    let mut outcomes = Vec::new();
    for selector in selectors {
        // The neighbour first, so that whatever it has is known by now.
        for neighbours in ["", selector] {
            scene.get("team-a", "oci_queue_length", neighbours).await;
        }
        let outcome = scene.length("team-b", selector).await.map_err(|(code, message)| (code, undated(&message)));
        outcomes.push((selector, outcome));
    }
    outcomes
}

fn undated(message: &str) -> String {
    match message.split_once("since ") {
        Some((before, after)) => format!("{before}since …{}", &after[20..]),
        None => message.to_owned(),
    }
}

#[tokio::test]
async fn a_404_lists_the_namespaces_own_names_only() {
    let oci = Oci::with_queues(&["audit", "orders"]).await;
    add(&oci, "team-b", "bills", "b2", 1);
    let sources =
        [named("orders", "orders", &["team-a"]), named("audit", "audit", &["*"]), listed("team-b", &["team-b"])];
    let scene = Scene::start(oci, &json!({}), &sources).await;
    for (namespace, names) in [("team-a", "audit, orders"), ("team-b", "audit, bills"), ("team-c", "audit")] {
        let (code, message) = scene.length(namespace, "queue=nothing").await.unwrap_err();
        assert_eq!((code, message.ends_with(&format!("; it may read {names}"))), (404, true), "{message}");
    }
}
