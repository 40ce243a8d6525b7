//! Checks names of config entries. Two entries of one type may share a name only if no namespace may
//! read both, or if labels distinguish them. And no two values of such a label may become equal.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::connections::Connections;
use super::entry::Written;
use super::{Location, Report};
use crate::metric::pattern::Pattern;
use crate::metric::selectable::selectable;

/// Earlier entries with one name.
#[derive(Default)]
struct Earlier<'w> {
    entries: Vec<(Location, &'w Written)>,
    /// The first entry of each namespace without `*`. It is a map because thousands of teams may each
    /// have an entry with this name.
    by_namespace: HashMap<&'w Pattern, usize>,
    with_patterns: Vec<usize>,
    exported: Option<usize>,
}

/// Reports each entry whose name is ambiguous in a namespace because of an earlier entry.
pub(super) fn check(written: &[Written], connections: &Connections, report: &mut Report<'_>) {
    check_places(written, connections, report);
    let mut earlier: HashMap<_, Earlier<'_>> = HashMap::new();
    for entry in written {
        let Some(at) = entry.name_at else { continue };
        let (location, label, name) = (Location { at, ..entry.location }, entry.label(), &*entry.name);
        let selectable = if entry.kind.chooses() { Cow::Borrowed(name) } else { selectable(name) };
        let key = (entry.kind.name, label, selectable.clone(), entry.place(connections));
        let earlier = earlier.entry(key).or_default();
        if let Some((first, other, why)) = earlier.clash(entry) {
            let first = report.place(first, location);
            report.add(location, match &*other.name {
                other if other == name => format!("another {label} is called {name:?}, at {first}: names must differ, because {why}"),
                other => format!("{label} {name:?} and {label} {other:?}, at {first}, both become {label}={selectable}: set `name` in one of them, because {why}"),
            });
        }
        earlier.add(location, entry);
    }
}

/// Reports each entry at a place whose labels are those of another place: vhosts `a b` and `a/b`.
fn check_places(written: &[Written], connections: &Connections, report: &mut Report<'_>) {
    // By kind and labels, and for each place there.
    let mut places: HashMap<_, BTreeMap<Vec<Option<&str>>, Earlier<'_>>> = HashMap::new();
    for entry in written {
        let (location, place) = (entry.location, entry.place(connections));
        let labels = entry.labels(&place);
        let known = places.entry((entry.kind.name, labels.clone())).or_default();
        let others = known.iter().filter(|(other, _)| **other != place);
        let clash = others.filter_map(|(other, earlier)| Some((other.clone(), earlier.clash(entry)?))).next();
        if let Some((other, (first, _, why))) = clash {
            let parts = entry.kind.labels.iter().zip(&labels).zip(place.iter().zip(&other));
            let differ = parts.filter(|(_, (one, other))| one != other);
            let equal = differ.map(|((label, value), (one, other))| {
                let [one, other] = [one, other].map(|text| text.unwrap_or_default());
                format!(
                    "{label} {one:?} and {label} {other:?} both become {label}={}",
                    value.as_deref().unwrap_or_default()
                )
            });
            let (equal, first) = (equal.collect::<Vec<_>>().join(", "), report.place(first, location));
            let message = format!(
                "{equal}, with the entry at {first}: read one of them through another connection, because {why}"
            );
            report.add(location, message);
        }
        known.entry(place).or_default().add(location, entry);
    }
}

// === impl Earlier ===

impl<'w> Earlier<'w> {
    /// The first earlier entry that conflicts with this one, and the reason.
    fn clash(&self, entry: &Written) -> Option<(Location, &'w Written, String)> {
        let mut suspects: Vec<usize> = if has_patterns(entry) {
            (0..self.entries.len()).collect()
        } else {
            let same = entry.namespaces.iter().filter_map(|namespace| self.by_namespace.get(namespace));
            same.chain(&self.with_patterns).copied().chain(self.exported).collect()
        };
        suspects.sort_unstable();
        let mut suspects = suspects.into_iter().map(|at| self.entries[at]);
        suspects.find_map(|(at, earlier)| Some((at, earlier, clash(entry, earlier)?)))
    }

    fn add(&mut self, location: Location, entry: &'w Written) {
        let at = self.entries.len();
        for namespace in &entry.namespaces {
            self.by_namespace.entry(namespace).or_insert(at);
        }
        if has_patterns(entry) {
            self.with_patterns.push(at);
        }
        if entry.exports() {
            self.exported.get_or_insert(at);
        }
        self.entries.push((location, entry));
    }
}

fn has_patterns(entry: &Written) -> bool {
    !entry.namespaces.iter().all(Pattern::is_literal)
}

/// Why both can't have the same name. An entry without namespaces has an error of its own.
fn clash(entry: &Written, first: &Written) -> Option<String> {
    let pairs = entry.namespaces.iter().flat_map(|one| first.namespaces.iter().map(move |other| (one, other)));
    let both = pairs.into_iter().find(|(one, other)| one.common(other).is_some());
    match both {
        Some((one, other)) => Some(format!("{} may read both", one.namespaces(other))),
        None if entry.exports() && first.exports() => Some("`export` would show both as one gauge".to_owned()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::source::KINDS;

    fn lines(entries: &[&str]) -> Vec<String> {
        let mut text =
            "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\noci: {region: eu-frankfurt-1}\nsources:\n".to_owned();
        for (number, keys) in entries.iter().enumerate() {
            let id = format!("ocid1.queue.oc1.eu-frankfurt-1.amaaaa{number}");
            text += &format!("  - {{type: oci-queue, name: orders, queueId: {id}, {keys}}}\n");
        }
        match Config::parse(&text, KINDS) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.lines().collect(),
        }
    }

    #[test]
    fn a_clash_is_reported_with_its_namespaces_and_the_first_such_entry() {
        let entries =
            ["namespaces: [team-a]", "namespaces: [team-b]", "namespaces: ['*-b', shop]", "namespaces: [shop]"];
        let expected = [
            "7:29: another queue is called \"orders\", at 6:29: names must differ, because namespace \"team-b\" may read both",
            "8:29: another queue is called \"orders\", at 7:29: names must differ, because namespace \"shop\" may read both",
        ];
        assert_eq!(lines(&entries), expected);
        let patterns = "6:29: another queue is called \"orders\", at 5:29: names must differ, because namespaces matching \"*-prod\" and \"team-*\" may read both";
        assert_eq!(lines(&["namespaces: ['team-*']", "namespaces: ['*-prod']"]), [patterns]);
    }

    #[test]
    fn two_gauges_have_two_names() {
        let exported = ["namespaces: [team-a], export: true", "namespaces: [team-b], export: true"];
        let expected = "6:29: another queue is called \"orders\", at 5:29: names must differ, because `export` would show both as one gauge";
        assert_eq!(lines(&exported), [expected]);
        assert!(lines(&[exported[0], "namespaces: [team-b]"]).is_empty());
        let pattern = ["namespaces: ['team-*'], export: true", "namespaces: ['shop-*'], export: true"];
        assert_eq!(lines(&pattern), [expected]);
    }

    #[test]
    fn labels_may_distinguish_sources_of_one_name() {
        let lines = |connections: &str, entries: [&str; 2]| {
            let url = "type: rabbitmq, url: \"http://localhost\"";
            let connections = connections.replace("{}", &format!("{{{url}}}"));
            let entries = entries.map(|keys| format!("  - {{type: rabbitmq, namespaces: [shop], {keys}}}\n")).concat();
            let head = "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\n";
            match Config::parse(&format!("{head}connections: {connections}\nsources:\n{entries}"), KINDS) {
                Ok(_) => Vec::new(),
                Err(problems) => problems.lines().collect::<Vec<_>>(),
            }
        };
        let (one, two) = ("{a: {}}", "{a: {}, b: {}}");
        for (connections, first, second) in [
            (one, "queue: orders", "queue: bills"),
            (one, "queue: orders", "vhost: shop, queue: orders"),
            (one, "queue: orders, name: a", "queue: orders, name: b"),
            (two, "connection: a, queue: orders", "connection: b, queue: orders"),
            // What is listed may have any name.
            (one, "queue: orders", "match: orders"),
        ] {
            assert_eq!(lines(connections, [first, second]), [""; 0], "{first} | {second}");
        }
        for (connections, first, second) in [
            (one, "queue: orders", "queue: orders"),
            (one, "queue: orders", "vhost: /, connection: a, queue: orders"),
            (one, "queue: orders", "queue: bills, name: orders"),
            (two, "connection: b, queue: orders", "connection: b, queue: orders"),
        ] {
            let lines = lines(connections, [first, second]);
            let is_clash = |line: &String| line.contains("another queue is called \"orders\", at 5:");
            assert!(lines.len() == 1 && is_clash(&lines[0]), "{first} | {second}: {lines:?}");
        }
        assert_eq!(
            lines(one, ["queue: \"a b\"", "queue: a_b"]),
            [
                "6:49: queue \"a_b\" and queue \"a b\", at 5:49, both become queue=a_b: set `name` in one of them, because namespace \"shop\" may read both"
            ]
        );
        assert_eq!(lines(one, ["queue: \"a b\"", "queue: a_b, name: c"]), [""; 0]);
    }

    #[test]
    fn two_places_have_two_labels() {
        let lines = |entries: &str| {
            let head = "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nconnections:\n  a: {type: rabbitmq, url: \"http://localhost\"}\n  b: {type: rabbitmq, url: \"http://localhost\"}\nsources:\n";
            let entry = |keys: &str| format!("  - {{type: rabbitmq, {keys}}}\n");
            match Config::parse(&format!("{head}{}", entries.split('|').map(entry).collect::<String>()), KINDS) {
                Ok(_) => Vec::new(),
                Err(problems) => problems.lines().collect::<Vec<_>>(),
            }
        };
        let clash = |one: &str, other: &str, value: &str| {
            format!(
                "8:5: vhost {one:?} and vhost {other:?} both become vhost={value}, with the entry at 7:5: read one of them through another connection, because namespace \"shop\" may read both"
            )
        };
        for (one, other, value) in [("a b", "a/b", "a_b"), ("/", "default", "default"), ("shop", "/shop", "shop")] {
            let entries = format!(
                "connection: a, vhost: \"{one}\", queue: x, namespaces: [shop]|connection: a, vhost: \"{other}\", match: \"y*\", namespaces: [shop]"
            );
            assert_eq!(lines(&entries), [clash(other, one, value)]);
            let other_connection = entries.replace("|connection: a", "|connection: b");
            let other_namespace = entries.replace("match: \"y*\", namespaces: [shop]", "namespaces: [bank]");
            for good in [other_connection, other_namespace] {
                assert_eq!(lines(&good), [""; 0], "{good}");
            }
        }
        // The default is a value, too.
        let entries = "connection: a, queue: x, namespaces: [shop]|connection: a, vhost: default, namespaces: [shop]";
        assert_eq!(lines(entries), [clash("default", "/", "default")]);
    }

    #[test]
    fn namespaces_that_are_wrong_are_reported_alone() {
        let lines = lines(&["namespaces: []", "namespaces: [team-a]"]);
        assert!(lines.len() == 1 && !lines[0].contains("another"), "{lines:?}");
    }
}
