//! Sources that are listed: when the list is made, and what is said of what is in it and what
//! is not.

use super::*;
use crate::source::{List, Listed, Listing};

/// A list that a test writes.
pub(super) struct FakeListing {
    /// Names and identities, or the cause of a failure.
    listed: Mutex<Result<Vec<(String, String)>, &'static str>>,
    identity: &'static str,
    lists: AtomicU64,
    /// How long ago the list was read for something else.
    age: Mutex<Duration>,
    /// How long each list waits for its turn.
    turn: Mutex<Duration>,
    pub(super) fake: Arc<Fake>,
}

impl FakeListing {
    pub(super) fn of(listed: &[(&'static str, &'static str)]) -> Arc<Self> {
        Self::new(owned(listed), "nearby compartment")
    }

    /// Those of another compartment.
    pub(super) fn elsewhere(listed: &[(&'static str, &'static str)]) -> Arc<Self> {
        Self::new(owned(listed), "compartment elsewhere")
    }

    /// So many, called q0, q1 and so on.
    pub(super) fn many(count: usize) -> Arc<Self> {
        Self::new((0..count).map(|n| (format!("q{n}"), n.to_string())).collect(), "large compartment")
    }

    fn new(listed: Vec<(String, String)>, identity: &'static str) -> Arc<Self> {
        Arc::new(Self {
            listed: Mutex::new(Ok(listed)),
            identity,
            lists: AtomicU64::new(0),
            age: Mutex::default(),
            turn: Mutex::default(),
            fake: Fake::new(),
        })
    }

    pub(super) fn set(&self, listed: Result<&[(&'static str, &'static str)], &'static str>) {
        *self.listed.lock().unwrap() = listed.map(owned);
    }

    pub(super) fn lists(&self) -> u64 {
        self.lists.load(Ordering::Relaxed)
    }
}

fn owned(listed: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
    listed.iter().map(|(name, identity)| ((*name).to_owned(), (*identity).to_owned())).collect()
}

impl Listing for Arc<FakeListing> {
    fn title(&self) -> &'static str {
        "queues of a compartment"
    }

    fn identity(&self) -> String {
        self.identity.to_owned()
    }

    fn naming(&self) -> &'static str {
        "give it a source of its own under another one"
    }

    fn again(&self, identity: &str) -> Option<Identified> {
        Some(Identified { identity: identity.to_owned(), source: Box::new(self.fake.clone()) })
    }

    fn wait_turn(&self, _: Instant, _: Duration) -> BoxFuture<'_, ()> {
        let turn = *self.turn.lock().unwrap();
        tokio::time::sleep(turn).boxed()
    }

    fn list(&self, _: Instant, _: Instant) -> BoxFuture<'_, Result<List, SourceError>> {
        let began = Instant::now() - *self.age.lock().unwrap();
        async move {
            self.lists.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let listed = self.listed.lock().unwrap().clone();
            let listed = listed.map_err(|cause| SourceError {
                operation: Operation::List,
                kind: ErrorKind::Transient,
                responded: cause != LOST,
                cause: cause.to_owned(),
                remedy: "Wait.",
                detail: String::new(),
                grant: None,
                request_id: None,
                retry_after: *self.fake.retry_after.lock().unwrap(),
            })?;
            let source =
                |identity: &str| Identified { identity: identity.to_owned(), source: Box::new(self.fake.clone()) };
            let listed = listed.into_iter().map(|(name, identity)| Listed { name, source: source(&identity) });
            Ok(List { members: listed.collect(), began })
        }
        .boxed()
    }
}

pub(super) fn listed(pattern: &str, namespace: &str, listing: &Arc<FakeListing>) -> SourceConfig {
    SourceConfig {
        namespaces: vec![Pattern::new(namespace)],
        source: Opened::Many(Box::new(listing.clone())),
        definition: defined(listing.identity),
        ..config_of(pattern, &listing.fake)
    }
}

impl Scene {
    /// Names of the items of an answer, with commas.
    pub(super) async fn names(&self, selector: &str) -> Result<String, String> {
        self.names_in("shop", selector).await
    }

    pub(super) async fn names_in(&self, namespace: &str, selector: &str) -> Result<String, String> {
        let samples = self.ask(namespace, selector).await.map_err(|error| error.to_string())?;
        Ok(samples.iter().filter_map(|sample| sample.labels.value("queue")).collect::<Vec<_>>().join(","))
    }

    async fn refusal(&self, selector: &str) -> LookupError {
        self.ask("shop", selector).await.unwrap_err()
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_and_nothing_is_listed() {
    let listing = FakeListing::of(&[("a", "1")]);
    let scene = catalog_of(vec![listed("*", "shop", &listing)]);
    seconds(3600.0).await;
    // Not may this one read them.
    assert!(matches!(scene.ask("bank", "").await, Err(LookupError::NoMatch(_))));
    assert_eq!(listing.lists(), 0);
    assert_eq!(scene.names("").await.unwrap(), "a");
    seconds(130.0).await;
    let after_idle = listing.lists();
    seconds(3600.0).await;
    assert_eq!(listing.lists(), after_idle);
    // And the next question lists again rather than telling what was.
    listing.set(Ok(&[("a", "1"), ("b", "2")]));
    assert_eq!(scene.names("").await.unwrap(), "a,b");
    assert_eq!(listing.lists(), after_idle + 1);
}

#[tokio::test(start_paused = true)]
async fn what_fits_the_pattern_is_listed_every_half_minute_while_somebody_asks() {
    let listing = FakeListing::of(&[("orders-a", "1"), ("bills", "2")]);
    let scene = catalog_of(vec![listed("orders-*", "shop", &listing)]);
    for _ in 0..40 {
        assert_eq!(scene.names("queue=orders-a").await.unwrap(), "orders-a");
        seconds(15.0).await;
    }
    // 10 minutes: 20 lists, and up to one more at each end.
    assert!((20..=22).contains(&listing.lists()), "{}", listing.lists());
    let error = scene.refusal("queue=bills").await.to_string();
    assert!(error.ends_with("it may read orders-a"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_new_one_is_found_by_its_name_at_once_but_not_listed_more_often_than_refresh() {
    let listing = FakeListing::of(&[("a", "1")]);
    let scene = catalog_of(vec![listed("*", "shop", &listing)]);
    assert_eq!(scene.names("").await.unwrap(), "a");
    listing.set(Ok(&[("a", "1"), ("b", "2")]));
    // The list is younger than `refresh`.
    for _ in 0..100 {
        assert!(matches!(scene.refusal("queue=b").await, LookupError::NoMatch(_)));
    }
    assert_eq!(listing.lists(), 1);
    seconds(5.0).await;
    assert_eq!(scene.names("queue=b").await.unwrap(), "b");
    assert_eq!(scene.names("queue in (a,b)").await.unwrap(), "a,b");
    assert_eq!(listing.lists(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_gone_leaves_with_the_names_that_stay() {
    let listing = FakeListing::of(&[("a", "1"), ("b", "2")]);
    let scene = catalog_of(vec![listed("*", "shop", &listing)]);
    assert_eq!(scene.names("queue=b").await.unwrap(), "b");
    listing.set(Ok(&[("a", "1")]));
    for _ in 0..3 {
        seconds(15.0).await;
        let _ = scene.names("queue=b").await;
    }
    let error = scene.refusal("queue=b").await;
    assert_eq!(error.to_string(), "no queue that namespace \"shop\" may read matches queue=b; it may read a");
    let reads = listing.fake.reads();
    seconds(60.0).await;
    assert_eq!(listing.fake.reads(), reads, "what is gone is still read");
}

#[tokio::test(start_paused = true)]
async fn before_the_first_list_nobody_knows_what_there_is() {
    let listing = FakeListing::of(&[]);
    listing.set(Err("404 NotAuthorizedOrNotFound"));
    let own = Fake::new();
    let scene = catalog_of(vec![config_of("own", &own), listed("orders-*", "shop", &listing)]);
    let sentence = "queues of a compartment matching \"orders-*\" cannot be read since 2026-11-22T14:00:00Z: 404 NotAuthorizedOrNotFound (operation: list). Wait.";
    for selector in ["", "queue=orders-a", "queue!=own", "queue in (own,orders-a)"] {
        assert_eq!(scene.refusal(selector).await, LookupError::Unavailable(sentence.into()), "{selector}");
    }
    let shown = "queues of a compartment matching \"orders-*\" cannot be read: 404 NotAuthorizedOrNotFound (operation: list). Wait. Failing since 2026-11-22T14:00:00Z.";
    assert_eq!(scene.catalog.outages(), [shown.into()]);
    // A source of the config depends on no list, nor does what no list can hold.
    assert_eq!(scene.names("queue=own").await.unwrap(), "own");
    assert!(matches!(scene.refusal("queue=bills").await, LookupError::NoMatch(_)));
    listing.set(Ok(&[("orders-a", "1")]));
    seconds(6.1).await;
    assert_eq!(scene.names("").await.unwrap(), "orders-a,own");
    assert!(scene.catalog.outages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_takes_nothing_away_until_it_is_too_old_to_be_complete() {
    let listing = FakeListing::of(&[("a", "1")]);
    let scene = catalog_of(vec![listed("*", "shop", &listing)]);
    assert_eq!(scene.names("").await.unwrap(), "a");
    listing.set(Err("500"));
    for _ in 0..11 {
        seconds(8.0).await;
        assert_eq!(scene.names("").await.unwrap(), "a");
        // What may be there by now is not called missing.
        assert!(matches!(scene.refusal("queue=b").await, LookupError::Unavailable(_)));
    }
    // Now 90 s old: 30 s, after which it was due again, and `maxAge`.
    seconds(3.0).await;
    let sentence = scene.refusal("").await;
    assert!(matches!(&sentence, LookupError::Unavailable(sentence) if sentence.contains(": 500 (operation: list)")));
    // What is known has its own truth.
    assert_eq!(scene.refusal("queue=b").await, sentence);
    seconds(600.0).await;
    assert_eq!(scene.names("queue=a").await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_says_when_to_come_back_is_not_asked_for_before() {
    let listing = FakeListing::of(&[("a", "1")]);
    let scene = catalog_of(vec![listed("*", "shop", &listing)]);
    listing.set(Err("429"));
    *listing.fake.retry_after.lock().unwrap() = Some(Duration::from_secs(20));
    for second in 0..20 {
        scene.refusal("queue=a").await;
        assert_eq!(listing.lists(), 1, "{second}");
        seconds(1.0).await;
    }
    listing.set(Ok(&[("a", "1")]));
    seconds(0.5).await;
    assert_eq!(scene.names("queue=a").await.as_deref(), Ok("a"));
}

#[tokio::test(start_paused = true)]
async fn two_of_one_name_are_an_error_until_one_has_a_source_of_its_own() {
    let listing = FakeListing::of(&[("a", "1"), ("a", "2"), ("b", "3")]);
    let scene = catalog_of(vec![listed("*", "shop", &listing)]);
    let sentence =
        "2 queues are called \"a\": rename all but one, or give each a source of its own in depthgauge's config";
    for selector in ["", "queue=a", "queue in (a,b)"] {
        assert_eq!(scene.refusal(selector).await, LookupError::Unavailable(sentence.into()), "{selector}");
    }
    assert_eq!(scene.names("queue=b").await.unwrap(), "b");
    // No question about them lists again: they are known.
    assert_eq!(listing.lists(), 1);
    let identified = |identity: &str| Identified { identity: identity.to_owned(), source: Box::new(Fake::new()) };
    let alias = SourceConfig { source: Opened::One(identified("1")), ..config_of("other-a", &Fake::new()) };
    scene.catalog.replace(vec![alias, listed("*", "shop", &listing)]).await;
    assert_eq!(scene.names("").await.unwrap(), "a,b,other-a");
    assert_eq!(listing.lists(), 1, "the same list is kept");
}

#[tokio::test(start_paused = true)]
async fn a_source_of_the_config_wins_over_the_list_by_name_and_by_what_it_is() {
    let listing = FakeListing::of(&[("a", "1"), ("My Queue", "2"), ("b", "b")]);
    let own = Fake::new();
    let configs = || vec![config_of("a", &own), config_of("b", &own), listed("*", "shop", &listing)];
    let scene = catalog_of(configs());
    // "b" is the same source; "a" is another one, which has to be given a name.
    assert_eq!(scene.names("queue!=My_Queue").await.unwrap(), "a,b");
    assert_eq!(listing.fake.reads(), 0);
    let unreachable: Vec<_> = scene.catalog.unselectable();
    let told: Vec<_> = unreachable.iter().map(|one| (one.name.as_str(), one.identity.as_str())).collect();
    assert_eq!(told, [("a", "1")]);
    assert_eq!(scene.names("queue=My_Queue").await.unwrap(), "My_Queue");
    // An alias replaces the name that it is listed under.
    let identity = |identity: &str| Identified { identity: identity.to_owned(), source: Box::new(own.clone()) };
    let alias = SourceConfig { source: Opened::One(identity("2")), ..config_of("my-queue", &own) };
    scene.catalog.replace(configs().into_iter().chain([alias]).collect()).await;
    assert_eq!(scene.names("").await.unwrap(), "a,b,my-queue");
    assert_eq!(scene.catalog.unselectable().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_two_entries_list_is_one_source_for_all_who_may_read_either() {
    let listing = FakeListing::of(&[("a", "1"), ("b", "2")]);
    let scene = catalog_of(vec![listed("a*", "shop", &listing), listed("*", "*", &listing)]);
    assert_eq!(scene.names("").await.unwrap(), "a,b");
    for _ in 0..3 {
        assert_eq!(scene.ask("bank", "queue=a").await.unwrap().len(), 1);
    }
    assert_eq!(listing.fake.reads(), 2, "each is read once");
}

#[tokio::test(start_paused = true)]
async fn with_export_it_is_listed_and_read_although_nobody_asks() {
    let listing = FakeListing::of(&[("a", "1")]);
    let scene = catalog_of(vec![SourceConfig { export: true, ..listed("*", "shop", &listing) }]);
    seconds(61.0).await;
    assert_eq!(listing.lists(), 3);
    assert!((11..=13).contains(&listing.fake.reads()), "{}", listing.fake.reads());
    listing.set(Ok(&[]));
    seconds(60.0).await;
    let reads = listing.fake.reads();
    seconds(60.0).await;
    assert_eq!(listing.fake.reads(), reads);
    assert!(scene.catalog.outages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_listed_has_parts_and_policies_as_any_other() {
    let listing = FakeListing::of(&[("a", "1"), ("b", "2"), ("b", "3")]);
    let value_rules = ValueRules { activation: None, fallback: Some(Quantity::from_units(12)) };
    let scene = catalog_of(vec![SourceConfig { value_rules, ..listed("*", "shop", &listing) }]);
    listing.fake.set(Mood::Fails("500"));
    assert_eq!(scene.told("queue=a,channel=x").await, (12, Some("fallback".to_owned())));
    // Whatever else is requested, a name of two sources is none.
    let refusal = scene.refusal("queue=b,channel=x,depthgauge.dev/fallback=1").await;
    assert!(refusal.to_string().starts_with("2 queues are called \"b\""), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_gauge_is_of_the_whole() {
    let listing = FakeListing::of(&[("a", "1")]);
    let scene = catalog_of(vec![SourceConfig { export: true, ..listed("*", "shop", &listing) }]);
    scene.ask("shop", "queue=a,channel=x").await.unwrap();
    seconds(200.0).await;
    let active: Vec<bool> = scene.catalog.readings().iter().map(|reading| reading.active).collect();
    assert_eq!(active, [true], "the part has left");
}

/// The same list in another way of reading, which fails from the start.
fn failing(listed: &[(&'static str, &'static str)]) -> Arc<FakeListing> {
    let listing = FakeListing::of(listed);
    listing.fake.set(Mood::Fails("500"));
    listing.set(Err("500"));
    listing
}

#[tokio::test(start_paused = true)]
async fn what_is_listed_in_another_way_goes_on_with_what_is_known_and_no_longer() {
    let before = FakeListing::of(&[("a", "1"), ("b", "2")]);
    let scene = catalog_of(vec![listed("*", "shop", &before)]);
    assert_eq!(scene.names("").await.unwrap(), "a,b");
    let after = failing(&[]);
    let replaced = |pattern| SourceConfig { definition: defined("other key"), ..listed(pattern, "shop", &after) };
    scene.catalog.replace(vec![replaced("*")]).await;
    seconds(1.0).await;
    for selector in ["", "queue=a", "queue=b"] {
        assert!(scene.names(selector).await.is_ok(), "{selector}");
    }
    seconds(1.0).await;
    assert!(after.fake.reads() >= 2 && after.lists() == 1, "both in the new way from then on");
    // Whether the list has all other names is unknown, but those that it has have their values.
    scene.catalog.replace(vec![replaced("a*")]).await;
    assert!(matches!(scene.refusal("").await, LookupError::Unavailable(_)));
    assert_eq!(scene.names("queue=a").await.unwrap(), "a");
    assert!(matches!(scene.refusal("queue=b").await, LookupError::NoMatch(_)));
    seconds(60.0).await;
    assert!(matches!(scene.refusal("queue=a").await, LookupError::Unavailable(_)));
}

#[tokio::test(start_paused = true)]
async fn the_first_list_in_another_way_takes_the_values_over() {
    let before = FakeListing::of(&[("a", "1"), ("b", "2")]);
    let own = Fake::new();
    let identified = |fake: &Arc<Fake>| Identified { identity: "3".to_owned(), source: Box::new(fake.clone()) };
    let bound_to = |fake: &Arc<Fake>| SourceConfig { source: Opened::One(identified(fake)), ..config_of("own", fake) };
    let scene = catalog_of(vec![listed("*", "shop", &before), bound_to(&own)]);
    assert_eq!(scene.names("").await.unwrap(), "a,b,own");
    let after = failing(&[]);
    // One is gone, and one has no entry of its own any more.
    after.set(Ok(&[("a", "1"), ("c", "3")]));
    scene.catalog.replace(vec![SourceConfig { definition: defined("other key"), ..listed("*", "shop", &after) }]).await;
    assert_eq!(scene.names("queue=c").await.unwrap(), "c");
    assert_eq!(scene.names("").await.unwrap(), "a,c");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_moves_between_a_list_and_an_entry_of_its_own_keeps_its_value() {
    let listing = FakeListing::of(&[("a", "1")]);
    let scene = catalog_of(vec![listed("*", "shop", &listing)]);
    assert_eq!(scene.names("").await.unwrap(), "a");
    listing.fake.set(Mood::Fails("500"));
    let own = Identified { identity: "1".to_owned(), source: Box::new(listing.fake.clone()) };
    let own = SourceConfig { source: Opened::One(own), ..config_of("own", &listing.fake) };
    scene.catalog.replace(vec![listed("*", "shop", &listing), own]).await;
    assert_eq!(scene.names("queue=own").await.unwrap(), "own");
    scene.catalog.replace(vec![listed("*", "shop", &listing)]).await;
    assert_eq!(scene.names("queue=a").await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_list_waits_for_its_turn_before_its_deadline_begins() {
    let listing = FakeListing::of(&[("a", "1")]);
    *listing.turn.lock().unwrap() = Duration::from_secs(2);
    let scene = catalog_of(vec![listed("*", "shop", &listing)]);
    let (began, before) = (Instant::now(), listing.lists());
    assert_eq!((scene.names("queue=a").await.unwrap().as_str(), listing.lists() - before), ("a", 1));
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_on_only_when_the_registry_has_published_the_list_that_it_waited_for() {
    let (tasks, mut loops) = mpsc::unbounded_channel();
    let (reports, mut reported) = mpsc::unbounded_channel();
    let read = list::ListRead::new(
        list::ListId(7),
        KINDS[0],
        "queue",
        "a*",
        Box::new(FakeListing::of(&[("a", "1"), ("b", "2")])),
        Timing::default(),
        reports,
    );
    let list = list::SourceList::of(read, Timing::default(), clock, tasks);
    let mut request = std::pin::pin!(list.wait(Requester::Continuing, polled::Need::Fresh));
    assert!(request.as_mut().now_or_never().is_none());
    tokio::spawn(loops.recv().await.unwrap());
    let report = reported.recv().await.unwrap();
    let names: Vec<_> = report.listed.iter().map(|listed| listed.name.as_str()).collect();
    assert_eq!((report.list, names), (list::ListId(7), vec!["a"]));
    seconds(1.0).await;
    assert!(request.as_mut().now_or_never().is_none(), "the registry has not published it yet");
    report.applied.send(()).unwrap();
    request.await;
    assert_eq!(list.check(polled::Need::Fresh), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn one_query_costs_one_list_until_it_comes_again() {
    let listing = FakeListing::of(&[("a", "1")]);
    let scene = catalog_of(vec![listed("*", "shop", &listing)]);
    assert_eq!(scene.names("").await.unwrap(), "a");
    seconds(100.0).await;
    assert_eq!((listing.lists(), listing.fake.reads()), (1, 1));
    assert_eq!(scene.names("").await.unwrap(), "a");
    seconds(100.0).await;
    assert_eq!(listing.lists(), 5);
    assert!(listing.fake.reads() > 20);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_as_old_as_the_request_that_brought_it() {
    let listing = FakeListing::of(&[("a", "1")]);
    let scene = catalog_of(vec![listed("*", "shop", &listing)]);
    seconds(60.0).await;
    for (age, lists) in [(0, 1), (4, 2)] {
        *listing.age.lock().unwrap() = Duration::from_secs(age);
        let before = listing.lists();
        scene.names("").await.unwrap();
        assert_eq!(listing.lists(), before + 1);
        // A queue that is not in the list may be new, if the list is older than `refresh`, which is 5 s.
        seconds(2.0).await;
        scene.refusal("queue=b").await;
        assert_eq!(listing.lists(), before + lists, "{age}");
        seconds(3600.0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_not_read_in_time_has_a_message_that_is_true() {
    let listing = FakeListing::of(&[("orders", "1")]);
    let scene = catalog_of(vec![listed("*", "shop", &listing)]);
    let set_turn = |turn| *listing.turn.lock().unwrap() = Duration::from_secs(turn);
    let rest = ". If this stays, the log of depthgauge says why.";
    set_turn(60);
    let message = scene.refusal("").await.to_string();
    assert!(message.ends_with(&format!(": not listed yet{rest}")), "{message}");
    set_turn(0);
    seconds(100.0).await;
    assert_eq!(scene.names("").await, Ok("orders".to_owned()));
    seconds(3600.0).await;
    set_turn(60);
    let message = scene.refusal("").await.to_string();
    assert!(
        message.ends_with(&format!(": the last list is too old, and the next one is not read yet{rest}")),
        "{message}"
    );
}
