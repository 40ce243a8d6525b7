//! Events: what was done and what is wrong, where `kubectl describe hpa` shows it.
//!
//! Each is an object of its own. kube's recorder counts repetitions instead, by reason, and so
//! would show the first size for every later one.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};

use super::autoscaler::Autoscaler;
use super::calls::{Calls, answered};
use super::finding::Problem;
use crate::metric::{Clock, Namespace};

/// Longest note of an Event (Kubernetes' own limit).
const NOTE_MAX: usize = 1024;
/// At the end of a longer one.
const CUT: &str = "… (in full in depthgauge's log)";
/// The reporting controller.
const CONTROLLER: &str = "depthgauge";

/// Writes Events.
pub(super) struct Events {
    client: kube::Client,
    calls: Calls,
    instance: String,
    clock: Clock,
}

/// The reasons of all Events that depthgauge writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventReason {
    /// A workload was scaled to zero.
    ScaledToZero,
    /// It was scaled up from zero.
    ScaledFromZero,
    /// A workload at zero has lost its HPA.
    LeftAtZero,
    /// Something is wrong with an HPA.
    Problem(Problem),
}

// === impl EventReason ===

impl EventReason {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let done = [Self::ScaledToZero, Self::ScaledFromZero, Self::LeftAtZero];
        done.into_iter().chain(Problem::ALL.into_iter().map(Self::Problem))
    }

    /// The value of `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScaledToZero => "ScaledToZero",
            Self::ScaledFromZero => "ScaledFromZero",
            Self::LeftAtZero => "LeftAtZero",
            Self::Problem(problem) => problem.reason(),
        }
    }

    /// The value of `type`: `Warning` if a user must act.
    pub fn severity(self) -> &'static str {
        match self {
            Self::ScaledToZero | Self::ScaledFromZero => "Normal",
            Self::LeftAtZero | Self::Problem(_) => "Warning",
        }
    }

    /// The value of `action`: what was done, or tried.
    fn action(self) -> &'static str {
        match self {
            Self::ScaledToZero | Self::ScaledFromZero => "Scale",
            Self::LeftAtZero | Self::Problem(_) => "Reconcile",
        }
    }

    /// What the Event is on: the HPA or its workload.
    pub fn object(self) -> &'static str {
        match self {
            Self::LeftAtZero => "workload",
            Self::ScaledToZero | Self::ScaledFromZero | Self::Problem(_) => "HPA",
        }
    }

    /// What it means and what helps, for the reference in the documentation.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::ScaledToZero => {
                "depthgauge scaled the workload to zero. The message has the previous size, and since when the metrics have been 0."
            }
            Self::ScaledFromZero => {
                "depthgauge scaled the workload up from zero. The message has the new size and the values."
            }
            Self::LeftAtZero => {
                "The HPA was deleted, or scales another workload now, while this workload was scaled to zero. Nothing scales it up. The message has the command that does."
            }
            Self::Problem(problem) => problem.meaning(),
        }
    }
}

// === impl Events ===

impl Events {
    pub(super) fn new(client: kube::Client, calls: Calls, instance: String, clock: Clock) -> Self {
        Self { client, calls, instance, clock }
    }

    /// On an HPA.
    pub(super) async fn on(&self, hpa: &Autoscaler, reason: EventReason, note: &str) {
        let regarding = ObjectReference {
            api_version: Some("autoscaling/v2".to_owned()),
            kind: Some("HorizontalPodAutoscaler".to_owned()),
            name: Some(hpa.name.clone()),
            namespace: Some(hpa.namespace.to_string()),
            uid: Some(hpa.uid.clone()),
            resource_version: Some(hpa.resource_version.clone()),
            ..ObjectReference::default()
        };
        self.write(&hpa.namespace, regarding, reason, note).await;
    }

    /// Writes an Event on the workload of an HPA that was deleted.
    pub(super) async fn on_workload(&self, hpa: &Autoscaler, uid: &str, reason: EventReason, note: &str) {
        let regarding = ObjectReference {
            api_version: Some(hpa.workload.api_version.clone()),
            kind: Some(hpa.workload.kind.clone()),
            name: Some(hpa.workload.name.clone()),
            namespace: Some(hpa.namespace.to_string()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        self.write(&hpa.namespace, regarding, reason, note).await;
    }

    /// An Event that cannot be written is lost; its note is in the log.
    async fn write(&self, namespace: &Namespace, regarding: ObjectReference, kind: EventReason, note: &str) {
        let (reason, severity) = (kind.as_str(), kind.severity());
        let name = regarding.name.clone().unwrap_or_default();
        let object = format!("{namespace}/{name}");
        if severity == "Warning" {
            tracing::warn!(object, reason, "{note}");
        } else {
            tracing::info!(object, reason, "{note}");
        }
        let now = (self.clock)();
        let event = Event {
            action: Some(kind.action().to_owned()),
            event_time: Some(MicroTime(now)),
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                namespace: Some(namespace.to_string()),
                ..ObjectMeta::default()
            },
            note: Some(fitting(note)),
            reason: Some(reason.to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(severity.to_owned()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace.as_str());
        let trouble = match self.calls.make_once(namespace, api.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => answered(&error),
            Err(error) => error.to_string(),
        };
        tracing::warn!(object, reason, trouble, "cannot write an Event");
    }
}

/// Shortens a note that is too long, and marks the end: a command that is cut must not look
/// complete.
pub(super) fn fitting(note: &str) -> String {
    if note.len() <= NOTE_MAX {
        return note.to_owned();
    }
    format!("{}{CUT}", &note[..note.floor_char_boundary(NOTE_MAX - CUT.len())])
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;
    use crate::zero::autoscaler::tests::hpa;
    use crate::zero::calls::may_not;
    use crate::zero::finding::Finding;
    use crate::zero::scale::VERBS;

    #[test]
    fn a_missing_right_fits_whole_and_what_is_longer_says_that_it_is_cut() {
        let [namespace, account] = [40, 30].map(|length| "n".repeat(length));
        let refused = format!("User \"system:serviceaccount:{account}:{account}\" cannot");
        let refused = Status::failure(&refused, "Forbidden").with_code(403);
        let [group, scale] = ["platform.example.com", "customresources/scale"];
        let labelled = hpa(&json!({"metadata": {"labels": {"depthgauge.dev/scale-to-zero": "true"}}}));
        let note = Finding::scale(&labelled, &may_not(group, scale, &namespace, VERBS, &refused)).unwrap().text;
        assert!(note.ends_with("}]}]}"), "{note}");
        assert_eq!(fitting(&note), *note, "{}", note.len());
        let long = fitting(&"é".repeat(600));
        assert!(long.len() <= NOTE_MAX && long.ends_with("é… (in full in depthgauge's log)"), "{long}");
    }
}
