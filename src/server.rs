//! Listener, TLS, HTTP, and then the service that it is given. It has no routes.
//!
//! HTTP/1.1 or HTTP/2 is chosen by ALPN, never by sniffing. A peer that sends nothing after its
//! handshake would hold a sniffing server for ever. Every phase of a connection has a deadline of
//! its own ([`limits`]), so has the drain, and there is an end to how many there are ([`connections`]).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, Response, header};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::connections::{Connection, Connections, Slot};
pub use self::limits::Limits;
use crate::request::{Answer, Peer};

mod connections;
mod limits;
mod protocol;
pub mod tls;

/// After an accept error (out of file descriptors): long enough for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For requests in flight at the end: the longest is one source read, 3 s by default.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves TLS on `listener` until `drain` is cancelled. Then it closes every connection gracefully,
/// lets requests in flight finish, and returns.
pub async fn serve<S: Answer>(
    listener: TcpListener,
    tls: TlsAcceptor,
    service: S,
    limits: Limits,
    drain: CancellationToken,
) {
    let connections = Arc::new(Connections::new(limits.connections));
    let shared = Arc::new(Shared { tls, service, limits, drain: drain.clone() });
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = drain.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let slot = connections.admit(address);
                    tasks.spawn(handle(stream, slot, shared.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Ended ones are let go at once; a panic in one must not end the others.
            Some(_) = tasks.join_next() => {}
        }
    }
    drop(listener);
    let finished = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, finished).await.is_err() {
        tracing::warn!(connections = tasks.len(), "closing connections that did not finish in time");
    }
}

/// What all connections share.
struct Shared<S> {
    tls: TlsAcceptor,
    service: S,
    limits: Limits,
    drain: CancellationToken,
}

async fn handle<S: Answer>(stream: TcpStream, slot: Slot, shared: Arc<Shared<S>>) {
    let connection = slot.connection();
    tokio::select! {
        () = connection.closing() => {}
        () = serve_connection(stream, connection, &shared) => {}
    }
}

async fn serve_connection<S: Answer>(stream: TcpStream, connection: &Arc<Connection>, shared: &Arc<Shared<S>>) {
    let Shared { tls, limits, drain, .. } = &**shared;
    let address = connection.address;
    // Answers are small: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let stream = tokio::select! {
        accepted = tokio::time::timeout(limits.handshake, tls.accept(stream)) => match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%address, "TLS handshake timed out"),
        },
        () = drain.cancelled() => return,
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = connection.is(Peer::new(address, chain.iter().map(|c| c.clone().into_owned()).collect()));
    let service = service_fn(|request: Request<Incoming>| {
        connection.count_request();
        let (shared, peer) = (shared.clone(), peer.clone());
        // A body is never read. Without its reader it is not taken from the network, either.
        let request = request.map(|_unread| Body::empty());
        async move {
            let only_headers = request.method() == Method::HEAD;
            // Boxed: what an answer is made with is not kept while a slow peer takes it.
            let response = Box::pin(shared.service.answer(&peer, request)).await;
            Ok::<_, Infallible>(if only_headers { without_body(response) } else { response })
        }
    });
    if let Err(error) = protocol::serve(stream, connection, service, limits, drain).await {
        tracing::debug!(%address, %error, "connection ended");
    }
}

/// The answer to a HEAD: the length stays that of the body.
fn without_body(response: Response<Body>) -> Response<Body> {
    let length = response.body().size_hint().exact();
    let mut response = response.map(|_| Body::empty());
    if let Some(length) = length {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    response
}
