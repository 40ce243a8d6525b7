//! Named checks that parts of the process report into.
//!
//! Only a *failed* check makes the server unready: it does not listen, has no valid certificate, or
//! drains. Everything else that is wrong is *degraded*: the server stays in the endpoints, gives the
//! cause in `/readyz?verbose`, and logs each change once. If readiness depended on more, one queue that does not
//! respond would take down the APIService. That would also take down namespace deletion in the whole cluster. A
//! degraded check that keeps every value from the HPAs is *blocking*, and is summarized in one sentence, the verdict.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

/// All checks of one process; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Vec<Check>>>);

/// A part's handle to its own check.
#[derive(Clone, Debug)]
pub struct Reporter {
    health: Health,
    name: &'static str,
}

/// The state of a part. The text is for users: what is wrong and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// As it should be.
    Ok,
    /// Something is missing, but answers are still given.
    Degraded(String),
    /// Degraded, and HPAs get no values from this replica, see [`Reporter::lasting`]. It stays ready,
    /// because it still answers discovery.
    Blocking(String),
    /// No answer can be given.
    Failed(String),
}

/// Whether an unhealthy check is shown with its reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reasons {
    /// All clients of this port may operate the process.
    Shown,
    /// Clients may be unauthenticated: names and states of checks only, in the words of Kubernetes.
    Withheld,
}

#[derive(Debug)]
struct Check {
    name: &'static str,
    state: State,
    /// When it was reported as ok for the last time.
    last_ok: Option<Instant>,
    /// How long after that HPAs still get values.
    lasts: Duration,
}

// === impl Health ===

impl Health {
    /// Adds a check in the state it starts in.
    pub fn reporter(&self, name: &'static str, state: State) -> Reporter {
        let last_ok = (state == State::Ok).then(Instant::now);
        self.0.lock().push(Check { name, state, last_ok, lasts: Duration::ZERO });
        Reporter { health: self.clone(), name }
    }

    /// Whether traffic may be sent here: no check has failed.
    pub fn is_ready(&self) -> bool {
        is_ready(&self.0.lock())
    }

    /// Every check and its state, in the order in which they were added.
    pub fn states(&self) -> Vec<(&'static str, State)> {
        self.0.lock().iter().map(|check| (check.name, check.state.clone())).collect()
    }

    /// Why HPAs get no values from this replica, in one sentence.
    pub fn verdict(&self) -> Option<String> {
        verdict(&self.0.lock(), Reasons::Shown)
    }

    /// The verdict, and one line a check in the form of Kubernetes' `/readyz?verbose`.
    pub fn verbose(&self, reasons: Reasons) -> String {
        let said = |reason| if reasons == Reasons::Shown { reason } else { "reason withheld" };
        let checks = self.0.lock();
        let mut text = verdict(&checks, reasons).map(|verdict| verdict + "\n").unwrap_or_default();
        for Check { name, state, .. } in checks.iter() {
            // Writing to a String cannot fail.
            let _ = match state {
                State::Ok => writeln!(text, "[+]{name} ok"),
                State::Degraded(reason) | State::Blocking(reason) => {
                    writeln!(text, "[!]{name} degraded: {}", said(reason))
                }
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
        for Check { name, state, .. } in self.0.lock().iter() {
            let state: i64 = match state {
                State::Ok => 0,
                State::Degraded(_) | State::Blocking(_) => 1,
                State::Failed(_) => 2,
            };
            ConstGauge::new(state).encode(gauges.encode_family(&[("check", *name)])?)?;
        }
        Ok(())
    }
}

// === impl Reporter ===

impl Reporter {
    /// For a check whose last success is used for this long, so that it blocks only afterwards.
    #[must_use]
    pub fn lasting(self, lasts: Duration) -> Self {
        if let Some(check) = self.health.0.lock().iter_mut().find(|check| check.name == self.name) {
            check.lasts = lasts;
        }
        self
    }

    /// Reports a state; a change is logged once, a repetition is not.
    pub fn report(&self, state: State) {
        let mut checks = self.health.0.lock();
        let Some(check) = checks.iter_mut().find(|check| check.name == self.name) else { return };
        if state == State::Ok {
            check.last_ok = Some(Instant::now());
        }
        if check.state == state {
            return;
        }
        match &state {
            State::Ok => tracing::info!(check = self.name, "ok"),
            State::Degraded(reason) | State::Blocking(reason) => tracing::warn!(check = self.name, reason, "degraded"),
            State::Failed(reason) => tracing::warn!(check = self.name, reason, "not ready"),
        }
        check.state = state;
    }

    /// Not ready yet, which is normal at a start.
    pub fn starting(&self, reason: &str) {
        let mut checks = self.health.0.lock();
        let Some(check) = checks.iter_mut().find(|check| check.name == self.name) else { return };
        tracing::info!(check = self.name, reason, "starting");
        check.state = State::Failed(reason.to_owned());
    }

    /// The part works.
    pub fn ok(&self) {
        self.report(State::Ok);
    }

    /// Something is missing; `reason` has that and the remedy.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.report(State::Degraded(reason.into()));
    }

    /// Something is missing, and without it HPAs get no values; `reason` has that and the remedy.
    pub fn blocking(&self, reason: impl Into<String>) {
        self.report(State::Blocking(reason.into()));
    }

    /// Nothing can be answered any more.
    pub fn failed(&self, reason: impl Into<String>) {
        self.report(State::Failed(reason.into()));
    }
}

/// The first check that keeps every value from the HPAs; a failed one goes first.
fn verdict(checks: &[Check], reasons: Reasons) -> Option<String> {
    let failed = checks.iter().find_map(|check| match &check.state {
        State::Failed(reason) => Some((check.name, reason)),
        _ => None,
    });
    let blocking = || {
        checks.iter().find_map(|check| match &check.state {
            State::Blocking(reason) if check.last_ok.is_none_or(|ok| ok.elapsed() >= check.lasts) => {
                Some((check.name, reason))
            }
            _ => None,
        })
    };
    let (name, reason) = failed.or_else(blocking)?;
    let why = if reasons == Reasons::Shown { reason.clone() } else { format!("see check {name}") };
    Some(format!("HPAs get no values from this replica: {why}"))
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
        // With one subscriber in the process, the first thread at a place decides for all threads
        // whether tracing is on there; other tests have none.
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

    #[tokio::test(start_paused = true)]
    async fn a_verdict_says_that_hpas_get_no_values_once_earlier_decisions_have_expired() {
        const LASTS: Duration = Duration::from_secs(60);
        let health = Health::default();
        let started = health.reporter("identity", State::Degraded("not read yet".into()));
        let access = health.reporter("authorization", State::Ok).lasting(LASTS);
        let blocking = || access.blocking("kube-apiserver does not respond");
        blocking();
        assert_eq!(health.verdict(), None, "what was decided before is still used");
        tokio::time::advance(LASTS - Duration::from_secs(1)).await;
        access.ok();
        blocking();
        tokio::time::advance(LASTS - Duration::from_secs(1)).await;
        assert_eq!(health.verdict(), None, "ok in between");
        tokio::time::advance(Duration::from_secs(1)).await;
        let verdict = "HPAs get no values from this replica: kube-apiserver does not respond";
        assert_eq!(health.verdict().as_deref(), Some(verdict));
        let lines = "[!]identity degraded: not read yet\n[!]authorization degraded: kube-apiserver does not respond\n";
        assert_eq!(health.verbose(Reasons::Shown), format!("{verdict}\n{lines}readyz check passed\n"));
        let withheld = health.verbose(Reasons::Withheld);
        assert!(withheld.starts_with("HPAs get no values from this replica: see check authorization\n"), "{withheld}");
        assert!(!withheld.contains("respond"), "{withheld}");
        assert!(health.is_ready(), "discovery still works");
        access.ok();
        assert_eq!(health.verdict(), None);
        started.blocking("forbidden");
        assert_eq!(health.verdict().as_deref(), Some("HPAs get no values from this replica: forbidden"));
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
            health.verbose(Reasons::Shown),
            "[+]listener ok\n[!]apiservice degraded: kube-apiserver does not answer\nreadyz check passed\n"
        );
        assert_eq!(
            health.verbose(Reasons::Withheld),
            "[+]listener ok\n[!]apiservice degraded: reason withheld\nreadyz check passed\n"
        );
        assert_eq!(health.verdict(), None);
        listener.failed("draining");
        assert!(!health.is_ready());
        assert_eq!(health.verdict().as_deref(), Some("HPAs get no values from this replica: draining"));
        assert!(
            health
                .verbose(Reasons::Shown)
                .ends_with("[!]apiservice degraded: kube-apiserver does not answer\nreadyz check failed\n")
        );
    }
}
