//! The freshness rule in simulated time: what is served, how old it is, and what it costs.

use super::*;

#[tokio::test(start_paused = true)]
async fn all_who_ask_at_once_share_one_read() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone())]);
    let asks = (0..100).map(|_| scene.ask("shop", "queue=orders"));
    for answer in futures_util::future::join_all(asks).await {
        assert_eq!(answer.unwrap().len(), 1);
    }
    assert_eq!(fake.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_hpa_sees_values_a_second_old_and_costs_one_read_an_ask() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone())]);
    for _ in 0..4 {
        scene.age().await;
        seconds(15.0).await;
    }
    let before = fake.reads();
    for _ in 0..40 {
        let age = scene.age().await;
        assert!(age <= 1.1, "{age}");
        seconds(15.0).await;
    }
    assert_eq!(fake.reads() - before, 40);
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_older_than_refresh_and_a_second() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone())]);
    let mut random = fastrand::Rng::with_seed(7);
    let began = Instant::now();
    for round in 0..2000 {
        // Half of the time in a rhythm, half without.
        let pause = if round % 100 < 50 { 15.0 } else { random.f64() * 30.0 };
        seconds(pause).await;
        let age = scene.age().await;
        assert!(age <= 6.0, "round {round}: {age}");
    }
    let most = (Instant::now() - began).as_secs_f64() / 5.0;
    assert!(f64::from(u32::try_from(fake.reads()).unwrap()) <= most, "{} reads, at most {most}", fake.reads());
}

#[tokio::test(start_paused = true)]
async fn a_query_costs_one_read_until_it_comes_again() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone())]);
    // Each of these is another query: namespace, metric and selector.
    let queries = [(1_u32, ""), (2, "queue=orders"), (3, "queue!=bills"), (4, "queue in (orders,bills)")];
    for (reads, selector) in queries {
        assert_eq!(scene.ask("shop", selector).await.unwrap().len(), 1);
        // Without a rhythm.
        seconds(20.0 + 2.0 * f64::from(reads)).await;
        assert_eq!(fake.reads(), u64::from(reads), "{selector}");
    }
    scene.ask("shop", "queue=orders").await.unwrap();
    seconds(20.1).await;
    assert_eq!(fake.reads(), 9);
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_and_nothing_is_read() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone())]);
    seconds(600.0).await;
    assert_eq!(fake.reads(), 0);
    scene.kept().await;
    seconds(130.0).await;
    let after_idle = fake.reads();
    assert!(after_idle > 20);
    seconds(3600.0).await;
    assert_eq!(fake.reads(), after_idle);
    // And the next request reads again instead of serving what was.
    assert!(scene.age().await < 1.0);
    assert_eq!(fake.reads(), after_idle + 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_tells_the_last_value_until_max_age_then_one_sentence() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone())]);
    for _ in 0..4 {
        scene.age().await;
        seconds(15.0).await;
    }
    fake.set(Mood::Fails("500"));
    let began = Instant::now();
    let mut sentences = BTreeSet::new();
    for _ in 0..40 {
        match scene.ask("shop", "queue=orders").await {
            Ok(samples) => {
                let age = clock().duration_since(samples[0].timestamp).as_secs_f64();
                assert!(age <= 60.0, "{age}");
            }
            Err(error) => {
                assert!((Instant::now() - began).as_secs_f64() > 40.0);
                sentences.insert(error.to_string());
            }
        }
        seconds(5.0).await;
    }
    assert_eq!(sentences.len(), 1, "{sentences:?}");
    let sentence = sentences.pop_first().unwrap();
    assert!(sentence.starts_with("queue \"orders\" cannot be read since 2026-11-22T14:01:"), "{sentence}");
    fake.set(Mood::Answers);
    let back = Instant::now();
    while scene.ask("shop", "queue=orders").await.is_err() {
        seconds(0.1).await;
    }
    assert!((Instant::now() - back).as_secs_f64() <= 10.0);
    assert!(scene.age().await <= 6.0);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_source_delays_nobody_and_recovers() {
    let (slow, well) = (Fake::new(), Fake::new());
    slow.set(Mood::Hangs);
    let scene = scene(&[("orders", "shop", slow.clone()), ("well", "shop", well)]);
    let began = Instant::now();
    let sentence = scene.sentence().await;
    assert!(sentence.contains("timed out"), "{sentence}");
    assert!((Instant::now() - began).as_secs_f64() < 3.6);
    seconds(3.0).await;
    // The second request reads as well, and is the last one that waits.
    assert_eq!(scene.sentence().await, sentence);
    for _ in 0..20 {
        seconds(3.0).await;
        // Known to fail: no request waits for it again.
        let began = Instant::now();
        assert_eq!(scene.sentence().await, sentence);
        assert_eq!(Instant::now(), began);
    }
    assert!(scene.ask("shop", "queue=well").await.is_ok());
    assert!(scene.ask("shop", "queue in (orders,well)").await.is_err(), "a partial sum is a lie");
    slow.set(Mood::Answers);
    let back = Instant::now();
    while scene.ask("shop", "queue=orders").await.is_err() {
        seconds(0.1).await;
    }
    assert!((Instant::now() - back).as_secs_f64() <= 10.0);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_has_not_ended_has_a_message_that_is_true() {
    let fake = Fake::new();
    let timing = Timing { timeout: Duration::from_secs(30), ..Timing::default() };
    let scene = catalog_of(vec![SourceConfig { timing, ..config_of("orders", &fake) }]);
    let rest = "If this stays, the log of depthgauge says why.";
    fake.set(Mood::Hangs);
    assert_eq!(scene.sentence().await, format!("queue \"orders\" is not read yet. {rest}"));
    fake.set(Mood::Answers);
    seconds(60.0).await;
    scene.age().await;
    seconds(600.0).await;
    fake.set(Mood::Hangs);
    let old = "queue \"orders\" has a value that is older than `maxAge`, and the next read has not ended.";
    assert_eq!(scene.sentence().await, format!("{old} {rest}"));
    seconds(30.0).await;
    let sentence = scene.sentence().await;
    assert!(sentence.contains("timed out"), "{sentence}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_says_when_to_come_back_is_not_read_before() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone())]);
    fake.set(Mood::Fails("429"));
    *fake.retry_after.lock().unwrap() = Some(Duration::from_secs(20));
    for second in 0..20 {
        scene.sentence().await;
        assert_eq!(fake.reads(), 1, "{second}");
        seconds(1.0).await;
    }
    fake.set(Mood::Answers);
    seconds(0.5).await;
    assert!(scene.age().await < 1.0);
}

#[tokio::test(start_paused = true)]
async fn five_hpas_out_of_step_never_see_more_than_refresh_and_a_second_and_never_wait() {
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..200 {
        let fake = Fake::new();
        let scene = scene(&[("orders", "shop", fake.clone())]);
        let mut phases: Vec<f64> = (0..5).map(|_| random.f64() * 15.0).collect();
        phases.sort_by(f64::total_cmp);
        let began = Instant::now();
        let due = (0..12).flat_map(|beat| phases.iter().map(move |phase| f64::from(beat) * 15.0 + phase));
        for at in due {
            tokio::time::sleep_until(began + Duration::from_secs_f64(at)).await;
            let asked = Instant::now();
            let age = scene.age().await;
            assert!(age <= 6.0, "round {round}, {phases:?} at {at}: {age}");
            // The very first one waits, because there is no value yet.
            assert!(asked.elapsed().is_zero() || at < 15.0, "round {round}, {phases:?} at {at}: waited");
        }
        let most = began.elapsed().as_secs() / 5 + 2;
        assert!(fake.reads() <= most, "round {round}, {phases:?}: {} reads", fake.reads());
    }
}
