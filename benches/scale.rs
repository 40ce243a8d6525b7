//! Ten minutes of many HPAs in simulated time: how old values are when they are asked for, and what
//! is read for it.
//!
//! `scale QUEUES HPAS READS_PER_SECOND`, as `hack/bench scale` runs it; one line of JSON. Sources are
//! those of a config, and so is the way they wait for their turns; only the read itself is none: it
//! takes as long as one over the network, and signs nothing.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use depthgauge::config::Config;
use depthgauge::endpoints::Endpoints;
use depthgauge::lookup::{Catalog, SourceConfig};
use depthgauge::metric::quantity::Quantity;
use depthgauge::metric::{MetricName, Namespace};
use depthgauge::selector::Selector;
use depthgauge::source::part::Part;
use depthgauge::source::{Identified, Items, KINDS, NextRequest, Opened, Source, SourceError};
use depthgauge_emulator::profile::Profile;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

const LENGTH: &str = "oci_queue_length";
/// How often an HPA asks.
const PERIOD: Duration = Duration::from_secs(15);
const LASTS: Duration = Duration::from_secs(600);
/// A read over a connection that is there.
const TAKES: Duration = Duration::from_millis(50);

thread_local! {
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The time of day, moved by tokio's paused clock.
fn clock() -> Timestamp {
    let start = START.get().unwrap_or_else(|| {
        START.set(Some(Instant::now()));
        Instant::now()
    });
    Timestamp::UNIX_EPOCH + (Instant::now() - start)
}

/// A queue that takes its turns and is not there.
struct Simulated {
    queue: Box<dyn Source>,
    reads: Arc<AtomicU64>,
}

impl Source for Simulated {
    fn upstream(&self) -> Option<NextRequest<'_>> {
        self.queue.upstream()
    }

    fn read<'s>(&'s self, _: &'s Part, _: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        async {
            self.reads.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(TAKES).await;
            Ok(Items::one(vec![(MetricName::new(LENGTH), Quantity::from_units(1))]))
        }
        .boxed()
    }
}

/// What the HPAs saw.
#[derive(Default)]
struct Seen {
    /// How old values were, in seconds.
    ages: Vec<f32>,
    /// How long the answers took, in seconds.
    waits: Vec<f32>,
    failed: usize,
    /// Of the first round, when nothing has been read yet and all want it at once.
    turned_away: usize,
}

// === impl Seen ===

impl Seen {
    fn and(mut self, other: Self) -> Self {
        self.ages.extend(other.ages);
        self.waits.extend(other.waits);
        self.failed += other.failed;
        self.turned_away += other.turned_away;
        self
    }
}

fn bindings(queues: usize, per_second: u32, reads: &Arc<AtomicU64>) -> anyhow::Result<Vec<SourceConfig>> {
    let dir = tempfile::tempdir()?;
    let profile = Profile::make(dir.path(), "eu-frankfurt-1")?;
    let sources: Vec<_> = (0..queues)
        .map(|n| {
            let id = format!("ocid1.queue.oc1.eu-frankfurt-1.simulated{n}");
            json!({"type": "oci-queue", "name": format!("q{n}"), "queueId": id, "namespaces": ["bench"], "endpoint": "https://simulated.invalid"})
        })
        .collect();
    let config = json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        "oci": {"auth": {"type": "apiKey", "configFile": profile.config_file}, "maxRequestsPerSecond": per_second},
        "sources": sources,
    });
    let config = Config::parse(&config.to_string(), KINDS).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let simulated = config.open(clock, Endpoints::none())?.into_iter().map(|binding| match binding.source {
        Opened::One(Identified { identity, source: queue }) => {
            let source = Box::new(Simulated { queue, reads: reads.clone() });
            SourceConfig { source: Opened::One(Identified { identity, source }), ..binding }
        }
        Opened::Many(_) => binding,
    });
    Ok(simulated.collect())
}

/// One HPA, from its first ask to the end.
async fn asks(catalog: Arc<Catalog>, queue: usize, until: Instant) -> anyhow::Result<Seen> {
    let (namespace, selector) = (Namespace::new("bench"), Selector::parse(&format!("queue=q{queue}"))?);
    let mut seen = Seen::default();
    let first_round = Instant::now() + PERIOD;
    let mut due = Instant::now() + PERIOD.mul_f64(fastrand::f64());
    while due < until {
        tokio::time::sleep_until(due).await;
        match catalog.answer(&namespace, LENGTH, &selector).await {
            Ok(samples) => {
                let now = catalog.now();
                seen.ages.extend(samples.iter().map(|sample| now.duration_since(sample.timestamp).as_secs_f32()));
            }
            Err(_) if due < first_round => seen.turned_away += 1,
            Err(_) => seen.failed += 1,
        }
        seen.waits.push(due.elapsed().as_secs_f32());
        due += PERIOD;
    }
    Ok(seen)
}

fn percentile(sorted: &[f32], percent: usize) -> Option<f32> {
    sorted.get((sorted.len() * percent / 100).saturating_sub(1)).copied()
}

async fn simulate(queues: usize, hpas: usize, per_second: u32) -> anyhow::Result<()> {
    // The same phases each time.
    fastrand::seed(1);
    let reads = Arc::new(AtomicU64::new(0));
    let (catalog, reader) = Catalog::new(bindings(queues, per_second, &reads)?, KINDS, clock);
    let (catalog, reader) = (Arc::new(catalog), tokio::spawn(reader.run()));
    let until = Instant::now() + LASTS;
    let everybody: Vec<_> = (0..hpas).map(|n| tokio::spawn(asks(catalog.clone(), n % queues, until))).collect();
    let mut throttled = Duration::ZERO;
    while Instant::now() < until {
        tokio::time::sleep(PERIOD).await;
        throttled = throttled.max(catalog.throttled());
    }
    let mut seen = Seen::default();
    for hpa in everybody {
        seen = seen.and(hpa.await??);
    }
    reader.abort();
    seen.ages.sort_by(f32::total_cmp);
    seen.waits.sort_by(f32::total_cmp);
    let at =
        |values: &[f32]| json!({"p50": percentile(values, 50), "p99": percentile(values, 99), "max": values.last()});
    let told = json!({
        "asks": seen.waits.len(),
        "failed": seen.failed,
        "turned_away": seen.turned_away,
        "age": at(&seen.ages),
        "wait": at(&seen.waits),
        "reads": reads.load(Ordering::Relaxed),
        "throttled": throttled.as_secs_f64(),
    });
    println!("{told}");
    Ok(())
}

fn main() -> anyhow::Result<()> {
    // What `cargo bench` adds is nothing to us.
    let numbers: Vec<u32> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .map(|arg| arg.parse())
        .collect::<Result<_, _>>()?;
    let [queues, hpas, per_second] = *numbers.as_slice() else {
        anyhow::bail!("scale QUEUES HPAS READS_PER_SECOND; see hack/bench scale");
    };
    // Fails only where somebody has chosen before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    runtime.block_on(simulate(usize::try_from(queues)?, usize::try_from(hpas)?, per_second))
}
