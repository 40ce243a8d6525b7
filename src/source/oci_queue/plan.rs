//! Section `oci` of the config and the keys of an `oci-queue` source: from text to sources.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::QueueSource;
use super::trouble::with_causes;
use crate::document::{Fields, Problems};
use crate::metric::Clock;
use crate::oci::credentials::Credentials;
use crate::oci::endpoint::Endpoint;
use crate::oci::queue::QueueId;
use crate::oci::region::Region;
use crate::oci::{Client, config_file};
use crate::source::{OpenError, Plan, Source};

/// All queues of a config, checked in form; nothing is opened yet.
#[derive(Debug)]
pub(super) struct QueuePlan {
    config_file: PathBuf,
    profile: String,
    region: Option<Region>,
    control_plane: Option<Endpoint>,
    queues: Vec<QueueEntry>,
}

#[derive(Debug)]
struct QueueEntry {
    id: QueueId,
    endpoint: Option<Endpoint>,
}

/// What is wrong is in `problems`, and a plan with problems is never opened.
fn decode_section(section: &mut Fields<'_>, problems: &mut Problems) -> QueuePlan {
    let mut plan = QueuePlan::with_defaults();
    if let Some(node) = section.take("region")
        && let Some(text) = node.text(problems)
    {
        plan.region = Region::find(text);
        if plan.region.is_none() {
            problems.add(node.at(), format!("{text:?} is no known region; write its name, such as eu-frankfurt-1"));
        }
    }
    plan.control_plane = section.take("endpoint").and_then(|node| node.parsed(problems));
    if let Some(mut auth) = section.take("auth").and_then(|node| node.fields(problems)) {
        if let Some(node) = auth.require("type", problems)
            && let Some(text) = node.text(problems)
            && text != "apiKey"
        {
            problems.add(node.at(), format!("auth type {text:?} is not supported; use apiKey"));
        }
        if let Some(path) = auth.take("configFile").and_then(|node| node.text(problems)) {
            plan.config_file = config_file::expand_home(path);
        }
        if let Some(profile) = auth.take("profile").and_then(|node| node.text(problems)) {
            profile.clone_into(&mut plan.profile);
        }
        auth.finish(problems);
    }
    plan
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
        let shared = section.map_or_else(Self::with_defaults, |section| decode_section(section, problems));
        // All of them first: every problem is to be reported.
        let queues: Vec<_> = entries.iter_mut().map(|entry| decode_entry(entry, problems)).collect();
        let queues = queues.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Self { queues, ..shared })
    }

    fn with_defaults() -> Self {
        Self {
            config_file: config_file::default_path(),
            profile: config_file::DEFAULT_PROFILE.to_owned(),
            region: None,
            control_plane: None,
            queues: Vec::new(),
        }
    }

    /// Where GetQueue of this queue is asked: the override, else by the region that is set, or
    /// the one in the OCID.
    fn control_plane(&self, id: &QueueId, region: Option<Region>) -> Result<Endpoint, OpenError> {
        if let Some(endpoint) = &self.control_plane {
            return Ok(endpoint.clone());
        }
        let Some(region) = region.or_else(|| Region::find(id.region())) else {
            return Err(OpenError(format!(
                "no known region for queue …{}: set `oci.region`, or `oci.endpoint` for a region that is not in the table",
                id.suffix()
            )));
        };
        region.queue_control_plane().parse().map_err(|error| OpenError(format!("{error}")))
    }
}

impl Plan for QueuePlan {
    fn open(self: Box<Self>, clock: Clock) -> Result<Vec<Box<dyn Source>>, OpenError> {
        let failed = |error: &dyn std::fmt::Display| OpenError(error.to_string());
        let credentials = Credentials::api_key(&self.config_file, &self.profile).map_err(|error| failed(&error))?;
        let named = credentials.region().map(str::to_owned).or_else(|| std::env::var("OCI_REGION").ok());
        let region = match (self.region, named) {
            (Some(region), _) => Some(region),
            (None, Some(named)) => Some(Region::find(&named).ok_or_else(|| {
                OpenError(format!("region {named:?} of the OCI profile or OCI_REGION is not known: set `oci.region`"))
            })?),
            (None, None) => None,
        };
        let client = Arc::new(Client::new(credentials, clock).map_err(|error| no_certificates(&error))?);
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for QueueEntry { id, endpoint } in &self.queues {
            sources.push(Box::new(QueueSource {
                client: client.clone(),
                id: id.clone(),
                control_plane: self.control_plane(id, region)?,
                fixed: endpoint.clone(),
                found: Mutex::default(),
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
