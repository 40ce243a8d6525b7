//! A directory of PEM files: replaced whole, for their owner only.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::Entries;
use crate::certs::CertsError;

/// The directory.
#[derive(Debug)]
pub(in crate::certs) struct Dir(PathBuf);

// === impl Dir ===

impl Dir {
    /// Created when absent.
    pub(in crate::certs) fn open(path: &Path) -> Result<Self, CertsError> {
        std::fs::create_dir_all(path).map_err(|source| CertsError::File { path: path.to_owned(), source })?;
        Ok(Self(path.to_owned()))
    }

    pub(super) fn read(&self, names: &[&str]) -> Result<Entries, CertsError> {
        let mut entries = Entries::new();
        for name in names {
            let path = self.0.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => drop(entries.insert((*name).to_owned(), text)),
                // A file that is not text counts as absent: it is made again.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => {}
                Err(source) => return Err(CertsError::File { path, source }),
            }
        }
        Ok(entries)
    }

    /// In the order of `names`; those without an entry are removed.
    pub(super) fn write(&self, names: &[&str], entries: &Entries) -> Result<(), CertsError> {
        for name in names {
            let path = self.0.join(name);
            let written = match entries.get(*name) {
                Some(text) => self.write_one(&path, text),
                None => std::fs::remove_file(&path).or_else(|error| match error.kind() {
                    ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                }),
            };
            written.map_err(|source| CertsError::File { path, source })?;
        }
        Ok(())
    }

    /// Made with mode 0600 beside its place, then moved there: never half a file.
    fn write_one(&self, path: &Path, text: &str) -> std::io::Result<()> {
        if std::fs::read_to_string(path).is_ok_and(|held| held == text) {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        file.write_all(text.as_bytes())?;
        file.persist(path)?;
        Ok(())
    }
}
