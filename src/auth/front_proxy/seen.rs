//! The front proxies of the last minutes: when one was accepted, and which were refused and why.
//!
//! A refused certificate proves nothing about the client: any client that reaches the port can show one, with
//! the headers of a front proxy. So a refusal counts as a problem of this server only while no front proxy is
//! accepted. kube-apiserver requests discovery at least every 30 s, whether or not an HPA requests a value. A
//! client that shows many certificates causes a bounded number of lines in the log.

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::request::Untrusted;

/// What happened within this time counts as happening now: two of kube-apiserver's checks.
const RECENT: Duration = Duration::from_secs(60);
/// A refusal that did not recur for this long counts as new.
const SAME_FOR: Duration = Duration::from_secs(300);
/// How often one that goes on is written to the log.
const AGAIN: Duration = Duration::from_secs(30 * 60);
/// Different refusals that are kept: clusters have about three kube-apiservers.
const REFUSALS_MAX: usize = 4;

/// What was seen lately.
pub(in crate::auth) struct Seen(Mutex<Lately>);

struct Lately {
    /// The start of the process counts: kube-apiserver needs a moment to come.
    accepted: Instant,
    /// In the order in which they were first seen.
    refused: Vec<Refused>,
}

struct Refused {
    untrusted: Untrusted,
    last: Instant,
    written: Instant,
}

// === impl Seen ===

impl Seen {
    pub(in crate::auth) fn new() -> Self {
        Self(Mutex::new(Lately { accepted: Instant::now(), refused: Vec::new() }))
    }

    /// A front proxy was accepted.
    pub(in crate::auth) fn accepted(&self) {
        self.0.lock().accepted = Instant::now();
    }

    /// A certificate that was shown as a front proxy's was refused.
    pub(in crate::auth) fn refused(&self, peer: IpAddr, untrusted: &Untrusted) {
        if self.is_news(untrusted) {
            tracing::warn!(%peer, "{untrusted}");
        }
    }

    /// Whether a refusal is to be written. Beyond the limit none is, until others end.
    fn is_news(&self, untrusted: &Untrusted) -> bool {
        let (mut lately, now) = (self.0.lock(), Instant::now());
        lately.refused.retain(|known| now - known.last < SAME_FOR);
        if let Some(known) = lately.refused.iter_mut().find(|known| known.untrusted == *untrusted) {
            known.last = now;
            let is_due = now - known.written >= AGAIN;
            if is_due {
                known.written = now;
            }
            return is_due;
        }
        let has_room = lately.refused.len() < REFUSALS_MAX;
        if has_room {
            lately.refused.push(Refused { untrusted: untrusted.clone(), last: now, written: now });
        }
        has_room
    }

    /// Why no front proxy is accepted: what was refused within the last minute, if nothing was
    /// accepted in it. The same text while the same certificates are refused.
    pub(in crate::auth) fn trouble(&self) -> Option<String> {
        let (lately, now) = (self.0.lock(), Instant::now());
        if now - lately.accepted < RECENT {
            return None;
        }
        let recent = lately.refused.iter().filter(|refused| now - refused.last < RECENT);
        let refused: Vec<String> = recent.map(|refused| refused.untrusted.to_string()).collect();
        (!refused.is_empty())
            .then(|| format!("no front proxy was accepted within the last minute: {}", refused.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::request::{Cause, Purpose};

    fn untrusted(common_name: &str) -> Untrusted {
        Untrusted { purpose: Purpose::FrontProxy, common_name: common_name.to_owned(), cause: Cause::OldVersion }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_a_problem_only_while_no_front_proxy_is_accepted() {
        let (seen, peer) = (Seen::new(), Ipv4Addr::LOCALHOST.into());
        seen.refused(peer, &untrusted("a"));
        assert_eq!(seen.trouble(), None, "the start gives it time");
        tokio::time::advance(RECENT).await;
        assert_eq!(seen.trouble(), None, "it does not recur");
        seen.refused(peer, &untrusted("b"));
        let trouble = seen.trouble().unwrap();
        assert!(trouble.contains(&untrusted("b").to_string()) && !trouble.contains(r#""a""#), "{trouble}");
        seen.refused(peer, &untrusted("a"));
        let both = seen.trouble().unwrap();
        for _check in 0..10 {
            tokio::time::advance(RECENT / 2).await;
            seen.refused(peer, &untrusted("b"));
            seen.refused(peer, &untrusted("a"));
            assert_eq!(seen.trouble().as_ref(), Some(&both), "stable");
        }
        seen.accepted();
        seen.refused(peer, &untrusted("a"));
        assert_eq!(seen.trouble(), None, "a stranger beside a front proxy");
        tokio::time::advance(RECENT).await;
        assert_eq!(seen.trouble(), None, "nor when both are gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_certificates_is_few_lines_and_one_that_goes_on_is_written_again() {
        let seen = Seen::new();
        let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(names.iter().filter(|name| seen.is_news(&untrusted(name))).count(), REFUSALS_MAX);
        let mut written = 0;
        for _check in 0..120 {
            tokio::time::advance(Duration::from_secs(30)).await;
            written += u32::from(seen.is_news(&untrusted("0")));
        }
        assert_eq!(written, 2, "an hour");
        tokio::time::advance(SAME_FOR).await;
        assert!(seen.is_news(&untrusted("0")), "a new one");
        assert_eq!(seen.0.lock().refused.len(), 1);
    }
}
