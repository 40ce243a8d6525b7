//! What one read of a source returns: items, each with a value for each metric.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use tokio::time::Instant;

use crate::metric::quantity::Quantity;
use crate::metric::{Labels, MetricName};

/// The items of one read. They are immutable, because answers borrow from them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Items {
    items: Vec<Item>,
    /// The hash of each label of each item, with the position of the item, sorted. Empty for a single item.
    index: Box<[(u64, usize)]>,
    began: Option<Instant>,
    oldest: Option<Instant>,
    /// See [`Self::left_out`].
    left_out: HashMap<Box<str>, Arc<str>>,
}

/// An item of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The labels that distinguish it from the other items. A single item needs none.
    pub labels: Labels,
    values: Vec<(MetricName, Value)>,
    substitute: Option<Substitute>,
}

/// What the config has a value for. The value of such an item is that value, and not one that was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Substitute {
    /// There is no item.
    Empty,
    /// NaN.
    NotANumber,
    /// A negative number.
    Negative,
}

/// A value, or why this value is unknown although the read succeeded.
pub type Value = Result<Quantity, Arc<str>>;

// === impl Items ===

impl Items {
    /// The memory that a label takes besides its texts, in bytes.
    pub const LABEL_BYTES: usize = Labels::PAIR_BYTES + size_of::<(u64, usize)>();

    /// A read with these items.
    pub fn new(items: Vec<Item>) -> Self {
        let mut index = Vec::new();
        if items.len() > 1 {
            index.reserve_exact(items.iter().map(|item| item.labels.len()).sum());
            for (at, item) in items.iter().enumerate() {
                index.extend(item.labels.iter().map(|(key, value)| (hash(key, value), at)));
            }
            index.sort_unstable();
        }
        let index = index.into_boxed_slice();
        Self { items, index, began: None, oldest: None, left_out: HashMap::new() }
    }

    /// A read with a single item, which needs no labels.
    pub fn one(values: Vec<(MetricName, Quantity)>) -> Self {
        let values = values.into_iter().map(|(metric, value)| (metric, Ok(value))).collect();
        Self::new(vec![Item::new(Labels::default(), values)])
    }

    /// The same, read by a request that began at this time, perhaps for another source.
    #[must_use]
    pub fn read_at(self, began: Instant) -> Self {
        Self { began: Some(began), ..self }
    }

    /// The same, made of numbers of which some were read as long ago as this.
    #[must_use]
    pub fn with_oldest(self, oldest: Option<Instant>) -> Self {
        Self { oldest, ..self }
    }

    /// The same, with the namespaces whose items are left out, and the reasons.
    #[must_use]
    pub fn without(self, left_out: HashMap<Box<str>, Arc<str>>) -> Self {
        Self { left_out, ..self }
    }

    /// Why the items of a namespace are left out, if they are: `has 1001 items in this namespace, …`.
    pub fn left_out(&self, namespace: &str) -> Option<&str> {
        self.left_out.get(namespace).map(|reason| &**reason)
    }

    /// When the request began, if it was not for this read.
    pub fn began(&self) -> Option<Instant> {
        self.began
    }

    /// When the oldest number was read that these items are made of, if it may be of an earlier read.
    pub fn oldest(&self) -> Option<Instant> {
        self.oldest
    }

    /// All items, in the order of the read.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Item> {
        self.items.iter()
    }

    /// The only item, if there is one.
    pub fn only(&self) -> Option<&Item> {
        match self.items.as_slice() {
            [item] => Some(item),
            _ => None,
        }
    }

    /// The label keys of these items.
    pub fn keys<'i>(items: impl IntoIterator<Item = &'i Item>) -> BTreeSet<String> {
        items.into_iter().flat_map(|item| item.labels.iter()).map(|(key, _)| key.to_owned()).collect()
    }

    /// The value of a metric of the only item, if it is known.
    pub fn value(&self, metric: &MetricName) -> Option<Quantity> {
        self.only()?.value(metric)?.as_ref().ok().copied()
    }

    /// The items whose label has one of these values, in the order of the read. `None` if the index
    /// can't be used and each item must be checked.
    pub fn with<'v>(&self, key: &str, values: impl IntoIterator<Item = &'v str>) -> Option<Vec<&Item>> {
        if self.items.len() <= 1 {
            return None;
        }
        let mut found = Vec::new();
        for value in values {
            let hash = hash(key, value);
            let (_, from) = self.index.split_at(self.index.partition_point(|(other, _)| *other < hash));
            let same = from.iter().take_while(|(other, _)| *other == hash).map(|(_, at)| *at);
            found.extend(same.filter(|at| self.items[*at].labels.value(key) == Some(value)));
        }
        found.sort_unstable();
        found.dedup();
        Some(found.into_iter().map(|at| &self.items[at]).collect())
    }
}

/// By which a label is found.
fn hash(key: &str, value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

// === impl Item ===

impl Item {
    /// An item with a value for each metric.
    pub fn new(labels: Labels, values: Vec<(MetricName, Value)>) -> Self {
        Self { labels, values, substitute: None }
    }

    /// The same, with values of the config.
    #[must_use]
    pub fn substituted(self, substitute: Substitute) -> Self {
        Self { substitute: Some(substitute), ..self }
    }

    /// What its value stands for, if that is a value of the config.
    pub fn substitute(&self) -> Option<Substitute> {
        self.substitute
    }

    /// The value of its first metric, if it is known.
    pub fn first(&self) -> Option<Quantity> {
        self.values.first()?.1.as_ref().ok().copied()
    }

    /// Why the value of its first metric is unknown, if it is.
    pub fn unknown(&self) -> Option<&str> {
        self.values.first()?.1.as_ref().err().map(|cause| &**cause)
    }

    /// The value of a metric, if the item has the metric.
    pub fn value(&self, metric: &MetricName) -> Option<&Value> {
        self.values.iter().find(|(name, _)| name == metric).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: MetricName = MetricName::new("length");

    fn item(labels: &[(&str, &str)], value: i32) -> Item {
        Item::new(labels.iter().copied().collect(), vec![(LENGTH, Ok(Quantity::from_units(value)))])
    }

    #[test]
    fn items_are_found_by_a_label() {
        let items = Items::new(vec![item(&[("a", "1")], 1), item(&[("a", "2"), ("b", "x")], 2), item(&[], 3)]);
        let found = |key, values: &[&str]| -> Vec<i64> {
            let found = items.with(key, values.iter().copied()).unwrap();
            found.iter().map(|item| item.value(&LENGTH).unwrap().clone().unwrap().milli() / 1000).collect()
        };
        assert_eq!(found("a", &["2", "1", "7", "2"]), [1, 2]);
        assert_eq!(found("b", &["1"]), [0; 0]);
        assert_eq!(found("b", &["x"]), [2]);
        assert_eq!(found("c", &["x"]), [0; 0]);
    }

    #[test]
    fn the_value_of_several_items_is_none() {
        let one = Items::one(vec![(LENGTH, Quantity::from_units(7))]);
        assert_eq!(one.value(&LENGTH), Some(Quantity::from_units(7)));
        let two = Items::new(vec![item(&[("a", "1")], 1), item(&[("a", "2")], 2)]);
        assert_eq!((two.value(&LENGTH), Items::default().value(&LENGTH)), (None, None));
        let unknown = Items::new(vec![Item::new(Labels::default(), vec![(LENGTH, Err("NaN".into()))])]);
        assert_eq!(unknown.value(&LENGTH), None);
    }
}
