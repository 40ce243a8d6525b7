//! HPAs with `minReplicas: 1`, which never go to 0 by themselves, below 1.37 and from there on: a
//! Deployment, a StatefulSet and a custom resource go to 0 and back together, and what can go
//! wrong meanwhile.

use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::super::cluster::{eventually, pause, run, throughout};
use super::super::world::Server;
use super::stage::{COOLDOWN, Hpa, REFRESH, SETTLE, SLACK, Stage, WAKE, Workload};

const WEB: Workload = Workload { kind: "deployment", name: "web" };
const STATE: Workload = Workload { kind: "statefulset", name: "state" };
const WORKER: Workload = Workload { kind: "worker", name: "worker" };
const LATCHED: Workload = Workload { kind: "deployment", name: "latched" };
const BACKED: Workload = Workload { kind: "deployment", name: "backed" };
const ALL: [Workload; 5] = [WEB, STATE, WORKER, LATCHED, BACKED];

const WORKERS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: workers.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: workers, singular: worker, kind: Worker}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
"#;
/// `maxAge` of every queue here.
const MAX_AGE: Duration = Duration::from_secs(4);
/// How long a value may have been there when the source goes dark: until the next read, which a look
/// at the workload asks for.
const READ: Duration = Duration::from_millis(1500);
/// A kind that no HPA can scale.
const ROBOTS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: robots.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: robots, singular: robot, kind: Robot}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#;
const CPU: &str = "  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}\n";
/// As a user adds a kind of his own.
const WORKERS_MAY_BE_SCALED: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: workers}
rules: [{apiGroups: [example.com], resources: [workers/scale], verbs: [get, patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: workers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: workers}
subjects: [{kind: ServiceAccount, name: depthgauge, namespace: depthgauge}]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workloads_of_every_kind_go_to_zero_and_back_where_no_hpa_can() {
    let stage = Stage::new("zero-below", &["--without-scale-to-zero"]).await;
    stage.accepts("manifests/examples/keda/below-1.37.yaml");
    go_to_zero_and_back(stage, |stage| {
        let set =
            stage.world.cluster.kubectl(&["patch", "hpa", "web", "-n", "shop", "-p", r#"{"spec":{"minReplicas":0}}"#]);
        assert!(!set.ok && set.stderr.contains("minReplicas"), "{set:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workloads_of_every_kind_go_to_zero_and_back_where_their_hpas_could() {
    let stage = Stage::new("zero-from", &[]).await;
    go_to_zero_and_back(stage, |stage| {
        stage.world.cluster.told(&[
            "patch",
            "hpa",
            "web",
            "-n",
            "shop",
            "--dry-run=server",
            "-p",
            r#"{"spec":{"minReplicas":0}}"#,
        ]);
    })
    .await;
}

/// All of it; `on_cluster` holds for these HPAs on this cluster.
async fn go_to_zero_and_back(mut stage: Stage, on_cluster: impl Fn(&Stage)) {
    let server = stage.serve();
    stage.world.await_available();
    tokio::task::block_in_place(|| {
        deploy(&stage);
        on_cluster(&stage);
        an_empty_queue_puts_all_to_sleep(&stage);
        messages_wake_them_to_their_size_and_the_hpa_takes_over(&stage);
        the_cooldown_is_kept_to_the_second(&stage);
        activation_holds_one_message_back_and_keeps_the_last_worker(&stage);
        an_edit_of_a_sleepers_hpa_is_understood(&stage);
        a_manual_zero_and_a_pause_are_respected(&stage);
        what_keda_scales_to_zero_is_scaled_to_zero(&stage);
        what_cannot_be_is_said(&stage);
    });
    an_outage_puts_nobody_to_sleep_and_wakes_to_the_fallback(&mut stage, &server).await;
    tokio::task::block_in_place(|| {
        an_hpa_that_is_deleted_leaves_word(&stage);
        let counted = server.page("/metrics");
        assert!(counted.contains("depthgauge_scale_to_zero_actions_total{action=\"scale_from_zero\"}"), "{counted}");
        an_uninstall_wakes_what_sleeps(&stage);
        server.kill();
    });
}

fn deploy(stage: &Stage) {
    stage.world.cluster.apply(WORKERS);
    stage.world.cluster.await_kind("workers.example.com");
    stage.world.cluster.apply(WORKERS_MAY_BE_SCALED);
    stage.world.cluster.apply(ROBOTS);
    for workload in [WEB, STATE, WORKER] {
        stage.deploy(workload, 1, &Hpa::default());
    }
    stage.deploy(LATCHED, 1, &Hpa { selector: ", depthgauge.dev/activation: '1'", ..Hpa::default() });
    stage.deploy(BACKED, 1, &Hpa { selector: ", depthgauge.dev/fallback: '12'", ..Hpa::default() });
}

fn an_empty_queue_puts_all_to_sleep(stage: &Stage) {
    for workload in ALL {
        stage.await_replicas(workload, 0, SETTLE);
    }
    stage.await_event(
        WEB,
        "ScaledToZero",
        "scaled deployment/web from 1 to 0: oci_queue_length{queue=orders} reads 0 since",
    );
    assert!(!stage.annotation(WEB, "scaled-to-zero-since").is_empty());
    // What people see who do not know of us.
    eventually("its HPA says that it rests", SETTLE, || {
        let described = stage.world.cluster.told(&["describe", "hpa", "web", "-n", "shop"]);
        (described.contains("ScaledToZero") && described.contains("ScalingDisabled")).then_some(())
    });
}

fn messages_wake_them_to_their_size_and_the_hpa_takes_over(stage: &Stage) {
    stage.world.oci.put_by_cli(20);
    let put = Instant::now();
    for workload in ALL {
        stage.await_replicas(workload, 10, (REFRESH + WAKE + SLACK).saturating_sub(put.elapsed()));
    }
    stage.await_event(
        WEB,
        "ScaledFromZero",
        "scaled deployment/web from 0 to 10: oci_queue_length{queue=orders} is 20",
    );
    eventually("the mark is gone", SETTLE, || stage.annotation(WEB, "scaled-to-zero-since").is_empty().then_some(()));
    // From here on it is the HPA's own work.
    stage.depth(5);
    stage.await_replicas(WEB, 3, SETTLE);
}

fn the_cooldown_is_kept_to_the_second(stage: &Stage) {
    let empty = stage.depth(0);
    let of = |key: &str| stage.annotation(WEB, key).parse::<Timestamp>().ok();
    let began = eventually("its cooldown begins", SETTLE, || of("zero-since"));
    stage.await_replicas(WEB, 0, COOLDOWN + REFRESH * 2 + WAKE + SLACK);
    assert!(empty.elapsed() >= COOLDOWN, "{:?}", empty.elapsed());
    // From one reading to another: at most `refresh` too late, and what a look and a call take.
    let slept = eventually("the mark is there", SETTLE, || of("scaled-to-zero-since"));
    let cooled = slept.duration_since(began).unsigned_abs();
    assert!((COOLDOWN..=COOLDOWN + REFRESH + WAKE).contains(&cooled), "{cooled:?}");
    for workload in ALL {
        stage.await_replicas(workload, 0, SETTLE);
    }
}

fn activation_holds_one_message_back_and_keeps_the_last_worker(stage: &Stage) {
    let put = stage.depth(1);
    stage.await_replicas(WEB, 1, REFRESH + WAKE + SLACK);
    woken_in_time(stage, WEB, put);
    stage.stays(LATCHED, 0, Duration::from_secs(4));
    let put = stage.depth(2);
    stage.await_replicas(LATCHED, 1, REFRESH + WAKE + SLACK);
    woken_in_time(stage, LATCHED, put);
    stage.depth(1);
    // The last one is being worked on, and only then done with.
    let queue = stage.world.oci.queue();
    let taken = queue.take(1, SETTLE);
    stage.stays(LATCHED, 1, COOLDOWN + REFRESH + SLACK);
    assert!(queue.delete(None, &taken[0].receipt).unwrap());
    assert_eq!(stage.world.oci.depth(), 0);
    for workload in ALL {
        stage.await_replicas(workload, 0, SETTLE);
    }
}

fn woken_in_time(stage: &Stage, workload: Workload, put: Instant) {
    let took = stage.woken_after(workload, put);
    println!("{} woken after {took:?}", workload.name);
    assert!(took <= REFRESH + WAKE, "{took:?}");
}

fn an_edit_of_a_sleepers_hpa_is_understood(stage: &Stage) {
    let told = |args: &[&str]| stage.world.cluster.told(&[args, &["-n", "shop"]].concat());
    let marked = |workload| !stage.annotation(workload, "scaled-to-zero-since").is_empty();
    // As whoever writes it whole.
    stage.annotate(WEB, "depthgauge.dev/scaled-to-zero-since-");
    eventually("the mark is put back", SETTLE, || marked(WEB).then_some(()));
    told(&["label", "hpa", STATE.name, "depthgauge.dev/scale-to-zero-"]);
    stage.await_replicas(STATE, 1, SLACK * 2);
    stage.await_event(STATE, "ScaledFromZero", "depthgauge no longer manages it");
    told(&["label", "hpa", STATE.name, "depthgauge.dev/scale-to-zero=true"]);
    // Pointed at another workload: what is left at 0 is said, and the other one is not ours.
    stage.deployment("elsewhere", 0);
    let point = |name: &str| {
        let patch = format!(r#"{{"spec":{{"scaleTargetRef":{{"name":"{name}"}}}}}}"#);
        told(&["patch", "hpa", LATCHED.name, "-p", &patch]);
    };
    point("elsewhere");
    eventually("an Event on what is left", SETTLE, || {
        let events = stage.events_on("Deployment", LATCHED.name);
        events.iter().any(|event| event.contains("HPA latched was pointed at deployment/elsewhere")).then_some(())
    });
    eventually("the mark is gone", SETTLE, || (!marked(LATCHED)).then_some(()));
    assert_eq!(stage.replicas(Workload { kind: "deployment", name: "elsewhere" }), 0);
    point(LATCHED.name);
    stage.scale(LATCHED, 1);
    told(&["delete", "deployment", "elsewhere"]);
    for workload in [STATE, LATCHED] {
        eventually("it is asleep again", SETTLE, || (stage.replicas(workload) == 0 && marked(workload)).then_some(()));
    }
}

fn a_manual_zero_and_a_pause_are_respected(stage: &Stage) {
    stage.annotate(STATE, "depthgauge.dev/paused=true");
    stage.depth(4);
    stage.await_replicas(WEB, 2, REFRESH + WAKE + SLACK);
    eventually("the mark is gone", SETTLE, || stage.annotation(WEB, "scaled-to-zero-since").is_empty().then_some(()));
    stage.scale(WEB, 0);
    throughout("nobody wakes them", Duration::from_secs(8), || stage.replicas(WEB) == 0 && stage.replicas(STATE) == 0);
    stage.await_event(WEB, "StuckAtZero", "kubectl scale -n shop deployment/web --replicas=1");
    assert_eq!(stage.count(STATE, "StuckAtZero"), 0);
    stage.annotate(WEB, "depthgauge.dev/recover-stuck=true");
    stage.await_replicas(WEB, 2, SLACK * 2);
    stage.annotate(WEB, "depthgauge.dev/recover-stuck-");
    stage.annotate(STATE, "depthgauge.dev/paused-");
    stage.await_replicas(STATE, 2, SLACK * 2);
    stage.depth(0);
    for workload in ALL {
        stage.await_replicas(workload, 0, SETTLE);
    }
}

/// The pair that KEDA's users have most: a queue and CPU, with `idleReplicaCount: 0` below a minimum.
fn what_keda_scales_to_zero_is_scaled_to_zero(stage: &Stage) {
    let pair = Workload { kind: "deployment", name: "pair" };
    let annotations = "depthgauge.dev/cooldown: 6s, depthgauge.dev/zero-by: external";
    stage.deploy(pair, 2, &Hpa { min: 2, metrics: CPU, annotations, ..Hpa::default() });
    stage.await_replicas(pair, 0, SETTLE);
    stage.depth(1);
    stage.await_replicas(pair, 2, REFRESH + WAKE + SLACK);
    stage.depth(0);
    for workload in ALL.into_iter().chain([pair]) {
        stage.await_replicas(workload, 0, SETTLE);
    }
    stage.world.cluster.told(&["delete", "hpa", pair.name, "-n", "shop"]);
}

fn what_cannot_be_is_said(stage: &Stage) {
    let workload = |name| Workload { kind: "deployment", name };
    stage.deploy(workload("cpu"), 1, &Hpa { metrics: CPU, ..Hpa::default() });
    stage.deploy(workload("soon"), 1, &Hpa { annotations: "depthgauge.dev/cooldown: soon", ..Hpa::default() });
    stage.hpa(workload("nobody"), &Hpa::default());
    stage.deploy(workload("foreign"), 1, &Hpa { metric: "sqs_length", ..Hpa::default() });
    stage.deploy(Workload { kind: "robot", name: "robot" }, 1, &Hpa::default());
    for (name, reason, text) in [
        ("cpu", "ScaleToZeroBlocked", "Resource cpu"),
        ("soon", "BadAnnotation", "write a duration"),
        ("nobody", "CannotScale", "there is no deployment/nobody"),
        ("foreign", "NoDepthgaugeMetric", "has no effect"),
        ("robot", "CannotScale", "Robot has no scale subresource"),
    ] {
        stage.await_event(workload(name), reason, text);
    }
    let checked = stage.check();
    for text in [
        "shop/cpu: is never scaled to zero: Resource cpu",
        "shop/soon: is not scaled to zero: ",
        "shop/nobody: CannotScale: ",
        "shop/foreign: label depthgauge.dev/scale-to-zero has no effect",
        "shop/robot: CannotScale: depthgauge cannot scale its workload: Robot has no scale subresource",
    ] {
        assert!(checked.contains(&format!("hpas         {text}")), "no line {text:?}:\n{checked}");
    }
    // For longer than the cooldown that they would have had.
    throughout("none of them is scaled", COOLDOWN + REFRESH + SLACK, || {
        ["cpu", "soon", "foreign"].map(|name| stage.replicas(workload(name))) == [1, 1, 1]
    });
    stage.world.cluster.told(&["delete", "hpa", "cpu", "soon", "foreign", "nobody", "robot", "-n", "shop"]);
    // A right that is taken away, and given back by what the Event says.
    stage.world.cluster.told(&["delete", "clusterrolebinding", "workers"]);
    let said = stage.await_event(WORKER, "CannotScale", "kubectl apply -f -: ");
    let checked = stage.check();
    let line = "hpas         shop/worker: CannotScale: depthgauge cannot scale its workload: it may not get, patch workers/scale";
    assert!(checked.contains(line), "{checked}");
    awake_it_is_left_so_without_the_right_to_scale(stage);
    let (_, yaml) = said.split_once("kubectl apply -f -: ").unwrap();
    stage.world.cluster.apply(yaml);
    stage.depth(2);
    stage.await_replicas(WORKER, 1, SETTLE);
    stage.depth(0);
    for workload in ALL {
        stage.await_replicas(workload, 0, SETTLE);
    }
}

/// It may be read, its queue is empty, and its cooldown ends.
fn awake_it_is_left_so_without_the_right_to_scale(stage: &Stage) {
    stage.world.cluster.apply(&WORKERS_MAY_BE_SCALED.replace("[get, patch]", "[get]"));
    stage.scale(WORKER, 1);
    let noted = |key| !stage.annotation(WORKER, key).is_empty();
    eventually("it is tried", SETTLE, || (noted("zero-since") && noted("scaled-to-zero-since")).then_some(()));
    stage.stays(WORKER, 1, Duration::from_secs(2));
    stage.world.cluster.told(&["delete", "clusterrolebinding", "workers"]);
}

async fn an_outage_puts_nobody_to_sleep_and_wakes_to_the_fallback(stage: &mut Stage, server: &Server) {
    // Awake, in the middle of a cooldown.
    tokio::task::block_in_place(|| {
        stage.annotate(STATE, "depthgauge.dev/cooldown=12s");
        stage.scale(STATE, 1);
        eventually("its cooldown begins", SETTLE, || (!stage.annotation(STATE, "zero-since").is_empty()).then_some(()));
    });
    let dark = Instant::now();
    stage.world.oci.go_dark().await;
    tokio::task::block_in_place(|| {
        // Which nobody can see.
        stage.depth(4);
        stage.await_replicas(BACKED, 6, SETTLE);
        stage.await_event(BACKED, "ScaledFromZero", "unknown, its fallback is 12");
        let took = stage.woken_after(BACKED, dark);
        println!("woken to its fallback after {took:?}");
        assert!(took >= MAX_AGE - READ, "the last value was good for longer: {took:?}");
        blind_is_said_wherever_one_looks(stage, server);
        throughout("nobody is put to sleep or woken", Duration::from_secs(6), || {
            [STATE, WEB].map(|workload| stage.replicas(workload)) == [1, 0]
        });
        assert_eq!(stage.annotation(STATE, "zero-since"), "");
    });
    let back = Instant::now();
    stage.world.oci.come_back().await;
    tokio::task::block_in_place(|| {
        stage.await_replicas(WEB, 2, SETTLE);
        println!("awake {:?} after an outage", back.elapsed());
        stage.await_event(WEB, "ScaledFromZero", "from 0 to 2: oci_queue_length{queue=orders} is 4");
        stage.depth(0);
        for workload in ALL {
            stage.await_replicas(workload, 0, SETTLE);
        }
        pause(Duration::from_secs(1));
    });
}

fn blind_is_said_wherever_one_looks(stage: &Stage, server: &Server) {
    let wake = "kubectl scale -n shop deployment/web --replicas=1";
    stage.await_event(WEB, "MetricUnavailableAtZero", wake);
    for said in [stage.check(), stage.explain(WEB)] {
        assert!(said.contains("shop/web: depthgauge scaled its workload to zero at "), "{said}");
        assert!(said.contains("its metric is unavailable, so it can't scale up. To start one replica: "), "{said}");
    }
    let gauge = "depthgauge_hpa_problem{namespace=\"shop\",hpa=\"web\",problem=\"metric_unavailable_at_zero\"} 1";
    let told = server.page("/metrics");
    assert!(told.contains(gauge), "{told}");
    let status: Value = serde_json::from_str(&server.page("/status")).unwrap();
    let about = |hpa: &str| {
        let mut findings = status["findings"].as_array().unwrap().iter();
        findings.find(|finding| finding["object"] == hpa).and_then(|finding| finding["message"].as_str())
    };
    let sentence = about("shop/web").unwrap_or_default();
    assert!(sentence.starts_with("MetricUnavailableAtZero: ") && sentence.contains(wake), "{status:#}");
    // Who has a fallback is awake.
    assert_eq!(about("shop/backed"), None, "{status:#}");
}

/// While the server still runs, as when a chart is uninstalled.
fn an_uninstall_wakes_what_sleeps(stage: &Stage) {
    // By the 20 messages that are there: or the 0 of before would be taken for the next one.
    for workload in [STATE, WORKER, LATCHED] {
        stage.await_replicas(workload, 10, SETTLE);
    }
    stage.depth(0);
    for workload in [STATE, WORKER, LATCHED] {
        stage.await_replicas(workload, 0, SETTLE);
        let events = stage.events(workload);
        let log = || stage.world.log();
        assert_ne!(stage.annotation(workload, "scaled-to-zero-since"), "", "{workload:?}: {events:#?}\n{}", log());
    }
    stage.annotate(STATE, "depthgauge.dev/paused=true");
    let unregister = || {
        let kubeconfig = stage.world.cluster.own_kubeconfig();
        run(Command::new(env!("CARGO_BIN_EXE_depthgauge"))
            .args(["unregister", "--yes", "--kubeconfig"])
            .arg(kubeconfig))
    };
    // One that nobody may scale is not passed over in silence.
    stage.world.cluster.told(&["delete", "rolebinding", "-n", "shop", "--all"]);
    let said = unregister();
    assert!(!said.ok && said.stderr.contains("HPA shop/worker: worker.example.com/worker stays at 0"), "{said:?}");
    assert!(said.stdout.contains("HPA shop/latched: deployment/latched is scaled from 0 to 1\n"), "{said:?}");
    assert!(
        said.stdout.contains("HPA shop/state: statefulset/state is paused and stays at 0"),
        "{said:?}\n{}",
        stage.world.log()
    );
    stage.world.cluster.apply(WORKERS_MAY_BE_SCALED);
    let said = unregister();
    assert!(said.ok && said.stdout.contains("worker.example.com/worker is scaled from 0 to 1\n"), "{said:?}");
    // Nor does it put them to sleep again.
    stage.stays(LATCHED, 1, COOLDOWN + REFRESH + SLACK);
    for (workload, replicas, marked) in [(STATE, 0, true), (WORKER, 1, false), (LATCHED, 1, false)] {
        assert_eq!(stage.replicas(workload), replicas, "{workload:?}");
        assert_eq!(!stage.annotation(workload, "scaled-to-zero-since").is_empty(), marked, "{workload:?}");
    }
}

fn an_hpa_that_is_deleted_leaves_word(stage: &Stage) {
    stage.world.cluster.told(&["delete", "hpa", WEB.name, "-n", "shop"]);
    stage.depth(20);
    eventually("an Event on the workload", SETTLE, || {
        let events = stage.events_on("Deployment", WEB.name);
        events.iter().any(|event| event.contains("kubectl scale -n shop deployment/web --replicas=1")).then_some(())
    });
    assert_eq!(stage.replicas(WEB), 0);
    // One that comes in its place has not put it to sleep.
    stage.hpa(WEB, &Hpa::default());
    stage.await_event(WEB, "StuckAtZero", "kubectl scale");
}
