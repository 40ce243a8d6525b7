//! The JSON Schema of the config, for editors and for checks without depthgauge. It is generated from
//! the tables that decode the config.
//!
//! Keys that two forms of an entry share are repeated in both, because editors ignore JSON Schema
//! keywords that were added after 2018.

use serde_json::{Map, Value, json};

use super::connections::types;
use super::{API_VERSION, KIND, keys};
use crate::source::keys::{Key, demand, mapping, properties};
use crate::source::{ConnectionType, Form, Kind, Kinds, Place};

/// Durations as jiff parses them. At least one digit must be above zero.
const DURATION: &str =
    r"^\+?([0-9][0-9.,]*\s*[hmnsuµμ][a-z]*,?\s*)+$|^\+?[0-9]+:[0-9]+:[0-9.,]+$|^\+?[Pp][Tt][0-9.,HMShms]+$";

/// The schema of a whole file, draft 2020-12.
pub fn schema(kinds: Kinds) -> serde_json::Result<Value> {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    let entries = kinds.iter().map(|kind| entry(kind)).collect::<serde_json::Result<Vec<_>>>()?;
    let mut properties = json!({
        "apiVersion": {"description": "The version of the format.", "const": API_VERSION},
        "kind": {"description": "What this file is.", "const": KIND},
        "defaults": mapping("Timing of every source that sets none of its own.", &[keys::TIMING])?,
        "sources": {
            "description": "Where values come from, and who may read them.",
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"description": "What kind of source it is.", "enum": names}},
                "allOf": entries,
            },
        },
    });
    let types = types(kinds);
    for of in types.iter().filter(|of| of.place == Place::Section) {
        properties[of.name] = mapping(of.doc, of.keys)?;
    }
    let named: Vec<_> = types.into_iter().filter(|of| of.place == Place::Named).collect();
    if !named.is_empty() {
        properties["connections"] = connections(&named)?;
    }
    Ok(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "depthgauge config",
        "description": "What `depthgauge serve --config` reads. `depthgauge config check` also finds what a schema can't see, such as a name used twice or an unknown region.",
        "type": "object",
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "sources"],
        "properties": properties,
        "$defs": {
            "duration": {
                "type": "string",
                "pattern": DURATION,
                "not": {"type": "string", "pattern": "^[^1-9]*$"},
            },
        },
    }))
}

/// An entry of this kind: the first form whose key is present, otherwise the last.
fn entry(kind: &Kind) -> serde_json::Result<Value> {
    let mut then = json!({});
    for (at, of) in kind.forms.iter().enumerate().rev() {
        let mut own = form(kind, of)?;
        // This form never has the keys that pick the others, but editors must suggest them.
        for earlier in &kind.forms[..at] {
            for key in earlier.keys.iter().filter(|key| key.name == earlier.key) {
                for (name, schema) in properties([std::slice::from_ref(key)])? {
                    own["properties"][name] = schema;
                }
            }
        }
        then = match at + 1 == kind.forms.len() {
            true => own,
            false => json!({"if": {"required": [of.key]}, "then": own, "else": then}),
        };
    }
    Ok(json!({
        "if": {"required": ["type"], "properties": {"type": {"const": kind.name}}},
        "then": then,
    }))
}

fn form(kind: &Kind, form: &Form) -> serde_json::Result<Value> {
    let tables = form_keys(kind, form);
    let mut all = Map::from_iter([("type".to_owned(), json!({"description": "What kind of source it is."}))]);
    all.extend(properties(tables.iter().copied())?);
    all.retain(|key, _| !kind.without_effect.contains(&key.as_str()));
    let mut schema = json!({"additionalProperties": false, "properties": all});
    demand(&mut schema, &tables);
    Ok(schema)
}

/// The tables of all keys of an entry of this kind and form, except `type`.
pub fn form_keys(kind: &Kind, form: &Form) -> Vec<&'static [Key]> {
    let connection: &[Key] = match kind.connection.place {
        Place::Section | Place::Entry => &[],
        Place::Named => &[keys::CONNECTION],
    };
    [&keys::common(Some(kind))[..], &keys::own(kind, form), &[connection]].concat()
}

/// `connections`: a mapping of names to connections, whose type determines their keys.
fn connections(types: &[&ConnectionType]) -> serde_json::Result<Value> {
    let names: Vec<&str> = types.iter().map(|of| of.name).collect();
    let of = |of: &&ConnectionType| {
        let mut then = mapping(of.doc, of.keys)?;
        then["properties"]["type"] = json!({"description": "What kind of connection it is."});
        Ok(json!({"if": {"required": ["type"], "properties": {"type": {"const": of.name}}}, "then": then}))
    };
    Ok(json!({
        "description": "What sources are read through, by name.",
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"description": "What kind of connection it is.", "enum": names}},
            "allOf": types.iter().map(of).collect::<serde_json::Result<Vec<_>>>()?,
        },
    }))
}
