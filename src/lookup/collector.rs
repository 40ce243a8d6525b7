//! The state of the sources of a catalog, collected when `/metrics` is scraped.
//!
//! Only one series has a source's name as a label. It exists while that source fails, for a bounded number
//! of sources.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::Catalog;
use super::reading::Condition;

/// Maximum number of failing sources with a series: more failures have one common cause.
const NAMED_MAX: usize = 100;

/// Collects the state of the sources of a catalog.
#[derive(Clone)]
pub struct SourceCollector(Arc<Catalog>);

// === impl SourceCollector ===

impl SourceCollector {
    /// Of this catalog.
    pub fn of(catalog: Arc<Catalog>) -> Self {
        Self(catalog)
    }
}

impl fmt::Debug for SourceCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceCollector")
    }
}

impl Collector for SourceCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let entries = self.0.entries();
        let (mut idle, mut waiting, mut well, mut failing, mut open) = (0_i64, 0_i64, 0_i64, Vec::new(), 0_i64);
        for source in &entries.sources {
            for reading in source.readings.all() {
                match reading.condition() {
                    Condition::Idle => idle += 1,
                    Condition::Waiting => waiting += 1,
                    Condition::Well => well += 1,
                    Condition::Failing(since) => {
                        open += i64::from(reading.poll.marked_down().is_some());
                        failing.push((source, reading, since));
                    }
                }
            }
        }
        let help = "Sources, channels and consumer groups, by state: ok, failing, waiting for the first read, or idle because no request needs them";
        let mut sources = encoder.encode_descriptor("sources", help, None, MetricType::Gauge)?;
        let failures = i64::try_from(failing.len()).unwrap_or(i64::MAX);
        for (state, count) in [("failing", failures), ("idle", idle), ("ok", well), ("waiting", waiting)] {
            ConstGauge::new(count).encode(sources.encode_family(&[("state", state)])?)?;
        }
        let help = "Failing sources, channels and consumer groups whose endpoint is marked down after 10 consecutive failures; one request every 2 s probes it";
        let breaker = encoder.encode_descriptor("breaker_open_sources", help, None, MetricType::Gauge)?;
        ConstGauge::new(open).encode(breaker)?;
        let help = "Listed sources that can't be selected in some namespaces; the log and /status give the reason";
        let unselectable = i64::try_from(entries.refused.count()).unwrap_or(i64::MAX);
        let gauge = encoder.encode_descriptor("unselectable_sources", help, None, MetricType::Gauge)?;
        ConstGauge::new(unselectable).encode(gauge)?;
        let help = "Lists of sources, such as the queues of a compartment, that are requested and cannot be read; the log and /status give the cause";
        let lists = i64::try_from(entries.list_outages().count()).unwrap_or(i64::MAX);
        let gauge = encoder.encode_descriptor("failing_lists", help, None, MetricType::Gauge)?;
        ConstGauge::new(lists).encode(gauge)?;
        let help =
            "How much longer than refresh values are kept, because more reads are due than maxRequestsPerSecond allows";
        let throttled =
            encoder.encode_descriptor("refresh_throttled", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        ConstGauge::new(entries.throttled().as_secs_f64()).encode(throttled)?;
        let help = "Since when a source, channel or consumer group fails, in seconds since 1970: the first hundred of those that do. Sources of one name share a series, with the earliest time";
        let name = "source_failing_since_timestamp";
        let mut since = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        // Sources of several namespaces may have the same name, and share one series.
        let mut first: BTreeMap<Vec<(String, &str)>, i64> = BTreeMap::new();
        for (source, reading, at) in failing.iter().take(NAMED_MAX) {
            let mut labels = vec![("kind".to_owned(), source.kind.name), ("source".to_owned(), &*source.name)];
            // A label name has no hyphen.
            labels.extend(reading.poll.part.iter().map(|(label, value)| (label.replace('-', "_"), value)));
            let at = at.as_second();
            first.entry(labels).and_modify(|known| *known = at.min(*known)).or_insert(at);
        }
        for (labels, at) in first {
            ConstGauge::new(at).encode(since.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
