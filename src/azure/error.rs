//! Why there is no answer, and what is read out of the body of an error.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::reach::Reach;
use crate::http::error::{ErrorText, StatusError};
use crate::http::{error as transport, session};

/// What the service writes into the text of an error when it limits its clients.
const THROTTLED: &str = "50009";

/// A request that brought nothing.
#[derive(Clone, Debug)]
pub enum Error {
    /// There is no credential.
    Authenticate(session::SignInError),
    /// The service refused it, or there was no answer.
    Http {
        /// What was met.
        error: transport::Error,
        /// What the host resolves to, if there was no connection or no answer in time.
        reach: Option<Reach>,
        /// Whether it is a 401 and the service's clock differs.
        is_skewed: bool,
    },
    /// There is no such queue, topic or subscription.
    NoSuchEntity,
    /// The answer is not what was requested. Contains nothing of it.
    InvalidResponse(String),
}

/// Whether an error says that the service limits its clients.
pub(super) fn is_throttled(status: &StatusError) -> bool {
    matches!(status.status, 429 | 503) || status.code.as_deref() == Some(THROTTLED)
}

/// `<Error><Code>401</Code><Detail>… Error code: 50009. …</Detail></Error>`. The code is that of the detail,
/// because the other one is the HTTP status.
pub(super) fn read_error(body: &[u8]) -> ErrorText {
    let Some(detail) = std::str::from_utf8(body).ok().and_then(detail) else { return ErrorText::whole(body) };
    let code = ["Error code: ", "SubCode="].iter().find_map(|prefix| {
        let rest = detail.split_once(prefix)?.1;
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        (1..=10).contains(&digits).then(|| rest[..digits].to_owned())
    });
    ErrorText { code, message: detail }
}

/// The text of `Detail`.
fn detail(text: &str) -> Option<String> {
    let mut reader = Reader::from_str(text);
    let mut detail: Option<String> = None;
    let mut is_within = false;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) if start.local_name().into_inner() == "Detail" => {
                is_within = true;
                detail.get_or_insert_default();
            }
            Event::End(end) if end.local_name().into_inner() == "Detail" => return detail,
            Event::Text(text) if is_within => detail.get_or_insert_default().push_str(&text.xml10_content()),
            Event::GeneralRef(_) if is_within => detail.get_or_insert_default().push(' '),
            Event::Eof => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_a_text_and_a_code_of_its_own() {
        let throttled = "The request was terminated because the entity is being throttled. Error code: 50009. Please wait 2 seconds and try again.";
        for (body, code, message) in [
            (format!("<Error><Code>503</Code><Detail>{throttled}</Detail></Error>"), Some("50009"), throttled),
            (
                "<Error><Code>401</Code><Detail>claim is empty or token is invalid.</Detail></Error>".to_owned(),
                None,
                "claim is empty or token is invalid.",
            ),
            (
                "<Error><Code>400</Code><Detail>SubCode=40000. Bad Request</Detail></Error>".to_owned(),
                Some("40000"),
                "SubCode=40000. Bad Request",
            ),
            ("<html>".to_owned(), None, "<html>"),
            ("{}".to_owned(), None, "{}"),
            ("<Error><Detail>half".to_owned(), None, "<Error><Detail>half"),
        ] {
            let ErrorText { code: read, message: text } = read_error(body.as_bytes());
            assert_eq!((read.as_deref(), text.as_str()), (code, message));
        }
    }
}
