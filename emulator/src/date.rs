//! Dates in headers and messages.

use jiff::Timestamp;

/// `Tue, 10 Mar 2026 12:00:00 GMT`.
pub(crate) fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_two_digits_wide() {
        let time: Timestamp = "2026-11-02T03:04:05.9Z".parse().unwrap();
        assert_eq!(http_date(time), "Mon, 02 Nov 2026 03:04:05 GMT");
    }
}
