//! The last hour of a reading as a line. A gap in it is a time without a reading, which is not a
//! time of zeros. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::lookup::history::BUCKET;
use crate::metric::quantity::Quantity;

/// In units of the drawing: a span of time is one wide.
const HEIGHT: f64 = 24.0;
/// Above and below the line, so that it is not cut off.
const MARGIN: f64 = 2.0;

/// An inline SVG with its times and its largest value, and a text for screen readers. The bottom is 0, the
/// top the largest value. It begins with the first span that has one; the last span ends `now`.
pub(super) fn draw(hour: &[Option<Quantity>], now: Timestamp) -> Markup {
    let hour = &hour[hour.iter().take_while(|value| value.is_none()).count()..];
    let text = describe(hour);
    let path = path(hour);
    html! {
        svg.spark role="img" aria-label=(text) viewBox={ "0 0 " (hour.len()) " " (HEIGHT) } preserveAspectRatio="none" {
            title { (text) }
            path d=(path) vector-effect="non-scaling-stroke" {}
        }
        @if let Some(most) = hour.iter().flatten().max() {
            span.scale {
                span { (time(now - BUCKET * u32::try_from(hour.len()).unwrap_or_default())) }
                span { "max " (most.decimal()) }
                span { (time(now)) }
            }
        }
    }
}

/// Hours and minutes in UTC.
fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%H:%M").to_string()
}

/// What there is to see, in a sentence.
fn describe(hour: &[Option<Quantity>]) -> String {
    let known = || hour.iter().flatten();
    let (Some(least), Some(most)) = (known().min(), known().max()) else {
        return "Last hour: nothing was read".to_owned();
    };
    let (least, most) = (least.decimal(), most.decimal());
    let gaps = hour.iter().filter(|value| value.is_none()).count();
    let range = if least == most { format!("{least}") } else { format!("between {least} and {most}") };
    let missing =
        if gaps == 0 { "without gaps".to_owned() } else { format!("{gaps} of {} spans not read", hour.len()) };
    format!("Last hour: {range}, {missing}")
}

/// A stroke for each run of values; a single value between gaps is a dot.
fn path(hour: &[Option<Quantity>]) -> String {
    let most = hour.iter().flatten().max().map_or(0.0, |most| most.as_f64());
    let mut path = String::new();
    let mut drawing = false;
    for (at, value) in hour.iter().enumerate() {
        let Some(value) = value else {
            drawing = false;
            continue;
        };
        // Where all are 0, they are at the bottom.
        let share = if most > 0.0 { value.as_f64() / most } else { 0.0 };
        let (x, y) = (at as f64 + 0.5, HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * share);
        // Writing to a String cannot fail. `h0` makes a dot of a stroke that ends at once.
        let _ = match drawing {
            true => write!(path, "L{x:.1} {y:.1}"),
            false => write!(path, "M{x:.1} {y:.1}h0"),
        };
        drawing = true;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milli(milli: i64) -> Option<Quantity> {
        Some(Quantity::from_milli(milli))
    }

    #[test]
    fn a_gap_is_a_gap_and_no_zero() {
        let hour = [Some(0), Some(10_000), None, Some(5000), None, None, Some(10_000), Some(10_000)]
            .map(|value| milli(value?));
        assert_eq!(path(&hour), "M0.5 22.0h0L1.5 2.0M3.5 12.0h0M6.5 2.0h0L7.5 2.0");
        assert_eq!(describe(&hour), "Last hour: between 0 and 10, 3 of 8 spans not read");
    }

    #[test]
    fn an_hour_of_zeros_is_a_line_at_the_bottom_and_an_hour_of_nothing_none() {
        assert_eq!(path(&[milli(0); 3]), "M0.5 22.0h0L1.5 22.0L2.5 22.0");
        assert_eq!(describe(&[milli(0); 3]), "Last hour: 0, without gaps");
        assert_eq!(path(&[None; 3]), "");
        assert_eq!(describe(&[None; 3]), "Last hour: nothing was read");
    }

    #[test]
    fn it_begins_with_the_first_value_and_has_times_and_the_largest_value() {
        let now = "2026-11-22T14:02:03Z".parse().unwrap();
        let hour = [None, None, milli(1500), None, milli(400)];
        let drawn = draw(&hour, now).into_string();
        assert!(drawn.contains(r#"viewBox="0 0 3 24""#), "{drawn}");
        assert!(drawn.contains("<span>14:00</span><span>max 1.5</span><span>14:02</span>"), "{drawn}");
        assert!(!draw(&[None; 3], now).into_string().contains("max"));
    }

    #[test]
    fn the_largest_number_stays_in_the_picture() {
        assert_eq!(path(&[milli(i64::MAX), milli(0)]), "M0.5 2.0h0L1.5 22.0");
    }

    #[test]
    fn fractions_fill_the_picture() {
        let hour = [milli(400), milli(200), milli(0)];
        assert_eq!(path(&hour), "M0.5 2.0h0L1.5 12.0L2.5 22.0");
        assert_eq!(describe(&hour), "Last hour: between 0 and 0.4, without gaps");
    }
}
