//! Key tables as JSON Schema, draft 2020-12. Except for `$defs`, it uses only keywords that JSON Schema
//! had before 2019, because editors ignore newer ones.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Key, Shape, Text, Variant};
use crate::metric::quantity::Quantity;

/// A non-negative Kubernetes quantity.
const QUANTITY: &str = r"^\+?([0-9]+\.?[0-9]*|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$";

/// A mapping that has the keys of these tables and no others.
pub fn mapping(doc: &str, tables: &[&[Key]]) -> serde_json::Result<Value> {
    let mut schema = json!({
        "description": doc,
        "type": "object",
        "additionalProperties": false,
        "properties": properties(tables.iter().copied())?,
    });
    demand(&mut schema, tables);
    Ok(schema)
}

/// Adds to the schema of a mapping which keys of these tables it must have.
pub fn demand(schema: &mut Value, tables: &[&[Key]]) {
    let keys = tables.iter().copied().flatten();
    let required: Vec<&str> = keys.filter(|key| key.required).map(|key| key.name).collect();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    let alternatives = alternatives(tables);
    if !alternatives.is_empty() {
        schema["allOf"] = alternatives.into();
    }
}

/// For each group of keys of which a mapping has exactly one: a schema of such mappings.
fn alternatives(tables: &[&[Key]]) -> Vec<Value> {
    let keys = tables.iter().copied().flatten().filter(|key| !key.or.is_empty());
    let one_of = |key: &Key| {
        let names = std::iter::once(&key.name).chain(key.or);
        json!({"oneOf": names.map(|name| json!({"required": [name]})).collect::<Vec<_>>()})
    };
    keys.map(one_of).collect()
}

/// The `properties` of a mapping with the keys of these tables.
pub fn properties<'k>(tables: impl IntoIterator<Item = &'k [Key]>) -> serde_json::Result<Map<String, Value>> {
    let keys = tables.into_iter().flatten();
    keys.map(|key| Ok((key.name.to_owned(), property(key)?))).collect()
}

fn property(key: &Key) -> serde_json::Result<Value> {
    let mut schema = match key.shape {
        Shape::Text(text) => text_schema(&text).into(),
        Shape::Word(words) => json!({"type": "string", "enum": words}),
        Shape::Texts(text, _) => json!({"type": "array", "minItems": 1, "items": text_schema(&text)}),
        Shape::Map(names, values) => {
            let mut names = text_schema(&names);
            // A key is always a text.
            names.remove("type");
            json!({"type": "object", "propertyNames": names, "additionalProperties": text_schema(&values)})
        }
        Shape::Count(most) => json!({"type": "integer", "minimum": 1, "maximum": most}),
        Shape::Amount => json!({
            "type": ["number", "string"],
            "minimum": 0,
            "maximum": Quantity::UNITS_MAX,
            "pattern": QUANTITY,
        }),
        Shape::AmountOr(word) => json!({
            "type": ["number", "string"],
            "minimum": 0,
            "maximum": Quantity::UNITS_MAX,
            "pattern": format!("^{word}$|{QUANTITY}"),
        }),
        Shape::Duration => json!({"$ref": "#/$defs/duration"}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Keys(keys) => return mapping(key.doc, &[keys]),
        Shape::Choice(variants, doc) => return choice(key, variants, doc),
    };
    schema["description"] = key.doc.into();
    if let Some(default) = key.default {
        schema["default"] = literal(key, default)?;
    }
    if !key.examples.is_empty() {
        let examples: serde_json::Result<Vec<Value>> =
            key.examples.iter().map(|example| literal(key, example)).collect();
        schema["examples"] = examples?.into();
    }
    Ok(schema)
}

/// A value as written in the config. A text and a duration are written without quotes.
fn literal(key: &Key, written: &str) -> serde_json::Result<Value> {
    match key.shape {
        Shape::Text(_) | Shape::Word(_) | Shape::Duration => Ok(written.into()),
        Shape::AmountOr(word) if written == word => Ok(written.into()),
        _ => serde_json::from_str(written),
    }
}

fn text_schema(text: &Text) -> Map<String, Value> {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "string".into());
    if text.nonempty {
        schema.insert("minLength".to_owned(), 1.into());
    }
    if let Some(max) = text.max_length {
        schema.insert("maxLength".to_owned(), max.into());
    }
    if let Some(pattern) = text.pattern {
        schema.insert("pattern".to_owned(), pattern.into());
    }
    if let Some(except) = text.except {
        schema.insert("not".to_owned(), json!({"type": "string", "pattern": except}));
    }
    schema
}

/// A key that only some variants have is invalid with the `type` of the others.
fn choice(key: &Key, variants: &[Variant], doc: &str) -> serde_json::Result<Value> {
    let names: Vec<&str> = variants.iter().map(|variant| variant.name).collect();
    let mut all = Map::from_iter([("type".to_owned(), json!({"description": doc, "enum": names}))]);
    all.extend(properties(variants.iter().map(|variant| variant.keys))?);
    let mut schema = json!({
        "description": key.doc,
        "type": "object",
        "additionalProperties": false,
        "required": ["type"],
        "properties": all,
    });
    let mut refused: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    let keys: BTreeSet<&str> = variants.iter().flat_map(|variant| variant.keys).map(|key| key.name).collect();
    for variant in variants {
        let has = |key: &&str| variant.keys.iter().any(|own| own.name == *key);
        let others: Vec<&str> = keys.iter().copied().filter(|key| !has(key)).collect();
        refused.entry(others).or_default().push(variant.name);
    }
    let rules = refused.into_iter().filter(|(keys, _)| !keys.is_empty()).map(|(keys, names)| {
        let refused: Map<String, Value> = keys.into_iter().map(|key| (key.to_owned(), false.into())).collect();
        json!({
            "if": {"required": ["type"], "properties": {"type": {"enum": names}}},
            "then": {"properties": refused},
        })
    });
    let demands = variants.iter().filter_map(|variant| {
        let mut then = json!({});
        demand(&mut then, &[variant.keys]);
        let of_type = json!({"required": ["type"], "properties": {"type": {"const": variant.name}}});
        (then != json!({})).then(|| json!({"if": of_type, "then": then}))
    });
    let rules = rules.chain(demands);
    let rules: Vec<Value> = rules.collect();
    if !rules.is_empty() {
        schema["allOf"] = rules.into();
    }
    Ok(schema)
}
