//! A line for each HPA, and with `-w` a line or a document for each change. Pure.

use std::collections::BTreeMap;

use anyhow::Result;

use super::summary::Summary;
use crate::cli::finding::one_line;
use crate::cli::output::Format;
use crate::cli::table::Table;

const COLUMNS: [&str; 6] = ["NAME", "READY", "VALUE", "TARGET", "REPLICAS", "VERDICT"];

/// Prints summaries, and keeps them for the next time.
pub(super) struct Overview {
    table: Table,
    /// Whether there is a column for the namespace.
    namespaces: bool,
    /// Of documents; `None` for lines.
    format: Option<Format>,
    last: Option<BTreeMap<(String, String), Summary>>,
}

// === impl Overview ===

impl Overview {
    pub(super) fn new(namespaces: bool, format: Option<Format>) -> Self {
        Self { table: Table::default(), namespaces, format, last: None }
    }

    /// All of them the first time, lines with a header, and then those that differ from the last time.
    pub(super) fn changes(&mut self, summaries: &[Summary]) -> Result<String> {
        let key = |summary: &Summary| (summary.namespace.clone(), summary.name.clone());
        let now: BTreeMap<_, _> = summaries.iter().map(|summary| (key(summary), summary.clone())).collect();
        let is_first = self.last.is_none();
        let before = self.last.take().unwrap_or_default();
        let gone = before.values().filter(|last| !now.contains_key(&key(last))).map(Summary::gone);
        let changed: Vec<Summary> = match self.format {
            // What the table does not show, such as the text of an error, is no change here.
            None => now
                .values()
                .filter(|is| before.get(&key(is)).map(Summary::cells) != Some(is.cells()))
                .cloned()
                .collect(),
            Some(_) => now.values().filter(|is| before.get(&key(is)) != Some(is)).cloned().collect(),
        };
        let changed: Vec<Summary> = changed.into_iter().chain(gone).collect();
        // The header comes with the first line.
        self.last = Some(now).filter(|_| !(is_first && changed.is_empty()));
        if let Some(format) = self.format {
            return changed.iter().map(|summary| format.next(summary)).collect();
        }
        let header = (is_first && !changed.is_empty()).then(|| self.row("NAMESPACE", &COLUMNS.map(str::to_owned)));
        let rows = changed.iter().map(|summary| self.row(&summary.namespace, &summary.cells()));
        let rows: Vec<Vec<String>> = header.into_iter().chain(rows).collect();
        Ok(self.table.lines(&rows))
    }

    fn row(&self, namespace: &str, cells: &[String]) -> Vec<String> {
        let namespace = self.namespaces.then(|| namespace.to_owned());
        namespace.into_iter().chain(cells.iter().map(|cell| one_line(cell))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::explain::summary::GONE;

    fn summary(name: &str, verdict: &str) -> Summary {
        let (namespace, name, verdict) = ("shop".to_owned(), name.to_owned(), verdict.to_owned());
        let (metrics, findings) = (Vec::new(), Vec::new());
        Summary { namespace, name, ready: true, metrics, replicas: Some(3), desired: Some(3), verdict, findings }
    }

    #[test]
    fn a_watch_prints_the_lines_that_change() {
        let mut overview = Overview::new(false, None);
        assert_eq!(overview.changes(&[]).unwrap(), "");
        let first = overview.changes(&[summary("web", "stays at 3"), summary("api", "stays at 3")]).unwrap();
        let expected = "\
NAME   READY   VALUE    TARGET   REPLICAS   VERDICT
api    True    <none>   <none>   3          stays at 3
web    True    <none>   <none>   3          stays at 3
";
        assert_eq!(first, expected);
        assert_eq!(overview.changes(&[summary("web", "stays at 3"), summary("api", "stays at 3")]).unwrap(), "");
        let changed = overview.changes(&[summary("web", "scales up to 4"), summary("api", "stays at 3")]).unwrap();
        assert_eq!(changed, "web    True    <none>   <none>   3          scales up to 4\n");
        let gone = overview.changes(&[summary("web", "scales up to 4")]).unwrap();
        assert_eq!(gone, format!("api    False   <none>   <none>   ?          {GONE}\n"));
        assert_eq!(overview.changes(&[]).unwrap(), format!("web    False   <none>   <none>   ?          {GONE}\n"));
        assert_eq!(overview.changes(&[]).unwrap(), "");
    }

    #[test]
    fn namespaces_have_a_column_when_several_can_be_listed() {
        let text = Overview::new(true, None).changes(&[summary("web", "stays at 3")]).unwrap();
        assert!(text.starts_with("NAMESPACE   NAME   ") && text.contains("\nshop        web "), "{text}");
    }

    #[test]
    fn a_watch_of_documents_has_a_line_of_json_for_each_change() {
        let mut overview = Overview::new(false, Some(Format::Json));
        let text = overview.changes(&[summary("web", "stays at 3"), summary("api", "stays at 3")]).unwrap();
        let names: Vec<_> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].clone()).collect();
        assert_eq!(names, ["api", "web"]);
        let text = overview.changes(&[summary("api", "stays at 3")]).unwrap();
        let gone: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&gone["name"], &gone["ready"]), (&Value::from("web"), &Value::from(false)));
    }
}
