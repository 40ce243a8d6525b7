//! The same with Debian's RabbitMQ.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::join;

use super::broker::Broker;
use super::{config, length, one, source, values};
use crate::support::eventually;
use crate::support::server::Server;

/// How long a 0 may be a false one.
const SETTLED: Duration = Duration::from_secs(10);

/// A server that reads this broker as a user with this password.
async fn serve(broker: &Broker, user: &str, password: &str, sources: &[Value]) -> Server {
    let file = broker.dir().join(format!("password-{password}"));
    std::fs::write(&file, password).unwrap();
    let auth = json!({"auth": {"type": "basic", "username": user, "passwordFile": file}});
    Server::start(&config(&broker.url, &auth, &json!({"refresh": "500ms"}), sources)).await
}

/// The same as the user that the documentation names: tag `management` and permissions that allow nothing.
async fn read(broker: &Broker, sources: &[Value]) -> Server {
    serve(broker, "reader", "reader", sources).await
}

const VHOSTS: [&str; 6] = ["/", "a b", "a+b", "a/b", "Köln", "bulk"];

#[tokio::test(flavor = "multi_thread")]
async fn debians_rabbitmq() {
    let broker = Broker::start("", "").await;
    for vhost in &VHOSTS[1..] {
        broker.make_vhost(vhost).await;
    }
    broker.make_user("reader", "reader", "management", &VHOSTS).await;
    join!(
        counts_of_classic_queues_are_live(&broker),
        a_new_queue_with_messages_is_never_empty(&broker, "classic"),
        a_new_queue_with_messages_is_never_empty(&broker, "quorum"),
        a_zero_counts_after_ten_seconds(&broker),
        a_stream_has_no_counts(&broker),
        every_vhost_and_name_is_read(&broker),
        more_queues_than_a_page_has(&broker),
        users_without_rights_get_an_error(&broker),
        a_vhost_that_is_not_there(&broker),
        rates_are_known_after_the_first_message(&broker),
    );
}

async fn counts_of_classic_queues_are_live(broker: &Broker) {
    broker.declare("/", "live", "classic").await;
    for expected in ["7", "14"] {
        broker.publish("/", "live", 7).await;
        // A new server, so that nothing is known yet.
        let server = read(broker, &[source(&json!({"queue": "live"}))]).await;
        assert_eq!(length(&server, "queue=live").await, one(expected));
    }
}

async fn a_new_queue_with_messages_is_never_empty(broker: &Broker, kind: &str) {
    let queue = format!("new-{kind}");
    let server = read(broker, &[source(&json!({"queue": queue}))]).await;
    broker.declare("/", &queue, kind).await;
    broker.publish("/", &queue, 5).await;
    let published = Instant::now();
    eventually(&format!("five messages in {queue} to the end"), async || {
        let served = length(&server, &format!("queue={queue}")).await;
        assert!(matches!(served, Err((503, _))) || served == one("5"), "{queue}: {served:?}");
        (published.elapsed() > SETTLED && served.is_ok()).then_some(())
    })
    .await;
}

async fn a_zero_counts_after_ten_seconds(broker: &Broker) {
    broker.declare("/", "empty", "classic").await;
    let server = read(broker, &[source(&json!({"queue": "empty"}))]).await;
    let began = Instant::now();
    let (code, message) = length(&server, "queue=empty").await.unwrap_err();
    let expected = "rabbitmq_queue_length of queue \"empty\" is unknown: RabbitMQ reports 0, which counts after it has listed the queue for 10s";
    assert!(code == 503 && message.starts_with(expected), "{message}");
    let served = eventually("a value", async || length(&server, "queue=empty").await.ok()).await;
    assert_eq!(served, ["0"]);
    assert!(began.elapsed() >= SETTLED, "{:?}", began.elapsed());
}

async fn a_stream_has_no_counts(broker: &Broker) {
    broker.declare("/", "stream", "stream").await;
    broker.publish("/", "stream", 1).await;
    let server = read(broker, &[source(&json!({"match": "str*"}))]).await;
    let (code, message) = length(&server, "queue=stream").await.unwrap_err();
    assert!(code == 503 && message.contains("it is a stream"), "{message}");
}

async fn every_vhost_and_name_is_read(broker: &Broker) {
    let mut sources = Vec::new();
    for (vhost, queue) in
        VHOSTS[..5].iter().flat_map(|vhost| ["q a/b", "q+é", "q a b", "Q%2F"].map(|queue| (vhost, queue)))
    {
        broker.declare(vhost, queue, "classic").await;
        // Each has another number of messages.
        broker.publish(vhost, queue, sources.len() + 1).await;
        let name = format!("number-{}", sources.len());
        sources.push(source(&json!({"vhost": vhost, "queue": queue, "name": name})));
    }
    let server = read(broker, &sources).await;
    for (number, source) in sources.iter().enumerate() {
        let served = length(&server, &format!("queue=number-{number}")).await;
        assert_eq!(served, one(&(number + 1).to_string()), "{source}");
    }
}

async fn more_queues_than_a_page_has(broker: &Broker) {
    broker.declare_many("bulk", 1001).await;
    broker.publish("bulk", "bulk-1000", 2).await;
    broker.publish("bulk", "bulk-0", 1).await;
    let server = read(broker, &[source(&json!({"vhost": "bulk"}))]).await;
    assert_eq!(length(&server, "queue in (bulk-0,bulk-1000)").await, Ok(vec!["1".to_owned(), "2".to_owned()]));
    let (code, message) = length(&server, "").await.unwrap_err();
    assert!(code == 400 && message.starts_with("the selector picks 1001 items"), "{message}");
}

async fn users_without_rights_get_an_error(broker: &Broker) {
    broker.declare("/", "secret", "classic").await;
    broker.publish("/", "secret", 1).await;
    broker.make_user("untagged", "untagged", "", &["/"]).await;
    broker.make_user("monitor", "monitor", "monitoring", &[]).await;
    broker.make_user("elsewhere", "elsewhere", "management", &["bulk"]).await;
    let users = [("reader", "wrong"), ("untagged", "untagged"), ("monitor", "monitor"), ("elsewhere", "elsewhere")];
    for (user, password) in users {
        let server = serve(broker, user, password, &[source(&json!({"queue": "secret"}))]).await;
        let (code, message) = length(&server, "queue=secret").await.unwrap_err();
        let expected = "401 not_authorized (operation: read). Check `auth` of the connection";
        let of_tag = "401 not_authorised (operation: read). Check `auth` of the connection";
        assert!(code == 503 && (message.contains(expected) || message.contains(of_tag)), "{user}: {message}");
    }
    let server = read(broker, &[source(&json!({"queue": "secret"}))]).await;
    assert_eq!(length(&server, "queue=secret").await, one("1"));
}

async fn a_vhost_that_is_not_there(broker: &Broker) {
    let server = serve(broker, "owner", "owner", &[source(&json!({"vhost": "nowhere", "queue": "orders"}))]).await;
    let (code, message) = length(&server, "queue=orders").await.unwrap_err();
    assert!(code == 503 && message.contains("404 (operation: read). There is no such vhost or queue"), "{message}");
}

async fn rates_are_known_after_the_first_message(broker: &Broker) {
    const RATE: &str = "rabbitmq_queue_publish_rate";
    broker.declare("/", "rates", "classic").await;
    let server = read(broker, &[source(&json!({"queue": "rates"}))]).await;
    let (code, message) = values(&server, RATE, "queue=rates").await.unwrap_err();
    assert!(code == 503 && message.contains("RabbitMQ reports no publish_details.avg_rate"), "{message}");
    eventually("a rate above 0", async || {
        broker.publish("/", "rates", 5).await;
        let served = values(&server, RATE, "queue=rates").await.ok()?;
        (served != ["0"]).then_some(())
    })
    .await;
    // Nothing was delivered.
    let (code, message) = values(&server, "rabbitmq_queue_deliver_rate", "queue=rates").await.unwrap_err();
    assert!(code == 503 && message.contains("deliver_get_details.avg_rate"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_rates_under_a_prefix_has_counts() {
    let broker = Broker::start("management.rates_mode = none\nmanagement.path_prefix = /broker\n", "/broker").await;
    broker.make_user("reader", "reader", "management", &["/"]).await;
    broker.declare("/", "orders", "classic").await;
    broker.publish("/", "orders", 7).await;
    let server = read(&broker, &[source(&json!({"queue": "orders"}))]).await;
    assert_eq!(length(&server, "queue=orders").await, one("7"));
    let began = Instant::now();
    eventually("an error for as long as a new queue has one", async || {
        let (code, message) = values(&server, "rabbitmq_queue_publish_rate", "queue=orders").await.unwrap_err();
        assert!(code == 503 && message.contains("`management.rates_mode` is not none"), "{message}");
        (began.elapsed() > SETTLED).then_some(())
    })
    .await;
}
