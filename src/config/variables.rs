//! The config of a start without a file: one source that environment variables name.

use super::{Config, ConfigError, Entry, Group};
use crate::lookup::Timing;
use crate::lookup::rules::ValueRules;
use crate::metric::pattern::Pattern;
use crate::source::{self, Named};

// === impl Config ===

impl Config {
    /// The config that variables make, readable by `own_namespace` unless they say otherwise;
    /// `None` when they name no source.
    pub fn from_variables(
        var: &dyn Fn(&str) -> Option<String>,
        own_namespace: Option<&str>,
    ) -> Option<Result<Self, ConfigError>> {
        let mut groups = Vec::new();
        for kind in source::KINDS {
            let Some(named) = kind.in_environment(var, own_namespace) else { continue };
            let Named { name, namespaces, plan } = match named {
                Ok(named) => named,
                Err(wrong) => return Some(Err(ConfigError::Wrong(wrong.join("\n")))),
            };
            let entry = Entry {
                // Without a name it is listed, and whatever it is called is meant.
                name: name.unwrap_or_else(|| "*".to_owned()),
                namespaces: namespaces.into_iter().map(Pattern::new).collect(),
                timing: Timing::default(),
                export: false,
                policies: ValueRules::default(),
            };
            groups.push(Group { kind: *kind, entries: vec![entry], plan });
        }
        (!groups.is_empty()).then_some(Ok(Self { groups }))
    }
}
