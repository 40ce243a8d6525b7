//! Through which proxy kube-apiserver is reached, as kubectl decides it.

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt as _};

use crate::http::proxy::parse;
use crate::http::url::is_loopback;

const OF_KUBECONFIG: &str = "proxy-url of the kubeconfig";
const OF_HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const OF_HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The port of a SOCKS proxy whose URL has none.
const SOCKS_PORT: u16 = 1080;

/// A proxy, and the setting that names it. Its text has no credentials.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    intercept: Intercept,
    named_by: &'static str,
}

/// Opens connections to a URL's host; those to a proxy may be encrypted themselves.
pub(super) type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

// === impl Proxy ===

impl Proxy {
    /// The proxy that leads to `server`. `url`, the kubeconfig's `proxy-url`, holds for every server.
    /// Without it the variables apply, as in Go: not to loopback, nor to what NO_PROXY excepts.
    pub(super) fn to(server: &Uri, url: Option<&str>, env: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        if let Some(url) = url.filter(|url| !url.is_empty()) {
            return Self::named(OF_KUBECONFIG, url).map(Some);
        }
        let set = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| Some((name, env(name).filter(|value| !value.is_empty())?)))
        };
        let of = |names| set(names).map(|(name, url)| Self::named(name, &url)).transpose();
        // Read wherever the server is: an unusable one ends every command that kube reads it for.
        let https = of(OF_HTTPS)?;
        let (proxy, port) = if server.scheme_str() == Some("http") { (of(OF_HTTP)?, 80) } else { (https, 443) };
        let exceptions = set(EXCEPTIONS).map(|(_, list)| list).unwrap_or_default();
        Ok(proxy.filter(|_| !is_direct(server, server.port_u16().unwrap_or(port), &exceptions)))
    }

    /// The error does not contain the URL, because that can have a password.
    fn named(named_by: &'static str, url: &str) -> Result<Self> {
        let intercept = parse(url, &["http", "https", "socks5", "socks5h"]).ok_or_else(|| {
            anyhow!(
                "{named_by} is not the URL of a proxy: set it to http://HOST:PORT, https://HOST:PORT or \
                 socks5://HOST:PORT, or remove it"
            )
        })?;
        Ok(Self { intercept, named_by })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy {} ({})", self.intercept.uri().to_string().trim_end_matches('/'), self.named_by)
    }
}

/// Whether the variables leave this server out.
fn is_direct(server: &Uri, port: u16, exceptions: &str) -> bool {
    let entries = exceptions.split(',').map(str::trim);
    if server.host().is_some_and(is_loopback) || entries.clone().any(|entry| entry == "*") {
        return true;
    }
    // In the form that the matcher reads: no ports, no `*.`, and IPv6 addresses without brackets only.
    let entries: Vec<&str> = entries.filter_map(|entry| host_of(entry, port)).collect();
    // Any proxy: only whether there is one counts.
    let matcher = Matcher::builder().all("http://proxy").no(entries.join(",")).build();
    matcher.intercept(server).is_none()
}

/// The host of an entry of NO_PROXY, unless it is for another port.
fn host_of(entry: &str, port: u16) -> Option<&str> {
    let (host, only) = match entry.rsplit_once(':') {
        Some((host, only)) if !host.contains(':') || host.ends_with(']') => (host, Some(only)),
        _ => (entry, None),
    };
    let host = if host.starts_with("*.") { &host[1..] } else { host };
    only.is_none_or(|only| only.parse() == Ok(port)).then(|| host.trim_matches(['[', ']']))
}

/// Connects directly or through the proxy. An `https` proxy is verified as kube-apiserver is, by the
/// same config.
pub(super) fn connector(proxy: Option<&Proxy>, tls: &Arc<ClientConfig>) -> Result<Connector> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // Otherwise the first request on each connection waits 40 ms for a late acknowledgement of the
    // handshake.
    tcp.set_nodelay(true);
    let Some(Proxy { intercept, .. }) = proxy else {
        return Ok(BoxCloneSyncService::new(tcp.map_response(MaybeHttpsStream::Http).map_err(Into::into)));
    };
    let uri = intercept.uri().clone();
    if uri.scheme_str().is_some_and(|scheme| scheme.starts_with("socks5")) {
        let port = uri.port_u16().unwrap_or(SOCKS_PORT);
        let socks = SocksV5::new(format!("socks5://{}:{port}", uri.host().unwrap_or_default()).parse()?, tcp);
        let socks = match intercept.raw_auth() {
            Some((user, password)) => socks.with_auth(user.to_owned(), password.to_owned()),
            None => socks,
        };
        return Ok(BoxCloneSyncService::new(socks.map_response(MaybeHttpsStream::Http).map_err(Into::into)));
    }
    let tunnel = Tunnel::new(uri, HttpsConnector::from((tcp, tls.clone())));
    let tunnel = match intercept.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    };
    Ok(BoxCloneSyncService::new(tunnel.map_err(Into::into)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(server: &str, url: Option<&str>, env: &[(&str, &str)]) -> String {
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        match Proxy::to(&server.parse().unwrap(), url, env) {
            Ok(None) => "none".to_owned(),
            Ok(Some(proxy)) => proxy.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_kubeconfig_comes_first_and_then_the_variable_of_the_scheme() {
        let env = [("HTTPS_PROXY", "http://me:SECRET@a:1"), ("http_proxy", "b:2"), ("NO_PROXY", "*.corp")];
        assert_eq!(to("https://api:6443", None, &env), "proxy http://a:1 (HTTPS_PROXY)");
        assert_eq!(to("http://api", None, &env), "proxy http://b:2 (http_proxy)");
        assert_eq!(to("https://api.corp", None, &env), "none");
        let named = to("https://api.corp", Some("socks5://c:3"), &env);
        assert_eq!(named, "proxy socks5://c:3 (proxy-url of the kubeconfig)");
        assert_eq!(to("https://127.0.0.1:6443", Some("http://c:3"), &env), named.replace("socks5", "http"));
        assert_eq!(to("https://api", Some(""), &[("HTTPS_PROXY", "")]), "none");
        // kubectl ignores ALL_PROXY.
        assert_eq!(to("https://api", None, &[("ALL_PROXY", "http://a:1")]), "none");
    }

    #[test]
    fn an_unusable_proxy_is_named_by_its_setting_and_not_quoted() {
        for url in ["ftp://me:SECRET@a", "http://me:SECRET@", "http://SECRET a", "socks4://SECRET", "http://SECRET:x"] {
            for server in ["https://api", "http://api", "https://127.0.0.1"] {
                let error = to(server, None, &[("https_proxy", url)]);
                assert!(error.starts_with("https_proxy is not the URL of a proxy: "), "{url}: {error}");
                assert!(!error.contains("SECRET"), "{error}");
            }
        }
    }

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (none, server, direct) in [
            ("", "localhost", true),
            ("", "127.8.0.1", true),
            ("", "[::1]", true),
            ("", "10.0.0.1", false),
            (" * ", "api", true),
            ("x,*", "10.0.0.1", true),
            ("10.0.0.0/8, x", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "[fd00::1]", false),
            ("fd00::/8", "[fd12::1]", true),
            ("fd00::1", "[fd00::1]", true),
            ("[fd00::1]:6443", "[fd00::1]", true),
            ("[fd00::1]:443", "[fd00::1]", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1:6443", "10.0.0.1", true),
            ("10.0.0.1:443", "10.0.0.1", false),
            ("Corp.Example", "api.corp.example", true),
            ("corp.example", "API.corp.example", true),
            ("corp.example", "corp.example", true),
            ("corp.example", "notcorp.example", false),
            ("*.corp.example", "a.corp.example", true),
            (".corp.example", "a.corp.example", true),
            ("corp.example:6443", "a.corp.example", true),
            ("corp.example:1", "a.corp.example", false),
            (",,", "api", false),
        ] {
            let uri = format!("https://{server}:6443").parse().unwrap();
            assert_eq!(is_direct(&uri, 6443, none), direct, "{none:?} for {server}");
        }
    }
}
