//! 1.37, where HPAs scale to zero themselves: they are left alone, woken faster if they wish, and
//! those that sleep for good are found.

use std::time::Duration;

use super::super::cluster::{eventually, pause};
use super::stage::{Hpa, REFRESH, SETTLE, SLACK, Stage, Workload, metrics};

const FAST: Workload = Workload { kind: "deployment", name: "fast" };
const PLAIN: Workload = Workload { kind: "deployment", name: "plain" };
const KEPT: Workload = Workload { kind: "deployment", name: "kept" };
/// The controller is slow here, to be outrun.
const SYNC: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hpas_that_can_are_left_alone_woken_faster_or_rescued() {
    let stage = Stage::new("zero-native", &["--sync", "15s"]).await;
    let server = stage.serve();
    stage.world.await_available();
    tokio::task::block_in_place(|| {
        stage.accepts("manifests/examples/keda/from-1.37.yaml");
        let fast = Hpa { min: 0, annotations: "depthgauge.dev/fast-wake: 'true'", ..Hpa::default() };
        stage.deploy(FAST, 1, &fast);
        stage.deploy(PLAIN, 1, &Hpa { min: 0, labels: "", annotations: "", ..Hpa::default() });
        // With a minReplicas of 1 no HPA goes to zero, on any cluster.
        stage.deploy(KEPT, 1, &Hpa::default());
        for workload in [FAST, PLAIN, KEPT] {
            stage.await_replicas(workload, 0, SYNC * 4);
        }
        assert_eq!((stage.count(FAST, "PutToSleep"), stage.count(KEPT, "PutToSleep")), (0, 1));
        eventually("the HPA says ScaledToZero", SYNC * 2, || (condition(&stage, FAST) == "True").then_some(()));
        // The controller's beat is anywhere.
        pause(SYNC.mul_f64(fastrand::f64()));

        stage.depth(20);
        for workload in [FAST, KEPT] {
            stage.await_replicas(workload, 10, REFRESH + Duration::from_secs(1) + SLACK);
        }
        stage.await_event(FAST, "Woken", "from 0 to 10");
        stage.await_replicas(PLAIN, 10, SYNC * 4);
        assert_eq!(stage.events(PLAIN), Vec::<String>::new());
        // Handed over: it follows the queue again, to zero.
        stage.depth(4);
        stage.await_replicas(FAST, 2, SYNC * 3);

        asleep_for_good(&stage, &server);
    });
}

fn asleep_for_good(stage: &Stage, server: &super::super::world::Server) {
    for workload in [FAST, PLAIN] {
        stage.scale(workload, 0);
    }
    // Without the label, too.
    stage.await_event(PLAIN, "AsleepForGood", "kubectl scale -n shop deployment/plain --replicas=1");
    let gauge = "depthgauge_hpa_problem{namespace=\"shop\",hpa=\"plain\",problem=\"asleep_for_good\"} 1";
    let told = metrics(server);
    assert!(told.contains(gauge), "{told}");
    let readyz = eventually("a line", SETTLE, || Some(server.readyz()).filter(|said| said.contains("AsleepForGood")));
    assert!(readyz.contains("[!]scale-to-zero degraded"), "{readyz}");
    stage.stays(FAST, 0, Duration::from_secs(3));
    stage.annotate(FAST, "depthgauge.dev/rescue=true");
    stage.await_replicas(FAST, 2, SLACK * 2);
    stage.stays(PLAIN, 0, Duration::from_secs(2));
}

fn condition(stage: &Stage, workload: Workload) -> String {
    let path = "jsonpath={.status.conditions[?(@.type==\"ScaledToZero\")].status}";
    stage.world.cluster.told(&["get", "hpa", workload.name, "-n", "shop", "-o", path])
}
