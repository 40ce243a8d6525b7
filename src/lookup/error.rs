//! Why a request has no answer.

use std::sync::Arc;

use super::limits::ITEMS_MAX;
use crate::metric::MetricName;

/// Why a request has no answer. The text is for the author of the HPA.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LookupError {
    /// No kind of source has such a metric.
    #[error("there is no metric {requested:?};{meant} there are {exist}")]
    NoSuchMetric {
        /// As requested.
        requested: String,
        /// A question for the one that is meant, or empty.
        meant: String,
        /// Those that exist, sorted.
        exist: String,
    },
    /// The selector has a key that this metric does not have.
    #[error("no such selector key for {metric}: {key}; it can be selected by {}", keys.join(", "))]
    NoSuchKey {
        /// The metric.
        metric: MetricName,
        /// The key as requested.
        key: String,
        /// The keys that exist.
        keys: Vec<String>,
    },
    /// The selector has a key that exists, with a requirement that it does not take.
    #[error("{0}")]
    BadSelector(String),
    /// No source that this namespace may read matches.
    #[error("{0}")]
    NoMatch(String),
    /// The source has no items now, and the config has no value for that.
    #[error("{0}")]
    NoItems(Arc<str>),
    /// The source exists, and its value is currently unknown.
    #[error("{0}")]
    Unavailable(Arc<str>),
}

// === impl LookupError ===

impl LookupError {
    /// The error of an answer that would have more items than there can be.
    pub(super) fn unless_fits(metric: &MetricName, count: usize) -> Result<(), Self> {
        if count <= ITEMS_MAX {
            return Ok(());
        }
        Err(Self::BadSelector(format!(
            "the selector picks {count} items of {metric}; the maximum is {ITEMS_MAX} in an answer"
        )))
    }
}
