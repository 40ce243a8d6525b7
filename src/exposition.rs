//! Metrics as programs expose them on `/metrics`: Prometheus' text format 0.0.4 and 1.0.0, and
//! OpenMetrics 1.0. Pure.
//!
//! [`parse`] reads what Prometheus' own parser reads, and as strictly: one line with a syntax error makes
//! the whole exposition invalid. These are the differences:
//!
//! - Lines may begin with blanks and end with `\r\n`.
//! - OpenMetrics may have comments, blank lines and several spaces.
//! - The types of each format are read in both, because programs send OpenMetrics as `text/plain`.
//! - Timestamps of the text format may be negative, as its specification has them.
//! - Labels are separated by commas.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::borrow::Cow;
use std::iter::FusedIterator;

mod cursor;
mod selector;

pub use selector::{Matcher, SelectorError, SeriesSelector};

use cursor::{Cursor, Newlines};

/// The value of `Accept` for a service whose answer [`parse`] reads. Without it, some services answer
/// with protobuf.
pub const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.8,*/*;q=0.1";

/// The most bytes of an exposition: 100 times as many as most programs have.
pub const BYTES_MAX: usize = 16 << 20;
/// The most samples of an exposition. So many lines of a usual length have about [`BYTES_MAX`] bytes.
pub const SAMPLES_MAX: usize = 250_000;
/// The most labels of a sample. All pairs of them are compared, to find a name that occurs twice.
pub const LABELS_MAX: usize = 64;

/// A format of expositions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Prometheus' text format.
    Text,
    /// OpenMetrics. It ends with `# EOF`, so that a truncated one is an error.
    OpenMetrics,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MetricType {
    /// A number that only grows, and begins with 0 when the process starts.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Counters of values by size.
    Histogram,
    /// Gauges of values by size. Only in OpenMetrics.
    GaugeHistogram,
    /// Quantiles.
    Summary,
    /// Labels of a sample whose value is always 1. Only in OpenMetrics.
    Info,
    /// Booleans. Only in OpenMetrics.
    StateSet,
    /// Not declared.
    #[default]
    Unknown,
}

/// A line with a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'t> {
    /// The name, as written: that of a counter in OpenMetrics ends in `_total`.
    pub name: Cow<'t, str>,
    /// The labels, as written. No name occurs twice. A label with an empty value is the same as none.
    pub labels: Vec<(Cow<'t, str>, Cow<'t, str>)>,
    /// The number. It may be NaN or infinite.
    pub value: f64,
    /// The number as written, such as `0.3` or `+Inf`: a decimal number of more digits than a float has.
    pub written: &'t str,
    /// When the program measured it, in seconds since 1970. Most programs leave it out.
    pub timestamp: Option<f64>,
    /// The type of the metric that it belongs to, as the preceding `# TYPE` line declares it. Sums, counts
    /// and creation times belong to their metric too.
    pub metric_type: MetricType,
    /// Whether its name is longer than that of the declared metric, as that of a sum or a creation time is.
    pub is_part: bool,
}

/// Why a text is no exposition. The message contains nothing of the text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub cause: &'static str,
}

/// The samples of an exposition, in order. The last element is an error if the exposition is invalid: use
/// none of the samples then, because they may be a part.
#[derive(Debug)]
pub struct Samples<'t> {
    cursor: Cursor<'t>,
    format: Format,
    /// The last declared metric.
    family: Option<(Cow<'t, str>, MetricType)>,
    left: usize,
    ended: bool,
}

/// The samples of an exposition, in order; see [`Samples`]. An error here is one of the whole body.
pub fn parse(body: &[u8], format: Format) -> Result<Samples<'_>, ParseError> {
    if body.len() > BYTES_MAX {
        return Err(ParseError { line: 1, cause: "the text has more than 16 MiB" });
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let line = body[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        ParseError { line, cause: "the text is not UTF-8" }
    })?;
    Ok(Samples { cursor: Cursor::new(text), format, family: None, left: SAMPLES_MAX, ended: false })
}

/// A number, as `ParseFloat` of Go reads it without hexadecimal digits and underscores. `None` if it is
/// none, or does not fit into a float.
fn number(text: &str) -> Option<f64> {
    let is_word = text.contains(['n', 'N']);
    let number: f64 = text.parse().ok()?;
    match number {
        _ if number.is_nan() => !text.starts_with(['+', '-']),
        _ => number.is_finite() || is_word,
    }
    .then_some(number)
}

// === impl Format ===

impl Format {
    /// The format of a response with this `Content-Type`. `None` for HTML, protobuf and everything else that
    /// is no exposition.
    pub fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence {
            _ if essence.eq_ignore_ascii_case("application/openmetrics-text") => Some(Self::OpenMetrics),
            _ if essence.eq_ignore_ascii_case("text/plain") => Some(Self::Text),
            _ => None,
        }
    }

    /// What a label value can contain, as for Prometheus.
    fn newlines(self) -> Newlines {
        match self {
            Self::Text => Newlines::Allowed,
            Self::OpenMetrics => Newlines::Escaped,
        }
    }
}

// === impl MetricType ===

impl MetricType {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "unknown" | "untyped" => Self::Unknown,
            _ => return None,
        })
    }

    /// Whether a metric of this type has samples with this suffix.
    fn has(self, suffix: &str) -> bool {
        match suffix {
            "" => true,
            "_total" => self == Self::Counter,
            "_created" => matches!(self, Self::Counter | Self::Histogram | Self::GaugeHistogram | Self::Summary),
            "_bucket" => matches!(self, Self::Histogram | Self::GaugeHistogram),
            "_count" | "_sum" => matches!(self, Self::Histogram | Self::Summary),
            "_gcount" | "_gsum" => self == Self::GaugeHistogram,
            "_info" => self == Self::Info,
            _ => false,
        }
    }
}

// === impl Sample ===

impl Sample<'_> {
    /// The value of a label; empty if there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

// === impl Samples ===

impl<'t> Samples<'t> {
    /// Reads up to the end of the next sample. `None` at the end of the exposition.
    fn read(&mut self) -> Result<Option<Sample<'t>>, &'static str> {
        loop {
            if self.cursor.rest().is_empty() {
                return match self.format {
                    Format::Text => Ok(None),
                    Format::OpenMetrics => Err("the text ends before # EOF"),
                };
            }
            self.cursor.blanks();
            if self.cursor.end_of_line() {
                continue;
            }
            if !self.cursor.rest().starts_with('#') {
                self.left = self.left.checked_sub(1).ok_or("there are more than 250,000 samples")?;
                return self.sample().map(Some);
            }
            let mut line = self.cursor.clone();
            let comment = line.take_line();
            if self.format == Format::OpenMetrics && comment == "# EOF" {
                return if line.rest().is_empty() { Ok(None) } else { Err("there is more after # EOF") };
            }
            self.comment(&comment[1..])?;
            self.cursor = line;
        }
    }

    /// A comment, without its `#`. A declared type holds up to the next one.
    fn comment(&mut self, comment: &'t str) -> Result<(), &'static str> {
        let mut line = Cursor::new(comment);
        if !line.blanks() {
            return Ok(());
        }
        let is_type = line.eat("TYPE");
        if !(is_type || line.eat("HELP")) || !line.blanks() {
            return Ok(());
        }
        let name = line.quoted(Newlines::Escaped).or_else(|| line.metric_name().map(Cow::Borrowed));
        let name = name.ok_or("expected the name of a metric after # TYPE or # HELP")?;
        if !is_type {
            return Ok(());
        }
        let metric_type = MetricType::parse(line.rest().trim()).ok_or("expected the type of a metric")?;
        self.family = Some((name, metric_type));
        Ok(())
    }

    fn sample(&mut self) -> Result<Sample<'t>, &'static str> {
        let mut name = self.cursor.metric_name().map(Cow::Borrowed);
        let mut is_apart = self.cursor.blanks();
        let mut labels = Vec::new();
        if self.cursor.eat("{") {
            self.labels(&mut labels, Some(&mut name))?;
            is_apart = true;
        }
        let name = name.ok_or("expected the name of a metric")?;
        self.cursor.blanks();
        let written = self.word();
        let value = number(written).filter(|_| is_apart).ok_or("expected a number as the value of a sample")?;
        self.cursor.blanks();
        let mut sample =
            Sample { name, labels, value, written, timestamp: None, metric_type: MetricType::Unknown, is_part: false };
        if !self.rest_is_over() {
            sample.timestamp = Some(self.timestamp()?);
        }
        if self.format == Format::OpenMetrics && self.cursor.eat("#") {
            self.exemplar()?;
        }
        if !self.cursor.end_of_line() {
            return Err("expected the end of the line after a sample");
        }
        (sample.metric_type, sample.is_part) = self.type_of(&sample.name);
        Ok(sample)
    }

    /// Whether neither a timestamp nor more of it follows.
    fn rest_is_over(&self) -> bool {
        let is_exemplar = self.format == Format::OpenMetrics && self.cursor.rest().starts_with('#');
        is_exemplar || self.cursor.clone().end_of_line()
    }

    /// In seconds since 1970. The text format has whole milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "the result has less than a millisecond's error for 200,000 years")]
    fn timestamp(&mut self) -> Result<f64, &'static str> {
        let written = self.word();
        self.cursor.blanks();
        match self.format {
            Format::Text => written.parse().ok().map(|millis: i64| millis as f64 / 1000.0),
            Format::OpenMetrics => number(written).filter(|seconds| seconds.is_finite()),
        }
        .ok_or("expected a timestamp or the end of the line after a value")
    }

    /// An exemplar after its `#`: labels, value and timestamp. None of them is used.
    fn exemplar(&mut self) -> Result<(), &'static str> {
        self.cursor.blanks();
        if !self.cursor.eat("{") {
            return Err("expected { after # in the line of a sample");
        }
        self.labels(&mut Vec::new(), None)?;
        self.cursor.blanks();
        number(self.word()).ok_or("expected a number as the value of an exemplar")?;
        self.cursor.blanks();
        if !self.rest_is_over() {
            self.timestamp()?;
        }
        Ok(())
    }

    /// Labels after `{`, up to and including `}`. `name`: a quoted string without a value is the name of the
    /// metric.
    fn labels(
        &mut self,
        labels: &mut Vec<(Cow<'t, str>, Cow<'t, str>)>,
        mut name: Option<&mut Option<Cow<'t, str>>>,
    ) -> Result<(), &'static str> {
        loop {
            self.cursor.blanks();
            if self.cursor.eat("}") {
                return Ok(());
            }
            let quoted = self.cursor.quoted(self.format.newlines());
            let is_quoted = quoted.is_some();
            let label = quoted.or_else(|| self.cursor.label_name().map(Cow::Borrowed));
            let label = label.filter(|label| !label.is_empty()).ok_or("expected the name of a label")?;
            self.cursor.blanks();
            if self.cursor.eat("=") {
                self.cursor.blanks();
                let value = self.cursor.quoted(self.format.newlines());
                let value = value.ok_or("expected a label value between quotation marks")?;
                if label == "__name__" {
                    return Err("__name__ is not a label: the name of a metric is before its labels");
                }
                if labels.iter().any(|(known, _)| *known == label) {
                    return Err("a label occurs twice");
                }
                if labels.len() == LABELS_MAX {
                    return Err("a sample has more than 64 labels");
                }
                labels.push((label, value));
            } else {
                let name = name.as_deref_mut().filter(|name| is_quoted && name.is_none());
                *name.ok_or("expected = after the name of a label")? = Some(label);
            }
            self.cursor.blanks();
            if !self.cursor.eat(",") && !self.cursor.rest().starts_with('}') {
                return Err("expected , or } after a label");
            }
        }
    }

    fn word(&mut self) -> &'t str {
        self.cursor.take(|c| !matches!(c, ' ' | '\t' | '\r' | '\n'))
    }

    /// The type of a sample of this name, and whether the name is longer than the declared one.
    fn type_of(&self, name: &str) -> (MetricType, bool) {
        let declared = self
            .family
            .as_ref()
            .filter(|(family, metric_type)| name.strip_prefix(&**family).is_some_and(|suffix| metric_type.has(suffix)));
        declared.map_or((MetricType::Unknown, false), |(family, metric_type)| (*metric_type, name != family))
    }
}

impl<'t> Iterator for Samples<'t> {
    type Item = Result<Sample<'t>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read().map_err(|cause| ParseError { line: self.cursor.line(), cause });
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl FusedIterator for Samples<'_> {}

#[cfg(test)]
mod tests;
