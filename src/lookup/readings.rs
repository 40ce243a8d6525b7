//! The readings of one source: of the whole, and of the parts that are requested. They are kept and
//! shared as one.
//!
//! The reading of the whole always exists. One of a part is made by the first request, and lives
//! while something holds it, which its loop does while it is in use. So an unused part is dropped by
//! itself, and returns its capacity.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{PARTS_MAX, PARTS_PER_SOURCE};
use super::polled::Good;
use super::reading::{Context, Reading, SourceRead};
use super::{LookupError, Timing, title};
use crate::source::facet::Facet;
use crate::source::{Figures, Kind, Source};

/// How much of an identity is shown, in characters: enough to tell two queues apart.
const TAIL: usize = 6;

/// A source, and all that is known of it.
pub(super) struct Readings {
    /// As it appears in an error message: `queue "orders"`.
    title: String,
    /// What is read, under any name: an OCID.
    pub(super) identity: Box<str>,
    kind: &'static Kind,
    pub(super) timing: Timing,
    source: Arc<dyn Source>,
    whole: Arc<Reading>,
    /// Those in use, and perhaps some that were dropped lately.
    parts: Mutex<BTreeMap<Facet, Weak<Reading>>>,
    context: Context,
    /// A permit for each part of any source.
    capacity: Arc<Semaphore>,
}

/// What is known of sources, by identity. A source with several names is there more than once.
pub(super) type Known = HashMap<Box<str>, Vec<Arc<Readings>>>;

/// What makes readings.
#[derive(Clone)]
pub(super) struct ReadingsMaker {
    pub(super) context: Context,
    pub(super) capacity: Arc<Semaphore>,
}

// === impl ReadingsMaker ===

impl ReadingsMaker {
    pub(super) fn new(context: Context) -> Self {
        Self { context, capacity: Arc::new(Semaphore::new(PARTS_MAX)) }
    }

    /// The readings of a source of which nothing is known.
    pub(super) fn make(
        &self,
        kind: &'static Kind,
        name: &str,
        identity: &str,
        timing: Timing,
        source: Box<dyn Source>,
    ) -> Arc<Readings> {
        let Self { context, capacity } = self.clone();
        let (title, source): (_, Arc<dyn Source>) = (title(kind, name), source.into());
        let read = SourceRead {
            title: title.clone(),
            kind,
            source: source.clone(),
            facet: Facet::WHOLE,
            meters: context.meters.clone(),
            _capacity: None,
        };
        let whole = Reading::of(read, timing, &context);
        let (identity, parts) = (identity.into(), Mutex::default());
        Arc::new(Readings { title, identity, kind, timing, source, whole, parts, context, capacity })
    }
}

// === impl Readings ===

impl Readings {
    /// The reading of a part, or of the whole.
    ///
    /// Without capacity the answer is a 503: the request is as good as any other, and works when
    /// other parts are dropped. It is never a 429, see [`crate::refusal`].
    pub(super) fn reading(&self, facet: &Facet) -> Result<Arc<Reading>, LookupError> {
        if facet.is_whole() {
            return Ok(self.whole.clone());
        }
        let mut parts = self.parts.lock();
        if let Some(reading) = parts.get(facet).and_then(Weak::upgrade) {
            return Ok(reading);
        }
        parts.retain(|_, reading| reading.strong_count() > 0);
        if parts.len() >= PARTS_PER_SOURCE {
            return Err(self.no_capacity(&format!("{PARTS_PER_SOURCE} of this {}", self.kind.label)));
        }
        let capacity = self.capacity.clone().try_acquire_owned();
        let capacity = capacity.map_err(|_| self.no_capacity(&format!("{PARTS_MAX} of all")))?;
        let reading = Reading::of(self.part(facet, capacity), self.timing, &self.context);
        parts.insert(facet.clone(), Arc::downgrade(&reading));
        Ok(reading)
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
        if self.kind.name == before.kind.name && !std::ptr::eq(self, before) {
            self.whole.inherit(&before.whole);
        }
    }

    /// The end of the identity: all that is shown of an OCID.
    pub(super) fn tail(&self) -> &str {
        tail(&self.identity)
    }

    /// A part by what it is, under any name; see [`Source::meant`].
    pub(super) fn meant(&self, facet: &Facet) -> Facet {
        self.source.meant(facet)
    }

    /// All readings that exist now, the whole first.
    pub(super) fn all(&self) -> Vec<Arc<Reading>> {
        let parts = self.parts.lock();
        std::iter::once(self.whole.clone()).chain(parts.values().filter_map(Weak::upgrade)).collect()
    }

    /// The longest of all, as [`super::polled::Polled::throttled`].
    pub(super) fn throttled(&self) -> Duration {
        self.all().iter().map(|reading| reading.throttled()).max().unwrap_or_default()
    }

    /// The last good read of the whole while reads do not fail. No gauge is of a part.
    pub(super) fn well(&self) -> Option<Good<Arc<Figures>>> {
        self.whole.well()
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

    fn part(&self, facet: &Facet, capacity: OwnedSemaphorePermit) -> SourceRead {
        SourceRead {
            title: self.title_of(facet),
            kind: self.kind,
            source: self.source.clone(),
            facet: facet.clone(),
            meters: self.context.meters.clone(),
            _capacity: Some(capacity),
        }
    }

    /// `queue "orders", channel "eu-west"`
    fn title_of(&self, facet: &Facet) -> String {
        facet.iter().fold(self.title.clone(), |text, (label, value)| format!("{text}, {label} {value:?}"))
    }

    fn no_capacity(&self, limit: &str) -> LookupError {
        let (title, labels) = (&self.title, self.kind.parts.join(" and "));
        let message = format!(
            "{title}: no more combinations of {labels} can be read, there are {limit}; one leaves when nobody has asked for it for some minutes"
        );
        LookupError::Unavailable(message.into())
    }
}

/// The last characters of an identity.
pub(super) fn tail(identity: &str) -> &str {
    let start = identity.char_indices().rev().nth(TAIL - 1).map_or(0, |(at, _)| at);
    &identity[start..]
}
