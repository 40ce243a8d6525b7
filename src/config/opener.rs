//! Puts configs to work, one after the other: what the sources of two of them share, such as a
//! client that is signed in, is opened once.

use std::collections::BTreeMap;

use super::{Config, Entry, Group};
use crate::lookup::SourceConfig;
use crate::metric::Clock;
use crate::source::{OpenError, OpenedPlan, Shared};

/// Opens configs.
pub struct Opener {
    clock: Clock,
    /// Of the last config that could be opened, by kind.
    shared: BTreeMap<&'static str, Shared>,
}

// === impl Opener ===

impl Opener {
    /// One that has opened nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, shared: BTreeMap::new() }
    }

    /// The time of day by which all is dated.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Opens every source: keys are loaded, nothing is asked over the network yet. An error
    /// leaves things as they were.
    pub fn open(&mut self, config: Config) -> Result<Vec<SourceConfig>, OpenError> {
        let (mut configs, mut shared) = (Vec::new(), BTreeMap::new());
        for Group { kind, entries, plan } in config.groups {
            let definitions = plan.definitions();
            let OpenedPlan { entries: sources, shared: mine } = plan.open(self.shared.get(kind.name()), self.clock)?;
            shared.insert(kind.name(), mine);
            for ((entry, definition), source) in entries.into_iter().zip(definitions).zip(sources) {
                let Entry { name, namespaces, timing, export, policies } = entry;
                let value_rules = policies;
                configs.push(SourceConfig { name, kind, namespaces, timing, export, value_rules, definition, source });
            }
        }
        self.shared = shared;
        Ok(configs)
    }
}
