//! The readings of one source: of the whole, and of the parts that are requested. They are kept and
//! shared as one.
//!
//! The reading of the whole always exists, and that of the metrics that are read apart exists since one of
//! them was requested. One of a part is made by the first request, and lives
//! while something holds it, which its loop does while it is in use. So an unused part is dropped by
//! itself, and no longer counts. There is a limit on the parts of all sources together, which the
//! namespaces share: see [`super::shares`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::limits::PARTS_MAX;
use super::polled::Good;
use super::reading::{Context, HeldPart, PartId, Parts, Reading, SourceRead};
use super::shares::Shares;
use super::{Timing, title};
use crate::metric::Namespace;
use crate::source::part::Part;
use crate::source::{Items, Kind, Source};

/// How much of an identity is shown, in characters: enough to distinguish two queues.
const TAIL: usize = 6;

/// A source, and all that is known of it.
pub(super) struct Readings {
    /// As it appears in an error message: `queue "orders"`.
    title: String,
    /// What is read, under any name: an OCID.
    pub(super) identity: Box<str>,
    kind: &'static Kind,
    pub(super) timing: Timing,
    pub(super) source: Arc<dyn Source>,
    whole: Arc<Reading>,
    /// Of the metrics that are read apart, since one of them was requested.
    apart: OnceLock<Arc<Reading>>,
    /// Its number in `parts`.
    number: u64,
    /// Those of all sources.
    parts: Arc<Parts>,
    context: Context,
}

/// Readings by identity. A source with several names has more than one.
pub(super) type Known = HashMap<Box<str>, Vec<Arc<Readings>>>;

/// Creates readings.
#[derive(Clone)]
pub(super) struct ReadingsMaker {
    pub(super) context: Context,
    pub(super) parts: Arc<Parts>,
    sources: Arc<AtomicU64>,
}

// === impl ReadingsMaker ===

impl ReadingsMaker {
    pub(super) fn new(context: Context) -> Self {
        Self { context, parts: Arc::new(Mutex::new(Shares::new(PARTS_MAX))), sources: Arc::default() }
    }

    /// New readings of a source, without a value.
    pub(super) fn make(
        &self,
        kind: &'static Kind,
        label: &str,
        name: &str,
        identity: &str,
        timing: Timing,
        source: Box<dyn Source>,
    ) -> Arc<Readings> {
        let Self { context, parts, sources } = self.clone();
        let (title, source): (_, Arc<dyn Source>) = (title(label, name), source.into());
        let read = SourceRead {
            title: title.clone(),
            kind,
            source: source.clone(),
            part: Part::WHOLE,
            meters: context.meters.clone(),
            timing,
            _held: None,
        };
        let whole = Reading::of(read, timing, &context);
        let (identity, number) = (identity.into(), sources.fetch_add(1, Ordering::Relaxed));
        let apart = OnceLock::new();
        Arc::new(Readings { title, identity, kind, timing, source, whole, apart, number, parts, context })
    }
}

// === impl Readings ===

impl Readings {
    /// The reading of a part, or of the whole, for a namespace. There always is room for a new part: at
    /// the limit it evicts another one.
    pub(super) fn reading(&self, part: &Part, namespace: &Namespace, now: Instant) -> Arc<Reading> {
        if part.is_whole() {
            return self.whole.clone();
        }
        if *part == Part::APART {
            let make = || Reading::of(self.read(part.clone(), None), self.timing, &self.context);
            return self.apart.get_or_init(make).clone();
        }
        let (id, keep) = (PartId { source: self.number, part: part.clone() }, self.timing.idle_after);
        let mut parts = self.parts.lock();
        if let Some(reading) = parts.charge(namespace, &id, now, keep).and_then(|reading| reading.upgrade()) {
            return reading;
        }
        let held = HeldPart { id: id.clone(), parts: self.parts.clone() };
        let reading = Reading::of(self.read(part.clone(), Some(held)), self.timing, &self.context);
        let evicted = parts.add(namespace, id, Arc::downgrade(&reading), now, keep);
        // The last owner of a reading locks it.
        drop(parts);
        if let Some(evicted) = evicted.and_then(|reading| reading.upgrade()) {
            evicted.evict();
        }
        reading
    }

    /// Takes over what is known of the same source as it was read before, under any name. Not of its
    /// parts: their names may mean something else now.
    pub(super) fn inherit(&self, known: &Known) {
        for before in known.get(&self.identity).into_iter().flatten() {
            self.take_over(before);
        }
    }

    /// The same from one of them.
    pub(super) fn take_over(&self, before: &Self) {
        // Items of a metric whose name the config chooses are made by its keys as well.
        let same_kind = self.kind.name == before.kind.name && !self.kind.chooses();
        if same_kind && !std::ptr::eq(self, before) {
            self.whole.inherit(&before.whole);
        }
    }

    /// The end of the identity, which distinguishes sources of one name.
    pub(super) fn tail(&self) -> &str {
        tail(&self.identity)
    }

    /// See [`Source::identifier`].
    pub(super) fn identifier(&self) -> Option<&str> {
        self.source.identifier()
    }

    /// A part by what it is, under any name; see [`Source::meant`].
    pub(super) fn meant(&self, part: &Part) -> Part {
        self.source.meant(part)
    }

    /// All readings that exist now, the whole first.
    pub(super) fn all(&self) -> Vec<Arc<Reading>> {
        let first = |source| PartId { source, part: Part::WHOLE };
        let (from, to) = (first(self.number), first(self.number + 1));
        let parts = self.parts.lock();
        let whole = std::iter::once(&self.whole).chain(self.apart.get()).cloned();
        whole.chain(parts.range(&from, &to).filter_map(Weak::upgrade)).collect()
    }

    /// The longest of all, as [`super::polled::Polled::throttled`].
    pub(super) fn throttled(&self) -> Duration {
        self.all().iter().map(|reading| reading.throttled()).max().unwrap_or_default()
    }

    /// The last good read of the whole while reads do not fail. No gauge is of a part.
    pub(super) fn well(&self) -> Option<Good<Arc<Items>>> {
        self.whole.well()
    }

    /// Whether the whole was read twice, or its reads fail.
    pub(super) fn has_rates(&self) -> bool {
        let state = self.whole.state();
        state.counts.good > 1 || state.outage.is_some()
    }

    /// Begins or ends reads of the whole without requests.
    pub(super) fn stand(&self, standing: bool) {
        self.whole.stand(standing);
    }

    /// None of them can be requested any more.
    pub(super) fn retire(&self) {
        for reading in self.all() {
            reading.retire();
        }
    }

    fn read(&self, part: Part, held: Option<HeldPart>) -> SourceRead {
        SourceRead {
            title: self.title_of(&part),
            kind: self.kind,
            source: self.source.clone(),
            part,
            meters: self.context.meters.clone(),
            timing: self.timing,
            _held: held,
        }
    }

    /// `queue "orders", channel "eu-west"`
    fn title_of(&self, part: &Part) -> String {
        part.iter().fold(self.title.clone(), |text, (label, value)| format!("{text}, {label} {value:?}"))
    }
}

/// The last characters of an identity.
pub(super) fn tail(identity: &str) -> &str {
    let start = identity.char_indices().rev().nth(TAIL - 1).map_or(0, |(at, _)| at);
    &identity[start..]
}
