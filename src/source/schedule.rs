//! Schedules as a kind of source: one value inside windows of time, and 0 outside. A window begins and ends
//! at the times of two cron expressions. Reads send nothing and can't fail.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;

use super::chosen::{self, ItemRules, Number, Point};
use super::items::Items;
use super::keys::{Key, Shape, Text, Values};
use super::part::Part;
use super::{
    Change, Connection, ConnectionType, FALLBACK, Form, Identified, Kind, NextRequest, OpenError, Opened, Place,
    Source, SourceError,
};
use crate::metric::Clock;
use crate::metric::quantity::Quantity;

mod expression;
mod windows;
mod zone;

use expression::Expression;
use windows::Windows;
use zone::Zone;

/// The changes that `config check` prints.
const CHANGES: usize = 3;

/// `type: schedule`.
pub const SCHEDULE: Kind = Kind {
    name: "schedule",
    label: "metric",
    metrics: &[],
    gauges: &[],
    depths: &[],
    apart: &[],
    labels: &[],
    parts: &[],
    forms: &[Form { key: START.name, keys: &[START, END, TIMEZONE, VALUE], label: None }],
    slow: false,
    connection: ConnectionType {
        name: "schedule",
        place: Place::Entry,
        doc: "Reads no service.",
        keys: &[],
        conflicts: |_| Vec::new(),
        warn: |_| Vec::new(),
        connect: |_, context| Ok(Arc::new(Schedules(context.clock))),
    },
    environment: None,
    without_effect: &WITHOUT_EFFECT,
    conflicts,
    changes,
    pods_of: None,
    warn: |_| Vec::new(),
};

/// A read brings one number, and can't fail.
const WITHOUT_EFFECT: [&str; 5] =
    [chosen::NAMESPACE_LABEL.name, chosen::EMPTY.name, chosen::NAN.name, chosen::NEGATIVE.name, FALLBACK];

const START: Key = Key::new(
    "start",
    Shape::Text(EXPRESSION),
    "When a window begins, as a cron expression: minute, hour, day of month, month, day of week. A start inside a window changes nothing.",
)
.required()
.examples(&["0 8 * * 1-5"]);

const END: Key = Key::new(
    "end",
    Shape::Text(EXPRESSION),
    "When a window ends, as a cron expression. It has no time in common with `start`.",
)
.required()
.examples(&["0 18 * * 1-5"]);

const TIMEZONE: Key = Key::new(
    "timezone",
    Shape::Text(Text::parsed::<Zone>().pattern("^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")),
    "The time zone of `start` and `end`: a name of the IANA time zone database. The zones of the program apply, not those of the host.",
)
.required()
.examples(&["Europe/Berlin", "UTC"]);

const VALUE: Key =
    Key::new("value", Shape::Amount, "The value inside a window. Outside it is 0.").required().examples(&["10"]);

const EXPRESSION: Text = Text::parsed::<Expression>().pattern(r"^\s*\S+(\s+\S+){4}\s*$");

/// What opens schedules, with the clock that they go by.
struct Schedules(Clock);

/// A schedule.
struct Schedule {
    windows: Windows,
    value: Quantity,
}

/// A schedule as a source.
struct Scheduled {
    schedule: Schedule,
    clock: Clock,
    rules: ItemRules,
}

impl Connection for Schedules {
    fn open(&self, _form: &str, entry: &Values) -> Result<Opened, OpenError> {
        let schedule = Schedule::of(entry)?;
        let rules = ItemRules::of(entry);
        let text = |key: Key| entry.text(key.name).unwrap_or_default();
        let read = format!("{} | {} | {} {}", text(START), text(END), text(TIMEZONE), schedule.value);
        let identity = rules.identity(&read);
        let source = Scheduled { schedule, clock: self.0, rules };
        Ok(Opened::One(Identified { identity, source: Box::new(source) }))
    }
}

// === impl Schedule ===

impl Schedule {
    /// The schedule of an entry with the keys of [`SCHEDULE`].
    fn of(entry: &Values) -> Result<Self, OpenError> {
        let missing = |key: Key| OpenError(format!("`{}` is missing", key.name));
        let expression = |key: Key| entry.parsed::<Expression>(key.name)?.ok_or_else(|| missing(key));
        let (start, end) = (expression(START)?, expression(END)?);
        let Zone(zone) = entry.parsed(TIMEZONE.name)?.ok_or_else(|| missing(TIMEZONE))?;
        let value = entry.amount(VALUE.name).ok_or_else(|| missing(VALUE))?;
        Ok(Self { windows: Windows { start, end, zone }, value })
    }

    fn value(&self, now: Timestamp) -> Quantity {
        if self.windows.are_open(now) { self.value } else { Quantity::ZERO }
    }

    fn next_change(&self, now: Timestamp) -> Option<Change> {
        let at = self.windows.next_change(now)?;
        Some(Change { at: at.to_zoned(self.windows.zone.clone()), value: self.value(at) })
    }
}

impl Source for Scheduled {
    fn read<'s>(&'s self, _: &'s Part, _: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        let number = Number::Value(self.schedule.value((self.clock)()));
        let items = self.rules.items(&[Point { labels: Default::default(), number }], "");
        async { items }.boxed()
    }

    fn upstream(&self) -> Option<NextRequest<'_>> {
        None
    }

    fn next_change(&self) -> Option<Change> {
        self.schedule.next_change((self.clock)())
    }
}

/// Keys that have no effect, because a read can't fail and brings one number, and a time that `start` and `end` have
/// in common.
fn conflicts(entry: &Values) -> Vec<(&'static str, String)> {
    let mut conflicts = chosen::without_effect(entry, &WITHOUT_EFFECT);
    // Keys that are not valid are reported one by one.
    let Ok(Schedule { windows, .. }) = Schedule::of(entry) else { return conflicts };
    let message = |common: jiff::civil::DateTime| {
        let common = common.strftime("%F %H:%M");
        format!("`start` and `end` have times in common, such as {common}: there a window would begin and end at once")
    };
    conflicts.extend(windows.common_time().map(|common| (END.name, message(common))));
    conflicts
}

fn changes(entry: &Values, now: Timestamp) -> Vec<Change> {
    let Ok(schedule) = Schedule::of(entry) else { return Vec::new() };
    let after = |now| schedule.next_change(now);
    std::iter::successors(after(now), |change| after(change.at.timestamp())).take(CHANGES).collect()
}

#[cfg(test)]
mod tests;
