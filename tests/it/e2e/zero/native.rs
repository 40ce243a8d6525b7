//! 1.37, where HPAs scale to zero themselves: they are left alone, woken faster if they wish, and
//! those that sleep for good are found.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::cluster::{eventually, pause};
use super::super::world::{self, Server};
use super::leaders::{End, Replicas};
use super::stage::{Hpa, REFRESH, SETTLE, SLACK, Stage, WAKE, Workload};

const FAST: Workload = Workload { kind: "deployment", name: "fast" };
const PLAIN: Workload = Workload { kind: "deployment", name: "plain" };
const KEPT: Workload = Workload { kind: "deployment", name: "kept" };
/// More than one message wakes it.
const LATCHED: Workload = Workload { kind: "deployment", name: "latched" };
const ALL: [Workload; 4] = [FAST, PLAIN, KEPT, LATCHED];
/// The controller is slow here, to be outrun.
const SYNC: Duration = Duration::from_secs(10);
/// Of which in one in five its sync is in the second or two that depthgauge takes.
const TRIES: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hpas_that_can_are_left_alone_woken_faster_or_rescued() {
    let mut stage = Stage::new("zero-native", &["--sync", "10s"]).await;
    let mut replicas = tokio::task::block_in_place(|| {
        let mut replicas = Replicas::new(&stage);
        deploy(&stage);
        activation_holds_one_message_back_and_keeps_the_last_worker(&stage);
        woken_faster_and_handed_over(&stage);
        a_leader_that_wakes_faster_is_replaced(&stage, &mut replicas);
        paused_it_is_left_to_its_hpa(&stage);
        replicas
    });
    an_outage_leaves_it_asleep(&mut stage).await;
    tokio::task::block_in_place(|| stuck_at_zero(&stage, &mut replicas));
}

fn deploy(stage: &Stage) {
    stage.accepts("manifests/examples/keda/from-1.37.yaml");
    let fast = Hpa { min: 0, annotations: "depthgauge.dev/fast-activation: 'true'", ..Hpa::default() };
    stage.deploy(FAST, 1, &fast);
    let plain = Hpa { min: 0, labels: "", annotations: "", ..Hpa::default() };
    stage.deploy(PLAIN, 1, &plain);
    // As in the example.
    stage.deploy(LATCHED, 1, &Hpa { selector: ", depthgauge.dev/activation: '1'", ..plain });
    // With a minReplicas of 1 no HPA goes to zero, on any cluster.
    stage.deploy(KEPT, 1, &Hpa::default());
    for workload in ALL {
        stage.await_replicas(workload, 0, SYNC * 4);
    }
    assert_eq!((stage.count(FAST, "ScaledToZero"), stage.count(KEPT, "ScaledToZero")), (0, 1));
    rests(stage);
}

/// By its HPA alone, which is told 0 of what the latch holds back.
fn activation_holds_one_message_back_and_keeps_the_last_worker(stage: &Stage) {
    stage.depth(1);
    stage.stays(LATCHED, 0, SYNC + SLACK);
    // Whoever has no latch is woken by it.
    assert_eq!([KEPT, PLAIN].map(|workload| stage.replicas(workload)), [1, 1]);
    stage.depth(2);
    stage.await_replicas(LATCHED, 1, SYNC + SLACK);
    stage.depth(1);
    // The last one is being worked on, and only then done with.
    let queue = stage.world.oci.queue();
    let taken = queue.take(1, SETTLE);
    stage.stays(LATCHED, 1, SYNC + SLACK);
    assert!(queue.delete(None, &taken[0].receipt).unwrap());
    assert_eq!(stage.world.oci.depth(), 0);
    rests(stage);
    assert_eq!(stage.events(LATCHED), Vec::<String>::new());
}

fn woken_faster_and_handed_over(stage: &Stage) {
    outruns_its_hpa(stage, || stage.world.oci.put_by_cli(20));
    stage.await_event(FAST, "ScaledFromZero", "from 0 to 10");
    // The default policy adds four pods in 15 s, at every second sync: 4, 8 and 10.
    stage.await_replicas(PLAIN, 10, SYNC * 6);
    assert_eq!(stage.events(PLAIN), Vec::<String>::new());
    // Handed over: it follows the queue again, to zero.
    stage.depth(4);
    stage.await_replicas(FAST, 2, SYNC * 3);
    stage.depth(0);
}

fn a_leader_that_wakes_faster_is_replaced(stage: &Stage, replicas: &mut Replicas) {
    rests(stage);
    replicas.replace_leader(stage, End::Killed);
    outruns_its_hpa(stage, || _ = stage.depth(20));
    stage.depth(0);
    rests(stage);
}

/// Twenty messages wake it before its HPA has looked. At any moment that may be the next one, and
/// then there is another try.
fn outruns_its_hpa(stage: &Stage, put: impl Fn()) {
    for _try in 0..TRIES {
        rests(stage);
        pause(SYNC.mul_f64(fastrand::f64()));
        let before = stage.count(FAST, "ScaledFromZero");
        put();
        stage.await_replicas(KEPT, 10, REFRESH + WAKE + SLACK);
        eventually("it is awake", SLACK, || (stage.replicas(FAST) > 0).then_some(()));
        let ours = (0..8).any(|_| {
            pause(Duration::from_millis(250));
            stage.count(FAST, "ScaledFromZero") == before + 1
        });
        if ours {
            stage.await_replicas(FAST, 10, SLACK);
            return;
        }
        println!("its HPA was faster");
        stage.depth(0);
    }
    panic!("its HPA was faster, {TRIES} times\n{}", stage.world.log());
}

fn paused_it_is_left_to_its_hpa(stage: &Stage) {
    let before = stage.count(FAST, "ScaledFromZero");
    stage.annotate(FAST, "depthgauge.dev/paused=true");
    stage.depth(4);
    stage.await_replicas(FAST, 2, SYNC * 3);
    assert_eq!(stage.count(FAST, "ScaledFromZero"), before);
    stage.annotate(FAST, "depthgauge.dev/paused-");
    stage.depth(0);
    rests(stage);
}

async fn an_outage_leaves_it_asleep(stage: &mut Stage) {
    stage.world.oci.go_dark().await;
    tokio::task::block_in_place(|| {
        stage.await_event(FAST, "MetricUnavailableAtZero", "kubectl scale -n shop deployment/fast --replicas=1");
        stage.stays(FAST, 0, Duration::from_secs(3));
    });
    stage.world.oci.come_back().await;
    tokio::task::block_in_place(|| {
        stage.depth(4);
        stage.await_replicas(FAST, 2, SETTLE);
        stage.await_replicas(PLAIN, 2, SETTLE);
    });
}

fn stuck_at_zero(stage: &Stage, replicas: &mut Replicas) {
    // What the HPA did itself is over when it has scaled once more, and says so.
    stage.depth(8);
    for workload in [FAST, PLAIN] {
        stage.await_replicas(workload, 4, SYNC * 3);
        eventually("the HPA is awake", SYNC * 2, || (condition(stage, workload) != "True").then_some(()));
        stage.scale(workload, 0);
    }
    // Without the label, too.
    let wake = "kubectl scale -n shop deployment/plain --replicas=1";
    stage.await_event(PLAIN, "StuckAtZero", wake);
    let [leader, other] = replicas.servers();
    let gauge = "depthgauge_hpa_problem{namespace=\"shop\",hpa=\"plain\",problem=\"stuck_at_zero\"} 1";
    let told = leader.page("/metrics");
    assert!(told.contains(gauge), "{told}");
    let readyz = eventually("a line", SETTLE, || Some(leader.readyz()).filter(|said| said.contains("StuckAtZero")));
    assert!(readyz.contains("[!]scale-to-zero degraded"), "{readyz}");
    is_on_the_page_of_who_acts(leader, other, wake);
    is_said_by_the_commands(stage, wake);
    stage.stays(FAST, 0, Duration::from_secs(3));
    stage.annotate(FAST, "depthgauge.dev/recover-stuck=true");
    stage.await_replicas(FAST, 4, SLACK * 2);
    stage.await_event(FAST, "ScaledFromZero", "scaled deployment/fast from 0 to 4");
    let before = stage.count(FAST, "ScaledFromZero");
    replicas.replace_leader(stage, End::Updated);
    stage.stays(PLAIN, 0, Duration::from_secs(2));
    assert_eq!((stage.replicas(FAST), stage.count(FAST, "ScaledFromZero")), (4, before));
}

/// And the other one says whose page that is.
fn is_on_the_page_of_who_acts(leader: &Server, other: &Server, wake: &str) {
    let [leader, other] =
        [leader, other].map(|server| -> Value { serde_json::from_str(&server.page("/status")).unwrap() });
    let findings = leader["findings"].as_array().unwrap();
    let plain = findings.iter().find(|finding| finding["object"] == "shop/plain");
    let sentence = plain.and_then(|finding| finding["message"].as_str()).unwrap_or_default();
    assert!(sentence.starts_with("StuckAtZero: ") && sentence.contains(wake), "{findings:?}");
    assert_eq!(leader["scaleToZero"], "by this replica");
    let who = other["scaleToZero"].as_str().unwrap();
    assert!(who.ends_with(", see the problems on its status page") && other["findings"] == json!([]), "{who}");
}

/// Which find it themselves.
fn is_said_by_the_commands(stage: &Stage, wake: &str) {
    let rests = "shop/plain is disabled, because another client set its workload to 0, and it is stuck at zero although its metrics are above 0. To start one replica: ";
    for said in [stage.check(), stage.explain(PLAIN)] {
        assert!(said.contains(&format!("{rests}{wake}")), "{said}");
    }
}

/// At 0, and known to wake by itself.
fn rests(stage: &Stage) {
    for workload in ALL {
        stage.await_replicas(workload, 0, SYNC * 4);
    }
    eventually("the HPA says ScaledToZero", SYNC * 2, || (condition(stage, FAST) == "True").then_some(()));
}

fn condition(stage: &Stage, workload: Workload) -> String {
    world::condition(&stage.read_hpa(workload), "ScaledToZero", "status")
}
