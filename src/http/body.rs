//! The body of an answer, and a limit on the long ones of all clients of the process: an answer takes memory until it
//! is decoded.
//!
//! A request takes a permit when more arrives than a short answer has, and its response keeps the permit. Requests wait
//! round-robin over their owners, and one owner gets half of the permits.

use std::sync::{Arc, LazyLock};

use tokio::time::Instant;

use super::error::{Fault, lost, without_secret};
use super::url::Url;
use crate::upstream::{Permit, Permits};

/// The most bytes of a short answer. Most pages of lists have fewer.
pub(super) const SHORT_BYTES: usize = 256 << 10;
/// The most bytes of the answers that share [`LONG`].
const LONG_BYTES: usize = 4 << 20;

static LONG: LazyLock<Arc<Permits>> = LazyLock::new(|| Arc::new(Permits::new(6)));
/// Of answers that may be longer: those of Prometheus.
static LONGER: LazyLock<Arc<Permits>> = LazyLock::new(|| Arc::new(Permits::new(2)));

/// The permits of answers that have at most this many bytes.
pub(super) fn permits(body_max: usize) -> Arc<Permits> {
    if body_max <= LONG_BYTES { LONG.clone() } else { LONGER.clone() }
}

/// How the body of an answer is read.
pub(super) struct BodyReader<'c> {
    /// The most bytes that it may have.
    pub(super) max: usize,
    /// Whether it is an answer. Of an error, the beginning is enough.
    pub(super) is_answer: bool,
    /// Those of long answers.
    pub(super) permits: &'c Arc<Permits>,
}

// === impl BodyReader ===

impl BodyReader<'_> {
    /// Counts what arrives, whatever Content-Length says. `url` is that of the request, and a permit is counted for its
    /// owner.
    pub(super) async fn read(
        &self,
        response: &mut reqwest::Response,
        url: &Url,
        owner: &str,
        by: Instant,
    ) -> Result<(Vec<u8>, Option<Permit>), Fault> {
        let (mut body, mut permit) = (Vec::new(), None);
        while let Some(chunk) = response.chunk().await.map_err(|error| lost(without_secret(error, url)))? {
            let length = body.len() + chunk.len();
            if !self.is_answer && length > self.max.min(SHORT_BYTES) {
                break;
            }
            if length > self.max {
                return Err(Fault::TooLong(self.max));
            }
            if permit.is_none() && length > SHORT_BYTES {
                let taken = self.permits.acquire_in_time(owner, by).await;
                permit = Some(taken.ok_or(Fault::NoRoom)?);
            }
            if length > body.capacity() {
                // Twice as much, but never more than there may be.
                body.reserve_exact((2 * length).min(self.max) - body.len());
            }
            body.extend_from_slice(&chunk);
        }
        Ok((body, permit))
    }
}
