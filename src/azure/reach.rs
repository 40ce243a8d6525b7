//! Where a host is that could not be connected to, or that gave no answer in time.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::http::url::{Url, is_near};

/// How long the address is looked up, which was found a moment ago.
const TIMEOUT: Duration = Duration::from_millis(500);
/// The same after the deadline of the read, which may end this much later.
const OVERTIME: Duration = Duration::from_millis(200);

/// What the name of a host resolves to here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// A private address, as that of a private endpoint.
    Private,
    /// A public address.
    Public,
}

// === impl Reach ===

impl Reach {
    /// That of the host of a URL. `None` if it is not known in time.
    pub(super) async fn of(url: &Url, by: Instant) -> Option<Self> {
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let now = Instant::now();
        let by = by.clamp(now + OVERTIME, now + TIMEOUT);
        let found = tokio::time::timeout_at(by, tokio::net::lookup_host((host, 0))).await.ok()?.ok()?;
        Self::of_addresses(found.map(|address| address.ip()))
    }

    /// Private if all addresses are. One public address is reason enough to check the DNS zone.
    fn of_addresses(addresses: impl Iterator<Item = IpAddr>) -> Option<Self> {
        let mut near = addresses.map(|address| is_near(&address.to_string())).peekable();
        near.peek()?;
        Some(if near.all(|near| near) { Self::Private } else { Self::Public })
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Private => "a private address",
            Self::Public => "a public address",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_private_or_public() {
        for (addresses, reach) in [
            (&["10.1.2.3"][..], Some(Reach::Private)),
            (&["192.168.1.1", "fd00::1"], Some(Reach::Private)),
            (&["20.50.1.2"], Some(Reach::Public)),
            (&["10.1.2.3", "20.50.1.2"], Some(Reach::Public)),
            (&["2603:1020::1"], Some(Reach::Public)),
            (&[], None),
        ] {
            let of = Reach::of_addresses(addresses.iter().map(|address| address.parse().unwrap()));
            assert_eq!(of, reach, "{addresses:?}");
        }
    }
}
