//! The LabelSelector of an HPA's metric, as the HPA controller reads it. Pure.
//!
//! kube-apiserver accepts every text there as key, operator and value. The controller checks them
//! before it requests the metric (`LabelSelectorAsSelector` of `k8s.io/apimachinery`), and a metric
//! with an invalid selector has no value.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Expression, Selector as Printed};

use super::{ParseError, Selector};
use crate::metric::{LABEL_VALUE_MAX, is_label_key, is_label_value};

/// A selector that the controller sends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MetricSelector {
    /// As it stands in the query: sorted by key, empty for everything.
    pub text: String,
    /// What it selects.
    pub selector: Selector,
}

// === impl MetricSelector ===

impl MetricSelector {
    /// Checks what is written in an HPA; the error is about the first part that the controller refuses. A
    /// selector that depthgauge refuses is none: see [`Selector::check_length`].
    pub fn of(written: Option<&LabelSelector>) -> Result<Self, ParseError> {
        let Some(written) = written else { return Ok(Self::default()) };
        check(written)?;
        let printed = Printed::try_from(written.clone()).map_err(|error| ParseError(error.to_string()))?;
        let mut expressions: Vec<Expression> = printed.into_iter().collect();
        expressions.sort_by(|a, b| key(a).cmp(key(b)));
        let text = Printed::from_iter(expressions).to_string();
        let selector = Selector::parse_any(&text)?;
        Ok(Self { text, selector })
    }
}

fn check(written: &LabelSelector) -> Result<(), ParseError> {
    for (key, value) in written.match_labels.iter().flatten() {
        check_key(key)?;
        check_value(key, value)?;
    }
    for expression in written.match_expressions.iter().flatten() {
        let (key, operator) = (&expression.key, expression.operator.as_str());
        let values = expression.values.as_deref().unwrap_or_default();
        match (operator, values) {
            ("In" | "NotIn", []) => {
                return Err(ParseError(format!("operator {operator} of key {key:?} has no values")));
            }
            ("Exists" | "DoesNotExist", [_, ..]) => {
                return Err(ParseError(format!("operator {operator} of key {key:?} has values")));
            }
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
            _ => return Err(ParseError(format!("invalid operator {operator:?} of key {key:?}"))),
        }
        check_key(key)?;
        values.iter().try_for_each(|value| check_value(key, value))?;
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), ParseError> {
    if is_label_key(key) {
        return Ok(());
    }
    Err(ParseError(format!("invalid label key {key:?}")))
}

fn check_value(key: &str, value: &str) -> Result<(), ParseError> {
    if value.is_empty() || is_label_value(value) {
        return Ok(());
    }
    Err(ParseError(format!(
        "invalid label value {value:?} of key {key:?}: at most {LABEL_VALUE_MAX} letters, digits, '-', '_' and '.', the first and last a letter or digit"
    )))
}

fn key(expression: &Expression) -> &str {
    match expression {
        Expression::In(key, _)
        | Expression::NotIn(key, _)
        | Expression::Equal(key, _)
        | Expression::NotEqual(key, _)
        | Expression::Exists(key)
        | Expression::DoesNotExist(key) => key,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(written: Value) -> Result<MetricSelector, ParseError> {
        MetricSelector::of(serde_json::from_value::<Option<LabelSelector>>(written).unwrap().as_ref())
    }

    #[test]
    fn a_selector_is_sent_as_the_controller_sends_it() {
        let written = json!({
            "matchLabels": {"z": "1", "b": "2", "empty": ""},
            "matchExpressions": [
                {"key": "queue", "operator": "In", "values": ["b", "a"]},
                {"key": "c", "operator": "NotIn", "values": ["x"]},
                {"key": "a", "operator": "Exists"},
                {"key": "example.com/y", "operator": "DoesNotExist", "values": []},
            ],
        });
        let read_well = read(written).unwrap();
        assert_eq!(read_well.text, "a,b=2,c notin (x),empty=,!example.com/y,queue in (a,b),z=1");
        assert_eq!(Selector::parse(&read_well.text), Ok(read_well.selector));
        for everything in [Value::Null, json!({}), json!({"matchLabels": {}, "matchExpressions": []})] {
            assert_eq!(read(everything), Ok(MetricSelector::default()));
        }
    }

    #[test]
    fn a_long_selector_is_refused_by_depthgauge_and_not_by_the_controller() {
        let values = |count: usize| (0..count).map(|n| format!("q{n}")).collect::<Vec<_>>();
        let of = |count| read(json!({"matchExpressions": [{"key": "a", "operator": "In", "values": values(count)}]}));
        assert_eq!(of(1000).unwrap().selector.check_length(), Ok(()));
        let MetricSelector { text, selector } = of(1001).unwrap();
        let refusal = Selector::parse(&text).unwrap_err();
        assert_eq!(refusal.to_string(), "a selector has at most 1000 requirements and values");
        assert_eq!(selector.check_length(), Err(refusal));
    }

    #[test]
    fn what_the_controller_refuses_is_an_error_that_names_it() {
        let long = "a".repeat(LABEL_VALUE_MAX + 1);
        for value in ["orders ", " orders", "orders,queue", "orders/eu west", "a=b", "(a)", "-a", "a\n", "ü", &long] {
            let expression = json!([{"key": "queue", "operator": "NotIn", "values": ["good", value]}]);
            for written in [json!({"matchLabels": {"queue": value}}), json!({"matchExpressions": expression})] {
                let ParseError(why) = read(written).unwrap_err();
                assert!(why.starts_with(&format!("invalid label value {value:?} of key \"queue\": ")), "{why}");
            }
        }
        for key in ["", "a b", "queue,channel", "/queue", "a/b/c", "Example.com/queue", "!queue"] {
            for written in [
                json!({"matchLabels": {key: "orders"}}),
                json!({"matchExpressions": [{"key": key, "operator": "Exists"}]}),
            ] {
                assert_eq!(read(written), Err(ParseError(format!("invalid label key {key:?}"))));
            }
        }
        for (operator, values, why) in [
            ("In", json!([]), "operator In of key \"queue\" has no values"),
            ("NotIn", Value::Null, "operator NotIn of key \"queue\" has no values"),
            ("Exists", json!(["a"]), "operator Exists of key \"queue\" has values"),
            ("DoesNotExist", json!(["a"]), "operator DoesNotExist of key \"queue\" has values"),
            ("in", json!(["a"]), "invalid operator \"in\" of key \"queue\""),
            ("Gt", json!(["1"]), "invalid operator \"Gt\" of key \"queue\""),
        ] {
            let written = json!({"matchExpressions": [{"key": "queue", "operator": operator, "values": values}]});
            assert_eq!(read(written), Err(ParseError(why.to_owned())));
        }
    }
}
