//! Which Kubernetes it is, as far as it makes a difference to an HPA.

use serde_json::Value;

use super::kube_api::KubeApi;
use crate::hpa::Controller;

/// The feature gate in kube-apiserver's metrics, whatever its version; before the value there is
/// its stage.
const GATE: &str = "kubernetes_feature_enabled{name=\"HPAScaleToZero\"";
/// From here on an HPA may have `minReplicas: 0` without a feature gate.
const SCALES_TO_ZERO: Version = Version { major: 1, minor: 37 };
/// From here on an HPA reports that it brought the workload to 0 itself: condition `ScaledToZero`
/// of k8s.io/api, which v0.35 has not.
const TELLS_SCALED_TO_ZERO: Version = Version { major: 1, minor: 36 };
/// From here on the HPA controller checks that the replicas of a target of type `AverageValue` fit into 32 bits
/// (`GetExternalPerPodMetricReplicas`).
const SATURATES_AVERAGE: Version = Version { major: 1, minor: 34 };
/// From here on it checks those of a target of type `Value`, while there are pods (`getUsageRatioReplicaCount`) ...
const SATURATES: Version = Version { major: 1, minor: 35 };
/// ... and at 0 replicas.
const SATURATES_AT_ZERO: Version = Version { major: 1, minor: 38 };
/// From here on kube-apiserver's probe of an APIService verifies the certificate, as its requests do.
const PROBE_VERIFIES: Version = Version { major: 1, minor: 36 };

/// Of Kubernetes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Version {
    major: u32,
    minor: u32,
}

// === impl Version ===

impl Version {
    /// Of the answer to GET /version; a provider may add to the minor: `37+`.
    pub(super) fn of(answer: &Value) -> Option<Self> {
        let number = |field: &str| {
            let text = answer[field].as_str()?;
            text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        Some(Self { major: number("major")?, minor: number("minor")? })
    }

    /// Whether an HPA may scale to zero.
    pub(super) fn scales_to_zero(self) -> bool {
        self >= SCALES_TO_ZERO
    }

    /// Whether an APIService that is Available has a certificate that its caBundle vouches for.
    pub(super) fn probe_verifies(self) -> bool {
        self >= PROBE_VERIFIES
    }

    /// How its HPA controller counts.
    pub(super) fn controller(self) -> Controller {
        Controller {
            saturates_average: self >= SATURATES_AVERAGE,
            saturates: self >= SATURATES,
            saturates_at_zero: self >= SATURATES_AT_ZERO,
        }
    }

    /// Whether an HPA has the condition `ScaledToZero`, which it follows at 0.
    pub(super) fn tells_scaled_to_zero(self) -> bool {
        self >= TELLS_SCALED_TO_ZERO
    }
}

/// Whether an HPA may scale to zero here: by the feature gate, if the user may read
/// kube-apiserver's metrics. Otherwise by its version, if that is known.
pub(super) async fn may_scale_to_zero(kube_api: &KubeApi, version: Option<Version>) -> Option<bool> {
    let metrics = kube_api.text("/metrics").await.unwrap_or_default();
    gate(&metrics).or_else(|| version.map(Version::scales_to_zero))
}

fn gate(metrics: &str) -> Option<bool> {
    let line = metrics.lines().find(|line| line.starts_with(GATE))?;
    Some(line.ends_with(" 1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn zero_needs_1_37() {
        for (major, minor, zero) in
            [("1", "36", false), ("1", "37", true), ("1", "37+", true), ("1", "100", true), ("2", "0", true)]
        {
            let answer = json!({"major": major, "minor": minor});
            assert_eq!(Version::of(&answer).unwrap().scales_to_zero(), zero, "{major}.{minor}");
        }
        assert_eq!(Version::of(&json!({"major": "", "minor": ""})), None);
    }

    #[test]
    fn each_version_counts_as_its_source_does() {
        for (minor, saturates_average, saturates, saturates_at_zero, tells_scaled_to_zero) in [
            ("33", false, false, false, false),
            ("34", true, false, false, false),
            ("35", true, true, false, false),
            ("36", true, true, false, true),
            ("37", true, true, false, true),
            ("38", true, true, true, true),
        ] {
            let version = Version::of(&json!({"major": "1", "minor": minor})).unwrap();
            assert_eq!(version.controller(), Controller { saturates_average, saturates, saturates_at_zero }, "{minor}");
            assert_eq!(version.tells_scaled_to_zero(), tells_scaled_to_zero, "{minor}");
        }
    }

    #[test]
    fn the_gate_is_read_off_the_metrics() {
        let metrics = |value: &str| {
            format!(
                "kubernetes_feature_enabled{{name=\"HPAConfigurableTolerance\",stage=\"BETA\"}} 1\nkubernetes_feature_enabled{{name=\"HPAScaleToZero\",stage=\"BETA\"}} {value}\n"
            )
        };
        assert_eq!([gate(&metrics("1")), gate(&metrics("0")), gate("")], [Some(true), Some(false), None]);
    }
}
