//! Channels and groups: read when a request names them, bounded, and evicted when no request does.

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
    // Requested again, by another client, in other words: the same readings.
    scene.ask("shop", "consumer-group=g,channel=a,queue=orders").await.unwrap();
    assert_eq!(fake.reads(), 2);
    // The queue as a whole is another one.
    scene.ask("shop", "queue=orders").await.unwrap();
    assert_eq!(fake.reads(), 3);
}

/// How many parts of all sources there are.
fn parts(scene: &Scene) -> usize {
    scene.catalog.limits()[0].used
}

fn channels(range: std::ops::Range<usize>) -> String {
    format!("channel in ({})", range.map(|n| format!("c{n}")).collect::<Vec<_>>().join(","))
}

#[tokio::test(start_paused = true)]
async fn a_part_without_a_request_is_dropped_and_counts_no_longer() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone())]);
    scene.ask("shop", &channels(0..PARTS_PER_SELECTOR)).await.unwrap();
    assert_eq!(parts(&scene), PARTS_PER_SELECTOR);
    seconds(130.0).await;
    assert!(scene.catalog.readings().iter().all(|reading| reading.part.is_whole()));
    assert_eq!(parts(&scene), 0);
    let reads = fake.reads();
    seconds(600.0).await;
    assert_eq!(fake.reads(), reads);
    scene.ask("shop", "channel=one-more").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_the_namespace_with_the_most_loses_its_least_recently_used_part() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "*", fake.clone()), ("bills", "shop", fake.clone())]);
    // Twice each, so that they are read in the background.
    for _ in 0..2 {
        scene.ask("shop", "channel=old,queue=bills").await.unwrap();
        for first in (0..PARTS_MAX - 1).step_by(250) {
            let channels = channels(first..(first + 250).min(PARTS_MAX - 1));
            scene.ask("team-b", &channels).await.unwrap();
        }
        seconds(1.1).await;
    }
    assert_eq!(parts(&scene), PARTS_MAX);
    for n in 0..3 {
        scene.ask("shop", &format!("channel=new-{n},queue=orders")).await.unwrap();
    }
    let limits = scene.catalog.limits();
    let used: Vec<_> = limits[0].owners.iter().map(|state| (state.owner.as_str(), state.used)).collect();
    assert_eq!((limits[0].used, used), (PARTS_MAX, vec![("team-b", PARTS_MAX - 4), ("shop", 4)]));
    let exists = |scene: &Scene, channel: &str| {
        scene.catalog.readings().iter().any(|reading| reading.part.value("channel") == Some(channel))
    };
    // An evicted part ends with its loop.
    seconds(0.1).await;
    // Of those of one request, the first by name.
    assert!(["c0", "c1", "c10"].iter().all(|gone| !exists(&scene, gone)));
    assert!(["old", "new-0", "c2"].iter().all(|kept| exists(&scene, kept)));
    // Requested again, it is read again.
    scene.ask("team-b", "channel=c0").await.unwrap();
    assert!(exists(&scene, "c0"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_has_to_give_way_while_it_waits_is_an_error_at_once() {
    let fake = Fake::new();
    fake.set(Mood::Hangs);
    let scene = scene(&[("orders", "*", fake.clone())]);
    let first = async { (scene.ask("shop", "channel=first").await, Instant::now()) };
    let others = async {
        seconds(0.1).await;
        let (began, range) = (Instant::now(), (0..PARTS_MAX).step_by(250));
        let selectors: Vec<_> = range.map(|first| channels(first..first + 250)).collect();
        futures_util::future::join_all(selectors.iter().map(|selector| scene.ask("shop", selector))).await;
        began
    };
    let ((error, ended), began) = tokio::join!(first, others);
    assert_eq!(
        error.unwrap_err().to_string(),
        "queue \"orders\", channel \"first\" was evicted for newer requests: the maximum is 1000 combinations of channel and consumer-group, shared by all namespaces"
    );
    assert!(ended - began < Duration::from_millis(10), "{:?}", ended - began);
}

#[tokio::test(start_paused = true)]
async fn one_answer_has_no_more_parts_than_there_can_be_and_a_refused_request_takes_none() {
    let names: Vec<String> = (0..5).map(|n| format!("q{n}")).collect();
    let fake = Fake::new();
    let sources: Vec<(&str, &str, Arc<Fake>)> =
        names.iter().map(|name| (name.as_str(), "shop", fake.clone())).collect();
    let scene = scene(&sources);
    let error = scene.ask("shop", &channels(0..PARTS_PER_SELECTOR)).await.unwrap_err();
    let message =
        "the selector names 1280 combinations of queue, channel and consumer-group; the maximum is 1000 in an answer";
    assert_eq!(error, LookupError::BadSelector(message.to_owned()));
    assert_eq!((fake.reads(), parts(&scene)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_part_that_does_not_exist_is_dropped_when_it_may_be_read_again() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone())]);
    // One that was there goes on while its last value may be served.
    scene.ask("shop", "channel=was-there").await.unwrap();
    seconds(1.1).await;
    scene.ask("shop", "channel=was-there").await.unwrap();
    fake.set(Mood::LacksParts);
    for _ in 0..4 {
        scene.ask("shop", "channel=made-up").await.unwrap_err();
        seconds(1.0).await;
    }
    let reads = fake.reads();
    assert_eq!(parts(&scene), 2);
    // The pause after a failed read is 5 to 6 s.
    seconds(2.5).await;
    assert_eq!(parts(&scene), 1);
    seconds(50.0).await;
    assert_eq!(parts(&scene), 1);
    assert!(scene.ask("shop", "channel=was-there").await.is_ok() && fake.reads() > reads);
    seconds(20.0).await;
    assert_eq!(parts(&scene), 0);
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
