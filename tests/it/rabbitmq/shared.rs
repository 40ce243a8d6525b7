//! What is requested of the management API, played on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use depthgauge::config::Config;
use depthgauge::endpoints::Endpoints;
use depthgauge::source::part::Part;
use depthgauge::source::{KINDS, Opened};
use serde_json::{Value, json};

use super::{config, get, length, one, source, values};
use crate::support::double::{Double, Received};
use crate::support::eventually;
use crate::support::server::Server;

/// Within one of these nothing is read twice.
const SLOW: &str = "60s";

/// The queues of the broker: vhost, name and messages.
pub(super) type Queues = &'static [(&'static str, &'static str, u32)];

/// A broker with these queues. Its pages have two queues.
async fn broker(queues: Queues) -> Double {
    Double::start(None, move |request| (200, page(request, queues))).await
}

pub(super) fn page(request: &Received, queues: Queues) -> String {
    let (path, query) = request.target.split_once('?').unwrap();
    let path = &path[path.find("/api/queues").unwrap()..];
    let vhost = path.strip_prefix("/api/queues/").map(|vhost| vhost.replace("%2F", "/"));
    let number: usize = query.split('&').find_map(|pair| pair.strip_prefix("page=")).unwrap().parse().unwrap();
    let of_vhost: Vec<Value> = queues
        .iter()
        .filter(|(of, ..)| vhost.as_deref().is_none_or(|vhost| vhost == *of))
        .map(|(vhost, name, messages)| {
            json!({
                "vhost": vhost, "name": name, "type": "classic", "state": "running",
                "messages_ready": messages, "messages_unacknowledged": 0,
                "message_stats": {"publish_details": {"avg_rate": messages}, "deliver_get_details": {"avg_rate": 1.5}},
            })
        })
        .collect();
    let items: Vec<&Value> = of_vhost.iter().skip((number - 1) * 2).take(2).collect();
    let (count, pages) = (of_vhost.len(), of_vhost.len().div_ceil(2));
    json!({"items": items, "page_count": pages, "filtered_count": count}).to_string()
}

/// A server that reads this broker.
async fn serve(broker: &Double, sources: &[Value]) -> Server {
    let url = format!("http://{}", broker.address);
    Server::start(&config(&url, &json!({}), &json!({"refresh": SLOW, "timeout": "20s"}), sources)).await
}

pub(super) fn targets(broker: &Double) -> Vec<String> {
    broker.received().into_iter().map(|request| request.target).collect()
}

pub(super) const SHOP: Queues = &[("/", "orders-eu", 3), ("/", "orders-us", 4), ("/", "invoices", 5)];
/// The same without a queue that nothing requests.
pub(super) const WITHOUT_US: Queues = &[("/", "orders-eu", 3), ("/", "invoices", 5)];

#[tokio::test]
async fn one_read_serves_every_queue_and_every_entry_of_a_vhost() {
    let broker = broker(SHOP).await;
    let server = serve(&broker, &[source(&json!({"match": "orders-*"})), source(&json!({"queue": "invoices"}))]).await;
    assert_eq!(length(&server, "queue=orders-eu").await, one("3"));
    assert_eq!(length(&server, "queue in (orders-us)").await, one("4"));
    assert_eq!(length(&server, "queue=invoices").await, one("5"));
    let sum = length(&server, "").await.unwrap();
    assert_eq!(sum, ["5", "3", "4"]);
    assert_eq!(values(&server, "rabbitmq_queue_ready", "queue=invoices").await, one("5"));
    let totals = "page_size=500&disable_stats=true&enable_queue_totals=true";
    let pages = [1, 2].map(|number| format!("/api/queues/%2F?page={number}&{totals}"));
    assert_eq!(targets(&broker), pages, "three queues on pages of two");
}

#[tokio::test]
async fn all_queues_together_are_read_once_every_refresh() {
    const REFRESH: Duration = Duration::from_millis(200);
    let broker = broker(&[("/", "orders", 3), ("/", "invoices", 4)]).await;
    let timing = json!({"refresh": format!("{}ms", REFRESH.as_millis()), "timeout": "20s"});
    let sources = [source(&json!({"match": "*"})), source(&json!({"queue": "orders"}))];
    let began = Instant::now();
    let server = Server::start(&config(&format!("http://{}", broker.address), &json!({}), &timing, &sources)).await;
    let counted = eventually("ten requests", async || {
        // Each query has a rhythm of its own.
        for selector in ["queue=orders", "queue=invoices", "queue in (orders)", ""] {
            length(&server, selector).await.unwrap();
        }
        Some(broker.count()).filter(|count| *count >= 10)
    })
    .await;
    let most = 1 + began.elapsed().as_millis() / REFRESH.as_millis();
    assert!(counted as u128 <= most, "{counted} requests in the time of {most}");
}

#[tokio::test]
async fn the_turn_of_a_list_is_waited_for_before_its_deadline_begins() {
    const LONG: Duration = Duration::from_secs(20);
    let broker = broker(SHOP).await;
    let sources = [source(&json!({"match": "*"}))];
    let url = format!("http://{}", broker.address);
    let text = config(&url, &json!({"maxRequestsPerSecond": 1}), &json!({"refresh": SLOW}), &sources);
    crate::support::crypto();
    let config = Config::parse(&text, KINDS).unwrap_or_else(|problems| panic!("{problems:?}"));
    let Opened::Many(listing) = config.open(jiff::Timestamp::now, Endpoints::none()).unwrap().remove(0).source else {
        panic!("one")
    };
    let by = || tokio::time::Instant::now() + LONG;
    let members = listing.list(tokio::time::Instant::now(), by()).await.unwrap().members;
    // Each list has two pages, so the next one has its turn 2 s later.
    let since = tokio::time::Instant::now();
    listing.wait_turn(since, LONG).await;
    assert!(since.elapsed() > Duration::from_secs(1), "{:?}", since.elapsed());
    listing.list(since, by()).await.unwrap();
    let member = &members[0].source.source;
    for (part, requests) in [(Part::WHOLE, 6), (Part::APART, 8)] {
        let since = tokio::time::Instant::now();
        member.wait_turn(&part, since, LONG).await;
        assert!(since.elapsed() > Duration::from_secs(1), "{:?}", since.elapsed());
        // A 0 may not count yet.
        let _ = member.read_since(&part, since, by()).await;
        assert_eq!(broker.count(), requests);
    }
}

#[tokio::test]
async fn rates_are_read_while_they_are_requested() {
    let broker = broker(&[("/", "orders", 3)]).await;
    let server = serve(&broker, &[source(&json!({"queue": "orders"}))]).await;
    assert_eq!(length(&server, "queue=orders").await, one("3"));
    assert_eq!(broker.count(), 1);
    assert_eq!(values(&server, "rabbitmq_queue_publish_rate", "queue=orders").await, one("3"));
    assert_eq!(values(&server, "rabbitmq_queue_deliver_rate", "queue=orders").await, one("1500m"));
    let columns =
        "name%2Cvhost%2Cstate%2Cmessage_stats.publish_details.avg_rate%2Cmessage_stats.deliver_get_details.avg_rate";
    let rates = format!("/api/queues/%2F?page=1&page_size=500&columns={columns}&msg_rates_age=60&msg_rates_incr=5");
    assert_eq!(targets(&broker)[1..], [rates]);
    // A rate takes no value rule.
    let (code, message) =
        values(&server, "rabbitmq_queue_publish_rate", "queue=orders,depthgauge.dev/fallback=1").await.unwrap_err();
    let keys = "it can be selected by queue, vhost, connection";
    assert!(code == 400 && message.ends_with(keys), "{message}");
}

#[tokio::test]
async fn rates_are_not_read_when_they_are_no_longer_requested() {
    let broker = broker(&[("/", "orders", 3)]).await;
    let timing = json!({"refresh": "20ms", "idleAfter": "3s"});
    let url = format!("http://{}", broker.address);
    let server = Server::start(&config(&url, &json!({}), &timing, &[source(&json!({"queue": "orders"}))])).await;
    let lists = || {
        let (rates, counts): (Vec<_>, Vec<_>) =
            targets(&broker).into_iter().partition(|target| target.contains("msg_rates_age="));
        (rates.len(), counts.len())
    };
    let began = Instant::now();
    // A second request, more than a second after the first, begins reads without requests.
    eventually("two requests", async || {
        assert_eq!(values(&server, "rabbitmq_queue_publish_rate", "queue=orders").await, one("3"));
        (began.elapsed() > Duration::from_millis(1500)).then_some(())
    })
    .await;
    let (before, _) = lists();
    eventually("rates without a request", async || (lists().0 > before + 5).then_some(())).await;
    let mut last = lists();
    eventually("counts without rates", async || {
        assert_eq!(length(&server, "queue=orders").await, one("3"));
        let now = lists();
        if now.0 > last.0 {
            last = now;
        }
        (now.1 > last.1 + 50).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_item_has_the_labels_of_its_queue() {
    let broker = broker(&[("/", "My Queue", 3)]).await;
    let server = serve(&broker, &[source(&json!({"queue": "My Queue"}))]).await;
    let expected = json!({
        "queue": "My_Queue", "vhost": "default", "connection": "broker", "depthgauge.dev/name": "My Queue",
    });
    for selector in ["queue=My_Queue", "vhost=default", "connection in (broker),vhost!=shop", ""] {
        let answer = get(&server, "rabbitmq_queue_length", selector).await.json();
        assert_eq!(answer["items"][0]["metricLabels"], expected, "{selector}");
    }
    let (code, message) = length(&server, "vhost=shop").await.unwrap_err();
    assert!(code == 404 && message.contains("it may read My_Queue"), "{message}");
}

#[tokio::test]
async fn static_labels_select_queues_and_rule_out_entries() {
    // The queues of vhost `down` can't be listed.
    let broker = Double::start(None, |request| match request.target.starts_with("/api/queues/down?") {
        true => (500, "down".to_owned()),
        false => (200, page(request, SHOP)),
    })
    .await;
    let hidden = json!({"type": "rabbitmq", "queue": "ledger", "namespaces": ["bank"], "labels": {"secret": "x"}});
    let entries = [
        source(&json!({"match": "orders-*", "labels": {"env": "prod"}})),
        source(&json!({"queue": "invoices", "labels": {"env": "prod", "team": "billing"}})),
        source(&json!({"vhost": "down", "labels": {"env": "dev"}})),
        hidden,
    ];
    let server = serve(&broker, &entries).await;
    for (selector, expected) in [
        ("env=prod", &["5", "3", "4"][..]),
        ("env=prod,team=billing", &["5"]),
        ("team in (billing)", &["5"]),
        ("env=prod,team!=billing", &["3", "4"]),
        ("env in (prod,test),!team,queue!=orders-us", &["3"]),
    ] {
        assert_eq!(
            length(&server, selector).await,
            Ok(expected.iter().map(|text| (*text).to_owned()).collect()),
            "{selector}"
        );
    }
    let answer = get(&server, "rabbitmq_queue_publish_rate", "team=billing").await.json();
    let labels =
        json!({"queue": "invoices", "vhost": "default", "connection": "broker", "env": "prod", "team": "billing"});
    assert_eq!(answer["items"][0]["metricLabels"], labels);
    // Nothing rules out the queues that are not known.
    for selector in ["", "env", "env=dev", "env!=prod", "vhost=down"] {
        let (code, message) = length(&server, selector).await.unwrap_err();
        assert!(code == 503 && message.starts_with("queues of a vhost cannot be read"), "{selector}: {message}");
    }
    let (code, message) = length(&server, "env=test").await.unwrap_err();
    assert!(code == 404 && message.contains("matches env=test; it may read invoices, orders-eu"), "{message}");
    let keys = "queue, vhost, connection, env, team, depthgauge.dev/activation, depthgauge.dev/fallback";
    for key in ["secret", "region"] {
        let expected = format!("no such selector key for rabbitmq_queue_length: {key}; it can be selected by {keys}");
        assert_eq!(length(&server, &format!("{key}=x,env=prod")).await, Err((400, expected)));
    }
}

#[tokio::test]
async fn a_name_in_two_vhosts_needs_a_selector_with_the_vhost() {
    let broker = broker(&[("/", "orders", 3), ("shop", "orders", 4), ("shop", "invoices", 5)]).await;
    let entries = [source(&json!({"queue": "orders"})), source(&json!({"vhost": "shop"}))];
    let server = serve(&broker, &entries).await;
    let both = "the selector picks several queues \"orders\", such as vhost=default,connection=broker and vhost=shop,connection=broker: name one of them by vhost and connection in the selector";
    for selector in ["queue=orders", "", "queue=orders,connection=broker"] {
        assert_eq!(length(&server, selector).await, Err((400, both.to_owned())), "{selector}");
    }
    assert_eq!(length(&server, "queue=orders,vhost=shop").await, one("4"));
    assert_eq!(length(&server, "queue=orders,vhost=default").await, one("3"));
    assert_eq!(length(&server, "queue=invoices").await, one("5"));
    let sum = length(&server, "queue=orders,vhost in (default,shop)").await.unwrap();
    assert_eq!(sum, ["3", "4"]);
}

#[tokio::test]
async fn a_path_on_the_way_to_a_foreign_host_has_no_encoded_slash() {
    let broker = broker(&[("/", "orders", 3), ("a/b", "orders", 4), ("shop", "orders", 5)]).await;
    // Its proxy answers in its place.
    let proxy = json!({"proxy": format!("http://{}", broker.address)});
    let entries = ["/", "a/b", "shop"].map(|vhost| source(&json!({"vhost": vhost, "queue": "orders"})));
    let timing = json!({"refresh": SLOW, "timeout": "20s"});
    let server = Server::start(&config("http://rabbitmq.example.com", &proxy, &timing, &entries)).await;
    for (vhost, messages) in [("default", "3"), ("a_b", "4"), ("shop", "5")] {
        assert_eq!(length(&server, &format!("vhost={vhost}")).await, one(messages));
    }
    let paths: Vec<String> =
        targets(&broker).iter().map(|target| target.split('?').next().unwrap().to_owned()).collect();
    let [all, shop] = ["/api/queues", "/api/queues/shop"].map(|path| format!("http://rabbitmq.example.com{path}"));
    assert_eq!(paths, [all.clone(), all, shop], "both pages of one list, and the other list");
}

#[tokio::test]
async fn only_a_host_inside_the_cluster_gets_an_encoded_slash() {
    crate::support::crypto();
    for (url, connection, path) in [
        ("http://rabbitmq.shop.svc:15672", json!({}), "/api/queues/%2F"),
        ("http://127.0.0.1:15672", json!({}), "/api/queues/%2F"),
        ("http://127.0.0.1:15672", json!({"proxy": "none"}), "/api/queues/%2F"),
        ("http://rabbitmq.shop.svc:15672", json!({"proxy": "http://proxy:3128"}), "/api/queues"),
        // A load balancer of the network around the cluster may be there.
        ("http://10.1.2.3:15672", json!({}), "/api/queues"),
        ("http://[fd00::1]:15672", json!({}), "/api/queues"),
        ("https://rabbitmq.example.com", json!({}), "/api/queues"),
        ("https://rabbitmq.example.com", json!({"proxy": "none"}), "/api/queues"),
    ] {
        let text = config(url, &connection, &json!({}), &[source(&json!({"queue": "orders"}))]);
        let config = Config::parse(&text, KINDS).unwrap_or_else(|problems| panic!("{problems:?}"));
        let opened = config.open(jiff::Timestamp::now, Endpoints::none()).unwrap().remove(0).source;
        let Opened::One(identified) = opened else { panic!("many") };
        assert_eq!(identified.source.upstream().unwrap().key, format!("{path} counts"), "{url}, {connection}");
    }
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_no_zero() {
    let broker = broker(SHOP).await;
    let server = serve(&broker, &[source(&json!({"queue": "missing"})), source(&json!({"match": "orders-*"}))]).await;
    let (code, message) = length(&server, "queue=missing").await.unwrap_err();
    assert!(code == 503 && message.contains("no such queue (operation: read). Check `queue` and `vhost`"), "{message}");
    let (code, message) = length(&server, "queue=orders-asia").await.unwrap_err();
    assert!(code == 404 && message.contains("it may read missing, orders-eu, orders-us"), "{message}");
}

#[tokio::test]
async fn a_404_names_its_causes() {
    let broker =
        Double::start(None, |_| (404, r#"{"error":"Object Not Found","reason":"Not Found"}"#.to_owned())).await;
    let server = serve(&broker, &[source(&json!({"vhost": "a/b", "queue": "orders"}))]).await;
    let (code, message) = length(&server, "queue=orders").await.unwrap_err();
    assert_eq!(code, 503, "{message}");
    for cause in ["no such vhost or queue", "no permission on the vhost", "decodes %2F"] {
        assert!(message.contains(cause), "{cause}: {message}");
    }
}

#[tokio::test]
async fn a_source_with_little_time_takes_none_from_others() {
    // The first request is not answered.
    let requests = Arc::new(AtomicUsize::new(0));
    let broker = Double::start(None, move |request| match requests.fetch_add(1, Relaxed) {
        0 => (0, String::new()),
        _ => (200, page(request, SHOP)),
    })
    .await;
    let impatient = source(&json!({"queue": "orders-eu", "timeout": "300ms"}));
    let server = serve(&broker, &[impatient, source(&json!({"queue": "invoices"}))]).await;
    let other = async {
        eventually("the list is read", async || (broker.count() == 1).then_some(())).await;
        length(&server, "queue=invoices").await
    };
    let (impatient, other) = tokio::join!(length(&server, "queue=orders-eu"), other);
    let (code, message) = impatient.unwrap_err();
    assert!(code == 503 && message.contains("timed out (operation: read). Check the network path"), "{message}");
    assert_eq!(other, one("5"));
    // From now on a read has the time of the other one.
    assert_eq!(length(&server, "queue=invoices").await, one("5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_when_the_source_that_began_it_gives_up() {
    let (answer, gate) = std::sync::mpsc::channel::<()>();
    let (gate, requests) = (std::sync::Mutex::new(gate), AtomicUsize::new(0));
    // Requests after the first list wait for the test.
    let broker = Double::start(None, move |request| {
        if requests.fetch_add(1, Relaxed) > 0 {
            gate.lock().unwrap().recv().unwrap();
        }
        (200, page(request, &[("/", "orders", 3), ("/", "invoices", 5)]))
    })
    .await;
    let impatient = source(&json!({"queue": "orders", "timeout": "300ms", "refresh": "1ms", "maxAge": "1ms"}));
    let patient = source(&json!({"queue": "invoices"}));
    let server = serve(&broker, &[impatient, patient]).await;
    assert_eq!(length(&server, "queue=invoices").await, one("5"));
    let (code, message) = length(&server, "queue=orders").await.unwrap_err();
    assert!(code == 503 && message.contains("timed out (operation: read)"), "{message}");
    assert_eq!(broker.count(), 2);
    answer.send(()).unwrap();
    // The list that is under way serves both.
    assert_eq!(length(&server, "queue=invoices").await, one("5"));
    assert_eq!(broker.count(), 2);
}

#[tokio::test]
async fn a_list_that_becomes_shorter_meanwhile_is_read_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let broker = Double::start(None, move |request| match requests.fetch_add(1, Relaxed) {
        0 => (200, page(request, SHOP)),
        1 => (
            400,
            r#"{"error":"page_out_of_range","reason":"Page out of range, page: 2 page size: 2, len: 1"}"#.to_owned(),
        ),
        _ => (200, page(request, &SHOP[2..])),
    })
    .await;
    let server = serve(&broker, &[source(&json!({"match": "*"}))]).await;
    assert_eq!(length(&server, "").await, one("5"));
    assert_eq!(broker.count(), 3);
}

#[tokio::test]
async fn a_list_of_rates_that_fails_leaves_the_counts_as_they_are() {
    let broker = Double::start(None, |request| match request.target.contains("msg_rates_age") {
        true => (500, "statistics time-out".to_owned()),
        false => (200, page(request, SHOP)),
    })
    .await;
    let timing = json!({"refresh": "20ms", "timeout": "20s"});
    let url = format!("http://{}", broker.address);
    let server = Server::start(&config(&url, &json!({}), &timing, &[source(&json!({"queue": "invoices"}))])).await;
    // More failures in a row than a host may have: nothing else is answered meanwhile.
    eventually("ten failures", async || {
        values(&server, "rabbitmq_queue_publish_rate", "queue=invoices").await.unwrap_err();
        (broker.count() > 12).then_some(())
    })
    .await;
    assert_eq!(length(&server, "queue=invoices").await, one("5"));
}

#[tokio::test]
async fn after_an_outage_a_zero_counts_only_after_ten_seconds() {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = down.clone();
    let broker = Double::start(None, move |request| match is_down.load(Relaxed) {
        true => (500, "down".to_owned()),
        false => (200, page(request, &[("/", "orders", 0)])),
    })
    .await;
    let timing = json!({"refresh": "100ms", "maxAge": "500ms"});
    let url = format!("http://{}", broker.address);
    let sources = [source(&json!({"queue": "orders"}))];
    let server = Server::start(&config(&url, &json!({}), &timing, &sources)).await;
    let zero = eventually("a zero", async || length(&server, "queue=orders").await.ok()).await;
    assert_eq!(zero, ["0"]);
    down.store(true, Relaxed);
    let (_, message) = eventually("an outage", async || length(&server, "queue=orders").await.err()).await;
    assert!(message.contains("500 (operation: read)"), "{message}");
    down.store(false, Relaxed);
    eventually("the end of the outage", async || {
        let (_, message) = length(&server, "queue=orders").await.unwrap_err();
        message.contains("RabbitMQ reports 0, which counts after").then_some(())
    })
    .await;
}
