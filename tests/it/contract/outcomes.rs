//! What is served for every answer of a service: the same value each time, or the same message. The
//! table is `docs/reference/failures.md`.

use std::path::Path;

use futures_util::future::{join, join_all};
use futures_util::stream::{self, StreamExt as _};
use serde_json::json;

use super::message::{self, SINCE};
use super::outcome::Wire;
use super::wire::{ELSEWHERE, beside, reply, says_when};
use super::{
    Answer, Expected, KINDS, Kind, Message, Operation, Outcome, Protocol, Scene, Served, Service, authorization,
    line_with, parts, tls,
};
use crate::support::eventually;
use crate::support::log::{Log, captured};
use crate::{golden, known_faults};

/// What the names of all cells begin with.
const PREFIX: &str = "contract outcomes ";
/// Cells of one operation at a time. Each waits most of the time.
const AT_A_TIME: usize = 3;

/// Polls of the service for one request of the HPA, so that the HPA requests about every `refresh`.
const POLLS_OF_A_REQUEST: u32 = 10;

const INTRODUCTION: &str = "\
# What is served when a source fails

For each answer of a service, this page lists what an HPA gets. The tests generate it:
`UPDATE_GOLDEN=1 cargo test --test it -- contract::`.

A number is the value of the one item in the answer. Everything else is an error, and no number is
served. The last good value is served for at most `maxAge`, and the tables show what comes after that.
An error is 503 unless the table says otherwise. Its message stays the same for the whole outage.
Messages about Oracle Cloud Infrastructure (OCI) name the operation of its API.
";

const OF_ALL_TYPES: &str = "\
## All types

The table has what an HPA gets after each answer to the operation that brings the values. The sections below
have the messages, and the other operations. A source of type `schedule` has no service, so it can't fail.
";

/// How an operation is tried.
pub(super) struct Cell {
    /// For [`known_faults`].
    pub(super) name: String,
    /// First column of the table.
    pub(super) title: String,
    pub(super) expected: Expected,
    pub(super) is_requested_again: bool,
    /// A wait for the service ends soon.
    pub(super) hangs: bool,
}

/// What came of it.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) title: String,
    /// Second column of the table.
    pub(super) text: String,
    /// The same as a value or a status, for the table of all types.
    pub(super) brief: String,
    /// What messages begin with.
    pub(super) heading: Option<String>,
    pub(super) result: Result<(), String>,
}

/// Rows of one operation.
struct Section {
    title: String,
    rows: Vec<Row>,
}

#[tokio::test]
async fn every_answer_of_a_service_is_a_value_or_a_message() {
    let operations = KINDS.iter().flat_map(|kind| kind.operations().iter().map(|operation| (*kind, *operation)));
    let sections = operations.map(|(kind, operation)| async move {
        let rows = Outcome::all().map(|outcome| in_a_thread(move |log| row(kind, operation, outcome, log)));
        let rows = stream::iter(rows).buffered(AT_A_TIME).collect().await;
        Section { title: format!("`{}`: {}", kind.name(), operation.name()), rows }
    });
    let (mut sections, rows) = join(join_all(sections), join_all(tls::rows())).await;
    sections.push(Section { title: "TLS".to_owned(), rows });
    let page = page(&sections);
    let rows = sections.into_iter().flat_map(|section| section.rows);
    known_faults::check_all(PREFIX, rows.map(|row| (row.name, row.result)).collect());
    golden::check_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/failures.md"), &page);
}

/// Each cell has a thread of its own, so that its log is its own.
pub(super) async fn in_a_thread<F: Future<Output = Row>>(row: impl FnOnce(Log) -> F + Send + 'static) -> Row {
    tokio::task::spawn_blocking(|| captured(async |log| row(log).await)).await.unwrap()
}

fn page(sections: &[Section]) -> String {
    let mut page = format!("{INTRODUCTION}\n{}", all_types(sections));
    for Section { title, rows } in sections {
        page.push_str(&format!("\n## {title}\n\n"));
        let mut headings = rows.iter().filter_map(|row| row.heading.as_ref());
        if let Some(heading) = headings.next() {
            assert!(headings.all(|other| other == heading), "{title}: messages about more than {heading}");
            page.push_str(&format!("Messages begin with `{heading}{SINCE}2026-11-22T14:02:03Z: `.\n\n"));
        }
        // One line for all answers that have the same effect.
        let mut lines: Vec<(&str, Vec<&str>)> = Vec::new();
        for row in rows {
            match lines.iter_mut().find(|(text, _)| *text == row.text) {
                Some((_, titles)) => titles.push(&row.title),
                None => lines.push((&row.text, vec![&row.title])),
            }
        }
        page.push_str("| the service answers | served |\n| --- | --- |\n");
        for (text, titles) in lines {
            page.push_str(&format!("| {} | {} |\n", titles.join("; "), text.replace('|', "\\|")));
        }
    }
    page
}

/// One table of all types: what is served for each answer to the operation that brings the values.
fn all_types(sections: &[Section]) -> String {
    let mut next = 0;
    let columns: Vec<(&str, &Section)> = KINDS
        .iter()
        .map(|kind| {
            let first = &sections[next];
            next += kind.operations().len();
            (kind.name(), first)
        })
        .collect();
    let names: Vec<String> = columns.iter().map(|(name, _)| format!("`{name}`")).collect();
    let mut table =
        format!("| the service answers | {} |\n| --- |{}\n", names.join(" | "), " --- |".repeat(names.len()));
    for (at, outcome) in Outcome::all().enumerate() {
        let cells: Vec<&str> = columns.iter().map(|(_, section)| section.rows[at].brief.as_str()).collect();
        table.push_str(&format!("| {} | {} |\n", outcome.title(), cells.join(" | ")));
    }
    format!("{OF_ALL_TYPES}\n{table}")
}

async fn row(kind: &'static dyn Kind, operation: &'static dyn Operation, outcome: Outcome, log: Log) -> Row {
    let service = Service::start(Protocol::Http, move |request, place| match operation.is(request) {
        true => reply(kind, operation, outcome, request, place),
        false => beside(operation, request, place),
    })
    .await;
    let note = match outcome {
        Outcome::Shape(shape) => format!(": {}", operation.answer(shape, &service.place, "").0),
        Outcome::Wire(_) => String::new(),
    };
    let cell = Cell {
        name: format!("{PREFIX}{} {}: {}", kind.name(), operation.name(), outcome.title()),
        title: format!("{}{note}", outcome.title()),
        expected: operation.expected(outcome),
        is_requested_again: operation.is_requested_by_every_read() && !says_when(outcome),
        hangs: outcome == Outcome::Wire(Wire::Hang),
    };
    let mut row = cell.run(kind, operation, &service, &log).await;
    if service.requests().iter().any(|(_, request)| request.target.starts_with(ELSEWHERE)) {
        row.result = Err("a redirect was followed".to_owned());
    }
    if service.endless_was_read() {
        row.result = Err("an endless answer was read without a limit".to_owned());
    }
    let requests = service.requests().iter().filter(|(_, request)| operation.is(request)).count();
    if says_when(outcome) && requests > 1 {
        row.result = Err(format!("{requests} requests before Retry-After has passed"));
    }
    row
}

// === impl Cell ===

impl Cell {
    /// Reads three times through the API.
    pub(super) async fn run(self, kind: &dyn Kind, operation: &dyn Operation, service: &Service, log: &Log) -> Row {
        // Only a wait that must end is short: the others may take long on a busy machine.
        let timeout = if self.hangs { "300ms" } else { "20s" };
        let timing = json!({"refresh": "50ms", "timeout": timeout, "maxAge": "20s"});
        let scene = Scene::start(operation.config(&service.place), timing).await;
        let query = operation.query();
        let mut answers = vec![scene.get(&query).await];
        for _ in 0..2 {
            let (before, mut polls) = (service.count(), 0..);
            eventually(&format!("{}: another request", self.name), async || {
                if polls.next().unwrap() % POLLS_OF_A_REQUEST == 0 {
                    answers.push(scene.get(&query).await);
                }
                (!self.is_requested_again || service.count() > before).then_some(())
            })
            .await;
        }
        let mut secrets = kind.secrets(&service.place);
        secrets.extend(service.requests().iter().flat_map(|(_, request)| parts(&authorization(request))));
        let shown = [("/status or /metrics", shown(&scene).await), ("the log", log.text())];
        let judged = self.judge(&answers, kind, service, &secrets, &shown);
        let (text, heading) = self.text(&answers[0].served());
        let text = text.replace(&service.place.base, "http://HOST");
        let brief = match answers[0].served() {
            Ok(values) => format!("`{}`", values.join("`, `")),
            Err((code, _)) => format!("error {code}"),
        };
        Row { name: self.name, title: self.title, text, brief, heading, result: judged }
    }

    fn judge(
        &self,
        answers: &[Answer],
        kind: &dyn Kind,
        service: &Service,
        secrets: &[String],
        shown: &[(&str, String)],
    ) -> Result<(), String> {
        let first = answers[0].served();
        for answer in answers {
            let again = answer.served();
            if again != first {
                return Err(format!("served {first:?} and then {again:?}"));
            }
            if answer.headers.contains_key("retry-after") {
                return Err("the HPA controller got a Retry-After".to_owned());
            }
        }
        if !self.expected.is(&first) {
            return Err(format!("{:?} expected, got {first:?}", self.expected));
        }
        match &first {
            // Nothing fails, so there is neither a start nor an operation.
            Err((503, message)) if self.expected == Expected::Unknown => message::parse_unknown(message)?,
            Err((503, message)) => _ = Message::parse(message)?,
            _ => {}
        }
        let port = format!(":{}", service.place.address.port());
        let address = service.place.address.ip().to_string();
        let internal = kind.internal().iter().map(|part| (*part).to_owned()).chain([port, address]);
        // The URL to write instead of one that redirects is part of the message.
        let answer = format!("{:?} {}", answers[0].headers, answers[0].body);
        let answer = answer.replace(&format!("{}{ELSEWHERE}", service.place.base), "");
        if let Some(secret) = internal.chain(secrets.iter().cloned()).find(|secret| answer.contains(secret)) {
            return Err(format!("{secret} is in {answer}"));
        }
        for (place, text) in shown {
            if let Some(line) = line_with(text, secrets) {
                return Err(format!("a secret is in {place}: {line}"));
            }
        }
        let is_logged = shown.iter().any(|(_, text)| text.contains(" WARN depthgauge::"));
        if self.expected == Expected::Unavailable && !is_logged {
            return Err("the failure is not in the log".to_owned());
        }
        Ok(())
    }

    /// What the table shows, and what the message is about.
    fn text(&self, served: &Served) -> (String, Option<String>) {
        let (text, heading) = match served {
            Ok(values) => (format!("`{}`", values.join("`, `")), None),
            Err((503, message)) => match Message::parse(message) {
                Ok(Message { title, about }) => (about.to_owned(), Some(title.to_owned())),
                Err(_) => (format!("503: {message}"), None),
            },
            Err((code, message)) => (format!("{code}: {message}"), None),
        };
        let fault = if self.expected.is(served) { "" } else { " (known fault: must be an error)" };
        (format!("{text}{fault}"), heading)
    }
}

/// What operators and Prometheus see.
async fn shown(scene: &Scene) -> String {
    let operator = scene.server.aggregator("operator");
    let mut shown = operator.get("/status").await.body;
    shown.push_str(&operator.get("/metrics").await.body);
    let page = operator.with_header("Accept", "text/html").get("/status").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    shown + &page.body
}
