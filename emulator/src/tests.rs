//! The emulator over HTTP, by a caller that writes its requests byte for byte.

use std::net::SocketAddr;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::test_util::{self, Caller, Golden};

mod faults;
mod setup;

/// A running emulator with the queue `orders`.
struct Running {
    emulator: Emulator,
    caller: Caller,
    stop: oneshot::Sender<()>,
    server: JoinHandle<io::Result<()>>,
}

fn emulator() -> Emulator {
    let golden = Golden::load();
    let options = Options {
        queues: vec![("orders".to_owned(), test_util::queue_id())],
        keys: vec![(golden.key_id(), golden.key())],
        ..Options::default()
    };
    Emulator::new(options, test_util::clock)
}

async fn run(emulator: &Emulator, address: impl Into<SocketAddr>) -> Running {
    let listener = TcpListener::bind(address.into()).await.unwrap();
    let caller = Caller::new(listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let server = {
        let emulator = emulator.clone();
        tokio::spawn(async move { emulator.serve(listener, async { drop(stopped.await) }).await })
    };
    Running { emulator: emulator.clone(), caller, stop, server }
}

async fn start() -> Running {
    run(&emulator(), ([127, 0, 0, 1], 0)).await
}

fn path(rest: &str) -> String {
    format!("{}/queues/{}{rest}", operation::BASE_PATH, test_util::queue_id())
}

#[tokio::test]
async fn a_message_lives_its_life_over_http() {
    let running = start().await;
    let (emulator, caller) = (&running.emulator, &running.caller);
    let put = caller.post(&path("/messages"), r#"{"messages":[{"content":"zwölf"},{"content":"b"}]}"#).await;
    assert_eq!(put.json["messages"][0]["expireAfter"], "2026-03-11T12:00:00.000Z");
    let got = caller.get(&path("/messages?visibilityInSeconds=60&timeoutInSeconds=0&limit=1")).await;
    let message = &got.json["messages"][0];
    assert_eq!(got.json["messages"].as_array().unwrap().len(), 1);
    assert_eq!(message["id"], put.json["messages"][0]["id"]);
    assert_eq!((&message["content"], &message["deliveryCount"]), (&json!("zwölf"), &json!(1)));
    assert_eq!(message["visibleAfter"], "2026-03-10T12:01:00.000Z");
    assert_eq!(message["createdAt"], "2026-03-10T12:00:00.000Z");
    let zeros = json!({"visibleMessages": 0, "inFlightMessages": 0, "sizeInBytes": 0});
    let stats = |visible, in_flight, bytes| json!({"queue": {"visibleMessages": visible, "inFlightMessages": in_flight, "sizeInBytes": bytes}, "dlq": zeros});
    assert_eq!(caller.get(&path("/stats")).await.json, stats(1, 1, 7));
    let receipt = path(&format!("/messages/{}", message["receipt"].as_str().unwrap()));
    let deleted = caller.delete(&receipt).await;
    assert_eq!((deleted.status, deleted.json), (StatusCode::NO_CONTENT, Value::Null));
    assert_eq!(caller.delete(&receipt).await.refusal(), (404, "NotFound".to_owned()));
    assert_eq!(caller.get(&path("/stats")).await.json, stats(1, 0, 1));
    assert_eq!(emulator.queue("orders").unwrap().reads(), 2);
}

#[tokio::test]
async fn a_queue_says_that_its_messages_are_where_it_was_asked() {
    let running = start().await;
    let caller = &running.caller;
    let answer = caller.get(&path("")).await;
    let expected = json!({
        "id": test_util::queue_id().as_str(), "compartmentId": "ocid1.compartment.oc1..emulated",
        "displayName": "orders", "lifecycleState": "ACTIVE",
        "timeCreated": "2026-03-10T12:00:00.000Z", "timeUpdated": "2026-03-10T12:00:00.000Z",
        "messagesEndpoint": format!("http://{}", caller.address()),
        "retentionInSeconds": 86400, "visibilityInSeconds": 30, "timeoutInSeconds": 30,
        "deadLetterQueueDeliveryCount": 0, "freeformTags": {}, "definedTags": {},
        "capabilities": [{"type": "CONSUMER_GROUPS", "isPrimaryConsumerGroupEnabled": true}],
    });
    assert_eq!(answer.json, expected);
    assert_eq!(answer.header("date"), "Tue, 10 Mar 2026 12:00:00 GMT");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("opc-request-id").len(), 32);
}

#[tokio::test]
async fn refusals_have_status_and_code() {
    let running = start().await;
    let (emulator, caller) = (&running.emulator, &running.caller);
    let other = "/20210201/queues/ocid1.queue.oc1.iad.other/stats";
    for (method, target, expected) in [
        ("GET", other, (404, "NotAuthorizedOrNotFound")),
        ("GET", "/20210201/streams", (404, "NotFound")),
        ("GET", "/", (404, "NotFound")),
        ("PUT", &path(""), (405, "MethodNotAllowed")),
        ("DELETE", &path("/stats"), (405, "MethodNotAllowed")),
        ("POST", &path("/messages"), (400, "CannotParseRequest")),
        ("GET", &path("/stats?channelId="), (400, "InvalidParameter")),
        ("GET", &path("/stats?consumerGroupId=a"), (404, "NotAuthorizedOrNotFound")),
        ("GET", "/20210201/consumerGroups/a", (404, "NotAuthorizedOrNotFound")),
        ("GET", "/20210201/queues?page=a", (400, "InvalidParameter")),
        ("GET", &path("/messages?limit=33"), (400, "InvalidParameter")),
        ("GET", &path("/messages?limit=0"), (400, "InvalidParameter")),
        ("GET", &path("/messages?visibilityInSeconds=43201"), (400, "InvalidParameter")),
        ("DELETE", &path("/messages/AAAA"), (404, "NotFound")),
        ("GET", "/faults", (405, "MethodNotAllowed")),
    ] {
        let (status, code) = caller.call(method, target, "").await.unwrap().refusal();
        assert_eq!((status, code.as_str()), expected, "{method} {target}");
    }
    let unsigned = caller.unsigned("GET", &path("/stats"), "").await;
    assert_eq!(unsigned.refusal(), (401, "NotAuthenticated".to_owned()));
    assert_eq!(emulator.queue("orders").unwrap().reads(), 0);
}

#[tokio::test]
async fn a_long_poll_gets_what_is_put_meanwhile() {
    let running = start().await;
    let (emulator, caller) = (&running.emulator, &running.caller);
    let target = path("/messages");
    let put = async { emulator.queue("orders").unwrap().put(["late"]) };
    let (got, _) = tokio::join!(caller.get(&target), put);
    assert_eq!(got.json["messages"][0]["content"], "late");
}

#[tokio::test]
async fn messages_outlive_the_listener() {
    let Running { emulator, caller, stop, server } = start().await;
    emulator.queue("orders").unwrap().put(["a"]);
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    assert!(caller.call("GET", &path("/stats"), "").await.is_err());
    let again = run(&emulator, caller.address()).await;
    assert_eq!(again.caller.get(&path("/stats")).await.json["queue"]["visibleMessages"], 1);
}

/// A request that has arrived and is held.
async fn hold(running: &Running, target: &str) -> test_util::Open {
    running.emulator.set_fault(Some(Fault::Hang));
    let open = running.caller.open("GET", target).await;
    while running.emulator.shared.fault.held() == 0 {
        tokio::task::yield_now().await;
    }
    open
}

#[tokio::test]
async fn stopping_answers_those_who_wait_for_a_message() {
    let running = start().await;
    let waiting = hold(&running, &path("/messages")).await;
    running.emulator.set_fault(None);
    running.stop.send(()).unwrap();
    running.server.await.unwrap().unwrap();
    assert_eq!(waiting.finish().await.unwrap().json, json!({"messages": []}));
}

#[tokio::test]
async fn stopping_lets_go_of_those_who_hang() {
    let running = start().await;
    let hanging = hold(&running, &path("/stats")).await;
    running.stop.send(()).unwrap();
    running.server.await.unwrap().unwrap();
    assert_eq!(hanging.finish().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_body_too_large_is_refused_unread() {
    let running = start().await;
    let head = "PUT /faults HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 10485761\r\n\r\n";
    let reply = running.caller.raw(head).await.unwrap().finish().await.unwrap();
    assert_eq!(reply.refusal(), (413, "PayloadTooLarge".to_owned()));
}
