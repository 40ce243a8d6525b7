//! The connections that entries are read through: sections of connection types, and `connections` by
//! name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Location, Report, keys};
use crate::document::{Fields, Node, Position, Problems, one_of};
use crate::metric::{LABEL_VALUE_RULE, is_label_value};
use crate::source::keys::{Value, Values};
use crate::source::{CONNECTION_NAME, ConnectionType, Kind, Kinds, Place};

/// The connections of all files.
#[derive(Default)]
pub(super) struct Connections {
    /// By the name of their type.
    sections: BTreeMap<&'static str, (Location, Arc<Values>)>,
    /// By name.
    named: BTreeMap<String, Named>,
    /// Names of invalid connections, which are reported at their own location.
    wrong: BTreeSet<String>,
    /// Whether one that is missing may be in a file that can't be read.
    is_incomplete: bool,
}

struct Named {
    location: Location,
    kind: &'static str,
    values: Arc<Values>,
}

/// A connection that was found.
pub(super) struct Found {
    /// Its keys.
    pub(super) values: Arc<Values>,
    /// Where it is written, if it has a name.
    pub(super) place: Option<String>,
}

/// The name of a connection in an entry.
pub(super) struct ConnectionName {
    at: Position,
    name: String,
}

// === impl Connections ===

impl Connections {
    /// Those of a config of which some files can't be read.
    pub(super) fn incomplete() -> Self {
        Self { is_incomplete: true, ..Self::default() }
    }

    /// Decodes the sections and `connections` of a file.
    pub(super) fn decode(&mut self, file: usize, top: &mut Fields<'_>, kinds: Kinds, report: &mut Report<'_>) {
        let types = |place| types(kinds).into_iter().filter(move |of| of.place == place);
        for of in types(Place::Section) {
            if let Some(node) = top.take(of.name) {
                self.decode_section(file, of, node, report);
            }
        }
        let types: Vec<_> = types(Place::Named).collect();
        if types.is_empty() {
            return;
        }
        let entries = top.take("connections").and_then(|node| node.entries(report.of(file)));
        for (name, at, node) in entries.unwrap_or_default() {
            if !is_label_value(name) {
                report.of(file).add(*at, format!("invalid connection name {name:?}: {LABEL_VALUE_RULE}"));
            }
            self.decode_named(name, Location { file, at: *at }, node, &types, report);
        }
    }

    /// The connection of an entry, or a problem if there is none.
    pub(super) fn find(
        &self,
        kind: &Kind,
        name: Option<&ConnectionName>,
        location: Location,
        report: &mut Report<'_>,
    ) -> Option<Found> {
        let of = kind.connection.name;
        if kind.connection.place != Place::Named {
            let values = self.sections.get(of).map_or_else(Arc::default, |(_, values)| values.clone());
            return Some(Found { values, place: None });
        }
        let known: Vec<_> = self.named.iter().filter(|(_, named)| named.kind == of).collect();
        let found_at = |report: &Report<'_>, named: &Named| {
            Some(Found { values: named.values.clone(), place: Some(report.title(named.location)) })
        };
        let names = || known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let Some(ConnectionName { at, name }) = name else {
            return match known.as_slice() {
                [(_, only)] => found_at(report, only),
                [] if self.is_incomplete || !self.wrong.is_empty() => None,
                [] => {
                    let message = format!(
                        "there is no connection of type {of}: add one, as in `connections: {{NAME: {{type: {of}, …}}}}`"
                    );
                    report.add(location, message);
                    None
                }
                _ => {
                    let message =
                        format!("`connection` is missing here: name one of the connections of type {of}: {}", names());
                    report.add(location, message);
                    None
                }
            };
        };
        let found = known.iter().find(|(known, _)| *known == name).and_then(|(_, named)| found_at(report, named));
        if found.is_none() && !self.is_incomplete && !self.wrong.contains(name) {
            let what = format!("there is no connection {name:?} of type {of}");
            let message = if known.is_empty() {
                what
            } else {
                format!("{what}; {}", one_of(known.iter().map(|(name, _)| name.as_str())))
            };
            report.add(Location { at: *at, ..location }, message);
        }
        found
    }

    /// Equal for two entries of one connection. `None` where there is no choice.
    pub(super) fn chosen<'n>(&self, kind: &Kind, name: Option<&'n ConnectionName>) -> Option<&'n str> {
        let known = self.named.values().filter(|named| named.kind == kind.connection.name).count();
        name.filter(|_| known > 1).map(|ConnectionName { name, .. }| name.as_str())
    }

    fn decode_section(&mut self, file: usize, of: &'static ConnectionType, node: &Node, report: &mut Report<'_>) {
        let Some(mut fields) = node.fields(report.of(file)) else { return };
        let location = Location { file, at: node.at() };
        let values = keys_of(of, &mut fields, report.of(file));
        fields.finish(report.of(file));
        match self.sections.get(of.name) {
            Some((first, _)) => {
                let first = report.place(*first, location);
                report.add(location, format!("another `{}` is at {first}: the maximum is one", of.name));
            }
            None => {
                report.warn(location, (of.warn)(&values));
                self.sections.insert(of.name, (location, Arc::new(values)));
            }
        }
    }

    fn decode_named(
        &mut self,
        name: &str,
        location: Location,
        node: &Node,
        types: &[&'static ConnectionType],
        report: &mut Report<'_>,
    ) {
        let Some((of, values)) = decode(node, types, report.of(location.file)) else {
            self.wrong.insert(name.to_owned());
            return;
        };
        match self.named.get(name) {
            Some(Named { location: first, .. }) => {
                let first = report.place(*first, location);
                report.add(location, format!("another connection is called {name:?}, at {first}: names must differ"));
            }
            None => {
                report.warn(location, (of.warn)(&values));
                let values = values.with(CONNECTION_NAME, Value::Text(name.to_owned()));
                self.named.insert(name.to_owned(), Named { location, kind: of.name, values: Arc::new(values) });
            }
        }
    }
}

/// A connection of one of these types.
fn decode(
    node: &Node,
    types: &[&'static ConnectionType],
    problems: &mut Problems,
) -> Option<(&'static ConnectionType, Values)> {
    let mut fields = node.fields(problems)?;
    let wrong = |text: &str| format!("unknown connection type {text:?}");
    let of = fields.require("type", problems)?.one_of(types, |of| of.name, wrong, problems)?;
    let values = keys_of(of, &mut fields, problems);
    fields.finish(problems);
    Some((of, values))
}

fn keys_of(of: &ConnectionType, fields: &mut Fields<'_>, problems: &mut Problems) -> Values {
    let values = Values::decode(fields, of.keys, problems);
    add_conflicts(fields, (of.conflicts)(&values), problems);
    values
}

/// Adds errors in a mapping whose keys are valid one by one: the key, and the message.
pub(super) fn add_conflicts(
    fields: &Fields<'_>,
    conflicts: impl IntoIterator<Item = (&'static str, String)>,
    problems: &mut Problems,
) {
    for (key, message) in conflicts {
        problems.add(fields.place(key).unwrap_or(fields.at()), message);
    }
}

// === impl ConnectionName ===

impl ConnectionName {
    /// Decodes `connection` of an entry whose connections have names.
    pub(super) fn decode(kind: &Kind, fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        if kind.connection.place != Place::Named {
            return None;
        }
        let node = fields.take(keys::CONNECTION.name)?;
        Some(Self { at: node.at(), name: node.text(problems)?.to_owned() })
    }
}

/// The connection types of these kinds, each once.
pub(super) fn types(kinds: Kinds) -> Vec<&'static ConnectionType> {
    let mut types: Vec<&'static ConnectionType> = Vec::new();
    for kind in kinds {
        if types.iter().all(|known| known.name != kind.connection.name) {
            types.push(&kind.connection);
        }
    }
    types
}

#[cfg(test)]
mod tests {
    use crate::config::tests::lines;

    #[test]
    fn the_name_of_a_connection_is_a_label_value() {
        let text = "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nconnections:\n  a b: {type: rabbitmq, url: \"https://r\"}\nsources: []\n";
        let expected = "4:3: invalid connection name \"a b\": at most 63 of letters, digits, '-', '_' or '.', the first and last a letter or digit";
        assert_eq!(lines(text), [expected]);
    }

    #[test]
    fn keys_that_belong_together_are_missing_once() {
        let of = |auth: &str| {
            let connection =
                format!("{{type: azure-servicebus, namespace: a.servicebus.windows.net, auth: {{{auth}}}}}");
            let text = "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources: []\nconnections:\n";
            let after = |line: &String| line[line.find(": ").unwrap_or_default()..].to_owned();
            lines(&format!("{text}  a: {connection}\n")).iter().map(after).collect::<Vec<_>>()
        };
        let missing = ": `keyName` with `keyFile` or `connectionStringFile` or `signatureFile` is missing here";
        let half = ": `keyFile` or `connectionStringFile` or `signatureFile` is missing here";
        let both = ": `keyName` is here, too: write either `keyName` or `signatureFile`";
        for (auth, expected) in [
            ("type: sas", &[missing][..]),
            ("type: sas, signatureFile: s", &[]),
            ("type: sas, keyName: n, keyFile: f", &[]),
            ("type: sas, keyName: n", &[half]),
            ("type: sas, keyName: n, keyFile: f, signatureFile: s", &[both]),
        ] {
            assert_eq!(of(auth), expected, "{auth}");
        }
    }
}
