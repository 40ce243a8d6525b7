//! `explain` beside the real HPA controller: what it says that an HPA will ask for is what the
//! controller then asks for, whatever the depth, the target and the tolerance.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::{eventually, run};
use super::world::{DEPLOYMENTS, HPAS, Server, World};

mod trial;
mod warned;

use trial::Trial;

/// Only the first look counts, which comes at once: at the next one the HPA starts from what the
/// first one made of its workload. An HPA whose status was patched may be looked at as it was
/// before; then the controller cannot write what it found, and comes back after an interval.
const SYNC: &str = "20s";
const LOOKED: Duration = Duration::from_secs(60);
/// Each at once, on a workload and a queue of its own.
const TRIALS: usize = 42;
const ROUNDS: usize = 5;

/// The controllers, stopped until this is dropped: an HPA that is made is looked at at once.
struct Stopped(String);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_explained_is_what_the_controller_asks_for() {
    let world = World::new("explain", &["--sync", SYNC], "").await;
    tokio::task::block_in_place(|| {
        world.cluster.told(&["create", "namespace", "shop"]);
        let _server = serve(&world);
        world.await_available();
        let made = warned::made(&world);
        let mut seen = BTreeMap::new();
        for round in 0..ROUNDS {
            let mut trials: Vec<Trial> = (0..TRIALS).map(|_| Trial::by_lot(TRIALS)).collect();
            trials[0] = Trial::that_holds(TRIALS);
            compare(&world, round, &trials, &mut seen);
        }
        println!("{} HPAs, {seen:?}", ROUNDS * TRIALS);
        for way in ["asks", "stays", "holds", "asleep", "woken", "AverageValue", "Value", "empty", "sum", "tolerance"] {
            assert!(seen.contains_key(way), "chance has left out {way}: {seen:?}");
        }
        warned::each(&world, made);
    });
}

/// A server that reads a queue for each trial, and some that stay empty.
fn serve(world: &World) -> Server {
    let sources: Vec<Value> = (0..TRIALS + warned::QUEUES)
        .map(|at| {
            let id = format!("ocid1.queue.oc1.eu-frankfurt-1.trial{at}");
            world.oci.emulator.add_queue(&queue(at), &id.parse().unwrap());
            json!({"type": "oci-queue", "name": queue(at), "queueId": id, "namespaces": ["shop", "lab"]})
        })
        .collect();
    let config = json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        "oci": {
            "endpoint": format!("http://{}", world.oci.address),
            "auth": {"type": "apiKey", "configFile": world.oci.config_file},
        },
        "defaults": {"refresh": "1s"},
        "sources": sources,
    });
    let mut place = world.place();
    place.config = Some(world.write("trials.yaml", &config.to_string()));
    world.serve_at(&place)
}

/// One round: workloads of given sizes, then their HPAs, explained before the controller looks.
fn compare(world: &World, round: usize, trials: &[Trial], seen: &mut BTreeMap<&'static str, usize>) {
    for (at, trial) in trials.iter().enumerate() {
        let queue = world.oci.emulator.queue(&queue(at)).unwrap();
        queue.consume(usize::MAX);
        queue.put((0..trial.depth).map(|n| n.to_string()));
    }
    let name = |at: usize| format!("t{round}-{at}");
    let objects = |each: &dyn Fn(usize, &Trial) -> Value| {
        let items: Vec<Value> = trials.iter().enumerate().map(|(at, trial)| each(at, trial)).collect();
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    };
    create(world, &objects(&|at, trial| trial.workload(&name(at))));
    await_workloads(world, round, trials);
    let stopped = Stopped::controllers(world);
    create(world, &objects(&|at, trial| trial.hpa(&name(at), &queue(at))));
    for (at, _) in trials.iter().enumerate().filter(|(_, trial)| trial.scaled_to_zero) {
        let status = json!({"status": {"conditions": [{
            "type": "ScaledToZero", "status": "True", "reason": "ScaledToZero", "message": "by the test",
            "lastTransitionTime": "2026-11-22T14:00:00Z",
        }]}});
        let patch = ["-n", "shop", "patch", "hpa", &name(at), "--subresource=status", "--type=merge", "-p"];
        world.cluster.told(&[&patch[..], &[&status.to_string()]].concat());
    }
    let explained = explain(world, &(0..trials.len()).map(|at| format!("shop/{}", name(at))).collect::<Vec<_>>());
    drop(stopped);
    let asked = await_outcomes(world, trials.len());
    for (at, trial) in trials.iter().enumerate() {
        let (told, real) = (&explained[at], &asked[&name(at)]);
        assert_eq!(trial::said(told).as_ref(), Some(real), "{trial:?}\n{told}");
        for way in trial.ways(real) {
            *seen.entry(way).or_default() += 1;
        }
    }
    world.cluster.told(&["-n", "shop", "delete", "hpa,deployment", "--all", "--cascade=background"]);
}

fn await_workloads(world: &World, round: usize, trials: &[Trial]) {
    eventually(&format!("the workloads of round {round} are settled"), Duration::from_secs(60), || {
        let all = list(world, DEPLOYMENTS);
        let settled = |deployment: &&Value| {
            let name = deployment["metadata"]["name"].as_str().unwrap();
            let at: Option<usize> = name.strip_prefix(&format!("t{round}-")).and_then(|at| at.parse().ok());
            at.is_some_and(|at| trials[at].is_settled(&deployment["status"]))
        };
        (all.iter().filter(settled).count() == trials.len()).then_some(())
    });
}

/// What the controller did with each at its first look; at a later one it may do more.
fn await_outcomes(world: &World, count: usize) -> BTreeMap<String, trial::Outcome> {
    let mut outcomes = BTreeMap::new();
    eventually("the controller has looked at all", LOOKED, || {
        for hpa in list(world, HPAS) {
            let name = hpa["metadata"]["name"].as_str().unwrap().to_owned();
            if let Some(outcome) = trial::outcome(&hpa) {
                outcomes.entry(name).or_insert(outcome);
            }
        }
        (outcomes.len() == count).then_some(())
    });
    outcomes
}

/// The account of each, in this order, by one run of the program.
fn explain(world: &World, names: &[String]) -> Vec<String> {
    let kubeconfig = world.cluster.kubeconfig();
    let mut command = Command::new(env!("CARGO_BIN_EXE_depthgauge"));
    let said = run(command.arg("explain").args(names).arg("--kubeconfig").arg(kubeconfig));
    // It ends with 1 if a metric has no value, as that of some trials.
    assert!(said.ok || said.stderr.contains(" not ready"), "{}", said.stderr);
    let (namespace, _) = names[0].split_once('/').unwrap();
    let accounts: Vec<String> = said.stdout.split(&format!("HPA {namespace}/")).skip(1).map(str::to_owned).collect();
    assert_eq!(accounts.len(), names.len(), "{}", said.stdout);
    accounts
}

// === impl Stopped ===

impl Stopped {
    fn controllers(world: &World) -> Self {
        let pid = std::fs::read_to_string(world.cluster.file("controller-manager.pid")).unwrap();
        let stopped = Self(pid.trim().to_owned());
        stopped.signal("-STOP");
        stopped
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0]).status().unwrap().success());
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

fn create(world: &World, objects: &str) {
    let file = world.write("objects.yaml", objects);
    world.cluster.told(&["create", "-f", file.to_str().unwrap()]);
}

fn list(world: &World, path: &str) -> Vec<Value> {
    world.cluster.read(path).unwrap()["items"].as_array().unwrap().clone()
}

fn queue(at: usize) -> String {
    format!("trial-{at}")
}
