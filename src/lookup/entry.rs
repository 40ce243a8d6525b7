//! A source under its name, with the rules of the config. What is known of it is in its
//! [`Readings`], which entries under other names may share.

use std::sync::Arc;

use super::readings::Readings;
use super::rules::AccessRules;
use crate::metric::Labels;
use crate::source::Kind;

/// A source under its name.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: &'static Kind,
    pub(super) labels: Labels,
    pub(super) rules: AccessRules,
    pub(super) readings: Arc<Readings>,
    /// How to give it another name, if it is listed.
    pub(super) naming: Option<&'static str>,
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(name: String, kind: &'static Kind, rules: AccessRules, readings: Arc<Readings>) -> Self {
        let labels = [(kind.label, name.as_str())].into_iter().collect();
        Self { name, kind, labels, rules, readings, naming: None }
    }
}
