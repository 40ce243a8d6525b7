//! The part of a source that a reading is of.

/// A value for each open label that was requested: `channel: eu-west`. Without any, it is the whole
/// source.
///
/// Open labels are those whose values can't be listed, so a part exists as soon as a request names
/// it.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Part {
    /// Whether it has the metrics of [`super::Kind::apart`], instead of all others.
    apart: bool,
    labels: Vec<(&'static str, String)>,
}

// === impl Part ===

impl Part {
    /// The source as a whole.
    pub const WHOLE: Self = Self { apart: false, labels: Vec::new() };

    /// The source as a whole, with the metrics that are read apart.
    pub const APART: Self = Self { apart: true, labels: Vec::new() };

    /// The part of this one that has `value` for one more label.
    pub fn with(&self, label: &'static str, value: &str) -> Self {
        let mut part = self.clone();
        part.labels.push((label, value.to_owned()));
        part
    }

    /// Whether it is the source as a whole.
    pub fn is_whole(&self) -> bool {
        *self == Self::WHOLE
    }

    /// Whether it has the metrics that are read apart.
    pub fn is_apart(&self) -> bool {
        self.apart
    }

    /// The requested value of this label.
    pub fn value(&self, label: &str) -> Option<&str> {
        self.iter().find(|(name, _)| *name == label).map(|(_, value)| value)
    }

    /// All labels and values, in the order of the kind's open labels.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &str)> {
        self.labels.iter().map(|(label, value)| (*label, value.as_str()))
    }
}
