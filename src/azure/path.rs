//! Where entities and lists are. Pure.
//!
//! The service ignores the case of names. A `/` in a name stays as it is, as the Go client sends it.

use std::fmt;
use std::str::FromStr;

/// The longest name of a queue or topic. A subscription has at most 50 characters.
const NAME_MAX: usize = 260;

/// The name of a queue, topic or subscription, as the service allows it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct EntityName(String);

/// A text is no name of an entity.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "invalid name {0:?} of an entity: at most 260 of letters, digits, '.', '-', '_' and '/', the first and last a letter or digit"
)]
pub struct BadName(String);

/// A queue, or a subscription of a topic.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum EntityPath {
    /// A queue.
    Queue(EntityName),
    /// A topic, and its subscription.
    Subscription(EntityName, EntityName),
}

/// A list of entities.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum FeedPath {
    /// All queues of the namespace.
    Queues,
    /// All subscriptions of a topic.
    Subscriptions(EntityName),
}

// === impl EntityName ===

impl EntityName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Equal for two spellings of one name.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self(self.0.to_ascii_lowercase())
    }
}

impl FromStr for EntityName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/".contains(&byte);
        let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        let is_name = bytes.len() <= NAME_MAX && bytes.iter().copied().all(legal);
        // No URL can have a segment of dots, and none is empty.
        let has_segments = text.split('/').all(|segment| !segment.trim_matches('.').is_empty());
        if is_name && has_segments && is_edge(bytes.first()) && is_edge(bytes.last()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName(text.chars().take(80).collect()))
        }
    }
}

// === impl EntityPath ===

impl EntityPath {
    /// Equal for two spellings of one entity.
    #[must_use]
    pub fn folded(&self) -> Self {
        match self {
            Self::Queue(queue) => Self::Queue(queue.folded()),
            Self::Subscription(topic, subscription) => Self::Subscription(topic.folded(), subscription.folded()),
        }
    }

    /// Its own name.
    pub fn name(&self) -> &EntityName {
        match self {
            Self::Queue(name) | Self::Subscription(_, name) => name,
        }
    }
}

impl fmt::Display for EntityPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "/{}", queue.0),
            Self::Subscription(topic, subscription) => write!(f, "/{}/subscriptions/{}", topic.0, subscription.0),
        }
    }
}

// === impl FeedPath ===

impl FeedPath {
    /// An entity of the list.
    pub fn entity(&self, name: EntityName) -> EntityPath {
        match self {
            Self::Queues => EntityPath::Queue(name),
            Self::Subscriptions(topic) => EntityPath::Subscription(topic.clone(), name),
        }
    }

    /// Whether it is the list of a topic, which may not exist.
    pub fn is_of_topic(&self) -> bool {
        matches!(self, Self::Subscriptions(_))
    }

    /// Equal for two spellings of one list.
    #[must_use]
    pub fn folded(&self) -> Self {
        match self {
            Self::Queues => Self::Queues,
            Self::Subscriptions(topic) => Self::Subscriptions(topic.folded()),
        }
    }
}

impl fmt::Display for FeedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queues => f.write_str("/$Resources/queues"),
            Self::Subscriptions(topic) => write!(f, "/{}/subscriptions", topic.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> EntityName {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_those_that_the_service_allows() {
        for text in ["a", "Orders_1.eu-west", "team/a/orders", &"n".repeat(260)] {
            assert_eq!(name(text).as_str(), text);
        }
        for text in ["", "a/", "/a", "a//b", "a/../b", "a/./b", "a b", "a?b", "a%2fb", "ä", "-a", &"n".repeat(261)] {
            assert!(text.parse::<EntityName>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_entity_and_list_has_a_path() {
        let queue = EntityPath::Queue(name("Team/Orders"));
        assert_eq!((queue.to_string(), queue.folded().to_string()), ("/Team/Orders".into(), "/team/orders".into()));
        let subscriptions = FeedPath::Subscriptions(name("Orders"));
        assert_eq!(subscriptions.to_string(), "/Orders/subscriptions");
        assert_eq!(subscriptions.entity(name("Worker")).to_string(), "/Orders/subscriptions/Worker");
        assert_eq!(FeedPath::Queues.to_string(), "/$Resources/queues");
    }
}
