//! One connection after its handshake: HTTP/1.1 or HTTP/2, until it ends, is idle for too long,
//! or is drained. A stream of HTTP/2 has a deadline of its own: its client can keep the stream's
//! window closed while the connection works well.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::connections::Connection;
use super::limits::{
    BODY_WINDOW, ERROR_RESETS_MAX, HEADER_MAX, HEADERS_MAX, Limits, PENDING_RESETS_MAX, SEND_BUFFER_MAX, STREAM_WINDOW,
    STREAMS_MAX, TLS_BUFFER_MAX,
};

/// Serves one connection to its end.
pub(super) async fn serve<F>(
    mut stream: TlsStream<TcpStream>,
    connection: &Connection,
    service: impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future = F>,
    limits: &Limits,
    drain: &CancellationToken,
) -> hyper::Result<()>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    // By what was agreed on, never by sniffing.
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_MAX));
    let mut io = TimeoutStream::new(stream);
    io.set_write_timeout(Some(limits.write));
    let io = TokioIo::new(Box::pin(io));
    if http2 {
        serve_http2(io, connection, service, limits, drain).await
    } else {
        serve_http1(io, connection, service, limits, drain).await
    }
}

type Io = TokioIo<Pin<Box<TimeoutStream<TlsStream<TcpStream>>>>>;

async fn serve_http1(
    io: Io,
    connection: &Connection,
    service: impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    limits: &Limits,
    drain: &CancellationToken,
) -> hyper::Result<()> {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.next_request)
        .max_buf_size(HEADER_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(io, service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        result = serving.as_mut() => return result,
        () = drain.cancelled() => serving.as_mut().graceful_shutdown(),
        // The client takes an answer byte by byte.
        () = idle(connection, limits) => return Ok(()),
    }
    serving.await
}

async fn serve_http2<F>(
    io: Io,
    connection: &Connection,
    service: impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future = F>,
    limits: &Limits,
    drain: &CancellationToken,
) -> hyper::Result<()>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    let serving = http2::Builder::new(Streams { deadline: limits.stream })
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.pong)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(ERROR_RESETS_MAX)
        .max_header_list_size(u32::try_from(HEADER_MAX).unwrap_or(u32::MAX))
        .initial_connection_window_size(BODY_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_send_buf_size(SEND_BUFFER_MAX)
        .serve_connection(io, service);
    let mut serving = std::pin::pin!(serving);
    let wanted = tokio::select! {
        result = serving.as_mut() => return result,
        // hyper sends GOAWAY only after the preface, and has no deadline for it.
        () = drain.cancelled() => connection.has_requested(),
        () = idle(connection, limits) => false,
    };
    serving.as_mut().graceful_shutdown();
    if wanted {
        return serving.await;
    }
    tokio::time::timeout(limits.close_timeout, serving).await.unwrap_or(Ok(()))
}

/// Runs the streams of HTTP/2, each until its deadline. One that is dropped then resets its stream, and
/// what it holds is freed.
#[derive(Clone)]
struct Streams {
    deadline: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(tokio::time::timeout(self.deadline, stream).map(|ended| {
            if ended.is_err() {
                tracing::debug!("resetting a stream whose client did not take the answer in time");
            }
        }));
    }
}

/// Ends after too long a time without a request. The longest answer takes seconds, so no request
/// can be in flight then.
async fn idle(connection: &Connection, limits: &Limits) {
    loop {
        let allowed = if connection.has_requested() { limits.idle } else { limits.next_request };
        match allowed.checked_sub(connection.quiet()) {
            // Not longer: which of the two counts may change meanwhile.
            Some(left) if !left.is_zero() => tokio::time::sleep(left.min(limits.idle)).await,
            _ => return,
        }
    }
}
