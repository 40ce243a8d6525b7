//! Which failed requests are worth another attempt, and when. Pure.

use std::time::Duration;

use http::header::{DATE, HeaderMap, RETRY_AFTER};
use jiff::Timestamp;

use super::error::{Error, ServiceError, Unreachable};

/// Attempts in all: what is still broken after three, 300 ms apart, is broken for longer than a
/// read's deadline.
pub(super) const ATTEMPTS: u32 = 3;
/// The pause before the second attempt; doubled before the third.
const PAUSE: Duration = Duration::from_millis(100);
/// A pause is its half to its one and a half, so that those who failed together part.
const JITTER: f64 = 0.5;
/// The longest that a service is obeyed which says when to come back.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// How long to wait before attempt `done + 1`, if the error is one that passes. `chance` is in
/// 0..1. A service that says when to come back is not asked before, so not within a read.
pub(super) fn pause(done: u32, error: &Error, chance: f64) -> Option<Duration> {
    let passes = match error {
        Error::TimedOut => true,
        // A connection has most of a read's time to come.
        Error::Unreachable(kind, _) => !matches!(kind, Unreachable::Tls | Unreachable::Late),
        Error::Service(error) => error.retry_after.is_none() && passes(error),
        Error::SignIn(_) | Error::Unsigned | Error::Nonsense(_) | Error::Of(..) | Error::Down(_) => false,
    };
    let pause = PAUSE.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0)) * 2_u32.pow(done.min(8) - 1);
    (passes && (1..ATTEMPTS).contains(&done)).then_some(pause)
}

/// The same list as in the official SDKs, but for 429: who is asked too often is asked again by the
/// next read.
fn passes(error: &ServiceError) -> bool {
    match error.status {
        409 => matches!(error.code.as_deref(), Some("IncorrectState" | "LockConflict")),
        status => status >= 500 && status != 501,
    }
}

/// What `Retry-After` says beside a status that passes, in seconds or as a date by the service's
/// own clock; half a minute at most.
pub(super) fn retry_after(status: u16, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).map(str::trim);
    let date = |text: &str| httpdate::parse_http_date(text).ok().and_then(|date| Timestamp::try_from(date).ok());
    let said = text(RETRY_AFTER).filter(|_| status == 429 || status >= 500)?;
    let wait = match said.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let theirs = text(DATE).and_then(date).unwrap_or(now);
            // In the past: at once.
            Duration::try_from(date(said)?.duration_since(theirs)).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::oci::credentials::Method;

    fn service(status: u16, code: Option<&str>, retry_after: Option<Duration>) -> Error {
        Error::Service(ServiceError {
            status,
            code: code.map(str::to_owned),
            message: String::new(),
            request_id: None,
            clock_skewed: false,
            method: Method::ApiKey,
            retry_after,
            policy: None,
        })
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        for (status, code, again) in [
            (429, None, false),
            (500, None, true),
            (502, None, true),
            (503, None, true),
            (501, None, false),
            (409, Some("IncorrectState"), true),
            (409, Some("Conflict"), false),
            (409, None, false),
            (301, None, false),
            (400, None, false),
            (401, None, false),
            (403, None, false),
            (404, None, false),
        ] {
            assert_eq!(pause(1, &service(status, code, None), 0.5).is_some(), again, "{status} {code:?}");
        }
        assert!(pause(1, &Error::TimedOut, 0.5).is_some());
        assert!(pause(1, &Error::Nonsense(String::new()), 0.5).is_none());
        // Not against the service's word.
        assert!(pause(1, &service(503, None, Some(Duration::ZERO)), 0.5).is_none());
    }

    #[test]
    fn three_attempts_in_less_than_half_a_second() {
        let error = service(500, None, None);
        let all = |chance| (1..=ATTEMPTS).map_while(|done| pause(done, &error, chance)).collect::<Vec<_>>();
        assert_eq!(all(0.0), [50, 100].map(Duration::from_millis));
        assert_eq!(all(1.0), [150, 300].map(Duration::from_millis));
    }

    #[test]
    fn both_forms_of_retry_after() {
        let now: Timestamp = "2026-11-22T14:00:00Z".parse().unwrap();
        let said = |value: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_static(date));
            }
            retry_after(429, &headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(said("7", None), Some(7));
        assert_eq!(said("86400", None), Some(30));
        assert_eq!(said("Sun, 22 Nov 2026 14:00:09 GMT", None), Some(9));
        // By their clock.
        assert_eq!(said("Sun, 22 Nov 2026 15:00:09 GMT", Some("Sun, 22 Nov 2026 15:00:00 GMT")), Some(9));
        assert_eq!(said("Sun, 22 Nov 2026 13:00:00 GMT", None), Some(0));
        assert_eq!(said("Sun, 22 Nov 2099 13:00:00 GMT", None), Some(30));
        assert_eq!((said("-1", None), said("soon", None), said("", None)), (None, None, None));
        assert_eq!(retry_after(429, &HeaderMap::new(), now), None);
    }

    proptest! {
        #[test]
        fn no_header_panics(value in prop::collection::vec(0x20u8..0xff, 0..40), date in prop::collection::vec(0x20u8..0xff, 0..40)) {
            let mut headers = HeaderMap::new();
            for (name, bytes) in [(RETRY_AFTER, value), (DATE, date)] {
                if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                    headers.insert(name, value);
                }
            }
            if let Some(wait) = retry_after(503, &headers, Timestamp::MAX) {
                prop_assert!(wait <= RETRY_AFTER_MAX);
            }
        }
    }
}
