//! Sources of values: the traits that every kind of source implements, and the list of kinds.
//!
//! A new kind is one file in `source/`, its `mod` here, and one line in [`KINDS`]; see
//! `docs/contributing/architecture.md`. [`crate::config`] uses only its key tables, and [`crate::lookup`] only the
//! traits. So config errors, freshness, refusal of stale values and outages are the same for every
//! kind.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::metric::{Labels, Namespace};
use crate::upstream::{Admission, PROBE_EVERY, Upstream};

pub mod chosen;
mod error;
pub mod http_json;
mod in_use;
pub mod items;
pub mod keys;
mod kind;
pub mod oci_queue;
pub mod part;
pub mod prometheus;
pub mod rabbitmq;
pub mod schedule;
pub mod scrape;
pub mod service;
pub mod servicebus;
mod shared_read;

pub use error::{ErrorKind, Operation, SourceError};
pub use items::{Item, Items, Substitute};
pub use kind::{
    CONNECTION_NAME, Change, Connect, ConnectionType, Context, Environment, Form, Gauge, Kind, Kinds, Place, Variable,
    fixed_metrics, kind_of,
};

use keys::Values;
use part::Part;

/// Every kind of source that a config may name.
pub const KINDS: Kinds = &[
    &oci_queue::OCI_QUEUE,
    &prometheus::PROMETHEUS,
    &rabbitmq::RABBITMQ,
    &servicebus::SERVICEBUS,
    &http_json::HTTP_JSON,
    &scrape::SCRAPE,
    &schedule::SCHEDULE,
];

/// The key of every entry with the minimum interval between reads.
pub const REFRESH: &str = "refresh";
/// The key of every entry with the time that a value may be served after it was read.
pub const MAX_AGE: &str = "maxAge";

/// The key of every entry with the value that is served while the source can't be read.
pub const FALLBACK: &str = "fallback";

/// An open connection. It opens entries, and stays open over config reloads while its keys are the
/// same.
pub trait Connection: Send + Sync {
    /// Opens an entry of the form whose key is `form`: the values of its own keys, its [`REFRESH`] and its
    /// [`MAX_AGE`]. Everything that can fail at start fails here.
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

    /// Waits for the turn of the next request, if the listing waits for it before its deadline begins. It is
    /// not sent if something was read after `since`. `patience`: how long the listing will wait for it.
    fn wait_turn(&self, _since: Instant, _patience: Duration) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    /// Lists all sources before the deadline, or returns what was read for another list or source after
    /// `since`. An incomplete list is an error.
    fn list(&self, since: Instant, by: Instant) -> BoxFuture<'_, Result<List, SourceError>>;
}

/// A source that can be read repeatedly.
pub trait Source: Send + Sync {
    /// Reads all items of one part, before the deadline.
    fn read<'s>(&'s self, part: &'s Part, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>>;

    /// The same, or what was read for another source after `since`. Such items say when they were read, see
    /// [`Items::read_at`].
    fn read_since<'s>(
        &'s self,
        part: &'s Part,
        _since: Instant,
        by: Instant,
    ) -> BoxFuture<'s, Result<Items, SourceError>> {
        self.read(part, by)
    }

    /// The service's own identifier, such as an OCID, to find the source in the console of the service.
    /// `None` if that is no more than the name and the labels.
    fn identifier(&self) -> Option<&str> {
        None
    }

    /// Its labels besides its name, of those in [`Kind::labels`].
    fn labels(&self) -> Labels {
        Labels::default()
    }

    /// The identity of a part, which does not depend on its name. Equal for two names of one part, as
    /// far as is known.
    fn meant(&self, part: &Part) -> Part {
        part.clone()
    }

    /// The service that the next read queries first, which decides when that read may begin. `None`
    /// for a source that sends no requests.
    fn upstream(&self) -> Option<NextRequest<'_>>;

    /// Whether its reads wait for their turns at the service by themselves. Reads that share a request need
    /// one turn together.
    fn takes_turns(&self) -> bool {
        false
    }

    /// Waits for the turn of the request that it shares, unless something was read after `since`.
    /// `patience`: how long the next read will wait for what the request brings. Only for a source that
    /// [takes turns](Self::takes_turns) by itself.
    fn wait_turn<'s>(&'s self, _part: &'s Part, _since: Instant, _patience: Duration) -> BoxFuture<'s, ()> {
        std::future::ready(()).boxed()
    }

    /// Whether it is read from the start of the process, whether or not it is requested. A rate needs two reads.
    fn reads_from_start(&self) -> bool {
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
    use crate::metric::MetricName;

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
    fn words_are_no_texts() {
        // `^(serve|error)$`
        let lists = |pattern: &str| {
            let inner = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$')).unwrap_or(pattern);
            inner.trim_matches(['(', ')']).split('|').all(|word| word.bytes().all(|byte| byte.is_ascii_alphabetic()))
        };
        assert!(lists("^(serve|error)$") && lists("^sum$") && !lists("^[a-z]+$"));
        for kind in KINDS {
            let own = kind.forms.iter().flat_map(|form| form.keys);
            for key in own.chain(kind.connection.keys.iter().copied().flatten()).chain(chosen::KEYS) {
                let pattern = if let keys::Shape::Text(text) = key.shape { text.pattern } else { None };
                assert!(!pattern.is_some_and(lists), "{} {}: it has a few words", kind.name, key.name);
            }
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
