//! The tokens that stand for a principal: what is read from one, and how the token service of a
//! cluster wraps it. Pure; no signature is checked, because only OCI trusts a token.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::http::session::SignInError;

/// What a key id that is a token begins with.
const PREFIX: &str = "ST$";

/// The claims that depthgauge reads.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub struct Claims {
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// When it began, if it has that.
    pub iat: Option<i64>,
}

/// The service account of a Kubernetes token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

#[derive(Deserialize)]
struct Subject {
    sub: String,
}

#[derive(Deserialize)]
struct Wrapped {
    token: String,
}

// === impl Claims ===

impl Claims {
    /// The claims of a JWT; nothing when it is none, or does not end.
    pub fn of(jwt: &str) -> Option<Self> {
        claims(jwt)
    }

    /// When it ends.
    pub fn ends(&self) -> Timestamp {
        Timestamp::from_second(self.exp).unwrap_or(Timestamp::MAX)
    }

    /// How long it is good yet, at `now`; nothing when it is over.
    ///
    /// Not longer than it was made for: a clock that is behind does not lengthen it.
    pub fn left(&self, now: Timestamp) -> Option<Duration> {
        let left = self.exp.checked_sub(now.as_second()).and_then(|left| u64::try_from(left).ok())?;
        let made_for = self.iat.and_then(|iat| self.exp.checked_sub(iat)).and_then(|whole| u64::try_from(whole).ok());
        let left = Duration::from_secs(made_for.map_or(left, |whole| whole.min(left)));
        (!left.is_zero()).then_some(left)
    }
}

// === impl ServiceAccount ===

impl ServiceAccount {
    /// The service account of a JWT, if its subject is one.
    pub fn of(jwt: &str) -> Option<Self> {
        let Subject { sub } = claims(jwt)?;
        let (namespace, name) = sub.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        // As Kubernetes has them; so neither can end a quote.
        let legal = |text: &str| {
            let byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
            !text.is_empty() && text.len() <= 253 && text.bytes().all(byte)
        };
        let known = legal(namespace) && legal(name);
        known.then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// The claims in the middle part of a JWT.
fn claims<T: DeserializeOwned>(jwt: &str) -> Option<T> {
    let mut parts = jwt.split('.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// The key id that a bare token signs under.
pub fn key_id(bare: &str) -> String {
    format!("{PREFIX}{bare}")
}

/// A token without blanks around it and without its prefix, which some issuers write and some do
/// not. Nothing when it could not stand in a header, inside quotes.
pub fn bare(text: &str) -> Option<&str> {
    let text = text.trim();
    let token = text.strip_prefix(PREFIX).unwrap_or(text);
    let legal = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    legal.then_some(token)
}

/// The token out of an answer of the cluster's token service: base64 of `{"token": "ST$…"}`, with
/// or without the quotes of a JSON string.
pub fn from_cluster(answer: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).trim();
    from_json(&STANDARD.decode(text).ok()?)
}

/// The token out of `{"token": "…"}`, which is how the federation service answers.
pub fn from_json(answer: &[u8]) -> Option<String> {
    let Wrapped { token } = serde_json::from_slice(answer).ok()?;
    bare(&token).map(str::to_owned)
}

/// The error of a session from `service` that has expired already.
pub(super) fn expired(service: &str, claims: Claims) -> SignInError {
    let cause = format!("{service}: its token has expired already");
    SignInError::new(cause, "Set the clock of this node (NTP).", format!("it ended at {}", claims.ends()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_is_good_until_it_ends_and_no_longer_than_it_was_made_for() {
        let claims = Claims::of(&jwt(r#"{"exp":2000,"iat":1000,"sub":"x"}"#)).unwrap();
        let left = |now| claims.left(Timestamp::from_second(now).unwrap());
        assert_eq!(left(1400), Some(Duration::from_secs(600)));
        assert_eq!(left(0), Some(Duration::from_secs(1000)));
        assert_eq!((left(2000), left(3000)), (None, None));
        assert_eq!(Claims::of(&jwt(r#"{"exp":2000}"#)).unwrap().iat, None);
        for none in ["", "a.b", "a.b.c", &jwt("{}"), &jwt(r#"{"exp":"2000"}"#)] {
            assert_eq!(Claims::of(none), None, "{none}");
        }
    }

    #[test]
    fn a_service_account_is_read_out_of_its_subject() {
        let of = |sub: &str| ServiceAccount::of(&jwt(&format!(r#"{{"sub":"{sub}","exp":1}}"#)));
        let account = of("system:serviceaccount:depth:gauge").unwrap();
        assert_eq!((account.namespace.as_str(), account.name.as_str()), ("depth", "gauge"));
        for other in ["alice", "system:serviceaccount:depth", "system:serviceaccount:a'b:c", "system:serviceaccount::c"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn answers_bare_and_quoted_hold_the_same_token() {
        for token in ["ST$a.b.c", "a.b.c"] {
            let bare = STANDARD.encode(format!(r#"{{"token": "{token}"}}"#));
            for answer in [bare.clone(), format!("\"{bare}\""), format!(" \"{bare}\"\n"), format!("{bare}\r\n")] {
                assert_eq!(from_cluster(answer.as_bytes()).as_deref(), Some("a.b.c"), "{answer:?}");
            }
        }
        let encoded = |text: &str| STANDARD.encode(text).into_bytes();
        for answer in
            [Vec::new(), b"\"\"".to_vec(), b"{}".to_vec(), encoded("{}"), encoded(r#"{"token":"ST$"}"#), encoded("x")]
        {
            assert_eq!(from_cluster(&answer), None, "{answer:?}");
        }
        assert_eq!(from_json(br#"{"token":"a\"b"}"#), None);
    }

    #[test]
    fn a_key_id_has_one_prefix() {
        for text in [" ST$a.b.c\n", "a.b.c"] {
            assert_eq!(key_id(bare(text).unwrap()), "ST$a.b.c");
        }
    }

    proptest! {
        #[test]
        fn a_token_that_is_wrapped_is_the_one_that_comes_out(token in "[!#-~]{1,80}", prefixed: bool, quoted: bool) {
            prop_assume!(!token.starts_with(PREFIX));
            let told = if prefixed { key_id(&token) } else { token.clone() };
            let wrapped = STANDARD.encode(serde_json::json!({"token": told}).to_string());
            let answer = if quoted { format!("\"{wrapped}\"") } else { wrapped };
            prop_assert_eq!(from_cluster(answer.as_bytes()), Some(token));
        }

        #[test]
        fn nothing_panics(answer in prop::collection::vec(any::<u8>(), 0..64), exp: i64, iat: Option<i64>, now in 0i64..1 << 40) {
            let _ = from_cluster(&answer);
            let _ = from_json(&answer);
            let _ = Claims::of(&String::from_utf8_lossy(&answer));
            let jwt = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(&answer));
            let _ = (Claims::of(&jwt), ServiceAccount::of(&jwt));
            let claims = Claims { exp, iat };
            let _ = (claims.left(Timestamp::from_second(now & 0xFFFF_FFFF).unwrap()), claims.ends());
        }
    }
}
