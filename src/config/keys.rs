//! The keys that entries of every kind have.

use crate::source::keys::{Key, Shape, Text};
use crate::source::{FALLBACK, Form, Kind, Place, chosen};

/// How fresh values are kept. Used in entries and in `defaults`.
pub(super) const TIMING: &[Key] = &timing("3s");

/// The same for kinds whose reads may take long.
const SLOW_TIMING: &[Key] = &timing("10s");

/// The key of [`TIMING`] whose default depends on the kind.
pub(super) const TIMEOUT: &str = "timeout";

const fn timing(timeout: &'static str) -> [Key; 4] {
    [
        Key::new(
            "refresh",
            Shape::Duration,
            "A source is never read more often: a duration such as 5s, 500ms or 2m, up to 24h. While the source is healthy, no answer is older than this and a second.",
        )
        .default("5s"),
        Key::new(TIMEOUT, Shape::Duration, "The deadline of one read: a duration such as 3s or 500ms, up to 24h. A request waits at most 10s for a read, and a read that takes longer serves the next one.")
            .default(timeout),
        Key::new(
            "maxAge",
            Shape::Duration,
            "How old a served value may be while reads fail: a duration such as 60s or 2m, at least `refresh` and up to 24h.",
        )
        .default("60s"),
        Key::new(
            "idleAfter",
            Shape::Duration,
            "Reads stop after this time without a request: a duration such as 2m or 1h, up to 24h.",
        )
        .default("2m"),
    ]
}

/// Access and value rules of a source.
pub(super) const ENTRY: &[Key] = &[
    Key::new(
        "namespaces",
        Shape::Texts(NAMESPACE, "no namespace could read this source: name namespaces, or \"*\" for all"),
        "The Kubernetes namespaces that may read it; `*` stands for any part of a name, and alone for all namespaces.",
    )
    .required()
    .examples(&[r#"["shop", "team-*"]"#, r#"["*"]"#]),
    Key::new(
        "activation",
        Shape::Amount,
        "For queues: after a true 0, 0 is served until the value is above this number. For other sources: 0 is served whenever the value is this number or less. It applies to requests that bring no number of their own. Without it, true values are served. A decimal is allowed, as a number or in Kubernetes' form: 0.5, 500m.",
    )
    .examples(&["1", "0.5"]),
    Key::new(
        FALLBACK,
        Shape::Amount,
        "Served while the source can't be read and the last value is older than `maxAge`. It applies to requests that bring no number of their own. Without it, such a request gets an error. A decimal is allowed, as a number or in Kubernetes' form: 1.5, 1500m.",
    )
    .examples(&["12", "1.5"]),
];

/// For kinds with fixed metrics: labels of their sources. Others have [`chosen::LABELS`].
pub(super) const LABELS: Key = Key {
    doc: "Labels that every source of this entry gets, by which selectors pick it. A label that its type has itself can't be set.",
    ..chosen::LABELS
};

/// For kinds with gauges.
pub(super) const EXPORT: Key =
    Key::new("export", Shape::Bool, "Also show it as gauges on /metrics, read even without requests.").default("false");

/// The name of the connection that an entry is read through.
pub(super) const CONNECTION: Key = Key::new(
    "connection",
    Shape::Text(Text::ANY),
    "The name of the connection, of those in `connections`. It may be left out while there is only one of its type.",
);

/// The name of a namespace: a DNS label, as Kubernetes requires, in which `*` matches any part.
pub(super) const NAMESPACE: Text = Text {
    check: |text| {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'*');
        let edge = |at: Option<u8>| at.is_some_and(|byte| byte != b'-');
        let bytes = text.as_bytes();
        if bytes.iter().copied().all(legal) && edge(bytes.first().copied()) && edge(bytes.last().copied()) {
            return Ok(());
        }
        Err(format!("invalid namespace {text:?}: lowercase letters, digits and '-' within, and \"*\" for any part"))
    },
    pattern: Some("^[a-z0-9*]([a-z0-9*-]*[a-z0-9*])?$"),
    ..Text::ANY
};

/// The keys that an entry of this kind has in common with others. Without a kind, all of them.
pub(super) fn common(kind: Option<&Kind>) -> [&'static [Key]; 4] {
    let has_gauges = kind.is_none_or(|kind| !kind.gauges.is_empty());
    let timing = if kind.is_some_and(|kind| kind.slow) { SLOW_TIMING } else { TIMING };
    let is_fixed = kind.is_none_or(|kind| !kind.chooses());
    [timing, ENTRY, if is_fixed { &[LABELS] } else { &[] }, if has_gauges { &[EXPORT] } else { &[] }]
}

/// The other keys of an entry of this kind and form.
pub(super) fn own(kind: &Kind, form: &Form) -> Vec<&'static [Key]> {
    let of_connection = if kind.connection.place == Place::Entry { kind.connection.keys } else { &[] };
    let chosen: &[Key] = if kind.chooses() { chosen::KEYS } else { &[] };
    [&[chosen, form.keys], of_connection].concat()
}
