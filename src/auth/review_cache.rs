//! What the API server decided lately.
//!
//! At most one review runs for each key. Answers are kept for a fixed time, and are renewed in the
//! background while they are in use. An HPA requests every 15 s. So a plain cache of 10 s, as in
//! the Go library, would always miss and add an API call to each answer.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Undecided;
use super::review_limiter::{Limits, ReviewLimiter, ReviewPermit};

/// Entries kept at most: the HPA controller has one for each namespace and metric, so 10,000 HPAs need up to as
/// many. A flood of made-up ones, of up to 1.5 KiB each, ends at 18 MiB.
const ENTRIES_MAX: usize = 12_288;
/// After so many new entries, those that have ended are dropped.
const SWEEP_EVERY: usize = 1_024;
/// Reviews for callers: the HPA controller requests in five workers, each one metric at a time, and
/// a review takes milliseconds. One caller gets at most half, 200 a second, which is the limit of the Go
/// library. After a start, the reviews for 10,000 HPAs take 50 s at that rate. By default the controller
/// requests 20 metrics a second.
const CALLERS: Limits = Limits { at_once: 64, lately: 800, shared: true };
/// Those that renew decisions in use. No request waits for them, so few at once are enough: four for one caller.
const RENEWALS: Limits = Limits { at_once: 8, ..CALLERS };
/// Reviews for all unauthenticated clients together. Otherwise they could send reviews as fast as
/// kube-apiserver answers, and use up depthgauge's share there.
const ANONYMOUS: Limits = Limits { at_once: 8, lately: 100, shared: false };

/// What a review is charged to: unauthenticated clients cannot use up the permits of callers, nor one
/// caller those of others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// An authenticated caller, by any number that is unique to it.
    Caller(u64),
    /// No identity, or a token of unknown origin.
    Anonymous,
}

const TOO_MANY: Undecided = Undecided("too many reviews at once or within 2 s");

/// How long a decision is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Lifetime {
    /// Younger than this it is simply used.
    pub(super) fresh: Duration,
    /// Younger than this it is used, and renewed in the background.
    pub(super) usable: Duration,
}

/// A cache of decisions `V` about keys `K`.
pub(super) struct ReviewCache<K, V> {
    slots: Arc<Mutex<Slots<K, V>>>,
    lifetime: fn(&V) -> Lifetime,
    tasks: TaskTracker,
    callers: Arc<ReviewLimiter>,
    anonymous: Arc<ReviewLimiter>,
    /// For decisions that are in use: new reviews do not take these permits.
    renewals: Arc<ReviewLimiter>,
    numbers: RandomState,
}

type Slots<K, V> = HashMap<K, Slot<V>, RandomState>;
type Flight<V> = Shared<BoxFuture<'static, Result<V, Undecided>>>;

struct Slot<V> {
    decided: Option<(V, Instant)>,
    flight: Option<Flight<V>>,
}

// === impl ReviewCache ===

impl<K, V> ReviewCache<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(lifetime: fn(&V) -> Lifetime, tasks: TaskTracker) -> Self {
        let [callers, anonymous, renewals] = [CALLERS, ANONYMOUS, RENEWALS].map(ReviewLimiter::new);
        let numbers = RandomState::default();
        Self { slots: Arc::default(), lifetime, tasks, callers, anonymous, renewals, numbers }
    }

    /// The origin of one caller, by what identifies it.
    pub(super) fn caller(&self, who: impl Hash) -> Origin {
        Origin::Caller(self.numbers.hash_one(who))
    }

    /// The decision about `key`, from the cache or by `ask`.
    pub(super) async fn about(
        &self,
        key: &K,
        origin: Origin,
        ask: impl FnOnce() -> BoxFuture<'static, Result<V, Undecided>>,
    ) -> Result<V, Undecided> {
        let flight = {
            let mut slots = self.slots.lock();
            let slot = slots.get(key);
            let known = slot.and_then(|slot| slot.decided.as_ref());
            let known = known.map(|(value, at)| (value.clone(), at.elapsed(), (self.lifetime)(value)));
            let known = known.filter(|(_, age, lifetime)| *age < lifetime.usable);
            match (known, slot.and_then(|slot| slot.flight.clone())) {
                (Some((value, age, lifetime)), _) if age < lifetime.fresh => return Ok(value),
                (Some((value, ..)), Some(_)) => return Ok(value),
                (Some((value, ..)), None) => {
                    // The task tracker sees it through.
                    drop(self.start(&mut slots, key, self.renewals.enter(origin.number()), ask));
                    return Ok(value);
                }
                (None, Some(flight)) => flight,
                (None, None) => self.start(&mut slots, key, self.permit(origin), ask),
            }
        };
        flight.await
    }

    /// The decision by `ask`, which is not cached: for keys that are too big to keep.
    pub(super) async fn unremembered(
        &self,
        origin: Origin,
        ask: impl FnOnce() -> BoxFuture<'static, Result<V, Undecided>>,
    ) -> Result<V, Undecided> {
        let _permit = self.permit(origin).ok_or(TOO_MANY)?;
        ask().await
    }

    fn permit(&self, origin: Origin) -> Option<ReviewPermit> {
        let permits = match origin {
            Origin::Caller(_) => &self.callers,
            Origin::Anonymous => &self.anonymous,
        };
        permits.enter(origin.number())
    }

    fn start(
        &self,
        slots: &mut Slots<K, V>,
        key: &K,
        permit: Option<ReviewPermit>,
        ask: impl FnOnce() -> BoxFuture<'static, Result<V, Undecided>>,
    ) -> Flight<V> {
        // Refused and not queued: a client with many requests would fill the queue as well.
        let Some(permit) = permit else {
            return async { Err(TOO_MANY) }.boxed().shared();
        };
        if !slots.contains_key(key) {
            self.make_room(slots);
        }
        let flight = self.flight(key.clone(), permit, ask()).boxed().shared();
        let slot = slots.entry(key.clone()).or_insert(Slot { decided: None, flight: None });
        slot.flight = Some(flight.clone());
        // Runs to its end even if the client disconnects: others may wait for it.
        self.tasks.spawn(flight.clone());
        flight
    }

    fn flight(
        &self,
        key: K,
        permit: ReviewPermit,
        asked: BoxFuture<'static, Result<V, Undecided>>,
    ) -> impl Future<Output = Result<V, Undecided>> + use<K, V> {
        let slots = self.slots.clone();
        async move {
            let answer = asked.await;
            drop(permit);
            let mut slots = slots.lock();
            match (&answer, slots.get_mut(&key)) {
                (Ok(value), Some(slot)) => {
                    *slot = Slot { decided: Some((value.clone(), Instant::now())), flight: None }
                }
                // What was decided before holds for its time, and no longer.
                (Err(_), Some(slot)) if slot.decided.is_some() => slot.flight = None,
                (Err(_), Some(_)) => drop(slots.remove(&key)),
                (_, None) => {}
            }
            answer
        }
    }

    /// Drops what has ended, from time to time, and evicts what ends first where there is no room. So a flood of
    /// denials evicts denials, and never the longer lived allowance of a caller that requests again and again.
    /// Reviews in flight stay; they are few, by their limit.
    fn make_room(&self, slots: &mut Slots<K, V>) {
        let end = |slot: &Slot<V>| slot.decided.as_ref().map(|(value, at)| *at + (self.lifetime)(value).usable);
        if slots.len().is_multiple_of(SWEEP_EVERY) {
            let now = Instant::now();
            slots.retain(|_, slot| slot.flight.is_some() || end(slot) > Some(now));
        }
        if slots.len() < ENTRIES_MAX {
            return;
        }
        let idle = slots.iter().filter(|(_, slot)| slot.flight.is_none());
        let first = idle.min_by_key(|(_, slot)| end(slot)).map(|(key, _)| key.clone());
        if let Some(key) = first {
            slots.remove(&key);
        }
    }
}

// === impl Origin ===

impl Origin {
    /// All unauthenticated clients count as one.
    fn number(self) -> u64 {
        match self {
            Self::Caller(number) => number,
            Self::Anonymous => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    const LIFETIME: Lifetime = Lifetime { fresh: Duration::from_secs(10), usable: Duration::from_secs(60) };
    const SHORT: Lifetime = Lifetime { fresh: Duration::from_secs(5), usable: Duration::from_secs(5) };
    /// How long a review takes, in paused time.
    const TAKES: Duration = Duration::from_micros(10);

    struct Scene {
        decisions: ReviewCache<&'static str, u32>,
        asked: Arc<AtomicU32>,
    }

    /// Answers that are good for different times.
    const ALLOWED: u32 = 1;
    const DENIED: u32 = 1000;

    impl Scene {
        fn new() -> Self {
            let lifetime = |answer: &u32| if *answer == DENIED { SHORT } else { LIFETIME };
            Self { decisions: ReviewCache::new(lifetime, TaskTracker::new()), asked: Arc::default() }
        }

        /// The answer is the number of the review, if there is one.
        async fn about(&self, key: &'static str, answers: bool) -> Result<u32, Undecided> {
            let asked = self.asked.clone();
            let ask = move || {
                async move {
                    let count = asked.fetch_add(1, Ordering::Relaxed) + 1;
                    tokio::time::sleep(TAKES).await;
                    if answers { Ok(count) } else { Err(Undecided("down")) }
                }
                .boxed()
            };
            self.decisions.about(&key, Origin::Caller(1), ask).await
        }

        async fn ask(&self, key: &'static str, origin: Origin, answer: u32) -> Result<u32, Undecided> {
            self.decisions.about(&key, origin, || self.answer(answer)).await
        }

        fn answer(&self, answer: u32) -> BoxFuture<'static, Result<u32, Undecided>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(TAKES).map(move |()| Ok(answer)).boxed()
        }
    }

    fn keys(count: usize) -> Vec<&'static str> {
        (0..count).map(|n| &*Box::leak(n.to_string().into_boxed_str())).collect()
    }

    async fn seconds(n: u64) {
        tokio::time::sleep(Duration::from_secs(n)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_share_one_question() {
        let scene = Scene::new();
        let asks = (0..50).map(|_| scene.about("a", true));
        assert!(join_all(asks).await.iter().all(|answer| *answer == Ok(1)));
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
    async fn strangers_questions_are_few_at_once_and_keep_no_caller_from_asking() {
        let scene = Scene::new();
        let keys = keys(1000);
        let asks = keys.iter().map(|key| scene.ask(key, Origin::Anonymous, 1));
        let (anonymous, caller) = tokio::join!(join_all(asks), scene.ask("caller", Origin::Caller(1), 1));
        assert_eq!(anonymous.iter().filter(|answer| answer.is_ok()).count(), ANONYMOUS.at_once);
        assert_eq!(anonymous.iter().filter(|answer| **answer == Err(TOO_MANY)).count(), 1000 - ANONYMOUS.at_once);
        assert_eq!(caller, Ok(1));
        assert_eq!(scene.ask("later", Origin::Anonymous, 1).await, Ok(1), "permits are given back");
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_keeps_no_other_from_asking_nor_an_allowance_from_being_renewed() {
        let scene = Scene::new();
        scene.ask("hpa", Origin::Caller(1), ALLOWED).await.unwrap();
        seconds(15).await;
        let keys = keys(1000);
        let flood = join_all(keys.iter().map(|key| scene.ask(key, Origin::Caller(2), DENIED)));
        let others = async {
            let renewed = scene.ask("hpa", Origin::Caller(1), ALLOWED).await;
            (renewed, scene.ask("another", Origin::Caller(3), ALLOWED).await)
        };
        let (flood, others) = tokio::join!(flood, others);
        assert_eq!(flood.iter().filter(|answer| answer.is_ok()).count(), CALLERS.at_once / 2);
        assert_eq!(others, (Ok(ALLOWED), Ok(ALLOWED)));
        // It would be of no use any more, had it not been renewed.
        seconds(55).await;
        let unanswered = || async { Err(Undecided("down")) }.boxed();
        assert_eq!(scene.decisions.about(&"hpa", Origin::Caller(1), unanswered).await, Ok(ALLOWED));
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_so_many_questions_in_a_second() {
        let scene = Scene::new();
        let mut asked = 0;
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            let key = &*Box::leak(asked.to_string().into_boxed_str());
            asked += u32::from(scene.ask(key, Origin::Anonymous, DENIED).await.is_ok());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(asked, 500, "50 a second, in the long run");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_remembered_is_asked_each_time_and_counts_as_well() {
        let scene = Scene::new();
        let ask = || scene.decisions.unremembered(Origin::Anonymous, || scene.answer(1));
        assert_eq!((ask().await, ask().await, scene.asked.load(Ordering::Relaxed)), (Ok(1), Ok(1), 2));
        let refused = join_all((0..100).map(|_| ask())).await.into_iter().filter(Result::is_err).count();
        assert_eq!(refused, 100 - ANONYMOUS.at_once);
    }

    #[tokio::test(start_paused = true)]
    async fn the_reviews_for_ten_thousand_hpas_are_kept() {
        let (scene, keys) = (Scene::new(), keys(10_000));
        for key in &keys {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert_eq!(scene.ask(key, Origin::Caller(1), ALLOWED).await, Ok(ALLOWED));
        }
        let unanswered = || async { Err(Undecided("down")) }.boxed();
        for key in &keys {
            assert_eq!(scene.decisions.about(key, Origin::Caller(1), unanswered).await, Ok(ALLOWED));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_denials_pushes_out_no_allowance() {
        let scene = Scene::new();
        for (n, key) in keys(ENTRIES_MAX + 100).into_iter().enumerate() {
            // As fast as it may be, and the HPA continues to request.
            tokio::time::sleep(Duration::from_millis(20)).await;
            scene.ask(key, Origin::Anonymous, DENIED).await.unwrap();
            if n % 500 == 0 {
                scene.ask("hpa", Origin::Caller(1), ALLOWED).await.unwrap();
            }
        }
        let slots = scene.decisions.slots.lock();
        assert!(slots.len() <= ENTRIES_MAX && slots.contains_key("hpa"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_without_an_answer_leaves_nothing_behind() {
        let scene = Scene::new();
        assert_eq!(scene.about("a", false).await, Err(Undecided("down")));
        assert!(scene.decisions.slots.lock().is_empty());
    }
}
