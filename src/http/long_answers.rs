//! A limit on the long answers of all clients of the process, because an answer takes memory until it is decoded.
//!
//! A request takes a place when more arrives than a short answer has, and its response keeps the place. Requests wait
//! round-robin over their owners, and one owner gets half of the places.

use std::sync::{Arc, LazyLock};

use crate::upstream::Places;

/// The most bytes of a short answer. Most pages of lists have fewer.
pub(super) const SHORT_BYTES: usize = 256 << 10;
/// The most bytes of the answers that share [`LONG`].
const LONG_BYTES: usize = 4 << 20;

static LONG: LazyLock<Arc<Places>> = LazyLock::new(|| Arc::new(Places::new(6)));
/// Of answers that may be longer: those of Prometheus.
static LONGER: LazyLock<Arc<Places>> = LazyLock::new(|| Arc::new(Places::new(2)));

/// The places of answers that have at most this many bytes.
pub(super) fn places(body_max: usize) -> Arc<Places> {
    if body_max <= LONG_BYTES { LONG.clone() } else { LONGER.clone() }
}
