//! Quantities: no digit is lost, the form is the canonical one, and what is printed is read back.
//!
//! Input: a number in 8 bytes, then a text.
#![no_main]

use depthgauge::metric::quantity::Quantity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u8; 8], &str)| {
    let (number, text) = (i64::from_le_bytes(input.0), input.1);
    check(Quantity::from_milli(number));
    if let Some(read) = Quantity::parse(text) {
        check(read);
    }
    if let Some(value) = Quantity::parse_value(text) {
        check(value);
        assert!(value.is_value(), "{text}");
    }
});

fn check(quantity: Quantity) {
    check_text(i128::from(quantity.milli()), &quantity.to_string());
    for text in [quantity.to_string(), quantity.decimal().to_string()] {
        assert_eq!(Quantity::parse(&text), Some(quantity), "{text}");
    }
}

fn check_text(milli: i128, text: &str) {
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
