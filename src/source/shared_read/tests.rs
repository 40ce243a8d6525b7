//! Shared reads in simulated time: what they bring, how long they may take, and which sources they serve.

use std::collections::VecDeque;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::source::{ErrorKind, Operation};
use crate::upstream::{Limits, Upstream};

/// Something whose reads take planned times.
struct Fake {
    service: Upstream,
    /// Further requests of each read.
    pages: usize,
    /// How long the next reads take. All others take no time.
    takes: Mutex<VecDeque<Duration>>,
    reads: Mutex<Vec<Seen>>,
}

/// What a read was given: the number of the last good read, whether it is the next one, and the seconds that
/// it may take.
type Seen = (Option<usize>, bool, u64);

impl SharedRead for Fake {
    /// The number of the read.
    type Value = usize;

    fn next_request(&self) -> NextRequest<'_> {
        NextRequest { upstream: &self.service, host: None, key: String::new() }
    }

    async fn read(&self, turn: Turn<usize>) -> Result<usize, SourceError> {
        let Turn { began, by, before, is_next, .. } = turn;
        let number = self.reads.lock().len();
        self.reads.lock().push((before.map(|before| *before), is_next, (by - began).as_secs()));
        for _ in 0..self.pages {
            self.service.charge();
        }
        let takes = self.takes.lock().pop_front().unwrap_or_default();
        tokio::time::sleep_until(by.min(began + takes)).await;
        if began + takes > by { Err(error("timed out")) } else { Ok(number) }
    }

    fn late(&self) -> SourceError {
        error("late")
    }
}

fn error(cause: &str) -> SourceError {
    SourceError::new(Operation::Read, ErrorKind::Transient, cause, "Wait.", "")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Reads that take these numbers of seconds.
fn shared(takes: &[u64]) -> Arc<Shared<Fake>> {
    with_pages(takes, 1000, 0)
}

fn with_pages(takes: &[u64], rate: u32, pages: usize) -> Arc<Shared<Fake>> {
    let takes = takes.iter().copied().map(seconds).collect::<VecDeque<_>>().into();
    Arc::new(Shared::new(Fake { service: Upstream::new(Limits::new(rate, "")), pages, takes, reads: Mutex::default() }))
}

/// The result for a source that waits for this many seconds for a read from now on.
fn get(shared: &Arc<Shared<Fake>>, patience: u64) -> JoinHandle<Result<usize, String>> {
    let (shared, now) = (shared.clone(), Instant::now());
    tokio::spawn(async move {
        let got = shared.get(now, now + seconds(patience)).await;
        got.map(|number| *number).map_err(|error| error.cause)
    })
}

fn reads(shared: &Shared<Fake>) -> Vec<Seen> {
    shared.read.reads.lock().clone()
}

#[tokio::test(start_paused = true)]
async fn one_read_serves_all_sources_for_which_it_is_new_enough() {
    let (shared, start) = (shared(&[1]), Instant::now());
    let (first, second) = (get(&shared, 3), get(&shared, 10));
    sleep(seconds(2)).await;
    let late = shared.get(start, Instant::now() + seconds(3)).await.map(|number| *number);
    assert_eq!((first.await.unwrap(), second.await.unwrap(), late.unwrap()), (Ok(0), Ok(0), 0));
    assert_eq!(get(&shared, 3).await.unwrap(), Ok(1), "the first one is too old");
    assert_eq!(reads(&shared).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_serves_only_sources_that_wait_no_longer() {
    let (shared, start) = (shared(&[5, 5, 0]), Instant::now());
    assert!(get(&shared, 3).await.unwrap().is_err());
    // What was tried in vain a moment ago is not tried again.
    for patience in [1, 3] {
        let failed = shared.get(start, Instant::now() + seconds(patience)).await.unwrap_err();
        assert_eq!(failed.cause, "timed out");
    }
    assert_eq!(reads(&shared).len(), 1);
    let short = get(&shared, 3);
    sleep(seconds(1)).await;
    let long = get(&shared, 10);
    assert_eq!((short.await.unwrap().is_err(), long.await.unwrap()), (true, Ok(2)));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_holds_up_only_sources_with_as_much_time() {
    let shared = shared(&[600, 0, 0]);
    let long = get(&shared, 60);
    sleep(seconds(1)).await;
    assert_eq!(get(&shared, 3).await.unwrap(), Err("late".to_owned()));
    assert_eq!(reads(&shared).len(), 1, "it waited for the other one");
    assert_eq!(get(&shared, 3).await.unwrap(), Ok(1));
    assert_eq!(long.await.unwrap(), Ok(1), "it serves the others as well");
    sleep(seconds(5)).await;
    assert_eq!(get(&shared, 3).await.unwrap(), Ok(2));
    // They do not have the time of the one that hangs, and do not continue what was before.
    assert_eq!(reads(&shared), [(None, true, 60), (None, false, 3), (Some(1), false, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_ends_after_a_later_one_replaces_nothing() {
    let shared = shared(&[20, 0]);
    let long = get(&shared, 60);
    sleep(seconds(5)).await;
    let since = Instant::now();
    assert_eq!(get(&shared, 3).await.unwrap(), Ok(1));
    assert_eq!(long.await.unwrap(), Ok(1));
    sleep(seconds(30)).await;
    assert_eq!(shared.get(since, Instant::now()).await.map(|number| *number).unwrap(), 1);
    assert!(shared.state.lock().under_way.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_read_has_the_time_of_sources_that_requested_it_or_the_one_before() {
    let shared = shared(&[]);
    for patience in [60, 3, 3, 10] {
        get(&shared, patience).await.unwrap().unwrap();
        sleep(seconds(1)).await;
    }
    let times: Vec<u64> = reads(&shared).into_iter().map(|(_, _, allowed)| allowed).collect();
    assert_eq!(times, [60, 60, 3, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_read_goes_on_when_the_source_that_began_it_gives_up() {
    let shared = shared(&[0, 2]);
    assert_eq!(get(&shared, 10).await.unwrap(), Ok(0));
    sleep(seconds(1)).await;
    let since = Instant::now();
    assert_eq!(get(&shared, 1).await.unwrap(), Err("late".to_owned()));
    let got = shared.get(since, Instant::now() + seconds(10)).await;
    assert_eq!(got.map(|number| *number).unwrap(), 1);
    assert_eq!(reads(&shared).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_read_is_the_next_one_while_none_has_failed() {
    let shared = shared(&[0, 0, 5, 0, 0]);
    for _ in 0..5 {
        drop(get(&shared, 3).await.unwrap());
        sleep(seconds(1)).await;
    }
    let expected = [(None, true), (Some(0), true), (Some(1), true), (Some(1), false), (Some(3), true)];
    assert_eq!(reads(&shared).into_iter().map(|(before, is_next, _)| (before, is_next)).collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_turn_takes_nothing_of_the_time_for_a_read() {
    // One read has as many pages as there are turns in 15 s.
    let (shared, start) = (with_pages(&[], 4, 60), Instant::now());
    for number in 0..3 {
        sleep(seconds(1)).await;
        let since = Instant::now();
        shared.wait_turn(since, seconds(3)).await;
        // A source that comes later and finds it new enough waits for nothing.
        let begun = Instant::now();
        shared.wait_turn(since, seconds(3)).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let got = shared.get(since, Instant::now() + seconds(3)).await;
        assert_eq!(got.map(|number| *number).unwrap(), number);
    }
    let took = start.elapsed();
    assert!((seconds(31)..seconds(33)).contains(&took), "{took:?}");
}
