//! An answer for users: a partial sum is wrong for an HPA, but a table of all queues is correct although one of them
//! has no value.

use std::sync::Arc;

use super::chosen::{self, Share};
use super::query::Query;
use super::{LookupError, in_range};
use crate::metric::{Labels, Sample};

/// The rows of a table.
#[derive(Debug)]
pub struct Rows {
    /// Those with a value, in the order of an answer.
    pub samples: Vec<Sample>,
    /// The others.
    pub unknown: Vec<Unknown>,
}

/// An item without a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unknown {
    /// What distinguishes it from the other items.
    pub labels: Labels,
    /// The error that an HPA gets.
    pub message: Arc<str>,
}

// === impl Rows ===

impl Rows {
    /// What each item contributes, or why it has no value, with its labels.
    pub(super) fn of(query: &Query<'_>, items: Vec<(Labels, Result<Share, LookupError>)>) -> Result<Self, LookupError> {
        let (mut shares, mut unknown) = (Vec::new(), Vec::new());
        for (labels, share) in items {
            match share {
                Ok(share) => shares.push(share),
                // Which items a metric whose name the config chooses may have together is known only with all.
                Err(LookupError::Unavailable(message)) if query.kind.is_some() => {
                    unknown.push(Unknown { labels, message });
                }
                Err(error) => return Err(error),
            }
        }
        if query.kind.is_none() {
            chosen::check(query, &shares)?;
        }
        for share in &mut shares {
            for item in std::mem::take(&mut share.items) {
                match &item.value {
                    Ok(_) => share.items.push(item),
                    Err(message) => unknown.push(Unknown { message: message.clone(), labels: item.labels }),
                }
            }
        }
        // The activation threshold of a queue applies to that queue alone.
        let are_all = unknown.is_empty() || query.kind.is_some();
        let samples = in_range(&query.metric, chosen::samples(query, shares, are_all)?)?;
        match unknown.first() {
            Some(Unknown { message, .. }) if samples.is_empty() => Err(LookupError::Unavailable(message.clone())),
            _ => Ok(Self { samples, unknown }),
        }
    }
}
