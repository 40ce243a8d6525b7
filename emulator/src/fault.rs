//! Failures made to order: what a client must survive, on demand.
//!
//! A [`Fault`] is what goes wrong, a [`Rule`] also for which requests and how often. Rules hold
//! until they are lifted or used up; of those that fit a request the first one counts.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::operation::Operation;

mod document;
mod sabotage;
mod switch;

pub(crate) use document::rules;
pub(crate) use sabotage::{distort, instead};
pub(crate) use switch::FaultSwitch;

/// What happens to a request. Those up to [`Garbage`](Self::Garbage) happen before it is read,
/// because a broken service does not check signatures first; the others happen to its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// This status and an error body.
    Status(StatusCode),
    /// Holds the request: no answer until the fault is lifted or replaced, and none at all if the
    /// client disconnects or the server stops first.
    Hang,
    /// The connection is reset: a TCP RST and no answer.
    Reset,
    /// 301 to another path.
    Redirect,
    /// 200 without a body.
    Empty,
    /// 502 with a page of HTML, as proxies have them.
    Html,
    /// 200 with a MiB that unpacks to a GiB.
    GzipBomb,
    /// 200 with blanks that never end.
    Endless,
    /// 200 with bytes that are no text.
    Garbage,
    /// The right answer, this much later.
    Delay(Duration),
    /// The right answer, a byte at a time, each after this pause.
    Drip(Duration),
    /// The first half of the right answer, as if it were all of it.
    Truncated,
    /// The first half of the right answer, then the end of the connection.
    CutOff,
    /// 100 MiB of blanks, then the right answer.
    Huge,
    /// Each number is a string, each string a number.
    WrongTypes,
    /// Objects lose all fields that are neither an object nor a list, except for their first field.
    MissingFields,
    /// Each number is below zero.
    Negative,
    /// Each number except 0 is 2^53 + 1, the first that a double cannot hold. Zeros stay, because the sum of
    /// two such numbers is above the largest value that is served.
    Above2Pow53,
    /// Each number is 2^63, the first that an i64 cannot hold.
    AboveI64,
}

/// A fault, the requests that it is for, and how often.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What happens.
    pub fault: Fault,
    /// To this operation only.
    pub operation: Option<Operation>,
    /// To requests whose path names this queue, by display name or OCID, only.
    pub queue: Option<String>,
    /// So many times only.
    pub times: Option<u32>,
    /// Set in the answer instead of its own: `retry-after`, `location`, `opc-request-id`.
    pub headers: HeaderMap,
    /// The text of the answer, in place of its own.
    pub body: Option<String>,
}

/// The duration of a fault without one: longer than a client with a short deadline waits.
const SECOND: Duration = Duration::from_secs(1);

// === impl Fault ===

impl Fault {
    /// All of them by name, with the values they have if none are given.
    pub(crate) const ALL: [(&str, Self); 19] = [
        ("status", Self::Status(StatusCode::INTERNAL_SERVER_ERROR)),
        ("hang", Self::Hang),
        ("reset", Self::Reset),
        ("redirect", Self::Redirect),
        ("empty", Self::Empty),
        ("html", Self::Html),
        ("gzipBomb", Self::GzipBomb),
        ("endless", Self::Endless),
        ("garbage", Self::Garbage),
        ("delay", Self::Delay(SECOND)),
        ("drip", Self::Drip(SECOND)),
        ("truncated", Self::Truncated),
        ("cutOff", Self::CutOff),
        ("huge", Self::Huge),
        ("wrongTypes", Self::WrongTypes),
        ("missingFields", Self::MissingFields),
        ("negative", Self::Negative),
        ("above2Pow53", Self::Above2Pow53),
        ("aboveI64", Self::AboveI64),
    ];
}

// === impl Rule ===

impl From<Fault> for Rule {
    /// For every request, until it is lifted.
    fn from(fault: Fault) -> Self {
        Self { fault, operation: None, queue: None, times: None, headers: HeaderMap::new(), body: None }
    }
}

impl Rule {
    /// Whether a request for this operation and this queue, by any of its names, is meant.
    fn fits(&self, operation: Option<Operation>, queue: &[&str]) -> bool {
        self.operation.is_none_or(|only| operation == Some(only))
            && self.queue.as_ref().is_none_or(|only| queue.contains(&only.as_str()))
    }
}
