//! Each property of a polled value, in simulated time and without a source.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::schedule::ConsumerId;
use super::*;
use crate::source::Operation;

mod admission;

/// Counts its reads: the value is the number of the read.
struct Counter {
    reads: AtomicU64,
    /// When each read began.
    began: Mutex<Vec<Instant>>,
    fails: AtomicBool,
    /// When a failed read says to come back.
    retry_after: Mutex<Option<Duration>>,
    takes: Duration,
    /// How long a read waits for admission, unless it is urgent.
    queue: Mutex<Duration>,
    /// The namespaces that it is read for. With one owner, a read waits for a minute.
    owners: Mutex<Vec<Namespace>>,
}

impl Poll for Arc<Counter> {
    type Value = u64;
    /// How many good reads were noted since the value was last idle.
    type Notes = u64;
    type Permit = ();

    fn title(&self) -> &str {
        "counter"
    }

    fn owners(&self, _: &u64, _: Instant) -> Vec<Namespace> {
        self.owners.lock().clone()
    }

    async fn admit(&self, owners: &[Namespace], urgent: bool) -> Admission<()> {
        let waited = match owners.len() {
            1 => Duration::from_secs(60),
            _ if urgent => Duration::ZERO,
            _ => *self.queue.lock(),
        };
        tokio::time::sleep(waited).await;
        Admission { waited, permit: () }
    }

    fn is_saturated(&self, _: &[Namespace]) -> bool {
        false
    }

    async fn read(&self, _: Instant) -> Result<u64, SourceError> {
        self.began.lock().push(Instant::now());
        let number = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(self.takes).await;
        if !self.fails.load(Ordering::Relaxed) {
            return Ok(number);
        }
        let error = SourceError::new(Operation::Read, ErrorKind::Transient, "500", "Wait.", "");
        Err(SourceError { retry_after: *self.retry_after.lock(), ..error })
    }

    fn note(&self, notes: &mut u64, _: &u64, _: Instant) {
        *notes += 1;
    }

    fn rest(notes: &mut u64) {
        *notes = 0;
    }

    fn inherit(notes: &mut u64, before: &u64) {
        *notes = *before;
    }
}

struct Scene {
    counter: Arc<Counter>,
    polled: Arc<Polled<Arc<Counter>>>,
}

fn pace() -> Pace {
    let refresh = Duration::from_secs(5);
    Pace {
        refresh,
        every: refresh,
        timeout: Duration::from_secs(3),
        max_age: Duration::from_secs(60),
        idle_after: Duration::from_secs(120),
    }
}

fn counter(takes: Duration) -> Arc<Counter> {
    Arc::new(Counter {
        reads: AtomicU64::new(0),
        began: Mutex::default(),
        fails: AtomicBool::new(false),
        retry_after: Mutex::default(),
        takes,
        queue: Mutex::default(),
        owners: Mutex::default(),
    })
}

fn scene_at(pace: Pace, takes: Duration) -> Scene {
    let (tasks, mut loops) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(task) = loops.recv().await {
            tokio::spawn(task);
        }
    });
    let counter = counter(takes);
    let polled = Polled::new(counter.clone(), pace, || Timestamp::UNIX_EPOCH, tasks);
    Scene { counter, polled }
}

fn scene() -> Scene {
    scene_at(pace(), Duration::from_millis(50))
}

fn consumer(id: u64) -> Requester {
    Requester::Consumer(ConsumerId(id))
}

impl Scene {
    async fn request_as(&self, by: Requester, need: Need) {
        if let Some(read) = self.polled.request(by, need, Instant::now(), |_| {}) {
            read.wait().await;
        }
    }

    async fn request(&self, id: u64) {
        self.request_as(consumer(id), Need::Fresh).await;
    }

    fn reads(&self) -> u64 {
        self.counter.reads.load(Ordering::Relaxed)
    }

    /// How old the value is, in seconds.
    fn age(&self) -> f64 {
        self.polled.state().good.as_ref().unwrap().began.elapsed().as_secs_f64()
    }

    fn fail(&self, fails: bool) {
        self.counter.fails.store(fails, Ordering::Relaxed);
    }

    /// The shortest time from the beginning of one read to that of the next.
    fn shortest_pause(&self) -> Duration {
        let began = self.counter.began.lock();
        began.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap()
    }
}

async fn seconds(n: f64) {
    tokio::time::sleep(Duration::from_secs_f64(n)).await;
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_share_one_read() {
    let scene = scene();
    futures_util::future::join_all((0..100).map(|n| scene.request(n % 10))).await;
    assert_eq!((scene.reads(), scene.polled.well().unwrap().value), (1, 1));
    // And while it is in flight.
    seconds(10.0).await;
    let late = async {
        seconds(0.02).await;
        scene.request(10).await;
    };
    tokio::join!(scene.request(11), late);
    assert_eq!((scene.reads(), scene.polled.well().unwrap().value), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn one_request_costs_one_read() {
    let scene = scene();
    scene.request(1).await;
    seconds(600.0).await;
    assert_eq!(scene.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_second_request_of_a_consumer_starts_background_reads_that_end_when_idle() {
    let scene = scene();
    scene.request(1).await;
    seconds(15.0).await;
    scene.request(1).await;
    assert_eq!(scene.reads(), 2, "the second request reads itself");
    seconds(100.0).await;
    assert!((21..=22).contains(&scene.reads()), "{}", scene.reads());
    seconds(30.0).await;
    let reads = scene.reads();
    seconds(3600.0).await;
    assert_eq!(scene.reads(), reads);
    assert!(!scene.polled.state().active);
}

#[tokio::test(start_paused = true)]
async fn only_another_request_of_the_same_consumer_starts_background_reads() {
    // By others, within the same beat, and only after the first has been forgotten.
    let cases: [(&[(f64, u64)], u64); 3] = [
        (&[(0.0, 1), (20.0, 2), (40.0, 3), (60.0, 4)], 4),
        (&[(0.0, 1), (0.9, 1), (1.0, 1)], 1),
        (&[(0.0, 1), (60.0, 2), (119.0, 3), (120.0, 1), (241.0, 1)], 4),
    ];
    for (requests, reads) in cases {
        let (scene, start) = (scene(), Instant::now());
        for (at, id) in requests {
            tokio::time::sleep_until(start + Duration::from_secs_f64(*at)).await;
            scene.request(*id).await;
            assert!(scene.age() < 5.0, "{requests:?} at {at}");
        }
        seconds(100.0).await;
        assert_eq!(scene.reads(), reads, "{requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_process_is_continuing_from_its_first_request_on() {
    let scene = scene();
    scene.request_as(Requester::Continuing, Need::Fresh).await;
    seconds(52.0).await;
    assert_eq!(scene.reads(), 11);
}

#[tokio::test(start_paused = true)]
async fn more_consumers_than_are_told_apart_are_continuing() {
    let scene = scene();
    for id in 0..16 {
        scene.request(id).await;
    }
    seconds(52.0).await;
    assert_eq!(scene.reads(), 1);
    scene.request(16).await;
    seconds(52.0).await;
    assert!(scene.reads() > 10, "{}", scene.reads());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_more_often_than_refresh_and_no_answer_is_older_than_that_and_a_second() {
    let mut random = fastrand::Rng::with_seed(5);
    for consumers in [1, 3, 40] {
        let scene = scene();
        for round in 0..1000 {
            seconds(random.f64() * if round % 200 < 100 { 3.0 } else { 40.0 }).await;
            scene.request(random.u64(0..consumers)).await;
            assert!(scene.age() <= 6.0, "{consumers}, round {round}: {}", scene.age());
        }
        assert!(scene.shortest_pause() >= Duration::from_secs(5), "{:?}", scene.shortest_pause());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_value_is_read_every_refresh_and_requests_do_not_wait() {
    let scene = scene();
    scene.request(1).await;
    seconds(5.0).await;
    scene.request(1).await;
    scene.fail(true);
    seconds(10.0).await;
    let (reads, began) = (scene.reads(), Instant::now());
    while began.elapsed() < Duration::from_secs(60) {
        let requested = Instant::now();
        scene.request(1).await;
        assert!(requested.elapsed().is_zero());
        assert!(scene.polled.outage().is_some() && scene.polled.well().is_none());
        seconds(1.0).await;
    }
    // Every 5 to 6 s.
    assert!((10..=12).contains(&(scene.reads() - reads)), "{}", scene.reads() - reads);
    assert!(scene.shortest_pause() >= Duration::from_secs(5));
    scene.fail(false);
    seconds(6.1).await;
    assert!(scene.polled.outage().is_none() && scene.polled.well().is_some());
}

#[tokio::test(start_paused = true)]
async fn without_background_reads_a_failing_value_is_read_on_request_when_its_pause_is_over() {
    let scene = scene();
    scene.fail(true);
    *scene.counter.retry_after.lock() = Some(Duration::from_secs(20));
    for id in 0..10 {
        let requested = Instant::now();
        scene.request(id).await;
        assert!(id == 0 || requested.elapsed().is_zero());
        seconds(2.0).await;
    }
    assert_eq!(scene.reads(), 1, "the service said when to come back");
    scene.fail(false);
    seconds(1.0).await;
    assert!(scene.polled.outage().is_some(), "nothing reads in the background");
    scene.request(10).await;
    assert_eq!((scene.reads(), scene.polled.outage()), (2, None));
}

#[tokio::test(start_paused = true)]
async fn a_request_for_the_newest_value_does_not_wait_for_a_slow_pace() {
    let scene = scene_at(Pace { every: Duration::from_secs(30), ..pace() }, Duration::from_millis(50));
    scene.request_as(Requester::Continuing, Need::Fresh).await;
    seconds(4.0).await;
    for need in [Need::Nothing, Need::Fresh, Need::Newest] {
        scene.request_as(Requester::Continuing, need).await;
        assert_eq!(scene.reads(), 1, "{need:?} before refresh");
    }
    seconds(1.0).await;
    for (need, reads) in [(Need::Nothing, 1), (Need::Fresh, 1), (Need::Newest, 2)] {
        scene.request_as(Requester::Continuing, need).await;
        assert_eq!(scene.reads(), reads, "{need:?}");
    }
    seconds(29.0).await;
    assert_eq!(scene.reads(), 2);
    seconds(2.0).await;
    assert_eq!(scene.reads(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_request_during_a_read_joins_it() {
    let scene = scene_at(pace(), Duration::from_secs(2));
    scene.request(1).await;
    seconds(15.0).await;
    let waiting = async {
        let requested = Instant::now();
        scene.request(1).await;
        requested.elapsed()
    };
    let other = async {
        seconds(1.0).await;
        scene.request(2).await;
    };
    let (waited, ()) = tokio::join!(waiting, other);
    assert_eq!((waited.as_secs(), scene.reads()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_no_longer_than_the_deadline_of_a_read() {
    let scene = scene_at(pace(), Duration::from_secs(60));
    let requested = Instant::now();
    scene.request(1).await;
    assert_eq!(requested.elapsed(), Duration::from_millis(3500));
}

#[tokio::test(start_paused = true)]
async fn an_idle_value_drops_what_becomes_untrue_and_is_read_by_the_next_request() {
    let scene = scene();
    scene.request(1).await;
    seconds(119.0).await;
    assert_eq!(scene.polled.state().notes, 1);
    seconds(2.0).await;
    assert_eq!((scene.polled.state().notes, scene.reads()), (0, 1));
    scene.request(1).await;
    assert_eq!((scene.reads(), scene.age() < 1.0), (2, true));
}

#[tokio::test(start_paused = true)]
async fn a_standing_value_is_read_without_requests_until_that_ends() {
    let scene = scene();
    scene.polled.stand(true);
    seconds(601.0).await;
    assert_eq!(scene.reads(), 121);
    scene.polled.stand(false);
    seconds(600.0).await;
    assert_eq!(scene.reads(), 121);
}

#[tokio::test(start_paused = true)]
async fn an_inherited_value_is_served_as_old_as_it_is_and_a_newer_one_stays() {
    let before = scene();
    before.request(1).await;
    seconds(2.0).await;
    let (after, fresh) = (scene(), scene());
    fresh.request(1).await;
    for scene in [&after, &fresh] {
        scene.polled.inherit(&before.polled);
    }
    assert!(after.age() > 2.0 && fresh.age() < 1.0);
    assert_eq!(after.polled.state().notes, 1);
    assert_eq!(after.polled.state().counts.good, 1);
    // It is served at once, and read in the new way.
    let requested = Instant::now();
    after.request(1).await;
    assert!(requested.elapsed().is_zero());
    seconds(0.1).await;
    assert_eq!(after.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retired_value_is_not_read_any_more_except_for_a_request_that_waits() {
    let scene = scene();
    scene.request_as(Requester::Continuing, Need::Fresh).await;
    scene.polled.retire();
    seconds(60.0).await;
    assert_eq!(scene.reads(), 1);
    let retired = async { scene.polled.retire() };
    tokio::join!(scene.request(1), retired);
    assert_eq!((scene.reads(), scene.age() < 1.0), (2, true));
}

#[tokio::test(start_paused = true)]
async fn where_reads_wait_for_admission_values_are_kept_longer_and_requests_do_not_wait() {
    let scene = scene();
    *scene.counter.queue.lock() = Duration::from_secs(10);
    scene.request_as(Requester::Continuing, Need::Fresh).await;
    assert_eq!(scene.polled.throttled(), Duration::ZERO, "the first read is urgent");
    seconds(30.0).await;
    scene.request_as(Requester::Continuing, Need::Fresh).await;
    assert_eq!(scene.polled.throttled(), Duration::from_secs(10));
    for _ in 0..100 {
        let requested = Instant::now();
        scene.request_as(Requester::Continuing, Need::Fresh).await;
        assert!(requested.elapsed().is_zero() && scene.age() <= 16.0, "{}", scene.age());
        seconds(1.0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_admission_that_is_over_keeps_no_value_longer_without_background_reads() {
    let scene = scene();
    *scene.counter.queue.lock() = Duration::from_secs(10);
    scene.request(1).await;
    seconds(30.0).await;
    scene.request(2).await;
    assert!(scene.age() > 30.0, "the request does not wait for the whole queue");
    seconds(10.0).await;
    assert_eq!((scene.reads(), scene.age() < 10.0), (2, true));
    *scene.counter.queue.lock() = Duration::ZERO;
    seconds(5.0).await;
    scene.request(3).await;
    assert_eq!((scene.reads(), scene.age() < 1.0), (3, true));
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_has_no_owner_leaves_requests_to_their_deadline() {
    let (tasks, loops) = mpsc::unbounded_channel();
    drop(loops);
    let polled = Polled::new(counter(Duration::ZERO), pace(), || Timestamp::UNIX_EPOCH, tasks);
    let requested = Instant::now();
    polled.request(consumer(1), Need::Fresh, requested, |_| {}).unwrap().wait().await;
    assert_eq!(requested.elapsed(), Duration::from_millis(3500));
    assert!(!polled.state().active);
}
