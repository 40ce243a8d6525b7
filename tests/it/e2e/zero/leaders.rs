//! Two replicas of which one acts: it is killed, or updated, in every state that a workload can
//! be in, and the other goes on without doing anything twice.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::cluster::eventually;
use super::super::world::Server;
use super::stage::{Hpa, REFRESH, SETTLE, SLACK, Stage, WAKE, Workload};

const WEB: Workload = Workload { kind: "deployment", name: "web" };
/// More than 5 messages wake it.
const LATCHED: Workload = Workload { kind: "deployment", name: "latched" };

/// A leader that ends without a word is replaced.
const KILLED: Duration = Duration::from_secs(15);
/// One that hands over.
const UPDATED: Duration = Duration::from_secs(5);
/// Long enough that a leader can be replaced within it.
const LONG_COOLDOWN: Duration = Duration::from_secs(20);

pub(super) struct Replicas {
    /// The one that acts, then the one that waits.
    line: VecDeque<Replica>,
    /// Who acts, by the Lease.
    leader: String,
}

struct Replica {
    server: Server,
    /// Whether it is the one that HPAs ask.
    asked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    Killed,
    Updated,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_leader_goes_on_where_one_was_killed_or_updated() {
    let stage = Stage::new("zero-leaders", &["--without-scale-to-zero"]).await;
    tokio::task::block_in_place(|| {
        let mut replicas = Replicas::new(&stage);
        stage.deploy(WEB, 1, &Hpa::default());
        stage.await_replicas(WEB, 0, SETTLE);
        asleep(&stage, &mut replicas, End::Killed);
        in_its_cooldown(&stage, &mut replicas, End::Killed);
        asleep(&stage, &mut replicas, End::Updated);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn long_leaders_are_replaced_in_every_state() {
    let mut stage = Stage::new("zero-states", &["--without-scale-to-zero"]).await;
    let mut replicas = tokio::task::block_in_place(|| {
        let replicas = Replicas::new(&stage);
        stage.deploy(WEB, 1, &Hpa::default());
        stage.await_replicas(WEB, 0, SETTLE);
        replicas
    });
    for end in [End::Killed, End::Updated] {
        tokio::task::block_in_place(|| {
            asleep(&stage, &mut replicas, end);
            awake(&stage, &mut replicas, end);
            in_its_cooldown(&stage, &mut replicas, end);
            at_the_moment_of_waking(&stage, &mut replicas, end);
            behind_a_latch(&stage, &mut replicas, end);
            paused(&stage, &mut replicas, end);
            set_to_zero_by_hand(&stage, &mut replicas, end);
        });
        blind(&mut stage, &mut replicas, end).await;
    }
}

fn asleep(stage: &Stage, replicas: &mut Replicas, end: End) {
    let before = counts(stage);
    replicas.replace_leader(stage, end);
    stage.depth(20);
    stage.await_replicas(WEB, 10, REFRESH + WAKE + SLACK);
    stage.await_more(WEB, "Woken", before.1);
    assert_eq!(counts(stage), (before.0, before.1 + 1), "{:?}", stage.events(WEB));
}

/// Nothing is remembered of it, and nothing is done.
fn awake(stage: &Stage, replicas: &mut Replicas, end: End) {
    let before = counts(stage);
    replicas.replace_leader(stage, end);
    assert_eq!(stage.replicas(WEB), 10);
    // Its HPA goes on.
    stage.depth(6);
    stage.await_replicas(WEB, 3, SETTLE);
    assert_eq!(counts(stage), before, "{:?}", stage.events(WEB));
}

/// Which goes on, and is neither shortened nor begun anew.
fn in_its_cooldown(stage: &Stage, replicas: &mut Replicas, end: End) {
    let before = counts(stage);
    stage.annotate(WEB, &format!("depthgauge.dev/cooldown={}s", LONG_COOLDOWN.as_secs()));
    stage.depth(0);
    let since = eventually("the cooldown is on the HPA", SETTLE, || {
        Some(stage.annotation(WEB, "zero-since")).filter(|since| !since.is_empty())
    });
    replicas.replace_leader(stage, end);
    stage.await_replicas(WEB, 0, SETTLE);
    let began: jiff::Timestamp = since.parse().unwrap();
    let took = jiff::Timestamp::now().duration_since(began).as_secs_f64();
    let least = LONG_COOLDOWN.as_secs_f64();
    assert!((least..least + (SLACK + REFRESH + WAKE).as_secs_f64()).contains(&took), "{end:?}: {took}");
    stage.await_more(WEB, "PutToSleep", before.0);
    assert_eq!(counts(stage), (before.0 + 1, before.1), "{:?}", stage.events(WEB));
    stage.annotate(WEB, "depthgauge.dev/cooldown=6s");
}

/// Between the scale and the word on the HPA, if it is met; the workload stays awake.
fn at_the_moment_of_waking(stage: &Stage, replicas: &mut Replicas, end: End) {
    stage.depth(20);
    stage.await_replicas(WEB, 10, REFRESH + WAKE + SLACK);
    replicas.replace_leader(stage, end);
    eventually("the mark is gone", SETTLE, || stage.annotation(WEB, "asleep-since").is_empty().then_some(()));
    assert_eq!(stage.replicas(WEB), 10);
    stage.depth(0);
    stage.await_replicas(WEB, 0, SETTLE);
}

/// A latch starts open in each new process: one early wake by messages that it would have held
/// back is right, and only one.
fn behind_a_latch(stage: &Stage, replicas: &mut Replicas, end: End) {
    stage.deploy(LATCHED, 1, &Hpa { selector: ", depthgauge.dev/activation: '5'", ..Hpa::default() });
    stage.await_replicas(LATCHED, 0, SETTLE);
    stage.depth(4);
    stage.await_replicas(WEB, 2, REFRESH + WAKE + SLACK);
    stage.stays(LATCHED, 0, REFRESH + WAKE + SLACK);
    replicas.replace_leader(stage, end);
    stage.await_replicas(LATCHED, 2, REFRESH + WAKE + SLACK);
    stage.depth(0);
    for workload in [WEB, LATCHED] {
        stage.await_replicas(workload, 0, SETTLE);
    }
    stage.depth(4);
    stage.await_replicas(WEB, 2, REFRESH + WAKE + SLACK);
    stage.stays(LATCHED, 0, REFRESH + WAKE + SLACK);
    stage.world.cluster.told(&["delete", "hpa,deployment", LATCHED.name, "-n", "shop"]);
}

/// Which the next leader respects as well.
fn paused(stage: &Stage, replicas: &mut Replicas, end: End) {
    stage.annotate(WEB, "depthgauge.dev/paused=true");
    stage.depth(4);
    let before = counts(stage);
    replicas.replace_leader(stage, end);
    stage.stays(WEB, stage.replicas(WEB), REFRESH + WAKE + SLACK);
    assert_eq!(counts(stage), before, "{:?}", stage.events(WEB));
    stage.annotate(WEB, "depthgauge.dev/paused-");
    stage.depth(0);
    stage.await_replicas(WEB, 0, SETTLE);
}

/// By somebody else: no leader wakes it, and the next one says so as well.
fn set_to_zero_by_hand(stage: &Stage, replicas: &mut Replicas, end: End) {
    stage.depth(4);
    stage.await_replicas(WEB, 2, REFRESH + WAKE + SLACK);
    eventually("the mark is gone", SETTLE, || stage.annotation(WEB, "asleep-since").is_empty().then_some(()));
    stage.scale(WEB, 0);
    let before = (counts(stage), stage.count(WEB, "AsleepForGood"));
    replicas.replace_leader(stage, end);
    stage.await_more(WEB, "AsleepForGood", before.1);
    stage.stays(WEB, 0, REFRESH + WAKE + SLACK);
    assert_eq!(counts(stage), before.0, "{:?}", stage.events(WEB));
    stage.scale(WEB, 1);
    stage.depth(0);
    stage.await_replicas(WEB, 0, SETTLE);
}

/// Asleep, and nobody knows what is in the queue.
async fn blind(stage: &mut Stage, replicas: &mut Replicas, end: End) {
    let (before, said) = tokio::task::block_in_place(|| {
        stage.depth(0);
        stage.await_replicas(WEB, 0, SETTLE);
        stage.await_more(WEB, "PutToSleep", 0);
        (counts(stage), stage.count(WEB, "AsleepAndBlind"))
    });
    stage.world.oci.go_dark().await;
    tokio::task::block_in_place(|| {
        stage.await_more(WEB, "AsleepAndBlind", said);
        stage.await_event(WEB, "AsleepAndBlind", "kubectl scale -n shop deployment/web --replicas=1");
        let said = stage.count(WEB, "AsleepAndBlind");
        replicas.replace_leader(stage, end);
        stage.await_more(WEB, "AsleepAndBlind", said);
        // The new one looks, and knows no better.
        stage.stays(WEB, 0, REFRESH + WAKE + SLACK);
        assert_eq!(counts(stage), before, "{:?}", stage.events(WEB));
    });
    stage.world.oci.come_back().await;
    tokio::task::block_in_place(|| {
        stage.depth(4);
        stage.await_replicas(WEB, 2, SETTLE);
        stage.depth(0);
        stage.await_replicas(WEB, 0, SETTLE);
    });
}

/// How often it was put to sleep, and woken.
fn counts(stage: &Stage) -> (usize, usize) {
    (stage.count(WEB, "PutToSleep"), stage.count(WEB, "Woken"))
}

// === impl Replicas ===

impl Replicas {
    pub(super) fn new(stage: &Stage) -> Self {
        let first = Replica { server: stage.serve(), asked: true };
        stage.world.await_available();
        let leader = stage.await_leader_after("", SETTLE);
        let second = Replica { server: stage.serve_beside(), asked: false };
        Self { line: [first, second].into(), leader }
    }

    /// The one that acts, and the one that waits.
    pub(super) fn servers(&self) -> [&Server; 2] {
        [0, 1].map(|at| &self.line[at].server)
    }

    /// The other one leads, and then a new one is where the former leader was.
    pub(super) fn replace_leader(&mut self, stage: &Stage, end: End) {
        let Replica { mut server, asked } = self.line.pop_front().unwrap();
        let within = match end {
            End::Killed => {
                server.kill();
                KILLED
            }
            End::Updated => {
                server.terminate();
                assert!(server.ended_well(SETTLE));
                UPDATED
            }
        };
        self.leader = stage.await_leader_after(&self.leader, within);
        let server = if asked { stage.serve() } else { stage.serve_beside() };
        self.line.push_back(Replica { server, asked });
    }
}
