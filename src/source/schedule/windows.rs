//! When the windows of a schedule are open. Pure.
//!
//! Cron expressions name times of a local clock, which may skip or repeat times when daylight saving begins or
//! ends. One rule covers both: such a time happens once, at the first instant at which the clock has shown it or
//! a later time. So a skipped time happens when the clock is set forward, and a repeated time the first time.
//! Times happen in the order of the local clock, so no window begins or ends twice.

use jiff::civil::{DateTime, DateTimeRound};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{RoundMode, Timestamp, ToSpan as _, Unit};

use super::expression::Expression;

/// Windows of time, each from a start to the next end.
pub(super) struct Windows {
    pub(super) start: Expression,
    pub(super) end: Expression,
    pub(super) zone: TimeZone,
}

// === impl Windows ===

impl Windows {
    /// Whether a window is open.
    pub(super) fn are_open(&self, now: Timestamp) -> bool {
        let time = latest_time(&self.zone, now);
        self.start.up_to(time) > self.end.up_to(time)
    }

    /// When a window opens or closes next.
    pub(super) fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let are_open = self.are_open(now);
        let next = if are_open { &self.end } else { &self.start };
        let mut time = latest_time(&self.zone, now);
        loop {
            time = next.after(time)?;
            let at = happens(&self.zone, time)?;
            // A window whose start and end are both skipped has no duration.
            if self.are_open(at) != are_open {
                return Some(at);
            }
        }
    }

    /// A time at which a window would begin and end.
    pub(super) fn common_time(&self) -> Option<DateTime> {
        self.start.common_time(&self.end)
    }
}

/// The latest time that the local clock has shown, in whole minutes.
fn latest_time(zone: &TimeZone, now: Timestamp) -> DateTime {
    let shown = zone.to_datetime(now);
    let latest = match zone.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Fold { before, after } if zone.to_offset(now) == after => {
            // The clock was set back, and shows these times again.
            let set_back = last_transition(zone, now);
            set_back.map_or(shown, |at| before.to_datetime(at).saturating_sub(1.nanosecond()))
        }
        _ => shown,
    };
    latest.round(DateTimeRound::new().smallest(Unit::Minute).mode(RoundMode::Trunc)).unwrap_or(latest)
}

/// The instant at which a local time happens.
fn happens(zone: &TimeZone, time: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(time);
    match ambiguous.offset() {
        // The clock is set forward before it shows this time.
        AmbiguousOffset::Gap { before, .. } => last_transition(zone, before.to_timestamp(time).ok()?),
        _ => ambiguous.earlier().ok(),
    }
}

/// The last time up to this one at which the clock was set.
fn last_transition(zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    // `preceding` excludes its argument.
    let after = now.checked_add(1.nanosecond()).ok()?;
    zone.preceding(after).next().map(|transition| transition.timestamp())
}
