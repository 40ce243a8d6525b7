//! The vocabulary of the tests that run the server: a [`cluster`] that judges callers, an
//! [`oci`] that has queues, a [`server`] between the two, [`client`]s with or without
//! certificates of some [`authority`], the [`program`] itself as a process, and [`files`] that a
//! config names. The services that [`principals`] sign in by are [`double`]s, which check how they
//! are [`signed`]; a [`relay`] stands between. Pods of Services are in [`slices`]. Before a move [`keda`] asks.
//!
//! Nothing here waits for a time to pass: [`eventually`] looks again until something is so.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Once;
use std::time::{Duration, Instant};

use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;

pub(crate) mod authority;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod config_map;
pub(crate) mod double;
pub(crate) mod files;
pub(crate) mod keda;
pub(crate) mod log;
pub(crate) mod objects;
pub(crate) mod oci;
pub(crate) mod principals;
pub(crate) mod program;
pub(crate) mod prometheus;
pub(crate) mod rabbitmq;
pub(crate) mod relay;
pub(crate) mod server;
pub(crate) mod service_bus;
pub(crate) mod signed;
pub(crate) mod slices;

/// How long something may take before a test gives it up: far more than it takes on a busy
/// machine, for nothing waits for it but a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(5);

/// The cryptography that `main` installs in the program.
pub(crate) fn crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails only if somebody was faster, and then there is one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

/// Lets a subscriber have the log of this thread, until what is returned is dropped.
pub(crate) fn listen(subscriber: impl Into<Dispatch>) -> (Dispatch, DefaultGuard) {
    // With one subscriber in the process, tracing lets the thread that is first at a place decide for
    // all whether anybody listens there; other tests have none.
    let second = Dispatch::new(tracing_subscriber::registry());
    (second, tracing::dispatcher::set_default(&subscriber.into()))
}

/// A port that is listened on later, or again and again: below those that the kernel gives to
/// listeners and outgoing connections, which could take it in between.
pub(crate) fn lasting_port() -> u16 {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(20_000..30_000)).find(free).unwrap()
}

/// Checks a condition until it holds, and returns what it brings.
pub(crate) async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, check).await
}

/// The same, for a test that is known to fail and must not take long for it.
pub(crate) async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    let give_up = Instant::now() + patience;
    loop {
        if let Some(seen) = check().await {
            return seen;
        }
        assert!(Instant::now() < give_up, "not seen in {patience:?}: {what}");
        tokio::time::sleep(GLANCE).await;
    }
}
