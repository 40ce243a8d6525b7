//! What of a URL goes over the wire, and which hosts are near.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::LazyLock;

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

/// Whether a URL has a scheme, a host and a port only.
pub fn is_bare(url: &Url) -> bool {
    url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// Whether a host, as it stands in a URL, is this machine itself.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || address(host).is_some_and(|address| address.is_loopback())
}

/// Whether a host, as it stands in a URL, is out of the reach of proxies: inside, or a private address.
pub fn is_near(host: &str) -> bool {
    is_inside(host) || address(host).is_some_and(is_private)
}

/// Whether a host, as it stands in a URL, is this machine, or a Service of this cluster by its full name. A
/// private address may be anywhere in the network around the cluster.
pub fn is_inside(host: &str) -> bool {
    static DOMAIN: LazyLock<String> = LazyLock::new(|| {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        cluster_domain(&text).unwrap_or("cluster.local").to_owned()
    });
    is_loopback(host) || is_service(host, &DOMAIN)
}

/// The address that a host is, if it is none by name.
pub(super) fn address(host: &str) -> Option<IpAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr = bare.parse().ok()?;
    Some(address.to_canonical())
}

/// The domain of the cluster, by the search list that kubelet writes for pods:
/// `search NAMESPACE.svc.DOMAIN svc.DOMAIN DOMAIN`.
fn cluster_domain(resolv_conf: &str) -> Option<&str> {
    let lists = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("search"));
    lists.flat_map(str::split_ascii_whitespace).find_map(|name| name.strip_prefix("svc."))
}

fn is_service(host: &str, domain: &str) -> bool {
    let host = host.trim_end_matches('.');
    let of_cluster = host.strip_suffix(domain).and_then(|host| host.strip_suffix('.'));
    of_cluster.unwrap_or(host).ends_with(".svc")
}

/// Of RFC 1918 or RFC 4193, or of the range that clusters use for pods beside them (RFC 6598).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private() || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(address) => Ipv6Addr::is_unique_local(&address),
    }
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
    fn services_and_private_addresses_are_near() {
        assert_eq!(
            cluster_domain("nameserver 10.0.0.10\nsearch shop.svc.k8s.example svc.k8s.example k8s.example\n"),
            Some("k8s.example")
        );
        assert_eq!(cluster_domain("search example.com\n"), None);
        for (host, is_near) in [
            ("a.b.svc", true),
            ("a.b.svc.", true),
            ("a.b.svc.k8s.example", true),
            ("0.a.b.svc.k8s.example.", true),
            ("a.b.svc.example.com", false),
            ("a.b.k8s.example", false),
            ("a.svcs", false),
        ] {
            assert_eq!(is_service(host, "k8s.example"), is_near, "{host}");
        }
        for host in ["localhost", "127.0.0.1", "[::1]", "a.b.svc"] {
            assert!(is_near(host) && is_inside(host), "{host}");
        }
        for (host, near) in [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("192.168.0.1", true),
            ("100.64.0.1", true),
            ("[fd00::1]", true),
            ("[::ffff:10.0.0.1]", true),
            ("172.32.0.1", false),
            ("100.128.0.1", false),
            ("[2001:db8::1]", false),
            ("10.0.0.1.example.com", false),
        ] {
            assert_eq!((is_near(host), is_inside(host)), (near, false), "{host}");
        }
    }

    #[test]
    fn loopback_is_by_address_or_as_localhost() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["10.0.0.1", "127.0.0.1.example.com", "[fd00::1]", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
