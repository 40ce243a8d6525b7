//! Keeps the APIService in step: it points at depthgauge's Service and carries its CA.
//!
//! Reads before it writes:
//! - An APIService that points at another Service is only reported, except with `--takeover`.
//! - One that another client deletes or takes while the process runs stays so until the next start.
//! - One that has drifted is corrected.
//! - It is deleted together with the install.
//! - One that garbage collection deletes together with a former ClusterRole of the install is
//!   registered again.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Api, Patch, PatchParams};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::certs::{Ca, Publication, Serving};
use crate::health::{Reporter, State};
use crate::rbac::{Grant, LATE};

mod availability;
mod install;
mod object;
mod service_ref;
mod unregister;

pub use availability::{Availability, condition};
pub use install::{Install, rights};
pub use object::{BadManifest, is_labelled_ours, leads_to, owner, restored};
pub use service_ref::{BadServiceRef, ServiceRef};
pub use unregister::{GivenUp, UnregisterError, Unregistered, unregister};

use object::Whose;

/// The name that Kubernetes derives from version and group.
pub const NAME: &str = "v1beta1.external.metrics.k8s.io";
/// The name of depthgauge among an object's field managers.
const FIELD_MANAGER: &str = "depthgauge";
/// How often it is read. Drift is rare, and kube-apiserver's own probe runs every 30 s. One small
/// read each 10 s is no load.
const INTERVAL: Duration = Duration::from_secs(10);
/// From a drift that was seen to the correction: in between, what other replicas have written is
/// read again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A client that changes it this often within this time is expected to continue: each time requests
/// fail until it is corrected.
const REPAIRS: (usize, Duration) = (3, Duration::from_secs(60));
/// Deadline of one reconcile, a few calls to kube-apiserver, which answers within milliseconds
/// unless it fails.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// All that is ever done to it.
pub const RIGHTS: Grant<'static> = Grant {
    group: "apiregistration.k8s.io",
    resource: "apiservices",
    name: NAME,
    namespace: None,
    verbs: &["get", "create", "patch", "delete"],
};

/// Keeps the APIService in step; see [`Registration::keep`].
pub struct Registration {
    api: Api<APIService>,
    install: Arc<Install>,
    /// The embedded manifest, pointing at depthgauge's Service, without a CA.
    manifest: APIService,
    takeover: bool,
    serving: watch::Receiver<Serving>,
    publication: Publication,
    reporter: Reporter,
    availability: Availability,
    /// Whether it has pointed at depthgauge's Service at some time since the start.
    registered: bool,
    /// When it was first seen out of step, while it is.
    drifted: Option<Instant>,
    /// When it was lately corrected after another client had changed it, and which client that was.
    repairs: Vec<(Instant, String)>,
    /// The current ClusterRole, which owns the APIService; `None` if there is none. It can be
    /// created again with another UID while the process runs.
    owner: Option<OwnerReference>,
    /// Why it can't be read; `owner` is what was read before.
    owner_trouble: Option<String>,
    /// The UID of the ClusterRole that owned the APIService when that was last seen.
    owned_by: Option<String>,
}

/// What is published, and how it is to be known.
pub struct Certificate {
    /// The current CA.
    pub serving: watch::Receiver<Serving>,
    /// Gets the content of the `caBundle`.
    pub publication: Publication,
}

// === impl Registration ===

impl Registration {
    /// Will register the install's Service with the current CA, and report into `reporter`;
    /// `takeover` also if it is another adapter's. Fails only if the embedded manifest is no
    /// APIService.
    pub fn new(
        install: Arc<Install>,
        takeover: bool,
        certificate: Certificate,
        reporter: Reporter,
        availability: Availability,
    ) -> Result<Self, BadManifest> {
        let Certificate { serving, publication } = certificate;
        Ok(Self {
            api: install.apiservices(),
            manifest: object::manifest(&install.service)?,
            install,
            takeover,
            serving,
            publication,
            reporter,
            availability,
            registered: false,
            drifted: None,
            repairs: Vec::new(),
            owner: None,
            owner_trouble: None,
            owned_by: None,
        })
    }

    /// Reconciles the APIService periodically, and at once when the CA changes.
    pub async fn keep(mut self) {
        loop {
            match tokio::time::timeout(LOOK_TIMEOUT, self.step()).await {
                Ok(Ok(())) => {}
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => self
                    .reporter
                    .degraded(format!("APIService {NAME} was changed by another client at the same moment; retrying")),
                Ok(Err(error)) => {
                    let text = format!("cannot register: {}", RIGHTS.trouble(&error));
                    self.reporter.report(match self.availability.now() {
                        Some(false) => State::Blocking(text),
                        Some(true) | None => State::Degraded(text),
                    });
                }
                Err(_) => {
                    self.availability.unknown();
                    self.reporter.degraded(LATE);
                }
            }
            let pause = if self.drifted.is_some() { LOOK_AGAIN } else { INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = self.serving.changed() => if changed.is_err() {
                    // Certificates are not renewed any more: the process is stopping.
                    return;
                }
            }
        }
    }

    async fn step(&mut self) -> kube::Result<()> {
        let found = self.api.get_opt(NAME).await.inspect_err(|_| self.availability.unknown())?;
        self.availability.seen(found.as_ref(), &self.install.service);
        let ca = self.serving.borrow_and_update().ca.clone();
        self.look_for_owner().await;
        let Some(wanted) = object::wanted(&self.manifest, found.as_ref(), &ca, self.owner.as_ref()) else {
            self.reporter.degraded("waiting for a certificate before it registers");
            return Ok(());
        };
        match (object::look(found.as_ref(), &self.install.service), found) {
            (Whose::Ours, Some(found)) => self.keep_in_step(wanted, &found).await,
            (Whose::Foreign(owner), Some(found)) => self.leave_or_take(wanted, &found, &owner).await,
            _ if self.registered => self.stay_deleted_or_return(wanted).await,
            _ => {
                self.apply(wanted, None).await?;
                tracing::info!(service = %self.install.service, "registered APIService {NAME}");
                Ok(())
            }
        }
    }

    /// It was registered and is deleted. Garbage collection deletes it with the ClusterRole that owned it. If
    /// the install has another ClusterRole now, the deletion was not intended.
    async fn stay_deleted_or_return(&mut self, wanted: APIService) -> kube::Result<()> {
        let install = self.install.clone();
        let role = &install.service.name;
        let line = match (&self.owned_by, &self.owner, &self.owner_trouble) {
            (Some(_), _, Some(trouble)) => {
                format!(
                    "APIService {NAME} was deleted, and it is unknown whether garbage collection deleted it with ClusterRole {role}: {trouble}"
                )
            }
            (Some(_), None, None) => format!(
                "APIService {NAME} and ClusterRole {role}, which owned it, were deleted: depthgauge registers again when the ClusterRole exists"
            ),
            (Some(before), Some(now), None) if *before != now.uid => {
                self.apply(wanted, None).await?;
                tracing::warn!(
                    "registered APIService {NAME} again: garbage collection deleted it with a former ClusterRole {role}"
                );
                return Ok(());
            }
            _ => {
                // It stays deleted, also if the ClusterRole is replaced.
                self.owned_by = None;
                format!(
                    "APIService {NAME} was deleted, and depthgauge does not create it again: restart depthgauge to register it"
                )
            }
        };
        self.reporter.blocking(line);
        Ok(())
    }

    async fn keep_in_step(&mut self, wanted: APIService, found: &APIService) -> kube::Result<()> {
        self.registered = true;
        self.owned_by = object::owned_by(found, &self.install.service);
        if let Some(bundle) = found.spec.as_ref().and_then(|spec| spec.ca_bundle.as_ref()) {
            self.publication.seen(&String::from_utf8_lossy(&bundle.0));
        }
        if object::in_step(found, &wanted) {
            self.drifted = None;
            self.report(found);
            return Ok(());
        }
        let drifted = *self.drifted.get_or_insert_with(Instant::now);
        if self.serving.borrow().looked_at <= drifted {
            // Another replica may have a newer CA: what it wrote is read first.
            self.publication.read_again();
            return Ok(());
        }
        self.repairs.retain(|(at, _)| at.elapsed() < REPAIRS.1);
        let before = self.repairs.len();
        self.repairs.extend(object::intruder(found).map(|manager| (Instant::now(), manager.to_owned())));
        if let Err(error) = self.apply(wanted, Some(found)).await {
            self.repairs.truncate(before);
            return Err(error);
        }
        tracing::info!(service = %self.install.service, "corrected APIService {NAME}");
        Ok(())
    }

    async fn leave_or_take(&mut self, mut wanted: APIService, found: &APIService, owner: &str) -> kube::Result<()> {
        if self.registered {
            self.reporter.blocking(format!(
                "APIService {NAME} was given to {owner}: to take it back, restart depthgauge with --takeover"
            ));
        } else if let Some(restored) = restored(found).filter(|_| self.takeover) {
            self.reporter.blocking(restored);
        } else if self.takeover {
            object::remember(&mut wanted, found).map_err(kube::Error::SerdeError)?;
            let taken = self.apply(wanted, Some(found)).await?;
            // With a foreign certificate the injection is intended.
            let is_our_ca = matches!(self.serving.borrow().ca, Ca::Bundle(_));
            if let Some(patch) = object::without_injection(&taken).filter(|_| is_our_ca) {
                let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
                self.api.patch(NAME, &params, &Patch::Merge(&patch)).await?;
            }
            tracing::warn!("took APIService {NAME} over from {owner}; `depthgauge unregister --restore` restores it");
        } else {
            self.reporter.blocking(format!(
                "APIService {NAME} belongs to {owner}, so depthgauge gets no requests: remove that adapter, or start depthgauge with --takeover"
            ));
        }
        Ok(())
    }

    /// Server-side apply. An APIService that was read is taken in full, if it has not changed
    /// since. One that did not exist is created; a foreign one that was created since is a
    /// conflict.
    async fn apply(&mut self, mut wanted: APIService, found: Option<&APIService>) -> kube::Result<APIService> {
        let mut params = PatchParams::apply(FIELD_MANAGER);
        if let Some(found) = found {
            wanted.metadata.resource_version.clone_from(&found.metadata.resource_version);
            params = params.force();
        }
        let applied = self.api.patch(NAME, &params, &Patch::Apply(&wanted)).await?;
        (self.registered, self.drifted) = (true, None);
        self.owned_by = object::owned_by(&applied, &self.install.service);
        self.report(&applied);
        Ok(applied)
    }

    /// An install by hand has no ClusterRole; then the APIService has no owner.
    async fn look_for_owner(&mut self) {
        match self.install.owner().await {
            Ok(owner) => (self.owner, self.owner_trouble) = (owner, None),
            Err(trouble) => self.owner_trouble = Some(trouble),
        }
    }

    /// The client that changes it again and again.
    fn opponent(&mut self) -> Option<&str> {
        let (many, lately) = REPAIRS;
        self.repairs.retain(|(at, _)| at.elapsed() < lately);
        self.repairs.last().filter(|_| self.repairs.len() >= many).map(|(_, manager)| manager.as_str())
    }

    fn report(&mut self, found: &APIService) {
        if let Some(manager) = self.opponent() {
            let line = format!(
                "{manager} keeps changing APIService {NAME}, and requests fail until depthgauge has corrected it: stop {manager}, or configure it to leave this object alone"
            );
            return self.reporter.degraded(line);
        }
        let available = condition(found);
        let no_ca = found.spec.as_ref().is_none_or(|spec| spec.ca_bundle.is_none());
        match (available, &self.owner_trouble) {
            _ if no_ca && self.serving.borrow().ca == Ca::Foreign => self.reporter.blocking(format!(
                "APIService {NAME} has no caBundle: with --tls-cert-file another controller sets it, such as cert-manager's CA injector by annotation cert-manager.io/inject-ca-from"
            )),
            (Some(condition), _) if condition.status == "False" => {
                let why = condition.message.as_deref().unwrap_or_default();
                self.reporter.blocking(format!("kube-apiserver cannot reach Service {}: {why}", self.install.service));
            }
            (_, Some(trouble)) => {
                self.reporter.degraded(format!("APIService {NAME} would be left behind by an uninstall: {trouble}"));
            }
            _ => self.reporter.ok(),
        }
    }
}
