//! Stand-ins for services that are asked over HTTP: each answers by a closure and keeps every
//! request as it was on the wire, names and order of headers included.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// In the order of the wire; names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// Status and body.
pub(crate) type Answer = (u16, String);

/// A service on a port of its own, until it is dropped.
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    /// A line that each answer has among its headers.
    header: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

// === impl Received ===

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next().unwrap_or_default();
        assert!(values.next().is_none(), "{name} occurs twice: {self:?}");
        value
    }
}

// === impl Double ===

impl Double {
    /// Plain HTTP, or HTTPS with an acceptor. An answer of status 0 is none: it hangs. A closure may block.
    pub(crate) async fn start(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), tls, answer).await
    }

    pub(crate) async fn on(
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        super::crypto();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let header: Arc<Mutex<String>> = Arc::default();
        let (answer, kept, more) = (Arc::new(answer), received.clone(), header.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, kept, tls, more) = (answer.clone(), kept.clone(), tls.clone(), more.clone());
                tokio::spawn(async move {
                    let answer = async |request: Received| {
                        // It may wait for the test, which must not keep a worker of the runtime.
                        let answer = tokio::task::spawn_blocking(move || {
                            kept.lock().unwrap().push(request.clone());
                            answer(&request)
                        });
                        let (status, body) = answer.await.unwrap();
                        (status, more.lock().unwrap().clone(), body)
                    };
                    match tls {
                        None => serve(stream, answer).await,
                        // A client that trusts another CA hangs up.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, answer).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, received, header, task }
    }

    /// From now on each answer has this line among its headers. A Content-Type replaces the usual one.
    pub(crate) fn set_header(&self, line: &str) {
        *self.header.lock().unwrap() = format!("{line}\r\n");
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Received {
        self.received().pop().unwrap()
    }

    pub(crate) fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request a connection; `None` when the client hung up.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl AsyncFnOnce(Received) -> (u16, String, String),
) -> Option<()> {
    let (status, header, body) = answer(read_request(&mut stream).await?).await;
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let length = body.len();
    let content_type = match body.as_bytes().first() {
        _ if header.starts_with("content-type: ") => "",
        Some(b'<') => "content-type: application/xml\r\n",
        _ => "content-type: application/json\r\n",
    };
    let answer = format!(
        "HTTP/1.1 {status} Double\r\n{content_type}content-length: {length}\r\n{header}connection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

/// The next request of a connection, or `None` when the client closes it first.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    while bytes.len() < head_end + 4 + length {
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    }
    let body = String::from_utf8(bytes[head_end + 4..].to_vec()).unwrap();
    Some(Received { method, target, headers, body })
}
