//! What a `metrics-api` trigger of KEDA's makes of an exporter of Prometheus metrics.

use std::path::Path;

use serde_json::Value;

/// Kinds of metrics that KEDA's parser knows; for another one it refuses the whole text.
const KINDS: [&str; 5] = ["counter", "gauge", "histogram", "summary", "untyped"];

/// With `format: prometheus`.
pub(crate) struct Trigger {
    /// Where it asks.
    pub(crate) url: String,
    /// `valueLocation`: a metric's name, and labels in braces.
    pub(crate) location: String,
}

/// Those of `manifests/examples/keda/before.yaml`.
pub(crate) fn before_a_move() -> Vec<Trigger> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/examples/keda/before.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let objects = text.split("\n---\n").map(|object| serde_saphyr::from_str::<Value>(object).unwrap());
    let triggers: Vec<Trigger> = objects
        .flat_map(|object| {
            assert_eq!((&object["apiVersion"], &object["kind"]), (&"keda.sh/v1alpha1".into(), &"ScaledObject".into()));
            object["spec"]["triggers"].as_array().unwrap().iter().map(Trigger::of).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(triggers.len(), 2);
    triggers
}

// === impl Trigger ===

impl Trigger {
    fn of(trigger: &Value) -> Self {
        let field = |name: &str| trigger["metadata"][name].as_str().unwrap_or_else(|| panic!("{trigger}")).to_owned();
        assert_eq!((trigger["type"].as_str(), field("format").as_str()), (Some("metrics-api"), "prometheus"));
        assert!(field("targetValue").parse::<f64>().unwrap() > 0.0);
        Self { url: field("url"), location: field("valueLocation") }
    }

    /// The first sample of that name with each of those labels.
    pub(crate) fn reads(&self, text: &str) -> Option<f64> {
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').nth(1));
        kinds.for_each(|kind| assert!(KINDS.contains(&kind), "{kind}"));
        let (name, labels) = parts(&self.location)?;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let mut found = samples.filter_map(|line| line.rsplit_once(' ')).filter(|(series, _)| {
            parts(series).is_some_and(|(its, has)| its == name && labels.iter().all(|label| has.contains(label)))
        });
        found.next()?.1.parse().ok()
    }
}

/// Name and labels of `name{label="value",…}`.
fn parts(series: &str) -> Option<(&str, Vec<&str>)> {
    let (name, labels) = series.strip_suffix('}')?.split_once('{')?;
    Some((name, labels.split(',').collect()))
}
