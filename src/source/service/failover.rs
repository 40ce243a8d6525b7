//! Which of several equal URLs is used: the first that answers. Pure.
//!
//! While a later one is used, the earlier ones are probed with the requests of reads. Requests return to
//! an earlier one only after it has been well for a while, because a service that has just started may
//! lack data.

use std::time::Duration;

use tokio::time::Instant;

/// How long a URL must have been well before requests return to it.
const WELL_FOR: Duration = Duration::from_secs(300);
/// The shortest interval between two probes of a URL: ten of them while it must be well.
const PROBE_EVERY: Duration = Duration::from_secs(30);

/// The state of the URLs.
#[derive(Debug)]
pub(super) struct Failover {
    current: usize,
    /// Of each URL: since when all probes were answered, and when the last one was.
    well: Vec<Option<(Instant, Instant)>>,
    /// When each URL answered last.
    answered: Vec<Option<Instant>>,
    probed: Option<Instant>,
}

// === impl Failover ===

impl Failover {
    /// So many URLs, at least one, of which the first is used.
    pub(super) fn new(urls: usize) -> Self {
        Self { current: 0, well: vec![None; urls], answered: vec![None; urls], probed: None }
    }

    /// The URL that is used now.
    pub(super) fn current(&mut self) -> usize {
        let is_well = |(since, last): (Instant, Instant)| last - since >= WELL_FOR;
        let well = self.well[..self.current].iter().position(|well| well.is_some_and(is_well));
        if let Some(well) = well {
            self.use_instead(well);
        }
        self.current
    }

    /// The URLs in the order in which a read tries them.
    pub(super) fn order(&mut self) -> Vec<usize> {
        let current = self.current();
        std::iter::once(current).chain((0..self.well.len()).filter(|index| *index != current)).collect()
    }

    /// Records whether a URL answered a request of a read that tried `first` first, and when it
    /// did. That one's late answer changes nothing: another read may have found since that it does not
    /// answer.
    pub(super) fn record(&mut self, index: usize, first: usize, answers: bool, now: Instant) {
        if answers {
            self.answered[index] = Some(now);
            if index != first && index != self.current {
                self.use_instead(index);
            }
        } else {
            self.well[index] = None;
            if index == self.current {
                // A read that has no time left for another URL leaves it to the next read.
                self.current = (index + 1) % self.well.len();
            }
        }
    }

    /// Whether another request to a URL was answered after this one began, which has failed. Then it is the
    /// request that fails, and not the URL.
    pub(super) fn has_answered(&self, index: usize, began: Instant) -> bool {
        self.answered[index].is_some_and(|answered| answered > began)
    }

    /// Records whether a URL answered a probe.
    pub(super) fn record_probe(&mut self, index: usize, answers: bool, now: Instant) {
        let since = self.well[index].map_or(now, |(since, _)| since);
        self.well[index] = answers.then_some((since, now));
    }

    /// The URLs to probe now.
    pub(super) fn probes(&mut self, now: Instant) -> std::ops::Range<usize> {
        if self.current == 0 || self.probed.is_some_and(|last| now < last + PROBE_EVERY) {
            return 0..0;
        }
        self.probed = Some(now);
        0..self.current
    }

    fn use_instead(&mut self, index: usize) {
        (self.current, self.probed) = (index, None);
        self.well.fill(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64, start: Instant) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_that_answers_is_used() {
        let now = Instant::now();
        let mut failover = Failover::new(3);
        assert_eq!(failover.order(), [0, 1, 2]);
        failover.record(0, 0, false, now);
        failover.record(1, 0, false, now);
        failover.record(2, 0, true, now);
        assert_eq!(failover.order(), [2, 0, 1]);
        failover.record(2, 2, false, now);
        failover.record(0, 2, true, now);
        assert_eq!(failover.order(), [0, 1, 2]);
    }

    #[test]
    fn a_late_answer_does_not_undo_a_failover() {
        let now = Instant::now();
        let mut failover = Failover::new(2);
        // Two reads at the same time: one times out and goes on, the other is answered at the last moment.
        failover.record(0, 0, false, now);
        failover.record(1, 0, true, now);
        failover.record(0, 0, true, now);
        assert_eq!(failover.order(), [1, 0]);
    }

    #[test]
    fn a_url_that_answers_others_has_not_failed() {
        let start = Instant::now();
        let mut failover = Failover::new(2);
        assert!(!failover.has_answered(0, start));
        failover.record(0, 0, true, after(2, start));
        assert_eq!([start, after(2, start)].map(|began| failover.has_answered(0, began)), [true, false]);
        assert!(!failover.has_answered(1, start));
    }

    #[test]
    fn one_that_hangs_is_not_the_first_of_the_next_read() {
        let now = Instant::now();
        let mut failover = Failover::new(2);
        failover.record(0, 0, false, now);
        assert_eq!(failover.order(), [1, 0]);
        failover.record(1, 1, false, now);
        assert_eq!(failover.order(), [0, 1]);
        let mut alone = Failover::new(1);
        alone.record(0, 0, false, now);
        assert_eq!((alone.order(), alone.probes(now)), (vec![0], 0..0));
    }

    /// Reads every 10 s of a service whose first URL is healthy at these seconds. Returns when it is
    /// used again.
    fn returns(well: impl Fn(u64) -> bool, reads: impl Fn(u64) -> bool) -> Option<u64> {
        let start = Instant::now();
        let now = start;
        let mut failover = Failover::new(2);
        failover.record(0, 0, false, now);
        failover.record(1, 0, true, now);
        (0..2000).step_by(10).filter(|second| reads(*second)).find(|second| {
            let now = after(*second, start);
            if failover.current() == 0 {
                return true;
            }
            failover.record(1, 1, true, now);
            for index in failover.probes(now) {
                failover.record_probe(index, well(*second), now);
            }
            false
        })
    }

    #[test]
    fn requests_return_after_five_minutes_of_health() {
        assert_eq!(returns(|_| true, |_| true), Some(310));
        assert_eq!(returns(|_| false, |_| true), None);
        // A probe that fails begins the five minutes again.
        assert_eq!(returns(|second| second != 120, |_| true), Some(460));
    }

    #[test]
    fn rare_reads_return_too() {
        assert_eq!(returns(|_| true, |second| second % 400 == 0), Some(800));
    }

    #[test]
    fn probes_have_an_interval() {
        let start = Instant::now();
        let now = start;
        let mut failover = Failover::new(3);
        failover.record(0, 0, false, now);
        failover.record(1, 0, false, now);
        failover.record(2, 0, true, now);
        assert_eq!(failover.probes(start), 0..2);
        assert_eq!(failover.probes(after(29, start)), 0..0);
        assert_eq!(failover.probes(after(30, start)), 0..2);
    }
}
