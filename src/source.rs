//! Where values come from: the traits that every kind of source implements, and the list of
//! kinds.
//!
//! A new kind is one file in `source/`, its `mod` here, and one line in [`KINDS`]; see `docs/architecture.md`. [`crate::config`] knows only its
//! key tables and [`crate::lookup`] only the traits, so errors of the config, freshness, refusal of
//! stale values and outages are the same for every kind.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::metric::{Clock, MetricName, Namespace};
use crate::upstream::{Admission, Upstream};

pub mod facet;
pub mod items;
pub mod keys;
pub mod oci_queue;

pub use items::{Item, Items};

use facet::Facet;
use keys::{Key, Values};

/// Every kind of source that a config may name.
pub const KINDS: Kinds = &[&oci_queue::OCI_QUEUE];

/// The kinds of source that are known. An argument everywhere, so that a test can bring its own.
pub type Kinds = &'static [&'static Kind];

/// A kind of source, as data: what its metrics are called, and what its part of the config is.
#[derive(Debug)]
pub struct Kind {
    /// The value of `type` in the config: `oci-queue`.
    pub name: &'static str,
    /// The label whose value is the name of one of its sources: `queue`. Messages call a source so, too.
    pub label: &'static str,
    /// The metrics that each of its sources has, sorted. Without any, key `metric` of each entry chooses
    /// a name, and the items of a source are told apart by labels that their reads bring.
    pub metrics: &'static [MetricName],
    /// Those of its metrics that `export: true` also shows as gauges, under their own names.
    pub gauges: &'static [Gauge],
    /// Those of its metrics that count work to be done: the ones that value rules apply to. The
    /// first is what a history is kept of.
    pub depths: &'static [MetricName],
    /// The labels that name a part of a source and whose members are listed nowhere: `channel`.
    pub parts: &'static [&'static str],
    /// The ways to write an entry. The first whose key is there counts, else the last.
    pub forms: &'static [Form],
    /// What its sources are read through.
    pub connection: ConnectionType,
    /// How the environment names one source, for a start without a config file and for nothing else.
    pub environment: Option<Environment>,
}

/// A way to write an entry of a kind.
#[derive(Debug)]
pub struct Form {
    /// The key that picks it: `compartmentId`.
    pub key: &'static str,
    /// Its keys, besides those that every entry has.
    pub keys: &'static [Key],
}

/// What sources of a kind are read through, such as a client with credentials.
#[derive(Debug)]
pub struct ConnectionType {
    /// The value of `type` in the config, or the name of the section: `oci`.
    pub name: &'static str,
    /// Where it is written.
    pub place: Place,
    /// What it is, in a sentence.
    pub doc: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// Opens one: credentials are loaded, and nothing is sent yet.
    pub connect: Connect,
}

/// Opens a connection with these keys.
pub type Connect = fn(&Values, Clock) -> Result<Arc<dyn Connection>, OpenError>;

/// Where connections of a type are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// In a section of their type's name at the top of the config: there is one, and it may be left
    /// out.
    Section,
    /// In `connections`, by name.
    Named,
}

/// How variables of the environment name one source.
#[derive(Debug)]
pub struct Environment {
    /// The first has to be set, else the others mean nothing.
    pub variables: &'static [Variable],
    /// Names the namespaces that may read the source, separated by commas.
    pub namespaces: &'static str,
}

/// A variable of the environment that has the value of a key.
#[derive(Debug)]
pub struct Variable {
    /// `OCI_QUEUE_ID`
    pub name: &'static str,
    /// The key whose value it has.
    pub key: &'static str,
    /// Whether the key is of the connection, and not of the entry.
    pub of_connection: bool,
}

/// An open connection. It opens entries, and is kept over reloads while the config says the same of
/// it.
pub trait Connection: Send + Sync {
    /// Opens an entry of the form whose key is `form`; all that can fail at start fails here.
    fn open(&self, form: &str, entry: &Values) -> Result<Opened, OpenError>;
}

/// All that makes the sources of an entry what they are, without who may read them and what is
/// served. While it is equal, the open source and what is known of it stay.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Definition {
    /// The key of its form.
    pub form: &'static str,
    /// Its own keys.
    pub entry: Values,
    /// Those of its connection.
    pub connection: Arc<Values>,
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

/// A metric that is also shown on `/metrics`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gauge {
    /// Which one; its name is the gauge's.
    pub metric: MetricName,
    /// What it says, without a full stop.
    pub help: &'static str,
}

/// Something that can be read again and again.
pub trait Source: Send + Sync {
    /// Reads all items of one part at once, giving up at the deadline.
    fn read<'s>(&'s self, facet: &'s Facet, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>>;

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

/// Why a read brought no items.
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

// === impl Kind ===

impl Kind {
    /// Whether the config chooses the names of its metrics.
    pub fn chooses(&self) -> bool {
        self.metrics.is_empty()
    }

    /// The form that these keys pick.
    pub fn form(&self, has: impl Fn(&str) -> bool) -> Option<&'static Form> {
        let forms = self.forms;
        forms.iter().find(|form| has(form.key)).or_else(|| forms.last())
    }
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
            assert_eq!(kind.depths.is_empty(), kind.chooses(), "{}", kind.name);
            assert!(kind.depths.iter().all(|metric| kind.metrics.contains(metric)), "{}", kind.name);
            let mut labels = vec![kind.label];
            labels.extend(kind.parts);
            let before = labels.len();
            labels.sort_unstable();
            labels.dedup();
            assert_eq!(labels.len(), before, "{}", kind.name);
        }
    }

    #[test]
    fn a_variable_is_that_of_a_key() {
        for kind in KINDS {
            for Variable { name, key, of_connection } in kind.environment.iter().flat_map(|of| of.variables) {
                let keys = kind.forms.iter().flat_map(|form| form.keys);
                let known =
                    if *of_connection { kind.connection.keys.iter().collect() } else { keys.collect::<Vec<_>>() };
                assert!(known.iter().any(|known| known.name == *key), "{name}");
            }
        }
    }

    #[test]
    fn no_two_kinds_share_a_name_or_a_metric() {
        let mut names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let mut metrics: Vec<MetricName> = KINDS.iter().flat_map(|kind| kind.metrics).cloned().collect();
        let (names_before, metrics_before) = (names.len(), metrics.len());
        names.sort_unstable();
        names.dedup();
        metrics.sort_unstable();
        metrics.dedup();
        assert_eq!((names.len(), metrics.len()), (names_before, metrics_before));
    }
}
