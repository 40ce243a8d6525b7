//! Where values come from: the metrics server of a cluster, or the sources of a config file.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Question;
use super::print::VALUE;
use crate::api;
use crate::cli::cluster::Flags;
use crate::cli::failure::Failure;
use crate::cli::kube_api::{KubeApi, RequestError};
use crate::cli::{clock, external_metrics, output};
use crate::config::Config;
use crate::endpoints::Endpoints;
use crate::lookup::{Catalog, LookupError};
use crate::metric::{CATEGORY, Namespace, Sample};
use crate::request::{GROUP, PREFIX, VERSION};
use crate::selector::Selector;
use crate::source::KINDS;

/// Answers requests.
pub(super) enum Origin {
    Cluster(KubeApi),
    /// As the server would answer, without one; the task keeps values fresh, and ends with it.
    Sources(Arc<Catalog>, #[expect(dead_code, reason = "dropped, it stops its task")] JoinSet<()>),
}

// === impl Origin ===

impl Origin {
    /// Through kube-apiserver; also the namespace that is meant when none is said.
    pub(super) async fn of_cluster(flags: Flags) -> Result<(Self, String)> {
        let connection = flags.connect().await?;
        let namespace = connection.client.default_namespace().to_owned();
        Ok((Self::Cluster(connection.kube_api()), namespace))
    }

    /// Straight from the sources of this file that the metric depends on. Others may have credentials that are
    /// not on this machine.
    pub(super) fn of_config(file: &Path, metric: &str) -> Result<Self> {
        let config = Config::read(file, KINDS)?.only(&metric.to_lowercase(), KINDS);
        let bindings = config.open(clock, Endpoints::none())?;
        let (catalog, reader) = Catalog::new(bindings, KINDS, clock);
        let mut reading = JoinSet::new();
        reading.spawn(reader.run());
        Ok(Self::Sources(Arc::new(catalog), reading))
    }

    /// An `ExternalMetricValueList`, or the error that an HPA gets.
    pub(super) async fn ask(&self, question: &Question) -> Result<Value, RequestError> {
        let Question { namespace, metric, selector } = question;
        match self {
            Self::Cluster(kube_api) => kube_api.get(&external_metrics::path(namespace, metric, selector)).await,
            Self::Sources(catalog, _) => {
                let (namespace, metric, selector) = parsed(question)?;
                let samples = catalog.answer(&namespace, &metric, &selector).await;
                let is_unreachable = || catalog.is_unreachable(&namespace, &metric, &selector);
                samples.map(|samples| list(&samples)).map_err(|error| trouble(error, is_unreachable))
            }
        }
    }

    /// The Table that kubectl gets, or the list of a server that has no such Table.
    pub(super) async fn table(&self, question: &Question) -> Result<Value, RequestError> {
        let Question { namespace, metric, selector } = question;
        match self {
            Self::Cluster(kube_api) => {
                let path = external_metrics::path(namespace, metric, selector);
                let table = kube_api.table(&path).await?;
                let has_values =
                    table["columnDefinitions"].as_array().into_iter().flatten().any(|it| it["name"] == VALUE);
                if has_values { Ok(table) } else { kube_api.get(&path).await }
            }
            Self::Sources(catalog, _) => {
                let (namespace, metric, selector) = parsed(question)?;
                let rows = catalog.rows(&namespace, &metric, &selector).await;
                let is_unreachable = || catalog.is_unreachable(&namespace, &metric, &selector);
                let rows = rows.map_err(|error| trouble(error, is_unreachable))?;
                rows.unknown.iter().for_each(|item| output::print_error(format_args!("warning: {}", item.message)));
                let table = api::table(catalog, &namespace, &metric, &selector, &rows);
                table.map_err(|error| RequestError::Other(error.to_string()))
            }
        }
    }

    /// After a Table with a row that has no value: the error, and the cause as a warning, as kubectl prints it.
    pub(super) async fn without_sum(&self, question: &Question) -> Failure {
        // Of sources, the Table came with the causes.
        if matches!(self, Self::Cluster(_))
            && let Err(trouble) = self.ask(question).await
        {
            output::print_error(format_args!("warning: {}", trouble.message()));
        }
        Failure::new("an HPA gets no value: the sum is unknown")
    }
}

/// The names of all metrics of a cluster, sorted.
pub(super) async fn metrics_of_cluster(kube_api: &KubeApi) -> Result<Vec<String>, RequestError> {
    let list = kube_api.get(PREFIX).await?;
    let names: BTreeSet<&str> = external_metrics::listed(&list, CATEGORY).collect();
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// The names of all metrics of a config, sorted. Opens nothing.
pub(super) fn metrics_of_config(file: &Path) -> Result<Vec<String>> {
    Ok(Config::read(file, KINDS)?.metrics(KINDS).into_iter().collect())
}

/// The request as the catalog takes it.
fn parsed(question: &Question) -> Result<(Namespace, String, Selector), RequestError> {
    let selector = Selector::parse(&question.selector).map_err(|error| RequestError::Other(error.to_string()))?;
    // In lower case, as client-go requests it.
    Ok((Namespace::new(question.namespace.as_str()), question.metric.to_lowercase(), selector))
}

/// The error of a question; `is_unreachable`: whether that is because a service that it needs does not respond.
fn trouble(error: LookupError, is_unreachable: impl Fn() -> bool) -> RequestError {
    match error {
        LookupError::Unavailable(message) if is_unreachable() => RequestError::Unreachable(message.to_string()),
        other => RequestError::Other(other.to_string()),
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
