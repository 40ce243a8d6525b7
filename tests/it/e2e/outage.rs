//! A queue that goes dark moves nothing and says why; a server that dies is replaced.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use depthgauge_emulator::fault::Fault;
use http::StatusCode;

use super::cluster::{eventually, eventually_or, throughout};
use super::world::{DEPLOYMENTS, World};

/// The controller looks every two seconds here.
const SYNC: Duration = Duration::from_secs(2);
/// Time for the controller to settle: stabilization of 10 s and some looks.
const SETTLE: Duration = Duration::from_secs(30);
/// From the end of an outage to the first right answer.
const RECOVERY: Duration = Duration::from_secs(10);

enum Darkness {
    Refused,
    Fault(Fault),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dark_queue_moves_nothing_and_a_dead_server_is_replaced() {
    let mut world = World::new("outage", &["--sync", "2s"], "maxAge: 5s").await;
    let server = world.serve();
    world.await_available();
    world.deploy_example();
    for (darkness, depth) in [
        (Darkness::Refused, 20),
        (Darkness::Fault(Fault::Hang), 6),
        (Darkness::Fault(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)), 12),
    ] {
        goes_dark_and_comes_back(&mut world, &darkness, depth).await;
    }

    server.kill();
    set_depth(&world, 4);
    let _server = world.serve();
    await_replicas(&world, 2);
}

async fn goes_dark_and_comes_back(world: &mut World, darkness: &Darkness, depth: usize) {
    set_depth(world, depth);
    let settled = u64::try_from(depth / 2).unwrap();
    await_replicas(world, settled);

    match darkness {
        Darkness::Refused => world.oci.go_dark().await,
        Darkness::Fault(fault) => world.oci.emulator.set_fault(Some(*fault)),
    }
    let message = || world.condition("ScalingActive", "message");
    tokio::task::block_in_place(|| {
        eventually("the HPA shows our sentence", SETTLE, || message().contains("cannot be read since").then_some(()));
        let mut sentences = BTreeSet::new();
        throughout("the replicas do not move", SYNC * 6, || {
            sentences.insert(message());
            world.replicas() == settled
        });
        assert_eq!(sentences.len(), 1, "{sentences:?}");
        let described = world.cluster.told(&["describe", "hpa", "dummy", "-n", "shop"]);
        assert!(described.contains("queue \"orders\" cannot be read since"), "{described}");
        assert!(described.contains("FailedGetExternalMetric"), "{described}");
        for secret in ["ocid1.", "127.0.0.1"] {
            assert!(!message().contains(secret), "{}", message());
        }
    });

    set_depth(world, 2);
    world.oci.emulator.set_fault(None);
    if matches!(darkness, Darkness::Refused) {
        world.oci.come_back().await;
    }
    let back = Instant::now();
    tokio::task::block_in_place(|| {
        eventually("the right answer", RECOVERY, || (world.value()? == "2").then_some(()));
        println!("right again after {:.1} s", back.elapsed().as_secs_f64());
    });
    await_replicas(world, 1);
}

/// Puts or takes messages directly: the CLI has its part in the scaling test.
fn set_depth(world: &World, depth: usize) {
    let queue = world.oci.queue();
    queue.consume(usize::MAX);
    queue.put((0..depth).map(|n| format!("order {n}")));
    assert_eq!(world.oci.depth(), i64::try_from(depth).unwrap());
}

fn await_replicas(world: &World, count: u64) {
    tokio::task::block_in_place(|| {
        let what = || format!("{count} replicas; there are {}\n{}", world.replicas(), world.log());
        eventually_or(what, SETTLE, || (world.replicas() == count).then_some(()));
        // The status is what the next decision starts from.
        eventually("the pods are there", SETTLE, || {
            let deployment = world.cluster.read(&format!("{DEPLOYMENTS}/dummy"))?;
            (deployment["status"]["replicas"].as_u64().unwrap_or(0) == count).then_some(())
        });
    });
}
