//! A source whose values are fractions: they are shown and compared as such, and never rounded to 0.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::to_bytes;
use depthgauge::admin::status::{self, Facts, Status};
use depthgauge::document::{Node, Problems};
use depthgauge::health::Health;
use depthgauge::lookup::rules::{ItemAccess, ValueRules};
use depthgauge::lookup::{Catalog, Gauges, SourceConfig, Timing};
use depthgauge::metric::pattern::Pattern;
use depthgauge::metric::quantity::Quantity;
use depthgauge::metric::{MetricName, Namespace};
use depthgauge::selector::Selector;
use depthgauge::source::part::Part;
use depthgauge::source::{Definition, Identified, Items, KINDS, NextRequest, Opened, Source, SourceError};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, header};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt as _;

const LENGTH: &str = "oci_queue_length";

/// Thousandths.
struct Level(Arc<AtomicI64>);

impl Source for Level {
    fn upstream(&self) -> Option<NextRequest<'_>> {
        None
    }

    fn read<'s>(&'s self, _: &'s Part, _: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        let level = Quantity::from_milli(self.0.load(Ordering::Relaxed));
        async move { Ok(Items::one(vec![(MetricName::new(LENGTH), level)])) }.boxed()
    }
}

struct Scene {
    level: Arc<AtomicI64>,
    catalog: Arc<Catalog>,
}

impl Scene {
    /// One source that is 0 at first.
    fn start(value_rules: ValueRules) -> Self {
        let level = Arc::new(AtomicI64::new(0));
        let config = SourceConfig {
            name: "load".to_owned(),
            kind: KINDS[0],
            namespaces: vec![Pattern::new("*")],
            timing: Timing::default(),
            export: true,
            value_rules,
            items: ItemAccess { sums: true, ..ItemAccess::default() },
            definition: Definition::default(),
            source: Opened::One(Identified { identity: "load".to_owned(), source: Box::new(Level(level.clone())) }),
        };
        let (catalog, reader) = Catalog::new(vec![config], KINDS, Timestamp::now);
        tokio::spawn(reader.run());
        Self { level, catalog: Arc::new(catalog) }
    }

    /// The value that is served once the source has had this one for longer than a refresh.
    async fn served(&self, milli: i64, selector: &str) -> String {
        self.level.store(milli, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(6)).await;
        let selector = Selector::parse(selector).unwrap();
        let samples = self.catalog.answer(&Namespace::new("shop"), LENGTH, &selector).await.unwrap();
        samples[0].value.to_string()
    }

    async fn status(&self, accept: &str) -> String {
        let facts = || Facts {
            version: "0",
            pod: None,
            node: None,
            started: Timestamp::UNIX_EPOCH,
            certificate_expires: Timestamp::UNIX_EPOCH,
            api_service_available: None,
            config: String::new(),
            docs: None,
            scale_to_zero: None,
            findings: Vec::new(),
            hpas: None,
        };
        let status = Status::new(self.catalog.clone(), Health::default(), facts);
        let request = Request::get("/status").header(header::ACCEPT, accept).body(axum::body::Body::empty()).unwrap();
        let response = status::routes(Arc::new(status)).oneshot(request).await.unwrap();
        String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_fraction_is_served_and_shown_as_it_is() {
    let value_rules = ValueRules { activation: None, fallback: Some(Quantity::from_milli(1500)) };
    let scene = Scene::start(value_rules);
    assert_eq!(scene.served(400, "").await, "400m");
    let status: Value = serde_json::from_str(&scene.status("application/json").await).unwrap();
    let source = &status["sources"][0];
    assert_eq!((&source["known"]["depth"], &source["known"]["values"][LENGTH]), (&json!(0.4), &json!(0.4)));
    assert_eq!((&source["history"], &source["valueRules"]), (&json!([0.4]), &json!({"fallback": "1.5"})));
    let page = scene.status("text/html").await;
    for part in ["<span class=\"value\">0.4</span>", "<td class=\"number\">0.4</td>", "Last hour: 0.4", "fallback 1.5"]
    {
        assert!(page.contains(part), "{part} in {page}");
    }
    let (mut registry, mut metrics) = (Registry::default(), String::new());
    registry.register_collector(Box::new(Gauges::of(scene.catalog.clone())));
    prometheus_client::encoding::text::encode(&mut metrics, &registry).unwrap();
    assert!(metrics.contains("oci_queue_length{queue=\"load\"} 0.4\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_fraction_is_compared_with_an_activation() {
    let scene = Scene::start(ValueRules { activation: Some(Quantity::from_milli(500)), fallback: None });
    for (milli, served) in [(0, "0"), (400, "0"), (500, "0"), (501, "501m"), (1, "1m"), (0, "0"), (1, "0")] {
        assert_eq!(scene.served(milli, "").await, served, "{milli}");
    }
    let page = scene.status("text/html").await;
    assert!(
        page.contains("Activation above 0.5")
            && page.contains(r#"<span class="value">0<span class="raw">read: 0.001</span></span>"#),
        "{page}"
    );
    assert_eq!(scene.served(0, "depthgauge.dev/activation=0.2").await, "0");
    for (milli, served) in [(200, "0"), (201, "201m")] {
        assert_eq!(scene.served(milli, "depthgauge.dev/activation=200m").await, served, "{milli}");
    }
}

#[test]
fn a_number_of_the_config_is_its_decimal_text() {
    let largest = 9_200_000_000_000_000_000;
    for (text, milli) in [
        ("0", 0),
        ("12", 12_000),
        ("0x10", 16_000),
        ("0.1", 100),
        ("0.3", 300),
        (".5", 500),
        ("12.0", 12_000),
        ("1e3", 1_000_000),
        ("1.0004", 1000),
        ("0.0001", 1),
        ("1e-10", 0),
        ("123456789012.345", 123_456_789_012_345),
        ("1500m", 1500),
        ("\"0.5\"", 500),
        ("1Ki", 1_024_000),
        ("9200000000000000", largest),
        ("9200000000000000.0", largest),
        ("9200T", largest),
    ] {
        let mut problems = Problems::default();
        let node = Node::parse(text, &mut problems).unwrap();
        assert_eq!(node.amount(&mut problems), Some(Quantity::from_milli(milli)), "{text}");
        assert!(problems.is_empty(), "{text}");
    }
    for bad in
        ["-1", "-0.5", "x", "true", "~", "[1]", "{}", "9200000000000001", "9.3e15", "1e300", "10P", ".nan", ".inf"]
    {
        let mut problems = Problems::default();
        let node = Node::parse(bad, &mut problems).unwrap();
        assert_eq!(node.amount(&mut problems), None, "{bad}");
        let expected = "1:1: expected a number from 0 to 9200000000000000, such as 12 or 0.5";
        assert_eq!(problems.lines().collect::<Vec<_>>(), [expected], "{bad}");
    }
}
