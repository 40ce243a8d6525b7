//! HPAs that have an Object metric beside their queue, of the reference adapter: the workload
//! sleeps while both are 0, either wakes it, and what nobody knows is not 0.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::cluster::eventually;
use super::super::proxy::{Proxy, Task};
use super::super::side_by_side::reference::Reference;
use super::stage::{COOLDOWN, Hpa, REFRESH, SETTLE, SLACK, Stage, WAKE, Workload};

const WEB: Workload = Workload { kind: "deployment", name: "web" };
const STATE: Workload = Workload { kind: "statefulset", name: "state" };
/// Another target of the same metric than `web`'s.
const VALUE: &str = "type: Value, value: '2'";
const AVERAGE: &str = "type: AverageValue, averageValue: '1'";
/// How often an Object metric is read.
const OBJECT_REFRESH: Duration = Duration::from_secs(5);
/// How often the adapter measures.
const MEASURE: Duration = Duration::from_millis(200);
const RBAC: &str = "manifests/components/scale-to-zero/rbac.yaml";

/// Requests of an Ingress, as the adapter measures them.
struct Requests {
    value: Arc<AtomicU64>,
    _measured: Task,
    _to_adapter: Proxy,
    _adapter: Reference,
}

// === impl Requests ===

impl Requests {
    /// None so far; the adapter is registered for `custom.metrics.k8s.io`, in both versions.
    async fn none(stage: &Stage) -> Self {
        let adapter = Reference::start(&stage.world).await;
        let to_adapter = Proxy::to(([127, 0, 0, 1], 0).into(), adapter.address).await;
        let port = to_adapter.address.port();
        stage.world.cluster.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: adapter, namespace: shop}}\nspec: {{type: ExternalName, externalName: localhost, ports: [{{port: {port}}}]}}\n"
        ));
        for version in ["v1beta2", "v1beta1"] {
            stage.world.cluster.apply(&format!(
                "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {{name: {version}.custom.metrics.k8s.io}}\nspec: {{group: custom.metrics.k8s.io, version: {version}, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true, service: {{name: adapter, namespace: shop, port: {port}}}}}\n"
            ));
        }
        let value = Arc::new(AtomicU64::new(0));
        let url =
            format!("http://{}/write-metrics/namespaces/shop/ingresses.networking.k8s.io/web/requests", adapter.values);
        let (measured, client) = (value.clone(), reqwest::Client::new());
        let measured = Task::spawn(async move {
            let mut look = tokio::time::interval(MEASURE);
            loop {
                look.tick().await;
                let body = format!("\"{}\"", measured.load(Ordering::Relaxed));
                let request = client.post(&url).header("Content-Type", "application/json").body(body);
                // It may not be up yet.
                let _ = request.send().await;
            }
        });
        let requests = Self { value, _measured: measured, _to_adapter: to_adapter, _adapter: adapter };
        tokio::task::block_in_place(|| {
            for version in ["v1beta2", "v1beta1"] {
                let path = format!(
                    "/apis/custom.metrics.k8s.io/{version}/namespaces/shop/ingresses.networking.k8s.io/web/requests"
                );
                eventually("the adapter answers", SETTLE, || {
                    stage.world.cluster.kubectl(&["get", "--raw", &path]).ok.then_some(())
                });
            }
        });
        requests
    }

    /// There are so many from now on.
    fn are(&self, count: u64) -> Instant {
        self.value.store(count, Ordering::Relaxed);
        Instant::now()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_object_metric_beside_a_queue_allows_the_sleep_and_wakes() {
    let stage = Stage::new("zero-objects", &["--without-scale-to-zero"]).await;
    let server = stage.serve();
    let requests = Requests::none(&stage).await;
    tokio::task::block_in_place(|| {
        stage.world.await_available();
        requests.are(1);
        deploy(&stage);
        requests_keep_it_awake_and_none_put_it_to_sleep(&stage, &requests);
        requests_wake_it_to_its_size(&stage, &requests);
        so_they_do_by_the_older_version(&stage, &requests);
        what_nobody_may_read_is_not_0(&stage, &requests);
        server.kill();
    });
}

fn deploy(stage: &Stage) {
    for (workload, target) in [(WEB, VALUE), (STATE, AVERAGE)] {
        let metrics = format!(
            "  - type: Object\n    object:\n      describedObject: {{apiVersion: networking.k8s.io/v1, kind: Ingress, name: web}}\n      metric: {{name: requests}}\n      target: {{{target}}}\n"
        );
        stage.deploy(workload, 1, &Hpa { metrics: &metrics, ..Hpa::default() });
    }
}

fn requests_keep_it_awake_and_none_put_it_to_sleep(stage: &Stage, requests: &Requests) {
    stage.stays(WEB, 1, COOLDOWN + OBJECT_REFRESH + SLACK);
    assert_eq!(stage.annotation(WEB, "zero-since"), "");
    let none = requests.are(0);
    sleep(stage);
    assert!(none.elapsed() >= COOLDOWN, "{:?}", none.elapsed());
    let both = "oci_queue_length{queue=orders}, requests of ingress.networking.k8s.io/web reads 0 since";
    stage.await_event(WEB, "ScaledToZero", both);
}

fn sleep(stage: &Stage) {
    for workload in [WEB, STATE] {
        stage.await_replicas(workload, 0, SETTLE);
        eventually("the mark", SETTLE, || {
            (!stage.annotation(workload, "scaled-to-zero-since").is_empty()).then_some(())
        });
    }
}

fn requests_wake_it_to_its_size(stage: &Stage, requests: &Requests) {
    let came = requests.are(5);
    for (workload, size) in [(WEB, 3), (STATE, 5)] {
        let woken = stage.await_event(workload, "ScaledFromZero", "requests of ingress.networking.k8s.io/web is 5");
        assert!(woken.contains(&format!("from 0 to {size}: ")), "{woken}");
        let took = stage.woken_after(workload, came);
        println!("{} woken after {took:?}", workload.name);
        assert!(took <= OBJECT_REFRESH + WAKE + MEASURE, "{took:?}");
    }
    requests.are(0);
    sleep(stage);
    // The queue alone wakes as fast as without it.
    let put = stage.depth(4);
    stage.await_replicas(WEB, 2, REFRESH + WAKE + SLACK);
    let took = stage.woken_after(WEB, put);
    assert!(took <= REFRESH + WAKE, "{took:?}");
    stage.depth(0);
    sleep(stage);
}

fn so_they_do_by_the_older_version(stage: &Stage, requests: &Requests) {
    stage.world.cluster.told(&["delete", "apiservice", "v1beta2.custom.metrics.k8s.io"]);
    let before = stage.count(WEB, "ScaledFromZero");
    requests.are(2);
    stage.await_more(WEB, "ScaledFromZero", before);
    requests.are(0);
    sleep(stage);
}

fn what_nobody_may_read_is_not_0(stage: &Stage, requests: &Requests) {
    let rbac = std::fs::read_to_string(RBAC).unwrap();
    let without = rbac.replace("apiGroups: [custom.metrics.k8s.io]", "apiGroups: [nothing.k8s.io]");
    assert_ne!(without, rbac);
    stage.world.cluster.apply(&without);
    let said = stage.await_event(WEB, "MetricUnavailableAtZero", "it may not get * of custom.metrics.k8s.io in shop");
    stage.scale(STATE, 1);
    stage.await_event(
        STATE,
        "MetricUnavailable",
        "is not scaled to zero while a metric is unavailable: depthgauge cannot read requests of ingress.networking.k8s.io/web",
    );
    stage.stays(STATE, 1, COOLDOWN + SLACK);
    let checked = stage.check();
    let line = "ServiceAccount depthgauge/depthgauge may not get all metrics of custom.metrics.k8s.io, which serve needs with --scale-to-zero for HPAs";
    assert!(checked.contains(line), "{checked}");
    // Given back by what the Event says.
    let (_, yaml) = said.split_once("kubectl apply -f -: ").unwrap();
    stage.world.cluster.apply(yaml);
    sleep(stage);
    requests.are(5);
    stage.await_replicas(WEB, 3, OBJECT_REFRESH + WAKE + SLACK);
}
