//! A reading: the values of a source, or of a part of it, kept fresh while requested, and what is
//! served of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::activation::Activations;
use super::chosen::Answered;
use super::consumers::{Consumer, Consumers};
use super::history::History;
use super::limits::PARTS_MAX;
use super::meters::Meters;
use super::outage::Outage;
use super::polled::{Admission, Good, Need, PendingRead, Poll, Polled, State, Tasks};
use super::query::Query;
use super::rules::{Applied, ValueRules};
use super::schedule::{Pace, Requester};
use super::shares::Shares;
use super::{LookupError, Timing, chosen};
use crate::metric::quantity::Quantity;
use crate::metric::{Clock, Labels, MetricName, Namespace};
use crate::source::part::Part;
use crate::source::{ErrorKind, Item, Items, Kind, MarkedDown, Operation, Source, SourceError};

/// What a source may take to notice that its deadline has passed.
const OVERTIME: Duration = Duration::from_millis(250);

/// The values of a source or a part of it.
pub(super) type Reading = Polled<SourceRead>;

/// What all readings of a catalog share.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) meters: Meters,
}

/// How a source is read.
pub(super) struct SourceRead {
    /// As it appears in an error message: `queue "orders"`.
    pub(super) title: String,
    pub(super) kind: &'static Kind,
    pub(super) source: Arc<dyn Source>,
    pub(super) part: Part,
    pub(super) meters: Meters,
    /// What was read for another source more than `refresh` ago is too old.
    pub(super) timing: Timing,
    /// The share of a part in the limit of parts. It is released with the reading.
    pub(super) _held: Option<HeldPart>,
}

/// The parts of all sources that exist now.
pub(super) type Parts = Mutex<Shares<PartId, Weak<Reading>>>;

/// One of them, sorted by source.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct PartId {
    /// The number of its source.
    pub(super) source: u64,
    pub(super) part: Part,
}

/// A part that counts, until this is dropped.
pub(super) struct HeldPart {
    pub(super) id: PartId,
    pub(super) parts: Arc<Parts>,
}

/// What is kept in addition to the values.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) consumers: Consumers,
    pub(super) activations: Activations,
    pub(super) history: History,
}

/// The state of a reading in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Condition {
    /// Not in use, and so not read.
    Idle,
    /// Waiting for its first read.
    Waiting,
    /// The last read was good.
    Well,
    /// Reads fail since then.
    Failing(Timestamp),
}

/// What a request needs from a reading.
pub(super) struct AnswerOptions<'q> {
    pub(super) namespace: &'q Namespace,
    /// Only items whose label of this name is the namespace may be served.
    pub(super) namespace_label: Option<&'q str>,
    pub(super) query: &'q Query<'q>,
    /// The rules that apply to this request.
    pub(super) value_rules: ValueRules,
    /// Whether this reading is all of the answer.
    pub(super) alone: bool,
    /// Whether a fallback is served only after the source has failed for longer than `maxAge`, also
    /// where no earlier value is known.
    pub(super) patient: bool,
}

/// What is served.
pub(super) struct Answer {
    /// With their own labels, besides those of the source.
    pub(super) items: Vec<Answered>,
    /// When the source was read; for a fallback, now.
    pub(super) timestamp: Timestamp,
    /// The label keys of all items that the namespace may read, if none is selected.
    pub(super) keys: BTreeSet<String>,
    /// The label by which the namespace may read no item.
    pub(super) hidden_by: Option<Box<str>>,
}

// === impl SourceRead ===

impl Poll for SourceRead {
    type Value = Arc<Items>;
    type Notes = Notes;
    type Permit = Box<dyn Send>;

    fn title(&self) -> &str {
        &self.title
    }

    fn owners(&self, notes: &Notes, now: Instant) -> Vec<Namespace> {
        notes.consumers.owners(now, self.timing.idle_after)
    }

    async fn admit(&self, owners: &[Namespace], urgent: bool) -> Admission<Self::Permit> {
        let began = Instant::now();
        self.source.wait_turn(&self.part, before(self.timing.refresh), self.timing.timeout).await;
        let shared = began.elapsed();
        let admitted = self.source.admit(owners, urgent).await;
        Admission { waited: shared + admitted.waited, permit: Box::new(admitted.permit) }
    }

    fn is_saturated(&self, owners: &[Namespace]) -> bool {
        self.source.is_saturated(owners)
    }

    async fn read(&self, by: Instant) -> Result<Arc<Items>, SourceError> {
        let began = Instant::now();
        let result = read_source(&*self.source, &self.part, self.timing.refresh, by).await;
        self.meters.read_took(self.kind, result.as_ref().err(), began.elapsed());
        result.map(Arc::new)
    }

    fn began(items: &Arc<Items>) -> Option<Instant> {
        items.began()
    }

    fn oldest(items: &Arc<Items>) -> Option<Instant> {
        items.oldest()
    }

    fn note(&self, notes: &mut Notes, figures: &Arc<Items>, began: Instant) {
        notes.activations.pass(figures);
        if let Some(value) = self.history_of(figures) {
            notes.history.record(value, began);
        }
    }

    fn rest(notes: &mut Notes) {
        notes.activations.clear();
        notes.consumers.disown();
    }

    fn inherit(notes: &mut Notes, before: &Notes) {
        notes.activations.clone_from(&before.activations);
        notes.history.clone_from(&before.history);
    }
}

impl SourceRead {
    /// The value that a history is kept of: the first of the kind's depths, or the only item of a metric
    /// whose name the config chooses.
    fn history_of(&self, items: &Items) -> Option<Quantity> {
        match self.kind.depths.first() {
            Some(metric) => items.value(metric),
            None => items.only()?.first(),
        }
    }

    /// Whether its endpoint is marked down, so that only probes are sent.
    pub(super) fn marked_down(&self) -> Option<MarkedDown> {
        self.source.marked_down()
    }
}

// === impl HeldPart ===

impl Drop for HeldPart {
    fn drop(&mut self) {
        // A new reading may have taken its place already.
        self.parts.lock().remove_if(&self.id, |reading| reading.strong_count() == 0);
    }
}

// === impl Reading ===

impl Reading {
    pub(super) fn of(read: SourceRead, timing: Timing, context: &Context) -> Arc<Self> {
        let Timing { refresh, timeout, max_age, idle_after } = timing;
        let pace = Pace { refresh, every: refresh, timeout, max_age, idle_after };
        Self::new(read, pace, context.clock, context.tasks.clone())
    }

    /// Records a request, as [`Polled::request`]. Without a `consumer` it is one of this process.
    pub(super) fn request_by(
        self: &Arc<Self>,
        namespace: &Namespace,
        consumer: Option<&Consumer<'_>>,
        now: Instant,
    ) -> Option<PendingRead> {
        let by = consumer.map_or(Requester::Continuing, |consumer| Requester::Consumer(consumer.id));
        self.request(by, Need::Fresh, now, |notes| {
            notes.consumers.own(namespace, now);
            if let Some(interval) = consumer.and_then(|consumer| notes.consumers.record(consumer, now)) {
                self.poll.meters.requested_after(interval);
            }
        })
    }

    /// The current value, or the error message that explains why there is none.
    pub(super) fn answer(&self, options: &AnswerOptions<'_>, now: Instant) -> Result<Answer, LookupError> {
        let state = self.state();
        let is_fresh = |good: &&Good<Arc<Items>>| good.may_be_served(self.pace.max_age, now);
        if let Some(good) = state.good.as_ref().filter(is_fresh).cloned() {
            // Where labels name sources, an activation stays until a true 0; see [`super::chosen`] for the
            // other. Without one, items are picked when the lock is released.
            let threshold = options.value_rules.activation.filter(|_| options.query.kind.is_some());
            return self.pick(&good, threshold.map(|threshold| (threshold, state)), options, now);
        }
        match &state.outage {
            Some(outage) => match options.value_rules.fallback {
                Some(value) if options.alone && outage.kind().allows_fallback() && self.lasts(outage, options) => {
                    let item =
                        Answered { labels: Labels::default(), value: Ok(value), applied: Some(Applied::Fallback) };
                    Ok(Answer { items: vec![item], timestamp: (self.clock)(), keys: BTreeSet::new(), hidden_by: None })
                }
                _ => Err(outage.error()),
            },
            None if state.evicted => Err(self.crowded()),
            // A read that has not ended is no outage: the first answer must not be a fallback.
            None => Err(self.overdue(state.good.is_some())),
        }
    }

    /// What a query picks of a good read.
    fn pick(
        &self,
        good: &Good<Arc<Items>>,
        mut activation: Option<(Quantity, MutexGuard<'_, State<SourceRead>>)>,
        options: &AnswerOptions<'_>,
        now: Instant,
    ) -> Result<Answer, LookupError> {
        let &AnswerOptions { query, namespace, namespace_label, .. } = options;
        let visible = namespace_label.map(|label| self.visible(&good.value, label, namespace)).transpose()?;
        let served = |item: &Item| {
            let labels = item.labels.clone();
            let value = match item.value(&query.metric) {
                Some(Ok(value)) => *value,
                Some(Err(cause)) => {
                    let value = Err(match query.kind {
                        // Its item has no labels by which the message could name it.
                        Some(_) => format!("{} of {} is unknown: {cause}", query.metric, self.poll.title).into(),
                        None => chosen::unknown(query, &labels, cause),
                    });
                    return Ok(Answered { labels, value, applied: None });
                }
                None => return Err(self.lacks(&query.metric)),
            };
            let substitute = item.substitute().map(Applied::Substitute);
            let holds = activation.as_mut().is_some_and(|(threshold, state)| {
                let key = (query.metric.clone(), *threshold);
                state.notes.activations.holds(namespace, key, value, now, self.pace.idle_after)
            });
            let (value, applied) =
                if holds { (Quantity::ZERO, Some(Applied::Activation)) } else { (value, substitute) };
            Ok(Answered { labels, value: Ok(value), applied })
        };
        let items = query.pick(&good.value, visible).into_iter().map(served).collect::<Result<Vec<_>, _>>()?;
        if items.is_empty() && query.kind.is_some() {
            return Err(self.lacks(&query.metric));
        }
        // Only an answer without items names them.
        let keys = match (items.is_empty(), namespace_label) {
            (false, _) => BTreeSet::new(),
            (true, None) => Items::keys(good.value.iter()),
            (true, Some(label)) => Items::keys(self.visible(&good.value, label, namespace)?),
        };
        let hidden_by = namespace_label.filter(|_| items.is_empty() && keys.is_empty()).map(Box::from);
        Ok(Answer { items, timestamp: good.timestamp, keys, hidden_by })
    }

    /// The items that belong to a namespace by this label.
    fn visible<'i>(&self, items: &'i Items, label: &str, namespace: &Namespace) -> Result<Vec<&'i Item>, LookupError> {
        if let Some(reason) = items.left_out(namespace.as_str()) {
            return Err(self.unavailable(reason));
        }
        let mut visible = items.with(label, [namespace.as_str()]).unwrap_or_else(|| items.iter().collect());
        visible.retain(|item| item.labels.value(label) == Some(namespace.as_str()));
        Ok(visible)
    }

    /// Whether it is in use, and whether reads fail.
    pub(super) fn condition(&self) -> Condition {
        let state = self.state();
        match (&state.outage, &state.good) {
            _ if !state.active => Condition::Idle,
            (Some(outage), _) if outage.kind() != ErrorKind::NoSuchPart => Condition::Failing(outage.since()),
            (None, None) => Condition::Waiting,
            (Some(_), _) | (None, Some(_)) => Condition::Well,
        }
    }

    /// Whether every request is served an error. Then reads fail, and there is neither a value that is young enough nor
    /// a consumer with a fallback of its own.
    pub(super) fn serves_nothing(&self) -> bool {
        let (state, now) = (self.state(), Instant::now());
        let is_old = |good: &Good<Arc<Items>>| !good.may_be_served(self.pace.max_age, now);
        state.outage.is_some() && state.good.as_ref().is_none_or(is_old) && !state.notes.consumers.bring_fallback()
    }

    pub(super) fn longest_pause(&self, consumer: &Consumer<'_>) -> Option<Duration> {
        self.state().notes.consumers.longest_pause(consumer)
    }

    fn lasts(&self, outage: &Outage, options: &AnswerOptions<'_>) -> bool {
        !options.patient
            || (self.clock)().duration_since(outage.since()) > self.pace.max_age.try_into().unwrap_or_default()
    }

    /// The request has waited for as long as it may. `was_read`: there is a value, which is too old.
    fn overdue(&self, was_read: bool) -> LookupError {
        self.unavailable(match was_read {
            false => "is not read yet. If this stays, the log of depthgauge says why.",
            true => {
                "has a value that is older than `maxAge`, and the next read has not ended. If this stays, the log of depthgauge says why."
            }
        })
    }

    fn lacks(&self, metric: &MetricName) -> LookupError {
        self.unavailable(&format!("has no {metric}"))
    }

    fn crowded(&self) -> LookupError {
        let labels = self.poll.kind.parts.join(" and ");
        self.unavailable(&format!(
            "was evicted for newer requests: the maximum is {PARTS_MAX} combinations of {labels}, shared by all namespaces"
        ))
    }

    fn unavailable(&self, what: &str) -> LookupError {
        LookupError::Unavailable(format!("{} {what}", self.poll.title).into())
    }
}

/// The time this long before now.
pub(super) fn before(time: Duration) -> Instant {
    let now = Instant::now();
    // The clock may have started later.
    now.checked_sub(time).unwrap_or(now)
}

/// One read of a source, which ends soon after the deadline at the latest.
pub(super) async fn read_source(
    source: &dyn Source,
    part: &Part,
    refresh: Duration,
    by: Instant,
) -> Result<Items, SourceError> {
    let read = source.read_since(part, before(refresh), by);
    // A source keeps its deadline itself, and names the operation; this is for one that does not.
    tokio::time::timeout_at(by + OVERTIME, read).await.unwrap_or_else(|_| {
        Err(SourceError::new(
            Operation::Read,
            ErrorKind::Transient,
            "timed out",
            "Check the network path from depthgauge to the source.",
            "the read went on after its deadline",
        ))
    })
}
