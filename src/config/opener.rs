//! Opens configs, one after the other: a connection of which two of them say the same is opened once.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Config, Entry};
use crate::lookup::SourceConfig;
use crate::metric::Clock;
use crate::source::keys::Values;
use crate::source::{Connection, OpenError};

/// Opens configs.
pub struct Opener {
    clock: Clock,
    /// Of the last config that could be opened, by the name of their type.
    connections: HashMap<(&'static str, Arc<Values>), Arc<dyn Connection>>,
}

// === impl Opener ===

impl Opener {
    /// One that has opened nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, connections: HashMap::new() }
    }

    /// The time of day by which all is dated.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Opens every source: credentials are loaded, and nothing is sent yet. An error leaves things as
    /// they were. A connection that no entry names is not opened.
    pub fn open(&mut self, config: Config) -> Result<Vec<SourceConfig>, OpenError> {
        let (mut configs, mut connections) = (Vec::new(), HashMap::new());
        for Entry { kind, name, namespaces, timing, export, sums, value_rules, definition } in config.entries {
            let key = (kind.connection.name, definition.connection.clone());
            let connection: Arc<dyn Connection> = match connections.get(&key).or_else(|| self.connections.get(&key)) {
                Some(known) => Arc::clone(known),
                None => (kind.connection.connect)(&definition.connection, self.clock)?,
            };
            connections.insert(key, connection.clone());
            let source = connection.open(definition.form, &definition.entry)?;
            configs.push(SourceConfig {
                name,
                kind,
                namespaces,
                timing,
                export,
                sums,
                value_rules,
                definition,
                source,
            });
        }
        self.connections = connections;
        Ok(configs)
    }
}
