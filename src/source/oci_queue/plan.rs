//! Section `oci` of the config and the keys of an `oci-queue` source: from text to sources.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::trouble::with_causes;
use super::{ControlPlane, QueueSource};
use crate::document::{Fields, Problems};
use crate::metric::Clock;
use crate::oci::choice::Choice;
use crate::oci::config_file::expand_home;
use crate::oci::credentials::{Credentials, Method};
use crate::oci::declared;
use crate::oci::endpoint::Endpoint;
use crate::oci::environment::Environment;
use crate::oci::queue::QueueId;
use crate::oci::region::Home;
use crate::oci::transport::Roots;
use crate::oci::{Client, Settings};
use crate::source::{OpenError, Plan, Source};

/// Names a file of certificates to trust, as in the Go SDK and so in Oracle's Terraform provider.
const CA_VARIABLE: &str = "OCI_DEFAULT_CERTS_PATH";
/// The most reads a second that can be asked for: far more than one core can sign.
const READS_MAX: u32 = 10_000;

/// All queues of a config, checked in form; nothing is opened yet.
#[derive(Debug, Default)]
pub(super) struct QueuePlan {
    /// `None`: the way for which there is evidence.
    auth: Option<Choice>,
    region: Option<Home>,
    control_plane: Option<Endpoint>,
    /// Certificates that are trusted besides the system's.
    ca_file: Option<PathBuf>,
    reads_per_second: Option<u32>,
    queues: Vec<QueueEntry>,
}

#[derive(Debug)]
struct QueueEntry {
    id: QueueId,
    endpoint: Option<Endpoint>,
}

/// What is wrong is in `problems`, and a plan with problems is never opened.
fn decode_section(section: &mut Fields<'_>, problems: &mut Problems) -> QueuePlan {
    let mut plan = QueuePlan::default();
    if let Some(node) = section.take("region")
        && let Some(text) = node.text(problems)
    {
        let found = declared::find(&Environment::of_process(), text);
        plan.region = found.map_err(|error| problems.add(node.at(), error.to_string())).ok();
    }
    plan.control_plane = section.take("endpoint").and_then(|node| node.parsed(problems));
    plan.ca_file = section.take("caFile").and_then(|node| node.text(problems)).map(expand_home);
    plan.reads_per_second = section.take("maxReadsPerSecond").and_then(|node| node.count(READS_MAX, problems));
    plan.auth = section.take("auth").and_then(|node| decode_auth(node.fields(problems)?, problems));
    plan
}

fn decode_auth(mut auth: Fields<'_>, problems: &mut Problems) -> Option<Choice> {
    let method = auth.require("type", problems).and_then(|node| {
        let text = node.text(problems)?;
        let method = Method::ALL.into_iter().find(|method| method.as_str() == text);
        if method.is_none() {
            let known = Method::ALL.map(Method::as_str).join(", ");
            problems.add(node.at(), format!("auth type {text:?} is not supported; there is {known}"));
        }
        method
    });
    let mut choice = Choice { method: method.unwrap_or(Method::ApiKey), config_file: None, profile: None };
    // The others have no profile; of an unknown one nobody can tell.
    if matches!(choice.method, Method::ApiKey | Method::SessionToken) {
        choice.config_file = auth.take("configFile").and_then(|node| node.text(problems)).map(expand_home);
        choice.profile = auth.take("profile").and_then(|node| node.text(problems)).map(str::to_owned);
    }
    auth.finish(problems);
    method.map(|_| choice)
}

fn decode_entry(entry: &mut Fields<'_>, problems: &mut Problems) -> Option<QueueEntry> {
    let id = entry.require("queueId", problems).and_then(|node| node.parsed(problems));
    let endpoint = entry.take("endpoint").and_then(|node| node.parsed(problems));
    Some(QueueEntry { id: id?, endpoint })
}

// === impl QueuePlan ===

impl QueuePlan {
    /// Reads the shared section and each source's own keys; `None` when a problem was added.
    pub(super) fn decode(
        section: Option<&mut Fields<'_>>,
        entries: &mut [&mut Fields<'_>],
        problems: &mut Problems,
    ) -> Option<Self> {
        let shared = section.map_or_else(Self::default, |section| decode_section(section, problems));
        // All of them first: every problem is to be reported.
        let queues: Vec<_> = entries.iter_mut().map(|entry| decode_entry(entry, problems)).collect();
        let queues = queues.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Self { queues, ..shared })
    }

    /// Where GetQueue of this queue is asked: the override, else by the region that is set, or
    /// the one in the OCID.
    fn control_plane(&self, id: &QueueId, region: Option<&Home>) -> Result<Endpoint, OpenError> {
        if let Some(endpoint) = &self.control_plane {
            return Ok(endpoint.clone());
        }
        let of_id = match region {
            Some(_) => None,
            None => Some(declared::find(&Environment::of_process(), id.region()).map_err(|error| {
                OpenError(format!("queue …{}: {error}; or set `oci.region` or `oci.endpoint`", id.suffix()))
            })?),
        };
        let home = region.or(of_id.as_ref()).and_then(Home::queue_control_plane).unwrap_or_default();
        home.parse().map_err(|error| OpenError(format!("{error}")))
    }

    /// The same, where the principal's own word counts and is not known before it signs in.
    fn later(&self, id: &QueueId, region: Option<&Home>) -> ControlPlane {
        ControlPlane::OfPrincipal(self.control_plane(id, region).ok())
    }

    /// What the section sets, and the environment where the section says nothing.
    fn settings(&self) -> Result<Settings, OpenError> {
        let of_env = || Environment::of_process().var(CA_VARIABLE).map(PathBuf::from);
        let (file, named_by) = match &self.ca_file {
            Some(file) => (Some(file.clone()), "`oci.caFile`"),
            None => (of_env(), CA_VARIABLE),
        };
        let mut settings = Settings::default();
        if let Some(file) = file {
            settings.roots = Roots::read(&file).map_err(|error| {
                let file = file.display();
                OpenError(format!(
                    "CA file {file}: {error}; set {named_by} to a PEM file with the certificates to trust"
                ))
            })?;
        }
        settings.reads_per_second = self.reads_per_second.unwrap_or(settings.reads_per_second);
        Ok(settings)
    }

    fn sign_in(&mut self, roots: Roots, clock: Clock) -> Result<Credentials, OpenError> {
        let env = Environment::of_process();
        let (choice, why) = match self.auth.take() {
            Some(choice) => (choice, "`oci.auth` says so".to_owned()),
            None => {
                let (choice, why) = Choice::by_evidence(&env);
                (choice, format!("`oci.auth` is not set, and {why}"))
            }
        };
        tracing::info!(auth = %choice.method, "signing in to OCI: {why}");
        choice.open(&env, roots, clock).map_err(|error| OpenError(error.to_string()))
    }
}

impl Plan for QueuePlan {
    fn open(mut self: Box<Self>, clock: Clock) -> Result<Vec<Box<dyn Source>>, OpenError> {
        let settings = self.settings()?;
        let credentials = self.sign_in(settings.roots.clone(), clock)?;
        let asks_home =
            self.region.is_none() && self.control_plane.is_none() && credentials.method() == Method::InstancePrincipal;
        let named = credentials.region().map(str::to_owned).or_else(|| std::env::var("OCI_REGION").ok());
        let region = match (self.region.take(), named) {
            (Some(region), _) => Some(region),
            (None, Some(named)) => Some(declared::find(&Environment::of_process(), &named).map_err(|error| {
                OpenError(format!("region of the OCI profile, OCI_RESOURCE_PRINCIPAL_REGION or OCI_REGION: {error}; or set `oci.region`"))
            })?),
            (None, None) => None,
        };
        let client = Arc::new(Client::with(settings, credentials, clock).map_err(|error| no_certificates(&error))?);
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for QueueEntry { id, endpoint } in &self.queues {
            sources.push(Box::new(QueueSource {
                client: client.clone(),
                id: id.clone(),
                control_plane: match asks_home {
                    true => self.later(id, region.as_ref()),
                    false => ControlPlane::At(self.control_plane(id, region.as_ref())?),
                },
                fixed: endpoint.clone(),
                found: Mutex::default(),
                rest: Mutex::default(),
            }));
        }
        Ok(sources)
    }
}

/// The one thing that can be wrong with a client that is not used yet.
fn no_certificates(error: &(dyn Error + 'static)) -> OpenError {
    let text = "no trusted CA certificates on this machine (package ca-certificates, or SSL_CERT_FILE)";
    OpenError(with_causes(text.to_owned(), Some(error)))
}
