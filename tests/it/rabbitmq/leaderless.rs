//! Queues without a leader, which RabbitMQ leaves out of its list of counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::json;

use super::shared::{SHOP, WITHOUT_US, page, targets};
use super::{config, length, source};
use crate::support::double::Double;
use crate::support::eventually;
use crate::support::server::Server;

#[tokio::test]
async fn a_queue_that_was_never_listed_is_looked_for_among_the_names() {
    let names = Arc::new(AtomicUsize::new(0));
    let read = names.clone();
    let broker = Double::start(None, move |request| {
        let is_names = !request.target.contains("enable_queue_totals");
        read.fetch_add(usize::from(is_names), Relaxed);
        (200, page(request, if is_names { SHOP } else { &[] }))
    })
    .await;
    let url = format!("http://{}", broker.address);
    let timing = json!({"refresh": "20ms", "maxAge": "200ms"});
    for (queue, expected) in [("invoices", "RabbitMQ lists no counts of it"), ("missing", "no such queue")] {
        names.store(0, Relaxed);
        let sources = [source(&json!({"queue": queue}))];
        let server = Server::start(&config(&url, &json!({}), &timing, &sources)).await;
        let selector = format!("queue={queue}");
        let before = broker.count();
        eventually("more lists", async || {
            let (code, message) = length(&server, &selector).await.unwrap_err();
            assert!(code == 503 && message.contains(expected), "{message}");
            (broker.count() > before + 10).then_some(())
        })
        .await;
        // Once, on two pages.
        let names = names.load(Relaxed);
        assert_eq!(names == 2, queue == "missing", "{queue}: {names} pages of names were read");
        server.catalog.replace(Vec::new()).await;
    }
}

#[tokio::test]
async fn a_queue_without_a_leader_is_lost_and_not_gone() {
    const COUNTED: usize = 0;
    const LEADERLESS: usize = 1;
    const UNREADABLE: usize = 2;
    const DELETED: usize = 3;
    const ONE_DELETED: usize = 4;
    let (phase, names) = (Arc::new(AtomicUsize::new(COUNTED)), Arc::new(AtomicUsize::new(0)));
    let (current, read) = (phase.clone(), names.clone());
    let broker = Double::start(None, move |request| {
        let is_names = !request.target.contains("enable_queue_totals");
        read.fetch_add(usize::from(is_names), Relaxed);
        match current.load(Relaxed) {
            COUNTED => (200, page(request, SHOP)),
            ONE_DELETED => (200, page(request, WITHOUT_US)),
            LEADERLESS if is_names => (200, page(request, SHOP)),
            UNREADABLE if is_names => (500, "down".to_owned()),
            _ => (200, page(request, &[])),
        }
    })
    .await;
    let url = format!("http://{}", broker.address);
    let sources = [source(&json!({"queue": "invoices"})), source(&json!({"match": "orders-*"}))];
    let timing = json!({"refresh": "20ms", "maxAge": "200ms"});
    let server = Server::start(&config(&url, &json!({}), &timing, &sources)).await;
    let both = ["queue=invoices", "queue=orders-eu"];
    for selector in both {
        eventually("a value", async || length(&server, selector).await.ok()).await;
    }
    // A queue that nothing requests may be deleted.
    phase.store(ONE_DELETED, Relaxed);
    let before = broker.count();
    eventually("more lists", async || {
        length(&server, both[0]).await.unwrap();
        (broker.count() > before + 3).then_some(())
    })
    .await;
    assert_eq!(names.load(Relaxed), 0, "nothing is missing");
    for next in [LEADERLESS, UNREADABLE] {
        phase.store(next, Relaxed);
        let before = broker.count();
        // `match` takes its queues from a list now and then.
        eventually("many lists", async || {
            for selector in both {
                if let Err((code, message)) = length(&server, selector).await {
                    assert!(code == 503 && message.contains("RabbitMQ lists no counts of it"), "{selector}: {message}");
                }
            }
            (broker.count() > before + 60).then_some(())
        })
        .await;
        for selector in both {
            length(&server, selector).await.unwrap_err();
        }
    }
    let columns = "page=1&page_size=500&disable_stats=true&columns=name%2Cvhost";
    assert!(targets(&broker).contains(&format!("/api/queues/%2F?{columns}")), "{:?}", broker.last());
    phase.store(DELETED, Relaxed);
    // The message about the other queue keeps its first cause.
    eventually("no queue", async || (length(&server, both[1]).await.unwrap_err().0 == 404).then_some(())).await;
    // Each list without them would read the names again.
    let (counts, before) = (broker.count(), names.load(Relaxed));
    eventually("more lists", async || {
        length(&server, both[0]).await.unwrap_err();
        (broker.count() > counts + 5).then_some(())
    })
    .await;
    assert_eq!(names.load(Relaxed), before);
}
