//! The connection to kube-apiserver: HTTP/2, shared by all requests, and given up when nothing answers.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::serve::good_home;
use crate::support::authority::Authority;
use crate::support::crypto;
use crate::support::program::Home;

/// An empty SETTINGS frame, with which each side of HTTP/2 begins.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// What a cluster gives to its clients.
struct ApiServer {
    listener: TcpListener,
    tls: TlsAcceptor,
}

// === impl ApiServer ===

impl ApiServer {
    /// One that speaks only HTTP/2, and a home whose kubeconfig leads to it.
    async fn start() -> (Self, Home) {
        crypto();
        let authority = Authority::named("cluster");
        let (certificate, key) = authority.server_pem("localhost");
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let mut config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let ca = BASE64_STANDARD.encode(&authority.pem);
        let cluster = json!({"server": server, "certificate-authority-data": ca, "tls-server-name": "localhost"});
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        });
        let home = good_home();
        home.write("kubeconfig", &kubeconfig.to_string());
        (Self { listener, tls: TlsAcceptor::from(Arc::new(config)) }, home)
    }

    async fn accept(&self) -> TlsStream<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        self.tls.accept(stream).await.unwrap()
    }
}

#[tokio::test]
async fn all_requests_share_a_connection() {
    let (server, home) = ApiServer::start().await;
    let (connections, requests): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
    let serving = tokio::spawn({
        let (connections, requests) = (connections.clone(), requests.clone());
        async move {
            loop {
                let stream = server.accept().await;
                connections.fetch_add(1, Ordering::Relaxed);
                let requests = requests.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    assert_eq!(request.version(), Version::HTTP_2);
                    requests.fetch_add(1, Ordering::Relaxed);
                    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden",
                        "message": "forbidden", "code": 403});
                    let mut response = Response::new(Full::new(Bytes::from(status.to_string())));
                    *response.status_mut() = StatusCode::FORBIDDEN;
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        }
    });
    let ended = home.run(&["check", "--config=config.yaml", "--kubeconfig=kubeconfig"]).await;
    serving.abort();
    let (connections, requests) = (connections.load(Ordering::Relaxed), requests.load(Ordering::Relaxed));
    assert!(requests > 5, "{requests}: {} {}", ended.stdout, ended.stderr);
    assert!((1..=4).contains(&connections), "{connections} connections for {requests} requests");
}

/// As long as the real time-outs are.
#[tokio::test]
async fn a_connection_without_answers_ends_and_has_a_successor() {
    let (server, home) = ApiServer::start().await;
    let flags = ["--config=config.yaml", "--kubeconfig=kubeconfig", "--register=false", "--secure-port=0"];
    let _program = crate::serve::serve_in(&home, &[], &flags);
    let (ended, mut ends) = mpsc::channel(16);
    let serving = tokio::spawn(async move {
        loop {
            let mut stream = server.accept().await;
            let ended = ended.clone();
            tokio::spawn(async move {
                // Of connections that were opened at the same time, the client keeps one.
                if stream.write_all(SETTINGS).await.is_err() {
                    return;
                }
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
                ended.send(()).await.unwrap();
            });
        }
    });
    for connection in ["the first", "its successor"] {
        let end = timeout(Duration::from_secs(60), ends.recv()).await;
        end.unwrap_or_else(|_| panic!("{connection} connection does not end")).unwrap();
    }
    serving.abort();
}
