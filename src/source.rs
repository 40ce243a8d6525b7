//! Where values come from: the traits that every kind of source implements, and the list of
//! kinds.
//!
//! A new kind is one file in `source/` and one line in [`KINDS`]. [`crate::lookup`] knows only
//! the traits, so freshness, refusal of stale values and outages are the same for every kind.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::document::{Fields, Problems};
use crate::metric::quantity::Quantity;
use crate::metric::{Clock, MetricName};

pub mod oci_queue;

/// Every kind of source that a config may name.
pub const KINDS: &[&dyn Kind] = &[&oci_queue::OciQueue];

/// A kind of source: what its metrics are called, and how its part of the config is read.
pub trait Kind: Sync {
    /// The value of `type` in the config: `oci-queue`.
    fn name(&self) -> &'static str;

    /// The label that picks one of its sources by its config name: `queue`.
    fn label(&self) -> &'static str;

    /// The metrics that each of its sources has.
    fn metrics(&self) -> &'static [MetricName];

    /// The section of the config that its sources share: `oci`.
    fn section(&self) -> &'static str;

    /// Reads the shared section and the kind's own keys of each entry, in the order of the file.
    /// What is wrong goes into `problems`; a plan beside problems is never opened.
    fn decode(
        &self,
        section: Option<&mut Fields<'_>>,
        entries: &mut [&mut Fields<'_>],
        problems: &mut Problems,
    ) -> Option<Box<dyn Plan>>;
}

/// The sources of one kind as configured: their settings make sense, nothing is opened yet.
pub trait Plan: Send {
    /// Opens credentials and connections' settings; all that can fail at start fails here.
    /// The sources are in the order of their entries.
    fn open(self: Box<Self>, clock: Clock) -> Result<Vec<Box<dyn Source>>, OpenError>;
}

/// Something that can be read again and again.
pub trait Source: Send + Sync {
    /// Reads all figures at once, giving up at the deadline.
    fn read(&self, by: Instant) -> BoxFuture<'_, Result<Figures, SourceError>>;

    /// Waits until it may be read, for its service limits its callers or asked to be left alone;
    /// the deadline of a read begins afterwards. `urgent`: nothing is known yet, and somebody
    /// waits for it.
    fn turn(&self, _urgent: bool) -> BoxFuture<'_, Turn> {
        async { Turn::default() }.boxed()
    }
}

/// The right to read a source now, for as long as it is held.
#[derive(Debug, Default)]
pub struct Turn {
    /// How much later than wanted, because there are more reads than the service is asked at once.
    pub waited: Duration,
    /// A place among those who read.
    pub place: Option<OwnedSemaphorePermit>,
}

/// One reading: a value for each metric of the kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Figures(Vec<(MetricName, Quantity)>);

/// What went wrong on the way, in four steps that have different remedies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Getting something to sign with.
    SignIn,
    /// Finding out where the source is.
    Endpoint,
    /// Asking it.
    Read,
    /// Understanding its answer.
    Decode,
}

/// Why a reading brought no figures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceError {
    /// How far it came.
    pub step: Step,
    /// What happened, byte for byte the same for the same trouble, and nothing secret:
    /// `500 InternalServerError`, `connection refused`.
    pub cause: String,
    /// What the reader can do about it.
    pub remedy: &'static str,
    /// For the log only: may name OCIDs, endpoints and request ids.
    pub detail: String,
}

/// A source cannot even be set up; the message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// The kind of this name.
pub fn kind(name: &str) -> Option<&'static dyn Kind> {
    KINDS.iter().copied().find(|kind| kind.name() == name)
}

// === impl Figures ===

impl Figures {
    /// A value for each metric.
    pub fn new(values: Vec<(MetricName, Quantity)>) -> Self {
        Self(values)
    }

    /// The value of one metric.
    pub fn value(&self, metric: MetricName) -> Option<Quantity> {
        self.0.iter().find(|(name, _)| *name == metric).map(|(_, value)| *value)
    }
}

// === impl Step ===

impl Step {
    /// As it reads in a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Endpoint => "endpoint",
            Self::Read => "read",
            Self::Decode => "decode",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_kinds_share_a_name_a_label_or_a_metric() {
        let mut names: Vec<&str> = KINDS.iter().map(|kind| kind.name()).collect();
        let mut labels: Vec<&str> = KINDS.iter().map(|kind| kind.label()).collect();
        let mut metrics: Vec<MetricName> = KINDS.iter().flat_map(|kind| kind.metrics()).copied().collect();
        let (names_before, labels_before, metrics_before) = (names.len(), labels.len(), metrics.len());
        names.sort_unstable();
        names.dedup();
        labels.sort_unstable();
        labels.dedup();
        metrics.sort_unstable();
        metrics.dedup();
        assert_eq!((names.len(), labels.len(), metrics.len()), (names_before, labels_before, metrics_before));
    }
}
