//! Connections to kube-apiserver.

mod credentials;
mod flags;
mod proxy;
mod retry_after;
mod tls;

use std::io;
use std::iter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{env, error};

use anyhow::{Context as _, Error, Result, anyhow};
use http::Request;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{AuthError, Body, ClientBuilder, ConfigExt as _};
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig};
use rustls_pki_types::ServerName;
use tower::filter::AsyncFilterLayer;
use tower::limit::ConcurrencyLimit;
use tower::{BoxError, ServiceBuilder};

pub(super) use self::flags::Flags;

use self::credentials::TokenFile;
use self::proxy::Proxy;
use super::failure::{Failure, each_once, without_os_error};
use super::kube_api::KubeApi;
use super::kubeconfig::{self, Choice};
use crate::http::error::{Unreachable, tunnel_failure};

/// To reach kube-apiserver at all; it is in the same cluster.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that are being made at once. hyper makes one for each request that waits, and keeps one of them
/// over HTTP/2.
const CONNECTING_MAX: usize = 2;

/// How often a connection is pinged, idle or not. A watch may be silent for minutes while nothing changes,
/// so its silence does not show that the connection is dead.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// The time to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// No setting has the address of kube-apiserver.
const NO_KUBECONFIG: &str = "no kubeconfig found";
const NAME_KUBECONFIG: &str = "name one with --kubeconfig or KUBECONFIG";
const NO_CREDENTIALS: &str = "cannot use the credentials for kube-apiserver";

/// Where a server's kube-apiserver is, and how it is reached.
pub(super) struct Route {
    config: kube::Config,
    proxy: Option<Proxy>,
}

// === impl Route ===

impl Route {
    /// Does not use `~/.kube/config`: a server must not get a user's rights by accident.
    pub(super) async fn of_server(named: Option<PathBuf>) -> Result<Self> {
        let (config, proxy) = match kubeconfig(named)? {
            Some(kubeconfig) => of_kubeconfig(kubeconfig::choose(kubeconfig, &Choice::default())?).await?,
            None => match kube::Config::incluster() {
                Ok(config) => (config, None),
                // Outside of a pod; its own message names a variable that users do not set.
                Err(InClusterError::ReadEnvironmentVariable(_)) => {
                    return Err(Failure::new(NO_KUBECONFIG).hint(format!("{NAME_KUBECONFIG}, or run in a pod")).into());
                }
                Err(error) => return Err(error).context("the pod's own ServiceAccount cannot be used"),
            },
        };
        Ok(Self { config, proxy })
    }

    /// A client with a connection of its own, which is opened by the first request.
    pub(super) fn client(&self) -> Result<kube::Client> {
        client(self.config.clone(), self.proxy.clone())
    }
}

/// The connection of a command that users run.
pub(super) struct Connection {
    pub(super) client: kube::Client,
    /// The URL of kube-apiserver.
    pub(super) server: String,
    /// For one request.
    request_timeout: Duration,
}

// === impl Flags ===

impl Flags {
    /// By these flags, with `~/.kube/config` if there is no other kubeconfig. Sends nothing yet.
    pub(super) async fn connect(self) -> Result<Connection> {
        let Self { kubeconfig: named, choice, impersonation, request_timeout } = self;
        let chosen = async |kubeconfig| of_kubeconfig(kubeconfig::choose(kubeconfig, &choice)?).await;
        let (mut config, proxy) = match kubeconfig(named)? {
            Some(kubeconfig) => chosen(kubeconfig).await?,
            None => match kube::Config::incluster() {
                Ok(config) if choice.is_default() => (config, None),
                _ => match kubeconfig::of_person()? {
                    Some(kubeconfig) => chosen(kubeconfig).await?,
                    None => return Err(no_kubeconfig().into()),
                },
            },
        };
        impersonation.apply(&mut config.auth_info);
        let server = config.cluster_url.to_string();
        Ok(Connection { client: client(config, proxy)?, server, request_timeout })
    }
}

// === impl Connection ===

impl Connection {
    /// Requests whose responses are read as JSON.
    pub(super) fn kube_api(&self) -> KubeApi {
        KubeApi::new(self.client.clone(), self.request_timeout)
    }
}

/// The error of a command that has neither a kubeconfig nor a pod's ServiceAccount.
fn no_kubeconfig() -> Failure {
    Failure::new(NO_KUBECONFIG).hint(NAME_KUBECONFIG)
}

/// Whether nothing names a cluster.
pub(super) fn is_without_cluster(error: &Error) -> bool {
    error.downcast_ref() == Some(&no_kubeconfig())
}

/// Named by the flag, or by KUBECONFIG.
fn kubeconfig(named: Option<PathBuf>) -> Result<Option<Kubeconfig>> {
    match named {
        Some(file) => kubeconfig::read(&file).map(Some).context("--kubeconfig"),
        None => kubeconfig::of_environment(),
    }
}

/// The config, and the proxy that leads to its server.
async fn of_kubeconfig(kubeconfig: Kubeconfig) -> Result<(kube::Config, Option<Proxy>)> {
    let cluster = kubeconfig::cluster(&kubeconfig);
    let server = cluster.and_then(|cluster| cluster.server.as_ref()?.parse().ok());
    // Before kube reads the same variables: it would call an unusable one an error of the kubeconfig.
    let proxy = match (cluster, server) {
        (Some(cluster), Some(server)) => Proxy::to(&server, cluster.proxy_url.as_deref(), |name| env::var(name).ok())?,
        _ => None,
    };
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Ok((config.context("the kubeconfig cannot be used")?, proxy))
}

/// As `kube::Client::try_from`, with these differences: requests share a connection of HTTP/2 where the server has
/// it, and a dead one ends. Proxies and certificates are those that kubectl accepts. No request is silently
/// repeated, because what handles a 503 reads it now, and what retries has its own interval. The error of a
/// refusal has the `Retry-After` of kube-apiserver. No error contains a secret.
fn client(mut config: kube::Config, proxy: Option<Proxy>) -> Result<kube::Client> {
    let token = TokenFile::take(&mut config.auth_info).context(NO_CREDENTIALS)?;
    credentials::set_interactive_mode(&mut config.auth_info);
    let user = Arc::new(config.auth_info.clone());
    let auth = config.auth_layer().map_err(|error| match error {
        kube::Error::Auth(error) => anyhow!(credentials::reason(&error, &user)),
        other => other.into(),
    });
    let auth = auth.context(NO_CREDENTIALS)?;
    let tls = tls::client_config(&config).context(NO_CREDENTIALS)?;
    let tcp = proxy::connector(proxy.as_ref(), &Arc::new(tls.clone()))?;
    let mut https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = ServerName::try_from(name.clone()).with_context(|| format!("tls-server-name {name:?}"))?;
        https = https.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let mut connector = TimeoutConnector::new(https.enable_all_versions().wrap_connector(tcp));
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_read_timeout(config.read_timeout);
    let connections: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .build(ConcurrencyLimit::new(connector, CONNECTING_MAX));
    let through = proxy.map(|proxy| format!(" through {proxy}")).unwrap_or_default();
    let route: Arc<str> = format!("{}{through}", config.cluster_url.to_string().trim_end_matches('/')).into();
    let service = ServiceBuilder::new()
        .and_then(retry_after::into_body)
        .map_err(move |error: BoxError| match error.downcast::<AuthError>() {
            Ok(error) => BoxError::from(credentials::reason(&error, &user)),
            Err(error) => error,
        })
        .layer(config.base_uri_layer())
        .option_layer(auth)
        .option_layer(token.map(|token| {
            let authorize = move |request: Request<Body>| {
                let token = token.clone();
                async move { Ok::<_, BoxError>(token.authorize(request).await) }
            };
            AsyncFilterLayer::new(authorize)
        }))
        .layer(config.extra_headers_layer().context(NO_CREDENTIALS)?)
        .map_err(move |error: legacy::Error| match error.is_connect() {
            true => BoxError::from(format!("cannot connect to {route}: {}", cause(&error))),
            false => BoxError::from(format!("no response from {route}: {}", cause(&error))),
        })
        .service(connections);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// Why there is no connection, as sources report it.
fn cause(error: &legacy::Error) -> String {
    let below: Vec<_> = iter::successors(error::Error::source(error), |error| error.source()).collect();
    let is_late = |error: &&(dyn error::Error + 'static)| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    };
    if below.iter().any(is_late) {
        return "timed out".to_owned();
    }
    let texts: Vec<String> = below.iter().map(ToString::to_string).collect();
    if let Some(what) = texts.last().and_then(|root| tunnel_failure(root)) {
        return what.to_owned();
    }
    // The libraries name the layers of the connection above the cause, which add nothing.
    let root = texts.last().map(|root| without_os_error(root)).unwrap_or_default();
    let is_of_system = below.last().is_some_and(|root| root.is::<io::Error>());
    let is_lost = |error: &hyper::Error| error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    match Unreachable::of(error, error.is_connect()) {
        Some(kind @ Unreachable::Tls) => format!("{kind}: {root}"),
        Some(kind) => kind.to_string(),
        None if is_of_system && error.is_connect() => root,
        None if is_of_system => format!("{}: {root}", Unreachable::Lost),
        None if below.iter().any(|error| error.downcast_ref().is_some_and(is_lost)) => Unreachable::Lost.to_string(),
        None => each_once(texts.into_iter().filter(|text| tunnel_failure(text).is_none())),
    }
}
