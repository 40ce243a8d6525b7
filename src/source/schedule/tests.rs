//! Schedules by a clock that is an argument, and compared with a walk over every minute.

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::source::keys::Value;

fn entry(start: &str, end: &str, zone: &str) -> Values {
    let text = |text: &str| Value::Text(text.to_owned());
    let metric = ("metric", text("hours"));
    let value = ("value", Value::Amount(Quantity::from_units(10)));
    [metric, ("start", text(start)), ("end", text(end)), ("timezone", text(zone)), value].into_iter().collect()
}

fn schedule(start: &str, end: &str, zone: &str) -> Schedule {
    Schedule::of(&entry(start, end, zone)).unwrap_or_else(|error| panic!("{error}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The changes after a time, as in `2026-03-29T01:00:00Z 10`.
fn changes_of(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    let next = |now| schedule.next_change(now);
    let all = std::iter::successors(next(at(after)), |change| next(change.at.timestamp()));
    all.take(count).map(|change| format!("{} {}", change.at.timestamp(), change.value)).collect()
}

#[test]
fn working_hours() {
    let office = schedule("0 8 * * 1-5", "0 18 * * MON-FRI", "Europe/Berlin");
    for (time, value) in [
        ("2026-03-27T06:59:59.999Z", 0),
        ("2026-03-27T07:00:00Z", 10),
        ("2026-03-27T16:59:59Z", 10),
        ("2026-03-27T17:00:00Z", 0),
        ("2026-03-28T10:00:00Z", 0),
        // Summer time began.
        ("2026-03-30T05:59:00Z", 0),
        ("2026-03-30T06:00:00Z", 10),
    ] {
        assert_eq!(office.value(at(time)), Quantity::from_units(value), "{time}");
    }
    let expected = ["2026-03-27T17:00:00Z 0", "2026-03-30T06:00:00Z 10", "2026-03-30T16:00:00Z 0"];
    assert_eq!(changes_of(&office, "2026-03-27T12:00:00Z", 3), expected);
}

#[test]
fn a_change_is_written_in_utc_and_in_local_time() {
    let entry = entry("0 8 * * 1-5", "0 18 * * 1-5", "europe/berlin");
    let text: Vec<String> = changes(&entry, at("2026-03-27T12:00:00Z")).iter().map(Change::to_string).collect();
    let expected = [
        "0 at 2026-03-27T17:00:00Z (Fri 2026-03-27 18:00 Europe/Berlin)",
        "10 at 2026-03-30T06:00:00Z (Mon 2026-03-30 08:00 Europe/Berlin)",
        "0 at 2026-03-30T16:00:00Z (Mon 2026-03-30 18:00 Europe/Berlin)",
    ];
    assert_eq!(text, expected);
}

#[test]
fn a_skipped_time_happens_when_the_clock_is_set_forward() {
    // From 2:00 to 3:00 in Berlin, which is 1:00 UTC.
    let of = |start, end| changes_of(&schedule(start, end, "Europe/Berlin"), "2026-03-28T12:00:00Z", 2);
    assert_eq!(of("30 2 * * *", "0 6 * * *"), ["2026-03-29T01:00:00Z 10", "2026-03-29T04:00:00Z 0"]);
    assert_eq!(of("0 1 * * *", "30 2 * * *"), ["2026-03-29T00:00:00Z 10", "2026-03-29T01:00:00Z 0"]);
    assert_eq!(of("0 2 * * *", "0 3 * * *"), ["2026-03-30T00:00:00Z 10", "2026-03-30T01:00:00Z 0"], "no duration");
    // A pause of that hour is none.
    let night = schedule("45 2 * * *", "15 2 * * *", "Europe/Berlin");
    assert_eq!(changes_of(&night, "2026-03-28T12:00:00Z", 1), ["2026-03-30T00:15:00Z 0"]);
    assert_eq!(night.value(at("2026-03-29T01:00:00Z")), Quantity::from_units(10));
    // A whole day, by the date line.
    let apia = schedule("0 8 30 12 *", "0 9 31 12 *", "Pacific/Apia");
    assert_eq!(changes_of(&apia, "2011-12-29T00:00:00Z", 2), ["2011-12-30T10:00:00Z 10", "2011-12-30T19:00:00Z 0"]);
}

#[test]
fn a_repeated_hour_is_one_window() {
    // From 3:00 back to 2:00 in Berlin, which is 1:00 UTC.
    let of = |start, end| changes_of(&schedule(start, end, "Europe/Berlin"), "2026-10-24T12:00:00Z", 3);
    let next = "2026-10-26T01:15:00Z 10";
    assert_eq!(of("15 2 * * *", "45 2 * * *"), ["2026-10-25T00:15:00Z 10", "2026-10-25T00:45:00Z 0", next]);
    assert_eq!(of("15 2 * * *", "0 3 * * *"), ["2026-10-25T00:15:00Z 10", "2026-10-25T02:00:00Z 0", next]);
    assert_eq!(of("15 2 * * *", "30 3 * * *"), ["2026-10-25T00:15:00Z 10", "2026-10-25T02:30:00Z 0", next]);
    // A pause of five minutes in that hour is five minutes.
    let night = schedule("15 2 * * *", "10 2 * * *", "Europe/Berlin");
    let expected = ["2026-10-25T00:10:00Z 0", "2026-10-25T00:15:00Z 10", "2026-10-26T01:10:00Z 0"];
    assert_eq!(changes_of(&night, "2026-10-24T12:00:00Z", 3), expected);
    // By half an hour.
    let island = schedule("45 1 * * *", "55 1 * * *", "Australia/Lord_Howe");
    let expected = ["2026-04-04T14:45:00Z 10", "2026-04-04T14:55:00Z 0", "2026-04-05T15:15:00Z 10"];
    assert_eq!(changes_of(&island, "2026-04-04T00:00:00Z", 3), expected);
}

#[test]
fn windows_that_overlap_are_one() {
    let twice = schedule("0 8,9 * * *", "0 17,18 * * *", "UTC");
    let expected = ["2026-01-01T08:00:00Z 10", "2026-01-01T17:00:00Z 0", "2026-01-02T08:00:00Z 10"];
    assert_eq!(changes_of(&twice, "2026-01-01T00:00:00Z", 3), expected);
}

#[test]
fn a_window_may_last_for_years() {
    let leap = schedule("0 0 29 2 *", "0 12 29 2 *", "UTC");
    let expected = ["2028-02-29T00:00:00Z 10", "2028-02-29T12:00:00Z 0", "2032-02-29T00:00:00Z 10"];
    assert_eq!(changes_of(&leap, "2026-01-01T00:00:00Z", 3), expected);
    assert_eq!(changes_of(&leap, "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00Z 10"], "2100 is no leap year");
    let years = schedule("0 0 1 1 *", "0 0 29 2 *", "UTC");
    assert_eq!(years.value(at("2027-06-01T00:00:00Z")), Quantity::from_units(10));
    assert_eq!(changes_of(&years, "2027-06-01T00:00:00Z", 1), ["2028-02-29T00:00:00Z 0"]);
}

/// March 2026 begins on a Sunday.
#[test]
fn days_of_a_month() {
    let weekdays: Vec<i8> = (1..=31).filter(|day| ![0, 1].contains(&(day % 7))).collect();
    let fridays = [6, 13, 20, 27];
    let sundays = [1, 8, 15, 22, 29];
    for (text, expected) in [
        ("0 8 10 * *", &[10][..]),
        ("0 8 10 * ?", &[10]),
        ("0 8 ? * 5", &fridays),
        // If both are restricted, a day that matches either counts.
        ("0 8 10 * 5", &[6, 10, 13, 20, 27]),
        ("0 8 10 * FRI", &[6, 10, 13, 20, 27]),
        // Every day by a step of 1 is no restriction.
        ("0 8 * * 1-5", &weekdays),
        ("0 8 */1 * 1-5", &weekdays),
        ("0 8 ?/1 * 1-5", &weekdays),
        ("0 8 */01 * MON-FRI", &weekdays),
        ("0 8 10 * */1", &[10]),
        ("0 8 10 * ?/1", &[10]),
        ("0 8 */10 * *", &[1, 11, 21, 31]),
        ("0 8 */10 * ?", &[1, 11, 21, 31]),
        ("0 8 * * 0", &sundays),
        ("0 8 * * 7", &sundays),
        ("0 8 * * SUN", &sundays),
        ("0 8 * * 5-7", &[1, 6, 7, 8, 13, 14, 15, 20, 21, 22, 27, 28, 29]),
        ("0 8 * * FRI-SUN", &[1, 6, 7, 8, 13, 14, 15, 20, 21, 22, 27, 28, 29]),
        ("0 8 L * *", &[31]),
        ("0 8 LW * *", &[31]),
        // The weekday next to a Sunday at the beginning, to a Saturday and to a Sunday.
        ("0 8 1W * *", &[2]),
        ("0 8 7W * *", &[6]),
        ("0 8 15W * *", &[16]),
        ("0 8 * * 5#3", &[20]),
        ("0 8 * * 5L", &[27]),
        ("0 8 * * 7#1", &[1]),
        ("0 8 * * 7L", &[29]),
    ] {
        let expression: Expression = text.parse().unwrap_or_else(|error| panic!("{error}"));
        let first = jiff::civil::date(2026, 2, 28).at(23, 59, 0, 0);
        let all = std::iter::successors(expression.after(first), |time| expression.after(*time));
        let days: Vec<i8> = all.take_while(|time| time.month() == 3).map(|time| time.day()).collect();
        assert_eq!(days, expected, "{text}");
    }
}

#[test]
fn every_day_by_a_step_of_1_restricts_no_day() {
    let of = |start, end| changes_of(&schedule(start, end, "Europe/Berlin"), "2026-03-27T12:00:00Z", 20);
    assert_eq!(of("0 8 */1 * 1-5", "0 18 */1 * 1-5"), of("0 8 * * 1-5", "0 18 * * 1-5"));
    assert_eq!(of("0 8 1 * */1", "0 18 1 * ?/1"), of("0 8 1 * *", "0 18 1 * *"));
}

#[test]
fn what_is_no_schedule_is_refused() {
    for (text, error) in [
        ("0 8 * *", "has 4 fields"),
        ("0 0 8 * * 1", "has 6 fields"),
        ("@daily", "has 1 field;"),
        ("", "has 0 fields"),
        ("60 8 * * *", "is not a cron expression: minute \"60\"; write 0 to 59, "),
        ("0 8 * * MONDAY", "is not a cron expression: day of week \"MONDAY\"; write 0 to 7, SUN to SAT, "),
        ("0 8 * * 1-", "is not a cron expression: "),
        ("0 8 1 * +1", "is not a cron expression: a day of week can't begin with +"),
        ("0 8 L5 * *", "is not a cron expression: day of month \"L5\"; write 1 to 31, "),
        ("0 8 5#3 * *", "is not a cron expression: "),
        ("0 8 * * 1W", "is not a cron expression: "),
        ("0 ? * * *", "is not a cron expression: "),
        ("0 0 30 2 *", "has no time: no month has that day"),
        ("0 0 31 4,6,9,11 *", "has no time: no month has that day"),
    ] {
        let found = text.parse::<Expression>().err().unwrap_or_else(|| panic!("{text} is taken"));
        assert!(found.contains(error) && found.contains(&format!("{text:?}")), "{found}");
    }
    for zone in ["", "Europe/Bonn", "local", "CET-1CEST", "+01:00"] {
        assert!(zone.parse::<Zone>().is_err(), "{zone}");
    }
    for zone in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
        assert!(zone.parse::<Zone>().is_ok(), "{zone}");
    }
}

#[test]
fn start_and_end_have_no_time_in_common() {
    let common =
        |start, end| conflicts(&entry(start, end, "UTC")).pop().map(|(key, message)| format!("{key}: {message}"));
    let message = |time: &str| {
        Some(format!(
            "end: `start` and `end` have times in common, such as {time}: there a window would begin and end at once"
        ))
    };
    assert_eq!(common("0 8 * * *", "0 8 * * *"), message("2024-01-01 08:00"));
    assert_eq!(common("0 8 * * 1-5", "0 8,18 * * 5"), message("2024-01-05 08:00"));
    assert_eq!(common("0 0 29 2 *", "0 0 * * 0"), message("2032-02-29 00:00"));
    assert_eq!(common("* * * * *", "59 23 31 12 *"), message("2024-12-31 23:59"));
    assert_eq!(common("0 8 * * 1-5", "0 8 * * 0,6"), None);
    assert_eq!(common("0 8 * * *", "0 18 * * *"), None);
    assert_eq!(common("*/2 * * * *", "1-59/2 * * * *"), None);
    assert_eq!(common("0 8 * *", "0 8 * * *"), None, "that is reported at `start`");
}

#[tokio::test(start_paused = true)]
async fn a_read_goes_by_the_clock_that_is_given() {
    fn inside() -> Timestamp {
        Timestamp::from_second(1_774_600_000).unwrap()
    }
    fn outside() -> Timestamp {
        inside() + SignedDuration::from_hours(12)
    }
    let entry = entry("0 8 * * 1-5", "0 18 * * 1-5", "Europe/Berlin");
    for (clock, value, next) in
        [(inside as Clock, 10, "0 at 2026-03-27T17:00:00Z"), (outside, 0, "10 at 2026-03-30T06:00:00Z")]
    {
        let Ok(Opened::One(Identified { source, .. })) = Schedules(clock).open("start", &entry) else { panic!() };
        let items = source.read(&Part::default(), Instant::now()).await.unwrap();
        assert_eq!(items.value(&crate::metric::MetricName::new("hours")), Some(Quantity::from_units(value)));
        let change = source.next_change().unwrap().to_string();
        assert!(change.starts_with(next), "{change}");
        assert!(source.upstream().is_none());
    }
}

/// Zones with changes of an hour, of half an hour, at midnight, in winter, and with none.
const ZONES: [&str; 7] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Europe/Dublin",
    "Asia/Kolkata",
    "UTC",
];

/// Whether a window is open, by a walk over every minute from an instant at which none is. A time of the local
/// clock counts when the clock first shows it, or when the clock jumps over it.
struct Walk {
    at: Timestamp,
    latest: jiff::civil::DateTime,
    is_open: bool,
    zone: TimeZone,
    minutes: [u32; 2],
}

impl Walk {
    fn step(&mut self) {
        self.at += SignedDuration::from_mins(1);
        let shown = self.zone.to_datetime(self.at);
        while self.latest < shown {
            self.latest = self.latest.checked_add(SignedDuration::from_mins(1)).unwrap();
            let minute = u32::try_from(i32::from(self.latest.hour()) * 60 + i32::from(self.latest.minute())).unwrap();
            let [start, end] = self.minutes;
            self.is_open = (self.is_open || minute == start) && minute != end;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn windows_are_those_of_a_walk_over_every_minute(
        zone in prop::sample::select(&ZONES[..]),
        transition in 0_usize..3,
        start in 0_u32..240,
        end in 0_u32..240,
    ) {
        prop_assume!(start != end);
        let cron = |minute: u32| format!("{} {} * * *", minute % 60, minute / 60);
        let schedule = schedule(&cron(start), &cron(end), zone);
        let zone = schedule.windows.zone.clone();
        // Around noon, so that both times have happened on that day. The clock is set in the night after.
        let set = zone.following(at("2026-01-01T00:00:00Z")).nth(transition);
        let set = set.map_or(at("2026-06-01T18:00:00Z"), |transition| transition.timestamp());
        let from = set - SignedDuration::from_hours(12);
        let latest = zone.to_datetime(from);
        let mut walk = Walk { at: from, latest, is_open: start > end, zone, minutes: [start, end] };
        let mut next = schedule.next_change(walk.at).unwrap();
        for _ in 0..36 * 60 {
            let before = walk.is_open;
            walk.step();
            prop_assert_eq!(schedule.windows.are_open(walk.at), walk.is_open, "{}", walk.at);
            let has_changed = before != walk.is_open;
            prop_assert_eq!(next.at.timestamp() == walk.at, has_changed, "{} {}", walk.at, next.at);
            if has_changed {
                next = schedule.next_change(walk.at).unwrap();
            }
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,20}") {
        let _ = (text.parse::<Expression>(), text.parse::<Zone>());
    }

    #[test]
    fn no_expression_panics(text in "[0-9*,/LW#+?-]{1,6}( [0-9A-Z*,/LW#+?-]{1,6}){4}") {
        let _ = text.parse::<Expression>();
    }
}
