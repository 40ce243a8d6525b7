//! `export: true`: read without a request, and a gap where there is no value.

use prometheus_client::registry::Registry;

use super::*;

fn exported(name: &str, fake: &Arc<Fake>) -> SourceConfig {
    SourceConfig { export: true, ..config_of(name, fake) }
}

/// A scene, and what a scrape of it shows of the sources.
fn scraped(configs: Vec<SourceConfig>) -> (Arc<Catalog>, tokio::task::JoinHandle<()>, impl Fn() -> String) {
    let Scene { catalog, _reader } = catalog_of(configs);
    let (catalog, mut registry) = (Arc::new(catalog), Registry::default());
    registry.register_collector(Box::new(Gauges::of(catalog.clone())));
    let scrape = move || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.trim_end_matches("# EOF\n").to_owned()
    };
    (catalog, _reader, scrape)
}

#[tokio::test(start_paused = true)]
async fn a_gauge_is_kept_fresh_although_nobody_asks() {
    let (orders, bills) = (Fake::new(), Fake::new());
    let (_catalog, _reader, scrape) = scraped(vec![exported("orders", &orders), config_of("bills", &bills)]);
    seconds(601.0).await;
    assert_eq!((orders.reads(), bills.reads()), (121, 0));
    let expected = [
        "# HELP oci_queue_length Messages in an OCI queue, visible and in flight",
        "# TYPE oci_queue_length gauge",
        "oci_queue_length{queue=\"orders\"} 600.0",
    ];
    assert_eq!(scrape().lines().take(3).collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_or_is_not_read_yet_has_no_sample() {
    let fake = Fake::new();
    let (_catalog, _reader, scrape) = scraped(vec![exported("orders", &fake)]);
    assert_eq!(scrape(), "");
    seconds(1.0).await;
    assert!(scrape().contains("oci_queue_length{queue=\"orders\"} 0.0"));
    fake.set(Mood::Fails("500"));
    seconds(5.0).await;
    // Its last value could still be served to an HPA.
    assert_eq!(scrape(), "");
    fake.set(Mood::Answers);
    seconds(7.0).await;
    assert!(scrape().contains("oci_queue_length{queue=\"orders\"} 1"), "{}", scrape());
}

#[tokio::test(start_paused = true)]
async fn export_begins_and_ends_with_the_config() {
    let fake = Fake::new();
    let (catalog, _reader, scrape) = scraped(vec![config_of("orders", &fake)]);
    seconds(100.0).await;
    assert_eq!((fake.reads(), scrape().as_str()), (0, ""));
    catalog.replace(vec![exported("orders", &fake)]).await;
    seconds(11.0).await;
    assert_eq!(fake.reads(), 3);
    assert!(scrape().contains("{queue=\"orders\"} 110.0"), "{}", scrape());
    catalog.replace(vec![config_of("orders", &fake)]).await;
    seconds(600.0).await;
    assert_eq!((fake.reads(), scrape().as_str()), (3, ""));
}
