//! Entities as the service describes them: Atom entries and feeds. Pure.
//!
//! Elements are found by namespace and name, because prefixes vary. Elements that are not read may be
//! anything.

use std::fmt;

use quick_xml::NsReader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use quick_xml::name::{Namespace, ResolveResult};

const ATOM: &str = "http://www.w3.org/2005/Atom";
const DESCRIPTION: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";
const COUNTS: &str = "http://schemas.microsoft.com/netservices/2011/06/servicebus";

/// Feed, entry, content, description, its counts and one of them, and the same again for what is not read.
const DEPTH_MAX: usize = 32;

/// The root of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// One entity.
    Entry(Box<Entity>),
    /// A page of a list. An entity that does not exist is the empty list.
    Feed(Vec<Entity>),
}

/// A queue, topic or subscription.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entity {
    /// Its own name.
    pub name: String,
    /// What it is, if it is one of those that are known.
    pub kind: Option<EntityKind>,
    /// Whether it takes and delivers messages, as the service writes it: `Active`.
    pub status: Option<String>,
    counts: Fields,
}

/// What an entity is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EntityKind {
    /// A queue.
    Queue,
    /// A topic. Its messages are those of its subscriptions.
    Topic,
    /// A subscription.
    Subscription,
}

/// Numbers of messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counts {
    /// Messages that can be received now or are being processed.
    pub active: i64,
    /// Messages of the dead-letter queue.
    pub dead_letter: i64,
    /// Messages that can be received later.
    pub scheduled: i64,
}

/// The texts of `CountDetails`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fields {
    /// Whether the element is there.
    is_there: bool,
    active: Option<String>,
    dead_letter: Option<String>,
    scheduled: Option<String>,
}

/// Why the counts of an entity are not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unknown {
    /// As when the service limits its clients.
    #[error("Service Bus reports no CountDetails")]
    NoCounts,
    /// This element is missing.
    #[error("Service Bus reports no {0}")]
    Missing(&'static str),
    /// This element is not a number of messages.
    #[error("Service Bus reports an invalid {0}")]
    Malformed(&'static str),
}

/// A text is no entry and no feed. It contains nothing of the text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Malformed(&'static str);

/// Elements that are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Element {
    Feed,
    Entry,
    Title,
    Content,
    Description(EntityKind),
    Status,
    CountDetails,
    Active,
    DeadLetter,
    Scheduled,
    Other,
}

// === impl Document ===

impl Document {
    /// Reads an answer.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut reader = NsReader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        let mut parser = Parser::default();
        loop {
            let (namespace, event) = reader.read_resolved_event().map_err(|_| Malformed("no XML"))?;
            match event {
                Event::Start(start) => {
                    let element = Element::of(&namespace, start.local_name().into_inner());
                    parser.start(element)?;
                }
                Event::End(_) => parser.end(),
                Event::Text(text) => parser.text(&text.xml10_content())?,
                Event::CData(text) => parser.text(&text.xml10_content())?,
                Event::GeneralRef(reference) => {
                    let unknown = |_| Malformed("an unknown character");
                    match reference.resolve_char_ref().map_err(unknown)? {
                        Some(character) => parser.text(character.encode_utf8(&mut [0; 4]))?,
                        None => {
                            let text = resolve_predefined_entity(&reference);
                            parser.text(text.ok_or(Malformed("an unknown entity reference"))?)?;
                        }
                    }
                }
                Event::DocType(_) => return Err(Malformed("a document type")),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::Empty(_) => {}
                Event::Eof => return parser.finish(),
            }
        }
    }
}

// === impl Entity ===

impl Entity {
    /// Its counts, if all of them are known.
    pub fn counts(&self) -> Result<Counts, Unknown> {
        let Fields { is_there, active, dead_letter, scheduled } = &self.counts;
        if !is_there {
            return Err(Unknown::NoCounts);
        }
        Ok(Counts {
            active: count("ActiveMessageCount", active.as_deref())?,
            dead_letter: count("DeadLetterMessageCount", dead_letter.as_deref())?,
            scheduled: count("ScheduledMessageCount", scheduled.as_deref())?,
        })
    }
}

/// Digits only, as the service writes numbers.
fn count(name: &'static str, text: Option<&str>) -> Result<i64, Unknown> {
    let text = text.ok_or(Unknown::Missing(name))?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or(Unknown::Malformed(name))
}

// === impl Element ===

impl Element {
    fn of(namespace: &ResolveResult<'_>, name: &str) -> Self {
        let ResolveResult::Bound(Namespace(namespace)) = namespace else { return Self::Other };
        match (*namespace, name) {
            (ATOM, "feed") => Self::Feed,
            (ATOM, "entry") => Self::Entry,
            (ATOM, "title") => Self::Title,
            (ATOM, "content") => Self::Content,
            (DESCRIPTION, "QueueDescription") => Self::Description(EntityKind::Queue),
            (DESCRIPTION, "TopicDescription") => Self::Description(EntityKind::Topic),
            (DESCRIPTION, "SubscriptionDescription") => Self::Description(EntityKind::Subscription),
            (DESCRIPTION, "Status") => Self::Status,
            (DESCRIPTION, "CountDetails") => Self::CountDetails,
            (COUNTS, "ActiveMessageCount") => Self::Active,
            (COUNTS, "DeadLetterMessageCount") => Self::DeadLetter,
            (COUNTS, "ScheduledMessageCount") => Self::Scheduled,
            _ => Self::Other,
        }
    }
}

/// How far a document is read.
#[derive(Default)]
struct Parser {
    /// The elements that are open.
    open: Vec<Element>,
    root: Option<Element>,
    is_over: bool,
    entities: Vec<Entity>,
}

// === impl Parser ===

impl Parser {
    fn start(&mut self, element: Element) -> Result<(), Malformed> {
        if self.is_over || self.open.len() >= DEPTH_MAX {
            return Err(Malformed(if self.is_over { "a second document" } else { "too many levels" }));
        }
        self.root.get_or_insert(element);
        self.open.push(element);
        // Texts of two elements would become one, such as the counts 3 and 4.
        let twice = self.is_read();
        match self.within_entry() {
            Some([]) => self.entities.push(Entity::default()),
            Some([Element::Content, Element::Description(kind)]) => {
                let kind = *kind;
                self.entity(|entity| entity.kind = Some(kind));
            }
            Some([Element::Content, Element::Description(_), Element::CountDetails]) => {
                self.entity(|entity| entity.counts.is_there = true);
            }
            _ => {}
        }
        if twice { Err(Malformed("an element twice")) } else { Ok(()) }
    }

    /// Whether the entry already has the element that is open.
    fn is_read(&self) -> bool {
        let (Some(within), Some(entity)) = (self.within_entry(), self.entities.last()) else { return false };
        let counts = &entity.counts;
        match within {
            [Element::Title] => !entity.name.is_empty(),
            [Element::Content, Element::Description(_), Element::Status] => entity.status.is_some(),
            [Element::Content, Element::Description(_), Element::CountDetails] => counts.is_there,
            [Element::Content, Element::Description(_), Element::CountDetails, counted] => match counted {
                Element::Active => counts.active.is_some(),
                Element::DeadLetter => counts.dead_letter.is_some(),
                Element::Scheduled => counts.scheduled.is_some(),
                _ => false,
            },
            _ => false,
        }
    }

    fn end(&mut self) {
        self.open.pop();
        self.is_over = self.open.is_empty();
    }

    fn text(&mut self, text: &str) -> Result<(), Malformed> {
        if self.open.is_empty() && !text.trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).is_empty() {
            return Err(Malformed("a text"));
        }
        let field: fn(&mut Entity) -> &mut String = match self.within_entry() {
            Some([Element::Title]) => |entity| &mut entity.name,
            Some([Element::Content, Element::Description(_), Element::Status]) => {
                |entity| entity.status.get_or_insert_default()
            }
            Some([Element::Content, Element::Description(_), Element::CountDetails, counted]) => match counted {
                Element::Active => |entity| entity.counts.active.get_or_insert_default(),
                Element::DeadLetter => |entity| entity.counts.dead_letter.get_or_insert_default(),
                Element::Scheduled => |entity| entity.counts.scheduled.get_or_insert_default(),
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        self.entity(|entity| field(entity).push_str(text));
        Ok(())
    }

    fn finish(self) -> Result<Document, Malformed> {
        if !self.is_over {
            return Err(Malformed("a part of a document"));
        }
        let mut entities = self.entities;
        if entities.iter().any(|entity| entity.name.is_empty()) {
            return Err(Malformed("an entry without a title"));
        }
        match (self.root, entities.pop()) {
            (Some(Element::Entry), Some(entity)) => Ok(Document::Entry(Box::new(entity))),
            (Some(Element::Feed), last) => {
                entities.extend(last);
                Ok(Document::Feed(entities))
            }
            _ => Err(Malformed("neither an Atom entry nor a feed")),
        }
    }

    /// The open elements within the entry.
    fn within_entry(&self) -> Option<&[Element]> {
        match self.open.as_slice() {
            [Element::Entry, within @ ..] | [Element::Feed, Element::Entry, within @ ..] => Some(within),
            _ => None,
        }
    }

    fn entity(&mut self, change: impl FnOnce(&mut Entity)) {
        if let Some(entity) = self.entities.last_mut() {
            change(entity);
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests;
