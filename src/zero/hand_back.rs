//! The end of all this, when depthgauge goes: what sleeps by us is woken, for below 1.37 nobody
//! else would.

use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::Object;
use super::autoscaler::{Autoscaler, Memory};
use super::scale::{ScaleError, Scales, answered, in_time};

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
    /// It still sleeps. Why.
    Asleep(String),
}

/// Wakes all that sleeps by us, and forgets it: for each HPA (`shop/dummy`) what became of its
/// workload (`deployment/web`).
///
/// # Errors
///
/// If the HPAs cannot be listed.
pub async fn hand_back(client: &kube::Client) -> Result<Vec<(String, String, HandedBack)>, String> {
    let api: Api<Object> = Api::all(client.clone());
    let listed = in_time(api.list(&ListParams::default())).await.map_err(|error| error.to_string())?;
    let scales = Scales::new(client.clone());
    let mut all = Vec::new();
    for hpa in listed.map_err(|error| answered(&error))?.items.iter().filter_map(Autoscaler::of) {
        if hpa.memory.asleep_since.is_some() {
            let done = one(client, &scales, &hpa).await.unwrap_or_else(|error| HandedBack::Asleep(error.to_string()));
            all.push((hpa.title(), hpa.workload.reference(), done));
        }
    }
    Ok(all)
}

async fn one(client: &kube::Client, scales: &Scales, hpa: &Autoscaler) -> Result<HandedBack, ScaleError> {
    if hpa.paused {
        return Ok(HandedBack::Paused);
    }
    let mut done = Err(ScaleError::Conflict);
    for _try in 0..TRIES {
        let scale = scales.read(hpa).await?;
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
    let forgotten = in_time(api.patch_metadata(&hpa.name, &PatchParams::default(), &forget)).await?;
    // A mark on one that is awake does no harm.
    if let Err(error) = forgotten {
        tracing::debug!(hpa = hpa.title(), %error, "cannot take the mark away");
    }
    Ok(done)
}
