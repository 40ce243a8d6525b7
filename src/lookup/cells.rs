//! The readings that are made of one source: of the whole, and of the parts that somebody asks
//! for. They are kept and shared as one.
//!
//! The reading of the whole is always there. One of a part is made when somebody asks for it
//! and lives for as long as somebody holds it, which the reader does while it is asked for: so
//! a part that nobody wants any more leaves by itself, and gives its room back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::cache::{Cell, Reading, Subject};
use super::meters::Meters;
use super::{LookupError, Timing, title};
use crate::metric::Clock;
use crate::source::facet::Facet;
use crate::source::{Kind, Source};

/// Parts of all sources together that may be read at a time: what 200 reads a second (the
/// default of `maxRequestsPerSecond`) keep fresh every 5 s. Whoever may read a source can make up
/// names, so something has to say stop.
pub(super) const PARTS_MAX: usize = 1000;
/// Of one source: a quarter of all, so that one cannot take the room of the others, and as many
/// channels as a queue is said to have at most.
pub(super) const PARTS_PER_SOURCE: usize = 256;
/// Of what a source is, so many characters are shown: enough to tell two queues apart.
const TAIL: usize = 6;

/// What all cells of a catalog share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) clock: Clock,
    /// To the reader.
    pub(super) activate: mpsc::UnboundedSender<Arc<Cell>>,
    /// A permit for each part.
    pub(super) room: Arc<Semaphore>,
    /// What is measured of all of them.
    pub(super) meters: Meters,
}

/// A source, and all that is known of it.
pub(super) struct Cells {
    /// As it reads in a sentence: `queue "orders"`.
    title: String,
    /// What it is whatever it is called: an OCID.
    pub(super) identity: Box<str>,
    kind: &'static dyn Kind,
    timing: Timing,
    source: Arc<dyn Source>,
    whole: Arc<Cell>,
    /// Those that somebody reads, and perhaps some that left lately.
    parts: Mutex<BTreeMap<Facet, Weak<Cell>>>,
    common: Common,
}

/// What is known of sources, by what they are; of one that has several names, more than once.
pub(super) type Known = BTreeMap<Box<str>, Vec<Arc<Cells>>>;

// === impl Common ===

impl Common {
    pub(super) fn new(clock: Clock, activate: mpsc::UnboundedSender<Arc<Cell>>) -> Self {
        Self { clock, activate, room: Arc::new(Semaphore::new(PARTS_MAX)), meters: Meters::default() }
    }
}

// === impl Cells ===

impl Cells {
    pub(super) fn new(
        kind: &'static dyn Kind,
        name: &str,
        identity: &str,
        timing: Timing,
        source: Box<dyn Source>,
        common: Common,
    ) -> Self {
        let (title, source): (_, Arc<dyn Source>) = (title(kind, name), source.into());
        let subject = Subject { title: title.clone(), kind, source: source.clone(), facet: Facet::WHOLE, timing };
        let whole = Arc::new(Cell::new(subject, &common, None));
        Self { title, identity: identity.into(), kind, timing, source, whole, parts: Mutex::default(), common }
    }

    /// The reading of a part, or of the whole.
    ///
    /// No room is a 503: the question is as good as any other, and will do when others are
    /// asked no more. Nobody is told 429, see [`crate::refusal`].
    pub(super) fn cell(&self, facet: &Facet) -> Result<Arc<Cell>, LookupError> {
        if facet.is_whole() {
            return Ok(self.whole.clone());
        }
        // A panic cannot leave a map of weak references half made.
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = parts.get(facet).and_then(Weak::upgrade) {
            return Ok(cell);
        }
        parts.retain(|_, cell| cell.strong_count() > 0);
        if parts.len() >= PARTS_PER_SOURCE {
            return Err(self.no_room(&format!("{PARTS_PER_SOURCE} of this {}", self.kind.label())));
        }
        let room = self.common.room.clone().try_acquire_owned();
        let room = room.map_err(|_| self.no_room(&format!("{PARTS_MAX} of all")))?;
        let subject = Subject {
            title: self.title_of(facet),
            kind: self.kind,
            source: self.source.clone(),
            facet: facet.clone(),
            timing: self.timing,
        };
        let cell = Arc::new(Cell::new(subject, &self.common, Some(room)));
        parts.insert(facet.clone(), Arc::downgrade(&cell));
        Ok(cell)
    }

    /// Takes over what is known of the same source as it was read before, of whatever name. Not of its
    /// parts: what their names stand for may be another thing now.
    pub(super) fn inherit(&self, known: &Known) {
        for before in known.get(&self.identity).into_iter().flatten() {
            self.take_over(before);
        }
    }

    /// The same of one of them.
    pub(super) fn take_over(&self, before: &Self) {
        if self.kind.name() == before.kind.name() && !std::ptr::eq(self, before) {
            self.whole.inherit(&before.whole);
        }
    }

    /// The end of what it is: all that is shown of an OCID.
    pub(super) fn tail(&self) -> &str {
        tail(&self.identity)
    }

    /// All readings that there are now, the whole first.
    pub(super) fn all(&self) -> Vec<Arc<Cell>> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(self.whole.clone()).chain(parts.values().filter_map(Weak::upgrade)).collect()
    }

    /// The longest of all, as [`Cell::stretch`].
    pub(super) fn stretch(&self) -> Duration {
        self.all().iter().map(|cell| cell.stretch()).max().unwrap_or_default()
    }

    /// Of the whole, as [`Cell::well`]: no gauge is of a part.
    pub(super) fn well(&self) -> Option<Reading> {
        self.whole.well()
    }

    /// Begins or ends a standing order for the whole, as [`Cell::stand`].
    pub(super) fn stand(&self, standing: bool) {
        self.whole.stand(standing);
    }

    /// Nobody can ask for any of them any more, as [`Cell::rest`].
    pub(super) fn rest(&self) {
        for cell in self.all() {
            cell.rest();
        }
    }

    /// `queue "orders", channel "eu-west"`
    fn title_of(&self, facet: &Facet) -> String {
        facet.iter().fold(self.title.clone(), |text, (label, value)| format!("{text}, {label} {value:?}"))
    }

    fn no_room(&self, limit: &str) -> LookupError {
        let (title, labels) = (&self.title, self.kind.open_labels().join(" and "));
        let sentence = format!(
            "{title}: no more combinations of {labels} can be read, there are {limit}; one leaves when nobody has asked for it for some minutes"
        );
        LookupError::Unavailable(sentence.into())
    }
}

/// The last characters of an identity.
pub(super) fn tail(identity: &str) -> &str {
    let start = identity.char_indices().rev().nth(TAIL - 1).map_or(0, |(at, _)| at);
    &identity[start..]
}
