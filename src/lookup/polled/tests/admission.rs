//! A read that waits until the service may be read.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_read_that_waits_for_one_owner_waits_no_longer_when_another_one_requests_it() {
    let scene = scene();
    scene.counter.owners.lock().push(Namespace::new("team-b"));
    scene.request(1).await;
    assert_eq!(scene.reads(), 0);
    // Another request of the same owner changes nothing.
    scene.request(1).await;
    assert_eq!(scene.reads(), 0);
    scene.counter.owners.lock().push(Namespace::new("team-a"));
    let requested = Instant::now();
    scene.request(2).await;
    assert!(scene.reads() == 1 && requested.elapsed() < Duration::from_millis(100), "{:?}", requested.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_evicted_value_is_read_no_more_and_waited_for_no_longer() {
    let scene = scene();
    scene.counter.owners.lock().push(Namespace::new("team-b"));
    let evicted = async {
        seconds(1.0).await;
        scene.polled.evict();
    };
    let requested = Instant::now();
    tokio::join!(scene.request(1), evicted);
    assert_eq!(requested.elapsed(), Duration::from_secs(1));
    scene.request_as(Requester::Continuing, Need::Fresh).await;
    seconds(600.0).await;
    assert!(scene.reads() == 0 && !scene.polled.state().active);
    assert_eq!(Arc::strong_count(&scene.polled), 1, "its loop has ended");
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_as_long_as_a_read_may_take() {
    let long = Duration::from_secs(60);
    let scene = scene_at(Pace { timeout: long, ..pace() }, Duration::from_secs(40));
    let began = Instant::now();
    scene.request(1).await;
    assert_eq!((began.elapsed(), scene.polled.well().is_none()), (WAIT_MAX + SLACK, true));
    // A list and then values, of the 30 s that a request over HTTP/2 may take.
    assert!(2 * began.elapsed() < Duration::from_secs(25));
    seconds(30.0).await;
    assert_eq!(scene.polled.well().unwrap().value, 1);
}
