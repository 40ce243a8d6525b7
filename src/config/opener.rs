//! Opens successive configs. A connection with the same keys in both stays open.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Config, Entry};
use crate::endpoints::Endpoints;
use crate::lookup::SourceConfig;
use crate::metric::Clock;
use crate::source::keys::{Value, Values};
use crate::source::{Connection, Context, MAX_AGE, OpenError, REFRESH};

/// Opens successive configs.
pub struct Opener {
    context: Context,
    /// Connections of the last config that could be opened, by the name of their type and their keys.
    connections: HashMap<(&'static str, Arc<Values>), Arc<dyn Connection>>,
    warnings: Warnings,
}

/// The warnings about the config that was opened last, each after its place, `FILE:LINE:COLUMN`. Clones
/// share them.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<ArcSwap<Vec<(String, String)>>>);

// === impl Warnings ===

impl Warnings {
    /// Those of now.
    pub fn all(&self) -> Arc<Vec<(String, String)>> {
        self.0.load_full()
    }
}

// === impl Opener ===

impl Opener {
    /// An opener of the server, without open connections.
    pub fn new(clock: Clock, endpoints: Endpoints) -> Self {
        Self::of(Context { clock, is_server: true, endpoints, upstreams: Arc::default() })
    }

    /// An opener without open connections.
    pub(super) fn of(context: Context) -> Self {
        Self { context, connections: HashMap::new(), warnings: Warnings::default() }
    }

    /// The warnings about the active config.
    pub fn warnings(&self) -> Warnings {
        self.warnings.clone()
    }

    /// The clock for timestamps.
    pub(super) fn clock(&self) -> Clock {
        self.context.clock
    }

    /// Opens every source: loads credentials and sends nothing. An error keeps the connections of the
    /// last config; it has a line for each connection and entry that can't be opened. A connection that
    /// no entry names is not opened.
    pub fn open(&mut self, config: Config) -> Result<Vec<SourceConfig>, OpenError> {
        let (mut configs, mut wrong) = (Vec::new(), Vec::new());
        // `None` is one that can't be opened.
        let mut connections: HashMap<_, Option<Arc<dyn Connection>>> = HashMap::new();
        for entry in config.entries {
            let Entry { kind, name, namespaces, timing, export, items, value_rules, definition, connection_place } =
                entry;
            let key = (kind.connection.name, definition.connection.clone());
            let connection = connections.entry(key.clone()).or_insert_with(|| match self.connections.get(&key) {
                Some(known) => Some(known.clone()),
                None => {
                    let opened = (kind.connection.connect)(&definition.connection, &self.context);
                    opened.map_err(|OpenError(error)| wrong.push(at(connection_place.as_deref(), error))).ok()
                }
            });
            let Some(connection) = connection else { continue };
            let [refresh, max_age] = [timing.refresh, timing.max_age].map(Value::Duration);
            let values = definition.entry.clone().with(REFRESH, refresh).with(MAX_AGE, max_age);
            let source = match connection.open(definition.form, &values) {
                Ok(source) => source,
                Err(OpenError(error)) => {
                    wrong.push(at(items.place.as_deref(), error));
                    continue;
                }
            };
            configs.push(SourceConfig {
                name,
                kind,
                namespaces,
                timing,
                export,
                items,
                value_rules,
                definition,
                source,
            });
        }
        if !wrong.is_empty() {
            return Err(OpenError(wrong.join("\n")));
        }
        if self.context.is_server {
            for (place, warning) in &config.warnings {
                tracing::warn!("{place}: {warning}");
            }
        }
        self.warnings.0.store(Arc::new(config.warnings));
        self.connections = connections.into_iter().filter_map(|(key, connection)| Some((key, connection?))).collect();
        Ok(configs)
    }
}

/// An error message with its place, if there is one.
fn at(place: Option<&str>, error: String) -> String {
    match place {
        Some(place) => format!("{place}: {error}"),
        None => error,
    }
}
