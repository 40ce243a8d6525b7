//! Other sources in the place of those of before: what stays is kept, and what goes is gone.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_source_that_stays_is_kept() {
    let (orders, bills) = (Fake::new(), Fake::new());
    let scene = catalog_of(vec![config_of("orders", &orders)]);
    scene.age().await;
    scene.catalog.replace(vec![config_of("bills", &bills), config_of("orders", &Fake::new())]).await;
    seconds(1.0).await;
    assert!(scene.age().await > 1.0, "read again");
    assert_eq!(orders.reads(), 1);
    // It goes on being read, by the source of before.
    seconds(15.0).await;
    assert!(orders.reads() > 1);
    assert_eq!(scene.ask("shop", "").await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_goes_while_its_read_waits_for_a_turn_is_not_read_once_more() {
    let fake = Fake::new();
    let scene = catalog_of(vec![config_of("orders", &fake)]);
    scene.kept().await;
    fake.queue(Duration::from_secs(10));
    seconds(6.0).await;
    scene.catalog.replace(vec![config_of("bills", &Fake::new())]).await;
    seconds(60.0).await;
    assert_eq!(fake.reads(), 1);
    // Unless a request waits for it.
    let fake = Fake::new();
    let scene = catalog_of(vec![config_of("orders", &fake)]);
    scene.kept().await;
    fake.queue(Duration::from_secs(10));
    seconds(12.5).await;
    let gone = async {
        seconds(1.0).await;
        scene.catalog.replace(vec![config_of("bills", &Fake::new())]).await;
    };
    let (age, ()) = tokio::join!(scene.age(), gone);
    assert!((age < 1.0) && fake.reads() == 2, "{age}");
}

#[tokio::test(start_paused = true)]
async fn who_may_read_it_changes_and_its_value_stays() {
    let fake = Fake::new();
    let scene = catalog_of(vec![config_of("orders", &fake)]);
    scene.age().await;
    scene
        .catalog
        .replace(vec![SourceConfig { namespaces: vec![Pattern::new("bank")], ..config_of("orders", &fake) }])
        .await;
    assert!(matches!(scene.ask("shop", "queue=orders").await, Err(LookupError::NoMatch(_))));
    assert_eq!(scene.ask("bank", "queue=orders").await.unwrap().len(), 1);
    assert_eq!(fake.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_another_one_now_is_read_anew() {
    let (before, after) = (Fake::new(), Fake::new());
    let scene = catalog_of(vec![config_of("orders", &before)]);
    scene.age().await;
    let source = || Opened::One(Identified { identity: "elsewhere".to_owned(), source: Box::new(after.clone()) });
    let moved = || SourceConfig { definition: defined("moved"), source: source(), ..config_of("orders", &after) };
    scene.catalog.replace(vec![moved()]).await;
    seconds(1.0).await;
    assert!(scene.age().await < 0.1, "a value of another source");
    let timing = Timing { refresh: Duration::from_secs(1), ..Timing::default() };
    scene.catalog.replace(vec![SourceConfig { timing, ..moved() }]).await;
    scene.kept().await;
    seconds(0.5).await;
    let reads = after.reads();
    seconds(3.0).await;
    assert_eq!((before.reads(), after.reads()), (1, reads + 3));
}

#[tokio::test(start_paused = true)]
async fn the_same_source_read_in_another_way_goes_on_with_what_is_known() {
    let (before, after) = (Fake::new(), Fake::new());
    let scene = catalog_of(vec![config_of("orders", &before)]);
    scene.age().await;
    after.set(Mood::Fails("500"));
    scene.catalog.replace(vec![SourceConfig { definition: defined("other key"), ..config_of("orders", &after) }]).await;
    seconds(1.0).await;
    assert!(scene.age().await > 1.0, "told as long as it is not too old");
    seconds(1.0).await;
    assert_eq!((before.reads(), after.reads()), (1, 1), "read in the new way at the first question");
    assert_eq!(scene.catalog.outages().len(), 1);
    seconds(60.0).await;
    assert!(scene.sentence().await.contains("500"), "and no longer");
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_is_read_no_more_and_questions_get_the_names_that_stay() {
    let (orders, bills) = (Fake::new(), Fake::new());
    let scene = catalog_of(vec![config_of("bills", &bills), config_of("orders", &orders)]);
    for _ in 0..4 {
        scene.age().await;
        seconds(15.0).await;
    }
    let reads = orders.reads();
    scene.catalog.replace(vec![config_of("bills", &bills)]).await;
    let refusal = scene.sentence().await;
    assert!(refusal.ends_with("matches queue=orders; it may read bills"), "{refusal}");
    seconds(600.0).await;
    assert_eq!(orders.reads(), reads);
    // A source that failed is no failure any more, either.
    bills.set(Mood::Fails("500"));
    let _ = scene.ask("shop", "queue=bills").await;
    seconds(10.0).await;
    assert_eq!(scene.catalog.outages().len(), 1);
    scene.catalog.replace(Vec::new()).await;
    assert!(scene.catalog.outages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_question_under_way_is_answered_to_its_end() {
    let fake = Fake::new();
    let scene = catalog_of(vec![config_of("orders", &fake)]);
    let replaced = scene.catalog.replace(Vec::new());
    let (answer, ()) = tokio::join!(scene.ask("shop", "queue=orders"), replaced);
    assert_eq!(answer.unwrap().len(), 1);
    assert_eq!(fake.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_policy_changes_and_what_is_known_stays() {
    let fake = Fake::new();
    fake.set(Mood::Has(3));
    let scene = catalog_of(vec![config_of("orders", &fake)]);
    assert_eq!(scene.told("queue=orders").await, (3, None));
    let value_rules = ValueRules { activation: None, fallback: Some(Quantity::from_units(12)) };
    scene.catalog.replace(vec![SourceConfig { value_rules, ..config_of("orders", &fake) }]).await;
    assert_eq!((scene.told("queue=orders").await, fake.reads()), ((3, None), 1));
    fake.set(Mood::Fails("500"));
    seconds(90.0).await;
    assert_eq!(scene.told("queue=orders").await, (12, Some("fallback".to_owned())));
    scene.catalog.replace(vec![config_of("orders", &fake)]).await;
    assert!(scene.ask("shop", "queue=orders").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn parts_stay_and_go_with_their_source() {
    let fake = Fake::new();
    let scene = catalog_of(vec![config_of("orders", &fake)]);
    scene.ask("shop", "queue=orders,channel in (a,b)").await.unwrap();
    scene.catalog.replace(vec![config_of("bills", &Fake::new()), config_of("orders", &fake)]).await;
    scene.ask("shop", "queue=orders,channel in (a,b)").await.unwrap();
    assert_eq!(fake.reads(), 2, "read again");
    scene.catalog.replace(Vec::new()).await;
    seconds(1.0).await;
    assert_eq!(scene.catalog.limits()[0].used, 0);
    seconds(30.0).await;
    assert_eq!(fake.reads(), 2);
}
