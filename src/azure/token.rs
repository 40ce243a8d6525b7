//! Tokens of Microsoft Entra ID, and what its services answer. Pure.

use std::time::Duration;

use http::header::HeaderValue;
use jiff::Timestamp;
use serde::Deserialize;

use crate::http::Protocol;
use crate::http::authorize::sensitive;
use crate::http::error::ErrorText;
use crate::http::session::{Session, SignInError};

/// What tokens are for: the same in all clouds.
pub(super) const RESOURCE: &str = "https://servicebus.azure.net/";
/// Longest answer: a token has a few KiB.
const BODY_MAX: usize = 64 << 10;
/// The longest lifetime that is used, as the service grants it.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// The shortest interval between two tokens that are requested because of a 401.
pub(super) const FORCED_EVERY: Duration = Duration::from_secs(60);
/// The time for a token: it must fit into the deadline of a read, which waits for it.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Requests a second. Sessions request a token once in minutes.
pub(super) const REQUESTS_PER_SECOND: u32 = 10;
/// The longest code of an error: `AADSTS700213`.
const CODE_MAX: usize = 40;

/// A token.
pub struct Token {
    /// `Bearer …`
    pub(super) header: HeaderValue,
    pub(super) secret: String,
}

/// A token, and how long it lives. `expires_on` is a time in seconds. The metadata service writes numbers
/// as strings.
#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    expires_in: Option<Number>,
    expires_on: Option<Number>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(i64),
    Text(String),
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
    #[serde(default)]
    error_description: String,
}

// === impl Number ===

impl Number {
    fn get(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// What the services have in common. A session repeats its request by itself.
pub(super) fn protocol() -> Protocol {
    Protocol { attempts: 1, body_max: BODY_MAX, read_error, ..Protocol::default() }
}

/// The token of an answer of the service of this name.
pub(super) fn session(service: &str, body: &[u8], now: Timestamp) -> Result<Session<Token>, SignInError> {
    let unusable = |what: &str| SignInError::unusable(service, what);
    // Not serde's error: it may contain the token.
    let response: TokenResponse =
        serde_json::from_slice(body).map_err(|_| unusable("an answer without access_token"))?;
    let left = response.expires_in.as_ref().and_then(Number::get);
    let until = response.expires_on.as_ref().and_then(Number::get).map(|expires| expires - now.as_second());
    let left = left.or(until).ok_or_else(|| unusable("an answer without expires_in"))?;
    let secret = response.access_token;
    let header = sensitive(&format!("Bearer {secret}")).filter(|_| !secret.is_empty());
    let header = header.ok_or_else(|| unusable("its token is not a valid header"))?;
    // Not used to the end: a request takes its time, and clocks differ.
    let lifetime = Duration::from_secs(u64::try_from(left).unwrap_or_default()).min(LIFETIME_MAX) * 9 / 10;
    if lifetime.is_zero() {
        return Err(unusable("its token has expired"));
    }
    Ok(Session { granted: Token { header, secret }, lifetime })
}

/// The code is that of Entra ID, if the description begins with it, as `AADSTS70021: No matching …`.
fn read_error(body: &[u8]) -> ErrorText {
    let Ok(ErrorBody { error, error_description }) = serde_json::from_slice(body) else {
        return ErrorText::whole(body);
    };
    let aadsts = error_description.split_once(':').map(|(code, _)| code).filter(|code| code.starts_with("AADSTS"));
    let code = aadsts.unwrap_or(&error);
    let is_word = code.len() <= CODE_MAX && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    ErrorText { code: is_word.then(|| code.to_owned()), message: error_description }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(body: &str) -> Result<u64, String> {
        let now = Timestamp::from_second(1000).unwrap();
        session("service", body.as_bytes(), now).map(|session| session.lifetime.as_secs()).map_err(|error| error.detail)
    }

    #[test]
    fn a_token_lives_as_long_as_the_service_says() {
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":1000,"token_type":"Bearer"}"#), Ok(900));
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":"1000"}"#), Ok(900));
        assert_eq!(lifetime(r#"{"access_token":"t","expires_on":"2000"}"#), Ok(900));
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":1000000000}"#), Ok(24 * 3240));
        for body in [
            "",
            "<html>hidden</html>",
            r#"{"access_token":"hidden"}"#,
            r#"{"access_token":"","expires_in":10}"#,
            r#"{"access_token":"hid\nden","expires_in":10}"#,
            r#"{"access_token":"hidden","expires_on":"999"}"#,
            r#"{"access_token":"hidden","expires_in":-5}"#,
            r#"{"expires_in":10}"#,
        ] {
            let error = lifetime(body).unwrap_err();
            assert!(!error.contains("hid"), "{body}: {error}");
        }
    }

    #[test]
    fn the_code_of_an_error_is_that_of_entra() {
        for (body, code, message) in [
            (
                r#"{"error":"invalid_client","error_description":"AADSTS70021: No matching federated identity record found."}"#,
                Some("AADSTS70021"),
                "AADSTS70021: No matching federated identity record found.",
            ),
            (
                r#"{"error":"invalid_request","error_description":"Identity not found"}"#,
                Some("invalid_request"),
                "Identity not found",
            ),
            (r#"{"error":"ey.secret.x"}"#, None, ""),
            ("<html>", None, "<html>"),
        ] {
            let ErrorText { code: read, message: text } = read_error(body.as_bytes());
            assert_eq!((read.as_deref(), text.as_str()), (code, message));
        }
    }
}
