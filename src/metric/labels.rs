//! The labels of a sample.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// What describes a sample, sorted by key: `{queue: orders}`. Shared, because every answer of a
/// source carries the same.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub struct Labels(Arc<Pairs>);

/// All keys and values in one text, because a source may have 10,000 items with a dozen labels each.
#[derive(Default, Eq, Hash, PartialEq)]
struct Pairs {
    text: Box<str>,
    /// Where each key and each value ends: those of the first pair, those of the second one, and so on.
    ends: Box<[usize]>,
}

// === impl Labels ===

impl Labels {
    /// The memory that a pair takes besides its texts, in bytes.
    pub const PAIR_BYTES: usize = 2 * size_of::<usize>();

    /// The value of `key`, if there is one.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// The same and one more. It replaces one with the same key.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> Self {
        self.iter().chain([(key, value)]).collect()
    }

    /// The same without this key.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        self.iter().filter(|(known, _)| *known != key).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.ends.len() / 2
    }

    /// All pairs, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let Pairs { text, ends } = &*self.0;
        let mut begin = 0;
        ends.chunks_exact(2).map(move |ends| {
            let pair = (&text[begin..ends[0]], &text[ends[0]..ends[1]]);
            begin = ends[1];
            pair
        })
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Labels {
    /// Of two pairs with the same key, the last one counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<(K, V)> = pairs.into_iter().collect();
        // Stable, so that the last one of a key stays the last.
        pairs.sort_by(|(one, _), (other, _)| one.as_ref().cmp(other.as_ref()));
        let (mut text, mut ends) = (String::new(), Vec::with_capacity(2 * pairs.len()));
        for (at, (key, value)) in pairs.iter().enumerate() {
            if pairs.get(at + 1).is_some_and(|(next, _)| next.as_ref() == key.as_ref()) {
                continue;
            }
            for part in [key.as_ref(), value.as_ref()] {
                text.push_str(part);
                ends.push(text.len());
            }
        }
        Self(Arc::new(Pairs { text: text.into(), ends: ends.into() }))
    }
}

impl Ord for Labels {
    /// As that of their pairs.
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_change_by_key() {
        let labels: Labels = [("b", "2"), ("a", "1"), ("b", "3")].into_iter().collect();
        assert_eq!(format!("{labels:?}"), r#"{"a": "1", "b": "3"}"#);
        assert_eq!((labels.value("b"), labels.value("c"), labels.len()), (Some("3"), None, 2));
        assert_eq!(format!("{:?}", labels.with("a", "").with("c", "4")), r#"{"a": "", "b": "3", "c": "4"}"#);
        assert_eq!(format!("{:?}", labels.without("a")), r#"{"b": "3"}"#);
        assert!(Labels::default().is_empty() && Labels::default() == labels.without("a").without("b"));
        let moved: Labels = [("ab", "c")].into_iter().collect();
        assert_ne!(moved, [("a", "bc")].into_iter().collect());
    }

    proptest! {
        #[test]
        fn labels_are_a_map(
            one in proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..5),
            other in proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..5),
        ) {
            let [packed, others] = [&one, &other].map(|map| map.iter().collect::<Labels>());
            prop_assert!(packed.iter().eq(one.iter().map(|(key, value)| (&**key, &**value))));
            prop_assert_eq!(packed.cmp(&others), one.cmp(&other));
            prop_assert_eq!(packed == others, one == other);
        }
    }
}
