//! Every HPA that asks for a metric of ours: what it would be told now, the same way.

use std::io::Write;

use futures_util::{StreamExt as _, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::cluster::Version;
use super::report::{Finding, Report};
use super::wire::{Trouble, Wire};
use crate::lookup;
use crate::request::{GROUP, VERSION};

/// Questions at the same time: well below the 20 a second that the controller itself may ask.
const AT_ONCE: usize = 8;

/// A metric of an HPA.
struct Question {
    /// `shop/dummy oci_queue_length{queue=orders}`
    title: String,
    path: String,
}

pub(super) async fn check(wire: &Wire, version: Option<Version>, report: &mut Report<impl Write>) {
    let list = match wire.get("/apis/autoscaling/v2/horizontalpodautoscalers").await {
        Ok(list) => list,
        Err(trouble) => {
            let absent =
                || Finding::fail("this cluster has no autoscaling/v2: depthgauge needs Kubernetes 1.23 or later");
            return report.add("hpas", &trouble.finding("the HPAs", absent));
        }
    };
    let ours: Vec<(&Value, Vec<Question>)> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|hpa| (hpa, questions(hpa)))
        .filter(|(_, questions)| !questions.is_empty())
        .collect();
    if ours.is_empty() {
        return report.add("hpas", &Finding::ok("no HPA asks for a metric of depthgauge"));
    }
    for (hpa, _) in &ours {
        report.all("hpas", &sleepers(hpa, version));
    }
    let questions = ours.into_iter().flat_map(|(_, questions)| questions);
    let mut asked = stream::iter(questions).map(|question| ask(wire, question)).buffered(AT_ONCE);
    while let Some(finding) = asked.next().await {
        report.add("hpas", &finding);
    }
}

/// What it asks us.
fn questions(hpa: &Value) -> Vec<Question> {
    let (namespace, name) = place(hpa);
    let external = hpa["spec"]["metrics"].as_array().into_iter().flatten().map(|metric| &metric["external"]["metric"]);
    let known = lookup::metrics();
    let ours = external.filter_map(|metric| {
        let asked = metric["name"].as_str()?;
        let ours = known.iter().find(|known| known.as_str() == asked)?;
        let selector = selector(&metric["selector"]);
        let mut path = format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{ours}");
        let mut title = format!("{namespace}/{name} {ours}");
        if !selector.is_empty() {
            path.push_str(&format!("?labelSelector={}", utf8_percent_encode(&selector, NON_ALPHANUMERIC)));
            title.push_str(&format!("{{{selector}}}"));
        }
        Some(Question { title, path })
    });
    ours.collect()
}

fn place(hpa: &Value) -> (&str, &str) {
    let text = |field: &str| hpa["metadata"][field].as_str().unwrap_or_default();
    (text("namespace"), text("name"))
}

/// A LabelSelector as the controller writes it into the query, sorted by key.
fn selector(written: &Value) -> String {
    let mut requirements = Vec::new();
    for (key, value) in written["matchLabels"].as_object().into_iter().flatten() {
        requirements.push((key.as_str(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in written["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        requirements.push((
            key,
            match expression["operator"].as_str() {
                Some("NotIn") => format!("{key} notin ({values})"),
                Some("Exists") => key.to_owned(),
                Some("DoesNotExist") => format!("!{key}"),
                _ => format!("{key} in ({values})"),
            },
        ));
    }
    requirements.sort_by(|a, b| a.0.cmp(b.0));
    requirements.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// What keeps it from scaling although it has a value.
fn sleepers(hpa: &Value, version: Option<Version>) -> Vec<Finding> {
    let (namespace, name) = place(hpa);
    let mut findings = Vec::new();
    if hpa["spec"]["minReplicas"] == 0 && version.is_some_and(|version| !version.scales_to_zero()) {
        findings.push(Finding::warn(format!(
            "{namespace}/{name} has minReplicas 0, which Kubernetes before 1.37 obeys only with feature gate HPAScaleToZero: set 1, or upgrade"
        )));
    }
    let mut conditions = hpa["status"]["conditions"].as_array().into_iter().flatten();
    let rests = |condition: &Value| {
        condition["type"] == "ScalingActive"
            && condition["status"] == "False"
            && condition["reason"] == "ScalingDisabled"
    };
    if conditions.any(rests) {
        let target = &hpa["spec"]["scaleTargetRef"];
        let part = |field: &str| target[field].as_str().unwrap_or_default();
        findings.push(Finding::warn(format!(
            "{namespace}/{name} rests, because its workload was set to 0 by somebody else: wake it with kubectl scale -n {namespace} {}/{} --replicas=1",
            part("kind").to_lowercase(),
            part("name")
        )));
    }
    findings
}

async fn ask(wire: &Wire, question: Question) -> Finding {
    let Question { title, path } = question;
    match wire.get(&path).await {
        Ok(list) => told(&title, &list),
        Err(Trouble::Forbidden(message)) => {
            Finding::warn(format!("{title} cannot be asked for: {message}; run check with a kubeconfig that may"))
        }
        Err(Trouble::Absent(message) | Trouble::Other(message)) => Finding::fail(format!("{title}: {message}")),
    }
}

fn told(title: &str, list: &Value) -> Finding {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let values: Vec<&str> = items.iter().filter_map(|item| item["value"].as_str()).collect();
    match values.as_slice() {
        [] => Finding::fail(format!("{title}: an answer without a value")),
        values => Finding::ok(format!("{title}: {}", values.join(" + "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::check::report::Level;

    fn hpa(metric: &Value) -> Value {
        let metrics = json!([{"type": "Resource"}, {"type": "External", "external": {"metric": metric}}]);
        json!({"metadata": {"namespace": "shop", "name": "dummy"}, "spec": {"metrics": metrics}})
    }

    #[test]
    fn an_hpa_is_asked_for_as_the_controller_asks() {
        let one =
            questions(&hpa(&json!({"name": "oci_queue_length", "selector": {"matchLabels": {"queue": "orders"}}})));
        assert_eq!(one[0].title, "shop/dummy oci_queue_length{queue=orders}");
        let path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/oci_queue_length";
        assert_eq!(one[0].path, format!("{path}?labelSelector=queue%3Dorders"));
        let bare = questions(&hpa(&json!({"name": "oci_queue_length"})));
        assert_eq!((bare[0].path.as_str(), bare[0].title.as_str()), (path, "shop/dummy oci_queue_length"));
        assert!(questions(&hpa(&json!({"name": "sqs_length"}))).is_empty(), "somebody else's");
    }

    #[test]
    fn selectors_are_written_sorted_by_key() {
        let written = json!({
            "matchLabels": {"z": "1", "b": "2"},
            "matchExpressions": [
                {"key": "queue", "operator": "In", "values": ["b", "a"]},
                {"key": "c", "operator": "NotIn", "values": ["x"]},
                {"key": "a", "operator": "Exists"},
                {"key": "y", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(selector(&written), "a,b=2,c notin (x),queue in (a,b),!y,z=1");
        assert_eq!(selector(&Value::Null), "");
    }

    #[test]
    fn an_hpa_that_would_sleep_is_told_of() {
        let version = |minor: &str| Version::of(&json!({"major": "1", "minor": minor}));
        let mut hpa = hpa(&json!({"name": "oci_queue_length"}));
        hpa["spec"]["minReplicas"] = json!(0);
        assert!(sleepers(&hpa, version("37")).is_empty() && sleepers(&hpa, None).is_empty());
        assert!(sleepers(&hpa, version("36"))[0].text.contains("minReplicas 0"));
        hpa["spec"]["minReplicas"] = json!(1);
        assert!(sleepers(&hpa, version("36")).is_empty());
        hpa["spec"]["scaleTargetRef"] = json!({"kind": "Deployment", "name": "web"});
        hpa["status"] =
            json!({"conditions": [{"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}]});
        let found = sleepers(&hpa, version("37"));
        assert!(found[0].text.ends_with("kubectl scale -n shop deployment/web --replicas=1"), "{}", found[0].text);
    }

    #[test]
    fn no_value_is_a_failure_and_several_are_a_sum() {
        assert_eq!(told("t", &json!({"items": []})).level, Level::Fail);
        let two = told("t", &json!({"items": [{"value": "15"}, {"value": "1k"}]}));
        assert_eq!((two.level, two.text.as_str()), (Level::Ok, "t: 15 + 1k"));
    }
}
