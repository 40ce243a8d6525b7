//! The descriptors of a process that may open few files: sources leave enough of them to the listeners.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::kube_connection::{ApiServer, forbidden, scrape_services};
use crate::serve::{admin, serve_limited};
use crate::support::eventually;

const SERVICES: u8 = 4;
/// Of each Service. All of them are more than the descriptors.
const PODS: u8 = 110;
/// How long a pod takes, so that requests meet.
const TAKES: Duration = Duration::from_millis(50);

/// What pods on all addresses of loopback have seen.
#[derive(Default)]
struct Pods {
    /// How often each has answered.
    read: HashMap<IpAddr, usize>,
    in_flight: usize,
    most: usize,
}

// === impl Pods ===

impl Pods {
    fn begin(&mut self) {
        self.in_flight += 1;
        self.most = self.most.max(self.in_flight);
    }

    fn end(&mut self, address: IpAddr) {
        self.in_flight -= 1;
        *self.read.entry(address).or_default() += 1;
    }
}

/// All pods, by one listener. Each keeps a connection until its client closes it. Those of the Service of this number
/// do not answer.
async fn pods(hanging: Option<u8>) -> (u16, Arc<Mutex<Pods>>) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let (port, pods) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Pods::default())));
    let all = pods.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (all, address) = (all.clone(), stream.local_addr().unwrap().ip());
            let service = service_fn(move |_: Request<Incoming>| {
                let all = all.clone();
                async move {
                    if Some(service_of(address)) == hanging {
                        std::future::pending::<()>().await;
                    }
                    all.lock().unwrap().begin();
                    tokio::time::sleep(TAKES).await;
                    all.lock().unwrap().end(address);
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("# TYPE ops_total counter\nops_total 1\n")))
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (port, pods)
}

/// The number of the Service that has a pod at this address.
fn service_of(address: IpAddr) -> u8 {
    let IpAddr::V4(address) = address else { panic!("{address}") };
    address.octets()[2]
}

/// The EndpointSlice of the Service that a query names by its number.
pub(crate) fn slices(query: &str, port: u16, pods: u8) -> Value {
    let service: u8 = query.split("service-name%3Dweb-").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
    let endpoint = |pod| json!({"addresses": [Ipv4Addr::new(127, 0, service, pod)], "targetRef": {"uid": format!("{service}-{pod}")}});
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "one", "namespace": "shop", "resourceVersion": "1"},
        "addressType": "IPv4",
        "ports": [{"name": "metrics", "port": port, "protocol": "TCP"}],
        "endpoints": (1..=pods).map(endpoint).collect::<Vec<_>>(),
    });
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": {"resourceVersion": "1"}, "items": [slice]})
}

/// Serves the EndpointSlices of Services with so many pods.
fn serve(server: ApiServer, port: u16, pods: u8) -> JoinHandle<()> {
    let (serving, _) = server.serve(move |request| async move {
        let query = request.uri().query().unwrap_or_default();
        match (request.uri().path().ends_with("/endpointslices"), query.contains("watch=true")) {
            (true, true) => std::future::pending().await,
            (true, false) => Response::new(Full::from(slices(query, port, pods).to_string())),
            (false, _) => forbidden(),
        }
    });
    serving
}

#[tokio::test]
async fn pods_of_many_addresses_leave_descriptors_for_the_listeners() {
    let (port, pods) = pods(None).await;
    let (server, home) = ApiServer::start().await;
    scrape_services(&home, SERVICES.into(), "series: ops_total, as: rate, maxRequestsPerSecond: 1000");
    let serving = serve(server, port, PODS);
    let mut program = serve_limited(&home, "-n 400");
    let operator = program.said("admin on ").await;
    let all = usize::from(SERVICES) * usize::from(PODS);
    eventually("all pods are read", async || (pods.lock().unwrap().read.len() == all).then_some(())).await;
    let live = timeout(Duration::from_secs(10), admin(&operator, "/livez")).await;
    assert_eq!(live.expect("no answer").0, 200);
    // Half of what 360 descriptors for the rest leave.
    let most = pods.lock().unwrap().most;
    assert!((1..=20).contains(&most), "{most} requests at once");
    program.terminate();
    let ended = program.ended().await;
    assert!(!ended.stderr.contains("Too many open files"), "{}", ended.stderr);
    serving.abort();
}

/// Each of its pods is a host of its own.
#[tokio::test]
async fn a_service_whose_pods_hang_keeps_no_other_one_waiting() {
    const HANGING: u8 = 0;
    const FEW: u8 = 20;
    let (port, pods) = pods(Some(HANGING)).await;
    let (server, home) = ApiServer::start().await;
    scrape_services(&home, 2, "series: ops_total, as: rate, maxRequestsPerSecond: 1000");
    let serving = serve(server, port, FEW);
    // Enough for 8 requests at once.
    let mut program = serve_limited(&home, "-n 370");
    program.said("admin on ").await;
    eventually("all pods of the other Service are read three times", async || {
        let pods = pods.lock().unwrap();
        (pods.read.len() == usize::from(FEW) && pods.read.values().all(|reads| *reads >= 3)).then_some(())
    })
    .await;
    program.terminate();
    let ended = program.ended().await;
    let failures: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("cannot be read")).collect();
    assert!(!failures.is_empty() && failures.iter().all(|line| line.contains("rps_0")), "{failures:#?}");
    serving.abort();
}

/// Requests to sources leave 40 descriptors to what is open all the time. Watches share connections.
#[tokio::test]
async fn what_is_open_all_the_time_leaves_room_for_the_watches_of_a_thousand_services() {
    const SERVICES: usize = 101;
    const SHARE_A_CONNECTION: usize = 50;
    let (server, home) = ApiServer::start().await;
    scrape_services(&home, SERVICES, "series: ops_total, as: rate");
    let watches = Arc::new(AtomicUsize::new(0));
    let begun = watches.clone();
    let (serving, _) = server.serve(move |request| {
        let (query, begun) = (request.uri().query().unwrap_or_default().to_owned(), begun.clone());
        let is_of_slices = request.uri().path().ends_with("/endpointslices");
        async move {
            match (is_of_slices, query.contains("watch=true")) {
                (true, true) => {
                    begun.fetch_add(1, Ordering::Relaxed);
                    std::future::pending().await
                }
                (true, false) => Response::new(Full::from(slices(&query, 1, 0).to_string())),
                (false, _) => forbidden(),
            }
        }
    });
    let mut program = serve_limited(&home, "-n 370");
    program.said("admin on ").await;
    eventually("all watches", async || (watches.load(Ordering::Relaxed) >= SERVICES).then_some(())).await;
    let (open, further) = (program.open_descriptors(), (1000 - SERVICES).div_ceil(SHARE_A_CONNECTION));
    assert!(open + further <= 40, "{open} are open");
    program.terminate();
    program.ended().await;
    serving.abort();
}
