//! Kubernetes' `resource.Quantity`, as far as metrics need it: exact integers, no floats.
//!
//! Canonical form as in `k8s.io/apimachinery/pkg/api/resource`: no fractional digits, and the
//! largest decimal suffix that allows it. So 1500 stays `1500`, 20000 is `20k`, and one and a
//! half is `1500m`.

use std::fmt;

/// A number of thousandths, printed the way Kubernetes prints it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Quantity {
    // i64 units times 1000 fits an i128 with room to spare.
    milli: i128,
}

/// Decimal suffixes from thousandths upwards, a factor of 1000 apart.
const SUFFIXES: [&str; 8] = ["m", "", "k", "M", "G", "T", "P", "E"];

impl Quantity {
    /// Nothing of it.
    pub const ZERO: Self = Self::from_units(0);

    /// The largest value, and the largest sum of an answer, in units. The HPA controller adds up
    /// thousandths in 64 bits, so that it reads what is above 9.22e15 as 0.
    pub const UNITS_MAX: i64 = 9_200_000_000_000_000;

    /// The same as a value.
    pub const MAX: Self = Self::from_units(Self::UNITS_MAX);

    /// A whole number of units.
    pub const fn from_units(units: i64) -> Self {
        Self { milli: units as i128 * 1000 }
    }

    /// A number of thousandths of a unit.
    pub const fn from_milli(milli: i64) -> Self {
        Self { milli: milli as i128 }
    }

    /// The number of thousandths.
    pub const fn milli(self) -> i128 {
        self.milli
    }

    /// The nearest number that other systems have: exact up to 2^53 units.
    pub fn as_f64(self) -> f64 {
        (self.milli / 1000) as f64 + (self.milli % 1000) as f64 / 1000.0
    }

    /// Rounded down to whole units; `None` below zero.
    pub fn whole_units(self) -> Option<u64> {
        u64::try_from(self.milli.div_euclid(1000)).ok()
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
            (i64::MAX - 807, "9223372036854775"),
            (-i64::MAX + 807, "-9223372036854775"),
            (i64::MAX, "9223372036854775807m"),
            (i64::MIN, "-9223372036854775808m"),
        ] {
            assert_eq!(Quantity::from_milli(milli).to_string(), text);
        }
        assert_eq!(Quantity::from_units(i64::MAX).to_string(), "9223372036854775807");
        assert_eq!(Quantity::from_units(1_000_000_000_000_000_000).to_string(), "1E");
    }

    #[test]
    fn the_largest_value_is_one_that_the_hpa_controller_can_add_up() {
        assert!(Quantity::MAX.milli() <= i128::from(i64::MAX));
        assert_eq!(Quantity::MAX.to_string(), "9200T");
    }

    #[test]
    fn whole_units_are_rounded_down() {
        for (milli, units) in [(0, Some(0)), (999, Some(0)), (1500, Some(1)), (-1, None)] {
            assert_eq!(Quantity::from_milli(milli).whole_units(), units, "{milli}");
        }
        assert_eq!(Quantity::from_units(i64::MAX).whole_units(), Some(i64::MAX.unsigned_abs()));
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
    }
}
