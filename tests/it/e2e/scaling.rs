//! A plain HPA follows a live queue: 0 to 10 within one sync, 5 messages keep 3, back to 0.

use std::time::{Duration, Instant};

use super::cluster::{eventually, eventually_or, is_at_least, pause};
use super::world::{Place, QUEUE_ID, World, condition};

/// The controller's default interval between two looks at an HPA.
const SYNC: Duration = Duration::from_secs(15);
/// What may come on top: the age of the value, the arithmetic, and kubectl's own time.
const SLACK: Duration = Duration::from_secs(2);
/// The example's scaleDown.stabilizationWindowSeconds, then a sync to see it, and one to act.
const DOWN: Duration = Duration::from_secs(10 + 2 * 15 + 5);

/// Three of the example, each with a queue of its own, because one after the other takes three times as long.
const WORKLOADS: [(&str, &str); 3] = [("dummy", "orders"), ("dummy-1", "orders-1"), ("dummy-2", "orders-2")];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_plain_hpa_follows_the_queue_from_zero_to_ten_and_back() {
    let world = World::new("scaling", &["--sync", "15s"], "").await;
    tokio::task::block_in_place(|| {
        let mut config = world.oci.config("");
        for (_, queue) in &WORKLOADS[1..] {
            let id = id(queue);
            world.oci.emulator.add_queue(queue, &id.parse().unwrap());
            config += &format!("- {{type: oci-queue, name: {queue}, queueId: {id}, namespaces: [shop]}}\n");
        }
        let server = world.serve_at(&Place { config: Some(world.write("three.yaml", &config)), ..world.place() });
        world.await_available();
        std::thread::scope(|scope| {
            for (name, queue) in WORKLOADS {
                world.deploy_example_as(name, queue);
                scope.spawn(|| follows(&world, name, queue));
            }
        });
        server.kill();
        by_three_variables(&world);
    });
}

/// From nothing to zero, to ten, to three and back, by messages at a random moment.
fn follows(world: &World, name: &str, queue: &str) {
    await_replicas(world, name, 0, DOWN + SYNC);
    await_scaled_to_zero(world, name);
    let messages = world.oci.emulator.queue(queue).unwrap();
    // Two more looks of the controller: by then its beat is known, as it is in any real life.
    let reads = messages.reads();
    eventually("the controller's beat is known", SYNC * 4, || (messages.reads() >= reads + 3).then_some(()));

    pause(random_moment());
    let put = put_and_time(world, queue, 20);
    await_replicas(world, name, 10, SYNC + SLACK - put.elapsed());
    println!("20 messages, 10 replicas after {:.1} s", put.elapsed().as_secs_f64());

    assert_eq!(messages.consume(15), 15);
    await_replicas(world, name, 3, DOWN);
    assert_eq!(messages.consume(5), 5);
    await_replicas(world, name, 0, DOWN);
    await_scaled_to_zero(world, name);
}

/// The OCID of a queue.
fn id(queue: &str) -> String {
    if queue == "orders" { QUEUE_ID.to_owned() } else { format!("{QUEUE_ID}{queue}") }
}

/// Instead of a config file, as people start the exporter that is replaced.
fn by_three_variables(world: &World) {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".oci")).unwrap();
    std::fs::copy(&world.oci.config_file, home.path().join(".oci/config")).unwrap();
    let endpoint = format!("http://{}", world.oci.address);
    let variables = [("OCI_QUEUE_ID", QUEUE_ID), ("OCI_QUEUE_ENDPOINT", &endpoint), ("OCI_QUEUE_NAME", "orders")];
    let of_a_pod = [("POD_NAMESPACE", "shop"), ("HOME", home.path().to_str().unwrap())];
    let env = variables.into_iter().chain(of_a_pod).map(|(name, value)| (name, value.to_owned())).collect();
    let _server = world.serve_at(&Place { config: None, env, ..world.place() });
    world.oci.queue().put((0..7).map(|n| format!("order {n}")));
    eventually("the depth", SYNC * 4, || (world.value().as_deref() == Some("7")).then_some(()));
}

/// Puts by the official CLI; the moment at which the last message was in the queue.
fn put_and_time(world: &World, queue: &str, count: usize) -> Instant {
    let messages = world.oci.emulator.queue(queue).unwrap();
    let wanted = i64::try_from(count).unwrap();
    std::thread::scope(|scope| {
        let putting = scope.spawn(|| world.oci.put_by_cli_into(&id(queue), count));
        loop {
            let is_over = putting.is_finished();
            let stats = messages.stats();
            if stats.visible_messages >= wanted {
                return Instant::now();
            }
            assert!(!is_over, "the CLI has put {stats:?}");
            pause(Duration::from_millis(20));
        }
    })
}

fn await_replicas(world: &World, name: &str, count: u64, within: Duration) {
    let what = || format!("{count} replicas of {name}; there are {}\n{}", world.replicas_of(name), world.log());
    eventually_or(what, within, || (world.replicas_of(name) == count).then_some(()));
}

/// By the HPA itself, which has a condition for that from 1.36 on.
fn await_scaled_to_zero(world: &World, name: &str) {
    eventually("the HPA has scaled to zero", SYNC * 2, || {
        let hpa = world.hpa(name);
        let knows = if is_at_least(36) {
            condition(&hpa, "ScaledToZero", "status") == "True"
        } else {
            hpa["status"]["desiredReplicas"] == 0 && condition(&hpa, "ScalingActive", "status") == "True"
        };
        knows.then_some(())
    });
}

/// Anywhere between two looks of the controller.
fn random_moment() -> Duration {
    SYNC.mul_f64(fastrand::f64())
}
