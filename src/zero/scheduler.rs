//! Follows all HPAs, and reconciles those that need it when they are due, while this replica acts.
//!
//! One task and one queue of times serve all HPAs. Only HPAs that carry the label, have annotations of
//! depthgauge or are at zero are kept: a cluster has many others, and their objects are large. Changes
//! to the others arrive by the watch.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{FutureExt as _, StreamExt as _};
use kube::api::Api;
use kube::runtime::watcher;
use tokio::time::{Instant, sleep_until};

use super::autoscaler::{Autoscaler, Key};
use super::calls::{answered, retry_after};
use super::reconciler::{Interest, Reconciler, URGENT};
use super::{Object, Shared};
use crate::metric::{MetricSet, Namespace};

/// From a watch that failed to the next, within which replicas spread. Doubles with each that fails.
const WATCH_AGAIN: Duration = Duration::from_secs(3);
/// The longest time from a watch that failed to the next: each begins with a list of all HPAs. Also how
/// long a watch must have lasted for its end to be none of a row of failures.
const WATCH_AGAIN_MAX: Duration = Duration::from_secs(30);
/// The longest time between two comparisons of the Lease and of the config's metrics with what they were.
const TICK: Duration = Duration::from_millis(500);
/// How long the report of an orphan waits for this replica to act. It is as long as a holder of the Lease that was
/// killed takes to be replaced.
const SUCCESSION: Duration = Duration::from_secs(15);

type Events = BoxStream<'static, Result<watcher::Event<Object>, watcher::Error>>;
type Work = BoxFuture<'static, Option<Ended>>;

struct Scheduler {
    shared: Arc<Shared>,
    /// The metrics that HPAs were last compared with.
    metrics: Arc<MetricSet>,
    hpas: HashMap<Key, Entry>,
    /// The HPAs that wait, by the time at which they are due.
    due: BTreeSet<(Instant, Key)>,
    /// HPAs that were deleted, or scale another workload now, until they are reported or it is too
    /// late.
    orphans: Vec<Orphan>,
    work: FuturesUnordered<Work>,
    acts: bool,
    /// Those of a list that is being read.
    listed: Option<HashSet<Key>>,
}

struct Entry {
    hpa: Arc<Autoscaler>,
    stage: Stage,
}

/// Where an HPA is between two reconciles.
enum Stage {
    /// It is due at this time; at none while this replica does not act.
    Waiting(Option<Instant>, Box<Reconciler>),
    /// It is being reconciled.
    Running,
}

struct Orphan {
    hpa: Arc<Autoscaler>,
    what: String,
    until: Instant,
}

/// A reconcile that has ended.
struct Ended {
    key: Key,
    /// As it began.
    before: Arc<Autoscaler>,
    /// With what was written.
    after: Autoscaler,
    reconciler: Box<Reconciler>,
    pause: Duration,
}

/// How long to wait between watches that fail.
struct WatchPauses {
    next: Duration,
    /// When all HPAs were listed, if the watch is after that.
    listed: Option<Instant>,
}

/// For as long as the process runs; reports what prevents it.
pub(super) async fn run(shared: Arc<Shared>, mut report: impl FnMut(Option<String>)) {
    let mut scheduler = Scheduler::new(shared);
    let mut events = scheduler.events();
    let (mut watch_from, mut pauses) = (Instant::now(), WatchPauses::default());
    loop {
        if scheduler.tick() {
            events = scheduler.events();
        }
        let next = scheduler.start_due();
        tokio::select! {
            // Events of the watch first: the state here may be older.
            biased;
            event = events.next(), if watch_from <= Instant::now() => match event {
                Some(Ok(event)) => {
                    if matches!(event, watcher::Event::InitDone) {
                        report(None);
                        pauses.listed();
                    }
                    scheduler.take(event);
                }
                failed => {
                    let error = failed.and_then(Result::err);
                    let wanted = error.as_ref().and_then(of_request).and_then(retry_after);
                    report(Some(format!("cannot watch the HPAs: {}", why(error.as_ref()))));
                    watch_from = Instant::now() + pauses.failed().max(wanted.unwrap_or_default());
                    events = scheduler.events();
                }
            },
            Some(ended) = scheduler.work.next() => {
                if let Some(ended) = ended {
                    scheduler.end(ended);
                }
            }
            () = sleep_until(next) => {}
        }
    }
}

// === impl WatchPauses ===

impl Default for WatchPauses {
    fn default() -> Self {
        Self { next: WATCH_AGAIN, listed: None }
    }
}

impl WatchPauses {
    fn listed(&mut self) {
        self.listed = Some(Instant::now());
    }

    /// The watch has failed or ended. Returns how long to wait until the next.
    fn failed(&mut self) -> Duration {
        if self.listed.take().is_some_and(|at| at.elapsed() >= WATCH_AGAIN_MAX) {
            self.next = WATCH_AGAIN;
        }
        let pause = self.next;
        self.next = (pause * 2).min(WATCH_AGAIN_MAX);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

// === impl Scheduler ===

impl Scheduler {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            metrics: shared.catalog.metrics(),
            shared,
            hpas: HashMap::new(),
            due: BTreeSet::new(),
            orphans: Vec::new(),
            work: FuturesUnordered::new(),
            acts: false,
            listed: None,
        }
    }

    fn events(&self) -> Events {
        let api: Api<Object> = Api::all(self.shared.client.clone());
        watcher(api, watcher::Config::default()).boxed()
    }

    /// Follows the Lease and the config. Returns whether the HPAs must be listed again, because the config
    /// has other metrics.
    fn tick(&mut self) -> bool {
        let now = Instant::now();
        if self.acts != self.shared.lease.is_held() {
            self.acts = !self.acts;
            self.due.clear();
            for (key, entry) in &mut self.hpas {
                let Stage::Waiting(due, reconciler) = &mut entry.stage else { continue };
                *due = self.acts.then(|| now + phase(&entry.hpa.uid));
                match due {
                    Some(due) => _ = self.due.insert((*due, key.clone())),
                    None => reconciler.reset(),
                }
            }
            if !self.acts {
                self.shared.findings.clear();
            }
        }
        self.orphans.retain(|orphan| orphan.until > now);
        if self.acts {
            for Orphan { hpa, what, .. } in self.orphans.drain(..) {
                self.work.push(Reconciler::report_orphan(self.shared.clone(), hpa, what).map(|()| None).boxed());
            }
        }
        let metrics = self.shared.catalog.metrics();
        let same = Arc::ptr_eq(&metrics, &self.metrics) || metrics == self.metrics;
        self.metrics = metrics;
        !same
    }

    /// Begins the reconciles that are due. Returns when to continue.
    fn start_due(&mut self) -> Instant {
        let now = Instant::now();
        while let Some((at, _)) = self.due.first() {
            if *at > now {
                return (*at).min(now + TICK);
            }
            let Some((_, key)) = self.due.pop_first() else { break };
            let Some(entry) = self.hpas.get_mut(&key) else { continue };
            if let Stage::Waiting(_, reconciler) = std::mem::replace(&mut entry.stage, Stage::Running) {
                self.work.push(reconcile(key, entry.hpa.clone(), reconciler).map(Some).boxed());
            }
        }
        now + TICK
    }

    fn end(&mut self, ended: Ended) {
        let Ended { key, before, after, mut reconciler, pause } = ended;
        // It may have been deleted meanwhile, and made again.
        let Some(entry) = self.hpas.get_mut(&key).filter(|entry| entry.hpa.uid == before.uid) else { return };
        let (now, after) = (Instant::now(), Arc::new(after));
        if Arc::ptr_eq(&entry.hpa, &before) {
            entry.hpa = after.clone();
        }
        // What this reconcile wrote may have come back by the watch already.
        let due = if entry.hpa.resource_version == after.resource_version {
            now + pause
        } else {
            reconciler.changed();
            if entry.hpa.workload != before.workload {
                reconciler.moved(after.zero_state);
            }
            now
        };
        if !self.acts {
            reconciler.reset();
        }
        self.wait(&key, due, reconciler);
    }

    /// Has an HPA wait until it is due.
    fn wait(&mut self, key: &Key, due: Instant, reconciler: Box<Reconciler>) {
        let Some(entry) = self.hpas.get_mut(key) else { return };
        if Interest::of(&entry.hpa) == Interest::None {
            self.shared.findings.note(&entry.hpa, None);
            self.hpas.remove(key);
            return;
        }
        let due = self.acts.then_some(due);
        entry.stage = Stage::Waiting(due, reconciler);
        if let Some(due) = due {
            self.due.insert((due, key.clone()));
        }
    }

    fn take(&mut self, event: watcher::Event<Object>) {
        match event {
            watcher::Event::Init => {
                self.listed = Some(HashSet::new());
                self.shared.queries.begin_list();
            }
            watcher::Event::InitApply(object) => {
                if let (Some(key), Some(listed)) = (self.apply(&object), &mut self.listed) {
                    listed.insert(key);
                }
            }
            watcher::Event::InitDone => {
                self.shared.queries.end_list();
                if let Some(listed) = self.listed.take() {
                    let gone: Vec<Key> = self.hpas.keys().filter(|key| !listed.contains(key)).cloned().collect();
                    gone.iter().for_each(|key| self.remove(key));
                }
            }
            watcher::Event::Apply(object) => _ = self.apply(&object),
            watcher::Event::Delete(object) => {
                if let Some(key) = key(&object) {
                    self.shared.queries.remove(&key);
                    self.remove(&key);
                }
            }
        }
    }

    /// Applies an HPA as it is now; returns its key, if it is kept.
    fn apply(&mut self, object: &Object) -> Option<Key> {
        let key = key(object)?;
        let hpa = Autoscaler::of(object, &self.metrics);
        self.shared.queries.apply(&key, object, hpa.as_ref());
        let Some(hpa) = hpa.map(Arc::new) else {
            self.remove(&key);
            return None;
        };
        if self.hpas.get(&key).is_some_and(|entry| entry.hpa.uid != hpa.uid) {
            self.remove(&key);
        }
        let now = Instant::now();
        let Some(entry) = self.hpas.get_mut(&key) else {
            if Interest::of(&hpa) == Interest::None {
                return None;
            }
            let reconciler = Box::new(Reconciler::new(self.shared.clone()));
            let due = now + if self.listed.is_some() { phase(&hpa.uid) } else { Duration::ZERO };
            self.hpas.insert(key.clone(), Entry { hpa, stage: Stage::Running });
            self.wait(&key, due, reconciler);
            return Some(key);
        };
        let before = std::mem::replace(&mut entry.hpa, hpa.clone());
        let moved = before.workload != hpa.workload;
        if moved && before.zero_state.scaled_to_zero_since.is_some() {
            let what = format!("was pointed at {}", hpa.workload.reference());
            self.orphans.push(Orphan { hpa: before.clone(), what, until: now + SUCCESSION });
        }
        // One that is running sees the change when it ends.
        if let Stage::Waiting(due, mut reconciler) = std::mem::replace(&mut entry.stage, Stage::Running) {
            if let Some(due) = due {
                self.due.remove(&(due, key.clone()));
            }
            // What this replica wrote comes back by the watch, too.
            let due = due.filter(|_| before.resource_version == hpa.resource_version).unwrap_or(now);
            if before.resource_version != hpa.resource_version {
                reconciler.changed();
            }
            if moved {
                reconciler.moved(before.zero_state);
            }
            self.wait(&key, due, reconciler);
        }
        self.hpas.contains_key(&key).then_some(key)
    }

    fn remove(&mut self, key: &Key) {
        let Some(Entry { hpa, stage }) = self.hpas.remove(key) else { return };
        if let Stage::Waiting(Some(due), _) = stage {
            self.due.remove(&(due, key.clone()));
        }
        self.shared.findings.note(&hpa, None);
        if hpa.zero_state.scaled_to_zero_since.is_some() {
            let what = "was deleted, or has no metric of depthgauge any more".to_owned();
            self.orphans.push(Orphan { hpa, what, until: Instant::now() + SUCCESSION });
        }
    }
}

async fn reconcile(key: Key, before: Arc<Autoscaler>, mut reconciler: Box<Reconciler>) -> Ended {
    let mut after = Autoscaler::clone(&before);
    let pause = reconciler.reconcile(&mut after).await;
    Ended { key, before, after, reconciler, pause }
}

/// A part of [`URGENT`] that depends on the UID only. HPAs that become due together are spread over it.
fn phase(uid: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    URGENT * u32::from(hasher.finish().to_le_bytes()[0]) / 256
}

fn key(object: &Object) -> Option<Key> {
    let meta = &object.metadata;
    Some((Namespace::new(meta.namespace.as_deref()?), meta.name.as_deref()?.into()))
}

/// The error of the request that failed, if one did.
fn of_request(error: &watcher::Error) -> Option<&kube::Error> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Some(error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => None,
    }
}

/// The same for the same failure; `None` is the end of the watch.
fn why(error: Option<&watcher::Error>) -> String {
    match (error.and_then(of_request), error) {
        (Some(kube::Error::Api(status)), _) if status.code == 403 => {
            format!("{}; component scale-to-zero of depthgauge's manifests grants it", status.message)
        }
        (Some(error), _) => answered(error),
        (None, Some(watcher::Error::WatchError(status))) => format!("kube-apiserver answers {}", status.code),
        (None, Some(_)) => "kube-apiserver answers without a resourceVersion".to_owned(),
        (None, None) => "the watch ended".to_owned(),
    }
}

#[cfg(test)]
mod tests;
