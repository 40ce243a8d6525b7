//! The end of all this, when depthgauge goes: what sleeps by us is woken, for below 1.37 nobody
//! else would.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::autoscaler::{Autoscaler, Memory};
use super::lease::OBEYED;
use super::scale::{ScaleError, Scales, answered, in_time};
use super::{LEASE, Lease, Object};
use crate::metric::Clock;
use crate::rbac::LATE;

/// Of a list of all HPAs of a large cluster, over a person's line.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// Workloads that are woken at once.
const AT_ONCE: usize = 8;
/// Somebody else may scale a workload at the same moment: then it is read again, so often.
const TRIES: usize = 3;

/// What became of a workload that was asleep.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HandedBack {
    /// It has so many replicas now.
    Woken(u32),
    /// Somebody had woken it already.
    Awake,
    /// It is to be left as it is.
    Paused,
    /// There is no such workload any more.
    Gone,
    /// It still sleeps. Why.
    Asleep(String),
}

/// Why nothing is known of what sleeps.
#[derive(Debug, thiserror::Error)]
pub enum HandBackError {
    /// Whoever asks may not see HPAs; nobody sleeps by a server that never could.
    #[error("{0}")]
    Forbidden(String),
    /// kube-apiserver does not answer, or not well.
    #[error("cannot list the HPAs: {0}")]
    Trouble(String),
}

/// Has no replica that runs now scale any more, by the Lease in `namespace`, and waits until what
/// one has begun is over; why it cannot be written, if so.
pub async fn retire(client: &kube::Client, namespace: &str, clock: Clock) -> Result<(), String> {
    let lease = Lease::new(client.clone(), namespace.to_owned(), LEASE.to_owned(), "unregister", clock);
    match in_time(lease.retire()).await {
        Ok(Ok(true)) => {
            tokio::time::sleep(OBEYED).await;
            Ok(())
        }
        Ok(Ok(false)) => Ok(()),
        Ok(Err(error)) => Err(answered(&error)),
        Err(late) => Err(late.to_string()),
    }
}

/// Wakes all that sleeps by us, and forgets it: for each HPA (`shop/dummy`) what became of its
/// workload (`deployment/web`), in the order of their names.
///
/// # Errors
///
/// If the HPAs cannot be listed.
pub async fn hand_back(client: &kube::Client) -> Result<Vec<(String, String, HandedBack)>, HandBackError> {
    let api: Api<Object> = Api::all(client.clone());
    let listed = tokio::time::timeout(LIST_TIMEOUT, api.list(&ListParams::default())).await;
    let listed = listed.map_err(|_| HandBackError::Trouble(LATE.to_owned()))?.map_err(|error| match &error {
        kube::Error::Api(status) if status.code == 403 => HandBackError::Forbidden(status.message.clone()),
        _ => HandBackError::Trouble(answered(&error)),
    })?;
    let asleep = listed.items.iter().filter_map(Autoscaler::of).filter(|hpa| hpa.memory.asleep_since.is_some());
    let scales = Scales::new(client.clone());
    let wake = async |hpa: Autoscaler| {
        let done = one(client, &scales, &hpa).await.unwrap_or_else(|error| HandedBack::Asleep(error.to_string()));
        (hpa.title(), hpa.workload.reference(), done)
    };
    Ok(stream::iter(asleep).map(wake).buffered(AT_ONCE).collect().await)
}

async fn one(client: &kube::Client, scales: &Scales, hpa: &Autoscaler) -> Result<HandedBack, ScaleError> {
    if hpa.paused {
        return Ok(HandedBack::Paused);
    }
    let mut done = Err(ScaleError::Conflict);
    for _try in 0..TRIES {
        let scale = match scales.read(hpa).await {
            Err(ScaleError::Gone(_)) => return Ok(HandedBack::Gone),
            read => read?,
        };
        let least = hpa.min.max(1);
        done = match scale.replicas {
            0 => scales.write(hpa, &scale, least).await.map(|()| HandedBack::Woken(least)),
            _ => Ok(HandedBack::Awake),
        };
        if !matches!(done, Err(ScaleError::Conflict)) {
            break;
        }
    }
    let done = done?;
    let forget = Patch::Merge(json!({"metadata": {"annotations": hpa.annotations(Memory::default())}}));
    let api: Api<Object> = Api::namespaced(client.clone(), hpa.namespace.as_str());
    let forgotten = in_time(api.patch_metadata(&hpa.name, &PatchParams::default(), &forget)).await;
    // A mark on one that is awake does no harm.
    if !matches!(forgotten, Ok(Ok(_))) {
        tracing::debug!(hpa = hpa.title(), "cannot take the mark away");
    }
    Ok(done)
}
