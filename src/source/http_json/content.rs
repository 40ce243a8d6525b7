//! What of a document is the value. Pure.

use std::fmt;

use http::header::CONTENT_TYPE;
use serde::de::DeserializeSeed as _;
use serde_json::Value;
use serde_saphyr::NonFiniteFloatPolicy;

use super::json_path::JsonPath;
use super::{FORMAT, VALUE, errors, number};
use crate::document::distinct::Distinct;
use crate::document::json_fault;
use crate::exposition::{self, SeriesSelector};
use crate::http::Response;
use crate::metric::Labels;
use crate::source::chosen::{Number, Point};
use crate::source::keys::Values;
use crate::source::{ErrorKind, Operation, SourceError, service};

/// The format of a document.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Format {
    /// JSON.
    #[default]
    Json,
    /// YAML, of which JSON is a part.
    Yaml,
    /// Metrics of a program: Prometheus' text format or OpenMetrics.
    Prometheus,
}

/// What is read out of a document.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// One value of a JSON or YAML document.
    Document(Format, JsonPath),
    /// Samples of a program's metrics.
    Samples(SeriesSelector),
}

/// The numbers of a document.
#[derive(Debug)]
pub(super) struct Points {
    pub(super) found: Vec<Point>,
    /// Why there is none, if there is none.
    pub(super) nothing: String,
}

// === impl Format ===

impl Format {
    const ALL: [Self; 3] = [Self::Json, Self::Yaml, Self::Prometheus];
    /// As the config has them.
    pub(super) const WORDS: &[&str] = &[Self::Json.as_str(), Self::Yaml.as_str(), Self::Prometheus.as_str()];

    /// That of an entry.
    fn of(entry: &Values) -> Self {
        let word = entry.text(FORMAT.name);
        Self::ALL.into_iter().find(|format| Some(format.as_str()) == word).unwrap_or_default()
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Prometheus => "prometheus",
        }
    }

    /// The format that a document of this media type may have. Many services send everything as text.
    fn may_be(self, media_type: &str) -> bool {
        let Some((kind, of)) = media_type.split_once('/') else { return false };
        let of = of.strip_prefix("x-").unwrap_or(of);
        let is = |format: &str| of == format || of.strip_suffix(format).is_some_and(|start| start.ends_with('+'));
        match (self, kind) {
            (Self::Prometheus, _) => exposition::Format::of(media_type).is_some(),
            (_, "text") if of == "plain" => true,
            (Self::Json, "application" | "text") => is("json"),
            (Self::Yaml, "application" | "text") => is("json") || is("yaml") || is("yml"),
            _ => false,
        }
    }
}

// === impl Content ===

impl Content {
    /// Of an entry, or why `value` does not fit its format.
    pub(super) fn of(entry: &Values) -> Result<Self, String> {
        let (format, value) = (Format::of(entry), entry.text(VALUE.name).unwrap_or_default());
        match format {
            Format::Json | Format::Yaml => Ok(Self::Document(format, value.parse()?)),
            Format::Prometheus => value.parse().map(Self::Samples).map_err(|error| {
                format!("{value:?} is not a series selector, such as jobs{{queue=\"orders\"}}: {error}")
            }),
        }
    }

    pub(super) fn format(&self) -> Format {
        match self {
            Self::Document(format, _) => *format,
            Self::Samples(_) => Format::Prometheus,
        }
    }

    /// The numbers of a response. `oldest`: since when samples count, in seconds since 1970.
    pub(super) fn points(&self, response: &Response, oldest: f64) -> Result<Points, SourceError> {
        let media_type = response.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        let media_type =
            media_type.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        if let Some(media_type) = media_type.as_deref().filter(|media_type| !self.format().may_be(media_type)) {
            return Err(errors::media_type(media_type, self.format().as_str()));
        }
        match self {
            Self::Document(format, path) => {
                let document = document(*format, &response.body)?;
                // All other JSON has an end of its own.
                if response.may_be_cut() && (*format == Format::Yaml || document.is_number()) {
                    return Err(service::cut(Operation::Read));
                }
                one(&document, path)
            }
            Self::Samples(selector) => {
                let format = media_type.as_deref().and_then(exposition::Format::of);
                let format = format.unwrap_or(exposition::Format::Text);
                // OpenMetrics has one, too.
                if response.may_be_cut() && format == exposition::Format::Text {
                    return Err(service::cut(Operation::Read));
                }
                samples(&response.body, format, selector, oldest)
            }
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = self.format().as_str();
        match self {
            Self::Document(_, path) => write!(f, "{format} {}", path.text()),
            Self::Samples(selector) => write!(f, "{format} {selector}"),
        }
    }
}

/// The most bytes of all texts of a YAML document. Each alias of a text is another one. The texts of a document
/// without aliases have at most 1 MiB, as the document.
const TEXT_MAX: usize = 4 << 20;

/// The most memory of a decoded document, in bytes. A usual document of 1 MiB takes 10 MiB. One of tiny objects
/// would take 100 MiB.
const DECODED_MAX: usize = 24 << 20;

fn document(format: Format, body: &[u8]) -> Result<Value, SourceError> {
    let distinct = Distinct::within(DECODED_MAX);
    // Messages of serde repeat what they found, which may be a secret.
    if format == Format::Json {
        let mut json = serde_json::Deserializer::from_slice(body);
        let document = distinct.deserialize(&mut json).and_then(|document| json.end().map(|()| document));
        return document.map_err(|error| match error.is_data() {
            true if distinct.is_exceeded() => errors::too_large(),
            // All other JSON is a document.
            true => errors::key_twice(&json_fault(&error)),
            false => errors::invalid("JSON", &json_fault(&error)),
        });
    }
    let options = serde_saphyr::options! {
        // JSON has no such numbers. As texts, they don't make the rest of the document invalid.
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        budget: serde_saphyr::budget! { max_total_scalar_bytes: TEXT_MAX, max_recorded_anchor_bytes: TEXT_MAX },
    };
    let decode = |yaml: serde_saphyr::Deserializer<'_, '_>| distinct.deserialize(yaml);
    serde_saphyr::with_deserializer_from_slice_with_options(body, options, decode).map_err(|error| {
        let at = error.location().map(|at| format!("line {}, column {}", at.line(), at.column()));
        match distinct.is_exceeded() {
            true => errors::too_large(),
            false => errors::invalid("YAML", &at.unwrap_or_default()),
        }
    })
}

/// The most bytes of the paths of all values of a document. The library that evaluates a JSONPath makes the path
/// of each value on its way. Those of a usual document of 1 MiB have 6 MiB.
const PATHS_MAX: usize = 16 << 20;

/// Whether the paths of all values of a document have at most [`PATHS_MAX`] bytes.
fn has_short_paths(document: &Value) -> bool {
    let (mut sum, mut open) = (0, vec![(0, document)]);
    while let Some((length, value)) = open.pop() {
        sum += length;
        if sum > PATHS_MAX {
            return false;
        }
        match value {
            // `['name']` and `[1234567]`
            Value::Object(members) => open.extend(members.iter().map(|(name, value)| (length + name.len() + 4, value))),
            Value::Array(items) => open.extend(items.iter().map(|value| (length + 9, value))),
            _ => {}
        }
    }
    true
}

/// The one value that a path matches.
fn one(document: &Value, path: &JsonPath) -> Result<Points, SourceError> {
    let unusable = |cause, remedy| SourceError::new(Operation::Decode, ErrorKind::Transient, cause, remedy, "");
    if !has_short_paths(document) {
        return Err(unusable(
            "the document has too many levels, or too long names".to_owned(),
            "Read a smaller document.",
        ));
    }
    match path.matches(document).as_slice() {
        [] => Ok(Points { found: Vec::new(), nothing: path.reach(document) }),
        [value] => match number::of(value) {
            Some(number) => {
                Ok(Points { found: vec![Point { labels: Labels::default(), number }], nothing: String::new() })
            }
            None => Err(unusable(
                format!("{path} is {}", number::described(value)),
                "Correct `value`, so that it picks a number, or a text with a number or a Kubernetes quantity.",
            )),
        },
        several => Err(unusable(
            format!("{path} matches {} values, and it must match one", several.len()),
            "Narrow `value`, for example by an index or a filter.",
        )),
    }
}

/// A sample that the program repeats.
const TOO_OLD: &str = "its timestamp is older than `maxAge`, so the program repeats an old sample. Check what the program reads, and its clock.";

/// The samples that a selector selects.
fn samples(
    body: &[u8],
    format: exposition::Format,
    selector: &SeriesSelector,
    oldest: f64,
) -> Result<Points, SourceError> {
    let name = match format {
        exposition::Format::Text => "Prometheus text format",
        exposition::Format::OpenMetrics => "OpenMetrics",
    };
    let invalid = |error: exposition::ParseError| errors::invalid(name, &error.to_string());
    let (mut found, mut is_empty) = (Vec::new(), true);
    for sample in exposition::parse(body, format).map_err(invalid)? {
        let sample = sample.map_err(invalid)?;
        is_empty = false;
        if selector.matches(&sample) {
            let number = match sample.timestamp {
                Some(timestamp) if timestamp < oldest => Number::Unusable(TOO_OLD),
                _ => Number::parse(sample.written).ok_or_else(|| errors::invalid(name, "a number"))?,
            };
            found.push(Point { labels: sample.labels.into_iter().collect(), number });
        }
    }
    // As of a proxy or of a program that starts. `empty` is for metrics without the selected ones.
    if is_empty {
        return Err(errors::no_sample());
    }
    Ok(Points { found, nothing: format!("no sample of {} matches `value`", selector.name()) })
}

#[cfg(test)]
mod tests;
