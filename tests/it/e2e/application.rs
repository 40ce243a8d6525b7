//! A web application that scales on the rate of its own requests, without Prometheus in between: Python processes
//! with Prometheus' client, on addresses of a network namespace, behind a Service with EndpointSlices.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::cluster::{eventually_or, pause, run, script};
use super::netns::Netns;
use super::world::{Place, World};

/// The port of each pod.
const PORT: u16 = 8000;
/// The most pods, for which the namespace has addresses.
const PODS: u32 = 4;
/// How many requests a second one pod takes.
const A_POD: u64 = 25;
/// Clients that share the load, so that a slow answer delays a few requests only.
const CLIENTS: u32 = 4;
/// `window` of the rate, two reads, two syncs, and a busy machine.
const UP: Duration = Duration::from_secs(90);
/// The same, and the scale-down.
const DOWN: Duration = Duration::from_secs(120);
const VALUE: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/app_requests_per_second";
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/e2e/application/app.py");
/// The rights to find the pods.
const RIGHTS: &str = include_str!("../../../manifests/components/scrape/rbac.yaml");

const WEB: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: None
  ports: [{name: metrics, port: 8000}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {nodeName: node-0, containers: [{name: web, image: web}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 4
  behavior:
    scaleUp: {policies: [{type: Pods, value: 4, periodSeconds: 15}]}
    scaleDown: {stabilizationWindowSeconds: 15}
  metrics:
    - type: External
      external:
        metric: {name: app_requests_per_second}
        target: {type: AverageValue, averageValue: "25"}
"#;

/// A process in place of a container.
struct Pod {
    uid: String,
    address: Ipv4Addr,
    child: Child,
}

/// The processes of the Deployment.
struct Pods<'p> {
    world: &'p World,
    netns: &'p Netns,
    python: &'p str,
    running: Vec<Pod>,
    started: usize,
    /// Where requests go.
    ready: &'p Mutex<Vec<Ipv4Addr>>,
}

/// Ends a thread, also when the test fails.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_application_follows_the_rate_of_its_requests_from_one_to_three_and_back() {
    let world = World::new("application", &["--sync", "15s"], "").await;
    let config = json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        "sources": [{
            "type": "scrape", "metric": "app_requests_per_second", "service": "shop/web", "port": "metrics",
            "series": "python_request_operations_total", "as": "rate", "window": "20s", "namespaces": ["shop"],
        }],
    });
    tokio::task::block_in_place(|| {
        let built = run(script("hack/setup").arg("application"));
        assert!(built.ok, "{}", built.stderr);
        let python = format!("{}/bin/python", built.stdout.trim());
        let netns = Netns::with(PODS);
        world.cluster.apply(WEB);
        let config = world.write("application.yaml", &config.to_string());
        let _server = world.serve_at(&Place { config: Some(config), ..world.place() });
        world.await_available();
        let (stops, ready, rate) = (AtomicBool::new(false), Mutex::new(Vec::new()), AtomicU64::new(0));
        let served = AtomicUsize::new(0);
        let mut pods =
            Pods { world: &world, netns: &netns, python: &python, running: Vec::new(), started: 0, ready: &ready };
        std::thread::scope(|scope| {
            let end = Stop(&stops);
            scope.spawn(|| pods.follow(&stops));
            for _ in 0..CLIENTS {
                scope.spawn(|| load(&ready, &rate, &served, &stops));
            }
            let unreadable = "the EndpointSlices of Service shop/web can't be watched";
            eventually_or(|| answer(&world), UP, || answer(&world).contains(unreadable).then_some(()));
            assert!(world.log().contains("resources: [endpointslices], verbs: [list, watch]"), "{}", world.log());
            world.cluster.apply(RIGHTS);
            // Nothing is requested, which is 0 and not unknown.
            eventually_or(|| answer(&world), UP, || (value(&world)? < 0.001).then_some(()));
            rate.store(A_POD * 4 / 5, Relaxed);
            await_rate(&world, A_POD * 4 / 5);
            assert_eq!(world.replicas_of("web"), 1);
            rate.store(A_POD * 14 / 5, Relaxed);
            await_replicas(&world, 3, UP);
            // New pods begin at 0, and the sum stays that of all requests.
            await_rate(&world, A_POD * 14 / 5);
            assert_eq!(world.replicas_of("web"), 3);
            rate.store(A_POD / 5, Relaxed);
            await_replicas(&world, 1, DOWN);
            await_rate(&world, A_POD / 5);
            drop(end);
        });
        assert!(served.load(Relaxed) > 0);
    });
}

/// What kube-apiserver answers.
fn answer(world: &World) -> String {
    let said = world.cluster.kubectl(&["get", "--raw", VALUE]);
    format!("{}{}\n{}", said.stdout, said.stderr, if said.ok { "" } else { "failed" })
}

fn value(world: &World) -> Option<f64> {
    let list = world.cluster.read(VALUE)?;
    let text = list["items"][0]["value"].as_str()?;
    match text.strip_suffix('m') {
        Some(milli) => Some(milli.parse::<f64>().ok()? / 1000.0),
        None => text.parse().ok(),
    }
}

/// Within a tenth and two requests a second.
fn await_rate(world: &World, expected: u64) {
    let expected = f64::from(u32::try_from(expected).unwrap());
    let is_near = |value: f64| (value - expected).abs() <= expected / 10.0 + 2.0;
    let what = || format!("{expected} a second: {}", answer(world));
    eventually_or(what, UP, || value(world).filter(|value| is_near(*value)));
}

fn await_replicas(world: &World, count: u64, within: Duration) {
    let what =
        || format!("{count} replicas; there are {}: {}\n{}", world.replicas_of("web"), answer(world), world.log());
    eventually_or(what, within, || (world.replicas_of("web") == count).then_some(()));
}

/// Sends its share of so many requests a second to the ready pods in turn, until it is stopped.
fn load(ready: &Mutex<Vec<Ipv4Addr>>, rate: &AtomicU64, served: &AtomicUsize, stops: &AtomicBool) {
    let (mut next, mut turn) = (Instant::now(), 0_usize);
    while !stops.load(Relaxed) {
        let (pods, a_second) = (ready.lock().clone(), rate.load(Relaxed));
        if pods.is_empty() || a_second == 0 {
            next = Instant::now();
            pause(Duration::from_millis(20));
            continue;
        }
        pause(next.saturating_duration_since(Instant::now()));
        next += Duration::from_secs(1) * CLIENTS / u32::try_from(a_second).unwrap();
        turn = turn.wrapping_add(1);
        // A pod that has just ended serves nothing.
        if get(pods[turn % pods.len()], "/").is_some_and(|answer| answer.ends_with("served\n")) {
            served.fetch_add(1, Relaxed);
        }
    }
}

/// An answer over HTTP, unless there is none.
fn get(pod: Ipv4Addr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((pod, PORT)), Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

// === impl Pods ===

impl Pods<'_> {
    /// Runs as many processes as there are replicas, and publishes them, until it is stopped.
    fn follow(&mut self, stops: &AtomicBool) {
        while !stops.load(Relaxed) {
            let wanted = usize::try_from(self.world.replicas_of("web")).unwrap();
            if self.running.len() != wanted {
                self.scale(wanted);
            }
            pause(Duration::from_millis(200));
        }
    }

    fn scale(&mut self, wanted: usize) {
        // Those that end are no endpoints any more when they end.
        let ended = self.running.split_off(wanted.min(self.running.len()));
        self.publish();
        drop(ended);
        while self.running.len() < wanted {
            self.start();
        }
        self.publish();
    }

    fn start(&mut self) {
        let is_free = |address: &Ipv4Addr| self.running.iter().all(|pod| pod.address != *address);
        let address = (0..PODS).map(|number| self.netns.pod(number)).find(is_free).expect("a free address");
        let enter = self.netns.enter();
        let child = Command::new(&enter[0])
            .args(&enter[1..])
            .args([self.python, PROGRAM, &address.to_string(), &PORT.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.started += 1;
        self.running.push(Pod { uid: format!("pod-{}", self.started), address, child });
        eventually_or(|| format!("{address} answers"), UP, || get(address, "/metrics").map(drop));
    }

    /// As the endpoint slice controller does.
    fn publish(&self) {
        let endpoint = |pod: &Pod| {
            json!({
                "addresses": [pod.address],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "targetRef": {"kind": "Pod", "namespace": "shop", "name": pod.uid, "uid": pod.uid},
            })
        };
        let endpoints: Vec<Value> = self.running.iter().map(endpoint).collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "web-by-hand", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "metrics", "port": PORT, "protocol": "TCP"}],
            "endpoints": endpoints,
        });
        self.world.cluster.apply(&slice.to_string());
        *self.ready.lock() = self.running.iter().map(|pod| pod.address).collect();
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
