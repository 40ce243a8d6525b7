//! Failures of a scrape as source errors: operation, cause and remedy. Addresses of pods are for the log only.

use std::net::SocketAddr;

use http::header::CONTENT_TYPE;

use super::fleet;
use super::reading::Invalid;
use crate::endpoints::Unavailable;
use crate::endpoints::slices::NoTargets;
use crate::exposition::Format;
use crate::http::Response;
use crate::http::error::Fault;
use crate::source::service::{self, Failure};
use crate::source::{ErrorKind, OpenError, Operation, SourceError};

/// The pods of the Service are unknown. A missing right is for the operator of depthgauge, and not for the
/// HPA: its YAML is in the log.
pub(super) fn unavailable(error: &Unavailable) -> SourceError {
    match error {
        Unavailable::Cluster(service, why) => SourceError::new(
            Operation::List,
            ErrorKind::Transient,
            format!("the EndpointSlices of Service {service} can't be watched"),
            "Install component scrape of depthgauge's manifests, or set scrape.enabled of its chart. The log has the cause.",
            &**why,
        ),
        Unavailable::NoCluster => SourceError::new(
            Operation::List,
            ErrorKind::Transient,
            error.to_string(),
            "Query it with `depthgauge get`, without `--config`.",
            "",
        ),
        Unavailable::NoTargets(error @ NoTargets::Port { .. }) => {
            SourceError::new(Operation::List, ErrorKind::NotFound, error.to_string(), "Correct `port`.", "")
        }
        Unavailable::NoTargets(error @ NoTargets::Many(_)) => SourceError::new(
            Operation::List,
            ErrorKind::Transient,
            error.to_string(),
            "Use Prometheus and a source of type prometheus.",
            "",
        ),
    }
}

/// A request to a pod failed.
pub(super) fn source_error(address: SocketAddr, failure: &Failure) -> SourceError {
    let error = service::source_error(Operation::Read, format_args!("pod at {address}"), failure);
    // A pod that refuses is one of many, so that the others still count.
    let error = SourceError { kind: ErrorKind::Transient, ..error };
    let Failure::Http(failed) = failure else { return error };
    let remedy = match &failed.met().fault {
        Fault::Unreachable(..) | Fault::TimedOut => {
            "Check `port`, and that a NetworkPolicy lets depthgauge reach the pods."
        }
        Fault::Status(status) => match status.status {
            401 | 403 => "Check `auth` of the source and the files that it names.",
            200..=299 | 404 => "Check `path` and `port`.",
            300..=399 => "Correct `path`, `port` or `scheme`: redirects are not followed.",
            _ => return error,
        },
        Fault::TooLong(_) => "Expose less: the response is too long.",
        _ => return error,
    };
    SourceError { remedy, ..error }
}

/// A pod whose address can't be requested, or whose certificates can't be loaded.
pub(super) fn no_instance(address: SocketAddr, error: &OpenError) -> SourceError {
    let detail = format!("{error} (pod at {address})");
    SourceError::new(
        Operation::Read,
        ErrorKind::Transient,
        "its address can't be requested",
        "The log has the cause.",
        detail,
    )
}

/// Other requests of all sources took the time of the read.
pub(super) fn crowded() -> SourceError {
    SourceError::new(
        Operation::Read,
        ErrorKind::Transient,
        "timed out while too many pods were requested",
        "Raise `timeout` and `refresh` of the sources of type scrape.",
        "",
    )
}

/// The format of a response, which must be whole. As for Prometheus before version 3, every type but OpenMetrics is the
/// text format. The reason is that programs exist that send another type, and a page of another kind does not parse.
pub(super) fn format(response: &Response) -> Result<Format, SourceError> {
    let content_type = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = content_type.and_then(Format::of).unwrap_or(Format::Text);
    // OpenMetrics has an end of its own.
    if format == Format::Text && response.may_be_cut() {
        return Err(service::cut(Operation::Read));
    }
    Ok(format)
}

/// What a pod exposes can't be used.
pub(super) fn invalid(address: SocketAddr, invalid: &Invalid) -> SourceError {
    let (cause, remedy) = match invalid {
        Invalid::Many => return fleet::too_many(format!("pod at {address}")),
        Invalid::Syntax(_) => (
            "the answer of a pod is not a valid exposition".to_owned(),
            "Check `path` and `port`, and the program: promtool check metrics.",
        ),
        Invalid::Twice => (invalid.to_string(), "Correct the program: a series has one number."),
        Invalid::Old => (invalid.to_string(), "Check what the program repeats, and its clock."),
        Invalid::Empty => (
            invalid.to_string(),
            "Check `path` and `port`. A program that has counted nothing yet must expose another metric.",
        ),
    };
    SourceError::new(Operation::Decode, ErrorKind::Transient, cause, remedy, format!("{invalid} (pod at {address})"))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::HeaderValue;

    use super::*;

    #[test]
    fn a_text_without_a_length_ends_with_a_line() {
        for (content_type, body, is_framed, expected) in [
            ("text/plain; version=0.0.4", "m 12345\n", false, Some(Format::Text)),
            ("text/plain; version=0.0.4", "m 12", false, None),
            ("text/html", "m 12", false, None),
            ("text/plain; version=0.0.4", "m 12", true, Some(Format::Text)),
            // It ends with # EOF, or is invalid.
            ("application/openmetrics-text", "m 12", false, Some(Format::OpenMetrics)),
        ] {
            let headers: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static(content_type))].into_iter().collect();
            let response = Response { headers, body: body.into(), is_framed, request_id: None, permit: None };
            assert_eq!(format(&response).ok(), expected, "{content_type} {body:?} {is_framed}");
        }
    }
}
