//! A source under its name, with the rules of the config: who may read it, and what may be told
//! instead of its values. What is known of it is in its [`Cells`], whoever else has them.

use std::sync::Arc;

use super::cells::Cells;
use super::policy::Policies;
use crate::metric::pattern::Pattern;
use crate::metric::{Labels, Namespace};
use crate::source::Kind;

/// What the config says of a source, or of all that are listed, and what may change without
/// anything becoming unknown.
#[derive(Clone)]
pub(super) struct Rules {
    /// Who may read it.
    pub(super) namespaces: Vec<Pattern>,
    /// A gauge, too.
    pub(super) export: bool,
    /// What is told instead of some values, unless a question says otherwise.
    pub(super) policies: Policies,
}

/// A source under its name.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: &'static dyn Kind,
    pub(super) labels: Labels,
    pub(super) rules: Rules,
    pub(super) cells: Arc<Cells>,
    /// Of one that is listed: how it is given another name.
    pub(super) naming: Option<&'static str>,
}

// === impl Rules ===

impl Rules {
    /// Whether a namespace may read what these are the rules of.
    pub(super) fn are_open_to(&self, namespace: &Namespace) -> bool {
        self.namespaces.iter().any(|pattern| pattern.matches(namespace.as_str()))
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(name: String, kind: &'static dyn Kind, rules: Rules, cells: Arc<Cells>) -> Self {
        let labels = [(kind.label(), name.as_str())].into_iter().collect();
        Self { name, kind, labels, rules, cells, naming: None }
    }
}
