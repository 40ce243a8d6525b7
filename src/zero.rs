//! Scales to zero and back where the HPA cannot, or is slow, and finds workloads that are stuck at zero.
//!
//! Off unless `serve --scale-to-zero`: the one part of the process that changes workloads. All replicas
//! follow the HPAs, and one acts: the holder of the [`lease`].
//!
//! Its [`scheduler`] has one queue of HPAs by the time at which they are due, and a [`reconciler`] for
//! each of them. A reconciler gets the values of its metrics from the catalog ([`values`]) and from other
//! servers ([`objects`]). Then it [`decide`]s, changes the [`scale`] of its workload and writes
//! [`events`].
//!
//! All state is on the HPA, as annotations ([`autoscaler`]). So [`restore`] needs nothing else when depthgauge is
//! removed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use decide::ScaleReason;

use crate::health::{Reporter, State};
use crate::lookup::Catalog;
use crate::metric::Clock;
use crate::rbac::Grant;

pub mod autoscaler;
mod breaker;
mod calls;
mod cooldown;
pub mod decide;
mod events;
pub mod finding;
mod findings;
mod kinds;
pub mod lease;
pub mod metrics;
mod objects;
mod queries;
mod reconciler;
mod restore;
mod scale;
mod scheduler;
pub mod size;
mod values;
pub mod workload;

pub use events::EventReason;
pub use findings::{Findings, Found};
pub use lease::Lease;
pub use objects::{RIGHTS as OBJECT_RIGHTS, VERSIONS as OBJECT_VERSIONS};
pub use queries::{HpaQuery, Queries};
pub use restore::{RestoreError, Restored, restore, retire};

/// Whose objects are followed.
type Object = HorizontalPodAutoscaler;

/// The name of the Lease by which one replica acts; component scale-to-zero grants it by this name.
pub const LEASE: &str = "depthgauge-scale-to-zero";

/// How often the check gets the current state: a read from memory.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// All rights that scale to zero needs, with the Lease in this namespace, as component
/// scale-to-zero grants them, and [`OBJECT_RIGHTS`] beside it. Users who scale other kinds grant
/// those rights themselves.
pub fn rights(namespace: &str) -> [Grant<'_>; 5] {
    let all = |group, resource, verbs| Grant { group, resource, name: "", namespace: None, verbs };
    [
        all("autoscaling", "horizontalpodautoscalers", &["list", "watch", "patch"]),
        all("apps", "deployments/scale", scale::VERBS),
        all("apps", "statefulsets/scale", scale::VERBS),
        all("events.k8s.io", "events", &["create"]),
        lease::rights(namespace, LEASE),
    ]
}

/// Scales workloads to and from zero.
pub struct Zero {
    shared: Arc<Shared>,
    reporter: Reporter,
}

/// What all reconcilers have in common.
struct Shared {
    client: kube::Client,
    calls: calls::Calls,
    catalog: Arc<Catalog>,
    lease: Arc<Lease>,
    scales: scale::Scales,
    objects: Arc<objects::Objects>,
    events: events::Events,
    findings: Findings,
    queries: Queries,
    actions: Actions,
    clock: Clock,
}

/// The action on a workload that no [`ScaleReason`] stands for.
const SCALE_TO_ZERO: &str = "scale_to_zero";

/// What was done so far.
#[derive(Clone, Debug)]
struct Actions(Family<Action, Counter>);

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Action {
    action: &'static str,
}

/// What hinders, of each part that can be hindered.
#[derive(Default)]
struct Troubles(Mutex<[Option<String>; 2]>);

// === impl Shared ===

impl Shared {
    fn new(client: kube::Client, catalog: Arc<Catalog>, lease: Arc<Lease>, instance: String, clock: Clock) -> Self {
        let calls = calls::Calls::of_hpas();
        Self {
            scales: scale::Scales::new(client.clone(), calls.clone()),
            objects: Arc::new(objects::Objects::new(client.clone(), clock)),
            events: events::Events::new(client.clone(), calls.clone(), instance, clock),
            client,
            calls,
            catalog,
            lease,
            findings: Findings::default(),
            queries: Queries::default(),
            actions: Actions::default(),
            clock,
        }
    }
}

// === impl Zero ===

impl Zero {
    /// Acts on the values of the catalog while it holds the Lease. `instance` is the reporter of
    /// its Events.
    pub fn new(
        client: kube::Client,
        catalog: Arc<Catalog>,
        lease: Arc<Lease>,
        instance: String,
        clock: Clock,
        reporter: Reporter,
    ) -> Self {
        Self { shared: Arc::new(Shared::new(client, catalog, lease, instance, clock)), reporter }
    }

    /// What is wrong with which HPA.
    pub fn findings(&self) -> Findings {
        self.shared.findings.clone()
    }

    /// What HPAs query, for the status page.
    pub fn queries(&self) -> Queries {
        self.shared.queries.clone()
    }

    /// The Lease by which it acts. Release it when it does not run any more.
    pub fn lease(&self) -> Arc<Lease> {
        self.shared.lease.clone()
    }

    /// Registers the metrics of its actions and findings.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.shared.findings.clone()));
        let help = "Workloads scaled to zero or from zero";
        registry.register("scale_to_zero_actions", help, self.shared.actions.0.clone());
    }

    /// For as long as the process runs.
    pub async fn run(self) {
        let Self { shared, reporter } = self;
        let troubles = Troubles::default();
        let state = async {
            loop {
                tokio::time::sleep(REPORT_INTERVAL).await;
                reporter.report(match troubles.first().or_else(|| shared.findings.sentence()) {
                    Some(sentence) => State::Degraded(sentence),
                    None => State::Ok,
                });
            }
        };
        tokio::join!(
            shared.lease.keep(|trouble| troubles.set(0, trouble)),
            scheduler::run(shared.clone(), |trouble| troubles.set(1, trouble)),
            state,
        );
    }
}

// === impl Actions ===

impl Default for Actions {
    /// All at 0: a rate needs to have seen where it began.
    fn default() -> Self {
        let actions = Self(Family::default());
        for action in [SCALE_TO_ZERO].into_iter().chain(ScaleReason::ALL.map(ScaleReason::as_str)) {
            drop(actions.0.get_or_create(&Action { action }));
        }
        actions
    }
}

impl Actions {
    fn count(&self, action: &'static str) {
        self.0.get_or_create(&Action { action }).inc();
    }
}

// === impl Troubles ===

impl Troubles {
    fn set(&self, part: usize, trouble: Option<String>) {
        let mut troubles = self.0.lock();
        if let Some(slot) = troubles.get_mut(part) {
            *slot = trouble;
        }
    }

    fn first(&self) -> Option<String> {
        self.0.lock().iter().flatten().next().cloned()
    }
}
