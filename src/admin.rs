//! Plain HTTP for operators of the process: `/livez`, `/readyz`, `/metrics`, [`status`], and an index at `/`.
//!
//! Listens on loopback by default. On a wider address probes have no reasons, and there is no
//! `/status`. The same is on the secure port: probes for all, without their reasons, the rest for
//! clients that may read it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, Uri, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

use self::connections::Connections;
use crate::health::{Health, Reasons};

mod connections;
mod exposition;
mod index;
pub mod status;

pub use index::index;

/// After an accept error (out of file descriptors): long enough for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A peer that takes nothing of an answer for this long has abandoned it; as on the secure port.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// `/livez`, `/healthz` and `/readyz`, in the form of Kubernetes' own. Reasons name Services, files
/// and users: they are withheld from unauthenticated clients.
pub fn probes(health: Health, reasons: Reasons) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .with_state((health, reasons))
}

/// `/metrics`, without a guard: on the secure port the caller adds one.
pub fn metrics(registry: Arc<Registry>) -> Router {
    Router::new().route("/metrics", get(exposed)).with_state(registry)
}

/// Serves these routes until dropped.
pub async fn serve(listener: TcpListener, routes: Router) {
    let (open, mut tasks) = (Arc::new(Connections::default()), JoinSet::new());
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            Some(_) = tasks.join_next() => continue,
        };
        tasks.spawn(serve_connection(stream, open.clone(), routes.clone()));
    }
}

/// A client that opens many connections does not keep a probe out, which uses a connection of its own.
async fn serve_connection(stream: TcpStream, open: Arc<Connections>, routes: Router) {
    let connection = open.open();
    let service = service_fn(|request| {
        let (routes, open, connection) = (routes.clone(), open.clone(), connection.clone());
        async move {
            let response = routes.oneshot(request).await;
            if let Ok(response) = &response {
                open.answer(&connection, usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX));
            }
            response
        }
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    // The timer makes the default header time-out of 30 s count.
    let serving =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::select! {
        _ = serving => {}
        () = connection.cancelled() => {}
    }
    open.close(&connection);
}

async fn exposed(State(registry): State<Arc<Registry>>, headers: HeaderMap) -> Response {
    let mut text = String::new();
    let written = prometheus_client::encoding::text::encode(&mut text, &registry);
    let takes_open_metrics = headers.get(header::ACCEPT).is_some_and(exposition::is_open_metrics);
    match written {
        Ok(()) if takes_open_metrics => ([(header::CONTENT_TYPE, exposition::OPEN_METRICS)], text).into_response(),
        Ok(()) => ([(header::CONTENT_TYPE, exposition::TEXT)], exposition::plain(&text)).into_response(),
        // Writing to a String cannot fail.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn live(uri: Uri) -> Response {
    if !is_verbose(&uri) {
        return "ok".into_response();
    }
    // In the words of Kubernetes: a process that responds is alive.
    format!("[+]ping ok\n{} check passed\n", uri.path().trim_matches('/')).into_response()
}

fn is_verbose(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")))
}

async fn ready(State((health, reasons)): State<(Health, Reasons)>, uri: Uri) -> Response {
    match (health.is_ready(), is_verbose(&uri)) {
        (true, false) => "ok".into_response(),
        (true, true) => health.verbose(reasons).into_response(),
        // Both forms have the failed checks: no client requests the reason in advance.
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, health.verbose(reasons)).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    async fn listening() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    #[tokio::test]
    async fn a_crowd_keeps_no_probe_out_and_goes_by_age() {
        let (listener, address) = listening().await;
        tokio::spawn(serve(listener, probes(Health::default(), Reasons::Shown)));
        let mut crowd = Vec::new();
        for _ in 0..connections::CONNECTIONS_MAX {
            crowd.push(TcpStream::connect(address).await.unwrap());
        }
        assert_eq!(get(address, "/livez").await, "ok");
        let ended = timeout(PATIENCE, crowd[0].read(&mut [0])).await.expect("the oldest goes");
        assert!(!ended.is_ok_and(|read| read > 0));
        assert!(timeout(Duration::from_millis(1), crowd[1].read(&mut [0])).await.is_err(), "the others stay");
    }

    #[tokio::test]
    async fn what_is_alive_is_told_as_kubernetes_tells_it() {
        let (listener, address) = listening().await;
        tokio::spawn(serve(listener, probes(Health::default(), Reasons::Shown)));
        assert_eq!(get(address, "/livez?verbose").await, "[+]ping ok\nlivez check passed\n");
        assert_eq!(get(address, "/healthz?verbose=1").await, "[+]ping ok\nhealthz check passed\n");
        assert_eq!(get(address, "/healthz").await, "ok");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_his_answer_is_closed() {
        const LONG: usize = 64 << 20;
        let (listener, address) = listening().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let (told, mut asked) = tokio::sync::mpsc::channel(1);
        let answer = move || async move {
            let _ = told.try_send(());
            vec![0; LONG]
        };
        let server = tokio::spawn(serve(listener, Router::new().route("/", get_route(answer))));
        timeout(PATIENCE, asked.recv()).await.expect("the question is read");
        tokio::time::sleep(WRITE_TIMEOUT * 2).await;
        let (mut read, mut buffer) = (0, vec![0; 64 << 10]);
        while let Ok(more @ 1..) = stream.read(&mut buffer).await {
            read += more;
        }
        assert!(read < LONG, "{read} bytes");
        server.abort();
    }

    #[tokio::test]
    async fn answers_that_are_not_read_are_bounded() {
        // More than sockets hold.
        const LONG: usize = 4 * connections::ANSWERS_MAX;
        let answer = || async { vec![0; LONG] };
        let (listener, address) = listening().await;
        let server = tokio::spawn(serve(listener, Router::new().route("/", get_route(answer))));
        let request = async || {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            // The beginning of the answer.
            timeout(PATIENCE, stream.read_exact(&mut [0; 1024])).await.expect("an answer").unwrap();
            stream
        };
        let (mut first, mut second) = (request().await, request().await);
        let (mut lost, mut whole) = (Vec::new(), vec![0; LONG - 1024]);
        let _ = timeout(PATIENCE, first.read_to_end(&mut lost)).await.expect("it is closed");
        assert!(lost.len() < whole.len(), "{}", lost.len());
        timeout(PATIENCE, second.read_exact(&mut whole)).await.expect("the newest is answered").unwrap();
        server.abort();
    }

    fn get_route<F, R>(answer: F) -> axum::routing::MethodRouter
    where
        F: FnOnce() -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Vec<u8>> + Send,
    {
        axum::routing::get(answer)
    }
}
