//! The service that a source reads, on loopback. A closure decides how each request is answered, and
//! every request is kept. Each connection carries one request, so requests count connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::double::{Received, read_request};
use crate::support::files::Files;

/// An endless answer ends after this, so that a client without a limit does not fill the memory of
/// the machine. Then it hangs.
const ENDLESS: usize = 64 << 20;
/// One piece of it: blanks, which may precede any JSON document.
const BLANKS: [u8; 16 << 10] = [b' '; 16 << 10];

/// Where a service is, and the files that a config names.
pub(super) struct Place {
    /// `http://127.0.0.1:1234`.
    pub(super) base: String,
    /// To be trusted in addition to the system's certificates.
    pub(super) ca_file: Option<String>,
    pub(super) address: SocketAddr,
    pub(super) files: Files,
}

/// What the service speaks.
pub(super) enum Protocol {
    Http,
    /// HTTPS with this certificate. Clients are to trust the CA, as PEM.
    Https(TlsAcceptor, String),
    /// HTTP on a port that the config calls HTTPS.
    HttpInsteadOfTls,
    /// Nothing on a port that the config calls HTTPS.
    SilentInsteadOfTls,
}

/// An answer on the wire.
pub(super) enum Reply {
    /// Status, headers as lines, and body.
    Whole(u16, String, Vec<u8>),
    /// The same, after the gate has let the request through.
    Gated(Arc<Semaphore>, Box<Self>),
    /// None.
    Hang,
    /// A TCP RST.
    Reset,
    /// The first half of this body, then the end of the connection.
    Half(String),
    /// This body of this type without its last byte, then the end of the connection, which is the only end.
    Cut(&'static str, String),
    /// Blanks without end.
    Endless,
}

/// A running service.
pub(super) struct Service {
    pub(super) place: Arc<Place>,
    seen: Arc<Mutex<Seen>>,
    /// Aborted when dropped.
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<(Instant, Received)>,
    in_flight: usize,
    most_in_flight: usize,
    /// A client has read an endless answer for as long as there was one.
    endless_was_read: bool,
}

/// A request under way.
struct InFlight(Arc<Mutex<Seen>>);

/// A stream over TCP.
trait Socket: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

// === impl Place ===

impl Place {
    fn new(protocol: &Protocol, address: SocketAddr) -> Self {
        let files = Files::new();
        let scheme = if let Protocol::Http = protocol { "http" } else { "https" };
        let mut place = Self { base: format!("{scheme}://{address}"), ca_file: None, address, files };
        if let Protocol::Https(_, ca) = protocol {
            place.ca_file = Some(place.files.write("ca.pem", ca));
        }
        place
    }
}

// === impl Reply ===

impl Reply {
    /// 200 with a JSON document.
    pub(super) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200, body)
    }

    /// A JSON document with another status.
    pub(super) fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(status, "content-type: application/json\r\n".to_owned(), body.into())
    }

    /// With one more header; only a whole answer has any.
    pub(super) fn with_header(self, line: &str) -> Self {
        let Self::Whole(status, headers, body) = self else { panic!("no headers to add {line} to") };
        Self::Whole(status, format!("{headers}{line}\r\n"), body)
    }
}

// === impl Service ===

impl Service {
    /// `answer` gets each request and where the service is.
    pub(super) async fn start(
        protocol: Protocol,
        answer: impl Fn(&Received, &Place) -> Reply + Send + Sync + 'static,
    ) -> Self {
        crate::support::crypto();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let place = Arc::new(Place::new(&protocol, listener.local_addr().unwrap()));
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (protocol, there, kept) = (Arc::new(protocol), place.clone(), seen.clone());
        let answer = Arc::new(move |request: Received| {
            let reply = answer(&request, &there);
            let mut seen = kept.lock().unwrap();
            seen.requests.push((Instant::now(), request));
            seen.in_flight += 1;
            seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
            (reply, InFlight(kept.clone()))
        });
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(protocol.clone(), stream, answer.clone()));
            }
        });
        Self { place, seen, _task: task }
    }

    /// Requests so far.
    pub(super) fn count(&self) -> usize {
        self.seen.lock().unwrap().requests.len()
    }

    /// Requests so far, each with the time when it arrived.
    pub(super) fn requests(&self) -> Vec<(Instant, Received)> {
        self.seen.lock().unwrap().requests.clone()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.seen.lock().unwrap().in_flight
    }

    pub(super) fn endless_was_read(&self) -> bool {
        self.seen.lock().unwrap().endless_was_read
    }

    /// The most requests that were under way at a time.
    pub(super) fn most_in_flight(&self) -> usize {
        self.seen.lock().unwrap().most_in_flight
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().unwrap().in_flight -= 1;
    }
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A client that closes the connection early ends it, whatever was to come.
async fn connection(
    protocol: Arc<Protocol>,
    mut stream: TcpStream,
    answer: Arc<impl Fn(Received) -> (Reply, InFlight)>,
) {
    let _ended = match &*protocol {
        Protocol::Http => converse(stream, &*answer).await,
        Protocol::Https(tls, _) => match tls.accept(stream).await {
            Ok(stream) => converse(stream, &*answer).await,
            Err(_) => None,
        },
        Protocol::HttpInsteadOfTls => {
            let _hello = stream.read(&mut [0; 4096]).await;
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.ok()
        }
        Protocol::SilentInsteadOfTls => std::future::pending().await,
    };
}

/// One request and its answer; `None` when the client closes the connection first.
async fn converse(mut stream: impl Socket, answer: &impl Fn(Received) -> (Reply, InFlight)) -> Option<()> {
    let (reply, in_flight) = answer(read_request(&mut stream).await?);
    send(&mut stream, reply, &in_flight.0).await
}

async fn send(stream: &mut impl Socket, reply: Reply, seen: &Mutex<Seen>) -> Option<()> {
    match reply {
        Reply::Whole(status, headers, body) => {
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status} Status\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
            stream.write_all(&[head.as_bytes(), &body].concat()).await.ok()?;
        }
        Reply::Gated(gate, reply) => {
            gate.acquire().await.ok()?.forget();
            return Box::pin(send(stream, *reply, seen)).await;
        }
        Reply::Hang => std::future::pending().await,
        Reply::Reset => return stream.tcp().set_zero_linger().ok(),
        Reply::Half(body) => {
            let (half, length) = (&body[..body.len() / 2], body.len());
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(format!("{head}{half}").as_bytes()).await.ok()?;
        }
        Reply::Cut(content_type, body) => {
            let cut = &body[..body.len() - 1];
            let answer = format!("HTTP/1.0 200 OK\r\ncontent-type: {content_type}\r\n\r\n{cut}");
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n").await.ok()?;
            for _ in 0..ENDLESS / BLANKS.len() {
                stream.write_all(&BLANKS).await.ok()?;
            }
            seen.lock().unwrap().endless_was_read = true;
            std::future::pending::<()>().await;
        }
    }
    stream.shutdown().await.ok()
}
