//! What credentials are made of: files and tokens that something else names, and what is wrong with them.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::oci::config_file::ConfigFileError;
use crate::oci::key::KeyError;
use crate::oci::token::{self, Claims};
use crate::watched::Reading;

/// Why there is nothing to sign with. Each has its remedy.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The config file or its profile.
    #[error("OCI config file {path}: {source}")]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigFileError,
    },
    /// A file that something else names cannot be read.
    #[error("OCI {what} {path}: {source}; set {named_by} to a file that this process may read")]
    File {
        /// `key file`
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What names it: "`key_file` of profile \[DEFAULT] (line 4)".
        named_by: String,
        /// Why.
        source: io::Error,
    },
    /// A key file holds no key to sign with.
    #[error("OCI key file {path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        source: KeyError,
    },
    /// A variable holds no key to sign with.
    #[error("{variable}: {source}")]
    InlineKey {
        /// Its name.
        variable: &'static str,
        /// What it holds instead.
        source: KeyError,
    },
    /// A token that could not go into a header.
    #[error("{0} holds no token")]
    NotAToken(String),
    /// The environment lacks what this authentication method needs.
    #[error("{0}")]
    Environment(String),
}

/// Reads a file that a setting names. `named_by` is that setting, which the error is about.
pub(in crate::oci) fn read_file(
    reading: &mut Reading,
    what: &'static str,
    path: &Path,
    named_by: impl FnOnce() -> String,
) -> Result<Vec<u8>, CredentialsError> {
    let failed = |source| CredentialsError::File { what, path: path.to_owned(), named_by: named_by(), source };
    reading.read(path).map_err(failed)
}

/// The key ID of a token, and when it expires if it has that. `place` is where it was found.
pub(in crate::oci) fn token_key_id(
    content: &[u8],
    place: impl FnOnce() -> String,
) -> Result<(String, Option<Timestamp>), CredentialsError> {
    let bare = std::str::from_utf8(content).ok().and_then(token::bare);
    let bare = bare.ok_or_else(|| CredentialsError::NotAToken(place()))?;
    Ok((token::key_id(bare), Claims::of(bare).map(|claims| claims.ends())))
}
