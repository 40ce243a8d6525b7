//! Who answers: the metrics server of a cluster, or the sources of a config file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Question;
use crate::cli::cluster::persons_kube_client;
use crate::cli::wire::Wire;
use crate::cli::{clock, told};
use crate::config::Config;
use crate::lookup::Catalog;
use crate::metric::{Namespace, Sample};
use crate::request::{GROUP, VERSION};
use crate::selector::Selector;
use crate::source::KINDS;

/// Answers questions.
pub(super) enum Origin {
    Cluster(Wire),
    /// As the server would answer, without one; the task keeps values fresh, and ends with it.
    Sources(Arc<Catalog>, #[expect(dead_code, reason = "dropped, it stops its task")] JoinSet<()>),
}

// === impl Origin ===

impl Origin {
    /// Through kube-apiserver; also the namespace that is meant when none is said.
    pub(super) async fn of_cluster(kubeconfig: Option<PathBuf>) -> Result<(Self, String)> {
        let (client, _) = persons_kube_client(kubeconfig).await?;
        let namespace = client.default_namespace().to_owned();
        Ok((Self::Cluster(Wire::new(client)), namespace))
    }

    /// Straight from the sources of this file.
    pub(super) fn of_config(file: &Path) -> Result<Self> {
        let bindings = Config::read(file, KINDS)?.open(clock)?;
        let (catalog, reader) = Catalog::new(bindings, KINDS, clock);
        let mut reading = JoinSet::new();
        reading.spawn(reader.run());
        Ok(Self::Sources(Arc::new(catalog), reading))
    }

    /// An `ExternalMetricValueList`, or the sentence that an HPA would be told.
    pub(super) async fn ask(&self, question: &Question) -> Result<Value, String> {
        let Question { namespace, metric, selector } = question;
        match self {
            Self::Cluster(wire) => {
                let answer = wire.get(&told::path(namespace, metric, selector)).await;
                answer.map_err(|trouble| trouble.advised())
            }
            Self::Sources(catalog, _) => {
                let selector = Selector::parse(selector).map_err(|error| error.to_string())?;
                // As client-go writes it.
                let metric = metric.to_lowercase();
                let samples = catalog.answer(&Namespace::new(namespace.as_str()), &metric, &selector).await;
                samples.map(|samples| list(&samples)).map_err(|error| error.to_string())
            }
        }
    }
}

fn list(samples: &[Sample]) -> Value {
    let item = |sample: &Sample| {
        let labels: serde_json::Map<String, Value> =
            sample.labels.iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
        // To the second, as in the API.
        let timestamp = sample.timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        json!({
            "metricName": sample.metric.as_str(),
            "metricLabels": labels,
            "timestamp": timestamp,
            "value": sample.value.to_string(),
        })
    };
    let items: Vec<Value> = samples.iter().map(item).collect();
    json!({
        "kind": "ExternalMetricValueList", "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {}, "items": items,
    })
}
