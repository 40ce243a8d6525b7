//! What a mapping of the config has, decoded by its key tables.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::{Key, Shape, Text, Variant};
use crate::document::{Fields, Node, Problems};
use crate::metric::quantity::Quantity;
use crate::source::OpenError;

/// A mapping that was decoded by a table: the values of the keys that are present. Two equal mappings
/// have the same meaning.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Values(BTreeMap<&'static str, Value>);

/// A decoded value.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Value {
    /// Of [`Shape::Text`] and [`Shape::Word`], and the word of [`Shape::AmountOr`].
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

// === impl Values ===

impl Values {
    /// Takes the keys of these tables from a mapping. Invalid values are added to `problems` and are
    /// missing in the result.
    pub fn decode(fields: &mut Fields<'_>, tables: &[&'static [Key]], problems: &mut Problems) -> Self {
        let mut values = BTreeMap::new();
        for key in tables.iter().copied().flatten() {
            let node = if key.required { fields.require(key.name, problems) } else { fields.take(key.name) };
            values.extend(node.and_then(|node| Some((key.name, Value::decode(key, node, problems)?))));
        }
        check_alternatives(tables, fields, problems);
        Self(values)
    }

    /// The same, with one more value.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: Value) -> Self {
        self.0.insert(key, value);
        self
    }

    /// Those of these keys.
    #[must_use]
    pub fn only(&self, keys: &[&str]) -> Self {
        self.0.iter().filter(|(key, _)| keys.contains(key)).map(|(key, value)| (*key, value.clone())).collect()
    }

    /// Whether no key is present.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As JSON, which is equal for two mappings of one table if they are equal.
    pub fn to_json(&self) -> serde_json::Value {
        self.0.iter().map(|(key, value)| ((*key).to_owned(), value.to_json())).collect()
    }

    /// The value of a key, if the key is present.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The value of a key of [`Shape::Text`] or [`Shape::Word`].
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
    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Texts(texts) => texts.as_slice().into(),
            Self::Map(map) => map.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
            Self::Count(count) => (*count).into(),
            Self::Amount(amount) => amount.milli().into(),
            Self::Duration(duration) => vec![duration.as_secs(), duration.subsec_nanos().into()].into(),
            Self::Bool(truth) => (*truth).into(),
            Self::Keys(values) => values.to_json(),
            Self::Choice(name, values) => {
                let mut json = values.to_json();
                // No variant has a key of this name.
                json["type"] = (*name).into();
                json
            }
        }
    }

    fn decode(key: &Key, node: &Node, problems: &mut Problems) -> Option<Self> {
        Some(match key.shape {
            Shape::Text(text) => Self::Text(text.decode(node, problems)?),
            Shape::Word(words) => {
                let wrong = |word: &str| format!("{word:?} is not supported");
                Self::Text((*node.one_of(words, |word| word, wrong, problems)?).to_owned())
            }
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
        node.checked_text(self.check, problems).map(str::to_owned)
    }
}

/// A problem if a mapping has none of a key and its alternatives, or more than one. Keys with the same alternatives
/// belong together.
fn check_alternatives(tables: &[&'static [Key]], fields: &Fields<'_>, problems: &mut Problems) {
    let mut missing: Vec<(&[&str], Vec<String>)> = Vec::new();
    let mut chosen: Vec<&str> = Vec::new();
    for key in tables.iter().copied().flatten().filter(|key| !key.or.is_empty()) {
        let all = std::iter::once(key.name).chain(key.or.iter().copied());
        match all.filter(|name| fields.has(name)).collect::<Vec<_>>()[..] {
            [] => match missing.iter_mut().find(|(or, _)| *or == key.or) {
                Some((_, keys)) => keys.push(format!("`{}`", key.name)),
                None => missing.push((key.or, vec![format!("`{}`", key.name)])),
            },
            [_] => {}
            // Of two alternatives, one problem is enough.
            [_, second, ..] if chosen.contains(&second) => {}
            [first, second, ..] => {
                chosen.push(second);
                let at = fields.place(second).unwrap_or(fields.at());
                problems.add(at, format!("`{first}` is here, too: write either `{first}` or `{second}`"));
            }
        }
    }
    for (or, keys) in missing {
        let or: String = or.iter().map(|name| format!(" or `{name}`")).collect();
        problems.add(fields.at(), format!("{}{or} is missing here", keys.join(" with ")));
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
