//! A YAML document as a tree whose nodes have their line and column, and a collector that reports all
//! errors at once.
//!
//! Serde's derives lose positions and stop at the first error. [`crate::config`] and each source define
//! the meaning of the keys.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::Segment;

use crate::metric::names::{did_you_mean, nearest};
use crate::metric::quantity::Quantity;

pub mod distinct;

/// How serde begins its message about a value of the right type.
const INVALID: [&str; 2] = ["unknown variant", "invalid value"];
/// The maximum duration of any key: a value that is a day old is not current.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// Line and column, both counted from 1.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position {
    line: usize,
    column: usize,
}

/// One node of the tree.
#[derive(Clone, Debug)]
pub struct Node {
    at: Position,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Null,
    Text(String),
    Integer(i64),
    /// A boolean or a fraction, as written.
    Other(String),
    List(Vec<Node>),
    /// Key, its position, value.
    Map(Vec<(String, Position, Node)>),
}

/// The errors of a document, sorted by position when shown.
#[derive(Debug, Default)]
pub struct Problems(Vec<(Position, String)>);

/// A mapping that is being decoded. It records which keys were taken, and reports the others as
/// unknown.
#[derive(Debug)]
pub struct Fields<'n> {
    at: Position,
    entries: &'n [(String, Position, Node)],
    known: Vec<&'static str>,
    /// Keys that were taken as a misspelt required key.
    misspelt: Vec<&'n str>,
}

// === impl Position ===

impl Position {
    /// The first column of a line.
    pub fn start_of(line: usize) -> Self {
        Self { line, column: 1 }
    }

    fn of(yaml: &MarkedYaml<'_>) -> Self {
        Self { line: yaml.span.start.line(), column: yaml.span.start.col() + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

// === impl Node ===

impl Node {
    /// Parses one document. Invalid YAML, or more or less than one document, is a problem and `None`.
    pub fn parse(text: &str, problems: &mut Problems) -> Option<Self> {
        let start = Position { line: 1, column: 1 };
        let mut documents = match MarkedYaml::load_from_str(text) {
            Ok(documents) => documents,
            Err(error) => {
                let at = Position { line: error.marker().line(), column: error.marker().col() + 1 };
                problems.add(at, format!("not YAML: {}", error.info()));
                return None;
            }
        };
        match (documents.pop(), documents.is_empty()) {
            (Some(document), true) => Some(Self::from_yaml(&document)),
            (None, _) => {
                problems.add(start, "the file is empty");
                None
            }
            (Some(_), false) => {
                problems.add(start, "more than one document: remove the `---` between them");
                None
            }
        }
    }

    /// The position where it begins.
    pub fn at(&self) -> Position {
        self.at
    }

    /// Its text. Anything else is a problem.
    pub fn text(&self, problems: &mut Problems) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Integer(number) => {
                problems.add(self.at, format!("expected a string: write \"{number}\" with quotes"));
                None
            }
            Value::Other(text) => {
                problems.add(self.at, format!("expected a string: write \"{text}\" with quotes"));
                None
            }
            _ => {
                problems.add(self.at, format!("expected a string, got {}", self.kind()));
                None
            }
        }
    }

    /// Whether it is this text.
    pub fn is_word(&self, word: &str) -> bool {
        matches!(&self.value, Value::Text(text) if text == word)
    }

    /// Its text, if `check` accepts it. Where quotes would not make a number or boolean valid, the problem is the
    /// error message of `check`.
    pub fn checked_text(
        &self,
        check: impl FnOnce(&str) -> Result<(), String>,
        problems: &mut Problems,
    ) -> Option<&str> {
        let checked = match &self.value {
            Value::Text(text) | Value::Other(text) => check(text),
            Value::Integer(number) => check(&number.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => Ok(()),
        };
        match checked {
            Ok(()) => self.text(problems),
            Err(message) => {
                problems.add(self.at, message);
                None
            }
        }
    }

    /// Its text as a `T`, or a problem with the error message of `T`.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&self, problems: &mut Problems) -> Option<T> {
        let check = |text: &str| text.parse::<T>().map(drop).map_err(|error| error.to_string());
        self.checked_text(check, problems)?.parse().ok()
    }

    /// The one of these whose name is its text. Any other text, number or boolean is a problem: what is `wrong`,
    /// and the names that there are.
    pub fn one_of<'k, T>(
        &self,
        known: &'k [T],
        name: impl Fn(&T) -> &str,
        wrong: impl Fn(&str) -> String,
        problems: &mut Problems,
    ) -> Option<&'k T> {
        let find = |text: &str| known.iter().find(|known| name(known) == text);
        let check = |text: &str| match find(text) {
            Some(_) => Ok(()),
            None => Err(format!("{}; {}", wrong(text), one_of(known.iter().map(&name)))),
        };
        find(self.checked_text(check, problems)?)
    }

    /// A duration above zero, at most one day, such as `5s`, `500ms` or `2m`.
    pub fn duration(&self, problems: &mut Problems) -> Option<Duration> {
        let written = match &self.value {
            Value::Text(text) => text.parse::<jiff::SignedDuration>().ok(),
            _ => None,
        };
        match written.map(Duration::try_from) {
            Some(Ok(duration)) if !duration.is_zero() && duration <= DURATION_MAX => Some(duration),
            _ => {
                problems.add(self.at, "expected a duration above zero and up to 24h, such as 5s, 500ms or 2m");
                None
            }
        }
    }

    /// A whole number from 1 to `most`.
    pub fn count(&self, most: u32, problems: &mut Problems) -> Option<u32> {
        let written = match self.value {
            Value::Integer(number) => u32::try_from(number).ok().filter(|number| (1..=most).contains(number)),
            _ => None,
        };
        if written.is_none() {
            problems.add(self.at, format!("expected a whole number from 1 to {most}"));
        }
        written
    }

    /// `true` or `false`. Anything else is a problem.
    pub fn truth(&self, problems: &mut Problems) -> Option<bool> {
        let truth = match &self.value {
            Value::Other(text) => text.parse().ok(),
            _ => None,
        };
        if truth.is_none() {
            problems.add(self.at, "expected true or false");
        }
        truth
    }

    /// Its items. Anything other than a list is a problem.
    pub fn list(&self, problems: &mut Problems) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => {
                problems.add(self.at, format!("expected a list, got {}", self.kind()));
                None
            }
        }
    }

    /// Its keys. Anything other than a mapping is a problem.
    pub fn fields(&self, problems: &mut Problems) -> Option<Fields<'_>> {
        match &self.value {
            Value::Map(entries) => Some(Fields { at: self.at, entries, known: Vec::new(), misspelt: Vec::new() }),
            _ => {
                problems.add(self.at, format!("expected a mapping, got {}", self.kind()));
                None
            }
        }
    }

    /// Its user-defined keys with their positions. Anything other than a mapping is a problem.
    pub fn entries(&self, problems: &mut Problems) -> Option<&[(String, Position, Node)]> {
        self.fields(problems).map(|fields| fields.entries)
    }

    /// A number, or a text in the form of a Kubernetes quantity (`1500m`). Anything else is a problem.
    pub fn amount(&self, problems: &mut Problems) -> Option<Quantity> {
        let amount = match &self.value {
            Value::Integer(number) => Quantity::value(*number),
            // A fraction of up to 15 significant digits is unchanged here, because a float prints the
            // shortest text that parses to it.
            Value::Text(text) | Value::Other(text) => Quantity::parse_value(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        };
        if amount.is_none() {
            let most = Quantity::UNITS_MAX;
            problems.add(self.at, format!("expected a number from 0 to {most}, such as 12 or 0.5"));
        }
        amount
    }

    /// Its keys as a `T` of serde. A value that `T` does not have is a problem at its position. The message does
    /// not repeat the value, because it can be a secret.
    pub fn decoded<T: DeserializeOwned>(&self, problems: &mut Problems) -> Option<T> {
        self.fields(problems)?;
        let decoded: Result<T, serde_path_to_error::Error<serde_json::Error>> =
            serde_path_to_error::deserialize(self.to_json());
        let error = match decoded {
            Ok(decoded) => return Some(decoded),
            Err(error) => error,
        };
        let mut node = self;
        for segment in error.path() {
            let Some(inner) = node.inner(segment) else { break };
            node = inner;
        }
        let (path, cause) = (error.path(), error.inner().to_string());
        problems.add(
            node.at,
            match cause.strip_prefix("missing field ") {
                Some(key) => format!("`{path}` has no {key}"),
                None if INVALID.iter().any(|text| cause.starts_with(text)) => format!("`{path}` has an invalid value"),
                None => format!("`{path}` must not be {}", node.kind()),
            },
        );
        None
    }

    fn inner(&self, segment: &Segment) -> Option<&Self> {
        match (&self.value, segment) {
            (Value::List(items), Segment::Seq { index }) => items.get(*index),
            (Value::Map(entries), Segment::Map { key }) => {
                entries.iter().find(|(name, ..)| name == key).map(|(.., node)| node)
            }
            _ => None,
        }
    }

    /// As JSON, for values that have their own decoder and need no positions.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Text(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Other(text) => text.parse().unwrap_or_else(|_| text.as_str().into()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|(key, _, node)| (key.clone(), node.to_json())).collect(),
        }
    }

    fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a string",
            Value::Integer(_) | Value::Other(_) => "a number or boolean",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    fn from_yaml(yaml: &MarkedYaml<'_>) -> Self {
        let at = Position::of(yaml);
        let value = match &yaml.data {
            YamlData::Value(Scalar::Null) => Value::Null,
            YamlData::Value(Scalar::String(text)) => Value::Text(text.clone().into_owned()),
            YamlData::Value(Scalar::Integer(number)) => Value::Integer(*number),
            YamlData::Value(Scalar::Boolean(truth)) => Value::Other(truth.to_string()),
            YamlData::Value(Scalar::FloatingPoint(number)) => Value::Other(number.to_string()),
            YamlData::Representation(text, ..) => Value::Text(text.clone().into_owned()),
            YamlData::Sequence(items) => Value::List(items.iter().map(Self::from_yaml).collect()),
            YamlData::Mapping(entries) => Value::Map(
                entries.iter().map(|(key, node)| (key_text(key), Position::of(key), Self::from_yaml(node))).collect(),
            ),
            // The position of the tag, because the content may have none.
            YamlData::Tagged(_, inner) => Self::from_yaml(inner).value,
            YamlData::Alias(_) | YamlData::BadValue => Value::Null,
        };
        Self { at, value }
    }
}

/// A key as written. A key that is no scalar becomes a text that is unknown everywhere.
fn key_text(key: &MarkedYaml<'_>) -> String {
    match &key.data {
        YamlData::Value(Scalar::String(text)) | YamlData::Representation(text, ..) => text.clone().into_owned(),
        YamlData::Value(Scalar::Integer(number)) => number.to_string(),
        YamlData::Value(Scalar::Boolean(truth)) => truth.to_string(),
        YamlData::Value(Scalar::FloatingPoint(number)) => number.to_string(),
        _ => "?".to_owned(),
    }
}

// === impl Problems ===

impl Problems {
    /// Adds a problem. The message contains the remedy.
    pub fn add(&mut self, at: Position, message: impl Into<String>) {
        self.0.push((at, message.into()));
    }

    /// Whether there are no problems.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `LINE:COLUMN: message`, in the order of the file.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted.into_iter().map(|(at, message)| format!("{at}: {message}"))
    }
}

// === impl Fields ===

impl<'n> Fields<'n> {
    /// The position where the mapping begins.
    pub fn at(&self) -> Position {
        self.at
    }

    /// Whether a key is present. This does not take it.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, ..)| name == key)
    }

    /// The position where the value of a key begins, if the key is present.
    pub fn place(&self, key: &str) -> Option<Position> {
        self.entries.iter().find(|(name, ..)| name == key).map(|(.., node)| node.at)
    }

    /// Takes the value of an optional key.
    pub fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        self.entries.iter().find(|(name, ..)| name == key).map(|(.., node)| node)
    }

    /// Takes the value of a required key, or reports that it is missing. If it is misspelt, that is the
    /// only problem, and its value is still decoded.
    pub fn require(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'n Node> {
        if let Some(node) = self.take(key) {
            return Some(node);
        }
        let Some((slip, at, node)) = self.entries.iter().find(|(name, ..)| nearest(name, [key]).is_some()) else {
            problems.add(self.at, format!("`{key}` is missing here"));
            return None;
        };
        problems.add(*at, unknown(slip, Some(key)));
        self.misspelt.push(slip);
        Some(node)
    }

    /// Makes these keys unknown, except those that are here.
    pub fn conceal(&mut self, keys: &[&str]) {
        let entries = self.entries;
        self.known.retain(|key| !keys.contains(key) || entries.iter().any(|(name, ..)| name == key));
    }

    /// Reports every key that was not taken.
    pub fn finish(self, problems: &mut Problems) {
        let mut known = self.known;
        known.sort_unstable();
        known.dedup();
        for (key, at, _) in self.entries {
            if !known.contains(&key.as_str()) && !self.misspelt.contains(&key.as_str()) {
                let unknown = unknown(key, nearest(key, known.iter().copied()));
                problems.add(*at, format!("{unknown} known here: {}", known.join(", ")));
            }
        }
    }
}

/// What is wrong with JSON, and where, without the value that serde repeats: it can be a secret.
pub fn json_fault(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Data => "not the expected JSON",
        Category::Eof => "the JSON is incomplete",
        Category::Io | Category::Syntax => "not JSON",
    };
    format!("{what} at line {}, column {}", error.line(), error.column())
}

/// What to write: one of these names.
pub fn one_of<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    match names.into_iter().collect::<Vec<_>>()[..] {
        [name] => format!("write {name}"),
        ref names => format!("choose one of {}", names.join(", ")),
    }
}

fn unknown(key: &str, meant: Option<&str>) -> String {
    format!("unknown key `{key}`;{}", did_you_mean(meant))
}

#[cfg(test)]
mod tests;
