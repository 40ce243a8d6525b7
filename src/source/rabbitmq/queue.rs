//! The values of one queue, as far as RabbitMQ has them. Pure.

use serde_json::Number;

use super::field::Field;
use super::page::Queue;
use crate::metric::quantity::Quantity;

/// States in which a queue has its counts. In others it has none, those of the last time that it worked, or 0. Then its
/// node or a majority of its nodes is down, or it recovers.
const RUNNING: [&str; 4] = ["flow", "idle", "running", "syncing"];

/// How many messages there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) ready: Quantity,
    pub(super) unacknowledged: Quantity,
    /// Their sum.
    pub(super) length: Quantity,
}

/// Messages a second, averaged over a minute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rates {
    pub(super) publish: Result<Quantity, Unknown>,
    pub(super) deliver: Result<Quantity, Unknown>,
}

/// Why a value is unknown although the queue is listed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unknown {
    /// It has no backlog.
    #[error("it is a stream, whose messages stay after they are consumed")]
    Stream,
    /// The queue is in this state.
    #[error("its state is {0}")]
    NotRunning(String),
    /// This field is missing.
    #[error("RabbitMQ reports no {0}")]
    Missing(&'static str),
    /// This field is not a number that can be a value.
    #[error("RabbitMQ reports an invalid {0}")]
    Malformed(&'static str),
}

// === impl Queue ===

impl Queue {
    /// Whether it has the same leader as before.
    pub(super) fn is_led_as(&self, before: &Self) -> bool {
        (&self.node, &self.leader) == (&before.node, &before.leader)
    }

    /// An error if its state is one without counts.
    pub(super) fn running(&self) -> Result<(), Unknown> {
        // A classic queue that synchronizes its mirrors has an object as its state.
        match &self.state {
            Some(state) if !RUNNING.contains(&&**state) => Err(Unknown::NotRunning(state.as_ref().to_owned())),
            _ => Ok(()),
        }
    }

    /// How many messages it has.
    pub(super) fn counts(&self) -> Result<Counts, Unknown> {
        if self.kind.as_deref() == Some("stream") {
            return Err(Unknown::Stream);
        }
        self.running()?;
        let ready = count("messages_ready", &self.messages_ready)?;
        let unacknowledged = count("messages_unacknowledged", &self.messages_unacknowledged)?;
        let length = Quantity::sum([ready, unacknowledged]).filter(|length| length.is_value());
        Ok(Counts { ready, unacknowledged, length: length.ok_or(Unknown::Malformed("messages"))? })
    }

    /// How many messages are published and delivered. `deliver_get` counts each delivery, with and without
    /// acknowledgement, and each `basic.get`.
    pub(super) fn rates(&self) -> Rates {
        // The averages of a queue whose node is down go to 0.
        if let Err(unknown) = self.running() {
            return Rates { publish: Err(unknown.clone()), deliver: Err(unknown) };
        }
        let stats = &self.message_stats.0;
        Rates {
            publish: decimal("publish_details.avg_rate", &stats.publish_details.0.avg_rate),
            deliver: decimal("deliver_get_details.avg_rate", &stats.deliver_get_details.0.avg_rate),
        }
    }
}

/// A whole number.
fn count(name: &'static str, field: &Field) -> Result<Quantity, Unknown> {
    number(name, field)?.as_i64().and_then(Quantity::value).ok_or(Unknown::Malformed(name))
}

/// A number with decimals.
fn decimal(name: &'static str, field: &Field) -> Result<Quantity, Unknown> {
    Quantity::parse_value(&number(name, field)?.to_string()).ok_or(Unknown::Malformed(name))
}

fn number<'f>(name: &'static str, field: &'f Field) -> Result<&'f Number, Unknown> {
    match field {
        Field::Missing => Err(Unknown::Missing(name)),
        Field::Other => Err(Unknown::Malformed(name)),
        Field::Number(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn queue(fields: &Value) -> Queue {
        let mut queue = json!({"name": "orders", "vhost": "/", "type": "classic", "state": "running"});
        queue.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(queue).unwrap()
    }

    fn counts(fields: &Value) -> Result<[i64; 3], Unknown> {
        let Counts { ready, unacknowledged, length } = queue(fields).counts()?;
        Ok([ready, unacknowledged, length].map(|value| value.milli() / 1000))
    }

    fn units(units: i32) -> Quantity {
        Quantity::from_units(units)
    }

    #[test]
    fn length_is_ready_and_unacknowledged() {
        assert_eq!(counts(&json!({"messages_ready": 7, "messages_unacknowledged": 2})), Ok([7, 2, 9]));
        assert_eq!(counts(&json!({"messages_ready": 0, "messages_unacknowledged": 0})), Ok([0, 0, 0]));
        let idle = json!({"state": "idle", "messages_ready": 1, "messages_unacknowledged": 0});
        assert_eq!(counts(&idle), Ok([1, 0, 1]));
    }

    #[test]
    fn what_is_missing_or_no_count_is_unknown() {
        const MAX: i64 = Quantity::UNITS_MAX;
        let (ready, unacknowledged) = ("messages_ready", "messages_unacknowledged");
        for (fields, unknown) in [
            // Just declared.
            (json!({}), Unknown::Missing(ready)),
            (json!({"messages": 5}), Unknown::Missing(ready)),
            (json!({"messages_ready": 5}), Unknown::Missing(unacknowledged)),
            (json!({"messages_unacknowledged": 5}), Unknown::Missing(ready)),
            (json!({"messages_ready": null, "messages_unacknowledged": 5}), Unknown::Missing(ready)),
            (json!({"messages_ready": -1, "messages_unacknowledged": 0}), Unknown::Malformed(ready)),
            (json!({"messages_ready": 1.5, "messages_unacknowledged": 0}), Unknown::Malformed(ready)),
            (json!({"messages_ready": "7", "messages_unacknowledged": 0}), Unknown::Malformed(ready)),
            (json!({"messages_ready": 1e30, "messages_unacknowledged": 0}), Unknown::Malformed(ready)),
            (json!({"messages_ready": MAX + 1, "messages_unacknowledged": 0}), Unknown::Malformed(ready)),
            (json!({"messages_ready": MAX, "messages_unacknowledged": 1}), Unknown::Malformed("messages")),
        ] {
            assert_eq!(counts(&fields), Err(unknown), "{fields}");
        }
    }

    #[test]
    fn a_stream_and_a_queue_that_does_not_run_have_no_counts() {
        let with = |key: &str, value: &str| {
            let mut fields = json!({"messages_ready": 0, "messages_unacknowledged": 0});
            fields[key] = value.into();
            counts(&fields)
        };
        assert_eq!(with("type", "stream"), Err(Unknown::Stream));
        assert_eq!(with("type", "quorum"), Ok([0, 0, 0]));
        for state in RUNNING {
            assert_eq!(with("state", state), Ok([0, 0, 0]), "{state}");
        }
        for state in ["crashed", "down", "minority", "noproc", "recovering", "stopped", "terminated", ""] {
            assert_eq!(with("state", state), Err(Unknown::NotRunning(state.to_owned())));
        }
    }

    #[test]
    fn rates_are_averages() {
        let rates = |stats: &Value| queue(&json!({"message_stats": stats})).rates();
        let both = json!({
            "publish_details": {"rate": 740.0, "avg_rate": 2.5},
            "deliver_get_details": {"rate": 0.0, "avg_rate": 0.0},
        });
        assert_eq!(rates(&both), Rates { publish: Ok(Quantity::from_milli(2500)), deliver: Ok(units(0)) });
        let one = rates(&json!({"publish_details": {"avg_rate": 3}}));
        assert_eq!(
            one,
            Rates { publish: Ok(units(3)), deliver: Err(Unknown::Missing("deliver_get_details.avg_rate")) }
        );
        let field = "publish_details.avg_rate";
        for (rate, unknown) in [
            (json!(null), Unknown::Missing(field)),
            (json!(-0.5), Unknown::Malformed(field)),
            (json!("3"), Unknown::Malformed(field)),
            (json!(1e300), Unknown::Malformed(field)),
        ] {
            assert_eq!(rates(&json!({"publish_details": {"avg_rate": rate}})).publish, Err(unknown), "{rate}");
        }
        let down = queue(&json!({"state": "down", "message_stats": both})).rates();
        let unknown = || Err(Unknown::NotRunning("down".to_owned()));
        assert_eq!(down, Rates { publish: unknown(), deliver: unknown() });
        // Never used, or `rates_mode none`: a rate at one moment is no average.
        for stats in [json!(null), json!({}), json!({"publish": 5}), json!({"publish_details": {"rate": 1.0}})] {
            assert_eq!(rates(&stats).publish, Err(Unknown::Missing(field)), "{stats}");
        }
    }
}
