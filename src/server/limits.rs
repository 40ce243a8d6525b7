//! How much of the server one peer may have, and for how long.
//!
//! An aggregator keeps a few connections, requests a few hundred bytes at a time, and reads the
//! answer at once. All limits are far above that and far below what does harm.
//!
//! A request line or header beyond [`HEADER_MAX`] is refused by the HTTP library, as 414 or 431
//! without a body. It never becomes a request that could be answered. A request's body is never
//! read, whatever its length.

use std::time::Duration;

/// Request line and headers, and so the URL. A selector of 100 queues is 7 KiB; client-go gives
/// up at 1 MiB. HTTP/1.1 may take one read more before it counts.
pub(super) const HEADER_MAX: usize = 64 << 10;
/// Headers of a request over HTTP/1.1: a user may be in hundreds of groups, each a header, and the
/// library's own number is 100. HTTP/2 counts bytes alone.
pub(super) const HEADERS_MAX: usize = 512;
/// An aggregator sends one request at a time for each HPA worker, of which there are five. This is ten
/// times that, and Go's client opens another connection when it needs more. Answers up to 1 KiB that no
/// client takes are about 15 MiB on all connections; longer ones have a bound in [`crate::auth`].
pub(super) const STREAMS_MAX: u32 = 50;
/// Streams reset before they were accepted: more is the rapid-reset attack. The library's own
/// number, set here so that it stays.
pub(super) const PENDING_RESETS_MAX: usize = 20;
/// Streams that were reset for errors of the peer. A correct peer makes none.
pub(super) const ERROR_RESETS_MAX: usize = 100;
/// What a peer may send of request bodies in all streams together. Bodies are not read, so it is
/// the minimum of HTTP/2 for a connection, and a fraction of it for a stream.
pub(super) const BODY_WINDOW: u32 = (64 << 10) - 1;
pub(super) const STREAM_WINDOW: u32 = 16 << 10;
/// Bytes that a stream passes to the connection before the client opens its window. An answer is one
/// piece, and is passed as a whole when there is room for its first byte.
pub(super) const SEND_BUFFER_MAX: usize = 256 << 10;

/// Bytes of a connection that wait, encrypted, until the socket takes them: one record.
pub(super) const TLS_BUFFER_MAX: usize = 16 << 10;

/// What a test may need to change; [`Limits::default`] is what is served with.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; see [`super::connections`] for which one is closed when there are more.
    /// Seven API servers, the largest control plane there is, hold a few each. It is a quarter of
    /// the 1,024 descriptors that a process has by default, and at 35 KiB each they are 9 MiB.
    pub connections: usize,
    /// A handshake takes two round trips and two signatures; ten seconds forgive a bad line.
    pub handshake: Duration,
    /// HTTP/1.1: between the end of one request and the end of the next one's header, idle time and
    /// slow senders alike. HTTP/2: until the first request, preface included. Longer than the 15 s
    /// between two requests of an HPA controller.
    pub next_request: Duration,
    /// Without a request, however many frames of other kinds there are, and however slowly an HTTP/1.1 client
    /// takes an answer. It is what kube-apiserver allows its own clients; its availability probe requests
    /// every 30 s.
    pub idle: Duration,
    /// A peer that takes nothing of an answer for this long has abandoned it.
    pub write: Duration,
    /// For a request over HTTP/2, from its header until the client has taken the answer. An answer takes
    /// a few seconds when a source and kube-apiserver are slow, and the rest is for slow networks.
    pub stream: Duration,
    /// HTTP/2 peers are pinged at this interval, and must answer within [`Self::pong`]. Otherwise a
    /// peer whose node died would hold its connection for as long as it is idle.
    pub ping: Duration,
    /// The time to answer a ping.
    pub pong: Duration,
    /// For the end of an HTTP/2 connection without requests, after GOAWAY is sent.
    pub close_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            handshake: Duration::from_secs(10),
            next_request: Duration::from_secs(30),
            idle: Duration::from_secs(90),
            write: Duration::from_secs(30),
            stream: Duration::from_secs(30),
            ping: Duration::from_secs(30),
            pong: Duration::from_secs(10),
            close_timeout: Duration::from_secs(1),
        }
    }
}
