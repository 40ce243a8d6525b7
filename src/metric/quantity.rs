//! Kubernetes' `resource.Quantity`, as far as metrics need it: exact thousandths, no floats.
//!
//! Canonical form as in `k8s.io/apimachinery/pkg/api/resource`: no fractional digits, and the
//! largest decimal suffix that allows it. So 1500 stays `1500`, 20000 is `20k`, and one and a
//! half is `1500m`.

use std::fmt;

use serde::{Serialize, Serializer};

mod text;

pub use text::float;

/// A number of thousandths, printed the way Kubernetes prints it.
///
/// The HPA controller counts in 64 bits of thousandths. A number that does not fit can't be made:
/// constructors of larger types and sums return `None`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Quantity {
    milli: i64,
}

/// A quantity as users write it: `0.4`, `20000`. In JSON it is a number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Decimal(Quantity);

/// Decimal suffixes from thousandths upwards, a factor of 1000 apart.
const SUFFIXES: [&str; 8] = ["m", "", "k", "M", "G", "T", "P", "E"];

// === impl Quantity ===

impl Quantity {
    /// 0
    pub const ZERO: Self = Self::from_milli(0);

    /// The largest value, and the largest sum of an answer, in units. The HPA controller adds up
    /// thousandths in 64 bits, so that it reads what is above 9.22e15 as 0.
    pub const UNITS_MAX: i64 = 9_200_000_000_000_000;

    /// The same as a value.
    pub const MAX: Self = Self::from_milli(Self::UNITS_MAX * 1000);

    /// A whole number of units, small enough that its thousandths fit.
    pub fn from_units(units: i32) -> Self {
        Self { milli: i64::from(units) * 1000 }
    }

    /// A number of thousandths of a unit.
    pub const fn from_milli(milli: i64) -> Self {
        Self { milli }
    }

    /// A whole number of units as a value; `None` if it is negative or above [`Self::MAX`].
    pub fn value(units: i64) -> Option<Self> {
        units.checked_mul(1000).map(Self::from_milli).filter(|value| value.is_value())
    }

    /// A number as written in an HPA or in an answer, as the HPA controller reads it: thousandths are
    /// rounded away from zero. `None` if it is not a number, or does not fit.
    pub fn parse(text: &str) -> Option<Self> {
        text::Number::parse(text)?.rounded_up().map(Self::from_milli)
    }

    /// A value as written in the config or in a selector, rounded to the nearest thousandth. From 1e-9
    /// on it stays above 0; what is smaller is 0. `None` if it is not a number, negative, or above
    /// [`Self::MAX`].
    pub fn parse_value(text: &str) -> Option<Self> {
        let value = text::Number::parse(text)?.rounded_to_value().map(Self::from_milli);
        value.filter(|value| value.is_value())
    }

    /// The sum; `None` if it does not fit.
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        // 2^64 items would fit, and the order does not matter.
        let milli: i128 = all.into_iter().map(|one| i128::from(one.milli)).sum();
        i64::try_from(milli).ok().map(Self::from_milli)
    }

    /// Whether it can be a value, or the sum of an answer.
    pub fn is_value(self) -> bool {
        (Self::ZERO..=Self::MAX).contains(&self)
    }

    /// The number of thousandths.
    pub const fn milli(self) -> i64 {
        self.milli
    }

    /// The nearest number that other systems have: exact for whole units up to 2^53.
    #[expect(clippy::cast_precision_loss, reason = "other systems have nothing better")]
    pub fn as_f64(self) -> f64 {
        if self.milli % 1000 == 0 { (self.milli / 1000) as f64 } else { self.milli as f64 / 1000.0 }
    }

    /// As users write it.
    pub const fn decimal(self) -> Decimal {
        Decimal(self)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = self.milli;
        let mut suffix = 0;
        while digits != 0 && digits % 1000 == 0 && suffix + 1 < SUFFIXES.len() {
            digits /= 1000;
            suffix += 1;
        }
        if digits == 0 {
            return f.write_str("0");
        }
        write!(f, "{digits}{}", SUFFIXES[suffix])
    }
}

// === impl Decimal ===

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milli = self.0.milli.unsigned_abs();
        let (whole, rest) = (milli / 1000, milli % 1000);
        let text = match rest {
            0 => format!("{whole}"),
            _ => format!("{whole}.{rest:03}").trim_end_matches('0').to_owned(),
        };
        f.pad_integral(self.0.milli >= 0, "", &text)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.milli % 1000 {
            0 => serializer.serialize_i64(self.0.milli / 1000),
            _ => serializer.serialize_f64(self.0.as_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts by `resource.NewMilliQuantity` of k8s.io/apimachinery 0.37.2.
    #[test]
    fn canonical_form() {
        for (milli, text) in [
            (0, "0"),
            (1, "1m"),
            (-1, "-1m"),
            (999, "999m"),
            (1000, "1"),
            (1500, "1500m"),
            (2000, "2"),
            (42_000, "42"),
            (100_000, "100"),
            (999_000, "999"),
            (1_000_000, "1k"),
            (1_500_000, "1500"),
            (20_000_000, "20k"),
            (-3000, "-3"),
            (-1_000_000_000, "-1M"),
            (9_000_000_000_000_000_000, "9P"),
            (i64::MAX - 807, "9223372036854775"),
            (-i64::MAX + 807, "-9223372036854775"),
            (i64::MAX, "9223372036854775807m"),
            (i64::MIN, "-9223372036854775808m"),
        ] {
            assert_eq!(Quantity::from_milli(milli).to_string(), text);
        }
        assert_eq!(Quantity::from_units(i32::MAX).to_string(), "2147483647");
        assert_eq!(Quantity::from_units(i32::MIN).to_string(), "-2147483648");
    }

    #[test]
    fn the_largest_value_is_one_that_the_hpa_controller_can_add_up() {
        assert_eq!(Quantity::MAX.milli(), Quantity::UNITS_MAX * 1000);
        assert_eq!(Quantity::MAX.to_string(), "9200T");
        assert!(Quantity::MAX.is_value() && Quantity::ZERO.is_value());
        for milli in [-1, Quantity::MAX.milli() + 1, i64::MIN, i64::MAX] {
            assert!(!Quantity::from_milli(milli).is_value(), "{milli}");
        }
    }

    #[test]
    fn a_value_of_whole_units_is_in_range() {
        for (units, milli) in [
            (0, Some(0)),
            (7, Some(7000)),
            (Quantity::UNITS_MAX, Some(9_200_000_000_000_000_000)),
            (Quantity::UNITS_MAX + 1, None),
            (i64::MAX, None),
            (-1, None),
            (i64::MIN, None),
        ] {
            assert_eq!(Quantity::value(units).map(Quantity::milli), milli, "{units}");
        }
    }

    #[test]
    fn decimals_as_people_write_them() {
        for (milli, text) in [
            (0, "0"),
            (2000, "2"),
            (1500, "1.5"),
            (400, "0.4"),
            (1, "0.001"),
            (-500, "-0.5"),
            (-1500, "-1.5"),
            (20_000_000, "20000"),
            (i64::MAX, "9223372036854775.807"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            assert_eq!(Quantity::from_milli(milli).decimal().to_string(), text);
        }
        assert_eq!(format!("{:>8}", Quantity::from_milli(-500).decimal()), "    -0.5");
    }

    #[test]
    fn a_decimal_is_a_number_in_json() {
        for (milli, json) in
            [(0, "0"), (3000, "3"), (400, "0.4"), (-1500, "-1.5"), (9_200_000_000_000_000_000, "9200000000000000")]
        {
            assert_eq!(serde_json::to_string(&Quantity::from_milli(milli).decimal()).unwrap(), json);
        }
    }

    #[test]
    fn a_sum_that_does_not_fit_is_none() {
        let sum = |all: &[i64]| Quantity::sum(all.iter().copied().map(Quantity::from_milli)).map(Quantity::milli);
        assert_eq!(sum(&[]), Some(0));
        assert_eq!(sum(&[1, 2, -4]), Some(-1));
        assert_eq!(sum(&[i64::MAX, 1]), None);
        assert_eq!(sum(&[i64::MIN, -1]), None);
        assert_eq!(sum(&[i64::MAX, i64::MAX, i64::MIN]), Some(i64::MAX - 1));
    }

    proptest! {
        #[test]
        fn no_digit_is_lost(milli: i64) {
            let text = Quantity::from_milli(milli).to_string();
            let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
            let power = match SUFFIXES.iter().position(|s| *s == &text[end..]) {
                _ if milli == 0 => 0,
                Some(at) => u32::try_from(at).unwrap() * 3,
                None => panic!("{text}"),
            };
            let digits: i128 = text[..end].parse().unwrap();
            prop_assert_eq!(digits * 10i128.pow(power), i128::from(milli));
            prop_assert!(milli == 0 || digits % 1000 != 0);
        }

        #[test]
        fn the_order_is_that_of_the_thousandths(one: i64, other: i64) {
            let [a, b] = [one, other].map(Quantity::from_milli);
            prop_assert_eq!(a.cmp(&b), one.cmp(&other));
            prop_assert_eq!(a.decimal().cmp(&b.decimal()), one.cmp(&other));
        }

        #[test]
        fn a_sum_never_wraps(all in proptest::collection::vec(any::<i64>(), 0..20)) {
            let exact: i128 = all.iter().copied().map(i128::from).sum();
            let sum = Quantity::sum(all.into_iter().map(Quantity::from_milli));
            prop_assert_eq!(sum.map(|sum| i128::from(sum.milli())), i64::try_from(exact).ok().map(i128::from));
        }

        /// The float that Rust makes of the same decimal text is the nearest one.
        #[test]
        fn a_float_is_the_nearest_one(milli in -(1_i64 << 53)..1 << 53) {
            let quantity = Quantity::from_milli(milli);
            let nearest: f64 = quantity.decimal().to_string().parse().unwrap();
            prop_assert_eq!(quantity.as_f64().to_bits(), nearest.to_bits());
        }
    }
}
