//! Named checks that parts of the process report into.
//!
//! Three states, and only one of them makes the server unready: *failed* is for what makes
//! answering impossible (not listening, no certificate that is good, draining). Everything else
//! that is wrong is *degraded*: the server stays in the endpoints, says what is wrong in `/readyz?verbose`,
//! and logs each change once. A readiness that depended on more would take the APIService, and
//! with it namespace deletion in the whole cluster, down for a queue that does not answer.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// All checks of one process; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Vec<Check>>>);

/// A part's handle to its own check.
#[derive(Clone, Debug)]
pub struct Reporter {
    health: Health,
    name: &'static str,
}

/// What a part says of itself. The text is for people: what is wrong and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// As it should be.
    Ok,
    /// Something is missing, but answers are still given.
    Degraded(String),
    /// No answer can be given.
    Failed(String),
}

/// Whether whoever asks is told why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reasons {
    /// Whoever may ask at all operates the process.
    Told,
    /// It may be anybody: names and states of checks only, in the words of Kubernetes.
    Withheld,
}

#[derive(Debug)]
struct Check {
    name: &'static str,
    state: State,
}

// === impl Health ===

impl Health {
    /// Adds a check in the state it starts in.
    pub fn reporter(&self, name: &'static str, state: State) -> Reporter {
        self.0.lock().push(Check { name, state });
        Reporter { health: self.clone(), name }
    }

    /// Whether traffic may be sent here: no check has failed.
    pub fn is_ready(&self) -> bool {
        is_ready(&self.0.lock())
    }

    /// Every check and its state, in the order in which they were added.
    pub fn states(&self) -> Vec<(&'static str, State)> {
        self.0.lock().iter().map(|Check { name, state }| (*name, state.clone())).collect()
    }

    /// One line a check, in the form of Kubernetes' `/readyz?verbose`.
    pub fn verbose(&self, reasons: Reasons) -> String {
        let said = |reason| if reasons == Reasons::Told { reason } else { "reason withheld" };
        let checks = self.0.lock();
        let mut text = String::new();
        for Check { name, state } in checks.iter() {
            // Writing to a String cannot fail.
            let _ = match state {
                State::Ok => writeln!(text, "[+]{name} ok"),
                State::Degraded(reason) => writeln!(text, "[!]{name} degraded: {}", said(reason)),
                State::Failed(reason) => writeln!(text, "[-]{name} failed: {}", said(reason)),
            };
        }
        text.push_str(if is_ready(&checks) { "readyz check passed\n" } else { "readyz check failed\n" });
        text
    }
}

/// Each check as a gauge: 0 ok, 1 degraded, 2 failed.
impl Collector for Health {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "State of a check: 0 ok, 1 degraded, 2 failed; /readyz?verbose says why";
        let mut gauges = encoder.encode_descriptor("check_state", help, None, MetricType::Gauge)?;
        for Check { name, state } in self.0.lock().iter() {
            let state: i64 = match state {
                State::Ok => 0,
                State::Degraded(_) => 1,
                State::Failed(_) => 2,
            };
            ConstGauge::new(state).encode(gauges.encode_family(&[("check", *name)])?)?;
        }
        Ok(())
    }
}

// === impl Reporter ===

impl Reporter {
    /// Reports a state; a change is logged once, a repetition is not.
    pub fn report(&self, state: State) {
        let mut checks = self.health.0.lock();
        let Some(check) = checks.iter_mut().find(|check| check.name == self.name) else { return };
        if check.state == state {
            return;
        }
        match &state {
            State::Ok => tracing::info!(check = self.name, "ok"),
            State::Degraded(reason) => tracing::warn!(check = self.name, reason, "degraded"),
            State::Failed(reason) => tracing::warn!(check = self.name, reason, "not ready"),
        }
        check.state = state;
    }

    /// All is well.
    pub fn ok(&self) {
        self.report(State::Ok);
    }

    /// Something is missing; say what and what to do.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.report(State::Degraded(reason.into()));
    }

    /// Nothing can be answered any more.
    pub fn failed(&self, reason: impl Into<String>) {
        self.report(State::Failed(reason.into()));
    }
}

fn is_ready(checks: &[Check]) -> bool {
    !checks.iter().any(|check| matches!(check.state, State::Failed(_)))
}

#[cfg(test)]
mod tests {
    use tracing::{Dispatch, Event, Level, Subscriber};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

    use super::*;

    /// The levels of what is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<Level>>>);

    impl<S: Subscriber> Layer<S> for Log {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().push(*event.metadata().level());
        }
    }

    #[test]
    fn a_change_is_one_line_of_the_log_and_a_repetition_is_none() {
        let log = Log::default();
        // With one subscriber in the process, tracing lets the thread that is first at a place
        // decide for all whether anybody listens there; other tests have none.
        let _second = Dispatch::new(tracing_subscriber::registry());
        let _logging = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
        let part = Health::default().reporter("part", State::Ok);
        let degraded = |reason: &str| State::Degraded(reason.to_owned());
        for (state, logged) in [
            (State::Ok, None),
            (degraded("slow"), Some(Level::WARN)),
            (degraded("refused"), Some(Level::WARN)),
            (State::Failed("refused".to_owned()), Some(Level::WARN)),
            (State::Ok, Some(Level::INFO)),
        ] {
            for _poll in 0..3 {
                part.report(state.clone());
            }
            assert_eq!(std::mem::take(&mut *log.0.lock()), Vec::from_iter(logged), "{state:?}");
        }
    }

    #[test]
    fn only_a_failed_check_makes_the_server_unready() {
        let health = Health::default();
        let listener = health.reporter("listener", State::Failed("not listening yet".into()));
        let apiservice = health.reporter("apiservice", State::Ok);
        assert!(!health.is_ready());
        listener.ok();
        apiservice.degraded("kube-apiserver does not answer");
        assert!(health.is_ready());
        assert_eq!(
            health.verbose(Reasons::Told),
            "[+]listener ok\n[!]apiservice degraded: kube-apiserver does not answer\nreadyz check passed\n"
        );
        assert_eq!(
            health.verbose(Reasons::Withheld),
            "[+]listener ok\n[!]apiservice degraded: reason withheld\nreadyz check passed\n"
        );
        listener.failed("draining");
        assert!(!health.is_ready());
        assert!(
            health
                .verbose(Reasons::Told)
                .ends_with("[!]apiservice degraded: kube-apiserver does not answer\nreadyz check failed\n")
        );
    }
}
