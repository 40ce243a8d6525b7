//! The limit on open files. Each connection takes one, as each file does.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::sockets;

/// With this many, there is one for each read of a large config, and one for an idle connection to each of
/// thousands of pods.
const PLENTY: u64 = 16 << 10;
/// The listeners need 256 and 64, and sources several hundred.
const ENOUGH: u64 = 1024;
/// Descriptors that requests to sources must not use: the listeners' connections, and what is open all the time. That
/// is some 15, and a connection to kube-apiserver for each 50 Services whose pods are read: 20 for 1,000 of them.
const RESERVE: u64 = 256 + 64 + 40;
/// What a request may need: both IP families are tried at once.
const EACH: u64 = 2;
/// The fewest requests to sources at a time. Each of them may wait for a host that hangs.
const LEAST: u64 = 8;

/// Raises the limit as far as the process may; warns if that is not enough. Divides what is there between the
/// listeners and requests to sources.
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
    if let Some(requests) = limit.and_then(requests) {
        sockets::limit(requests);
    }
}

/// How many requests to sources may be in flight, unless there are plenty of descriptors.
fn requests(limit: u64) -> Option<usize> {
    let requests = (limit.saturating_sub(RESERVE) / EACH).max(LEAST);
    usize::try_from(requests).ok().filter(|_| limit < PLENTY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_leave_descriptors_for_the_listeners() {
        for (limit, expected) in [
            (0, Some(8)),
            (370, Some(8)),
            (400, Some(20)),
            (1024, Some(332)),
            (PLENTY - 1, Some(8011)),
            (PLENTY, None),
            (u64::MAX, None),
        ] {
            assert_eq!(requests(limit), expected, "{limit}");
        }
    }
}
