//! The way to kube-apiserver.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as Connections;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig};
use tower::{BoxError, ServiceBuilder};

use super::kubeconfig;

/// To reach kube-apiserver at all; it is in the same cluster.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Nothing says where it is.
const NO_CLUSTER: &str = "no kubeconfig was found: name one with --kubeconfig or KUBECONFIG";
const NO_CREDENTIALS: &str = "cannot use the credentials for kube-apiserver";

/// Never `~/.kube/config`: a server must not start with a person's rights by accident.
pub(super) async fn kube_client(named: Option<PathBuf>) -> Result<kube::Client> {
    let config = match kubeconfig(named)? {
        Some(kubeconfig) => of_kubeconfig(kubeconfig).await?,
        None => match kube::Config::incluster() {
            Ok(config) => config,
            // Outside of a pod; its own words name a variable that nobody sets.
            Err(InClusterError::ReadEnvironmentVariable(_)) => bail!("{NO_CLUSTER}, or run in a pod"),
            Err(error) => return Err(error).context("the pod's own ServiceAccount cannot be used"),
        },
    };
    client(config)
}

/// For commands that people run: `~/.kube/config`, too, when nothing else is there. Also where
/// it leads.
pub(super) async fn persons_kube_client(named: Option<PathBuf>) -> Result<(kube::Client, String)> {
    let config = match kubeconfig(named)? {
        Some(kubeconfig) => of_kubeconfig(kubeconfig).await?,
        None => match kube::Config::incluster() {
            Ok(config) => config,
            Err(_) => {
                let Some(kubeconfig) = kubeconfig::of_person()? else { bail!(NO_CLUSTER) };
                of_kubeconfig(kubeconfig).await?
            }
        },
    };
    let server = config.cluster_url.to_string();
    Ok((client(config)?, server))
}

/// Named by the flag, or by KUBECONFIG.
fn kubeconfig(named: Option<PathBuf>) -> Result<Option<Kubeconfig>> {
    match named {
        Some(file) => kubeconfig::read(&file).map(Some).context("--kubeconfig"),
        None => kubeconfig::of_environment(),
    }
}

async fn of_kubeconfig(kubeconfig: Kubeconfig) -> Result<kube::Config> {
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.context("the kubeconfig cannot be used")
}

/// What `kube::Client::try_from` makes, with two differences. Small packets are not held back: the
/// first request on each connection would wait 40 ms for a late acknowledgement of the handshake.
/// And nothing is silently asked again: whoever waits for a 503 wants to read it now, and what
/// keeps trying has a pace of its own.
fn client(config: kube::Config) -> Result<kube::Client> {
    if let Some(proxy) = &config.proxy_url {
        bail!("a proxy to kube-apiserver ({proxy}, `proxy-url` of the kubeconfig) is not supported");
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tls = config.rustls_https_connector_with_connector(tcp).context(NO_CREDENTIALS)?;
    let mut connector = TimeoutConnector::new(tls);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_read_timeout(config.read_timeout);
    let connections: Connections<_, Body> = Connections::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().context(NO_CREDENTIALS)?)
        .layer(config.extra_headers_layer().context(NO_CREDENTIALS)?)
        .map_err(BoxError::from)
        .service(connections);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}
