//! What happens on the wire, played the same way for every kind.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::outcome::Wire;
use super::{Kind, Operation, Outcome, Place, Received, Reply, Shape, authorization};

/// What the compressed answer unpacks to, in bytes.
const BOMB: usize = 16 << 20;
/// A path that no operation has, where a redirect leads.
pub(super) const ELSEWHERE: &str = "/elsewhere";

/// A good answer to a request of another operation.
pub(super) fn beside(operation: &dyn Operation, request: &Received, place: &Place) -> Reply {
    Reply::json(operation.answer_beside(request, place))
}

/// Whether the service forbids requests for longer than the test lasts.
pub(super) fn says_when(outcome: Outcome) -> bool {
    [Wire::ThrottledUntil, Wire::UnavailableUntil].map(Outcome::Wire).contains(&outcome)
}

/// The answer of an operation in this outcome.
pub(super) fn reply(
    kind: &dyn Kind,
    operation: &dyn Operation,
    outcome: Outcome,
    request: &Received,
    place: &Place,
) -> Reply {
    // As debugging proxies do.
    let echo = format!("{} of {}", authorization(request), request.target);
    let error = |status| Reply::status(status, kind.error(status, &echo));
    let good = || operation.answer(Shape::Value, place, &echo).1;
    let ok = |body: Vec<u8>| Reply::Whole(200, format!("content-type: {}\r\n", operation.content_type()), body);
    let wire = match outcome {
        Outcome::Shape(shape) => return ok(operation.answer(shape, place, &echo).1.into()),
        Outcome::Wire(wire) => wire,
    };
    match wire {
        Wire::BadRequest => error(400),
        Wire::Unauthorized => error(401),
        Wire::Forbidden => error(403),
        Wire::NotFound => error(404),
        Wire::Throttled => error(429),
        Wire::ThrottledUntil => error(429).with_header("retry-after: 30"),
        Wire::ServerError => error(500),
        Wire::Unavailable => error(503),
        Wire::UnavailableUntil => error(503).with_header("retry-after: 30"),
        Wire::Html => {
            let page = format!("<!doctype html><title>Sign in</title><p>3</p><!-- {echo} -->");
            Reply::Whole(200, "content-type: text/html; charset=utf-8\r\n".to_owned(), page.into())
        }
        Wire::NoBody => ok(Vec::new()),
        Wire::WrongContentType => Reply::Whole(200, "content-type: text/plain\r\n".to_owned(), good().into()),
        Wire::PartialContent => {
            let headers = format!("content-type: {}\r\n", operation.content_type());
            Reply::Whole(206, headers, good().into())
        }
        Wire::Redirect => {
            let location = format!("location: {}{ELSEWHERE}\r\n", place.base);
            Reply::Whole(302, location, Vec::new())
        }
        Wire::Hang => Reply::Hang,
        Wire::Reset => Reply::Reset,
        Wire::HalfBody => Reply::Half(good()),
        Wire::CutBody => Reply::Cut(operation.content_type(), good()),
        Wire::EndlessBody => Reply::Endless,
        Wire::GzipBomb => ok(bomb(&good())).with_header("content-encoding: gzip"),
    }
}

/// A good document after so many blanks that it must not be unpacked.
fn bomb(document: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..BOMB >> 16 {
        gzip.write_all(&[b' '; 1 << 16]).unwrap();
    }
    gzip.write_all(document.as_bytes()).unwrap();
    gzip.finish().unwrap()
}
