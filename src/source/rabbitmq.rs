//! Queues of RabbitMQ as a kind of source, by the management API over HTTP.
//!
//! One list brings the counts of all queues of a vhost, and another one their rates. A list belongs to the
//! connection, so that all entries and HPAs share it; see [`list`]. AMQP is not used: a passive declare
//! returns the ready messages only, and 0 of a quorum queue that has no leader.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::items::{Item, Items, Value};
use super::keys::{self, Key, Shape, Text};
use super::part::Part;
use super::{Form, Kind, NextRequest, Source, SourceError};
use crate::metric::quantity::Quantity;
use crate::metric::{Labels, MetricName};

mod connection;
mod errors;
mod field;
mod list;
mod listing;
mod page;
mod path;
mod queue;
mod snapshot;
mod vhost;

use queue::{Counts, Rates, Unknown};
use snapshot::Listed;
use vhost::Vhost;

/// Ready + unacknowledged: all pending work.
const LENGTH: MetricName = MetricName::new("rabbitmq_queue_length");
/// Messages that no consumer has yet.
const READY: MetricName = MetricName::new("rabbitmq_queue_ready");
/// Messages that a consumer has and has not acknowledged.
const UNACKNOWLEDGED: MetricName = MetricName::new("rabbitmq_queue_unacknowledged");
/// Messages a second that are published, averaged over a minute.
const PUBLISH_RATE: MetricName = MetricName::new("rabbitmq_queue_publish_rate");
/// Messages a second that are delivered, averaged over a minute.
const DELIVER_RATE: MetricName = MetricName::new("rabbitmq_queue_deliver_rate");

/// The key of an entry that names a queue, and the label of its name.
const QUEUE: &str = "queue";
/// The key with the vhost, and its label.
const VHOST: &str = "vhost";
/// The label with the name of the connection.
const CONNECTION: &str = "connection";

/// Why a 0 is not served.
const NOT_SETTLED: &str = "RabbitMQ reports 0, which counts after it has listed the queue for 10s without a break, because it reports 0 also for new queues with messages";

/// `type: rabbitmq`.
pub const RABBITMQ: Kind = Kind {
    name: "rabbitmq",
    label: QUEUE,
    metrics: &[DELIVER_RATE, LENGTH, PUBLISH_RATE, READY, UNACKNOWLEDGED],
    gauges: &[],
    depths: &[LENGTH, READY],
    apart: &[DELIVER_RATE, PUBLISH_RATE],
    labels: &[VHOST, CONNECTION],
    parts: &[],
    forms: &[
        Form { key: QUEUE, keys: OF_QUEUE, label: None },
        Form { key: keys::MATCH.name, keys: OF_VHOST, label: None },
    ],
    slow: true,
    connection: connection::RABBITMQ,
    environment: None,
    without_effect: &[],
    conflicts: |_| Vec::new(),
    changes: |_, _| Vec::new(),
    pods_of: None,
    warn: |_| Vec::new(),
};

const OF_QUEUE: &[Key] = &[
    keys::NAME,
    Key::new(
        QUEUE,
        Shape::Text(Text::NONEMPTY),
        "The name of the queue. Selectors pick it by this name, or by `name` if that is set: characters other than letters, digits, '-', '_' and '.' become '_'.",
    )
    .required()
    .examples(&["invoices"]),
    OF_VHOST[0],
];

const OF_VHOST: &[Key] = &[
    Key::new(
        VHOST,
        Shape::Text(Text::NONEMPTY),
        "The virtual host of the queues, as RabbitMQ calls it. Selectors pick it by label `vhost`, in which / is default.",
    )
    .default(path::DEFAULT_VHOST)
    .label(path::label),
    keys::MATCH,
];

struct QueueSource {
    vhost: Arc<Vhost>,
    name: String,
}

// === impl QueueSource ===

impl QueueSource {
    async fn items(&self, part: &Part, since: Instant, by: Instant) -> Result<Items, SourceError> {
        let Vhost { name: vhost, lists, .. } = &*self.vhost;
        let list = lists.of(part);
        list.read().request(vhost, &self.name);
        let snapshot = list.get(since, by).await?;
        let about = self.about();
        let listed = snapshot.queue(vhost, &self.name).ok_or_else(|| errors::not_listed(&about))?;
        if listed.is_lost() {
            return Err(errors::lost(&about));
        }
        let values = match part.is_apart() {
            true => rates(listed).map_err(|unknown| errors::no_rates(&unknown, &about))?,
            false => counts(listed).map_err(|unknown| errors::no_counts(&unknown, &about))?,
        };
        Ok(Items::new(vec![Item::new(Labels::default(), values)]).read_at(snapshot.began))
    }

    /// The queue as the log names it.
    fn about(&self) -> String {
        format!("queue {:?} of vhost {:?}", self.name, self.vhost.name)
    }
}

impl Source for QueueSource {
    fn read<'s>(&'s self, part: &'s Part, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        self.read_since(part, Instant::now(), by)
    }

    fn read_since<'s>(
        &'s self,
        part: &'s Part,
        since: Instant,
        by: Instant,
    ) -> BoxFuture<'s, Result<Items, SourceError>> {
        self.items(part, since, by).boxed()
    }

    fn labels(&self) -> Labels {
        self.vhost.labels.clone()
    }

    fn upstream(&self) -> Option<NextRequest<'_>> {
        Some(self.vhost.lists.counts.next_request())
    }

    fn takes_turns(&self) -> bool {
        true
    }

    fn wait_turn<'s>(&'s self, part: &'s Part, since: Instant, patience: Duration) -> BoxFuture<'s, ()> {
        self.vhost.lists.of(part).wait_turn(since, patience).boxed()
    }
}

/// The counts of a queue.
fn counts(listed: &Listed) -> Result<Vec<(MetricName, Value)>, Unknown> {
    let Counts { ready, unacknowledged, length } = listed.queue.counts()?;
    let value = |value| settled(listed, value);
    Ok(vec![(LENGTH, value(length)), (READY, value(ready)), (UNACKNOWLEDGED, value(unacknowledged))])
}

/// The rates of a queue, if one of them is known.
fn rates(listed: &Listed) -> Result<Vec<(MetricName, Value)>, Unknown> {
    let Rates { publish, deliver } = listed.queue.rates();
    if let (Err(unknown), Err(_)) = (&publish, &deliver) {
        return Err(unknown.clone());
    }
    let value = |rate: Result<Quantity, Unknown>| match rate {
        Ok(rate) => settled(listed, rate),
        Err(unknown) => Err(unknown.to_string().into()),
    };
    Ok(vec![(PUBLISH_RATE, value(publish)), (DELIVER_RATE, value(deliver))])
}

/// A value, unless it is a 0 that may be a false one.
fn settled(listed: &Listed, value: Quantity) -> Value {
    if value == Quantity::ZERO && !listed.is_settled { Err(NOT_SETTLED.into()) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::page::Queue;
    use super::snapshot::Snapshot;
    use super::*;

    type Known = Result<Vec<(MetricName, Value)>, Unknown>;

    /// A queue in its first list, or after having been listed for a while.
    fn listed(fields: &serde_json::Value, is_settled: bool) -> Snapshot {
        let mut queue = json!({"name": "orders", "vhost": "/", "type": "classic", "state": "running"});
        queue.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let queue: Queue = serde_json::from_value(queue).unwrap();
        let start = Instant::now();
        let first = Snapshot::new(vec![queue.clone()], start, start, None);
        let later = start + snapshot::SETTLED_AFTER;
        if is_settled { Snapshot::new(vec![queue], later, later, Some(&first)) } else { first }
    }

    /// Values in units; `None` is unknown.
    fn read(fields: &serde_json::Value, is_settled: bool, values: fn(&Listed) -> Known) -> Vec<(String, Option<i64>)> {
        let snapshot = listed(fields, is_settled);
        let values = values(snapshot.queue("/", "orders").unwrap()).unwrap();
        let value = |value: Value| value.ok().map(|value| value.milli() / 1000);
        values.into_iter().map(|(metric, of)| (metric.to_string(), value(of))).collect()
    }

    fn three(length: Option<i64>, ready: Option<i64>, unacknowledged: Option<i64>) -> Vec<(String, Option<i64>)> {
        let names = ["rabbitmq_queue_length", "rabbitmq_queue_ready", "rabbitmq_queue_unacknowledged"];
        names.map(str::to_owned).into_iter().zip([length, ready, unacknowledged]).collect()
    }

    #[test]
    fn a_zero_of_a_new_queue_is_unknown_and_what_is_above_counts_at_once() {
        let fields =
            |ready, unacknowledged| json!({"messages_ready": ready, "messages_unacknowledged": unacknowledged});
        assert_eq!(read(&fields(0, 0), false, counts), three(None, None, None));
        assert_eq!(read(&fields(0, 3), false, counts), three(Some(3), None, Some(3)));
        assert_eq!(read(&fields(7, 0), false, counts), three(Some(7), Some(7), None));
        assert_eq!(read(&fields(0, 0), true, counts), three(Some(0), Some(0), Some(0)));
    }

    #[test]
    fn one_rate_may_be_unknown() {
        let one = json!({"message_stats": {"publish_details": {"avg_rate": 2.0}}});
        let expected = |publish| {
            vec![("rabbitmq_queue_publish_rate".to_owned(), publish), ("rabbitmq_queue_deliver_rate".to_owned(), None)]
        };
        assert_eq!(read(&one, false, rates), expected(Some(2)));
        let zero = json!({"message_stats": {"publish_details": {"avg_rate": 0.0}}});
        assert_eq!(read(&zero, false, rates), expected(None));
        assert_eq!(read(&zero, true, rates), expected(Some(0)));
        let none = listed(&json!({}), true);
        assert!(rates(none.queue("/", "orders").unwrap()).is_err());
    }

    #[test]
    fn the_reason_names_the_time() {
        assert!(NOT_SETTLED.contains(&format!("{:?}", Duration::from_secs(10))));
        assert_eq!(snapshot::SETTLED_AFTER, Duration::from_secs(10));
    }
}
