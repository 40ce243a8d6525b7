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
pub(super) struct Connections {
    max: usize,
    present: Mutex<Present>,
}

#[derive(Default)]
struct Present {
    next: u64,
    open: HashMap<u64, Arc<Connection>>,
}

/// One connection.
pub(super) struct Connection {
    pub(super) address: SocketAddr,
    /// After the handshake.
    peer: OnceLock<Arc<Peer>>,
    closing: CancellationToken,
    came: Instant,
    /// Milliseconds from `came` to the begin of its last request.
    last_request: AtomicU64,
    requests: AtomicUsize,
}

/// A connection's slot; dropped with the connection.
pub(super) struct Slot {
    connections: Arc<Connections>,
    id: u64,
    connection: Arc<Connection>,
}

// === impl Connections ===

impl Connections {
    pub(super) fn new(max: usize) -> Self {
        Self { max, present: Mutex::default() }
    }

    /// A slot for a new connection. If there is none, another connection is closed.
    pub(super) fn admit(self: &Arc<Self>, address: SocketAddr) -> Slot {
        let connection = Arc::new(Connection::new(address));
        let mut present = self.present.lock();
        while present.open.len() >= self.max {
            let Some(id) = present.dispensable() else { break };
            if let Some(connection) = present.open.remove(&id) {
                tracing::debug!(address = %connection.address, "closing a connection, because the limit on connections is reached");
                connection.closing.cancel();
            }
        }
        let id = present.next;
        present.next += 1;
        present.open.insert(id, connection.clone());
        drop(present);
        Slot { connections: self.clone(), id, connection }
    }
}

// === impl Present ===

impl Present {
    fn dispensable(&self) -> Option<u64> {
        let mut of_address: HashMap<(bool, IpAddr), usize> = HashMap::new();
        for connection in self.open.values() {
            *of_address.entry(connection.kin()).or_default() += 1;
        }
        let rank = |connection: &Connection| {
            let kin = connection.kin();
            let (known, _) = kin;
            (!known, of_address.get(&kin).copied(), connection.quiet())
        };
        self.open.iter().max_by_key(|(_, connection)| rank(connection)).map(|(id, _)| *id)
    }
}

// === impl Connection ===

impl Connection {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            peer: OnceLock::new(),
            closing: CancellationToken::new(),
            came: Instant::now(),
            last_request: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
        }
    }

    /// Sets the peer that the handshake has authenticated.
    pub(super) fn is(&self, peer: Peer) -> Arc<Peer> {
        self.peer.get_or_init(|| Arc::new(peer)).clone()
    }

    /// Ends when another connection needs the slot.
    pub(super) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Takes note of a request.
    pub(super) fn count_request(&self) {
        let since = u64::try_from(self.came.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_request.store(since, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there was a request yet.
    pub(super) fn has_requested(&self) -> bool {
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

// === impl Slot ===

impl Slot {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.present.lock().open.remove(&self.id);
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

    struct Scene {
        connections: Arc<Connections>,
        slots: Vec<Slot>,
    }

    impl Scene {
        fn of(max: usize) -> Self {
            Self { connections: Arc::new(Connections::new(max)), slots: Vec::new() }
        }

        /// A connection opens, a second after the last one.
        async fn comes(&mut self, address: &str) -> usize {
            tokio::time::advance(Duration::from_secs(1)).await;
            self.slots.push(self.connections.admit((address.parse::<IpAddr>().unwrap(), 1).into()));
            self.slots.len() - 1
        }

        fn gone(&self) -> Vec<usize> {
            let gone = |(at, slot): (usize, &Slot)| slot.connection.closing.is_cancelled().then_some(at);
            self.slots.iter().enumerate().filter_map(gone).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_quiet_for_longest_goes_first() {
        let mut scene = Scene::of(3);
        for _ in 0..3 {
            scene.comes("10.0.0.1").await;
        }
        scene.slots[0].connection.count_request();
        scene.comes("10.0.0.1").await;
        assert_eq!(scene.gone(), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_from_one_address_pushes_out_itself() {
        let mut scene = Scene::of(4);
        let first = scene.comes("10.0.0.9").await;
        for _ in 0..100 {
            scene.comes("10.0.0.1").await;
        }
        assert_eq!((scene.gone().len(), scene.gone().contains(&first)), (97, false));
    }

    #[tokio::test(start_paused = true)]
    async fn one_network_of_ipv6_is_one_address() {
        let mut scene = Scene::of(4);
        let first = scene.comes("fd00:0:0:1::1").await;
        for host in 1..100 {
            scene.comes(&format!("fd00:0:0:2::{host:x}")).await;
        }
        assert!(!scene.gone().contains(&first));
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1".parse::<IpAddr>().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_known_stays_while_there_are_strangers() {
        let mut scene = Scene::of(4);
        for _ in 0..3 {
            let known = scene.comes("10.0.0.1").await;
            let connection = &scene.slots[known].connection;
            connection.is(Peer::new(connection.address, Vec::new())).vouch();
        }
        for host in 0..100 {
            scene.comes(&format!("10.1.0.{host}")).await;
        }
        assert_eq!((scene.gone().len(), scene.gone()[0]), (99, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_when_its_connection_ends() {
        let mut scene = Scene::of(2);
        for _ in 0..10 {
            scene.comes("10.0.0.1").await;
            scene.comes("10.0.0.2").await;
            assert_eq!(scene.gone(), [0; 0]);
            scene.slots.clear();
        }
    }
}
