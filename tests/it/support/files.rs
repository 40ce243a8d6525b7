//! Files that a config names.

use std::path::PathBuf;

use tempfile::TempDir;

/// A directory of such files, which is removed when it is dropped.
pub(crate) struct Files(TempDir);

// === impl Files ===

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a file in one step, as a Secret's volume does, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let (new, path) = (self.path(".new"), self.path(name));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &path).unwrap();
        path.display().to_string()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
