//! What the process was started with, as far as signing in depends on it: variables and files
//! that are there. An argument, so that tests can say what there is.

use std::path::Path;

/// Variables and files.
#[derive(Clone, Copy)]
pub struct Environment<'e> {
    var: &'e dyn Fn(&str) -> Option<String>,
    exists: &'e dyn Fn(&Path) -> bool,
}

// === impl Environment ===

impl<'e> Environment<'e> {
    /// These variables and files.
    pub fn new(var: &'e dyn Fn(&str) -> Option<String>, exists: &'e dyn Fn(&Path) -> bool) -> Self {
        Self { var, exists }
    }

    /// Those of this process.
    pub fn of_process() -> Self {
        Self { var: &|name| std::env::var(name).ok(), exists: &Path::exists }
    }

    /// The value of a variable; one that is empty is not set.
    pub fn var(&self, name: &str) -> Option<String> {
        (self.var)(name).filter(|value| !value.is_empty())
    }

    /// Whether there is such a file.
    pub fn exists(&self, path: &Path) -> bool {
        (self.exists)(path)
    }
}
