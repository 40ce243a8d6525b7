//! What is measured of asking and reading.

use prometheus_client::registry::Registry;

use super::*;

#[tokio::test(start_paused = true)]
async fn intervals_reads_and_failures_are_told_to_whoever_scrapes() {
    let (orders, bills, idle) = (Fake::new(), Fake::new(), Fake::new());
    let bindings = vec![binding("orders", &orders), binding("bills", &bills), binding("idle", &idle)];
    let Scene { catalog, _reader } = bound(bindings);
    let (catalog, mut registry) = (Arc::new(catalog), Registry::default());
    catalog.register(&mut registry);
    registry.register_collector(Box::new(Vitals::of(catalog.clone())));
    let scene = Arc::clone(&catalog);
    let ask = async |selector: &str| {
        let selector = Selector::parse(selector).unwrap();
        scene.answer(&Namespace::new("shop"), "oci_queue_length", &selector).await.is_ok()
    };
    let has = |line: &str| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
    };
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
    has("ask_interval_seconds_bucket{le=\"14.0\"} 0");
    has("ask_interval_seconds_bucket{le=\"16.0\"} 8");
    has("ask_interval_seconds_count 8");
    has("sources{state=\"ok\"} 1");
    has("sources{state=\"failing\"} 1");
    has("sources{state=\"idle\"} 1");
    // 50 ms each, to the millisecond of the timer.
    has(&format!("source_read_duration_seconds_count{{kind=\"oci-queue\",result=\"ok\"}} {}", orders.reads()));
    has(&format!("source_read_duration_seconds_count{{kind=\"oci-queue\",result=\"read\"}} {}", bills.reads()));
    let since = "2026-11-22T14:00:00Z".parse::<Timestamp>().unwrap().as_second();
    has(&format!("source_failing_since_timestamp_seconds{{kind=\"oci-queue\",source=\"bills\",part=\"\"}} {since}"));
    bills.set(Mood::Answers);
    seconds(10.0).await;
    has("sources{state=\"failing\"} 0");
    has("sources{state=\"ok\"} 2");
}

#[tokio::test(start_paused = true)]
async fn what_has_failed_is_counted_and_told_after_its_outage() {
    let fake = Fake::new();
    let Scene { catalog, _reader } = bound(vec![binding("orders", &fake)]);
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
    assert_eq!((failure.step, failure.cause.as_str(), failure.remedy), ("read", "500", "Wait."));
    assert_eq!(state.identity_tail, "orders");
}
