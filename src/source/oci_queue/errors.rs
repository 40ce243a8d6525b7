//! Translates client errors to source errors: operation, cause and remedy.

use std::error::Error;
use std::fmt::Arguments;

use crate::http::error::{FEWER_LONG_ANSWERS, Fault, OPEN_FILES, Unreachable, and_causes};
use crate::http::proxy::PROXY_REMEDY;
use crate::oci;
use crate::oci::endpoint::Endpoint;
use crate::oci::queue::QueueId;
use crate::oci::region::Region;
use crate::source::{ErrorKind, Operation, SourceError};

/// Whether the queue may have moved to another messages endpoint. A time-out is no sign of that, unless
/// the endpoint is `down`: no request gets a response there.
pub(super) fn may_have_moved(error: &oci::Error, down: bool) -> bool {
    match error {
        oci::Error::Http(error) => matches!(error.fault, Fault::Unreachable(..)) || down,
        oci::Error::Service(error) => error.status == 404,
        _ => false,
    }
}

/// Translates a client error. `about` is the requested OCID and the endpoint, for the log.
pub(super) fn source_error(operation: Operation, about: Arguments<'_>, error: &oci::Error) -> SourceError {
    if let oci::Error::NotSent(met, retry_after) = error {
        return source_error(operation, about, met).not_sent(*retry_after);
    }
    let request_id = error.request_id();
    let (operation, remedy) = match error {
        oci::Error::SignIn(error) => (Operation::Authenticate, error.remedy),
        oci::Error::SigningFailed => (Operation::Authenticate, "Use an RSA key of 2048 bits or more."),
        oci::Error::InvalidResponse(..) => {
            (Operation::Decode, "Check that the endpoint is OCI Queue and no proxy answers for it.")
        }
        oci::Error::Http(error) => (operation, connection_remedy(&error.fault)),
        oci::Error::Service(error) => (operation, service_remedy(error)),
        // Returned above.
        oci::Error::NotSent(..) => (operation, connection_remedy(&Fault::TimedOut)),
    };
    let cause = match error {
        // The exact error may differ between responses, and the cause must stay the same.
        oci::Error::InvalidResponse(..) => "the answer is not understood".to_owned(),
        _ => error.to_string(),
    };
    let detail = detail(about, request_id, error);
    let (retry_after, grant) = match error {
        oci::Error::Service(error) => (error.retry_after, error.policy.clone()),
        _ => (None, None),
    };
    let request_id = request_id.map(Box::from);
    let responded = !matches!(error, oci::Error::Http(error) if error.fault.is_without_response());
    SourceError { operation, kind: kind(error), responded, cause, remedy, detail, grant, request_id, retry_after }
}

/// The same for one queue. It also detects a request to another region than that of the OCID.
pub(super) fn of_queue(operation: Operation, id: &QueueId, asked: &Endpoint, error: &oci::Error) -> SourceError {
    let met = source_error(operation, format_args!("{id} at {asked}"), error);
    match (met.kind, Region::find(id.region()), Region::at(asked)) {
        (ErrorKind::NotFound, Some(of_id), Some(asked)) if of_id != asked => SourceError {
            cause: format!("{}, and {} was queried for a queue of {}", met.cause, asked.name, of_id.name),
            remedy: "Set `oci.region`, or the `endpoint` that overrides it, to the region in the queue's OCID.",
            ..met
        },
        _ => met,
    }
}

/// OCI returns 404 for a queue that does not exist and for one without access.
fn kind(error: &oci::Error) -> ErrorKind {
    match error {
        oci::Error::Service(error) if matches!(error.status, 403 | 404) => ErrorKind::NotFound,
        _ => ErrorKind::Transient,
    }
}

fn connection_remedy(fault: &Fault) -> &'static str {
    match fault {
        Fault::Unreachable(Unreachable::Tls, _) => "Check that the endpoint's certificate is trusted here.",
        Fault::Proxy(..) => PROXY_REMEDY,
        Fault::NoSocket => OPEN_FILES,
        Fault::NoRoom => FEWER_LONG_ANSWERS,
        Fault::Unreachable(..) => {
            "Check the network path from depthgauge to the endpoint: DNS, NetworkPolicy, service gateway."
        }
        _ => "Check the network path from depthgauge to the endpoint, and the service's status.",
    }
}

fn service_remedy(error: &oci::ServiceError) -> &'static str {
    match error.status {
        401 if error.clock_skewed => "Set the clock of this node (NTP).",
        401 => error.method.when_refused(),
        403 | 404 => {
            "No such queue or no policy: check `queueId` and region, and that a policy allows this principal to use it."
        }
        429 => "Raise `refresh`, or request a higher service limit.",
        300..=399 => "Set `endpoint` to the address of the service itself; redirects are not followed.",
        500.. => "This is a failure on the OCI side: see its status page.",
        _ => "The log has the service's message.",
    }
}

/// All details, for the log: the message of the service and every inner error.
fn detail(about: Arguments<'_>, request_id: Option<&str>, error: &oci::Error) -> String {
    let text = match error {
        oci::Error::SignIn(sign_in) => format!("{error} ({})", sign_in.detail),
        oci::Error::Service(service) => format!("{error}: {}", service.message),
        _ => error.to_string(),
    };
    let text = said_of(&and_causes(text, error.source()), about, request_id);
    match error {
        oci::Error::Service(oci::ServiceError { policy: Some(policy), .. }) => {
            format!("{text}; if no policy allows it yet, this one does: {policy}")
        }
        _ => text,
    }
}

/// A text for the log, with its OCID, endpoint and request ID.
pub(super) fn said_of(text: &str, about: Arguments<'_>, request_id: Option<&str>) -> String {
    let request_id = request_id.map(|id| format!(", opc-request-id {id}")).unwrap_or_default();
    format!("{text} ({about}{request_id})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::credentials::Method;

    fn answer(status: u16) -> oci::Error {
        oci::Error::Service(oci::ServiceError {
            status,
            code: None,
            message: String::new(),
            request_id: None,
            clock_skewed: false,
            method: Method::ApiKey,
            retry_after: None,
            policy: None,
        })
    }

    #[test]
    fn a_queue_that_is_sought_in_another_region_is_told_of() {
        let ashburn: Endpoint = "https://messaging.us-ashburn-1.oci.oraclecloud.com".parse().unwrap();
        let emulator: Endpoint = "http://127.0.0.1:8080".parse().unwrap();
        for (id, asked, status, told) in [
            ("ocid1.queue.oc1.eu-frankfurt-1.a", &ashburn, 404, true),
            ("ocid1.queue.oc1.fra.a", &ashburn, 404, true),
            ("ocid1.queue.oc1.iad.a", &ashburn, 404, false),
            ("ocid1.queue.oc1.new-region-9.a", &ashburn, 404, false),
            ("ocid1.queue.oc1.eu-frankfurt-1.a", &emulator, 404, false),
            ("ocid1.queue.oc1.eu-frankfurt-1.a", &ashburn, 500, false),
        ] {
            let found = of_queue(Operation::Endpoint, &id.parse().unwrap(), asked, &answer(status));
            assert_eq!(found.cause.contains("us-ashburn-1 was queried for a queue of eu-frankfurt-1"), told, "{id}");
        }
    }
}
