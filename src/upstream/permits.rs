//! Limits the reads in flight at one host, and shares them among owners.
//!
//! An owner takes a permit only while more permits are free than it has. So the reads of one owner that
//! hang leave half of the permits to others, and those of two leave a quarter.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::line::{Line, least};

/// The permits at one host.
#[derive(Debug)]
pub struct Permits {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// By owner, for those that have any.
    owners: HashMap<Box<str>, usize>,
    line: Line<Permit>,
}

/// The right of a read to be in flight, returned when it is dropped.
#[derive(Debug)]
pub struct Permit {
    permits: Arc<Permits>,
    owner: Box<str>,
}

// === impl Permits ===

impl Permits {
    /// So many permits, all free.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// Adds up how many reads of each owner are in flight or wait.
    pub fn count(&self, owners: &mut BTreeMap<String, usize>) {
        let state = self.state.lock();
        let taken = state.owners.iter().map(|(owner, taken)| (&**owner, *taken));
        for (owner, reads) in taken.chain(state.line.owners()) {
            *owners.entry(owner.to_owned()).or_default() += reads;
        }
    }

    /// Waits for a permit. A read of several owners takes it for the one that has the fewest reads in
    /// flight and waiting. `None` never comes while the permits exist.
    pub async fn acquire(self: &Arc<Self>, owners: &[&str], urgent: bool) -> Option<Permit> {
        let waiting = {
            let mut state = self.state.lock();
            let owner = least(owners, |owner| state.taken_by(owner) + state.line.waiting(owner));
            state.line.push(owner, urgent)
        };
        self.grant();
        waiting.await.ok()
    }

    /// Waits for a permit, but at most half of the time until the deadline of a request. Otherwise it would time out
    /// after the wait, and a host that answers would count as one that does not.
    pub async fn acquire_in_time(self: &Arc<Self>, owner: &str, by: Instant) -> Option<Permit> {
        let now = Instant::now();
        let latest = now + by.saturating_duration_since(now) / 2;
        tokio::time::timeout_at(latest, self.acquire(&[owner], false)).await.ok().flatten()
    }

    /// Gives free permits to reads that wait.
    fn grant(self: &Arc<Self>) {
        while let Some((owner, waiting)) = self.next() {
            // Outside of the lock: a permit that comes back because its read no longer waits needs it.
            drop(waiting.send(Permit { permits: self.clone(), owner }));
        }
    }

    /// The next read that has a permit now.
    fn next(&self) -> Option<(Box<str>, oneshot::Sender<Permit>)> {
        let state = &mut *self.state.lock();
        let (free, owners) = (self.limit - state.taken, &state.owners);
        let next = state.line.next(|owner| owners.get(owner).copied().unwrap_or_default() < free)?;
        state.taken += 1;
        *state.owners.entry(next.0.clone()).or_default() += 1;
        Some(next)
    }
}

// === impl State ===

impl State {
    fn taken_by(&self, owner: &str) -> usize {
        self.owners.get(owner).copied().unwrap_or_default()
    }
}

// === impl Permit ===

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let state = &mut *self.permits.state.lock();
            state.taken -= 1;
            if let Some(taken) = state.owners.get_mut(&self.owner) {
                *taken -= 1;
                if *taken == 0 {
                    state.owners.remove(&self.owner);
                }
            }
        }
        self.permits.grant();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_has_half_of_its_time_after_the_wait() {
        const TIMEOUT: Duration = Duration::from_secs(3);
        let permits = Arc::new(Permits::new(1));
        let held = permits.acquire_in_time("a", Instant::now() + TIMEOUT).await;
        let began = Instant::now();
        assert!(permits.acquire_in_time("b", began + TIMEOUT).await.is_none());
        assert_eq!(began.elapsed(), TIMEOUT / 2);
        drop(held);
        assert!(permits.acquire_in_time("b", Instant::now()).await.is_some(), "a free permit needs no time");
    }

    #[test]
    fn an_owner_leaves_places_to_others() {
        let permits = Arc::new(Permits::new(8));
        let take = |owner| permits.acquire(&[owner], false).now_or_never().flatten();
        let taken = |owner| std::iter::from_fn(|| take(owner)).collect::<Vec<_>>();
        let (a, b, c, d) = (taken("a"), taken("b"), taken("c"), taken("d"));
        assert_eq!([a.len(), b.len(), c.len(), d.len()], [4, 2, 1, 1]);
        // What two owners share is taken for the one that has fewer.
        drop(c);
        let shared = permits.acquire(&["a", "c"], false).now_or_never().flatten().unwrap();
        assert_eq!(&*shared.owner, "c");
        drop((a, b, d, shared));
        assert!(permits.state.lock().owners.is_empty());
    }

    #[test]
    fn a_place_goes_to_the_next_owner_in_the_line() {
        let permits = Arc::new(Permits::new(1));
        let held = permits.acquire(&["a"], false).now_or_never().flatten();
        let mut gone = Box::pin(permits.acquire(&["a"], false));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        let mut order = Vec::new();
        let mut takes: Vec<_> = ["a", "a", "b"]
            .iter()
            .map(|owner| (*owner, Box::pin(permits.acquire(std::slice::from_ref(owner), false))))
            .collect();
        for (_, take) in &mut takes {
            assert!(take.as_mut().now_or_never().is_none());
        }
        drop(held);
        while !takes.is_empty() {
            let at = takes.iter_mut().position(|(_, take)| take.as_mut().now_or_never().flatten().is_some()).unwrap();
            order.push(takes.remove(at).0);
        }
        assert_eq!(order, ["a", "b", "a"]);
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_the_limit_and_all_come_back(
            steps in proptest::collection::vec((0usize..4, any::<bool>()), 1..100),
        ) {
            let (permits, owners) = (Arc::new(Permits::new(6)), ["a", "b", "c", "d"]);
            let mut held = Vec::new();
            for (owner, takes) in steps {
                if takes {
                    held.extend(permits.acquire(&[owners[owner]], false).now_or_never().flatten());
                } else if !held.is_empty() {
                    held.remove(owner % held.len());
                }
                let state = permits.state.lock();
                prop_assert!(state.taken == held.len() && state.taken <= 6);
                prop_assert_eq!(state.owners.values().sum::<usize>(), state.taken);
            }
            drop(held);
            prop_assert_eq!(permits.state.lock().taken, 0);
        }
    }
}
