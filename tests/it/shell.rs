//! Attacks on the listener. Each is at it while somebody else asks, and he is answered.
//!
//! Frames of HTTP/2 are written by hand: no client library sends what is sent here.

use std::io;
use std::time::Duration;

use depthgauge::server::Limits;
use depthgauge::server::tls::MinVersion;
use rustls::SupportedProtocolVersion;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::support::client::{Client, Connection};
use crate::support::cluster::FRONT_PROXY;
use crate::support::oci::{Oci, source};
use crate::support::server::{Server, VALUE, start, start_with};
use crate::support::{PATIENCE, eventually};

pub(crate) type Stream = TlsStream<TcpStream>;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 8;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// `:method GET`, `:scheme https`, `:path /`, `:authority x`, by the static table of HPACK.
const GET_ROOT: &[u8] = &[0x82, 0x87, 0x84, 0x41, 0x01, b'x'];
/// What limits are set to where an attack has to run into them.
const SHORT: Duration = Duration::from_millis(200);

static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
static TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// An HTTP/2 connection that has said hello, and goes on by hand.
async fn by_hand(client: &Client) -> Stream {
    let mut stream = client.connect_silently().await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    stream
}

/// Kind, stream and payload of what the server sends next.
pub(crate) async fn next_frame(stream: &mut Stream) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("a frame").unwrap();
    let [high, middle, low, kind, _flags, id @ ..] = head;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, high, middle, low])).unwrap()];
    stream.read_exact(&mut payload).await.unwrap();
    (kind, u32::from_be_bytes(id), payload)
}

/// Ends when the other end has ended the connection, whichever way.
async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut buffer = vec![0; 64 << 10];
    let end = async { while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
    timeout(PATIENCE, end).await.expect("the server ends the connection");
}

/// Somebody with a connection of before the attack, and the will to make new ones.
struct Witness {
    kept: Connection,
    client: Client,
}

impl Witness {
    async fn of(server: &Server) -> Self {
        let client = server.aggregator("hpa");
        let kept = client.connect().await.unwrap();
        assert_eq!(kept.get(VALUE).await.status, 200);
        Self { kept, client }
    }

    async fn is_served(&self) {
        assert_eq!(self.kept.get(VALUE).await.status, 200);
        assert_eq!(self.client.get(VALUE).await.status, 200);
    }
}

#[tokio::test]
async fn garbage_before_tls_is_refused() {
    let (server, _oci) = start().await;
    let witness = Witness::of(&server).await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 1000], &[0xff; 70_000], &[22, 3, 1, 0xff, 0xff, 1]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        closed(&mut stream).await;
    }
    witness.is_served().await;
}

#[tokio::test]
async fn who_does_not_finish_a_handshake_is_closed() {
    let (server, _oci) = start_with(Limits { handshake: SHORT, ..Limits::default() }).await;
    let witness = Witness::of(&server).await;
    for begin in [&[][..], &[22, 3, 1, 2, 0, 1]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(begin).await.unwrap();
        closed(&mut stream).await;
    }
    witness.is_served().await;
}

#[tokio::test]
async fn who_shows_many_certificates_is_closed() {
    let (server, _oci) = start().await;
    let witness = Witness::of(&server).await;
    let identity = server.front_proxies.client(FRONT_PROXY, &[]);
    let as_many_as_may_be = server.holder(&identity.clone().padded(3)).with_header("X-Remote-User", "hpa");
    assert_eq!(as_many_as_may_be.get(VALUE).await.status, 200);
    for more in [4, 100] {
        for versions in [TLS12, TLS13] {
            let many = server.holder(&identity.clone().padded(more)).with_tls(versions);
            // In TLS 1.3 a client is through before its certificates are seen.
            if let Ok(mut stream) = many.connect_silently().await {
                closed(&mut stream).await;
            }
        }
    }
    witness.is_served().await;
}

#[tokio::test]
async fn who_sends_no_preface_or_no_header_is_closed() {
    let (server, _oci) = start_with(Limits { next_request: SHORT, ..Limits::default() }).await;
    let anyone = server.anyone();
    for (client, begin) in [
        (anyone.clone(), &b""[..]),
        (anyone.clone(), &PREFACE[..10]),
        (anyone.clone(), PREFACE),
        (anyone.clone().with_http1(), b""),
        (anyone.with_http1(), b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "),
    ] {
        let mut stream = client.connect_silently().await.unwrap();
        stream.write_all(begin).await.unwrap();
        closed(&mut stream).await;
    }
    Witness::of(&server).await.is_served().await;
}

#[tokio::test]
async fn a_header_that_never_ends_is_closed() {
    let (server, _oci) = start_with(Limits { next_request: SHORT, ..Limits::default() }).await;
    let witness = Witness::of(&server).await;
    let mut stream = by_hand(&server.anyone()).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, GET_ROOT)).await.unwrap();
    closed(&mut stream).await;
    witness.is_served().await;
}

#[tokio::test]
async fn a_flood_of_continuations_is_closed() {
    let (server, _oci) = start().await;
    let witness = Witness::of(&server).await;
    let mut stream = by_hand(&server.anyone()).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, GET_ROOT)).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let flood = tokio::spawn(async move {
        // Each a header of its own, not indexed: `x: yyyy…`.
        let field = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat();
        while write.write_all(&frame(CONTINUATION, 0, 1, &field)).await.is_ok() {}
    });
    closed(&mut read).await;
    timeout(PATIENCE, flood).await.expect("the flood ends").unwrap();
    witness.is_served().await;
}

#[tokio::test]
async fn an_idle_connection_ends_however_much_it_pings() {
    let (server, _oci) = start_with(Limits { idle: SHORT, ..Limits::default() }).await;
    let mut stream = by_hand(&server.anyone()).await;
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, GET_ROOT)).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let pings = tokio::spawn(async move {
        while write.write_all(&frame(PING, 0, 0, b"12345678")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    closed(&mut read).await;
    timeout(PATIENCE, pings).await.expect("the pings end").unwrap();
    Witness::of(&server).await.is_served().await;
}

#[tokio::test]
async fn rapid_resets_end_their_connection() {
    let (server, _oci) = start().await;
    let witness = Witness::of(&server).await;
    let mut stream = by_hand(&server.anyone()).await;
    let cancel = 8_u32.to_be_bytes();
    for stream_id in (1..20_000).step_by(2) {
        let request = frame(HEADERS, END_STREAM | END_HEADERS, stream_id, GET_ROOT);
        let both = [request, frame(RST_STREAM, 0, stream_id, &cancel)].concat();
        if stream.write_all(&both).await.is_err() {
            break;
        }
    }
    closed(&mut stream).await;
    witness.is_served().await;
}

#[tokio::test]
async fn a_flood_of_settings_that_nobody_reads_the_answers_of_is_closed() {
    let (server, _oci) = start_with(Limits { write: SHORT, ..Limits::default() }).await;
    let witness = Witness::of(&server).await;
    let mut stream = by_hand(&server.anyone()).await;
    let many = frame(SETTINGS, 0, 0, &[]).repeat(1000);
    let flood = async { while stream.write_all(&many).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("the server ends the connection");
    witness.is_served().await;
}

#[tokio::test]
async fn who_does_not_read_the_answers_is_closed() {
    let (server, _oci) = start_with(Limits { write: SHORT, ..Limits::default() }).await;
    let witness = Witness::of(&server).await;
    let mut stream = server.anyone().with_http1().connect_silently().await.unwrap();
    let many = b"GET /apis/external.metrics.k8s.io/v1beta1 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let flood = async { while stream.write_all(&many).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("the server ends the connection");
    witness.is_served().await;
}

#[tokio::test]
async fn a_gigabyte_of_body_is_neither_read_nor_waited_for() {
    let (server, _oci) = start().await;
    let witness = Witness::of(&server).await;
    for method in ["GET", "POST"] {
        let mut stream = server.anyone().with_http1().connect_silently().await.unwrap();
        let head = format!("{method} {VALUE} HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let upload = tokio::spawn(async move {
            let mut sent = 0;
            while write.write_all(&[0; 16 << 10]).await.is_ok() {
                sent += 16 << 10;
            }
            sent
        });
        let mut answer = [0; 12];
        timeout(PATIENCE, read.read_exact(&mut answer)).await.expect("an answer before the upload ends").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 403");
        closed(&mut read).await;
        let sent = timeout(PATIENCE, upload).await.expect("the upload is cut short").unwrap();
        assert!(sent < 64 << 20, "{sent}");
    }
    witness.is_served().await;
}

#[tokio::test]
async fn a_url_or_a_header_beyond_the_limit_is_refused() {
    let (server, _oci) = start().await;
    let witness = Witness::of(&server).await;
    let (long, just) = ("x".repeat(200_000), "x".repeat(40_000));
    for client in [server.anyone(), server.anyone().with_http1()] {
        assert_eq!(client.get(&format!("/apis?{just}")).await.status, 200);
        assert_eq!(client.clone().with_header("X-Long", &just).get("/apis").await.status, 200);
    }
    for head in
        [format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), format!("GET / HTTP/1.1\r\nX-Long: {long}\r\n\r\n")]
    {
        let mut stream = server.anyone().with_http1().connect_silently().await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(matches!(&answer, b"HTTP/1.1 414" | b"HTTP/1.1 431"), "{answer:?}");
        closed(&mut stream).await;
    }
    // The longest URL that the client can say; with all that a header counts for it is beyond.
    let (url, short) = (format!("/apis?{}", "x".repeat(65_500)), "/apis".to_owned());
    for (path, header) in [(url, "x"), (short, &*long)] {
        let refused = server.anyone().with_header("X-Long", header).connect().await.unwrap().begin("GET", &path).await;
        assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status == 431), "{}", path.len());
    }
    witness.is_served().await;
}

#[tokio::test]
async fn a_body_over_http2_is_neither_read_nor_waited_for() {
    let (server, _oci) = start().await;
    let witness = Witness::of(&server).await;
    let mut stream = by_hand(&server.anyone()).await;
    stream.write_all(&frame(HEADERS, END_HEADERS, 1, GET_ROOT)).await.unwrap();
    stream.write_all(&frame(DATA, 0, 1, &[0; 16 << 10])).await.unwrap();
    let mut answered = false;
    loop {
        match next_frame(&mut stream).await {
            (HEADERS, 1, _) => answered = true,
            (WINDOW_UPDATE, 1, more) => panic!("what nobody reads is not asked for: {more:?}"),
            (RST_STREAM, 1, why) => break assert_eq!(why, [0; 4], "no error: it is only not wanted"),
            _ => {}
        }
    }
    assert!(answered, "before the body has ended");
    witness.is_served().await;
}

#[tokio::test]
async fn a_connection_has_fifty_streams_and_the_next_is_refused() {
    let (server, _oci) = start().await;
    let witness = Witness::of(&server).await;
    let mut stream = by_hand(&server.anyone()).await;
    let path = [&[0x04, u8::try_from(VALUE.len()).unwrap()], VALUE.as_bytes()].concat();
    let ask = [&[0x82, 0x87], &*path, &[0x41, 0x01, b'x']].concat();
    // All of them wait for one review.
    server.cluster.hold();
    for number in 0..51 {
        stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &ask)).await.unwrap();
    }
    loop {
        match next_frame(&mut stream).await {
            (RST_STREAM, id, why) => break assert_eq!((id, &*why), (101, &7_u32.to_be_bytes()[..]), "REFUSED_STREAM"),
            (kind, id, _) => assert_ne!(kind, HEADERS, "stream {id} is answered"),
        }
    }
    server.cluster.release();
    let mut answered = 0;
    while answered < 50 {
        answered += u32::from(next_frame(&mut stream).await.0 == HEADERS);
    }
    witness.is_served().await;
}

#[tokio::test]
async fn a_selector_of_ten_thousand_terms_is_refused_before_it_is_read() {
    let (server, _oci) = start().await;
    let witness = Witness::of(&server).await;
    let values = format!("queue in ({})", vec!["orders"; 9000].join(",")).replace(' ', "+");
    for (selector, code) in [(["queue"; 10_000].join(","), 400), (values, 400), (["queue"; 1000].join(","), 200)] {
        let path = format!("{VALUE}?labelSelector={selector}");
        let answer = witness.kept.get(&path).await;
        assert_eq!(answer.status, code, "{}", answer.body);
        assert!(answer.body.len() < 1000);
    }
    witness.is_served().await;
}

#[tokio::test]
async fn a_crowd_goes_before_whoever_is_known() {
    let (server, _oci) = start_with(Limits { connections: 10, ..Limits::default() }).await;
    let witness = Witness::of(&server).await;
    // The aggregator, too, which has asked for nothing but discovery.
    let probe = server.proxy().with_header("X-Remote-User", "system:kube-aggregator").connect().await.unwrap();
    assert_eq!(probe.get("/apis").await.status, 200);
    let mut crowd = Vec::new();
    for _ in 0..50 {
        crowd.push(by_hand(&server.anyone()).await);
    }
    for stream in &mut crowd[..40] {
        closed(stream).await;
    }
    assert_eq!(probe.get("/apis").await.status, 200);
    witness.is_served().await;
}

#[tokio::test]
async fn a_connection_that_is_let_go_makes_room() {
    let (server, _oci) = start_with(Limits { connections: 3, ..Limits::default() }).await;
    let witness = Witness::of(&server).await;
    for _ in 0..20 {
        witness.is_served().await;
    }
    eventually("an open connection", async || server.anyone().connect().await.ok()).await;
    assert!(!witness.kept.closed.is_finished());
}

#[tokio::test]
async fn tls_1_2_is_refused_where_1_3_is_the_oldest() {
    let oci = Oci::with_queues(&["orders"]).await;
    let config = oci.config(&json!({}), &[source("orders", &["shop"])]);
    for (oldest, refused) in [(MinVersion::Tls13, true), (MinVersion::Tls12, false)] {
        let server = Server::build(&config, Limits::default(), oldest).await;
        let old = server.anyone().with_tls(TLS12).connect_silently().await;
        assert_eq!(old.as_ref().is_err_and(is_protocol_version), refused, "{old:?}");
        assert_eq!(server.anyone().with_tls(TLS13).get("/apis").await.status, 200);
    }
}

fn is_protocol_version(error: &io::Error) -> bool {
    error.to_string().contains("ProtocolVersion")
}
