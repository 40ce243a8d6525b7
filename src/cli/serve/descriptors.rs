//! The limit on open files. Each connection takes one, as each file does.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The listeners need 256 and 64, and each host that sources are read from up to 128.
const ENOUGH: u64 = 1024;

/// Raises the limit as far as the process may; warns if that is not enough.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let limit = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit on open files");
            current
        }
    };
    if let Some(limit) = limit.filter(|limit| *limit < ENOUGH) {
        tracing::warn!(limit, "the limit on open files is low: set the hard limit (ulimit -Hn) to at least {ENOUGH}");
    }
}
