//! A cron expression of five fields. Pure.

use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{DateTime, date};

/// A cron expression that has a time.
#[derive(Clone, Debug)]
pub(super) struct Expression(Cron);

/// In these 28 years, each date falls on each day of the week.
const YEARS: [DateTime; 2] = [date(2024, 1, 1).at(0, 0, 0, 0), date(2052, 1, 1).at(0, 0, 0, 0)];

/// The fields, and what to write in each.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "write 0 to 59, *, or lists, ranges and steps of them"),
    ("hour", "write 0 to 23, *, or lists, ranges and steps of them"),
    ("day of month", "write 1 to 31, L, *, or lists, ranges and steps of them"),
    ("month", "write 1 to 12, JAN to DEC, *, or lists, ranges and steps of them"),
    ("day of week", "write 0 to 7, SUN to SAT, *, or lists, ranges and steps of them"),
];

// === impl Expression ===

impl Expression {
    /// The first time after this one.
    pub(super) fn after(&self, time: DateTime) -> Option<DateTime> {
        self.0.find_next_occurrence(&time, false).ok()
    }

    /// This time or the last one before.
    pub(super) fn up_to(&self, time: DateTime) -> Option<DateTime> {
        self.0.find_previous_occurrence(&time, true).ok()
    }

    /// The first time that two expressions have in common.
    pub(super) fn common_time(&self, other: &Self) -> Option<DateTime> {
        let [mut time, end] = YEARS;
        // Most schedules end here, without a search.
        let (one, two) = (&self.0.pattern, &other.0.pattern);
        let meet = |one: Vec<u16>, two: Vec<u16>| one.iter().any(|value| two.contains(value));
        if !meet(one.minutes.values(), two.minutes.values()) || !meet(one.hours.values(), two.hours.values()) {
            return None;
        }
        while time < end {
            let own = self.0.find_next_occurrence(&time, true).ok()?;
            time = other.0.find_next_occurrence(&own, true).ok()?;
            if time == own {
                return Some(time);
            }
        }
        None
    }
}

impl FromStr for Expression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            let count = match fields.len() {
                1 => "1 field".to_owned(),
                count => format!("{count} fields"),
            };
            return Err(format!(
                "{text:?} has {count}; a cron expression has five: minute, hour, day of month, month, day of week"
            ));
        };
        if weekday.starts_with('+') {
            return Err(format!("{text:?} is not a cron expression: a day of week can't begin with +"));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        // The parser takes every day by a step of 1 for a restriction, and then a day of the other field counts, too.
        let fields = [minute, hour, every_day(day), month, every_day(weekday)];
        let cron = parser.parse(&fields.join(" ")).map_err(|_| {
            // The text of the parser names no field.
            let is_wrong = |(at, field): (usize, &str)| {
                let mut alone = ["*"; 5];
                alone[at] = field;
                parser.parse(&alone.join(" ")).is_err().then(|| format!("{} {field:?}; {}", FIELDS[at].0, FIELDS[at].1))
            };
            let fault = fields.into_iter().enumerate().find_map(is_wrong);
            format!(
                "{text:?} is not a cron expression: {}",
                fault.as_deref().unwrap_or("write such as \"0 8 * * 1-5\"")
            )
        })?;
        let [start, end] = YEARS;
        match cron.find_next_occurrence(&start, true) {
            Ok(time) if time < end => Ok(Self(cron)),
            _ => Err(format!("{text:?} has no time: no month has that day")),
        }
    }
}

/// The field of a day, as `*` if it is every day by a step of 1.
fn every_day(field: &str) -> &str {
    let step = field.strip_prefix("*/").or_else(|| field.strip_prefix("?/"));
    if step.is_some_and(|step| step.parse() == Ok(1_u16)) { "*" } else { field }
}
