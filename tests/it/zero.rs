//! Scaling to zero, as far as it needs no control plane: what is wrong is on `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use depthgauge::health::{Health, Reasons, State};
use depthgauge::lookup::Catalog;
use depthgauge::source::KINDS;
use depthgauge::zero::{LEASE, Lease, Zero, retire};
use jiff::Timestamp;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::support::objects::Objects;

/// The metrics of one that has found an HPA that never goes to zero.
#[tokio::test(start_paused = true)]
async fn an_hpa_that_needs_somebody_is_a_series() {
    let text = scraped().await;
    let series = "depthgauge_hpa_problem{namespace=\"shop\",hpa=\"dummy\",problem=\"scale\"} 1";
    for line in [
        series,
        "depthgauge_hpa_problems{problem=\"scale\"} 1",
        "depthgauge_hpa_problems{problem=\"stuck_at_zero\"} 0",
        "depthgauge_scale_to_zero_actions_total{action=\"scale_to_zero\"} 0",
        "depthgauge_scale_to_zero_actions_total{action=\"recover_stuck\"} 0",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_retired_says_so_and_what_helps() {
    let (objects, health) = (Objects::default(), Health::default());
    let zero = zero(&objects, &health);
    let (lease, running) = (zero.lease(), tokio::spawn(zero.run()));
    let held = async {
        while !lease.is_held() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), held).await.expect("a holder");
    retire(&objects.client(), "dg", Timestamp::now).await.unwrap();
    let said = async {
        while !health.verbose(Reasons::Shown).contains("[!]scale-to-zero degraded: retired by `depthgauge unregister`")
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), said).await.expect("a word on it");
    assert!(health.is_ready());
    running.abort();
}

fn zero(objects: &Objects, health: &Health) -> Zero {
    let (catalog, _) = Catalog::new(Vec::new(), KINDS, Timestamp::now);
    let lease = Lease::new(objects.client(), "dg".to_owned(), LEASE.to_owned(), "it", Timestamp::now);
    let reporter = health.reporter("scale-to-zero", State::Ok);
    let (catalog, lease) = (Arc::new(catalog), Arc::new(lease));
    Zero::new(objects.client(), catalog, lease, "it".to_owned(), Timestamp::now, reporter)
}

/// In the text format; there is an HPA that cannot be scaled, for each series that there can be.
pub(crate) async fn scraped() -> String {
    let hpa = json!({
        "metadata": {"namespace": "shop", "name": "dummy", "uid": "u", "resourceVersion": "1",
            "labels": {"depthgauge.dev/scale-to-zero": "true"}},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Robot", "name": "dummy"}, "maxReplicas": 3},
    });
    let objects = Objects::default();
    objects.put(
        "/apis/autoscaling/v2/horizontalpodautoscalers",
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscalerList", "metadata": {"resourceVersion": "1"}, "items": [hpa]}),
    );
    let zero = zero(&objects, &Health::default());
    let mut registry = Registry::with_prefix("depthgauge");
    zero.register(&mut registry);
    let findings = zero.findings();
    let running = tokio::spawn(zero.run());
    let found = async {
        while findings.all().is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.expect("an HPA that needs somebody");
    running.abort();
    let mut scraped = String::new();
    text::encode(&mut scraped, &registry).unwrap();
    scraped
}
