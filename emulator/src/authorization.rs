//! The `Authorization` header of a signed request, taken apart: `Signature name="value",…`.
//!
//! A parser only. What the values must be is [`signature`](crate::signature)'s business.

/// The five parameters that OCI's signatures have; others are skipped, as the draft says.
#[derive(Debug, PartialEq)]
pub(crate) struct Authorization<'a> {
    pub(crate) algorithm: &'a str,
    pub(crate) headers: &'a str,
    pub(crate) key_id: &'a str,
    pub(crate) signature: &'a str,
    pub(crate) version: &'a str,
}

/// Where the header leaves the form it should have.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum Malformed {
    #[error("it is not ASCII text")]
    NotText,
    #[error("it does not begin with 'Signature '")]
    OtherScheme,
    #[error("its parameters are not of the form name=\"value\",name=\"value\"")]
    NotAList,
    #[error("parameter '{0}' occurs twice")]
    Twice(&'static str),
    #[error("parameter '{0}' is missing")]
    Missing(&'static str),
}

const NAMES: [&str; 5] = ["algorithm", "headers", "keyId", "signature", "version"];

// === impl Authorization ===

impl<'a> Authorization<'a> {
    pub(crate) fn parse(header: &'a [u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(header).ok().filter(|text| text.is_ascii()).ok_or(Malformed::NotText)?;
        let mut rest = text.strip_prefix("Signature ").ok_or(Malformed::OtherScheme)?;
        let mut values: [Option<&str>; 5] = [None; 5];
        loop {
            let (name, value, after) = parameter(rest).ok_or(Malformed::NotAList)?;
            if let Some(known) = NAMES.iter().position(|known| *known == name)
                && values[known].replace(value).is_some()
            {
                return Err(Malformed::Twice(NAMES[known]));
            }
            if after.is_empty() {
                break;
            }
            rest = after.strip_prefix(',').ok_or(Malformed::NotAList)?;
        }
        let value = |at: usize| values[at].ok_or(Malformed::Missing(NAMES[at]));
        Ok(Self {
            algorithm: value(0)?,
            headers: value(1)?,
            key_id: value(2)?,
            signature: value(3)?,
            version: value(4)?,
        })
    }
}

/// One `name="value"` and what follows it. No value of OCI's can hold a quote, so there is no
/// escape to undo.
fn parameter(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.trim_start_matches(' ').split_once("=\"")?;
    let (value, after) = rest.split_once('"')?;
    let legal = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    legal.then_some((name, value, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_in_any_order_with_strangers_among_them() {
        let header = br#"Signature version="1",new="x", keyId="a/b/c",signature="QQ==",headers="date host",algorithm="rsa-sha256""#;
        let expected = Authorization {
            algorithm: "rsa-sha256",
            headers: "date host",
            key_id: "a/b/c",
            signature: "QQ==",
            version: "1",
        };
        assert_eq!(Authorization::parse(header), Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (header, expected) in [
            ("", Malformed::OtherScheme),
            ("Bearer abc", Malformed::OtherScheme),
            ("Signature \u{e4}", Malformed::NotText),
            ("Signature ", Malformed::NotAList),
            ("Signature version=1", Malformed::NotAList),
            (r#"Signature version="1"#, Malformed::NotAList),
            (r#"Signature version="1","#, Malformed::NotAList),
            (r#"Signature version="1"keyId="a""#, Malformed::NotAList),
            (r#"Signature ="1""#, Malformed::NotAList),
            (r#"Signature version="1",version="1""#, Malformed::Twice("version")),
            (r#"Signature version="1""#, Malformed::Missing("algorithm")),
        ] {
            assert_eq!(Authorization::parse(header.as_bytes()), Err(expected), "{header}");
        }
    }
}
