//! Queues and topic subscriptions of Azure Service Bus as a kind of source, by its management API.
//!
//! An entry that names one is one request a read. Sources of `match` share the list of their namespace or
//! topic, see [`list`]: a page of 100 costs as much as one entity. A management request costs the namespace
//! as much as ten messages, so there is a low limit on the rate.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::items::{Item, Items, Value};
use super::keys::{self, Key, Shape, Text};
use super::part::Part;
use super::{Form, Kind, NextRequest, Source, SourceError};
use crate::azure::Error;
use crate::azure::atom::{Entity, EntityKind};
use crate::azure::path::{EntityName, EntityPath};
use crate::metric::quantity::Quantity;
use crate::metric::selectable::selectable;
use crate::metric::{Labels, MetricName};

mod bus;
mod connection;
mod errors;
mod list;
mod listing;

use bus::Bus;
use list::EntityList;

/// Messages that can be received now or are being processed.
const ACTIVE: MetricName = MetricName::new("azure_servicebus_active_messages");
/// Messages of the dead-letter queue.
const DEAD_LETTER: MetricName = MetricName::new("azure_servicebus_dead_letter_messages");
/// Messages that can be received later.
const SCHEDULED: MetricName = MetricName::new("azure_servicebus_scheduled_messages");

/// The key of an entry that names a queue, and the label of its name.
const QUEUE: &str = "queue";
/// The key with a topic, and its label.
const TOPIC: &str = "topic";
/// The key of an entry that names a subscription, and the label of its name.
const SUBSCRIPTION: &str = "subscription";
/// The label with the name of the connection.
const CONNECTION: &str = "connection";
/// What is served for messages that no receiver gets.
const DISABLED: &str = "disabled";

/// States in which receivers get no messages.
const NO_RECEIVERS: [&str; 2] = ["Disabled", "ReceiveDisabled"];

/// `type: azure-servicebus`.
pub const SERVICEBUS: Kind = Kind {
    name: "azure-servicebus",
    label: QUEUE,
    metrics: &[ACTIVE, DEAD_LETTER, SCHEDULED],
    gauges: &[],
    depths: &[ACTIVE],
    apart: &[],
    labels: &[TOPIC, CONNECTION],
    parts: &[],
    forms: &[
        Form { key: SUBSCRIPTION, keys: OF_SUBSCRIPTION, label: Some(SUBSCRIPTION) },
        Form { key: TOPIC, keys: OF_TOPIC, label: Some(SUBSCRIPTION) },
        Form { key: QUEUE, keys: OF_QUEUE, label: None },
        Form { key: keys::MATCH.name, keys: OF_NAMESPACE, label: None },
    ],
    // A list may have many pages.
    slow: true,
    connection: connection::SERVICEBUS,
    environment: None,
    without_effect: &[],
    conflicts: |_| Vec::new(),
    changes: |_, _| Vec::new(),
    pods_of: None,
    warn: |_| Vec::new(),
};

const OF_SUBSCRIPTION: &[Key] = &[
    keys::NAME,
    TOPIC_KEY,
    Key::new(
        SUBSCRIPTION,
        Shape::Text(ENTITY_NAME),
        "The name of the subscription. Selectors pick it by this name, or by `name` if that is set: '/' becomes '_'.",
    )
    .required()
    .examples(&["worker"]),
    DISABLED_KEY,
];

const OF_TOPIC: &[Key] = &[TOPIC_KEY, keys::MATCH, DISABLED_KEY];

const OF_QUEUE: &[Key] = &[
    keys::NAME,
    Key::new(
        QUEUE,
        Shape::Text(ENTITY_NAME),
        "The name of the queue. Selectors pick it by this name, or by `name` if that is set: '/' becomes '_'.",
    )
    .required()
    .examples(&["invoices"]),
    DISABLED_KEY,
];

const OF_NAMESPACE: &[Key] = &[keys::MATCH, DISABLED_KEY];

const TOPIC_KEY: Key = Key::new(
    TOPIC,
    Shape::Text(ENTITY_NAME),
    "The name of the topic. Selectors pick its subscriptions by label `topic`, in which '/' is '_'.",
)
.required()
.label(selectable)
.examples(&["orders"]);

const DISABLED_KEY: Key = Key::new(
    DISABLED,
    Shape::Word(&["serve", "error"]),
    "What is served for messages that wait while the status is Disabled or ReceiveDisabled, so that receivers get none. serve: their number, and the log says so. error: the number is unknown.",
)
.default("serve");

/// The name of a queue, topic or subscription.
const ENTITY_NAME: Text = Text {
    except: Some("(^|/)[.]*(/|$)"),
    max_length: Some(260),
    ..Text::parsed::<EntityName>().pattern("^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$")
};

/// A queue or subscription.
struct EntitySource {
    bus: Arc<Bus>,
    path: EntityPath,
    labels: Labels,
    /// Where it is read, unless by itself.
    list: Option<Arc<EntityList>>,
    /// Whether messages that no receiver gets are no value.
    refuses_disabled: bool,
    /// The last status in which no receiver gets messages, while there are some.
    held: Mutex<Option<String>>,
}

// === impl EntitySource ===

impl EntitySource {
    async fn items(&self, since: Instant, by: Instant) -> Result<Items, SourceError> {
        let Some(list) = &self.list else {
            let client = &self.bus.client;
            let entity = client.entity(&self.path, by).await;
            let entity = entity.map_err(|error| errors::of_entity(client, &self.path, &error))?;
            return Ok(Items::new(vec![self.item(&entity)?]));
        };
        let snapshot = list.get(since, by).await?;
        match snapshot.entity(self.path.name()) {
            Some(entity) => Ok(Items::new(vec![self.item(entity)?]).read_at(snapshot.began)),
            // The list is complete.
            None => Err(errors::of_entity(&self.bus.client, &self.path, &Error::NoSuchEntity)),
        }
    }

    fn item(&self, entity: &Entity) -> Result<Item, SourceError> {
        let kind = match self.path {
            EntityPath::Queue(_) => EntityKind::Queue,
            EntityPath::Subscription(..) => EntityKind::Subscription,
        };
        if entity.kind != Some(kind) {
            return Err(errors::of_kind(&self.path, entity.kind));
        }
        let counts = entity.counts().map_err(|unknown| errors::no_counts(&self.path, unknown))?;
        let value = |count, name| Quantity::value(count).ok_or_else(|| errors::no_number(&self.path, name));
        let active = value(counts.active, "ActiveMessageCount")?;
        let status = entity.status.as_deref().unwrap_or_default();
        let is_stopped = NO_RECEIVERS.contains(&status);
        let held = is_stopped && active > Quantity::ZERO;
        if held || !is_stopped {
            self.say(held.then_some(status));
        }
        let active: Value = match held && self.refuses_disabled {
            true => Err(format!("its status is {status}, so no receiver gets its messages").into()),
            false => Ok(active),
        };
        let values = vec![
            (ACTIVE, active),
            (DEAD_LETTER, Ok(value(counts.dead_letter, "DeadLetterMessageCount")?)),
            (SCHEDULED, Ok(value(counts.scheduled, "ScheduledMessageCount")?)),
        ];
        Ok(Item::new(Labels::default(), values))
    }

    /// Logs once that messages wait which no receiver gets, and once that this is over.
    fn say(&self, status: Option<&str>) {
        let mut held = self.held.lock();
        if held.as_deref() == status {
            return;
        }
        let path = self.path.to_string();
        match status {
            Some(status) => tracing::warn!(
                path,
                status,
                "no receiver gets the messages, because of the status of the queue or subscription: set it to Active, or `disabled: error`"
            ),
            None => tracing::info!(path, "receivers get messages again"),
        }
        *held = status.map(str::to_owned);
    }
}

impl Source for EntitySource {
    fn read<'s>(&'s self, part: &'s Part, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        self.read_since(part, Instant::now(), by)
    }

    fn read_since<'s>(&'s self, _: &'s Part, since: Instant, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        self.items(since, by).boxed()
    }

    fn labels(&self) -> Labels {
        self.labels.clone()
    }

    fn upstream(&self) -> Option<NextRequest<'_>> {
        Some(list::next_request(&self.bus.client))
    }

    fn takes_turns(&self) -> bool {
        self.list.is_some()
    }

    fn wait_turn<'s>(&'s self, _: &'s Part, since: Instant, patience: Duration) -> BoxFuture<'s, ()> {
        match &self.list {
            Some(list) => list.wait_turn(since, patience).boxed(),
            None => std::future::ready(()).boxed(),
        }
    }
}
