//! `-w`: the output of each request. Changes only; on a terminal the last line is drawn again each
//! time, with the course of the value. Pure.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::Value;

use super::{Form, print};
use crate::cli::external_metrics;
use crate::cli::finding::one_line;
use crate::cli::output::Format;
use crate::metric::quantity::Quantity;

/// Looks that the line on a terminal shows: a minute.
const COURSE: usize = 60;
/// From nothing to the most of the course.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Back to the begin of the line, and erase it.
const REDRAW: &str = "\r\u{1b}[K";
/// A line of a terminal that breaks cannot be drawn again: room for the error message beside time and
/// value.
const SENTENCE: usize = 60;

/// What was seen so far.
pub(super) struct Watch {
    form: Form,
    /// Draws; otherwise only changes are printed.
    is_terminal: bool,
    last: Option<Result<Value, String>>,
    /// `None` where there was no value.
    course: VecDeque<Option<Quantity>>,
}

// === impl Watch ===

impl Watch {
    pub(super) fn new(form: Form, is_terminal: bool) -> Self {
        Self { form, is_terminal, last: None, course: VecDeque::new() }
    }

    /// What to print after this look; as an error, what belongs on standard error, because standard
    /// output has documents only.
    pub(super) fn look(&mut self, answer: Result<Value, String>, now: Timestamp) -> Result<String, String> {
        let known = answer.as_ref().ok().map(external_metrics::items).and_then(|items| external_metrics::sum(&items));
        if self.course.len() == COURSE {
            self.course.pop_front();
        }
        self.course.push_back(known);
        let is_first = self.last.is_none();
        let changed = self.last.as_ref().is_none_or(|last| !same(last, &answer));
        let draws = self.is_terminal && self.form.is_table();
        let text = match (&answer, self.form) {
            _ if !changed && !draws => Ok(String::new()),
            (Ok(list), Form::Json) => Format::Json.next(list).map_err(|error| error.to_string()),
            (Ok(list), Form::Yaml) => Format::Yaml.next(list).map_err(|error| error.to_string()),
            (Ok(list), Form::Name) => Ok(print::names(list)),
            (Err(sentence), Form::Json | Form::Yaml | Form::Name) => Err(sentence.clone()),
            (_, Form::Table | Form::Wide) if draws => {
                let begin = if changed && !is_first { "\n" } else { REDRAW };
                Ok(format!("{begin}{}", self.line(&answer, now)))
            }
            (_, Form::Table | Form::Wide) => Ok(format!("{}\n", self.line(&answer, now))),
        };
        self.last = Some(answer);
        text
    }

    /// What ends it.
    pub(super) fn end(&self) -> &'static str {
        if self.is_terminal && self.form.is_table() && self.last.is_some() { "\n" } else { "" }
    }

    fn line(&self, answer: &Result<Value, String>, now: Timestamp) -> String {
        let time = now.strftime("%H:%M:%SZ");
        let value =
            self.course.back().copied().flatten().map_or_else(|| "-".to_owned(), |value| value.decimal().to_string());
        let text = match answer {
            Err(sentence) if self.is_terminal => one_line(sentence).chars().take(SENTENCE).collect(),
            Err(sentence) => one_line(sentence),
            Ok(_) if self.is_terminal => spark(&self.course),
            Ok(list) => one_line(&policies(list)),
        };
        format!("{time}  {value:>8}  {text}").trim_end().to_owned()
    }
}

/// An answer that only was read later is the same.
fn same(before: &Result<Value, String>, after: &Result<Value, String>) -> bool {
    let meant = |list: &Value| -> Vec<_> {
        external_metrics::items(list).into_iter().map(|item| (item.labels, item.policy, item.value)).collect()
    };
    match (before, after) {
        (Ok(before), Ok(after)) => meant(before) == meant(after),
        _ => before == after,
    }
}

fn policies(list: &Value) -> String {
    let policies: Vec<String> = external_metrics::items(list).into_iter().filter_map(|item| item.policy).collect();
    policies.join(", ")
}

/// A bar for each look; a gap where there was no value.
fn spark(course: &VecDeque<Option<Quantity>>) -> String {
    let most = course.iter().flatten().map(|value| i128::from(value.milli())).max().unwrap_or_default().max(1);
    let steps = BARS.len() as i128 - 1;
    let bar = |value: &Option<Quantity>| match value {
        None => ' ',
        Some(value) => {
            // Rounded up: one message of a thousand is not nothing.
            let step = (i128::from(value.milli()).max(0) * steps + most - 1) / most;
            usize::try_from(step).ok().and_then(|step| BARS.get(step)).copied().unwrap_or(BARS[7])
        }
    };
    course.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_356_000 + second).unwrap()
    }

    fn value(value: &str, read: i64) -> Result<Value, String> {
        Ok(json!({"items": [{"value": value, "timestamp": at(read).to_string(), "metricLabels": {"queue": "a"}}]}))
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_change() {
        let mut watch = Watch::new(Form::Table, false);
        let mut look = |answer, second| watch.look(answer, at(second)).unwrap();
        assert_eq!(look(value("0", 0), 0), format!("{}         0\n", at(0).strftime("%H:%M:%SZ")));
        assert_eq!(look(value("0", 1), 1), "", "read later, and the same");
        assert!(look(value("20", 2), 2).ends_with("        20\n"));
        let down = || Err("queue \"a\" cannot\nbe read".to_owned());
        assert!(look(down(), 3).ends_with("         -  queue \"a\" cannot be read\n"));
        assert_eq!(look(down(), 4), "");
        assert!(look(value("20", 5), 5).ends_with("        20\n"));
        assert_eq!(watch.end(), "");
    }

    #[test]
    fn a_terminal_has_its_last_line_drawn_anew_with_the_course() {
        let mut watch = Watch::new(Form::Table, true);
        let mut look = |answer, second| watch.look(answer, at(second)).unwrap();
        look(value("0", 0), 0);
        assert!(look(value("0", 1), 1).starts_with(REDRAW));
        let changed = look(value("20", 2), 2);
        assert!(changed.starts_with('\n') && changed.ends_with("▁▁█"), "{changed:?}");
        look(Err("gone".into()), 3);
        assert!(look(value("1", 4), 4).ends_with("▁▁█ ▂"));
        (5..200).for_each(|second| drop(look(value("1", second), second)));
        assert!(look(value("1", 200), 200).ends_with(&"█".repeat(COURSE)));
        assert_eq!(watch.end(), "\n");
    }

    #[test]
    fn documents_are_printed_when_they_change() {
        let mut watch = Watch::new(Form::Json, true);
        let first = watch.look(value("1", 0), at(0)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&first).ok(), value("1", 0).ok());
        assert_eq!(watch.look(value("1", 1), at(1)), Ok(String::new()));
        assert_eq!(watch.look(Err("gone".into()), at(2)), Err("gone".to_owned()));
        assert_eq!(watch.look(Err("gone".into()), at(3)), Ok(String::new()));
        let mut watch = Watch::new(Form::Yaml, false);
        assert!(watch.look(value("1", 0), at(0)).unwrap().starts_with("---\n"));
    }
}
