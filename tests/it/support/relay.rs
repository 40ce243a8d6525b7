//! What stands between a client and a service: a relay that counts connections, and a proxy that
//! is asked for them by CONNECT.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Passes bytes on, until it is dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    /// What each connection asked for; of a plain relay nothing.
    asked: Arc<Mutex<Vec<String>>>,
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
