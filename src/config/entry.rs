//! Decodes one entry of `sources`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use super::connections::{ConnectionName, Connections, Found, add_conflicts};
use super::{Entry, Location, Report, keys};
use crate::document::{Fields, Node, Position, Problems};
use crate::lookup::Timing;
use crate::lookup::rules::{ItemAccess, ValueRules};
use crate::metric::pattern::Pattern;
use crate::source::keys::{ITEMS, Key, MATCH, METRIC, NAME, Values};
use crate::source::{Definition, FALLBACK, Form, Kind, Kinds, MAX_AGE, Place, REFRESH, chosen, kind_of};

/// The default deadline of reads that may take long: a service of several nodes may wait for one that is
/// down.
const SLOW_TIMEOUT: Duration = Duration::from_secs(10);

/// A decoded entry, before its connection is resolved.
pub(super) struct Written {
    pub(super) kind: &'static Kind,
    pub(super) location: Location,
    /// The location of its name. An entry that lists its sources has none.
    pub(super) name_at: Option<Position>,
    pub(super) name: String,
    pub(super) namespaces: Vec<Pattern>,
    form: &'static Form,
    own: Values,
    common: Values,
    timing: Timing,
    connection: Option<ConnectionName>,
}

/// The timing of entries that set none of their own.
#[derive(Clone, Copy, Default)]
pub(super) struct Defaults {
    timing: Timing,
    sets_timeout: bool,
}

// === impl Defaults ===

impl Defaults {
    /// Of the values of `defaults`.
    pub(super) fn new(values: &Values, at: Position, problems: &mut Problems) -> Self {
        let sets_timeout = values.get(keys::TIMEOUT).is_some();
        Self { timing: timing(values, Timing::default(), at, problems), sets_timeout }
    }

    /// Of an entry of this kind.
    fn of(self, kind: Option<&Kind>) -> Timing {
        let is_slow = kind.is_some_and(|kind| kind.slow) && !self.sets_timeout;
        Timing { timeout: if is_slow { SLOW_TIMEOUT } else { self.timing.timeout }, ..self.timing }
    }
}

// === impl Written ===

impl Written {
    pub(super) fn decode(
        file: usize,
        node: &Node,
        defaults: Defaults,
        kinds: Kinds,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut fields = node.fields(problems)?;
        let kind = fields.require("type", problems).and_then(|node| {
            let wrong = |text: &str| format!("unknown type {text:?}");
            node.one_of(kinds, |kind| kind.name, wrong, problems).copied()
        });
        let common = Values::decode(&mut fields, &keys::common(kind), problems);
        let timing = timing(&common, defaults.of(kind), fields.at(), problems);
        let Some((kind, form)) = kind.and_then(|kind| Some((kind, kind.form(|key| fields.has(key))?))) else {
            // Without a kind, the other keys are unknown.
            Values::decode(&mut fields, &[&[NAME]], problems);
            return None;
        };
        // The keys of other forms are known, too.
        for other in kind.forms.iter().take_while(|other| other.key != form.key) {
            fields.take(other.key);
        }
        refuse_keys_of_other_forms(kind, form, &mut fields, problems);
        let connection = ConnectionName::decode(kind, &mut fields, problems);
        let own = Values::decode(&mut fields, &keys::own(kind, form), problems);
        if let (Some(metric), Some(at)) = (own.text(METRIC.name), fields.place(METRIC.name))
            && kind_of(kinds, metric).is_some()
        {
            problems.add(at, format!("{metric:?} is a metric of another type: choose another name"));
        }
        let own_labels = kind.name_labels().chain(kind.labels.iter().copied()).chain(kind.parts.iter().copied());
        for label in own_labels.filter(|label| common.map(keys::LABELS.name).any(|(key, _)| key == *label)) {
            let at = fields.place(keys::LABELS.name).unwrap_or(fields.at());
            problems.add(at, format!("{label:?} is a label that {} has itself: use another one", kind.name));
        }
        let of_connection = Some(&kind.connection).filter(|of| of.place == Place::Entry).map(|of| (of.conflicts)(&own));
        let with_fallback = match common.get(FALLBACK) {
            Some(fallback) => own.clone().with(FALLBACK, fallback.clone()),
            None => own.clone(),
        };
        let conflicts = chosen::conflicts(&own).into_iter().chain((kind.conflicts)(&with_fallback));
        add_conflicts(&fields, conflicts.chain(of_connection.into_iter().flatten()), problems);
        // Entries may share a metric whose name the config chooses.
        let names = [Some(NAME.name), Some(kind.label_of(form.key)).filter(|_| !kind.chooses())];
        let name_at = names.into_iter().flatten().find(|key| own.text(key).is_some()).and_then(|key| fields.place(key));
        let location = Location { file, at: fields.at() };
        fields.conceal(kind.without_effect);
        fields.finish(problems);
        let namespaces = common.texts("namespaces").iter().map(Pattern::new).collect();
        let name = name(kind, form.key, &own);
        Some(Self { kind, location, name_at, name, namespaces, form, own, common, timing, connection })
    }

    /// What distinguishes it from an entry of the same name: the values of the kind's labels, as they are
    /// written.
    pub(super) fn place<'w>(&'w self, connections: &Connections) -> Vec<Option<&'w str>> {
        let value = |label: &&'static str| match *label {
            label if label == keys::CONNECTION.name => connections.chosen(self.kind, self.connection.as_ref()),
            label => self.own.text(label).or_else(|| self.key(label)?.default),
        };
        self.kind.labels.iter().map(value).collect()
    }

    /// The same, as selectors have them.
    pub(super) fn labels<'w>(&'w self, place: &[Option<&'w str>]) -> Vec<Option<Cow<'w, str>>> {
        let label = |(label, text): (&&'static str, &Option<&'w str>)| match self.key(label) {
            Some(key) => text.map(key.label),
            None => text.map(Cow::Borrowed),
        };
        self.kind.labels.iter().zip(place).map(label).collect()
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.form.keys.iter().find(|key| key.name == name)
    }

    /// The label of its name.
    pub(super) fn label(&self) -> &'static str {
        self.kind.label_of(self.form.key)
    }

    /// Whether it is also exposed as a gauge.
    pub(super) fn exports(&self) -> bool {
        self.common.bool(keys::EXPORT.name)
    }

    /// The entry with its connection. A missing connection is reported.
    pub(super) fn connected(self, connections: &Connections, report: &mut Report<'_>) -> Option<Entry> {
        let Self { kind, location, form, own, common, timing, connection, name, namespaces, .. } = self;
        let Found { values, place: connection_place } =
            connections.find(kind, connection.as_ref(), location, report)?;
        let definition = Definition { form: form.key, entry: own, connection: values };
        report.warn(location, (kind.warn)(&definition));
        Some(Entry {
            kind,
            name,
            namespaces,
            timing,
            export: common.bool(keys::EXPORT.name),
            items: ItemAccess {
                sums: !kind.chooses() || definition.entry.text(ITEMS.name).is_some(),
                labels: chosen::static_labels(if kind.chooses() { &definition.entry } else { &common }),
                namespace_label: definition.entry.text(chosen::NAMESPACE_LABEL.name).map(Box::from),
                place: Some(report.title(location).into()),
            },
            value_rules: ValueRules { activation: common.amount("activation"), fallback: common.amount(FALLBACK) },
            definition,
            connection_place,
        })
    }
}

/// Problems of keys that belong to another form of the kind. A key of a form alone selects it.
fn refuse_keys_of_other_forms(kind: &Kind, form: &Form, fields: &mut Fields<'_>, problems: &mut Problems) {
    let others = kind.forms.iter().filter(|other| other.key != form.key);
    let of_others = others.flat_map(|other| other.keys.iter().map(|key| (key.name, other.key)));
    let mut refused = BTreeSet::new();
    for (key, owner) in of_others.filter(|(key, _)| form.keys.iter().all(|own| own.name != *key)) {
        let Some(at) = fields.place(key).filter(|_| refused.insert(key)) else { continue };
        fields.take(key);
        problems.add(
            at,
            match form.key {
                first if fields.has(first) => format!("`{first}` is here, too: write either `{first}` or `{key}`"),
                _ => format!("`{key}` has no effect without `{owner}`"),
            },
        );
    }
}

/// The name of a source or of its metric, or the pattern of listed sources: by default all of them.
pub(super) fn name(kind: &Kind, form: &str, own: &Values) -> String {
    let names = [NAME.name, METRIC.name, kind.label_of(form), MATCH.name].into_iter();
    names.filter_map(|key| own.text(key)).next().unwrap_or("*").to_owned()
}

/// The timing of these values, with defaults for missing values.
pub(super) fn timing(values: &Values, defaults: Timing, at: Position, problems: &mut Problems) -> Timing {
    let timing = Timing {
        refresh: values.duration(REFRESH).unwrap_or(defaults.refresh),
        timeout: values.duration("timeout").unwrap_or(defaults.timeout),
        max_age: values.duration(MAX_AGE).unwrap_or(defaults.max_age),
        idle_after: values.duration("idleAfter").unwrap_or(defaults.idle_after),
    };
    // Errors in `defaults` are reported once, at `defaults`.
    if timing.max_age < timing.refresh && timing != defaults {
        let (max_age, refresh) = (timing.max_age, timing.refresh);
        let message = format!(
            "maxAge ({max_age:?}) is shorter than refresh ({refresh:?}): values would grow too old between two reads"
        );
        problems.add(at, message);
    }
    timing
}

#[cfg(test)]
mod tests {
    use crate::config::tests::lines;

    #[test]
    fn a_key_of_another_form_is_no_unknown_key() {
        let entry = |keys: &str| {
            let connections = "connections: {r: {type: rabbitmq, url: \"https://r\"}}";
            let entry = format!("sources:\n  - {{namespaces: [shop], {keys}}}\n");
            lines(&format!("apiVersion: depthgauge.dev/v1alpha1\nkind: Config\n{connections}\n{entry}"))
        };
        for (keys, expected) in [
            ("type: rabbitmq, queue: a", &[][..]),
            ("type: rabbitmq, queue: a, match: b", &["5:59: `queue` is here, too: write either `queue` or `match`"]),
            ("type: rabbitmq, match: b, name: a", &["5:58: `match` is here, too: write either `match` or `name`"]),
            ("type: rabbitmq, name: a", &["5:48: `name` has no effect without `queue`"]),
            (
                "type: oci-queue, match: a",
                &[
                    "5:5: `name` is missing here",
                    "5:5: `queueId` is missing here",
                    "5:50: `match` has no effect without `compartmentId`",
                ],
            ),
        ] {
            assert_eq!(entry(keys), expected, "{keys}");
        }
    }
}
