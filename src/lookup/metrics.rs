//! Which metrics there are: those of the kinds of sources, and those whose names the config chooses.

use std::sync::Arc;

use super::LookupError;
use crate::metric::{MetricName, MetricSet, names};
use crate::source::{Kind, Kinds, fixed_metrics, kind_of};

/// How much of an error message the names of metrics take, in bytes, and how many of them at most.
const NAMES_BYTES: usize = 300;
const NAMES_MAX: usize = 20;

/// All metrics. They depend on the config only.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    pub(super) kinds: Kinds,
    pub(super) set: Arc<MetricSet>,
}

// === impl Metrics ===

impl Metrics {
    /// Those of these kinds, and the ones with chosen names, each with whether it is read from pods.
    pub(super) fn of(kinds: Kinds, chosen: impl IntoIterator<Item = (MetricName, bool)>) -> Self {
        let mut set = MetricSet::from(fixed_metrics(kinds));
        for (metric, is_of_pods) in chosen {
            set.of_pods.extend(is_of_pods.then(|| metric.clone()));
            set.all.insert(metric);
        }
        Self { kinds, set: Arc::new(set) }
    }

    /// Those of the same kinds, and the ones with these chosen names: in the same allocation if nothing
    /// has changed.
    pub(super) fn with<'c>(&self, chosen: impl Iterator<Item = (&'c str, bool)>) -> Self {
        let new = Self::of(self.kinds, chosen.map(|(name, is_of_pods)| (MetricName::chosen(name), is_of_pods)));
        if new.set == self.set { self.clone() } else { new }
    }

    /// The metric of this name, and its kind unless the config chooses the name.
    pub(super) fn find(&self, requested: &str) -> Result<(Option<&'static Kind>, MetricName), LookupError> {
        let Some(metric) = self.set.all.get(requested) else {
            let exist: Vec<&str> = self.set.all.iter().map(MetricName::as_str).collect();
            let requested = names::shortened(requested, 63).into_owned();
            let meant = names::did_you_mean(names::nearest(&requested, exist.iter().copied()));
            let exist = names::that_fit(&exist, NAMES_BYTES - meant.len(), NAMES_MAX);
            return Err(LookupError::NoSuchMetric { requested, meant, exist });
        };
        Ok((kind_of(self.kinds, requested), metric.clone()))
    }
}
