//! Numbers as they are written in an HPA and in an answer, read as the controller reads them.
//!
//! Mirrors `ParseQuantity`, `MilliValue` and `AsApproximateFloat64` of
//! `k8s.io/apimachinery/pkg/api/resource`. Writing them is [`crate::metric::quantity`]'s.

/// More digits than any number has that an `i64` of nanounits holds; an `i128` holds them, and a
/// binary suffix on top is checked.
const DIGITS: usize = 27;

/// Digits without a point, times 10 to the power of `exponent`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Number {
    digits: i128,
    exponent: i32,
}

/// In thousandths, rounded away from zero; `None` if it is no Quantity, or more than the
/// controller can count.
pub fn milli(text: &str) -> Option<i64> {
    let Number { digits, exponent } = Number::parse(text)?;
    let shift = exponent + 3;
    let power = 10_i128.checked_pow(shift.unsigned_abs())?;
    let milli = if shift >= 0 {
        digits.checked_mul(power)?
    } else {
        let up = i128::from(digits % power != 0) * digits.signum();
        digits / power + up
    };
    i64::try_from(milli).ok()
}

/// As a float, with the controller's own rounding: the digits times a power of ten, so that `50m`
/// may differ from 0.05 in the last bit. `None` if it is no Quantity.
#[expect(clippy::cast_precision_loss, reason = "the controller loses it, too")]
pub fn float(text: &str) -> Option<f64> {
    let Number { digits, exponent } = Number::parse(text)?;
    // Exact to the last bit, as a table would be; `powi` is not.
    let power: f64 = format!("1e{exponent}").parse().ok()?;
    Some(if exponent == 0 { digits as f64 } else { digits as f64 * power })
}

// === impl Number ===

impl Number {
    fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() > DIGITS || number.is_empty() || number == "." || fraction.contains('.') {
            return None;
        }
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let digits = if negative { -digits } else { digits };
        let places = i32::try_from(fraction.len()).ok()?;
        let (factor, exponent) = scale(suffix)?;
        Some(Self { digits: digits.checked_mul(factor)?, exponent: exponent - places })
    }
}

/// A suffix as a factor and a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            // What no i64 holds is none the better for a larger exponent.
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (1, Some(exponent).filter(|exponent| exponent.abs() <= 30)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metric::quantity::Quantity;

    #[test]
    fn thousandths_are_rounded_away_from_zero() {
        for (text, expected) in [
            ("0", Some(0)),
            ("2", Some(2000)),
            ("+2", Some(2000)),
            ("1500m", Some(1500)),
            ("1.5", Some(1500)),
            ("-1.5", Some(-1500)),
            (".5", Some(500)),
            ("1.", Some(1000)),
            ("1k", Some(1_000_000)),
            ("1Ki", Some(1_024_000)),
            ("0.5Ki", Some(512_000)),
            ("1e3", Some(1_000_000)),
            ("1E", None),
            ("1n", Some(1)),
            ("-1n", Some(-1)),
            ("1000001n", Some(2)),
            ("9223372036854775807m", Some(i64::MAX)),
            ("9223372036854775808m", None),
            ("8Ei", None),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("1x", None),
            ("1 ", None),
            ("1e", None),
            ("1e999999", None),
            ("--1", None),
            ("NaN", None),
        ] {
            assert_eq!(milli(text), expected, "{text}");
        }
    }

    #[test]
    fn a_float_is_the_digits_times_a_power_of_ten() {
        for (text, expected) in [("50m", 50.0 * 1e-3), ("0", 0.0), ("100m", 0.1), ("1", 1.0), ("3u", 3.0 * 1e-6)] {
            assert_eq!(float(text), Some(expected), "{text}");
        }
        assert_eq!(float("a tenth"), None);
    }

    proptest! {
        #[test]
        fn what_we_write_is_read_back(number: i64) {
            prop_assert_eq!(milli(&Quantity::from_milli(number).to_string()), Some(number));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+]?[0-9.]{0,40}[a-zA-Z]{0,3}[-+]?[0-9]{0,9}") {
            prop_assert_eq!(milli(&text).is_some() && float(&text).is_none(), false);
        }
    }
}
