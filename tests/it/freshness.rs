//! Freshness on real sockets: an answer comes from memory, and memory keeps up with the queue.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::support::eventually;
use crate::support::oci::{Oci, source};
use crate::support::server::{Server, VALUE};

const REFRESH: Duration = Duration::from_millis(100);

async fn start() -> (Server, Oci) {
    let oci = Oci::with_queues(&["orders"]).await;
    let defaults = json!({"refresh": format!("{}ms", REFRESH.as_millis())});
    let server = Server::start(&oci.config(&defaults, &[source("orders", &["shop"])])).await;
    (server, oci)
}

#[tokio::test]
async fn an_empty_queue_is_a_true_zero() {
    let (server, _oci) = start().await;
    assert_eq!(server.aggregator("hpa").get(VALUE).await.values(), [("orders".to_owned(), "0".to_owned())]);
}

#[tokio::test]
async fn the_queue_is_not_read_before_anybody_asks() {
    let (server, oci) = start().await;
    assert_eq!(server.anyone().get("/version").await.status, 200);
    assert_eq!(oci.queue("orders").reads(), 0);
    assert_eq!(server.aggregator("hpa").get(VALUE).await.status, 200);
    assert_eq!(oci.queue("orders").reads(), 1);
}

#[tokio::test]
async fn what_is_put_and_taken_shows_within_a_refresh_and_a_second() {
    let (server, oci) = start().await;
    let connection = server.aggregator("hpa").connect().await.unwrap();
    for messages in [5, 17, 0, 1] {
        oci.queue("orders").consume(usize::MAX);
        oci.put("orders", messages);
        let put = Instant::now();
        let expected = [("orders".to_owned(), messages.to_string())];
        loop {
            // Asked after that time, memory may no longer hold what was before.
            let overdue = put.elapsed() > REFRESH + Duration::from_secs(1);
            if connection.get(VALUE).await.values() == expected {
                break;
            }
            assert!(!overdue, "{messages} messages were put {:?} ago", put.elapsed());
        }
    }
}

#[tokio::test]
async fn however_often_it_is_asked_the_queue_is_read_once_a_refresh() {
    let (server, oci) = start().await;
    let connection = server.aggregator("hpa").connect().await.unwrap();
    let began = Instant::now();
    eventually("five reads", async || {
        assert_eq!(connection.get(VALUE).await.status, 200);
        (oci.queue("orders").reads() >= 5).then_some(())
    })
    .await;
    let reads = u128::from(oci.queue("orders").reads());
    assert!(reads <= began.elapsed().as_millis() / REFRESH.as_millis() + 1, "{reads} in {:?}", began.elapsed());
}

#[tokio::test]
async fn the_timestamp_is_when_the_queue_was_read() {
    let (server, oci) = start().await;
    let connection = server.aggregator("hpa").connect().await.unwrap();
    let second = |timestamp: Timestamp| timestamp.as_second();
    let before = second(Timestamp::now());
    let told = async || connection.get(VALUE).await.json()["items"][0]["timestamp"].as_str().unwrap().to_owned();
    let first = told().await;
    let read: Timestamp = first.parse().unwrap();
    assert!((before..=second(Timestamp::now())).contains(&second(read)), "{first}");
    assert_eq!(first, read.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    eventually("a later read", async || (told().await > first).then_some(())).await;
    assert!(oci.queue("orders").reads() > 1);
}
