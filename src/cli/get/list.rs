//! `get` without a metric: the metrics that there are. Pure.

use serde::Serialize;

use crate::cli::table::Table;
use crate::source::{KINDS, kind_of};

/// All metrics of depthgauge.
#[derive(Debug, Serialize)]
pub(super) struct Metrics {
    /// Sorted by name.
    metrics: Vec<Metric>,
}

/// One metric.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metric {
    /// The name, as an HPA has it.
    name: String,
    /// The type of the sources that have it. Absent for a name that the config chooses.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// The labels that select it. Empty for a name that the config chooses: its items have labels of their own.
    labels: Vec<&'static str>,
}

// === impl Metrics ===

impl Metrics {
    pub(super) fn of(names: impl IntoIterator<Item = String>) -> Self {
        Self { metrics: names.into_iter().map(Metric::of).collect() }
    }

    /// The names, a line each.
    pub(super) fn names(&self) -> String {
        self.metrics.iter().map(|metric| format!("{}\n", metric.name)).collect()
    }

    /// As a table; `wide` adds the labels.
    pub(super) fn table(&self, wide: bool) -> String {
        let header: &[&str] = if wide { &["NAME", "TYPE", "LABELS"] } else { &["NAME", "TYPE"] };
        let mut rows = vec![header.iter().map(|title| (*title).to_owned()).collect()];
        for Metric { name, kind, labels } in &self.metrics {
            let labels = if labels.is_empty() { "<none>".to_owned() } else { labels.join(",") };
            let cells = [name.clone(), kind.unwrap_or("<any>").to_owned(), labels];
            rows.push(cells.into_iter().take(header.len()).collect());
        }
        Table::default().lines(&rows)
    }
}

// === impl Metric ===

impl Metric {
    fn of(name: String) -> Self {
        let kind = kind_of(KINDS, &name);
        let labels =
            kind.map(|kind| kind.name_labels().chain(kind.labels.iter().copied()).chain(kind.parts.iter().copied()));
        Self { name, kind: kind.map(|kind| kind.name), labels: labels.into_iter().flatten().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_listed_with_what_selects_it() {
        let metrics = Metrics::of(["jobs_waiting".to_owned(), "oci_queue_length".to_owned()]);
        assert_eq!(metrics.names(), "jobs_waiting\noci_queue_length\n");
        let narrow = "NAME               TYPE\njobs_waiting       <any>\noci_queue_length   oci-queue\n";
        assert_eq!(metrics.table(false), narrow);
        let wide = metrics.table(true);
        assert!(wide.ends_with("oci_queue_length   oci-queue   queue,channel,consumer-group\n"), "{wide}");
        let document = serde_json::to_value(&metrics).unwrap();
        assert_eq!(document["metrics"][1]["type"], "oci-queue");
        assert_eq!(document["metrics"][0], serde_json::json!({"name": "jobs_waiting", "labels": []}));
    }
}
