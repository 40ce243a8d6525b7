//! A request to `external.metrics.k8s.io` and its answer, as plain data: what an HPA requests, and
//! what it gets, whichever server serves it.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::lookup::rules;
use crate::metric::names::escaped;
pub(super) use crate::metric::names::title;
use crate::metric::quantity::Quantity;
use crate::request::{GROUP, VERSION};

/// One item of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Item {
    /// `key=value`, sorted by key, without the policy's.
    pub(super) labels: Vec<String>,
    /// The policy that made the value what it is.
    pub(super) policy: Option<String>,
    /// When the source was read.
    pub(super) timestamp: Option<Timestamp>,
    /// As written.
    pub(super) value: String,
    /// The same as a number, if the controller can count it.
    pub(super) quantity: Option<Quantity>,
}

/// Its path at kube-apiserver, as the controller requests it: client-go writes a metric's name in
/// lower case.
pub(super) fn path(namespace: &str, metric: &str, selector: &str) -> String {
    let [namespace, metric, selector] = [namespace, metric.to_lowercase().as_str(), selector].map(escaped);
    let path = format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{metric}");
    if selector.is_empty() { path } else { format!("{path}?labelSelector={selector}") }
}

/// The items of an `ExternalMetricValueList`; what has no value is none.
pub(super) fn items(list: &Value) -> Vec<Item> {
    list["items"].as_array().into_iter().flatten().filter_map(Item::of).collect()
}

/// The metrics of an `APIResourceList` in this category.
pub(super) fn listed<'l>(list: &'l Value, category: &'static str) -> impl Iterator<Item = &'l str> {
    let is_listed =
        move |resource: &&Value| resource["categories"].as_array().into_iter().flatten().any(|of| of == category);
    let resources = list["resources"].as_array().into_iter().flatten().filter(is_listed);
    resources.filter_map(|resource| resource["name"].as_str())
}

/// The sum of the items, which the HPA controller takes; `None` if there is no item, or one that is no usable number.
pub(super) fn sum(items: &[Item]) -> Option<Quantity> {
    let all: Vec<Quantity> = items.iter().map(|item| item.quantity).collect::<Option<_>>()?;
    Quantity::sum(all).filter(|_| !items.is_empty())
}

/// How far apart the last requests were at most, by a Table of depthgauge.
pub(super) fn asked_every(table: &Value) -> Option<SignedDuration> {
    cells(table, "Queried").filter_map(|cell| cell.parse().ok()).max()
}

/// The next change of a metric whose changes are known in advance, by a Table of depthgauge.
pub(super) fn next_change(table: &Value) -> Option<&str> {
    cells(table, "Next Change").next()
}

/// The cells of a column.
fn cells<'t>(table: &'t Value, column: &str) -> impl Iterator<Item = &'t str> {
    let columns = table["columnDefinitions"].as_array().into_iter().flatten();
    let at = columns.enumerate().find(|(_, known)| known["name"] == *column).map(|(at, _)| at);
    let rows = table["rows"].as_array().into_iter().flatten();
    rows.filter_map(move |row| row["cells"][at?].as_str())
}

// === impl Item ===

impl Item {
    /// One of a list; `None` if it has no value.
    pub(super) fn of(item: &Value) -> Option<Self> {
        let value = item["value"].as_str()?.to_owned();
        let labels = item["metricLabels"].as_object().into_iter().flatten();
        let mut labels: Vec<(&str, &str)> =
            labels.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect();
        labels.sort_unstable();
        let policy = labels.iter().find(|(key, _)| *key == rules::LABEL).map(|(_, policy)| (*policy).to_owned());
        let labels = labels.iter().filter(|(key, _)| *key != rules::LABEL);
        Some(Self {
            labels: labels.map(|(key, value)| format!("{key}={value}")).collect(),
            policy,
            timestamp: item["timestamp"].as_str().and_then(|text| text.parse().ok()),
            quantity: Quantity::parse(&value),
            value,
        })
    }

    /// The readable value: as written, and a fraction as a decimal, `0.4` instead of `400m`.
    pub(super) fn shown(&self) -> String {
        match self.quantity {
            Some(quantity) if quantity.milli() % 1000 != 0 => quantity.decimal().to_string(),
            _ => self.value.clone(),
        }
    }

    /// Whole seconds since the source was read; `None` if that is not said.
    pub(super) fn age(&self, now: Timestamp) -> Option<i64> {
        // A clock that is a little behind makes no value from the future.
        self.timestamp.map(|read| now.duration_since(read).as_secs().max(0))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_often_is_asked_is_read_off_the_table() {
        let table = |asked: [&str; 2]| {
            json!({
                "columnDefinitions": [{"name": "Queue"}, {"name": "Queried"}],
                "rows": [{"cells": ["a", asked[0]]}, {"cells": ["b", asked[1]]}],
            })
        };
        assert_eq!(asked_every(&table(["2m10s", "<none>"])), Some(SignedDuration::from_secs(130)));
        assert_eq!(asked_every(&table(["<none>", "<none>"])), None);
        assert_eq!(asked_every(&json!({"items": []})), None);
        assert_eq!(next_change(&table(["<none>", "<none>"])), None);
    }

    #[test]
    fn a_question_is_asked_as_the_controller_asks() {
        let base = "/apis/external.metrics.k8s.io/v1beta1/namespaces/team-a/oci_queue_length";
        assert_eq!(path("team-a", "oci_queue_length", ""), base);
        let selected = path("team-a", "oci_queue_length", "queue in (a,b),x=1");
        assert_eq!(selected, format!("{base}?labelSelector=queue%20in%20%28a%2Cb%29%2Cx%3D1"));
        assert_eq!(path("team-a", "OCI_Queue_LENGTH", ""), base);
        // What a user types leads nowhere else.
        assert!(path("..", "a/b?c", "").ends_with("/namespaces/../a%2Fb%3Fc"));
        assert_eq!(title("m", ""), "m");
        assert_eq!(title("m", "queue=a"), "m{queue=a}");
    }

    #[test]
    fn an_answer_is_read_with_its_policy_apart() {
        let list = json!({"items": [
            {"value": "1500m", "timestamp": "2026-11-22T14:00:00Z",
             "metricLabels": {"queue": "orders", "channel": "eu", "depthgauge.dev/value-source": "activation"}},
            {"value": "1E", "metricLabels": null},
            {"metricLabels": {}},
        ]});
        let items = items(&list);
        assert_eq!(items.len(), 2, "what has no value is none");
        assert_eq!(items[0].labels, ["channel=eu", "queue=orders"]);
        assert_eq!(items[0].policy.as_deref(), Some("activation"));
        assert_eq!(items[0].quantity, Some(Quantity::from_milli(1500)));
        assert_eq!(items[0].age("2026-11-22T14:00:09.9Z".parse().unwrap()), Some(9));
        assert_eq!(items[0].age("2026-11-22T13:00:00Z".parse().unwrap()), Some(0));
        assert_eq!((items[1].quantity, items[1].age(Timestamp::UNIX_EPOCH)), (None, None));
    }

    #[test]
    fn nothing_has_no_sum() {
        assert_eq!(sum(&[]), None);
        assert_eq!(sum(&items(&json!({"items": [{"value": "1E"}]}))), None);
    }

    #[test]
    fn a_fraction_is_shown_as_a_decimal_and_the_rest_as_written() {
        for (written, shown) in [
            ("0", "0"),
            ("400m", "0.4"),
            ("1500m", "1.5"),
            ("2000m", "2000m"),
            ("20k", "20k"),
            ("1n", "0.001"),
            ("1E", "1E"),
        ] {
            assert_eq!(items(&json!({"items": [{"value": written}]}))[0].shown(), shown);
        }
    }
}
