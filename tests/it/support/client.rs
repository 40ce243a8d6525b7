//! An HTTPS client with every choice open: TLS version, ALPN, certificate, headers, and one
//! connection that is kept for as long as the test likes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::Identity;

/// Who asks, and how.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    roots: Arc<RootCertStore>,
    identity: Option<Identity>,
    headers: HeaderMap,
    http1: bool,
    versions: &'static [&'static SupportedProtocolVersion],
}

/// One connection.
pub(crate) struct Connection {
    sender: Sender,
    headers: HeaderMap,
    /// Ends with the connection.
    pub(crate) closed: JoinHandle<hyper::Result<()>>,
}

#[derive(Clone)]
enum Sender {
    Http1(Arc<tokio::sync::Mutex<http1::SendRequest<Empty<Bytes>>>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
    /// The same as text, as far as it is.
    pub(crate) body: String,
}

/// The values of the items, or code and message.
pub(crate) type Served = Result<Vec<String>, (u16, String)>;

/// The path of a metric's values in a namespace. Every byte of the selector is percent-encoded.
pub(crate) fn values_path(namespace: &str, metric: &str, selector: &str) -> String {
    let selector: String = selector.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}?labelSelector={selector}")
}

// === impl Client ===

impl Client {
    pub(crate) fn new(address: SocketAddr, roots: Arc<RootCertStore>) -> Self {
        let versions = rustls::ALL_VERSIONS;
        Self { address, roots, identity: None, headers: HeaderMap::new(), http1: false, versions }
    }

    pub(crate) fn with_identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sent with every request, beside others of the same name.
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
        self
    }

    pub(crate) fn with_token(self, token: &str) -> Self {
        self.with_header("Authorization", &format!("Bearer {token}"))
    }

    /// HTTP/1.1, instead of the HTTP/2 that is the rule.
    pub(crate) fn with_http1(mut self) -> Self {
        self.http1 = true;
        self
    }

    /// Only these versions of TLS.
    pub(crate) fn with_tls(mut self, versions: &'static [&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions;
        self
    }

    /// Asks over a connection that is made for it.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str) -> Answer {
        self.connect().await.unwrap().call(method, path).await
    }

    /// Opens a connection; an error if the other end will not.
    pub(crate) async fn connect(&self) -> std::io::Result<Connection> {
        self.over(self.connect_silently().await?).await
    }

    /// Goes through the TLS handshake and says nothing in what was agreed on.
    pub(crate) async fn connect_silently(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(self.tls())).connect(name, stream).await
    }

    /// What it brings into a handshake; whoever keeps it resumes sessions.
    pub(crate) fn tls(&self) -> ClientConfig {
        let config = ClientConfig::builder_with_protocol_versions(self.versions);
        let config = config.with_root_certificates(self.roots.clone());
        let mut config = match self.identity.clone().map(Identity::into_parts) {
            // Whatever the certificate is: rustls itself would only show what it can read.
            Some((chain, key)) => {
                let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))))
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![if self.http1 { b"http/1.1".to_vec() } else { b"h2".to_vec() }];
        config
    }

    /// A connection over a handshake that has been made.
    pub(crate) async fn over(&self, stream: TlsStream<TcpStream>) -> std::io::Result<Connection> {
        let io = TokioIo::new(stream);
        let headers = self.headers.clone();
        let (sender, closed) = if self.http1 {
            let (sender, connection) = http1::handshake(io).await.map_err(std::io::Error::other)?;
            (Sender::Http1(Arc::new(sender.into())), tokio::spawn(connection))
        } else {
            let handshake = http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = handshake.map_err(std::io::Error::other)?;
            (Sender::Http2(sender), tokio::spawn(connection))
        };
        Ok(Connection { sender, headers, closed })
    }
}

// === impl Connection ===

impl Connection {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str) -> Answer {
        self.begin(method, path).await.unwrap()
    }

    /// A request whose answer, or the lack of it, is for later.
    pub(crate) fn begin(
        &self,
        method: &str,
        path: &str,
    ) -> impl Future<Output = hyper::Result<Answer>> + Send + 'static {
        let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        if let Sender::Http1(_) = self.sender {
            request = Request::builder().method(method).uri(path).header("Host", "localhost");
        }
        let mut request = request.body(Empty::new()).unwrap();
        request.headers_mut().extend(self.headers.clone());
        let sender = self.sender.clone();
        async move {
            let response = match sender {
                Sender::Http1(sender) => {
                    let mut sender = sender.lock().await;
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
                Sender::Http2(mut sender) => sender.send_request(request).await?,
            };
            Answer::read(response).await
        }
    }
}

// === impl Answer ===

impl Answer {
    async fn read(response: Response<Incoming>) -> hyper::Result<Self> {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Self { status: parts.status, version: parts.version, headers: parts.headers, bytes, body })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The HTTP code and the message of a `metav1.Status`, which it must be, whole.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let status = self.json();
        assert_eq!((&status["kind"], &status["apiVersion"]), (&"Status".into(), &"v1".into()), "{}", self.body);
        assert_eq!((&status["status"], &status["code"]), (&"Failure".into(), &self.status.as_u16().into()));
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(status["items"], Value::Null);
        (self.status.as_u16(), status["message"].as_str().unwrap().to_owned())
    }

    /// The values of the items. If the answer is no list, it must be a whole [`Self::refusal`].
    pub(crate) fn served(&self) -> Served {
        if self.status != 200 {
            return Err(self.refusal());
        }
        let list = self.json();
        let items = list["items"].as_array().unwrap().iter();
        Ok(items.map(|item| item["value"].as_str().unwrap().to_owned()).collect())
    }

    /// The items' `queue` labels and values; the answer must be a list.
    pub(crate) fn values(&self) -> Vec<(String, String)> {
        assert_eq!(self.status, 200, "{}", self.body);
        let list = self.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| (text(&item["metricLabels"]["queue"]), text(&item["value"]))).collect()
    }
}
