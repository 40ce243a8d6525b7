//! Entries and feeds of Azure Service Bus: no input panics, no document type is accepted, a document that is
//! cut off or goes on is none, and what is read is read again from its canonical form.
//!
//! Input: the body of an answer.
#![no_main]

use depthgauge::azure::atom::{Document, Entity, EntityKind, Unknown};
use libfuzzer_sys::fuzz_target;

const ATOM: &str = "http://www.w3.org/2005/Atom";
const DESCRIPTION: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";
const COUNTS: &str = "http://schemas.microsoft.com/netservices/2011/06/servicebus";

fuzz_target!(|body: &[u8]| {
    let Ok(text) = std::str::from_utf8(body) else { return };
    let Ok(document) = Document::parse(text) else { return };
    let printed = canonical(&document);
    let again = Document::parse(&printed).expect("what is printed is a document");
    assert_eq!(matches!(again, Document::Feed(_)), matches!(document, Document::Feed(_)));
    assert_eq!(entities(&again).len(), entities(&document).len());
    for (one, other) in entities(&document).iter().zip(entities(&again)) {
        assert!(!one.name.is_empty());
        assert_eq!((&one.name, one.kind, &one.status), (&other.name, other.kind, &other.status));
        assert_eq!(one.counts(), other.counts());
        if let Ok(counts) = one.counts() {
            assert!(counts.active >= 0 && counts.dead_letter >= 0 && counts.scheduled >= 0);
        }
    }
    assert!(Document::parse(&printed[..printed.len() - 1]).is_err(), "cut off: {printed:?}");
    assert!(Document::parse(&printed.repeat(2)).is_err(), "twice: {printed:?}");
    assert!(Document::parse(&format!("<!DOCTYPE feed>{printed}")).is_err(), "with a document type: {printed:?}");
});

fn entities(document: &Document) -> &[Entity] {
    match document {
        Document::Entry(entity) => std::slice::from_ref(entity),
        Document::Feed(entities) => entities,
    }
}

/// As the service writes it, without the elements that are not read.
fn canonical(document: &Document) -> String {
    let entries: String = entities(document).iter().map(entry).collect();
    match document {
        Document::Entry(_) => entries,
        Document::Feed(_) => format!(r#"<feed xmlns="{ATOM}">{entries}</feed>"#),
    }
}

fn entry(entity: &Entity) -> String {
    let kind = match entity.kind {
        Some(EntityKind::Queue) => "Queue",
        Some(EntityKind::Topic) => "Topic",
        Some(EntityKind::Subscription) => "Subscription",
        // Not read, as is what it has.
        None => "Other",
    };
    // In CDATA, because an element without a text has no status, and one with an empty text has.
    let status = match &entity.status {
        Some(status) => format!("<Status><![CDATA[]]>{}</Status>", escaped(status)),
        None => String::new(),
    };
    format!(
        r#"<entry xmlns="{ATOM}"><title>{}</title><content><{kind}Description xmlns="{DESCRIPTION}">{status}{}</{kind}Description></content></entry>"#,
        escaped(&entity.name),
        counts(entity),
    )
}

/// Elements with these counts, or with the same reason why they are not known.
fn counts(entity: &Entity) -> String {
    let numbers = match entity.counts() {
        Ok(counts) => [counts.active, counts.dead_letter, counts.scheduled].map(|count| Some(count.to_string())),
        Err(Unknown::NoCounts) => return String::new(),
        Err(Unknown::Missing(name)) => NAMES.map(|known| (known != name).then(|| "0".to_owned())),
        Err(Unknown::Malformed(name)) => NAMES.map(|known| Some(if known == name { "x" } else { "0" }.to_owned())),
    };
    let elements = NAMES.iter().zip(numbers).filter_map(|(name, number)| Some((name, number?)));
    let elements: String = elements.map(|(name, number)| format!("<c:{name}>{number}</c:{name}>")).collect();
    format!(r#"<CountDetails xmlns:c="{COUNTS}">{elements}</CountDetails>"#)
}

const NAMES: [&str; 3] = ["ActiveMessageCount", "DeadLetterMessageCount", "ScheduledMessageCount"];

fn escaped(text: &str) -> String {
    // A carriage return that is not escaped is read as a line feed.
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#13;")
}
