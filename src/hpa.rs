//! The HPA controller's arithmetic. Pure.
//!
//! What `k8s.io/kubernetes/pkg/controller/podautoscaler` asks for, before stabilization and
//! scaling policies, which depend on the controller's memory.

/// Deviation of the ratio from 1 within which nothing changes (the controller's default).
const TOLERANCE: f64 = 0.1;

/// What a plain HPA with one External metric of type `AverageValue` is told.
#[derive(Clone, Copy, Debug)]
pub struct AverageValue {
    /// The value per pod that is wanted, in the metric's unit.
    pub target: u64,
    /// `minReplicas`
    pub min: u32,
    /// `maxReplicas`
    pub max: u32,
}

impl AverageValue {
    /// The replicas that the HPA asks for when it has `current` of them and the metric's items
    /// sum up to `sum`.
    pub fn replicas(&self, current: u32, sum: u64) -> u32 {
        let wanted = u32::try_from(sum.div_ceil(self.target.max(1))).unwrap_or(u32::MAX);
        let wanted = if self.is_near(current, sum) { current } else { wanted };
        wanted.clamp(self.min, self.max.max(self.min))
    }

    /// The controller compares the usage per current replica with the target; at 0 replicas the
    /// ratio is not defined, and the tolerance does not apply.
    #[expect(clippy::cast_precision_loss, reason = "the controller computes this ratio in floats, too")]
    fn is_near(&self, current: u32, sum: u64) -> bool {
        let ratio = sum as f64 / (self.target.max(1) as f64 * f64::from(current));
        current > 0 && (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_seen_on_a_real_controller() {
        let hpa = AverageValue { target: 2, min: 0, max: 10 };
        for (current, sum, replicas) in [
            (1, 0, 0),
            (0, 0, 0),
            (0, 1, 1),
            (0, 20, 10),
            (10, 5, 3),
            (3, 0, 0),
            (1, 100, 10),
            // Within 10 %: stays.
            (10, 19, 10),
            (10, 18, 10),
            (10, 17, 9),
            (5, 11, 5),
            (5, 12, 6),
        ] {
            assert_eq!(hpa.replicas(current, sum), replicas, "{current} {sum}");
        }
        let bounded = AverageValue { target: 2, min: 1, max: 10 };
        assert_eq!(bounded.replicas(1, 0), 1);
        assert_eq!(bounded.replicas(1, u64::MAX), 10);
    }
}
