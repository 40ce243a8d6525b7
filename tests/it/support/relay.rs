//! What stands between a client and a service: a relay that counts connections, a proxy that
//! is asked for them by CONNECT, and a journal of requests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, copy_bidirectional,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Passes bytes on, until it is dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    /// What each connection asked for; of a plain relay nothing.
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// Forwards GET requests over plain HTTP/1.1 and keeps the target of each, until it is dropped.
pub(crate) struct Journal {
    pub(crate) address: SocketAddr,
    targets: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// What a client sends before its bytes are passed on.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Handshake {
    None,
    Connect,
    Socks5,
}

// === impl Relay ===

impl Relay {
    /// Every connection leads to `target`.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        Self::start(target, Handshake::None, None).await
    }

    /// The same, but only after a CONNECT for whatever it may be.
    pub(crate) async fn proxy(target: SocketAddr) -> Self {
        Self::start(target, Handshake::Connect, None).await
    }

    /// The same over TLS.
    pub(crate) async fn tls_proxy(target: SocketAddr, tls: TlsAcceptor) -> Self {
        Self::start(target, Handshake::Connect, Some(tls)).await
    }

    /// The same, but after a handshake of SOCKS 5 without credentials for a host name.
    pub(crate) async fn socks(target: SocketAddr) -> Self {
        Self::start(target, Handshake::Socks5, None).await
    }

    async fn start(target: SocketAddr, handshake: Handshake, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, tls) = (kept.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => pass_on(stream, target, handshake, kept).await,
                        Some(tls) => pass_on(tls.accept(stream).await.ok()?, target, handshake, kept).await,
                    }
                });
            }
        });
        Self { address, asked, task }
    }

    /// The first line of each connection so far, or the host and port of a SOCKS request.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `None` when somebody hung up.
async fn pass_on(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    target: SocketAddr,
    handshake: Handshake,
    asked: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let first = match handshake {
        Handshake::None => String::new(),
        Handshake::Connect => connect_request(&mut stream).await?,
        Handshake::Socks5 => socks_request(&mut stream).await?,
    };
    asked.lock().unwrap().push(first);
    let mut there = TcpStream::connect(target).await.ok()?;
    copy_bidirectional(&mut stream, &mut there).await.ok()?;
    Some(())
}

async fn connect_request(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
    stream.flush().await.ok()?;
    let head = String::from_utf8(head).unwrap();
    Some(head.lines().next().unwrap_or_default().to_owned())
}

/// RFC 1928.
async fn socks_request(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<String> {
    let mut greeting = [0; 3];
    stream.read_exact(&mut greeting).await.ok()?;
    assert_eq!(greeting, [5, 1, 0], "version 5, one method: no credentials");
    stream.write_all(&[5, 0]).await.ok()?;
    let mut request = [0; 5];
    stream.read_exact(&mut request).await.ok()?;
    assert_eq!(request[..4], [5, 1, 0, 3], "version 5, connect, to a host name");
    let mut host = vec![0; request[4].into()];
    stream.read_exact(&mut host).await.ok()?;
    let port = stream.read_u16().await.ok()?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.ok()?;
    Some(format!("{}:{port}", String::from_utf8(host).unwrap()))
}

/// A proxy that answers every request with this status line, or hangs up without one.
pub(crate) async fn refusing_proxy(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 8192]).await;
            if !answer.is_empty() {
                let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
            }
        }
    });
    address
}

// === impl Journal ===

impl Journal {
    pub(crate) async fn before(service: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let targets: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = targets.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(keep(stream, service, kept.clone()));
            }
        });
        Self { address, targets, task }
    }

    /// The target of each request, in the order of arrival.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap().clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `None` when one side hangs up.
async fn keep(stream: TcpStream, service: SocketAddr, targets: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let (from, mut back) = stream.into_split();
    let (mut answers, mut to) = TcpStream::connect(service).await.ok()?.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
    // No GET has a body, so every line belongs to a head.
    let (mut lines, mut head) = (BufReader::new(from), String::new());
    loop {
        (lines.read_line(&mut head).await.ok()? > 0).then_some(())?;
        if head.ends_with("\r\n\r\n") {
            let target = head.strip_prefix("GET ").and_then(|head| head.split(' ').next()).unwrap();
            targets.lock().unwrap().push(target.to_owned());
            to.write_all(head.as_bytes()).await.ok()?;
            head.clear();
        }
    }
}
