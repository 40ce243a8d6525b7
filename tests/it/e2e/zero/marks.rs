//! Who is at 0 by us carries the mark that says so, at every moment: without it nobody would wake him.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::cluster::{eventually_or, pause};
use super::stage::{Hpa, SETTLE, Stage, Workload};

/// How long they are put to sleep and woken.
const TIME: Duration = Duration::from_secs(150);
const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn long_who_sleeps_is_marked_at_every_moment() {
    let stage = Stage::new("zero-marks", &["--without-scale-to-zero"]).await;
    let server = stage.serve();
    stage.world.await_available();
    tokio::task::block_in_place(|| {
        for name in NAMES {
            let short = Hpa { annotations: "depthgauge.dev/cooldown: 1s", ..Hpa::default() };
            stage.deploy(stateful(name), 1, &short);
        }
        // The same lots in each run.
        let (mut looks, mut lots) = (0, fastrand::Rng::with_seed(7));
        let end = Instant::now() + TIME;
        while Instant::now() < end {
            stage.depth(lots.usize(..2) * 20);
            for name in NAMES {
                match lots.u8(..6) {
                    0 => stage.annotate(stateful(name), "depthgauge.dev/paused=true"),
                    1 | 2 => stage.annotate(stateful(name), "depthgauge.dev/paused-"),
                    _ => {}
                }
                looks += all_are_marked(&stage);
            }
            pause(Duration::from_millis(100 * lots.u64(..20)));
        }
        let slept: usize = NAMES.map(|name| stage.count(stateful(name), "ScaledToZero")).into_iter().sum();
        println!("{slept} sleeps, {looks} looks at sleepers");
        assert!(slept > NAMES.len() * 3 && looks > NAMES.len() * 20, "{slept} sleeps, {looks} looks");
        for name in NAMES {
            stage.annotate(stateful(name), "depthgauge.dev/paused-");
        }
        stage.depth(20);
        for name in NAMES {
            stage.await_replicas(stateful(name), 10, SETTLE);
        }
        server.kill();
    });
}

fn stateful(name: &'static str) -> Workload {
    Workload { kind: "statefulset", name }
}

/// Looks at all of them once; at how many that were at 0 all the while.
fn all_are_marked(stage: &Stage) -> usize {
    let before = specs(stage);
    let hpas = list(stage, "hpa");
    let after = specs(stage);
    // Nobody has scaled them while their HPAs were read.
    let sleepers: Vec<&String> = before
        .iter()
        .filter(|(name, (generation, replicas))| *replicas == 0 && after[*name].0 == *generation)
        .map(|(name, _)| name)
        .collect();
    for name in &sleepers {
        let hpa = hpas.iter().find(|hpa| hpa["metadata"]["name"] == name.as_str()).unwrap();
        let mark = &hpa["metadata"]["annotations"]["depthgauge.dev/scaled-to-zero-since"];
        assert!(mark.is_string(), "{name} sleeps, and its HPA is {hpa:#}\n{}", stage.world.log());
    }
    sleepers.len()
}

/// By name: the generation and the replicas.
fn specs(stage: &Stage) -> BTreeMap<String, (i64, i64)> {
    let of = |set: &Value| {
        let name = set["metadata"]["name"].as_str().unwrap().to_owned();
        (name, (set["metadata"]["generation"].as_i64().unwrap(), set["spec"]["replicas"].as_i64().unwrap()))
    };
    list(stage, "statefulset").iter().map(of).collect()
}

fn list(stage: &Stage, kind: &str) -> Vec<Value> {
    let listed = || {
        let said = stage.world.cluster.kubectl(&["get", kind, "-n", "shop", "-o", "json"]);
        serde_json::from_str::<Value>(&said.stdout).ok().and_then(|mut list| match list["items"].take() {
            Value::Array(items) => Some(items),
            _ => None,
        })
    };
    eventually_or(|| format!("a list of {kind}"), SETTLE, listed)
}
