//! Failures in the words of an error message: cause and remedy.

use std::fmt::Display;

use crate::azure::atom::{EntityKind, Unknown};
use crate::azure::path::{EntityPath, FeedPath};
use crate::azure::{Client, Error, Reach, THROTTLED_PAUSE};
use crate::http::error::{Fault, StatusError, Unreachable};
use crate::metric::names;
use crate::source::service::{Failure, source_error};
use crate::source::{ErrorKind, Operation, SourceError};

/// How much of a path a message has: names have up to 260 characters.
const PATH_MAX: usize = 90;
/// What the service writes when a firewall rule of the namespace refuses the address of the client.
const IP_PREVENTED: &str = "Ip has been prevented";

const UNAUTHORIZED: &str = "Check `auth`: the policy needs the right Manage, an identity needs the role Azure Service Bus Data Owner. The log has the service's message.";
const CLOCK: &str = "Set the clock of this node (NTP): it differs from that of the service.";
const IP: &str = "The firewall of the namespace refuses this cluster: allow its outbound address under Networking, or use a private endpoint.";
const NO_SUCH_HOST: &str =
    "Check `namespace`: it is gone, or its name can't be resolved here, as with a private DNS zone that is not linked.";
const PRIVATE: &str = "Check the network path from depthgauge to the private endpoint of the namespace: NetworkPolicy, peering, firewall.";
const PUBLIC: &str = "If the namespace has a private endpoint, its DNS zone is not used here. Otherwise check NetworkPolicy, firewall and proxy.";
const NETWORK: &str = "Check the network path from depthgauge to the namespace: DNS, NetworkPolicy, firewall, proxy.";
const CERTIFICATE: &str = "Check that the service's certificate is trusted here: `tls.caFile`, `tls.serverName`.";
const THROTTLED: &str =
    "Service Bus limits its clients: raise `refresh`, or lower `maxRequestsPerSecond`. Messages need the same credits.";
const NOT_FOUND: &str = "Check `namespace` and `endpoint`: the service has no such address.";
const REDIRECT: &str = "Set `endpoint` to the address of the service itself; redirects are not followed.";
const NO_ENTITY: &str = "Check the name, `namespace` and the right to read it.";
const NO_RESPONSE: &str = "Check that no proxy answers for Service Bus: `endpoint`, `proxy`.";
const NO_COUNTS: &str = "Wait: the service does so while it limits its clients. If it stays, raise `refresh`.";
const NO_NUMBER: &str = "This is a failure of Service Bus, or of a proxy in front of it.";
const TOPIC: &str = "A topic has no messages of its own: name one of its subscriptions by `topic` and `subscription`.";
const CHANGED: &str = "Wait until no more queues or subscriptions are created and deleted.";
const TOO_LONG: &str = "Read single queues or subscriptions, or those of one topic.";

/// A request for an entity that brought none.
pub(super) fn of_entity(client: &Client, path: &EntityPath, error: &Error) -> SourceError {
    failed(client, path, error)
}

/// A request for a page of a list.
pub(super) fn of_list(client: &Client, feed: &FeedPath, error: &Error) -> SourceError {
    failed(client, feed, error)
}

fn failed(client: &Client, path: &dyn Display, error: &Error) -> SourceError {
    let about = format_args!("{path} of {}", client.namespace());
    match error {
        Error::Authenticate(error) => source_error(Operation::Read, about, &Failure::Authorize(error.clone())),
        Error::Http { error, reach, is_skewed } => {
            let mut translated = source_error(Operation::Read, about, &Failure::Http(error.clone()));
            translated.cause = located(translated.cause, *reach);
            if let Some(remedy) = remedy(&error.met().fault, *reach, *is_skewed) {
                translated.remedy = remedy;
            }
            translated
        }
        Error::NoSuchEntity => {
            let cause = absent(client.namespace(), &path.to_string(), client.principal());
            SourceError::new(Operation::Read, ErrorKind::NotFound, cause, NO_ENTITY, about.to_string())
        }
        Error::InvalidResponse(what) => {
            let cause = "the answer is not understood";
            trouble(Operation::Decode, cause, NO_RESPONSE, &format!("{what} ({about})"))
        }
    }
}

fn absent(namespace: impl Display, path: &str, principal: impl Display) -> String {
    format!("{namespace} has no {} for {principal}", names::shortened(path, PATH_MAX))
}

/// Where it is another one than that of any service.
fn remedy(fault: &Fault, reach: Option<Reach>, is_skewed: bool) -> Option<&'static str> {
    Some(match fault {
        Fault::Unreachable(Unreachable::NoSuchHost, _) => NO_SUCH_HOST,
        Fault::Unreachable(Unreachable::Tls, _) => CERTIFICATE,
        Fault::Unreachable(..) | Fault::TimedOut => match reach {
            Some(Reach::Private) => PRIVATE,
            Some(Reach::Public) => PUBLIC,
            None => NETWORK,
        },
        Fault::Status(status) => return of_status(status, is_skewed),
        _ => return None,
    })
}

fn of_status(status: &StatusError, is_skewed: bool) -> Option<&'static str> {
    Some(match (status.status, status.code.as_deref()) {
        _ if status.message.contains(IP_PREVENTED) => IP,
        (429 | 503, _) | (_, Some("50009")) => THROTTLED,
        (401, _) if is_skewed => CLOCK,
        (401 | 403, _) => UNAUTHORIZED,
        (404, _) => NOT_FOUND,
        (300..=399, _) => REDIRECT,
        _ => return None,
    })
}

/// An entity that is something else.
pub(super) fn of_kind(path: &EntityPath, kind: Option<EntityKind>) -> SourceError {
    match kind {
        Some(EntityKind::Topic) => {
            SourceError::new(Operation::Read, ErrorKind::NotFound, "it is a topic", TOPIC, path.to_string())
        }
        _ => trouble(Operation::Decode, "the answer is not understood", NO_RESPONSE, &format!("{path} is {kind:?}")),
    }
}

/// An entity whose counts are unknown.
pub(super) fn no_counts(path: &EntityPath, unknown: Unknown) -> SourceError {
    let (operation, remedy, retry_after) = match unknown {
        Unknown::NoCounts => (Operation::Read, NO_COUNTS, Some(THROTTLED_PAUSE)),
        Unknown::Missing(_) | Unknown::Malformed(_) => (Operation::Decode, NO_NUMBER, None),
    };
    SourceError { retry_after, ..trouble(operation, unknown.to_string(), remedy, &path.to_string()) }
}

/// A count above the largest value.
pub(super) fn no_number(path: &EntityPath, name: &'static str) -> SourceError {
    no_counts(path, Unknown::Malformed(name))
}

/// A read that waited for another one until its own deadline.
pub(super) fn late(feed: &FeedPath) -> SourceError {
    trouble(Operation::Read, "timed out", NETWORK, &feed.to_string())
}

/// A list that changed each time between two of its pages.
pub(super) fn changed(feed: &FeedPath) -> SourceError {
    trouble(Operation::Read, "the list changed while it was read", CHANGED, &feed.to_string())
}

/// A list with more pages than are read.
pub(super) fn too_long(feed: &FeedPath) -> SourceError {
    trouble(Operation::Read, "the list has more than 10,000 entities", TOO_LONG, &feed.to_string())
}

fn located(cause: String, reach: Option<Reach>) -> String {
    match reach {
        Some(reach) => format!("{cause}, at {reach}"),
        None => cause,
    }
}

fn trouble(operation: Operation, cause: impl Into<String>, remedy: &'static str, detail: &str) -> SourceError {
    SourceError::new(operation, ErrorKind::Transient, cause, remedy, detail)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use http::HeaderMap;

    use super::*;

    fn unreachable(kind: Unreachable) -> Fault {
        Fault::Unreachable(kind, Arc::new(io::Error::other("no")))
    }

    fn status(status: u16, code: Option<&str>, message: &str) -> Fault {
        Fault::Status(Box::new(StatusError {
            status,
            code: code.map(str::to_owned),
            message: message.to_owned(),
            location: None,
            retry_after: None,
            headers: HeaderMap::new(),
        }))
    }

    #[test]
    fn a_long_path_is_cut_visibly() {
        let said = absent("shop", &format!("/{}", "x".repeat(300)), "identity");
        assert!(said.starts_with("shop has no /xxx") && said.ends_with("xxx… for identity"), "{said}");
        assert_eq!(absent("shop", "/orders", "identity"), "shop has no /orders for identity");
    }

    #[test]
    fn a_connection_without_an_answer_is_private_or_public() {
        let reaches = [(Some(Reach::Private), PRIVATE), (Some(Reach::Public), PUBLIC), (None, NETWORK)];
        for (reach, expected) in reaches {
            let kinds = [Unreachable::Refused, Unreachable::Late, Unreachable::Lost, Unreachable::LostNearby];
            for fault in kinds.map(unreachable).into_iter().chain([Fault::TimedOut]) {
                assert_eq!(remedy(&fault, reach, false), Some(expected), "{fault:?} {reach:?}");
            }
            assert_eq!(remedy(&unreachable(Unreachable::NoSuchHost), reach, false), Some(NO_SUCH_HOST));
            assert_eq!(remedy(&unreachable(Unreachable::Tls), reach, false), Some(CERTIFICATE));
        }
        assert_eq!(remedy(&Fault::TooLong(1), None, false), None);
    }

    #[test]
    fn each_status_has_its_remedy() {
        let ip = "Ip has been prevented to connect to the endpoint.";
        for (code, own, message, is_skewed, expected) in [
            (401, None, "claim is empty or token is invalid.", false, Some(UNAUTHORIZED)),
            (401, None, "ExpiredToken: the token is expired.", true, Some(CLOCK)),
            (401, None, ip, true, Some(IP)),
            (403, None, "", false, Some(UNAUTHORIZED)),
            (403, None, ip, false, Some(IP)),
            (404, None, "", false, Some(NOT_FOUND)),
            (429, None, "", false, Some(THROTTLED)),
            (503, None, "", false, Some(THROTTLED)),
            (500, Some("50009"), "", false, Some(THROTTLED)),
            (500, Some("40000"), "", false, None),
            (302, None, "", false, Some(REDIRECT)),
            (400, None, "Bad Request", false, None),
        ] {
            let found = remedy(&status(code, own, message), None, is_skewed);
            assert_eq!(found, expected, "{code} {own:?} {message:?} {is_skewed}");
        }
    }
}
