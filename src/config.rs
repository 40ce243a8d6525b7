//! The config file, and the only reader of it: text to typed parts.
//!
//! What every source has (name, namespaces, timing) is read here; what only one kind has is
//! read by the kind itself, from the same mapping, so that a key which nobody knows is an error
//! with its line and column. All errors of a file are reported at once.

use std::path::{Path, PathBuf};

mod file;
mod names;
mod opener;
mod reload;
mod schema;
mod variables;

pub use file::ConfigFile;
pub use opener::Opener;
pub use reload::Reload;
pub use schema::schema;

use self::names::{Named, unique_names};
use crate::document::{Fields, Node, Position, Problems};
use crate::lookup::rules::ValueRules;
use crate::lookup::{SourceConfig, Timing};
use crate::metric::pattern::Pattern;
use crate::metric::quantity::Quantity;
use crate::metric::{Clock, LABEL_VALUE_RULE, is_label_value};
use crate::source::{self, Kind, OpenError, Plan};

/// The version of the format, and the only one.
const API_VERSION: &str = "depthgauge.dev/v1alpha1";
/// Its kind.
const KIND: &str = "Config";

/// A config without errors; its sources are not opened yet.
pub struct Config {
    groups: Vec<Group>,
}

/// All sources of one kind.
struct Group {
    kind: &'static dyn Kind,
    entries: Vec<Entry>,
    plan: Box<dyn Plan>,
}

/// What a source of any kind has.
struct Entry {
    /// Of sources that are listed, the pattern of their names.
    name: String,
    namespaces: Vec<Pattern>,
    timing: Timing,
    export: bool,
    policies: ValueRules,
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not readable.
    #[error("config file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Readable and wrong: a line `FILE:LINE:COLUMN: what` for each error.
    #[error("{0}")]
    Wrong(String),
}

// === impl Config ===

impl Config {
    /// Reads and parses a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::parse_file(path, &text(path)?)
    }

    /// Parses a text.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let node = Node::parse(text, &mut problems);
        let config = node.as_ref().and_then(|node| Some(decode(node.fields(&mut problems)?, &mut problems)));
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }

    /// Parses the text of a file; the errors name it.
    pub fn parse_file(path: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::parse(text).map_err(|problems| {
            let lines: Vec<String> = problems.lines().map(|line| format!("{}:{line}", path.display())).collect();
            ConfigError::Wrong(lines.join("\n"))
        })
    }

    /// Opens every source: keys are loaded, nothing is asked over the network yet.
    pub fn open(self, clock: Clock) -> Result<Vec<SourceConfig>, OpenError> {
        Opener::new(clock).open(self)
    }

    /// How many sources there are.
    pub fn source_count(&self) -> usize {
        self.groups.iter().map(|group| group.entries.len()).sum()
    }
}

/// Reads the text of a config file.
pub fn text(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

fn decode(mut top: Fields<'_>, problems: &mut Problems) -> Config {
    exactly(&mut top, "apiVersion", API_VERSION, problems);
    exactly(&mut top, "kind", KIND, problems);
    let mut defaults = Timing::default();
    if let Some(mut fields) = top.take("defaults").and_then(|node| node.fields(problems)) {
        defaults = timing(&mut fields, defaults, problems);
        fields.finish(problems);
    }
    let mut sources = Vec::new();
    let nodes = top.require("sources", problems).and_then(|node| node.list(problems));
    for node in nodes.unwrap_or_default() {
        sources.extend(decode_source(node, defaults, problems));
    }
    unique_names(sources.iter().filter_map(Written::named), problems);
    let mut groups = Vec::new();
    for kind in source::KINDS {
        groups.extend(decode_group(*kind, &mut top, &mut sources, problems));
    }
    top.finish(problems);
    Config { groups }
}

/// One entry of `sources`, with the keys that its kind has yet to read.
struct Written<'n> {
    kind: &'static dyn Kind,
    /// Where it is named; one whose sources are listed is not.
    name_at: Option<Position>,
    entry: Entry,
    fields: Fields<'n>,
}

impl Written<'_> {
    fn named(&self) -> Option<Named<'_>> {
        let Entry { name, namespaces, export, .. } = &self.entry;
        Some(Named { label: self.kind.label(), name, at: self.name_at?, namespaces, export: *export })
    }
}

fn decode_source<'n>(node: &'n Node, defaults: Timing, problems: &mut Problems) -> Option<Written<'n>> {
    let mut fields = node.fields(problems)?;
    let kind = fields.require("type", problems).and_then(|node| {
        let text = node.text(problems)?;
        let kind = source::kind(text);
        if kind.is_none() {
            let known: Vec<_> = source::KINDS.iter().map(|kind| kind.name()).collect();
            problems.add(node.at(), format!("unknown type {text:?}; there is {}", known.join(", ")));
        }
        kind
    });
    let (name_at, name) = if kind.is_some_and(|kind| fields.has(kind.lists_by())) {
        (None, listed(&mut fields, problems))
    } else {
        let named = fields.require("name", problems).and_then(|node| Some((node.at(), name(node, problems)?)));
        named.map_or((None, String::new()), |(at, name)| (Some(at), name))
    };
    let namespaces = fields.require("namespaces", problems).and_then(|node| namespaces(node, problems));
    let timing = timing(&mut fields, defaults, problems);
    let export = fields.take("export").and_then(|node| node.truth(problems)).unwrap_or(false);
    let policies = policies(&mut fields, problems);
    let entry = Entry { name, namespaces: namespaces.unwrap_or_default(), timing, export, policies };
    // Without its kind nobody knows which other keys it may have.
    Some(Written { kind: kind?, name_at, entry, fields })
}

/// Of the sources that are listed, those that are meant: all, unless `match` says which.
fn listed(fields: &mut Fields<'_>, problems: &mut Problems) -> String {
    let Some(node) = fields.take("match") else { return "*".to_owned() };
    let text = node.text(problems).unwrap_or_default();
    if text.is_empty() {
        problems.add(node.at(), "no name is empty: leave `match` out for all names, or write one such as \"orders-*\"");
    }
    text.to_owned()
}

/// A source's name becomes a label value, so it must be able to.
fn name(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    if !is_label_value(text) {
        problems.add(node.at(), format!("{text:?} can be no label value: {LABEL_VALUE_RULE}"));
        return None;
    }
    Some(text.to_owned())
}

fn namespaces(node: &Node, problems: &mut Problems) -> Option<Vec<Pattern>> {
    let items = node.list(problems)?;
    if items.is_empty() {
        problems.add(node.at(), "nobody could read this source: name namespaces, or \"*\" for all");
    }
    let patterns = items.iter().map(|item| namespace(item, problems)).collect::<Vec<_>>();
    patterns.into_iter().collect()
}

/// A namespace's name, a DNS label by Kubernetes' rule, in which `*` stands for any part.
fn namespace(node: &Node, problems: &mut Problems) -> Option<Pattern> {
    let text = node.text(problems)?;
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'*');
    let edge = |at: Option<u8>| at.is_some_and(|byte| byte != b'-');
    let bytes = text.as_bytes();
    if !(bytes.iter().copied().all(legal) && edge(bytes.first().copied()) && edge(bytes.last().copied())) {
        let rule = "small letters, digits and '-' within, and \"*\" for any part";
        problems.add(node.at(), format!("{text:?} can be no namespace: {rule}"));
        return None;
    }
    Some(Pattern::new(text))
}

fn timing(fields: &mut Fields<'_>, defaults: Timing, problems: &mut Problems) -> Timing {
    let mut read = |key, default| fields.take(key).and_then(|node| node.duration(problems)).unwrap_or(default);
    let timing = Timing {
        refresh: read("refresh", defaults.refresh),
        timeout: read("timeout", defaults.timeout),
        max_age: read("maxAge", defaults.max_age),
        idle_after: read("idleAfter", defaults.idle_after),
    };
    // What is wrong with the defaults is said once, there.
    if timing.max_age < timing.refresh && timing != defaults {
        let (max_age, refresh) = (timing.max_age, timing.refresh);
        let message = format!(
            "maxAge ({max_age:?}) is shorter than refresh ({refresh:?}): values would grow too old between two reads"
        );
        problems.add(fields.at(), message);
    }
    timing
}

fn policies(fields: &mut Fields<'_>, problems: &mut Problems) -> ValueRules {
    let mut read = |key| fields.take(key)?.amount(Quantity::UNITS_MAX, problems).map(Quantity::from_units);
    ValueRules { activation: read("activation"), fallback: read("fallback") }
}

fn decode_group(
    kind: &'static dyn Kind,
    top: &mut Fields<'_>,
    sources: &mut Vec<Written<'_>>,
    problems: &mut Problems,
) -> Option<Group> {
    let mut section = top.take(kind.section()).and_then(|node| node.fields(problems));
    let mine = |source: &&mut Written<'_>| source.kind.name() == kind.name();
    let mut entries: Vec<&mut Fields<'_>> = sources.iter_mut().filter(mine).map(|source| &mut source.fields).collect();
    let plan = kind.decode(section.as_mut(), &mut entries, problems);
    if let Some(section) = section {
        section.finish(problems);
    }
    let mut group = Vec::new();
    for source in sources.extract_if(.., |source| source.kind.name() == kind.name()) {
        source.fields.finish(problems);
        group.push(source.entry);
    }
    // A kind that no entry has needs no credentials.
    let plan = plan.filter(|_| !group.is_empty())?;
    Some(Group { kind, entries: group, plan })
}

fn exactly(fields: &mut Fields<'_>, key: &'static str, wanted: &str, problems: &mut Problems) {
    if let Some(node) = fields.require(key, problems)
        && let Some(text) = node.text(problems)
        && text != wanted
    {
        problems.add(node.at(), format!("{text:?} is not supported; write `{key}: {wanted}`"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lines(text: &str) -> Vec<String> {
        match Config::parse(text) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.lines().collect(),
        }
    }

    const GOOD: &str = r#"
apiVersion: depthgauge.dev/v1alpha1
kind: Config
oci:
  region: eu-frankfurt-1
  auth: {type: apiKey, configFile: /dev/null, profile: X}
  endpoint: http://127.0.0.1:1234
defaults: {refresh: 2s, maxAge: 30s}
sources:
  - type: oci-queue
    name: orders
    queueId: ocid1.queue.oc1.eu-frankfurt-1.amaaaa
    endpoint: https://cell-1.queue.messaging.eu-frankfurt-1.oci.oraclecloud.com
    namespaces: [shop, "team-*"]
    timeout: 1s
    activation: 1
    fallback: 12
    channels: {eu-west: "orders/eu west"}
    consumerGroups: {billing: ocid1.consumergroup.oc1.eu-frankfurt-1.amaaaa}
  - type: oci-queue
    name: bills
    queueId: ocid1.queue.oc1.eu-frankfurt-1.bbbbbb
    namespaces: ["*"]
"#;

    #[test]
    fn a_good_file() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.source_count(), 2);
        let entry = &config.groups[0].entries[0];
        assert_eq!(entry.name, "orders");
        assert!(entry.namespaces[1].matches("team-a"));
        let seconds = Duration::from_secs;
        let expected =
            Timing { refresh: seconds(2), timeout: seconds(1), max_age: seconds(30), idle_after: seconds(120) };
        assert_eq!(entry.timing, expected);
        let units = |n| Some(Quantity::from_units(n));
        assert_eq!(entry.policies, ValueRules { activation: units(1), fallback: units(12) });
        assert_eq!(config.groups[0].entries[1].policies, ValueRules::default());
    }

    #[test]
    fn every_error_is_reported_at_once_with_its_place() {
        let text = r#"apiVersion: depthgauge.dev/v2
extra: 1
oci: {auth: {type: magic}, region: atlantis-1, extra: 2, maxRequestsPerSecond: 0}
defaults: {refresh: 0s, extra: 3}
sources:
  - type: oci-queue
    name: orders
    queueId: orders
    namespaces: []
    extra: 4
  - type: oci-queue
    name: orders
    queueId: ocid1.queue.oc1.fra.amaaaa
    endpoint: http://example.com
    namespaces: [7, Shop, "team-*"]
  - type: kafka
    name: -x
  - name: y
"#;
        let expected = [
            "1:1: `kind` is missing here",
            "1:13: \"depthgauge.dev/v2\" is not supported; write `apiVersion: depthgauge.dev/v1alpha1`",
            "2:1: unknown key `extra`; known here: apiVersion, defaults, kind, oci, sources",
            "3:20: auth type \"magic\" is not supported; there is apiKey, sessionToken, workloadIdentity, instancePrincipal, resourcePrincipal",
            "3:36: \"atlantis-1\" is no known region; write its name, such as eu-frankfurt-1, or describe one that is new in OCI_REGION_METADATA",
            "3:48: unknown key `extra`; known here: auth, caFile, endpoint, maxRequestsPerSecond, region",
            "3:80: a whole number from 1 to 10000 is expected here",
            "4:21: a duration above zero and up to 24h is expected here, such as 5s, 500ms or 2m",
            "4:25: unknown key `extra`; known here: idleAfter, maxAge, refresh, timeout",
            "8:14: \"orders\" is not the OCID of a queue: it looks like ocid1.queue.oc1.<region>.<unique id>",
            "9:17: nobody could read this source: name namespaces, or \"*\" for all",
            "10:5: unknown key `extra`; known here: activation, channels, compartmentId, consumerGroups, endpoint, export, fallback, idleAfter, maxAge, name, namespaces, queueId, refresh, timeout, type",
            "14:15: \"http://example.com\" is no endpoint: it looks like https://messaging.eu-frankfurt-1.oci.oraclecloud.com, without path or user; http:// is for loopback addresses only",
            "15:18: a text is expected here: write \"7\" with quotes",
            "15:21: \"Shop\" can be no namespace: small letters, digits and '-' within, and \"*\" for any part",
            "16:5: `namespaces` is missing here",
            "16:11: unknown type \"kafka\"; there is oci-queue",
            "17:11: \"-x\" can be no label value: at most 63 of letters, digits, '-', '_' or '.', the first and last a letter or digit",
            "18:5: `namespaces` is missing here",
            "18:5: `type` is missing here",
        ];
        assert_eq!(lines(text), expected);
    }

    #[test]
    fn a_policy_is_a_whole_number() {
        for bad in ["-1", "1.5", "x", "\"12\"", "9200000000000001", "10000000000000000"] {
            let lines = lines(&GOOD.replace("fallback: 12", &format!("fallback: {bad}")));
            let expected = "17:15: a whole number from 0 to 9200000000000000 is expected here, such as 12";
            assert_eq!(lines, [expected], "{bad}");
        }
    }

    #[test]
    fn a_max_age_below_refresh_is_an_error() {
        let lines = lines(&GOOD.replace("maxAge: 30s", "maxAge: 1s"));
        assert!(lines[0].starts_with("8:11: maxAge (1s) is shorter than refresh (2s)"), "{lines:?}");
    }

    #[test]
    fn sources_of_a_compartment_have_a_pattern_and_no_name() {
        let listed = r#"
  - {type: oci-queue, compartmentId: ocid1.compartment.oc1..aaaa, namespaces: [shop]}
  - {type: oci-queue, compartmentId: ocid1.tenancy.oc1..aaaa, match: "orders-*", namespaces: [shop], export: true}
"#;
        let config = Config::parse(&format!("{GOOD}{}", listed.trim_start_matches('\n'))).unwrap();
        let entries: Vec<_> =
            config.groups[0].entries.iter().map(|entry| (entry.name.as_str(), entry.export)).collect();
        assert_eq!(entries, [("orders", false), ("bills", false), ("*", false), ("orders-*", true)]);
        let wrong = r#"apiVersion: depthgauge.dev/v1alpha1
kind: Config
sources:
  - {type: oci-queue, compartmentId: shop, name: orders, match: "", namespaces: [shop], export: maybe}
  - {type: oci-queue, name: orders, match: "*", queueId: ocid1.queue.oc1.fra.amaaaa, namespaces: [shop]}
"#;
        let expected = [
            "4:38: \"shop\" is not the OCID of a compartment: it looks like ocid1.compartment.oc1..<unique id>",
            "4:44: unknown key `name`; known here: activation, compartmentId, export, fallback, idleAfter, match, maxAge, namespaces, refresh, timeout, type",
            "4:65: no name is empty: leave `match` out for all names, or write one such as \"orders-*\"",
            "4:97: true or false is expected here",
            "5:37: unknown key `match`; known here: activation, channels, compartmentId, consumerGroups, endpoint, export, fallback, idleAfter, maxAge, name, namespaces, queueId, refresh, timeout, type",
        ];
        assert_eq!(lines(wrong), expected);
    }

    #[test]
    fn definitions_are_the_same_while_what_they_mean_is() {
        let definitions = |text: &str| {
            let Config { groups } = Config::parse(text).unwrap();
            groups[0].plan.definitions()
        };
        let before = definitions(GOOD);
        assert_ne!(before[0], before[1]);
        for same in [GOOD.replace("timeout: 1s", "timeout: 2s"), GOOD.replace("  - type", "\n\n  - type")] {
            assert_eq!(definitions(&same), before);
        }
        let moved = definitions(&GOOD.replace("bbbbbb", "cccccc"));
        assert_eq!((moved[0] == before[0], moved[1] == before[1]), (true, false));
        let other_user = definitions(&GOOD.replace("profile: X", "profile: Y"));
        assert_eq!((other_user[0] == before[0], other_user[1] == before[1]), (false, false));
    }

    #[test]
    fn what_is_no_config_at_all() {
        for (text, line) in [
            ("", "1:1: the file is empty"),
            ("[]", "1:1: a mapping is expected here, not a list"),
            ("a: [", "2:1: not YAML"),
        ] {
            let lines = lines(text);
            assert!(lines[0].starts_with(line), "{lines:?}");
        }
    }
}
