//! Sources of values: the traits that every kind of source implements, and the list of kinds.
//!
//! A new kind is one file in `source/`, its `mod` here, and one line in [`KINDS`]; see
//! `docs/explanation/architecture.md`. [`crate::config`] uses only its key tables, and [`crate::lookup`] only the
//! traits. So config errors, freshness, refusal of stale values and outages are the same for every
//! kind.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::{Timestamp, Zoned};
use tokio::time::Instant;

use crate::metric::quantity::Quantity;
use crate::metric::{Clock, Labels, MetricName, Namespace};
use crate::upstream::{Admission, PROBE_EVERY, Upstream};

pub mod chosen;
mod error;
pub mod facet;
pub mod http_json;
pub mod items;
pub mod keys;
pub mod oci_queue;
pub mod prometheus;
pub mod rabbitmq;
pub mod schedule;
pub mod service;
pub mod servicebus;

pub use error::{SourceError, Step, Verdict};
pub use items::{Item, Items, Substitute};

use facet::Facet;
use keys::{Key, Values};

/// Every kind of source that a config may name.
pub const KINDS: Kinds = &[
    &oci_queue::OCI_QUEUE,
    &prometheus::PROMETHEUS,
    &rabbitmq::RABBITMQ,
    &servicebus::SERVICEBUS,
    &http_json::HTTP_JSON,
    &schedule::SCHEDULE,
];

/// A set of kinds. It is an argument everywhere, because tests pass their own.
pub type Kinds = &'static [&'static Kind];

/// A kind of source, as data: the names of its metrics, and its keys in the config.
#[derive(Debug)]
pub struct Kind {
    /// The value of `type` in the config: `oci-queue`.
    pub name: &'static str,
    /// The label whose value is the name of a source: `queue`. Messages use the same word for a source.
    /// Sources of a form may have another one, see [`Form::label`].
    pub label: &'static str,
    /// The metrics that each of its sources has, sorted. If there are none, key `metric` of each entry
    /// chooses the name, and the items of a source are distinguished by labels that reads return.
    pub metrics: &'static [MetricName],
    /// The metrics that `export: true` also exposes as gauges, under their own names.
    pub gauges: &'static [Gauge],
    /// The metrics that count pending work. Value rules apply to these only. The first one has a
    /// history.
    pub depths: &'static [MetricName],
    /// The metrics that are read apart from the others, and only while one of them is requested, because
    /// they need other requests. See [`Facet::APART`].
    pub apart: &'static [MetricName],
    /// The labels that each of its sources has besides `label`: `vhost`. Two sources may have one name if
    /// these differ. Then a selector must say which one it means. See [`Source::labels`].
    pub labels: &'static [&'static str],
    /// The labels that select a part of a source and whose values can't be listed: `channel`.
    pub parts: &'static [&'static str],
    /// The ways to write an entry. The first whose key is present applies, otherwise the last. A key with
    /// the name of the form's label is the name of a source that has no other one.
    pub forms: &'static [Form],
    /// Whether a read may take long although the service is well. Its `timeout` is 10 s then, unless the
    /// config says otherwise.
    pub slow: bool,
    /// The connection that its sources are read through.
    pub connection: ConnectionType,
    /// How the environment defines one source. Used only if there is no config file.
    pub environment: Option<Environment>,
    /// Errors in an entry whose keys are valid one by one: the key, and the message.
    pub conflicts: fn(&Values) -> Vec<(&'static str, String)>,
    /// The next changes of an entry's value after this time, if they are known in advance. Needs no file and
    /// no request.
    pub changes: fn(&Values, Timestamp) -> Vec<Change>,
    /// Warnings about an entry that is valid. They need no file and no request.
    pub warn: fn(&Definition) -> Vec<String>,
}

/// A change of a source's value that is known in advance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The time, in the time zone of the source.
    pub at: Zoned,
    /// The value from then on.
    pub value: Quantity,
}

/// A way to write an entry of a kind.
#[derive(Debug)]
pub struct Form {
    /// The key that selects it: `compartmentId`.
    pub key: &'static str,
    /// Its keys, in addition to those that every entry has.
    pub keys: &'static [Key],
    /// The label whose value is the name of a source of this form, if it is not [`Kind::label`].
    pub label: Option<&'static str>,
}

/// The type of connection that sources of a kind are read through, such as a client with credentials.
#[derive(Debug)]
pub struct ConnectionType {
    /// The value of `type` in the config, or the name of the section: `oci`.
    pub name: &'static str,
    /// Where the config defines it.
    pub place: Place,
    /// Its description, for the JSON Schema and the reference.
    pub doc: &'static str,
    /// The tables of its keys.
    pub keys: &'static [&'static [Key]],
    /// Warnings about a connection that is valid. They need no file and no request.
    pub warn: fn(&Values) -> Vec<String>,
    /// Opens a connection: loads credentials and sends nothing.
    pub connect: Connect,
}

/// The name of a connection that has one, among the values of its keys. No key has this name.
pub const CONNECTION_NAME: &str = "connection name";

/// Opens a connection with these keys.
pub type Connect = fn(&Values, Context) -> Result<Arc<dyn Connection>, OpenError>;

/// What opens connections.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Determines when credentials expire.
    pub clock: Clock,
    /// Whether this is the server. A command may run on any computer: it uses the identity of the
    /// computer only if the config says so.
    pub is_server: bool,
}

/// Where the config defines connections of a type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// In a top-level section with the name of the type. There is at most one, and it is optional.
    Section,
    /// In `connections`, by name.
    Named,
    /// In each entry, beside its own keys. One connection without values opens all of them.
    Entry,
}

/// How environment variables define one source.
#[derive(Debug)]
pub struct Environment {
    /// Without the first one, the others have no effect.
    pub variables: &'static [Variable],
    /// The variable with the namespaces that may read the source, separated by commas.
    pub namespaces: &'static str,
}

/// An environment variable that sets a key.
#[derive(Debug)]
pub struct Variable {
    /// `OCI_QUEUE_ID`
    pub name: &'static str,
    /// The key that it sets.
    pub key: &'static str,
    /// Whether the key belongs to the connection, and not to the entry.
    pub of_connection: bool,
}

/// An open connection. It opens entries, and stays open over config reloads while its keys are the
/// same.
pub trait Connection: Send + Sync {
    /// Opens an entry of the form whose key is `form`. Everything that can fail at start fails here.
    fn open(&self, form: &str, entry: &Values) -> Result<Opened, OpenError>;
}

/// Everything that determines which sources an entry reads, without access and value rules. While it
/// is equal, the open source and its readings are kept.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Definition {
    /// The key of its form.
    pub form: &'static str,
    /// Its own keys.
    pub entry: Values,
    /// The keys of its connection.
    pub connection: Arc<Values>,
}

/// An opened entry.
pub enum Opened {
    /// The entry names one source.
    One(Identified),
    /// The entry lists its sources.
    Many(Box<dyn Listing>),
}

/// A source and its identity, which does not depend on its name.
pub struct Identified {
    /// Equal for two entries of the same source: an OCID. Used for comparison and in the log.
    pub identity: String,
    /// The source.
    pub source: Box<dyn Source>,
}

/// A member of a list.
pub struct Listed {
    /// Its display name at the service. It may be an invalid label value.
    pub name: String,
    /// The source itself.
    pub source: Identified,
}

/// A list that was read.
pub struct List {
    /// Its members.
    pub members: Vec<Listed>,
    /// When the request began that brought them, perhaps for another list or source.
    pub began: Instant,
}

/// Lists sources.
pub trait Listing: Send + Sync {
    /// What it lists, as error messages name it: `queues of a compartment`.
    fn title(&self) -> &'static str;

    /// What it lists, and where: equal for two that list the same. Ends in an OCID. Used for
    /// comparison and in the log.
    fn identity(&self) -> String;

    /// The labels that all members have, of those in [`Kind::labels`].
    fn labels(&self) -> Labels {
        Labels::default()
    }

    /// How to give a member a name other than the listed one, in the imperative.
    fn naming(&self) -> &'static str;

    /// A source with this identity, which an earlier listing returned. It is read through this listing
    /// until the first list arrives.
    fn again(&self, identity: &str) -> Option<Identified>;

    /// Lists all sources before the deadline. An incomplete list is an error.
    fn list(&self, by: Instant) -> BoxFuture<'_, Result<Vec<Listed>, SourceError>>;

    /// The same, or what was read for another list or source after `since`.
    fn list_since(&self, _since: Instant, by: Instant) -> BoxFuture<'_, Result<List, SourceError>> {
        let began = Instant::now();
        async move { Ok(List { members: self.list(by).await?, began }) }.boxed()
    }
}

/// A metric that is also a gauge on `/metrics`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gauge {
    /// The metric. The gauge has the same name.
    pub metric: MetricName,
    /// The help text, without a full stop.
    pub help: &'static str,
}

/// A source that can be read repeatedly.
pub trait Source: Send + Sync {
    /// Reads all items of one part, before the deadline.
    fn read<'s>(&'s self, facet: &'s Facet, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>>;

    /// The same, or what was read for another source after `since`. Such items say when they were read, see
    /// [`Items::read_at`].
    fn read_since<'s>(
        &'s self,
        facet: &'s Facet,
        _since: Instant,
        by: Instant,
    ) -> BoxFuture<'s, Result<Items, SourceError>> {
        self.read(facet, by)
    }

    /// Its labels besides its name, of those in [`Kind::labels`].
    fn labels(&self) -> Labels {
        Labels::default()
    }

    /// The identity of a part, which does not depend on its name. Equal for two names of one part, as
    /// far as is known.
    fn meant(&self, facet: &Facet) -> Facet {
        facet.clone()
    }

    /// The service that the next read queries first, which decides when that read may begin. `None`
    /// for a source that sends no requests.
    fn upstream(&self) -> Option<NextRequest<'_>>;

    /// Whether its reads wait for their turns at the service by themselves. Reads that share a request need
    /// one turn together.
    fn takes_turns(&self) -> bool {
        false
    }

    /// The next change of its value, if that is known in advance.
    fn next_change(&self) -> Option<Change> {
        None
    }
}

/// The first request of the next read of a source.
pub struct NextRequest<'s> {
    /// The service.
    pub upstream: &'s Upstream,
    /// Its host, once it is known.
    pub host: Option<String>,
    /// The key of its failures, see [`crate::upstream::Host::admit`].
    pub key: String,
}

/// The endpoint of a source is marked down, because reads of the source failed there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MarkedDown {
    /// Consecutive failures of requests to the endpoint up to now, 10 or more.
    pub failures: u32,
    /// The last of them.
    pub cause: String,
    /// The time between two probes, which are the only requests that are sent.
    pub probe_every: Duration,
}

/// The metrics that these kinds have, whatever the config is.
pub fn fixed_metrics(kinds: Kinds) -> BTreeSet<MetricName> {
    kinds.iter().flat_map(|kind| kind.metrics).cloned().collect()
}

/// The kind that has this fixed metric.
pub fn kind_of(kinds: Kinds, metric: &str) -> Option<&'static Kind> {
    kinds.iter().copied().find(|kind| kind.metrics.iter().any(|known| known.as_str() == metric))
}

// === impl Kind ===

impl Kind {
    /// Whether the config chooses the names of its metrics.
    pub fn chooses(&self) -> bool {
        self.metrics.is_empty()
    }

    /// The form that these keys select.
    pub fn form(&self, has: impl Fn(&str) -> bool) -> Option<&'static Form> {
        let forms = self.forms;
        forms.iter().find(|form| has(form.key)).or_else(|| forms.last())
    }

    /// The label whose value is the name of a source of the form with this key.
    pub fn label_of(&self, form: &str) -> &'static str {
        self.forms.iter().find(|of| of.key == form).and_then(|of| of.label).unwrap_or(self.label)
    }

    /// The labels whose values are names of sources, each once.
    pub fn name_labels(&self) -> impl Iterator<Item = &'static str> {
        let of_form = move |(at, form): (usize, &'static Form)| {
            form.label.filter(|label| *label != self.label && self.forms[..at].iter().all(|of| of.label != form.label))
        };
        std::iter::once(self.label).chain(self.forms.iter().enumerate().filter_map(of_form))
    }

    /// Whether the value of this label is the name of a source.
    pub fn is_name_label(&self, label: &str) -> bool {
        self.label == label || self.forms.iter().any(|form| form.label == Some(label))
    }
}

// === impl Change ===

impl fmt::Display for Change {
    /// `10 at 2026-03-30T06:00:00Z (Mon 2026-03-30 08:00 Europe/Berlin)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, value } = self;
        let zone = at.time_zone().iana_name().unwrap_or_default();
        write!(f, "{} at {} ({} {zone})", value.decimal(), at.timestamp(), at.strftime("%a %F %H:%M"))
    }
}

// === impl dyn Source ===

impl dyn Source {
    /// Waits until a read may begin. Its deadline starts afterwards. `owners`: the namespaces that
    /// requested it, among which turns go round-robin. `urgent`: there is no value to serve meanwhile.
    pub async fn admit(&self, owners: &[Namespace], urgent: bool) -> Admission {
        match self.upstream() {
            Some(NextRequest { upstream, host, key }) if !self.takes_turns() => {
                upstream.admit(host.as_deref(), &key, &names(owners), urgent).await
            }
            _ => Admission::default(),
        }
    }

    /// Whether other reads of these namespaces wait for their turns at its service. A read that may be
    /// useless should then not be added.
    pub fn is_saturated(&self, owners: &[Namespace]) -> bool {
        !self.takes_turns() && self.upstream().is_some_and(|next| next.upstream.is_saturated(&names(owners)))
    }

    /// The service that it is read from.
    pub fn service(&self) -> Option<&Upstream> {
        self.upstream().map(|next| next.upstream)
    }

    /// Whether its host is marked down after its reads failed there, so that only probes are sent.
    pub fn marked_down(&self) -> Option<MarkedDown> {
        let NextRequest { upstream, host, key } = self.upstream()?;
        let (failures, cause) = upstream.marked_down(&host?, &key)?;
        Some(MarkedDown { failures, cause: cause.to_string(), probe_every: PROBE_EVERY })
    }
}

fn names(owners: &[Namespace]) -> Vec<&str> {
    owners.iter().map(Namespace::as_str).collect()
}

/// A source can't be opened. The message contains the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_depths_and_says_each_label_once() {
        for kind in KINDS {
            assert_eq!(kind.depths.is_empty(), kind.chooses(), "{}", kind.name);
            let mut some = kind.depths.iter().chain(kind.apart);
            assert!(some.all(|metric| kind.metrics.contains(metric)), "{}", kind.name);
            let mut labels: Vec<&str> = kind.name_labels().collect();
            labels.extend(kind.labels);
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
                let known = if *of_connection {
                    kind.connection.keys.iter().copied().flatten().collect()
                } else {
                    keys.collect::<Vec<_>>()
                };
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
