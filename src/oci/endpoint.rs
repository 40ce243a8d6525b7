//! Where signed requests go: a scheme, host and port.

use std::fmt;
use std::str::FromStr;

use http::Uri;

use crate::http::base::encoded;
use crate::http::url::{Url, host, is_bare, is_loopback};

/// A scheme, host and port that signed requests may be sent to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint(Url);

/// This text is no such address.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not an endpoint: write https://messaging.eu-frankfurt-1.oci.oraclecloud.com, without path or user; http:// is for loopback addresses only"
)]
pub struct BadEndpoint(String);

// === impl Endpoint ===

impl Endpoint {
    /// The URL of a path there.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(path);
        url
    }

    /// The name of the host.
    pub(super) fn host(&self) -> Option<&str> {
        self.0.host_str()
    }

    /// Whether it is this machine itself.
    pub fn is_local(&self) -> bool {
        self.host().is_some_and(is_loopback)
    }

    /// Name and port, by which [`crate::upstream`] identifies it.
    pub fn authority(&self) -> String {
        host(&self.0)
    }

    /// The same with a query, whose values may be any text.
    pub(super) fn url_with(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.url(path);
        let query = encoded(query.iter().copied());
        url.set_query((!query.is_empty()).then_some(query.as_str()));
        url
    }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let bad = || BadEndpoint(text.to_owned());
        // A URL may hide anything in its host by `%C3`, for which there are rules that no service needs.
        if !text.is_ascii() || text.contains('%') {
            return Err(bad());
        }
        let url: Url = text.trim_end_matches('/').parse().map_err(|_| bad())?;
        let safe = match (url.scheme(), url.host()) {
            ("https", Some(_)) => true,
            ("http", Some(host)) => is_loopback(&host.to_string()),
            _ => false,
        };
        // Some hosts are a URL to browsers, but cannot be requested over HTTP: `https://a{b`.
        let askable = url.as_str().parse::<Uri>().is_ok();
        if is_bare(&url) && safe && askable { Ok(Self(url)) } else { Err(bad()) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::url::target;

    #[test]
    fn endpoints() {
        for (text, printed) in [
            (
                "https://messaging.eu-frankfurt-1.oci.oraclecloud.com",
                "https://messaging.eu-frankfurt-1.oci.oraclecloud.com",
            ),
            ("https://cell-1.queue.example.com/", "https://cell-1.queue.example.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://host:443", "https://host"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), printed);
        }
        for bad in [
            "",
            "host",
            "http://example.com",
            "http://10.0.0.1",
            "https://u@host",
            "https://u:p@host",
            "https://host/x",
            "https://host?x=1",
            "ftp://127.0.0.1",
            "file:///etc/passwd",
            "http://127.0.0.1.example.com",
            "https://a{b.example.com",
            "https://fr%C3%A4nkfurt.example.com",
            "https://frÄnkfurt.example.com",
            "https://A%FF.example.com",
            "https://%65xample.com",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_query_may_hold_any_text() {
        let endpoint: Endpoint = "https://host".parse().unwrap();
        let url = endpoint.url_with("/stats", &[("channelId", "orders/eu west+1&x=é~*"), ("b", "")]);
        assert_eq!(target(&url), "/stats?channelId=orders%2Feu%20west%2B1%26x%3D%C3%A9%7E*&b=");
        assert_eq!(target(&endpoint.url_with("/stats", &[])), "/stats");
    }
}
