//! From a request to samples: which sources it selects, whether the namespace may read them, and whether
//! their values are fresh enough.
//!
//! This module depends on the [`source::Source`] trait and on no kind of source. A [`query`] selects
//! items of [`entry`]s, in the [`view`] of the requesting namespace. Only [`polled`] and [`schedule`]
//! contain the freshness rule: a [`reading`] is polled, and so is a [`list`]. While reads fail,
//! [`outage`] has the error message. [`rules`] may replace a value, with a label.
//!
//! Sources may be added and removed at any time. The task in [`reader`] owns the [`registry`] of named
//! and listed sources, and publishes [`entries`], from which requests are answered. The [`readings`] of a
//! source are kept. [`history`] and [`consumers`] are shown on `/status`, through [`state`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use prometheus_client::registry::Registry as MetricRegistry;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::metric::pattern::Pattern;
use crate::metric::quantity::Quantity;
use crate::metric::{Clock, MetricName, MetricSet, Namespace, Sample};
use crate::selector::Selector;
use crate::source::{Change, Definition, Kind, Kinds, Opened, fixed_metrics, kind_of};

pub mod activation;
mod chosen;
mod collector;
pub mod consumers;
mod entries;
mod entry;
mod error;
mod export;
pub mod history;
mod item;
mod limits;
mod list;
mod meters;
mod metrics;
mod no_match;
mod once;
pub mod outage;
mod polled;
mod query;
mod reader;
mod reading;
mod readings;
mod refused;
mod registry;
mod rows;
pub mod rules;
mod schedule;
mod shares;
pub mod state;
mod view;

pub use collector::SourceCollector;
pub use error::LookupError;
pub use export::Gauges;
pub use once::{Single, list_once, read_once};
pub use reader::Reader;
pub use refused::Unselectable;
pub use rows::{Rows, Unknown};

use chosen::Share;
use consumers::Consumer;
use entries::Entries;
use item::{Item, ShareOptions, each_once, items};
use meters::Meters;
use metrics::Metrics;
use query::Query;
use reader::Replacement;
use reading::Context;
use readings::ReadingsMaker;
use registry::Registry;
use rules::{ItemAccess, ValueRules};
use schedule::Requester;
use state::ReadingState;
use view::View;

/// How fresh a source's values are kept.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Timing {
    /// The minimum interval between reads. While reads succeed, no answer is older than this plus 1 s.
    pub refresh: Duration,
    /// The deadline of one read.
    pub timeout: Duration,
    /// The maximum age of a served value while reads fail.
    pub max_age: Duration,
    /// Reads stop without a request for this long.
    pub idle_after: Duration,
}

/// A source, or all that are listed, under the name and rules that the config gives.
pub struct SourceConfig {
    /// The value of its kind's label: `orders` for `queue=orders`. For sources that are listed, the
    /// pattern of their names: `orders-*`.
    pub name: String,
    /// The kind of source.
    pub kind: &'static Kind,
    /// Who may read it.
    pub namespaces: Vec<Pattern>,
    /// How fresh its values are kept.
    pub timing: Timing,
    /// Whether it is also a gauge, and so read without requests.
    pub export: bool,
    /// What is served instead of some values, unless a request says otherwise.
    pub value_rules: ValueRules,
    /// What applies to its items.
    pub items: ItemAccess,
    /// What determines the source. While this, the name and the timing are the same, the source and its
    /// readings are kept.
    pub definition: Definition,
    /// The source itself, or the listing of its sources.
    pub source: Opened,
}

/// All sources, ready to be requested.
pub struct Catalog {
    published: Arc<ArcSwap<Entries>>,
    replacements: mpsc::UnboundedSender<Replacement>,
    maker: ReadingsMaker,
}

// === impl Timing ===

impl Default for Timing {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
            max_age: Duration::from_secs(60),
            idle_after: Duration::from_secs(120),
        }
    }
}

// === impl Catalog ===

impl Catalog {
    /// A catalog of these sources, and what reads them.
    pub fn new(configs: Vec<SourceConfig>, kinds: Kinds, clock: Clock) -> (Self, Reader) {
        let (to_spawn, tasks) = mpsc::unbounded_channel();
        let (to_apply, reports) = mpsc::unbounded_channel();
        let (to_replace, replacements) = mpsc::unbounded_channel();
        let maker = ReadingsMaker::new(Context { clock, tasks: to_spawn, meters: Meters::new(kinds) });
        let published = Arc::new(ArcSwap::default());
        let mut registry = Registry::new(published.clone(), maker.clone(), to_apply, Metrics::of(kinds, []));
        registry.replace(configs);
        let reader = Reader { registry, tasks, reports, replacements };
        (Self { published, replacements: to_replace, maker }, reader)
    }

    /// Counts requests and reads in a registry whose metrics begin with `depthgauge_`.
    pub fn register(&self, registry: &mut MetricRegistry) {
        self.maker.context.meters.register(registry);
    }

    /// Replaces all sources, and returns when requests see the new ones. The readings of a source that
    /// stays are kept. A removed source is no longer read, and its requests in flight are answered.
    pub async fn replace(&self, configs: Vec<SourceConfig>) {
        let (applied, published) = oneshot::channel();
        // Without a reader the process is stopping.
        if self.replacements.send((configs, applied)).is_ok() {
            drop(published.await);
        }
    }

    /// One sample for each source that is selected, or for each part of it that is named, sorted by
    /// name. If one of several fails, the answer is its error: a partial sum is wrong.
    pub async fn answer(
        &self,
        namespace: &Namespace,
        metric: &str,
        selector: &Selector,
    ) -> Result<Vec<Sample>, LookupError> {
        let query = self.query(metric, selector)?;
        self.samples(namespace, &query, Some(&Consumer::new(namespace, &query))).await
    }

    /// The same for scale to zero, which requests the metrics of an HPA again and again. Values are
    /// kept as fresh, from the first request on. It does not count as a consumer: the intervals shown
    /// are those of the HPA. A fallback is served only after a source has failed for longer than
    /// `maxAge`, because a process that has just started has no last value.
    pub async fn observe(
        &self,
        namespace: &Namespace,
        metric: &str,
        selector: &Selector,
    ) -> Result<Vec<Sample>, LookupError> {
        self.samples(namespace, &self.query(metric, selector)?, None).await
    }

    async fn samples(
        &self,
        namespace: &Namespace,
        query: &Query<'_>,
        consumer: Option<&Consumer<'_>>,
    ) -> Result<Vec<Sample>, LookupError> {
        let shares = self.read(namespace, query, consumer, |item, options| item.share(options)).await?;
        summed(query, shares.into_iter().collect::<Result<Vec<Share>, _>>()?)
    }

    /// The same for users: of several sources of a fixed metric, those that have no value are rows without
    /// one. If none has a value, it is the error that an HPA gets.
    pub async fn rows(&self, namespace: &Namespace, metric: &str, selector: &Selector) -> Result<Rows, LookupError> {
        let query = self.query(metric, selector)?;
        let consumer = Consumer::new(namespace, &query);
        let shares =
            self.read(namespace, &query, Some(&consumer), |item, options| (item.labels(), item.share(options)));
        Rows::of(&query, shares.await?)
    }

    /// What `make` makes of each item that is selected, after those that are due are read.
    async fn read<T>(
        &self,
        namespace: &Namespace,
        query: &Query<'_>,
        consumer: Option<&Consumer<'_>>,
        make: impl Fn(&Item<'_>, &ShareOptions<'_>) -> T,
    ) -> Result<Vec<T>, LookupError> {
        let by = consumer.map_or(Requester::Continuing, |consumer| Requester::Consumer(consumer.id));
        let view = self.listed(query, namespace, by).await?;
        let mut now = Instant::now();
        let items = items(&view, namespace, query, now)?;
        let consumer = consumer.map(|consumer| consumer.among(items.len()));
        // All are requested before one is waited for.
        let request = |item: &Item<'_>| item.reading.request_by(namespace, consumer.as_ref(), now);
        let reads: Vec<_> = items.iter().filter_map(request).collect();
        for read in reads {
            read.wait().await;
            // Values of other sources have aged during the wait.
            now = Instant::now();
        }
        // Only labels distinguish items of a metric whose name the config chooses.
        let items = if items.len() > 1 && query.kind.is_some() { each_once(items) } else { items };
        let options = ShareOptions { query, alone: items.len() == 1, patient: consumer.is_none(), now };
        Ok(items.iter().map(|item| make(item, &options)).collect())
    }

    /// All metrics of the config, even if their sources can't be read. Returns the same allocation while
    /// they are the same.
    pub fn metrics(&self) -> Arc<MetricSet> {
        self.entries().metrics.set.clone()
    }

    /// The longest of the last pauses between requests of this query; `None` before there were a few
    /// of them here. Another replica may have answered in between.
    pub fn longest_pause(&self, namespace: &Namespace, metric: &str, selector: &Selector) -> Option<Duration> {
        let query = self.query(metric, selector).ok()?;
        let view = self.entries().view(namespace);
        let items = items(&view, namespace, &query, Instant::now()).ok()?;
        let consumer = Consumer::new(namespace, &query);
        items.iter().filter_map(|item| item.reading.longest_pause(&consumer)).max()
    }

    /// The next change among the sources of this query, of those whose changes are known in advance.
    pub fn next_change(&self, namespace: &Namespace, metric: &str, selector: &Selector) -> Option<Change> {
        let query = self.query(metric, selector).ok()?;
        let view = self.entries().view(namespace);
        let items = items(&view, namespace, &query, Instant::now()).ok()?;
        let changes = items.iter().filter_map(|item| {
            let change = item.entry.source.readings.source.next_change()?;
            Some(query.value_rules.or(item.entry.rules.value_rules).served(change))
        });
        changes.min_by_key(|change| change.at.timestamp())
    }

    /// The time of day by which samples are dated.
    pub fn now(&self) -> Timestamp {
        (self.maker.context.clock)()
    }

    /// What fails of each reading in use, sorted by name; then of lists, and names that more than one
    /// source has. For the operator: the current cause, and since when.
    pub fn outages(&self) -> Vec<Arc<str>> {
        self.entries().outages()
    }

    /// Whether the service of a source or list on which this query depends does not respond, so that nothing is
    /// known of it.
    pub fn is_unreachable(&self, namespace: &Namespace, metric: &str, selector: &Selector) -> bool {
        let Ok(query) = self.query(metric, selector) else { return false };
        let view = self.entries().view(namespace);
        let names = query.kind.and_then(|kind| view.names(kind));
        let items = items(&view, namespace, &query, Instant::now());
        names.is_some_and(|names| names.lists_are_unreachable(&query))
            || items.is_ok_and(|items| items.iter().any(|item| item.reading.is_unreachable()))
    }

    /// Whether sources are in use and no request gets a value of any of them.
    pub fn serves_nothing(&self) -> bool {
        self.entries().serves_nothing()
    }

    /// Lists that fail, each with the end of its identity and the request that failed, and names that
    /// more than one source has.
    pub fn list_errors(&self) -> Vec<String> {
        self.entries().list_errors()
    }

    /// How much longer than their `refresh` values are kept now, because more reads are due than the
    /// service allows. It is the longest of all sources in use, and zero while all reads fit.
    pub fn throttled(&self) -> Duration {
        self.entries().throttled()
    }

    /// All readings, sorted by name: every source, and the parts in use.
    pub fn readings(&self) -> Vec<ReadingState> {
        let (entries, now) = (self.entries(), Instant::now());
        let rules = entries.rules();
        entries.sources.iter().flat_map(|source| ReadingState::all(source, &rules[&Arc::as_ptr(source)], now)).collect()
    }

    /// Sources that are listed and that no selector can pick in some namespaces, sorted by name. Those
    /// of one name are in [`Self::list_errors`].
    pub fn unselectable(&self) -> Vec<Unselectable> {
        self.entries().refused.unselectable.clone()
    }

    /// The metrics that every config has.
    pub fn fixed_metrics(&self) -> BTreeSet<MetricName> {
        fixed_metrics(self.entries().metrics.kinds)
    }

    /// The label that names a source of this metric: `queue`. Metrics whose names the config chooses have
    /// none.
    pub fn label(&self, metric: &MetricName) -> Option<&'static str> {
        kind_of(self.entries().metrics.kinds, metric.as_str()).map(|kind| kind.label)
    }

    /// The label that names the source of this sample, if its metric has one.
    pub fn label_of(&self, sample: &Sample) -> Option<&'static str> {
        let kind = kind_of(self.entries().metrics.kinds, sample.metric.as_str())?;
        kind.name_labels().find(|label| sample.labels.value(label).is_some()).or(Some(kind.label))
    }

    fn query<'q>(&self, metric: &str, selector: &'q Selector) -> Result<Query<'q>, LookupError> {
        Query::parse(metric, selector, &self.entries().metrics)
    }

    /// The current sources.
    fn entries(&self) -> Arc<Entries> {
        self.published.load_full()
    }

    /// The view of the namespace. Waits for a list that the query depends on and that is not fresh
    /// enough.
    async fn listed(&self, query: &Query<'_>, namespace: &Namespace, by: Requester) -> Result<Arc<View>, LookupError> {
        let view = self.entries().view(namespace);
        let Some(names) = query.kind.and_then(|kind| view.names(kind)) else {
            query.check_keys(&BTreeSet::new())?;
            return Ok(view);
        };
        names.check_keys(query)?;
        let has_waited = names.wait_for_lists(query, by).await.map_err(LookupError::Unavailable)?;
        Ok(if has_waited { self.entries().view(namespace) } else { view })
    }
}

/// The samples of an answer, if it may have these items together.
fn summed(query: &Query<'_>, shares: Vec<Share>) -> Result<Vec<Sample>, LookupError> {
    if query.kind.is_none() {
        chosen::check(query, &shares)?;
    }
    in_range(&query.metric, chosen::samples(query, shares, true)?)
}

/// The samples, unless the HPA controller can't add them up.
fn in_range(metric: &MetricName, samples: Vec<Sample>) -> Result<Vec<Sample>, LookupError> {
    let sum = Quantity::sum(samples.iter().map(|sample| sample.value));
    if sum.is_some_and(Quantity::is_value) && samples.iter().all(|sample| sample.value.is_value()) {
        return Ok(samples);
    }
    let what = format!(
        "{metric}: the values of this answer are not between 0 and 9.2e15 together, so the HPA controller can't add them up. Select fewer items."
    );
    Err(LookupError::Unavailable(what.into()))
}

/// A source as it appears in an error message: `queue "orders"`.
pub fn title(label: &str, name: &str) -> String {
    format!("{label} {name:?}")
}

#[cfg(test)]
mod tests;
