//! What is behind the two ports, with its authorization and its metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::scaling::ZeroStatus;
use super::sources::Origin;
use super::waiting;
use crate::admin::status::{self, Facts, Finding, Status};
use crate::api::Metrics;
use crate::apiservice::Availability;
use crate::auth::{Audit, Auth, Gate, SubjectAccessReviews, TokenReviews, Trust};
use crate::certs::{Expiry, Serving};
use crate::cli::{clock, node_name, pod_name};
use crate::config::Warnings;
use crate::health::{Health, Reasons};
use crate::lookup::{Catalog, Gauges, SourceCollector};
use crate::{admin, api, auth, telemetry};

/// A decision of kube-apiserver is used for at most this long, see [`SubjectAccessReviews`].
const DECISIONS_LAST: Duration = Duration::from_secs(60);

/// All that the ports are built from.
pub(super) struct Routers<'p> {
    pub(super) client: &'p kube::Client,
    pub(super) trust: &'p Arc<Trust>,
    pub(super) health: &'p Health,
    /// For the certificate that is served.
    pub(super) serving: &'p watch::Receiver<Serving>,
    pub(super) availability: &'p Availability,
    /// Runs reviews that continue after the client has its answer.
    pub(super) reviews: &'p TaskTracker,
    /// The address of the documentation.
    pub(super) docs: Option<String>,
}

// === impl Routers ===

impl Routers<'_> {
    /// Returns what the two ports serve. The secure port has the API, the state of the process behind authorization,
    /// and the probes. `config` is where the sources come from. `scaling` shows scaling to zero. `admin_is_local` means
    /// that only this machine reaches the admin port.
    pub(super) fn open(
        self,
        catalog: Arc<Catalog>,
        mut registry: Registry,
        config: Origin,
        scaling: Option<ZeroStatus>,
        admin_is_local: bool,
    ) -> (Gate<Metrics>, Router) {
        let status = Arc::new(self.status(catalog.clone(), config, scaling));
        let Self { client, trust, health, serving, availability, reviews, .. } = self;
        registry.register_collector(Box::new(Gauges::of(catalog.clone())));
        let ours = telemetry::ours(&mut registry);
        ours.register_collector(Box::new(health.clone()));
        ours.register_collector(Box::new(availability.clone()));
        ours.register_collector(Box::new(Expiry::of(serving.clone())));
        ours.register_collector(Box::new(SourceCollector::of(catalog.clone())));
        catalog.register(ours);
        let [judges_tokens, access] = ["tokens", "authorization"].map(|name| health.reporter(name, waiting()));
        let access = access.lasting(DECISIONS_LAST);
        reviews.spawn(auth::rehearse(client.clone(), judges_tokens.clone(), access.clone()));
        let tokens = TokenReviews::new(client.clone(), reviews.clone(), judges_tokens);
        let authorizer = SubjectAccessReviews::new(client.clone(), reviews.clone(), access);
        let audit = Audit::new(ours);
        let values = Metrics::new(catalog.clone(), ours);
        let auth = Arc::new(Auth::new(trust.clone(), Some(Box::new(tokens)), Box::new(authorizer), audit));
        let metrics = admin::metrics(Arc::new(registry));
        let guarded = metrics.clone().merge(status::routes(status.clone()));
        let guarded = guarded.layer(from_fn_with_state(auth.clone(), auth::path_layer));
        let routes = api::routes(catalog).merge(guarded).merge(admin::probes(health.clone(), Reasons::Withheld));
        // Any client that reaches a port beyond loopback can read it, without authentication.
        let reasons = if admin_is_local { Reasons::Shown } else { Reasons::Withheld };
        let operators = admin::probes(health.clone(), reasons).merge(metrics).merge(admin::index(admin_is_local));
        let operators = if admin_is_local { operators.merge(status::local_routes(status)) } else { operators };
        (Gate::new(auth, values, routes), operators)
    }

    /// What is shown besides values and checks.
    fn status(&self, catalog: Arc<Catalog>, config: Origin, scaling: Option<ZeroStatus>) -> Status {
        let (serving, availability, started) = (self.serving.clone(), self.availability.clone(), clock());
        let (pod, node, docs) = (pod_name(), node_name(), self.docs.clone());
        Status::new(catalog, self.health.clone(), move || Facts {
            version: telemetry::VERSION,
            pod: pod.clone(),
            node: node.clone(),
            started,
            certificate_expires: serving.borrow().expires,
            api_service_available: availability.now(),
            config: config.title.clone(),
            docs: docs.clone(),
            scale_to_zero: scaling.as_ref().map(ZeroStatus::who),
            findings: scaling.iter().flat_map(ZeroStatus::findings).chain(findings(&config.warnings)).collect(),
            hpas: scaling.as_ref().map(ZeroStatus::hpas),
        })
    }
}

/// Warnings about the config, which concern their place.
fn findings(warnings: &Warnings) -> Vec<Finding> {
    let finding = |(place, warning): &(String, String)| Finding { object: place.clone(), message: warning.clone() };
    warnings.all().iter().map(finding).collect()
}
