//! Metrics of requests for values, and of decisions about callers. The usual counters are made in
//! advance: an answer costs an addition, and no look-up of labels.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// In seconds. An answer from memory takes tens of microseconds. One that waits for a first read
/// takes as long as the read, and one after a review of kube-apiserver takes up to 3 s.
const DURATIONS: [f64; 9] = [0.000_25, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 2.5, 5.0];

/// One that counts in a registry.
pub(super) struct Meters {
    requests: Family<Code, Counter>,
    /// Of `requests`.
    ok: Counter,
    durations: Histogram,
    decisions: Decisions,
    /// Of answers that are made and not yet taken.
    pub(super) unread: Gauge,
}

/// The result of authentication and authorization.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Decision {
    /// May.
    Allowed,
    /// Is known, and may not.
    Denied,
    /// The identity was refused.
    Unauthenticated,
    /// kube-apiserver could not review it.
    Undecided,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Code {
    code: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    decision: &'static str,
}

struct Decisions {
    allowed: Counter,
    denied: Counter,
    unauthenticated: Counter,
    undecided: Counter,
}

// === impl Meters ===

impl Meters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let requests = Family::<Code, Counter>::default();
        registry.register("requests", "Requests for values of metrics, by the code of the answer", requests.clone());
        let durations = Histogram::new(DURATIONS);
        let help = "Time from a request for values to its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, durations.clone());
        let decisions = Family::<Outcome, Counter>::default();
        let help = "Decisions about requests for values, /metrics or /status on the secure port";
        registry.register("auth_decisions", help, decisions.clone());
        let decision = |decision| decisions.get_or_create_owned(&Outcome { decision });
        let decisions = Decisions {
            allowed: decision("allowed"),
            denied: decision("denied"),
            unauthenticated: decision("unauthenticated"),
            undecided: decision("undecided"),
        };
        let ok = requests.get_or_create_owned(&Code { code: StatusCode::OK.as_u16() });
        let unread = Gauge::default();
        let help = "Memory of answers above 1 KiB that clients have requested and not yet read";
        registry.register_with_unit("unread_answer", help, Unit::Bytes, unread.clone());
        Self { requests, ok, durations, decisions, unread }
    }

    /// A request for values was answered.
    pub(super) fn answered(&self, code: StatusCode, took: Duration) {
        self.durations.observe(took.as_secs_f64());
        if code == StatusCode::OK {
            self.ok.inc();
        } else {
            self.requests.get_or_create(&Code { code: code.as_u16() }).inc();
        }
    }

    /// It was decided about a caller.
    pub(super) fn decided(&self, decision: Decision) {
        let Decisions { allowed, denied, unauthenticated, undecided } = &self.decisions;
        match decision {
            Decision::Allowed => allowed,
            Decision::Denied => denied,
            Decision::Unauthenticated => unauthenticated,
            Decision::Undecided => undecided,
        }
        .inc();
    }
}
