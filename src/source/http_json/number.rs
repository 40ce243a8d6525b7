//! A number in a JSON document. Pure.

use serde_json::Value;

use crate::metric::names::counted;
use crate::metric::quantity::{Quantity, float};
use crate::source::chosen::Number;

/// A number, or a text with a decimal number or a Kubernetes quantity. `None` of everything else.
pub(super) fn of(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Number::parse(&number.to_string()),
        Value::String(text) => Number::parse(text).or_else(|| quantity(text)).or_else(|| non_finite(text)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number that only YAML has, in the form that the decoder writes.
fn non_finite(text: &str) -> Option<Number> {
    Number::parse(match text {
        ".nan" => "NaN",
        ".inf" => "+Inf",
        "-.inf" => "-Inf",
        _ => return None,
    })
}

/// `10Mi`
fn quantity(text: &str) -> Option<Number> {
    let float = float(text)?;
    Some(match Quantity::parse_value(text) {
        Some(value) => Number::Value(value),
        None if float < 0.0 => Number::Negative,
        None => Number::TOO_LARGE,
    })
}

/// What a value is, without the value, which may be a secret: `an object with 3 members`.
pub(super) fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(_) => "a text that is not a number".to_owned(),
        Value::Array(items) => format!("an array with {}", counted(items.len(), "item")),
        Value::Object(members) => format!("an object with {}", counted(members.len(), "member")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_texts_and_quantities() {
        let value = |milli| Some(Number::Value(Quantity::from_milli(milli)));
        for (json, expected) in [
            (json!(0), value(0)),
            (json!(7), value(7000)),
            (json!(1.5), value(1500)),
            (json!(0.1), value(100)),
            (json!(1e-7), value(1)),
            (json!(-1), Some(Number::Negative)),
            (json!(u64::MAX), Some(Number::TOO_LARGE)),
            (json!(1e30), Some(Number::TOO_LARGE)),
            (json!("7"), value(7000)),
            (json!("1.5"), value(1500)),
            (json!("1e3"), value(1_000_000)),
            (json!("500m"), value(500)),
            (json!("10Mi"), value(10_485_760_000)),
            (json!("2k"), value(2_000_000)),
            (json!("-2k"), Some(Number::Negative)),
            (json!("-0Mi"), value(0)),
            (json!("100E"), Some(Number::TOO_LARGE)),
            (json!("NaN"), Some(Number::NotANumber)),
            (json!(".nan"), Some(Number::NotANumber)),
        ] {
            assert_eq!(of(&json), expected, "{json}");
        }
        for text in ["+Inf", "-Inf", ".inf", "-.inf"] {
            assert!(matches!(of(&json!(text)), Some(Number::Unusable(_))), "{text}");
        }
        for (json, described_as) in [
            (json!(null), "null"),
            (json!(true), "a boolean"),
            (json!(""), "a text that is not a number"),
            (json!(" 7"), "a text that is not a number"),
            (json!("7 jobs"), "a text that is not a number"),
            (json!("1,5"), "a text that is not a number"),
            (json!([7]), "an array with 1 item"),
            (json!({"a": 7, "b": 8}), "an object with 2 members"),
        ] {
            assert_eq!(of(&json), None, "{json}");
            assert_eq!(described(&json), described_as);
        }
    }
}
