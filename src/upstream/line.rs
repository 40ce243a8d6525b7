//! Waiting reads, which are served round-robin over their owners.
//!
//! An owner is any text; reads without one share the empty text. A read waits for as long as its
//! receiver exists.

use std::collections::VecDeque;

use tokio::sync::oneshot;

/// Waiting reads, each to be given a `T`.
#[derive(Debug)]
pub(super) struct Line<T> {
    /// Owners with waiting reads. The one served least recently is first.
    ring: VecDeque<Waiting<T>>,
    /// The next turn prefers reads of owners further back that have no value to serve.
    prefers_urgent: bool,
}

/// The waiting reads of one owner.
#[derive(Debug)]
struct Waiting<T> {
    owner: Box<str>,
    /// There is no value to serve. They go before the owner's other reads.
    urgent: VecDeque<oneshot::Sender<T>>,
    calm: VecDeque<oneshot::Sender<T>>,
}

// === impl Line ===

impl<T> Line<T> {
    /// A read of this owner waits from now on.
    pub(super) fn push(&mut self, owner: &str, urgent: bool) -> oneshot::Receiver<T> {
        let at = self.ring.iter().position(|waiting| *waiting.owner == *owner).unwrap_or_else(|| {
            let (urgent, calm) = Default::default();
            self.ring.push_back(Waiting { owner: owner.into(), urgent, calm });
            self.ring.len() - 1
        });
        let (sender, receiver) = oneshot::channel();
        let waiting = &mut self.ring[at];
        let queue = if urgent { &mut waiting.urgent } else { &mut waiting.calm };
        if queue.len() == queue.capacity() {
            // Before it grows: reads that no longer wait need no space.
            queue.retain(|sender| !sender.is_closed());
        }
        queue.push_back(sender);
        receiver
    }

    /// The next read of an owner that `may` be served. Every second turn goes to the next owner that
    /// has an urgent read, and the other turns to the next owner. So an urgent read waits for few
    /// others, and an owner for at most twice as many turns as there are owners.
    pub(super) fn next(&mut self, may: impl Fn(&str) -> bool) -> Option<(Box<str>, oneshot::Sender<T>)> {
        loop {
            let urgent = |waiting: &Waiting<T>| !waiting.urgent.is_empty() && may(&waiting.owner);
            let preferred = if self.prefers_urgent { self.ring.iter().position(urgent) } else { None };
            let at = preferred.or_else(|| self.ring.iter().position(|waiting| may(&waiting.owner)))?;
            let mut waiting = self.ring.remove(at)?;
            let next = waiting.pop();
            let owner = waiting.owner.clone();
            if waiting.len() > 0 {
                self.ring.push_back(waiting);
            }
            if let Some(sender) = next {
                self.prefers_urgent = !self.prefers_urgent;
                return Some((owner, sender));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// How many reads of this owner wait, with some that have stopped waiting.
    pub(super) fn waiting(&self, owner: &str) -> usize {
        self.of(owner).map_or(0, Waiting::len)
    }

    /// How many reads of each owner wait.
    pub(super) fn owners(&self) -> impl Iterator<Item = (&str, usize)> {
        let open = |waiting: &Waiting<T>| waiting.urgent.iter().chain(&waiting.calm).filter(|s| !s.is_closed()).count();
        self.ring.iter().map(move |waiting| (&*waiting.owner, open(waiting))).filter(|(_, reads)| *reads > 0)
    }

    /// Whether reads of this owner wait that are not urgent.
    pub(super) fn is_saturated(&self, owner: &str) -> bool {
        self.of(owner).is_some_and(|waiting| waiting.calm.iter().any(|sender| !sender.is_closed()))
    }

    fn of(&self, owner: &str) -> Option<&Waiting<T>> {
        self.ring.iter().find(|waiting| *waiting.owner == *owner)
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { ring: VecDeque::new(), prefers_urgent: true }
    }
}

// === impl Waiting ===

impl<T> Waiting<T> {
    fn len(&self) -> usize {
        self.urgent.len() + self.calm.len()
    }

    /// The next one that still waits.
    fn pop(&mut self) -> Option<oneshot::Sender<T>> {
        loop {
            let sender = self.urgent.pop_front().or_else(|| self.calm.pop_front())?;
            if !sender.is_closed() {
                return Some(sender);
            }
        }
    }
}

/// The owner, of those that a read has, with the smallest `number`. Reads without an owner share one.
pub(super) fn least<'o>(owners: &[&'o str], number: impl Fn(&str) -> usize) -> &'o str {
    owners.iter().copied().min_by_key(|owner| number(owner)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn owners_take_turns_and_urgent_reads_wait_for_few() {
        let mut line = Line::default();
        let mut reads = Vec::new();
        for n in 0..4 {
            reads.push(line.push("a", n >= 2));
        }
        reads.push(line.push("b", false));
        reads.push(line.push("c", true));
        let mut order = Vec::new();
        while let Some((owner, sender)) = line.next(|_| true) {
            order.push(owner);
            sender.send(()).unwrap();
        }
        // Urgent, any, urgent, any, …
        assert_eq!(order.iter().map(|owner| &**owner).collect::<Vec<_>>(), ["a", "b", "c", "a", "a", "a"]);
        assert!(reads[2].try_recv().is_ok() && line.waiting("a") == 0);
    }

    #[test]
    fn a_read_that_no_longer_waits_takes_no_turn_and_no_space() {
        let mut line = Line::<()>::default();
        let kept = line.push("a", false);
        for _ in 0..1000 {
            drop(line.push("a", false));
        }
        assert!(line.waiting("a") < 10 && line.is_saturated("a"));
        drop(line.push("b", false));
        assert!(!line.is_saturated("b"));
        assert_eq!(line.next(|_| true).map(|(owner, _)| owner).as_deref(), Some("a"));
        assert!(line.next(|_| true).is_none() && line.ring.is_empty());
        drop(kept);
    }

    proptest! {
        /// Whatever the others push.
        #[test]
        fn an_owner_waits_for_at_most_twice_as_many_turns_as_there_are_owners(
            steps in proptest::collection::vec((0usize..5, any::<bool>(), 0usize..3), 1..200),
        ) {
            let owners = ["a", "b", "c", "d", "e"];
            let (mut line, mut reads, mut waited) = (Line::<()>::default(), Vec::new(), [0; 5]);
            for (owner, urgent, turns) in steps {
                reads.push(line.push(owners[owner], urgent));
                for _ in 0..turns {
                    let waiting: Vec<bool> = owners.iter().map(|owner| line.waiting(owner) > 0).collect();
                    let Some((served, _)) = line.next(|_| true) else { continue };
                    for (at, owner) in owners.iter().enumerate() {
                        waited[at] = if waiting[at] && **owner != *served { waited[at] + 1 } else { 0 };
                        prop_assert!(waited[at] <= 2 * owners.len(), "{owner} waited for {} turns", waited[at]);
                    }
                }
            }
        }
    }
}
