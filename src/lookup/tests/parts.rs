//! Channels and groups: read when somebody names them, bounded, and gone when nobody does.

use super::*;

#[tokio::test(start_paused = true)]
async fn each_combination_is_an_item_with_its_labels_and_a_read_of_its_own() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone()), ("bills", "shop", Fake::new())]);
    let samples = scene.ask("shop", "channel in (b,a),consumer-group=g").await.unwrap();
    let labels: Vec<String> = samples
        .iter()
        .map(|sample| sample.labels.iter().map(|(key, value)| format!("{key}={value} ")).collect::<String>())
        .collect();
    assert_eq!(
        labels,
        [
            "channel=a consumer-group=g queue=bills ",
            "channel=b consumer-group=g queue=bills ",
            "channel=a consumer-group=g queue=orders ",
            "channel=b consumer-group=g queue=orders ",
        ]
    );
    assert_eq!(fake.reads(), 2);
    // Asked again, by somebody else, in other words: the same readings.
    scene.ask("shop", "consumer-group=g,channel=a,queue=orders").await.unwrap();
    assert_eq!(fake.reads(), 2);
    // The queue as a whole is another one.
    scene.ask("shop", "queue=orders").await.unwrap();
    assert_eq!(fake.reads(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_nobody_asks_for_leaves_and_gives_its_room_back() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone())]);
    let list = |from: usize, to: usize| (from..to).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    let all = format!("channel in ({})", list(0, PARTS_PER_SOURCE));
    scene.ask("shop", &all).await.unwrap();
    let before = scene.ask("shop", "channel=one-more").await.unwrap_err();
    assert_eq!(
        before,
        LookupError::Unavailable(
            "queue \"orders\": no more combinations of channel and consumer-group can be read, there are 256 of this queue; one leaves when nobody has asked for it for some minutes".into()
        )
    );
    // Those that are there are answered all the while, and so is the whole.
    scene.ask("shop", "channel=c0").await.unwrap();
    scene.ask("shop", "").await.unwrap();
    seconds(130.0).await;
    assert!(scene.catalog.readings().iter().all(|reading| reading.facet.is_whole()));
    assert_eq!(scene.catalog.maker.capacity.available_permits(), PARTS_MAX);
    let reads = fake.reads();
    seconds(600.0).await;
    assert_eq!(fake.reads(), reads);
    scene.ask("shop", "channel=one-more").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_sources_together_have_room_for_so_many_and_a_refused_question_takes_none() {
    let names: Vec<String> = (0..5).map(|n| format!("q{n}")).collect();
    let fake = Fake::new();
    let sources: Vec<(&str, &str, Arc<Fake>)> =
        names.iter().map(|name| (name.as_str(), "shop", fake.clone())).collect();
    let scene = scene(&sources);
    let list = (0..PARTS_PER_SOURCE).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    let error = scene.ask("shop", &format!("channel in ({list})")).await.unwrap_err();
    assert!(error.to_string().contains("there are 1000 of all"), "{error}");
    assert_eq!((fake.reads(), scene.catalog.maker.capacity.available_permits()), (0, PARTS_MAX));
}

#[tokio::test(start_paused = true)]
async fn a_part_that_does_not_exist_is_a_404_and_no_outage() {
    let fake = Fake::new();
    fake.set(Mood::LacksParts);
    let scene = scene(&[("orders", "shop", fake.clone())]);
    let error = scene.ask("shop", "consumer-group=x,depthgauge.dev/fallback=7").await.unwrap_err();
    let sentence = "queue \"orders\", consumer-group \"x\": no such group. Wait.";
    assert_eq!(error, LookupError::NoMatch(sentence.to_owned()));
    assert!(scene.catalog.outages().is_empty());
    // Made later, it is found without a restart.
    fake.set(Mood::Has(4));
    seconds(10.0).await;
    assert_eq!(scene.told("consumer-group=x").await, (4, None));
}
