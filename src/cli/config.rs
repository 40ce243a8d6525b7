//! `config`: what can be said of a config file without serving it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;

use super::clock;
use crate::config::{self, Config, ConfigError, File};
use crate::source::KINDS;

/// In what our manifests have where people write the OCID of a queue of theirs.
const PLACEHOLDER: &str = ".replace-with-";

/// Check a config file, or print its JSON Schema
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check config files, and print every error with line and column
    ///
    /// Each error is one line on standard error, FILE:LINE:COLUMN: TEXT, as editors read it. Exits with 1 if there is one.
    ///
    /// A placeholder of depthgauge's own manifests is a warning: a server starts with it, but can't
    /// read the queue. For a schedule, the next three changes of its value are printed.
    Check {
        /// Files, and directories of files (*.yaml), that form one config; - is standard input
        #[arg(required = true, value_name = "FILE")]
        paths: Vec<PathBuf>,
    },
    /// Print the JSON Schema of a config file, for editors
    ///
    /// Editors with the YAML language server take it from a comment at the top of the config:
    /// after `depthgauge config schema > schema.json`, `# yaml-language-server: $schema=schema.json`.
    Schema,
}

// === impl Args ===

impl Args {
    pub(super) fn run(self) -> Result<()> {
        match self.command {
            Command::Check { paths } => check(&paths),
            Command::Schema => {
                let schema = config::schema(KINDS).context("cannot make the schema")?;
                // Whoever closes the pipe has read enough.
                let _ = writeln!(io::stdout(), "{schema:#}");
                Ok(())
            }
        }
    }
}

fn check(paths: &[PathBuf]) -> Result<()> {
    let files: Vec<File> =
        paths.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    let what = paths.iter().map(|path| title(path)).collect::<Vec<_>>().join(", ");
    let counted = |count: usize, of| format!("{what}: {count} {of}{}", if count == 1 { "" } else { "s" });
    let config = match Config::parse_files(&files, KINDS) {
        Err(ConfigError::Wrong(lines)) => {
            eprintln!("{lines}");
            bail!(counted(lines.lines().count(), "error"));
        }
        parsed => parsed?,
    };
    for (place, warning) in warnings(&files, &config) {
        eprintln!("{place}: warning: {warning}");
    }
    for (place, name, changes) in config.changes(clock()) {
        changes.iter().for_each(|change| println!("{place}: {name} becomes {change}"));
    }
    println!("{}, no errors", counted(config.source_count(), "source"));
    Ok(())
}

fn read(path: &Path) -> Result<Vec<File>> {
    if path != Path::new("-") {
        return Ok(config::read_files(path)?);
    }
    let text = io::read_to_string(io::stdin()).context("standard input can't be read")?;
    Ok(vec![File { path: title(path).into(), text }])
}

fn title(path: &Path) -> String {
    if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() }
}

/// Places and texts of what may be wrong in a config without errors.
pub(super) fn warnings(files: &[File], config: &Config) -> Vec<(String, String)> {
    files.iter().flat_map(placeholders).chain(config.warnings().iter().cloned()).collect()
}

/// Where an OCID is still what our manifests have for it (`config.yaml:8`), and what to do.
fn placeholders(file: &File) -> Vec<(String, String)> {
    let lines = (1..).zip(file.text.lines()).filter(|(_, line)| line.contains(PLACEHOLDER));
    let place = |(number, _): (usize, &str)| format!("{}:{number}", file.path.display());
    lines.map(|line| (place(line), "a placeholder: write the OCID of your queue here".to_owned())).collect()
}
