//! Over which connections requests travel: proxies, TLS, and which certificates are trusted.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::Certificate;

use super::error::with_causes;
use super::proxy::Proxy;
use super::url::{Url, is_loopback};

/// Time to open a connection. A handshake across the world takes under half a second; the deadline
/// of the whole read is the caller's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Certificates of a PEM file.
#[derive(Clone, Debug, Default)]
pub struct Roots(Vec<Certificate>);

/// Whose certificates are trusted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The system's and these.
    System(Roots),
    /// These and no other.
    Only(Roots),
}

/// Connections that are reused. Each client is made at its first use, because each holds a copy of
/// the certificates that it trusts.
#[derive(Debug)]
pub struct Transport {
    trust: Trust,
    proxied: bool,
    clients: [OnceLock<reqwest::Client>; 3],
}

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
        let pem = std::fs::read(path).map_err(|error| error.to_string())?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| with_causes(&error))?;
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
        Self { trust, proxied: true, clients: [const { OnceLock::new() }; 3] }
    }

    /// By no proxy, whatever the environment names.
    pub fn direct(trust: Trust) -> Self {
        Self { proxied: false, ..Self::new(trust) }
    }

    /// Fails when the trusted certificates can't be loaded.
    pub(super) fn client_for(&self, url: &Url) -> reqwest::Result<&reqwest::Client> {
        let way = Way::to(url);
        let client = &self.clients[way as usize];
        if let Some(client) = client.get() {
            return Ok(client);
        }
        let made = self.client(way)?;
        Ok(client.get_or_init(|| made))
    }

    /// The proxy by which requests to this URL go, if any.
    pub(super) fn proxy_for(&self, url: &Url) -> Option<Proxy> {
        let proxied = self.proxied && Way::to(url) == Way::Out;
        if proxied { Proxy::of_environment(url) } else { None }
    }

    fn client(&self, way: Way) -> reqwest::Result<reqwest::Client> {
        let builder = reqwest::Client::builder()
            .http1_only()
            // Credentials must not leave their host.
            .redirect(reqwest::redirect::Policy::none())
            // A repeated request needs new credentials, which only this module's callers make.
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("depthgauge/", env!("CARGO_PKG_VERSION")));
        let builder = match &self.trust {
            _ if way == Way::Plain => builder.tls_certs_only([]),
            Trust::System(roots) => builder.tls_certs_merge(roots.0.iter().cloned()),
            Trust::Only(roots) => builder.tls_certs_only(roots.0.iter().cloned()),
        };
        let proxied = self.proxied && way == Way::Out;
        if proxied { builder.build() } else { builder.no_proxy().build() }
    }
}
