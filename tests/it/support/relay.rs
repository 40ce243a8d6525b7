//! What stands between a client and a service: a relay that counts connections, a proxy that
//! is asked for them by CONNECT, and a journal of requests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

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

// === impl Relay ===

impl Relay {
    /// Every connection leads to `target`.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        Self::start(target, false).await
    }

    /// The same, but only after a CONNECT for whatever it may be.
    pub(crate) async fn proxy(target: SocketAddr) -> Self {
        Self::start(target, true).await
    }

    async fn start(target: SocketAddr, proxy: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(stream, target, proxy, kept.clone()));
            }
        });
        Self { address, asked, task }
    }

    /// The first line of each connection so far.
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
async fn pass_on(mut stream: TcpStream, target: SocketAddr, proxy: bool, asked: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut head = Vec::new();
    while proxy && !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    asked.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
    if proxy {
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
    }
    let mut there = TcpStream::connect(target).await.ok()?;
    copy_bidirectional(&mut stream, &mut there).await.ok()?;
    Some(())
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
