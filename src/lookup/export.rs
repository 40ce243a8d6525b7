//! Values as gauges, for existing dashboards of an exporter.
//!
//! A source that fails, or whose value is too old, has no sample. A dashboard shows a gap. A zero would
//! mean an empty queue.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Catalog;

/// The sources of a catalog that are also gauges: those of entries with `export: true`. A series has only
/// a name and no namespace, so names are resolved among all of these entries. The names of these metrics
/// do not begin with `depthgauge_`.
#[derive(Clone)]
pub struct Gauges(Arc<Catalog>);

// === impl Gauges ===

impl Gauges {
    /// Of this catalog.
    pub fn of(catalog: Arc<Catalog>) -> Self {
        Self(catalog)
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let entries = self.0.entries();
        for kind in entries.metrics.kinds {
            let mine = entries.exported().filter(|source| source.kind.name == kind.name);
            // Once for all gauges: they are of one reading.
            let known: Vec<_> =
                mine.filter_map(|source| Some((source.label, &*source.name, source.readings.well()?))).collect();
            if known.is_empty() {
                continue;
            }
            for gauge in kind.gauges {
                let name = gauge.metric.as_str();
                let mut family = encoder.encode_descriptor(name, gauge.help, None, MetricType::Gauge)?;
                for (label, name, good) in &known {
                    let Some(value) = good.value.value(&gauge.metric) else { continue };
                    let labels = [(*label, *name)];
                    ConstGauge::new(value.as_f64()).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}
