//! Objects of JSON and YAML without a key that occurs twice. Of two values of a key, each parser takes another one,
//! so neither is known to be right. Pure.
//!
//! <https://www.rfc-editor.org/rfc/rfc8259#section-4>

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

const TWICE: &str = "an object has a key twice";

/// A node of the map of an object. It has room for [`NODE_MEMBERS`] members.
const NODE_BYTES: usize = NODE_MEMBERS * MEMBER_BYTES + 16;
const NODE_MEMBERS: usize = 11;
const MEMBER_BYTES: usize = size_of::<(String, Value)>();
/// What the allocation of a text takes besides the text.
const TEXT_BYTES: usize = 16;

/// Decodes any value, as long as it takes little memory. A megabyte of JSON can take a hundred.
#[derive(Debug)]
pub struct Distinct {
    /// In bytes, for what follows.
    left: Cell<usize>,
    is_exceeded: Cell<bool>,
}

/// A map of values of one type, for `deserialize_with`.
pub fn distinct<'de, D: Deserializer<'de>, V: Deserialize<'de>>(from: D) -> Result<BTreeMap<String, V>, D::Error> {
    from.deserialize_map(MapVisitor(PhantomData))
}

struct MapVisitor<V>(PhantomData<V>);

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

impl Distinct {
    /// Of values that take at most this many bytes.
    pub fn within(bytes: usize) -> Self {
        Self { left: Cell::new(bytes), is_exceeded: Cell::new(false) }
    }

    /// Whether decoding failed because the value takes more memory.
    pub fn is_exceeded(&self) -> bool {
        self.is_exceeded.get()
    }

    fn take<E: Error>(&self, bytes: usize) -> Result<(), E> {
        let Some(left) = self.left.get().checked_sub(bytes) else {
            self.is_exceeded.set(true);
            return Err(E::custom("the value takes too much memory"));
        };
        self.left.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &Distinct {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Distinct {
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

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.take(text.len() + TEXT_BYTES)?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            if list.len() == list.capacity() {
                // It grows to twice of this.
                let capacity = 4.max(2 * list.len());
                self.take((capacity - list.len()) * size_of::<Value>())?;
                list.reserve_exact(capacity - list.len());
            }
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let of_nodes = match members.len() {
                0 => NODE_BYTES,
                // Later ones are half full at least.
                NODE_MEMBERS.. => 2 * MEMBER_BYTES,
                _ => 0,
            };
            self.take(of_nodes + key.len() + TEXT_BYTES)?;
            if members.insert(key, map.next_value_seed(self)?).is_some() {
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

    fn json(text: &str) -> serde_json::Result<Value> {
        json_within(usize::MAX, text).0
    }

    /// And whether it takes more memory than this.
    fn json_within(bytes: usize, text: &str) -> (serde_json::Result<Value>, bool) {
        let (seed, mut json) = (Distinct::within(bytes), serde_json::Deserializer::from_str(text));
        let value = seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
        (value, seed.is_exceeded())
    }

    #[test]
    fn a_key_twice_is_an_error_at_each_level() {
        for text in [
            r#"{"v": 5, "v": 0}"#,
            r#"{"v": 5, "v": 5}"#,
            r#"{"a": [{"v": 5, "w": 1, "v": 0}]}"#,
            r#"{"a": {"b": {"v": 5, "\u0076": 0}}}"#,
            r#"{"v": null, "v": 1}"#,
        ] {
            let error = json(text).unwrap_err();
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
        assert_eq!(json(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        let yaml = "a: [1, ~, no, 'x']\nb: {1: 2.5}\n";
        let value = serde_saphyr::with_deserializer_from_str(yaml, |yaml| Distinct::within(4096).deserialize(yaml));
        assert_eq!(value.unwrap(), json!({"a": [1, null, false, "x"], "b": {"1": 2.5}}));
    }

    #[test]
    fn a_value_that_takes_too_much_memory_is_an_error() {
        let repeated = |text: &str| format!("[{}]", vec![text; 10_000].join(","));
        for (part, bytes) in [("1", 32), ("[]", 32), ("[1]", 160), ("{}", 32), (r#"{"":1}"#, 664), (r#""abc""#, 51)] {
            let text = repeated(part);
            let least = (1..=40).map(|n| n << 18).find(|bytes| !json_within(*bytes, &text).1).unwrap();
            // An array has room for twice its items at most.
            assert!((bytes * 10_000..(bytes + 32) * 10_000 + (1 << 18)).contains(&least), "{part}: {least}");
            assert!(json_within(least, &text).0.is_ok() && json_within(1 << 17, &text).0.is_err(), "{part}");
        }
    }

    proptest! {
        #[test]
        fn a_text_has_the_same_value_or_none(text in "[\\[\\]{}:, \"a-c0-9.e-]{0,24}") {
            let (distinct, value) = (json(&text), serde_json::from_str::<Value>(&text));
            match distinct {
                Ok(distinct) => prop_assert_eq!(distinct, value.unwrap()),
                Err(error) => prop_assert!(value.is_err() || error.is_data()),
            }
        }
    }
}
