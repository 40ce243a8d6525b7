//! One answer as text. Pure.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::Value;

use super::Form;
use crate::cli::finding::one_line;
use crate::cli::told::{self, Item};
use crate::metric::quantity::Quantity;

/// The whole of it.
pub(super) fn whole(list: &Value, form: Form, now: Timestamp) -> Result<String> {
    match form {
        Form::Table => Ok(table(&told::items(list), now)),
        Form::Json => Ok(serde_json::to_string_pretty(list).context("cannot print the answer")? + "\n"),
        Form::Yaml => serde_saphyr::to_string(list).context("cannot print the answer"),
    }
}

/// A line for each item, and their sum, which is what an HPA takes.
fn table(items: &[Item], now: Timestamp) -> String {
    let mut rows = vec![["LABELS", "VALUE", "AGE", "VALUE SOURCE"].map(str::to_owned)];
    for item in items {
        let age = item.age(now).map_or_else(|| "?".to_owned(), |age| format!("{age}s"));
        let labels = if item.labels.is_empty() { "-".to_owned() } else { item.labels.join(",") };
        let policy = item.policy.clone().unwrap_or_else(|| "-".to_owned());
        rows.push([labels, item.shown(), age, policy].map(|cell| one_line(&cell)));
    }
    if items.len() > 1 {
        let sum = sum(items).map_or_else(|| "?".to_owned(), |sum| sum.decimal().to_string());
        rows.push(["sum".to_owned(), sum, "-".to_owned(), "-".to_owned()]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (labels, values, ages) = (width(0), width(1), width(2));
    let mut text = String::new();
    for [label, value, age, policy] in &rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{label:<labels$}   {value:>values$}   {age:>ages$}   {policy}");
    }
    text
}

/// `None` if it cannot be counted, or if there is nothing to count.
pub(super) fn sum(items: &[Item]) -> Option<Quantity> {
    let all: Vec<Quantity> = items.iter().map(|item| item.quantity).collect::<Option<_>>()?;
    Quantity::sum(all).filter(|_| !items.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list() -> Value {
        json!({"kind": "ExternalMetricValueList", "items": [
            {"metricLabels": {"queue": "orders"}, "timestamp": "2026-11-22T14:00:00Z", "value": "1k"},
            {"metricLabels": {"queue": "b", "depthgauge.dev/value-source": "fallback"}, "value": "1500m"},
        ]})
    }

    fn printed(form: Form) -> String {
        whole(&list(), form, "2026-11-22T14:00:07Z".parse().unwrap()).unwrap()
    }

    #[test]
    fn a_table_has_a_line_for_each_item_and_their_sum() {
        let expected = "\
LABELS          VALUE   AGE   VALUE SOURCE
queue=orders       1k    7s   -
queue=b           1.5     ?   fallback
sum            1001.5     -   -
";
        assert_eq!(printed(Form::Table), expected);
    }

    #[test]
    fn json_and_yaml_are_the_list_as_it_came() {
        assert_eq!(serde_json::from_str::<Value>(&printed(Form::Json)).unwrap(), list());
        assert!(printed(Form::Yaml).contains("kind: ExternalMetricValueList\n"), "{}", printed(Form::Yaml));
    }

    #[test]
    fn nothing_has_no_sum() {
        assert_eq!(sum(&[]), None);
        assert_eq!(sum(&told::items(&json!({"items": [{"value": "1E"}]}))), None);
    }
}
