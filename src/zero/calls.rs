//! Calls to kube-apiserver: their deadline, and why one failed.

use std::time::Duration;

use kube::core::Status;

use crate::rbac::{Grant, LATE};

/// The deadline of a call: kube-apiserver answers in milliseconds or is in trouble. What a holder of
/// the Lease has begun is over before another one may act.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a call changed nothing, or read nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScaleError {
    /// Reported to the HPA's owner.
    #[error("{0}")]
    Wrong(String),
    /// Reported to the HPA's owner: there is no such workload, or no such kind.
    #[error("{0}")]
    Gone(String),
    /// The object has changed since it was read.
    #[error("somebody has changed it at the same moment")]
    Conflict,
    /// kube-apiserver does not answer, or fails: no fault of the HPA.
    #[error("{0}")]
    Trouble(String),
}

/// Sets the deadline of a call, because kube has none of its own.
pub(super) async fn in_time<T>(call: impl Future<Output = T>) -> Result<T, ScaleError> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(|_| ScaleError::Trouble(LATE.to_owned()))
}

/// Why a call failed that needs `verbs` on a resource of a group, both by name.
pub(super) fn refused(
    error: &kube::Error,
    (group, resource): (&str, &str),
    namespace: &str,
    verbs: &[&str],
) -> ScaleError {
    match error {
        kube::Error::Api(status) if status.code == 403 && is_rbac(status) => {
            ScaleError::Wrong(may_not(group, resource, namespace, verbs, status))
        }
        // An admission webhook refuses, or the replicas do not make a scale.
        kube::Error::Api(status) if !is_passing(status) => ScaleError::Wrong(answered(error)),
        _ => ScaleError::Trouble(answered(error)),
    }
}

/// Whether the request is not at fault and may succeed the next time: an expired token, a busy or a
/// failing server.
pub(super) fn is_passing(refused: &Status) -> bool {
    matches!(refused.code, 401 | 408 | 429 | 500..)
}

/// Whether a right is missing. An admission webhook also refuses with 403, for reasons of its own.
pub(super) fn is_rbac(refused: &Status) -> bool {
    refused.message.contains("User \"") && refused.message.contains(" cannot ")
}

/// Which right is missing, and the remedy. kube-apiserver's message is left out, because an Event has
/// no room for both. The remedy grants all objects of the kind, as component scale-to-zero does.
pub(super) fn may_not(group: &str, resource: &str, namespace: &str, verbs: &[&str], refused: &Status) -> String {
    let grant = Grant { group, resource, name: "", namespace: Some(namespace), verbs };
    let of = if group.is_empty() { String::new() } else { format!(" of {group}") };
    format!("it may not {} {resource}{of} in {namespace}; {}", verbs.join(", "), grant.remedy(refused))
}

/// Why a call failed: the same text for the same failure.
pub(super) fn answered(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("kube-apiserver answers {}: {}", status.code, status.message),
        _ => "kube-apiserver does not answer".to_owned(),
    }
}
