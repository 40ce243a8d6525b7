//! From a request to its answer: faults, body, signature, path, operation, in this order.
//!
//! Everything under the service's base path is signed. `/faults` and `/queues/OCID`, which are no
//! part of the service, are not, so they are for this machine only. Listeners and connections are
//! in [`server`](crate::server).

use std::net::SocketAddr;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Answer};
use crate::fault::{self, Fault, Rule};
use crate::operation::{BASE_PATH, Call, Operation};
use crate::parameters::Parameters;
use crate::payload::Body;
use crate::requests::MOST_AT_ONCE;
use crate::{Emulator, control_plane, data_plane, setup, signature};

/// The largest body read: a full PutMessages of the service's large messages, 512 KiB each.
const MAX_BODY: usize = MOST_AT_ONCE * 512 * 1024;

/// The connection ends without an answer to this request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Severed {
    #[error("closed without an answer")]
    Closed,
    #[error("reset without an answer")]
    Reset,
}

/// Answers one request. `closing` is cancelled when the server stops: a request that waits for a
/// message then gets none, and one that hangs ends without an answer.
pub(crate) async fn respond(
    emulator: &Emulator,
    peer: SocketAddr,
    request: Request<Incoming>,
    closing: &CancellationToken,
) -> Result<Response<Body>, Severed> {
    let request_id = answer::request_id(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answer = if path.strip_prefix(BASE_PATH).is_some_and(|rest| rest.starts_with('/')) {
        let met = tokio::select! {
            // First, so that only what is held is let go: the rest is still answered.
            biased;
            met = meet(emulator, &method, &path) => met,
            () = closing.cancelled() => return Err(Severed::Closed),
        };
        let fault = met.as_ref().map(|rule| rule.fault);
        if fault == Some(Fault::Reset) {
            return Err(Severed::Reset);
        }
        let answer = match fault.and_then(fault::instead) {
            Some(answer) => answer,
            None => signed(emulator, request, closing).await.unwrap_or_else(|refusal| refusal),
        };
        match met {
            Some(rule) => fault::distort(&rule, answer),
            None => answer,
        }
    } else if peer.ip().to_canonical().is_loopback() {
        control(emulator, request).await.unwrap_or_else(|refusal| refusal)
    } else {
        Answer::no_such_path()
    };
    tracing::debug!(%method, path, status = answer.status.as_u16(), ?request_id, "answered");
    Ok(answer.into_response(request_id, (emulator.shared.clock)()))
}

/// The fault that a request meets, once it is not held any more.
async fn meet(emulator: &Emulator, method: &Method, path: &str) -> Option<std::sync::Arc<Rule>> {
    let call = Call::parse(method, path).ok();
    let id = call.and_then(|call| call.queue());
    let queue = id.and_then(|id| emulator.queue_with_id(id));
    let names: Vec<&str> = id.into_iter().chain(queue.as_ref().map(|queue| queue.name())).collect();
    emulator.shared.fault.pass(call.map(|call| call.operation), &names).await
}

/// What is said to the emulator and not to the service. Both sides are answers: refusals travel
/// on the error side.
async fn control(emulator: &Emulator, request: Request<Incoming>) -> Result<Answer, Answer> {
    let (parts, body) = read(request).await?;
    let path = parts.uri.path();
    if let Some(id) = path.strip_prefix("/queues/") {
        return setup::answer(emulator, &parts.method, id, &body);
    }
    if path != "/faults" {
        return Err(Answer::no_such_path());
    }
    let rules = match parts.method {
        Method::PUT => fault::rules(&body)?,
        Method::DELETE => Vec::new(),
        _ => return Err(Answer::wrong_method()),
    };
    emulator.set_faults(rules);
    Ok(Answer::done())
}

async fn signed(
    emulator: &Emulator,
    request: Request<Incoming>,
    closing: &CancellationToken,
) -> Result<Answer, Answer> {
    let (parts, body) = read(request).await?;
    let now = (emulator.shared.clock)();
    signature::verify(&parts, &body, &emulator.shared.keys, now).map_err(|why| {
        tracing::debug!(%why, "signature refused");
        Answer::not_authenticated(&why)
    })?;
    perform(emulator, &parts, &body, closing).await
}

async fn perform(
    emulator: &Emulator,
    parts: &Parts,
    body: &[u8],
    closing: &CancellationToken,
) -> Result<Answer, Answer> {
    let Call { operation, id, receipt } = Call::parse(&parts.method, parts.uri.path())?;
    let parameters = &Parameters::parse(&parts.uri)?;
    let queue = || emulator.queue_with_id(id).ok_or_else(Answer::no_such_queue);
    // For producers and consumers, a queue that does not work is the same as none.
    let working = || {
        let queue = queue()?;
        if queue.settings().lifecycle.works() { Ok(queue) } else { Err(Answer::no_such_queue()) }
    };
    match operation {
        Operation::GetQueue => control_plane::describe(&*queue()?, parts),
        Operation::ListQueues => control_plane::queues(&emulator.queues(), parameters, parts),
        Operation::ListConsumerGroups => control_plane::groups(&emulator.queues(), parameters),
        Operation::GetConsumerGroup => control_plane::group(&emulator.queues(), id),
        Operation::GetStats => data_plane::stats(&*working()?, parameters),
        Operation::ListChannels => data_plane::channels(&*working()?, parameters),
        Operation::PutMessages => data_plane::put(&*working()?, body),
        Operation::GetMessages => data_plane::take(&*working()?, parameters, closing).await,
        Operation::UpdateMessage => data_plane::update(&*working()?, parameters, receipt, body),
        Operation::UpdateMessages => data_plane::update_all(&*working()?, parameters, body),
        Operation::DeleteMessage => data_plane::delete(&*working()?, parameters, receipt),
        Operation::DeleteMessages => data_plane::delete_all(&*working()?, parameters, body),
    }
}

async fn read(request: Request<Incoming>) -> Result<(Parts, Bytes), Answer> {
    let (parts, body) = request.into_parts();
    // A body whose length is already too large is not read.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(Answer::too_large(MAX_BODY));
    }
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            Answer::too_large(MAX_BODY)
        } else {
            Answer::unreadable("The request body ended early.")
        }
    })?;
    Ok((parts, body.to_bytes()))
}
