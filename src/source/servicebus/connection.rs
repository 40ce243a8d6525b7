//! The connection to a namespace: its keys, and how entries are opened.

use std::path::PathBuf;
use std::sync::Arc;

use super::bus::Bus;
use super::listing::EntityListing;
use super::{DISABLED, QUEUE, SUBSCRIPTION, TOPIC};
use crate::azure::Client;
use crate::azure::auth::{Auth, SasFiles};
use crate::azure::namespace::Namespace;
use crate::azure::path::{EntityName, EntityPath, FeedPath};
use crate::azure::workload_identity::{Overrides, Settings};
use crate::azure::{managed_identity, workload_identity};
use crate::http::base::BaseUrl;
use crate::source::in_use::InUse;
use crate::source::keys::{Key, Shape, Text, Value, Values, Variant};
use crate::source::service::{BASE, FILE, PROXY, TLS, Way, conflicts};
use crate::source::{CONNECTION_NAME, Connection, ConnectionType, Context, OpenError, Opened, Place};
use crate::upstream::{Limits, Upstream};

/// The default of `maxRequestsPerSecond`: 40 of the 1,000 credits a second that a namespace of the Standard
/// tier has, which its clients need for their messages.
const REQUESTS_PER_SECOND: u32 = 4;
/// The maximum: all of these credits.
const REQUESTS_PER_SECOND_MAX: u32 = 100;
/// The default of `maxInFlight`: more than the default rate needs with 1 s a read.
const IN_FLIGHT: u32 = 8;
/// The maximum: what the rate allows with 1 s a read.
const IN_FLIGHT_MAX: u32 = 100;

const NAMESPACE: &str = "namespace";
const ENDPOINT: &str = "endpoint";
const RATE: &str = "maxRequestsPerSecond";
const PLACES: &str = "maxInFlight";

const SAS: &str = "sas";
const WORKLOAD_IDENTITY: &str = "azureWorkloadIdentity";
const MANAGED_IDENTITY: &str = "azureManagedIdentity";

/// `type: azure-servicebus` in `connections`.
pub(super) const SERVICEBUS: ConnectionType = ConnectionType {
    name: "azure-servicebus",
    place: Place::Named,
    doc: "The management API of an Azure Service Bus namespace.",
    keys: &[KEYS],
    conflicts,
    warn,
    connect: |values, context| Ok(Arc::new(Namespaced(Arc::new(bus(values, context)?)))),
};

const KEYS: &[Key] = &[
    Key::new(
        NAMESPACE,
        Shape::Text(Text::parsed::<Namespace>()),
        "The host of the namespace: NAME.servicebus.windows.net, or NAME and the suffix of another cloud.",
    )
    .required()
    .examples(&["shop.servicebus.windows.net"]),
    Key::new(
        ENDPOINT,
        Shape::Text(BASE),
        "The URL that requests are sent to, if it is another one than https:// and `namespace`, such as that of the emulator of Service Bus.",
    )
    .examples(&["http://servicebus-emulator.shop.svc:5300"]),
    Key::new(
        "auth",
        Shape::Choice(
            METHODS,
            "sas: a shared access signature of a policy with the right Manage. azureWorkloadIdentity: the service account of the pod, by Microsoft Entra ID. azureManagedIdentity: the identity of the virtual machine.",
        ),
        "How to authenticate to the service. Secrets are files only, which are read again when they change.",
    )
    .required(),
    TLS,
    PROXY,
    Key::new(
        RATE,
        Shape::Count(REQUESTS_PER_SECOND_MAX),
        "The most requests to the namespace in a second. Connections to one namespace share them, unless their limits, `endpoint`, `tls` or `proxy` differ. Each request costs as much as ten messages. When more reads are due, values are read less often, and the log says so.",
    )
    .default("4"),
    Key::new(
        PLACES,
        Shape::Count(IN_FLIGHT_MAX),
        "The most reads of the namespace in flight. One Kubernetes namespace gets half of them, and so do all lists together.",
    )
    .default("8"),
];

const METHODS: &[Variant] = &[
    Variant { name: SAS, keys: OF_SAS },
    Variant { name: WORKLOAD_IDENTITY, keys: OF_WORKLOAD_IDENTITY },
    Variant { name: MANAGED_IDENTITY, keys: &[CLIENT_ID] },
];

const OF_SAS: &[Key] = &[
    Key::new(
        "connectionStringFile",
        Shape::Text(FILE),
        "The file with a connection string. It is used with sas only. Its Endpoint must be `namespace`. EntityPath is ignored.",
    ),
    Key::new("keyName", Shape::Text(Text::NONEMPTY), "The name of the policy. It is used with sas only.")
        .or(&["connectionStringFile", "signatureFile"]),
    Key::new("keyFile", Shape::Text(FILE), "The file with a key of the policy. It is used with sas only.")
        .or(&["connectionStringFile", "signatureFile"]),
    Key::new(
        "signatureFile",
        Shape::Text(FILE),
        "The file with a signature that was made elsewhere. It is used with sas only. It begins with SharedAccessSignature sr=.",
    ),
];

const CLIENT_ID: Key = Key::new(
    "clientId",
    Shape::Text(Text::NONEMPTY),
    "The client ID of the application or managed identity. It is used with azureWorkloadIdentity or azureManagedIdentity only. Default: AZURE_CLIENT_ID, or the only identity of the machine.",
);

const OF_WORKLOAD_IDENTITY: &[Key] = &[
    CLIENT_ID,
    Key::new(
        "tenantId",
        Shape::Text(Text::parsed::<Tenant>().pattern("^[A-Za-z0-9.-]+$")),
        "The tenant of the identity. It is used with azureWorkloadIdentity only. Default: AZURE_TENANT_ID.",
    ),
    Key::new(
        "tokenFile",
        Shape::Text(FILE),
        "The file with the token of the service account. It is used with azureWorkloadIdentity only. Default: AZURE_FEDERATED_TOKEN_FILE.",
    ),
    Key::new(
        "authorityHost",
        Shape::Text(BASE),
        "The URL of the token service. It is used with azureWorkloadIdentity only. Default: AZURE_AUTHORITY_HOST, or that of the cloud of `namespace`.",
    )
    .examples(&["https://login.microsoftonline.us"]),
];

/// A tenant's ID or domain.
struct Tenant;

/// A text is no tenant.
#[derive(Debug, thiserror::Error)]
#[error("this is not a tenant: write its ID or one of its domains")]
struct BadTenant;

impl std::str::FromStr for Tenant {
    type Err = BadTenant;

    fn from_str(text: &str) -> Result<Self, BadTenant> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        if !text.is_empty() && text.bytes().all(legal) { Ok(Self) } else { Err(BadTenant) }
    }
}

/// Opens the entries of one namespace.
struct Namespaced(Arc<Bus>);

impl Connection for Namespaced {
    fn open(&self, _form: &str, entry: &Values) -> Result<Opened, OpenError> {
        let Self(bus) = self;
        let name = |key| entry.parsed::<EntityName>(key);
        let refuses_disabled = entry.text(DISABLED) == Some("error");
        let listed = |feed: FeedPath| {
            let list = bus.list(&feed);
            Opened::Many(Box::new(EntityListing { bus: bus.clone(), feed, list, refuses_disabled }))
        };
        Ok(match (name(QUEUE)?, name(TOPIC)?, name(SUBSCRIPTION)?) {
            (Some(queue), ..) => Opened::One(bus.source(EntityPath::Queue(queue), None, refuses_disabled)),
            (None, Some(topic), Some(subscription)) => {
                Opened::One(bus.source(EntityPath::Subscription(topic, subscription), None, refuses_disabled))
            }
            (None, Some(topic), None) => listed(FeedPath::Subscriptions(topic)),
            (None, None, _) => listed(FeedPath::Queues),
        })
    }
}

fn warn(values: &Values) -> Vec<String> {
    let urls = [values.text(ENDPOINT), values.choice("auth").and_then(|(_, auth)| auth.text("authorityHost"))];
    let exposed = urls.into_iter().flatten();
    let exposed = exposed.filter(|url| url.parse().is_ok_and(|url: BaseUrl| url.exposes_credentials()));
    exposed.map(|url| format!("credentials are sent to {url} without encryption: use https://")).collect()
}

fn bus(values: &Values, context: &Context) -> Result<Bus, OpenError> {
    let missing = |key: &str| OpenError(format!("`{key}` is missing"));
    let namespace = values.parsed::<Namespace>(NAMESPACE)?.ok_or_else(|| missing(NAMESPACE))?;
    let endpoint = match values.parsed::<BaseUrl>(ENDPOINT)? {
        Some(endpoint) => endpoint,
        None => namespace.url().parse().map_err(|error| OpenError(format!("{namespace}: {error}")))?,
    };
    let (method, keys) = values.choice("auth").ok_or_else(|| missing("auth"))?;
    let way = Way::of(values)?;
    let auth = auth(method, keys, &namespace, &endpoint, &way, context)?;
    let rate = values.count(RATE).unwrap_or(REQUESTS_PER_SECOND);
    let in_flight = values.count(PLACES).unwrap_or(IN_FLIGHT);
    let limits =
        Limits { in_flight: in_flight as usize, ..Limits::new(rate, format!("{RATE} of connections to {namespace}")) };
    // A namespace has one account of credits for all of its clients. A proxy that is down must not stop others.
    let shared = values.only(&[NAMESPACE, ENDPOINT, TLS.name, PROXY.name]);
    let shared = shared.with(RATE, Value::Count(rate)).with(PLACES, Value::Count(in_flight));
    let (upstream, transport) = (context.upstreams.get(shared, || Upstream::new(limits)), way.to(&endpoint)?);
    let name = values.text(CONNECTION_NAME).unwrap_or_default().to_owned();
    // A secret is named by its file.
    let identity = format!("{endpoint} {namespace} {name} {method} {keys:?} ");
    let client = Client::new(namespace, endpoint, auth, upstream, transport, context.clock);
    Ok(Bus { name, client: Arc::new(client), identity, lists: InUse::default() })
}

fn auth(
    method: &str,
    keys: &Values,
    namespace: &Namespace,
    endpoint: &BaseUrl,
    way: &Way,
    context: &Context,
) -> Result<Auth, OpenError> {
    let text = |key: &str| keys.text(key).map(str::to_owned);
    let file = |key: &str| keys.text(key).map(PathBuf::from);
    let var = |name: &str| std::env::var(name).ok();
    match method {
        WORKLOAD_IDENTITY => {
            let overrides = Overrides {
                client_id: text("clientId"),
                tenant_id: text("tenantId"),
                token_file: file("tokenFile"),
                authority: text("authorityHost"),
            };
            let settings = Settings::of_pod(overrides, namespace.authority(), &var).map_err(OpenError)?;
            let principal = format!("identity {}", settings.client_id);
            let transport = way.to_token_service(&settings.url().map_err(OpenError)?)?;
            let tokens = workload_identity::tokens(settings, transport, context.clock).map_err(OpenError)?;
            Ok(Auth::tokens(tokens, principal))
        }
        MANAGED_IDENTITY => {
            let client_id = keys.text("clientId");
            let tokens = managed_identity::tokens(client_id, &var, context.clock).map_err(OpenError)?;
            let principal = client_id.map_or("the identity of the machine".to_owned(), |id| format!("identity {id}"));
            Ok(Auth::tokens(tokens, principal))
        }
        _ => {
            let files =
                match (file("connectionStringFile"), text("keyName").zip(file("keyFile")), file("signatureFile")) {
                    (Some(file), ..) => SasFiles::ConnectionString(file),
                    (None, Some((name, file)), _) => SasFiles::Key(name, file),
                    (None, None, Some(file)) => SasFiles::Signature(file),
                    (None, None, None) => return Err(OpenError("`auth.keyFile` is missing".to_owned())),
                };
            Auth::sas(files, namespace, endpoint.url().path(), context.clock).map_err(OpenError)
        }
    }
}
