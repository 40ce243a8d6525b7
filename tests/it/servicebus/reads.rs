//! What is requested, and what is served.

use depthgauge::config::Config;
use depthgauge::endpoints::Endpoints;
use depthgauge::source::part::Part;
use depthgauge::source::{KINDS, Opened};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::stub::Trouble;
use super::{ACTIVE, DEAD_LETTER, POLICY, SCHEDULED, Scene, active, get, message, often, once, one, values};
use crate::support::eventually;
use crate::support::server::Server;

#[tokio::test]
async fn counts_follow_what_is_sent_and_received() {
    let scene = Scene::new().await;
    scene.bus.add_queue("Team/Orders");
    scene.bus.add_subscription("events", "worker");
    let sources = [json!({"queue": "team/orders"}), json!({"topic": "events", "subscription": "worker"})];
    let server = scene.serve(&often(), &sources).await;
    let (queue, subscription) = ("queue=team_orders", "topic=events,subscription=worker");
    assert_eq!(active(&server, queue).await, one("0"));
    assert_eq!(active(&server, subscription).await, one("0"));
    // No two of these numbers are equal, so that no constant and no other count is right.
    let follow = [(3, 5, 7, 11), (13, 0, 17, 19), (1, 29, 2, 31)];
    for (sent, dead, scheduled, other) in follow {
        scene.bus.change("/team/orders", |messages| {
            (messages.active, messages.dead_letter, messages.scheduled) = (sent, dead, scheduled);
        });
        scene.bus.change("/events/subscriptions/worker", |messages| messages.active = other);
        for (metric, selector, expected) in [
            (ACTIVE, queue, sent),
            (DEAD_LETTER, queue, dead),
            (SCHEDULED, queue, scheduled),
            (ACTIVE, subscription, other),
        ] {
            eventually(&format!("{metric} {selector} {expected}"), async || {
                (values(&server, metric, selector).await == one(&expected.to_string())).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn connections_to_one_namespace_share_its_requests() {
    let scene = Scene::new().await;
    let sources: Vec<Value> = (0..6)
        .map(|number| {
            let queue = format!("q{number}");
            scene.bus.add_queue(&queue);
            json!({"queue": queue, "connection": if number % 2 == 0 { "bus" } else { "other" }})
        })
        .collect();
    let mut config = scene.config(&scene.sas(POLICY), &once(), &sources);
    config["connections"]["bus"]["maxRequestsPerSecond"] = json!(1);
    config["connections"]["other"] = config["connections"]["bus"].clone();
    let server = Server::start(&config.to_string()).await;
    let began = Instant::now();
    let selectors: Vec<String> = (0..6).map(|number| format!("queue=q{number}")).collect();
    let _answers = tokio::spawn(async move { join_all(selectors.iter().map(|queue| active(&server, queue))).await });
    let count = async || Some(scene.bus.targets().len()).filter(|count| *count >= 4);
    let requests = eventually("four requests", count).await;
    // Each connection alone would have sent three of them within two seconds.
    let seconds = began.elapsed().as_secs() + 1;
    assert!(requests as u64 <= 1 + seconds, "{requests} requests in {seconds} s");
}

#[tokio::test]
async fn a_proxy_that_is_down_stops_no_other_connection() {
    let scene = Scene::new().await;
    scene.bus.add_queue("good");
    scene.bus.send("/good", 3);
    let mut sources = vec![json!({"queue": "good", "connection": "bus"})];
    sources.extend((0..20).map(|number| json!({"queue": format!("q{number}"), "connection": "other"})));
    let mut config = scene.config(&scene.sas(POLICY), &once(), &sources);
    config["connections"]["other"] = config["connections"]["bus"].clone();
    config["connections"]["other"]["proxy"] = json!("http://127.0.0.1:1");
    let server = Server::start(&config.to_string()).await;
    for number in 0..20 {
        let text = message(&server, 503, &format!("queue=q{number}")).await;
        assert!(text.contains("proxy http://127.0.0.1:1"), "{text}");
    }
    assert_eq!(active(&server, "queue=good").await, one("3"));
}

#[tokio::test]
async fn requests_and_labels_are_those_of_the_entities() {
    let scene = Scene::new().await;
    scene.bus.add_queue("invoices");
    scene.bus.add_subscription("a/b", "worker");
    let sources = [json!({"queue": "invoices", "name": "bills"}), json!({"topic": "a/b", "subscription": "worker"})];
    let server = scene.serve(&once(), &sources).await;
    scene.bus.send("/invoices", 4);
    let answer = get(&server, ACTIVE, "queue=bills").await;
    let labels = |body: &str| {
        let list: Value = serde_json::from_str(body).unwrap();
        list["items"][0]["metricLabels"].clone()
    };
    assert_eq!(labels(&answer.body), json!({"queue": "bills", "connection": "bus"}));
    let answer = get(&server, ACTIVE, "subscription=worker").await;
    let expected = json!({"topic": "a_b", "subscription": "worker", "connection": "bus"});
    assert_eq!(labels(&answer.body), expected);
    let paths = ["/invoices?api-version=2021-05", "/a/b/subscriptions/worker?api-version=2021-05"];
    assert_eq!(scene.bus.targets(), paths);
    // Labels of one form are no labels of the other.
    for selector in ["queue=worker", "queue=bills,topic=a_b", "subscription=bills", "topic=a_b,subscription!=worker"] {
        message(&server, 404, selector).await;
    }
    let text = message(&server, 404, "subscription=x").await;
    assert!(
        text.starts_with(r#"no subscription that namespace "shop" may read"#) && text.ends_with("worker"),
        "{text}"
    );
    let text = message(&server, 400, "vhost=a").await;
    assert!(text.contains("queue, subscription, topic, connection"), "{text}");
    let mut all = active(&server, "connection=bus").await.unwrap();
    all.sort_unstable();
    assert_eq!(all, ["0", "4"]);
}

#[tokio::test]
async fn one_list_serves_all_that_match() {
    let scene = Scene::new().await;
    for number in 0..250 {
        scene.bus.add_queue(&format!("queue-{number:03}"));
        scene.bus.change(&format!("/queue-{number:03}"), |messages| messages.active = number);
    }
    let server = scene.serve(&once(), &[json!({"match": "queue-*"})]).await;
    assert_eq!(active(&server, "queue=queue-249").await, one("249"));
    assert_eq!(active(&server, "queue=queue-007").await, one("7"));
    let all = active(&server, "").await.unwrap();
    let sum: u64 = all.iter().map(|value| value.parse::<u64>().unwrap()).sum();
    assert_eq!((all.len(), sum), (250, 249 * 250 / 2));
    let pages = [0, 99, 198].map(|skip| format!("/$Resources/queues?$skip={skip}&$top=100&api-version=2021-05"));
    assert_eq!(scene.bus.targets(), pages);
}

#[tokio::test]
async fn subscriptions_of_a_topic_are_listed() {
    let scene = Scene::new().await;
    for (topic, subscription, count) in [("orders", "eu", 3), ("orders", "us", 4), ("other", "eu", 50)] {
        scene.bus.add_subscription(topic, subscription);
        scene.bus.send(&format!("/{topic}/subscriptions/{subscription}"), count);
    }
    scene.bus.add_queue("eu");
    let sources =
        [json!({"topic": "orders", "match": "*"}), json!({"topic": "other", "match": "e*"}), json!({"queue": "eu"})];
    let server = scene.serve(&once(), &sources).await;
    assert_eq!(active(&server, "topic=orders,subscription=eu").await, one("3"));
    assert_eq!(active(&server, "topic=other").await, one("50"));
    assert_eq!(active(&server, "queue=eu").await, one("0"));
    let mut orders = active(&server, "topic=orders").await.unwrap();
    orders.sort_unstable();
    assert_eq!(orders, ["3", "4"]);
    let text = message(&server, 400, "subscription=eu").await;
    assert!(text.contains(r#"picks several subscriptions "eu""#) && text.contains("topic=orders"), "{text}");
    let mut targets = scene.bus.targets();
    targets.sort_unstable();
    targets.dedup();
    assert_eq!(targets.len(), 3, "{targets:?}");
}

#[tokio::test]
async fn a_list_that_changes_between_its_pages_is_read_again() {
    let scene = Scene::new().await;
    for number in 0..150 {
        scene.bus.add_queue(&format!("queue-{number:03}"));
    }
    // Number 100 moves to the first page after that was sent.
    scene.bus.send("/queue-100", 7);
    scene.bus.remove_after_page("/queue-040");
    let server = scene.serve(&once(), &[json!({"match": "queue-*"})]).await;
    let all = active(&server, "").await.unwrap();
    let sum: u64 = all.iter().map(|value| value.parse::<u64>().unwrap()).sum();
    assert_eq!((all.len(), sum), (149, 7));
    assert_eq!(scene.bus.count(), 4, "two pages twice");
}

#[tokio::test]
async fn a_source_with_little_time_takes_none_from_others() {
    let scene = Scene::new().await;
    for (name, count) in [("orders", 3), ("invoices", 5)] {
        scene.bus.add_queue(name);
        scene.bus.send(&format!("/{name}"), count);
    }
    let sources = [json!({"match": "orders", "timeout": "300ms"}), json!({"match": "invoices"})];
    let server = scene.serve(&once(), &sources).await;
    scene.bus.set_trouble(Some(Trouble::SilentOnce));
    let other = async {
        eventually("the list is read", async || (scene.bus.count() == 1).then_some(())).await;
        active(&server, "queue=invoices").await
    };
    let (impatient, other) = tokio::join!(active(&server, "queue=orders"), other);
    let (code, text) = impatient.unwrap_err();
    assert!(code == 503 && text.contains("timed out") && text.contains("(operation: list)"), "{text}");
    assert_eq!(other, one("5"));
}

#[tokio::test]
async fn the_turn_of_a_list_is_waited_for_before_its_deadline_begins() {
    const LONG: Duration = Duration::from_secs(20);
    let scene = Scene::new().await;
    for number in 0..250 {
        scene.bus.add_queue(&format!("queue-{number:03}"));
    }
    let mut config = scene.config(&scene.sas(POLICY), &once(), &[json!({"match": "queue-*"})]);
    config["connections"]["bus"]["maxRequestsPerSecond"] = json!(2);
    crate::support::crypto();
    let config = Config::parse(&config.to_string(), KINDS).unwrap_or_else(|problems| panic!("{problems:?}"));
    let Opened::Many(listing) = config.open(jiff::Timestamp::now, Endpoints::none()).unwrap().remove(0).source else {
        panic!("one")
    };
    let list = async || listing.list(Instant::now(), Instant::now() + LONG).await.unwrap();
    let members = list().await.members;
    // Each list has three pages, so the next one has its turn 1.5 s later.
    let (since, member) = (Instant::now(), &members[0].source.source);
    listing.wait_turn(since, LONG).await;
    assert!(since.elapsed() > Duration::from_secs(1), "{:?}", since.elapsed());
    listing.list(since, Instant::now() + LONG).await.unwrap();
    let since = Instant::now();
    member.wait_turn(&Part::WHOLE, since, LONG).await;
    assert!(since.elapsed() > Duration::from_secs(1), "{:?}", since.elapsed());
    member.read_since(&Part::WHOLE, since, Instant::now() + LONG).await.unwrap();
    assert_eq!(scene.bus.count(), 9);
}

#[tokio::test]
async fn an_entity_that_a_list_lacks_costs_no_request() {
    let scene = Scene::new().await;
    scene.bus.add_queue("orders");
    scene.bus.send("/orders", 6);
    let timing = json!({"refresh": "200ms", "timeout": "20s", "maxAge": "20s"});
    let server = scene.serve(&timing, &[json!({"match": "*"})]).await;
    assert_eq!(active(&server, "queue=orders").await, one("6"));
    scene.bus.remove("/orders");
    eventually("the queue is gone", async || active(&server, "queue=orders").await.is_err().then_some(())).await;
    let is_list = |target: &String| target.starts_with("/$Resources/queues?");
    assert!(scene.bus.targets().iter().all(is_list), "{:?}", scene.bus.targets());
}
