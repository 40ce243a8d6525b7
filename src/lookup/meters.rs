//! Metrics of requests and reads. The number of series is bounded: the labels are kinds of sources and
//! results.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::source::{Kind, Kinds, SourceError};

/// Around an HPA's 15 s, in seconds: an HPA with an interval of 30 s misses every other sync.
const INTERVALS: [f64; 9] = [1.0, 5.0, 10.0, 14.0, 16.0, 20.0, 30.0, 60.0, 300.0];
/// A read takes tens of milliseconds and has 3 s by default, in seconds.
const READS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// The result of a good read; of another, it is the operation that failed.
const OK: &str = "ok";

/// What the readings of a catalog count.
#[derive(Clone, Debug)]
pub(super) struct Meters {
    request_intervals: Histogram,
    reads: Family<Outcome, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    kind: &'static str,
    result: &'static str,
}

// === impl Meters ===

impl Meters {
    pub(super) fn new(kinds: Kinds) -> Self {
        let reads: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(|| Histogram::new(READS));
        for kind in kinds {
            // The series exists from the start, because `rate()` needs an initial zero.
            drop(reads.get_or_create(&Outcome { kind: kind.name, result: OK }));
        }
        Self { request_intervals: Histogram::new(INTERVALS), reads }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Time between two requests of one query (namespace, metric and selector), of a second and more";
        registry.register_with_unit("query_interval", help, Unit::Seconds, self.request_intervals.clone());
        let help = "Time that a read of a source took, by kind and result: ok, or the operation that failed";
        registry.register_with_unit("source_read_duration", help, Unit::Seconds, self.reads.clone());
    }

    pub(super) fn requested_after(&self, interval: Duration) {
        self.request_intervals.observe(interval.as_secs_f64());
    }

    pub(super) fn read_took(&self, kind: &Kind, error: Option<&SourceError>, time: Duration) {
        let result = error.map_or(OK, |error| error.operation.as_label());
        self.reads.get_or_create(&Outcome { kind: kind.name, result }).observe(time.as_secs_f64());
    }
}
