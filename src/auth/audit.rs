//! One line in the log for each request that was denied or refused or has failed, and counters for all.
//!
//! An HPA sends the same request every 15 s. The same answer to the same request is logged again only every
//! half an hour. What clients send is written as quoted text of bounded length. No header is written except
//! the ID that kube-apiserver gave the request, which connects this line with its audit log.
//!
//! The number of lines in a second is limited, so that a flood cannot fill a disk. When the second is over
//! and the next request of any kind arrives, the number of omitted lines is logged. Clients without an
//! identity do not use up the lines of clients with one. Among each kind a client takes no more lines than
//! it leaves to others. Among the lines of a client that may read there, a namespace does the same: the HPA
//! controller requests for all namespaces.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::meters::{Decision, Meters};
use super::owner;
use crate::api_error::Said;
use crate::request::{Attributes, Caller, PREFIX, PROBE, Peer, Target};

/// What the log's filter calls these lines.
const TARGET: &str = "depthgauge::audit";
/// As in the Go library: taken from the request, or made if it has none, and returned in the
/// response.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Of all clients. One alone has half of them, and one namespace of it a quarter. Where more HPAs begin to fail in
/// a second, the rest is written at their next requests.
const LINES_PER_SECOND: usize = 20;
/// A request that was not repeated for this long counts as new. Longer than any pause between the
/// syncs of HPAs, or the scrapes of a Prometheus.
const SAME_FOR: Duration = Duration::from_secs(300);
/// A failure that lasts is logged again, for users who read the log of today.
const AGAIN: Duration = Duration::from_secs(30 * 60);
/// The answers that are kept: all that can be written within [`SAME_FOR`]. Beyond that each is a
/// line, as fast as lines may be written.
const ANSWERS: usize = 8192;
/// Longest user name in a line, in bytes: a service account's with the longest of both names.
const USER_MAX: usize = 350;
/// Longest id that is taken for one, in bytes; kube-apiserver's are UUIDs. A longer one is replaced.
const ID_MAX: usize = 128;

/// Where the lines go.
pub struct Audit {
    meters: Meters,
    callers: Sampler,
    anonymous: Sampler,
    answered: Mutex<Answered>,
}

/// What a line will need of a request, should there be one.
pub(super) struct Trail {
    method: Method,
    uri: Uri,
    id: Option<HeaderValue>,
    peer: SocketAddr,
    asks_for_values: bool,
    began: Instant,
}

/// Decides which lines are written.
struct Sampler {
    names: RandomState,
    second: Mutex<Second>,
    /// Whether omitted lines are still to be reported: most requests check only this.
    owes: AtomicBool,
}

/// The answers to callers, hashed with the caller, the request and the address.
#[derive(Default)]
struct Answered(HashMap<u64, Times>);

/// When the same was written, and when it occurred last.
struct Times {
    written: Instant,
    last: Instant,
}

struct Second {
    began: Instant,
    /// The owner of each line.
    written: Vec<Charged>,
    left_out: u32,
}

/// A client, and one of its namespaces if it may read there. A client can make up names of namespaces, so
/// lines are never charged to a namespace alone.
#[derive(Clone, Copy)]
struct Charged {
    client: u64,
    namespace: Option<u64>,
}

/// The sender of requests.
#[derive(Hash)]
enum Client<'r> {
    /// As [`owner`] returns it.
    User(&'r str),
    Address(IpAddr),
}

// === impl Audit ===

impl Audit {
    /// One that counts in this registry.
    pub fn new(registry: &mut Registry) -> Self {
        let answered = Mutex::default();
        Self { meters: Meters::new(registry), callers: Sampler::new(), anonymous: Sampler::new(), answered }
    }

    /// Reports what a flood has left out, once its second is over. For every request.
    pub(super) fn settle(&self) {
        for (sampler, identified) in [(&self.callers, true), (&self.anonymous, false)] {
            if let Some(left_out) = sampler.settle() {
                tracing::info!(target: TARGET, left_out, identified, "more requests denied, refused or failed");
            }
        }
    }

    /// Shows the bytes of answers that are made and not yet taken.
    pub(super) fn unread(&self) -> Gauge {
        self.meters.unread.clone()
    }

    /// Counts a decision about authentication and authorization.
    pub(super) fn decided(&self, decision: Decision) {
        self.meters.decided(decision);
    }

    /// Records an answer. `caller` is `None` if the client could not be authenticated.
    pub(super) fn record(&self, trail: &Trail, caller: Option<&Caller>, response: &Response) {
        let status = response.status();
        if trail.asks_for_values {
            self.meters.answered(status, trail.began.elapsed());
        }
        if !status.is_client_error() && !status.is_server_error() {
            return;
        }
        let identified = caller.is_some_and(|caller| !caller.is_anonymous());
        let user = caller.map(|caller| caller.user.as_str());
        let reason = response.extensions().get::<Said>().map(|said| said.0.as_str());
        let Attributes { verb, target } = Attributes::of(&trail.method, &trail.uri);
        let (namespace, metric, path) = match &target {
            Target::Values { namespace, metric } => (Some(&**namespace), Some(&**metric), None),
            Target::Path => (None, None, Some(trail.uri.path())),
        };
        // An answer that `check` expects.
        if (metric, status) == (Some(PROBE), StatusCode::NOT_FOUND) {
            tracing::debug!(target: TARGET, user, "request of `depthgauge check`");
            return;
        }
        let may_write = match (user.filter(|_| identified), namespace) {
            (None, _) => self.anonymous.may_write(&Client::Address(trail.peer.ip()), None),
            (Some(user), namespace) => {
                let denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                let (client, namespace) = (Client::User(owner(user)), namespace.filter(|_| !denied));
                let answer = (user, trail.peer.ip(), &trail.method, &trail.uri, status, reason);
                self.answered.lock().is_news(answer, || self.callers.may_write(&client, namespace))
            }
        };
        if !may_write {
            return;
        }
        tracing::info!(
            target: TARGET,
            code = status.as_u16(),
            user = user.map(|user| &user[..user.floor_char_boundary(USER_MAX)]),
            verb,
            namespace,
            metric,
            path,
            reason,
            audit_id = trail.id.as_ref().and_then(|id| id.to_str().ok()),
            peer = %trail.peer,
            "{}",
            match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "denied",
                _ if status.is_server_error() => "failed",
                _ => "refused",
            }
        );
    }
}

// === impl Trail ===

impl Trail {
    /// With the id that the request brings, or one that is made up.
    pub(super) fn of<B>(peer: &Peer, request: &Request<B>, asks_for_values: bool) -> Self {
        let brought = request.headers().get(AUDIT_ID).filter(|id| id.len() <= ID_MAX).cloned();
        let id = brought.or_else(made_up_id);
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { method, uri, id, peer: peer.address, asks_for_values, began: Instant::now() }
    }

    /// Whether it is about the API group of depthgauge, and so perhaps meant for a value.
    pub(super) fn is_of_group(&self) -> bool {
        self.uri.path().starts_with(PREFIX)
    }

    /// Puts the ID into the request, so that later layers find the same one.
    pub(super) fn mark<B>(&self, request: &mut Request<B>) {
        if let Some(id) = &self.id {
            request.headers_mut().insert(AUDIT_ID, id.clone());
        }
    }

    /// Puts the request's id into the answer.
    pub(super) fn end(self, mut response: Response) -> Response {
        if let Some(id) = self.id {
            response.headers_mut().insert(AUDIT_ID, id);
        }
        response
    }
}

// === impl Sampler ===

impl Sampler {
    fn new() -> Self {
        let second = Second { began: Instant::now(), written: Vec::new(), left_out: 0 };
        Self { names: RandomState::new(), second: Mutex::new(second), owes: AtomicBool::new(false) }
    }

    fn may_write(&self, client: &Client<'_>, namespace: Option<&str>) -> bool {
        let client = self.names.hash_one(client);
        let namespace = namespace.map(|namespace| self.names.hash_one((client, namespace)));
        let mut second = self.second.lock();
        if second.is_over() {
            second.began = Instant::now();
            second.written.clear();
        }
        let own = second.written.iter().filter(|line| line.client == client);
        let of_namespace = own.clone().filter(|line| namespace.is_some() && line.namespace == namespace).count();
        // As many lines as the client still gets, if others write none.
        let left = (LINES_PER_SECOND - second.written.len()).saturating_sub(own.count()).div_ceil(2);
        let may = left > of_namespace;
        if may {
            second.written.push(Charged { client, namespace });
        } else {
            second.left_out = second.left_out.saturating_add(1);
            self.owes.store(true, Ordering::Relaxed);
        }
        may
    }

    /// How many were left out, if there are any and their second is over.
    fn settle(&self) -> Option<u32> {
        if !self.owes.load(Ordering::Relaxed) {
            return None;
        }
        let mut second = self.second.lock();
        if !second.is_over() || second.left_out == 0 {
            return None;
        }
        self.owes.store(false, Ordering::Relaxed);
        Some(std::mem::take(&mut second.left_out))
    }
}

// === impl Answered ===

impl Answered {
    /// Whether this is new, or is due again, and `may_write` allows the line. What is not written
    /// is due at the next request.
    fn is_news(&mut self, answer: impl Hash, may_write: impl FnOnce() -> bool) -> bool {
        let (key, now) = (self.0.hasher().hash_one(answer), Instant::now());
        let is_same = |times: &Times| now - times.last < SAME_FOR && now - times.written < AGAIN;
        if let Some(times) = self.0.get_mut(&key).filter(|times| is_same(times)) {
            times.last = now;
            return false;
        }
        if !may_write() {
            return false;
        }
        if self.0.len() >= ANSWERS {
            self.0.retain(|_, times| is_same(times));
        }
        if self.0.len() < ANSWERS {
            self.0.insert(key, Times { written: now, last: now });
        }
        true
    }
}

// === impl Second ===

impl Second {
    fn is_over(&self) -> bool {
        self.began.elapsed() >= Duration::from_secs(1)
    }
}

/// A UUID, as kube-apiserver makes them. It distinguishes requests, and need not be hard to guess.
fn made_up_id() -> Option<HeaderValue> {
    let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_so_many_lines_a_second_and_then_a_number() {
        let sampler = Sampler::new();
        for second in 0..5 {
            let written = (0..1000).filter(|_| sampler.may_write(&Client::User("eve"), None)).count();
            assert_eq!(written, LINES_PER_SECOND / 2, "{second}");
            assert_eq!(sampler.settle(), None, "not before the second is over");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(sampler.settle(), Some(1000 - u32::try_from(written).unwrap()), "{second}");
            assert_eq!(sampler.settle(), None, "once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_one_client_leaves_lines_to_the_others() {
        let sampler = Sampler::new();
        let written = |user, namespace: &str| {
            (0..1000).filter(|_| sampler.may_write(&Client::User(user), Some(namespace))).count()
        };
        let denied = |user| (0..1000).filter(|_| sampler.may_write(&Client::User(user), None)).count();
        assert_eq!(denied("eve"), 10);
        assert_eq!((written("hpa", "shop"), written("hpa", "office"), written("hpa", "lab")), (3, 1, 1));
        // A namespace of another client is another one.
        assert_eq!((written("web", "shop"), denied("web"), denied("mallory")), (2, 1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_gains_nothing_by_names_of_namespaces() {
        let sampler = Sampler::new();
        let written = (0..1000).filter(|n| sampler.may_write(&Client::User("eve"), Some(&n.to_string()))).count();
        assert_eq!(written, LINES_PER_SECOND / 2);
        assert!(sampler.may_write(&Client::User("hpa"), Some("shop")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_news_until_it_is_written_and_again_after_a_while_without_it() {
        let mut answered = Answered::default();
        assert!(!answered.is_news("a", || false) && answered.is_news("a", || true));
        for _look in 1..120 {
            tokio::time::advance(Duration::from_secs(15)).await;
            assert!(!answered.is_news("a", || true));
        }
        assert!(answered.is_news("b", || true), "another one");
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(answered.is_news("a", || true) && !answered.is_news("a", || true), "half an hour");
        tokio::time::advance(SAME_FOR).await;
        assert!(answered.is_news("a", || true));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_remembered_than_there_is_room_for() {
        let mut answered = Answered::default();
        for n in 0..2 * ANSWERS {
            assert!(answered.is_news(n, || true));
        }
        assert!(answered.is_news(ANSWERS, || true) && !answered.is_news(0_usize, || true));
        tokio::time::advance(SAME_FOR).await;
        assert!(answered.is_news(ANSWERS, || true) && !answered.is_news(ANSWERS, || true));
        assert_eq!(answered.0.len(), 1);
    }
}
