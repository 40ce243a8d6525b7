//! The config: one file, or all `*.yaml` files of a folder. Only this module parses it.
//!
//! Keys are tables ([`crate::source::keys`]). The keys of every entry are here, and each kind has its
//! own. An unknown key is an error with its line and column, and the JSON Schema has the same keys. All
//! errors of all files are reported at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

mod connections;
mod entry;
mod environment;
mod files;
mod keda;
mod keys;
mod opener;
mod reload;
mod schema;
mod unique;

pub use files::{ConfigFiles, File, read_each, read_files};
pub use opener::{Opener, Warnings};
pub use reload::Reload;
pub use schema::{form_keys, schema};

use connections::Connections;
use entry::{Defaults, Written};

use crate::document::{Fields, Node, Position, Problems};
use crate::endpoints::{Endpoints, ServiceName};
use crate::lookup::rules::{ItemAccess, ValueRules};
use crate::lookup::{SourceConfig, Timing};
use crate::metric::Clock;
use crate::metric::pattern::Pattern;
use crate::source::keys::Values;
use crate::source::{Change, Context, Definition, Kind, Kinds, OpenError, fixed_metrics, kind_of};

/// The only version of the format.
const API_VERSION: &str = "depthgauge.dev/v1alpha1";
/// The `kind` of the document.
const KIND: &str = "Config";

/// A config without errors. Its sources are not opened yet.
pub struct Config {
    /// In the order of the files, and in each file in its order.
    entries: Vec<Entry>,
    /// Each with its place, `FILE:LINE:COLUMN`.
    warnings: Vec<(String, String)>,
}

/// An entry of `sources`.
struct Entry {
    kind: &'static Kind,
    /// For listed sources, the pattern of their names.
    name: String,
    namespaces: Vec<Pattern>,
    timing: Timing,
    export: bool,
    items: ItemAccess,
    value_rules: ValueRules,
    definition: Definition,
    /// Where its connection is written, if that has a name.
    connection_place: Option<String>,
}

/// The config can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file can't be read.
    #[error("config file {path}: {source}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A folder without a config file.
    #[error("config folder {0}: there is no file whose name ends in .yaml")]
    Empty(PathBuf),
    /// Invalid content: a line `FILE:LINE:COLUMN: message` for each error.
    #[error("{0}")]
    Wrong(String),
}

/// A location in the config.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
struct Location {
    /// The index of the file.
    file: usize,
    at: Position,
}

/// The errors of each file.
struct Report<'f> {
    files: &'f [File],
    problems: Vec<Problems>,
    warnings: Vec<(Location, String)>,
}

// === impl Config ===

impl Config {
    /// Reads and parses a file, or all files of a folder.
    pub fn read(path: &Path, kinds: Kinds) -> Result<Self, ConfigError> {
        Self::parse_files(&read_files(path)?, kinds)
    }

    /// Parses a text.
    pub fn parse(text: &str, kinds: Kinds) -> Result<Self, Problems> {
        let file = File { path: PathBuf::new(), text: text.to_owned() };
        let (config, mut report) = decode(std::slice::from_ref(&file), Connections::default(), kinds);
        config.ok_or_else(|| report.problems.swap_remove(0))
    }

    /// Parses files that are one config together; the errors name them.
    pub fn parse_files(files: &[File], kinds: Kinds) -> Result<Self, ConfigError> {
        Self::parse_with(files, Connections::default(), kinds)
    }

    /// The same if other files of the config can't be read: a connection that is missing may be in one of them.
    pub fn parse_readable(files: &[File], kinds: Kinds) -> Result<Self, ConfigError> {
        Self::parse_with(files, Connections::incomplete(), kinds)
    }

    fn parse_with(files: &[File], connections: Connections, kinds: Kinds) -> Result<Self, ConfigError> {
        let (config, Report { problems, .. }) = decode(files, connections, kinds);
        config.ok_or_else(|| {
            let named = files.iter().zip(&problems);
            let lines = named.flat_map(|(file, problems)| {
                problems.lines().map(move |line| format!("{}:{line}", file.path.display()))
            });
            ConfigError::Wrong(lines.collect::<Vec<_>>().join("\n"))
        })
    }

    /// Opens every source for a command: loads credentials and sends nothing. A command has no `endpoints`.
    pub fn open(self, clock: Clock, endpoints: Endpoints) -> Result<Vec<SourceConfig>, OpenError> {
        Opener::of(Context { clock, is_server: false, endpoints, upstreams: Arc::default() }).open(self)
    }

    /// Warnings about what is valid and probably not meant, each after its place, `FILE:LINE:COLUMN`.
    pub fn warnings(&self) -> &[(String, String)] {
        &self.warnings
    }

    /// The next changes of entries whose changes are known in advance. Each has the place and the metric of the entry,
    /// and the changes after this time of the value that is served.
    pub fn changes(&self, now: Timestamp) -> impl Iterator<Item = (&str, &str, Vec<Change>)> {
        self.entries.iter().map(move |entry| {
            let place = entry.items.place.as_deref().unwrap_or_default();
            let changes = (entry.kind.changes)(&entry.definition.entry, now);
            let served = changes.into_iter().map(|change| entry.value_rules.served(change));
            (place, entry.name.as_str(), served.collect())
        })
    }

    /// The entries that read pods: the place, the metric and the Service of each.
    pub fn services(&self) -> impl Iterator<Item = (&str, &str, ServiceName)> {
        self.entries.iter().filter_map(|entry| {
            let service = entry.kind.pods_of.and_then(|pods_of| pods_of(&entry.definition.entry))?;
            Some((entry.items.place.as_deref().unwrap_or_default(), entry.name.as_str(), service))
        })
    }

    /// The metrics that it serves with these kinds, sorted.
    pub fn metrics(&self, kinds: Kinds) -> BTreeSet<String> {
        let fixed = fixed_metrics(kinds).into_iter().map(|metric| metric.to_string());
        let chosen = self.entries.iter().filter(|entry| entry.kind.chooses()).map(|entry| entry.name.clone());
        fixed.chain(chosen).collect()
    }

    /// The entries that an answer about this metric depends on. A metric that it does not have keeps all.
    #[must_use]
    pub fn only(mut self, metric: &str, kinds: Kinds) -> Self {
        let kind = kind_of(kinds, metric).map(|kind| kind.name);
        let is_of = |entry: &Entry| match kind {
            Some(kind) => entry.kind.name == kind,
            None => entry.kind.chooses() && entry.name == metric,
        };
        if self.entries.iter().any(is_of) {
            self.entries.retain(is_of);
        }
        self
    }

    /// The number of entries.
    pub fn source_count(&self) -> usize {
        self.entries.len()
    }
}

// === impl Report ===

impl Report<'_> {
    fn of(&mut self, file: usize) -> &mut Problems {
        &mut self.problems[file]
    }

    fn add(&mut self, Location { file, at }: Location, message: String) {
        self.of(file).add(at, message);
    }

    fn warn(&mut self, location: Location, messages: Vec<String>) {
        self.warnings.extend(messages.into_iter().map(|message| (location, message)));
    }

    /// The warnings in the order of the files.
    fn placed_warnings(&mut self) -> Vec<(String, String)> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.sort();
        warnings.into_iter().map(|(location, message)| (self.title(location), message)).collect()
    }

    /// A location by itself: `config.yaml:7:11`.
    fn title(&self, Location { file, at }: Location) -> String {
        format!("{}:{at}", self.files[file].path.display())
    }

    /// A location as an error at `from` shows it: `7:11`, with the file if that is another one.
    fn place(&self, Location { file, at }: Location, from: Location) -> String {
        if file == from.file { at.to_string() } else { self.title(Location { file, at }) }
    }
}

fn decode<'f>(files: &'f [File], mut connections: Connections, kinds: Kinds) -> (Option<Config>, Report<'f>) {
    let problems = files.iter().map(|_| Problems::default()).collect();
    let mut report = Report { files, problems, warnings: Vec::new() };
    let nodes: Vec<Option<Node>> =
        files.iter().enumerate().map(|(file, written)| parse(written, report.of(file))).collect();
    let mut written = Vec::new();
    for (file, node) in nodes.iter().enumerate() {
        let fields = node.as_ref().and_then(|node| node.fields(report.of(file)));
        if let Some(fields) = fields {
            decode_file(file, fields, kinds, &mut connections, &mut written, &mut report);
        }
    }
    unique::check(&written, &connections, &mut report);
    let entries: Vec<Entry> =
        written.into_iter().filter_map(|written| written.connected(&connections, &mut report)).collect();
    let is_good = report.problems.iter().all(Problems::is_empty);
    let warnings = report.placed_warnings();
    (is_good.then_some(Config { entries, warnings }), report)
}

/// `None` if it is no YAML, or an object of KEDA.
fn parse(file: &File, problems: &mut Problems) -> Option<Node> {
    match keda::find(&file.text) {
        Some((at, message)) => {
            problems.add(at, message);
            None
        }
        None => Node::parse(&file.text, problems),
    }
}

fn decode_file(
    file: usize,
    mut top: Fields<'_>,
    kinds: Kinds,
    connections: &mut Connections,
    written: &mut Vec<Written>,
    report: &mut Report<'_>,
) {
    let is_version = exactly(&mut top, "apiVersion", API_VERSION, report.of(file));
    let is_kind = exactly(&mut top, "kind", KIND, report.of(file));
    // An object of another API, such as the kustomization of a folder.
    if is_version == Some(false) && is_kind == Some(false) {
        return;
    }
    let mut defaults = Defaults::default();
    if let Some(mut fields) = top.take("defaults").and_then(|node| node.fields(report.of(file))) {
        let values = Values::decode(&mut fields, &[keys::TIMING], report.of(file));
        defaults = Defaults::new(&values, fields.at(), report.of(file));
        fields.finish(report.of(file));
    }
    connections.decode(file, &mut top, kinds, report);
    let nodes = top.require("sources", report.of(file)).and_then(|node| node.list(report.of(file)));
    for node in nodes.unwrap_or_default() {
        written.extend(Written::decode(file, node, defaults, kinds, report.of(file)));
    }
    top.finish(report.of(file));
}

/// Whether the key has this text; `None` without the key.
fn exactly(fields: &mut Fields<'_>, key: &'static str, wanted: &str, problems: &mut Problems) -> Option<bool> {
    let check = |text: &str| match text == wanted {
        true => Ok(()),
        false => Err(format!("{text:?} is not supported; write `{key}: {wanted}`")),
    };
    Some(fields.require(key, problems)?.checked_text(check, problems).is_some())
}

#[cfg(test)]
mod tests;
