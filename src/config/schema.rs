//! The config's JSON Schema, for editors and for checks without the program.
//!
//! What every source has is written beside this file, what a kind has comes from the kind, as in
//! the decoder. It has no keyword that JSON Schema lacked before 2019 except `$defs`, for editors
//! ignore what is newer; so keys that two forms of an entry share are written out in both.

use serde_json::{Map, Value, json};

use crate::source::{KINDS, Kind};

/// The schema of the whole file, draft 2020-12.
pub fn schema() -> serde_json::Result<Value> {
    let shared: Value = serde_json::from_str(include_str!("schema.json"))?;
    let mut schema = shared["file"].clone();
    schema["properties"]["defaults"]["properties"] = shared["timing"].clone();
    let mut kind_of_source = shared["entry"]["type"].clone();
    kind_of_source["enum"] = KINDS.iter().map(|kind| kind.name()).collect();
    let mut forms = Vec::new();
    for kind in KINDS {
        let own: Value = serde_json::from_str(kind.schema())?;
        forms.push(entry(*kind, &shared, &own));
        schema["properties"][kind.section()] = own["section"].clone();
    }
    let items = &mut schema["properties"]["sources"]["items"];
    items["properties"] = json!({ "type": kind_of_source });
    items["allOf"] = forms.into();
    Ok(schema)
}

/// An entry of this kind: the key that it lists by makes it the one form or the other.
fn entry(kind: &dyn Kind, shared: &Value, own: &Value) -> Value {
    let mut named = form("named", shared, own);
    // It is never in this form, but whoever has yet to choose is to be offered it.
    named["properties"][kind.lists_by()] = own["listed"]["properties"][kind.lists_by()].clone();
    json!({
        "if": {"required": ["type"], "properties": {"type": {"const": kind.name()}}},
        "then": {
            "if": {"required": [kind.lists_by()]},
            "then": form("listed", shared, own),
            "else": named,
        },
    })
}

fn form(name: &str, shared: &Value, own: &Value) -> Value {
    let keys = [&shared["timing"], &shared["entry"], &shared[name]["properties"], &own[name]["properties"]];
    let keys = keys.into_iter().filter_map(Value::as_object).flatten();
    let properties: Map<String, Value> = keys.map(|(key, value)| (key.clone(), value.clone())).collect();
    let required = [&shared[name]["required"], &own[name]["required"]];
    let required: Vec<Value> = required.into_iter().filter_map(Value::as_array).flatten().cloned().collect();
    json!({"additionalProperties": false, "required": required, "properties": properties})
}
