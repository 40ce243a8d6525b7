//! The queues of one list, and since when each queue has been listed without a break. Pure.
//!
//! For seconds after a queue was declared, RabbitMQ reports 0 while messages are in it. This happens in totals mode for
//! quorum queues, and in the ordinary list for classic ones. So a 0 counts only when the queue has been listed without
//! a break for longer than that. A failed list is a break, and so is another leader. In totals mode the counts of a
//! quorum queue are those of its leader's node, which has none until its next tick.
//!
//! In totals mode a queue without a leader is missing. If it is requested, it is known, without values, as long as
//! another list has it. A queue that the other list does not have either is absent until it is listed.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::page::Queue;

/// How long a queue must have been listed until a 0 counts. RabbitMQ 3.10 reports a false 0 up to 9 s after a
/// queue was declared.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// Reads count as stopped if none was wanted for longer than this and for longer than [`STOPPED`] × `refresh`. A
/// queue may have been deleted and declared again meanwhile. The HPA controller requests a metric every 15 s.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// See [`PAUSE_MAX`].
const STOPPED: u32 = 2;
/// How long a missing queue stays known while no other list can be read. Clients may declare and delete queues
/// all the time, so there must be an end.
pub(super) const LOST_MAX: Duration = Duration::from_secs(15 * 60);

/// The queues of a list.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// When its first request began.
    pub(super) began: Instant,
    /// When its last page was read.
    ended: Instant,
    /// Sorted by vhost and name.
    queues: Vec<Listed>,
    /// Requested queues that no list had, by vhost and name. They are not searched again.
    absent: HashSet<(String, String)>,
}

/// A queue in a list.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) queue: Queue,
    /// Whether a 0 of this queue counts.
    pub(super) is_settled: bool,
    since: Instant,
    /// Since when it has not been known to exist, if it is missing.
    lost: Option<Instant>,
}

// === impl Snapshot ===

impl Snapshot {
    /// A list that was read at this time, sorted by vhost and name. `unbroken`: the list before, unless something came
    /// between.
    pub(super) fn new(queues: Vec<Queue>, began: Instant, ended: Instant, unbroken: Option<&Self>) -> Self {
        let listed = |queue: Queue| {
            let known = unbroken.and_then(|before| before.queue(&queue.vhost, &queue.name));
            let known = known.filter(|known| known.is_running() && queue.is_led_as(&known.queue));
            let since = known.map_or(began, |known| known.since);
            Listed { is_settled: began - since >= SETTLED_AFTER, since, lost: None, queue }
        };
        let queues = queues.into_iter().map(listed).collect();
        Self { began, ended, queues, absent: HashSet::new() }
    }

    /// Whether reads have not stopped between this list and one that a source wanted at this time. The turn of a
    /// read and the read itself may take long. `refresh` is that of the source.
    pub(super) fn is_continued(&self, wanted: Instant, refresh: Duration) -> bool {
        wanted.saturating_duration_since(self.ended) <= PAUSE_MAX.max(refresh * STOPPED)
    }

    /// The requested queues, by vhost and name, that are missing and were not absent before. Some may never have
    /// been listed.
    pub(super) fn missing<'r>(
        &mut self,
        before: Option<&Self>,
        requested: impl Iterator<Item = &'r (String, String)>,
    ) -> Vec<Listed> {
        let missing = requested.filter(|(vhost, name)| self.queue(vhost, name).is_none());
        let is_absent = |queue: &&(String, String)| before.is_some_and(|before| before.absent.contains(*queue));
        let (absent, missing): (Vec<_>, Vec<_>) = missing.partition(is_absent);
        self.absent = absent.into_iter().cloned().collect();
        let known = |(vhost, name): &(String, String)| match before.and_then(|before| before.queue(vhost, name)) {
            Some(known) => known.clone(),
            None => {
                let queue = Queue { name: name.as_str().into(), vhost: vhost.as_str().into(), ..Queue::default() };
                Listed { queue, is_settled: false, since: self.began, lost: None }
            }
        };
        missing.into_iter().map(known).collect()
    }

    /// Keeps missing queues, unless another list does not have them either: then they are absent. `others`: the
    /// queues of that list, if it could be read.
    pub(super) fn keep(&mut self, missing: Vec<Listed>, others: Option<&[Queue]>) {
        let others: Option<HashSet<(&str, &str)>> =
            others.map(|queues| queues.iter().map(|queue| (&*queue.vhost, &*queue.name)).collect());
        for listed in missing {
            let (vhost, name) = listed.queue.key();
            let since = match &others {
                None => Some(listed.lost.unwrap_or(self.began)).filter(|since| self.began - *since <= LOST_MAX),
                Some(others) => others.contains(&(vhost, name)).then_some(self.began),
            };
            match since {
                None => _ = self.absent.insert((vhost.to_owned(), name.to_owned())),
                since => self.queues.push(Listed { is_settled: false, lost: since, ..listed }),
            }
        }
        self.queues.sort_by(|one, other| one.queue.key().cmp(&other.queue.key()));
    }

    /// A queue, if it is known.
    pub(super) fn queue(&self, vhost: &str, name: &str) -> Option<&Listed> {
        let at = self.queues.binary_search_by(|listed| listed.queue.key().cmp(&(vhost, name))).ok()?;
        self.queues.get(at)
    }

    /// The names of all queues of a vhost.
    pub(super) fn names(&self, vhost: &str) -> impl Iterator<Item = &str> {
        let queues = self.queues.iter().map(|listed| &listed.queue);
        queues.filter(move |queue| &*queue.vhost == vhost).map(|queue| &*queue.name)
    }
}

// === impl Listed ===

impl Listed {
    /// Whether it is missing in the list, and may have no leader.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    fn is_running(&self) -> bool {
        !self.is_lost() && self.queue.running().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str) -> Queue {
        serde_json::from_value(serde_json::json!({"name": name, "vhost": "/", "state": "running"})).unwrap()
    }

    /// Names in a list that began after so many seconds. One that ends in `!` has no leader, and is only in the
    /// other list. That one fails if there is a `?`. `None` is a list that failed. Queue `a` is requested.
    type List = (u64, Option<&'static [&'static str]>);

    /// What is known of queue `a` after each of these lists.
    fn known(lists: &[List]) -> Vec<Option<Listed>> {
        known_with(Duration::from_secs(5), lists)
    }

    /// The same with this `refresh`.
    fn known_with(refresh: Duration, lists: &[List]) -> Vec<Option<Listed>> {
        let start = Instant::now();
        let (mut good, mut is_next): (Option<Snapshot>, bool) = (None, false);
        let requested = [("/".to_owned(), "a".to_owned())];
        let list = |(seconds, names): &List| {
            let began = start + Duration::from_secs(*seconds);
            let snapshot = names.map(|names| {
                let queues = names.iter().filter(|name| !name.ends_with(['!', '?'])).map(|name| queue(name)).collect();
                let others: Vec<Queue> = names.iter().map(|name| queue(name.trim_end_matches('!'))).collect();
                let unbroken = good.as_ref().filter(|before| is_next && before.is_continued(began, refresh));
                let mut snapshot = Snapshot::new(queues, began, began, unbroken);
                let missing = snapshot.missing(good.as_ref(), requested.iter());
                snapshot.keep(missing, (!names.contains(&"?")).then_some(&*others));
                snapshot
            });
            is_next = snapshot.is_some();
            let known = snapshot.as_ref().and_then(|snapshot| snapshot.queue("/", "a").cloned());
            good = snapshot.or(good.take());
            known
        };
        lists.iter().map(list).collect()
    }

    /// Whether a 0 of queue `a` counts after each of these lists.
    fn settled(lists: &[List]) -> Vec<Option<bool>> {
        known(lists).into_iter().map(|known| known.map(|known| known.is_settled)).collect()
    }

    /// Whether queue `a` is lost after each of these lists.
    fn lost(lists: &[List]) -> Vec<Option<bool>> {
        known(lists).into_iter().map(|known| known.map(|known| known.is_lost())).collect()
    }

    const A: Option<&[&str]> = Some(&["a"]);
    const B: Option<&[&str]> = Some(&["b"]);
    const NONE: Option<&[&str]> = Some(&[]);
    const LEADERLESS: Option<&[&str]> = Some(&["a!"]);
    const FAILS: Option<&[&str]> = Some(&["?"]);

    #[test]
    fn a_zero_counts_after_ten_seconds() {
        let lists = [(0, A), (5, A), (9, A), (10, A), (15, A)];
        assert_eq!(settled(&lists), [false, false, false, true, true].map(Some));
        assert_eq!(settled(&[(0, A), (15, A), (30, A)]), [false, true, true].map(Some));
    }

    #[test]
    fn each_queue_has_a_time_of_its_own() {
        assert_eq!(settled(&[(0, B), (8, A), (15, A), (18, A)]), [None, Some(false), Some(false), Some(true)]);
        let queues = vec![queue("a"), Queue { vhost: "shop".into(), ..queue("b") }];
        let listed = Snapshot::new(queues, Instant::now(), Instant::now(), None);
        assert!(listed.queue("shop", "b").is_some() && listed.queue("shop", "a").is_none());
        assert_eq!(listed.names("shop").collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_break_begins_the_ten_seconds_again() {
        // Deleted and declared again.
        let lists = [(0, A), (10, A), (12, NONE), (14, A), (20, A), (24, A)];
        let expected = [Some(false), Some(true), None, Some(false), Some(false), Some(true)];
        assert_eq!(settled(&lists), expected);
        // An outage.
        let lists = [(0, A), (10, A), (12, None), (14, A), (20, A), (24, A)];
        assert_eq!(settled(&lists), expected);
        // Reads had stopped.
        assert_eq!(settled(&[(0, A), (15, A), (200, A), (210, A)]), [false, true, false, true].map(Some));
        // Without a leader.
        let lists = [(0, A), (10, A), (12, LEADERLESS), (14, A), (20, A), (24, A)];
        let expected = [Some(false), Some(true), Some(false), Some(false), Some(false), Some(true)];
        assert_eq!(settled(&lists), expected);
    }

    #[test]
    fn lists_may_be_as_far_apart_as_refresh() {
        let far = [(0, A), (300, A), (600, A), (900, A)];
        let settled = |refresh, lists: &[List]| {
            let known = known_with(Duration::from_secs(refresh), lists);
            known.into_iter().map(|known| known.map(|known| known.is_settled)).collect::<Vec<_>>()
        };
        assert_eq!(settled(300, &far), [false, true, true, true].map(Some));
        // A pause is a break there, too, and so is a failure.
        let stopped = [(0, A), (300, A), (901, A), (1200, A)];
        assert_eq!(settled(300, &stopped), [false, true, false, true].map(Some));
        let failed = [(0, A), (300, A), (600, None), (900, A)];
        assert_eq!(settled(300, &failed), [Some(false), Some(true), None, Some(false)]);
        // Requests that are far apart are none: the queue may have been deleted and declared again.
        for (refresh, seconds, is_settled) in
            [(5, 15, true), (5, 20, true), (5, 21, false), (5, 90, false), (30, 60, true), (30, 61, false)]
        {
            let lists = [(0, A), (seconds, A), (2 * seconds, A)];
            assert_eq!(settled(refresh, &lists)[1..], [Some(is_settled); 2], "{refresh} {seconds}");
        }
        // A missing queue stays known at least until the next list.
        let lost = known_with(Duration::from_secs(3600), &[(0, A), (3600, FAILS), (7200, FAILS)]);
        assert_eq!(
            lost.iter().map(|known| known.as_ref().map(Listed::is_lost)).collect::<Vec<_>>(),
            [Some(false), Some(true), None]
        );
    }

    #[test]
    fn a_list_that_takes_long_or_waits_for_its_turn_is_no_pause() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let slow = Snapshot::new(vec![queue("a")], start, after(50), None);
        for (wanted, is_continued) in [(0, true), (50, true), (70, true), (71, false)] {
            assert_eq!(slow.is_continued(after(wanted), Duration::from_secs(5)), is_continued, "{wanted}");
        }
    }

    #[test]
    fn a_state_that_is_not_running_begins_the_ten_seconds_again() {
        let start = Instant::now();
        let list = |seconds, state: &str, before: Option<&Snapshot>| {
            let queue = serde_json::json!({"name": "a", "vhost": "/", "state": state});
            let began = start + Duration::from_secs(seconds);
            Snapshot::new(vec![serde_json::from_value(queue).unwrap()], began, began, before)
        };
        for state in ["down", "recovering"] {
            let down = list(20, state, Some(&list(0, "running", None)));
            let up = list(25, "running", Some(&down));
            let settled = list(35, "running", Some(&up));
            let is_settled = |snapshot: &Snapshot| snapshot.queue("/", "a").unwrap().is_settled;
            assert_eq!([&up, &settled].map(is_settled), [false, true], "{state}");
        }
    }

    #[test]
    fn another_leader_begins_the_ten_seconds_again() {
        let start = Instant::now();
        // As RabbitMQ 3.10 lists a classic queue, and a quorum queue.
        for key in ["node", "leader"] {
            let list = |seconds, node: &str, before: Option<&Snapshot>| {
                let queue = serde_json::json!({"name": "a", "vhost": "/", "state": "running", key: node});
                let began = start + Duration::from_secs(seconds);
                Snapshot::new(vec![serde_json::from_value(queue).unwrap()], began, began, before)
            };
            let is_settled = |snapshot: &Snapshot| snapshot.queue("/", "a").unwrap().is_settled;
            let settled = list(10, "one", Some(&list(0, "one", None)));
            let moved = list(15, "two", Some(&settled));
            let again = list(25, "two", Some(&moved));
            assert_eq!([&settled, &moved, &again].map(is_settled), [true, false, true], "{key}");
        }
    }

    #[test]
    fn a_queue_that_is_missing_is_lost_as_long_as_another_list_has_it() {
        let lists = [(0, A), (5, LEADERLESS), (5000, LEADERLESS), (5005, A)];
        assert_eq!(lost(&lists), [false, true, true, false].map(Some), "without an end");
        // A list may fail first.
        assert_eq!(lost(&[(0, A), (10, None), (15, LEADERLESS)]), [Some(false), None, Some(true)]);
        // It was deleted: at once, or while it had no leader.
        assert_eq!(lost(&[(0, A), (5, NONE)]), [Some(false), None]);
        assert_eq!(lost(&[(0, A), (5, LEADERLESS), (10, B)]), [Some(false), Some(true), None]);
        // It never had counts.
        let expected = [Some(true), Some(true), Some(false), Some(true)];
        assert_eq!(lost(&[(0, LEADERLESS), (5000, LEADERLESS), (5005, A), (5010, LEADERLESS)]), expected);
        assert_eq!(lost(&[(0, FAILS), (5, LEADERLESS), (10, NONE)]), [Some(true), Some(true), None]);
    }

    #[test]
    fn a_queue_that_no_list_has_is_absent_until_it_is_listed() {
        // The other list is not read again.
        assert_eq!(lost(&[(0, NONE), (5, LEADERLESS), (10, FAILS)]), [None; 3]);
        assert_eq!(lost(&[(0, B), (5, None), (10, LEADERLESS)]), [None; 3]);
        assert_eq!(lost(&[(0, NONE), (5, A), (10, LEADERLESS)]), [None, Some(false), Some(true)]);
        let names =
            |queues: &[&str]| queues.iter().map(|name| ("/".to_owned(), (*name).to_owned())).collect::<Vec<_>>();
        let of = |requested: &[&str], before: Option<&Snapshot>| {
            let mut snapshot = Snapshot::new(vec![queue("b")], Instant::now(), Instant::now(), None);
            let missing = snapshot.missing(before, names(requested).iter());
            let looked_for: Vec<String> = missing.iter().map(|listed| listed.queue.name.to_string()).collect();
            snapshot.keep(missing, Some(&[]));
            (snapshot, looked_for)
        };
        let (first, looked_for) = of(&["a", "b", "c"], None);
        assert_eq!(looked_for, ["a", "c"]);
        let (second, looked_for) = of(&["c", "d"], Some(&first));
        assert_eq!(looked_for, ["d"]);
        let (_, looked_for) = of(&["a", "c", "d"], Some(&second));
        assert_eq!(looked_for, ["a"], "it was not requested meanwhile");
    }

    #[test]
    fn a_queue_that_is_missing_is_lost_for_a_while_when_no_other_list_can_be_read() {
        let lists: Vec<List> = std::iter::once((0, A)).chain((1..=11).map(|n| (n * 100, FAILS))).collect();
        assert_eq!(lost(&lists)[1..], [[Some(true); 10].as_slice(), &[None]].concat());
        // The time begins again when it is listed somewhere.
        assert_eq!(lost(&[(0, A), (100, FAILS), (900, LEADERLESS), (1800, FAILS)])[1..], [Some(true); 3]);
    }
}
