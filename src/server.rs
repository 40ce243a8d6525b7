//! Listener, TLS, HTTP, and then whatever service it is given. Knows no route.
//!
//! HTTP/1.1 or HTTP/2 is chosen by ALPN, never by sniffing: a peer that sends nothing after its
//! handshake would hold a sniffing server for ever. Every phase of a connection has a deadline
//! of its own, and so has the drain.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::request::Peer;

pub mod tls;

/// A handshake takes two round trips and two signatures; ten seconds forgive a bad line.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between the end of one HTTP/1.1 request and the end of the next one's header: idle time and
/// slow senders alike. Longer than the 15 s between two asks of an HPA controller.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// For the goodbye to an HTTP/2 peer that has not asked yet, and may never.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// HTTP/2 peers are pinged so often, and must answer within [`PING_TIMEOUT`]: a peer whose node
/// died would otherwise hold its connection for hours.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// What kube-apiserver allows its own clients; an aggregator sends one request at a time for
/// each HPA worker, so this is far more than it uses.
const STREAMS_MAX: u32 = 250;
/// Streams reset before they were accepted: more is the rapid-reset attack.
const PENDING_RESETS_MAX: usize = 20;
/// Request line and headers. A selector of 100 queues is 7 KiB; client-go gives up at 1 MiB.
const HEADER_MAX: usize = 64 << 10;
/// After an accept error (out of file descriptors): long enough for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For requests in flight at the end: the longest is one source read, 3 s by default.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves TLS on `listener` until `drain` is cancelled; then says goodbye to every connection,
/// lets requests in flight finish, and returns.
pub async fn serve(listener: TcpListener, tls: TlsAcceptor, service: Router, drain: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = drain.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let connection = connection(stream, address, tls.clone(), service.clone(), drain.clone());
                    connections.spawn(connection);
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Ended ones are let go at once; a panic in one must not end the others.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, finished).await.is_err() {
        tracing::warn!(connections = connections.len(), "closing connections that did not finish in time");
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    tls: TlsAcceptor,
    service: Router,
    drain: CancellationToken,
) {
    // Answers are small: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let stream = tokio::select! {
        accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%address, "TLS handshake timed out"),
        },
        () = drain.cancelled() => return,
    };
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default().iter().map(|c| c.clone().into_owned()).collect();
    let http2 = session.alpn_protocol() == Some(b"h2");
    let service = WithPeer { peer: Arc::new(Peer { chain }), inner: service, asked: Arc::default() };
    let io = TokioIo::new(stream);
    let result =
        if http2 { http2_connection(io, service, drain).await } else { http1_connection(io, service, drain).await };
    if let Err(error) = result {
        tracing::debug!(%address, %error, "connection ended");
    }
}

type TlsIo = TokioIo<tokio_rustls::server::TlsStream<TcpStream>>;

async fn http1_connection(io: TlsIo, service: WithPeer, drain: CancellationToken) -> hyper::Result<()> {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_MAX)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn http2_connection(io: TlsIo, service: WithPeer, drain: CancellationToken) -> hyper::Result<()> {
    let asked = service.asked.clone();
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_header_list_size(u32::try_from(HEADER_MAX).unwrap_or(u32::MAX))
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        () = drain.cancelled() => {}
        () = silence(&asked) => {}
    }
    connection.as_mut().graceful_shutdown();
    if asked.load(Ordering::Relaxed) {
        return connection.await;
    }
    // hyper says goodbye only after the preface, and has no deadline for it.
    tokio::time::timeout(GOODBYE_TIMEOUT, connection).await.unwrap_or(Ok(()))
}

/// Ends when nothing was asked in the time of a first request; else never.
async fn silence(asked: &AtomicBool) {
    tokio::time::sleep(HEADER_TIMEOUT).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Tells the service who is at the other end of the connection.
struct WithPeer {
    peer: Arc<Peer>,
    inner: Router,
    /// Whether there was a request yet.
    asked: Arc<AtomicBool>,
}

impl hyper::service::Service<Request<Incoming>> for WithPeer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = tower::util::Oneshot<Router, Request<Body>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.asked.store(true, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.peer.clone());
        self.inner.clone().oneshot(request)
    }
}
