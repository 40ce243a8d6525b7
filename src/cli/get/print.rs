//! One answer as text. Pure.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;

use super::Form;
use crate::cli::external_metrics::{self, Item};
use crate::cli::finding::one_line;
use crate::cli::output::Format;
use crate::cli::table::Table;
use crate::metric::quantity::Quantity;

/// The column of depthgauge's Table that has the value.
pub(super) const VALUE: &str = "Value";

/// The list, for scripts.
pub(super) fn list(list: &Value, form: Form) -> Result<String> {
    match form {
        Form::Name => Ok(names(list)),
        Form::Yaml => Format::Yaml.text(list),
        _ => Format::Json.text(list),
    }
}

/// A line for each item: the metric and its labels.
pub(super) fn names(list: &Value) -> String {
    let items = list["items"].as_array().into_iter().flatten();
    let name = |item: &Value| {
        let labels = Item::of(item).map(|item| item.labels.join(",")).unwrap_or_default();
        one_line(&external_metrics::title(item["metricName"].as_str().unwrap_or_default(), &labels)) + "\n"
    };
    items.map(name).collect()
}

/// What kubectl prints of a Table, and the sum of several rows. `wide` has the columns of lower priority. A list
/// of another server is printed in the same way. Also whether each row has a value, so that there is a sum.
pub(super) fn table(table: &Value, form: Form, now: Timestamp) -> (String, bool) {
    let (columns, mut rows) = match table["columnDefinitions"].as_array() {
        Some(columns) => cells(columns, &table["rows"], form == Form::Wide),
        None => of_list(&external_metrics::items(table), now),
    };
    let value = columns.iter().position(|column| column.eq_ignore_ascii_case(VALUE));
    let all = |value: usize| rows.iter().map(|row| Quantity::parse(&row[value])).collect::<Option<Vec<_>>>();
    let sum = value.filter(|_| !rows.is_empty()).and_then(all).and_then(Quantity::sum);
    if let (Some(value), true) = (value.filter(|value| *value > 0), rows.len() > 1) {
        let sum = sum.map_or_else(|| "?".to_owned(), |sum| sum.to_string());
        let cell = |at| {
            if at == 0 {
                "sum"
            } else if at == value {
                &sum
            } else {
                ""
            }
        };
        rows.push((0..columns.len()).map(|at| cell(at).to_owned()).collect());
    }
    rows.insert(0, columns);
    (Table::default().lines(&rows), sum.is_some())
}

/// Headings and cells of a Table.
fn cells(columns: &[Value], rows: &Value, wide: bool) -> (Vec<String>, Vec<Vec<String>>) {
    let shown: Vec<(usize, String)> = columns
        .iter()
        .enumerate()
        .filter(|(_, column)| wide || column["priority"].as_i64().unwrap_or_default() == 0)
        .map(|(at, column)| (at, column["name"].as_str().unwrap_or_default().to_uppercase()))
        .collect();
    let cell = |cell: &Value| one_line(cell.as_str().map_or_else(|| cell.to_string(), str::to_owned).as_str());
    let row = |row: &Value| shown.iter().map(|(at, _)| cell(&row["cells"][*at])).collect();
    let rows = rows.as_array().into_iter().flatten().map(row).collect();
    (shown.into_iter().map(|(_, name)| name).collect(), rows)
}

/// Those of a list.
fn of_list(items: &[Item], now: Timestamp) -> (Vec<String>, Vec<Vec<String>>) {
    let row = |item: &Item| {
        let labels = if item.labels.is_empty() { "<none>".to_owned() } else { item.labels.join(",") };
        let age = item.age(now).map_or_else(|| "?".to_owned(), |age| format!("{age}s"));
        [labels, item.value.clone(), age].map(|cell| one_line(&cell)).to_vec()
    };
    (["LABELS", "VALUE", "AGE"].map(str::to_owned).to_vec(), items.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T14:00:07Z".parse().unwrap()
    }

    fn of_two() -> Value {
        json!({"kind": "ExternalMetricValueList", "items": [
            {"metricName": "m", "metricLabels": {"queue": "orders"}, "timestamp": "2026-11-22T14:00:00Z", "value": "1k"},
            {"metricName": "m", "metricLabels": {"queue": "b", "depthgauge.dev/value-source": "fallback"}, "value": "1500m"},
        ]})
    }

    #[test]
    fn a_table_is_printed_as_kubectl_prints_it_with_the_sum_below() {
        let column = |name: &str, priority: i64| json!({"name": name, "priority": priority});
        let columns = [column("Queue", 0), column("Value", 0), column("Age", 0), column("Queried", 1)];
        let rows = [json!({"cells": ["orders", "1k", "7s", "15s"]}), json!({"cells": ["b", "1500m", "0s", "<none>"]})];
        let both = json!({"kind": "Table", "columnDefinitions": columns, "rows": rows});
        let expected = "\
QUEUE    VALUE      AGE
orders   1k         7s
b        1500m      0s
sum      1001500m
";
        assert_eq!(table(&both, Form::Table, now()), (expected.to_owned(), true));
        let (wide, _) = table(&both, Form::Wide, now());
        assert!(wide.starts_with("QUEUE    VALUE      AGE   QUERIED\n"), "{wide}");
        let one = json!({"columnDefinitions": columns, "rows": [rows[0]]});
        assert_eq!(table(&one, Form::Table, now()).0, "QUEUE    VALUE   AGE\norders   1k      7s\n");
    }

    #[test]
    fn a_row_without_a_value_leaves_no_sum() {
        let columns = json!([{"name": "Queue", "priority": 0}, {"name": "Value", "priority": 0}]);
        let one = json!({"columnDefinitions": columns, "rows": [{"cells": ["ghost", "?"]}]});
        assert_eq!(table(&one, Form::Table, now()), ("QUEUE   VALUE\nghost   ?\n".to_owned(), false));
        let none = table(&json!({"columnDefinitions": columns, "rows": []}), Form::Table, now());
        assert_eq!(none, ("QUEUE   VALUE\n".to_owned(), false));
        let rows = json!([{"cells": ["ghost", "?"]}, {"cells": ["orders", "3"]}]);
        let (text, has_sum) = table(&json!({"columnDefinitions": columns, "rows": rows}), Form::Table, now());
        assert!(text.ends_with("sum      ?\n") && !has_sum, "{text}");
    }

    #[test]
    fn a_list_of_another_server_is_a_table_too() {
        let expected = "\
LABELS         VALUE      AGE
queue=orders   1k         7s
queue=b        1500m      ?
sum            1001500m
";
        assert_eq!(table(&of_two(), Form::Table, now()), (expected.to_owned(), true));
    }

    #[test]
    fn documents_are_the_list_as_it_came_and_names_have_their_labels() {
        assert_eq!(serde_json::from_str::<Value>(&list(&of_two(), Form::Json).unwrap()).unwrap(), of_two());
        let yaml = list(&of_two(), Form::Yaml).unwrap();
        assert!(yaml.contains("kind: ExternalMetricValueList\n"), "{yaml}");
        assert_eq!(list(&of_two(), Form::Name).unwrap(), "m{queue=orders}\nm{queue=b}\n");
    }
}
