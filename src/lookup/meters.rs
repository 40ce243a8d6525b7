//! What is measured of asking and reading, for whoever scrapes us.
//!
//! Labels are of bounded number: kinds of sources and outcomes. The one series that names a
//! source is there while that source fails, and for so many of them at most.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Catalog;
use super::cache::Condition;
use crate::source::{self, Kind, SourceError};

/// Around an HPA's 15 s, in seconds: whoever asks every 30 s is behind by a beat.
const INTERVALS: [f64; 9] = [1.0, 5.0, 10.0, 14.0, 16.0, 20.0, 30.0, 60.0, 300.0];
/// A read takes tens of milliseconds and has 3 s by default, in seconds.
const READS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Sources that are named while they fail: more is one trouble, not many.
const NAMED_MAX: usize = 100;
/// The outcome of a good read; of another, it is the operation that failed.
const OK: &str = "ok";

/// What the cells of a catalog count.
#[derive(Clone, Debug)]
pub(super) struct Meters {
    ask_intervals: Histogram,
    reads: Family<Outcome, Histogram, fn() -> Histogram>,
}

/// How the sources of a catalog fare, looked up when somebody wants to know.
#[derive(Clone)]
pub struct Vitals(Arc<Catalog>);

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    kind: &'static str,
    result: &'static str,
}

// === impl Meters ===

impl Default for Meters {
    fn default() -> Self {
        let reads: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(|| Histogram::new(READS));
        for kind in source::KINDS {
            // There from the start: a rate begins with a zero.
            drop(reads.get_or_create(&Outcome { kind: kind.name(), result: OK }));
        }
        Self { ask_intervals: Histogram::new(INTERVALS), reads }
    }
}

impl Meters {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Time between two requests of one query (namespace, metric and selector), of a second and more";
        registry.register_with_unit("query_interval", help, Unit::Seconds, self.ask_intervals.clone());
        let help = "Time that a read of a source took, by kind and result: ok, or the operation that failed";
        registry.register_with_unit("source_read_duration", help, Unit::Seconds, self.reads.clone());
    }

    pub(super) fn asked_after(&self, interval: Duration) {
        self.ask_intervals.observe(interval.as_secs_f64());
    }

    pub(super) fn read_took(&self, kind: &dyn Kind, error: Option<&SourceError>, time: Duration) {
        let result = error.map_or(OK, |error| error.step.as_label());
        self.reads.get_or_create(&Outcome { kind: kind.name(), result }).observe(time.as_secs_f64());
    }
}

// === impl Vitals ===

impl Vitals {
    /// Of this catalog.
    pub fn of(catalog: Arc<Catalog>) -> Self {
        Self(catalog)
    }
}

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vitals")
    }
}

impl Collector for Vitals {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let entries = self.0.roster.now();
        let (mut idle, mut waiting, mut well, mut failing, mut held_back) = (0_i64, 0_i64, 0_i64, Vec::new(), 0_i64);
        for entry in &entries.sources {
            for cell in entry.cells.all() {
                match cell.condition() {
                    Condition::Idle => idle += 1,
                    Condition::Waiting => waiting += 1,
                    Condition::Well => well += 1,
                    Condition::Failing(since) => {
                        held_back += i64::from(cell.source.breaker_open());
                        failing.push((entry, cell, since));
                    }
                }
            }
        }
        let help = "Readings of sources and of their parts, by state: ok, failing, waiting for the first read, or idle because nobody asks";
        let mut sources = encoder.encode_descriptor("sources", help, None, MetricType::Gauge)?;
        let failures = i64::try_from(failing.len()).unwrap_or(i64::MAX);
        for (state, count) in [("failing", failures), ("idle", idle), ("ok", well), ("waiting", waiting)] {
            ConstGauge::new(count).encode(sources.encode_family(&[("state", state)])?)?;
        }
        let help = "Failing readings whose service is asked every 2 s only, for nothing answers there (breaker open)";
        let breaker = encoder.encode_descriptor("breaker_open_sources", help, None, MetricType::Gauge)?;
        ConstGauge::new(held_back).encode(breaker)?;
        let help = "Listed sources that no selector can name; the log and /status give the reason";
        let twins: usize = entries.twins.iter().map(|twins| twins.identities.len()).sum();
        let unreachable = i64::try_from(entries.unreachable.len() + twins).unwrap_or(i64::MAX);
        let gauge = encoder.encode_descriptor("unselectable_sources", help, None, MetricType::Gauge)?;
        ConstGauge::new(unreachable).encode(gauge)?;
        let help = "Lists of sources, such as the queues of a compartment, that somebody asks for and that cannot be made; the log and /status say why";
        let lists = i64::try_from(entries.list_outages().count()).unwrap_or(i64::MAX);
        let gauge = encoder.encode_descriptor("failing_lists", help, None, MetricType::Gauge)?;
        ConstGauge::new(lists).encode(gauge)?;
        let help =
            "How much longer than refresh values are kept, because more reads are due than maxRequestsPerSecond allows";
        let stretch = encoder.encode_descriptor("refresh_throttled", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        ConstGauge::new(entries.stretch().as_secs_f64()).encode(stretch)?;
        let help = "Since when a reading fails, in seconds since 1970: the first hundred of those that do";
        let name = "source_failing_since_timestamp";
        let mut since = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (entry, cell, at) in failing.iter().take(NAMED_MAX) {
            let mut labels = vec![("kind".to_owned(), entry.kind.name()), ("source".to_owned(), entry.name.as_str())];
            // A label name has no hyphen.
            labels.extend(cell.facet.iter().map(|(label, value)| (label.replace('-', "_"), value)));
            ConstGauge::new(at.as_second()).encode(since.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
