//! What each namespace may read, and what can't be selected there.

use prometheus_client::registry::Registry as MetricRegistry;

use super::lists::{FakeListing, listed};
use super::*;

/// A source of the config with an identity, for some namespaces.
fn named(name: &str, identity: &str, namespaces: &[&str], fake: &Arc<Fake>) -> SourceConfig {
    let identified = Identified { identity: identity.to_owned(), source: Box::new(fake.clone()) };
    let namespaces = namespaces.iter().map(|pattern| Pattern::new(*pattern)).collect();
    // Names of two namespaces may be equal, so the definition is that of the source.
    let definition = defined(identity);
    SourceConfig { namespaces, definition, source: Opened::One(identified), ..config_of(name, fake) }
}

fn with_fallback(fallback: i32, config: SourceConfig) -> SourceConfig {
    let value_rules = ValueRules { activation: None, fallback: Some(Quantity::from_units(fallback)) };
    SourceConfig { value_rules, ..config }
}

fn view(scene: &Scene, namespace: &str) -> Arc<View> {
    scene.catalog.entries().view(&Namespace::new(namespace))
}

#[tokio::test(start_paused = true)]
async fn namespaces_that_may_read_the_same_entries_share_a_view() {
    let fake = Fake::new();
    let configs = [named("a", "1", &["team-*"], &fake), named("b", "2", &["shop", "team-a"], &fake)];
    let scene = catalog_of(configs.into());
    let same = |one, other| Arc::ptr_eq(&view(&scene, one), &view(&scene, other));
    for (one, other, expected) in [
        ("team-b", "team-c", true),
        ("team-a", "team-b", false),
        ("shop", "team-a", false),
        ("bank", "other", true),
        ("team-a", "team-a", true),
    ] {
        assert_eq!(same(one, other), expected, "{one} {other}");
    }
}

#[tokio::test(start_paused = true)]
async fn views_are_bounded_and_namespaces_are_served_whatever_was_dropped() {
    let fake = Fake::new();
    let listing = FakeListing::many(1000);
    let own = (0..250).map(|n| named(&format!("own-{n}"), &format!("own {n}"), &[&format!("team-{n}")], &fake));
    let scene = catalog_of(own.chain([listed("*", "*", &listing)]).collect());
    for n in 0..250 {
        let items = scene.ask(&format!("team-{n}"), &format!("queue in (own-{n},q7)")).await.unwrap();
        assert_eq!(items.len(), 2, "{n}");
    }
    let entries = scene.catalog.entries();
    let (namespaces, names) = entries.kept();
    assert!(namespaces < 250 && names <= 200_000, "{namespaces} {names}");
    for n in 0..10_001 {
        entries.view(&Namespace::new(format!("made-up-{n}")));
    }
    assert!(entries.kept().0 <= 10_000);
}

#[tokio::test(start_paused = true)]
async fn entries_of_one_definition_share_a_list_and_its_readings() {
    let listing = FakeListing::of(&[("a", "1")]);
    let scene = catalog_of(vec![
        with_fallback(5, listed("*", "team-a", &listing)),
        with_fallback(7, listed("*", "team-b", &listing)),
    ]);
    for namespace in ["team-a", "team-b"] {
        assert_eq!(scene.ask(namespace, "queue=a").await.unwrap().len(), 1);
    }
    assert_eq!((listing.lists(), listing.fake.reads()), (1, 1));
    // Each has the rules of its own entry, also on /status.
    listing.fake.set(Mood::Fails("500"));
    seconds(61.0).await;
    for (namespace, fallback) in [("team-a", 5), ("team-b", 7)] {
        assert_eq!(scene.ask(namespace, "queue=a").await.unwrap()[0].value, Quantity::from_units(fallback));
    }
    let rows = scene.catalog.readings();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let consumers: Vec<_> = row.consumers.iter().map(|consumer| consumer.namespace.as_str()).collect();
            (row.namespaces.join(","), row.value_rules.fallback, consumers.join(","))
        })
        .collect();
    let row = |team: &str, fallback| (team.to_owned(), Some(Quantity::from_units(fallback)), team.to_owned());
    assert_eq!(rows, [row("team-a", 5), row("team-b", 7)]);
}

#[tokio::test(start_paused = true)]
async fn the_first_entry_in_the_config_counts_where_two_name_one_source() {
    let fake = Fake::new();
    let configs = [("urgent", 12), ("a", 5)].map(|(name, fallback)| {
        with_fallback(fallback, SourceConfig { definition: defined(name), ..named(name, "1", &["*"], &fake) })
    });
    let scene = catalog_of(configs.into());
    assert_eq!(scene.names("").await.unwrap(), "urgent");
    assert_eq!(scene.names("queue=a").await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_reported_with_the_namespaces_that_it_affects() {
    let (one, other) = (FakeListing::of(&[("orders", "1")]), FakeListing::elsewhere(&[("orders", "2")]));
    let of = |pattern: &str, namespaces: &[&str], listing| SourceConfig {
        namespaces: namespaces.iter().map(|pattern| Pattern::new(*pattern)).collect(),
        ..listed(pattern, "", listing)
    };
    let duplicates = async |one_reads: &[&str], other_reads: &[&str]| {
        let scene = catalog_of(vec![of("*", one_reads, &one), of("*", other_reads, &other)]);
        for namespace in ["team-a", "shop-prod", "bank"] {
            _ = scene.ask(namespace, "").await;
        }
        assert_eq!(scene.catalog.outages().len(), scene.catalog.list_errors().len());
        scene.catalog.list_errors()
    };
    let message = "2 queues are called \"orders\": rename all but one, or give each a source of its own in depthgauge's config (affects ";
    for (one_reads, other_reads, affects) in [
        (&["team-a"][..], &["team-a", "bank"][..], "namespace \"team-a\""),
        (&["*"], &["team-a", "bank"], "namespace \"bank\", namespace \"team-a\""),
        (&["team-*"], &["*-prod", "team-a"], "namespace \"team-a\", namespaces matching \"*-prod\" and \"team-*\""),
        (&["*"], &["*"], "namespaces matching \"*\""),
    ] {
        assert_eq!(duplicates(one_reads, other_reads).await, [format!("{message}{affects})")]);
    }
    for (one_reads, other_reads) in [(&["team-a"][..], &["bank"][..]), (&["team-*"], &["shop-*", "bank"])] {
        assert!(duplicates(one_reads, other_reads).await.is_empty(), "{one_reads:?} {other_reads:?}");
    }
    // An explicit entry hides the listed one where both are readable, and nowhere else.
    let fake = Fake::new();
    let scene = catalog_of(vec![named("orders", "9", &["team-a"], &fake), of("*", &["team-*"], &one)]);
    assert_eq!(scene.names_in("team-b", "").await.unwrap(), "orders");
    let unselectable = scene.catalog.unselectable();
    assert_eq!((unselectable.len(), unselectable[0].identity.as_str()), (1, "1"));
    assert_eq!(unselectable[0].affects.iter().collect::<Vec<_>>(), ["namespace \"team-a\""]);
    let refusal = scene.ask("team-a", "queue=x").await.unwrap_err().to_string();
    let reason = "it may read orders; another queue \"orders\" can't be selected: a source of the config has this name: give it a source of its own under another one";
    assert!(refusal.ends_with(reason), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_all_its_namespaces_have_by_an_entry_is_shown_once() {
    let listing = FakeListing::of(&[("a", "1"), ("b", "2")]);
    let configs = |namespace| vec![named("own", "1", &[namespace], &listing.fake), listed("*", "team-a", &listing)];
    for (namespace, rows) in [("*", vec!["b", "own"]), ("team-b", vec!["a", "b", "own"])] {
        let scene = catalog_of(configs(namespace));
        scene.ask("team-a", "").await.unwrap();
        let names: Vec<_> = scene.catalog.readings().into_iter().map(|row| row.name).collect();
        assert_eq!(names, rows, "{namespace}");
    }
}

#[tokio::test(start_paused = true)]
async fn entries_that_name_one_source_alike_share_its_readings() {
    let fake = Fake::new();
    let entry = |namespace| named("orders", "1", &[namespace], &fake);
    let scene = catalog_of(vec![entry("team-a"), entry("team-b")]);
    for namespace in ["team-a", "team-b"] {
        assert_eq!(scene.names_in(namespace, "").await.unwrap(), "orders");
    }
    assert_eq!(fake.reads(), 1);
    let rows = scene.catalog.readings();
    assert_eq!((rows.len(), rows[0].namespaces.join(","), rows[0].consumers.len()), (1, "team-a,team-b".to_owned(), 2));
}

#[tokio::test(start_paused = true)]
async fn a_list_is_kept_for_gauges_if_one_of_its_entries_is_exported() {
    let listing = FakeListing::of(&[("a", "1")]);
    let entry = |namespace, export| SourceConfig { export, ..listed("*", namespace, &listing) };
    let _scene = catalog_of(vec![entry("team-a", true), entry("team-b", false)]);
    seconds(61.0).await;
    assert_eq!(listing.lists(), 3);
    assert!(listing.fake.reads() > 10, "{}", listing.fake.reads());
}

/// The series of a scrape that begin like this: the value of the last label, and the value.
fn series(registry: &MetricRegistry, start: &str) -> Vec<(String, String)> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let lines = text.lines().filter(|line| line.starts_with(start));
    let parts = lines.filter_map(|line| Some((line.split('"').rev().nth(1)?, line.rsplit(' ').next()?)));
    parts.map(|(label, value)| (label.to_owned(), value.to_owned())).collect()
}

/// Whatever namespaces have sources of one name.
#[tokio::test(start_paused = true)]
async fn a_series_is_there_once() {
    let (one, other) =
        (FakeListing::of(&[("orders", "1"), ("bills", "3")]), FakeListing::elsewhere(&[("orders", "2")]));
    let exported = |namespace, listing| SourceConfig { export: true, ..listed("*", namespace, listing) };
    let scrape = async |configs| {
        let Scene { catalog, _reader } = catalog_of(configs);
        let (catalog, mut registry) = (Arc::new(catalog), MetricRegistry::default());
        registry.register_collector(Box::new(Gauges::of(catalog.clone())));
        registry.register_collector(Box::new(SourceCollector::of(catalog.clone())));
        for namespace in ["team-a", "team-b"] {
            _ = catalog.answer(&Namespace::new(namespace), "oci_queue_length", &Selector::default()).await;
            seconds(1.0).await;
        }
        let gauges = series(&registry, "oci_queue_length{").into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        (gauges.join(","), series(&registry, "source_failing_since_timestamp_seconds{"), catalog.list_errors())
    };
    // Both are called orders, so neither is a gauge.
    let (gauges, failing, errors) = scrape(vec![exported("team-a", &one), exported("team-b", &other)]).await;
    assert_eq!((gauges.as_str(), failing.len()), ("bills", 0));
    assert!(errors.len() == 1 && errors[0].ends_with("(affects gauges on /metrics)"), "{errors:?}");
    let (gauges, _, errors) = scrape(vec![exported("team-a", &one), listed("*", "team-b", &other)]).await;
    assert_eq!((gauges.as_str(), errors.len()), ("bills,orders", 0));
    for listing in [&one, &other] {
        listing.fake.set(Mood::Fails("500"));
    }
    let (_, failing, _) = scrape(vec![listed("*", "team-b", &other), listed("*", "team-a", &one)]).await;
    let [(bills, first), (orders, since)] = failing.as_slice() else { panic!("{failing:?}") };
    // team-a is the first that requests.
    assert_eq!((bills.as_str(), orders.as_str(), since), ("bills", "orders", first));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_respond_concerns_the_queries_that_need_it() {
    let (lost, refuses, listing) = (Fake::new(), Fake::new(), FakeListing::of(&[]));
    lost.set(Mood::Lost);
    refuses.set(Mood::Refuses);
    listing.set(Err(LOST));
    let scene = catalog_of(vec![
        named("lost", "1", &["shop"], &lost),
        named("refuses", "2", &["shop", "team-*"], &refuses),
        listed("*", "team-a", &listing),
    ]);
    let queries = [
        ("shop", "queue=refuses", false),
        ("shop", "queue=lost", true),
        ("shop", "", true),
        ("team-a", "queue=refuses", false),
        ("team-a", "queue=listed", true),
        ("team-a", "", true),
        ("team-b", "", false),
    ];
    for (namespace, selector, _) in queries {
        assert!(scene.ask(namespace, selector).await.is_err(), "{namespace} {selector}");
    }
    for (namespace, selector, expected) in queries {
        let (namespace, parsed) = (Namespace::new(namespace), Selector::parse(selector).unwrap());
        let is_unreachable = scene.catalog.is_unreachable(&namespace, "oci_queue_length", &parsed);
        assert_eq!(is_unreachable, expected, "{namespace} {selector}");
    }
}
