//! Channels and consumer groups: named in a selector, asked of OCI one by one.

use depthgauge_emulator::group::PRIMARY;
use depthgauge_emulator::message::Message;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client, values_path};
use crate::support::oci::{OCID_TAIL, Oci, source};
use crate::support::server::Server;

/// A channel that no label value can hold.
const ODD_CHANNEL: &str = "orders/eu west+1&x=é~*";

/// Queue `orders` with three messages in channel `eu`, two in [`ODD_CHANNEL`] and one in none;
/// consumer group `billing` has only the last of them.
struct Scene {
    oci: Oci,
    hpa: Client,
    _server: Server,
}

impl Scene {
    async fn start() -> Self {
        let oci = Oci::with_queues(&["orders"]).await;
        let queue = oci.queue("orders");
        queue.put(["eu", "eu", "eu", ODD_CHANNEL, ODD_CHANNEL].map(message));
        let billing = queue.set_group("Billing", true);
        oci.put("orders", 1);
        let mut orders = source("orders", &["shop"]);
        orders["channels"] = json!({"odd": ODD_CHANNEL, "europe": "eu"});
        orders["consumerGroups"] = json!({"by-alias": billing.id});
        let server = Server::start(&oci.config(&json!({}), &[orders])).await;
        Self { oci, hpa: server.aggregator("hpa"), _server: server }
    }

    /// With this selector, written as people write it.
    async fn ask(&self, selector: &str) -> Answer {
        self.hpa.get(&path(selector)).await
    }

    /// Channel, group and value of each item.
    async fn told(&self, selector: &str) -> Vec<(String, String, String)> {
        let answer = self.ask(selector).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let list = answer.json();
        let item = |item: &Value| {
            let labels = &item["metricLabels"];
            assert_eq!(labels["queue"], "orders");
            (text(&labels["channel"]), text(&labels["consumer-group"]), text(&item["value"]))
        };
        list["items"].as_array().unwrap().iter().map(item).collect()
    }
}

fn message(channel: &str) -> Message {
    Message { content: "x".to_owned(), channel: Some(channel.to_owned()), ..Message::default() }
}

fn path(selector: &str) -> String {
    values_path("shop", "oci_queue_length", selector)
}

#[tokio::test]
async fn channels_and_groups_have_figures_of_their_own() {
    let scene = Scene::start().await;
    for (selector, expected) in [
        ("queue=orders", &[("-", "-", "6")][..]),
        ("channel=eu", &[("eu", "-", "3")]),
        ("channel=odd", &[("odd", "-", "2")]),
        // OCI knows no channel that is not there: it has no messages.
        ("channel=nobody", &[("nobody", "-", "0")]),
        ("channel in (odd,eu)", &[("eu", "-", "3"), ("odd", "-", "2")]),
        ("consumer-group=billing", &[("-", "billing", "1")]),
        ("consumer-group=by-alias", &[("-", "by-alias", "1")]),
        ("consumer-group=billing,channel in (eu,odd)", &[("eu", "billing", "0"), ("odd", "billing", "0")]),
    ] {
        let expected: Vec<(String, String, String)> = expected
            .iter()
            .map(|(channel, group, value)| ((*channel).into(), (*group).into(), (*value).into()))
            .collect();
        assert_eq!(scene.told(selector).await, expected, "{selector}");
    }
}

#[tokio::test]
async fn a_part_of_two_names_counts_once() {
    let scene = Scene::start().await;
    let item = |channel: &str, group: &str, value: &str| (channel.to_owned(), group.to_owned(), value.to_owned());
    for (selector, expected) in [
        ("channel in (eu,europe,odd)", vec![item("eu", "-", "3"), item("odd", "-", "2")]),
        ("consumer-group in (billing,Billing,by-alias)", vec![item("-", "Billing", "1")]),
    ] {
        assert_eq!(scene.told(selector).await, expected, "{selector}");
    }
}

#[tokio::test]
async fn a_group_is_found_on_whatever_page_it_is() {
    let scene = Scene::start().await;
    let queue = scene.oci.queue("orders");
    for n in 0..120 {
        queue.set_group(&format!("group-{n}"), true);
    }
    queue.put([message("eu")]);
    assert_eq!(scene.told("consumer-group=group-119").await, [("-".into(), "group-119".into(), "1".into())]);
}

#[tokio::test]
async fn a_group_that_is_not_there_is_404_and_names_those_that_are() {
    let scene = Scene::start().await;
    let (code, message) = scene.ask("queue=orders,consumer-group=biling").await.refusal();
    let expected = format!(
        r#"queue "orders", consumer-group "biling": no such consumer group; there are Billing, {PRIMARY}. Name one of them, or give it an alias in `consumerGroups`."#
    );
    assert_eq!((code, message), (404, expected));
    // As many as there are, as long as they are: it stays short, and tells no OCID.
    let scene = Scene::start().await;
    for n in 0..50 {
        scene.oci.queue("orders").set_group(&format!("{n}{}", "g".repeat(200)), true);
    }
    for group in ["biling", &"x".repeat(63)] {
        let (code, message) = scene.ask(&format!("channel={},consumer-group={group}", "c".repeat(63))).await.refusal();
        assert_eq!((code, message.len() <= 400, message.contains(OCID_TAIL)), (404, true, false), "{message}");
    }
}

#[tokio::test]
async fn what_names_no_members_is_400_and_says_what_to_write() {
    let scene = Scene::start().await;
    for selector in ["channel", "!channel", "channel!=eu", "channel notin (eu)", "channel=", "consumer-group"] {
        let (code, message) = scene.ask(selector).await.refusal();
        assert!(code == 400 && message.contains(": name the "), "{selector}: {message}");
    }
    assert_eq!(scene.oci.queue("orders").reads(), 0);
}

#[tokio::test]
async fn a_table_has_a_column_for_each_label() {
    let scene = Scene::start().await;
    let kubectl = scene.hpa.clone().with_header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = kubectl.get(&path("channel=eu,consumer-group=billing")).await.json();
    let columns = table["columnDefinitions"].as_array().unwrap().iter();
    let names: Vec<&str> = columns.map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Queue", "Channel", "Consumer-Group", "Value", "Age", "Value Source", "Queried"]);
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[1], &cells[2], &cells[3]), (&json!("eu"), &json!("billing"), &json!("0")));
}
