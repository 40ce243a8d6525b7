//! The connection of all OCI queues: a client with credentials, and the control plane endpoint.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use super::control_plane::ControlPlane;
use super::listing::{QueueListing, Scope};
use super::parts::Aliases;
use super::{COMPARTMENT, QUEUE, QueueSource};
use crate::http::error::and_causes;
use crate::http::proxy;
use crate::http::transport::Roots;
use crate::oci::choice::Choice;
use crate::oci::compartment::CompartmentId;
use crate::oci::config_file::expand_home;
use crate::oci::credentials::{Credentials, Method};
use crate::oci::declared;
use crate::oci::endpoint::Endpoint;
use crate::oci::environment::Environment;
use crate::oci::metadata::Metadata;
use crate::oci::queue::QueueId;
use crate::oci::region::Home;
use crate::oci::{self, Client};
use crate::source::keys::{Key, Shape, Text, Values, Variant};
use crate::source::{Connection, ConnectionType, Context, OpenError, Opened, Place};

/// A file of CA certificates to trust. The Go SDK and Oracle's Terraform provider use the same variable.
const CA_VARIABLE: &str = "OCI_DEFAULT_CERTS_PATH";
/// The maximum of `maxRequestsPerSecond`: far more than one core can sign.
const REQUESTS_MAX: u32 = 10_000;

/// What makes the choice of instance principals explicit.
const ON_AN_INSTANCE: &str = "on an OCI instance, set `oci.auth: {type: instancePrincipal}`";

/// Section `oci`.
pub(super) const OCI: ConnectionType = ConnectionType {
    name: "oci",
    place: Place::Section,
    doc: "What all OCI queues have in common.",
    keys: &[KEYS],
    conflicts: |_| Vec::new(),
    warn: |_| Vec::new(),
    connect: |values, context| Ok(Arc::new(OciConnection::new(values, context)?)),
};

const KEYS: &[Key] = &[
    Key::new(
        "region",
        Shape::Text(REGION),
        "The region of the queues, by name or by its three letters. Default: the principal's or the profile's, OCI_REGION, or the one in the queue's OCID.",
    )
    .examples(&["eu-frankfurt-1"]),
    Key::new(
        "auth",
        Shape::Choice(
            METHODS,
            "apiKey, sessionToken: a user, by a profile. workloadIdentity: the pod's ServiceAccount, on an enhanced OKE cluster. instancePrincipal: the instance that the node is. resourcePrincipal: what the variables OCI_RESOURCE_PRINCIPAL_… name.",
        ),
        "How to authenticate to OCI. Default: the first method of the default credential chain that applies. The log says which and why. Only `serve` uses instancePrincipal by default.",
    ),
    Key::new(
        "endpoint",
        Shape::Text(ENDPOINT),
        "The control plane, only to override what follows from the region: https://HOST without path or user; http:// is for loopback addresses only.",
    )
    .examples(&["https://messaging.eu-frankfurt-1.oci.oraclecloud.com"]),
    Key::new(
        "caFile",
        Shape::Text(Text::ANY),
        "A PEM file of certificates that are trusted besides the system's. Default: OCI_DEFAULT_CERTS_PATH, or none.",
    ),
    Key::new(
        "maxRequestsPerSecond",
        Shape::Count(REQUESTS_MAX),
        "The most requests for all queues together in a second. When more reads are due, values are read less often, and the log says so.",
    )
    .default("200"),
];

const REGION: Text = Text {
    check: |text| declared::find(&Environment::of_process(), text).map(drop).map_err(|error| error.to_string()),
    nonempty: true,
    ..Text::ANY
};

/// `https://HOST`, or `http://` to a loopback address.
pub(super) const ENDPOINT: Text = Text::parsed::<Endpoint>()
    .pattern("^https://[^/?#@\\s]+/*$|^http://(localhost|127\\.[0-9.]+|\\[::1\\])(:[0-9]*)?/*$");

const METHODS: &[Variant] = &[
    Variant { name: Method::ApiKey.as_str(), keys: PROFILE },
    Variant { name: Method::SessionToken.as_str(), keys: PROFILE },
    Variant { name: Method::WorkloadIdentity.as_str(), keys: &[] },
    Variant { name: Method::InstancePrincipal.as_str(), keys: &[] },
    Variant { name: Method::ResourcePrincipal.as_str(), keys: &[] },
];

const PROFILE: &[Key] = &[
    Key::new(
        "configFile",
        Shape::Text(Text::ANY),
        "The OCI config file. It is used with apiKey or sessionToken only. Default: OCI_CONFIG_FILE, or ~/.oci/config.",
    ),
    Key::new("profile", Shape::Text(Text::ANY), "The profile in it. It is used with apiKey or sessionToken only.")
        .default("DEFAULT"),
];

/// A client with credentials, and how the control plane is resolved.
struct OciConnection {
    client: Arc<Client>,
    /// Overrides the endpoint of the region.
    control_plane: Option<Endpoint>,
    /// From the config, the principal or the environment.
    region: Option<Home>,
    /// The home region of the principal applies, which is unknown until it authenticates.
    asks_home: bool,
}

// === impl OciConnection ===

impl OciConnection {
    fn new(values: &Values, context: &Context) -> Result<Self, OpenError> {
        let environment = Environment::of_process();
        let control_plane = values.parsed::<Endpoint>("endpoint")?;
        let settings = client_settings(values)?;
        let credentials = credentials(values, settings.roots.clone(), context)?;
        let of_config = values.text("region");
        let asks_home =
            of_config.is_none() && control_plane.is_none() && credentials.method() == Method::InstancePrincipal;
        let named = credentials.region().map(str::to_owned).or_else(|| environment.var("OCI_REGION"));
        let region = match (of_config, named) {
            (Some(region), _) => {
                Some(declared::find(&environment, region).map_err(|error| OpenError(error.to_string()))?)
            }
            (None, Some(named)) => Some(declared::find(&environment, &named).map_err(|error| {
                OpenError(format!("region of the OCI profile, OCI_RESOURCE_PRINCIPAL_REGION or OCI_REGION: {error}; or set `oci.region`"))
            })?),
            (None, None) => None,
        };
        let client = Arc::new(Client::with(settings, credentials, context.clock));
        Ok(Self { client, control_plane, region, asks_home })
    }

    /// The control plane for `what`: the override, otherwise the endpoint of the configured region or of
    /// the region in the OCID.
    fn control_plane(&self, what: &str, region: &str) -> Result<ControlPlane, OpenError> {
        let known = self.known_control_plane(what, region);
        // No proxy leads to a loopback endpoint. Every other endpoint may need one.
        if !known.as_ref().is_ok_and(Endpoint::is_local) {
            proxy::check("https").map_err(|error| OpenError(error.to_string()))?;
        }
        if let Ok(endpoint) = &known {
            self.client.prepare(endpoint).map_err(|error| no_certificates(&error))?;
        }
        // Not an error yet if the principal may have a home region.
        if self.asks_home { Ok(ControlPlane::OfPrincipal(known.ok())) } else { Ok(ControlPlane::At(known?)) }
    }

    fn known_control_plane(&self, what: &str, region: &str) -> Result<Endpoint, OpenError> {
        if let Some(endpoint) = &self.control_plane {
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

impl Connection for OciConnection {
    fn open(&self, form: &str, entry: &Values) -> Result<Opened, OpenError> {
        let client = self.client.clone();
        if form == COMPARTMENT {
            let id: CompartmentId = present(entry.parsed(COMPARTMENT)?, COMPARTMENT)?;
            // The OCID of a compartment has no region.
            let control_plane = self.control_plane(&format!("compartment …{}", id.suffix()), "")?;
            return Ok(Opened::Many(Box::new(QueueListing { client, control_plane, scope: Scope::Compartment(id) })));
        }
        let id: QueueId = present(entry.parsed(QUEUE)?, QUEUE)?;
        let fixed = entry.parsed("endpoint")?;
        let control_plane = self.control_plane(&queue(&id), id.region())?;
        Ok(match entry.text("name") {
            Some(_) => {
                let aliases = Aliases::new(entry)?;
                Opened::One(QueueSource::new(client, id, control_plane, fixed, None, aliases).identified())
            }
            // Without `name`, its name is the display name.
            None => Opened::Many(Box::new(QueueListing { client, control_plane, scope: Scope::Queue(id, fixed) })),
        })
    }
}

/// The client settings of the section, and of the environment for keys that are not set.
fn client_settings(values: &Values) -> Result<oci::Settings, OpenError> {
    let (file, named_by) = match values.text("caFile") {
        Some(file) => (Some(expand_home(file)), "`oci.caFile`"),
        None => (Environment::of_process().var(CA_VARIABLE).map(PathBuf::from), CA_VARIABLE),
    };
    let mut settings = oci::Settings::default();
    if let Some(file) = file {
        settings.roots = Roots::read(&file).map_err(|error| {
            let file = file.display();
            OpenError(format!("CA file {file}: {error}; set {named_by} to a PEM file with the certificates to trust"))
        })?;
    }
    settings.reads_per_second = values.count("maxRequestsPerSecond").unwrap_or(settings.reads_per_second);
    Ok(settings)
}

fn credentials(values: &Values, roots: Roots, context: &Context) -> Result<Credentials, OpenError> {
    let environment = Environment::of_process();
    let of_config = values.choice("auth").and_then(|(name, values)| {
        let method = Method::ALL.into_iter().find(|method| method.as_str() == name)?;
        let (config_file, profile) = (values.text("configFile").map(expand_home), values.text("profile"));
        Some(Choice { method, config_file, profile: profile.map(str::to_owned) })
    });
    let of_evidence = of_config.is_none();
    let (choice, why, unread) = match of_config {
        Some(choice) => (choice, "`oci.auth` says so".to_owned(), None),
        None => {
            let (choice, why) = Choice::by_evidence(&environment);
            (choice, format!("`oci.auth` is not set, and {why}"), environment.unread())
        }
    };
    // A command must not contact the metadata address of a network that may not be OCI's.
    let is_guess = of_evidence && choice.method == Method::InstancePrincipal;
    if is_guess && !context.is_server {
        return Err(OpenError(format!("no credentials for OCI: {why}; {ON_AN_INSTANCE}{}", suffix(unread.as_ref()))));
    }
    tracing::info!(auth = %choice.method, "authenticating to OCI: {why}");
    if is_guess {
        tracing::warn!(
            "no credentials for OCI are configured: depthgauge contacts the instance metadata service at {}; {ON_AN_INSTANCE}",
            Metadata::from_env(&environment).address()
        );
    }
    if let Some(unread) = &unread {
        tracing::warn!("{unread}");
    }
    let opened = choice.open(&environment, roots, context.clock);
    opened.map_err(|error| OpenError(format!("{error}{}", suffix(unread.as_ref()))))
}

fn suffix(unread: Option<&String>) -> String {
    unread.map(|unread| format!("; {unread}")).unwrap_or_default()
}

/// The value of a key that its form requires.
fn present<T>(value: Option<T>, key: &str) -> Result<T, OpenError> {
    value.ok_or_else(|| OpenError(format!("`{key}` is missing")))
}

fn queue(id: &QueueId) -> String {
    format!("queue …{}", id.suffix())
}

/// The only error that a client can have before its first request.
fn no_certificates(error: &(dyn Error + 'static)) -> OpenError {
    let text = "no trusted CA certificates on this machine (package ca-certificates, or SSL_CERT_FILE)";
    OpenError(and_causes(text.to_owned(), Some(error)))
}

#[cfg(test)]
mod tests {
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
    use crate::document::{Node, Problems};
    use crate::endpoints::Endpoints;
    use crate::source::keys::Value;
    use crate::source::part::Part;

    const OCID: &str = "ocid1.queue.oc1.eu-frankfurt-1.amaaaafake";

    /// The keys of section `oci`, and of an entry.
    fn values(table: &'static [Key], text: &str) -> Values {
        let mut problems = Problems::default();
        let node = Node::parse(text, &mut problems).unwrap();
        let values = Values::decode(&mut node.fields(&mut problems).unwrap(), &[table], &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        values
    }

    fn one() -> Values {
        Values::from_iter([(QUEUE, Value::Text(OCID.to_owned()))])
    }

    /// An emulator with one queue, and the files to authenticate there.
    async fn scene() -> (OciConnection, Emulator, tempfile::TempDir) {
        // Fails only if another test was faster, and then there is one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let profile = Profile::make(dir.path(), "eu-frankfurt-1").unwrap();
        let queues = vec![("orders".to_owned(), OCID.parse().unwrap())];
        let keys = vec![(profile.key_id, profile.key)];
        let emulator = Emulator::new(Options { queues, keys, ..Options::default() }, Timestamp::now);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = emulator.clone();
        tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
        let file = profile.config_file.display();
        let section = format!("{{endpoint: \"{endpoint}\", auth: {{type: apiKey, configFile: {file}}}}}");
        let endpoints = Endpoints::none();
        let server = Context { clock: Timestamp::now, is_server: true, endpoints, upstreams: Arc::default() };
        (OciConnection::new(&values(KEYS, &section), &server).unwrap(), emulator, dir)
    }

    #[tokio::test]
    async fn a_queue_without_a_name_goes_by_its_display_name() {
        let (connection, _emulator, _dir) = scene().await;
        let Opened::Many(listing) = connection.open(QUEUE, &one()).unwrap() else { panic!("named") };
        let by = Instant::now() + Duration::from_secs(30);
        let listed = listing.list(by, by).await.unwrap().members;
        assert!(listing.naming().contains("OCI_QUEUE_NAME"));
        assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].source.identity.as_str()), (1, "orders", OCID));
        assert!(listed[0].source.source.read(&Part::WHOLE, by).await.is_ok());
    }

    #[tokio::test]
    async fn a_list_that_is_throttled_says_when_to_come_back() {
        let (connection, emulator, _dir) = scene().await;
        let compartment = Value::Text("ocid1.compartment.oc1..fake".to_owned());
        let compartment = Values::from_iter([(COMPARTMENT, compartment)]);
        let entries = [(COMPARTMENT, compartment, Operation::ListQueues), (QUEUE, one(), Operation::GetQueue)];
        for (form, entry, operation) in entries {
            let Opened::Many(listing) = connection.open(form, &entry).unwrap() else { panic!("named") };
            let throttled = Rule::from(Fault::Status(http::StatusCode::TOO_MANY_REQUESTS));
            let headers = [(http::header::RETRY_AFTER, http::HeaderValue::from_static("7"))].into_iter().collect();
            emulator.set_faults(vec![Rule { operation: Some(operation), headers, ..throttled }]);
            let error = listing.list(Instant::now(), Instant::now() + Duration::from_secs(30)).await.err().unwrap();
            assert_eq!(error.retry_after, Some(Duration::from_secs(7)), "{error:?}");
        }
    }
}
