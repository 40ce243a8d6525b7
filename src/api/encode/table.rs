//! `meta.k8s.io` Table: what `kubectl get oci_queue_length -n shop` prints.
//!
//! The columns are the label that names a source, any further labels that the samples have, then
//! value, age and policy. kubectl prints cells as they stand, so ages are written out here, in
//! its own way.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{Empty, Value, capitalised};
use crate::lookup::Unknown;
use crate::lookup::rules::LABEL as VALUE_SOURCE;
use crate::metric::{Labels, Sample};

/// For a cell without anything in it, as kubectl has it.
const NONE: &str = "<none>";
/// The value of an item that has none.
const UNKNOWN: &str = "?";
/// Of a row, in JSON.
const ROW_BYTES: usize = 256;
/// Of the columns' descriptions.
const COLUMNS_BYTES: usize = 1024;

/// What a row carries beside its cells, by query parameter `includeObject`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::api) enum Include {
    /// Nothing.
    None,
    /// Name, namespace and labels: kubectl's choice.
    Metadata,
    /// The item, for `kubectl get --sort-by`.
    Object,
}

/// A table of samples, in either version.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Table<'s> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    column_definitions: Vec<Column>,
    rows: Vec<Row<'s>>,
}

#[derive(Serialize)]
struct Column {
    name: String,
    r#type: &'static str,
    format: &'static str,
    description: String,
    priority: u8,
}

#[derive(Serialize)]
struct Row<'s> {
    cells: Vec<String>,
    object: Option<Object<'s>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Object<'s> {
    Metadata(Partial<'s>),
    Whole(Typed<'s>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Partial<'s> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata<'s>,
}

/// An item that is not in a list has its type and name.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Typed<'s> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata<'s>,
    #[serde(flatten)]
    value: Value<'s>,
}

#[derive(Serialize)]
struct Metadata<'s> {
    name: &'s str,
    namespace: &'s str,
    #[serde(serialize_with = "super::labels")]
    labels: &'s Labels,
}

/// What a table is made of.
pub(in crate::api) struct Content<'s> {
    /// In whose answer.
    pub(in crate::api) namespace: &'s str,
    /// The label that names a source, if one does.
    pub(in crate::api) label: Option<&'static str>,
    /// One a row.
    pub(in crate::api) samples: &'s [Sample],
    /// The rows below, without a value.
    pub(in crate::api) unknown: &'s [Unknown],
    /// When it is requested.
    pub(in crate::api) now: Timestamp,
    /// How far apart the last requests like this one were at most, if that is known.
    pub(in crate::api) asked_every: Option<Duration>,
    /// The next change of the values, if that is known in advance.
    pub(in crate::api) next_change: Option<String>,
}

/// Which labels have a column.
struct Layout<'s> {
    /// The one that names a source: the first. Without one, that is the metric.
    label: Option<&'static str>,
    /// All others that any sample has, except the value source, which has a column of its own.
    further: BTreeSet<&'s str>,
    /// Whether there is a column for the next change.
    has_next_change: bool,
}

/// A table of these samples has at least this many bytes in cells of labels that a sample does not
/// have. With labels of many names, most of the table is such cells.
pub(in crate::api) fn least_bytes(samples: &[Sample]) -> usize {
    let keys = || samples.iter().flat_map(|sample| sample.labels.iter()).map(|(key, _)| key);
    let cells = keys().collect::<BTreeSet<_>>().len() * samples.len();
    (cells - keys().count()) * NONE.len()
}

// === impl Include ===

impl Include {
    /// As typed; `None` if there is no such choice.
    pub(in crate::api) fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

// === impl Table ===

impl<'s> Table<'s> {
    /// A table in `api_version`, one of `meta.k8s.io`'s two.
    pub(in crate::api) fn of(content: &Content<'s>, api_version: &'static str, include: Include) -> Self {
        let layout = Layout::of(content);
        Self {
            kind: "Table",
            api_version,
            metadata: Empty {},
            column_definitions: layout.columns(),
            rows: {
                let known = content.samples.iter().map(|sample| row(content, sample, &layout, api_version, include));
                let unknown =
                    content.unknown.iter().map(|item| unknown_row(content, item, &layout, api_version, include));
                known.chain(unknown).collect()
            },
        }
    }

    /// About as many bytes as it takes in JSON.
    pub(in crate::api) fn capacity(&self) -> usize {
        COLUMNS_BYTES + self.rows.len() * ROW_BYTES
    }
}

// === impl Layout ===

impl<'s> Layout<'s> {
    fn of(content: &Content<'s>) -> Self {
        let label = content.label;
        let labels = content.samples.iter().map(|sample| &sample.labels);
        let labels = labels.chain(content.unknown.iter().map(|item| &item.labels));
        let keys = labels.flat_map(Labels::iter).map(|(key, _)| key);
        let further: BTreeSet<&str> = keys.filter(|key| Some(*key) != label && *key != VALUE_SOURCE).collect();
        Self { label, further, has_next_change: content.next_change.is_some() }
    }

    fn columns(&self) -> Vec<Column> {
        let column = |name, format, description| Column { name, r#type: "string", format, description, priority: 0 };
        let mut columns = vec![match self.label {
            Some(label) => column(title(label), "name", format!("Select it by label: -l {label}=NAME")),
            None => column("Metric".into(), "name", "The name of the metric".into()),
        }];
        columns.extend(self.further.iter().map(|label| column(title(label), "", format!("Label {label}"))));
        columns.extend([
            column("Value".into(), "", "The metric's value, a Quantity".into()),
            column("Age".into(), "", "Since the source was read".into()),
            column(
                "Value Source".into(),
                "",
                "The value rule that made the value: activation, fallback, empty, nan or clamp".into(),
            ),
        ]);
        let asked =
            "Longest interval between the latest requests of this query at this replica; an HPA's come every 15s";
        columns.push(Column { priority: 1, ..column("Queried".into(), "", asked.into()) });
        if self.has_next_change {
            let next = "The next change among the sources of this query, and the value of that source from then on";
            columns.push(Column { priority: 1, ..column("Next Change".into(), "", next.into()) });
        }
        columns
    }
}

fn row<'s>(
    content: &Content<'s>,
    sample: &'s Sample,
    layout: &Layout<'_>,
    api_version: &'static str,
    include: Include,
) -> Row<'s> {
    let cell = |label| label_cell(&sample.labels, label);
    let mut cells = Vec::with_capacity(layout.further.len() + 6);
    cells.push(layout.label.map_or_else(|| sample.metric.to_string(), cell));
    cells.extend(layout.further.iter().copied().map(cell));
    let age = content.now.as_second() - sample.timestamp.as_second();
    let asked = content.asked_every.and_then(|pause| i64::try_from(pause.as_secs()).ok());
    let asked = asked.map_or_else(|| NONE.to_owned(), human);
    cells.extend([sample.value.to_string(), human(age), cell(VALUE_SOURCE), asked]);
    cells.extend(content.next_change.clone());
    let metadata = metadata(content, layout, &sample.labels);
    let object = match include {
        Include::None => None,
        Include::Metadata => Some(Object::Metadata(Partial { kind: "PartialObjectMetadata", api_version, metadata })),
        Include::Object => Some(Object::Whole(Typed {
            kind: "ExternalMetricValue",
            api_version: super::API_VERSION,
            metadata,
            value: Value::of(sample),
        })),
    };
    Row { cells, object }
}

/// A row of an item without a value.
fn unknown_row<'s>(
    content: &Content<'s>,
    item: &'s Unknown,
    layout: &Layout<'_>,
    api_version: &'static str,
    include: Include,
) -> Row<'s> {
    let cell = |label| label_cell(&item.labels, label);
    // A table has a row with a value, or it would be an error.
    let metric = || content.samples.first().map(|sample| sample.metric.to_string()).unwrap_or_default();
    let mut cells = vec![layout.label.map_or_else(metric, cell)];
    cells.extend(layout.further.iter().copied().map(cell));
    cells.extend([UNKNOWN, UNKNOWN, NONE, NONE].map(str::to_owned));
    cells.extend(content.next_change.clone());
    let metadata = metadata(content, layout, &item.labels);
    // There is no item to include.
    let object = (include != Include::None).then_some(Object::Metadata(Partial {
        kind: "PartialObjectMetadata",
        api_version,
        metadata,
    }));
    Row { cells, object }
}

fn label_cell(labels: &Labels, label: &str) -> String {
    labels.value(label).filter(|value| !value.is_empty()).unwrap_or(NONE).to_owned()
}

/// The name of the object of a row is the value of its first label.
fn metadata<'s>(content: &Content<'s>, layout: &Layout<'_>, labels: &'s Labels) -> Metadata<'s> {
    let name = layout.label.and_then(|label| labels.value(label)).unwrap_or_default();
    Metadata { name, namespace: content.namespace, labels }
}

/// `consumer-group` as a heading: `Consumer-Group`, which kubectl prints in capitals.
fn title(label: &str) -> String {
    label.split('-').map(capitalised).collect::<Vec<_>>().join("-")
}

/// Seconds as kubectl writes an age, in two figures: `HumanDuration` of
/// `k8s.io/apimachinery/pkg/util/duration`.
fn human(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |large: i64, unit: char, small: i64, lesser: char| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{lesser}"),
    };
    match hours {
        // Two clocks may differ by a second.
        _ if seconds < -1 => "<invalid>".into(),
        _ if seconds < 0 => "0s".into(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        ..3 => format!("{minutes}m"),
        3..8 => two(hours, 'h', minutes % 60, 'm'),
        8..48 => format!("{hours}h"),
        48..192 => two(days, 'd', hours % 24, 'h'),
        192..17_520 => format!("{days}d"),
        17_520..70_080 => two(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::MetricName;
    use crate::metric::quantity::Quantity;

    #[test]
    fn ages_as_kubectl_writes_them() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (7 * HOUR + 61, "7h1m"),
            (8 * HOUR, "8h"),
            (2 * DAY - 1, "47h"),
            (2 * DAY, "2d"),
            (7 * DAY + 5 * HOUR, "7d5h"),
            (8 * DAY, "8d"),
            (730 * DAY - 1, "729d"),
            (730 * DAY, "2y"),
            (731 * DAY, "2y1d"),
            (8 * 365 * DAY, "8y"),
            (i64::MAX, "292471208677y"),
        ] {
            assert_eq!(human(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_table_is_longer_than_its_least_bytes_and_not_much() {
        let sample = |number: usize| Sample {
            metric: MetricName::new("my-metric"),
            labels: [(format!("label-{number}"), "x".repeat(number))].into_iter().collect(),
            timestamp: Timestamp::UNIX_EPOCH,
            value: Quantity::from_units(1),
        };
        for (count, at_least) in [(0, 0), (1, 0), (10, 0), (200, 200 * 199 * NONE.len())] {
            let samples: Vec<_> = (0..count).map(sample).collect();
            let now = Timestamp::UNIX_EPOCH;
            let content = Content {
                namespace: "shop",
                label: None,
                samples: &samples,
                unknown: &[],
                now,
                asked_every: None,
                next_change: None,
            };
            let table = serde_json::to_vec(&Table::of(&content, "meta.k8s.io/v1", Include::None)).unwrap();
            let least = least_bytes(&samples) + super::super::least_bytes(&samples);
            assert!((at_least..=table.len()).contains(&least), "{count}: {least} of {}", table.len());
        }
    }

    #[test]
    fn headings() {
        assert_eq!(title("queue"), "Queue");
        assert_eq!(title("consumer-group"), "Consumer-Group");
        assert_eq!(title(""), "");
    }
}
