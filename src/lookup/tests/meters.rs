//! Metrics of requests and reads.

use prometheus_client::registry::Registry;

use super::lists::{FakeListing, listed};
use super::*;

fn assert_has(registry: &Registry, line: &str) {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
}

#[tokio::test(start_paused = true)]
async fn intervals_reads_and_failures_are_told_to_whoever_scrapes() {
    let (orders, bills, idle) = (Fake::new(), Fake::new(), Fake::new());
    let configs = vec![config_of("orders", &orders), config_of("bills", &bills), config_of("idle", &idle)];
    let Scene { catalog, _reader } = catalog_of(configs);
    let (catalog, mut registry) = (Arc::new(catalog), Registry::default());
    catalog.register(&mut registry);
    registry.register_collector(Box::new(SourceCollector::of(catalog.clone())));
    let scene = Arc::clone(&catalog);
    let ask = async |selector: &str| {
        let selector = Selector::parse(selector).unwrap();
        scene.answer(&Namespace::new("shop"), "oci_queue_length", &selector).await.is_ok()
    };
    let has = |line: &str| assert_has(&registry, line);
    has("sources{state=\"idle\"} 3");
    bills.set(Mood::Fails("500"));
    for n in 0..5 {
        assert!(ask("queue=orders").await);
        assert!(!ask("queue=bills").await);
        if n < 4 {
            seconds(15.0).await;
        }
    }
    // Four of each, and the first has none before it.
    has("query_interval_seconds_bucket{le=\"14.0\"} 0");
    has("query_interval_seconds_bucket{le=\"16.0\"} 8");
    has("query_interval_seconds_count 8");
    has("sources{state=\"ok\"} 1");
    has("sources{state=\"failing\"} 1");
    has("sources{state=\"idle\"} 1");
    // 50 ms each, to the millisecond of the timer.
    has(&format!("source_read_duration_seconds_count{{kind=\"oci-queue\",result=\"ok\"}} {}", orders.ended()));
    has(&format!("source_read_duration_seconds_count{{kind=\"oci-queue\",result=\"read\"}} {}", bills.ended()));
    let since = "2026-11-22T14:00:00Z".parse::<Timestamp>().unwrap().as_second();
    has(&format!("source_failing_since_timestamp_seconds{{kind=\"oci-queue\",source=\"bills\"}} {since}"));
    bills.set(Mood::Answers);
    seconds(10.0).await;
    has("sources{state=\"failing\"} 0");
    has("sources{state=\"ok\"} 2");
}

#[tokio::test(start_paused = true)]
async fn what_has_failed_is_counted_and_told_after_its_outage() {
    let fake = Fake::new();
    let Scene { catalog, _reader } = catalog_of(vec![config_of("orders", &fake)]);
    let scene = Scene { catalog, _reader };
    fake.set(Mood::Fails("500"));
    scene.ask("shop", "queue=orders").await.unwrap_err();
    fake.set(Mood::Answers);
    // Read again after 5 to 6 s, and not yet another time.
    seconds(8.0).await;
    scene.ask("shop", "queue=orders").await.unwrap();
    let state = scene.catalog.readings().remove(0);
    assert_eq!((state.failures, state.outage.is_none()), (1, true));
    assert_eq!(state.reads + state.failures, fake.reads());
    let failure = state.last_failure.unwrap();
    assert_eq!((failure.operation, failure.cause.as_str(), failure.remedy), ("read", "500", "Wait."));
    assert_eq!(state.identity_tail, "orders");
}

#[tokio::test(start_paused = true)]
async fn each_source_that_no_question_can_name_counts() {
    // One name is taken, and two are the same.
    let names = [("My Queue", "1"), ("a", "2"), ("twin", "3"), ("twin", "4"), ("b", "5")];
    let listing = FakeListing::of(&names);
    let Scene { catalog, _reader } = catalog_of(vec![config_of("a", &Fake::new()), listed("*", "shop", &listing)]);
    let (catalog, mut registry) = (Arc::new(catalog), Registry::default());
    registry.register_collector(Box::new(SourceCollector::of(catalog.clone())));
    assert_has(&registry, "unselectable_sources 0");
    let shop = Namespace::new("shop");
    let all = Selector::parse("queue!=x").unwrap();
    let told = async || catalog.answer(&shop, "oci_queue_length", &all).await;
    // For the duplicates the cause is shown.
    told().await.unwrap_err();
    assert_has(&registry, "unselectable_sources 3");
    listing.set(Ok(&[("b", "5")]));
    seconds(70.0).await;
    assert_eq!(told().await.unwrap().len(), 2);
    assert_has(&registry, "unselectable_sources 0");
}

#[tokio::test(start_paused = true)]
async fn how_much_longer_values_are_kept_is_told_in_seconds() {
    let fake = Fake::new();
    let Scene { catalog, _reader } = catalog_of(vec![config_of("orders", &fake)]);
    let (catalog, mut registry) = (Arc::new(catalog), Registry::default());
    registry.register_collector(Box::new(SourceCollector::of(catalog.clone())));
    assert_has(&registry, "refresh_throttled_seconds 0.0");
    fake.queue(Duration::from_millis(7500));
    let (shop, all) = (Namespace::new("shop"), Selector::parse("").unwrap());
    for _ in 0..60 {
        catalog.answer(&shop, "oci_queue_length", &all).await.unwrap();
        seconds(1.0).await;
    }
    assert_has(&registry, "refresh_throttled_seconds 7.5");
}
