//! Quantities: no digit is lost, and the form is the canonical one.
//!
//! Input: 8 bytes, a number.
#![no_main]

use depthgauge::metric::quantity::Quantity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: [u8; 8]| {
    let number = i64::from_le_bytes(input);
    check(i128::from(number), &Quantity::from_milli(number).to_string());
    check(i128::from(number) * 1000, &Quantity::from_units(number).to_string());
});

fn check(milli: i128, text: &str) {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let suffixes = ["m", "", "k", "M", "G", "T", "P", "E"];
    let power = suffixes.iter().position(|known| *known == suffix).expect("a decimal suffix");
    let digits: i128 = digits.parse().expect("an integer before it");
    let scale = 1000_i128.pow(u32::try_from(power).expect("a small number"));
    assert_eq!(digits * scale, milli, "{text}");
    assert!(milli == 0 || digits % 1000 != 0 || suffix == "E", "{text} has a larger suffix");
    assert!(milli != 0 || text == "0", "{text}");
}
