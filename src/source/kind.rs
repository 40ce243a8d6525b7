//! A kind of source as data: its keys, labels and metrics.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::{Timestamp, Zoned};

use super::in_use::InUse;
use super::keys::{Key, Values};
use super::{Connection, Definition, OpenError};
use crate::endpoints::{Endpoints, ServiceName};
use crate::metric::quantity::Quantity;
use crate::metric::{Clock, MetricName};
use crate::upstream::Upstream;

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
    /// they need other requests. See [`super::part::Part::APART`].
    pub apart: &'static [MetricName],
    /// The labels that each of its sources has besides `label`: `vhost`. Two sources may have one name if
    /// these differ. Then a selector must say which one it means. See [`super::Source::labels`].
    pub labels: &'static [&'static str],
    /// The labels that select a part of a source and whose values can't be listed: `channel`.
    pub parts: &'static [&'static str],
    /// The ways to write an entry. The first whose key is present applies, otherwise the last. A key with
    /// the name of the form's label is the name of a source that has no other one.
    pub forms: &'static [Form],
    /// Whether a read may take long although the service is healthy. Its `timeout` is 10 s then, unless
    /// the config says otherwise.
    pub slow: bool,
    /// The connection that its sources are read through.
    pub connection: ConnectionType,
    /// How the environment defines one source. Used only if there is no config file.
    pub environment: Option<Environment>,
    /// Common keys that have no effect in any entry of this kind. There they are errors, and are not suggested.
    pub without_effect: &'static [&'static str],
    /// Errors in an entry whose keys are valid one by one: the key, and the message. The entry has its own keys,
    /// and its [`super::FALLBACK`].
    pub conflicts: fn(&Values) -> Vec<(&'static str, String)>,
    /// The next changes of an entry's value after this time, if they are known in advance. Needs no file and
    /// no request.
    pub changes: fn(&Values, Timestamp) -> Vec<Change>,
    /// The Service whose pods an entry reads, for a kind that reads pods. Only depthgauge in its cluster reads
    /// them. While a workload has no pods, such a metric has no value, so it can't scale up from zero.
    pub pods_of: Option<fn(&Values) -> Option<ServiceName>>,
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
    /// Errors in a connection whose keys are valid one by one: the key, and the message. Opening a connection
    /// refuses only what depends on files, the environment or the machine.
    pub conflicts: fn(&Values) -> Vec<(&'static str, String)>,
    /// Warnings about a connection that is valid. They need no file and no request.
    pub warn: fn(&Values) -> Vec<String>,
    /// Opens a connection: loads credentials and sends nothing.
    pub connect: Connect,
}

/// The name of a connection that has one, among the values of its keys. No key has this name.
pub const CONNECTION_NAME: &str = "connection name";

/// Opens a connection with these keys.
pub type Connect = fn(&Values, &Context) -> Result<Arc<dyn Connection>, OpenError>;

/// What opens connections.
#[derive(Clone, Debug)]
pub struct Context {
    /// Determines when credentials expire.
    pub clock: Clock,
    /// Whether this is the server. A command may run on any computer: it uses the identity of the
    /// computer only if the config says so.
    pub is_server: bool,
    /// The Services of the cluster. A command has none.
    pub endpoints: Endpoints,
    /// Services that several connections share, by those keys of the connections that must be equal for that.
    pub upstreams: Arc<InUse<Values, Upstream>>,
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

/// A metric that is also a gauge on `/metrics`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gauge {
    /// The metric. The gauge has the same name.
    pub metric: MetricName,
    /// The help text, without a full stop.
    pub help: &'static str,
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
