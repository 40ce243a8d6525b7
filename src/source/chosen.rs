//! Metrics whose names the config chooses: the keys that all of their entries have, and the way from
//! the numbers of a service to items. Pure.
//!
//! A kind decodes [`Point`]s, and [`ItemRules`] makes items of them. So labels, limits, and what becomes
//! of NaN, of a negative number and of an empty answer are the same for every such kind.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;

use super::items::{Item, Items, Substitute, Value};
use super::keys::{self, Key, Shape, Text, Values};
use super::{ErrorKind, Operation, SourceError};
use crate::metric::quantity::Quantity;
use crate::metric::selectable::selectable;
use crate::metric::{LABEL_KEY_RULE, LABEL_VALUE_MAX, Labels, MetricName, OWN_PREFIX, is_label_key};

mod number;
mod room;

pub use number::Number;
use room::Count;
pub use room::{ITEMS_MAX, ITEMS_PER_NAMESPACE, counts_as};

/// The prefix of a label whose own name is taken. Prometheus uses the same one.
const EXPORTED: &str = "exported_";

/// The keys of an entry, besides those of its kind.
pub const KEYS: &[Key] = &[keys::METRIC, keys::ITEMS, LABELS, NAMESPACE_LABEL, EMPTY, NAN, NEGATIVE];

/// Labels that every item gets.
pub const LABELS: Key = Key::new(
    "labels",
    Shape::Map(LABEL_KEY, Text::LABEL_VALUE),
    "Labels that every item of this source gets. A label of the same name that an item already has becomes `exported_NAME`.",
)
.examples(&[r#"{"env": "prod"}"#]);

/// The label that names the namespace of an item.
pub const NAMESPACE_LABEL: Key = Key::new(
    "namespaceLabel",
    Shape::Text(LABEL_KEY),
    "The label, of those that are read, whose value is a namespace. Only that namespace can read the item, if `namespaces` allows it too. An item without this label can be read by no namespace.",
)
.examples(&["namespace"]);

/// What an answer without items is.
pub const EMPTY: Key = Key::new(
    "empty",
    Shape::AmountOr("error"),
    "What an answer without items is. error: a failed read. A number: one item with this value, which hides an outage of whatever produces the items.",
)
.default("error")
.examples(&["0"]);

/// What NaN is.
pub const NAN: Key = Key::new(
    "nan",
    Shape::AmountOr("error"),
    "What NaN is, which is the result of 0/0. error: the value of this item is unknown. A number: the value.",
)
.default("error")
.examples(&["0"]);

/// What a negative number is.
pub const NEGATIVE: Key = Key::new(
    "negative",
    Shape::Word(&["error", "zero"]),
    "What a negative number is. error: the value of this item is unknown, because the HPA controller takes a negative sum for the largest number. zero: 0.",
)
.default("error");

/// The key of a label, without the prefix that depthgauge has for its own.
const LABEL_KEY: Text = Text {
    check: |text| match text {
        _ if text.starts_with(OWN_PREFIX) => {
            Err(format!("{text:?}: labels that begin with {OWN_PREFIX} are depthgauge's own"))
        }
        _ if is_label_key(text) => Ok(()),
        _ => Err(format!("invalid label key {text:?}: {LABEL_KEY_RULE}")),
    },
    pattern: Some(
        r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
    ),
    except: Some(r"^depthgauge\.dev/"),
    ..Text::ANY
};

/// A number with its labels, as a service has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The labels.
    pub labels: Labels,
    /// The number.
    pub number: Number,
}

/// How the numbers of a service become items.
#[derive(Clone, Debug)]
pub struct ItemRules {
    metric: MetricName,
    labels: Labels,
    namespace_label: Option<String>,
    empty: Option<Quantity>,
    nan: Option<Quantity>,
    negative_is_zero: bool,
}

// === impl ItemRules ===

impl ItemRules {
    /// Those of an entry that has [`KEYS`].
    pub fn of(entry: &Values) -> Self {
        Self {
            metric: MetricName::chosen(entry.text(keys::METRIC.name).unwrap_or_default()),
            labels: static_labels(entry),
            namespace_label: entry.text(NAMESPACE_LABEL.name).map(str::to_owned),
            empty: entry.amount(EMPTY.name),
            nan: entry.amount(NAN.name),
            negative_is_zero: entry.text(NEGATIVE.name) == Some("zero"),
        }
    }

    /// The identity of a source with these items. `read` contains everything that determines what is
    /// read: the connection and the query.
    pub fn identity(&self, read: &str) -> String {
        let Self { metric, labels, namespace_label, empty, nan, negative_is_zero } = self;
        let labels: Vec<(&str, &str)> = labels.iter().collect();
        let [empty, nan] = [empty, nan].map(|amount| amount.map(Quantity::milli));
        let all = json!([metric.as_str(), labels, namespace_label, empty, nan, negative_is_zero, read]);
        let digest = digest(&SHA256, all.to_string().as_bytes());
        let hex: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} {hex}", self.metric)
    }

    /// The items of one answer. An answer without points is an error whose cause is `nothing`, unless
    /// the config has a value for it.
    pub fn items(&self, points: &[Point], nothing: &str) -> Result<Items, SourceError> {
        self.items_of(nothing, |each| {
            points.iter().for_each(each);
            Ok(())
        })
    }

    /// The same of an answer of any length, whose points are not kept. `points` hands over all of them. It is called
    /// twice: they are counted before the first item is made.
    pub fn items_of(
        &self,
        nothing: &str,
        points: impl Fn(&mut dyn FnMut(&Point)) -> Result<(), SourceError>,
    ) -> Result<Items, SourceError> {
        let failed = |kind, cause: String, remedy| SourceError::new(Operation::Read, kind, cause, remedy, "");
        let mut count = Count::default();
        points(&mut |point| count.add(&point.labels, self.namespace(&point.labels)))?;
        if !count.is_any {
            let Some(value) = self.empty else {
                let remedy = "Check the query and what it selects. If an empty answer means a number, set `empty`.";
                return Err(failed(ErrorKind::NoItems, nothing.to_owned(), remedy));
            };
            let item = Item::new(self.labels.clone(), vec![(self.metric.clone(), Ok(value))]);
            return Ok(Items::new(vec![item.substituted(Substitute::Empty)]));
        }
        let left_out = count.left_out(self.namespace_label.is_some()).map_err(|cause| {
            failed(ErrorKind::Transient, cause, "Aggregate in the query, so that it returns fewer items.")
        })?;
        let (mut items, mut known): (Vec<Item>, HashMap<Labels, usize>) = Default::default();
        points(&mut |Point { labels, number }| {
            if self.namespace(labels).is_none_or(|namespace| left_out.contains_key(namespace)) {
                return;
            }
            let labels = self.labels_of(labels);
            match known.get(&labels) {
                // No value is right: each of them has these labels.
                Some(at) => items[*at] = self.unknown(labels, "several items have these labels, after characters that no label value can have were replaced. Aggregate them, or change a label."),
                None => {
                    known.insert(labels.clone(), items.len());
                    items.push(self.item(labels, *number));
                }
            }
        })?;
        Ok(Items::new(items).without(left_out))
    }

    /// The namespace that can read an item with these labels. `None` if none can. Without `namespaceLabel`, it is empty
    /// for all items.
    fn namespace<'l>(&self, labels: &'l Labels) -> Option<&'l str> {
        match &self.namespace_label {
            Some(label) => labels.value(label).filter(|namespace| (1..=LABEL_VALUE_MAX).contains(&namespace.len())),
            None => Some(""),
        }
    }

    fn item(&self, labels: Labels, number: Number) -> Item {
        let instead = |value, why| Item::new(labels.clone(), vec![(self.metric.clone(), Ok(value))]).substituted(why);
        match (number, self.nan) {
            (Number::Value(value), _) => Item::new(labels, vec![(self.metric.clone(), Ok(value))]),
            (Number::Negative, _) if self.negative_is_zero => instead(Quantity::ZERO, Substitute::Negative),
            (Number::Negative, _) => {
                self.unknown(labels, "it is negative. Correct what is read, or set `negative: zero` in depthgauge's config.")
            }
            (Number::NotANumber, Some(value)) => instead(value, Substitute::NotANumber),
            (Number::NotANumber, None) => self.unknown(
                labels,
                "it is NaN, the result of 0/0. Correct what is read, or set `nan` in depthgauge's config to the number that it means.",
            ),
            (Number::Unusable(why), _) => self.unknown(labels, why),
        }
    }

    fn unknown(&self, labels: Labels, cause: &str) -> Item {
        let value: Value = Err(cause.into());
        Item::new(labels, vec![(self.metric.clone(), value)])
    }

    /// The labels of an item: static ones, and its own. Values that no selector can have are changed, so
    /// that the item can be selected. The namespace stays as it is: a changed one could be that of
    /// another namespace.
    fn labels_of(&self, own: &Labels) -> Labels {
        let is_taken = |key: &str| self.labels.value(key).is_some() || key.starts_with(OWN_PREFIX);
        let is_namespace = |key: &str| self.namespace_label.as_deref() == Some(key);
        let (taken, free): (Vec<_>, Vec<_>) = own.iter().partition(|(key, _)| is_taken(key));
        let mut all: BTreeMap<Cow<'_, str>, Cow<'_, str>> = BTreeMap::new();
        for (key, value) in free.into_iter().chain(taken) {
            let (is_renamed, mut key) = (is_taken(key), Cow::Borrowed(key));
            // Another label must not become the one that names the namespace.
            while is_taken(&key) || all.contains_key(&key) || is_renamed && is_namespace(&key) {
                key = format!("{EXPORTED}{key}").into();
            }
            // A label with an empty value is the same as none.
            if value.is_empty() {
                continue;
            }
            let value = if is_namespace(&key) { Cow::Borrowed(value) } else { selectable(value) };
            all.insert(key, value);
        }
        all.extend(self.labels.iter().map(|(key, value)| (Cow::Borrowed(key), Cow::Borrowed(value))));
        all.into_iter().collect()
    }
}

/// The labels that every item of an entry has.
pub fn static_labels(entry: &Values) -> Labels {
    entry.map(LABELS.name).collect()
}

/// Keys of an entry that exclude each other, each with the error message.
pub fn conflicts(entry: &Values) -> Vec<(&'static str, String)> {
    let Some(label) = entry.text(NAMESPACE_LABEL.name) else { return Vec::new() };
    let mut conflicts = Vec::new();
    if static_labels(entry).value(label).is_some() {
        let message = format!("{label:?} is the `namespaceLabel`: every item would belong to one namespace");
        conflicts.push((LABELS.name, message));
    }
    if entry.amount(EMPTY.name).is_some() {
        let message = "no namespace could read this item, because it does not have the `namespaceLabel`: remove one of the two keys";
        conflicts.push((EMPTY.name, message.to_owned()));
    }
    conflicts
}

/// The keys of an entry, of these, that can have no effect in it, each with the error message.
pub fn without_effect(entry: &Values, keys: &[&'static str]) -> Vec<(&'static str, String)> {
    let present = keys.iter().copied().filter(|key| entry.get(key).is_some());
    present.map(|key| (key, format!("`{key}` has no effect here: remove it"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(pairs: &[(&'static str, keys::Value)]) -> ItemRules {
        let metric = ("metric", keys::Value::Text("m".to_owned()));
        ItemRules::of(&pairs.iter().cloned().chain([metric]).collect())
    }

    fn amount(units: i32) -> keys::Value {
        keys::Value::Amount(Quantity::from_units(units))
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn point(labels: &[(&str, &str)], text: &str) -> Point {
        Point { labels: labels.iter().copied().collect(), number: Number::parse(text).unwrap() }
    }

    /// Labels, value in thousandths or the cause, and what it stands for.
    fn items(rules: &ItemRules, points: &[Point]) -> Vec<(String, Result<i64, String>, Option<Substitute>)> {
        let read = |item: &Item| {
            let labels = item.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
            let value = item.value(&MetricName::new("m")).unwrap().clone();
            (labels, value.map(Quantity::milli).map_err(|cause| cause.to_string()), item.substitute())
        };
        rules.items(points, "nothing").unwrap().iter().map(read).collect()
    }

    #[test]
    fn what_is_no_value_is_unknown_unless_the_config_has_a_value_for_it() {
        let points = || vec![point(&[("a", "1")], "NaN"), point(&[("a", "2")], "-1"), point(&[("a", "3")], "+Inf")];
        let strict = items(&rules(&[]), &points());
        assert!(strict.iter().all(|(_, value, instead)| value.is_err() && instead.is_none()), "{strict:?}");
        let zero = keys::Value::Text("zero".to_owned());
        let lenient = items(&rules(&[("nan", amount(7)), ("negative", zero)]), &points());
        assert_eq!(lenient[0], ("a=1".to_owned(), Ok(7000), Some(Substitute::NotANumber)));
        assert_eq!(lenient[1], ("a=2".to_owned(), Ok(0), Some(Substitute::Negative)));
        assert_eq!(lenient[2].1, Err(number::INFINITE.to_owned()));
    }

    #[test]
    fn an_empty_answer_is_an_error_unless_the_config_has_a_value_for_it() {
        let error = rules(&[]).items(&[], "nothing").unwrap_err();
        assert_eq!((error.kind, error.cause.as_str()), (ErrorKind::NoItems, "nothing"));
        let error = rules(&[("empty", keys::Value::Text("error".to_owned()))]).items(&[], "nothing");
        assert!(error.is_err());
        let labels = keys::Value::Map(map(&[("env", "prod")]));
        let empty = items(&rules(&[("empty", amount(0)), ("labels", labels)]), &[]);
        assert_eq!(empty, [("env=prod".to_owned(), Ok(0), Some(Substitute::Empty))]);
    }

    #[test]
    fn labels_can_be_selected() {
        let labels = ("labels", keys::Value::Map(map(&[("env", "prod")])));
        let by_namespace = rules(&[labels.clone(), ("namespaceLabel", keys::Value::Text("namespace".to_owned()))]);
        let rules = rules(&[labels]);
        let long = "q".repeat(70);
        let cut = format!("env=prod,le=Inf,long={}", &long[..63]);
        for (own, expected) in [
            (&[("pod", "a")][..], "env=prod,pod=a"),
            (&[("handler", "/api/x"), ("none", "")], "env=prod,handler=api_x"),
            (&[("env", "dev")], "env=prod,exported_env=dev"),
            (&[("env", "a"), ("exported_env", "b")], "env=prod,exported_env=b,exported_exported_env=a"),
            (&[("le", "+Inf"), ("long", &long)], cut.as_str()),
            (&[("depthgauge.dev/value-source", "x")], "env=prod,exported_depthgauge.dev/value-source=x"),
        ] {
            assert_eq!(items(&rules, &[point(own, "1")])[0].0, expected);
        }
        let own = [("namespace", "shop!"), ("name", "shop!")];
        assert_eq!(items(&by_namespace, &[point(&own, "1")])[0].0, "env=prod,name=shop,namespace=shop!");
    }

    #[test]
    fn items_that_become_equal_are_unknown() {
        let points = vec![point(&[("path", "/a")], "1"), point(&[("path", "/b")], "2"), point(&[("path", "a/")], "3")];
        let items = items(&rules(&[]), &points);
        assert_eq!(items.len(), 2);
        assert_eq!((items[0].0.as_str(), items[0].1.is_err()), ("path=a", true));
        assert_eq!(items[1], ("path=b".to_owned(), Ok(2000), None));
    }

    #[test]
    fn there_are_not_too_many_items() {
        let points = |count: usize| (0..count).map(|n| point(&[("n", &n.to_string())], "1")).collect::<Vec<_>>();
        assert_eq!(rules(&[]).items(&points(ITEMS_MAX), "").unwrap().iter().len(), ITEMS_MAX);
        let error = rules(&[]).items(&points(ITEMS_MAX + 1), "").unwrap_err();
        assert_eq!(error.cause, "10001 items, and the maximum is 10000");
    }

    /// Labels that count as this many items, and those with this namespace.
    fn long(count: usize, namespace: &str, n: usize) -> Point {
        let labels: Vec<(String, &str)> = (0..count * 16).map(|key| (format!("label-{key:094}"), "")).collect();
        let own = [("ns".to_owned(), namespace), ("n".to_owned(), &*n.to_string())].map(|(k, v)| (k, v.to_owned()));
        let labels = labels.into_iter().map(|(key, value)| (key, value.to_owned())).chain(own).collect();
        Point { labels, number: Number::parse("1").unwrap() }
    }

    #[test]
    fn items_with_long_labels_count_as_several() {
        let points: Vec<Point> = (0..11).map(|n| long(999, "shop", n)).collect();
        assert_eq!(counts_as(&points[0].labels, LABEL_VALUE_MAX), 1319);
        let error = rules(&[]).items(&points, "").unwrap_err();
        let cause = "11 items that count as 14509 because of long labels, and the maximum is 10000";
        assert_eq!(error.cause, cause);
        let by_namespace = rules(&[("namespaceLabel", keys::Value::Text("ns".to_owned()))]);
        let items = by_namespace.items(&[&points[..1], &[point(&[("ns", "bank")], "1")]].concat(), "").unwrap();
        let reason = "has 1 item in this namespace that counts as 1319 because of long labels, and the maximum is 1000: aggregate in the query";
        assert_eq!((items.iter().len(), items.left_out("shop")), (1, Some(reason)));
        // A value is cut to what a label value can have.
        let long_value = "x".repeat(100_000);
        let labels = [("n", &*long_value)].into_iter().collect();
        assert_eq!((counts_as(&labels, LABEL_VALUE_MAX), counts_as(&labels, usize::MAX)), (1, 63));
    }

    #[test]
    fn no_namespace_takes_the_room_of_another_one() {
        let rules = rules(&[("namespaceLabel", keys::Value::Text("ns".to_owned()))]);
        let read = |counts: &[(&str, usize)]| {
            let points = counts.iter().flat_map(|(namespace, count)| {
                (0..*count).map(move |n| point(&[("ns", namespace), ("n", &n.to_string())], "1"))
            });
            rules.items(&points.collect::<Vec<_>>(), "").unwrap()
        };
        let left_out = |items: &Items, namespace| items.left_out(namespace).map(str::to_owned);
        let items = read(&[("shop", 2), ("large", 9_998), ("bank", ITEMS_PER_NAMESPACE), ("", 20_000)]);
        assert_eq!(items.iter().len(), 2 + ITEMS_PER_NAMESPACE, "the others can be read by no namespace");
        assert_eq!((left_out(&items, "shop"), left_out(&items, "bank")), (None, None));
        let reason = "has 9998 items in this namespace, and the maximum is 1000: aggregate in the query";
        assert_eq!(left_out(&items, "large").as_deref(), Some(reason));
        let many: Vec<Point> = (0..=ITEMS_MAX).map(|n| point(&[("ns", &n.to_string())], "1")).collect();
        let error = rules.items(&many, "").unwrap_err();
        assert_eq!(error.cause, "items of more than 10000 namespaces, and the maximum is 10000 items");
        assert_eq!(rules.items(&many[1..], "").unwrap().iter().len(), ITEMS_MAX);
        // None has too many, and all together have.
        let names: Vec<String> = (0..11).map(|n| format!("team-{n}")).collect();
        let counts: Vec<(&str, usize)> = names.iter().enumerate().map(|(n, name)| (&**name, 950 - n)).collect();
        let items = read(&counts);
        assert_eq!(items.iter().len(), (940..=949).sum::<usize>());
        let reason =
            "has 950 items in this namespace, and the maximum is 10000 in all namespaces: aggregate in the query";
        assert_eq!((left_out(&items, "team-0").as_deref(), left_out(&items, "team-1")), (Some(reason), None));
    }

    #[test]
    fn no_other_label_becomes_the_namespace() {
        let labels = keys::Value::Map(map(&[("env", "prod")]));
        let namespace = keys::Value::Text("exported_env".to_owned());
        let rules = rules(&[("labels", labels), ("namespaceLabel", namespace)]);
        let own = [("env", "bank"), ("exported_env", "shop")];
        let expected = "env=prod,exported_env=shop,exported_exported_env=bank";
        assert_eq!(items(&rules, &[point(&own, "1")])[0].0, expected);
        assert_eq!(items(&rules, &[point(&own[..1], "1"), point(&own, "1")]).len(), 1, "one names no namespace");
    }

    #[test]
    fn what_changes_items_changes_the_identity() {
        let identity = |pairs: &[(&'static str, keys::Value)]| rules(pairs).identity("up");
        let plain = identity(&[]);
        assert_eq!(plain, identity(&[("items", keys::Value::Text("sum".to_owned()))]));
        assert_ne!(plain, rules(&[]).identity("down"));
        assert_ne!(plain, identity(&[("empty", amount(0))]));
        assert_ne!(identity(&[("nan", amount(0))]), identity(&[("empty", amount(0))]));
        assert_ne!(plain, identity(&[("labels", keys::Value::Map(map(&[("a", "b")])))]));
    }
}
