//! One HPA in a line: its metrics, its size, and what follows from them. Pure.

use serde::Serialize;

use super::seen::{Heard, Seen};
use super::verdict;
use crate::cli::external_metrics::{self, Item};
use crate::cli::failure::Failure;
use crate::cli::finding::{Finding, Level, one_line};
use crate::hpa::{Desired, Target};
use crate::metric::quantity::Quantity;

/// The verdict about an HPA that was listed before and is not any more.
pub(super) const GONE: &str = "deleted, or has no External metric any more";

/// What is explained about one HPA.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    /// Namespace of the HPA.
    pub(super) namespace: String,
    /// Name of the HPA.
    pub(super) name: String,
    /// Whether the workload can be read, each External metric has a value, and no finding has level `fail`.
    pub(super) ready: bool,
    /// The External metrics of the HPA, in its order.
    pub(super) metrics: Vec<Metric>,
    /// Replicas of the workload, as its scale subresource has them in `spec`. Absent if it can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replicas: Option<i32>,
    /// The size that the metrics lead to, within `minReplicas` and `maxReplicas` and before stabilization and
    /// scaling policies. Absent if it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) desired: Option<i32>,
    /// What the HPA does, and why it does not scale.
    pub(super) verdict: String,
    /// What is wrong, or probably not meant.
    pub(super) findings: Vec<Finding>,
}

/// One External metric of an HPA.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metric {
    /// Name and selector, such as `oci_queue_length{queue=orders}`.
    pub(super) metric: String,
    /// The sum of the items that the HPA is served, as a decimal. Absent if there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// The target, as a decimal. Absent for a target that the HPA controller can't use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    /// `AverageValue` or `Value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target_type: Option<&'static str>,
}

// === impl Summary ===

impl Summary {
    pub(super) fn of(seen: &Seen<'_>, findings: Vec<Finding>) -> Self {
        let metrics: Vec<Metric> = seen.heard.iter().filter_map(Metric::of).collect();
        let desired = seen.desired().ok();
        let verdict = match (&seen.workload, &desired) {
            (Ok(workload), Some(desired)) => verdict::short(seen, workload, desired),
            (Err(why), _) => one_line(why),
            // There is a desired size for each workload that was read.
            (Ok(_), None) => String::new(),
        };
        let is_failure = |finding: &Finding| finding.level == Level::Fail;
        Self {
            namespace: seen.hpa.namespace().to_owned(),
            name: seen.hpa.name().to_owned(),
            ready: seen.workload.is_ok()
                && metrics.iter().all(|metric| metric.value.is_some())
                && !findings.iter().any(is_failure),
            metrics,
            replicas: seen.workload.as_ref().ok().map(|workload| workload.wanted),
            desired: desired.filter(Desired::is_known).map(|desired| desired.replicas),
            verdict,
            findings,
        }
    }

    /// Of an HPA that is not listed any more.
    pub(super) fn gone(&self) -> Self {
        let (namespace, name, verdict) = (self.namespace.clone(), self.name.clone(), GONE.to_owned());
        let (metrics, findings) = (Vec::new(), Vec::new());
        Self { namespace, name, ready: false, metrics, replicas: None, desired: None, verdict, findings }
    }

    /// Its line: NAME, READY, VALUE, TARGET, REPLICAS and VERDICT.
    pub(super) fn cells(&self) -> [String; 6] {
        let each = |cell: &dyn Fn(&Metric) -> String| {
            let cells: Vec<String> = self.metrics.iter().map(cell).collect();
            if cells.is_empty() { "<none>".to_owned() } else { cells.join(",") }
        };
        let unknown = || "?".to_owned();
        let target = |metric: &Metric| {
            let per_pod = if metric.target_type == Some("AverageValue") { " (avg)" } else { "" };
            metric.target.as_ref().map_or_else(unknown, |target| format!("{target}{per_pod}"))
        };
        let bad = self.findings.iter().filter(|finding| finding.level != Level::Ok).count();
        let findings = match bad {
            0 => String::new(),
            1 => "; 1 finding".to_owned(),
            more => format!("; {more} findings"),
        };
        [
            self.name.clone(),
            if self.ready { "True" } else { "False" }.to_owned(),
            each(&|metric| metric.value.clone().unwrap_or_else(unknown)),
            each(&target),
            self.replicas.map_or_else(unknown, |replicas| replicas.to_string()),
            format!("{}{findings}", self.verdict),
        ]
    }
}

// === impl Metric ===

impl Metric {
    /// `None` for a metric of another API.
    fn of(heard: &Heard) -> Option<Self> {
        let Heard::Asked { question, answer } = heard else { return None };
        let (value, error) = match answer {
            Ok(items) => (
                external_metrics::sum(items).map(shown),
                items.is_empty().then(|| "a response without items".to_owned()),
            ),
            Err(trouble) => (None, Some(one_line(trouble.message()))),
        };
        let number =
            |items: &Vec<Item>| items.iter().find(|item| item.quantity.is_none()).map(|item| item.value.clone());
        let invalid = answer.as_ref().ok().and_then(number).map(|value| format!("{value} is not a usable number"));
        let target = question.target;
        let kind = |target| match target {
            Target::AverageValue(_) => "AverageValue",
            Target::Value(_) => "Value",
        };
        Some(Self {
            metric: question.title(),
            value,
            error: error.or(invalid),
            target: target.map(|target| shown(Quantity::from_milli(target.milli()))),
            target_type: target.map(kind),
        })
    }
}

/// The error if HPAs are not ready, with what shows the cause.
pub(super) fn unready(summaries: &[Summary], hint: Option<&str>) -> Option<Failure> {
    let bad: Vec<String> = summaries
        .iter()
        .filter(|summary| !summary.ready)
        .map(|hpa| format!("{}/{}", hpa.namespace, hpa.name))
        .collect();
    let all = summaries.len();
    match &bad[..] {
        [] => None,
        [one] => Some(Failure::new(format!("HPA {one} is not ready"))),
        [first, ..] => Some(Failure::new(format!("{} of {all} HPAs are not ready, the first is {first}", bad.len()))),
    }
    .map(|failure| match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

fn shown(quantity: Quantity) -> String {
    quantity.decimal().to_string()
}
