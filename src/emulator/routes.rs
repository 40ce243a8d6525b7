//! From a request to its answer: faults, body, signature, path, operation, in this order.
//!
//! Everything under the service's base path is signed; `/faults`, which is no part of the
//! service, is not, so the emulator belongs on a loopback address. Knows nothing of listeners
//! and connections: that is [`server`](super::server).

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::Query;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::Emulator;
use super::answer::{self, Answer};
use super::documents::{self, DeliveryDocument, MOST_PUT, MessagesDocument, QueueDocument, StoredDocument};
use super::fault::Fault;
use super::queue::{EmulatedQueue, LONGEST_WAIT, MAX_VISIBILITY};
use super::signature;
use crate::oci::queue::{BASE_PATH, QueueStats, Stats};

/// The largest body read: a full PutMessages of the service's large messages, 512 KiB each.
const MAX_BODY: usize = MOST_PUT * 512 * 1024;

/// The most messages that one GetMessages returns.
const MOST_TAKEN: usize = 32;

/// The connection ends without an answer to this request.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
pub(crate) struct Severed;

/// What a path names. Nothing is percent-decoded: neither OCIDs nor our receipts have a
/// character that a client would encode.
enum Resource<'a> {
    Queue,
    Stats,
    Messages,
    Message(&'a str),
}

/// The query parameters of all operations together.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    visibility_in_seconds: Option<u64>,
    timeout_in_seconds: Option<u64>,
    limit: Option<usize>,
    channel_id: Option<String>,
    channel_filter: Option<String>,
    consumer_group_id: Option<String>,
}

/// Answers one request. `closing` is cancelled when the server stops: whoever waits for a
/// message then gets none, and whoever hangs is let go without an answer.
pub(crate) async fn respond(
    emulator: &Emulator,
    peer: SocketAddr,
    request: Request<Incoming>,
    closing: &CancellationToken,
) -> Result<Response<Full<Bytes>>, Severed> {
    let request_id = answer::request_id(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // Unsigned, so for this machine only.
    let answer = if path == "/faults" && peer.ip().to_canonical().is_loopback() {
        order_fault(emulator, request).await
    } else if path.strip_prefix(BASE_PATH).is_some_and(|rest| rest.starts_with('/')) {
        let passed = tokio::select! {
            // First, so that only what is held is let go: the rest is still answered.
            biased;
            passed = emulator.shared.fault.pass() => passed,
            () = closing.cancelled() => return Err(Severed),
        };
        match passed {
            Ok(()) => signed(emulator, request, closing).await,
            Err(fault) => Err(fault),
        }
    } else {
        Err(Answer::no_such_path())
    };
    let answer = answer.unwrap_or_else(|refusal| refusal);
    tracing::debug!(%method, path, status = answer.status().as_u16(), ?request_id, "answered");
    Ok(answer.into_response(request_id, (emulator.shared.clock)()))
}

/// Both sides are answers: refusals travel on the error side.
async fn order_fault(emulator: &Emulator, request: Request<Incoming>) -> Result<Answer, Answer> {
    let (parts, body) = read(request).await?;
    let fault = match parts.method {
        Method::PUT => Some(Fault::parse(&body)?),
        Method::DELETE => None,
        _ => return Err(Answer::wrong_method()),
    };
    emulator.set_fault(fault);
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
    let (queue_id, resource) = Resource::parse(parts.uri.path()).ok_or_else(Answer::no_such_path)?;
    let queue = emulator.shared.queues.iter().find(|queue| queue.id().as_str() == queue_id);
    let queue = queue.ok_or_else(Answer::no_such_queue)?;
    match (resource, &parts.method) {
        (Resource::Queue, &Method::GET) => describe(queue, &parts),
        (Resource::Stats, &Method::GET) => stats(queue, &parts.uri),
        (Resource::Messages, &Method::GET) => take(queue, &parts.uri, closing).await,
        (Resource::Messages, &Method::POST) => put(queue, &parts.uri, &body),
        (Resource::Message(receipt), &Method::DELETE) => delete(queue, &parts.uri, receipt),
        _ => Err(Answer::wrong_method()),
    }
}

async fn read(request: Request<Incoming>) -> Result<(Parts, Bytes), Answer> {
    let (parts, body) = request.into_parts();
    // What says that it is too large is not waited for.
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

// === the operations ===

fn describe(queue: &EmulatedQueue, parts: &Parts) -> Result<Answer, Answer> {
    Parameters::parse(&parts.uri)?;
    let host = parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = host.ok_or_else(|| Answer::unreadable("The host header is not readable."))?;
    Ok(Answer::document(&QueueDocument::new(queue, host)))
}

fn stats(queue: &EmulatedQueue, uri: &Uri) -> Result<Answer, Answer> {
    Parameters::parse(uri)?;
    // True, not a placeholder: without dead lettering nothing can be in there.
    let dlq = Stats { visible_messages: 0, in_flight_messages: 0, size_in_bytes: 0 };
    queue.count_read();
    Ok(Answer::document(&QueueStats { queue: queue.stats(), dlq }))
}

async fn take(queue: &EmulatedQueue, uri: &Uri, closing: &CancellationToken) -> Result<Answer, Answer> {
    let parameters = Parameters::parse(uri)?;
    let limit = parameters.limit.unwrap_or(1);
    if !(1..=MOST_TAKEN).contains(&limit) {
        return Err(Answer::invalid(&format!("limit must be 1 to {MOST_TAKEN}, not {limit}")));
    }
    let visibility = parameters.visibility_in_seconds.map_or(queue.visibility(), Duration::from_secs);
    if visibility > MAX_VISIBILITY {
        let most = MAX_VISIBILITY.as_secs();
        return Err(Answer::invalid(&format!("visibilityInSeconds must be 0 to {most}")));
    }
    let patience = parameters.timeout_in_seconds.map_or(LONGEST_WAIT, Duration::from_secs);
    let taken = tokio::select! {
        // First, so that what was taken is also handed out.
        biased;
        taken = queue.wait(limit, visibility, patience) => taken,
        () = closing.cancelled() => Vec::new(),
    };
    let messages: MessagesDocument<_> = taken.into_iter().map(DeliveryDocument::from).collect();
    Ok(Answer::document(&messages))
}

fn put(queue: &EmulatedQueue, uri: &Uri, body: &[u8]) -> Result<Answer, Answer> {
    Parameters::parse(uri)?;
    let stored = queue.put(documents::contents_to_put(body)?);
    let messages: MessagesDocument<_> = stored.into_iter().map(StoredDocument::from).collect();
    Ok(Answer::document(&messages))
}

fn delete(queue: &EmulatedQueue, uri: &Uri, receipt: &str) -> Result<Answer, Answer> {
    Parameters::parse(uri)?;
    if queue.delete(receipt) { Ok(Answer::done()) } else { Err(Answer::no_such_message()) }
}

// === impl Resource ===

impl<'a> Resource<'a> {
    /// The queue's OCID and what of the queue is meant.
    fn parse(path: &'a str) -> Option<(&'a str, Self)> {
        let rest = path.strip_prefix(BASE_PATH)?.strip_prefix("/queues/")?;
        let segments: Vec<&str> = rest.split('/').collect();
        match segments[..] {
            [id] => Some((id, Self::Queue)),
            [id, "stats"] => Some((id, Self::Stats)),
            [id, "messages"] => Some((id, Self::Messages)),
            [id, "messages", receipt] => Some((id, Self::Message(receipt))),
            _ => None,
        }
    }
}

// === impl Parameters ===

impl Parameters {
    /// Refuses what would change an answer and is not emulated: ignoring a channel would make
    /// the queue's figure look like the channel's.
    fn parse(uri: &Uri) -> Result<Self, Answer> {
        let Query(parameters) =
            Query::<Self>::try_from_uri(uri).map_err(|error| Answer::invalid(&error.body_text()))?;
        for (name, value) in [
            ("channelId", &parameters.channel_id),
            ("channelFilter", &parameters.channel_filter),
            ("consumerGroupId", &parameters.consumer_group_id),
        ] {
            if value.is_some() {
                return Err(Answer::invalid(&format!("{name} is not emulated: only whole queues are")));
            }
        }
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources() {
        let parse = |rest: &str| Resource::parse(&format!("/20210201{rest}")).is_some();
        for known in ["/queues/q", "/queues/q/stats", "/queues/q/messages", "/queues/q/messages/r"] {
            assert!(parse(known), "{known}");
        }
        for unknown in
            ["", "/", "/queues", "/queues/q/", "/queues/q/stat", "/queues/q/stats/", "/queues/q/messages/r/x"]
        {
            assert!(!parse(unknown), "{unknown}");
        }
        assert!(Resource::parse("/20210202/queues/q").is_none());
    }

    #[test]
    fn parameters_are_numbers_and_nothing_that_is_not_emulated() {
        let parse = |query: &str| Parameters::parse(&format!("/x?{query}").parse().unwrap());
        let parameters = parse("limit=3&timeoutInSeconds=0&visibilityInSeconds=60&new=1").unwrap();
        assert_eq!(
            (parameters.limit, parameters.timeout_in_seconds, parameters.visibility_in_seconds),
            (Some(3), Some(0), Some(60))
        );
        assert!(Parameters::parse(&Uri::from_static("/x")).is_ok());
        for bad in
            ["limit=", "limit=a", "limit=-1", "limit=1&limit=2", "channelId=", "channelFilter=a", "consumerGroupId=b"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
