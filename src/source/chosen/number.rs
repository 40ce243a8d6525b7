//! Numbers as services write them, and which of them can be values. Pure.

use crate::metric::quantity::Quantity;

/// Below this, a number is 0: it is the rest of a computation in floats.
const NOTHING: f64 = 1e-9;
/// Why an infinite number is no value.
pub(super) const INFINITE: &str = "it is infinite. Correct what is read, such as a division by 0.";
/// Why a number above the largest value is no value.
const TOO_LARGE: &str = "it is above 9.2e15, which the HPA controller can't add up. Correct what is read.";

/// A number as a service has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Number {
    /// One that can be a value.
    Value(Quantity),
    /// One below 0.
    Negative,
    /// NaN.
    NotANumber,
    /// One that can't be a value, and why.
    Unusable(&'static str),
}

// === impl Number ===

impl Number {
    /// One above the largest value.
    pub const TOO_LARGE: Self = Self::Unusable(TOO_LARGE);

    /// A decimal number, `NaN` or an infinity, as most services write them: `0.3`, `1e+21`, `+Inf`.
    /// `None` if the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let float: f64 = text.parse().ok()?;
        Some(match float {
            _ if float.is_nan() => Self::NotANumber,
            _ if float.is_infinite() => Self::Unusable(INFINITE),
            _ if float <= -NOTHING => Self::Negative,
            _ if float < NOTHING => Self::Value(Quantity::ZERO),
            // Exact, and only for texts that are numbers without a suffix.
            _ => Quantity::parse_value(text).map_or(Self::TOO_LARGE, Self::Value),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_as_prometheus_writes_them() {
        let value = |milli| Some(Number::Value(Quantity::from_milli(milli)));
        for (text, expected) in [
            ("0", value(0)),
            ("-0", value(0)),
            ("3", value(3000)),
            ("0.30000000000000004", value(300)),
            ("1e-7", value(1)),
            ("0.0005", value(1)),
            ("1e-9", value(1)),
            ("9.99e-10", value(0)),
            ("5e-324", value(0)),
            ("-1e-10", value(0)),
            ("-1e-9", Some(Number::Negative)),
            ("-3", Some(Number::Negative)),
            ("1e+15", value(1_000_000_000_000_000_000)),
            ("9200000000000000", value(9_200_000_000_000_000_000)),
            ("9200000000000001", Some(Number::Unusable(TOO_LARGE))),
            ("1e+21", Some(Number::Unusable(TOO_LARGE))),
            ("12345678901234567000", Some(Number::Unusable(TOO_LARGE))),
            ("+Inf", Some(Number::Unusable(INFINITE))),
            ("-Inf", Some(Number::Unusable(INFINITE))),
            ("1e999", Some(Number::Unusable(INFINITE))),
            ("NaN", Some(Number::NotANumber)),
            ("", None),
            ("null", None),
            ("3k", None),
            ("5E", None),
            ("3 ", None),
            ("1,5", None),
            ("0x10", None),
        ] {
            assert_eq!(Number::parse(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_float_is_rounded_to_the_nearest_thousandth(float in 0.001_f64..1e12) {
            let Some(Number::Value(value)) = Number::parse(&float.to_string()) else { panic!("{float}") };
            prop_assert!((value.as_f64() - float).abs() <= 0.000_5 + float * 1e-12, "{float} {value}");
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = Number::parse(&text);
        }
    }
}
