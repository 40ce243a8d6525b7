//! One line in the log for each request that was denied or has failed, and a counter for all.
//!
//! What callers send is written as quoted text, of bounded length, and never a header but the id
//! that kube-apiserver gave the request: with it, this line and its audit log tell one story.
//! So that a flood cannot fill a disk, there are so many lines in a second and then the number
//! of those left out; whoever shows no identity cannot use up the lines of those who do.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::refusal::Said;
use crate::request::{Attributes, Caller, Peer, Target};

/// What the log's filter calls these lines.
const TARGET: &str = "depthgauge::audit";
/// As the Go library has it: taken from the request, told in the answer.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// An HPA whose source fails is one line in 15 s: this is 150 of them before any is left out.
const LINES_PER_SECOND: u32 = 10;
/// Longest user name in a line, in bytes: a service account's with the longest of both names.
const USER_MAX: usize = 350;
/// Longest id that is taken for one, in bytes; kube-apiserver's are UUIDs. A longer one is neither
/// written nor told.
const ID_MAX: usize = 128;

/// Where the lines go.
pub struct Audit {
    requests: Family<Code, Counter>,
    callers: Sampler,
    strangers: Sampler,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Code {
    code: u16,
}

/// What a line will need of a request, should there be one.
pub(super) struct Trail {
    method: Method,
    uri: Uri,
    id: Option<HeaderValue>,
    peer: SocketAddr,
    asks_for_values: bool,
}

/// Says which lines are written.
struct Sampler(Mutex<Second>);

struct Second {
    began: Instant,
    asked: u32,
    left_out: u32,
}

// === impl Audit ===

impl Audit {
    /// One that counts in this registry.
    pub fn new(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("requests", "Requests for values of metrics, by the code of the answer", requests.clone());
        Self { requests, callers: Sampler::new(), strangers: Sampler::new() }
    }

    /// Takes note of an answer. `caller` is `None` where nobody could be made out.
    pub(super) fn record(&self, trail: &Trail, caller: Option<&Caller>, response: &Response) {
        let status = response.status();
        if trail.asks_for_values {
            self.requests.get_or_create(&Code { code: status.as_u16() }).inc();
        }
        if !status.is_client_error() && !status.is_server_error() {
            return;
        }
        let user = caller.map(|caller| caller.user.as_str());
        let sampler = if user.is_some() { &self.callers } else { &self.strangers };
        let Some(left_out) = sampler.may_write() else { return };
        if left_out > 0 {
            tracing::info!(target: TARGET, left_out, identified = user.is_some(), "more requests denied or failed");
        }
        let Attributes { verb, target } = Attributes::of(&trail.method, &trail.uri);
        let (namespace, metric, path) = match &target {
            Target::Values { namespace, metric } => (Some(&**namespace), Some(&**metric), None),
            Target::Path => (None, None, Some(trail.uri.path())),
        };
        tracing::info!(
            target: TARGET,
            code = status.as_u16(),
            user = user.map(|user| &user[..user.floor_char_boundary(USER_MAX)]),
            verb,
            namespace,
            metric,
            path,
            reason = response.extensions().get::<Said>().map(|said| said.0.as_str()),
            audit_id = trail.id.as_ref().and_then(|id| id.to_str().ok()),
            peer = %trail.peer,
            "{}",
            if status.is_server_error() { "failed" } else { "denied" }
        );
    }
}

// === impl Trail ===

impl Trail {
    pub(super) fn of<B>(peer: &Peer, request: &Request<B>, asks_for_values: bool) -> Self {
        let id = request.headers().get(AUDIT_ID).filter(|id| id.len() <= ID_MAX).cloned();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { method, uri, id, peer: peer.address, asks_for_values }
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
        Self(Mutex::new(Second { began: Instant::now(), asked: 0, left_out: 0 }))
    }

    /// `None`, or how many were left out since the last one that was not.
    fn may_write(&self) -> Option<u32> {
        // Plain assignments: a panic leaves nothing half made.
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if second.began.elapsed() >= Duration::from_secs(1) {
            (second.began, second.asked) = (Instant::now(), 0);
        }
        if second.asked >= LINES_PER_SECOND {
            second.left_out = second.left_out.saturating_add(1);
            return None;
        }
        second.asked += 1;
        Some(std::mem::take(&mut second.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_so_many_lines_a_second_and_then_a_number() {
        let sampler = Sampler::new();
        for second in 0..5 {
            let written: Vec<u32> = (0..1000).filter_map(|_| sampler.may_write()).collect();
            let mut expected = [0; LINES_PER_SECOND as usize];
            expected[0] = if second == 0 { 0 } else { 1000 - LINES_PER_SECOND };
            assert_eq!(written, expected, "{second}");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}
