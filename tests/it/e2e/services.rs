//! Plain HPAs on services other than OCI, with the real programs: a worker of a RabbitMQ queue, and a service that
//! is scaled by its requests per second, from a counter in Prometheus.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;

use super::cluster::{eventually_or, pause, run, script};
use super::world::{Place, World};
use crate::support::double::Double;
use crate::support::prometheus::Prometheus;
use crate::support::rabbitmq::Broker;

/// The controller's interval between two looks at an HPA.
const SYNC: Duration = Duration::from_secs(15);
/// Reads of a new queue, two syncs, and a busy machine.
const UP: Duration = Duration::from_secs(60);
/// How long a worker takes for a message.
const WORK: &str = "5s";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_of_rabbitmq_follows_its_queue_from_one_to_ten_to_zero_and_back() {
    let world = World::new("rabbitmq", &["--sync", "15s"], "").await;
    let broker = Broker::start("", "").await;
    broker.declare("/", "orders", "classic").await;
    broker.make_user("reader", "reader", "management", &["/"]).await;
    let password = world.write("password", "reader");
    let config = json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        "connections": {"broker": {
            "type": "rabbitmq", "url": broker.url,
            "auth": {"type": "basic", "username": "reader", "passwordFile": password},
        }},
        "sources": [{"type": "rabbitmq", "queue": "orders", "namespaces": ["shop"]}],
    });
    tokio::task::block_in_place(|| {
        let built = run(script("hack/setup").arg("rabbitmq-client"));
        assert!(built.ok, "{}", built.stderr);
        let client = Client { program: built.stdout.trim().to_owned(), url: broker.amqp.clone() };
        let _server =
            world.serve_at(&Place { config: Some(world.write("rabbitmq.yaml", &config.to_string())), ..world.place() });
        world.await_available();
        let metric = "{name: rabbitmq_queue_length, selector: {matchLabels: {queue: orders, vhost: default}}}";
        deploy(&world, "worker", 0, metric, "20");
        let stops = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| client.work(&world, &stops));
            let end = Stop(&stops);
            // A 0 counts after RabbitMQ has listed the queue for 10 s.
            await_replicas(&world, "worker", 0, UP);
            client.publish(20);
            await_replicas(&world, "worker", 1, UP);
            client.publish(200);
            await_replicas(&world, "worker", 10, UP);
            // 220 messages by 10 workers and fewer, and the scale-down.
            await_replicas(&world, "worker", 0, Duration::from_secs(600));
            client.publish(1);
            await_replicas(&world, "worker", 1, UP);
            await_replicas(&world, "worker", 0, UP * 2);
            drop(end);
        });
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_follows_the_rate_of_its_requests_from_one_to_ten_and_back() {
    let world = World::new("requests", &["--sync", "15s"], "").await;
    let load = Arc::new(Load::new());
    let counted = load.clone();
    let exporter = Double::start(None, move |_| {
        (
            200,
            format!(
                "# TYPE http_requests_total counter\nhttp_requests_total{{namespace=\"shop\"}} {}\n",
                counted.total()
            ),
        )
    })
    .await;
    let mut prometheus = Prometheus::start(&[("web", exporter.address)], &[]);
    let config = json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        "connections": {"monitoring": {"type": "prometheus", "url": prometheus.base}},
        "sources": [{
            "type": "prometheus", "metric": "http_requests_per_second",
            "query": "sum by (namespace) (rate(http_requests_total[10s]))",
            "namespaceLabel": "namespace", "namespaces": ["*"],
        }],
    });
    tokio::task::block_in_place(|| {
        let _server = world
            .serve_at(&Place { config: Some(world.write("prometheus.yaml", &config.to_string())), ..world.place() });
        world.await_available();
        deploy(&world, "web", 1, "{name: http_requests_per_second}", "2");
        prometheus.check();
        load.set(1.0);
        await_replicas(&world, "web", 1, UP);
        load.set(40.0);
        await_replicas(&world, "web", 10, UP);
        load.set(1.0);
        await_replicas(&world, "web", 1, UP * 2);
    });
}

/// A Deployment, and its HPA on this metric.
fn deploy(world: &World, name: &str, least: u32, metric: &str, target: &str) {
    world.cluster.apply(&format!(
        "\
{{apiVersion: v1, kind: Namespace, metadata: {{name: shop}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{nodeName: node-0, containers: [{{name: c, image: i}}]}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {name}, namespace: shop}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
  minReplicas: {least}
  maxReplicas: 10
  metrics:
  - type: External
    external:
      metric: {metric}
      target: {{type: AverageValue, averageValue: \"{target}\"}}
  behavior:
    scaleUp: {{policies: [{{type: Pods, value: 10, periodSeconds: 15}}]}}
    scaleDown: {{stabilizationWindowSeconds: 10}}
"
    ));
}

fn await_replicas(world: &World, name: &str, count: u64, within: Duration) {
    let what = || format!("{count} replicas of {name}; there are {}\n{}", world.replicas_of(name), world.log());
    eventually_or(what, within + SYNC, || (world.replicas_of(name) == count).then_some(()));
}

/// The official client of RabbitMQ.
struct Client {
    program: String,
    url: String,
}

// === impl Client ===

impl Client {
    fn publish(&self, count: usize) {
        let said = run(Command::new(&self.program).args(["publish", &self.url, "orders", &count.to_string()]));
        assert!(said.ok, "{}", said.stderr);
    }

    /// Runs as many workers as there are replicas, until it is stopped. One that is killed loses no message.
    fn work(&self, world: &World, stops: &AtomicBool) {
        let mut workers: Vec<Child> = Vec::new();
        while !stops.load(Relaxed) {
            let wanted = usize::try_from(world.replicas_of("worker")).unwrap();
            while workers.len() < wanted {
                let mut worker = Command::new(&self.program);
                worker.args(["work", &self.url, "orders", WORK]).stdin(Stdio::null());
                workers.push(worker.spawn().unwrap());
            }
            for mut worker in workers.drain(wanted.min(workers.len())..) {
                end(&mut worker);
            }
            pause(Duration::from_millis(200));
        }
        workers.iter_mut().for_each(end);
    }
}

fn end(worker: &mut Child) {
    worker.kill().unwrap();
    worker.wait().unwrap();
}

/// Stops the workers, also when the test fails.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A counter that grows by so many a second.
struct Load(Mutex<Since>);

/// The count at a moment, and how many a second come after it.
#[derive(Clone, Copy)]
struct Since {
    moment: Instant,
    count: f64,
    rate: f64,
}

// === impl Load ===

impl Load {
    fn new() -> Self {
        Self(Mutex::new(Since { moment: Instant::now(), count: 0.0, rate: 0.0 }))
    }

    /// How many there have been.
    fn total(&self) -> f64 {
        let Since { moment, count, rate } = *self.0.lock();
        count + rate * moment.elapsed().as_secs_f64()
    }

    /// From now on so many a second.
    fn set(&self, rate: f64) {
        let count = self.total();
        *self.0.lock() = Since { moment: Instant::now(), count, rate };
    }
}
