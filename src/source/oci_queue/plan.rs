//! Section `oci` of the config and the keys of an `oci-queue` source: from text to sources.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use super::control_plane::ControlPlane;
use super::listing::{QueueListing, Scope};
use super::parts::Aliases;
use super::trouble::with_causes;
use super::{COMPARTMENT, QueueSource};
use crate::document::{Fields, Problems};
use crate::http::transport::Roots;
use crate::metric::Clock;
use crate::oci::choice::Choice;
use crate::oci::compartment::CompartmentId;
use crate::oci::config_file::expand_home;
use crate::oci::credentials::{Credentials, Method};
use crate::oci::declared;
use crate::oci::endpoint::Endpoint;
use crate::oci::environment::Environment;
use crate::oci::queue::QueueId;
use crate::oci::region::Home;
use crate::oci::{self, Client};
use crate::source::{OpenError, Opened, OpenedPlan, Plan, Shared};

/// Names a file of certificates to trust, as in the Go SDK and so in Oracle's Terraform provider.
const CA_VARIABLE: &str = "OCI_DEFAULT_CERTS_PATH";
/// The most reads a second that can be asked for: far more than one core can sign.
const READS_MAX: u32 = 10_000;

/// All entries of a config, checked in form; nothing is opened yet.
#[derive(Debug, Default)]
pub(super) struct QueuePlan {
    pub(super) settings: Settings,
    pub(super) entries: Vec<QueueEntry>,
}

/// Section `oci`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Settings {
    /// `None`: the way for which there is evidence.
    auth: Option<Choice>,
    pub(super) region: Option<Home>,
    control_plane: Option<Endpoint>,
    /// Certificates that are trusted besides the system's.
    ca_file: Option<PathBuf>,
    reads_per_second: Option<u32>,
}

/// Which queues are meant, and where their messages are if that is said.
#[derive(Debug)]
pub(super) enum QueueEntry {
    /// This one, by the name that it is given, with names for its parts.
    Named(QueueId, Option<Endpoint>, Aliases),
    /// This one, by its display name.
    Unnamed(QueueId, Option<Endpoint>),
    /// Those of a compartment, by their display names.
    Compartment(CompartmentId),
}

/// A client that is signed in, and how it finds the control plane: what all sources share.
struct Access {
    settings: Settings,
    client: Arc<Client>,
    /// Of the config, the principal or the environment.
    region: Option<Home>,
    /// The principal's own word counts, and is not known before it signs in.
    asks_home: bool,
}

/// What is wrong is in `problems`, and a plan with problems is never opened.
fn decode_section(section: &mut Fields<'_>, problems: &mut Problems) -> Settings {
    let mut settings = Settings::default();
    if let Some(node) = section.take("region")
        && let Some(text) = node.text(problems)
    {
        let found = declared::find(&Environment::of_process(), text);
        settings.region = found.map_err(|error| problems.add(node.at(), error.to_string())).ok();
    }
    settings.control_plane = section.take("endpoint").and_then(|node| node.parsed(problems));
    settings.ca_file = section.take("caFile").and_then(|node| node.text(problems)).map(expand_home);
    settings.reads_per_second = section.take("maxRequestsPerSecond").and_then(|node| node.count(READS_MAX, problems));
    settings.auth = section.take("auth").and_then(|node| decode_auth(node.fields(problems)?, problems));
    settings
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
    // Beside it, `queueId` and `endpoint` are keys that nobody knows.
    if let Some(compartment) = entry.take(COMPARTMENT) {
        return Some(QueueEntry::Compartment(compartment.parsed(problems)?));
    }
    let id = entry.require("queueId", problems).and_then(|node| node.parsed(problems));
    let endpoint = entry.take("endpoint").and_then(|node| node.parsed(problems));
    let aliases = Aliases::decode(entry, problems);
    Some(QueueEntry::Named(id?, endpoint, aliases))
}

// === impl QueuePlan ===

impl QueuePlan {
    /// Reads the shared section and each source's own keys; `None` when a problem was added.
    pub(super) fn decode(
        section: Option<&mut Fields<'_>>,
        entries: &mut [&mut Fields<'_>],
        problems: &mut Problems,
    ) -> Option<Self> {
        let settings = section.map_or_else(Settings::default, |section| decode_section(section, problems));
        // All of them first: every problem is to be reported.
        let entries: Vec<_> = entries.iter_mut().map(|entry| decode_entry(entry, problems)).collect();
        let entries = entries.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Self { settings, entries })
    }
}

impl Plan for QueuePlan {
    fn definitions(&self) -> Vec<String> {
        self.entries.iter().map(|entry| format!("{:?} {entry:?}", self.settings)).collect()
    }

    fn open(self: Box<Self>, before: Option<&Shared>, clock: Clock) -> Result<OpenedPlan, OpenError> {
        let Self { settings, entries } = *self;
        let before = before.and_then(|shared| shared.clone().downcast::<Access>().ok());
        let access = match before.filter(|access| access.settings == settings) {
            Some(access) => access,
            None => Arc::new(settings.open(clock)?),
        };
        let entries = entries.into_iter().map(|entry| access.open(entry)).collect::<Result<_, _>>()?;
        Ok(OpenedPlan { entries, shared: access })
    }
}

// === impl Settings ===

impl Settings {
    fn open(self, clock: Clock) -> Result<Access, OpenError> {
        let client_settings = self.of_client()?;
        let credentials = self.sign_in(client_settings.roots.clone(), clock)?;
        let asks_home =
            self.region.is_none() && self.control_plane.is_none() && credentials.method() == Method::InstancePrincipal;
        let named = credentials.region().map(str::to_owned).or_else(|| Environment::of_process().var("OCI_REGION"));
        let region = match (self.region.clone(), named) {
            (Some(region), _) => Some(region),
            (None, Some(named)) => Some(declared::find(&Environment::of_process(), &named).map_err(|error| {
                OpenError(format!("region of the OCI profile, OCI_RESOURCE_PRINCIPAL_REGION or OCI_REGION: {error}; or set `oci.region`"))
            })?),
            (None, None) => None,
        };
        let client = Client::with(client_settings, credentials, clock);
        Ok(Access { settings: self, client: Arc::new(client), region, asks_home })
    }

    /// What the section sets of a client, and the environment where the section says nothing.
    fn of_client(&self) -> Result<oci::Settings, OpenError> {
        let of_env = || Environment::of_process().var(CA_VARIABLE).map(PathBuf::from);
        let (file, named_by) = match &self.ca_file {
            Some(file) => (Some(file.clone()), "`oci.caFile`"),
            None => (of_env(), CA_VARIABLE),
        };
        let mut settings = oci::Settings::default();
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

    fn sign_in(&self, roots: Roots, clock: Clock) -> Result<Credentials, OpenError> {
        let env = Environment::of_process();
        let (choice, why) = match self.auth.clone() {
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

// === impl Access ===

impl Access {
    fn open(&self, entry: QueueEntry) -> Result<Opened, OpenError> {
        let client = self.client.clone();
        Ok(match entry {
            QueueEntry::Named(id, fixed, aliases) => {
                let control_plane = self.control_plane(&queue(&id), id.region())?;
                Opened::One(QueueSource::new(client, id, control_plane, fixed, None, aliases).identified())
            }
            QueueEntry::Unnamed(id, fixed) => {
                let control_plane = self.control_plane(&queue(&id), id.region())?;
                Opened::Many(Box::new(QueueListing { client, control_plane, scope: Scope::Queue(id, fixed) }))
            }
            QueueEntry::Compartment(id) => {
                // Its OCID names no region.
                let control_plane = self.control_plane(&format!("compartment …{}", id.suffix()), "")?;
                Opened::Many(Box::new(QueueListing { client, control_plane, scope: Scope::Compartment(id) }))
            }
        })
    }

    /// Where the control plane is asked about this: the override, else by the region that is
    /// set, or the one in the OCID.
    fn control_plane(&self, what: &str, region: &str) -> Result<ControlPlane, OpenError> {
        let known = self.known_control_plane(what, region);
        if let Ok(endpoint) = &known {
            self.client.prepare(endpoint).map_err(|error| no_certificates(&error))?;
        }
        // An error is none while the principal may yet say where it is at home.
        if self.asks_home { Ok(ControlPlane::OfPrincipal(known.ok())) } else { Ok(ControlPlane::At(known?)) }
    }

    fn known_control_plane(&self, what: &str, region: &str) -> Result<Endpoint, OpenError> {
        if let Some(endpoint) = &self.settings.control_plane {
            return Ok(endpoint.clone());
        }
        let of_id = match &self.region {
            Some(_) => None,
            None if region.is_empty() => {
                return Err(OpenError(format!("no region is known for {what}: set `oci.region` or `oci.endpoint`")));
            }
            None => Some(
                declared::find(&Environment::of_process(), region)
                    .map_err(|error| OpenError(format!("{what}: {error}; or set `oci.region` or `oci.endpoint`")))?,
            ),
        };
        let home = self.region.as_ref().or(of_id.as_ref()).and_then(Home::queue_control_plane).unwrap_or_default();
        home.parse().map_err(|error| OpenError(format!("{error}")))
    }
}

fn queue(id: &QueueId) -> String {
    format!("queue …{}", id.suffix())
}

/// The one thing that can be wrong with a client that is not used yet.
fn no_certificates(error: &(dyn Error + 'static)) -> OpenError {
    let text = "no trusted CA certificates on this machine (package ca-certificates, or SSL_CERT_FILE)";
    OpenError(with_causes(text.to_owned(), Some(error)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use depthgauge_emulator::fault::{Fault, Rule};
    use depthgauge_emulator::operation::Operation;
    use depthgauge_emulator::profile::Profile;
    use depthgauge_emulator::{Emulator, Options};
    use jiff::Timestamp;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;
    use crate::document::Node;
    use crate::source::facet::Facet;

    const OCID: &str = "ocid1.queue.oc1.eu-frankfurt-1.amaaaafake";

    fn plan(settings: &Settings) -> Box<QueuePlan> {
        let entries = vec![QueueEntry::Unnamed(OCID.parse().unwrap(), None)];
        Box::new(QueuePlan { settings: settings.clone(), entries })
    }

    /// An emulator with one queue, and how to sign in there.
    async fn scene() -> (Settings, Emulator, tempfile::TempDir) {
        // Fails only if somebody was faster, and then there is one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let profile = Profile::make(dir.path(), "eu-frankfurt-1").unwrap();
        let queues = vec![("orders".to_owned(), OCID.parse().unwrap())];
        let keys = vec![(profile.key_id, profile.key)];
        let emulator = Emulator::new(Options { queues, keys, ..Options::default() }, Timestamp::now);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let serving = emulator.clone();
        tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
        let choice = Choice { method: Method::ApiKey, config_file: Some(profile.config_file), profile: None };
        (Settings { auth: Some(choice), control_plane: Some(endpoint), ..Settings::default() }, emulator, dir)
    }

    #[tokio::test]
    async fn a_queue_without_a_name_goes_by_its_display_name() {
        let (settings, _emulator, _dir) = scene().await;
        let opened = plan(&settings).open(None, Timestamp::now).unwrap();
        let Opened::Many(listing) = &opened.entries[0] else { panic!("named") };
        let by = Instant::now() + Duration::from_secs(30);
        let listed = listing.list(by).await.unwrap();
        assert!(listing.naming().contains("OCI_QUEUE_NAME"));
        assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].source.identity.as_str()), (1, "orders", OCID));
        assert!(listed[0].source.source.read(&Facet::WHOLE, by).await.is_ok());
    }

    #[tokio::test]
    async fn a_list_that_is_throttled_says_when_to_come_back() {
        let (settings, emulator, _dir) = scene().await;
        let compartment = QueueEntry::Compartment("ocid1.compartment.oc1..fake".parse().unwrap());
        let one = QueueEntry::Unnamed(OCID.parse().unwrap(), None);
        for (entry, operation) in [(compartment, Operation::ListQueues), (one, Operation::GetQueue)] {
            let plan = Box::new(QueuePlan { settings: settings.clone(), entries: vec![entry] });
            let opened = plan.open(None, Timestamp::now).unwrap();
            let Opened::Many(listing) = &opened.entries[0] else { panic!("named") };
            let throttled = Rule::from(Fault::Status(http::StatusCode::TOO_MANY_REQUESTS));
            let headers = [(http::header::RETRY_AFTER, http::HeaderValue::from_static("7"))].into_iter().collect();
            emulator.set_faults(vec![Rule { operation: Some(operation), headers, ..throttled }]);
            let error = listing.list(Instant::now() + Duration::from_secs(30)).await.err().unwrap();
            assert_eq!(error.retry_after, Some(Duration::from_secs(7)), "{error:?}");
        }
    }

    #[tokio::test]
    async fn the_client_is_shared_with_the_next_plan_while_the_section_stays() {
        let (settings, _emulator, _dir) = scene().await;
        let first = plan(&settings).open(None, Timestamp::now).unwrap().shared;
        let next = plan(&settings).open(Some(&first), Timestamp::now).unwrap().shared;
        assert!(Arc::ptr_eq(&first, &next));
        let fra = declared::find(&Environment::of_process(), "fra").unwrap();
        let other = Settings { region: Some(fra), ..settings };
        let next = plan(&other).open(Some(&first), Timestamp::now).unwrap().shared;
        assert!(!Arc::ptr_eq(&first, &next));
    }

    #[test]
    fn a_queue_with_other_aliases_is_another_one() {
        let definition = |entry: &str| {
            let mut problems = Problems::default();
            let text = format!("{{queueId: {OCID}{entry}}}");
            let node = Node::parse(&text, &mut problems).unwrap();
            let mut fields = node.fields(&mut problems).unwrap();
            QueuePlan::decode(None, &mut [&mut fields], &mut problems).unwrap().definitions().remove(0)
        };
        assert_eq!(definition(", channels: {eu: a}"), definition(", channels: {eu: a}"));
        let all =
            ["", ", channels: {eu: a}", ", channels: {eu: b}", ", consumerGroups: {eu: ocid1.consumergroup.oc1..a}"];
        assert_eq!(all.map(definition).iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
