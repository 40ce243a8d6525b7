//! Reads numbers as Kubernetes writes them: decimal and binary suffixes, exponents. Pure.
//!
//! Mirrors `ParseQuantity`, `MilliValue` and `AsApproximateFloat64` of
//! `k8s.io/apimachinery/pkg/api/resource`.

/// Significant digits that are kept: more than an `i64` of nanounits has. An `i128` holds them, and
/// the multiplication with a binary suffix is checked.
const DIGITS: usize = 27;

/// Digits without a point, times 10 to the power of `exponent`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Number {
    digits: i128,
    exponent: i32,
}

/// What is left of a number that is cut off after some decimal places.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rest {
    Nothing,
    BelowHalf,
    HalfOrMore,
}

/// A Kubernetes quantity as a float, with the controller's own rounding. It is the digits times a power of ten, so that
/// `50m` may differ from 0.05 in the last bit. The result is `None` if the text is not a quantity.
#[expect(clippy::cast_precision_loss, reason = "the controller loses it, too")]
pub fn float(text: &str) -> Option<f64> {
    let Number { digits, exponent } = Number::parse(text)?;
    if digits == 0 || exponent == 0 {
        return Some(digits as f64);
    }
    // Exact to the last bit, as a table would be; `powi` is not.
    let power: f64 = format!("1e{exponent}").parse().ok()?;
    Some(digits as f64 * power).filter(|float| float.is_finite())
}

// === impl Number ===

impl Number {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let (factor, power) = scale(suffix)?;
        let written = format!("{whole}{fraction}");
        let significant = written.trim_start_matches('0');
        let (kept, dropped) = significant.split_at(significant.len().min(DIGITS));
        let mut digits: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
        let mut places = i32::try_from(fraction.len()).ok()? - i32::try_from(dropped.len()).ok()?;
        // One digit in place of all that are dropped: what is not a whole number of thousandths stays so.
        if dropped.bytes().any(|digit| digit != b'0') {
            digits = digits * 10 + 1;
            places += 1;
        }
        let digits = digits.checked_mul(factor)?;
        Some(Self { digits: if negative { -digits } else { digits }, exponent: power.saturating_sub(places) })
    }

    /// In thousandths, rounded away from zero, as the HPA controller does. `None` if there are more
    /// than it can count.
    pub(super) fn rounded_up(self) -> Option<i64> {
        let (milli, rest) = self.cut_after(3)?;
        let up = if rest == Rest::Nothing { 0 } else { self.digits.signum() };
        i64::try_from(milli + up).ok()
    }

    /// In thousandths, rounded to the nearest one. From 1e-9 on a number above 0 stays above 0, what is
    /// smaller is 0. `None` for negative numbers.
    pub(super) fn rounded_to_value(self) -> Option<i64> {
        if self.digits < 0 {
            return None;
        }
        let (milli, rest) = self.cut_after(3)?;
        let up = match rest {
            Rest::Nothing => false,
            Rest::BelowHalf => milli == 0 && self.cut_after(9)?.0 > 0,
            Rest::HalfOrMore => true,
        };
        i64::try_from(milli + i128::from(up)).ok()
    }

    /// Times 10 to the power of `places`, without the fraction; `None` if an `i128` does not hold it.
    fn cut_after(self, places: i32) -> Option<(i128, Rest)> {
        if self.digits == 0 {
            return Some((0, Rest::Nothing));
        }
        let shift = self.exponent.saturating_add(places);
        let power = 10_i128.checked_pow(shift.unsigned_abs());
        if shift >= 0 {
            return Some((self.digits.checked_mul(power?)?, Rest::Nothing));
        }
        // A power that no `i128` holds is more than twice the digits.
        let Some(power) = power else { return Some((0, Rest::BelowHalf)) };
        let rest = (self.digits % power).abs();
        let rest = match rest {
            0 => Rest::Nothing,
            _ if rest < power - rest => Rest::BelowHalf,
            _ => Rest::HalfOrMore,
        };
        Some((self.digits / power, rest))
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
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metric::quantity::Quantity;

    fn milli(text: &str) -> Option<i64> {
        Quantity::parse(text).map(Quantity::milli)
    }

    fn value(text: &str) -> Option<i64> {
        Quantity::parse_value(text).map(Quantity::milli)
    }

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
            ("1E3", Some(1_000_000)),
            ("1e+3", Some(1_000_000)),
            ("1e-3", Some(1)),
            ("0e999999", Some(0)),
            ("1E", None),
            ("1n", Some(1)),
            ("-1n", Some(-1)),
            ("1000001n", Some(2)),
            ("1e-40", Some(1)),
            ("-1e-999999", Some(-1)),
            ("1.0000000000000000000000000000000000001", Some(1001)),
            ("1.0000000000000000000000000000000000000", Some(1000)),
            ("00000000000000000000000000000000000001", Some(1000)),
            ("9223372036854775807m", Some(i64::MAX)),
            ("9223372036854775808m", None),
            ("-9223372036854775808m", Some(i64::MIN)),
            ("1000000000000000000000000000000000000000", None),
            ("8Ei", None),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("1x", None),
            ("1 ", None),
            ("1e", None),
            ("1e999999", None),
            ("1e99999999999", None),
            ("--1", None),
            ("-", None),
            ("1K", None),
            ("1mi", None),
            ("NaN", None),
            ("Infinity", None),
        ] {
            assert_eq!(milli(text), expected, "{text}");
        }
    }

    #[test]
    fn a_value_is_the_nearest_thousandth_and_0_means_0() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("0.1", Some(100)),
            ("500m", Some(500)),
            ("1.5", Some(1500)),
            ("1.0004", Some(1000)),
            ("1.0005", Some(1001)),
            ("1.00049999999999999999999999999999", Some(1000)),
            ("0.9999", Some(1000)),
            ("0.00149", Some(1)),
            ("0.0005", Some(1)),
            ("0.0004", Some(1)),
            ("1n", Some(1)),
            ("1e-9", Some(1)),
            ("0.00000000099999999999999999999999999999999", Some(0)),
            ("1e-10", Some(0)),
            ("1e-400", Some(0)),
            ("1Ki", Some(1_024_000)),
            ("9200000000000000", Some(9_200_000_000_000_000_000)),
            ("9200T", Some(9_200_000_000_000_000_000)),
            ("9199999999999999.999", Some(9_199_999_999_999_999_999)),
            ("9200000000000000.001", None),
            ("9200000000000001", None),
            ("10P", None),
            ("1e400", None),
            ("-1", None),
            ("-1n", None),
            ("-1e-10", None),
            ("NaN", None),
            ("inf", None),
            ("", None),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn a_float_is_the_digits_times_a_power_of_ten() {
        for (text, expected) in [
            ("50m", 50.0 * 1e-3),
            ("0", 0.0),
            ("0e999", 0.0),
            ("100m", 0.1),
            ("1", 1.0),
            ("3u", 3.0 * 1e-6),
            ("1e-400", 0.0),
        ] {
            assert_eq!(float(text), Some(expected), "{text}");
        }
        for text in ["a tenth", "1e400"] {
            assert_eq!(float(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(number: i64) {
            let quantity = Quantity::from_milli(number);
            prop_assert_eq!(Quantity::parse(&quantity.to_string()), Some(quantity));
            prop_assert_eq!(Quantity::parse(&quantity.decimal().to_string()), Some(quantity));
        }

        #[test]
        fn a_value_that_is_printed_is_read_back(number in 0..=Quantity::MAX.milli()) {
            let quantity = Quantity::from_milli(number);
            prop_assert_eq!(Quantity::parse_value(&quantity.to_string()), Some(quantity));
            prop_assert_eq!(Quantity::parse_value(&quantity.decimal().to_string()), Some(quantity));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+]?[0-9.]{0,40}[a-zA-Z]{0,3}[-+]?[0-9]{0,9}") {
            let (up, value) = (milli(&text), value(&text));
            // Only what is above 1.8e308 is a quantity and no float.
            prop_assert!(up.is_none() || float(&text).is_some());
            // The two roundings differ by a thousandth at most.
            if let (Some(up), Some(value)) = (up, value) {
                prop_assert!((0..=1).contains(&(up - value)), "{} {}", up, value);
            }
        }

        #[test]
        fn the_nearest_thousandth_is_a_half_away_at_most(whole in 0_i64..1_000_000, nano in 0_i64..1_000_000_000) {
            let milli = value(&format!("{whole}.{nano:09}")).unwrap();
            let off = (milli * 1_000_000 - (whole * 1_000_000_000 + nano)).abs();
            prop_assert!(off <= 500_000 || (whole == 0 && nano > 0 && milli == 1), "{}", milli);
        }
    }
}
