//! `NAMESPACE/NAME`.

use std::fmt;
use std::str::FromStr;

use crate::rbac::Grant;

/// A Secret: `NAMESPACE/NAME`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecretRef {
    /// The Secret's namespace.
    pub namespace: String,
    /// The Secret's name.
    pub name: String,
}

/// This text names no Secret.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not of the form NAMESPACE/NAME, such as depthgauge/depthgauge-certs")]
pub struct BadSecretRef(String);

// === impl SecretRef ===

impl FromStr for SecretRef {
    type Err = BadSecretRef;

    fn from_str(text: &str) -> Result<Self, BadSecretRef> {
        let bad = || BadSecretRef(text.to_owned());
        let (namespace, name) = text.split_once('/').ok_or_else(bad)?;
        let dns = |part: &str| {
            let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
            !part.is_empty() && part.bytes().all(known)
        };
        if !dns(namespace) || !dns(name) {
            return Err(bad());
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl SecretRef {
    /// All that is ever done to it.
    pub fn rights(&self) -> Grant<'_> {
        Grant {
            group: "",
            resource: "secrets",
            name: &self.name,
            namespace: Some(&self.namespace),
            verbs: &["get", "create", "patch"],
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_refs() {
        let parsed: SecretRef = "metrics/depthgauge-certs".parse().unwrap();
        assert_eq!(parsed.to_string(), "metrics/depthgauge-certs");
        for bad in ["", "a", "a/", "/b", "a/b/c", "A/b", "a/b c"] {
            assert!(bad.parse::<SecretRef>().is_err(), "{bad}");
        }
    }
}
