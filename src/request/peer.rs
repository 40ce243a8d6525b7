//! The other end of a TLS connection, and what was found of it so far.
//!
//! Results are kept here, with the connection that they are about, and not in a table that all
//! share. So the certificates of one client cannot evict what is known about another one, and a
//! result ends with the connection.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use rustls_pki_types::CertificateDer;

use super::untrusted::{Purpose, Untrusted};

/// The other end of a TLS connection, the same for all requests on it.
#[derive(Debug)]
pub struct Peer {
    /// Where it comes from, as far as one sees from here.
    pub address: SocketAddr,
    /// The client's certificates, leaf first; empty if it sent none. The TLS handshake proved that the
    /// peer holds the leaf's key (if it can be read; see `server/tls.rs`), and nothing else: the issuer
    /// was not checked.
    pub chain: Vec<CertificateDer<'static>>,
    known: AtomicBool,
    as_front_proxy: ArcSwapOption<Standing>,
    as_client: ArcSwapOption<Standing>,
}

/// What was found of a peer's chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// The version of what is trusted that it was held against.
    pub version: u64,
    /// How long it holds: seconds since 1970, both ends included.
    pub valid: RangeInclusive<i64>,
    /// The user that the leaf names, or why it is not trusted.
    pub found: Result<Subject, Untrusted>,
}

/// The subject of a certificate that was found good.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// Empty if there is none.
    pub common_name: String,
    /// As many as there are.
    pub organizations: Vec<String>,
    /// Values of 1.3.6.1.4.1.57683.2, by which Kubernetes distinguishes users; one that is not text is
    /// empty.
    pub uids: Vec<String>,
    /// Of the certificate, in hex.
    pub sha256: String,
}

// === impl Peer ===

impl Peer {
    /// A connection without an authenticated caller.
    pub fn new(address: SocketAddr, chain: Vec<CertificateDer<'static>>) -> Self {
        let (as_front_proxy, as_client) = (ArcSwapOption::empty(), ArcSwapOption::empty());
        Self { address, chain, known: AtomicBool::new(false), as_front_proxy, as_client }
    }

    /// Marks the aggregator, or a client that was allowed to read something. It decides about no
    /// request. It counts when there are more connections than the listener keeps, and when there are
    /// more new tokens than may be reviewed at once.
    pub fn vouch(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::vouch`] was called.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// What the chain is worth, if this version has checked it and the result still holds `now`.
    /// Otherwise the result of `look`, which is kept.
    pub fn standing(&self, purpose: Purpose, version: u64, now: i64, look: impl FnOnce() -> Standing) -> Arc<Standing> {
        let kept = match purpose {
            Purpose::FrontProxy => &self.as_front_proxy,
            Purpose::Client => &self.as_client,
        };
        let good = |found: &Arc<Standing>| found.version == version && found.valid.contains(&now);
        kept.load_full().filter(good).unwrap_or_else(|| {
            let found = Arc::new(look());
            kept.store(Some(found.clone()));
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::untrusted::Cause;
    use super::*;

    #[test]
    fn it_is_looked_once_for_each_purpose_version_and_time() {
        let peer = Peer::new(([127, 0, 0, 1], 1).into(), Vec::new());
        let mut looks = 0;
        let mut find = |purpose, version, now| {
            let look = || {
                looks += 1;
                let (common_name, cause) = (String::new(), Cause::OldVersion);
                Standing { version, valid: 10..=19, found: Err(Untrusted { purpose, common_name, cause }) }
            };
            peer.standing(purpose, version, now, look);
            looks
        };
        for (purpose, version, now, expected) in [
            (Purpose::FrontProxy, 1, 10, 1),
            (Purpose::FrontProxy, 1, 19, 1),
            (Purpose::Client, 1, 19, 2),
            (Purpose::FrontProxy, 2, 19, 3),
            (Purpose::FrontProxy, 2, 20, 4),
        ] {
            assert_eq!(find(purpose, version, now), expected, "{purpose:?} {version} {now}");
        }
    }
}
