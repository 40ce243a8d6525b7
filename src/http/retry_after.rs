//! When a service allows the next request. Pure.

use std::time::Duration;

use ::http::header::{DATE, HeaderMap, RETRY_AFTER};
use jiff::Timestamp;

/// The longest `Retry-After` that is obeyed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// The pause of `Retry-After` with a transient status, in seconds or as a date by the service's own
/// clock; half a minute at most.
pub(super) fn retry_after(status: u16, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &::http::HeaderValue| value.to_str().ok()).map(str::trim);
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
    use ::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

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
