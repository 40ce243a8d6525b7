//! Reconciles one HPA: reads its metrics and its scale, decides, acts, and reports what it did.
//!
//! Decides twice before it scales or removes the mark of a workload at zero. It decides on what is known, and then on
//! the scale as it is at that moment. Every write has what was read as its precondition, so a change by another client
//! wins, and the next reconcile decides again. What was written counts at once: it does not wait for the watch to bring
//! it back.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

use super::autoscaler::{Autoscaler, ZeroState};
use super::calls::{ScaleError, refused};
use super::cooldown::Cooldown;
use super::decide::{Action, Facts, ScaleReason, decide};
use super::events::EventReason;
use super::finding::Finding;
use super::metrics::MetricValue;
use super::objects::Readings;
use super::scale::Scale;
use super::values;
use super::{SCALE_TO_ZERO, Shared};

/// Between reconciles of an HPA whose workload may have to be scaled to or from zero. A reconcile reads
/// values from memory; with the read before it and the call after it, a message scales a workload up
/// within `refresh` and a second.
pub(super) const URGENT: Duration = Duration::from_millis(500);
/// Between reconciles where nothing is urgent, and the age up to which a scale is used for the first
/// decision: the HPA controller's sync period.
const ROUTINE: Duration = Duration::from_secs(15);
/// The longest pause after failed calls, after pauses that double: a workload at zero is scaled up soon
/// after kube-apiserver has recovered. Until then [`super::calls`] makes few of the calls.
const FAILING_MAX: Duration = Duration::from_secs(4);
/// The longest pause after conflicts, after pauses that double. A conflict means that the watch is late,
/// or that another client writes the scale. What the watch brings is reconciled at once.
const CONFLICT_MAX: Duration = Duration::from_secs(30);
/// How long calls may fail before the HPA's owner is notified. A short failure is kube-apiserver's, and
/// a long one may be of this workload alone, such as a webhook that is down.
const FAILING_PATIENCE: Duration = Duration::from_secs(60);

/// What is kept of an HPA between two reconciles, besides its annotations.
pub(super) struct Reconciler {
    shared: Arc<Shared>,
    /// Its workload's scale as it was last read or written, and when.
    scale: Option<(Scale, Instant)>,
    /// The values of its Object metrics.
    readings: Readings,
    cooldown: Cooldown,
    history: History,
    progress: Progress,
}

/// What is known of its workload, besides what the HPA's annotations say.
enum History {
    /// Nothing.
    Nothing,
    /// depthgauge scaled it to zero. The time is that of the annotation when it was last read. It is kept because a
    /// client that replaces the HPA (`kubectl replace`) removes the annotation.
    ScaledToZero(Timestamp),
    /// The HPA was pointed at another workload. These annotations are of the former one: if the HPA still has them,
    /// they are removed.
    Moved(ZeroState),
}

/// How the last reconcile ended.
enum Progress {
    /// It succeeded, or there was none yet.
    Settled,
    /// Calls to kube-apiserver fail since then; the last pause.
    Failing(Instant, Duration),
    /// The HPA or the scale had another version than this replica has; the HPA's version here, and
    /// the last pause.
    Conflict(String, Duration),
}

/// What an HPA is reconciled for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Interest {
    /// Its values always count.
    Always,
    /// Its workload is at zero, and depthgauge may have to act at once.
    Urgent,
    /// Its workload is at zero. It may be stuck there.
    AtZero,
    /// Its label has no effect, and its owner must learn why.
    Label,
    /// Nothing.
    None,
}

// === impl Reconciler ===

impl Reconciler {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            scale: None,
            readings: Readings::default(),
            cooldown: Cooldown::default(),
            history: History::Nothing,
            progress: Progress::Settled,
        }
    }

    /// The HPA's object has changed: the scale may have changed with it.
    pub(super) fn changed(&mut self) {
        self.scale = None;
    }

    /// The HPA was pointed at another workload; `before` has the annotations from then.
    pub(super) fn moved(&mut self, before: ZeroState) {
        *self = Self { history: History::Moved(before), ..Self::new(self.shared.clone()) };
    }

    /// Another replica may scale from now on.
    pub(super) fn reset(&mut self) {
        let history = match self.history {
            History::Moved(before) => History::Moved(before),
            History::Nothing | History::ScaledToZero(_) => History::Nothing,
        };
        *self = Self { history, ..Self::new(self.shared.clone()) };
    }

    /// One reconcile, which puts what it writes into `hpa`. Returns the pause until the next.
    pub(super) async fn reconcile(&mut self, hpa: &mut Autoscaler) -> Duration {
        let (finding, pause) = match Interest::of(hpa) {
            interest @ (Interest::Label | Interest::None) => (Finding::of_label(hpa), interest.pause()),
            _ => match self.act(hpa).await {
                // What was written may be the first of two steps.
                Ok(finding) => (finding, Interest::of(hpa).pause()),
                // Until it is corrected.
                Err(ScaleError::Wrong(why) | ScaleError::Gone(why)) => (Finding::scale(hpa, &why), ROUTINE),
                // The scale is unknown, so there is nothing to report.
                Err(ScaleError::Conflict) => return self.conflict(hpa).await,
                Err(ScaleError::Transient(trouble)) => return self.failing(hpa, &trouble).await,
            },
        };
        self.progress = Progress::Settled;
        self.report(hpa, finding.as_ref()).await;
        pause
    }

    /// A second conflict on the same version of the HPA: the watch may bring the next one in minutes.
    async fn conflict(&mut self, hpa: &mut Autoscaler) -> Duration {
        self.scale = None;
        let before =
            match self.progress {
                Progress::Conflict(ref version, pause) if *version == hpa.resource_version => {
                    if self.catch_up(hpa).await { URGENT } else { pause * 2 }
                }
                _ => URGENT,
            };
        let pause = before.min(CONFLICT_MAX);
        self.progress = Progress::Conflict(hpa.resource_version.clone(), pause);
        with_jitter(pause)
    }

    /// Reads the HPA past the watch. Returns whether it is another version. One that scales another
    /// workload, or was made again, is left to the watch.
    async fn catch_up(&self, hpa: &mut Autoscaler) -> bool {
        let api: Api<super::Object> = Api::namespaced(self.shared.client.clone(), hpa.namespace.as_str());
        // A list, because the right to list them is needed anyway, and the right to get one is not.
        let this = ListParams::default().fields(&format!("metadata.name={}", hpa.name));
        let may = || self.shared.lease.is_held();
        let listed = self.shared.calls.make_if(&hpa.namespace, may, api.list(&this)).await;
        let Ok(Ok(listed)) = listed else { return false };
        let metrics = self.shared.catalog.metrics();
        let found = listed.items.first().and_then(|object| Autoscaler::of(object, &metrics));
        let same = |found: &Autoscaler| found.uid == hpa.uid && found.workload == hpa.workload;
        match found.filter(same).filter(|found| found.resource_version != hpa.resource_version) {
            Some(found) => {
                *hpa = found;
                true
            }
            None => false,
        }
    }

    /// The state is unknown. The last report stays until this has lasted.
    async fn failing(&mut self, hpa: &Autoscaler, trouble: &str) -> Duration {
        tracing::debug!(hpa = %hpa.title(), trouble, "cannot reconcile");
        let (since, before) = match self.progress {
            Progress::Failing(since, pause) => (since, pause * 2),
            _ => (Instant::now(), URGENT),
        };
        let pause = before.min(FAILING_MAX);
        self.progress = Progress::Failing(since, pause);
        if since.elapsed() >= FAILING_PATIENCE
            && let Some(finding) = Finding::scale(hpa, trouble)
        {
            self.report(hpa, Some(&finding)).await;
        }
        with_jitter(pause)
    }

    async fn report(&self, hpa: &Autoscaler, finding: Option<&Finding>) {
        if self.shared.findings.note(hpa, finding)
            && let Some(Finding { problem, text }) = finding
        {
            self.shared.events.on(hpa, EventReason::Problem(*problem), text).await;
        }
    }

    async fn act(&mut self, hpa: &mut Autoscaler) -> Result<Option<Finding>, ScaleError> {
        if let History::Moved(before) = self.history {
            // Another replica may have removed it already, and written an annotation of its own.
            if before.is_still_in(hpa.zero_state) {
                self.remember(hpa, ZeroState::default()).await?;
            }
            self.history = History::Nothing;
        }
        self.readings.refresh(&self.shared.objects, hpa).await;
        let served = values::ask(&self.shared.catalog, &self.readings, hpa).await;
        let known = match &self.scale {
            Some((scale, at)) if at.elapsed() < ROUTINE => scale.clone(),
            // The HPA's own status suffices where nothing is to be scaled: the right to read the scale may
            // be missing.
            _ if (hpa.state.is_disabled || hpa.state.at_zero) && !hpa.is_ours() => Scale::at_zero(),
            _ => self.read(hpa).await?,
        };
        match (known.replicas, hpa.zero_state.scaled_to_zero_since, &self.history) {
            // Even if depthgauge no longer scales it: then the next reconcile restores it.
            (0, None, History::ScaledToZero(since)) => {
                let zero_state = ZeroState { scaled_to_zero_since: Some(*since), ..hpa.zero_state };
                return self.remember(hpa, zero_state).await.map(|()| None);
            }
            (0, Some(since), _) => self.history = History::ScaledToZero(since),
            _ => self.history = History::Nothing,
        }
        let decision = decide(&self.facts(hpa, &known, &served));
        let by_what_is_known = match decision.action {
            Action::Nothing => true,
            Action::Remember(zero_state) => {
                zero_state.scaled_to_zero_since.is_some() || hpa.zero_state.scaled_to_zero_since.is_none()
            }
            Action::ScaleToZero { .. } | Action::ScaleUp { .. } => false,
        };
        let (scale, decision) = if by_what_is_known {
            (known, decision)
        } else {
            let scale = self.read(hpa).await?;
            let decision = decide(&self.facts(hpa, &scale, &served));
            (scale, decision)
        };
        match decision.action {
            Action::Nothing => {}
            Action::Remember(zero_state) => self.remember(hpa, zero_state).await?,
            Action::ScaleToZero { zero_state, since } => self.scale_to_zero(hpa, &scale, zero_state, since).await?,
            Action::ScaleUp { replicas, why } => self.scale_up(hpa, &scale, replicas, why, &served).await?,
        }
        Ok(decision.finding)
    }

    fn facts<'f>(&mut self, hpa: &'f Autoscaler, scale: &Scale, served: &'f [MetricValue]) -> Facts<'f> {
        let (cooldown, now) = (hpa.cooldown.as_ref().copied().unwrap_or_default(), (self.shared.clock)());
        let unbroken = self.shared.lease.unbroken(cooldown).max(self.cooldown.failed_at(now));
        let lasted = hpa.zero_state.zero_since.map_or(SignedDuration::ZERO, |since| self.cooldown.lasted(since, now));
        Facts { hpa, zero_state: hpa.zero_state, replicas: scale.replicas, served, unbroken, lasted, now }
    }

    async fn read(&mut self, hpa: &Autoscaler) -> Result<Scale, ScaleError> {
        self.scale = None;
        match self.shared.scales.read(hpa).await {
            Ok(scale) => {
                self.scale = Some((scale.clone(), Instant::now()));
                Ok(scale)
            }
            Err(error) => {
                self.cooldown.fail((self.shared.clock)());
                Err(error)
            }
        }
    }

    /// The mark first: a workload at zero without it is another client's.
    async fn scale_to_zero(
        &mut self,
        hpa: &mut Autoscaler,
        scale: &Scale,
        zero_state: ZeroState,
        since: Timestamp,
    ) -> Result<(), ScaleError> {
        self.remember(hpa, zero_state).await?;
        self.write(hpa, scale, 0).await?;
        self.history = hpa.zero_state.scaled_to_zero_since.map_or(History::Nothing, History::ScaledToZero);
        let (workload, from) = (hpa.workload.reference(), scale.replicas);
        let note = format!("scaled {workload} from {from} to 0: {} reads 0 since {since:.0}", hpa.titles());
        self.done(SCALE_TO_ZERO, hpa, EventReason::ScaledToZero, &note).await;
        Ok(())
    }

    /// The workload first: a mark on one that has replicas does no harm, and is removed.
    async fn scale_up(
        &mut self,
        hpa: &mut Autoscaler,
        scale: &Scale,
        replicas: u32,
        why: ScaleReason,
        served: &[MetricValue],
    ) -> Result<(), ScaleError> {
        self.write(hpa, scale, replicas).await?;
        self.history = History::Nothing;
        let workload = hpa.workload.reference();
        let values: Vec<String> =
            hpa.metrics.iter().zip(served).map(|(metric, served)| format!("{} is {served}", metric.title())).collect();
        let cause = match why {
            ScaleReason::Work | ScaleReason::FastActivation | ScaleReason::Recover => values.join(", "),
            ScaleReason::Restore => "depthgauge no longer manages it".to_owned(),
        };
        let note = format!("scaled {workload} from 0 to {replicas}: {cause}");
        self.done(why.as_str(), hpa, EventReason::ScaledFromZero, &note).await;
        if hpa.zero_state != ZeroState::default() {
            self.remember(hpa, ZeroState::default()).await?;
        }
        Ok(())
    }

    async fn write(&mut self, hpa: &Autoscaler, scale: &Scale, replicas: u32) -> Result<(), ScaleError> {
        self.scale = None;
        // Another replica may have taken the Lease since this reconcile began.
        let may = || self.shared.lease.is_held();
        let written = self.shared.scales.write(hpa, scale, replicas, may).await?;
        self.scale = Some((written, Instant::now()));
        Ok(())
    }

    async fn done(&self, what: &'static str, hpa: &Autoscaler, reason: EventReason, note: &str) {
        self.shared.actions.count(what);
        self.shared.events.on(hpa, reason, note).await;
    }

    /// Writes on the HPA, if it still is what was decided on, and then counts it as written.
    async fn remember(&mut self, hpa: &mut Autoscaler, zero_state: ZeroState) -> Result<(), ScaleError> {
        if let Some(since) = zero_state.zero_since.filter(|_| zero_state.zero_since != hpa.zero_state.zero_since) {
            self.cooldown.begin(since, (self.shared.clock)());
        }
        let written = self.annotate(hpa, zero_state).await;
        match written {
            Ok(version) => {
                hpa.resource_version = version;
                hpa.zero_state = zero_state;
                Ok(())
            }
            Err(error) => {
                // A cooldown that was to end has ended, even if it is still on the HPA.
                if hpa.zero_state.zero_since.is_some() && zero_state.zero_since.is_none() {
                    self.cooldown.fail((self.shared.clock)());
                }
                Err(error)
            }
        }
    }

    /// Returns the HPA's new version.
    async fn annotate(&self, hpa: &Autoscaler, zero_state: ZeroState) -> Result<String, ScaleError> {
        let patch =
            json!({"metadata": {"resourceVersion": hpa.resource_version, "annotations": hpa.annotations(zero_state)}});
        let api: Api<super::Object> = Api::namespaced(self.shared.client.clone(), hpa.namespace.as_str());
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let of = ("autoscaling", "horizontalpodautoscalers");
        match self.shared.calls.make(&hpa.namespace, api.patch_metadata(&hpa.name, &params, &patch)).await? {
            Ok(written) => Ok(written.metadata.resource_version.unwrap_or_default()),
            // Or the HPA was deleted. The watch reports that.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Err(ScaleError::Conflict),
            Err(error) => Err(match refused(&error, of, hpa.namespace.as_str(), &["patch"]) {
                ScaleError::Wrong(why) => ScaleError::Wrong(format!("it cannot write on this HPA: {why}")),
                other => other,
            }),
        }
    }

    /// Reports an HPA that was deleted, or scales another workload now, and leaves a workload at zero.
    /// The workload stays there: an app that is being removed must not be started again.
    pub(super) async fn report_orphan(shared: Arc<Shared>, hpa: Arc<Autoscaler>, what: String) {
        // The workload was deleted as well, or is unreachable: there is nothing to report on.
        let Ok(scale) = shared.scales.read(&hpa).await else { return };
        if scale.replicas > 0 {
            return;
        }
        let (name, command) = (&hpa.name, hpa.start_command());
        let note = format!(
            "depthgauge scaled this workload to zero, and HPA {name} {what}. No controller scales it up now. To start one replica: {command}"
        );
        shared.events.on_workload(&hpa, &scale.uid, EventReason::LeftAtZero, &note).await;
    }
}

// === impl Interest ===

impl Interest {
    pub(super) fn of(hpa: &Autoscaler) -> Self {
        let at_zero = hpa.state.is_disabled || hpa.state.at_zero || hpa.zero_state != ZeroState::default();
        match (hpa.is_kept(), at_zero) {
            (true, _) => Self::Always,
            (false, true) if hpa.labelled || hpa.zero_state.scaled_to_zero_since.is_some() => Self::Urgent,
            (false, true) => Self::AtZero,
            (false, false) if hpa.labelled => Self::Label,
            (false, false) => Self::None,
        }
    }

    pub(super) fn pause(self) -> Duration {
        match self {
            Self::Always | Self::Urgent => URGENT,
            Self::AtZero | Self::Label | Self::None => ROUTINE,
        }
    }
}

/// Between three quarters of a pause and the whole, so that HPAs that failed together do not try again
/// together.
fn with_jitter(pause: Duration) -> Duration {
    pause.mul_f64(0.75 + fastrand::f64() / 4.0)
}

#[cfg(test)]
pub(super) mod tests;
