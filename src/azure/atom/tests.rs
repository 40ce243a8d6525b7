use proptest::prelude::*;

use super::*;

/// As the service answers, after the test data of Go module azservicebus.
const QUEUE: &str = include_str!("queue.xml");
/// What it answers for an entity that does not exist.
const NOTHING: &str = r#"<feed xmlns="http://www.w3.org/2005/Atom"><title type="text">Publicly Listed Services</title><id>https://a/b</id><updated>2026-11-22T14:00:00Z</updated></feed>"#;

fn entry(text: &str) -> Entity {
    match Document::parse(text) {
        Ok(Document::Entry(entity)) => *entity,
        other => panic!("{other:?}"),
    }
}

/// The queue with a part replaced.
fn with(part: &str, instead: &str) -> String {
    assert!(QUEUE.contains(part), "{part}");
    QUEUE.replacen(part, instead, 1)
}

/// With a second element of this name.
fn twice(name: &str) -> String {
    let start = QUEUE[..QUEUE.find(&format!("{name}>")).unwrap()].rfind('<').unwrap();
    let close = start + QUEUE[start..].find("</").unwrap();
    let end = close + QUEUE[close..].find('>').unwrap() + 1;
    format!("{}{}", &QUEUE[..end], &QUEUE[start..])
}

fn counts(part: &str, instead: &str) -> Result<i64, Unknown> {
    entry(&with(part, instead)).counts().map(|counts| counts.active)
}

#[test]
fn an_entry_has_a_name_a_status_and_counts() {
    let queue = entry(QUEUE);
    assert_eq!((queue.name.as_str(), queue.kind), ("test-queue-name", Some(EntityKind::Queue)));
    assert_eq!(queue.status.as_deref(), Some("Active"));
    assert_eq!(queue.counts(), Ok(Counts { active: 3, dead_letter: 1, scheduled: 0 }));
    let topic = QUEUE.replace("QueueDescription", "TopicDescription");
    assert_eq!(entry(&topic).kind, Some(EntityKind::Topic));
    assert_eq!(entry(&QUEUE.replace("QueueDescription", "Description")).kind, None);
}

#[test]
fn prefixes_do_not_matter_and_namespaces_do() {
    let other = QUEUE.replace("d2p1", "x").replace(
        "<Status>",
        "<y:Status xmlns:y=\"http://schemas.microsoft.com/netservices/2010/10/servicebus/connect\">",
    );
    let other = other.replace("</Status>", "</y:Status>");
    assert_eq!(entry(&other), entry(QUEUE));
    let elsewhere = QUEUE.replace("2011/06/servicebus", "2012/06/servicebus");
    assert_eq!(entry(&elsewhere).counts(), Err(Unknown::Missing("ActiveMessageCount")));
}

#[test]
fn what_is_missing_or_no_count_is_unknown() {
    const ACTIVE: &str = "<d2p1:ActiveMessageCount>3</d2p1:ActiveMessageCount>";
    let name = "ActiveMessageCount";
    let is = |value: &str| counts(ACTIVE, &format!("<d2p1:{name}>{value}</d2p1:{name}>"));
    assert_eq!(is("7"), Ok(7));
    assert_eq!(is(" 0\n"), Ok(0));
    assert_eq!(is("9223372036854775807"), Ok(i64::MAX));
    for value in ["", " ", "-1", "+1", "1.5", "1e3", "NaN", "9223372036854775808", "three", "<a>3</a>"] {
        let unknown = is(value).unwrap_err();
        assert!(matches!(unknown, Unknown::Malformed(of) | Unknown::Missing(of) if of == name), "{value}: {unknown}");
    }
    assert_eq!(counts(ACTIVE, ""), Err(Unknown::Missing(name)));
    assert_eq!(counts(ACTIVE, "<ActiveMessageCount>3</ActiveMessageCount>"), Err(Unknown::Missing(name)));
    let (start, rest) = QUEUE.split_once("<CountDetails").unwrap();
    let end = rest.split_once("</CountDetails>").unwrap().1;
    assert_eq!(entry(&format!("{start}{end}")).counts(), Err(Unknown::NoCounts));
    // One that is elsewhere is another one.
    let moved = with("<SizeInBytes>542</SizeInBytes>", "<a><CountDetails/></a>");
    assert_eq!(
        entry(&moved.replacen("<CountDetails xmlns", "<Counts xmlns", 1).replace("</CountDetails>", "</Counts>"))
            .counts(),
        Err(Unknown::NoCounts)
    );
}

#[test]
fn a_feed_has_any_number_of_entities() {
    assert_eq!(Document::parse(NOTHING), Ok(Document::Feed(Vec::new())));
    let second = QUEUE.replace("test-queue-name", "a &amp; b&#x21;");
    let feed = format!(
        "\u{feff}<?xml version=\"1.0\"?><feed xmlns=\"http://www.w3.org/2005/Atom\"><title>Queues</title>{QUEUE}{second}</feed>\n"
    );
    let Ok(Document::Feed(entities)) = Document::parse(&feed) else { panic!("{feed}") };
    let names: Vec<&str> = entities.iter().map(|entity| entity.name.as_str()).collect();
    assert_eq!(names, ["test-queue-name", "a & b!"]);
    assert!(entities.iter().all(|entity| entity.counts().is_ok_and(|counts| counts.active == 3)));
}

#[test]
fn what_is_no_document_is_an_error_that_repeats_nothing() {
    let deep = format!("{}{}", "<a>".repeat(40), "</a>".repeat(40));
    for text in [
        "",
        "hidden",
        "{\"hidden\": 3}",
        "<!doctype html><title>hidden</title>",
        "<html><body>hidden</body></html>",
        "<feed>hidden</feed>",
        &QUEUE[..QUEUE.len() / 2],
        &format!("{QUEUE}hidden"),
        &format!("{QUEUE}{QUEUE}"),
        &with("test-queue-name", ""),
        &with("test-queue-name", "&hidden;"),
        &with("<title", "<title>hidden</title><title"),
        &twice("ActiveMessageCount"),
        &twice("Status"),
        &format!("<!DOCTYPE a [<!ENTITY b \"hidden\">]>{QUEUE}"),
        &deep,
    ] {
        let error = Document::parse(text).unwrap_err().to_string();
        assert!(!error.contains("hidden"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[<>/!?a-d =\"&;:\\[\\]-]{0,60}", at in 0..QUEUE.len()) {
        let _ = Document::parse(&text);
        // Within a good document: it is another document, or none, and its counts are no other ones.
        let at = QUEUE.floor_char_boundary(at);
        let changed = format!("{}{text}{}", &QUEUE[..at], &QUEUE[at..]);
        if let Ok(Document::Entry(entity)) = Document::parse(&changed)
            && let Ok(counts) = entity.counts()
        {
            prop_assert_eq!(counts.active, 3);
        }
    }
}
