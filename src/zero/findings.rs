//! All that is wrong at the moment, as plain data, as gauges and as a line of text.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

use super::autoscaler::Autoscaler;
use super::finding::{Finding, Problem};
use crate::metric::Namespace;

/// How long a problem must last before it is reported. The reconcile of an HPA that has just
/// changed, and the first read of a source, are not problems yet.
const PATIENCE: Duration = Duration::from_secs(5);
/// When it is reported again: kube-apiserver removes Events after an hour.
const AGAIN: Duration = Duration::from_secs(30 * 60);
/// HPAs that have a gauge of their own; all are counted.
const NAMED_MAX: usize = 100;

/// What is wrong with which HPA; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Findings(Arc<Mutex<BTreeMap<(Namespace, String), Standing>>>);

#[derive(Debug)]
struct Standing {
    finding: Finding,
    since: Instant,
    notified: Option<Instant>,
}

/// What is wrong with an HPA, for the status page and the checks.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where the HPA is.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub finding: Finding,
}

// === impl Findings ===

impl Findings {
    /// All of them, sorted by namespace and name. Empty on a replica that does not act.
    pub fn all(&self) -> Vec<Found> {
        let now = Instant::now();
        let standing = self.0.lock();
        let stands = standing.iter().filter(|(_, standing)| now - standing.since >= PATIENCE);
        stands
            .map(|((namespace, name), standing)| Found {
                namespace: namespace.clone(),
                name: name.clone(),
                finding: standing.finding.clone(),
            })
            .collect()
    }

    /// Records what is wrong with this HPA now; returns whether it is time to report it.
    pub(super) fn note(&self, hpa: &Autoscaler, finding: Option<&Finding>) -> bool {
        let (key, now) = ((hpa.namespace.clone(), hpa.name.clone()), Instant::now());
        let mut standing = self.0.lock();
        let Some(finding) = finding else {
            standing.remove(&key);
            return false;
        };
        let stands =
            standing.entry(key).or_insert_with(|| Standing { finding: finding.clone(), since: now, notified: None });
        if stands.finding.problem != finding.problem {
            *stands = Standing { finding: finding.clone(), since: now, notified: None };
        }
        stands.finding = finding.clone();
        let due = now - stands.since >= PATIENCE && stands.notified.is_none_or(|notified| now - notified >= AGAIN);
        if due {
            stands.notified = Some(now);
        }
        due
    }

    /// Another replica acts, and has them.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// In a sentence, if there is any.
    pub(super) fn sentence(&self) -> Option<String> {
        let all = self.all();
        let Found { namespace, name, finding } = all.first()?;
        let (reason, count) = (finding.problem.reason(), all.len());
        Some(format!("{count} HPAs need attention, the first: {namespace}/{name}: {reason}: {}", finding.text))
    }
}

/// How many there are of each problem, and a gauge of 1 for each of the first hundred HPAs.
impl Collector for Findings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all = self.all();
        let help = "HPAs that cannot scale to zero or back, by problem; reported by the replica that holds the Lease";
        let mut counts = encoder.encode_descriptor("hpa_problems", help, None, MetricType::Gauge)?;
        for problem in Problem::ALL {
            let count = all.iter().filter(|found| found.finding.problem == problem).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(counts.encode_family(&[("problem", problem.as_str())])?)?;
        }
        if all.is_empty() {
            return Ok(());
        }
        let help = "1 for an HPA that cannot scale to zero or back, and its problem; at most 100 HPAs";
        let mut named = encoder.encode_descriptor("hpa_problem", help, None, MetricType::Gauge)?;
        for Found { namespace, name, finding } in all.iter().take(NAMED_MAX) {
            let labels = [("namespace", namespace.as_str()), ("hpa", name), ("problem", finding.problem.as_str())];
            ConstGauge::new(1i64).encode(named.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
