//! Which sources there are: what the config binds, and what is listed. Both may change at any
//! time; each change makes new [`Entries`], and starts and stops the reads that it has to.

use std::collections::HashSet;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::cache::Cell;
use super::cells::{Cells, Common};
use super::entries::{Bound, Collection, Entries};
use super::entry::{Entry, Rules};
use super::roll::Roll;
use super::{Binding, Timing};
use crate::metric::Clock;
use crate::source::{Identified, Kind, Opened, Source};

/// The sources of a catalog.
pub(super) struct Roster {
    now: ArcSwap<Entries>,
    /// One change at a time.
    inputs: Mutex<Inputs>,
    pub(super) common: Common,
    call: mpsc::UnboundedSender<Arc<Roll>>,
}

/// What the config says; the definitions are in the same order.
#[derive(Default)]
struct Inputs {
    bound: Vec<Bound>,
    bound_definitions: Vec<Definition>,
    collections: Vec<Collection>,
    collection_definitions: Vec<Definition>,
}

/// While this stays the same, so do a source and what is known of it.
#[derive(Eq, PartialEq)]
struct Definition {
    kind: &'static str,
    name: String,
    timing: Timing,
    text: String,
}

// === impl Roster ===

impl Roster {
    pub(super) fn new(
        clock: Clock,
        activate: mpsc::UnboundedSender<Arc<Cell>>,
        call: mpsc::UnboundedSender<Arc<Roll>>,
    ) -> Arc<Self> {
        let (now, inputs) = (ArcSwap::default(), Mutex::default());
        Arc::new(Self { now, inputs, common: Common::new(clock, activate), call })
    }

    /// The sources of now.
    pub(super) fn now(&self) -> Arc<Entries> {
        self.now.load_full()
    }

    /// Takes these bindings for all that the config says, and from those of before what is the
    /// same.
    pub(super) fn replace(self: &Arc<Self>, bindings: Vec<Binding>) {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = mem::take(&mut *inputs);
        let now = self.now();
        let known = Arc::new(now.known());
        for Binding { name, kind, namespaces, timing, export, policies, definition, source } in bindings {
            let rules = Rules { namespaces, export, policies };
            let definition = Definition { kind: kind.name(), name: name.clone(), timing, text: definition };
            match source {
                Opened::One(Identified { identity, source }) => {
                    let cells = before.cells(&definition).unwrap_or_else(|| {
                        let cells = self.cells(kind, &name, &identity, timing, source);
                        cells.inherit(&known);
                        cells
                    });
                    let entry = Entry::new(name, kind, rules, cells);
                    inputs.bound.push(Bound { identity, entry });
                    inputs.bound_definitions.push(definition);
                }
                Opened::Many(listing) => {
                    let kept = before.roll(&definition).inspect(|roll| roll.inherit(&known));
                    let roll = kept.unwrap_or_else(|| {
                        let (clock, call) = (self.common.clock, self.call.clone());
                        let roll = Roll::new(kind, &name, listing, timing, clock, Arc::downgrade(self), call);
                        roll.succeed(self, now.collections.iter().map(|collection| &*collection.roll), &known);
                        roll
                    });
                    inputs.collections.push(Collection { kind, rules, roll });
                    inputs.collection_definitions.push(definition);
                }
            }
        }
        self.publish(&inputs);
    }

    /// A list has changed.
    pub(super) fn relisted(&self) {
        self.publish(&self.inputs.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// New cells, for a source of which nothing is known.
    pub(super) fn cells(
        &self,
        kind: &'static dyn Kind,
        name: &str,
        identity: &str,
        timing: Timing,
        source: Box<dyn Source>,
    ) -> Arc<Cells> {
        Arc::new(Cells::new(kind, name, identity, timing, source, self.common.clone()))
    }

    fn publish(&self, inputs: &Inputs) {
        let now = Arc::new(Entries::compose(&inputs.bound, &inputs.collections));
        let before = self.now.swap(now.clone());
        let cells: HashSet<_> = now.sources.iter().map(|entry| Arc::as_ptr(&entry.cells)).collect();
        for gone in before.sources.iter().filter(|entry| !cells.contains(&Arc::as_ptr(&entry.cells))) {
            gone.cells.rest();
        }
        let rolls: HashSet<_> = now.collections.iter().map(|collection| Arc::as_ptr(&collection.roll)).collect();
        for gone in before.collections.iter().filter(|collection| !rolls.contains(&Arc::as_ptr(&collection.roll))) {
            gone.roll.rest();
        }
        // After those that go: cells may be in both.
        for entry in &now.sources {
            entry.cells.stand(entry.rules.export);
        }
        for collection in &now.collections {
            collection.roll.stand(collection.rules.export);
        }
        log_news(&before, &now);
    }
}

// === impl Inputs ===

impl Inputs {
    /// What there was of this definition, once.
    fn cells(&mut self, definition: &Definition) -> Option<Arc<Cells>> {
        let at = self.bound_definitions.iter().position(|known| known == definition)?;
        self.bound_definitions.swap_remove(at);
        Some(self.bound.swap_remove(at).entry.cells)
    }

    fn roll(&mut self, definition: &Definition) -> Option<Arc<Roll>> {
        let at = self.collection_definitions.iter().position(|known| known == definition)?;
        self.collection_definitions.swap_remove(at);
        Some(self.collections.swap_remove(at).roll)
    }
}

/// What is listed and cannot be had is said once, with what only the log may name.
fn log_news(before: &Entries, now: &Entries) {
    for twins in &now.twins {
        let known =
            before.twins.iter().any(|known| (&known.name, &known.identities) == (&twins.name, &twins.identities));
        if !known {
            tracing::warn!(name = twins.name, identities = ?twins.identities, "{}", twins.sentence);
        }
    }
    for news in now.unreachable.iter().filter(|news| !before.unreachable.contains(news)) {
        tracing::warn!(name = news.name, identity = news.identity, "listed, but cannot be asked for: {}", news.reason);
    }
}
