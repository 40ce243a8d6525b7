//! Which sources `/status` shows. Pure.

use serde::Serialize;

use super::reading::Reading;

/// Words that a source must have, all of them and in any case: of its name, state, namespaces or HPAs.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Filter(String);

// === impl Filter ===

impl Filter {
    /// As it is written in parameter `filter`.
    pub(super) fn of(text: &str) -> Self {
        Self(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Without words, all sources are selected.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn selects(&self, reading: &Reading) -> bool {
        let text = text(reading);
        self.0.split(' ').all(|word| text.contains(&word.to_lowercase()))
    }
}

/// What a source is found by.
fn text(reading: &Reading) -> String {
    let mut words = vec![reading.label, &reading.name, reading.condition.word()];
    words.extend(reading.part.iter().flat_map(|(label, value)| [*label, value]));
    words.extend(reading.namespaces.iter().chain(&reading.identifier).map(String::as_str));
    for consumer in &reading.consumers {
        words.extend([consumer.namespace.as_str(), &consumer.metric]);
        words.extend(consumer.hpas.iter().map(|hpa| hpa.name.as_str()));
    }
    words.join("\n").to_lowercase()
}
