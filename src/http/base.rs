//! The URL of a service, as a config has it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ::http::Uri;

use super::url::{Url, address, host, is_inside, is_loopback};

/// The addresses of the metadata services of clouds that are not link-local: Alibaba Cloud, Azure, Oracle
/// Cloud and AWS. They hand out credentials to every client.
const METADATA_ADDRESSES: &[&str] =
    &["100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:c1::a9fe:a9fe", "fd00:ec2::254", "fd20:ce::254"];
/// Their names.
const METADATA_NAMES: &[&str] = &["metadata", "metadata.google.internal", "metadata.goog", "instance-data"];
/// The names of kube-apiserver, without `.svc` and what follows.
const KUBE_APISERVER: &[&str] = &["kubernetes", "kubernetes.default"];

/// A scheme, a host, a port, and the prefix of paths.
#[derive(Clone, Eq, PartialEq)]
pub struct BaseUrl(Url);

/// This text is no such URL. No message contains a text that may contain a secret.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadUrl {
    /// It has a user or a password.
    #[error("a URL has no user and no password here: remove them and write `auth`")]
    Credentials,
    /// It is of AMQP.
    #[error(
        "amqp:// is not supported: write an http:// or https:// URL; for RabbitMQ, that of the management API, such as https://HOST:15671"
    )]
    Amqp,
    /// It has a query or a fragment.
    #[error("a URL has no query and no fragment here: write parameters into `params`, and secrets into `auth`")]
    Query,
    /// The host is the metadata service of a cloud.
    #[error("{0} is the metadata service of a cloud, which serves credentials: it can't be a source")]
    Metadata(String),
    /// The host is kube-apiserver.
    #[error("{0} is kube-apiserver, which can't be a source")]
    KubeApiserver(String),
    /// Anything else.
    #[error("this is not a URL of a service: write https://HOST:PORT or http://HOST:PORT/PREFIX")]
    Other,
}

// === impl BaseUrl ===

impl BaseUrl {
    /// The URL of a path there, with these query parameters. Percent-encoded characters of the path stay as
    /// they are. The empty path is the URL itself.
    pub fn at<'q>(&self, path: &str, query: impl IntoIterator<Item = (&'q str, &'q str)>) -> Url {
        let mut url = self.0.clone();
        if !path.is_empty() {
            url.set_path(&format!("{}{path}", self.0.path().trim_end_matches('/')));
        }
        let query = encoded(query);
        url.set_query((!query.is_empty()).then_some(query.as_str()));
        url
    }

    /// The URL itself.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Scheme, host and port: `https://HOST:PORT`.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Name and port, by which [`crate::upstream`] identifies the host.
    pub fn authority(&self) -> String {
        host(&self.0)
    }

    /// Whether its host is inside the cluster, see [`is_inside`].
    pub fn is_inside(&self) -> bool {
        self.0.host_str().is_some_and(is_inside)
    }

    /// Whether credentials cross a network without encryption on the way there.
    pub fn exposes_credentials(&self) -> bool {
        self.0.scheme() == "http" && !self.0.host_str().is_some_and(is_loopback)
    }
}

impl FromStr for BaseUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let url: Url = text.parse().map_err(|_| BadUrl::Other)?;
        if matches!(url.scheme(), "amqp" | "amqps") {
            return Err(BadUrl::Amqp);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadUrl::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BadUrl::Query);
        }
        // Some hosts are valid for browsers only: `https://a{b`. Percent-encoded ones are for no service.
        let (authority, is_http) = (authority(text), matches!(url.scheme(), "http" | "https"));
        // Browsers also take `https:host`, `https:\\host` and line feeds.
        let is_plain = text.contains("://") && !text.contains(|c: char| c == '\\' || c.is_ascii_whitespace());
        let is_usable =
            is_plain && url.as_str().parse::<Uri>().is_ok() && authority.is_ascii() && !authority.contains('%');
        let Some(host) = url.host_str().filter(|_| is_http && is_usable) else { return Err(BadUrl::Other) };
        refuse(host, std::env::var("KUBERNETES_SERVICE_HOST").ok().as_deref())?;
        Ok(Self(url))
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parameters in the form of a query or of `application/x-www-form-urlencoded`.
pub fn encoded<'q>(pairs: impl IntoIterator<Item = (&'q str, &'q str)>) -> String {
    let Ok(mut url) = Url::parse("http://host/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(pairs);
    // A blank as `%20`, because `+` is a plus for some services. A plus is `%2B`.
    url.query().unwrap_or_default().replace('+', "%20")
}

/// A text in that form.
pub(super) fn encoded_text(text: &str) -> String {
    encoded([(text, "")]).trim_end_matches('=').to_owned()
}

/// The part of a URL between the scheme and the path.
fn authority(text: &str) -> &str {
    let rest = text.split_once("//").map_or(text, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Refuses hosts that are no source, and to which no request of a config may go.
fn refuse(host: &str, kube_apiserver: Option<&str>) -> Result<(), BadUrl> {
    let address = address(host);
    let is = |text: &str| text.parse::<IpAddr>().is_ok_and(|known| Some(known) == address);
    let is_link_local = match address {
        Some(IpAddr::V4(address)) => address.is_link_local(),
        Some(IpAddr::V6(address)) => address.is_unicast_link_local(),
        None => false,
    };
    let name = host.trim_end_matches('.');
    if is_link_local || METADATA_ADDRESSES.iter().any(|known| is(known)) || METADATA_NAMES.contains(&name) {
        return Err(BadUrl::Metadata(host.to_owned()));
    }
    let service = name.split_once(".svc").filter(|(_, rest)| rest.is_empty() || rest.starts_with('.'));
    let service = service.map_or(name, |(service, _)| service);
    let is_kube_apiserver = kube_apiserver.is_some_and(|known| known == name || is(known));
    if is_kube_apiserver || KUBE_APISERVER.contains(&service) {
        return Err(BadUrl::KubeApiserver(host.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::url::target;

    #[test]
    fn urls_of_services() {
        for (text, printed) in [
            ("https://rabbitmq.shop.svc:15671", "https://rabbitmq.shop.svc:15671"),
            ("http://10.0.0.1/prefix/", "http://10.0.0.1/prefix"),
            ("https://[fd00::1]:8080", "https://[fd00::1]:8080"),
            ("https://host/a%2Fb", "https://host/a%2Fb"),
            ("https://svc.example.com", "https://svc.example.com"),
            ("https://kubernetes.example.com", "https://kubernetes.example.com"),
        ] {
            assert_eq!(text.parse::<BaseUrl>().unwrap().to_string(), printed);
        }
        for (text, error) in [
            ("amqp://user:hidden@host:5672/vhost", BadUrl::Amqp),
            ("https://user:hidden@host", BadUrl::Credentials),
            ("https://:hidden@host", BadUrl::Credentials),
            ("https://user@host", BadUrl::Credentials),
            ("https://host?key=hidden", BadUrl::Query),
            ("https://host/#hidden", BadUrl::Query),
            ("", BadUrl::Other),
            ("host:9090", BadUrl::Other),
            ("ftp://host", BadUrl::Other),
            ("https://", BadUrl::Other),
            ("https://a{b", BadUrl::Other),
            ("https://fr%C3%A4nkfurt", BadUrl::Other),
            ("https://fränkfurt", BadUrl::Other),
            ("https:host", BadUrl::Other),
            ("https:\\\\host", BadUrl::Other),
            ("https://host/a b", BadUrl::Other),
        ] {
            let found = text.parse::<BaseUrl>().unwrap_err();
            assert!(!found.to_string().contains("hidden"), "{found}");
            assert_eq!(found, error, "{text}");
        }
    }

    #[test]
    fn metadata_services_and_kube_apiserver_are_refused() {
        for host in [
            "169.254.169.254",
            "169.254.170.2",
            "0xa9fea9fe",
            "2852039166",
            "[::ffff:169.254.169.254]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "100.100.100.200",
            "168.63.129.16",
            "metadata.google.internal",
            "METADATA.google.internal.",
        ] {
            let error = format!("http://{host}:80/latest").parse::<BaseUrl>().unwrap_err();
            assert!(matches!(error, BadUrl::Metadata(_)), "{host}: {error}");
        }
        for host in [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.",
            "Kubernetes.default.svc.cluster.local",
        ] {
            let error = format!("https://{host}").parse::<BaseUrl>().unwrap_err();
            assert!(matches!(error, BadUrl::KubeApiserver(_)), "{host}: {error}");
        }
        assert!(refuse("10.96.0.1", Some("10.96.0.1")).is_err() && refuse("10.96.0.2", Some("10.96.0.1")).is_ok());
        assert!(refuse("[fd00::1]", Some("fd00:0::1")).is_err());
    }

    #[test]
    fn a_path_is_appended_to_the_prefix_as_it_is() {
        for (base, path, target_of) in [
            ("http://host", "/api/queues/%2F/a%20b", "/api/queues/%2F/a%20b"),
            ("http://host/", "/api", "/api"),
            ("http://host/p%2Fq/", "/api/%2f", "/p%2Fq/api/%2f"),
            ("http://host/stats/", "", "/stats/"),
        ] {
            assert_eq!(target(&base.parse::<BaseUrl>().unwrap().at(path, [])), target_of);
        }
        let url = "http://host".parse::<BaseUrl>().unwrap().at("/q", [("a", "é b+c&d=e~*"), ("b", "")]);
        assert_eq!(target(&url), "/q?a=%C3%A9%20b%2Bc%26d%3De%7E*&b=");
    }
}
