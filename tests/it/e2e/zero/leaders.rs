//! Two replicas of which one acts: it is killed, or updated, in every state that a workload can
//! be in, and the other goes on without doing anything twice.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::cluster::{eventually, eventually_or, throughout};
use super::super::world::Server;
use super::stage::{COOLDOWN, Hpa, REFRESH, SETTLE, SLACK, Stage, WAKE, Workload};

const WEB: Workload = Workload { kind: "deployment", name: "web" };
const STATE: Workload = Workload { kind: "statefulset", name: "state" };
const BOTH: [Workload; 2] = [WEB, STATE];
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
        let mut replicas = deploy(&stage);
        asleep(&stage, &mut replicas, End::Killed);
        in_its_cooldown(&stage, &mut replicas, End::Killed);
        asleep(&stage, &mut replicas, End::Updated);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn long_leaders_are_replaced_in_every_state() {
    let mut stage = Stage::new("zero-states", &["--without-scale-to-zero"]).await;
    in_every_state(&mut stage).await;
}

/// With the conditions that HPAs have there, and that tell who has put a workload to sleep.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn long_leaders_are_replaced_in_every_state_where_hpas_could() {
    let mut stage = Stage::new("zero-states-from", &[]).await;
    in_every_state(&mut stage).await;
}

async fn in_every_state(stage: &mut Stage) {
    let mut replicas = tokio::task::block_in_place(|| deploy(stage));
    for end in [End::Killed, End::Updated] {
        tokio::task::block_in_place(|| {
            asleep(stage, &mut replicas, end);
            awake(stage, &mut replicas, end);
            in_its_cooldown(stage, &mut replicas, end);
            at_the_moment_of_waking(stage, &mut replicas, end);
            behind_a_latch(stage, &mut replicas, end);
            paused_asleep(stage, &mut replicas, end);
            paused_awake(stage, &mut replicas, end);
            set_to_zero_by_hand(stage, &mut replicas, end);
        });
        blind(stage, &mut replicas, end).await;
    }
}

/// Two replicas, and two workloads that they have put to sleep.
fn deploy(stage: &Stage) -> Replicas {
    let replicas = Replicas::new(stage);
    for workload in BOTH {
        stage.deploy(workload, 1, &Hpa::default());
    }
    rest(stage);
    replicas
}

/// Both are at 0, and it is told: who counts from here on misses nothing.
fn rest(stage: &Stage) {
    for workload in BOTH {
        stage.await_replicas(workload, 0, SETTLE);
        eventually_or(
            || format!("{workload:?} is told to sleep: {:#?}", stage.events(workload)),
            SETTLE,
            || {
                // Their names have the time in them, so the last one is the newest.
                let events = stage.events(workload);
                let last = events
                    .iter()
                    .rfind(|event| event.starts_with("ScaledToZero") || event.starts_with("ScaledFromZero"));
                last.filter(|event| event.starts_with("ScaledToZero")).map(|_| ())
            },
        );
    }
}

fn asleep(stage: &Stage, replicas: &mut Replicas, end: End) {
    rest(stage);
    let before = counts(stage);
    replicas.replace_leader(stage, end);
    let put = stage.depth(20);
    for (workload, (_, woken)) in BOTH.into_iter().zip(before) {
        stage.await_replicas(workload, 10, (REFRESH + WAKE + SLACK).saturating_sub(put.elapsed()));
        stage.await_more(workload, "ScaledFromZero", woken);
    }
    assert_eq!(counts(stage), before.map(|(slept, woken)| (slept, woken + 1)), "{:?}", stage.events(WEB));
}

/// Nothing is remembered of it, and nothing is done.
fn awake(stage: &Stage, replicas: &mut Replicas, end: End) {
    let before = counts(stage);
    replicas.replace_leader(stage, end);
    assert_eq!(BOTH.map(|workload| stage.replicas(workload)), [10, 10]);
    // Their HPAs go on.
    stage.depth(6);
    for workload in BOTH {
        stage.await_replicas(workload, 3, SETTLE);
    }
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
    let began: jiff::Timestamp = since.parse().unwrap();
    let gone = || jiff::Timestamp::now().duration_since(began).unsigned_abs();
    if end == End::Updated {
        // Who hands over takes a moment: so late that a cooldown which began anew would end too late.
        eventually("half of the cooldown is over", LONG_COOLDOWN, || (gone() >= LONG_COOLDOWN / 2).then_some(()));
    }
    replicas.replace_leader(stage, end);
    stage.await_replicas(WEB, 0, SETTLE);
    let took = gone();
    assert!((LONG_COOLDOWN..LONG_COOLDOWN + SLACK + REFRESH + WAKE).contains(&took), "{end:?}: {took:?}");
    // The one of before, by its beginning.
    stage.await_event(WEB, "ScaledToZero", &format!(" reads 0 since {began:.0}"));
    rest(stage);
    assert_eq!(counts(stage), before.map(|(slept, woken)| (slept + 1, woken)), "{:?}", stage.events(WEB));
    stage.annotate(WEB, "depthgauge.dev/cooldown=6s");
}

/// Between the scale and the word on the HPA, if it is met; the workload stays awake.
fn at_the_moment_of_waking(stage: &Stage, replicas: &mut Replicas, end: End) {
    let before = counts(stage);
    stage.depth(20);
    stage.await_replicas(WEB, 10, REFRESH + WAKE + SLACK);
    replicas.replace_leader(stage, end);
    for workload in BOTH {
        stage.await_replicas(workload, 10, REFRESH + WAKE + SLACK);
        eventually("the mark is gone", SETTLE, || (!is_marked(stage, workload)).then_some(()));
    }
    stage.depth(0);
    rest(stage);
    for (workload, (before, now)) in BOTH.into_iter().zip(before.into_iter().zip(counts(stage))) {
        // Whoever ended between the scale and the Event has told nobody, and nobody else has woken it.
        let (slept, woken) = (now.0 - before.0, now.1 - before.1);
        assert!(slept == 1 && woken <= 1, "{end:?}: {workload:?}: {:#?}", stage.events(workload));
    }
}

/// A latch starts open in each process: one early wake by messages that it would have held back is
/// right, and only one. Who was asked by the HPA while the queue was empty has shut it.
fn behind_a_latch(stage: &Stage, replicas: &mut Replicas, end: End) {
    stage.deploy(LATCHED, 1, &Hpa { selector: ", depthgauge.dev/activation: '5'", ..Hpa::default() });
    stage.await_replicas(LATCHED, 0, SETTLE);
    stage.depth(4);
    stage.await_replicas(WEB, 2, REFRESH + WAKE + SLACK);
    stage.stays(LATCHED, 0, REFRESH + WAKE + SLACK);
    let shut = replicas.next_is_asked();
    replicas.replace_leader(stage, end);
    if shut {
        stage.stays(LATCHED, 0, REFRESH + WAKE + SLACK);
    } else {
        stage.await_replicas(LATCHED, 2, REFRESH + WAKE + SLACK);
    }
    stage.depth(0);
    for workload in [WEB, LATCHED] {
        stage.await_replicas(workload, 0, SETTLE);
    }
    stage.depth(4);
    stage.await_replicas(WEB, 2, REFRESH + WAKE + SLACK);
    stage.stays(LATCHED, 0, REFRESH + WAKE + SLACK);
    stage.world.cluster.told(&["delete", "hpa,deployment", LATCHED.name, "-n", "shop"]);
    stage.depth(0);
    rest(stage);
}

/// Which the next leader respects as well: it wakes the other one only.
fn paused_asleep(stage: &Stage, replicas: &mut Replicas, end: End) {
    assert!(is_marked(stage, WEB));
    stage.annotate(WEB, "depthgauge.dev/paused=true");
    let [before, _] = counts(stage);
    stage.depth(4);
    replicas.replace_leader(stage, end);
    stage.await_replicas(STATE, 2, REFRESH + WAKE + SLACK);
    stage.stays(WEB, 0, REFRESH + WAKE + SLACK);
    assert_eq!(counts(stage)[0], before, "{:?}", stage.events(WEB));
    // Still by us, or nobody would wake it now.
    stage.annotate(WEB, "depthgauge.dev/paused-");
    stage.await_replicas(WEB, 2, REFRESH + WAKE + SLACK);
    stage.await_more(WEB, "ScaledFromZero", before.1);
}

/// The next leader puts the other one to sleep only.
fn paused_awake(stage: &Stage, replicas: &mut Replicas, end: End) {
    stage.annotate(WEB, "depthgauge.dev/paused=true");
    let [before, _] = counts(stage);
    stage.depth(0);
    replicas.replace_leader(stage, end);
    throughout("it is awake", COOLDOWN + REFRESH + SLACK, || stage.replicas(WEB) > 0);
    stage.await_replicas(STATE, 0, SETTLE);
    // Its HPA goes on, as far as it goes.
    stage.await_replicas(WEB, 1, SETTLE);
    assert_eq!((counts(stage)[0], stage.annotation(WEB, "zero-since").as_str()), (before, ""));
    stage.annotate(WEB, "depthgauge.dev/paused-");
    rest(stage);
}

/// By somebody else: no leader wakes it, and the next one says so as well.
fn set_to_zero_by_hand(stage: &Stage, replicas: &mut Replicas, end: End) {
    stage.depth(4);
    for workload in BOTH {
        stage.await_replicas(workload, 2, REFRESH + WAKE + SLACK);
        eventually("the mark is gone", SETTLE, || (!is_marked(stage, workload)).then_some(()));
    }
    stage.scale(WEB, 0);
    let before = (counts(stage), stage.count(WEB, "StuckAtZero"));
    replicas.replace_leader(stage, end);
    stage.await_more(WEB, "StuckAtZero", before.1);
    stage.stays(WEB, 0, REFRESH + WAKE + SLACK);
    assert_eq!(counts(stage), before.0, "{:?}", stage.events(WEB));
    stage.scale(WEB, 1);
    stage.depth(0);
    rest(stage);
}

/// Asleep, and nobody knows what is in the queue.
async fn blind(stage: &mut Stage, replicas: &mut Replicas, end: End) {
    let (before, said) = tokio::task::block_in_place(|| (counts(stage), stage.count(WEB, "MetricUnavailableAtZero")));
    stage.world.oci.go_dark().await;
    tokio::task::block_in_place(|| {
        stage.await_more(WEB, "MetricUnavailableAtZero", said);
        stage.await_event(WEB, "MetricUnavailableAtZero", "kubectl scale -n shop deployment/web --replicas=1");
        let said = stage.count(WEB, "MetricUnavailableAtZero");
        replicas.replace_leader(stage, end);
        stage.await_more(WEB, "MetricUnavailableAtZero", said);
        // The new one looks, and knows no better.
        stage.stays(WEB, 0, REFRESH + WAKE + SLACK);
        assert_eq!(counts(stage), before, "{:?}", stage.events(WEB));
    });
    stage.world.oci.come_back().await;
    tokio::task::block_in_place(|| {
        stage.depth(4);
        stage.await_replicas(WEB, 2, SETTLE);
        stage.depth(0);
        rest(stage);
    });
}

/// How often each of both was put to sleep, and woken.
fn counts(stage: &Stage) -> [(usize, usize); 2] {
    BOTH.map(|workload| (stage.count(workload, "ScaledToZero"), stage.count(workload, "ScaledFromZero")))
}

fn is_marked(stage: &Stage, workload: Workload) -> bool {
    !stage.annotation(workload, "scaled-to-zero-since").is_empty()
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

    /// Whether HPAs ask the one that waits.
    fn next_is_asked(&self) -> bool {
        self.line[1].asked
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
