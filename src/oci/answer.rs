//! An answer of 2xx, and what is read out of it.

use http::header::{HeaderMap, HeaderName};
use serde::de::DeserializeOwned;

use super::Error;
use super::queue;
use crate::http::Response;

/// Where the next page of a list begins; absent on the last one.
const NEXT_PAGE: HeaderName = HeaderName::from_static("opc-next-page");

/// An answer of 2xx, as it came.
pub(super) struct Answer(Response);

// === impl Answer ===

impl Answer {
    pub(super) fn new(response: Response) -> Self {
        Self(response)
    }

    /// The document in it.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        queue::decode(&self.0.body).map_err(|error| self.invalid(without_quotes(&error.to_string())))
    }

    /// Where the next page begins, if there is one.
    pub(super) fn next_page(&self) -> Result<Option<String>, Error> {
        next_page(&self.0.headers).map_err(|what| self.invalid(what.to_owned()))
    }

    /// Identifies the request for the operators of the service.
    pub(super) fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    pub(super) fn invalid(&self, what: String) -> Error {
        Error::InvalidResponse(what, self.0.request_id.clone())
    }
}

/// A page that can't be requested is an error: a list that ends there would be taken for the whole.
fn next_page(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let Some(page) = headers.get(NEXT_PAGE) else { return Ok(None) };
    let page = page.to_str().map_err(|_| "its next page is not text")?;
    Ok(Some(page.to_owned()))
}

/// A decoder's error message, without the strings that it quotes from the answer: they may be as
/// long as the answer, and a token.
fn without_quotes(text: &str) -> String {
    match (text.find('"'), text.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}\"…{}", &text[..first], &text[last..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_page_that_cannot_be_requested_is_no_last_page() {
        let headers = |page: &[u8]| [(NEXT_PAGE, HeaderValue::from_bytes(page).unwrap())].into_iter().collect();
        assert_eq!(next_page(&HeaderMap::new()).unwrap(), None);
        assert_eq!(next_page(&headers(b"abc=")).unwrap().as_deref(), Some("abc="));
        assert!(next_page(&headers(b"\xc3\xa9")).is_err());
    }

    #[test]
    fn what_a_decoder_quotes_of_an_answer_is_not_shown() {
        let error = serde_json::from_str::<i64>(r#""a \"token\"""#).unwrap_err().to_string();
        assert!(error.contains("token"), "{error}");
        let shown = without_quotes(&error);
        assert!(shown.starts_with("invalid type: string \"…\", expected i64 at line 1"), "{shown}");
        assert_eq!(without_quotes("missing field `dlq`"), "missing field `dlq`");
    }
}
