//! Names of config entries: two entries of one type may share a name only if no namespace may read both.

use std::collections::HashMap;

use crate::document::{Position, Problems};
use crate::metric::pattern::Pattern;

/// An entry that names its source.
pub(super) struct Named<'c> {
    /// The label that the name is a value of: `queue`.
    pub(super) label: &'static str,
    pub(super) name: &'c str,
    pub(super) at: Position,
    /// Without any, they are wrong, and that is reported by itself.
    pub(super) namespaces: &'c [Pattern],
    pub(super) export: bool,
}

/// Earlier entries of one name.
#[derive(Default)]
struct Earlier<'c> {
    entries: Vec<Named<'c>>,
    /// The first entry of each namespace that is written without `*`: thousands of teams may each have
    /// an entry of this name.
    by_namespace: HashMap<&'c Pattern, usize>,
    with_patterns: Vec<usize>,
    exported: Option<usize>,
}

/// Reports each entry that a namespace may confuse with an earlier one.
pub(super) fn unique_names<'c>(entries: impl Iterator<Item = Named<'c>>, problems: &mut Problems) {
    let mut earlier: HashMap<_, Earlier<'c>> = HashMap::new();
    for entry in entries {
        let earlier = earlier.entry((entry.label, entry.name)).or_default();
        if let Some((first, why)) = earlier.clash(&entry) {
            let Named { label, name, at, .. } = entry;
            let message = format!("another {label} is called {name:?}, at {first}: names must differ, because {why}");
            problems.add(at, message);
        }
        earlier.add(entry);
    }
}

impl<'c> Earlier<'c> {
    /// The first of them that can't have the name of this one too, and why.
    fn clash(&self, entry: &Named<'_>) -> Option<(Position, String)> {
        let mut suspects: Vec<usize> = if entry.has_patterns() {
            (0..self.entries.len()).collect()
        } else {
            let same = entry.namespaces.iter().filter_map(|namespace| self.by_namespace.get(namespace));
            same.chain(&self.with_patterns).copied().chain(self.exported).collect()
        };
        suspects.sort_unstable();
        let mut suspects = suspects.into_iter().map(|at| &self.entries[at]);
        suspects.find_map(|earlier| Some((earlier.at, entry.clash(earlier)?)))
    }

    fn add(&mut self, entry: Named<'c>) {
        let at = self.entries.len();
        for namespace in entry.namespaces {
            self.by_namespace.entry(namespace).or_insert(at);
        }
        if entry.has_patterns() {
            self.with_patterns.push(at);
        }
        if entry.export {
            self.exported.get_or_insert(at);
        }
        self.entries.push(entry);
    }
}

impl Named<'_> {
    fn has_patterns(&self) -> bool {
        !self.namespaces.iter().all(Pattern::is_literal)
    }

    /// Why both can't have one name.
    fn clash(&self, other: &Self) -> Option<String> {
        let pairs = self.namespaces.iter().flat_map(|one| other.namespaces.iter().map(move |other| (one, other)));
        let both = pairs.into_iter().find(|(one, other)| one.common(other).is_some());
        match both {
            Some((one, other)) => Some(format!("{} may read both", one.namespaces(other))),
            None if self.export && other.export => Some("`export` would show both as one gauge".to_owned()),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn lines(entries: &[&str]) -> Vec<String> {
        let mut text =
            "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\noci: {region: eu-frankfurt-1}\nsources:\n".to_owned();
        for (number, keys) in entries.iter().enumerate() {
            let id = format!("ocid1.queue.oc1.eu-frankfurt-1.amaaaa{number}");
            text += &format!("  - {{type: oci-queue, name: orders, queueId: {id}, {keys}}}\n");
        }
        match Config::parse(&text) {
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
    fn namespaces_that_are_wrong_are_reported_alone() {
        let lines = lines(&["namespaces: []", "namespaces: [team-a]"]);
        assert!(lines.len() == 1 && !lines[0].contains("another"), "{lines:?}");
    }
}
