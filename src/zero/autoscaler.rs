//! What scale to zero reads from an HPA: its spec and conditions, the annotations of its owner, and
//! the annotations that depthgauge writes. Pure.
//!
//! The label and the annotations are the whole interface: users write the options, depthgauge
//! writes the state. The state is on the object and nowhere else, so a restart or another leader
//! continues with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use super::metrics::{self, Metric};
use super::size::Limit;
use super::workload::Workload;
use crate::hpa::reader::Hpa;
use crate::metric::{MetricSet, Namespace};

/// What the keys of depthgauge begin with.
pub const PREFIX: &str = "depthgauge.dev/";
/// The label of an HPA whose workload depthgauge scales to zero: `"true"`.
pub const LABEL: &str = "depthgauge.dev/scale-to-zero";
/// For how long all its metrics must read 0: `60s`. Default: the HPA's own scale-down
/// stabilization.
pub const COOLDOWN: &str = "depthgauge.dev/cooldown";
/// `"true"`: scaled neither to nor from zero.
pub const PAUSED: &str = "depthgauge.dev/paused";
/// `"true"`, where the HPA itself scales from zero: scale up at once instead of at its next sync.
pub const FAST_ACTIVATION: &str = "depthgauge.dev/fast-activation";
/// `"true"`: scale up also when another client has scaled its workload to 0.
pub const RECOVER_STUCK: &str = "depthgauge.dev/recover-stuck";
/// `"external"`: External and Object metrics alone decide about 0. Metrics of pods beside them, such
/// as CPU, do not prevent it. In KEDA, too, triggers of these kinds do not activate a workload.
pub const ZERO_BY: &str = "depthgauge.dev/zero-by";
/// Written by depthgauge: since when the workload is at 0 because depthgauge scaled it to zero.
pub const SCALED_TO_ZERO_SINCE: &str = "depthgauge.dev/scaled-to-zero-since";
/// Written by depthgauge: since when all its metrics read 0, while the workload has replicas.
pub const ZERO_SINCE: &str = "depthgauge.dev/zero-since";
/// Written by depthgauge: the metrics that have read 0 since then. If the metrics change, the
/// cooldown starts again.
pub const ZERO_OF: &str = "depthgauge.dev/zero-of";

/// The controller's default for `behavior.scaleDown.stabilizationWindowSeconds`
/// (`--horizontal-pod-autoscaler-downscale-stabilization`).
const STABILIZATION: Duration = Duration::from_secs(300);

/// An HPA's namespace and name.
pub(super) type Key = (Namespace, Arc<str>);

/// An HPA.
#[derive(Clone, Debug)]
pub struct Autoscaler {
    /// Where it is.
    pub namespace: Namespace,
    /// Its name there.
    pub name: String,
    /// Which one of that name.
    pub uid: String,
    /// The version that was read: the precondition of each write.
    pub resource_version: String,
    /// Whether it carries [`LABEL`].
    pub labelled: bool,
    /// What it scales.
    pub workload: Workload,
    /// `minReplicas`
    pub min: u32,
    /// `maxReplicas`
    pub max: u32,
    /// Its External metrics that depthgauge serves and, if depthgauge scales it to zero, its Object
    /// metrics beside them.
    pub metrics: Vec<Metric>,
    /// Its other metrics, in words: `Resource cpu`.
    pub others: Vec<String>,
    /// What `behavior.scaleUp` allows from 0.
    pub limit: Limit,
    /// How long its metrics must read 0, or what is wrong with the annotation.
    pub cooldown: Result<Duration, String>,
    /// Whether [`ZERO_BY`] leaves the metrics of pods out of account, or what is wrong with the
    /// annotation.
    pub external_only: Result<bool, String>,
    /// [`PAUSED`]
    pub paused: bool,
    /// [`FAST_ACTIVATION`]
    pub fast_activation: bool,
    /// [`RECOVER_STUCK`]
    pub recover_stuck: bool,
    /// The state that depthgauge keeps on it.
    pub zero_state: ZeroState,
    /// Its conditions, as the HPA controller writes them.
    pub state: State,
}

/// The state that depthgauge keeps on an HPA.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ZeroState {
    /// [`SCALED_TO_ZERO_SINCE`]
    pub scaled_to_zero_since: Option<Timestamp>,
    /// [`ZERO_SINCE`]. If the HPA has other metrics now, it is later than every time: it is not
    /// trusted, and is written again.
    pub zero_since: Option<Timestamp>,
}

impl ZeroState {
    /// Whether this is what the HPA holds `now`, and not something newer.
    pub(super) fn is_still_in(self, now: Self) -> bool {
        match self.scaled_to_zero_since {
            Some(_) => now.scaled_to_zero_since == self.scaled_to_zero_since,
            None => self.zero_since.is_some() && now == self,
        }
    }
}

/// The conditions of an HPA.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// `ScalingActive=False` for `ScalingDisabled`: the workload is at 0, and the HPA reads no
    /// metric until a client scales it up.
    pub is_disabled: bool,
    /// `ScaledToZero=True`: it scaled to 0 itself, and will scale up itself.
    pub scaled_to_zero: bool,
    /// It found or computed no replicas at its last sync.
    pub at_zero: bool,
    /// `ScalingActive=False` for any other reason: since when it cannot read its metrics.
    pub fails_since: Option<Timestamp>,
}

// === impl Autoscaler ===

impl Autoscaler {
    /// Reads the object. `known` are the metrics of depthgauge. `None` if the HPA has no label, no
    /// metric of depthgauge and no state of depthgauge.
    pub fn of(object: &HorizontalPodAutoscaler, known: &MetricSet) -> Option<Self> {
        let (meta, hpa) = (&object.metadata, Hpa::new(object));
        let target = hpa.target()?;
        let labelled = is_labelled(hpa);
        let sizes = hpa.sizes();
        let (min, max) = (u32::try_from(sizes.min).unwrap_or_default(), u32::try_from(sizes.max).unwrap_or_default());
        // Where the HPA goes to zero itself, it reads them itself.
        let objects_count = labelled && min > 0;
        let (metrics, others) = metrics::of(&hpa.metrics(), objects_count, known);
        let same = hpa.annotation(ZERO_OF).is_none_or(|of| of == titles(&metrics));
        let zero_since = moment(hpa.annotation(ZERO_SINCE)).map(|since| if same { since } else { Timestamp::MAX });
        let zero_state = ZeroState { scaled_to_zero_since: moment(hpa.annotation(SCALED_TO_ZERO_SINCE)), zero_since };
        if !labelled && metrics.is_empty() && zero_state == ZeroState::default() {
            return None;
        }
        let window = hpa.scale_down().and_then(|rules| rules.stabilization_window_seconds);
        let window = window.and_then(|seconds| u64::try_from(seconds).ok()).map_or(STABILIZATION, Duration::from_secs);
        Some(Self {
            namespace: Namespace::new(hpa.namespace()),
            name: meta.name.clone()?,
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            labelled,
            workload: Workload::from(target),
            min,
            max,
            metrics,
            others,
            limit: Limit::of(hpa.scale_up()),
            cooldown: hpa.annotation(COOLDOWN).map_or(Ok(window), cooldown),
            external_only: hpa.annotation(ZERO_BY).map_or(Ok(false), zero_by),
            paused: is_paused(hpa),
            fast_activation: hpa.annotation(FAST_ACTIVATION) == Some("true"),
            recover_stuck: hpa.annotation(RECOVER_STUCK) == Some("true"),
            zero_state,
            state: State::of(hpa),
        })
    }

    /// `shop/dummy`
    pub fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its metrics that may read 0: `oci_queue_length{queue=orders}, oci_queue_length{queue=bills}`
    pub fn titles(&self) -> String {
        titles(&self.metrics)
    }

    /// This state as its annotations; `None` takes one away.
    pub fn annotations(&self, zero_state: ZeroState) -> BTreeMap<&'static str, Option<String>> {
        let ZeroState { scaled_to_zero_since, zero_since } = zero_state;
        let written = |at: Timestamp| format!("{at:.3}");
        [
            (SCALED_TO_ZERO_SINCE, scaled_to_zero_since.map(written)),
            (ZERO_SINCE, zero_since.map(written)),
            (ZERO_OF, zero_since.map(|_| self.titles())),
        ]
        .into()
    }

    /// The command that scales its workload up from zero.
    pub fn start_command(&self) -> String {
        self.workload.start_command(self.namespace.as_str(), self.min)
    }

    /// Whether depthgauge may have to scale its workload, or has done so.
    pub fn is_ours(&self) -> bool {
        self.labelled || self.zero_state != ZeroState::default()
    }

    /// Whether the HPA scales to zero and back itself. kube-apiserver accepts a `minReplicas` of 0
    /// only where feature gate HPAScaleToZero is on (the default from 1.37), so the field is
    /// enough. A version would be wrong where the feature gate was set. An HPA with 1 does not go
    /// to zero on any cluster.
    pub fn is_native(&self) -> bool {
        self.min == 0
    }

    /// Whether depthgauge scales it to and from zero.
    pub fn is_kept(&self) -> bool {
        self.labelled && !self.is_native()
    }
}

// === impl State ===

impl State {
    fn of(hpa: Hpa<'_>) -> Self {
        let is_disabled = hpa.is_disabled();
        let fails = hpa.condition("ScalingActive").filter(|active| active.status == "False" && !is_disabled);
        // In a status that was never written the sizes are 0, too.
        let written = hpa.status().filter(|_| hpa.conditions().next().is_some());
        let at_zero = written.is_some_and(|status| match status.current_replicas {
            // It has not computed a size yet: it can't read its metrics.
            Some(1..) if fails.is_some() => false,
            current => current == Some(0) || status.desired_replicas == 0,
        });
        let fails_since = fails.and_then(|active| active.since);
        Self { is_disabled, scaled_to_zero: hpa.has_scaled_to_zero(), at_zero, fails_since }
    }
}

/// Whether depthgauge is to scale the workload of this HPA to zero and back.
pub fn is_labelled(hpa: Hpa<'_>) -> bool {
    hpa.label(LABEL) == Some("true")
}

/// Whether it is to be left as it is. Every value except "false" pauses.
pub fn is_paused(hpa: Hpa<'_>) -> bool {
    hpa.annotation(PAUSED).is_some_and(|value| value != "false")
}

fn cooldown(text: &str) -> Result<Duration, String> {
    let parsed: Option<SignedDuration> = text.parse().ok();
    parsed
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| format!("annotation {COOLDOWN} is {text:?}: write a duration such as 60s or 5m"))
}

fn zero_by(text: &str) -> Result<bool, String> {
    match text {
        "external" => Ok(true),
        _ => Err(format!("annotation {ZERO_BY} is {text:?}: write \"external\", or remove it")),
    }
}

fn titles(metrics: &[Metric]) -> String {
    metrics.iter().map(Metric::title).collect::<Vec<_>>().join(", ")
}

/// A text that is not a time counts as none.
fn moment(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::source::{KINDS, fixed_metrics};

    /// An HPA as users write it, merged with this.
    pub(in crate::zero) fn hpa(over: &Value) -> Autoscaler {
        let mut object = json!({
            "metadata": {"namespace": "shop", "name": "dummy", "uid": "u", "resourceVersion": "7",
                "labels": {LABEL: "true"}, "annotations": {COOLDOWN: "60s"}},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "dummy"},
                "minReplicas": 1, "maxReplicas": 10,
                "metrics": [{"type": "External", "external": {
                    "metric": {"name": "oci_queue_length", "selector": {"matchLabels": {"queue": "orders"}}},
                    "target": {"type": "AverageValue", "averageValue": "2"}}}]},
        });
        merge(&mut object, over);
        Autoscaler::of(&serde_json::from_value(object).unwrap(), &fixed_metrics(KINDS).into()).unwrap()
    }

    fn merge(object: &mut Value, over: &Value) {
        match (object.as_object_mut(), over.as_object()) {
            (Some(object), Some(over)) => {
                for (key, value) in over {
                    merge(object.entry(key).or_insert(Value::Null), value);
                }
            }
            _ => *object = over.clone(),
        }
    }

    #[test]
    fn what_an_hpa_says() {
        let plain = hpa(&json!({}));
        assert!(plain.labelled && plain.is_kept() && !plain.paused && !plain.fast_activation && !plain.recover_stuck);
        assert_eq!((plain.min, plain.max, plain.cooldown.clone()), (1, 10, Ok(Duration::from_secs(60))));
        assert_eq!((plain.metrics[0].title().as_str(), plain.others.len()), ("oci_queue_length{queue=orders}", 0));
        assert_eq!(plain.zero_state, ZeroState::default());
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 10}});
        let own = hpa(&json!({"metadata": {"annotations": null}, "spec": {"behavior": behavior, "minReplicas": 0}}));
        assert_eq!(own.cooldown, Ok(Duration::from_secs(10)));
        assert!(own.is_native() && !own.is_kept());
        assert_eq!(hpa(&json!({"metadata": {"annotations": null}})).cooldown, Ok(Duration::from_secs(300)));
        let by = |value: &str| hpa(&json!({"metadata": {"annotations": {ZERO_BY: value}}})).external_only;
        assert_eq!((plain.external_only, by("external")), (Ok(false), Ok(true)));
        let wrong = "annotation depthgauge.dev/zero-by is \"cpu\": write \"external\", or remove it";
        assert_eq!(by("cpu"), Err(wrong.to_owned()));
        let wrong = hpa(&json!({"metadata": {"annotations": {COOLDOWN: "soon"}}}));
        assert_eq!(
            wrong.cooldown.unwrap_err(),
            "annotation depthgauge.dev/cooldown is \"soon\": write a duration such as 60s or 5m"
        );
    }

    #[test]
    fn who_is_none_of_our_business() {
        let object = json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]}});
        assert!(
            Autoscaler::of(&serde_json::from_value(object.clone()).unwrap(), &fixed_metrics(KINDS).into()).is_none()
        );
        let labelled = hpa(&object);
        assert_eq!((labelled.others, labelled.metrics.len()), (vec!["Resource cpu".to_owned()], 0));
    }

    #[test]
    fn object_metrics_are_ours_to_read_only_where_the_hpa_does_not() {
        let object = json!({"type": "Object", "object": {"metric": {"name": "requests"}, "target": {"type": "Value", "value": "2"},
            "describedObject": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "web"}}});
        let queue = json!({"type": "External", "external": {"metric": {"name": "oci_queue_length"}, "target": {"type": "Value", "value": "2"}}});
        for (label, min, titles) in [
            ("true", 1, "oci_queue_length, requests of ingress.networking.k8s.io/web"),
            ("true", 0, "oci_queue_length"),
            ("false", 1, "oci_queue_length"),
        ] {
            let over = json!({"metadata": {"labels": {LABEL: label}}, "spec": {"minReplicas": min, "metrics": [queue, object]}});
            assert_eq!(hpa(&over).titles(), titles, "{label} {min}");
        }
    }

    /// An HPA with these annotations, written by one like [`hpa`]'s.
    fn remembering(zero_state: ZeroState) -> Value {
        let written = hpa(&json!({})).annotations(zero_state);
        let there: BTreeMap<_, _> = written.into_iter().filter_map(|(key, text)| Some((key, text?))).collect();
        json!({"metadata": {"annotations": there}})
    }

    #[test]
    fn memory_is_read_as_it_was_written() {
        let at: Timestamp = "2026-11-23T10:00:00.123Z".parse().unwrap();
        let zero_state = ZeroState { scaled_to_zero_since: Some(at), zero_since: None };
        let written = hpa(&json!({})).annotations(zero_state);
        assert_eq!(
            (written[SCALED_TO_ZERO_SINCE].as_deref(), &written[ZERO_SINCE]),
            (Some("2026-11-23T10:00:00.123Z"), &None)
        );
        assert_eq!(hpa(&remembering(zero_state)).zero_state, zero_state);
        assert_eq!(
            hpa(&json!({"metadata": {"annotations": {ZERO_SINCE: "yesterday"}}})).zero_state,
            ZeroState::default()
        );
    }

    #[test]
    fn a_cooldown_is_of_the_metrics_that_read_0() {
        let begun = ZeroState { scaled_to_zero_since: None, zero_since: Some("2026-11-23T10:00:00Z".parse().unwrap()) };
        let written = remembering(begun);
        assert_eq!(hpa(&written).zero_state, begun);
        let asks = |labels: Value| {
            let metric = json!({"name": "oci_queue_length", "selector": {"matchLabels": labels}});
            let target = json!({"type": "AverageValue", "averageValue": "3"});
            let mut over = written.clone();
            over["spec"] = json!({"metrics": [{"type": "External", "external": {"metric": metric, "target": target}}]});
            hpa(&over).zero_state.zero_since
        };
        assert_eq!(asks(json!({"queue": "orders"})), begun.zero_since, "another target");
        for other in [json!({"queue": "bills"}), json!({"queue": "orders", "depthgauge.dev/activation": "1"})] {
            assert_eq!(asks(other), Some(Timestamp::MAX));
        }
    }

    #[test]
    fn the_controllers_word() {
        let of = |conditions: Value, current: i32, desired: i32| {
            let status = json!({"conditions": conditions, "currentReplicas": current, "desiredReplicas": desired});
            hpa(&json!({ "status": status })).state
        };
        let condition =
            |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason});
        let resting = of(json!([condition("ScalingActive", "False", "ScalingDisabled")]), 0, 0);
        assert_eq!(resting, State { is_disabled: true, at_zero: true, ..State::default() });
        let failing = of(json!([condition("ScalingActive", "False", "FailedGetExternalMetric")]), 2, 2);
        assert_eq!(failing, State::default());
        let native = of(json!([condition("ScaledToZero", "True", "ScaledToZero")]), 1, 0);
        assert_eq!(native, State { scaled_to_zero: true, at_zero: true, ..State::default() });
        assert_eq!(of(json!([]), 0, 0), State::default(), "nobody has looked yet");
        let unknown = of(json!([condition("ScalingActive", "False", "FailedGetResourceMetric")]), 1, 0);
        assert_eq!(unknown, State::default(), "it has not wanted a size yet");
        let mut failing = condition("ScalingActive", "False", "FailedGetExternalMetric");
        failing["lastTransitionTime"] = json!("2026-11-23T10:00:00Z");
        let since = "2026-11-23T10:00:00Z".parse().ok();
        assert_eq!(of(json!([failing]), 2, 2), State { fails_since: since, ..State::default() });
    }
}
