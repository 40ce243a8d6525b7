//! What the API server decided lately.
//!
//! One question at a time for each key, answers kept for a stated time, and renewed in the
//! background while they are in use: an HPA asks every 15 s, so a plain cache of 10 s, as the Go
//! library has, would miss every time and put an API call into each answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Undecided;

/// Entries kept at most, and questions under way. A cluster has tens of callers; a flood of
/// made-up ones (a kilobyte each, by the limits on names) ends at a few MiB.
const ENTRIES_MAX: usize = 4096;

/// How long a decision is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Lifetime {
    /// Younger than this it is simply used.
    pub(super) fresh: Duration,
    /// Younger than this it is used, and asked for again in the background.
    pub(super) usable: Duration,
}

/// A cache of decisions `V` about keys `K`.
pub(super) struct Decisions<K, V> {
    slots: Arc<Mutex<Slots<K, V>>>,
    lifetime: fn(&V) -> Lifetime,
    tasks: TaskTracker,
}

type Slots<K, V> = HashMap<K, Slot<V>, RandomState>;
type Flight<V> = Shared<BoxFuture<'static, Result<V, Undecided>>>;

struct Slot<V> {
    decided: Option<(V, Instant)>,
    flight: Option<Flight<V>>,
}

// === impl Decisions ===

impl<K, V> Decisions<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(lifetime: fn(&V) -> Lifetime, tasks: TaskTracker) -> Self {
        Self { slots: Arc::default(), lifetime, tasks }
    }

    /// The decision about `key`, from memory or by `ask`.
    pub(super) async fn about(
        &self,
        key: &K,
        ask: impl FnOnce() -> BoxFuture<'static, Result<V, Undecided>>,
    ) -> Result<V, Undecided> {
        let flight = {
            let mut slots = lock(&self.slots);
            let slot = slots.get(key);
            let known = slot.and_then(|slot| slot.decided.as_ref());
            let known = known.map(|(value, at)| (value.clone(), at.elapsed(), (self.lifetime)(value)));
            let known = known.filter(|(_, age, lifetime)| *age < lifetime.usable);
            match (known, slot.and_then(|slot| slot.flight.clone())) {
                (Some((value, age, lifetime)), _) if age < lifetime.fresh => return Ok(value),
                (Some((value, ..)), Some(_)) => return Ok(value),
                (Some((value, ..)), None) => {
                    // The task tracker sees it through.
                    drop(self.start(&mut slots, key, ask));
                    return Ok(value);
                }
                (None, Some(flight)) => flight,
                (None, None) => self.start(&mut slots, key, ask),
            }
        };
        flight.await
    }

    fn start(
        &self,
        slots: &mut Slots<K, V>,
        key: &K,
        ask: impl FnOnce() -> BoxFuture<'static, Result<V, Undecided>>,
    ) -> Flight<V> {
        if slots.len() >= ENTRIES_MAX && !slots.contains_key(key) && !self.make_room(slots) {
            return async { Err(Undecided("too many questions at once")) }.boxed().shared();
        }
        let flight = self.flight(key.clone(), ask()).boxed().shared();
        let slot = slots.entry(key.clone()).or_insert(Slot { decided: None, flight: None });
        slot.flight = Some(flight.clone());
        // Run to its end even if whoever asked hangs up: others may wait for it.
        self.tasks.spawn(flight.clone());
        flight
    }

    fn flight(
        &self,
        key: K,
        asked: BoxFuture<'static, Result<V, Undecided>>,
    ) -> impl Future<Output = Result<V, Undecided>> + use<K, V> {
        let slots = self.slots.clone();
        async move {
            let answer = asked.await;
            let mut slots = lock(&slots);
            match (&answer, slots.get_mut(&key)) {
                (Ok(value), Some(slot)) => {
                    *slot = Slot { decided: Some((value.clone(), Instant::now())), flight: None }
                }
                // What was decided before holds for its time, and no longer.
                (Err(_), Some(slot)) => slot.flight = None,
                (_, None) => {}
            }
            answer
        }
    }

    /// Whether there is room now: not when every slot waits for its answer.
    fn make_room(&self, slots: &mut Slots<K, V>) -> bool {
        slots.retain(|_, slot| {
            let usable = |(value, at): &(V, Instant)| at.elapsed() < (self.lifetime)(value).usable;
            slot.flight.is_some() || slot.decided.as_ref().is_some_and(usable)
        });
        if slots.len() >= ENTRIES_MAX {
            let oldest = slots.iter().filter(|(_, slot)| slot.flight.is_none());
            let oldest = oldest.min_by_key(|(_, slot)| slot.decided.as_ref().map(|(_, at)| *at));
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                slots.remove(&key);
            }
        }
        slots.len() < ENTRIES_MAX
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Changes under it are whole: a panic leaves nothing half made.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const LIFETIME: Lifetime = Lifetime { fresh: Duration::from_secs(10), usable: Duration::from_secs(60) };

    struct Scene {
        decisions: Decisions<&'static str, u32>,
        asked: Arc<AtomicU32>,
    }

    impl Scene {
        fn new() -> Self {
            Self { decisions: Decisions::new(|_| LIFETIME, TaskTracker::new()), asked: Arc::default() }
        }

        async fn about(&self, key: &'static str, answers: bool) -> Result<u32, Undecided> {
            let asked = self.asked.clone();
            let ask = move || {
                async move {
                    let count = asked.fetch_add(1, Ordering::Relaxed) + 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    if answers { Ok(count) } else { Err(Undecided("down")) }
                }
                .boxed()
            };
            self.decisions.about(&key, ask).await
        }
    }

    async fn seconds(n: u64) {
        tokio::time::sleep(Duration::from_secs(n)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_share_one_question() {
        let scene = Scene::new();
        let asks = (0..50).map(|_| scene.about("a", true));
        assert!(futures_util::future::join_all(asks).await.iter().all(|answer| *answer == Ok(1)));
        assert_eq!(scene.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn in_use_it_is_renewed_without_anyone_waiting() {
        let scene = Scene::new();
        scene.about("a", true).await.unwrap();
        for round in 1..20 {
            seconds(15).await;
            let began = Instant::now();
            assert_eq!(scene.about("a", true).await, Ok(round));
            assert_eq!(Instant::now(), began);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_api_server_is_down_it_holds_for_its_time_and_no_longer() {
        let scene = Scene::new();
        scene.about("a", true).await.unwrap();
        for _ in 0..3 {
            seconds(15).await;
            assert_eq!(scene.about("a", false).await, Ok(1));
        }
        seconds(15).await;
        assert_eq!(scene.about("a", false).await, Err(Undecided("down")));
        assert_eq!(scene.about("b", false).await, Err(Undecided("down")));
    }

    #[tokio::test(start_paused = true)]
    async fn so_is_the_number_of_questions_under_way() {
        let scene = Scene::new();
        let keys: Vec<&'static str> = (0..=ENTRIES_MAX).map(|n| &*Box::leak(n.to_string().into_boxed_str())).collect();
        let asks = keys.iter().map(|key| scene.about(key, true));
        let refused = futures_util::future::join_all(asks).await.into_iter().filter(Result::is_err).count();
        assert_eq!(refused, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_entries_is_bounded() {
        let scene = Scene::new();
        for n in 0..ENTRIES_MAX + 100 {
            let key: &'static str = Box::leak(n.to_string().into_boxed_str());
            scene.about(key, true).await.unwrap();
        }
        assert!(lock(&scene.decisions.slots).len() <= ENTRIES_MAX);
    }
}
