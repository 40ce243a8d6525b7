//! `config`: what can be said about a config file without serving it.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde::Serialize;

use super::clock;
use super::failure::{Failure, without_os_error};
use super::output::{self, Format};
use crate::config::{self, Config, ConfigError, File};
use crate::metric::names::counted;
use crate::metric::quantity::Quantity;
use crate::source::KINDS;

/// The placeholder for an OCID in depthgauge's manifests.
const PLACEHOLDER: &str = ".replace-with-";
/// A config to begin with. A test parses it, and each part of it that is a comment.
const INIT: &str = include_str!("config/init.yaml");

const EXAMPLES: &str = "\
Examples:
  depthgauge config init > config.yaml
  depthgauge config check config.yaml
  depthgauge config schema > schema.json";

const CHECK_EXAMPLES: &str = "\
Examples:
  depthgauge config check config.yaml
  depthgauge config check config.d -o json";
const INIT_EXAMPLES: &str = "\
Examples:
  depthgauge config init > config.yaml";
const SCHEMA_EXAMPLES: &str = "\
Examples:
  depthgauge config schema > schema.json";

/// Check config files, print one to begin with, or print the JSON Schema
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check config files, and print every error with line and column
    ///
    /// Each error is one line on standard error, FILE:LINE:COLUMN: TEXT, as editors read it. That of a file that can't be
    /// read is FILE: TEXT. Exits with 1 if there is one.
    ///
    /// A placeholder of depthgauge's own manifests is a warning: a server starts with it, but can't
    /// read the queue. For a schedule, the next three changes of its value are printed. For a metric that is read
    /// from pods, a line says that it can't scale from zero.
    #[command(after_long_help = CHECK_EXAMPLES)]
    Check {
        /// Files, and directories of files (*.yaml), that form one config; - is standard input
        #[arg(required = true, value_name = "FILE")]
        paths: Vec<PathBuf>,
        /// Output format [default: text]
        #[arg(short, long, value_enum, value_name = "FORMAT")]
        output: Option<Format>,
    },
    /// Print a config to begin with, which has comments for each type of source
    #[command(after_long_help = INIT_EXAMPLES)]
    Init,
    /// Print the JSON Schema of a config file, for editors
    ///
    /// Editors with the YAML language server take it from a comment at the top of the config:
    /// after `depthgauge config schema > schema.json`, `# yaml-language-server: $schema=schema.json`.
    #[command(after_long_help = SCHEMA_EXAMPLES)]
    Schema,
}

/// What was found in the files.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// The files and directories, as they were named.
    files: Vec<String>,
    /// The number of sources. 0 if there is an error.
    sources: usize,
    /// Each error.
    errors: Vec<Placed>,
    /// What is valid and probably not meant.
    warnings: Vec<Placed>,
    /// The next changes of values that are known in advance.
    changes: Vec<Placed>,
    /// Facts that are no fault.
    notes: Vec<Placed>,
}

/// A text about a place.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    /// `FILE:LINE:COLUMN`. `FILE` if it can't be read.
    place: String,
    /// What is there.
    text: String,
}

// === impl Args ===

impl Args {
    pub(super) fn run(self) -> Result<()> {
        match self.command {
            Command::Check { paths, output } => {
                let report = Report::of(&paths)?;
                match output {
                    Some(format) => format.print(&report)?,
                    None => report.print(),
                }
                report.result()?;
            }
            Command::Init => output::print(INIT),
            Command::Schema => {
                let schema = config::schema(KINDS).context("cannot make the schema")?;
                output::print(&format!("{schema:#}\n"));
            }
        }
        Ok(())
    }
}

// === impl Report ===

impl Report {
    fn of(paths: &[PathBuf]) -> Result<Self> {
        let (mut files, mut errors) = (Vec::new(), Vec::new());
        for file in paths.iter().flat_map(|path| read(path)) {
            match file {
                Ok(file) => files.push(file),
                Err(error) => errors.push(error),
            }
        }
        // Its error has a hint.
        if let ([_], true) = (paths, files.is_empty())
            && errors.len() == 1
        {
            return Err(errors.remove(0).into());
        }
        let mut report = Self { files: paths.iter().map(|path| title(path)).collect(), ..Self::default() };
        report.errors = errors.iter().map(Placed::of_unread).collect();
        let parse = if errors.is_empty() { Config::parse_files } else { Config::parse_readable };
        let parsed = parse(&files, KINDS);
        if let Err(ConfigError::Wrong(lines)) = &parsed {
            report.errors.extend(lines.lines().map(Placed::of_line));
        }
        if !report.errors.is_empty() {
            return Ok(report);
        }
        let config = parsed?;
        report.sources = config.source_count();
        report.warnings = warnings(&files, &config).into_iter().map(|(place, text)| Placed { place, text }).collect();
        if let Some(file) = files.first().filter(|_| report.sources == 0) {
            let place = format!("{}:1:1", file.path.display());
            report.warnings.push(Placed { place, text: "no sources: every request gets 404".to_owned() });
        }
        for (place, name, changes) in config.changes(clock()) {
            let placed = |text: String| Placed { place: place.to_owned(), text };
            if !changes.is_empty() && changes.iter().all(|change| change.value == Quantity::ZERO) {
                report.warnings.push(placed(format!("{name} is always 0: its values are not above `activation`")));
                continue;
            }
            report.changes.extend(changes.into_iter().map(|change| placed(format!("{name} becomes {change}"))));
        }
        for (place, name, _) in config.services() {
            let text = format!("{name} can't scale from zero: it is read from pods, and at zero there are none");
            report.notes.push(Placed { place: place.to_owned(), text });
        }
        Ok(report)
    }

    /// As lines of text.
    fn print(&self) {
        for Placed { place, text } in &self.errors {
            output::print_error(format_args!("{place}: {text}"));
        }
        for Placed { place, text } in &self.warnings {
            output::print_error(format_args!("{place}: warning: {text}"));
        }
        if self.errors.is_empty() {
            let lines = self.changes.iter().chain(&self.notes);
            let lines: String = lines.map(|Placed { place, text }| format!("{place}: {text}\n")).collect();
            let found = match self.warnings.len() {
                0 => "no errors".to_owned(),
                count => counted(count, "warning"),
            };
            output::print(&format!("{lines}{}, {found}\n", self.counted(self.sources, "source")));
        }
    }

    fn result(&self) -> Result<()> {
        match self.errors.len() {
            0 => Ok(()),
            count => Err(Failure::new(self.counted(count, "error")).into()),
        }
    }

    fn counted(&self, count: usize, what: &str) -> String {
        format!("{}: {}", self.files.join(", "), counted(count, what))
    }
}

// === impl Placed ===

impl Placed {
    /// Of a file or folder that can't be read.
    fn of_unread(error: &ConfigError) -> Self {
        let of = |path: &Path, text: &str| Self { place: path.display().to_string(), text: text.to_owned() };
        match error {
            ConfigError::Read { path, source } => of(path, &without_os_error(&source.to_string())),
            ConfigError::Empty(path) => of(path, "there is no file whose name ends in .yaml"),
            ConfigError::Wrong(line) => Self::of_line(line),
        }
    }

    /// Of a line `FILE:LINE:COLUMN: TEXT`.
    fn of_line(line: &str) -> Self {
        let (place, text) = line.split_once(": ").unwrap_or(("", line));
        Self { place: place.to_owned(), text: text.to_owned() }
    }
}

fn read(path: &Path) -> Vec<Result<File, ConfigError>> {
    if path != Path::new("-") {
        return config::read_each(path);
    }
    let path = PathBuf::from(title(path));
    vec![match io::read_to_string(io::stdin()) {
        Ok(text) => Ok(File { path, text }),
        Err(source) => Err(ConfigError::Read { path, source }),
    }]
}

fn title(path: &Path) -> String {
    if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() }
}

/// Places and texts of what may be wrong in a config without errors.
pub(super) fn warnings(files: &[File], config: &Config) -> Vec<(String, String)> {
    files.iter().flat_map(placeholders).chain(config.warnings().iter().cloned()).collect()
}

/// Where an OCID is still the placeholder of depthgauge's manifests (`config.yaml:8:14`), and what to do.
fn placeholders(file: &File) -> Vec<(String, String)> {
    let place = |(number, line): (usize, &str)| {
        let before = line.split_once(PLACEHOLDER).map(|(before, _)| before)?;
        // The OCID begins after the last blank or quote.
        let start = before.rfind([' ', '"', '\'']).map_or(0, |blank| blank + 1);
        let column = before[..start].chars().count() + 1;
        (!line.trim_start().starts_with('#')).then(|| format!("{}:{number}:{column}", file.path.display()))
    };
    let text = "a placeholder: write the OCID of your queue here";
    (1..).zip(file.text.lines()).filter_map(place).map(|place| (place, text.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Comments are `# Prose`; what follows the `#` of a line of YAML is no space, or more than one.
    fn uncommented() -> String {
        let line = |line: &str| match line.strip_prefix('#') {
            Some(code) if !code.starts_with(' ') || code.starts_with("  ") => format!("{code}\n"),
            _ => format!("{line}\n"),
        };
        INIT.lines().map(line).collect()
    }

    #[test]
    fn the_config_to_begin_with_is_valid_as_it_is_and_with_all_of_its_comments() {
        let file = |text: &str| vec![File { path: "config.yaml".into(), text: text.to_owned() }];
        let config = |text: &str| Config::parse_files(&file(text), KINDS).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((config(INIT).source_count(), warnings(&file(INIT), &config(INIT)).len()), (1, 0));
        let all = uncommented();
        // Each type has an example.
        assert_eq!(config(&all).source_count(), KINDS.len());
        for kind in KINDS {
            assert!(all.contains(&format!("- type: {}\n", kind.name)), "{}", kind.name);
        }
    }
}
