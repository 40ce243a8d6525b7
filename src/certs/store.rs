//! The files that certificates are kept in: PEM, replaced whole, keys for their owner only.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::{CertsError, PemPair};

/// A directory with certificates.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
}

/// The names of a certificate and its key in the directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    certificate: &'static str,
    key: &'static str,
}

// === impl Pair ===

impl Pair {
    pub(super) const CA: Self = Self { certificate: "ca.crt", key: "ca.key" };
    /// Named as in a Secret of type `kubernetes.io/tls`.
    pub(super) const SERVING: Self = Self { certificate: "tls.crt", key: "tls.key" };
}

// === impl Files ===

impl Files {
    pub(super) fn open(dir: &Path) -> Result<Self, CertsError> {
        std::fs::create_dir_all(dir).map_err(|source| CertsError::File { path: dir.to_owned(), source })?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Both halves in PEM, or `None` when one is absent.
    pub(super) fn read(&self, pair: Pair) -> Result<Option<PemPair>, CertsError> {
        Ok(self.read_one(pair.certificate)?.zip(self.read_one(pair.key)?))
    }

    /// The key first: a certificate without its key would be read as a pair.
    pub(super) fn write(&self, pair: Pair, (certificate, key): &PemPair) -> Result<(), CertsError> {
        self.write_one(pair.key, key)?;
        self.write_one(pair.certificate, certificate)
    }

    fn read_one(&self, name: &str) -> Result<Option<String>, CertsError> {
        let path = self.dir.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CertsError::File { path, source }),
        }
    }

    fn write_one(&self, name: &str, text: &str) -> Result<(), CertsError> {
        let path = self.dir.join(name);
        let failed = |source| CertsError::File { path: path.clone(), source };
        // Made with mode 0600 beside its place, then moved there: never half a file.
        let mut file = tempfile::NamedTempFile::new_in(&self.dir).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}
