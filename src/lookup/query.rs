//! What a request means: a metric, which sources, which parts of them, and the value rules that it
//! brings. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::limits::{PARTS_MAX, PARTS_PER_SELECTOR};
use super::rules::{ACTIVATION_KEY, FALLBACK_KEY, NAME, ValueRules};
use super::{LookupError, Metrics};
use crate::metric::quantity::Quantity;
use crate::metric::{Labels, MetricName, OWN_PREFIX, names};
use crate::selector::{Condition, Requirement, Selector};
use crate::source::part::Part;
use crate::source::{Item, Items, Kind};

/// No part is named: the source as a whole.
static WHOLE: [Part; 1] = [Part::WHOLE];
/// The same for the metrics that are read apart.
static APART: [Part; 1] = [Part::APART];
/// How much of a requirement an error message repeats, in bytes.
const REPEATED: usize = 100;
/// How much of it the keys of static labels take, in bytes.
const STATIC_KEYS_BYTES: usize = 90;

/// A request that makes sense, from any namespace.
#[derive(Debug)]
pub(super) struct Query<'q> {
    /// `None` for a metric whose name the config chooses.
    pub(super) kind: Option<&'static Kind>,
    pub(super) metric: MetricName,
    pub(super) selector: &'q Selector,
    /// One item of each source for each of these.
    pub(super) parts: Cow<'static, [Part]>,
    /// The value rules in the selector.
    pub(super) value_rules: ValueRules,
    /// Keys that the kind does not have. They may be static labels of its sources: see
    /// [`Self::check_keys`].
    more_keys: Vec<&'q str>,
}

// === impl Query ===

impl<'q> Query<'q> {
    pub(super) fn parse(metric: &str, selector: &'q Selector, known: &Metrics) -> Result<Self, LookupError> {
        let (kind, metric) = known.find(metric)?;
        selector.check_length().map_err(|error| LookupError::BadSelector(error.to_string()))?;
        let mut value_rules = ValueRules::default();
        let mut parts: Vec<(&'static str, BTreeSet<&str>)> = Vec::new();
        let mut more_keys = Vec::new();
        for requirement in selector.requirements() {
            let key = requirement.key();
            if let Some(kind) = kind {
                if kind.is_name_label(key) || kind.labels.contains(&key) {
                    continue;
                }
                if let Some(label) = kind.parts.iter().find(|label| **label == key) {
                    narrow(&mut parts, label, requirement)?;
                    continue;
                }
            }
            let rule = match (key, kind) {
                // Other metrics are served as they are: a rule without an effect is an error.
                (_, Some(_)) if !key.starts_with(OWN_PREFIX) => {
                    more_keys.push(key);
                    continue;
                }
                (_, Some(kind)) if !kind.depths.contains(&metric) => {
                    return Err(no_such_key(kind, &metric, key, []));
                }
                (ACTIVATION_KEY, _) => &mut value_rules.activation,
                (FALLBACK_KEY, _) => &mut value_rules.fallback,
                (_, Some(kind)) => return Err(no_such_key(kind, &metric, key, [])),
                // A label of the items, unless it looks like a misspelt depthgauge key.
                (_, None) if key.starts_with(OWN_PREFIX) && key != NAME => {
                    return Err(LookupError::BadSelector(format!(
                        "no such selector key: {}; there are {ACTIVATION_KEY} and {FALLBACK_KEY}",
                        names::shortened(key, REPEATED)
                    )));
                }
                (_, None) => continue,
            };
            let number = number(requirement)?;
            if rule.replace(number).is_some_and(|other| other != number) {
                return Err(LookupError::BadSelector(format!("{key} occurs twice; it takes one number")));
            }
        }
        let is_apart = kind.is_some_and(|kind| kind.apart.contains(&metric));
        let parts = kind.map_or(Ok(Cow::Borrowed(&WHOLE[..])), |kind| combined(kind, &parts, is_apart))?;
        Ok(Self { kind, metric, selector, parts, value_rules, more_keys })
    }

    /// Fails if the selector has a key that is neither one of the kind nor one of these static labels.
    pub(super) fn check_keys(&self, static_keys: &BTreeSet<String>) -> Result<(), LookupError> {
        let unknown = self.more_keys.iter().find(|key| !static_keys.contains(**key));
        match (unknown, self.kind) {
            (Some(key), Some(kind)) => Err(no_such_key(kind, &self.metric, key, static_keys)),
            _ => Ok(()),
        }
    }

    /// Whether a source of a kind whose labels name sources is selected, as far as its labels say it.
    pub(super) fn selects(&self, labels: &Labels) -> bool {
        let parts = self.kind.map_or(&[][..], |kind| kind.parts);
        let mut requirements = self.label_requirements().filter(|requirement| !parts.contains(&requirement.key()));
        requirements.all(|requirement| requirement.matches(labels.value(requirement.key())))
    }

    /// Whether sources with these static labels may be selected.
    pub(super) fn may_have(&self, static_labels: &Labels) -> bool {
        let mut requirements = self.label_requirements().filter(|of| self.more_keys.contains(&of.key()));
        requirements.all(|requirement| requirement.matches(static_labels.value(requirement.key())))
    }

    /// The only names that can be selected, where the selector lists them.
    pub(super) fn named(&self) -> Option<&BTreeSet<String>> {
        self.kind?.name_labels().find_map(|label| self.selector.named(label))
    }

    /// The items that are selected of those that one read has brought, or of the `visible` ones. Where
    /// labels name sources, each selected source is meant as a whole.
    pub(super) fn pick<'i>(&self, items: &'i Items, visible: Option<Vec<&'i Item>>) -> Vec<&'i Item> {
        if self.kind.is_some() {
            return items.iter().collect();
        }
        let indexed = || {
            self.label_requirements().find_map(|requirement| match requirement.condition() {
                Condition::In(values) => items.with(requirement.key(), values.iter().map(String::as_str)),
                _ => None,
            })
        };
        let mut picked = visible.or_else(indexed).unwrap_or_else(|| items.iter().collect());
        picked.retain(|item| {
            self.label_requirements().all(|requirement| requirement.matches(item.labels.value(requirement.key())))
        });
        picked
    }

    /// Whether items that have these labels, and others, may be selected. Labels that name sources are no
    /// others.
    pub(super) fn may_select(&self, labels: &Labels) -> bool {
        let names = |key| self.kind.is_some_and(|kind| kind.is_name_label(key) || kind.labels.contains(&key));
        let mut of_these = self.label_requirements().filter_map(|requirement| {
            let value = labels.value(requirement.key());
            (value.is_some() || names(requirement.key())).then(|| requirement.matches(value))
        });
        of_these.all(|matches| matches)
    }

    /// The requirements that are not value rules.
    fn label_requirements(&self) -> impl Iterator<Item = &'q Requirement> {
        label_requirements(self.selector)
    }

    /// Whether an answer can have the named parts of this many sources.
    pub(super) fn check_parts(&self, sources: usize) -> Result<(), LookupError> {
        let parts = self.parts.iter().filter(|part| part.iter().len() > 0).count() * sources;
        if parts <= PARTS_MAX {
            return Ok(());
        }
        let (label, labels) = self.kind.map(|kind| (kind.label, kind.parts.join(" and "))).unwrap_or_default();
        Err(LookupError::BadSelector(format!(
            "the selector names {parts} combinations of {label}, {labels}; the maximum is {PARTS_MAX} in an answer"
        )))
    }

    /// Whether a source with these labels may be selected, whatever its name is. `name`: the label of its name.
    pub(super) fn may_be_at(&self, labels: &Labels, name: &str) -> bool {
        let is_meant = |of: &&Requirement| {
            let key = of.key();
            self.kind.is_some_and(|kind| kind.labels.contains(&key) || (key != name && kind.is_name_label(key)))
        };
        let mut requirements = self.selector.requirements().iter().filter(is_meant);
        requirements.all(|requirement| requirement.matches(labels.value(requirement.key())))
    }

    /// Whether the selector lists values of each label that distinguishes two sources of one name.
    pub(super) fn distinguishes(&self, first: &Labels, second: &Labels) -> bool {
        let mut labels = self.kind.iter().flat_map(|kind| kind.labels);
        labels.all(|label| first.value(label) == second.value(label) || self.selector.named(label).is_some())
    }
}

/// The requirements of a selector that are not value rules.
pub(super) fn label_requirements(selector: &Selector) -> impl Iterator<Item = &Requirement> {
    let requirements = selector.requirements().iter();
    requirements.filter(|requirement| !matches!(requirement.key(), ACTIVATION_KEY | FALLBACK_KEY))
}

/// Records the named members. A member must be in all requirements for its label.
fn narrow<'q>(
    parts: &mut Vec<(&'static str, BTreeSet<&'q str>)>,
    label: &'static str,
    requirement: &'q Requirement,
) -> Result<(), LookupError> {
    let Condition::In(named) = requirement.condition() else { return Err(not_named(label, requirement)) };
    let named: BTreeSet<&str> = named.iter().map(String::as_str).collect();
    let known = parts.iter().position(|(known, _)| *known == label);
    let at = known.unwrap_or_else(|| {
        parts.push((label, named.clone()));
        parts.len() - 1
    });
    let members = &mut parts[at].1;
    members.retain(|member| named.contains(member));
    // The empty value is not a member, because it would mean the source as a whole.
    if members.is_empty() || members.contains("") { Err(not_named(label, requirement)) } else { Ok(()) }
}

fn not_named(label: &str, requirement: &Requirement) -> LookupError {
    let requirement = requirement.to_string();
    let asked = names::shortened(&requirement, REPEATED);
    LookupError::BadSelector(format!(
        "{asked:?} names no {label}, and nothing lists them: name the {label}s, as in {label}=a or {label} in (a,b)"
    ))
}

fn number(requirement: &Requirement) -> Result<Quantity, LookupError> {
    let one = match requirement.condition() {
        Condition::In(values) if values.len() == 1 => values.first(),
        _ => None,
    };
    one.and_then(|text| Quantity::parse_value(text)).ok_or_else(|| {
        let (key, requirement) = (requirement.key(), requirement.to_string());
        let asked = names::shortened(&requirement, REPEATED);
        LookupError::BadSelector(format!(
            "{asked:?}: {key} takes one number from 0 to 9200000000000000, as in {key}=12 or {key}=0.5"
        ))
    })
}

/// Each combination of members.
fn combined(
    kind: &'static Kind,
    members: &[(&'static str, BTreeSet<&str>)],
    is_apart: bool,
) -> Result<Cow<'static, [Part]>, LookupError> {
    if members.is_empty() {
        return Ok(Cow::Borrowed(if is_apart { &APART } else { &WHOLE }));
    }
    let combinations = members.iter().fold(1_usize, |product, (_, values)| product.saturating_mul(values.len()));
    if combinations > PARTS_PER_SELECTOR {
        let labels = kind.parts.join(" and ");
        return Err(LookupError::BadSelector(format!(
            "the selector names {combinations} combinations of {labels}; the maximum is {PARTS_PER_SELECTOR} of one {}",
            kind.label
        )));
    }
    let mut parts = vec![if is_apart { Part::APART } else { Part::WHOLE }];
    for label in kind.parts {
        if let Some((_, values)) = members.iter().find(|(known, _)| known == label) {
            parts = parts.iter().flat_map(|part| values.iter().map(|value| part.with(label, value))).collect();
        }
    }
    Ok(Cow::Owned(parts))
}

fn no_such_key<'k>(
    kind: &'static Kind,
    metric: &MetricName,
    key: &str,
    static_keys: impl IntoIterator<Item = &'k String>,
) -> LookupError {
    let mut keys: Vec<&str> = kind.name_labels().collect();
    keys.extend(kind.labels);
    keys.extend(kind.parts);
    let statics: Vec<&str> = static_keys.into_iter().map(String::as_str).collect();
    let statics = names::that_fit(&statics, STATIC_KEYS_BYTES, statics.len());
    if !statics.is_empty() {
        keys.push(&statics);
    }
    if kind.depths.contains(metric) {
        keys.extend([ACTIVATION_KEY, FALLBACK_KEY]);
    }
    let keys = keys.into_iter().map(str::to_owned).collect();
    LookupError::NoSuchKey { metric: metric.clone(), key: names::shortened(key, REPEATED).into_owned(), keys }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::KINDS;

    /// The parts and the value rules of a query, or its error message.
    fn parse(selector: &str) -> Result<(Vec<Part>, ValueRules), String> {
        let selector = Selector::parse(selector).unwrap();
        let query = Query::parse("oci_queue_length", &selector, &Metrics::of(KINDS, []));
        let query = query.map_err(|error| error.to_string())?;
        query.check_keys(&BTreeSet::new()).map_err(|error| error.to_string())?;
        Ok((query.parts.into_owned(), query.value_rules))
    }

    #[test]
    fn each_combination_of_members_is_one_part() {
        for (selector, expected) in [
            ("", &[&[][..]][..]),
            ("queue=orders", &[&[]]),
            ("channel=a", &[&["a"]]),
            ("channel==a,channel in (a,b)", &[&["a"]]),
            ("consumer-group=g,channel in (b,a)", &[&["a", "g"], &["b", "g"]]),
        ] {
            let parts = parse(selector).unwrap().0;
            let values: Vec<Vec<&str>> =
                parts.iter().map(|part| part.iter().map(|(_, value)| value).collect()).collect();
            assert_eq!(values, expected, "{selector}");
        }
    }

    #[test]
    fn what_names_no_members_of_an_open_label_is_refused() {
        for selector in [
            "channel",
            "!channel",
            "channel!=a",
            "channel notin (a)",
            "channel=",
            "channel in (a,)",
            "channel>1",
            "channel=a,channel=b",
        ] {
            let error = parse(selector).unwrap_err();
            assert!(error.ends_with("name the channels, as in channel=a or channel in (a,b)"), "{selector}: {error}");
        }
    }

    #[test]
    fn a_selector_names_no_more_parts_than_a_source_can_have() {
        let list = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let (sixteen, seventeen) = (list(16), list(17));
        assert!(parse(&format!("channel in ({sixteen}),consumer-group in ({sixteen})")).is_ok());
        assert_eq!(
            parse(&format!("channel in ({seventeen}),consumer-group in ({sixteen})")).unwrap_err(),
            "the selector names 272 combinations of channel and consumer-group; the maximum is 256 of one queue"
        );
    }

    #[test]
    fn value_rules_are_numbers() {
        let units = |n| Some(Quantity::from_units(n));
        for (selector, activation, fallback) in [
            ("queue=a", None, None),
            ("depthgauge.dev/activation=5", units(5), None),
            ("depthgauge.dev/activation==0,depthgauge.dev/fallback=9200000000000000", units(0), Some(Quantity::MAX)),
            (
                "depthgauge.dev/activation=0.5,depthgauge.dev/fallback=1500m",
                Some(Quantity::from_milli(500)),
                Some(Quantity::from_milli(1500)),
            ),
            ("depthgauge.dev/activation=0.0004,depthgauge.dev/fallback=1k", Some(Quantity::from_milli(1)), units(1000)),
            ("depthgauge.dev/fallback=0.5,depthgauge.dev/fallback=500m", None, Some(Quantity::from_milli(500))),
            ("depthgauge.dev/fallback in (12),depthgauge.dev/fallback=12", None, units(12)),
        ] {
            let value_rules = parse(selector).unwrap().1;
            assert_eq!(value_rules, ValueRules { activation, fallback }, "{selector}");
        }
        for bad in
            ["=", "=x", "=1.5.5", "=1K", "=10P", "=9200000000000001", "=9223372036854775808", "!=1", " in (1,2)", ""]
        {
            let error = parse(&format!("depthgauge.dev/fallback{bad}")).unwrap_err();
            assert!(
                error.ends_with(
                    "takes one number from 0 to 9200000000000000, as in depthgauge.dev/fallback=12 or depthgauge.dev/fallback=0.5"
                ),
                "{error}"
            );
        }
        let twice = parse("depthgauge.dev/activation=1,depthgauge.dev/activation=2").unwrap_err();
        assert_eq!(twice, "depthgauge.dev/activation occurs twice; it takes one number");
    }

    #[test]
    fn gauges_take_no_value_rules() {
        let selector = Selector::parse("depthgauge.dev/fallback=12").unwrap();
        let error = Query::parse("oci_queue_size_bytes", &selector, &Metrics::of(KINDS, [])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no such selector key for oci_queue_size_bytes: depthgauge.dev/fallback; it can be selected by queue, channel, consumer-group"
        );
    }

    #[test]
    fn every_message_is_short() {
        let (key, list) = (
            format!("{}/{}", "k".repeat(250), "k".repeat(63)),
            (0..300).map(|n| format!("{n:063}")).collect::<Vec<_>>().join(","),
        );
        for selector in [key, format!("channel notin ({list})"), format!("depthgauge.dev/fallback in ({list},x)")] {
            let error = parse(&selector).unwrap_err();
            assert!(error.len() <= 400, "{error}");
        }
    }
}
