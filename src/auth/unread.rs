//! Memory of answers that clients have requested and not yet taken, in bytes.
//!
//! A client of HTTP/2 that opens no window, or any client that does not read, leaves its answers in
//! memory. Each answer above [`SMALL`] is charged to the user who requested it, until its last byte is
//! dropped. All charges together are bounded. A user holds at most as many bytes as stay free: one
//! alone has half of them, two have a third each. So a user who reads gets answers while others do not
//! read theirs.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use super::owner;
use crate::api_error::ApiError;

/// Bytes of all answers that are charged. The longest answer of a value is 2 MiB; five workers of the
/// HPA controller with a list of 1,000 queues each need 1 MiB together.
const MAX: usize = 8 << 20;
/// Answers up to this length are not charged: an HPA's answer of a few items, and every error. The
/// listener's limits on connections and streams bound them.
const SMALL: u64 = 1 << 10;
/// The same text for the whole time, because an HPA shows it.
const FULL: &str = "depthgauge has no memory left for this answer, because clients have not read earlier answers. Read each answer or close its connection, or select fewer items with labelSelector";

/// The charges of all users.
pub(super) struct Unread {
    charges: Mutex<Charges>,
    /// Of all charges.
    bytes: Gauge,
}

#[derive(Default)]
struct Charges {
    all: usize,
    /// By [`owner`]; none is 0.
    by_owner: HashMap<Box<str>, usize>,
}

/// The charge for one answer; ends when it is dropped.
struct Charge {
    unread: Arc<Unread>,
    owner: Box<str>,
    bytes: usize,
    /// Dropped with the charge, which the receiver notices.
    _end: oneshot::Sender<()>,
}

/// Bytes of an answer that is charged.
struct Chunk {
    bytes: Bytes,
    _charge: Arc<Charge>,
}

/// A body that ends when its bytes are dropped, and not when the last of them is handed over. An HTTP/2
/// stream then lasts until its client has taken the answer, and so does the deadline of the stream.
struct Charged {
    body: Body,
    /// Until all bytes are handed over.
    charge: Option<Arc<Charge>>,
    end: oneshot::Receiver<()>,
}

// === impl Unread ===

impl Unread {
    /// Without charges; `bytes` shows them.
    pub(super) fn new(bytes: Gauge) -> Arc<Self> {
        Arc::new(Self { charges: Mutex::default(), bytes })
    }

    /// Charges `user` for this answer; 503 instead of it if there is no memory for it.
    pub(super) fn charge(self: &Arc<Self>, user: &str, response: Response) -> Response {
        // An answer is made as a whole, and so its length is known.
        let bytes = response.body().size_hint().lower();
        if bytes <= SMALL {
            return response;
        }
        match usize::try_from(bytes).ok().and_then(|bytes| self.take(owner(user), bytes)) {
            Some((charge, end)) => {
                response.map(|body| Body::new(Charged { body, charge: Some(Arc::new(charge)), end }))
            }
            None => ApiError::unavailable(FULL).into_response(),
        }
    }

    fn take(self: &Arc<Self>, owner: &str, bytes: usize) -> Option<(Charge, oneshot::Receiver<()>)> {
        let mut charges = self.charges.lock();
        let all = charges.all.checked_add(bytes)?;
        let own = charges.by_owner.get(owner).copied().unwrap_or_default() + bytes;
        if own > MAX.checked_sub(all)? {
            return None;
        }
        charges.all = all;
        charges.by_owner.insert(owner.into(), own);
        drop(charges);
        self.bytes.inc_by(signed(bytes));
        let (sender, end) = oneshot::channel();
        Some((Charge { unread: self.clone(), owner: owner.into(), bytes, _end: sender }, end))
    }
}

// === impl Charge ===

impl Drop for Charge {
    fn drop(&mut self) {
        let Self { unread, owner, bytes, .. } = self;
        let mut charges = unread.charges.lock();
        charges.all -= *bytes;
        if let Some(own) = charges.by_owner.get_mut(owner) {
            *own -= *bytes;
            if *own == 0 {
                charges.by_owner.remove(owner);
            }
        }
        drop(charges);
        unread.bytes.dec_by(signed(*bytes));
    }
}

// === impl Chunk ===

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

// === impl Charged ===

impl HttpBody for Charged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(charge) = self.charge.clone() {
            if let Some(frame) = ready!(self.body.frame().poll_unpin(context)) {
                let part = |bytes| Bytes::from_owner(Chunk { bytes, _charge: charge });
                return Poll::Ready(Some(frame.map(|frame| frame.map_data(part))));
            }
            drop(charge);
            self.charge = None;
        }
        self.end.poll_unpin(context).map(|_dropped| None)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    const KIB: usize = 1 << 10;

    struct Scene {
        unread: Arc<Unread>,
        bytes: Gauge,
        /// Answers that their clients have not taken.
        answers: Vec<Response>,
    }

    impl Scene {
        fn new() -> Self {
            let bytes = Gauge::default();
            Self { unread: Unread::new(bytes.clone()), bytes, answers: Vec::new() }
        }

        /// Whether this user gets an answer of this length, which is then not read.
        fn answers(&mut self, user: &str, length: usize) -> bool {
            let response = self.unread.charge(user, Response::new(Body::from(vec![b'x'; length])));
            let status = response.status();
            assert!(matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE), "{status}");
            self.answers.push(response);
            status == StatusCode::OK
        }

        /// How many answers of 128 KiB this user gets, without reading any.
        fn fill(&mut self, user: &str) -> usize {
            (0..1000).take_while(|_| self.answers(user, 128 * KIB)).count()
        }
    }

    #[test]
    fn a_user_holds_at_most_as_much_as_stays_free() {
        let mut scene = Scene::new();
        assert_eq!((scene.fill("a"), scene.fill("b"), scene.fill("c")), (32, 16, 8));
        assert_eq!(scene.bytes.get(), 56 * 128 * 1024);
        assert!(!scene.answers("a", 2 * KIB));
        assert!(scene.answers("a", KIB), "a small one is not charged");
        assert!(scene.answers("d", 128 * KIB));
        scene.answers.clear();
        assert_eq!(scene.bytes.get(), 0);
        assert_eq!(scene.fill("a"), 32);
        assert!(scene.unread.charges.lock().by_owner.keys().eq(["a".into()].iter()), "none is kept for nothing");
    }

    #[test]
    fn service_accounts_of_a_namespace_are_one_user() {
        let mut scene = Scene::new();
        assert_eq!(scene.fill("system:serviceaccount:shop:a"), 32);
        assert!(!scene.answers("system:serviceaccount:shop:b", 128 * KIB));
        assert!(scene.answers("system:serviceaccount:shop2:b", 128 * KIB));
    }

    #[tokio::test]
    async fn a_body_ends_when_its_bytes_are_dropped() {
        let mut scene = Scene::new();
        assert!(scene.answers("a", 2 * KIB));
        let mut body = scene.answers.pop().unwrap().into_body();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(2048), false));
        let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(bytes, vec![b'x'; 2 * KIB]);
        let copy = bytes.slice(2000..);
        drop(bytes);
        assert!(body.frame().now_or_never().is_none(), "a part of it is still in memory");
        assert_eq!(scene.bytes.get(), 2048);
        drop(copy);
        assert!(body.frame().await.is_none());
        assert_eq!(scene.bytes.get(), 0);
    }
}
