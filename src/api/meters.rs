//! Metrics about served values: how old they are, and how many a value rule made.

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::lookup::rules::{Applied, LABEL};
use crate::metric::Sample;

/// In seconds: a second before the request, `refresh` and a second, `maxAge`, by default.
const AGES: [f64; 9] = [0.5, 1.0, 1.5, 2.5, 6.0, 10.0, 20.0, 30.0, 60.0];

/// One that counts in a registry.
pub(super) struct Meters {
    ages: Histogram,
    /// By the rule.
    applied: Vec<(&'static str, Counter)>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ValueSource {
    value_source: &'static str,
}

// === impl Meters ===

impl Meters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let ages = Histogram::new(AGES);
        let help = "Age of the oldest value of an answer when it was served, except fallbacks";
        registry.register_with_unit("answer_age", help, Unit::Seconds, ages.clone());
        let served = Family::<ValueSource, Counter>::default();
        registry.register(
            "value_rule_applied",
            "Values served that a value rule made, by the rule: activation, fallback, empty, nan, or clamp (a negative number)",
            served.clone(),
        );
        let counter = |rule: Applied| {
            let value_source = rule.as_str();
            (value_source, served.get_or_create_owned(&ValueSource { value_source }))
        };
        Self { ages, applied: Applied::ALL.into_iter().map(counter).collect() }
    }

    /// Counts values that are served now.
    pub(super) fn served(&self, samples: &[Sample], now: Timestamp) {
        let mut oldest = None;
        for sample in samples {
            if let Some(rule) = sample.labels.value(LABEL) {
                for (_, counter) in self.applied.iter().filter(|(name, _)| *name == rule) {
                    counter.inc();
                }
                // A fallback has the current time, because it was not read.
                if rule == Applied::Fallback.as_str() {
                    continue;
                }
            }
            oldest = oldest.into_iter().chain([sample.timestamp]).min();
        }
        if let Some(oldest) = oldest {
            self.ages.observe(now.duration_since(oldest).as_secs_f64().max(0.0));
        }
    }
}
