//! Two replicas, no leader: each is restarted under a read every 50 ms through the aggregator,
//! once behind endpoints that the aggregator chooses itself, once behind a balancer as a
//! Service is one; then kube-apiserver.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::cluster::{eventually, is_at_least, kubectl};
use super::netns::Netns;
use super::poller::{Poller, hpa_controller, hpa_controller_by_front_proxy};
use super::proxy::{Proxy, watch_readiness};
use super::world::{METRIC_PATH, Place, QUEUE_ID, Server, World};
use crate::support::lasting_port;

/// Long enough for the news to get from `/readyz` to the aggregator: two looks of the test's
/// kubelet, one kubectl, one watch event, on a busy machine.
const SHUTDOWN_DELAY: &str = "3s";
/// The delay, and 10 s for answers in flight.
const DRAIN: Duration = Duration::from_secs(15);
/// Reads between two steps: a second of them.
const A_SECOND: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_fails_while_each_of_two_endpoints_restarts() {
    let world = World::new("routing", &["--aggregator-routing"], "").await;
    let netns = tokio::task::block_in_place(Netns::make);
    let outside = world.place();
    let text = std::fs::read_to_string(&outside.kubeconfig).unwrap();
    let (kubeconfig, _to_cluster) = netns.kubeconfig(&world.cluster, &text).await;
    // An endpoint without TLS has to be on loopback, and in there that is another one: so is the
    // emulator, at the same address. Its queue is empty.
    let emulator = tokio::task::block_in_place(|| Emulator::start(&netns, &world));
    let config = std::fs::read_to_string(outside.config.as_ref().unwrap()).unwrap();
    let config = config.replace(world.oci.config_file.to_str().unwrap(), &emulator.config_file);
    let place = Place {
        enter: netns.enter(),
        service_port: 443,
        config: Some(world.write("config-inside.yaml", &config)),
        kubeconfig: world.write("kubeconfig-inside", &kubeconfig),
        shutdown_delay: SHUTDOWN_DELAY,
        ..outside
    };
    let pods = [netns.pod(0), netns.pod(1)];
    let places = pods.map(|pod| Place { bind: (pod, 6443).into(), admin: (pod, 8080).into(), ..place.clone() });
    tokio::task::block_in_place(|| {
        world.cluster.told(&["delete", "service", "depthgauge", "-n", "depthgauge"]);
        world.cluster.apply(
            "{apiVersion: v1, kind: Service, metadata: {name: depthgauge, namespace: depthgauge}, \
             spec: {ports: [{name: https, port: 443, targetPort: 6443}]}}",
        );
    });
    let cluster = world.cluster.kubeconfig();
    let admins = places.iter().map(|place| place.admin).collect();
    let _kubelet = watch_readiness(admins, move |ready| publish_endpoints(&cluster, pods, ready));
    tokio::task::block_in_place(|| {
        each_restarts(&world, &places, "0");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_fails_while_replicas_behind_a_balancer_restart_nor_for_want_of_kube_apiserver() {
    let world = World::new("balancer", &[], "").await;
    let places = [(); 2].map(|()| Place {
        bind: (Ipv4Addr::LOCALHOST, lasting_port()).into(),
        admin: (Ipv4Addr::LOCALHOST, lasting_port()).into(),
        shutdown_delay: SHUTDOWN_DELAY,
        ..world.place()
    });
    let ready: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
    let (chosen, binds) = (ready.clone(), places.clone().map(|place| place.bind));
    let _kubelet = watch_readiness(places.iter().map(|place| place.admin).collect(), move |seen| {
        let up = binds.iter().zip(seen).filter(|(_, ready)| **ready);
        *ready.lock().unwrap() = up.map(|(bind, _)| *bind).collect();
    });
    // The Service leads to the world's port: there the balancer listens.
    let _balancer = Proxy::bind((Ipv4Addr::LOCALHOST, world.port).into(), move || {
        fastrand::choice(chosen.lock().unwrap().iter()).copied()
    })
    .await;
    tokio::task::block_in_place(|| {
        world.oci.queue().put(["one"; 7]);
        let _servers = each_restarts(&world, &places, "7");
        the_certificates_are_lost(&world);
        kube_apiserver_restarts(&world);
    });
}

/// Starts both, then ends and starts one after the other.
fn each_restarts(world: &World, places: &[Place; 2], depth: &'static str) -> Vec<Server> {
    let mut servers: Vec<Server> = places.iter().map(|place| world.serve_at(place)).collect();
    world.await_available();
    eventually("the depth is seen", Duration::from_secs(10), || (world.value()? == depth).then_some(()));
    let poller = Poller::start(hpa_controller(&world.cluster), depth);
    poller.await_good(A_SECOND);
    for (server, place) in servers.iter_mut().zip(places) {
        server.terminate();
        assert!(server.ended_well(DRAIN), "{}", world.log());
        poller.await_good(A_SECOND);
        *server = world.serve_at(place);
        poller.await_good(2 * A_SECOND);
    }
    println!("while each replica restarted: {}", poller.summary());
    poller.nothing_failed();
    servers
}

/// Both look each 10 s at the Secret that they share.
fn the_certificates_are_lost(world: &World) {
    let poller = Poller::start(hpa_controller(&world.cluster), "7");
    poller.await_good(A_SECOND);
    world.cluster.told(&["delete", "secret", "depthgauge-certs", "-n", "depthgauge"]);
    let kept = ["get", "secret", "depthgauge-certs", "-n", "depthgauge", "-o=jsonpath={.data.ca\\.crt}"];
    eventually("they are kept again", Duration::from_secs(15), || {
        let said = world.cluster.kubectl(&kept);
        (said.ok && !said.stdout.is_empty()).then_some(())
    });
    poller.await_good(12 * A_SECOND);
    println!("while the Secret was lost: {}", poller.summary());
    poller.nothing_failed();
}

/// The same reads past kube-apiserver tell whose a failure is.
fn kube_apiserver_restarts(world: &World) {
    let controller = hpa_controller(&world.cluster);
    let poller = Poller::start(controller.clone(), "7");
    let past_it = Poller::start(hpa_controller_by_front_proxy(world), "7");
    poller.await_good(A_SECOND);
    let down = Instant::now();
    world.cluster.restart("apiserver");
    let back = Instant::now();
    let first = tokio::runtime::Handle::current().block_on(controller.get(METRIC_PATH));
    assert!(first.status == 200, "the first read after it is back: {first:?}");
    poller.await_good(A_SECOND);
    println!("while kube-apiserver restarted, for {:.1} s: {}", (back - down).as_secs_f64(), poller.summary());
    println!("past it: {}", past_it.summary());
    past_it.nothing_failed();
    let mut failed = poller.failed();
    assert!(!failed.is_empty(), "kube-apiserver was never away");
    failed.retain(|read| !(down..back).contains(&read.at));
    assert!(failed.is_empty(), "while it was up: {failed:#?}");
}

/// `depthgauge emulate` in a network namespace, where the world's own emulator cannot be.
struct Emulator {
    child: Child,
    /// Kept open, because it says more.
    _lines: Box<dyn Iterator<Item = String>>,
    config_file: String,
}

impl Emulator {
    fn start(netns: &Netns, world: &World) -> Self {
        let enter = netns.enter();
        let mut child = Command::new(&enter[0])
            .args(&enter[1..])
            .args([env!("CARGO_BIN_EXE_depthgauge"), "emulate"])
            .arg(format!("--address={}", world.oci.address))
            .arg(format!("--queue=orders={QUEUE_ID}"))
            // Where it puts the config, and what goes with the world.
            .env("TMPDIR", world.place().config.unwrap().parent().unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let config_file = lines.find_map(|line| line.strip_prefix("OCI config ").map(str::to_owned)).unwrap();
        Self { child, _lines: Box::new(lines), config_file }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As the endpoint slice controller does after the kubelet's news.
fn publish_endpoints(cluster: &Path, pods: [Ipv4Addr; 2], ready: &[bool]) {
    let endpoints = pods.iter().zip(ready).map(|(pod, ready)| {
        serde_json::json!({"addresses": [pod], "conditions": {"ready": ready, "serving": ready, "terminating": false}})
    });
    let slice = serde_json::json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "depthgauge-by-hand",
            "namespace": "depthgauge",
            "labels": {"kubernetes.io/service-name": "depthgauge"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
        "endpoints": endpoints.collect::<Vec<_>>(),
    });
    // Before 1.34, the aggregator goes to what the Endpoints of the Service name.
    let of = |is_ready: bool| {
        let pods = pods.iter().zip(ready).filter(|(_, ready)| **ready == is_ready);
        pods.map(|(pod, _)| serde_json::json!({"ip": pod})).collect::<Vec<_>>()
    };
    let endpoints = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "depthgauge", "namespace": "depthgauge"},
        "subsets": [{"addresses": of(true), "notReadyAddresses": of(false), "ports": [{"name": "https", "port": 6443}]}],
    });
    let items = if is_at_least(34) { vec![slice] } else { vec![slice, endpoints] };
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), list.to_string()).unwrap();
    let said = kubectl(cluster, &["apply", "-f", file.path().to_str().unwrap()]);
    assert!(said.ok, "{}", said.stderr);
}
