//! Looks after one HPA: asks, decides, acts, remembers, says what it did.
//!
//! Decides twice before it scales or takes a sleeper's mark away: on what it knows, and then on the
//! scale as it is at that moment. Every write has what was read as its precondition, so what somebody does at the same
//! time wins, and the next look decides again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::autoscaler::{Autoscaler, Memory};
use super::calls::{ScaleError, in_time, refused};
use super::decide::{Action, Facts, Why, decide};
use super::events::Said;
use super::finding::Finding;
use super::metrics::Told;
use super::objects::Readings;
use super::scale::Scale;
use super::values;
use super::{SCALE_TO_ZERO, Shared};

/// From a look at an HPA that may have to be put to sleep or woken to the next. A look is a
/// question to our own memory; with the read before it and the call after it, a message wakes
/// within `refresh` and a second.
const LOOK: Duration = Duration::from_millis(500);
/// Where nothing is urgent, and how old a scale may be that is decided on first: as often as the
/// HPA controller looks.
const GLANCE: Duration = Duration::from_secs(15);
/// The longest pause while kube-apiserver is in trouble, after pauses that double: it may have too
/// much to do, and a sleeper is woken soon after it is well again.
const TROUBLE_MAX: Duration = Duration::from_secs(4);
/// How long trouble may last before the HPA's owner is told: what is brief is kube-apiserver's own
/// affair, and what lasts may be of this workload alone, as a webhook that is down.
const TROUBLE_PATIENCE: Duration = Duration::from_secs(60);
/// How long the word on an HPA that is gone waits for somebody to hold the Lease: as long as a killed
/// holder takes to be replaced, and a look.
const SUCCESSION: Duration = Duration::from_secs(15);
/// How long the news of what we have just written may take to come back by the watch.
const ECHO: Duration = Duration::from_secs(1);

/// Looks after one HPA.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    hpa: watch::Receiver<Arc<Autoscaler>>,
    scale: Option<(Scale, Instant)>,
    /// What its Object metrics read.
    readings: Readings,
    /// Since when it is at 0 by us, as last seen on the HPA: who writes an HPA whole, as
    /// `kubectl replace` does, takes it away.
    asleep: Option<Timestamp>,
    /// What was on the HPA when it was pointed at another workload: as long as it is there still, it
    /// is not about the one of now.
    moved: Option<Memory>,
    /// Whether a look has failed: a message may have come and gone in a cooldown since.
    missed: bool,
    /// Since when no look has gone well for trouble of kube-apiserver, and how long it waited after
    /// the last.
    trouble: Option<(Instant, Duration)>,
}

/// What there is to find out about an HPA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Interest {
    /// Its values count all the time.
    Always,
    /// It is at 0, and we may have to act at once.
    Urgent,
    /// It is at 0: is it for good?
    AtZero,
    /// Nothing.
    None,
}

// === impl Keeper ===

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, hpa: watch::Receiver<Arc<Autoscaler>>) -> Self {
        let (scale, readings) = (None, Readings::default());
        Self { shared, hpa, scale, readings, asleep: None, moved: None, missed: false, trouble: None }
    }

    /// Until the HPA is gone.
    pub(super) async fn keep(mut self) {
        loop {
            let hpa = self.hpa.borrow_and_update().clone();
            let pause = if self.shared.lease.is_held() {
                self.look(&hpa).await
            } else {
                self.shared.findings.note(&hpa, None);
                // Whoever holds it now may scale.
                (self.scale, self.asleep, self.trouble) = (None, None, None);
                LOOK
            };
            tokio::select! {
                // First the news: what is known may be older.
                biased;
                changed = self.hpa.changed() => {
                    if changed.is_err() {
                        let gone = "was deleted, or has no metric of depthgauge any more,";
                        return self.farewell(&hpa, gone).await;
                    }
                    // Whatever changed it may have scaled, too.
                    self.scale = None;
                    let new = self.hpa.borrow().workload.clone();
                    if new != hpa.workload {
                        self.farewell(&hpa, &format!("was pointed at {}", new.reference())).await;
                        (self.scale, self.asleep, self.trouble) = (None, None, None);
                        self.moved = Some(hpa.memory);
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One look; how long to wait for the next.
    async fn look(&mut self, hpa: &Autoscaler) -> Duration {
        let interest = Interest::of(hpa);
        let pause = match interest {
            Interest::Always | Interest::Urgent => LOOK,
            Interest::AtZero | Interest::None => GLANCE,
        };
        let (finding, pause) = match interest {
            Interest::None => (Finding::of_label(hpa), pause),
            _ => match self.act(hpa).await {
                Ok(finding) => (finding, pause),
                // Until somebody has put it right.
                Err(ScaleError::Wrong(why) | ScaleError::Gone(why)) => (Finding::scale(hpa, &why), GLANCE),
                // Nothing is known, so nothing is news.
                Err(ScaleError::Conflict) => return LOOK,
                Err(ScaleError::Trouble(trouble)) => return self.in_trouble(hpa, &trouble).await,
            },
        };
        self.trouble = None;
        self.tell(hpa, finding.as_ref()).await;
        pause
    }

    /// Nothing is known of it, and what was is still so until that has lasted; how long to wait.
    async fn in_trouble(&mut self, hpa: &Autoscaler, trouble: &str) -> Duration {
        tracing::debug!(hpa = %hpa.title(), trouble, "cannot look");
        let (since, pause) = self.trouble.unwrap_or((Instant::now(), Duration::ZERO));
        let pause = (pause * 2).clamp(LOOK, TROUBLE_MAX);
        self.trouble = Some((since, pause));
        if since.elapsed() >= TROUBLE_PATIENCE
            && let Some(finding) = Finding::scale(hpa, trouble)
        {
            self.tell(hpa, Some(&finding)).await;
        }
        pause
    }

    async fn tell(&self, hpa: &Autoscaler, finding: Option<&Finding>) {
        if self.shared.findings.note(hpa, finding)
            && let Some(Finding { problem, text }) = finding
        {
            let said = Said { reason: problem.reason(), action: "Look", warning: true, note: text };
            self.shared.events.on(hpa, said).await;
        }
    }

    async fn act(&mut self, hpa: &Autoscaler) -> Result<Option<Finding>, ScaleError> {
        // Another replica may have taken it away long since, and remembered something of its own.
        if self.moved.is_some_and(|before| before.is_still_in(hpa.memory)) {
            self.remember(hpa, Memory::default()).await?;
            self.moved = None;
            return Ok(None);
        }
        self.moved = None;
        if self.forget_missed(hpa).await? {
            return Ok(None);
        }
        self.readings.refresh(&self.shared.objects, hpa).await;
        let told = values::ask(&self.shared.catalog, &self.readings, hpa).await;
        let known = match &self.scale {
            Some((scale, at)) if at.elapsed() < GLANCE => scale.clone(),
            // Its own word will do where nothing is to be scaled, and nobody may have the right to.
            _ if (hpa.state.rests || hpa.state.at_zero) && !hpa.is_ours() => Scale::at_zero(),
            _ => self.read(hpa).await?,
        };
        match (known.replicas, hpa.memory.asleep_since) {
            // Whether or not it still is to be looked after: the next look hands it back.
            (0, None) if self.asleep.is_some() => {
                return self.remember(hpa, Memory { asleep_since: self.asleep, ..hpa.memory }).await.map(|()| None);
            }
            (0, asleep) => self.asleep = asleep,
            _ => self.asleep = None,
        }
        let facts = self.facts(hpa, &known, &told);
        let decision = decide(&facts);
        let by_what_is_known = match decision.action {
            Action::Nothing => true,
            Action::Remember(memory) => memory.asleep_since.is_some() || hpa.memory.asleep_since.is_none(),
            Action::Sleep { .. } | Action::Wake { .. } => false,
        };
        let (scale, decision) = if by_what_is_known {
            (known, decision)
        } else {
            let scale = self.read(hpa).await?;
            let decision = decide(&self.facts(hpa, &scale, &told));
            (scale, decision)
        };
        match decision.action {
            Action::Nothing => {}
            Action::Remember(memory) => self.remember(hpa, memory).await?,
            Action::Sleep { memory, since } => self.put_to_sleep(hpa, &scale, memory, since).await?,
            Action::Wake { replicas, why } => self.wake(hpa, &scale, replicas, why, &told).await?,
        }
        Ok(decision.finding)
    }

    /// Ends a cooldown in which a look has failed; whether there was one.
    async fn forget_missed(&mut self, hpa: &Autoscaler) -> Result<bool, ScaleError> {
        let begun = self.missed && hpa.memory.zero_since.is_some();
        if begun {
            self.remember(hpa, Memory { zero_since: None, ..hpa.memory }).await?;
        }
        self.missed = false;
        Ok(begun)
    }

    fn facts<'f>(&self, hpa: &'f Autoscaler, scale: &Scale, told: &'f [Told]) -> Facts<'f> {
        let cooldown = hpa.cooldown.as_ref().copied().unwrap_or_default();
        let (unbroken, now) = (self.shared.lease.unbroken(cooldown), (self.shared.clock)());
        Facts { hpa, memory: hpa.memory, replicas: scale.replicas, told, unbroken, now }
    }

    async fn read(&mut self, hpa: &Autoscaler) -> Result<Scale, ScaleError> {
        self.scale = None;
        match self.shared.scales.read(hpa).await {
            Ok(scale) => {
                self.scale = Some((scale.clone(), Instant::now()));
                Ok(scale)
            }
            Err(error) => {
                self.missed = true;
                // If that cannot be written either, the next look tries again.
                let _ = self.forget_missed(hpa).await;
                Err(error)
            }
        }
    }

    /// The mark first: a workload at 0 without it would be somebody else's.
    async fn put_to_sleep(
        &mut self,
        hpa: &Autoscaler,
        scale: &Scale,
        memory: Memory,
        since: Timestamp,
    ) -> Result<(), ScaleError> {
        self.remember(hpa, memory).await?;
        self.write(hpa, scale, 0).await?;
        let (workload, from) = (hpa.workload.reference(), scale.replicas);
        let note = format!("scaled {workload} from {from} to 0: {} reads 0 since {since:.0}", hpa.titles());
        self.done(SCALE_TO_ZERO, hpa, Said { reason: "ScaledToZero", action: "Scale", warning: false, note: &note })
            .await;
        Ok(())
    }

    /// The workload first: a mark on one that is awake does no harm, and is taken away.
    async fn wake(
        &mut self,
        hpa: &Autoscaler,
        scale: &Scale,
        replicas: u32,
        why: Why,
        told: &[Told],
    ) -> Result<(), ScaleError> {
        self.write(hpa, scale, replicas).await?;
        self.asleep = None;
        let workload = hpa.workload.reference();
        let values: Vec<String> =
            hpa.metrics.iter().zip(told).map(|(metric, told)| format!("{} is {told}", metric.title())).collect();
        let cause = match why {
            Why::Work | Why::Fast | Why::Rescue => values.join(", "),
            Why::HandBack => "it is no longer to be scaled to 0 by depthgauge".to_owned(),
        };
        let note = format!("scaled {workload} from 0 to {replicas}: {cause}");
        self.done(why.as_str(), hpa, Said { reason: "ScaledFromZero", action: "Scale", warning: false, note: &note })
            .await;
        if hpa.memory != Memory::default() {
            self.remember(hpa, Memory::default()).await?;
        }
        Ok(())
    }

    async fn write(&mut self, hpa: &Autoscaler, scale: &Scale, replicas: u32) -> Result<(), ScaleError> {
        self.scale = None;
        // It may have been taken from us since this look began.
        if !self.shared.lease.is_held() {
            return Err(ScaleError::Conflict);
        }
        self.shared.scales.write(hpa, scale, replicas).await
    }

    async fn done(&self, what: &'static str, hpa: &Autoscaler, said: Said<'_>) {
        self.shared.actions.count(what);
        self.shared.events.on(hpa, said).await;
    }

    /// Writes on the HPA, if it still is what was decided on, and waits for the news of it.
    async fn remember(&mut self, hpa: &Autoscaler, memory: Memory) -> Result<(), ScaleError> {
        let written = self.annotate(hpa, memory).await;
        // A cooldown that was to end has ended, whether or not that is on the HPA.
        self.missed |= written.is_err() && hpa.memory.zero_since.is_some() && memory.zero_since.is_none();
        written?;
        // Late news cost a conflict at the next look, and nothing else.
        let _ = tokio::time::timeout(ECHO, self.hpa.changed()).await;
        self.hpa.mark_changed();
        Ok(())
    }

    async fn annotate(&self, hpa: &Autoscaler, memory: Memory) -> Result<(), ScaleError> {
        let patch =
            json!({"metadata": {"resourceVersion": hpa.resource_version, "annotations": hpa.annotations(memory)}});
        let api: Api<super::Object> = Api::namespaced(self.shared.client.clone(), hpa.namespace.as_str());
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let of = ("autoscaling", "horizontalpodautoscalers");
        match in_time(api.patch_metadata(&hpa.name, &params, &patch)).await? {
            Ok(_) => Ok(()),
            // Or the HPA is gone: the next thing that is heard is that.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Err(ScaleError::Conflict),
            Err(error) => Err(match refused(&error, of, hpa.namespace.as_str(), &["patch"]) {
                ScaleError::Wrong(why) => ScaleError::Wrong(format!("it cannot write on this HPA: {why}")),
                other => other,
            }),
        }
    }

    /// Its HPA is gone, or scales another workload now. What it leaves at 0 stays there: an app that
    /// is being removed must not be started once more. But somebody should know.
    async fn farewell(&mut self, hpa: &Autoscaler, what: &str) {
        self.shared.findings.note(hpa, None);
        if hpa.memory.asleep_since.is_none() {
            return;
        }
        // Whoever holds it says it, or will hold it soon.
        let end = Instant::now() + SUCCESSION;
        while !self.shared.lease.is_held() {
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        // Gone as well, or unreachable: nobody is left to be told.
        let Ok(scale) = self.read(hpa).await else { return };
        if scale.replicas > 0 {
            return;
        }
        let (name, wake) = (&hpa.name, hpa.wake_command());
        let note = format!("HPA {name} {what} while depthgauge had this scaled to 0, and nobody will wake it: {wake}");
        let said = Said { reason: "LeftAtZero", action: "Look", warning: true, note: &note };
        self.shared.events.on_workload(hpa, &scale.uid, said).await;
    }
}

// === impl Interest ===

impl Interest {
    fn of(hpa: &Autoscaler) -> Self {
        let at_zero = hpa.state.rests || hpa.state.at_zero || hpa.memory != Memory::default();
        match (hpa.is_kept(), at_zero) {
            (true, _) => Self::Always,
            (false, true) if hpa.labelled => Self::Urgent,
            (false, true) => Self::AtZero,
            (false, false) => Self::None,
        }
    }
}

#[cfg(test)]
mod tests;
