//! Failures: what is served, and how long no request is sent.

use std::time::{Duration, Instant};

use serde_json::json;

use super::stub::Trouble;
use super::{POLICY, Scene, active, message, often, once, one};
use crate::support::eventually;
use crate::support::log::captured;

/// What the service requires after it has limited its clients.
const PAUSE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn what_does_not_exist_is_an_error_that_names_host_path_and_reader() {
    let scene = Scene::new().await;
    scene.bus.add_subscription("orders", "worker");
    let sources =
        [json!({"queue": "gone"}), json!({"queue": "orders"}), json!({"topic": "orders", "subscription": "gone"})];
    let server = scene.serve(&once(), &sources).await;
    let host = scene.bus.host();
    let text = message(&server, 503, "queue=gone").await;
    assert!(text.contains(&format!("{host} has no /gone for policy \"manager\"")), "{text}");
    let text = message(&server, 503, "subscription=gone").await;
    assert!(text.contains(&format!("{host} has no /orders/subscriptions/gone for")), "{text}");
    let text = message(&server, 503, "queue=orders").await;
    assert!(text.contains("it is a topic") && text.contains("name one of its subscriptions"), "{text}");
}

#[tokio::test]
async fn a_topic_without_subscriptions_is_an_error_that_names_host_path_and_reader() {
    let scene = Scene::new().await;
    scene.bus.add_subscription("orders", "worker");
    scene.bus.remove("/orders/subscriptions/worker");
    let sources = [json!({"topic": "gone", "match": "*"}), json!({"topic": "orders", "match": "*"})];
    let server = scene.serve(&once(), &sources).await;
    let host = scene.bus.host();
    for topic in ["gone", "orders"] {
        let text = message(&server, 503, &format!("topic={topic}")).await;
        assert!(text.contains(&format!("{host} has no /{topic}/subscriptions for policy \"manager\"")), "{text}");
        assert!(text.contains("Check the name, `namespace` and the right to read it."), "{text}");
    }
}

#[tokio::test]
async fn after_the_service_limits_its_clients_no_request_is_sent_for_two_seconds() {
    for trouble in [Trouble::Throttled(429), Trouble::Throttled(503), Trouble::ThrottledInText] {
        let scene = Scene::new().await;
        for queue in ["orders", "bills"] {
            scene.bus.add_queue(queue);
        }
        scene.bus.set_trouble(Some(trouble));
        let server = scene.serve(&often(), &[json!({"queue": "orders"}), json!({"queue": "bills"})]).await;
        let text = message(&server, 503, "queue=orders").await;
        assert!(text.contains("Service Bus limits its clients"), "{text}");
        let (refused, sent) = (Instant::now(), scene.bus.count());
        assert_eq!(sent, 1, "it is not repeated at once");
        scene.bus.set_trouble(None);
        // Limits are those of the namespace, so the other queue waits, too.
        eventually("the next request", async || {
            let (_first, _second) = (active(&server, "queue=bills").await, active(&server, "queue=orders").await);
            (scene.bus.count() > sent).then_some(())
        })
        .await;
        let waited = refused.elapsed();
        assert!(waited + Duration::from_millis(200) >= PAUSE, "{waited:?}");
    }
}

#[tokio::test]
async fn a_missing_count_is_no_zero() {
    let scene = Scene::new().await;
    scene.bus.add_queue("orders");
    scene.bus.set_trouble(Some(Trouble::NoCounts));
    let server = scene.serve(&often(), &[json!({"queue": "orders"})]).await;
    let text = message(&server, 503, "queue=orders").await;
    assert!(text.contains("Service Bus reports no CountDetails"), "{text}");
    scene.bus.send("/orders", 8);
    scene.bus.set_trouble(None);
    eventually("a value", async || (active(&server, "queue=orders").await == one("8")).then_some(())).await;
}

#[tokio::test]
async fn each_refusal_has_a_remedy_of_its_own() {
    let scene = Scene::new().await;
    scene.bus.add_queue("orders");
    scene.bus.add_policy("listener", "throwaway-key-of-the-listener=", "", false);
    let source = [json!({"queue": "orders"})];
    for (auth, remedy) in [
        (scene.sas(("manager", "another-throwaway-key=")), "the policy needs the right Manage"),
        (scene.sas(("listener", "throwaway-key-of-the-listener=")), "the policy needs the right Manage"),
    ] {
        let server = scene.serve_as(&auth, &once(), &source).await;
        let text = message(&server, 503, "queue=orders").await;
        assert!(text.contains(": 401 (operation: read)") && text.contains(remedy), "{text}");
    }
    scene.bus.set_trouble(Some(Trouble::Firewall));
    let server = scene.serve(&once(), &source).await;
    let text = message(&server, 503, "queue=orders").await;
    assert!(text.contains("The firewall of the namespace refuses this cluster"), "{text}");
}

#[tokio::test]
async fn a_host_that_is_not_reached_has_a_private_address() {
    let scene = Scene::new().await;
    let mut config = scene.config(&scene.sas(POLICY), &once(), &[json!({"queue": "orders"})]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    config["connections"]["bus"]["namespace"] = json!(closed.to_string());
    let server = crate::support::server::Server::start(&config.to_string()).await;
    let text = message(&server, 503, "queue=orders").await;
    assert!(text.contains("connection refused, at a private address (operation: read)"), "{text}");
    assert!(text.contains("the private endpoint of the namespace"), "{text}");
}

#[tokio::test]
async fn a_host_that_does_not_answer_in_time_has_a_private_address() {
    let scene = Scene::new().await;
    scene.bus.add_queue("orders");
    scene.bus.set_trouble(Some(Trouble::Silent));
    let server = scene.serve(&json!({"refresh": "60s", "timeout": "300ms"}), &[json!({"queue": "orders"})]).await;
    let text = message(&server, 503, "queue=orders").await;
    assert!(text.contains("timed out, at a private address (operation: read)"), "{text}");
    assert!(text.contains("the private endpoint of the namespace"), "{text}");
}

#[test]
fn messages_that_no_receiver_gets_are_said_or_unknown() {
    captured(async |log| {
        let scene = Scene::new().await;
        for queue in ["orders", "bills"] {
            scene.bus.add_queue(queue);
            scene.bus.set_status(&format!("/{queue}"), "ReceiveDisabled");
        }
        let sources = [json!({"queue": "orders"}), json!({"queue": "bills", "disabled": "error"})];
        let server = scene.serve(&often(), &sources).await;
        // Nothing waits.
        assert_eq!(active(&server, "queue=orders").await, one("0"));
        assert_eq!(active(&server, "queue=bills").await, one("0"));
        const SAID: &str = "no receiver gets the messages, because of the status";
        assert!(!log.text().contains(SAID));
        for queue in ["/orders", "/bills"] {
            scene.bus.send(queue, 3);
        }
        eventually("the message", async || {
            let value = active(&server, "queue=orders").await;
            (value == one("3") && log.text().contains(SAID)).then_some(())
        })
        .await;
        eventually("an unknown value", async || {
            let (code, text) = active(&server, "queue=bills").await.err()?;
            assert_eq!(code, 503, "{text}");
            text.contains("its status is ReceiveDisabled").then_some(())
        })
        .await;
        let said = log.text().matches(SAID).count();
        assert!(said <= 2, "{said} lines");
        scene.bus.set_status("/bills", "Active");
        eventually("a value", async || (active(&server, "queue=bills").await == one("3")).then_some(())).await;
    });
}
