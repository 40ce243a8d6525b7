//! The status page after an hour of five queues in simulated time, in a real browser by `hack/browser`. That
//! test is long, because it needs Chromium. A short one compares the text of the page with the text beside the
//! pictures in `docs/images`, so that they show what the page shows.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use depthgauge::admin::status::{self, Facts, Finding, Hpa, Status};
use depthgauge::health::{Health, State};
use depthgauge::lookup::rules::{ItemAccess, ValueRules};
use depthgauge::lookup::{Catalog, SourceConfig, Timing};
use depthgauge::metric::pattern::Pattern;
use depthgauge::metric::quantity::Quantity;
use depthgauge::metric::{MetricName, Namespace};
use depthgauge::selector::Selector;
use depthgauge::source::part::Part;
use depthgauge::source::{
    Definition, ErrorKind, Identified, Items, KINDS, NextRequest, Opened, Operation, Source, SourceError,
};
use depthgauge::{admin, telemetry};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, header};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::golden;

/// An HPA's.
const BEAT: Duration = Duration::from_secs(15);
const BEATS: u32 = 240;

/// What a queue holds in the course of the hour, 0 to 1; `None` is a read that fails.
type Script = fn(f64) -> Option<i32>;

struct Scripted {
    script: Script,
    id: String,
}

impl Source for Scripted {
    fn identifier(&self) -> Option<&str> {
        Some(&self.id)
    }

    fn upstream(&self) -> Option<NextRequest<'_>> {
        None
    }

    fn read<'s>(&'s self, _: &'s Part, _: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        async {
            let length = (self.script)(hour()).ok_or_else(|| SourceError {
                operation: Operation::Read,
                kind: ErrorKind::Transient,
                responded: true,
                cause: "503 ServiceUnavailable".to_owned(),
                remedy: "This is a failure on the OCI side: see its status page.",
                detail: String::new(),
                grant: None,
                request_id: Some("9F1C0A77E1D04C2B8D1F/6E0B52A4C3D94F0E9A11/53B7C2E86A1F4D0B".into()),
                retry_after: None,
            })?;
            let (length, in_flight) = (Quantity::from_units(length), Quantity::from_units(length / 3));
            let visible = Quantity::from_units((self.script)(hour()).unwrap_or_default() * 2 / 3);
            Ok(Items::one(vec![
                (MetricName::new("oci_queue_dead_letters"), Quantity::ZERO),
                (MetricName::new("oci_queue_in_flight"), in_flight),
                (MetricName::new("oci_queue_length"), length),
                (MetricName::new("oci_queue_visible"), visible),
            ]))
        }
        .boxed()
    }
}

/// The simulated time, and then the real one.
fn start() -> (Instant, Timestamp) {
    static START: OnceLock<(Instant, Timestamp)> = OnceLock::new();
    *START.get_or_init(|| (Instant::now(), "2026-11-22T13:02:03Z".parse().unwrap()))
}

fn clock() -> Timestamp {
    let (began, base) = start();
    base + began.elapsed()
}

fn hour() -> f64 {
    start().0.elapsed().as_secs_f64() / 3600.0
}

fn wave(hour: f64) -> Option<i32> {
    Some(whole(40.0 + 38.0 * (hour * 14.0).sin()))
}

fn with_a_gap(hour: f64) -> Option<i32> {
    if (0.4..0.6).contains(&hour) { None } else { Some(whole(900.0 * (1.0 - (hour - 0.5).abs()))) }
}

fn failing_now(hour: f64) -> Option<i32> {
    if hour > 0.9 { None } else { Some(whole(20.0 * hour)) }
}

fn a_trickle(hour: f64) -> Option<i32> {
    Some(i32::from(hour > 0.7) * 3)
}

fn whole(value: f64) -> i32 {
    // No test draws numbers that large.
    format!("{value:.0}").parse().unwrap()
}

fn binding(name: &str, script: Script, value_rules: ValueRules) -> SourceConfig {
    let identity = format!("ocid1.queue.oc1.eu-frankfurt-1.amaaaaaa{name}4x7q2a");
    SourceConfig {
        name: name.to_owned(),
        kind: KINDS[0],
        namespaces: vec![Pattern::new("*")],
        timing: Timing::default(),
        export: false,
        value_rules,
        items: ItemAccess { sums: true, ..ItemAccess::default() },
        definition: Definition::default(),
        source: Opened::One(Identified {
            identity: identity.clone(),
            source: Box::new(Scripted { script, id: identity }),
        }),
    }
}

/// What the HPAs of the hour ask; `mail` is asked in its first minutes only.
async fn beat(catalog: &Catalog, beat: u32) {
    for (namespace, metric, selector) in [
        ("shop", "oci_queue_length", "queue=orders"),
        ("shop", "oci_queue_length", "queue in (bills,orders)"),
        ("shop", "oci_queue_visible", "queue=invoices"),
        ("team-logistics", "oci_queue_length", "queue=calls,depthgauge.dev/activation=5"),
        ("team-mail", "oci_queue_length", "queue=mail"),
    ] {
        if namespace != "team-mail" || beat < 40 {
            let selector = Selector::parse(selector).unwrap();
            // Some fail, as they shall.
            let _ = catalog.answer(&Namespace::new(namespace), metric, &selector).await;
        }
    }
}

/// The sources after the hour. The clock is still paused.
async fn after_an_hour() -> Arc<Catalog> {
    start();
    let policies = |activation: Option<i32>, fallback: Option<i32>| ValueRules {
        activation: activation.map(Quantity::from_units),
        fallback: fallback.map(Quantity::from_units),
    };
    let bindings = vec![
        binding("orders", wave, ValueRules::default()),
        binding("bills", with_a_gap, policies(None, Some(50))),
        binding("invoices", failing_now, policies(None, Some(12))),
        binding("calls", a_trickle, ValueRules::default()),
        binding("mail", wave, ValueRules::default()),
    ];
    let (catalog, reader) = Catalog::new(bindings, KINDS, clock);
    let catalog = Arc::new(catalog);
    tokio::spawn(reader.run());
    for number in 0..BEATS {
        beat(&catalog, number).await;
        tokio::time::sleep(BEAT).await;
    }
    beat(&catalog, BEATS).await;
    catalog
}

#[tokio::test(start_paused = true)]
async fn long_the_status_page_in_a_real_browser() {
    let catalog = after_an_hour().await;
    let status = Arc::new(status_of(catalog));
    let text = text_of(status.clone()).await;
    tokio::time::resume();

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/status", listener.local_addr().unwrap());
    tokio::spawn(admin::serve(listener, status::local_routes(status)));
    let images = tempfile::tempdir().unwrap();
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let into = if is_update { kept() } else { images.path().to_owned() };
    let looked = tokio::task::spawn_blocking(move || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/browser");
        Command::new(script).arg(url).arg(into).status()
    });
    assert!(looked.await.unwrap().unwrap().success(), "hack/browser says above what is wrong with the page");
    golden::check_file(&kept().join("status.txt"), &text);
}

#[tokio::test(start_paused = true)]
async fn the_pictures_of_the_status_page_show_its_text() {
    // Otherwise the text would be new beside pictures that are old.
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return;
    }
    let text = text_of(Arc::new(status_of(after_an_hour().await))).await;
    let shown = std::fs::read_to_string(kept().join("status.txt")).unwrap();
    assert_eq!(text, shown, "make the pictures again: UPDATE_GOLDEN=1 cargo test --test it -- browser::");
}

/// Where the pictures are.
fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images")
}

/// The text of the page, also what unfolds, with each number replaced by 0: some depend on chance.
async fn text_of(status: Arc<Status>) -> String {
    let request = Request::get("/status").header(header::ACCEPT, "text/html").body(Body::empty()).unwrap();
    let response = status::routes(status).oneshot(request).await.unwrap();
    let page = String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap();
    let (body, _) = page.split_once("<body>").unwrap().1.split_once("<script>").unwrap();
    let mut text = String::new();
    for piece in body.split('<').skip(1) {
        let (tag, after) = piece.split_once('>').unwrap();
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if !["a", "b", "code", "strong"].contains(&name) {
            text.push('\n');
        }
        if let Some((_, hint)) = tag.split_once("placeholder=\"") {
            text.push_str(hint.split('"').next().unwrap());
        }
        text.push_str(after);
    }
    for (escaped, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")] {
        text = text.replace(escaped, character);
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| without_numbers(&without_look(line)) + "\n").collect()
}

/// `hack/browser` removes it from the pictures, too.
fn without_look(line: &str) -> String {
    line.split_once(", look ").map_or(line, |(before, _)| before).to_owned()
}

fn without_numbers(line: &str) -> String {
    let mut text = String::new();
    for c in line.chars() {
        // Also a decimal is one number.
        if c.is_ascii_digit() {
            let before = text.strip_suffix("0.").map_or(text.len(), |start| start.len());
            text.truncate(before);
            text.truncate(text.trim_end_matches('0').len());
            text.push('0');
        } else {
            text.push(c);
        }
    }
    text
}

/// Each look has a number, by which one is told from the next.
fn status_of(catalog: Arc<Catalog>) -> Status {
    let health = Health::default();
    for name in ["listener", "certificate", "identity", "apiservice", "authorization", "config"] {
        health.reporter(name, State::Ok);
    }
    let outage = catalog.outages().first().unwrap().to_string();
    health.reporter("sources", State::Degraded(outage));
    let looks = AtomicU32::new(0);
    Status::new(catalog, health, move || {
        Facts {
        version: telemetry::VERSION,
        pod: Some("depthgauge-7d4f9c-x2x7k".to_owned()),
        node: Some("node-a".to_owned()),
        started: start().1,
        certificate_expires: "2027-11-21T09:00:00Z".parse().unwrap(),
        api_service_available: Some(true),
        config: format!("/etc/depthgauge/config.yaml, look {}", looks.fetch_add(1, Ordering::Relaxed) + 1),
        docs: None,
        scale_to_zero: Some("by this replica".to_owned()),
        findings: vec![Finding {
            object: "shop/worker".to_owned(),
            message: "StuckAtZero: oci_queue_length{queue=orders} is above 0, but the workload has no replicas, and the HPA is disabled, because another client scaled the workload to 0. To start one replica: kubectl scale -n shop deployment/worker --replicas=1".to_owned(),
        }],
        hpas: Some(vec![Hpa {
            namespace: "shop".to_owned(),
            name: "invoicer".to_owned(),
            metric: "oci_queue_visible".to_owned(),
            selector: "queue=invoices".to_owned(),
            current: Some(3),
            desired: 4,
        }]),
    }
    })
}
