//! Opens successive configs. A connection with the same keys in both stays open.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Config, Entry};
use crate::lookup::SourceConfig;
use crate::metric::Clock;
use crate::source::keys::Values;
use crate::source::{Connection, OpenError};

/// Opens successive configs.
pub struct Opener {
    clock: Clock,
    /// Connections of the last config that could be opened, by the name of their type and their keys.
    connections: HashMap<(&'static str, Arc<Values>), Arc<dyn Connection>>,
}

// === impl Opener ===

impl Opener {
    /// An opener without open connections.
    pub fn new(clock: Clock) -> Self {
        Self { clock, connections: HashMap::new() }
    }

    /// The clock for timestamps.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Opens every source: loads credentials and sends nothing. An error keeps the connections of the
    /// last config. A connection that no entry names is not opened.
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
