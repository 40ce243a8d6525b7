//! Tables of the keys of the config, made of those that decode it: `UPDATE_GOLDEN=1` writes them.

use depthgauge::config::form_keys;
use depthgauge::source::keys::{Key, Shape, Value, Values};
use depthgauge::source::{Form, KINDS, Kind, Place, service};

use crate::golden;

const HEAD: &str = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n";

/// Rows of a table.
fn rows(prefix: &str, keys: &[Key]) -> String {
    let groups: Vec<Vec<&str>> = keys
        .iter()
        .filter(|key| !key.or.is_empty())
        .map(|key| std::iter::once(key.name).chain(key.or.iter().copied()).collect())
        .collect();
    let row = |key: &Key| {
        let mut need: Vec<String> = key.default.map(|default| format!("`{default}`")).into_iter().collect();
        need.extend(key.required.then(|| "required".to_owned()));
        for group in groups.iter().filter(|group| group.contains(&key.name)) {
            need.push(format!("one of {}", codes(group)));
        }
        let nested = match key.shape {
            Shape::Keys(keys) => rows(&format!("{}.", key.name), keys),
            Shape::Choice(variants, doc) => {
                let names: Vec<&str> = variants.iter().map(|variant| variant.name).collect();
                row_of(&format!("{}.type", key.name), &codes(&names), "required", doc)
            }
            _ => String::new(),
        };
        row_of(&format!("{prefix}{}", key.name), &type_of(key), &need.join("; "), key.doc) + &nested
    };
    keys.iter().map(row).collect()
}

fn row_of(name: &str, of_type: &str, default: &str, doc: &str) -> String {
    let default = if default.is_empty() { " |".to_owned() } else { format!(" {default} |") };
    format!("| `{name}` | {of_type} |{default} {} |\n", doc.replace('|', "\\|"))
}

fn codes(names: &[&str]) -> String {
    format!("`{}`", names.join("`, `"))
}

fn type_of(key: &Key) -> String {
    match key.shape {
        Shape::Text(_) => "string".to_owned(),
        Shape::Word(words) => codes(words),
        Shape::Texts(..) => "list of strings".to_owned(),
        Shape::Map(..) => "map of strings".to_owned(),
        Shape::Count(max) => format!("1 to {max}"),
        Shape::Amount => "number".to_owned(),
        Shape::AmountOr(word) => format!("number or `{word}`"),
        Shape::Duration => "duration".to_owned(),
        Shape::Bool => "`true`, `false`".to_owned(),
        Shape::Keys(_) | Shape::Choice(..) => "map".to_owned(),
    }
}

/// A table of these keys, and one for each variant of a key that has them.
fn table(keys: &[Key]) -> String {
    let mut text = format!("{HEAD}{}", rows("", keys));
    for key in keys {
        let Shape::Choice(variants, _) = key.shape else { continue };
        for variant in variants.iter().filter(|variant| !variant.keys.is_empty()) {
            text += &format!("\n### `{}: {{type: {}}}`\n\n{HEAD}{}", key.name, variant.name, rows("", variant.keys));
        }
    }
    text
}

/// The keys that entries of every kind and form have.
fn common() -> Vec<Key> {
    let forms = || KINDS.iter().flat_map(|kind| kind.forms.iter().map(|form| form_keys(kind, form)));
    let is_common = |key: &&Key| {
        forms().all(|keys| keys.concat().iter().any(|other| (other.name, other.doc) == (key.name, key.doc)))
    };
    let first = forms().next().unwrap().concat();
    first.iter().filter(is_common).copied().collect()
}

/// The keys of an entry, without those of [`common`] and without those that are an error there. The keys of a
/// service are one row.
fn entry(kind: &Kind, form: &Form) -> String {
    let of_service = service::KEYS.iter().map(|key| key.name);
    let of_service: Vec<&str> = of_service.filter(|_| kind.connection.place == Place::Entry).collect();
    let keys = form_keys(kind, form).concat();
    let is_error = errors(kind, &keys);
    let common = common();
    let is_own = |key: &&Key| {
        let is_as_everywhere = common.iter().any(|other| (other.name, other.default) == (key.name, key.default));
        !is_as_everywhere && !is_error.contains(&key.name) && !of_service.contains(&key.name)
    };
    let own: Vec<Key> = keys.iter().filter(is_own).copied().collect();
    let has_service = keys.iter().any(|key| of_service.contains(&key.name));
    let service = has_service
        .then(|| format!("| {} | | | See [Connections](../reference/connections.md#keys). |\n", codes(&of_service)));
    format!("{HEAD}{}{}", rows("", &own), service.unwrap_or_default())
}

/// The keys that an entry of this kind can't have, although they are decoded.
fn errors(kind: &Kind, keys: &[Key]) -> Vec<&'static str> {
    let sample = |key: &Key| {
        let text = "x".to_owned();
        let value = match key.shape {
            Shape::Text(_) | Shape::Word(_) | Shape::AmountOr(_) => Value::Text(text),
            Shape::Texts(..) => Value::Texts(vec![text]),
            _ => return None,
        };
        Some((key.name, value))
    };
    let all: Values = keys.iter().filter(|key| !key.required).filter_map(sample).collect();
    (kind.conflicts)(&all).into_iter().map(|(key, _)| key).collect()
}

/// The keys of the connection that are not in `docs/reference/connections.md`.
fn connection(kind: &Kind) -> String {
    let listed = |key: &Key| {
        service::URLS.iter().chain(service::KEYS).any(|other| (other.name, other.doc) == (key.name, key.doc))
    };
    let keys: Vec<Key> = kind.connection.keys.concat();
    let own: Vec<Key> = match kind.connection.place {
        Place::Entry => return String::new(),
        // These have a table of their own, without those of a service over HTTP.
        _ if !keys.iter().any(|key| key.name == "url") => keys,
        _ => keys.into_iter().filter(|key| !listed(key)).collect(),
    };
    let title = match kind.connection.place {
        Place::Section => format!("Section `{}`", kind.connection.name),
        _ => "The connection".to_owned(),
    };
    if own.is_empty() { String::new() } else { format!("\n### {title}\n\n{}", table(&own)) }
}

#[test]
fn the_keys_of_every_source_and_connection_are_in_the_reference() {
    golden::check_part("docs/reference/configuration.md", &table(&common()));
    golden::check_part("docs/reference/connections.md", &table(&[service::URLS, service::KEYS].concat()));
}

#[test]
fn each_type_has_its_keys_on_its_page() {
    for kind in KINDS {
        let page = format!("docs/how-to/{}.md", kind.name);
        let form = |form: &Form| {
            let title = match kind.forms {
                [_] => format!("A source of type `{}`", kind.name),
                [.., last]
                    if last.key == form.key && last.keys.iter().all(|key| key.name != form.key || !key.required) =>
                {
                    format!("A source of type `{}` otherwise", kind.name)
                }
                _ => format!("A source of type `{}` with `{}`", kind.name, form.key),
            };
            format!("### {title}\n\n{}\n", entry(kind, form))
        };
        let forms: String = kind.forms.iter().map(form).collect();
        golden::check_part(&page, &format!("{}\n{}", forms.trim_end(), connection(kind)));
    }
}
