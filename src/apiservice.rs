//! Keeps the APIService in step: it points at our Service and carries our CA.
//!
//! Reads before it writes. One that points at somebody else's Service is never touched, only
//! named; one that somebody deletes while we run stays deleted until the next start; one that
//! has drifted is put right.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, ServiceReference};
use kube::api::{Api, Patch, PatchParams};
use tokio::sync::watch;

use crate::certs::Serving;
use crate::health::Reporter;

/// The name that Kubernetes derives from version and group.
const NAME: &str = "v1beta1.external.metrics.k8s.io";
/// Who we are among an object's field managers.
const FIELD_MANAGER: &str = "depthgauge";
/// The text that is also `apiservice/apiservice.yaml` for kubectl.
const MANIFEST: &str = include_str!("../apiservice/apiservice.yaml");
/// How often it is looked at. Drift is rare, and kube-apiserver's own probe runs every 30 s; one
/// small read each 10 s is nothing to it.
const INTERVAL: Duration = Duration::from_secs(10);
/// Deadline of one call to kube-apiserver, which answers in milliseconds or is in trouble.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What the APIService points at: `NAMESPACE/NAME:PORT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceRef {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The Service's port, not the container's.
    pub port: u16,
}

/// This text names no Service.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not of the form NAMESPACE/NAME:PORT, such as depthgauge/depthgauge:443")]
pub struct BadServiceRef(String);

/// The embedded manifest does not parse: a bug.
#[derive(Debug, thiserror::Error)]
#[error("apiservice/apiservice.yaml: {0}")]
pub struct BadManifest(#[from] serde_saphyr::Error);

/// Keeps the APIService in step; see [`Registration::keep`].
pub struct Registration {
    api: Api<APIService>,
    service: ServiceRef,
    /// The embedded manifest, pointing at `service`, without a CA.
    manifest: APIService,
    serving: watch::Receiver<Serving>,
    reporter: Reporter,
    /// Whether it was ours, at some time since we started.
    registered: bool,
}

/// What a look at the APIService found.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Finding {
    Absent,
    /// Points at our Service; whether all else is as it should be.
    Ours {
        in_step: bool,
    },
    /// Points elsewhere; the owner, for people.
    Foreign(String),
}

// === impl ServiceRef ===

impl ServiceRef {
    /// The names that kube-apiserver may ask for in the handshake; the first is the one it does.
    pub fn host_names(&self) -> Vec<String> {
        let Self { namespace, name, .. } = self;
        vec![format!("{name}.{namespace}.svc"), format!("{name}.{namespace}.svc.cluster.local")]
    }
}

impl FromStr for ServiceRef {
    type Err = BadServiceRef;

    fn from_str(text: &str) -> Result<Self, BadServiceRef> {
        let bad = || BadServiceRef(text.to_owned());
        let (namespace, rest) = text.split_once('/').ok_or_else(bad)?;
        let (name, port) = rest.split_once(':').ok_or_else(bad)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        let dns = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !dns(namespace) || !dns(name) {
            return Err(bad());
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned(), port })
    }
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

// === impl Registration ===

impl Registration {
    /// Will register `service` with the CA in `serving`, and report into `reporter`. Fails only
    /// if the embedded manifest is no APIService.
    pub fn new(
        client: kube::Client,
        service: ServiceRef,
        serving: watch::Receiver<Serving>,
        reporter: Reporter,
    ) -> Result<Self, BadManifest> {
        let manifest = manifest(&service)?;
        Ok(Self { api: Api::all(client), service, manifest, serving, reporter, registered: false })
    }

    /// Looks at the APIService again and again, and at once when the CA changes.
    pub async fn keep(mut self) {
        loop {
            match tokio::time::timeout(CALL_TIMEOUT, self.step()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.reporter.degraded(trouble(&error)),
                Err(_) => self.reporter.degraded("kube-apiserver does not answer in time"),
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                changed = self.serving.changed() => if changed.is_err() {
                    // Nobody renews certificates any more: the process is stopping.
                    return;
                }
            }
        }
    }

    async fn step(&mut self) -> kube::Result<()> {
        let wanted = with_ca(self.manifest.clone(), &self.serving.borrow().ca_bundle);
        let found = self.api.get_opt(NAME).await?;
        match look(found.as_ref(), &wanted) {
            Finding::Foreign(owner) => {
                self.reporter.degraded(format!(
                    "APIService {NAME} belongs to {owner}: depthgauge leaves it alone and gets no questions; remove that adapter, or its APIService"
                ));
            }
            Finding::Absent if self.registered => {
                self.reporter.degraded(format!(
                    "APIService {NAME} was deleted by somebody and stays so; restart depthgauge to register again"
                ));
            }
            Finding::Ours { in_step: true } => {
                self.registered = true;
                self.report_availability(found.as_ref());
            }
            Finding::Ours { in_step: false } | Finding::Absent => {
                self.apply(wanted, found.as_ref()).await?;
                tracing::info!(service = %self.service, new = found.is_none(), "registered APIService {NAME}");
                self.registered = true;
                self.reporter.ok();
            }
        }
        Ok(())
    }

    /// Server-side apply. One that was read to be ours is taken in full, if it is still the one
    /// that was read; one that was not there is made, and a foreign one that has come up since
    /// is a conflict.
    async fn apply(&self, mut wanted: APIService, found: Option<&APIService>) -> kube::Result<()> {
        let mut params = PatchParams::apply(FIELD_MANAGER);
        if let Some(found) = found {
            wanted.metadata.resource_version.clone_from(&found.metadata.resource_version);
            params = params.force();
        }
        self.api.patch(NAME, &params, &Patch::Apply(&wanted)).await.map(drop)
    }

    fn report_availability(&self, found: Option<&APIService>) {
        let conditions = found.and_then(|found| found.status.as_ref()?.conditions.as_ref());
        let available = conditions.into_iter().flatten().find(|condition| condition.type_ == "Available");
        match available {
            Some(condition) if condition.status == "False" => {
                let why = condition.message.as_deref().unwrap_or_default();
                self.reporter.degraded(format!("kube-apiserver cannot reach Service {}: {why}", self.service));
            }
            _ => self.reporter.ok(),
        }
    }
}

/// The embedded manifest with our Service.
fn manifest(service: &ServiceRef) -> Result<APIService, BadManifest> {
    let mut object: APIService = serde_saphyr::from_str(MANIFEST)?;
    if let Some(spec) = &mut object.spec {
        spec.service = Some(ServiceReference {
            namespace: Some(service.namespace.clone()),
            name: Some(service.name.clone()),
            port: Some(i32::from(service.port)),
        });
    }
    Ok(object)
}

fn with_ca(mut object: APIService, ca_bundle: &str) -> APIService {
    if let Some(spec) = &mut object.spec {
        spec.ca_bundle = Some(ByteString(ca_bundle.as_bytes().to_vec()));
    }
    object
}

fn look(found: Option<&APIService>, wanted: &APIService) -> Finding {
    let Some(found) = found else { return Finding::Absent };
    let place = |object: &APIService| {
        let service = object.spec.as_ref()?.service.clone()?;
        Some((service.namespace?, service.name?))
    };
    match place(found) {
        ours if ours == place(wanted) => Finding::Ours { in_step: found.spec == wanted.spec },
        Some((namespace, name)) => Finding::Foreign(format!("Service {namespace}/{name}{}", applied_by(found))),
        None => Finding::Foreign(format!("kube-apiserver itself{}", applied_by(found))),
    }
}

/// Who wrote it last, as far as field managers tell; kube-apiserver itself only sets the status.
fn applied_by(found: &APIService) -> String {
    let managers = found.metadata.managed_fields.iter().flatten();
    let mut managers =
        managers.filter(|entry| entry.subresource.is_none()).filter_map(|entry| entry.manager.as_deref());
    managers.next_back().map(|manager| format!(" (applied by {manager})")).unwrap_or_default()
}

/// The same for the same trouble, with what to do.
fn trouble(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("may not register: {}; apply apiservice/rbac.yaml", status.message)
        }
        kube::Error::Api(status) if status.code == 409 => {
            format!("APIService {NAME} was changed by somebody at the same moment; trying again")
        }
        kube::Error::Api(status) => format!("kube-apiserver answers {}: {}", status.code, status.message),
        _ => "kube-apiserver does not answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> ServiceRef {
        text.parse().unwrap()
    }

    #[test]
    fn service_refs() {
        let parsed = service("metrics/depthgauge:443");
        assert_eq!(parsed.to_string(), "metrics/depthgauge:443");
        assert_eq!(parsed.host_names()[0], "depthgauge.metrics.svc");
        for bad in ["", "a", "a/b", "a/b:", "a/b:0", "a/b:x", "a/b:65536", "/b:1", "a/:1", "A/b:1", "a/b.c:1"] {
            assert!(bad.parse::<ServiceRef>().is_err(), "{bad}");
        }
    }

    fn wanted(text: &str, ca_bundle: &str) -> APIService {
        with_ca(manifest(&service(text)).unwrap(), ca_bundle)
    }

    #[test]
    fn what_a_look_finds() {
        let ours = wanted("a/b:443", "ca");
        assert_eq!(look(None, &ours), Finding::Absent);
        assert_eq!(look(Some(&ours), &ours), Finding::Ours { in_step: true });
        for drifted in [wanted("a/b:444", "ca"), wanted("a/b:443", "old ca")] {
            assert_eq!(look(Some(&drifted), &ours), Finding::Ours { in_step: false });
        }
        let foreign = wanted("keda/keda-metrics:443", "");
        assert_eq!(look(Some(&foreign), &ours), Finding::Foreign("Service keda/keda-metrics".into()));
        let mut local = ours.clone();
        local.spec.as_mut().unwrap().service = None;
        assert_eq!(look(Some(&local), &ours), Finding::Foreign("kube-apiserver itself".into()));
    }

    #[test]
    fn the_manifest_names_no_ca() {
        let manifest: APIService = serde_saphyr::from_str(MANIFEST).unwrap();
        let spec = manifest.spec.unwrap();
        assert_eq!(spec.ca_bundle, None);
        assert_eq!(spec.insecure_skip_tls_verify, None);
        assert_eq!(manifest.metadata.name.as_deref(), Some(NAME));
    }
}
