//! Key tables: the keys that a mapping of the config may have. Decoding and the JSON Schema use the same
//! table, so they have the same keys. A function checks a text. A regular expression describes the same
//! texts in the schema as far as possible, and tests compare the two.
//!
//! A table is data: the name of each key, the shape of its value, and its description.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::OpenError;
use crate::document::{Fields, Node, Problems};
use crate::metric::quantity::Quantity;
use crate::metric::{LABEL_VALUE_MAX, LABEL_VALUE_RULE, is_label_value};

mod schema;

pub use schema::{demand, mapping, properties};

/// A key and its allowed values.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As written in the config: `queueId`.
    pub name: &'static str,
    /// The shape of its value.
    pub shape: Shape,
    /// Its description, for the JSON Schema and the reference.
    pub doc: &'static str,
    /// Whether a mapping without it is an error.
    pub required: bool,
    /// If there are any: a mapping must have exactly one of this key and these.
    pub or: &'static [&'static str],
    /// Its default, as written in the config.
    pub default: Option<&'static str>,
    /// Example values, as written in the config.
    pub examples: &'static [&'static str],
}

/// The allowed values of a key.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A text.
    Text(Text),
    /// A list of texts, with the error message of an empty one.
    Texts(Text, &'static str),
    /// A mapping with user-defined keys.
    Map(Text, Text),
    /// A whole number from 1 to this.
    Count(u32),
    /// A number from 0 to [`Quantity::MAX`], or a text in the form of a Kubernetes quantity.
    Amount,
    /// The same, or this word.
    AmountOr(&'static str),
    /// A duration above zero, at most one day.
    Duration,
    /// `true` or `false`.
    Bool,
    /// A mapping with these keys.
    Keys(&'static [Key]),
    /// A mapping whose `type` selects the other keys, with the description of `type`.
    Choice(&'static [Variant], &'static str),
}

/// The allowed texts.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Returns the error message for an invalid text.
    pub check: fn(&str) -> Result<(), String>,
    /// The same as a regular expression, as far as possible.
    pub pattern: Option<&'static str>,
    /// A regular expression of texts that are invalid.
    pub except: Option<&'static str>,
    /// The maximum number of characters.
    pub max_length: Option<usize>,
    /// Whether the empty text is invalid.
    pub nonempty: bool,
}

/// One of several mappings that a key may have.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// The value of `type`.
    pub name: &'static str,
    /// The keys besides `type`.
    pub keys: &'static [Key],
}

/// A mapping that was decoded by a table: the values of the keys that are present. Two equal mappings
/// have the same meaning.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Values(BTreeMap<&'static str, Value>);

/// A decoded value.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Value {
    /// Of [`Shape::Text`], and the word of [`Shape::AmountOr`].
    Text(String),
    /// Of [`Shape::Texts`].
    Texts(Vec<String>),
    /// Of [`Shape::Map`].
    Map(BTreeMap<String, String>),
    /// Of [`Shape::Count`].
    Count(u32),
    /// Of [`Shape::Amount`].
    Amount(Quantity),
    /// Of [`Shape::Duration`].
    Duration(Duration),
    /// Of [`Shape::Bool`].
    Bool(bool),
    /// Of [`Shape::Keys`].
    Keys(Values),
    /// Of [`Shape::Choice`]: the variant's name and its values.
    Choice(&'static str, Values),
}

/// The name by which a source is selected.
pub const NAME: Key = Key::new(
    "name",
    Shape::Text(Text::LABEL_VALUE),
    "What the source is selected by, as the value of a label: at most 63 of letters, digits, '-', '_' or '.', the first and last a letter or digit.",
);

/// The name of a metric that the config chooses.
pub const METRIC: Key = Key::new(
    "metric",
    Shape::Text(METRIC_NAME),
    "The name of the metric in the API: at most 63 of small letters, digits, '_', '.', ':' and '-', the first a letter or '_'.",
)
.required()
.examples(&["http_requests_per_second"]);

/// Whether a request may have several items.
pub const ITEMS: Key = Key::new(
    "items",
    Shape::Text(Text {
        check: |text| if text == "sum" { Ok(()) } else { Err(format!("{text:?} is not supported; there is sum")) },
        pattern: Some("^sum$"),
        ..Text::ANY
    }),
    "sum: a request may select several items, which the HPA controller adds up. Without it, such a request is an error, because the sum of latencies or percentages means nothing.",
);

/// client-go lower-cases the names of metrics, and two names are subresources.
const METRIC_NAME: Text = Text {
    check: |text| {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.:-".contains(&byte);
        let first = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
        let is_name =
            text.len() <= LABEL_VALUE_MAX && text.bytes().all(legal) && text.as_bytes().first().is_some_and(first);
        match text {
            "status" | "finalize" => {
                Err(format!("{text:?} can be no metric: it is a subresource of the Kubernetes API"))
            }
            _ if is_name => Ok(()),
            _ => Err(format!(
                "{text:?} can be no metric: at most 63 of small letters, digits, '_', '.', ':' and '-', the first a letter or '_'"
            )),
        }
    },
    pattern: Some("^[a-z_][a-z0-9_.:-]*$"),
    except: Some("^(status|finalize)$"),
    max_length: Some(LABEL_VALUE_MAX),
    ..Text::ANY
};

/// Which of the listed sources.
pub const MATCH: Key = Key::new(
    "match",
    Shape::Text(PATTERN),
    "The names that are meant, of what is listed; `*` stands for any part of a name.",
)
.default("*")
.examples(&["orders-*"]);

const PATTERN: Text = Text {
    check: |text| match text {
        "" => Err("no name is empty: leave `match` out for all names, or write one such as \"orders-*\"".to_owned()),
        _ => Ok(()),
    },
    nonempty: true,
    ..Text::ANY
};

// === impl Key ===

impl Key {
    /// An optional key without default or examples.
    pub const fn new(name: &'static str, shape: Shape, doc: &'static str) -> Self {
        Self { name, shape, doc, required: false, or: &[], default: None, examples: &[] }
    }

    /// The same, as a required key.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The same, as one of several keys of which a mapping must have exactly one.
    #[must_use]
    pub const fn or(self, others: &'static [&'static str]) -> Self {
        Self { or: others, ..self }
    }

    /// The same, with a default.
    #[must_use]
    pub const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// The same, with example values as written in the config.
    #[must_use]
    pub const fn examples(self, examples: &'static [&'static str]) -> Self {
        Self { examples, ..self }
    }
}

// === impl Text ===

impl Text {
    /// Any text.
    pub const ANY: Self = Self { check: |_| Ok(()), pattern: None, except: None, max_length: None, nonempty: false };

    /// A text that is a valid label value.
    pub const LABEL_VALUE: Self = Self {
        check: |text| match is_label_value(text) {
            true => Ok(()),
            false => Err(format!("{text:?} can be no label value: {LABEL_VALUE_RULE}")),
        },
        pattern: Some("^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"),
        max_length: Some(LABEL_VALUE_MAX),
        ..Self::ANY
    };

    /// A text that can be parsed as a type, with the error message of the type.
    pub const fn parsed<T: FromStr<Err: std::fmt::Display>>() -> Self {
        Self { check: |text| text.parse::<T>().map(drop).map_err(|error| error.to_string()), ..Self::ANY }
    }

    /// The same texts, with a regular expression that describes them.
    #[must_use]
    pub const fn pattern(self, pattern: &'static str) -> Self {
        Self { pattern: Some(pattern), ..self }
    }
}

// === impl Values ===

impl Values {
    /// Takes the keys of these tables from a mapping. Invalid values are added to `problems` and are
    /// missing in the result.
    pub fn decode(fields: &mut Fields<'_>, tables: &[&'static [Key]], problems: &mut Problems) -> Self {
        let mut values = BTreeMap::new();
        for key in tables.iter().copied().flatten() {
            let node = if key.required { fields.require(key.name, problems) } else { fields.take(key.name) };
            values.extend(node.and_then(|node| Some((key.name, Value::decode(key, node, problems)?))));
            check_alternatives(key, fields, problems);
        }
        Self(values)
    }

    /// The same, with one more value.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: Value) -> Self {
        self.0.insert(key, value);
        self
    }

    /// The value of a key, if the key is present.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The value of a key of [`Shape::Text`].
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same as a `T`, from which its check parsed it.
    pub fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, key: &str) -> Result<Option<T>, OpenError> {
        self.text(key).map(|text| text.parse::<T>().map_err(|error| OpenError(error.to_string()))).transpose()
    }

    /// The value of a key of [`Shape::Texts`]; none without it.
    pub fn texts(&self, key: &str) -> &[String] {
        match self.get(key) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// The value of a key of [`Shape::Map`]; empty without it.
    pub fn map(&self, key: &str) -> impl Iterator<Item = (&str, &str)> {
        let map = match self.get(key) {
            Some(Value::Map(map)) => Some(map),
            _ => None,
        };
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of a key of [`Shape::Count`].
    pub fn count(&self, key: &str) -> Option<u32> {
        match self.get(key)? {
            Value::Count(count) => Some(*count),
            _ => None,
        }
    }

    /// The value of a key of [`Shape::Amount`] or [`Shape::AmountOr`], if it is a number.
    pub fn amount(&self, key: &str) -> Option<Quantity> {
        match self.get(key)? {
            Value::Amount(amount) => Some(*amount),
            _ => None,
        }
    }

    /// The value of a key of [`Shape::Duration`].
    pub fn duration(&self, key: &str) -> Option<Duration> {
        match self.get(key)? {
            Value::Duration(duration) => Some(*duration),
            _ => None,
        }
    }

    /// The value of a key of [`Shape::Bool`]; `false` without it.
    pub fn bool(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Value::Bool(true)))
    }

    /// The value of a key of [`Shape::Keys`].
    pub fn keys(&self, key: &str) -> Option<&Self> {
        match self.get(key)? {
            Value::Keys(values) => Some(values),
            _ => None,
        }
    }

    /// The value of a key of [`Shape::Choice`].
    pub fn choice(&self, key: &str) -> Option<(&'static str, &Self)> {
        match self.get(key)? {
            Value::Choice(name, values) => Some((name, values)),
            _ => None,
        }
    }
}

impl FromIterator<(&'static str, Value)> for Values {
    fn from_iter<I: IntoIterator<Item = (&'static str, Value)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

// === impl Value ===

impl Value {
    fn decode(key: &Key, node: &Node, problems: &mut Problems) -> Option<Self> {
        Some(match key.shape {
            Shape::Text(text) => Self::Text(text.decode(node, problems)?),
            Shape::Texts(text, empty) => {
                let items = node.list(problems)?;
                if items.is_empty() {
                    problems.add(node.at(), empty);
                }
                Self::Texts(items.iter().filter_map(|item| text.decode(item, problems)).collect())
            }
            Shape::Map(name, value) => {
                let mut map = BTreeMap::new();
                for (key, at, node) in node.entries(problems)? {
                    if let Err(message) = (name.check)(key) {
                        problems.add(*at, message);
                    }
                    map.extend(value.decode(node, problems).map(|value| (key.clone(), value)));
                }
                Self::Map(map)
            }
            Shape::Count(most) => Self::Count(node.count(most, problems)?),
            Shape::Amount => Self::Amount(node.amount(problems)?),
            Shape::AmountOr(word) if node.is_word(word) => Self::Text(word.to_owned()),
            Shape::AmountOr(_) => Self::Amount(node.amount(problems)?),
            Shape::Duration => Self::Duration(node.duration(problems)?),
            Shape::Bool => Self::Bool(node.truth(problems)?),
            Shape::Keys(keys) => {
                let mut fields = node.fields(problems)?;
                let values = Values::decode(&mut fields, &[keys], problems);
                fields.finish(problems);
                Self::Keys(values)
            }
            Shape::Choice(variants, _) => decode_choice(key, variants, node.fields(problems)?, problems)?,
        })
    }
}

impl Text {
    fn decode(&self, node: &Node, problems: &mut Problems) -> Option<String> {
        let text = node.text(problems)?;
        match (self.check)(text) {
            Ok(()) => Some(text.to_owned()),
            Err(message) => {
                problems.add(node.at(), message);
                None
            }
        }
    }
}

/// A problem if a mapping has none of a key and its alternatives, or more than one.
fn check_alternatives(key: &Key, fields: &Fields<'_>, problems: &mut Problems) {
    if key.or.is_empty() {
        return;
    }
    let all = || std::iter::once(key.name).chain(key.or.iter().copied());
    match all().filter(|name| fields.has(name)).collect::<Vec<_>>()[..] {
        [] => {
            let names: Vec<String> = all().map(|name| format!("`{name}`")).collect();
            problems.add(fields.at(), format!("{} is missing here", names.join(" or ")));
        }
        [_] => {}
        [first, second, ..] => {
            let at = fields.place(second).unwrap_or(fields.at());
            problems.add(at, format!("`{first}` is here, too: write either `{first}` or `{second}`"));
        }
    }
}

fn decode_choice(
    key: &Key,
    variants: &'static [Variant],
    mut fields: Fields<'_>,
    problems: &mut Problems,
) -> Option<Value> {
    let variant = fields.require("type", problems).and_then(|node| {
        let wrong = |name: &str| format!("{} type {name:?} is not supported", key.name);
        node.one_of(variants, |variant| variant.name, wrong, problems)
    });
    let Some(variant) = variant else {
        // Without a valid `type`, a key may belong to any variant.
        for key in variants.iter().flat_map(|variant| variant.keys) {
            fields.take(key.name);
        }
        fields.finish(problems);
        return None;
    };
    let values = Values::decode(&mut fields, &[variant.keys], problems);
    fields.finish(problems);
    Some(Value::Choice(variant.name, values))
}
