//! Vocabulary: the terms that every other module uses.
//!
//! A source reads [`Sample`]s, the API prints them; neither has to know the other. Nothing
//! here does I/O, and nothing here depends on another module.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;

mod labels;
pub mod names;
pub mod pattern;
pub mod quantity;
pub mod selectable;

pub use labels::Labels;
use quantity::Quantity;

/// Where the time of day comes from: the real clock in a process, a simulated one in a test.
///
/// Only `cli` names the real clock; it is passed down from there.
pub type Clock = fn() -> Timestamp;

/// The category of all metrics in discovery, by which clients distinguish them from those of other
/// servers.
pub const CATEGORY: &str = "depthgauge";

/// The category of the metrics that are read from pods, see [`MetricSet::of_pods`].
pub const PODS_CATEGORY: &str = "depthgauge-pods";

/// What a label value may be, in a sentence.
pub const LABEL_VALUE_RULE: &str =
    "at most 63 of letters, digits, '-', '_' or '.', the first and last a letter or digit";

/// What a label key may be, in a sentence.
pub const LABEL_KEY_RULE: &str = "an optional DNS subdomain and '/', then at most 63 of letters, digits, '-', '_' or '.', the first and last a letter or digit";

/// The prefix of label keys that depthgauge defines.
pub const OWN_PREFIX: &str = "depthgauge.dev/";

/// Longest prefix of a label key (Kubernetes' own limit).
const PREFIX_MAX: usize = 253;

/// Longest label value, and longest name part of a label key (Kubernetes' own limit).
pub const LABEL_VALUE_MAX: usize = 63;

/// The name of an external metric, as it stands in a URL and in an HPA: `oci_queue_length`.
#[derive(Clone)]
pub struct MetricName(Name);

#[derive(Clone)]
enum Name {
    /// Of a kind of source.
    Fixed(&'static str),
    /// Of the config.
    Chosen(Arc<str>),
}

/// The metrics that there are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MetricSet {
    /// All of them.
    pub all: BTreeSet<MetricName>,
    /// Those of them that are read from pods. They have no value while a workload has no pods, so they can't scale
    /// it up from zero.
    pub of_pods: BTreeSet<MetricName>,
}

/// A Kubernetes namespace, the unit of read access.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Namespace(Arc<str>);

/// One value of one metric, with the moment at which its source was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sample {
    /// Which metric this is a value of.
    pub metric: MetricName,
    /// What distinguishes it from the other items of the same answer.
    pub labels: Labels,
    /// When the source was read, not when the answer was given.
    pub timestamp: Timestamp,
    /// The value, in the metric's own unit (messages, bytes).
    pub value: Quantity,
}

// === impl MetricSet ===

impl From<BTreeSet<MetricName>> for MetricSet {
    /// None of these is read from pods.
    fn from(all: BTreeSet<MetricName>) -> Self {
        Self { all, of_pods: BTreeSet::new() }
    }
}

// === impl MetricName ===

impl MetricName {
    /// A name known at compile time; kinds of sources declare theirs as constants.
    pub const fn new(name: &'static str) -> Self {
        Self(Name::Fixed(name))
    }

    /// A name that the config chooses.
    pub fn chosen(name: &str) -> Self {
        Self(Name::Chosen(name.into()))
    }

    /// The name as it stands in URLs.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Fixed(name) => name,
            Name::Chosen(name) => name,
        }
    }
}

impl PartialEq for MetricName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for MetricName {}

impl PartialOrd for MetricName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MetricName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for MetricName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for MetricName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Namespace ===

impl Namespace {
    /// Any text: whether such a namespace exists is the cluster's business.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text can be a label's key: an optional DNS subdomain and `/`, then a name.
pub fn is_label_key(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let subdomain = |prefix: &str| {
        prefix.len() <= PREFIX_MAX
            && prefix.split('.').all(|part| {
                let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
                part.bytes().all(|b| inner(b) || b == b'-')
                    && part.bytes().next().is_some_and(inner)
                    && part.bytes().next_back().is_some_and(inner)
            })
    };
    is_label_value(name) && prefix.is_none_or(subdomain)
}

/// Whether a text can be a label value other than the empty one.
pub fn is_label_value(text: &str) -> bool {
    text.len() <= LABEL_VALUE_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().next_back().is_some_and(|b| b.is_ascii_alphanumeric())
}
