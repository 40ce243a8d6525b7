//! One of several replicas acts: the holder of a Lease.
//!
//! As in client-go, no clocks of different replicas are compared to take it. They are compared to find a
//! break, see [`super::cooldown`]. A replica takes the Lease when it has seen it unchanged for as long as
//! a holder may be silent. A holder stops acting some time before. Every change has the version that was
//! read as its precondition. It uses server-side apply, because only for apply a Role can name the object
//! that may be created.
//!
//! The Lease also records since when it was held without a break. State that was written on an HPA
//! before a break may have missed a message. A retired Lease may not be held any more: replicas that
//! run at that moment obey until they restart.

use std::sync::OnceLock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease as Object;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::calls::{CALL_TIMEOUT, retry_after};
use crate::metric::Clock;
use crate::rbac::{Grant, LATE};

/// The Lease's own state.
const HELD_SINCE: &str = "depthgauge.dev/held-since";
/// That it is retired, and since when.
const RETIRED: &str = "depthgauge.dev/retired";
/// Others may renew it at the same moment: then it is read again, at most this often.
const TRIES: usize = 5;
const FIELD_MANAGER: &str = "depthgauge";
/// A holder that is silent for this long has lost it. With the read after it, a killed holder is
/// replaced within 13 s.
const DURATION: Duration = Duration::from_secs(10);
/// A holder that could not renew for this long stops acting: what it has begun until then is over
/// before another replica acts.
const RENEW_DEADLINE: Duration = Duration::from_secs(7);
/// From one read to the next.
const INTERVAL: Duration = Duration::from_secs(2);
/// A silence up to this long is no break, except for a cooldown that is shorter: a killed holder
/// has been replaced, or a restart is over.
const BREAK: SignedDuration = SignedDuration::from_secs(30);
/// How long after the retirement its holder has ended what it did. No replica can have renewed since,
/// and what began before the deadline of the last renewal is one call.
const OBEYED: Duration = RENEW_DEADLINE.saturating_add(CALL_TIMEOUT);
/// What a replica that obeys a retirement reports.
const RETIREMENT: &str = "retired by `depthgauge unregister`, and scales nothing any more: restart it to scale again";
const VERBS: &[&str] = &["get", "create", "patch"];

/// A Lease, and whether this process holds it.
pub struct Lease {
    api: Api<Object>,
    namespace: String,
    name: String,
    /// This process among its holders: unique, even after a restart.
    identity: String,
    clock: Clock,
    held: Mutex<Option<Held>>,
    /// The holder at the last read.
    holder: Mutex<Option<String>>,
    /// The retirement from before the start of this process, if any, at the first read: only later
    /// ones are obeyed.
    former: OnceLock<Option<String>>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    until: Instant,
    unbroken: Timestamp,
    /// Since when this process holds it.
    since: Timestamp,
    /// For how long it had no holder before that.
    silence: SignedDuration,
}

/// An annotation of the Lease.
struct Annotation {
    name: &'static str,
    value: String,
}

/// The version of another replica's Lease, and since when it has it.
struct Seen {
    version: Option<String>,
    at: Instant,
}

// === impl Lease ===

impl Lease {
    /// Will hold `namespace/name`, with `host` and a random number as its identity.
    pub fn new(client: kube::Client, namespace: String, name: String, host: &str, clock: Clock) -> Self {
        let identity = format!("{host}_{:08x}", fastrand::u32(..));
        let api = Api::namespaced(client, &namespace);
        Self {
            api,
            namespace,
            name,
            identity,
            clock,
            held: Mutex::default(),
            holder: Mutex::default(),
            former: OnceLock::new(),
        }
    }

    /// Whether this process may act.
    pub fn is_held(&self) -> bool {
        self.held.lock().is_some_and(|held| Instant::now() < held.until)
    }

    /// This process among its holders.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The holder at the last read, a host's name and a number; `None` if there was none.
    pub fn holder(&self) -> Option<String> {
        self.holder.lock().clone()
    }

    /// Since when the Lease has been held without a break. A silence that is longer than `cooldown`
    /// is a break, too.
    pub fn unbroken(&self, cooldown: Duration) -> Option<Timestamp> {
        let cooldown = SignedDuration::try_from(cooldown).unwrap_or(SignedDuration::MAX);
        self.held.lock().map(|held| if held.silence > cooldown { held.since } else { held.unbroken })
    }

    /// Takes it, or renews it, for as long as the process runs; reports what prevents that.
    pub async fn keep(&self, mut report: impl FnMut(Option<String>)) {
        let mut seen = None;
        loop {
            let looked = tokio::time::timeout(CALL_TIMEOUT, self.step(&mut seen)).await;
            let wanted = looked.as_ref().ok().and_then(|looked| retry_after(looked.as_ref().err()?));
            report(match looked {
                Ok(Ok(hindered)) => hindered.map(str::to_owned),
                // Another replica was faster.
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => None,
                Ok(Err(error)) => Some(format!("cannot hold Lease {}: {}", self.title(), self.grant().trouble(&error))),
                Err(_) => Some(format!("cannot hold Lease {}: {LATE}", self.title())),
            });
            tokio::time::sleep(INTERVAL.max(wanted.unwrap_or_default())).await;
        }
    }

    /// Ends the Lease for all replicas that run now. Returns how long it takes until what its
    /// holder has begun is over. `None` if there is no such Lease.
    ///
    /// # Errors
    ///
    /// If that cannot be written, such as for want of a right.
    pub(super) async fn retire(&self) -> kube::Result<Option<Duration>> {
        let mut tries = 0;
        loop {
            let Some(found) = self.api.get_opt(&self.name).await? else { return Ok(None) };
            let now = (self.clock)();
            let before = found.annotations().get(RETIRED).and_then(|at| at.parse::<Timestamp>().ok());
            let rest = match (holder(&found), before) {
                (Some(_), _) => OBEYED,
                // A second try: what is left of the first one's wait.
                (None, Some(at)) => OBEYED.saturating_sub(now.duration_since(at).try_into().unwrap_or_default()),
                (None, None) => Duration::ZERO,
            };
            let retired = Annotation { name: RETIRED, value: format!("{now:.3}") };
            match self.apply(Some(&found), None, None, Some(retired)).await {
                Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => tries += 1,
                written => return written.map(|()| Some(rest)),
            }
        }
    }

    /// Releases it, so that the next holder does not have to wait. An error costs that wait and
    /// nothing else.
    pub async fn release(&self) {
        if self.held.lock().take().is_none() {
            return;
        }
        let released = async {
            let Some(found) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            if holder(&found) == Some(&self.identity) {
                let renewed = found.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
                self.apply(Some(&found), None, renewed, held_since(&found).map(Annotation::held_since)).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(CALL_TIMEOUT, released).await {
            tracing::debug!(%error, "cannot release the Lease");
        }
    }

    /// Reads the Lease once, and takes or renews it. Returns what prevents that, except for errors.
    async fn step(&self, seen: &mut Option<Seen>) -> kube::Result<Option<&'static str>> {
        let (began, now) = (Instant::now(), (self.clock)());
        let found = self.api.get_opt(&self.name).await?;
        let retired = found.as_ref().and_then(|found| found.annotations().get(RETIRED));
        let former = self.former.get_or_init(|| retired.cloned());
        if retired.is_some() && retired != former.as_ref() {
            *self.held.lock() = None;
            *self.holder.lock() = None;
            return Ok(Some(RETIREMENT));
        }
        let Some(found) = found else {
            // Two may make it at the same moment: neither holds it by that.
            return self.apply(None, None, None, None).await.map(|()| None);
        };
        let renewed = renewed(&found);
        *self.holder.lock() = holder(&found).cloned();
        let ours = match holder(&found) {
            None => true,
            Some(holder) if *holder == self.identity => true,
            Some(_) => {
                *self.held.lock() = None;
                is_silent(seen, found.resource_version(), began)
            }
        };
        if !ours {
            return Ok(None);
        }
        let silence = renewed.map_or(SignedDuration::MAX, |renewed| now.duration_since(renewed));
        // If the time of day was set back, it is not since a time in the future.
        let unbroken = held_since(&found).filter(|_| silence < BREAK).map_or(now, |since| since.min(now));
        let since = Annotation::held_since(unbroken);
        self.apply(Some(&found), Some(&self.identity), Some(now), Some(since)).await?;
        // From before the call: it may have been taken as late as then.
        let before = *self.held.lock();
        let kept = before.filter(|before| began < before.until);
        let (since, silence) = kept.map_or((now, silence), |kept| (kept.since, kept.silence));
        *self.held.lock() = Some(Held { until: began + RENEW_DEADLINE, unbroken, since, silence });
        if before.is_none() {
            tracing::info!(
                lease = self.title(),
                identity = self.identity,
                "acquired the Lease: this replica scales workloads to zero and from zero"
            );
        }
        *seen = None;
        Ok(None)
    }

    async fn apply(
        &self,
        found: Option<&Object>,
        to: Option<&str>,
        renewed: Option<Timestamp>,
        annotation: Option<Annotation>,
    ) -> kube::Result<()> {
        let mut metadata = json!({"name": self.name, "labels": {"app.kubernetes.io/name": "depthgauge"}});
        let mut spec = json!({"leaseDurationSeconds": DURATION.as_secs()});
        if let Some(found) = found {
            metadata["resourceVersion"] = json!(found.resource_version());
            let before = found.spec.as_ref();
            let changes = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
            let taken = to.is_some() && holder(found).map(String::as_str) != to;
            spec["leaseTransitions"] = json!(changes.saturating_add(i32::from(taken)));
        }
        if let Some(to) = to {
            spec["holderIdentity"] = json!(to);
        }
        if let Some(renewed) = renewed {
            spec["renewTime"] = json!(format!("{renewed:.6}"));
        }
        // An annotation that is left out is removed: a retired Lease has no history, and a held one
        // is not retired.
        if let Some(Annotation { name, value }) = annotation {
            metadata["annotations"] = json!({name: value});
        }
        let lease =
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec});
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.api.patch(&self.name, &params, &Patch::Apply(&lease)).await.map(drop)
    }

    fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn grant(&self) -> Grant<'_> {
        rights(&self.namespace, &self.name)
    }
}

// === impl Annotation ===

impl Annotation {
    fn held_since(since: Timestamp) -> Self {
        Self { name: HELD_SINCE, value: format!("{since:.3}") }
    }
}

/// What it takes to hold a Lease.
pub(super) fn rights<'l>(namespace: &'l str, name: &'l str) -> Grant<'l> {
    Grant { group: "coordination.k8s.io", resource: "leases", name, namespace: Some(namespace), verbs: VERBS }
}

/// Whether it has been the same for as long as a holder may be silent.
fn is_silent(seen: &mut Option<Seen>, version: Option<String>, now: Instant) -> bool {
    match seen {
        Some(seen) if seen.version == version => now - seen.at >= DURATION,
        _ => {
            *seen = Some(Seen { version, at: now });
            false
        }
    }
}

fn holder(lease: &Object) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

fn renewed(lease: &Object) -> Option<Timestamp> {
    Some(lease.spec.as_ref()?.renew_time.as_ref()?.0)
}

/// Whether a replica holds it at `now`, by a clock that may be ahead of the holder's by `skew`.
pub fn has_holder(lease: &Object, now: Timestamp, skew: SignedDuration) -> bool {
    let lasts = SignedDuration::try_from(DURATION).unwrap_or(SignedDuration::MAX).saturating_add(skew);
    let is_current = renewed(lease).is_some_and(|renewed| now.duration_since(renewed) <= lasts);
    is_current && holder(lease).is_some()
}

fn held_since(lease: &Object) -> Option<Timestamp> {
    lease.annotations().get(HELD_SINCE)?.parse().ok()
}
