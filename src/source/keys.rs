//! Key tables: the keys that a mapping of the config may have. Decoding and the JSON Schema use the same
//! table, so they have the same keys. A function checks a text. A regular expression describes the same
//! texts in the schema as far as possible, and tests compare the two.
//!
//! A table is data: the name of each key, the shape of its value, and its description.

use std::borrow::Cow;
use std::str::FromStr;

use crate::metric::{LABEL_VALUE_MAX, LABEL_VALUE_RULE, is_label_value};

mod schema;
mod values;

pub use schema::{demand, mapping, properties};
pub use values::{Value, Values};

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
    /// The label value for a text, if the key is a label of a kind, too.
    pub label: fn(&str) -> Cow<'_, str>,
}

/// The allowed values of a key.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A text.
    Text(Text),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts, with the error message of an empty one.
    Texts(Text, &'static str),
    /// A mapping with user-defined keys.
    Map(Text, Text),
    /// A whole number from 1 to this.
    Count(u32),
    /// A number from 0 to [`crate::metric::quantity::Quantity::MAX`], or a text in the form of a Kubernetes quantity.
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

/// The name by which a source is selected.
pub const NAME: Key = Key::new(
    "name",
    Shape::Text(Text::LABEL_VALUE),
    "What the source is selected by, as the value of a label. At most 63 of letters, digits, '-', '_' or '.', the first and last a letter or digit.",
);

/// The name of a metric that the config chooses.
pub const METRIC: Key = Key::new(
    "metric",
    Shape::Text(METRIC_NAME),
    "The name of the metric in the API: at most 63 of lowercase letters, digits, '_', '.', ':' and '-', the first a letter or '_'.",
)
.required()
.examples(&["http_requests_per_second"]);

/// Whether a request may have several items.
pub const ITEMS: Key = Key::new(
    "items",
    Shape::Word(&["sum"]),
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
            "status" | "finalize" => Err(format!("invalid metric {text:?}: it is a subresource of the Kubernetes API")),
            _ if is_name => Ok(()),
            _ => Err(format!(
                "invalid metric {text:?}: at most 63 of lowercase letters, digits, '_', '.', ':' and '-', the first a letter or '_'"
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
    "The names that are selected of those that are listed. `*` stands for any part of a name.",
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
        Self {
            name,
            shape,
            doc,
            required: false,
            or: &[],
            default: None,
            examples: &[],
            label: |text| Cow::Borrowed(text),
        }
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

    /// The same, as a label whose values are made of its texts in this way.
    #[must_use]
    pub const fn label(self, label: fn(&str) -> Cow<'_, str>) -> Self {
        Self { label, ..self }
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

    /// A text of at least one character.
    pub const NONEMPTY: Self = Self {
        check: |text| match text {
            "" => Err("expected a string of at least one character".to_owned()),
            _ => Ok(()),
        },
        nonempty: true,
        ..Self::ANY
    };

    /// A text that is a valid label value.
    pub const LABEL_VALUE: Self = Self {
        check: |text| match is_label_value(text) {
            true => Ok(()),
            false => Err(format!("invalid label value {text:?}: {LABEL_VALUE_RULE}")),
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
