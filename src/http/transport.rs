//! Over which connections requests travel: proxies, TLS, and which certificates are trusted.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, ClientBuilder};

use super::error::with_causes;
use super::proxy::{Proxy, Route};
use super::secret::{content, wrong};
use super::sockets;
use super::url::{Url, is_loopback};
use crate::watched::{OnUse, Reading};

/// Time to open a connection. A handshake across the world takes under half a second; the deadline
/// of the whole read is the caller's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Certificates of a PEM file.
#[derive(Clone, Debug, Default)]
pub struct Roots(Vec<Certificate>);

/// The CAs that are trusted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The system's and these.
    System(Roots),
    /// These and no other.
    Only(Roots),
}

/// Connections that are reused.
#[derive(Debug)]
pub struct Transport(Connections);

#[derive(Debug)]
enum Connections {
    /// To any address. Each client is made at its first use, because each holds a copy of the certificates
    /// that it trusts.
    Any { trust: Trust, proxied: bool, clients: [OnceLock<reqwest::Client>; 3] },
    /// To one URL, made of files that are followed.
    Followed { client: OnUse<reqwest::Client, String>, route: Route, server_name: Option<String> },
}

/// The PEM files and the name by which two ends authenticate.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The CAs that are trusted.
    pub ca: Option<PathBuf>,
    /// The client certificate and those that vouch for it.
    pub certificate: Option<PathBuf>,
    /// Its key, unless that is in the same file.
    pub key: Option<PathBuf>,
    /// The name of the certificate of the service, if it is not the host of the URL.
    pub server_name: Option<String>,
}

/// Resolves this host, whatever name is to be resolved.
struct Instead(String);

/// What a connection to an address needs.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Way {
    /// Trusted certificates, and the proxies of the environment if it names some.
    Out,
    /// To loopback: no proxy can reach it.
    Direct,
    /// To loopback, without TLS: no certificates either.
    Plain,
}

/// The trusted certificates can't be loaded.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TrustError(pub(super) reqwest::Error);

// === impl Roots ===

impl Roots {
    /// Those of a PEM file; the error says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::of(&std::fs::read(path).map_err(|error| error.to_string())?)
    }

    fn of(pem: &[u8]) -> Result<Self, String> {
        let certificates = Certificate::from_pem_bundle(pem).map_err(|error| with_causes(&error))?;
        if certificates.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(Self(certificates)) }
    }
}

// === impl Way ===

impl Way {
    fn to(url: &Url) -> Self {
        match (url.host_str().is_some_and(is_loopback), url.scheme()) {
            (false, _) => Self::Out,
            (true, "http") => Self::Plain,
            (true, _) => Self::Direct,
        }
    }
}

// === impl Transport ===

impl Transport {
    /// By the proxies of the environment, but never to loopback.
    pub fn new(trust: Trust) -> Self {
        Self::any(trust, true)
    }

    /// By no proxy, whatever the environment names.
    pub fn direct(trust: Trust) -> Self {
        Self::any(trust, false)
    }

    /// To this URL, with certificates and keys of files that are followed. A CA file replaces the system's
    /// CAs.
    pub fn followed(url: &Url, files: TlsFiles, route: Route) -> Result<Self, String> {
        Self::of_files(url, files, route, false)
    }

    /// The same, but the certificates of a CA file are trusted besides the system's.
    pub fn beside_system(url: &Url, files: TlsFiles, route: Route) -> Result<Self, String> {
        Self::of_files(url, files, route, true)
    }

    fn any(trust: Trust, proxied: bool) -> Self {
        Self(Connections::Any { trust, proxied, clients: [const { OnceLock::new() }; 3] })
    }

    fn of_files(url: &Url, files: TlsFiles, route: Route, beside_system: bool) -> Result<Self, String> {
        let (server_name, of_client) = (files.server_name.clone(), route.clone());
        let host = url.host_str().unwrap_or_default().to_owned();
        // The first connection is that to the proxy.
        let is_plain = url.scheme() == "http" && !route.proxy_for(url).is_some_and(|proxy| proxy.has_tls());
        let make = move |reading: &mut Reading| {
            let builder = files.apply(builder(), reading, is_plain, beside_system)?;
            let builder = match &of_client {
                Route::Environment => builder,
                Route::Direct => builder.no_proxy(),
                Route::By(proxy) => {
                    builder.proxy(reqwest::Proxy::all(proxy.clone()).map_err(|error| with_causes(&error))?)
                }
            };
            let builder = match &files.server_name {
                Some(_) => builder.dns_resolver(Instead(host.clone())),
                None => builder,
            };
            builder.build().map_err(|error| with_causes(&error))
        };
        let client = OnUse::open("certificates of a connection", Box::new(make))?;
        Ok(Self(Connections::Followed { client, route, server_name }))
    }

    /// Fails when the trusted certificates can't be loaded.
    pub(super) fn prepare(&self, url: &Url) -> reqwest::Result<()> {
        match &self.0 {
            Connections::Any { trust, proxied, clients } => any_client(trust, *proxied, clients, url).map(drop),
            Connections::Followed { .. } => Ok(()),
        }
    }

    /// The current client for a URL.
    pub(super) async fn client(&self, url: &Url) -> reqwest::Result<reqwest::Client> {
        match &self.0 {
            Connections::Any { trust, proxied, clients } => any_client(trust, *proxied, clients, url).cloned(),
            Connections::Followed { client, .. } => Ok((*client.current().await).clone()),
        }
    }

    /// The URL that the client is given for a URL. It has the server name instead of the host, so that this is the name
    /// of SNI and of the certificate.
    pub(super) fn address(&self, url: &Url) -> Url {
        let mut address = url.clone();
        if let Connections::Followed { server_name: Some(name), .. } = &self.0 {
            // A name that the config accepts is a host.
            let _ = address.set_host(Some(name));
        }
        address
    }

    /// Whether [`Self::address`] is another one.
    pub(super) fn has_server_name(&self) -> bool {
        matches!(&self.0, Connections::Followed { server_name: Some(_), .. })
    }

    /// The proxy by which requests to this URL go, if any.
    pub(super) fn proxy_for(&self, url: &Url) -> Option<Proxy> {
        match &self.0 {
            Connections::Any { proxied, .. } => {
                let proxied = *proxied && Way::to(url) == Way::Out;
                if proxied { Proxy::of_environment(url) } else { None }
            }
            Connections::Followed { route, .. } => route.proxy_for(url),
        }
    }
}

// === impl TlsFiles ===

impl TlsFiles {
    fn apply(
        &self,
        builder: ClientBuilder,
        reading: &mut Reading,
        is_plain: bool,
        beside_system: bool,
    ) -> Result<ClientBuilder, String> {
        let roots = match &self.ca {
            Some(file) => Some(Roots::of(&content(reading, file)?).map_err(|error| wrong(file, &error))?),
            None => None,
        };
        let builder = match roots {
            // Without TLS, there is no need for certificates.
            _ if is_plain => builder.tls_certs_only([]),
            Some(roots) if !beside_system => builder.tls_certs_only(roots.0),
            roots => builder.tls_certs_merge(roots.unwrap_or_default().0),
        };
        let Some(certificate) = &self.certificate else { return Ok(builder) };
        let mut pem = content(reading, certificate)?;
        if let Some(key) = &self.key {
            pem.push(b'\n');
            pem.extend(content(reading, key)?);
        }
        let identity = reqwest::Identity::from_pem(&pem);
        let identity = identity.map_err(|error| wrong(certificate, &with_causes(&error)))?;
        Ok(builder.identity(identity))
    }
}

// === impl Instead ===

impl Resolve for Instead {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.trim_start_matches('[').trim_end_matches(']').to_owned();
        Box::pin(async move {
            // The port of the URL is used.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok::<Addrs, Box<dyn std::error::Error + Send + Sync>>(Box::new(found.into_iter()))
        })
    }
}

fn builder() -> ClientBuilder {
    let idle = if sockets::are_few() { 0 } else { usize::MAX };
    reqwest::Client::builder()
        .pool_max_idle_per_host(idle)
        .http1_only()
        // Credentials must not leave their host.
        .redirect(reqwest::redirect::Policy::none())
        // A repeated request needs new credentials, which only this module's callers make.
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("depthgauge/", env!("CARGO_PKG_VERSION")))
}

fn any_client<'c>(
    trust: &Trust,
    proxied: bool,
    clients: &'c [OnceLock<reqwest::Client>; 3],
    url: &Url,
) -> reqwest::Result<&'c reqwest::Client> {
    let way = Way::to(url);
    let client = &clients[way as usize];
    if let Some(client) = client.get() {
        return Ok(client);
    }
    let builder = match trust {
        _ if way == Way::Plain => builder().tls_certs_only([]),
        Trust::System(roots) => builder().tls_certs_merge(roots.0.iter().cloned()),
        Trust::Only(roots) => builder().tls_certs_only(roots.0.iter().cloned()),
    };
    let made = if proxied && way == Way::Out { builder.build()? } else { builder.no_proxy().build()? };
    Ok(client.get_or_init(|| made))
}
