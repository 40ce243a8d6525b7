//! Reference pages that are made of what they describe: the command line of clap's definition, Events
//! of the program's list, errors of what the API returns in the tests, alerts and values of the chart of the
//! manifests. `UPDATE_GOLDEN=1` writes them.

use std::collections::BTreeMap;

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory as _};
use depthgauge::cli::Cli;
use depthgauge::zero::EventReason;
use serde_json::Value;

use super::page::root;
use crate::{golden, manifests};

/// Messages that begin with so many equal characters are one in the table of errors.
const SAME: usize = 32;

/// A table of a page; rows are added to it.
fn table(columns: &[&str]) -> String {
    row(columns.iter().map(|column| (*column).to_owned())) + &row(columns.iter().map(|_| "---".to_owned()))
}

fn row(cells: impl Iterator<Item = String>) -> String {
    let cells = cells.map(|cell| if cell.is_empty() { " |".to_owned() } else { format!(" {cell} |") });
    format!("|{}\n", cells.collect::<String>())
}

/// Text as Markdown: what has a meaning there is escaped, except in code.
fn text(text: &str) -> String {
    let escaped = |(at, part): (usize, &str)| match at % 2 {
        0 => ["*", "<", "[", "|"].iter().fold(part.to_owned(), |text, mark| text.replace(mark, &format!("\\{mark}"))),
        _ => part.replace('|', "\\|"),
    };
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .split('`')
        .enumerate()
        .map(escaped)
        .collect::<Vec<_>>()
        .join("`")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", text.replace('|', "\\|")) }
}

#[test]
fn the_command_line_is_that_of_the_program() {
    let mut program = Cli::command();
    // Global flags and usage are known after this.
    program.build();
    let global = program.get_arguments().filter(|arg| arg.is_global_set());
    let flags = format!("## Flags of every command\n\n{}", arguments(global));
    let (mut list, mut sections) = (table(&["command", "what it does"]), String::new());
    commands(&program, &mut list, &mut sections);
    golden::check_part("docs/reference/cli.md", &format!("{list}\n{flags}{sections}"));
}

/// Adds a row and a section for each command.
fn commands(of: &Command, list: &mut String, page: &mut String) {
    for command in of.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set()) {
        if command.has_subcommands() {
            commands(command, list, page);
            continue;
        }
        let about = command.get_long_about().or(command.get_about()).map(StyledStr::to_string).unwrap_or_default();
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").trim();
        let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
        let short = text(&command.get_about().map(StyledStr::to_string).unwrap_or_default());
        list.push_str(&row([format!("[`{name}`](#{})", name.replace(' ', "-")), short].into_iter()));
        page.push_str(&format!("\n## `{name}`\n"));
        // As `--help` prints it: paragraphs, and blocks that are indented.
        for paragraph in about.split("\n\n") {
            match paragraph.starts_with("  ") {
                true => page.push_str(&format!("\n```\n{}\n```\n", paragraph.trim_end())),
                false => page.push_str(&format!("\n{}\n", text(paragraph))),
            }
        }
        page.push_str(&format!("\n```\n{usage}\n```\n"));
        let own: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_global_set()).collect();
        if own.iter().any(|arg| is_shown(arg)) {
            page.push_str(&format!("\n{}", arguments(own.into_iter())));
        }
        if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
            page.push_str(&format!("\n```\n{}\n```\n", after.to_string().trim()));
        }
    }
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
}

fn arguments<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    let mut page = table(&["flag or argument", "default", "variable", "meaning"]);
    for arg in args.filter(|arg| is_shown(arg)) {
        let short = arg.get_short().filter(|_| arg.get_long().is_some());
        let name = short.map(|short| format!("-{short}, ")).unwrap_or_default() + &arg.to_string();
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let has_default = arg.get_action().takes_values() && !arg.is_hide_default_value_set();
        let default = if has_default { defaults.join(",") } else { String::new() };
        let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let help = arg.get_long_help().or(arg.get_help()).map(StyledStr::to_string).unwrap_or_default();
        let values: Vec<_> = arg.get_possible_values().iter().map(|value| code(value.get_name())).collect();
        let is_choice = !arg.is_hide_possible_values_set() && values.len() > 1 && values != ["`true`", "`false`"];
        let values = if is_choice { format!(" One of {}.", values.join(", ")) } else { String::new() };
        assert!(!help.is_empty(), "{name} has no help");
        let meaning = format!("{}{}{values}", text(&help), if values.is_empty() { "" } else { "." });
        page.push_str(&row([code(&name), code(&default), code(&variable), meaning].into_iter()));
    }
    page
}

#[test]
fn events_are_those_of_the_program() {
    let mut page = table(&["reason", "type", "on the", "meaning"]);
    for reason in EventReason::all() {
        let cells = [code(reason.as_str()), reason.severity().to_owned(), reason.object().to_owned()];
        page.push_str(&row(cells.into_iter().chain([text(reason.meaning())])));
    }
    golden::check_part("docs/reference/events.md", &page);
}

/// Without those of sources that fail, which are in `docs/reference/failures.md`.
#[test]
fn errors_are_those_that_the_api_returns() {
    let answers = ["answers.txt", "answers-without-list.txt", "answers-chosen.txt"]
        .map(|name| std::fs::read_to_string(root().join("tests/golden").join(name)).unwrap())
        .concat();
    let statuses = answers.lines().filter(|line| line.starts_with("{\"kind\":\"Status\""));
    let mut rows: BTreeMap<(u64, String), String> = BTreeMap::new();
    for status in statuses.map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let message = status["message"].as_str().unwrap();
        if message.contains(" cannot be read since ") {
            continue;
        }
        // Messages that differ in what they quote are one.
        let fixed: String = message.split('"').step_by(2).collect();
        let start = fixed.chars().take(SAME).collect();
        let reason = status["reason"].as_str().unwrap().to_owned();
        let cells =
            [status["code"].to_string(), reason, format!("`{}`", message.replace('|', "\\|").replace('`', "'"))];
        rows.entry((status["code"].as_u64().unwrap(), start)).or_insert_with(|| row(cells.into_iter()));
    }
    assert!(rows.len() > 10, "{rows:?}");
    let page = table(&["code", "reason", "message"]) + &rows.into_values().collect::<String>();
    golden::check_part("docs/reference/errors.md", &page);
}

#[test]
fn alerts_are_those_of_the_manifests() {
    let rule = &manifests::documents(&root().join("manifests/components/prometheus/prometheusrule.yaml"))[0];
    let alerts = rule["spec"]["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let mut page = table(&["alert", "severity", "after", "meaning", "expression"]);
    for alert in alerts {
        let field = |path: &str| alert.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = field("/alert");
        let link = format!("[{name}](../how-to/troubleshoot.md#{})", name.to_lowercase());
        let summary = text(&untemplated(&field("/annotations/summary")));
        let expression = field("/expr").split_whitespace().collect::<Vec<_>>().join(" ");
        page.push_str(&row([link, field("/labels/severity"), field("/for"), summary, code(&expression)].into_iter()));
    }
    golden::check_part("docs/reference/alerts.md", &page);
}

/// A text with the name of each label and all its alternatives, without its optional parts.
fn untemplated(template: &str) -> String {
    let mut text = String::new();
    // Whether each open action hides what is in it.
    let mut hidden = Vec::new();
    for (at, piece) in template.split("{{").enumerate() {
        let (action, after) = if at == 0 { ("", piece) } else { piece.split_once("}}").unwrap() };
        match action.split_whitespace().collect::<Vec<_>>()[..] {
            ["with", ..] => hidden.push(true),
            ["if", ..] => hidden.push(false),
            ["end"] => _ = hidden.pop().unwrap(),
            ["else"] => text.push_str(" or "),
            [label, ..] if !hidden.contains(&true) => {
                text.push_str(&label.trim_start_matches("$labels.").trim_start_matches('$').to_uppercase());
            }
            _ => {}
        }
        if !hidden.contains(&true) {
            text.push_str(after);
        }
    }
    text
}

/// A value of the chart.
struct ChartValue {
    path: Vec<String>,
    default: String,
    comment: String,
}

/// The values of `values.yaml`, each with the comment above it. A key with keys below it is a value if it
/// has a comment.
fn chart_values(yaml: &str) -> Vec<ChartValue> {
    let mut values: Vec<ChartValue> = Vec::new();
    let (mut path, mut comment): (Vec<String>, Vec<&str>) = (Vec::new(), Vec::new());
    for line in yaml.lines() {
        let bare = line.trim_start();
        let depth = (line.len() - bare.len()) / 2;
        if let Some(said) = bare.strip_prefix('#') {
            comment.push(said.strip_prefix(' ').unwrap_or(said));
            continue;
        }
        let Some((key, default)) = bare.split_once(':').filter(|(key, _)| key.chars().all(char::is_alphanumeric))
        else {
            // A blank line ends the comment of the file. An item of a list is an example.
            comment.clear();
            continue;
        };
        let is_in_item = path.len() < depth;
        if is_in_item {
            continue;
        }
        path.truncate(depth);
        path.push(key.to_owned());
        // An indented line is an example.
        let lines: Vec<String> =
            comment.drain(..).map(|line| line.strip_prefix("  ").map_or_else(|| line.to_owned(), code)).collect();
        values.push(ChartValue { path: path.clone(), default: default.trim().to_owned(), comment: lines.join(" ") });
    }
    values
}

/// A text of the repository with its pages as links, for a page in `docs/reference/`.
fn linked(text: &str) -> String {
    let linked = |word: &str| {
        let (start, rest) = word.split_at(word.find("docs/")?);
        let (page, end) = rest.split_at(rest.find(".md")? + ".md".len());
        Some(format!("{start}[{page}](../{}){end}", page.trim_start_matches("docs/")))
    };
    text.split(' ').map(|word| linked(word).unwrap_or_else(|| word.to_owned())).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_values_of_the_chart_are_those_of_its_file() {
    let yaml = std::fs::read_to_string(root().join("manifests/chart/values.yaml")).unwrap();
    let mut page = table(&["value", "default", "meaning"]);
    let mut described: Vec<Vec<String>> = Vec::new();
    for ChartValue { path, default, comment } in chart_values(&yaml) {
        let name = path.join(".");
        if comment.is_empty() {
            let is_described = described.iter().any(|above| path.starts_with(above));
            assert!(is_described || default.is_empty(), "manifests/chart/values.yaml: {name} has no comment");
        } else {
            described.push(path);
        }
        if !comment.is_empty() || !default.is_empty() {
            page.push_str(&row([code(&name), code(&default), linked(&text(&comment))].into_iter()));
        }
    }
    golden::check_part("docs/reference/helm-values.md", &page);
}
