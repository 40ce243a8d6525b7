//! A service that depthgauge queries. This module limits the requests per second to the service and the
//! concurrent reads at each host. It decides whether a host is down and whether a failed request may be
//! repeated. It depends on no protocol: [`crate::http`] reports how each request ended, and can't send
//! one without an [`Upstream`].
//!
//! A poller waits for the turn of a read by [`Upstream::admit`]. Reads have owners, which are any
//! texts, and turns and permits go round-robin over them. Further requests of that read (a page, a
//! retry, a second host) are charged to the same rate by [`Upstream::charge`]. They do not wait,
//! because the deadline of the read is running.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

mod breaker;
mod line;
mod pauses;
mod permits;
mod rate_limiter;
pub mod retry;

pub use breaker::PROBE_EVERY;
use breaker::{Breaker, OPEN_AFTER};
use pauses::Pauses;
pub use permits::{Permit, Permits};
use rate_limiter::RateLimiter;
use retry::RetryBudget;

/// The default of [`Limits::in_flight`]. One owner gets half of it. With 50 ms a read that is more than
/// a thousand a second, five times the default rate of the busiest kind. Each has a connection of some
/// 40 KiB.
pub const IN_FLIGHT_MAX: usize = 128;

/// The limits of a service.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests a second, those of all hosts together.
    pub requests_per_second: u32,
    /// Reads in flight at one host. Counted by host, so that one that hangs takes nothing from
    /// another.
    pub in_flight: usize,
    /// Where the rate is configured, for the log: `oci.maxRequestsPerSecond`.
    pub rate_key: String,
}

/// A service, shared by everything that sends requests to it.
#[derive(Debug)]
pub struct Upstream {
    rate: RateLimiter,
    in_flight: usize,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

/// One host of a service.
#[derive(Debug)]
pub struct Host {
    name: String,
    state: Mutex<State>,
    permits: Arc<Permits>,
}

#[derive(Debug, Default)]
struct State {
    breaker: Breaker,
    budget: RetryBudget,
    pauses: Pauses,
}

/// The right to read now, for as long as it is held.
#[derive(Debug, Default)]
pub struct Admission {
    /// How long the read waited because more reads are due than the rate allows.
    pub waited: Duration,
    /// A permit among the reads in flight at the host.
    pub permit: Option<Permit>,
}

/// Why a request got no response. A [`Refusal`] returns it.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// How a request ended, as far as the state of the host depends on it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The host works. An error status that is about the request is an answer too.
    Answered,
    /// The host works and limits its clients.
    Throttled,
    /// The host does not work: no connection, no answer in time, or a 5xx that may pass.
    Failed(Cause),
    /// Nothing was sent, so nothing is known.
    NotSent,
}

/// Why a request is not sent now.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The failure of an earlier request.
    pub cause: Cause,
    /// The rest of `Retry-After`, if the service sent one. Otherwise its host is down.
    pub retry_after: Option<Duration>,
}

// === impl Limits ===

impl Limits {
    /// This rate, and the default of everything else.
    pub fn new(requests_per_second: u32, rate_key: impl Into<String>) -> Self {
        Self { requests_per_second, in_flight: IN_FLIGHT_MAX, rate_key: rate_key.into() }
    }
}

// === impl Upstream ===

impl Upstream {
    /// A service without any recorded requests.
    pub fn new(limits: Limits) -> Self {
        let Limits { requests_per_second, in_flight, rate_key } = limits;
        Self { rate: RateLimiter::new(requests_per_second, rate_key), in_flight, hosts: Mutex::default() }
    }

    /// Waits until a read may begin: for its turn, and for a permit at the `host` that it queries
    /// first, if that is known. A read that is refused there needs neither, because it sends nothing.
    /// `owners`: the namespaces that it is read for. It waits among the reads of the one with the
    /// fewest, so that none of them delays what it shares with others. `urgent`: there is no value to
    /// serve meanwhile.
    pub async fn admit(&self, host: Option<&str>, key: &str, owners: &[&str], urgent: bool) -> Admission {
        let host = host.map(|host| self.host(host));
        if host.as_ref().is_some_and(|host| host.state().refusal(key, Instant::now()).is_some()) {
            return Admission::default();
        }
        let waited = self.rate.admit(owners, urgent).await;
        let permit = match host {
            Some(host) => host.permits.acquire(owners, urgent).await,
            None => None,
        };
        Admission { waited, permit }
    }

    /// Charges a request that waited for no turn; later reads wait for it.
    pub fn charge(&self) {
        self.rate.charge();
    }

    /// Whether reads that are not urgent wait for their turns where a read of these owners would wait.
    pub fn is_saturated(&self, owners: &[&str]) -> bool {
        self.rate.is_saturated(owners)
    }

    /// How many reads of each owner wait or are in flight.
    pub fn owners(&self) -> BTreeMap<String, usize> {
        let mut owners = BTreeMap::new();
        self.rate.count(&mut owners);
        let hosts: Vec<_> = self.hosts.lock().values().cloned().collect();
        for host in hosts {
            host.permits.count(&mut owners);
        }
        owners
    }

    /// Whether this host is marked down.
    pub fn breaker_open(&self, host: &str) -> bool {
        self.host(host).state().breaker.is_open()
    }

    /// How many requests have failed in a row and the last cause, if this host is marked down for requests of this key.
    /// It is marked down for them because one of them failed there. One request every [`PROBE_EVERY`] is sent.
    pub fn marked_down(&self, host: &str, key: &str) -> Option<(u32, Cause)> {
        let host = self.host(host);
        let state = host.state();
        state.breaker.failures(key).map(|(failures, cause)| (failures, cause.clone()))
    }

    /// Removes all other hosts. A request or read in flight keeps its host.
    pub fn retain(&self, is_kept: impl Fn(&str) -> bool) {
        self.hosts.lock().retain(|name, _| is_kept(name));
    }

    /// One of its hosts, by name and port.
    pub fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock();
        if let Some(host) = hosts.get(name) {
            return host.clone();
        }
        let host = Arc::new(Host::new(name, self.in_flight));
        hosts.insert(name.to_owned(), host.clone());
        host
    }
}

// === impl Host ===

impl Host {
    fn new(name: &str, in_flight: usize) -> Self {
        Self { name: name.to_owned(), state: Mutex::default(), permits: Arc::new(Permits::new(in_flight)) }
    }

    /// Lets a request through, or returns why it must not be sent. Failures are kept by `key`: it
    /// is equal for requests that fail together, such as a path.
    pub fn admit(&self, key: &str, now: Instant) -> Result<(), Refusal> {
        let mut state = self.state();
        if let Some(refusal) = state.refusal(key, now) {
            return Err(refusal);
        }
        state.breaker.pass(now);
        Ok(())
    }

    /// Records how a request ended. Returns whether it may be repeated.
    pub fn record(&self, key: &str, outcome: &Outcome, now: Instant) -> bool {
        let mut state = self.state();
        state.budget.record(outcome);
        if state.breaker.record(key, outcome, now) {
            let host = &*self.name;
            match outcome {
                Outcome::Failed(cause) => tracing::warn!(
                    host, error = %cause,
                    "endpoint marked down after {OPEN_AFTER} consecutive failures, probing every {PROBE_EVERY:?}"
                ),
                _ => tracing::info!(host, "endpoint answers again"),
            }
        }
        state.budget.allows_retry()
    }

    /// Sends no further request of this key for this long, as the service requested.
    pub fn pause(&self, key: &str, wait: Duration, cause: Cause, now: Instant) {
        self.state().pauses.begin(key, wait, cause, now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

// === impl State ===

impl State {
    fn refusal(&self, key: &str, now: Instant) -> Option<Refusal> {
        let paused = self.pauses.left(key, now).map(|(left, cause)| (cause, Some(left)));
        let refused = paused.or_else(|| self.breaker.refusal(key, now).map(|cause| (cause, None)));
        refused.map(|(cause, retry_after)| Refusal { cause: cause.clone(), retry_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause() -> Cause {
        Arc::from(Box::<dyn Error + Send + Sync>::from("503"))
    }

    fn upstream(in_flight: usize) -> Upstream {
        Upstream::new(Limits { in_flight, ..Limits::new(10, "test.maxRequestsPerSecond") })
    }

    #[test]
    fn hosts_that_are_gone_are_forgotten() {
        let upstream = upstream(1);
        let hosts = ["a", "b"].map(|name| upstream.host(name));
        upstream.retain(|name| name == "a");
        let again = ["a", "b"].map(|name| upstream.host(name));
        let same = hosts.iter().zip(&again).map(|(before, after)| Arc::ptr_eq(before, after));
        assert_eq!(same.collect::<Vec<_>>(), [true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_counted_by_host() {
        let upstream = upstream(1);
        let first = upstream.admit(Some("a"), "/", &[], false).await;
        assert!(first.permit.is_some());
        assert!(
            tokio::time::timeout(Duration::from_secs(60), upstream.admit(Some("a"), "/", &[], true)).await.is_err()
        );
        assert!(upstream.admit(Some("b"), "/", &[], false).await.permit.is_some());
        assert!(upstream.admit(None, "/", &[], false).await.permit.is_none());
        drop(first);
        assert!(upstream.admit(Some("a"), "/", &[], false).await.permit.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn owners_have_what_waits_and_what_is_in_flight() {
        let upstream = upstream(2);
        let _place = upstream.admit(Some("a"), "/", &["shop"], false).await;
        let second = upstream.admit(Some("a"), "/", &["shop"], false);
        assert!(tokio::time::timeout(Duration::from_secs(1), second).await.is_err());
        let third = tokio::time::timeout(Duration::from_secs(1), upstream.admit(Some("a"), "/", &["team-b"], false));
        let _third = third.await.unwrap();
        let owners = |upstream: &Upstream| upstream.owners().into_iter().collect::<Vec<_>>();
        assert_eq!(owners(&upstream), [("shop".to_owned(), 1), ("team-b".to_owned(), 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_sends_nothing_waits_for_nothing() {
        let upstream = upstream(1);
        let host = upstream.host("a");
        let _place = upstream.admit(Some("a"), "/", &[], false).await;
        for _ in 0..OPEN_AFTER {
            host.record("/down", &Outcome::Failed(cause()), Instant::now());
        }
        host.pause("/paused", Duration::from_secs(30), cause(), Instant::now());
        assert!(upstream.breaker_open("a") && !upstream.breaker_open("b"));
        let (failures, cause) = upstream.marked_down("a", "/down").unwrap();
        assert_eq!((failures, cause.to_string()), (OPEN_AFTER, "503".to_owned()));
        assert!(upstream.marked_down("a", "/other").is_none(), "no request of it has failed");
        for key in ["/down", "/paused"] {
            let admission = upstream.admit(Some("a"), key, &[], false).await;
            assert!(admission.permit.is_none() && admission.waited.is_zero(), "{key}");
        }
        assert!(
            tokio::time::timeout(Duration::from_secs(1), upstream.admit(Some("a"), "/", &[], false)).await.is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_kept_by_its_key_and_for_its_time() {
        let upstream = upstream(1);
        let (host, wait) = (upstream.host("a"), Duration::from_secs(7));
        host.pause("/q", wait, cause(), Instant::now());
        // The end of a request that was in flight meanwhile does not end it.
        host.record("/q", &Outcome::Answered, Instant::now());
        let refusal = host.admit("/q", Instant::now()).unwrap_err();
        assert_eq!((refusal.retry_after, refusal.cause.to_string()), (Some(wait), "503".to_owned()));
        assert!(host.admit("/other", Instant::now()).is_ok());
        assert!(upstream.host("b").admit("/q", Instant::now()).is_ok());
        tokio::time::advance(wait).await;
        assert!(host.admit("/q", Instant::now()).is_ok());
    }

    #[test]
    fn a_host_that_is_down_refuses_by_what_was_met() {
        let upstream = upstream(1);
        let (host, now) = (upstream.host("a"), Instant::now());
        for _ in 0..OPEN_AFTER {
            host.record("/q", &Outcome::Failed(cause()), now);
        }
        let refusal = host.admit("/q", now).unwrap_err();
        assert_eq!((refusal.retry_after, refusal.cause.to_string()), (None, "503".to_owned()));
        assert!(host.admit("/q", now + PROBE_EVERY).is_ok());
        assert!(host.admit("/q", now + PROBE_EVERY).is_err(), "one probe at a time");
    }
}
