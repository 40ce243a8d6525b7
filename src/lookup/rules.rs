//! Access and value rules of a config entry. They can change while the readings of the source are kept.
//! Pure.
//!
//! Value rules apply to backlog metrics only. A value that a rule made carries [`LABEL`].

use std::sync::Arc;

use crate::metric::pattern::Pattern;
use crate::metric::quantity::Quantity;
use crate::metric::{Labels, Namespace};
use crate::source::{Change, Substitute};

/// The label of a sample that says which rule made its value.
pub const LABEL: &str = "depthgauge.dev/value-source";
/// The label of an item with the source's true name, where no label value can hold that.
pub(super) const NAME: &str = "depthgauge.dev/name";
/// The selector key by which an HPA brings its own activation.
pub const ACTIVATION_KEY: &str = "depthgauge.dev/activation";
/// The selector key by which an HPA brings its own fallback.
pub const FALLBACK_KEY: &str = "depthgauge.dev/fallback";

/// The value rules of a source or of a request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ValueRules {
    /// After a value of 0, 0 is served until the value exceeds this.
    pub activation: Option<Quantity>,
    /// Served while the source can't be read and its last value is too old.
    pub fallback: Option<Quantity>,
}

/// The rule that made a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Applied {
    /// 0 is served, and there is more.
    Activation,
    /// Nothing is known, and this is served instead.
    Fallback,
    /// The config has a value for what was read.
    Substitute(Substitute),
}

/// What an entry says about the items of its source.
#[derive(Clone, Debug, Default)]
pub struct ItemAccess {
    /// Whether a request may select several of them, which the HPA controller adds up. Always true for a
    /// kind whose labels name sources.
    pub sums: bool,
    /// The labels that each of them has, if the config chooses the name of the metric.
    pub labels: Labels,
    /// The label that names the namespace that may read an item.
    pub namespace_label: Option<Box<str>>,
    /// Where the entry is written: `config.yaml:7:5`.
    pub place: Option<Arc<str>>,
}

/// All rules of a config entry.
#[derive(Clone)]
pub(super) struct AccessRules {
    /// Who may read the source.
    pub(super) namespaces: Vec<Pattern>,
    /// It is also a gauge on `/metrics`.
    pub(super) export: bool,
    /// What applies to its items.
    pub(super) items: ItemAccess,
    /// What is served instead of some values, unless a request says otherwise.
    pub(super) value_rules: ValueRules,
}

// === impl ValueRules ===

impl ValueRules {
    /// These, and `others` where they say nothing.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self { activation: self.activation.or(others.activation), fallback: self.fallback.or(others.fallback) }
    }

    /// A change of the value that is served. Types whose changes are known are active exactly while above
    /// `activation`.
    #[must_use]
    pub fn served(self, change: Change) -> Change {
        match self.activation {
            Some(activation) if change.value <= activation => Change { value: Quantity::ZERO, ..change },
            _ => change,
        }
    }
}

// === impl Applied ===

impl Applied {
    /// All rules.
    pub const ALL: [Self; 5] = [
        Self::Activation,
        Self::Fallback,
        Self::Substitute(Substitute::Empty),
        Self::Substitute(Substitute::NotANumber),
        Self::Substitute(Substitute::Negative),
    ];

    /// The value of [`LABEL`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activation => "activation",
            Self::Fallback => "fallback",
            Self::Substitute(Substitute::Empty) => "empty",
            Self::Substitute(Substitute::NotANumber) => "nan",
            Self::Substitute(Substitute::Negative) => "clamp",
        }
    }
}

// === impl AccessRules ===

impl AccessRules {
    /// Whether a namespace may read the source.
    pub(super) fn allow(&self, namespace: &Namespace) -> bool {
        self.namespaces.iter().any(|pattern| pattern.matches(namespace.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_goes_before_the_source() {
        let units = |units| Some(Quantity::from_units(units));
        let source = ValueRules { activation: units(1), fallback: units(2) };
        let request = ValueRules { activation: units(5), fallback: None };
        assert_eq!(request.or(source), ValueRules { activation: units(5), fallback: units(2) });
    }
}
