//! Who asks for a reading: so that `status` can say whose HPA a queue serves. Pure.
//!
//! Bounded, and without an allocation for somebody who has asked before.

use std::hash::BuildHasher as _;
use std::time::Duration;

use foldhash::quality::FixedState;
use tokio::time::Instant;

use super::policy::Policies;
use super::question::Question;
use crate::metric::{MetricName, Namespace};

/// Askers that are listed by name for one reading: more than a page shows.
const ASKERS_MAX: usize = 16;
/// Silent for so long, an asker makes room for another one: longer than any usual HPA's pause.
const SILENCE: Duration = Duration::from_secs(120);
/// What comes sooner than this after a question is no other beat, see [`super::schedule`].
const SAME_BEAT: Duration = Duration::from_secs(1);
/// So many pauses are remembered: one that somebody's own question cuts short hides no other.
const PAUSES: usize = 3;
/// Of a selector's text, in bytes.
const SELECTOR_MAX: usize = 200;

/// Somebody who asks now.
#[derive(Clone, Copy)]
pub(super) struct Who<'q> {
    id: u64,
    namespace: &'q Namespace,
    question: &'q Question<'q>,
    alone: bool,
}

/// Those who asked for one reading.
#[derive(Debug, Default)]
pub(super) struct Askers {
    listed: Vec<Asker>,
    /// When somebody asked for whom there was no room.
    others: Option<Instant>,
}

#[derive(Debug)]
struct Asker {
    id: u64,
    namespace: Namespace,
    metric: MetricName,
    selector: Box<str>,
    policies: Policies,
    alone: bool,
    last: Instant,
    /// Newest first.
    intervals: [Option<Duration>; PAUSES],
}

/// One who asks, for those who want to look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AskerState {
    /// In which namespace.
    pub namespace: Namespace,
    /// For which metric.
    pub metric: MetricName,
    /// With which selector, cut after 200 bytes.
    pub selector: String,
    /// The policies that the selector brings.
    pub policies: Policies,
    /// Whether this reading is all that is asked for, so that a fallback may be told.
    pub alone: bool,
    /// How long ago.
    pub last_asked: Duration,
    /// The pause before that, if it asked before.
    pub interval: Option<Duration>,
}

// === impl Who ===

impl<'q> Who<'q> {
    pub(super) fn new(namespace: &'q Namespace, question: &'q Question<'q>) -> Self {
        // Two who are taken for one would be two who may read the same.
        let id = FixedState::default().hash_one((namespace, question.metric, question.selector));
        Self { id, namespace, question, alone: true }
    }

    /// Somebody who asks for so many items.
    pub(super) fn among(self, items: usize) -> Self {
        Self { alone: items == 1, ..self }
    }
}

// === impl Askers ===

impl Askers {
    /// Takes note of a question. How long ago this one asked before, unless that was the same
    /// beat: several HPAs of one controller may have the same question.
    pub(super) fn record(&mut self, who: &Who<'_>, now: Instant) -> Option<Duration> {
        if let Some(known) = self.listed.iter_mut().find(|asker| asker.id == who.id) {
            known.alone = who.alone;
            let interval = now.saturating_duration_since(std::mem::replace(&mut known.last, now));
            if interval < SAME_BEAT {
                return None;
            }
            known.intervals.rotate_right(1);
            known.intervals[0] = Some(interval);
            return Some(interval);
        }
        if self.listed.len() >= ASKERS_MAX {
            self.listed.retain(|asker| now - asker.last < SILENCE);
        }
        if self.listed.len() >= ASKERS_MAX {
            self.others = Some(now);
            return None;
        }
        let mut selector = who.question.selector.to_string();
        selector.truncate(selector.floor_char_boundary(SELECTOR_MAX));
        self.listed.push(Asker {
            id: who.id,
            namespace: who.namespace.clone(),
            metric: who.question.metric,
            selector: selector.into(),
            policies: who.question.policies,
            alone: who.alone,
            last: now,
            intervals: [None; PAUSES],
        });
        None
    }

    /// The longest of the last pauses between two questions of this one; `None` before there were
    /// enough of them.
    pub(super) fn longest_pause(&self, who: &Who<'_>) -> Option<Duration> {
        let known = self.listed.iter().find(|asker| asker.id == who.id)?;
        let [a, b, c] = known.intervals;
        Some(a?.max(b?).max(c?))
    }

    /// Those who are listed, the last to ask first.
    pub(super) fn states(&self, now: Instant) -> Vec<AskerState> {
        let state = |asker: &Asker| AskerState {
            namespace: asker.namespace.clone(),
            metric: asker.metric,
            selector: asker.selector.to_string(),
            policies: asker.policies,
            alone: asker.alone,
            last_asked: now.saturating_duration_since(asker.last),
            interval: asker.intervals[0],
        };
        let mut states: Vec<AskerState> = self.listed.iter().map(state).collect();
        states.sort_by_key(|state| state.last_asked);
        states
    }

    /// Whether there were more lately than are listed.
    pub(super) fn there_are_others(&self, now: Instant) -> bool {
        self.others.is_some_and(|at| now - at < SILENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::Selector;

    #[test]
    fn the_list_is_bounded_and_says_when_it_is_not_all() {
        let (mut askers, start) = (Askers::default(), Instant::now());
        let namespace = Namespace::new("shop");
        let ask = |askers: &mut Askers, queue: usize, at: Instant| {
            let selector = Selector::parse(&format!("queue=q{queue}")).unwrap();
            let question = Question::parse("oci_queue_length", &selector).unwrap();
            askers.record(&Who::new(&namespace, &question), at);
        };
        for queue in (0..ASKERS_MAX).chain(0..ASKERS_MAX) {
            ask(&mut askers, queue, start);
        }
        assert_eq!((askers.states(start).len(), askers.there_are_others(start)), (ASKERS_MAX, false));
        ask(&mut askers, 99, start);
        assert_eq!((askers.states(start).len(), askers.there_are_others(start)), (ASKERS_MAX, true));
        // One goes on asking, the others leave.
        let later = start + SILENCE;
        ask(&mut askers, 3, later - Duration::from_secs(1));
        ask(&mut askers, 99, later);
        let listed: Vec<String> = askers.states(later).into_iter().map(|asker| asker.selector).collect();
        assert_eq!(listed, ["queue=q99", "queue=q3"]);
        assert!(!askers.there_are_others(later));
    }

    #[test]
    fn the_interval_of_one_who_asks_is_that_of_his_beats() {
        let (mut askers, start) = (Askers::default(), Instant::now());
        let selector = Selector::parse("queue=orders").unwrap();
        let question = Question::parse("oci_queue_length", &selector).unwrap();
        let namespace = Namespace::new("shop");
        let mut ask = |at: u64| askers.record(&Who::new(&namespace, &question), start + Duration::from_millis(at));
        // The first has none before it, and a second HPA with the same question asks beside it.
        for (at, interval) in [(0, None), (15_000, Some(15_000)), (15_300, None), (30_000, Some(14_700))] {
            assert_eq!(ask(at), interval.map(Duration::from_millis), "{at}");
        }
        let now = start + Duration::from_secs(31);
        assert_eq!(askers.states(now)[0].interval, Some(Duration::from_millis(14_700)));
        // Somebody else's question in between hides no pause.
        let who = Who::new(&namespace, &question);
        assert_eq!(askers.longest_pause(&who), None, "two say little");
        askers.record(&who, start + Duration::from_secs(32));
        assert_eq!(askers.longest_pause(&who), Some(Duration::from_secs(15)));
    }

    #[test]
    fn a_long_selector_is_cut() {
        let mut askers = Askers::default();
        let names = ["a", "b", "c", "d"].map(|name| name.repeat(63)).join(",");
        let selector = Selector::parse(&format!("queue in ({names})")).unwrap();
        let question = Question::parse("oci_queue_length", &selector).unwrap();
        askers.record(&Who::new(&Namespace::new("shop"), &question), Instant::now());
        assert_eq!(askers.states(Instant::now())[0].selector.len(), SELECTOR_MAX);
    }
}
