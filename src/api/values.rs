//! The value path: selector in, list or refusal out.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri, header};

use super::encode;
use crate::lookup::{Catalog, LookupError};
use crate::metric::Namespace;
use crate::refusal::Refusal;
use crate::request::{Admitted, query_value};
use crate::selector::Selector;

/// What can be had, as a 406 lists it.
const MEDIA_TYPES: &str = "application/json";

/// `GET …/namespaces/{namespace}/{metric}?labelSelector=…`
pub(super) async fn values(
    State(catalog): State<Arc<Catalog>>,
    admitted: Option<Extension<Admitted>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    // Not admitted, and not refused either: the path is no metric's after all.
    let Some(Extension(Admitted { namespace, metric, verb })) = admitted else {
        return Err(Refusal::not_found("the server could not find the requested resource"));
    };
    if verb == "watch" {
        return Err(Refusal::method_not_allowed(format!(
            "{metric} cannot be watched: ask for it again and again, as the HPA controller does (kubectl get without -w)"
        )));
    }
    if !accepts_json(&headers) {
        return Err(Refusal::not_acceptable(MEDIA_TYPES));
    }
    let selector = query_value(uri.query(), "labelSelector").unwrap_or_default();
    let selector = Selector::parse(&selector).map_err(|error| Refusal::bad_request(error.to_string()))?;
    let samples =
        catalog.answer(&Namespace::new(&namespace), &metric, &selector).await.map_err(|error| refusal(&error))?;
    let body = encode::json(&samples).map_err(|error| Refusal::internal(error.to_string()))?;
    Ok(super::json(body))
}

/// `kubectl get METRIC -A`
pub(super) async fn all_namespaces() -> Refusal {
    Refusal::not_found(
        "metrics are read in one namespace at a time: say which, as in `kubectl get oci_queue_length -n shop`",
    )
}

/// `kubectl get METRIC NAME`
pub(super) async fn by_name() -> Refusal {
    Refusal::not_found(
        "values are picked by label, not by name: write `-l queue=NAME`, as in `kubectl get oci_queue_length -n shop -l queue=orders`",
    )
}

fn refusal(error: &LookupError) -> Refusal {
    let message = error.to_string();
    match error {
        LookupError::NoSuchMetric { .. } | LookupError::NoMatch(_) => Refusal::not_found(message),
        LookupError::NoSuchKey { .. } => Refusal::bad_request(message),
        LookupError::Unavailable(_) => Refusal::unavailable(message),
    }
}

/// Whether JSON is among what the caller takes. client-go asks for protobuf first and takes
/// whatever comes, by its Content-Type.
fn accepts_json(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if ranges.peek().is_none() {
        return true;
    }
    ranges.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        !refused && matches!(media_type.as_str(), "" | "*/*" | "application/*" | "application/json")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_take() {
        for (accept, takes) in [
            ("application/vnd.kubernetes.protobuf, */*", true),
            ("application/json, */*", true),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", true),
            ("application/*", true),
            ("application/vnd.kubernetes.protobuf", false),
            ("application/json;q=0, text/html", false),
            ("text/html", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(accepts_json(&headers), takes, "{accept}");
        }
        assert!(accepts_json(&HeaderMap::new()));
    }
}
