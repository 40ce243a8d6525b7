//! Activation and fallback as an HPA gets them, and what `/status` and the metrics show of them.

use super::*;

fn activation(units: i32) -> ValueRules {
    ValueRules { activation: Some(Quantity::from_units(units)), fallback: None }
}

fn fallback(units: i32) -> ValueRules {
    ValueRules { activation: None, fallback: Some(Quantity::from_units(units)) }
}

fn held() -> (i64, Option<String>) {
    (0, Some("activation".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn activation_holds_a_queue_at_0_until_it_is_above_the_number_and_then_until_a_true_0() {
    let fake = Fake::new();
    let scene = scene_with(activation(5), &[("orders", "shop", fake.clone())]);
    for (has, told) in [
        // Active after a start.
        (3, (3, None)),
        (0, (0, None)),
        (3, held()),
        (5, held()),
        (6, (6, None)),
        (1, (1, None)),
        (0, (0, None)),
        (1, held()),
    ] {
        fake.set(Mood::Has(has));
        seconds(15.0).await;
        assert_eq!(scene.told("queue=orders").await, told, "{has}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_activation_goes_on_between_two_requests() {
    let fake = Fake::new();
    let scene = scene_with(activation(5), &[("orders", "shop", fake.clone())]);
    fake.set(Mood::Has(0));
    assert_eq!(scene.told("queue=orders").await, (0, None));
    seconds(2.0).await;
    assert_eq!(scene.told("queue=orders").await, (0, None));
    for (between, then, told) in [(9, 2, (2, None)), (0, 2, held())] {
        // Read every 5 s, requested after 20.
        fake.set(Mood::Has(between));
        seconds(10.0).await;
        fake.set(Mood::Has(then));
        seconds(10.0).await;
        assert_eq!(scene.told("queue=orders").await, told, "{between}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_activation_is_dropped_while_nothing_is_read() {
    let fake = Fake::new();
    let scene = scene_with(activation(5), &[("orders", "shop", fake.clone())]);
    fake.set(Mood::Has(0));
    assert_eq!(scene.told("queue=orders").await, (0, None));
    // Left alone, and meanwhile it may have been anything: as after a start.
    seconds(600.0).await;
    fake.set(Mood::Has(2));
    assert_eq!(scene.told("queue=orders").await, (2, None));
}

#[tokio::test(start_paused = true)]
async fn an_hpa_brings_its_own_numbers_and_others_keep_theirs() {
    let fake = Fake::new();
    let scene = scene_with(activation(1), &[("orders", "shop", fake.clone())]);
    let selectors =
        ["queue=orders", "queue=orders,depthgauge.dev/activation=5", "queue=orders,depthgauge.dev/activation=0"];
    for (has, told) in [(0, [(0, None), (0, None), (0, None)]), (3, [(3, None), held(), (3, None)])] {
        fake.set(Mood::Has(has));
        seconds(15.0).await;
        for (selector, told) in selectors.iter().zip(told) {
            assert_eq!(scene.told(selector).await, told, "{selector}");
        }
    }
    // Gauges stay raw.
    let sizes = scene.catalog.answer(&Namespace::new("shop"), "oci_queue_size_bytes", &Selector::default()).await;
    assert_eq!(sizes.unwrap()[0].value, Quantity::from_units(3));
}

#[tokio::test(start_paused = true)]
async fn activations_of_one_namespace_take_none_from_another() {
    let fake = Fake::new();
    fake.set(Mood::Has(0));
    let scene = scene_with(activation(99), &[("orders", "*", fake.clone())]);
    assert_eq!(scene.told("queue=orders").await, (0, None));
    for n in 0..40 {
        scene.ask("other", &format!("depthgauge.dev/activation={n}")).await.unwrap();
    }
    let state = scene.catalog.readings().remove(0);
    let owners: Vec<_> = state.activation_owners.iter().map(|state| (state.owner.as_str(), state.used)).collect();
    assert_eq!((state.activations.len(), owners), (16, vec![("other", 15), ("shop", 1)]));
    fake.set(Mood::Has(3));
    seconds(15.0).await;
    assert_eq!(scene.told("queue=orders").await, held());
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_told_when_the_last_value_is_too_old_and_is_dated_now() {
    let fake = Fake::new();
    fake.set(Mood::Has(3));
    let scene = scene_with(fallback(12), &[("orders", "shop", fake.clone())]);
    assert_eq!(scene.told("queue=orders").await, (3, None));
    fake.set(Mood::Fails("500"));
    let began = Instant::now();
    let mut fell_back = false;
    while began.elapsed() < Duration::from_secs(120) {
        let sample = scene.ask("shop", "queue=orders").await.unwrap().remove(0);
        let age = clock().duration_since(sample.timestamp).as_secs_f64();
        match sample.labels.value(rules::LABEL) {
            None => assert!(!fell_back && sample.value == Quantity::from_units(3) && age <= 60.0),
            Some(policy) => {
                assert!(began.elapsed() >= Duration::from_secs(59));
                assert_eq!((policy, sample.value, age), ("fallback", Quantity::from_units(12), 0.0));
                fell_back = true;
            }
        }
        seconds(5.0).await;
    }
    assert!(fell_back);
    // The HPA's own number goes before the source's.
    assert_eq!(scene.told("depthgauge.dev/fallback=2").await, (2, Some("fallback".to_owned())));
    let size = scene.catalog.answer(&Namespace::new("shop"), "oci_queue_size_bytes", &Selector::default()).await;
    assert!(matches!(size, Err(LookupError::Unavailable(_))), "gauges stay raw");
    fake.set(Mood::Has(4));
    seconds(10.0).await;
    assert_eq!(scene.told("queue=orders").await, (4, None));
}

#[tokio::test(start_paused = true)]
async fn who_looks_for_an_hpa_is_told_a_fallback_only_after_max_age_of_failures() {
    let fake = Fake::new();
    fake.set(Mood::Fails("500"));
    let scene = scene_with(fallback(12), &[("orders", "shop", fake)]);
    let began = Instant::now();
    let namespace = Namespace::new("shop");
    while scene.catalog.observe(&namespace, "oci_queue_length", &Selector::default()).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(70), "no fallback at all");
        assert_eq!(scene.told("queue=orders").await, (12, Some("fallback".to_owned())), "an HPA is told at once");
        seconds(1.0).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn there_is_no_fallback_for_a_sum() {
    let fake = Fake::new();
    fake.set(Mood::Fails("500"));
    let scene = scene_with(fallback(12), &[("orders", "shop", fake), ("well", "shop", Fake::new())]);
    assert!(scene.ask("shop", "").await.is_err());
    assert_eq!(scene.told("queue=orders").await, (12, Some("fallback".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn there_is_no_fallback_for_a_source_that_is_not_there() {
    let fake = Fake::new();
    let scene = scene_with(fallback(12), &[("orders", "shop", fake.clone())]);
    for mood in [Mood::Refuses, Mood::Fails("500")] {
        fake.set(mood);
        seconds(10.0).await;
        let sentence = scene.sentence().await;
        assert!(sentence.contains("404 NotAuthorizedOrNotFound"), "{sentence}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_is_no_fallback_before_the_source_has_had_its_time() {
    let fake = Fake::new();
    fake.set(Mood::Hangs);
    let scene = scene_with(fallback(12), &[("orders", "shop", fake)]);
    let began = Instant::now();
    assert_eq!(scene.told("queue=orders").await, (12, Some("fallback".to_owned())));
    assert!(began.elapsed() >= Timing::default().timeout);
}

#[tokio::test(start_paused = true)]
async fn status_shows_value_outage_activations_consumers_and_history() {
    let fake = Fake::new();
    fake.set(Mood::Has(0));
    let scene = scene_with(fallback(12), &[("orders", "shop", fake.clone()), ("unasked", "shop", Fake::new())]);
    for _ in 0..2 {
        scene.told("queue=orders,depthgauge.dev/activation=5").await;
        seconds(1.1).await;
    }
    fake.set(Mood::Has(2));
    seconds(38.9).await;
    fake.set(Mood::Fails("500"));
    seconds(40.0).await;
    let readings = scene.catalog.readings();
    let [orders, unasked] = readings.as_slice() else { panic!("{readings:?}") };
    assert_eq!(
        (orders.label, orders.name.as_str(), orders.active, orders.value_rules),
        ("queue", "orders", true, fallback(12))
    );
    let known = orders.known.as_ref().unwrap();
    assert_eq!(known.figures.value(&MetricName::new("oci_queue_length")), Some(Quantity::from_units(2)));
    assert!((40.0..50.0).contains(&known.age.as_secs_f64()), "{known:?}");
    let outage = orders.outage.as_ref().unwrap();
    assert!(outage.message.contains("500") && outage.since > known.timestamp && outage.kind == ErrorKind::Transient);
    let reached = &orders.activations[0];
    assert_eq!(
        (reached.metric.as_str(), reached.threshold, reached.active),
        ("oci_queue_length", Quantity::from_units(5), false)
    );
    let consumer = &orders.consumers[0];
    assert_eq!(
        (consumer.namespace.as_str(), consumer.selector.as_str()),
        ("shop", "queue=orders,depthgauge.dev/activation=5")
    );
    assert_eq!((consumer.value_rules, consumer.last_requested.as_secs()), (activation(5), 80));
    // 0 s to 30 s, to 60 s, to 90 s: the last one had no good read, which is not the same as 0.
    let two = Some(Quantity::from_units(2));
    assert_eq!(orders.history[history::BUCKETS - 3..], [two, two, None]);
    assert!(!unasked.active && unasked.known.is_none() && unasked.history.iter().all(Option::is_none));
}

#[tokio::test(start_paused = true)]
async fn values_that_cannot_be_added_up_are_an_error() {
    let half = Quantity::UNITS_MAX / 2;
    for (one, other, served) in
        [(half, half, true), (half, half + 1, false), (Quantity::UNITS_MAX + 1, 0, false), (-1, 2, false)]
    {
        let (a, b) = (Fake::new(), Fake::new());
        a.set(Mood::Has(one));
        b.set(Mood::Has(other));
        let scene = scene(&[("a", "shop", a), ("b", "shop", b)]);
        let (shop, all) = (Namespace::new("shop"), Selector::parse("").unwrap());
        match scene.catalog.answer(&shop, "oci_queue_length", &all).await {
            Ok(samples) => assert!(served && samples.len() == 2, "{one} {other}"),
            Err(error) => assert!(!served && matches!(error, LookupError::Unavailable(_)), "{one} {other} {error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_served_once_all_values_are_too_old_and_there_is_no_fallback() {
    for (rules, selector, nothing) in [
        (ValueRules::default(), "queue=orders", true),
        (fallback(12), "queue=orders", false),
        (ValueRules::default(), "queue=orders,depthgauge.dev/fallback=7", false),
    ] {
        let (orders, bills) = (Fake::new(), Fake::new());
        let scene = scene_with(rules, &[("orders", "shop", orders.clone()), ("bills", "shop", bills.clone())]);
        assert!(!scene.catalog.serves_nothing(), "nothing is in use");
        for _ in 0..2 {
            for selector in [selector, "queue=bills"] {
                scene.told(selector).await;
            }
            seconds(1.5).await;
        }
        for fake in [&orders, &bills] {
            fake.set(Mood::Fails("500"));
        }
        seconds(50.0).await;
        assert!(!scene.catalog.serves_nothing(), "the last values are served");
        seconds(20.0).await;
        assert_eq!(scene.catalog.serves_nothing(), nothing, "{selector}");
        bills.set(Mood::Has(1));
        seconds(10.0).await;
        assert!(!scene.catalog.serves_nothing(), "one has a value");
    }
}
