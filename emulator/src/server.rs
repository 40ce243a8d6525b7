//! The listener's loop: accept, serve HTTP/1.1, stop when cancelled.
//!
//! It has no routes; [`routes`](crate::routes) answers requests.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Emulator;
use crate::routes::{self, Severed};

/// How long requests in flight may take to end. Those that wait or hang end at once and the
/// others take milliseconds, so only a client that stopped reading or writing is cut off.
const DRAIN: Duration = Duration::from_secs(2);

/// Pause after a failed accept. Transient failures (a peer that has gone already, no file
/// descriptor left) have passed after a hundred of them, ten seconds; then the listener is dead.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const ACCEPT_FAILURES: u32 = 100;

/// Serves until `shutdown`, then lets go of the port at once and of the connections in order.
pub(crate) async fn serve(
    emulator: &Emulator,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let closing = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut failures = 0;
    let outcome = loop {
        tokio::select! {
            () = &mut shutdown => break Ok(()),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    failures = 0;
                    connections.spawn(converse(emulator.clone(), stream, peer, closing.clone()));
                }
                Err(error) if failures == ACCEPT_FAILURES => break Err(error),
                Err(error) => {
                    failures += 1;
                    tracing::debug!(%error, "accept failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    drop(listener);
    closing.cancel();
    let drained = timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    tracing::debug!(in_time = drained.is_ok(), "emulator stopped");
    connections.shutdown().await;
    outcome
}

/// One connection, from its first request to its last.
async fn converse(emulator: Emulator, stream: TcpStream, peer: SocketAddr, closing: CancellationToken) {
    // Answers are small and written whole: waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY refused");
    }
    let service = service_fn(|request| routes::respond(&emulator, peer, request, &closing));
    let mut connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let mut conversation = Pin::new(&mut connection);
    let outcome = tokio::select! {
        outcome = conversation.as_mut() => outcome,
        () = closing.cancelled() => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    let Err(error) = outcome else {
        return;
    };
    tracing::debug!(%error, "connection ended");
    if matches!(error.source().and_then(|cause| cause.downcast_ref()), Some(Severed::Reset)) {
        let stream = connection.into_parts().io.into_inner();
        // Closed with nothing left to send, which for TCP is a reset.
        if let Err(error) = stream.set_zero_linger() {
            tracing::debug!(%error, "SO_LINGER refused");
        }
    }
}
