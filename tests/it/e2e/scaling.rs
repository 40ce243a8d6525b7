//! A plain HPA follows a live queue: 0 to 10 within one sync, 5 messages keep 3, back to 0.

use std::time::{Duration, Instant};

use super::cluster::{eventually, eventually_or, pause};
use super::world::{Place, QUEUE_ID, World};

/// The controller's default interval between two looks at an HPA.
const SYNC: Duration = Duration::from_secs(15);
/// What may come on top: the age of the value, the arithmetic, and kubectl's own time.
const SLACK: Duration = Duration::from_secs(2);
/// The example's scaleDown.stabilizationWindowSeconds, then a sync to see it, and one to act.
const DOWN: Duration = Duration::from_secs(10 + 2 * 15 + 5);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_plain_hpa_follows_the_queue_from_zero_to_ten_and_back() {
    let world = World::new("scaling", &["--sync", "15s"], "").await;
    let server = world.serve();
    world.await_available();
    world.deploy_example();

    await_replicas(&world, 0, DOWN + SYNC);
    await_scaled_to_zero(&world);
    // Two more looks of the controller: by then its beat is known, as it is in any real life.
    let reads = world.oci.queue().reads();
    eventually("the controller's beat is known", SYNC * 4, || (world.oci.queue().reads() >= reads + 3).then_some(()));

    for _ in 0..3 {
        pause(random_moment());
        let put = put_and_time(&world, 20).await;
        await_replicas(&world, 10, SYNC + SLACK - put.elapsed());
        println!("20 messages, 10 replicas after {:.1} s", put.elapsed().as_secs_f64());

        assert_eq!(world.oci.queue().consume(15), 15);
        await_replicas(&world, 3, DOWN);
        assert_eq!(world.oci.queue().consume(5), 5);
        await_replicas(&world, 0, DOWN);
    }
    await_scaled_to_zero(&world);
    server.kill();
    by_three_variables(&world);
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
    tokio::task::block_in_place(|| {
        let _server = world.serve_at(&Place { config: None, env, ..world.place() });
        world.oci.queue().put((0..7).map(|n| format!("order {n}")));
        eventually("the depth", SYNC * 4, || (world.value().as_deref() == Some("7")).then_some(()));
    });
}

/// Puts by the official CLI; the moment at which the last message was in the queue.
async fn put_and_time(world: &World, count: usize) -> Instant {
    let queue = world.oci.queue();
    let wanted = i64::try_from(count).unwrap();
    let seen = tokio::spawn(async move {
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        while queue.stats().visible_messages < wanted {
            poll.tick().await;
        }
        Instant::now()
    });
    tokio::task::block_in_place(|| world.oci.put_by_cli(count));
    seen.await.unwrap()
}

fn await_replicas(world: &World, count: u32, within: Duration) {
    tokio::task::block_in_place(|| {
        let what = || format!("{count} replicas; there are {}\n{}", world.replicas(), world.log());
        eventually_or(what, within, || (world.replicas() == count).then_some(()));
    });
}

fn await_scaled_to_zero(world: &World) {
    tokio::task::block_in_place(|| {
        eventually("the HPA says ScaledToZero", SYNC * 2, || {
            (world.condition("ScaledToZero", "status") == "True").then_some(())
        });
    });
}

/// Anywhere between two looks of the controller.
fn random_moment() -> Duration {
    SYNC.mul_f64(fastrand::f64())
}
