//! What of a URL goes over the wire, and which ones never leave this machine.

use std::net::IpAddr;

/// A URL that requests can be sent to.
pub type Url = reqwest::Url;

/// Path and query as they go over the wire.
pub fn target(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// The Host header that the client sends: without a default port.
pub fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

/// Whether a host, as it stands in a URL, is this machine itself.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_what_is_sent() {
        let url: Url = "https://host:443/a%20b?x=%2F+y".parse().unwrap();
        assert_eq!((host(&url).as_str(), target(&url).as_str()), ("host", "/a%20b?x=%2F+y"));
        let url: Url = "http://[::1]:8081/".parse().unwrap();
        assert_eq!((host(&url).as_str(), target(&url).as_str()), ("[::1]:8081", "/"));
    }

    #[test]
    fn loopback_is_by_address_or_as_localhost() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["10.0.0.1", "127.0.0.1.example.com", "[fd00::1]", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
