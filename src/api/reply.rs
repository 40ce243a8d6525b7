//! The form of a response: the encoding, indentation and compression that the client requested, and
//! the headers that state them.

use std::io::Write as _;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};

use super::accept::{self, Accepted, Conversion, Encoding};
use super::encode;
use crate::api_error::{ApiError, NO_CACHE};
use crate::request::query_value;

/// Shorter answers are not compressed, whatever the caller takes: kube-apiserver's own
/// threshold. On a fast network compression costs more than it saves.
const GZIP_MIN: usize = 128 << 10;
/// An answer's own, the request's id, and those that go with compression.
const HEADERS: usize = 6;
/// Warnings of a response: kubectl prints each of them, of up to 400 bytes.
const WARNINGS_MAX: usize = 5;
/// Programs whose output users read, by their User-Agent, as in the Go library.
const READERS: [&[u8]; 3] = [b"curl", b"Wget", b"Mozilla/5.0"];

/// What is to be had of this, or a 406 that lists `available`.
pub(super) fn negotiate<'r, T>(
    request: &'r Parts,
    available: &[Encoding],
    offer: impl FnMut(Encoding, Option<Conversion<'r>>) -> Option<T>,
) -> Result<Accepted<T>, ApiError> {
    let headers = || request.headers.get_all(header::ACCEPT).iter().map(|value| value.to_str().unwrap_or_default());
    match accept::negotiate(headers, offer) {
        Some(accepted) => Ok(Accepted { pretty: accepted.pretty || is_pretty(request), ..accepted }),
        None => {
            let types: Vec<&str> = available.iter().map(|encoding| encoding.media_type()).collect();
            Err(ApiError::not_acceptable(&types.join(", ")))
        }
    }
}

/// 200 with this body, compressed if that was requested and saves enough.
pub(super) fn ok(request: &Parts, content_type: &'static str, body: Bytes) -> Response {
    let Some(small) = compressed(&request.headers, &body) else { return uncompressed(content_type, body) };
    let mut response = uncompressed(content_type, small);
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// Adds warnings, which kubectl prints on standard error.
pub(super) fn warn<'m>(response: &mut Response, messages: impl Iterator<Item = &'m str>) {
    for message in messages.take(WARNINGS_MAX) {
        // A quoted string of visible ASCII characters.
        let plain = message.replace(|c: char| !matches!(c, ' '..='~') || c == '\\', " ").replace('"', "'");
        if let Ok(value) = HeaderValue::try_from(format!("299 - \"{plain}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// 200 with this body as it is.
pub(super) fn uncompressed(content_type: &'static str, body: Bytes) -> Response {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(NO_CACHE));
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = headers;
    response
}

fn compressed(headers: &HeaderMap, body: &Bytes) -> Option<Bytes> {
    if body.len() <= GZIP_MIN || !takes_gzip(headers) {
        return None;
    }
    // The Go library's level: the least work.
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // A vector takes all that is written; if not, the body goes as it is.
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(encode::finished)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| coding.trim() == "gzip")
}

/// Whether a user is going to read it: `pretty=true`, or a browser or a similar program.
fn is_pretty(request: &Parts) -> bool {
    match query_value(request.uri.query(), "pretty") {
        // What Go's ParseBool takes for true.
        Some(pretty) if !pretty.is_empty() => matches!(&*pretty, "1" | "t" | "T" | "TRUE" | "true" | "True"),
        _ => request
            .headers
            .get(header::USER_AGENT)
            .is_some_and(|agent| READERS.iter().any(|reader| agent.as_bytes().starts_with(reader))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http::Request;

    use super::*;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().uri(uri);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn warnings_are_quoted_and_few() {
        let mut response = uncompressed("application/json", Bytes::new());
        warn(&mut response, std::iter::repeat_n("queue \"ü\" can't\nbe read", 9));
        let warnings: Vec<_> = response.headers().get_all(header::WARNING).iter().collect();
        assert_eq!(warnings, ["299 - \"queue ' ' can't be read\""; WARNINGS_MAX]);
    }

    #[test]
    fn who_reads_gets_it_indented() {
        let curl = [("User-Agent", "curl/8.5.0")];
        for (uri, headers, pretty) in [
            ("/", &[][..], false),
            ("/?pretty", &[], false),
            ("/?pretty=true", &[], true),
            ("/?pretty=1", &[], true),
            ("/?pretty=no", &curl, false),
            ("/?pretty=", &curl, true),
            ("/", &curl, true),
            ("/", &[("User-Agent", "Mozilla/5.0 (X11)")], true),
            ("/", &[("User-Agent", "kubectl/v1.37.2")], false),
        ] {
            assert_eq!(is_pretty(&parts(uri, headers)), pretty, "{uri} {headers:?}");
        }
    }

    #[test]
    fn only_long_answers_are_compressed_and_only_for_those_who_take_it() {
        let (short, long) = (Bytes::from(vec![b'a'; GZIP_MIN]), Bytes::from(vec![b'a'; GZIP_MIN + 1]));
        let gzip = parts("/", &[("Accept-Encoding", "br, gzip")]).headers;
        assert_eq!(compressed(&gzip, &short), None);
        assert_eq!(compressed(&HeaderMap::new(), &long), None);
        assert_eq!(compressed(&parts("/", &[("Accept-Encoding", "gzip;q=0")]).headers, &long), None);
        let small = compressed(&gzip, &long).unwrap();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&*small).read_to_end(&mut back).unwrap();
        assert_eq!((back, small.len() < 1000), (long.to_vec(), true));
    }
}
