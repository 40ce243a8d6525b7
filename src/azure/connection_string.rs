//! Connection strings, as the portal shows them. Pure.
//!
//! `Endpoint=sb://HOST/;SharedAccessKeyName=…;SharedAccessKey=…`, or `SharedAccessSignature=…` in place
//! of the last two. Keys are case-insensitive, and a value may contain `=`. `EntityPath` is ignored, as the
//! official administration clients do, because the config says what is read.

use super::namespace::Namespace;
use super::sas::{Key, Signature};

/// What a connection string contains.
pub struct ConnectionString {
    /// The host of `Endpoint`.
    pub namespace: Namespace,
    /// How to authenticate.
    pub credential: Credential,
}

/// How to authenticate by a shared access signature.
#[derive(Clone)]
pub enum Credential {
    /// By a key, which signs.
    Key(Key),
    /// By a signature that is there.
    Signature(Signature),
}

/// A text is no connection string. No message contains a part of it.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadConnectionString {
    /// This part is missing or can't be used.
    #[error("the connection string has no usable {0}")]
    Part(&'static str),
    /// It has both ways to authenticate.
    #[error("the connection string has SharedAccessKey and SharedAccessSignature: one of them is needed")]
    Both,
}

// === impl ConnectionString ===

impl ConnectionString {
    /// Reads a connection string.
    pub fn parse(text: &str) -> Result<Self, BadConnectionString> {
        let value = |name: &str| {
            let mut parts = text.trim().split(';').filter_map(|part| part.split_once('='));
            parts.find_map(|(key, value)| (key.trim().eq_ignore_ascii_case(name) && !value.is_empty()).then_some(value))
        };
        let endpoint = value("Endpoint").and_then(|endpoint| {
            let (scheme, host) = endpoint.trim().split_once("://")?;
            scheme.eq_ignore_ascii_case("sb").then(|| host.trim_end_matches('/'))
        });
        let namespace = endpoint.and_then(|host| host.parse().ok());
        let namespace = namespace.ok_or(BadConnectionString::Part("Endpoint, as in sb://HOST/"))?;
        let credential = match (value("SharedAccessKey"), value("SharedAccessSignature")) {
            (Some(_), Some(_)) => return Err(BadConnectionString::Both),
            (Some(key), None) => {
                let name = value("SharedAccessKeyName").ok_or(BadConnectionString::Part("SharedAccessKeyName"))?;
                Credential::Key(Key::new(name.to_owned(), key))
            }
            (None, Some(signature)) => Credential::Signature(
                Signature::parse(signature).ok_or(BadConnectionString::Part("SharedAccessSignature"))?,
            ),
            (None, None) => return Err(BadConnectionString::Part("SharedAccessKey")),
        };
        Ok(Self { namespace, credential })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, String), BadConnectionString> {
        let ConnectionString { namespace, credential } = ConnectionString::parse(text)?;
        let signed = match credential {
            Credential::Key(key) => key.sign("audience", 1_578_099_723),
            Credential::Signature(signature) => signature.as_str().to_owned(),
        };
        Ok((namespace.host().to_owned(), signed))
    }

    #[test]
    fn a_connection_string_has_a_host_and_a_key_or_a_signature() {
        let signed = "SharedAccessSignature sr=audience&sig=8UM0iIfFCfeBSqxSdBMW8pUbhAm7mnjSUaIZTZx8V0g%3D&se=1578099723&skn=keyName";
        let host = "shop.servicebus.windows.net";
        for text in [
            "Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=keyName;SharedAccessKey=key".to_owned(),
            "endpoint=sb://Shop.servicebus.windows.net;SHAREDACCESSKEY=key;sharedaccesskeyname=keyName;EntityPath=a;\n"
                .to_owned(),
            format!("Endpoint=sb://{host}/;SharedAccessSignature={signed}"),
        ] {
            assert_eq!(parse(&text), Ok((host.to_owned(), signed.to_owned())), "{text}");
        }
        // A key ends in `=`, which belongs to it.
        let padded = "Endpoint=sb://a.b/;SharedAccessKeyName=n;SharedAccessKey=key=";
        assert_eq!(parse(padded).unwrap().1, Key::new("n".to_owned(), "key=").sign("audience", 1_578_099_723));
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_is_repeated() {
        for (text, part) in [
            ("", "Endpoint, as in sb://HOST/"),
            ("hidden", "Endpoint, as in sb://HOST/"),
            ("Endpoint=https://a.b/;SharedAccessKeyName=n;SharedAccessKey=hidden", "Endpoint, as in sb://HOST/"),
            ("Endpoint=sb://a.b/;SharedAccessKey=hidden", "SharedAccessKeyName"),
            ("Endpoint=sb://a.b/;SharedAccessKeyName=n", "SharedAccessKey"),
            ("Endpoint=sb://a.b/;SharedAccessSignature=hidden", "SharedAccessSignature"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.to_string().contains("hidden"), "{error}");
            assert_eq!(error, BadConnectionString::Part(part), "{text}");
        }
        let both = "Endpoint=sb://a.b/;SharedAccessKeyName=n;SharedAccessKey=k;SharedAccessSignature=s";
        assert_eq!(parse(both), Err(BadConnectionString::Both));
    }
}
