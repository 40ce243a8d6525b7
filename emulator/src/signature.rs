//! Whether a request is signed as OCI requires it: version 1, which is RSA over the headers that
//! the `Authorization` header lists (draft-cavage-http-signatures-08).
//!
//! Written from the wire contract alone and on purpose shares nothing with the client's signing
//! code: one misunderstanding in both would cancel out. It returns only yes or why not; the keys
//! come from [`keys`](crate::keys), the answer is made by [`answer`](crate::answer).

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::request::Parts;
use http::{HeaderMap, Method};
use jiff::{SignedDuration, Timestamp};

use crate::authorization::{Authorization, Malformed};
use crate::date::http_date;
use crate::keys::KeyRing;

/// How far a request's date may be off, either way: the service's five minutes.
const ALLOWED_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What every request must sign, apart from its date.
const SIGNED_ALWAYS: [&str; 2] = ["(request-target)", "host"];

/// What requests with a body must sign as well.
const SIGNED_WITH_BODY: [&str; 3] = ["content-length", "content-type", "x-content-sha256"];

/// Why a request is refused; the client gets this text.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum Refused {
    #[error("The required information to complete authentication was not provided: there is no Authorization header")]
    NoAuthorization,
    #[error("The Authorization header is malformed: {0}")]
    Malformed(#[from] Malformed),
    #[error("Signature version '{0}' is not supported, only '1' is")]
    Version(String),
    #[error("Signature algorithm '{0}' is not supported, only 'rsa-sha256' is")]
    Algorithm(String),
    #[error("The signature must cover the header '{0}'")]
    NotCovered(&'static str),
    #[error("The signature covers the header '{0}', which the request does not have")]
    NotSent(String),
    #[error("Date '{0}' is not an HTTP date")]
    BadDate(String),
    #[error(
        "Date '{date}' is not within allowed clock skew. Current '{now}', valid datetime range: ['{from}', '{to}']"
    )]
    Skew { date: String, now: String, from: String, to: String },
    /// Does not repeat the id, which may be a session token.
    #[error("The key id of the signature is not known")]
    UnknownKey,
    #[error("The content-length header does not match the {0} bytes of the body")]
    ContentLength(usize),
    #[error("The x-content-sha256 header does not match the body")]
    ContentHash,
    #[error("Failed to verify the HTTP(S) Signature")]
    Signature,
}

/// Checks one request, whose body has been read, at the moment `now`.
pub(crate) fn verify(parts: &Parts, body: &[u8], keys: &KeyRing, now: Timestamp) -> Result<(), Refused> {
    let header = parts.headers.get(http::header::AUTHORIZATION).ok_or(Refused::NoAuthorization)?;
    let authorization = Authorization::parse(header.as_bytes())?;
    if authorization.version != "1" {
        return Err(Refused::Version(authorization.version.to_owned()));
    }
    if authorization.algorithm != "rsa-sha256" {
        return Err(Refused::Algorithm(authorization.algorithm.to_owned()));
    }
    let covered: Vec<&str> = authorization.headers.split(' ').collect();
    let date = check_covered(&covered, &parts.method)?;
    // Before the cheap checks below, so that a header that is not there is called just that.
    let text = string_to_sign(&covered, parts)?;
    check_date(&parts.headers, date, now)?;
    let key = keys.find(authorization.key_id).ok_or(Refused::UnknownKey)?;
    if has_body(&parts.method) {
        check_body(&parts.headers, body)?;
    }
    let signature = BASE64_STANDARD.decode(authorization.signature).map_err(|_| Refused::Signature)?;
    if key.verifies(&text, &signature) { Ok(()) } else { Err(Refused::Signature) }
}

/// Checks that the signature covers all that it must, and returns the date header that it covers:
/// browsers cannot set `date` and sign `x-date` instead.
fn check_covered(covered: &[&str], method: &Method) -> Result<&'static str, Refused> {
    let with_body = if has_body(method) { &SIGNED_WITH_BODY[..] } else { &[] };
    if let Some(missing) = SIGNED_ALWAYS.iter().chain(with_body).find(|name| !covered.contains(name)) {
        return Err(Refused::NotCovered(missing));
    }
    let date = ["x-date", "date"].into_iter().find(|name| covered.contains(name));
    date.ok_or(Refused::NotCovered("date"))
}

/// The bytes that were signed: one `name: value` line per covered header, no last line feed.
fn string_to_sign(covered: &[&str], parts: &Parts) -> Result<Vec<u8>, Refused> {
    let mut lines = Vec::with_capacity(covered.len());
    for name in covered {
        let value = if *name == "(request-target)" {
            // As it stood on the wire: nothing between here and the socket re-encodes it.
            let target = parts.uri.path_and_query().map_or_else(|| parts.uri.to_string(), ToString::to_string);
            format!("{} {target}", parts.method.as_str().to_ascii_lowercase()).into_bytes()
        } else {
            let values: Vec<&[u8]> = parts.headers.get_all(*name).iter().map(|value| value.as_bytes()).collect();
            if values.is_empty() {
                return Err(Refused::NotSent((*name).to_owned()));
            }
            values.join(&b", "[..])
        };
        lines.push([name.to_ascii_lowercase().as_bytes(), b": ", &value].concat());
    }
    Ok(lines.join(&b'\n'))
}

fn check_date(headers: &HeaderMap, name: &str, now: Timestamp) -> Result<(), Refused> {
    let text = String::from_utf8_lossy(headers.get(name).map_or(&[], |value| value.as_bytes())).into_owned();
    let parsed = httpdate::parse_http_date(&text).ok().and_then(|time| Timestamp::try_from(time).ok());
    let Some(date) = parsed else {
        return Err(Refused::BadDate(text));
    };
    if date.duration_since(now).abs() <= ALLOWED_SKEW {
        return Ok(());
    }
    Err(Refused::Skew {
        date: text,
        now: http_date(now),
        from: http_date(now.checked_sub(ALLOWED_SKEW).unwrap_or(Timestamp::MIN)),
        to: http_date(now.checked_add(ALLOWED_SKEW).unwrap_or(Timestamp::MAX)),
    })
}

fn check_body(headers: &HeaderMap, body: &[u8]) -> Result<(), Refused> {
    let is =
        |name: &str, expected: &str| headers.get(name).is_some_and(|value| value.as_bytes() == expected.as_bytes());
    if !is("content-length", &body.len().to_string()) {
        return Err(Refused::ContentLength(body.len()));
    }
    if !is("x-content-sha256", &BASE64_STANDARD.encode(digest::digest(&digest::SHA256, body))) {
        return Err(Refused::ContentHash);
    }
    Ok(())
}

fn has_body(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::{self, Golden, Vector};

    /// Where in a request a byte is changed.
    type Part = fn(&mut Vector) -> &mut String;

    fn outcome(vector: &Vector, now: Timestamp) -> Result<(), Refused> {
        let (parts, body) = vector.request().into_parts();
        verify(&parts, &body, &Golden::load().keys(), now)
    }

    /// The same vector with one byte of one part changed, for every byte; what cannot even be
    /// sent any more is left out.
    fn mutants(vector: &Vector, part: Part) -> Vec<Vector> {
        let length = part(&mut vector.clone()).len();
        (0..length)
            .filter_map(|at| {
                let mut mutant = vector.clone();
                let mut bytes = part(&mut mutant).clone().into_bytes();
                bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
                *part(&mut mutant) = String::from_utf8(bytes).ok()?;
                mutant.try_request().map(|_| mutant)
            })
            .collect()
    }

    #[test]
    fn official_vectors_are_accepted_or_refused_as_the_service_would() {
        let golden = Golden::load();
        let mut accepted = 0;
        for vector in golden.vectors() {
            let expected = match vector.name.as_str() {
                "post-without-content-headers" => Err(Refused::NotCovered("content-length")),
                "post-federation-x509" => Err(Refused::NotCovered("host")),
                name if name.contains("session-token") || name.contains("workload") => Err(Refused::UnknownKey),
                _ => Ok(()),
            };
            accepted += usize::from(expected.is_ok());
            assert_eq!(outcome(&vector, test_util::clock()), expected, "{}", vector.name);
            // A token signs like a key: once the emulator has its ID, the rest is the same.
            let keys = KeyRing::new([(vector.key_id.clone(), golden.key())]);
            let (parts, body) = vector.request().into_parts();
            let outcome = verify(&parts, &body, &keys, test_util::clock());
            assert_eq!(outcome.is_ok(), vector.signs_all_it_must(), "{}", vector.name);
        }
        assert_eq!(accepted, 18);
    }

    #[test]
    fn one_changed_byte_anywhere_is_refused() {
        let parts: [(&str, Part); 5] = [
            ("target", |vector| &mut vector.target),
            ("host", |vector| vector.header("host")),
            ("date", |vector| vector.header("date")),
            ("body", |vector| &mut vector.body),
            ("signature", |vector| vector.header("authorization")),
        ];
        let (keys, now) = (Golden::load().keys(), test_util::clock());
        for vector in Golden::load().vectors().into_iter().filter(|vector| outcome(vector, now).is_ok()) {
            for (name, part) in parts {
                for mutant in mutants(&vector, part) {
                    let (parts, body) = mutant.request().into_parts();
                    assert!(verify(&parts, &body, &keys, now).is_err(), "{name} of {mutant:?}");
                }
            }
        }
    }

    #[test]
    fn a_changed_body_is_refused_even_with_its_hash_put_right() {
        let mut vector = Golden::load().vector("post-put-messages");
        vector.body = vector.body.replace("hello", "jello");
        assert_eq!(outcome(&vector, test_util::clock()), Err(Refused::ContentHash));
        let hash = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, vector.body.as_bytes()));
        *vector.header("x-content-sha256") = hash;
        assert_eq!(outcome(&vector, test_util::clock()), Err(Refused::Signature));
        vector.body.push(' ');
        assert_eq!(outcome(&vector, test_util::clock()), Err(Refused::ContentLength(111)));
    }

    #[test]
    fn five_minutes_off_is_the_most() {
        let vector = Golden::load().vector("get-stats-no-query");
        let second = SignedDuration::from_secs(1);
        for edge in [-ALLOWED_SKEW, ALLOWED_SKEW] {
            assert_eq!(outcome(&vector, test_util::clock() + edge), Ok(()));
        }
        assert!(outcome(&vector, test_util::clock() - ALLOWED_SKEW - second).is_err());
        let late = outcome(&vector, test_util::clock() + ALLOWED_SKEW + second).unwrap_err();
        assert_eq!(
            late.to_string(),
            "Date 'Tue, 10 Mar 2026 12:00:00 GMT' is not within allowed clock skew. \
             Current 'Tue, 10 Mar 2026 12:05:01 GMT', valid datetime range: \
             ['Tue, 10 Mar 2026 12:00:01 GMT', 'Tue, 10 Mar 2026 12:10:01 GMT']"
        );
    }

    #[test]
    fn each_fault_of_the_header_has_its_own_answer() {
        let good = Golden::load().vector("get-stats-no-query");
        let with = |from: &str, to: &str| {
            let mut vector = good.clone();
            let changed = vector.header("authorization").replace(from, to);
            *vector.header("authorization") = changed;
            outcome(&vector, test_util::clock()).unwrap_err()
        };
        assert_eq!(with("version=\"1\"", "version=\"2\""), Refused::Version("2".to_owned()));
        assert_eq!(with("rsa-sha256", "rsa-sha1"), Refused::Algorithm("rsa-sha1".to_owned()));
        assert_eq!(with("date (request-target) host", "date (request-target)"), Refused::NotCovered("host"));
        assert_eq!(with("date (request-target)", "(request-target)"), Refused::NotCovered("date"));
        assert_eq!(with(" host", " host opc-obo-token"), Refused::NotSent("opc-obo-token".to_owned()));
        assert_eq!(with("/51:9f", "/52:9f"), Refused::UnknownKey);
        assert_eq!(with("date ", "x-date "), Refused::NotSent("x-date".to_owned()));
        let mut unsigned = good.clone();
        unsigned.headers.retain(|(name, _)| name != "authorization");
        assert_eq!(outcome(&unsigned, test_util::clock()), Err(Refused::NoAuthorization));
    }
}
