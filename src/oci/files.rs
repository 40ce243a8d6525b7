//! A signer made of files, and made again when they change: API key, session token, resource
//! principal.
//!
//! Whoever wants to sign looks whether the files are still the same, at most once a second, by
//! their content: a Secret's volume swaps a symlink, an editor writes in place, and neither time
//! nor size tells for sure. Files that make no signer change nothing but the log; the signer of
//! before goes on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use jiff::Timestamp;
use tokio::time::Instant;

use super::credentials::CredentialsError;
use super::sign::Signer;

/// Between two looks at the files: three small reads, which cost less than one signature.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Files read so far, each with what was in it.
#[derive(Default)]
pub(super) struct Reading(Vec<(PathBuf, Option<Digest>)>);

/// What files make.
pub(super) struct Made {
    /// Signs from now on.
    pub(super) signer: Signer,
    /// The region that they name, as written.
    pub(super) region: Option<String>,
    /// When the signer is worth nothing any more, if that is known.
    pub(super) ends: Option<Timestamp>,
}

/// Makes a signer of files, reading them through [`Reading`] only.
pub(super) type Make = dyn Fn(&mut Reading) -> Result<Made, CredentialsError> + Send + Sync;

/// The signer of now.
#[derive(Clone)]
pub(super) struct Files(Arc<Inner>);

struct Inner {
    make: Box<Make>,
    region: Option<String>,
    /// Locked while somebody looks, so on threads that may wait only.
    seen: Mutex<Reading>,
    state: Mutex<State>,
}

struct State {
    signer: Arc<Signer>,
    ends: Option<Timestamp>,
    looked: Instant,
}

// === impl Reading ===

impl Reading {
    /// Reads a file, and remembers what it saw.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let content = std::fs::read(path);
        self.0.push((path.to_owned(), fingerprint(&content)));
        content
    }

    fn still_so(&self) -> bool {
        self.0.iter().all(|(path, seen)| same(seen.as_ref(), fingerprint(&std::fs::read(path)).as_ref()))
    }

    /// What `before` saw and this reading did not come to, as it is now.
    fn and_also(&mut self, before: &Self) {
        for (path, _) in &before.0 {
            if !self.0.iter().any(|(mine, _)| mine == path) {
                // Whether it can be read is what is remembered.
                let _ = self.read(path);
            }
        }
    }
}

// === impl Files ===

impl Files {
    /// Reads the files for the first time; what is wrong with them now is an error.
    pub(super) fn open(make: Box<Make>) -> Result<Self, CredentialsError> {
        let mut seen = Reading::default();
        let Made { signer, region, ends } = make(&mut seen)?;
        let state = State { signer: Arc::new(signer), ends, looked: Instant::now() };
        Ok(Self(Arc::new(Inner { make, region, seen: Mutex::new(seen), state: Mutex::new(state) })))
    }

    /// The region that the files named at first.
    pub(super) fn region(&self) -> Option<&str> {
        self.0.region.as_deref()
    }

    /// The signer that the files make now, and when it ends.
    pub(super) async fn signer(&self) -> (Arc<Signer>, Option<Timestamp>) {
        let due = self.0.with(|state| {
            let due = state.looked.elapsed() >= LOOK_EVERY;
            if due {
                state.looked = Instant::now();
            }
            due
        });
        if due {
            self.look().await;
        }
        self.0.with(|state| (state.signer.clone(), state.ends))
    }

    /// Looks now. One who asks meanwhile signs with what there is.
    pub(super) async fn look(&self) {
        let inner = self.0.clone();
        // Deriving a key from a passphrase takes a hundred milliseconds and more.
        let looked = tokio::task::spawn_blocking(move || inner.look()).await;
        if let Err(error) = looked {
            tracing::warn!(%error, "looking at the OCI key files failed");
        }
    }
}

// === impl Inner ===

impl Inner {
    fn with<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        // Whole assignments only: a panic leaves nothing half made.
        body(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn look(&self) {
        let mut before = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if before.still_so() {
            return;
        }
        let mut seen = Reading::default();
        match (self.make)(&mut seen) {
            Ok(Made { signer, ends, .. }) => {
                tracing::info!("the OCI key files have changed: signing with the new ones");
                self.with(|state| (state.signer, state.ends) = (Arc::new(signer), ends));
            }
            Err(error) => {
                tracing::warn!(%error, "the OCI key files have changed and cannot be used: signing with the old ones");
                seen.and_also(&before);
            }
        }
        *before = seen;
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
    }
}

fn fingerprint(content: &io::Result<Vec<u8>>) -> Option<Digest> {
    content.as_ref().ok().map(|content| digest(&SHA256, content))
}

fn same(one: Option<&Digest>, other: Option<&Digest>) -> bool {
    one.map(AsRef::as_ref) == other.map(AsRef::as_ref)
}
