//! The queries that request a reading, so `/status` shows which HPAs use a queue. Pure.
//!
//! A consumer is a query: namespace, metric and selector. The list is bounded and shared by the
//! namespaces, and a known consumer costs no allocation.

use std::hash::BuildHasher as _;
use std::time::Duration;

use foldhash::quality::FixedState;
use tokio::time::Instant;

use super::limits::{CONSUMERS_PER_READING, OWNERS_PER_READING};
use super::query::Query;
use super::rules::ValueRules;
use super::schedule::ConsumerId;
use super::shares::Shares;
use crate::metric::{MetricName, Namespace};

/// Without a request for this long, a consumer can be replaced: longer than any usual HPA's pause. A single pause
/// of this length shows nothing about the controller: at zero replicas an HPA requests nothing.
const SILENCE: Duration = Duration::from_secs(120);
/// A request that comes sooner than this after the last one is the same beat, see [`super::schedule`].
const SAME_BEAT: Duration = Duration::from_secs(1);
/// Number of recent pauses that are kept. A manual request shortens only one of them.
const PAUSES: usize = 3;
/// Longest text of a selector, in bytes.
pub(super) const SELECTOR_MAX: usize = 200;

/// The consumer of a request.
#[derive(Clone, Copy)]
pub(super) struct Consumer<'q> {
    pub(super) id: ConsumerId,
    namespace: &'q Namespace,
    query: &'q Query<'q>,
    alone: bool,
}

/// The consumers of one reading.
#[derive(Debug)]
pub(super) struct Consumers {
    listed: Shares<ConsumerId, Listed>,
    /// The last request of a consumer that is not listed because too many are.
    others: Option<Instant>,
    /// Namespaces and their last requests, also those of this process.
    owners: Vec<(Namespace, Instant)>,
}

#[derive(Debug)]
struct Listed {
    namespace: Namespace,
    metric: MetricName,
    selector: Box<str>,
    value_rules: ValueRules,
    alone: bool,
    last: Instant,
    /// Newest first.
    intervals: [Option<Duration>; PAUSES],
}

/// One consumer as `/status` shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConsumerState {
    /// Its namespace.
    pub namespace: Namespace,
    /// The metric that it requests.
    pub metric: MetricName,
    /// The selector, cut after 200 bytes.
    pub selector: String,
    /// The value rules in the selector.
    pub value_rules: ValueRules,
    /// Whether this reading is all that it requests, so that a fallback may be served.
    pub alone: bool,
    /// How long ago the last request was.
    pub last_requested: Duration,
    /// The pause before the last request, if there was one before.
    pub interval: Option<Duration>,
}

// === impl Consumer ===

impl<'q> Consumer<'q> {
    pub(super) fn new(namespace: &'q Namespace, query: &'q Query<'q>) -> Self {
        // Two queries that collide may read the same, because they are of one reading.
        let id = ConsumerId(FixedState::default().hash_one((namespace, &query.metric, query.selector)));
        Self { id, namespace, query, alone: true }
    }

    /// The consumer of an answer of `items` items.
    pub(super) fn among(self, items: usize) -> Self {
        Self { alone: items == 1, ..self }
    }
}

// === impl Consumers ===

impl Consumers {
    /// Records a namespace that requests the reading.
    pub(super) fn own(&mut self, namespace: &Namespace, now: Instant) {
        if let Some((_, last)) = self.owners.iter_mut().find(|(known, _)| known == namespace) {
            *last = now;
            return;
        }
        if self.owners.len() >= OWNERS_PER_READING
            && let Some(oldest) = (0..self.owners.len()).min_by_key(|at| self.owners[*at].1)
        {
            self.owners.swap_remove(oldest);
        }
        self.owners.push((namespace.clone(), now));
    }

    /// Drops the namespaces, because reads have stopped.
    pub(super) fn disown(&mut self) {
        self.owners = Vec::new();
    }

    /// The namespaces that have requested the reading within `idle_after`.
    pub(super) fn owners(&self, now: Instant, idle_after: Duration) -> Vec<Namespace> {
        let recent = self.owners.iter().filter(|(_, last)| now.saturating_duration_since(*last) < idle_after);
        recent.map(|(namespace, _)| namespace.clone()).collect()
    }

    /// Records a request. Returns how long ago the one before it was, unless both are the same
    /// beat: several HPAs of one controller may have the same query. `None` also after a first pause of
    /// [`SILENCE`] or more: the workload may have been at zero.
    pub(super) fn record(&mut self, consumer: &Consumer<'_>, now: Instant) -> Option<Duration> {
        if let Some(known) = self.listed.charge(consumer.namespace, &consumer.id, now, SILENCE) {
            known.alone = consumer.alone;
            let interval = now.saturating_duration_since(std::mem::replace(&mut known.last, now));
            if interval < SAME_BEAT {
                return None;
            }
            // A second one in a row is recorded: the controller is behind.
            if interval >= SILENCE && known.intervals[0].is_some_and(|last| last < SILENCE) {
                known.intervals = [None; PAUSES];
                return None;
            }
            known.intervals.rotate_right(1);
            known.intervals[0] = Some(interval);
            return Some(interval);
        }
        // Another one of the same namespace would have to be listed again with its next request.
        if self.listed.is_full_for(consumer.namespace, now) {
            self.others = Some(now);
            return None;
        }
        let mut selector = consumer.query.selector.to_string();
        selector.truncate(selector.floor_char_boundary(SELECTOR_MAX));
        let listed = Listed {
            namespace: consumer.namespace.clone(),
            metric: consumer.query.metric.clone(),
            selector: selector.into(),
            value_rules: consumer.query.value_rules,
            alone: consumer.alone,
            last: now,
            intervals: [None; PAUSES],
        };
        if let Some(evicted) = self.listed.add(consumer.namespace, consumer.id, listed, now, SILENCE) {
            self.others = self.others.max(Some(evicted.last));
        }
        None
    }

    /// The longest of the last pauses between two requests of this consumer; `None` before there were
    /// enough of them.
    pub(super) fn longest_pause(&self, consumer: &Consumer<'_>) -> Option<Duration> {
        let known = self.listed.get(&consumer.id)?;
        let [a, b, c] = known.intervals;
        Some(a?.max(b?).max(c?))
    }

    /// The listed ones, the last request first.
    pub(super) fn states(&self, now: Instant) -> Vec<ConsumerState> {
        let state = |known: &Listed| ConsumerState {
            namespace: known.namespace.clone(),
            metric: known.metric.clone(),
            selector: known.selector.to_string(),
            value_rules: known.value_rules,
            alone: known.alone,
            last_requested: now.saturating_duration_since(known.last),
            interval: known.intervals[0],
        };
        let mut states: Vec<ConsumerState> = self.listed.iter().map(|(_, known)| state(known)).collect();
        states.sort_by_key(|state| state.last_requested);
        states
    }

    /// Whether one of them brings a fallback.
    pub(super) fn bring_fallback(&self) -> bool {
        self.listed.iter().any(|(_, known)| known.value_rules.fallback.is_some())
    }

    /// Whether there were more within the last two minutes than are listed.
    pub(super) fn are_more(&self, now: Instant) -> bool {
        self.others.is_some_and(|at| now - at < SILENCE)
    }
}

impl Default for Consumers {
    fn default() -> Self {
        Self { listed: Shares::new(CONSUMERS_PER_READING), others: None, owners: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::metrics::Metrics;
    use crate::selector::Selector;
    use crate::source::KINDS;

    #[test]
    fn the_list_is_bounded_and_says_when_it_is_not_all() {
        let (mut consumers, start) = (Consumers::default(), Instant::now());
        let namespace = Namespace::new("shop");
        let request = |consumers: &mut Consumers, queue: usize, at: Instant| {
            let selector = Selector::parse(&format!("queue=q{queue}")).unwrap();
            let query = Query::parse("oci_queue_length", &selector, &Metrics::of(KINDS, [])).unwrap();
            consumers.record(&Consumer::new(&namespace, &query), at);
        };
        for queue in (0..CONSUMERS_PER_READING).chain(0..CONSUMERS_PER_READING) {
            request(&mut consumers, queue, start);
        }
        assert_eq!((consumers.states(start).len(), consumers.are_more(start)), (CONSUMERS_PER_READING, false));
        request(&mut consumers, 99, start);
        assert_eq!((consumers.states(start).len(), consumers.are_more(start)), (CONSUMERS_PER_READING, true));
        // One goes on, another one is replaced.
        let later = start + SILENCE;
        request(&mut consumers, 3, later - Duration::from_secs(1));
        request(&mut consumers, 99, later);
        let listed: Vec<String> = consumers.states(later).into_iter().map(|consumer| consumer.selector).collect();
        assert_eq!(
            (listed.len(), &listed[0], &listed[1]),
            (CONSUMERS_PER_READING, &"queue=q99".into(), &"queue=q3".into())
        );
        assert!(!consumers.are_more(later));
    }

    #[test]
    fn the_consumers_of_one_namespace_leave_room_for_those_of_another() {
        let (mut consumers, start) = (Consumers::default(), Instant::now());
        let request = |consumers: &mut Consumers, namespace: &str, queue: usize| {
            let (namespace, selector) =
                (Namespace::new(namespace), Selector::parse(&format!("queue=q{queue}")).unwrap());
            let query = Query::parse("oci_queue_length", &selector, &Metrics::of(KINDS, [])).unwrap();
            consumers.record(&Consumer::new(&namespace, &query), start);
        };
        for queue in 0..40 {
            request(&mut consumers, "team-b", queue);
        }
        request(&mut consumers, "team-a", 0);
        let states = consumers.states(start);
        assert!(states.iter().any(|state| state.namespace.as_str() == "team-a"), "{states:?}");
        assert!(states.len() == CONSUMERS_PER_READING && consumers.are_more(start));
    }

    #[test]
    fn the_owners_are_the_last_namespaces_that_requested_the_reading_lately() {
        let (mut consumers, start) = (Consumers::default(), Instant::now());
        let idle_after = Duration::from_secs(30);
        for second in 0..100 {
            consumers.own(&Namespace::new(format!("team-{}", second % 50)), start + Duration::from_secs(second));
        }
        consumers.own(&Namespace::new("team-40"), start + Duration::from_secs(100));
        let owners = |second| consumers.owners(start + Duration::from_secs(second), idle_after).len();
        assert_eq!((owners(100), owners(120), owners(129), owners(130)), (OWNERS_PER_READING, 10, 1, 0));
        consumers.disown();
        assert!(consumers.owners(start + Duration::from_secs(100), idle_after).is_empty());
    }

    #[test]
    fn the_interval_of_a_consumer_is_that_of_its_beats() {
        let (mut consumers, start) = (Consumers::default(), Instant::now());
        let selector = Selector::parse("queue=orders").unwrap();
        let query = Query::parse("oci_queue_length", &selector, &Metrics::of(KINDS, [])).unwrap();
        let namespace = Namespace::new("shop");
        let mut request =
            |at: u64| consumers.record(&Consumer::new(&namespace, &query), start + Duration::from_millis(at));
        // The first has none before it, and a second HPA has the same query.
        for (at, interval) in [(0, None), (15_000, Some(15_000)), (15_300, None), (30_000, Some(14_700))] {
            assert_eq!(request(at), interval.map(Duration::from_millis), "{at}");
        }
        let now = start + Duration::from_secs(31);
        assert_eq!(consumers.states(now)[0].interval, Some(Duration::from_millis(14_700)));
        // A request by hand in between hides no pause.
        let consumer = Consumer::new(&namespace, &query);
        assert_eq!(consumers.longest_pause(&consumer), None, "two say little");
        consumers.record(&consumer, start + Duration::from_secs(32));
        assert_eq!(consumers.longest_pause(&consumer), Some(Duration::from_secs(15)));
    }

    #[test]
    fn at_zero_no_interval_is_learnt() {
        let (mut consumers, start) = (Consumers::default(), Instant::now());
        let selector = Selector::parse("queue=orders").unwrap();
        let query = Query::parse("oci_queue_length", &selector, &Metrics::of(KINDS, [])).unwrap();
        let (namespace, seconds) = (Namespace::new("shop"), Duration::from_secs);
        let consumer = Consumer::new(&namespace, &query);
        for at in [0, 15, 30, 45] {
            consumers.record(&consumer, start + seconds(at));
        }
        // The workload was at zero, and its HPA requested nothing.
        assert_eq!(consumers.record(&consumer, start + seconds(600)), None);
        assert_eq!(consumers.states(start + seconds(600))[0].interval, None);
        assert_eq!(consumers.record(&consumer, start + seconds(615)), Some(seconds(15)));
        assert_eq!(consumers.longest_pause(&consumer), None, "those before it are of another time");
        // A controller that is behind.
        for at in [1000, 1200, 1400] {
            consumers.record(&consumer, start + seconds(at));
        }
        assert_eq!(consumers.states(start + seconds(1400))[0].interval, Some(seconds(200)));
    }

    #[test]
    fn a_long_selector_is_cut() {
        let mut consumers = Consumers::default();
        let names = ["a", "b", "c", "d"].map(|name| name.repeat(63)).join(",");
        let selector = Selector::parse(&format!("queue in ({names})")).unwrap();
        let query = Query::parse("oci_queue_length", &selector, &Metrics::of(KINDS, [])).unwrap();
        consumers.record(&Consumer::new(&Namespace::new("shop"), &query), Instant::now());
        assert_eq!(consumers.states(Instant::now())[0].selector.len(), SELECTOR_MAX);
    }
}
