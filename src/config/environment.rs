//! The config without a file: one source that environment variables define.

use std::sync::Arc;

use super::entry::name;
use super::{Config, ConfigError, Entry, keys};
use crate::lookup::Timing;
use crate::lookup::rules::{ItemAccess, ValueRules};
use crate::metric::pattern::Pattern;
use crate::source::keys::{Key, Shape, Value, Values};
use crate::source::{Definition, Environment, Kind, Kinds, Variable};

// === impl Config ===

impl Config {
    /// The config that environment variables define. By default `own_namespace` may read the source.
    /// `None` if they define no source. An empty variable counts as not set.
    pub fn from_variables(
        kinds: Kinds,
        var: &dyn Fn(&str) -> Option<String>,
        own_namespace: Option<&str>,
    ) -> Option<Result<Self, ConfigError>> {
        let var = |name: &str| var(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let named = kinds.iter().filter_map(|kind| entry(kind, kind.environment.as_ref()?, &var, own_namespace));
        let named: Vec<_> = named.collect();
        if named.is_empty() {
            return None;
        }
        let entries: Result<Vec<Entry>, Vec<String>> = named.into_iter().collect();
        Some(
            entries
                .map(|entries| Self { entries, warnings: Vec::new() })
                .map_err(|wrong| ConfigError::Wrong(wrong.join("\n"))),
        )
    }
}

/// The entry that the variables define, if any, or each error with its variable.
fn entry(
    kind: &'static Kind,
    environment: &Environment,
    var: &dyn Fn(&str) -> Option<String>,
    own_namespace: Option<&str>,
) -> Option<Result<Entry, Vec<String>>> {
    var(environment.variables.first()?.name)?;
    let form = kind.form(|key| environment.variables.iter().any(|variable| variable.key == key))?;
    let mut wrong = Vec::new();
    let mut values = |of_connection: bool, tables: &[&'static [Key]]| -> Values {
        let variables = environment.variables.iter().filter(|variable| variable.of_connection == of_connection);
        variables.filter_map(|variable| value(variable, tables, var, &mut wrong)).collect()
    };
    let (own, connection) = (values(false, &keys::own(kind, form)), values(true, kind.connection.keys));
    let names = var(environment.namespaces).or(own_namespace.map(str::to_owned)).unwrap_or_default();
    let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        wrong.push(format!(
            "{}: no namespace could read this source: name namespaces, separated by commas, or * for all (in a pod, POD_NAMESPACE is the default)",
            environment.namespaces
        ));
    }
    for message in names.iter().filter_map(|name| (keys::NAMESPACE.check)(name).err()) {
        wrong.push(format!("{}: {message}", environment.namespaces));
    }
    if !wrong.is_empty() {
        return Some(Err(wrong));
    }
    Some(Ok(Entry {
        kind,
        name: name(kind, form.key, &own),
        namespaces: names.into_iter().map(Pattern::new).collect(),
        timing: Timing::default(),
        export: false,
        items: ItemAccess { sums: !kind.chooses(), ..ItemAccess::default() },
        value_rules: ValueRules::default(),
        definition: Definition { form: form.key, entry: own, connection: Arc::new(connection) },
        connection_place: None,
    }))
}

/// The key and value of a variable, if it is set.
fn value(
    variable: &Variable,
    tables: &[&'static [Key]],
    var: &dyn Fn(&str) -> Option<String>,
    wrong: &mut Vec<String>,
) -> Option<(&'static str, Value)> {
    let text = var(variable.name)?;
    let key = tables.iter().copied().flatten().find(|key| key.name == variable.key)?;
    let Shape::Text(shape) = key.shape else { return None };
    match (shape.check)(&text) {
        Ok(()) => Some((key.name, Value::Text(text))),
        Err(message) => {
            wrong.push(format!("{}: {message}", variable.name));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::KINDS;

    fn read_in(own: Option<&str>, variables: &[(&str, &str)]) -> Option<Result<Entry, Vec<String>>> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Some(match Config::from_variables(KINDS, &find, own)? {
            Ok(mut config) => Ok(config.entries.remove(0)),
            Err(error) => Err(error.to_string().lines().map(str::to_owned).collect()),
        })
    }

    const OCID: &str = "ocid1.queue.oc1.eu-frankfurt-1.amaaaafake";

    #[test]
    fn the_ocid_is_enough() {
        let entry =
            read_in(Some("shop"), &[("OCI_QUEUE_ID", OCID)]).unwrap().unwrap_or_else(|wrong| panic!("{wrong:?}"));
        // Listed by its display name, whatever that is.
        assert_eq!((entry.name.as_str(), entry.namespaces), ("*", vec![Pattern::new("shop")]));
        assert_eq!(entry.definition.entry.text("queueId"), Some(OCID));
        let without: [&[(&str, &str)]; 3] =
            [&[], &[("OCI_QUEUE_ID", "")], &[("OCI_QUEUE_ID", " "), ("OCI_QUEUE_NAME", "orders"), ("OCI_REGION", "x")]];
        for without in without {
            assert!(read_in(Some("shop"), without).is_none(), "{without:?}");
        }
    }

    #[test]
    fn each_variable_is_taken() {
        let endpoint = "https://cell-1.queue.messaging.eu-frankfurt-1.oci.oraclecloud.com/";
        let all = [
            ("OCI_QUEUE_ID", OCID),
            ("OCI_QUEUE_ENDPOINT", endpoint),
            ("OCI_REGION", "fra"),
            ("OCI_QUEUE_NAME", "orders"),
            ("OCI_QUEUE_NAMESPACES", "shop, team-*,"),
        ];
        let entry = read_in(None, &all).unwrap().unwrap_or_else(|wrong| panic!("{wrong:?}"));
        assert_eq!(entry.name, "orders");
        assert_eq!(entry.namespaces, ["shop", "team-*"].map(Pattern::new));
        let Definition { entry, connection, .. } = &entry.definition;
        assert_eq!([entry.text("queueId"), entry.text("endpoint")], [Some(OCID), Some(endpoint)]);
        assert_eq!(connection.text("region"), Some("fra"));
    }

    #[test]
    fn every_error_names_its_variable() {
        let all = [
            ("OCI_QUEUE_ID", "orders"),
            ("OCI_QUEUE_ENDPOINT", "ftp://x"),
            ("OCI_REGION", "atlantis-1"),
            ("OCI_QUEUE_NAME", "-x"),
            ("OCI_QUEUE_NAMESPACES", ","),
        ];
        let wrong = read_in(None, &all).unwrap().err().unwrap();
        for (variable, _) in all {
            assert_eq!(wrong.iter().filter(|line| line.starts_with(&format!("{variable}: "))).count(), 1, "{wrong:?}");
        }
        assert_eq!(wrong.len(), all.len());
        let none = read_in(None, &[("OCI_QUEUE_ID", OCID)]).unwrap().err().unwrap();
        assert!(none[0].starts_with("OCI_QUEUE_NAMESPACES: no namespace could read"), "{none:?}");
        let illegal =
            read_in(None, &[("OCI_QUEUE_ID", OCID), ("OCI_QUEUE_NAMESPACES", "Shop")]).unwrap().err().unwrap();
        assert!(illegal[0].starts_with("OCI_QUEUE_NAMESPACES: invalid namespace \"Shop\""), "{illegal:?}");
    }
}
