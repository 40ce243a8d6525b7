//! Objects of JSON and YAML without a key that occurs twice. Of two values of a key, each parser takes another one,
//! so neither is known to be right. Pure.
//!
//! <https://www.rfc-editor.org/rfc/rfc8259#section-4>

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

const TWICE: &str = "an object has a key twice";

/// Any value.
#[derive(Debug)]
pub struct Distinct(pub Value);

/// A map of values of one type, for `deserialize_with`.
pub fn distinct<'de, D: Deserializer<'de>, V: Deserialize<'de>>(from: D) -> Result<BTreeMap<String, V>, D::Error> {
    from.deserialize_map(MapVisitor(PhantomData))
}

struct MapVisitor<V>(PhantomData<V>);

struct ValueVisitor;

// === impl MapVisitor ===

impl<'de, V: Deserialize<'de>> Visitor<'de> for MapVisitor<V> {
    type Value = BTreeMap<String, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            if values.insert(key, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(values)
    }
}

// === impl Distinct ===

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueVisitor).map(Self)
    }
}

// === impl ValueVisitor ===

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Distinct(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((key, Distinct(value))) = map.next_entry()? {
            if members.insert(key, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_twice_is_an_error_at_each_level() {
        for text in [
            r#"{"v": 5, "v": 0}"#,
            r#"{"v": 5, "v": 5}"#,
            r#"{"a": [{"v": 5, "w": 1, "v": 0}]}"#,
            r#"{"a": {"b": {"v": 5, "\u0076": 0}}}"#,
            r#"{"v": null, "v": 1}"#,
        ] {
            let error = serde_json::from_str::<Distinct>(text).unwrap_err();
            assert!(error.is_data() && error.to_string().starts_with(TWICE), "{text}: {error}");
        }
        let map = |text: &str| {
            let mut json = serde_json::Deserializer::from_str(text);
            distinct::<_, u8>(&mut json).map_err(|error| error.to_string())
        };
        assert_eq!(map(r#"{"a": 1, "b": 1}"#), Ok([("a".to_owned(), 1), ("b".to_owned(), 1)].into()));
        assert!(map(r#"{"a": 1, "a": 1}"#).unwrap_err().starts_with(TWICE));
        assert!(map("[]").is_err() && map("7").is_err());
    }

    #[test]
    fn everything_else_is_as_in_a_value() {
        let text = r#"{"a": [null, true, -1, 18446744073709551615, 1.5, 1e300, "x\n", [], {}], "b": {"a": "a"}}"#;
        let Distinct(value) = serde_json::from_str(text).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
        let Distinct(value) = serde_saphyr::from_str("a: [1, ~, no, 'x']\nb: {1: 2.5}\n").unwrap();
        assert_eq!(value, json!({"a": [1, null, false, "x"], "b": {"1": 2.5}}));
    }

    proptest! {
        #[test]
        fn a_text_has_the_same_value_or_none(text in "[\\[\\]{}:, \"a-c0-9.e-]{0,24}") {
            let (distinct, value) = (serde_json::from_str::<Distinct>(&text), serde_json::from_str::<Value>(&text));
            match distinct {
                Ok(Distinct(distinct)) => prop_assert_eq!(distinct, value.unwrap()),
                Err(error) => prop_assert!(value.is_err() || error.is_data()),
            }
        }
    }
}
