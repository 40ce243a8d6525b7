//! Names that no label value can hold: they are selectable, and the true name is beside them.

use serde_json::{Value, json};

use super::{Scene, add, listed, named, served};
use crate::known_faults;
use crate::support::oci::Oci;

/// The label of the true name.
const NAME: &str = "depthgauge.dev/name";

/// One team whose queues have these names, with 1 message in the first, 2 in the second and so on.
async fn queues(names: &[&str]) -> Oci {
    let oci = Oci::with_queues(&[]).await;
    for (messages, name) in (1..).zip(names) {
        add(&oci, "team-a", name, &format!("a{messages}"), messages);
    }
    oci
}

async fn scene(names: &[&str]) -> Scene {
    Scene::start(queues(names).await, &json!({}), &[listed("team-a", &["team-a"])]).await
}

#[tokio::test]
async fn a_name_that_no_label_value_can_hold_is_made_selectable() {
    known_faults::run("a name that no label value can hold is made selectable", async {
        let long = "q".repeat(70);
        let table = [
            ("My Queue", "My_Queue"),
            ("orders/eu@home", "orders_eu_home"),
            // One character, two bytes.
            ("Köln", "K_ln"),
            ("(orders)", "orders"),
            ("-bills.", "bills"),
            (&long, &long[..63]),
        ];
        let scene = scene(&table.map(|(name, _)| name)).await;
        for (messages, (name, selectable)) in (1..).zip(table) {
            let answer = scene.get("team-a", "oci_queue_length", &format!("queue={selectable}")).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let list = answer.json();
            let [item] = list["items"].as_array().unwrap().as_slice() else { panic!("{list}") };
            assert_eq!(item["metricLabels"], json!({"queue": selectable, NAME: name}));
            assert_eq!(item["value"], json!(messages.to_string()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_query_without_a_selector_leaves_no_queue_out() {
    known_faults::run("a query without a selector leaves no queue out", async {
        let scene = scene(&["My Queue", "orders"]).await;
        assert_eq!(scene.length("team-a", "").await, served(&[("My_Queue", "1"), ("orders", "2")]));
    })
    .await;
}

#[tokio::test]
async fn a_404_lists_what_can_be_written_in_a_selector() {
    known_faults::run("a 404 lists what can be written in a selector", async {
        let scene = scene(&["My Queue", "orders"]).await;
        let (code, message) = scene.length("team-a", "queue=nothing").await.unwrap_err();
        assert_eq!((code, message.ends_with("; it may read My_Queue, orders")), (404, true), "{message}");
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_a_label_value_has_no_other_beside_it() {
    let scene = scene(&["orders"]).await;
    let list = scene.get("team-a", "oci_queue_length", "queue=orders").await.json();
    assert_eq!(list["items"][0]["metricLabels"], json!({"queue": "orders"}));
}

#[tokio::test]
async fn two_names_that_become_equal_are_both_refused_with_both_names() {
    known_faults::run("two names that become equal are both refused with both names", async {
        refuses_both(&["My Queue", "My@Queue", "orders"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_name_that_becomes_another_queues_own_name_is_refused_with_it() {
    known_faults::run("a name that becomes another queue's own name is refused with it", async {
        refuses_both(&["My Queue", "My_Queue", "orders"]).await;
    })
    .await;
}

#[tokio::test]
async fn names_that_differ_after_63_characters_are_both_refused() {
    known_faults::run("names that differ after 63 characters are both refused", async {
        let common = "q".repeat(63);
        let (one, other) = (format!("{common}-one"), format!("{common}-other"));
        let scene = scene(&[&one, &other]).await;
        let (code, message) = scene.length("team-a", &format!("queue={common}")).await.unwrap_err();
        assert_eq!((code, message.contains(&one), message.contains(&other)), (503, true, true), "{message}");
    })
    .await;
}

/// The first two names become `My_Queue`.
async fn refuses_both(names: &[&str; 3]) {
    let scene = scene(names).await;
    for selector in ["queue=My_Queue", "", "queue in (orders,My_Queue)"] {
        let outcome = scene.length("team-a", selector).await;
        let Err((code, message)) = outcome else { panic!("{selector} is served {outcome:?}") };
        let both = names[..2].iter().all(|name| message.contains(&format!("{name:?}")));
        assert_eq!((code, both), (503, true), "{selector}: {message}");
    }
    assert_eq!(scene.length("team-a", "queue=orders").await, served(&[("orders", "3")]));
}

#[tokio::test]
async fn an_explicit_entry_takes_a_queue_out_of_a_clash() {
    known_faults::run("an explicit entry takes a queue out of a clash", async {
        let oci = queues(&["My Queue", "My@Queue"]).await;
        let sources = [named("other", "a2", &["team-a"]), listed("team-a", &["team-a"])];
        let scene = Scene::start(oci, &json!({}), &sources).await;
        assert_eq!(scene.length("team-a", "queue=other").await, served(&[("other", "2")]));
        assert_eq!(scene.length("team-a", "queue=My_Queue").await, served(&[("My_Queue", "1")]));
    })
    .await;
}

#[tokio::test]
async fn names_of_two_namespaces_do_not_clash() {
    known_faults::run("names of two namespaces do not clash", async {
        let oci = queues(&["My Queue"]).await;
        add(&oci, "team-b", "My@Queue", "b1", 7);
        let sources = [listed("team-a", &["team-a"]), listed("team-b", &["team-b"])];
        let scene = Scene::start(oci, &json!({}), &sources).await;
        for (namespace, name, value) in
            [("team-b", "My@Queue", "7"), ("team-a", "My Queue", "1"), ("team-b", "My@Queue", "7")]
        {
            let answer = scene.get(namespace, "oci_queue_length", "queue=My_Queue").await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let item: Value = answer.json()["items"][0].clone();
            assert_eq!((&item["metricLabels"][NAME], &item["value"]), (&json!(name), &json!(value)));
        }
    })
    .await;
}
