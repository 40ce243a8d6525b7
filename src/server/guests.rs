//! The open connections, and which one is closed when the limit is reached.
//!
//! A new connection is always accepted: it may be the aggregator's, which cannot be distinguished
//! from others before its handshake. Another one is closed instead. It is taken from those without
//! an authenticated caller (see [`Peer::is_known`]), and there from the address with the most: the
//! one that was idle for longest.
//!
//! So a flood from one address closes only its own connections, and one from many addresses only
//! unauthenticated ones. No connection of an authenticated caller is closed before the last other
//! one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::request::Peer;

/// All connections of one server.
pub(super) struct Guests {
    max: usize,
    present: Mutex<Present>,
}

#[derive(Default)]
struct Present {
    next: u64,
    guests: HashMap<u64, Arc<Guest>>,
}

/// One connection.
pub(super) struct Guest {
    pub(super) address: SocketAddr,
    /// After the handshake.
    peer: OnceLock<Arc<Peer>>,
    asked_to_go: CancellationToken,
    came: Instant,
    /// Milliseconds from `came` to the begin of its last request.
    last_request: AtomicU64,
    requests: AtomicUsize,
}

/// A connection's place; dropped with the connection.
pub(super) struct Place {
    guests: Arc<Guests>,
    id: u64,
    guest: Arc<Guest>,
}

// === impl Guests ===

impl Guests {
    pub(super) fn new(max: usize) -> Self {
        Self { max, present: Mutex::default() }
    }

    /// A place for a new connection. If there is none, another connection is closed.
    pub(super) fn admit(self: &Arc<Self>, address: SocketAddr) -> Place {
        let guest = Arc::new(Guest::new(address));
        let mut present = self.present.lock();
        while present.guests.len() >= self.max {
            let Some(id) = present.dispensable() else { break };
            if let Some(guest) = present.guests.remove(&id) {
                tracing::debug!(address = %guest.address, "closing a connection, because the limit on connections is reached");
                guest.asked_to_go.cancel();
            }
        }
        let id = present.next;
        present.next += 1;
        present.guests.insert(id, guest.clone());
        drop(present);
        Place { guests: self.clone(), id, guest }
    }
}

// === impl Present ===

impl Present {
    fn dispensable(&self) -> Option<u64> {
        let mut of_address: HashMap<(bool, IpAddr), usize> = HashMap::new();
        for guest in self.guests.values() {
            *of_address.entry(guest.kin()).or_default() += 1;
        }
        let rank = |guest: &Guest| {
            let kin = guest.kin();
            let (known, _) = kin;
            (!known, of_address.get(&kin).copied(), guest.quiet())
        };
        self.guests.iter().max_by_key(|(_, guest)| rank(guest)).map(|(id, _)| *id)
    }
}

// === impl Guest ===

impl Guest {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            peer: OnceLock::new(),
            asked_to_go: CancellationToken::new(),
            came: Instant::now(),
            last_request: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
        }
    }

    /// Sets the peer that the handshake has authenticated.
    pub(super) fn is(&self, peer: Peer) -> Arc<Peer> {
        self.peer.get_or_init(|| Arc::new(peer)).clone()
    }

    /// Ends when another connection needs the place.
    pub(super) async fn asked_to_go(&self) {
        self.asked_to_go.cancelled().await;
    }

    /// Takes note of a request.
    pub(super) fn asks(&self) {
        let since = u64::try_from(self.came.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_request.store(since, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there was a request yet.
    pub(super) fn has_asked(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// Since its last request, or since it came.
    pub(super) fn quiet(&self) -> Duration {
        self.came.elapsed().saturating_sub(Duration::from_millis(self.last_request.load(Ordering::Relaxed)))
    }

    fn kin(&self) -> (bool, IpAddr) {
        (self.peer.get().is_some_and(|peer| peer.is_known()), network(self.address.ip()))
    }
}

// === impl Place ===

impl Place {
    pub(super) fn guest(&self) -> &Arc<Guest> {
        &self.guest
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guests.present.lock().guests.remove(&self.id);
    }
}

/// What one machine can choose its address from: of IPv6 it has 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct House {
        guests: Arc<Guests>,
        places: Vec<Place>,
    }

    impl House {
        fn of(max: usize) -> Self {
            Self { guests: Arc::new(Guests::new(max)), places: Vec::new() }
        }

        /// A connection opens, a second after the last one.
        async fn comes(&mut self, address: &str) -> usize {
            tokio::time::advance(Duration::from_secs(1)).await;
            self.places.push(self.guests.admit((address.parse::<IpAddr>().unwrap(), 1).into()));
            self.places.len() - 1
        }

        fn gone(&self) -> Vec<usize> {
            let gone = |(at, place): (usize, &Place)| place.guest.asked_to_go.is_cancelled().then_some(at);
            self.places.iter().enumerate().filter_map(gone).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_quiet_for_longest_goes_first() {
        let mut house = House::of(3);
        for _ in 0..3 {
            house.comes("10.0.0.1").await;
        }
        house.places[0].guest.asks();
        house.comes("10.0.0.1").await;
        assert_eq!(house.gone(), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_from_one_address_pushes_out_itself() {
        let mut house = House::of(4);
        let first = house.comes("10.0.0.9").await;
        for _ in 0..100 {
            house.comes("10.0.0.1").await;
        }
        assert_eq!((house.gone().len(), house.gone().contains(&first)), (97, false));
    }

    #[tokio::test(start_paused = true)]
    async fn one_network_of_ipv6_is_one_address() {
        let mut house = House::of(4);
        let first = house.comes("fd00:0:0:1::1").await;
        for host in 1..100 {
            house.comes(&format!("fd00:0:0:2::{host:x}")).await;
        }
        assert!(!house.gone().contains(&first));
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1".parse::<IpAddr>().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_known_stays_while_there_are_strangers() {
        let mut house = House::of(4);
        for _ in 0..3 {
            let known = house.comes("10.0.0.1").await;
            let guest = &house.places[known].guest;
            guest.is(Peer::new(guest.address, Vec::new())).vouch();
        }
        for host in 0..100 {
            house.comes(&format!("10.1.0.{host}")).await;
        }
        assert_eq!((house.gone().len(), house.gone()[0]), (99, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_when_its_connection_ends() {
        let mut house = House::of(2);
        for _ in 0..10 {
            house.comes("10.0.0.1").await;
            house.comes("10.0.0.2").await;
            assert_eq!(house.gone(), [0; 0]);
            house.places.clear();
        }
    }
}
