//! The same with Debian's RabbitMQ.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::join;

use super::{config, length, one, source, values};
use crate::support::eventually;
use crate::support::rabbitmq::Broker;
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

const VHOSTS: [&str; 7] = ["/", "a b", "a+b", "a/b", "Köln", "bulk", "empty"];

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
        a_queue_that_is_not_there(&broker),
        a_vhost_without_queues(&broker),
        a_client_without_credentials(&broker),
        pages_are_as_they_are_read(&broker),
        names_are_expressions_without_anchors(&broker),
        fields_of_a_new_queue_are_missing_at_first(&broker),
        the_exporter_has_no_queue_unless_asked(&broker),
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
    let mut number = 0;
    for vhost in &VHOSTS[..5] {
        // Some of these vhosts have the same label, so they can't be in one config.
        let mut expected = Vec::new();
        for queue in ["q a/b", "q+é", "q a b", "Q%2F"] {
            broker.declare(vhost, queue, "classic").await;
            // Each has another number of messages.
            number += 1;
            broker.publish(vhost, queue, number).await;
            expected
                .push((number, source(&json!({"vhost": vhost, "queue": queue, "name": format!("number-{number}")}))));
        }
        let sources: Vec<Value> = expected.iter().map(|(_, source)| source.clone()).collect();
        let server = read(broker, &sources).await;
        for (number, source) in expected {
            assert_eq!(length(&server, &format!("queue=number-{number}")).await, one(&number.to_string()), "{source}");
        }
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
    for (user, password, code_of_user) in [
        ("reader", "wrong", "not_authorized"),
        ("untagged", "untagged", "not_authorised"),
        ("monitor", "monitor", "not_authorised"),
        ("elsewhere", "elsewhere", "not_authorised"),
    ] {
        let server = serve(broker, user, password, &[source(&json!({"queue": "secret"}))]).await;
        let (code, message) = length(&server, "queue=secret").await.unwrap_err();
        let expected = format!("401 {code_of_user} (operation: read). Check `auth` of the connection");
        assert!(code == 503 && message.contains(&expected), "{user}: {message}");
    }
    let server = read(broker, &[source(&json!({"queue": "secret"}))]).await;
    assert_eq!(length(&server, "queue=secret").await, one("1"));
}

async fn a_vhost_that_is_not_there(broker: &Broker) {
    let server = serve(broker, "owner", "owner", &[source(&json!({"vhost": "nowhere", "queue": "orders"}))]).await;
    let (code, message) = length(&server, "queue=orders").await.unwrap_err();
    assert!(code == 503 && message.contains("404 (operation: read). There is no such vhost or queue"), "{message}");
}

async fn a_queue_that_is_not_there(broker: &Broker) {
    let server = read(broker, &[source(&json!({"queue": "nowhere"}))]).await;
    let (code, message) = length(&server, "queue=nowhere").await.unwrap_err();
    assert!(code == 503 && message.contains("no such queue (operation: read). Check `queue` and `vhost`"), "{message}");
    // RabbitMQ does not distinguish them.
    let [queue, vhost] = ["queues/%2F/nowhere", "queues/nowhere/orders"].map(|path| broker.get(path, Some("owner")));
    let (queue, vhost) = join!(queue, vhost);
    assert_eq!(queue, vhost);
    assert_eq!((queue.0, queue.1.contains("Not Found")), (404, true), "{}", queue.1);
}

async fn a_vhost_without_queues(broker: &Broker) {
    let server = read(broker, &[source(&json!({"vhost": "empty"}))]).await;
    let (code, message) = length(&server, "vhost=empty").await.unwrap_err();
    assert!(code == 404 && message.contains("there is no queue of type rabbitmq that namespace"), "{message}");
}

async fn a_client_without_credentials(broker: &Broker) {
    let config = config(&broker.url, &json!({}), &json!({"refresh": "500ms"}), &[source(&json!({"queue": "orders"}))]);
    let server = Server::start(&config).await;
    let (code, message) = length(&server, "queue=orders").await.unwrap_err();
    assert!(code == 503 && message.contains("401 (operation: read). Check `auth` of the connection"), "{message}");
}

async fn pages_are_as_they_are_read(broker: &Broker) {
    let get = async |query: &str| {
        let (status, text) = broker.get(&format!("queues/empty{query}"), Some("owner")).await;
        let body: Value = serde_json::from_str(&text).unwrap();
        (status, body)
    };
    assert_eq!(get("?name=x&use_regex=true").await, (200, json!([])), "an array without `page`");
    let (status, page) = get("?page=1&page_size=500").await;
    let numbers = ["page_count", "filtered_count"].map(|key| page[key].clone());
    assert_eq!((status, numbers, page["items"].clone()), (200, [json!(0), json!(0)], json!([])));
    for (query, error) in [
        ("?page=1&page_size=501", "invalid_pagination_parameters"),
        ("?page=0&page_size=500", "invalid_pagination_parameters"),
        ("?page=2&page_size=500", "page_out_of_range"),
    ] {
        let (status, body) = get(query).await;
        assert_eq!((status, body["error"].as_str()), (400, Some(error)), "{query}: {body}");
    }
}

/// So depthgauge matches names itself.
async fn names_are_expressions_without_anchors(broker: &Broker) {
    broker.make_vhost("names").await;
    for queue in ["orders", "Orders-EU", "bills"] {
        broker.declare("names", queue, "classic").await;
    }
    let get = async |name: &str| {
        let path = format!(
            "queues/names?page=1&page_size=500&use_regex=true&disable_stats=true&enable_queue_totals=true&name={name}"
        );
        let (status, text) = broker.get(&path, Some("owner")).await;
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    for (name, expected) in [("orders", &["Orders-EU", "orders"][..]), ("%5E(%3F-i:orders)%24", &["orders"])] {
        let (status, page) = get(name).await;
        let items = page["items"].as_array().unwrap().iter();
        let mut found: Vec<&str> = items.map(|item| item["name"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!((status, &*found), (200, expected), "{name}");
    }
    let (status, body) = get("%5B").await;
    assert_eq!(status, 400, "not an expression: {body}");
    // An empty vhost is no vhost.
    assert_eq!(broker.get("queues//orders", Some("owner")).await.0, 404);
}

/// So a queue without counts is unknown, and not empty.
async fn fields_of_a_new_queue_are_missing_at_first(broker: &Broker) {
    broker.declare("/", "fields", "classic").await;
    let fields = async || {
        let (status, text) = broker.get("queues/%2F/fields", Some("owner")).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(fields().await.get("messages"), None);
    eventually("counts", async || (fields().await["messages"] == 0).then_some(())).await;
}

/// So depthgauge doesn't read it.
async fn the_exporter_has_no_queue_unless_asked(broker: &Broker) {
    broker.declare("/", "exported", "classic").await;
    broker.publish("/", "exported", 3).await;
    let get = async |path: &str| {
        let answer = reqwest::get(format!("{}/metrics{path}", broker.exporter)).await.unwrap();
        answer.text().await.unwrap()
    };
    let series = r#"rabbitmq_detailed_queue_messages{vhost="/",queue="exported"} 3"#;
    let detailed = async || get("/detailed?family=queue_coarse_metrics&vhost=%2F").await.contains(series).then_some(());
    eventually("counts", detailed).await;
    let totals = get("").await;
    assert!(totals.contains("\nrabbitmq_queue_messages ") && !totals.contains("queue=\"exported\""), "{totals}");
}

async fn rates_are_known_after_the_first_message(broker: &Broker) {
    const RATE: &str = "rabbitmq_queue_publish_rate";
    broker.declare("/", "rates", "classic").await;
    let server = read(broker, &[source(&json!({"queue": "rates"}))]).await;
    let began = Instant::now();
    let (code, message) = values(&server, RATE, "queue=rates").await.unwrap_err();
    assert!(code == 503 && message.contains("RabbitMQ reports no publish_details.avg_rate"), "{message}");
    eventually("a rate above 0", async || {
        broker.publish("/", "rates", 5).await;
        let served = values(&server, RATE, "queue=rates").await.ok()?;
        assert!(served != ["0"] || began.elapsed() >= SETTLED, "a false 0 after {:?}", began.elapsed());
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

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_loses_a_node_never_has_a_false_zero() {
    let mut broker = Broker::start_cluster(3, "", "").await;
    broker.make_user("reader", "reader", "management", &["/"]).await;
    // Their leaders are on the last node, and depthgauge reads through the first one.
    for (queue, kind) in [("orders", "quorum"), ("bills", "classic")] {
        broker.node(2).declare("/", queue, kind).await;
        broker.node(2).publish("/", queue, 7).await;
        let node = eventually("the node of the queue", async || {
            let (_, text) = broker.get(&format!("queues/%2F/{queue}"), Some("owner")).await;
            let queue: Value = serde_json::from_str(&text).unwrap();
            queue["node"].as_str().map(str::to_owned)
        })
        .await;
        assert!(node.ends_with("-2@localhost"), "{node}");
    }
    let file = broker.dir().join("password");
    std::fs::write(&file, "reader").unwrap();
    let auth = json!({"auth": {"type": "basic", "username": "reader", "passwordFile": file}});
    let sources = ["orders", "bills"].map(|queue| source(&json!({"queue": queue})));
    let timing = json!({"refresh": "500ms", "maxAge": "2s"});
    let server = Server::start(&config(&broker.url, &auth, &timing, &sources)).await;
    // The number of messages, or none while it is unknown. It is never less than what is there.
    let messages = async |queue: &str| {
        let served = length(&server, &format!("queue={queue}")).await;
        match &served {
            Ok(values) => {
                let count: usize = values[0].parse().unwrap();
                assert!(count >= 7, "{queue}: {served:?}");
                Some(count)
            }
            Err((code, message)) => {
                assert!(*code == 503 && !message.contains("no such queue"), "{queue}: {served:?}");
                None
            }
        }
    };
    for queue in ["orders", "bills"] {
        eventually("seven messages", async || messages(queue).await.filter(|count| *count == 7)).await;
    }
    broker.kill(2);
    let killed = Instant::now();
    // Messages go on coming, and so do requests.
    let published = std::cell::Cell::new(0);
    let load = async {
        while killed.elapsed() < Duration::from_secs(20) {
            let sent = tokio::time::timeout(Duration::from_secs(2), broker.node(1).publish_one("/", "orders")).await;
            published.set(published.get() + usize::from(matches!(sent, Ok(Ok(answer)) if answer.status() == 200)));
        }
    };
    let requests = async {
        while killed.elapsed() < Duration::from_secs(20) {
            messages("orders").await;
            messages("bills").await;
        }
    };
    join!(load, requests);
    // The quorum queue has another leader, and the classic one is on the node that is gone.
    let count = eventually("more messages", async || messages("orders").await.filter(|count| *count > 7)).await;
    assert!(count <= 7 + published.get(), "{count} of 7 + {}", published.get());
    let (_, message) = eventually("a queue that is down", async || length(&server, "queue=bills").await.err()).await;
    let is_down = message.contains("its state is down") || message.contains("RabbitMQ lists no counts of it");
    assert!(is_down || message.contains("timed out"), "{message}");
    a_queue_without_a_leader_is_not_missing(broker).await;
}

/// Of a cluster that has lost a node, and now loses another one.
async fn a_queue_without_a_leader_is_not_missing(mut broker: Broker) {
    broker.make_vhost("alone").await;
    broker.make_user("reader", "reader", "management", &["alone"]).await;
    // No other queue of the vhost shows that a node is down.
    broker.node(1).declare("alone", "orders", "quorum").await;
    broker.node(1).publish("alone", "orders", 7).await;
    let timing = json!({"refresh": "500ms", "maxAge": "2s"});
    let auth = json!({"auth": {"type": "basic", "username": "reader", "passwordFile": broker.dir().join("password")}});
    let url = broker.url.clone();
    let serve = async |key: &str| {
        let sources = [source(&json!({"vhost": "alone", key: "orders"}))];
        Server::start(&config(&url, &auth, &timing, &sources)).await
    };
    let servers = [serve("queue").await, serve("match").await];
    for server in &servers {
        let seven = async || (length(server, "queue=orders").await == one("7")).then_some(());
        eventually("seven messages", seven).await;
    }
    broker.kill(1);
    let killed = Instant::now();
    // Longer than `match` needs to list the queues again.
    eventually("a minority for a while", async || {
        let mut is_lost = true;
        for server in &servers {
            match length(server, "queue=orders").await {
                Ok(values) => assert_eq!(values, ["7"]),
                Err((code, message)) => {
                    assert!(code == 503 && !message.contains("no such queue"), "{message}");
                    is_lost &= message.contains("RabbitMQ lists no counts of it");
                }
            }
        }
        (is_lost && killed.elapsed() > Duration::from_secs(20)).then_some(())
    })
    .await;
    // One that has never read its counts. Its first read may take too long.
    let (code, message) = length(&serve("queue").await, "queue=orders").await.unwrap_err();
    let is_lost = message.contains("RabbitMQ lists no counts of it") || message.contains("timed out");
    assert!(code == 503 && is_lost, "{message}");
}
