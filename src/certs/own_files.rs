//! A certificate and a key that another controller or a user makes and renews, such as
//! cert-manager.

use std::path::{Path, PathBuf};

use super::CertsError;
use super::issue::Pair;

/// Two files in PEM; a chain may follow the certificate.
#[derive(Debug)]
pub(super) struct OwnFiles {
    certificate: PathBuf,
    key: PathBuf,
}

// === impl OwnFiles ===

impl OwnFiles {
    pub(super) fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key }
    }

    /// As they are now. Read whole each time: mounts swap a symlink, and times of files prove
    /// nothing then.
    pub(super) fn read(&self) -> Result<Pair, CertsError> {
        Ok(Pair { certificate: read(&self.certificate)?, key: read(&self.key)? })
    }
}

fn read(path: &Path) -> Result<String, CertsError> {
    std::fs::read_to_string(path).map_err(|source| CertsError::File { path: path.to_owned(), source })
}
