//! The part of a source that a reading is of.

/// A value for each open label that was requested: `channel: eu-west`. Without any, it is the whole
/// source.
///
/// Open labels are those whose values can't be listed, so a part exists as soon as a request names
/// it.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Facet(Vec<(&'static str, String)>);

// === impl Facet ===

impl Facet {
    /// The source as a whole.
    pub const WHOLE: Self = Self(Vec::new());

    /// The part of this one that has `value` for one more label.
    pub fn with(&self, label: &'static str, value: &str) -> Self {
        let mut values = self.0.clone();
        values.push((label, value.to_owned()));
        Self(values)
    }

    /// Whether it is the source as a whole.
    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// The requested value of this label.
    pub fn value(&self, label: &str) -> Option<&str> {
        self.iter().find(|(name, _)| *name == label).map(|(_, value)| value)
    }

    /// All labels and values, in the order of the kind's open labels.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(label, value)| (*label, value.as_str()))
    }
}
