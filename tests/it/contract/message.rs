//! The parts of the message that an HPA gets instead of a value. Each must be there: the source,
//! since when, the cause, the operation, and what to do.

use jiff::Timestamp;

/// The longest message: it is read in a condition of an HPA, in a terminal.
const LONGEST: usize = 400;
pub(super) const SINCE: &str = " cannot be read since ";
const OPERATION: &str = " (operation: ";
/// `2026-11-22T14:02:03Z`.
const TIME: usize = 20;

/// A message in its parts.
pub(super) struct Message<'m> {
    /// What cannot be read: `queue "orders"`.
    pub(super) title: &'m str,
    /// The rest of it, which doesn't differ from one run to the next.
    pub(super) about: &'m str,
}

// === impl Message ===

impl<'m> Message<'m> {
    pub(super) fn parse(text: &'m str) -> Result<Self, String> {
        let lacks = |what: &str| format!("no {what} in {text:?}");
        if text.len() > LONGEST {
            return Err(format!("longer than {LONGEST} bytes: {text:?}"));
        }
        let (title, rest) = text.split_once(SINCE).ok_or_else(|| lacks("start"))?;
        let (since, rest) = rest.split_at_checked(TIME).ok_or_else(|| lacks("start"))?;
        since.parse::<Timestamp>().map_err(|_| lacks("start"))?;
        let about = rest.strip_prefix(": ").ok_or_else(|| lacks("cause"))?;
        let (cause, rest) = about.split_once(OPERATION).ok_or_else(|| lacks("operation"))?;
        let (operation, remedy) = rest.split_once("). ").ok_or_else(|| lacks("remedy"))?;
        for (what, part) in [("source", title), ("cause", cause), ("operation", operation), ("remedy", remedy)] {
            if part.is_empty() {
                return Err(lacks(what));
            }
        }
        if remedy.ends_with('.') { Ok(Self { title, about }) } else { Err(lacks("whole remedy")) }
    }
}

/// Whether this is the message of an unknown value: `METRIC of SOURCE is unknown: CAUSE`.
pub(super) fn parse_unknown(text: &str) -> Result<(), String> {
    let parts = text.split_once(" is unknown: ").and_then(|(what, cause)| Some((what.split_once(" of ")?, cause)));
    match parts {
        Some(((metric, source), cause)) if ![metric, source, cause].contains(&"") && text.len() <= LONGEST => Ok(()),
        _ => Err(format!("no message of an unknown value: {text:?}")),
    }
}

#[test]
fn a_message_without_one_of_its_parts_is_none() {
    let whole = r#"queue "orders" cannot be read since 2026-11-22T14:02:03Z: 500 (operation: read). Try again."#;
    let Message { title, about } = Message::parse(whole).unwrap();
    assert_eq!((title, about), (r#"queue "orders""#, "500 (operation: read). Try again."));
    for part in [r#"queue "orders""#, " since 2026-11-22T14:02:03Z", "500", "read)", "Try again.", "."] {
        let (before, after) = whole.rsplit_once(part).unwrap();
        assert!(Message::parse(&format!("{before}{after}")).is_err(), "without {part}");
    }
    assert!(Message::parse(&whole.replace("500", &"5".repeat(400))).is_err());
}
