//! The connections to kube-apiserver: HTTP/2, one of them shared by all requests but those that watch Services,
//! and given up when nothing answers.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::serve::{client, good_home, serve_in};
use crate::support::authority::Authority;
use crate::support::crypto;
use crate::support::eventually;
use crate::support::program::Home;
use crate::support::server::VALUE;

/// Streams that kube-apiserver allows on a connection.
const STREAMS: u32 = 100;
/// An empty SETTINGS frame, with which each side of HTTP/2 begins.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// What a cluster gives to its clients.
pub(crate) struct ApiServer {
    listener: TcpListener,
    tls: TlsAcceptor,
}

// === impl ApiServer ===

impl ApiServer {
    /// One that speaks only HTTP/2, and a home whose kubeconfig leads to it.
    pub(crate) async fn start() -> (Self, Home) {
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

    /// Answers requests, as many of a connection at a time as kube-apiserver does. Returns also the number of
    /// connections.
    pub(crate) fn serve<F>(
        self,
        respond: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    ) -> (JoinHandle<()>, Arc<AtomicUsize>)
    where
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = connections.clone();
        let serving = tokio::spawn(async move {
            loop {
                let stream = self.accept().await;
                opened.fetch_add(1, Ordering::Relaxed);
                let respond = respond.clone();
                let service = service_fn(move |request| respond(request).map(Ok::<_, Infallible>));
                let mut connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                connection.max_concurrent_streams(STREAMS);
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        (serving, connections)
    }
}

/// What a client may not do.
pub(crate) fn forbidden() -> Response<Full<Bytes>> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden",
        "message": "forbidden", "code": 403});
    let mut response = Response::new(Full::from(status.to_string()));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

#[tokio::test]
async fn all_requests_share_a_connection() {
    let (server, home) = ApiServer::start().await;
    let requests = Arc::new(AtomicUsize::new(0));
    let (serving, connections) = server.serve({
        let requests = requests.clone();
        move |request| {
            assert_eq!(request.version(), Version::HTTP_2);
            requests.fetch_add(1, Ordering::Relaxed);
            async { forbidden() }
        }
    });
    let ended = home.run(&["check", "--config=config.yaml", "--kubeconfig=kubeconfig"]).await;
    serving.abort();
    let (connections, requests) = (connections.load(Ordering::Relaxed), requests.load(Ordering::Relaxed));
    assert!(requests > 5, "{requests}: {} {}", ended.stdout, ended.stderr);
    assert!((1..=4).contains(&connections), "{connections} connections for {requests} requests");
}

/// Writes a config that reads the pods of so many Services: `shop/web-0`, `shop/web-1`, and so on.
pub(crate) fn scrape_services(home: &Home, count: usize, keys: &str) {
    let source = |n| {
        format!(
            "- {{type: scrape, metric: rps_{n}, service: shop/web-{n}, port: metrics, namespaces: [shop], {keys}}}\n"
        )
    };
    let sources: String = (0..count).map(source).collect();
    home.write("config.yaml", &format!("apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources:\n{sources}"));
}

/// kube-apiserver allows so many streams on each connection, and a watch takes one of them for good.
#[tokio::test]
async fn watches_of_many_services_keep_no_review_waiting() {
    const SERVICES: usize = 120;
    let (server, home) = ApiServer::start().await;
    scrape_services(&home, SERVICES, "series: rps, as: avg");
    let watches = Arc::new(AtomicUsize::new(0));
    let (serving, _) = server.serve({
        let watches = watches.clone();
        move |request| {
            let watches = watches.clone();
            async move {
                let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
                let answer = match path.rsplit_once('/').map(|(_, resource)| resource) {
                    Some("endpointslices") if query.contains("watch=true") => {
                        watches.fetch_add(1, Ordering::Relaxed);
                        return std::future::pending().await;
                    }
                    Some("endpointslices") => {
                        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": {"resourceVersion": "1"}, "items": []})
                    }
                    Some("subjectaccessreviews") => {
                        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {}, "status": {"allowed": false}})
                    }
                    _ => return forbidden(),
                };
                Response::new(Full::from(answer.to_string()))
            }
        }
    });
    let flags = ["--config=config.yaml", "--kubeconfig=kubeconfig", "--register=false", "--secure-port=0"];
    let mut program = serve_in(&home, &[], &flags);
    let address = program.said("serving on https://").await;
    eventually("all Services are watched", async || (watches.load(Ordering::Relaxed) == SERVICES).then_some(())).await;
    let answer = client(&home, &address).get(VALUE).await;
    assert_eq!(answer.status, 403, "a review is answered: {}", answer.body);
    serving.abort();
}

/// As long as the real time-outs are.
#[tokio::test]
async fn a_connection_without_answers_ends_and_has_a_successor() {
    let (server, home) = ApiServer::start().await;
    let flags = ["--config=config.yaml", "--kubeconfig=kubeconfig", "--register=false", "--secure-port=0"];
    let _program = serve_in(&home, &[], &flags);
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

/// Less than the shortest deadline of a request, which is 3 s. When one gives up, the next connection is tried.
const BEFORE_GIVING_UP: Duration = Duration::from_secs(2);

#[tokio::test]
async fn while_no_connection_succeeds_few_are_tried_at_once() {
    let (server, home) = ApiServer::start().await;
    let flags = ["--config=config.yaml", "--kubeconfig=kubeconfig", "--secure-port=0", "--scale-to-zero"];
    let _program = serve_in(&home, &[], &[&flags[..], &["--service=depthgauge/depthgauge:443"]].concat());
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let serving = tokio::spawn({
        let accepted = accepted.clone();
        async move {
            loop {
                // Without an answer to the handshake.
                let (stream, _) = server.listener.accept().await.unwrap();
                accepted.lock().push((Instant::now(), stream));
            }
        }
    });
    eventually("the first are given up, and others tried", async || (accepted.lock().len() > 2).then_some(())).await;
    serving.abort();
    let accepted = accepted.lock();
    let began = accepted[0].0;
    let at_once = accepted.iter().filter(|(at, _)| *at < began + BEFORE_GIVING_UP).count();
    assert!(at_once <= 2, "{at_once}");
}
