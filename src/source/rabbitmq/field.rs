//! Fields of a foreign document. What is used of a field is kept, and everything else is read and dropped. So
//! an unused field costs no memory, and an error in it does not affect the others. Pure.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// The longest name of a queue, vhost or node, in bytes: a short string of AMQP 0-9-1, and an atom of Erlang.
pub(super) const NAME_MAX: usize = 255;

/// A number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Field {
    /// There is no such field, or it is null.
    #[default]
    Missing,
    /// It is no number.
    Other,
    Number(Number),
}

/// Fields of a mapping. There are none if it is something else.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields<T>(pub(super) T);

/// A text of at most [`NAME_MAX`] bytes, if it is one.
#[derive(Default)]
struct Short(Option<Box<str>>);

/// What is kept of any value.
trait Kept<'de>: Default {
    /// Of a value without further use.
    fn other() -> Self {
        Self::default()
    }

    fn number(_: Option<Number>) -> Self {
        Self::other()
    }

    fn text(_: &str) -> Self {
        Self::other()
    }

    fn mapping<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::other())
    }
}

/// Reads any value.
struct Any<T>(PhantomData<T>);

/// A text that may be missing, too long, or something else.
pub(super) fn short<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<str>>, D::Error> {
    let Short(text) = from.deserialize_any(Any(PhantomData))?;
    Ok(text)
}

/// A text that a queue must have.
pub(super) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<Box<str>, D::Error> {
    short(from)?.ok_or_else(|| D::Error::custom("no name"))
}

// === impl Field ===

impl Kept<'_> for Field {
    fn other() -> Self {
        Self::Other
    }

    fn number(number: Option<Number>) -> Self {
        number.map_or(Self::Other, Self::Number)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any(PhantomData))
    }
}

// === impl Fields ===

impl<'de, T: Deserialize<'de> + Default> Kept<'de> for Fields<T> {
    fn mapping<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Self)
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Fields<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any(PhantomData))
    }
}

// === impl Short ===

impl Kept<'_> for Short {
    fn text(text: &str) -> Self {
        Self(Some(text).filter(|text| text.len() <= NAME_MAX).map(Box::from))
    }
}

// === impl Any ===

impl<'de, T: Kept<'de>> Visitor<'de> for Any<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(T::other())
    }

    fn visit_i64<E>(self, number: i64) -> Result<T, E> {
        Ok(T::number(Some(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<T, E> {
        Ok(T::number(Some(number.into())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<T, E> {
        Ok(T::number(Number::from_f64(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::other())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::mapping(map)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    /// One field of each sort.
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        number: Field,
        #[serde(default, deserialize_with = "short")]
        text: Option<Box<str>>,
        #[serde(default)]
        fields: Fields<Inner>,
    }

    #[derive(Default, Deserialize)]
    struct Inner {
        #[serde(default)]
        number: Field,
    }

    #[test]
    fn any_value_of_a_field_leaves_the_others() {
        let nothing = (Field::Missing, None, Field::Missing);
        let number = |number: i64| Field::Number(number.into());
        let read = |field: &str, value: &serde_json::Value| {
            let document = json!({field: value, "other": value}).to_string();
            let Document { number, text, fields: Fields(Inner { number: inner }) } =
                serde_json::from_str(&document).unwrap();
            (number, text, inner)
        };
        let others = [json!(true), json!([1, [2], {}]), json!({"a": {"b": [null]}}), json!("x".repeat(NAME_MAX + 1))];
        for value in &others {
            assert_eq!(read("number", value), (Field::Other, None, Field::Missing), "{value}");
            assert_eq!(read("text", value), nothing, "{value}");
            assert_eq!(read("fields", value), nothing, "{value}");
            assert_eq!(read("fields", &json!({"number": value})), (Field::Missing, None, Field::Other), "{value}");
        }
        for field in ["number", "text", "fields", "none"] {
            assert_eq!(read(field, &json!(null)), nothing, "{field}");
        }
        assert_eq!(read("number", &json!(-7)), (number(-7), None, Field::Missing));
        assert_eq!(read("number", &json!(u64::MAX)).0, Field::Number(u64::MAX.into()));
        assert_eq!(read("number", &json!(1.5)).0, Field::Number(Number::from_f64(1.5).unwrap()));
        assert_eq!(read("number", &json!("7")).0, Field::Other);
        let long = "x".repeat(NAME_MAX);
        assert_eq!(read("text", &json!(long)), (Field::Missing, Some(long.into()), Field::Missing));
        assert_eq!(read("text", &json!(7)), nothing);
        assert_eq!(read("fields", &json!({"number": 7, "more": [1]})), (Field::Missing, None, number(7)));
    }
}
