//! Where values come from: the traits that every kind of source implements, and the list of
//! kinds.
//!
//! A new kind is one file in `source/` and one line in [`KINDS`]. [`crate::lookup`] knows only
//! the traits, so freshness, refusal of stale values and outages are the same for every kind.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::document::{Fields, Problems};
use crate::metric::quantity::Quantity;
use crate::metric::{Clock, MetricName, Namespace};
use crate::upstream::{Admission, Upstream};

pub mod facet;
pub mod oci_queue;

use facet::Facet;

/// Every kind of source that a config may name.
pub const KINDS: &[&dyn Kind] = &[&oci_queue::OciQueue];

/// A kind of source: what its metrics are called, and how its part of the config is read.
pub trait Kind: Debug + Sync {
    /// The value of `type` in the config: `oci-queue`.
    fn name(&self) -> &'static str;

    /// The label that picks one of its sources by its config name: `queue`.
    fn label(&self) -> &'static str;

    /// The metrics that each of its sources has.
    fn metrics(&self) -> &'static [MetricName];

    /// Those of its metrics that `export: true` also shows as gauges, under their own names.
    fn gauges(&self) -> &'static [Gauge];

    /// Those of its metrics that count work to be done: the ones that policies may touch. The
    /// first is what a history is kept of.
    fn depths(&self) -> &'static [MetricName];

    /// The labels that name a part of a source and whose members are listed nowhere: `channel`.
    fn open_labels(&self) -> &'static [&'static str];

    /// The section of the config that its sources share: `oci`.
    fn section(&self) -> &'static str;

    /// The key of an entry that stands for many sources, which are listed and not named:
    /// `compartmentId`. Such an entry has a `match` and no `name`.
    fn lists_by(&self) -> &'static str;

    /// The same keys as [`Kind::decode`] reads, as JSON Schema: an object of `section`, the schema of
    /// that section, and of `named` and `listed`, the `properties` and `required` ones that an entry
    /// has besides those of every kind, by whether it has a name or is listed.
    fn schema(&self) -> &'static str;

    /// Reads the shared section and the kind's own keys of each entry, in the order of the file.
    /// What is wrong goes into `problems`; a plan beside problems is never opened.
    fn decode(
        &self,
        section: Option<&mut Fields<'_>>,
        entries: &mut [&mut Fields<'_>],
        problems: &mut Problems,
    ) -> Option<Box<dyn Plan>>;

    /// The variables of the environment that can name one source, for a start without a config
    /// file and for nothing else; the first of them has to be set.
    fn variables(&self) -> &'static [&'static str];

    /// The source that they name, to be read by `own_namespace` unless they say otherwise. `None`
    /// when they name none; else all that is wrong with them, each by its variable.
    fn in_environment(
        &self,
        var: &dyn Fn(&str) -> Option<String>,
        own_namespace: Option<&str>,
    ) -> Option<Result<Named, Vec<String>>>;
}

/// The sources of one kind as configured: their settings make sense, nothing is opened yet.
pub trait Plan: Send {
    /// For each entry, in order, all that makes its sources what they are: those of two plans
    /// are the same when these texts are. Only to be compared.
    fn definitions(&self) -> Vec<String>;

    /// Opens credentials and connections' settings; all that can fail at start fails here.
    /// What the plan before this one shared is shared again if its settings are the same.
    fn open(self: Box<Self>, before: Option<&Shared>, clock: Clock) -> Result<OpenedPlan, OpenError>;
}

/// What all sources of a plan share, such as a client that is signed in. Only its kind knows
/// what it is.
pub type Shared = Arc<dyn Any + Send + Sync>;

/// A plan put to work.
pub struct OpenedPlan {
    /// In the order of the entries.
    pub entries: Vec<Opened>,
    /// For the next plan of this kind.
    pub shared: Shared,
}

/// An entry put to work.
pub enum Opened {
    /// It names its one source.
    One(Identified),
    /// It stands for whatever there is.
    Many(Box<dyn Listing>),
}

/// A source, and what it is whatever it is called.
pub struct Identified {
    /// Equal for two entries that mean the same source: an OCID. For comparing and for the log.
    pub identity: String,
    /// The source.
    pub source: Box<dyn Source>,
}

/// One of a list.
pub struct Listed {
    /// As those call it who made it; may be no label value.
    pub name: String,
    /// The source itself.
    pub source: Identified,
}

/// Something that knows which sources there are.
pub trait Listing: Send + Sync {
    /// What it lists, in a sentence: `queues of a compartment`.
    fn title(&self) -> &'static str;

    /// What it lists, and where: equal for two that list the same. Ends in an OCID, and is for comparing
    /// and for the log.
    fn identity(&self) -> String;

    /// How one of them is given another name than it is listed under, in the imperative.
    fn naming(&self) -> &'static str;

    /// One that is known from before by its identity, to be read in the way of this listing until that
    /// lists it.
    fn again(&self, identity: &str) -> Option<Identified>;

    /// Lists all of them, giving up at the deadline. Part of a list is an error.
    fn list(&self, by: Instant) -> BoxFuture<'_, Result<Vec<Listed>, SourceError>>;
}

/// A source that the environment names.
pub struct Named {
    /// The value of its label; `None` is what the source calls itself, and the plan lists it.
    pub name: Option<String>,
    /// Who may read it, each with `*` for any characters.
    pub namespaces: Vec<String>,
    /// Of this one entry.
    pub plan: Box<dyn Plan>,
}

/// A metric that is also shown to whoever scrapes us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gauge {
    /// Which one; its name is the gauge's.
    pub metric: MetricName,
    /// What it says, without a full stop.
    pub help: &'static str,
}

/// Something that can be read again and again.
pub trait Source: Send + Sync {
    /// Reads all figures of one part at once, giving up at the deadline.
    fn read<'s>(&'s self, facet: &'s Facet, by: Instant) -> BoxFuture<'s, Result<Figures, SourceError>>;

    /// A part by what it is, whatever it is called: equal for two names of one part, as far as is
    /// known.
    fn meant(&self, facet: &Facet) -> Facet {
        facet.clone()
    }

    /// The service that the next read queries first, which decides when that read may begin. `None`
    /// for a source that sends no requests.
    fn upstream(&self) -> Option<NextRequest<'_>>;
}

/// What the next read of a source queries first.
pub struct NextRequest<'s> {
    /// The service.
    pub upstream: &'s Upstream,
    /// The host there, once it is known.
    pub host: Option<String>,
    /// What failures are remembered by, see [`crate::upstream::Host::admit`].
    pub key: String,
}

/// One reading: a value for each metric of the kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Figures(Vec<(MetricName, Quantity)>);

/// What went wrong on the way, in five steps that have different remedies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Getting something to sign with.
    SignIn,
    /// Finding out what there is.
    List,
    /// Finding out where the source is.
    Endpoint,
    /// Asking it.
    Read,
    /// Understanding its answer.
    Decode,
}

/// What a failure says of the source itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing: it may pass, and a policy may answer meanwhile.
    Trouble,
    /// It is not there, or not ours to see; a service may not tell which. No policy stands in.
    Absent,
    /// It is there, and the part of it that was asked for is not: the question is wrong.
    NoSuchPart,
}

/// Why a reading brought no figures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceError {
    /// How far it came.
    pub step: Step,
    /// What follows for whoever asks.
    pub verdict: Verdict,
    /// What happened, byte for byte the same for the same trouble, and nothing secret:
    /// `500 InternalServerError`, `connection refused`.
    pub cause: String,
    /// What the reader can do about it.
    pub remedy: &'static str,
    /// For the log only: may name OCIDs, endpoints and request ids.
    pub detail: String,
    /// Of a refusal: what would allow it, for whoever looks after the source and not for whoever asks.
    pub grant: Option<Arc<str>>,
    /// By which the service's own people find the request, where it was answered.
    pub request_id: Option<Box<str>>,
    /// When the service wants to be asked again: from now, half a minute at most.
    pub retry_after: Option<Duration>,
}

// === impl SourceError ===

impl SourceError {
    /// Nothing that a service has a request id for.
    pub fn new(
        step: Step,
        verdict: Verdict,
        cause: impl Into<String>,
        remedy: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let (cause, detail) = (cause.into(), detail.into());
        Self { step, verdict, cause, remedy, detail, grant: None, request_id: None, retry_after: None }
    }
}

// === impl dyn Source ===

impl dyn Source {
    /// Waits until a read may begin; its deadline begins afterwards. `owners`: the namespaces that it is
    /// read for, among which turns go round-robin. `urgent`: there is no value to serve meanwhile.
    pub async fn admit(&self, owners: &[Namespace], urgent: bool) -> Admission {
        match self.upstream() {
            Some(NextRequest { upstream, host, key }) => {
                upstream.admit(host.as_deref(), &key, &names(owners), urgent).await
            }
            None => Admission::default(),
        }
    }

    /// Whether other reads of these namespaces wait for their turns at its service: one that may not be
    /// needed had better not join them.
    pub fn is_saturated(&self, owners: &[Namespace]) -> bool {
        self.upstream().is_some_and(|next| next.upstream.is_saturated(&names(owners)))
    }

    /// The service that it is read from.
    pub fn service(&self) -> Option<&Upstream> {
        self.upstream().map(|next| next.upstream)
    }

    /// Whether its host is marked down, so that reads are refused.
    pub fn breaker_open(&self) -> bool {
        self.upstream().is_some_and(|next| next.host.is_some_and(|host| next.upstream.breaker_open(&host)))
    }
}

fn names(owners: &[Namespace]) -> Vec<&str> {
    owners.iter().map(Namespace::as_str).collect()
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
            Self::SignIn => "authenticate",
            Self::List => "list",
            Self::Endpoint => "resolve endpoint",
            Self::Read => "read",
            Self::Decode => "decode",
        }
    }

    /// As a label value.
    pub fn as_label(self) -> &'static str {
        match self {
            Self::Endpoint => "resolve_endpoint",
            other => other.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_depths_and_says_each_label_once() {
        for kind in KINDS {
            assert!(!kind.depths().is_empty(), "{}", kind.name());
            assert!(kind.depths().iter().all(|metric| kind.metrics().contains(metric)), "{}", kind.name());
            let mut labels = vec![kind.label()];
            labels.extend(kind.open_labels());
            let before = labels.len();
            labels.sort_unstable();
            labels.dedup();
            assert_eq!(labels.len(), before, "{}", kind.name());
        }
    }

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
